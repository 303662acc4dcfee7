"""Pausing threads: by the embedding program, or by a hook that holds a delivery up."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Protocol

import anyio

from organism.kernel.outcome import record_of
from organism.pump.waiting import Waiting
from organism.threads.frames import Message
from organism.threads.lineage import root_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from organism.kernel import Kernel
    from organism.pump.deadlines import Deadlines
    from organism.pump.delivery import Delivery
    from organism.pump.interfaces import Handles
    from organism.pump.wakeups import Wakeups
    from organism.record.facts import Ended
    from organism.threads.frames import Thread


class Host(Protocol):
    """What :class:`Pauses`, and :class:`organism.pump.people.People`, need of the pump."""

    kernel: Kernel
    deadlines: Deadlines
    handles: Handles
    now: Callable[[], float]
    wakeups: Wakeups

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
    """Pauses and resumes root threads. Once nothing of a paused thread runs any more, its handle gets what it has come to."""

    def __init__(self, pump: Host) -> None:
        self._pump = pump
        self.winding_down: dict[Thread, None] = {}
        """Paused threads of which something still runs."""
        self._held: dict[Message, anyio.Event] = {}
        """Deliveries that a hook holds up; the event is set when their thread goes on."""

    def pause(self, thread: Thread) -> None:
        """Pauses a root thread: nothing more of it is delivered, and what runs finishes. No harm in pausing twice."""
        pump = self._pump
        pump.kernel.ends.pause(thread, pump.now())
        pump.deadlines.stand_still(thread)
        self.winding_down[thread] = None
        pump.carry_out()

    def resume(self, thread: Thread) -> None:
        """Lets a root thread go on."""
        self.winding_down.pop(thread, None)
        self._pump.kernel.ends.resume(thread, self._pump.now())
        for message, event in self._held.items():
            if root_of(message.thread) is thread:
                event.set()
        self._pump.carry_out()

    async def hold_up(self, delivery: Delivery) -> None:
        """Pauses the thread of a delivery, and waits until it goes on."""
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
        """Whether a hook holds a delivery up."""
        event = self._held.get(message)
        return event is not None and not event.is_set()

    def look(self) -> None:
        """Tells the handles of paused threads that have come to rest."""
        for thread in tuple(self.winding_down):
            if thread.ended:
                del self.winding_down[thread]
            elif self._rests(thread):
                del self.winding_down[thread]
                record = record_of(thread, self._pump.now())
                self._pump.when_durable(thread, partial(self._rested, thread, record))

    def _rested(self, thread: Thread, record: Ended) -> None:
        if thread.paused_at is not None:  # it may have been let go on since
            self._pump.handles.rest(thread, record)

    def _rests(self, thread: Thread) -> bool:
        """Whether nothing of a paused thread runs: all its deliveries wait for others of it, and no model call is open or in line."""
        pump = self._pump
        if any(root_of(hold.thread) is thread for hold in pump.kernel.state.holds.values()):
            return False
        if any(
            isinstance(each.owner, Message) and root_of(each.owner.thread) is thread for each in pump.wakeups.in_line
        ):
            return False
        running = [each for each in pump.running.values() if root_of(each.message.thread) is thread]
        return all(not each.placed and self._waits(each.message) for each in running)

    def _waits(self, message: Message) -> bool:
        return bool(message.asks or message.awaits or message in self._held)
