"""The answer itself: the next step written down so that it fits the room for output."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from attrs import frozen

from organism.models.contract import FinishReason, RawUsage, Response, ToolCall
from organism.models.simulation.dice import Dice
from organism.models.simulation.drafting import Drafts
from organism.models.simulation.planning import Intent, Planner
from organism.models.simulation.situation import understand
from organism.models.simulation.style import Style
from organism.models.simulation.tokens import answer_tokens, compact, count_tokens, cut_text, request_tokens

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from organism.models.contract import Request
    from organism.models.simulation.evidence import Brief
    from organism.models.simulation.options import Options

_TALKATIVE: Final = 2
"""With fewer sentences than this to spend, none goes along with tool calls."""


@frozen(kw_only=True)
class Written:
    """What is said: text, calls, and why it ends."""

    text: str = ""
    calls: tuple[ToolCall, ...] = ()
    finish_reason: FinishReason = "stop"


def answer(request: Request, options: Options) -> Response:
    """The answer to a request: a pure function of the request and the options."""
    seed = options.seed if request.seed is None else request.seed
    lot = Dice.of(seed, *(compact(message) for message in request.messages), request.tool_choice)
    situation = understand(request.messages)
    style = Style.of(options, situation.pressure, lot, request.reasoning_effort)
    # What is chosen while a task lasts must not change from turn to turn, or the same call would look like a new one.
    taste = Dice.of(seed, situation.question, *situation.said)
    jitter = 1.0 if request.temperature is None else min(1.0, max(0.0, request.temperature))
    tokens = request_tokens(request)
    room = max(1, min(request.max_output_tokens, options.context_window - tokens))
    written = _Writer(request, Drafts(situation, style, taste, jitter=jitter), lot, room).written()
    return Response(
        text=written.text,
        message=_message(written),
        tool_calls=written.calls,
        finish_reason=written.finish_reason,
        usage=RawUsage(input_tokens=tokens, output_tokens=answer_tokens(written.text, written.calls)),
        model=request.model,
    )


def _message(written: Written) -> Mapping[str, object]:
    """The assistant message of an answer."""
    message: dict[str, object] = {"role": "assistant", "content": written.text or None}
    if not written.calls:
        return message | {"content": written.text}
    calls = [
        {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}
        for call in written.calls
    ]
    return message | {"tool_calls": calls}


class _Writer:
    """Writes one answer into ``room`` output tokens."""

    def __init__(self, request: Request, drafts: Drafts, lot: Dice, room: int) -> None:
        self._request = request
        self._drafts = drafts
        self._lot = lot
        self._room = room

    def written(self) -> Written:
        """The next step, written down."""
        if self._request.tools:
            step = Planner(self._request, self._drafts).step()
            intents = step.calls or ((Intent(step.reply),) if step.reply is not None else ())
            if intents:
                return self._called(intents, talk=bool(step.calls))
        return self._told() if self._request.returns is None else self._valued(self._request.returns)

    def _called(self, intents: Sequence[Intent], *, talk: bool) -> Written:
        """Calls as long as fit, shorter ones where they do not, fewer ones where even the shortest do not."""
        remark = self._drafts.remark() if talk and self._drafts.style.sentences >= _TALKATIVE else ""
        for count in range(len(intents), 0, -1):
            ladder = self._drafts.ladder if count == len(intents) else self._drafts.ladder[-1:]
            for brief in ladder:
                calls = self._calls(intents[:count], brief)
                for text in dict.fromkeys((remark, "")):
                    if answer_tokens(text, calls) <= self._room:
                        return Written(text=text, calls=calls, finish_reason="tool_calls")
        return Written(text=cut_text(self._drafts.text(self._drafts.ladder[0]), self._room), finish_reason="length")

    def _calls(self, intents: Sequence[Intent], brief: Brief) -> tuple[ToolCall, ...]:
        return tuple(
            ToolCall(
                id=f"call_{self._lot.token(f'call {place}')}",
                name=intent.tool.name,
                arguments=compact(self._drafts.arguments(intent.tool, brief, intent.item, again=intent.again).value),
            )
            for place, intent in enumerate(intents)
        )

    def _told(self) -> Written:
        """A text, cut where it does not fit."""
        text = self._drafts.text(self._drafts.ladder[0])
        cut = cut_text(text, self._room)
        return Written(text=cut, finish_reason="stop" if cut == text else "length")

    def _valued(self, schema: Mapping[str, object]) -> Written:
        """JSON for the schema of the answer, as short as it must be; cut where even the shortest does not fit."""
        text = ""
        for brief in self._drafts.ladder:
            value, _ = self._drafts.value(schema, brief)
            text = compact(value)
            if count_tokens(text) <= self._room:
                return Written(text=text)
        return Written(text=cut_text(text, self._room), finish_reason="length")
