"""Threads that stand still because somebody said so."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Protocol

import anyio

from organism.kernel.outcome import record_of
from organism.pump.meanwhile import Waiting
from organism.threads.frames import Message
from organism.threads.lineage import root_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from organism.kernel import Kernel
    from organism.pump.deadlines import Deadlines
    from organism.pump.delivery import Delivery
    from organism.pump.keepers import Handles
    from organism.pump.waits import Waits
    from organism.record.facts import Ended
    from organism.threads.frames import Thread


class Host(Protocol):
    """What standing still needs of the pump."""

    kernel: Kernel
    deadlines: Deadlines
    handles: Handles
    now: Callable[[], float]
    waits: Waits

    @property
    def running(self) -> Mapping[Message, Delivery]:
        """The deliveries that are under way."""
        ...

    def carry_out(self) -> None:
        """Does what the kernel has asked for."""
        ...

    def when_durable(self, thread: Thread, go: Callable[[], None]) -> None:
        """Calls ``go`` once all that was recorded so far is durable."""
        ...


class Pauses:
    """Pauses root threads, and lets them go on. Handles hear of one of which nothing runs any more, with what it came to."""

    def __init__(self, pump: Host) -> None:
        self._pump = pump
        self.running: dict[Thread, None] = {}
        """Paused threads of which something runs yet."""
        self._held: dict[Message, anyio.Event] = {}
        """Deliveries that a hook holds up, each until its thread goes on."""

    def pause(self, thread: Thread) -> None:
        """Nothing more of it is delivered; what runs finishes. Pausing twice is once."""
        pump = self._pump
        pump.kernel.ends.pause(thread, pump.now())
        pump.deadlines.stand_still(thread)
        self.running[thread] = None
        pump.carry_out()

    def resume(self, thread: Thread) -> None:
        """It goes on."""
        self.running.pop(thread, None)
        self._pump.kernel.ends.resume(thread, self._pump.now())
        for message, event in self._held.items():
            if root_of(message.thread) is thread:
                event.set()
        self._pump.carry_out()

    async def hold_up(self, delivery: Delivery) -> None:
        """Pauses the thread of a delivery, which waits until it goes on."""
        message = delivery.message
        event = self._held[message] = self._held.get(message) or anyio.Event()
        self.pause(root_of(message.thread))
        try:
            async with Waiting(delivery):
                await event.wait()
        finally:
            if self._held.get(message) is event:
                del self._held[message]

    def holds_up(self, message: Message) -> bool:
        """Whether a hook holds a delivery up until its thread goes on."""
        event = self._held.get(message)
        return event is not None and not event.is_set()

    def look(self) -> None:
        """Tells of those that have come to rest."""
        for thread in tuple(self.running):
            if thread.ended:
                del self.running[thread]
            elif self._rests(thread):
                del self.running[thread]
                record = record_of(thread, self._pump.now())
                self._pump.when_durable(thread, partial(self._rested, thread, record))

    def _rested(self, thread: Thread, record: Ended) -> None:
        if thread.paused_at is not None:  # it may have been let go on since
            self._pump.handles.rest(thread, record)

    def _rests(self, thread: Thread) -> bool:
        """Whether all that waits there waits for messages that are not delivered."""
        pump = self._pump
        if any(root_of(hold.thread) is thread for hold in pump.kernel.state.holds.values()):
            return False
        if any(isinstance(each.owner, Message) and root_of(each.owner.thread) is thread for each in pump.waits.in_line):
            return False
        running = [each for each in pump.running.values() if root_of(each.message.thread) is thread]
        return all(not each.placed and self._waits(each.message) for each in running)

    def _waits(self, message: Message) -> bool:
        return bool(message.asks or message.awaits or message in self._held)
