"""Chat completions, the way a server has them: bodies into requests, answers and streams into documents.

Pure. ``models.openai`` has the same protocol from the caller's side.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final, cast

from organism.models.contract import Request, ToolSpec
from organism.models.simulation.options import KNOWN
from organism.server.refusals import Fields, check_results, wrong
from organism.server.usage import counts

if TYPE_CHECKING:
    from collections.abc import Iterator

    from organism.models.contract import Message, Response
    from organism.server.refusals import Refusal

ROLES: Final = ("system", "developer", "user", "assistant", "tool")
DONE: Final = b"data: [DONE]\n\n"
USUAL_OUTPUT: Final = 4096
"""Tokens of an answer where the request says nothing."""
_KINDS: Final[Mapping[int, str]] = {401: "authentication_error", 429: "rate_limit_error", 500: "server_error"}
_FRAGMENT: Final = 32
"""Characters of a call's arguments in one chunk."""


def request_of(body: Mapping[str, Any]) -> Request:
    """The request of a body. What the simulated model has no use for is not looked at. Raises Refusal."""
    given = Fields(body)
    messages = [_message(each) for each in given.items("messages")]
    if not messages:
        raise wrong("messages", "must have at least one message")
    check_results(messages)
    if given.whole("n", 1) != 1:
        raise wrong("n", "must be 1")
    limit = next((name for name in ("max_completion_tokens", "max_tokens") if body.get(name) is not None), "max_tokens")
    tools = [_tool(each) for each in given.items("tools")]
    return Request(
        model=given.text("model"),
        messages=messages,
        max_output_tokens=given.whole(limit, USUAL_OUTPUT, least=1),
        tools=tools,
        tool_choice=_choice(given, tools),
        returns=_schema(given),
        temperature=given.number("temperature", 2),
        seed=None if body.get("seed") is None else given.whole("seed"),
        reasoning_effort=given.text("reasoning_effort", "") or None,
        extra={name: body[name] for name in KNOWN if name in body and name != "seed"},
    )


def _message(given: Fields) -> Message:
    role = given.text("role", among=ROLES)
    message = {name: value for name, value in given.all.items() if name != "role"}
    _check_content(given, optional=role == "assistant")
    if role == "tool":
        given.text("tool_call_id")
    for call in given.items("tool_calls"):
        call.text("id")
        function = call.inner("function")
        function.text("name")
        function.text("arguments")
    return {"role": role, **message}


def _check_content(given: Fields, *, optional: bool) -> None:
    content = given.all.get("content")
    if isinstance(content, str) or (content is None and optional):
        return
    if not isinstance(content, list):
        raise wrong(given.at("content"), "must be a string or an array of parts")
    for part in given.items("content"):
        part.text("type")


def _tool(given: Fields) -> ToolSpec:
    given.text("type", among=("function",))
    function = given.inner("function")
    parameters = function.inner("parameters").all if function.all.get("parameters") is not None else {"type": "object"}
    return ToolSpec(name=function.text("name"), description=function.text("description", ""), parameters=parameters)


def _choice(given: Fields, tools: list[ToolSpec]) -> str:
    choice = given.all.get("tool_choice", "auto")
    if isinstance(choice, Mapping):
        return given.inner("tool_choice").inner("function").text("name")
    found = given.text("tool_choice", "auto", among=("auto", "required", "none"))
    return found if tools or found == "required" else "auto"


def _schema(given: Fields) -> Mapping[str, Any] | None:
    if given.all.get("response_format") is None:
        return None
    wanted = given.inner("response_format")
    match wanted.text("type", among=("text", "json_object", "json_schema")):
        case "json_schema":
            return wanted.inner("json_schema").inner("schema").all
        case "json_object":
            return {"type": "object"}
        case _:
            return None


def answer_of(response: Response, *, number: int, model: str, now: float) -> dict[str, Any]:
    """The document of a whole answer."""
    choice = {"index": 0, "message": response.message, "logprobs": None, "finish_reason": response.finish_reason}
    return _document(number, model, now, "chat.completion") | {"choices": [choice], "usage": _usage(response)}


class Chunks:
    """The chunks of a stream, one after the other."""

    def __init__(self, *, number: int, model: str, now: float, usage: bool) -> None:
        self._document = _document(number, model, now, "chat.completion.chunk")
        self._usage = usage

    def opening(self) -> dict[str, Any]:
        """The first chunk: who speaks."""
        return self._chunk({"role": "assistant", "content": ""})

    def text(self, text: str) -> dict[str, Any]:
        """A piece of the text."""
        return self._chunk({"content": text})

    def ending(self, response: Response) -> Iterator[dict[str, Any]]:
        """What follows the text: calls, why it ends, and usage where it was asked for."""
        for index, call in enumerate(response.tool_calls):
            named = {"index": index, "id": call.id, "type": "function"}
            yield self._chunk({"tool_calls": [named | {"function": {"name": call.name, "arguments": ""}}]})
            for fragment in fragments(call.arguments):
                yield self._chunk({"tool_calls": [{"index": index, "function": {"arguments": fragment}}]})
        yield self._chunk({}, response.finish_reason)
        if self._usage:
            yield self._document | {"choices": [], "usage": _usage(response)}

    def _chunk(self, delta: dict[str, Any], reason: str | None = None) -> dict[str, Any]:
        return self._document | {"choices": [{"index": 0, "delta": delta, "logprobs": None, "finish_reason": reason}]}


def wants_usage(body: Mapping[str, Any]) -> bool:
    """Whether a stream is to end with what it used."""
    options = body.get("stream_options")
    return isinstance(options, Mapping) and bool(cast("Mapping[str, object]", options).get("include_usage"))


def fragments(text: str) -> Iterator[str]:
    """A text in pieces."""
    for start in range(0, len(text), _FRAGMENT):
        yield text[start : start + _FRAGMENT]


def _document(number: int, model: str, now: float, kind: str) -> dict[str, Any]:
    return {"id": f"chatcmpl-{number:08d}", "object": kind, "created": int(now), "model": model}


def _usage(response: Response) -> dict[str, Any]:
    given, answered = counts(response)
    return {
        "prompt_tokens": given,
        "completion_tokens": answered,
        "total_tokens": given + answered,
        "prompt_tokens_details": {"cached_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": 0},
    }


def error_of(refusal: Refusal) -> dict[str, Any]:
    """The document of a refusal."""
    kind = _KINDS.get(refusal.status, "invalid_request_error")
    return {"error": {"message": refusal.text, "type": kind, "param": refusal.param, "code": refusal.code or None}}
