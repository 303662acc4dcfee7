"""Answers in the format of Messages: bodies, and events of streams, into responses. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from attrs import define, field

from organism.models.contract import BackendError, Piece, RawUsage, Response, ToolCall
from organism.models.formats import error_of, items, mapping, response_of, text_in, told_apart
from organism.models.reasoning import THINKING

if TYPE_CHECKING:
    from organism.models.contract import FinishReason

_REASONS: Final[Mapping[str, FinishReason]] = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "tool_use": "tool_calls",
    "refusal": "content_filter",
}
_THOUGHT: Final = ("type", "thinking", "signature", "data")
"""What of a block of thinking is sent back; a redacted one has data instead of text."""


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


@define
class _Block:
    """A block of an answer, whole or in the making. ``text``: what it says, or the arguments of a call as JSON."""

    start: Mapping[str, Any]
    kind: str
    text: str = ""
    signature: str = ""

    @classmethod
    def of(cls, block: Mapping[str, Any]) -> _Block:
        kind = text_in(block.get("type"))
        return cls(block, kind, text_in(block.get("text" if kind == "text" else "thinking")))

    @property
    def name(self) -> str:
        return text_in(self.start.get("name")) if self.kind == "tool_use" else ""

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
                came = text_in(delta.get("text"))
            case "input_json_delta":
                came = text_in(delta.get("partial_json"))
            case "thinking_delta":
                came = text_in(delta.get("thinking"))
            case "signature_delta":
                self.signature += text_in(delta.get("signature"))
                return ""
            case _:
                return ""
        self.text += came
        return came


@define
class Assembler:
    """See :class:`organism.models.transport.sse.Assembler`. ``answer`` names the tool that hands in the answer, if any."""

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
                self._model = text_in(message.get("model"))
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
        """The response in a body. Raises BackendError where there is no content in it."""
        body = mapping(document)
        self.usage = usage_of(body.get("usage"))
        content = body.get("content")
        if not isinstance(content, Sequence) or isinstance(content, str):
            error = body.get("error")
            said = text_in(error) or ("" if error else f"the answer has no content: {str(document)[:200]}")
            received = text_in(document)
            raise error_of(mapping(error), unknown="broken", otherwise=said, usage=self.usage, received=received)
        self._model = text_in(body.get("model"))
        self._end |= body
        self._blocks |= {index: _Block.of(mapping(block)) for index, block in enumerate(items(body.get("content")))}
        return self._whole()

    def response(self) -> Response:
        """The response at the end of the stream. Raises BackendError (``cut``) where the end came too early."""
        if not self._end.get("stop_reason"):
            raise BackendError("cut", "the stream ended before its answer did", usage=self.usage)
        return self._whole()

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

    def _whole(self) -> Response:
        said, handed_in = "", ""
        calls: list[ToolCall] = []
        thoughts: list[dict[str, Any]] = []
        for _, block in sorted(self._blocks.items()):
            if block.kind == "text":
                said += block.text
            elif block.kind in {"thinking", "redacted_thinking"}:
                thoughts.append({**block.thought, "at": [len(said), len(calls)]})
            elif self.answer and block.name == self.answer:
                handed_in = handed_in or block.arguments
            elif block.name:
                calls.append(ToolCall(id=text_in(block.start.get("id")), name=block.name, arguments=block.arguments))
        reason: FinishReason = _REASONS.get(text_in(self._end.get("stop_reason")), "other")
        if reason in {"stop", "tool_calls"}:
            reason = "tool_calls" if calls else "stop"
        elif reason == "content_filter" and not said:
            said = text_in(mapping(self._end.get("stop_details")).get("explanation"))
        return response_of(
            handed_in or said,
            list(told_apart(calls)),
            reason=reason,
            usage=self.usage,
            model=self._model,
            thought="".join(text_in(each.get("thinking")) or text_in(each.get("data")) for each in thoughts),
            kept={THINKING: thoughts} if thoughts else {},
        )
