"""Hooks: functions that a program puts at fixed points of the work, to see, change, skip, hold up or refuse a step.

A hook is ``def hook(event, ctx)``, plain or async; ``ctx`` is the handler's context. It returns a verdict: ``None`` or :class:`Go`
(continue), :class:`Change` (continue with something else), :class:`Skip` (do not make the step; this is its result), :class:`Pause`
(pause the thread; the hook is called again when it is resumed), :class:`Abort` (the step fails). Hooks of one point are called in the
order in which they were named; each sees what those before it changed.

| point | event | verdicts | where |
|---|---|---|---|
| ``on_message`` | :class:`MessageEvent` | all | before a handler is called with a message; not for people and tools |
| ``before_model_call`` | :class:`CallEvent` | all | before a handler's call to a model, with its whole prompt |
| ``after_model_call`` | :class:`CompletionEvent` | go, change, abort | when the answer has come, is paid for and written down |
| ``before_tool`` | :class:`ToolEvent` | all | before an agent's call to a peer or a function |
| ``after_tool`` | :class:`ToolResultEvent` | go, change, abort | before the agent reads the result |
| ``on_turn_end`` | :class:`TurnEvent` | go, pause, abort | when everything that an agent's model asked for in a turn was carried out |
| ``on_abort`` | :class:`AbortEvent` | go | when a handler has raised, or was cancelled, as at its timeout |

A delivery that is run again after a crash, or replayed, calls its hooks again. So a verdict must depend on nothing but the event and
``ctx`` (``ctx.now()``, ``ctx.random`` and ``ctx.state`` give the same values again); otherwise the second run differs from the first.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

from attrs import field, frozen

from organism.models.completion import Call, Completion
from organism.points import POINTS, Point

# Verdicts. The texts in ``secrets`` are secret from now on: wherever this organism would write one, it writes ``[secret]``.


def _texts(given: Any) -> tuple[str, ...]:
    texts = (given,) if isinstance(given, str) else tuple(given)
    if wrong := [each for each in texts if not isinstance(each, str)]:
        raise TypeError(f"secrets are texts, not a value of type {type(wrong[0]).__name__}")
    return texts


@frozen
class Go:
    """Continue with the step as it is."""

    secrets: tuple[str, ...] = field(default=(), converter=_texts, repr=False, kw_only=True)


@frozen
class Change:
    """Continue with ``value`` in place of what the event has: a payload, a call, a completion, or the text of a tool's result."""

    value: Any
    secrets: tuple[str, ...] = field(default=(), converter=_texts, repr=False, kw_only=True)


@frozen
class Skip:
    """Do not make the step. ``result`` takes the place of its result: for a message what its handler would return (``None``: nothing), for
    a model call the text or a whole completion, for a tool call the text that the agent reads.
    """

    result: Any = None
    secrets: tuple[str, ...] = field(default=(), converter=_texts, repr=False, kw_only=True)


@frozen
class Pause:
    """Pause the thread, as ``organism pause`` does; when it is resumed, the hook is called again."""

    reason: str
    secrets: tuple[str, ...] = field(default=(), converter=_texts, repr=False, kw_only=True)


@frozen
class Abort:
    """Let the step fail with code ``refused`` and this text: the delivery, or one tool call, whose result is then this failure."""

    text: str
    secrets: tuple[str, ...] = field(default=(), converter=_texts, repr=False, kw_only=True)


Verdict = Go | Change | Skip | Pause | Abort
Hook = Callable[[Any, Any], Verdict | Awaitable[Verdict | None] | None]
"""``hook(event, ctx)`` returns a verdict or ``None``, or an awaitable of one."""
ALLOWED: Final[Mapping[Point, tuple[type, ...]]] = {
    "on_message": (Go, Change, Skip, Pause, Abort),
    "before_model_call": (Go, Change, Skip, Pause, Abort),
    "after_model_call": (Go, Change, Abort),
    "before_tool": (Go, Change, Skip, Pause, Abort),
    "after_tool": (Go, Change, Abort),
    "on_turn_end": (Go, Pause, Abort),
    "on_abort": (Go,),
}
"""The verdicts of each point."""


# Events


@frozen(kw_only=True)
class MessageEvent:
    """A message for handler ``to``. ``sender`` is the handler that sent it; ``organism`` for the organism's own, empty for one from outside."""

    to: str
    sender: str
    payload: Any


@frozen(kw_only=True)
class CallEvent:
    """A handler's call to a model: its messages, tools and limits."""

    call: Call


@frozen(kw_only=True)
class CompletionEvent:
    """What a model answered to ``call``, or, if ``skipped``, what a hook answered in its place. A stream has been read to its end."""

    call: Call
    completion: Completion
    skipped: bool = False


@frozen(kw_only=True)
class ToolEvent:
    """A tool call of an agent's model; ``tool`` is a peer or a function."""

    tool: str
    payload: Any


@frozen(kw_only=True)
class ToolResultEvent:
    """The ``result`` of a tool call, as the agent reads it; ``failed``: it reports a failure."""

    tool: str
    payload: Any
    result: str
    failed: bool


@frozen(kw_only=True)
class TurnEvent:
    """A turn of an agent was carried out: what its model said, the results as it reads them, and its reply, if that was one."""

    completion: Completion
    results: tuple[str, ...]
    reply: Any


@frozen(kw_only=True)
class AbortEvent:
    """A delivery has failed with this code and text, or was cancelled (``cancelled``)."""

    code: str
    text: str


__all__ = [
    "ALLOWED", "POINTS",
    "Abort", "AbortEvent", "CallEvent", "Change", "CompletionEvent", "Go", "Hook", "MessageEvent", "Pause", "Point", "Skip", "ToolEvent",
    "ToolResultEvent", "TurnEvent", "Verdict",
]  # fmt: skip
