"""Back-pressure within a thread: how many of its messages may be under way at the same time (``thread_queue``), and how deeply sub-threads may be nested.

Budgets count what a thread has ever done; these limits are about what it has begun and not finished.
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
"""How many budgets may stand on the path from a sub-thread to the root. Final records of threads are nested in the same way, and a reader
could not decode many more levels.
"""


def too_nested(node: Node) -> Failure | None:
    """Why no sub-thread may be opened below this node; ``None`` where one may. Limits of depth do not bound this: a Forward stays at the
    same depth.
    """
    if len(node.path) < MOST_NESTED:
        return None
    return Failure(
        "refused", f"budgets are nested {MOST_NESTED} deep here, which is the most: no further sub-thread is opened"
    )


def too_crowded(state: State, sender: Message, *, more: int) -> Failure | None:
    """Why a delivery may not add ``more`` messages to those under way in its thread; ``None`` where it may.

    Messages under way are counted over a root thread and all below it, so sub-threads are no way around the limit. A delivery that
    sends one message and is over adds none: what a thread has begun it can always finish.
    """
    root, limit = root_of(sender.thread), state.settings.thread_queue
    if more <= 0 or root.undone + more <= limit:
        return None
    text = (
        f"messages under way in this thread: {root.undone:,}, and {more:,} more do not fit: 'thread_queue' is {limit:,}; "
        "send fewer at once, or raise it"
    )
    return Failure("refused", text)
