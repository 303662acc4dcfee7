"""Recording prompts as differences to the prompt before, so that a conversation of n turns takes O(n) bytes and not O(n^2).

What backends reported for prompts is recorded as well: estimates of input are based on it, also in the next process.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from itertools import takewhile
from operator import is_
from typing import TYPE_CHECKING, Any, Final

from attrs import frozen

from organism.record.images import LastPrompt, Prompted, Report
from organism.threads.outcomes import LastCall

if TYPE_CHECKING:
    from collections.abc import Iterable

    from organism.kernel.holds import Hold
    from organism.threads.frames import Conversation, Thread


@frozen(eq=False, kw_only=True)
class Prompt:
    """The request of a call: its ``messages``, and the rest of it (``asked``: tools, temperature, and so on), as frozen JSON values.

    ``key`` names it among those of its delivery (R21). ``naming`` belongs to whoever made the key, to make the next one faster. ``begins``:
    (the prompt before, with how many of its messages this one begins), where of that one only the name is known.
    """

    key: str
    messages: Sequence[Any]
    asked: Mapping[str, Any]
    naming: object = None
    begins: tuple[Name, int] | None = None


@frozen(eq=False)
class Name:
    """What is known of a prompt whose messages were recorded before a snapshot: its key, and how many messages it has."""

    key: str
    count: int


def prompted(hold: Hold, prompt: Prompt) -> Prompted:
    """A prompt as it is recorded: the difference to the one before of its handler in its thread. The next one is compared with it."""
    last = _last_call(hold.thread, hold.handler)
    after, before, asked = last.hold, last.prompt, prompt.asked
    last.hold, last.prompt = hold.id, prompt
    if isinstance(before, Name) and prompt.begins is not None and prompt.begins[0] is before:
        kept = prompt.begins[1]
        return Prompted(after=after, kept=kept, messages=tuple(prompt.messages[kept:]), asked=None)
    if not isinstance(before, Prompt):
        return Prompted(after=None, kept=0, messages=tuple(prompt.messages), asked=asked)
    kept = common(before.messages, prompt.messages)
    return Prompted(
        after=after,
        kept=kept,
        messages=tuple(prompt.messages[kept:]),
        asked=None if asked is before.asked or common([before.asked], [asked]) else asked,
    )


def note_prompt(hold: Hold, key: str, given: Prompted) -> None:
    """Takes a prompt from a fact, while facts are folded: the next prompt is compared with it."""
    last = _last_call(hold.thread, hold.handler)
    before = last.prompt if last.hold == given.after else None
    last.hold = hold.id
    if given.after is not None and not isinstance(before, Prompt):
        last.prompt = Name(key, given.kept + len(given.messages))
        return
    messages: Any = before.messages if isinstance(before, Prompt) else []
    del messages[given.kept :]  # changed in place: a copy for each prompt would take O(n^2) for n turns
    messages.extend(given.messages)
    earlier: Mapping[str, Any] = before.asked if isinstance(before, Prompt) else {}
    last.prompt = Prompt(key=key, messages=messages, asked=earlier if given.asked is None else given.asked)


def note_report(hold: Hold, digests: tuple[str, ...], tokens: int) -> None:
    """Notes how many tokens a backend reported for the prompt of these digests."""
    if digests and not hold.thread.ended:
        report = Report(handler=hold.handler, backend=hold.backend, digests=digests, tokens=tokens)
        last = _last_call(hold.thread, hold.handler)
        last.report = report
        last.first = last.first or report


def reports_of(whole: Thread | Conversation) -> tuple[Report, ...]:
    """The first and the last report for the calls of each handler of a thread or conversation; one where they are the same."""
    known = [each for each in (whole.asked or {}).values() if each.report is not None]
    return tuple(report for each in known for report in dict.fromkeys((each.first, each.report)))


def prompts_of(whole: Thread | Conversation) -> tuple[LastPrompt, ...]:
    """The names of the last prompts of each handler of a thread or conversation."""
    return tuple(
        LastPrompt(handler=handler, hold=last.hold, key=last.prompt.key, count=_count(last.prompt))
        for handler, last in (whole.asked or {}).items()
        if last.prompt is not None
    )


def recalled(reports: Iterable[Report], prompts: Iterable[LastPrompt]) -> dict[str, LastCall] | None:
    """The last calls of handlers, made of what a snapshot says of them."""
    found = {each.handler: LastCall(each.hold, Name(each.key, each.count)) for each in prompts}
    for each in reports:
        last = found.setdefault(each.handler, LastCall())
        last.report, last.first = each, last.first or each
    return found or None


def _last_call(thread: Thread, handler: str) -> LastCall:
    """The last call of a handler, made where there is none, to be changed."""
    if thread.asked is None:
        thread.asked = {}
    found = thread.asked.get(handler)
    if found is None:
        found = thread.asked[handler] = LastCall()
    return found


def _count(prompt: Prompt | Name) -> int:
    return prompt.count if isinstance(prompt, Name) else len(prompt.messages)


def common(one: Sequence[Any], other: Sequence[Any]) -> int:
    """How many messages both begin with that are the same as JSON: 1, 1.0 and True are equal in Python, but not to a model."""
    if not (one and other) or one[0] != other[0]:
        return 0
    same = sum(takewhile(bool, map(is_, one, other)))  # identical objects, as nearly all of an agent's history are
    pairs = enumerate(zip(one[same:], other[same:], strict=False), same)
    equal = next((number for number, (a, b) in pairs if a != b), min(len(one), len(other)))
    # Equal texts are the same. Messages with other values are compared as JSON, all at once: one by one took five times as long.
    odd = [number for number in range(same, equal) if not _TEXTS.issuperset(map(type, other[number].values()))]
    if not odd or _text([one[number] for number in odd]) == _text([other[number] for number in odd]):
        return equal
    return next(number for number in odd if _text(one[number]) != _text(other[number]))


def _text(value: Any) -> str:
    return _ENCODER.encode(value)


_ENCODER: Final = json.JSONEncoder(sort_keys=True, default=repr)
_TEXTS: Final = frozenset({str, type(None)})
