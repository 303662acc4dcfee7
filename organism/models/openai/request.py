"""Requests in the format of chat completions, which most servers speak. ``response`` has the way back. Pure."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any, Final

from organism.models.formats import mapping, plain
from organism.models.reasoning import KEPT, THINKING, says_nothing
from organism.models.transport.options import OptionRules

if TYPE_CHECKING:
    from collections.abc import Mapping

    from organism.models.contract import Message, Request, ToolSpec

RULES: Final = OptionRules(
    owned=frozenset({"model", "messages", "stream", "stream_options", "max_tokens", "max_completion_tokens", "n"}),
    apart=frozenset({"max_tokens_parameter", "send_thoughts_back"}),
)
"""The router holds budget for exactly one answer of the length that it asks for."""
EXTRA: Final = "extra_content"
"""What a call has beside its arguments, by whatever maker: Google's signatures of thoughts."""
_NO_NAME: Final = re.compile(r"[^A-Za-z0-9_-]")


def body_of(request: Request, *, limit: str, server: str = "") -> dict[str, Any]:
    """The body of a request; ``limit`` is what the server calls the most tokens that it may answer.

    Options of the backend give way to what the call says, and both to its ``extra``. Raises BackendError where these say
    something that only the router may.
    """
    options, extra = RULES.passed(request)
    messages = [
        _as_sent(each, server) if KEPT in each or THINKING in each else each
        for each in request.messages
        if not says_nothing(each)
    ]
    said = {"model": request.model, "messages": messages, limit: request.max_output_tokens}
    body: dict[str, Any] = plain(options | _said(request) | extra | said)
    return body


def _as_sent(message: Message, server: str) -> dict[str, Any]:
    """A message with what is kept for this server, where it wants it, and without what is kept for others."""
    sent = {name: part for name, part in message.items() if name not in {THINKING, KEPT}}
    kept, calls = mapping(message.get(KEPT)), sent.get("tool_calls")
    if not calls or kept.get("server") != server:
        return sent
    try:
        said: dict[str, Any] = dict(json.loads(kept["said"]))
    except (KeyError, TypeError, ValueError):  # somebody else wrote it, or a part was hidden in a journal
        return sent
    beside = mapping(said.pop(EXTRA, None))
    called = [{**call, EXTRA: beside[call["id"]]} if call.get("id") in beside else call for call in calls]
    return {**sent, **said, "tool_calls": called}


def _said(request: Request) -> dict[str, Any]:
    said: dict[str, Any] = {
        "temperature": request.temperature,
        "seed": request.seed,
        "reasoning_effort": request.reasoning_effort,
    }
    if request.tools:
        said["tools"] = [tool_of(tool) for tool in request.tools]
        named = request.tool_choice not in {"auto", "required", "none"}
        said["tool_choice"] = (
            {"type": "function", "function": {"name": request.tool_choice}} if named else request.tool_choice
        )
    if request.returns is not None:
        said["response_format"] = format_of(request.returns)
    return {key: value for key, value in said.items() if value is not None}


def tool_of(tool: ToolSpec) -> dict[str, Any]:
    """A tool as it is sent."""
    spec = {"name": tool.name, "description": tool.description, "parameters": tool.parameters}
    return {"type": "function", "function": spec}


def format_of(returns: Mapping[str, Any]) -> dict[str, Any]:
    """The schema of the answer as it is sent."""
    name = _NO_NAME.sub("_", str(returns.get("title", "answer")))[:64]
    # Not `strict`: that takes only schemas without optional fields, and refuses the call for any other.
    return {"type": "json_schema", "json_schema": {"name": name, "schema": returns}}
