"""Messages, the way a server has them: bodies into requests, answers and streams into documents and events.

Pure. ``models.anthropic`` has the same protocol from the caller's side.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from organism.models.anthropic.request import EFFORTS
from organism.models.contract import Request, ToolSpec
from organism.models.simulation.options import KNOWN
from organism.models.simulation.tokens import PER_MESSAGE, count_tokens, tool_tokens
from organism.models.tokens.prompt import compact
from organism.server.chat import fragments
from organism.server.refusals import Fields, check_results, wrong
from organism.server.usage import Cached, Part, counts

if TYPE_CHECKING:
    from collections.abc import Iterator

    from organism.models.contract import Message, Response
    from organism.server.refusals import Refusal

_CHOICES: Final = {"auto": "auto", "any": "required", "none": "none"}
_REASONS: Final = {"stop": "end_turn", "length": "max_tokens", "tool_calls": "tool_use", "content_filter": "refusal"}
_KINDS: Final[Mapping[int, str]] = {
    401: "authentication_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    500: "api_error",
}
_SEEN: Final = frozenset({"text", "image", "document", "search_result"})
_THOUGHT: Final = frozenset({"thinking", "redacted_thinking"})

Block = Mapping[str, Any]


def request_of(body: Mapping[str, Any]) -> Request:
    """The request of a body. What the simulated model has no use for is not looked at. Raises Refusal."""
    given = Fields(body)
    turns = [message for turn in given.items("messages") for message in _turn(turn)]
    if not turns:
        raise wrong("messages", "must have at least one message")
    check_results(turns)
    tools = [_tool(each) for each in given.items("tools")]
    most = given.whole("max_tokens", least=1)
    return Request(
        model=given.text("model"),
        messages=[*_system(given), *turns],
        max_output_tokens=most,
        tools=tools,
        tool_choice=_choice(given, tools),
        temperature=given.number("temperature", 1),
        reasoning_effort=_effort(given, most),
        extra={name: body[name] for name in KNOWN if name in body},
    )


def _blocks(given: Fields, name: str) -> list[Fields]:
    """The blocks of a content, or the one of a text."""
    content = given.all.get(name)
    if isinstance(content, str):
        return [Fields({"type": "text", "text": content}, given.at(name))]
    if not isinstance(content, list):
        raise wrong(given.at(name), "must be a string or an array of blocks")
    return given.items(name)


def _system(given: Fields) -> list[Message]:
    if given.all.get("system") is None:
        return []
    return [{"role": "system", "content": block.text("text")} for block in _blocks(given, "system")]


def _turn(given: Fields) -> Iterator[Message]:
    """The messages of a turn, as chat completions have them: results of tools, texts and calls."""
    if given.text("role", among=("user", "assistant")) == "assistant":
        yield _said(_blocks(given, "content"))
        return
    rest: list[Block] = []
    for block in _blocks(given, "content"):
        if block.text("type") == "tool_result":
            yield {"role": "tool", "tool_call_id": block.text("tool_use_id"), "content": _result(block)}
        else:
            rest.append(_part(block))
    if all(part["type"] == "text" for part in rest):
        for part in rest:
            yield {"role": "user", "content": part["text"]}
    else:
        yield {"role": "user", "content": rest}


def _result(block: Fields) -> object:
    if block.all.get("content") is None:
        return ""
    parts = [_part(each) for each in _blocks(block, "content")]
    texts = [str(part["text"]) for part in parts if part["type"] == "text"]
    return parts if len(texts) < len(parts) else "\n".join(texts)


def _part(block: Fields) -> Block:
    if block.text("type", among=_SEEN) == "text":
        return {"type": "text", "text": block.text("text")}
    return {name: value for name, value in block.all.items() if name != "cache_control"}


def _said(blocks: Sequence[Fields]) -> Message:
    text, calls = "", list[dict[str, Any]]()
    for block in blocks:
        match block.text("type"):
            case "text":
                text += block.text("text")
            case "tool_use":
                function = {"name": block.text("name"), "arguments": compact(block.inner("input").all)}
                calls.append({"id": block.text("id"), "type": "function", "function": function})
            case kind if kind not in _THOUGHT:
                raise wrong(block.at("type"), f"'{kind[:80]}' is not one of text, thinking, tool_use")
            case _:
                pass
    message: dict[str, Any] = {"role": "assistant", "content": text or (None if calls else "")}
    return message | {"tool_calls": calls} if calls else message


def _tool(given: Fields) -> ToolSpec:
    given.text("type", "custom", among=("custom",))
    schema = given.inner("input_schema").all
    return ToolSpec(name=given.text("name"), description=given.text("description", ""), parameters=schema)


def _choice(given: Fields, tools: Sequence[ToolSpec]) -> str:
    if given.all.get("tool_choice") is None:
        return "auto"
    choice = given.inner("tool_choice")
    kind = choice.text("type", among=("auto", "any", "none", "tool"))
    found = choice.text("name") if kind == "tool" else _CHOICES[kind]
    return found if tools or found == "required" or kind == "tool" else "auto"


def _effort(given: Fields, most: int) -> str | None:
    """How hard to think: as it is said, or the effort that leaves about this share of the answer to thinking."""
    if given.all.get("output_config") is not None and (said := given.inner("output_config").text("effort", "")):
        return said
    if given.all.get("thinking") is None:
        return None
    thinking = given.inner("thinking")
    match thinking.text("type", among=("enabled", "disabled", "adaptive")):
        case "enabled":
            budget = thinking.whole("budget_tokens", least=1024)
            if budget >= most:
                raise wrong(thinking.at("budget_tokens"), "must be less than max_tokens")
            return min(EFFORTS, key=lambda effort: abs(EFFORTS[effort] - budget / most))
        case "disabled":
            return "none"
        case _:
            return None


def parts_of(body: Mapping[str, Any], request: Request) -> list[Part]:
    """The parts of a prompt of which prefixes can be kept: tools, system, turns, each with its mark or without."""
    given = Fields(body)
    parts = [
        Part(compact(tool.parameters) + tool.name + tool.description, tool_tokens(tool), _marked(block))
        for tool, block in zip(request.tools, given.items("tools"), strict=True)
    ]
    if given.all.get("system") is not None:
        parts += [
            Part(f"system {block.text('text')}", PER_MESSAGE + count_tokens(block.text("text")), _marked(block))
            for block in _blocks(given, "system")
        ]
    for turn in given.items("messages"):
        for block in _blocks(turn, "content"):
            bare = {name: value for name, value in block.all.items() if name != "cache_control"}
            said = str(bare["text"]) if bare["type"] == "text" else compact(bare)
            parts.append(Part(f"{turn.text('role')} {compact(bare)}", count_tokens(said), _marked(block)))
    return parts


def _marked(block: Fields) -> bool:
    return block.all.get("cache_control") is not None


def answer_of(response: Response, cached: Cached, *, number: int, model: str) -> dict[str, Any]:
    """The document of a whole answer."""
    content: list[dict[str, Any]] = [{"type": "text", "text": response.text}] if response.text else []
    # The simulated model calls a tool with whole arguments, or not at all.
    content += [
        {"type": "tool_use", "id": call.id, "name": call.name, "input": json.loads(call.arguments)}
        for call in response.tool_calls
    ]
    given, answered = counts(response)
    reason = _REASONS.get(response.finish_reason, "end_turn")
    document = _document(number, model, _usage(given, cached) | {"output_tokens": answered})
    return document | {"content": content, "stop_reason": reason}


def _document(number: int, model: str, usage: Mapping[str, int]) -> dict[str, Any]:
    return {
        "id": f"msg_{number:08d}",
        "type": "message",
        "role": "assistant",
        "model": model,
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
        "usage": usage,
    }


def _usage(given: int, cached: Cached) -> dict[str, int]:
    """What is reported of the prompt: what was read from the cache or written there is not part of the input."""
    read = min(given, cached.read)
    written = min(given - read, cached.written)
    return {
        "input_tokens": given - read - written,
        "cache_creation_input_tokens": written,
        "cache_read_input_tokens": read,
    }


class Events:
    """The events of a stream, one after the other. ``given``: tokens of the prompt."""

    def __init__(self, *, number: int, model: str, given: int, cached: Cached) -> None:
        self._start = _document(number, model, _usage(given, cached) | {"output_tokens": 1})
        self._open = False

    def opening(self) -> Iterator[dict[str, Any]]:
        """The first events: the prompt is read."""
        yield {"type": "message_start", "message": self._start}
        yield {"type": "ping"}

    def text(self, text: str) -> Iterator[dict[str, Any]]:
        """A piece of the text."""
        if not self._open:
            self._open = True
            yield {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}
        yield {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": text}}

    def ending(self, response: Response) -> Iterator[dict[str, Any]]:
        """What follows the text: calls, why it ends, and what the answer used."""
        if self._open:
            yield {"type": "content_block_stop", "index": 0}
        for index, call in enumerate(response.tool_calls, start=int(self._open)):
            start: dict[str, Any] = {"type": "tool_use", "id": call.id, "name": call.name, "input": {}}
            yield {"type": "content_block_start", "index": index, "content_block": start}
            for fragment in fragments(call.arguments):
                delta = {"type": "input_json_delta", "partial_json": fragment}
                yield {"type": "content_block_delta", "index": index, "delta": delta}
            yield {"type": "content_block_stop", "index": index}
        reason = _REASONS.get(response.finish_reason, "end_turn")
        _, answered = counts(response)
        said = {"type": "message_delta", "delta": {"stop_reason": reason, "stop_sequence": None}}
        yield said | {"usage": {"output_tokens": answered}}
        yield {"type": "message_stop"}


def error_of(refusal: Refusal, *, number: int) -> dict[str, Any]:
    """The document of a refusal."""
    kind = _KINDS.get(refusal.status, "invalid_request_error")
    return {
        "type": "error",
        "error": {"type": kind, "message": refusal.text},
        "request_id": request_id(number),
    }


def request_id(number: int) -> str:
    """What an answer or a refusal is called in its headers."""
    return f"req_{number:08d}"
