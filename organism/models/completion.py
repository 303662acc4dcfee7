"""What ``ctx.complete`` is asked and what it gives back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any, Final

from attrs import evolve, frozen

from organism.budget.claims import Crossing
from organism.models.contract import Message, ToolCall, ToolSpec
from organism.quick import maker
from organism.settings import NOTHING
from organism.usage import Usage


@frozen(kw_only=True)
class Call:
    """One ``complete``. ``max_output_tokens`` is an argument that is honoured or refused; ``wish`` is an agent's, and may
    be clamped down to ``min_output_tokens``; with neither the alias's ``max_output_tokens`` is the wish. ``tags`` say what its
    costs are counted under; no provider hears them.
    """

    messages: tuple[Message, ...]
    model: str = "default"
    max_output_tokens: int | None = None
    wish: int | None = None
    min_output_tokens: int = 64
    temperature: float | None = None
    seed: int | None = None
    reasoning_effort: str | None = None
    tools: Sequence[ToolSpec] = ()
    tool_choice: str = "auto"
    returns: Mapping[str, Any] | None = None
    extra: Mapping[str, Any] = NOTHING
    tags: tuple[str, ...] = ()


new_call: Final = maker(Call)


@frozen(kw_only=True)
class Completion:
    """An answer of a model.

    ``value``: the payload, where ``returns=`` asked for one. ``message``: the assistant message to append to a history.
    ``usage``: of this call over all its attempts. ``cost_usd``: what it cost. ``latency``: seconds of the last attempt.
    ``attempts``: how many were made. ``warnings``: the levels that this call crossed. ``clamped``: the wish for output
    was lowered to what the budget could bear.
    """

    text: str
    message: Message
    model: str
    backend: str
    usage: Usage
    cost_usd: Decimal
    value: Any = None
    tool_calls: tuple[ToolCall, ...] = ()
    finish_reason: str = "stop"
    latency: float = 0.0
    attempts: int = 1
    warnings: tuple[Crossing, ...] = ()
    clamped: bool = False


def agreeing(completion: Completion, before: Completion) -> Completion:
    """A completion that was changed from what it was ``before``, with a message that says the same as it: an agent reads the text of the one
    and carries out its calls, and remembers the other, in which each call has to have its result.
    """
    message = dict(completion.message)
    if completion.text != before.text and completion.message == before.message:
        message["content"] = completion.text
    known = {_key(call): call for call in message.get("tool_calls") or ()}
    called = [
        {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}
        for call in completion.tool_calls
    ]
    if called:
        message["tool_calls"] = [known.get(_key(call), call) for call in called]
    elif message.pop("tool_calls", None):
        message["content"] = message.get("content") or ""
    return completion if message == completion.message else evolve(completion, message=message)


def _key(call: Mapping[str, Any]) -> tuple[Any, ...]:
    function: Mapping[str, Any] = call.get("function") or {}
    return call.get("id"), function.get("name"), function.get("arguments")
