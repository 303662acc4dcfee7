"""Whether a delivery came to what the record says of it."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

from organism.journal.values import closed
from organism.kernel.answers import Refusal, check_answer
from organism.likeness import INSTEAD
from organism.message import Forward, Send
from organism.names import excerpt, same_up_to
from organism.payloads import encode_json
from organism.record import facts
from organism.replay.player import Odd
from organism.threads.outcomes import Failure

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from organism.journal.prompts import Prompt as RecordedPrompt
    from organism.kernel.prompts import Prompt
    from organism.kernel.state import State
    from organism.message import Outgoing
    from organism.record.images import Ref
    from organism.replay.player import Player
    from organism.replay.script import Question

_AROUND = 60
_LONGEST = 300


def judge(player: Player, ended: facts.Answered | facts.Failed | facts.Retried, state: State) -> Odd | None:
    """What a delivery that is over did otherwise; ``None`` where it did nothing. ``state`` is that before its end."""
    result = player.result
    if result is None or player.part.end is None:
        return None
    own = player.message.frame
    place, before = player.part.end, _recorded(ended, (own.thread.id, own.seq))
    after = _came(result, player, state)
    if not _alike(before, after):
        return Odd("it answered", *both(before, after), place)
    changed = player.context.changes() if isinstance(ended, facts.Answered) else None
    kept = ended.state if isinstance(ended, facts.Answered) else None
    if not _alike(_state(kept), _state(changed)):
        return Odd("it kept in its state", *both(_state(kept), _state(changed)), place)
    left = [
        each
        for key, each in player.part.questions.items()
        # What was run again need not ask once more what nobody had answered.
        if key not in player.asked | player.part.given_up
        and not (player.again and each.prompts and each.answer is None)
    ]
    if left:
        first = min(left, key=lambda each: each.asked)
        return Odd("it asked", _named(first.key), "nothing like it", first.asked)
    return None


def stuck(player: Player) -> Odd:
    """A delivery that does not come to its end, since it asks what the record does not know, or waits for something else."""
    place = player.part.end if player.part.end is not None else player.part.marks[-1][0]
    left = [each for key, each in player.part.questions.items() if key not in player.asked]
    if player.unknown:
        first = min(left, key=lambda each: each.asked, default=None)
        place = place if first is None else first.asked
        now = player.unknown[0]
        if first is not None and first.prompts and now.prompt is not None:
            differs = asked_otherwise(first.prompts[0], now.prompt)
            if differs is not None:
                return Odd("it asked", *differs, place)
        return Odd("it asked", *both(_known(first), now.says), place)
    waits = player.waiting_for[0].says if player.waiting_for else "it does not come to an end"
    return Odd("it was done", "at this place", waits, place)


def _known(first: Question | None) -> str:
    if first is None:
        return "nothing like it"
    if first.prompts:
        return f"a model: {json.dumps(list(first.prompts[0].messages[-1:]), ensure_ascii=False, sort_keys=True)}"
    return "another handler, or another thing of it"


def _alike(before: str, after: str) -> bool:
    """Whether two texts say the same; where a secret was left out of the record, anything may stand."""
    if before == after or INSTEAD not in before:
        return before == after
    return re.fullmatch(".+?".join(map(re.escape, before.split(INSTEAD))), after, re.DOTALL) is not None


def both(before: str, after: str) -> tuple[str, str]:
    """Two texts, cut to where they differ."""
    same = same_up_to(before, after)
    return _cut(before, same), _cut(after, same)


def _cut(text: str, same: int) -> str:
    return excerpt(text, _LONGEST, start=0 if len(text) <= _LONGEST else max(0, same - _AROUND))


def asked_otherwise(before: RecordedPrompt, now: Prompt) -> tuple[str, str] | None:
    """What a model was asked and is asked, where they first differ: in a message, or in the rest of the request. ``None`` where that is
    in nothing that is written down.
    """
    one, other = _parts(before), _parts(now)
    for name in {**one, **other}:
        was, is_ = one.get(name, "none"), other.get(name, "none")
        if not _alike(was, is_):
            was, is_ = both(was, is_)
            return f"a model, {name}: {was}", f"a model, {name}: {is_}"
    return None


def _parts(prompt: RecordedPrompt | Prompt) -> dict[str, str]:
    """The parts of a request, by what they are called."""
    messages = {f"message {number}": each for number, each in enumerate(prompt.messages, 1)}
    return {name: _json(value) for name, value in (messages | dict(prompt.asked)).items()}


def _named(key: str) -> str:
    kind = key.partition(":")[0]
    return {"ask": "another handler", "spawn": "for a sub-thread"}.get(kind, "a model")


def _recorded(ended: facts.Answered | facts.Failed | facts.Retried, own: Ref) -> str:
    """What the record says that a delivery came to; ``own`` is its frame, and others end with it where a failure climbs."""
    if isinstance(ended, (facts.Failed, facts.Retried)):
        return _failed(ended.failure)
    said: list[str] = []
    for step in ended.steps:
        match step:
            case facts.Posted(opens=True, kind="send" | "forward" as kind, to=to, payload=payload):
                said.append(_sends(kind.title(), to, payload))
            case facts.Posted(kind="reply", payload=payload) | facts.Left(payload=payload):
                said.append(_replies(payload))
            case facts.CameLate(payload=payload):
                said.append(_replies(payload))
            case facts.Resolved(answer=payload) if not isinstance(payload, Failure):
                said.append(_replies(payload))
            case facts.Handed(frame=frame, to=None) if frame == own:
                said.append("Reply that its caller does not take")
            case facts.Unhandled(thread=thread) if thread == own[0] and not said:
                break  # it said nothing, and its thread ran out by that
            case _:
                pass
    return "; ".join(said) or "nothing"


def _came(result: Sequence[Outgoing] | Failure, player: Player, state: State) -> str:
    """What a delivery came to now, in the same words."""
    if isinstance(result, Failure):
        return _failed(result)
    plan = check_answer(state, player.message, result)
    if isinstance(plan, Refusal):
        return _failed(plan.failure)
    return "; ".join(_out(out, player, state) for out, _ in plan) or "nothing"


def _out(out: Any, player: Player, state: State) -> str:
    if type(out) in {Send, Forward}:
        return _sends(out.__class__.__name__, out.to, out.payload)
    frame = player.message.frame
    parent = frame.parent
    heard = parent is not None and frame.asker is None and not frame.answered
    if heard and parent is not None and type(out.payload) not in state.routes[parent.handler].accepts:
        return "Reply that its caller does not take"
    return _replies(out.payload)


def _sends(kind: str, to: str, payload: Any) -> str:
    return f"{kind} to '{to}' {_json(encode_json(payload))}"


def _replies(payload: Any) -> str:
    return f"Reply {_json(encode_json(payload))}"


def _failed(failure: Failure) -> str:
    return f"failed: {failure.code}: {failure.text}"


def _state(changes: Mapping[str, tuple[Any] | None] | None) -> str:
    """Changes of state in words; what it keeps is JSON and payloads."""
    return _json({key: None if value is None else [closed(value[0])] for key, value in (changes or {}).items()})


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, sort_keys=True, default=dict)
