"""How much of one thread may be under way at once, and how far below one another: its limits count what it ever did, this what it has
not done yet.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from organism.threads.lineage import root_of
from organism.threads.outcomes import Failure

if TYPE_CHECKING:
    from organism.budget.node import Node
    from organism.kernel.state import State
    from organism.threads.frames import Message

MOST_NESTED: Final = 100
"""Budgets on the way up from a sub-thread. The record of how a thread ended holds those of all below it, each in the one above:
many more could not be read again.
"""


def too_nested(node: Node) -> Failure | None:
    """Why no sub-thread may be opened below this node; ``None`` where one may. Limits of depth do not see to that: who forwards stays as
    deep as before.
    """
    if len(node.path) < MOST_NESTED:
        return None
    return Failure("refused", f"{MOST_NESTED} budgets stand below one another here: no further sub-thread is opened")


def too_crowded(state: State, sender: Message, *, more: int) -> Failure | None:
    """Why a delivery may not bring so many messages ``more`` than are under way in its thread; ``None`` where it may.

    What is under way is counted over a root thread and all below it: to open sub-threads is no way around. A delivery that sends one
    message and is over brings none: what a thread has begun it can always finish.
    """
    root, limit = root_of(sender.thread), state.settings.thread_queue
    if more <= 0 or root.undone + more <= limit:
        return None
    text = (
        f"messages under way in this thread: {root.undone}, and {more} more do not fit: `thread_queue` is {limit}; "
        "send fewer at once, or raise it"
    )
    return Failure("refused", text)


__all__ = ["MOST_NESTED", "too_crowded", "too_nested"]
