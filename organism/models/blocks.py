"""The Messages dialect on its way back: bodies and events of streams into responses, usage and failures. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, cast

from attrs import define, evolve, field

from organism.models.chat import THINKING, ids_of, mapping
from organism.models.contract import BackendError, Piece, RawUsage, Response, ToolCall
from organism.models.refusals import kind_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    from organism.models.contract import Failure, FinishReason, Message

_REASONS: Final[Mapping[str, FinishReason]] = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "tool_use": "tool_calls",
    "refusal": "content_filter",
}
_STATUSES: Final[Mapping[str, int]] = {
    "invalid_request_error": 400,
    "authentication_error": 401,
    "billing_error": 402,
    "permission_error": 403,
    "not_found_error": 404,
    "request_too_large": 413,
    "rate_limit_error": 429,
    "api_error": 500,
    "timeout_error": 504,
    "overloaded_error": 529,
}
"""The status of each type of error, for those that come where no status can: within a stream."""
_THOUGHT: Final = ("type", "thinking", "signature", "data")
"""What of a block of thinking is sent back; a redacted one has data instead of text."""


def response_of(body: object, *, answer: str = "") -> Response:
    """The response in a body; ``answer`` names the tool that hands in the answer, if any. Raises BackendError where there
    is no content in it.
    """
    document = mapping(body)
    content = document.get("content")
    usage = usage_of(document.get("usage"))
    if not isinstance(content, Sequence) or isinstance(content, str):
        if "error" in document:
            error = document["error"]
            raise error_of(mapping(error), unknown="broken", usage=usage, otherwise=_text(error))
        raise BackendError("broken", f"the answer has no content: {str(body)[:200]}", usage=usage, received=_text(body))
    blocks = (_Block.of(mapping(block)) for block in cast("Sequence[object]", content))
    return _response(blocks, document, usage, _text(document.get("model")), answer)


def usage_of(usage: object) -> RawUsage | None:
    """What is reported, unchecked. The provider counts what it reads from its cache or writes there beside the input, and
    here it is part of it; reasoning is part of the output.
    """
    if usage is None:
        return None
    said = mapping(usage)
    read, written = said.get("cache_read_input_tokens"), said.get("cache_creation_input_tokens")
    return RawUsage(
        input_tokens=_sum(said.get("input_tokens"), *(part for part in (read, written) if part is not None)),
        output_tokens=said.get("output_tokens"),
        cache_read_tokens=read,
        cache_write_tokens=written,
        reasoning_tokens=mapping(said.get("output_tokens_details")).get("thinking_tokens"),
    )


def _sum(*figures: object) -> object:
    """The sum, or the first that is no count: one wrong figure must not hide in it."""
    total = 0
    for figure in figures:
        if not isinstance(figure, int) or isinstance(figure, bool) or figure < 0:
            return figure
        total += figure
    return total


def error_of(
    error: Mapping[str, Any],
    *,
    status: int = 0,
    unknown: Failure,
    usage: RawUsage | None = None,
    otherwise: str = "",
    codes: str = "",
    heard: str = "",
) -> BackendError:
    """What an error object means; ``status`` 0 where none came with it, ``unknown`` what it is where its type says nothing, ``otherwise``
    what was said where it is none. ``codes`` and ``heard`` are all that the refusal says, where there is more of it than this.
    """
    kind, text = _text(error.get("type")), _text(error.get("message"))
    meant = status or _STATUSES.get(kind, 0)
    said = text or kind or otherwise or "it said no more"
    if not meant:
        return BackendError(unknown, said, usage=usage)
    return BackendError(kind_of(meant, codes or kind, heard or said), f"{meant}: {said}", usage=usage)


@define
class _Block:
    """A block of an answer, whole or in the making. ``text``: what it says, or the arguments of a call as JSON."""

    start: Mapping[str, Any]
    kind: str
    text: str = ""
    signature: str = ""

    @classmethod
    def of(cls, block: Mapping[str, Any]) -> _Block:
        kind = _text(block.get("type"))
        return cls(block, kind, _text(block.get("text" if kind == "text" else "thinking")))

    @property
    def name(self) -> str:
        return _text(self.start.get("name")) if self.kind == "tool_use" else ""

    @property
    def arguments(self) -> str:
        """As the model wrote them, or as they were read for it."""
        given = self.start.get("input")
        return self.text or json.dumps({} if given is None else given, ensure_ascii=False)

    @property
    def thought(self) -> dict[str, Any]:
        """Thinking as it is to come back."""
        whole = {**self.start, **({"thinking": self.text} if self.kind == "thinking" else {})}
        if self.signature:
            whole["signature"] = self.signature
        return {name: whole[name] for name in _THOUGHT if name in whole}

    def add(self, delta: Mapping[str, Any]) -> str:
        """Takes a delta in; what it brought of output."""
        match delta.get("type"):
            case "text_delta":
                came = _text(delta.get("text"))
            case "input_json_delta":
                came = _text(delta.get("partial_json"))
            case "thinking_delta":
                came = _text(delta.get("thinking"))
            case "signature_delta":
                self.signature += _text(delta.get("signature"))
                return ""
            case _:
                return ""
        self.text += came
        return came


@define
class Gathering:
    """The events of a stream on their way to a response. ``answer`` names the tool that hands in the answer, if any."""

    answer: str = ""
    usage: RawUsage | None = None
    _model: str = field(default="", init=False)
    _figures: dict[str, Any] = field(factory=dict[str, Any], init=False)
    _end: dict[str, Any] = field(factory=dict[str, Any], init=False)
    _blocks: dict[int, _Block] = field(factory=dict[int, _Block], init=False)

    def add(self, event: object) -> list[Piece]:
        """Takes an event in; the pieces that it brought. Events that nobody knows bring none."""
        document = mapping(event)
        match document.get("type"):
            case "message_start":
                message = mapping(document.get("message"))
                self._model = _text(message.get("model"))
                # Its output is what there is before anything was said, and must not pass for what the stream cost.
                self._report({**mapping(message.get("usage")), "output_tokens": None})
            case "content_block_start":
                index, block = self._index(document), _Block.of(mapping(document.get("content_block")))
                self._blocks[index] = block
                return self._pieces(block, block.text, index)
            case "content_block_delta":
                index = self._index(document)
                block = self._blocks.setdefault(index, _Block.of({"type": "text"}))
                return self._pieces(block, block.add(mapping(document.get("delta"))), index)
            case "message_delta":
                self._end |= {
                    name: value for name, value in mapping(document.get("delta")).items() if value is not None
                }
                self._report(mapping(document.get("usage")))
            case _:
                pass
        return []

    def whole(self, document: object) -> Response:
        """The response in a body, where the server answers without a stream. Raises BackendError where it is none."""
        return response_of(document, answer=self.answer)

    def response(self) -> Response:
        """The response at the end of the stream. Raises BackendError (``cut``) where the end came too early."""
        if not self._end.get("stop_reason"):
            raise BackendError("cut", "the stream ended before its answer did", usage=self.usage)
        blocks = (block for _, block in sorted(self._blocks.items()))
        return _response(blocks, self._end, self.usage, self._model, self.answer)

    def _index(self, document: Mapping[str, Any]) -> int:
        index = document.get("index")
        return index if isinstance(index, int) else len(self._blocks)

    def _pieces(self, block: _Block, came: str, index: int) -> list[Piece]:
        if not came:
            return []
        shown = block.kind == "text" or (bool(self.answer) and block.name == self.answer)
        return [Piece(text=came) if shown else Piece(text=came, kind="other", tool=block.name, call=index)]

    def _report(self, usage: Mapping[str, Any]) -> None:
        """Figures are cumulative: the last word on each counts."""
        self._figures |= {name: value for name, value in usage.items() if value is not None}
        self.usage = usage_of(self._figures) if self._figures else None


def _response(
    blocks: Iterable[_Block], end: Mapping[str, Any], usage: RawUsage | None, model: str, answer: str
) -> Response:
    text, handed_in = "", ""
    calls: list[ToolCall] = []
    thoughts: list[dict[str, Any]] = []
    for block in blocks:
        if block.kind == "text":
            text += block.text
        elif block.kind in {"thinking", "redacted_thinking"}:
            thoughts.append({**block.thought, "at": [len(text), len(calls)]})
        elif answer and block.name == answer:
            handed_in = handed_in or block.arguments
        elif block.name:
            calls.append(ToolCall(id=_text(block.start.get("id")), name=block.name, arguments=block.arguments))
    calls = [evolve(call, id=named) for call, named in zip(calls, ids_of(call.id for call in calls), strict=True)]
    reason: FinishReason = _REASONS.get(_text(end.get("stop_reason")), "other")
    if reason in {"stop", "tool_calls"}:
        reason = "tool_calls" if calls else "stop"
    elif reason == "content_filter" and not text:
        text = _text(mapping(end.get("stop_details")).get("explanation"))
    text = handed_in or text
    return Response(
        text=text,
        message=_message(text, calls, thoughts),
        tool_calls=tuple(calls),
        finish_reason=reason,
        usage=usage,
        model=model,
        thought="".join(_text(each.get("thinking")) or _text(each.get("data")) for each in thoughts),
    )


def _message(text: str, calls: Sequence[ToolCall], thoughts: Sequence[Mapping[str, Any]]) -> Message:
    message: dict[str, Any] = {"role": "assistant", "content": text or (None if calls else "")}
    if calls:
        message["tool_calls"] = [call.in_message for call in calls]
    return message | ({THINKING: list(thoughts)} if thoughts else {})


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""
