"""How much of one thread may be under way at once: its limits count what it ever did, this what it has not done yet."""

from __future__ import annotations

from typing import TYPE_CHECKING

from organism.frames import root_of
from organism.outcomes import Failure

if TYPE_CHECKING:
    from organism.frames import Message
    from organism.kernel.state import State


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


__all__ = ["too_crowded"]
