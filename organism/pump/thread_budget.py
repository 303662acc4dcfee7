"""Questions about the budget of a thread: the live view that handlers get, the seconds that are left, and how its calls are accounted for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from organism.budget.caps import NO_LIMIT
from organism.budget.claims import COST
from organism.budget.view import BudgetView, Gauge
from organism.errors import out_of_seconds
from organism.kernel.answers import depth_limit
from organism.kernel.conversations import time_limit
from organism.kernel.times import running_time

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from organism.budget.node import Node
    from organism.errors import BudgetExhaustedError
    from organism.kernel import Kernel
    from organism.kernel.state import State
    from organism.pump.deadlines import Deadlines
    from organism.threads.frames import Thread


def budget_view(state: State, thread: Thread, now: Callable[[], float], *, depth: int) -> BudgetView:
    """The budget of a thread, live, for a call at this ``depth``. Its limit of depth is the tightest on the path."""

    def seconds() -> tuple[float, float | None, tuple[str, ...]]:
        caps = thread.node.caps
        crossed = tuple(level for _, level, _ in caps.time_marks[: thread.time_fired])
        return round(running_time(state, thread, now()), 3), caps.seconds, crossed

    def deep() -> tuple[int, int | None, tuple[str, ...]]:
        limited = depth_limit(thread.node)
        return depth, None if limited is None else limited[1], ()

    return BudgetView(thread.node, seconds=Gauge("seconds", seconds), depth=Gauge("depth", deep))


def seconds_left(kernel: Kernel, deadlines: Deadlines, thread: Thread, at: float) -> float | None:
    """The least that a thread and those above it have left of their seconds, at least 0; ``None``: none of them is limited."""
    return min((max(0.0, left) for left, _ in _times(kernel, deadlines, thread, at)), default=None)


def out_of_time(kernel: Kernel, deadlines: Deadlines, thread: Thread, at: float) -> BudgetExhaustedError:
    """The refusal of a call for which too little time is left. It names the limit, of the thread or of one above it, that is reached first."""
    _, node = min(_times(kernel, deadlines, thread, at), key=lambda each: each[0])
    return out_of_seconds(node.scope, node.caps.seconds or 0, node.caps.seconds or 0)


def _times(kernel: Kernel, deadlines: Deadlines, thread: Thread, at: float) -> Iterator[tuple[float, Node]]:
    """What a thread and those above it have left of their seconds, as (seconds, node), where they are limited."""
    of: Thread | None = thread
    root = thread
    while of is not None:
        # An exhausted thread is not stopped by its limit any more (R17); where time ran out, its last delivery has a few seconds.
        if not of.closing:
            left = None if of.node.caps.seconds is None else of.node.caps.seconds - running_time(kernel.state, of, at)
        else:
            left = deadlines.left(of, at)
        if left is not None:
            yield left, time_limit(of)
        root, of = of, None if of.owner is None else of.owner.thread
    if not root.closing and (left := kernel.times.left(at)) is not None:
        yield left, kernel.state.root


def is_strict(node: Node) -> bool:
    """Whether ``accounting`` is ``strict`` at a node or at any above it."""
    if node.policy.accounting == "strict":
        return True
    for each in node.above:  # noqa: SIM110 - written out: every call asks
        if each.policy.accounting == "strict":
            return True
    return False


def needs_price(node: Node) -> bool:
    """Whether a node or any above it limits money and refuses calls without a known price (``on_unpriced``)."""
    return any(each.caps.limit[COST] < NO_LIMIT and each.policy.on_unpriced == "refuse" for each in node.path)
