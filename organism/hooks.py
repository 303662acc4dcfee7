"""Hooks: functions that a program puts at fixed points of the work, to see, change, skip, hold up or refuse a step.

A hook is ``def hook(event, ctx)``, plain or async; ``ctx`` is the handler's context. It gives a verdict: nothing or :class:`Go` (go on),
:class:`Change` (go on with something else), :class:`Skip` (the step is not made; this is its result), :class:`Pause` (the thread
pauses, and the hook is asked again once it was resumed), :class:`Abort` (the step fails). Hooks of one point are asked in the order
in which they were named; each sees what those before it changed.

| point | event | verdicts | where |
|---|---|---|---|
| ``on_message`` | :class:`MessageEvent` | all | before a handler is called with a message; not for people and tools |
| ``before_model_call`` | :class:`CallEvent` | all | before a handler's call to a model, its prompt ready |
| ``after_model_call`` | :class:`CompletionEvent` | go, change, abort | when the answer is there, paid for and written down |
| ``before_tool`` | :class:`ToolEvent` | all | before an agent's call to a peer or a function |
| ``after_tool`` | :class:`ToolResultEvent` | go, change, abort | before the agent reads the result |
| ``on_turn_end`` | :class:`TurnEvent` | go, pause, abort | when all that an agent's model asked for in a turn was carried out |
| ``on_abort`` | :class:`AbortEvent` | go | when a delivery has failed or was cancelled |

A delivery that is run again after a crash, and one that is replayed, asks its hooks again: what a hook says must follow from what it
is shown and from ``ctx`` (``ctx.now()``, ``ctx.random`` and ``ctx.state`` say again what they said), or the run goes another way.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from attrs import field, frozen

from organism.models.completion import Call, Completion
from organism.points import POINTS, Point

Hook = Callable[[Any, Any], Any]
"""``hook(event, ctx)`` gives a verdict or ``None``, or an awaitable of one."""


# Verdicts. What stands in ``secrets`` is a secret from now on: wherever this organism writes it, it writes ``[secret]``.


def _texts(given: Any) -> tuple[str, ...]:
    return (given,) if isinstance(given, str) else tuple(given)


@frozen
class Go:
    """Go on."""

    secrets: tuple[str, ...] = field(default=(), converter=_texts, repr=False, kw_only=True)


@frozen
class Change:
    """Go on with ``value``: a payload, a call, a completion, or the text of a tool's result, as the event has it."""

    value: Any
    secrets: tuple[str, ...] = field(default=(), converter=_texts, repr=False, kw_only=True)


@frozen
class Skip:
    """The step is not made. ``result`` stands for what would have come of it: of a message what its handler would answer (``None``:
    nothing), of a model call the text or a whole completion, of a tool's call the text that the agent reads.
    """

    result: Any = None
    secrets: tuple[str, ...] = field(default=(), converter=_texts, repr=False, kw_only=True)


@frozen
class Pause:
    """The thread is paused, as by ``organism pause``; when it was resumed the hook is asked again."""

    reason: str
    secrets: tuple[str, ...] = field(default=(), converter=_texts, repr=False, kw_only=True)


@frozen
class Abort:
    """The step fails with code ``refused`` and this text: a delivery, or the one call of a tool, whose result it is then."""

    text: str
    secrets: tuple[str, ...] = field(default=(), converter=_texts, repr=False, kw_only=True)


Verdict = Go | Change | Skip | Pause | Abort
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
    """A message for handler ``to``. ``sender`` is the handler that sent it; ``organism`` for primitives, empty from outside."""

    to: str
    sender: str
    payload: Any


@frozen(kw_only=True)
class CallEvent:
    """A handler's call to a model: its messages, tools and limits."""

    call: Call


@frozen(kw_only=True)
class CompletionEvent:
    """What a model said to ``call``; ``skipped``: what a hook said in its place. A stream was read to its end."""

    call: Call
    completion: Completion
    skipped: bool = False


@frozen(kw_only=True)
class ToolEvent:
    """What an agent's model asks of ``tool``, a peer or a function."""

    tool: str
    payload: Any


@frozen(kw_only=True)
class ToolResultEvent:
    """What came of it, as the agent reads it; ``failed``: it tells of a failure."""

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
