"""What ``ctx.complete`` is asked and what it gives back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

from attrs import frozen

from organism.budget.claims import Crossing
from organism.models.contract import Message, ToolCall, ToolSpec
from organism.quick import quick
from organism.settings import NOTHING
from organism.usage import Usage


@quick
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


@quick
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
