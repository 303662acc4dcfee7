"""Whether an organism that takes nothing more in has come to rest: nothing of it moves, and nothing that it begins is still to come."""

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

    A handler that waits moves all the same where it is about to hear: its answer has come and is on its way to the disk, or it stands in line for
    a place, or its call is between two attempts. Between two questions of one handler there is no instant at which nothing moves.
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
    """Whether a message that failed is begun again when its time comes."""
    return message.thread.paused_at is None and (not kernel.schedule.draining or is_awaited(message))


def _stands_still(pump: Pump, delivery: Delivery) -> bool:
    """Whether a delivery hears of nothing by itself: all that it waits for are answers of others that have not come, or that its thread
    goes on. Where those move, they tell.
    """
    if delivery.placed:
        return False
    message = delivery.message
    answers = sum(ask in pump.waits.asking and not ask.done for ask in message.asks)
    results = sum(not thread.ended for thread in message.awaits or ())
    return 0 < delivery.waits <= answers + results + pump.pauses.holds_up(message)
