"""Answers in the format of chat completions: bodies, and chunks of streams, into responses.

Pure. It takes them as they come, since servers differ in what they leave out: only an answer without any choice is none.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from attrs import define, field

from organism.models.contract import BackendError, Piece, RawUsage, ToolCall
from organism.models.formats import error_of, items, mapping, response_of, text_in, told_apart
from organism.models.openai.request import EXTRA
from organism.models.reasoning import KEPT

if TYPE_CHECKING:
    from collections.abc import Container

    from organism.models.contract import FinishReason, Response

_REASONS: Final[Mapping[str, FinishReason]] = {
    "stop": "stop",
    "length": "length",
    "tool_calls": "tool_calls",
    "function_call": "tool_calls",
    "content_filter": "content_filter",
}


def usage_of(document: Mapping[str, Any]) -> RawUsage | None:
    """What a body or chunk reports, unchecked; cached input is part of ``prompt_tokens``."""
    if document.get("usage") in (None, {}):
        return None
    usage = mapping(document["usage"])
    given = mapping(usage.get("prompt_tokens_details"))
    answered = mapping(usage.get("completion_tokens_details"))
    return RawUsage(
        input_tokens=usage.get("prompt_tokens"),
        output_tokens=usage.get("completion_tokens"),
        cache_read_tokens=given.get("cached_tokens"),
        cache_write_tokens=given.get("cache_write_tokens"),
        reasoning_tokens=answered.get("reasoning_tokens"),
    )


@define
class _Call:
    id: str = ""
    name: str = ""
    arguments: str = ""
    extra: Mapping[str, Any] | None = None


@define
class Assembler:
    """See :class:`organism.models.transport.sse.Assembler`; the answers are those of one ``server``."""

    server: str = ""
    usage: RawUsage | None = None
    _model: str = field(default="", init=False)
    _text: str = field(default="", init=False)
    _thought: str = field(default="", init=False)
    """What comes back to servers that want it."""
    _aloud: str = field(default="", init=False)
    """All that was told of reasoning."""
    _details: list[dict[str, Any]] = field(factory=list[dict[str, Any]], init=False)
    _refusal: str = field(default="", init=False)
    _reason: str = field(default="", init=False)
    _calls: list[_Call] = field(factory=list[_Call], init=False)
    _at: dict[int, int] = field(factory=dict[int, int], init=False)
    """The place of the call that an index stands for now: some servers give every call of a turn the index 0."""

    def add(self, document: object) -> list[Piece]:
        """Takes a chunk in; the pieces that it brought."""
        chunk = mapping(document)
        self.usage = usage_of(chunk) or self.usage  # in the last chunk, which has no choices
        self._model = self._model or text_in(chunk.get("model"))
        for choice in map(mapping, items(chunk.get("choices"))[:1]):
            self._reason = text_in(choice.get("finish_reason")) or self._reason
            return self._add(mapping(choice.get("delta") or choice.get("message")))
        return []

    def whole(self, document: object) -> Response:
        """The response in a body. Raises BackendError where there is no choice in it."""
        body = mapping(document)
        if not items(body.get("choices")):
            said = f"the answer has no choices: {str(document)[:200]}"
            told, usage = mapping(body.get("error")), usage_of(body)
            raise error_of(told, unknown="broken", otherwise=said, usage=usage, received=text_in(document))
        self.add(body)
        return self._whole()

    def response(self) -> Response:
        """The response at the end of the stream. Raises BackendError (``cut``) where the end came too early."""
        if not self._reason:
            raise BackendError("cut", "the stream ended before its answer did", usage=self.usage)
        return self._whole()

    def _add(self, delta: Mapping[str, Any]) -> list[Piece]:
        text, thought = _said_in(delta.get("content"))
        refusal = text_in(delta.get("refusal"))
        self._text += text
        self._refusal += refusal
        # Reasoning is billed as output, and never part of the answer.
        named = text_in(delta.get("reasoning_content"))
        self._thought += named
        self._add_details(delta.get("reasoning_details"))
        other = thought or named or text_in(delta.get("reasoning"))
        self._aloud += other
        pieces = [Piece(text=text + refusal)] if text or refusal else []
        if other:
            pieces.append(Piece(text=other, kind="other"))
        told = set[int]()
        for position, call in enumerate(items(delta.get("tool_calls"))):
            pieces += self._add_call(mapping(call), position, told)
        return pieces

    def _add_details(self, details: object) -> None:
        """Takes in what a router of models tells of their reasoning: of a stream, each piece of a text is one of its own."""
        for detail in map(mapping, items(details)):
            last = self._details[-1] if self._details else {}
            texts = [name for name in ("text", "summary") if isinstance(detail.get(name), str)]
            goes_on = isinstance(detail.get("index"), int) and last.get("index") == detail["index"]
            # A signature may come last, without a text; what is encrypted comes whole.
            if goes_on and last.get("type") == detail.get("type") and "data" not in detail:
                told = {name: part for name, part in detail.items() if part is not None}
                last |= told | {name: text_in(last.get(name)) + detail[name] for name in texts}
            else:
                self._details.append(dict(detail))

    def _add_call(self, call: Mapping[str, Any], position: int, told: set[int]) -> list[Piece]:
        """Takes in a call, or a piece of one; ``told`` are the places of those that this delta has told of already."""
        index, named, function = call.get("index"), text_in(call.get("id")), mapping(call.get("function"))
        name, arguments = text_in(function.get("name")), function.get("arguments")
        written = arguments if isinstance(arguments, str) else json.dumps(arguments) if arguments else ""
        place = self._place(index if isinstance(index, int) else position, named, name, told)
        told.add(place)
        gathered = self._calls[place]
        if not (name == gathered.name and named and named == gathered.id):  # some servers say both with each piece
            gathered.name += name
        gathered.id = gathered.id or named
        gathered.extra = mapping(call.get(EXTRA)) or gathered.extra
        gathered.arguments += written
        head = [Piece(text=name, kind="other")] if name else []
        return [*head, Piece(text=written, kind="other", tool=gathered.name, call=place)] if written else head

    def _place(self, index: int, named: str, name: str, told: Container[int]) -> int:
        """The place of the call that is told of. It is another one than the index stood for until now where a name comes with another id, or,
        without one, when the arguments have begun, or there are two of them in one delta. An id alone begins none: some servers make a
        new one for each piece.
        """
        place = self._at.get(index)
        if place is not None:
            known = self._calls[place]
            other = named != known.id if named and known.id else known.arguments or place in told
            if not (name and other):
                return place
        self._at[index] = len(self._calls)
        self._calls.append(_Call())
        return self._at[index]

    def _whole(self) -> Response:
        made = [call for call in self._calls if call.name]
        given = [ToolCall(id=call.id, name=call.name, arguments=call.arguments) for call in made]
        calls = list(told_apart(given))
        reason: FinishReason = _REASONS.get(self._reason, "other")
        if calls and reason == "stop":
            reason = "tool_calls"
        elif self._refusal and not self._text:
            reason = "content_filter"
        said = self._kept({call.id: each.extra for call, each in zip(calls, made, strict=True) if each.extra})
        return response_of(
            self._text or self._refusal,
            calls,
            reason=reason,
            usage=self.usage,
            model=self._model,
            thought=self._aloud,
            kept={KEPT: {"server": self.server, "said": said}} if calls and said else {},
        )

    def _kept(self, beside: Mapping[str, Mapping[str, Any]]) -> str:
        """What the server wants back with the results of calls, as JSON; empty where that is nothing. ``beside`` is what each call has so,
        by its id.
        """
        said = {"reasoning_content": self._thought, "reasoning_details": self._details, EXTRA: beside}
        kept = {name: part for name, part in said.items() if part}
        try:
            # Characters stay as they are: so they are counted, and halves of them found.
            return json.dumps(kept, allow_nan=False, ensure_ascii=False) if kept and self.server else ""
        except ValueError:  # figures that JSON has no form for
            return ""


def _said_in(content: object) -> tuple[str, str]:
    """What a content says, and what was thought for it: it is a text, or a list of parts where models think aloud."""
    said, thought = text_in(content), ""
    for part in map(mapping, items(content)):
        match part.get("type"):
            case "text":
                said += text_in(part.get("text"))
            case "thinking":
                thought += "".join(_said_in(part.get("thinking")))
            case _:
                pass
    return said, thought
