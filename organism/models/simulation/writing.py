"""The answer itself: the next step written down so that it fits the room for output."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from attrs import evolve

from organism.models.contract import RawUsage, Response, ToolCall
from organism.models.formats import response_of
from organism.models.simulation.drafting import Drafts
from organism.models.simulation.notices import CALM
from organism.models.simulation.planning import Intent, Planner
from organism.models.simulation.situation import understand
from organism.models.simulation.style import Dice, Style, Temper
from organism.models.simulation.tokens import answer_tokens, count_tokens, cut_text, request_tokens, text_of
from organism.models.simulation.xml_speech import spoken
from organism.models.tokens.prompt import compact

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from organism.models.contract import FinishReason, Request
    from organism.models.simulation.documents import Json
    from organism.models.simulation.options import Options
    from organism.models.simulation.xml_speech import Spoken

_GO_ON: Final = re.compile(r"\b(?:go on|continue) exactly where\b", re.IGNORECASE)
_TALKATIVE: Final = 2
"""With fewer sentences than this to spend, none goes along with tool calls."""


def answer(request: Request, options: Options) -> Response:
    """The answer to a request: a pure function of the request and the options."""
    seed = options.seed if request.seed is None else request.seed
    base, said = _interrupted(request)
    lot = Dice.of(seed, *(compact(message) for message in base.messages), base.tool_choice)
    heard, speech = spoken(base) or (base, None)
    situation = understand(heard.messages)
    # What is chosen while a task lasts must not change from turn to turn, or the same call would look like a new one.
    taste = Dice.of(seed, situation.question, *situation.said)
    jitter = 1.0 if request.temperature is None else min(1.0, max(0.0, request.temperature))
    temper = Temper.of(seed, taste, jitter)
    style = Style.of(options, situation.pressure, lot, request.reasoning_effort, temper)
    tokens = request_tokens(request)
    room = max(1, min(request.max_output_tokens, options.context_window - tokens))
    calm = Style.of(options, CALM, lot, request.reasoning_effort, temper)
    writer = _Writer(heard, Drafts(situation, style, taste, jitter=jitter, calm=calm), lot, room, speech)
    written = writer.rest(said) if said else writer.written()
    usage = RawUsage(input_tokens=tokens, output_tokens=answer_tokens(written.text, written.tool_calls))
    return evolve(written, usage=usage, model=request.model)


def _said(text: str, reason: FinishReason = "stop", calls: Sequence[ToolCall] = ()) -> Response:
    """What is said: text, why it ends, and calls."""
    return response_of(text, calls, reason=reason, usage=None, model="", thought="", kept={})


class _Writer:
    """Writes one answer into ``room`` output tokens; as XML where it has the ``speech`` for it."""

    def __init__(self, request: Request, drafts: Drafts, lot: Dice, room: int, speech: Spoken | None) -> None:
        self._request = request
        self._drafts = drafts
        self._lot = lot
        self._room = room
        self._speech = speech

    def written(self) -> Response:
        """The next step, written down."""
        intents, talk = self._intents()
        if intents:
            return self._called(intents, talk=talk)
        return self._cut(self._text) if self._request.returns is None else self._valued(self._request.returns)

    def rest(self, said: str) -> Response:
        """What follows of the text that began like this; nothing where none did."""
        intents, talk = self._intents()
        wholes = [each.text for each in self._versions(intents, talk=talk)] if intents else []
        whole = next((each for each in [*wholes, self._text] if each.startswith(said)), said)
        return self._cut(whole[len(said) :])

    @property
    def _text(self) -> str:
        """The answer as plain text."""
        return self._drafts.text(self._drafts.ladder[0])

    def _intents(self) -> tuple[Sequence[Intent], bool]:
        """What is to be called next, and whether that is more than the reply."""
        if not self._request.tools:
            return (), False
        step = Planner(self._request, self._drafts).step()
        return step.calls or ((Intent(step.reply),) if step.reply is not None else ()), bool(step.calls)

    def _called(self, intents: Sequence[Intent], *, talk: bool) -> Response:
        """Calls as long as fit, shorter ones where they do not, fewer ones where even the shortest do not."""
        last: Response | None = None
        for last in self._versions(intents, talk=talk):
            if answer_tokens(last.text, last.tool_calls) <= self._room:
                return last
        # What is begun as XML can be gone on with; a call cannot.
        text = self._text if last is None or last.tool_calls else last.text
        return _said(cut_text(text, self._room), "length")

    def _versions(self, intents: Sequence[Intent], *, talk: bool) -> Iterator[Response]:
        """The calls at every length, the longest first."""
        remark = self._drafts.remark() if talk and self._drafts.style.sentences >= _TALKATIVE else ""
        for count in range(len(intents), 0, -1):
            ladder = self._drafts.ladder if count == len(intents) else self._drafts.ladder[-1:]
            for brief in ladder:
                values = [
                    self._drafts.arguments(each.tool, brief, each.item, again=each.again).value
                    if each.value is None
                    else each.value
                    for each in intents[:count]
                ]
                calls = self._calls(intents, values)
                for text in dict.fromkeys((remark, "")):
                    yield self._put(text, calls, values)

    def _put(self, text: str, calls: Sequence[ToolCall], values: Sequence[Json]) -> Response:
        """Calls as the prompt wants them: as XML where it offers them so."""
        if self._speech is None:
            return _said(text, "tool_calls", calls)
        pairs = list(zip(calls, values, strict=True))
        written = [pair for pair in pairs if pair[0].name in self._speech.examples]
        said = self._speech.text(text, [call for call, _ in written], [value for _, value in written])
        left = [call for call in calls if call.name not in self._speech.examples]
        return _said(said, "tool_calls" if left else "stop", left)

    def _calls(self, intents: Sequence[Intent], values: Sequence[Json]) -> tuple[ToolCall, ...]:
        return tuple(
            ToolCall(id=f"call_{self._lot.token(f'call {place}')}", name=intent.tool.name, arguments=compact(value))
            for place, (intent, value) in enumerate(zip(intents, values, strict=False))
        )

    def _cut(self, text: str) -> Response:
        """A text, cut where it does not fit."""
        cut = cut_text(text, self._room)
        return _said(cut, "stop" if cut == text else "length")

    def _valued(self, schema: Mapping[str, object]) -> Response:
        """JSON for the schema of the answer, as short as it must be; cut where even the shortest does not fit."""
        text = ""
        for brief in self._drafts.ladder:
            text = compact(self._drafts.value(schema, brief))
            if count_tokens(text) <= self._room:
                return _said(text)
        return _said(cut_text(text, self._room), "length")


# Going on with an answer that was cut for length


def _interrupted(request: Request) -> tuple[Request, str]:
    """The request as it was before its answer was cut, and what was said of that so far; empty where none was cut."""
    messages = list(request.messages)
    said = ""
    while len(messages) > 2 and [each.get("role") for each in messages[-2:]] == ["assistant", "user"]:
        before, asked = (text_of(each.get("content")) for each in messages[-2:])
        if _GO_ON.search(asked) is None:
            break
        said = before + said
        del messages[-2:]
    return (evolve(request, messages=messages), said) if said else (request, "")
