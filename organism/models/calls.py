"""From what a handler writes to a call, and from an answer to the payload it asked for."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from attrs import evolve

from organism.errors import InvalidPayloadError
from organism.models.completion import Call, Completion
from organism.models.contract import ToolSpec
from organism.payloads import decode_fields, describe, is_payload, json_schema
from organism.settings import NOTHING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from organism.models.contract import Message

ROLES = frozenset({"system", "developer", "user", "assistant", "tool"})


def asked_for(
    messages: str | Sequence[Mapping[str, Any]],
    *,
    model: str,
    max_output_tokens: int | None,
    min_output_tokens: int | None,
    temperature: float | None,
    seed: int | None,
    tools: Sequence[Any],
    returns: type | None,
    extra: Mapping[str, Any] | None,
) -> Call:
    """The call that ``ctx.complete`` was asked to make. Raises ValueError or TypeError for what is no request."""
    figures: dict[str, Any] = {"max_output_tokens": max_output_tokens, "min_output_tokens": min_output_tokens}
    for name, value in figures.items():
        if value is not None and (type(value) is not int or value < 1):
            raise ValueError(f"{name} is a whole number from 1 on, not {value!r}")
    return Call(
        messages=messages_of(messages),
        model=model,
        max_output_tokens=max_output_tokens,
        min_output_tokens=64 if min_output_tokens is None else min_output_tokens,
        temperature=temperature,
        seed=seed,
        tools=tuple(tool_of(tool) for tool in tools),
        returns=None if returns is None else json_schema(returns),
        extra=NOTHING if extra is None else extra,
    )


def messages_of(messages: str | Sequence[Mapping[str, Any]]) -> tuple[Message, ...]:
    """A question, or chat-completions messages, as a tuple of messages."""
    if isinstance(messages, str):
        return ({"role": "user", "content": messages},)
    found = tuple(messages)
    if not found:
        raise ValueError("a call needs at least one message")
    for index, message in enumerate(found):
        role = message.get("role") if hasattr(message, "get") else None
        if role not in ROLES:
            raise ValueError(f"messages[{index}] has no role of {', '.join(sorted(ROLES))}: {message!r:.80}")
    return found


def tool_of(tool: Any) -> ToolSpec:
    """A tool that a model is offered: a specification as it is, a payload class by its fields."""
    if isinstance(tool, ToolSpec):
        return tool
    if isinstance(tool, type) and is_payload(tool):
        described = describe(tool)
        return ToolSpec(name=described.name, description=described.doc, parameters=json_schema(tool))
    raise TypeError(f"a tool is a payload class or a ToolSpec, not {tool!r:.80}")


def value_of(completion: Completion, returns: type | None) -> Completion:
    """The completion with the payload that its text holds, where one was asked for."""
    if returns is None:
        return completion
    try:
        document = json.loads(completion.text)
    except ValueError as error:
        raise InvalidPayloadError(f"the model did not answer in JSON: {error}", where=returns.__name__) from error
    return evolve(completion, value=decode_fields(returns, document))
