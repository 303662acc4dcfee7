"""Whether a draining organism has come to rest: it takes nothing more in, nothing is going on, and nothing will begin by itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

from organism.threads.dependence import is_awaited

if TYPE_CHECKING:
    from organism.kernel import Kernel
    from organism.pump.delivery import Delivery
    from organism.pump.pump import Pump
    from organism.threads.frames import Message


def at_rest(pump: Pump) -> bool:
    """Whether all that is under way stands still, and nothing is about to begin.

    A handler that waits does not count as standing still where it will go on by itself: its answer has come and is on its way to the disk,
    it stands in line for a place, or its model call is between two attempts. So a handler never looks still between two questions.
    """
    kernel = pump.kernel
    if (
        kernel.state.holds
        or not kernel.schedule.at_rest
        or any(_comes_back(kernel, each) for each in kernel.state.retries)
    ):
        return False
    return all(_stands_still(pump, each) for each in pump.running.values())


def _comes_back(kernel: Kernel, message: Message) -> bool:
    """Whether a message that failed will be tried again when its time comes."""
    return message.thread.paused_at is None and (not kernel.schedule.draining or is_awaited(message))


def _stands_still(pump: Pump, delivery: Delivery) -> bool:
    """Whether a delivery will not go on by itself: all that it waits for are answers and results of others that have not come, or that its
    paused thread goes on. (Whether those others stand still is asked of each of them.)
    """
    if delivery.placed:
        return False
    message = delivery.message
    answers = sum(ask in pump.wakeups.asking and not ask.done for ask in message.asks)
    results = sum(tasks for thread, tasks in (message.awaits or {}).items() if not thread.ended)
    return 0 < delivery.waits <= answers + results + pump.pauses.holds_up(message)
