"""Pausing threads: by the embedding program, or by a hook that holds a delivery up."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Protocol

import anyio

from organism.kernel.times import so_far
from organism.pump.waiting import Waiting
from organism.threads.dependence import is_waiting
from organism.threads.lineage import descendants, root_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from organism.kernel import Kernel
    from organism.pump.aside import Aside
    from organism.pump.deadlines import Deadlines
    from organism.pump.delivery import Delivery
    from organism.pump.interfaces import Handles
    from organism.pump.wakeups import Wakeups
    from organism.record.facts import Ended
    from organism.threads.frames import Message, Thread


class Host(Protocol):
    """What :class:`Pauses`, and :class:`organism.pump.people.People`, need of the pump."""

    kernel: Kernel
    aside: Aside
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

    def when_heard(self, thread: Thread, go: Callable[[], None]) -> None:
        """Calls ``go`` once all that was recorded so far is durable and told."""
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
        if thread not in self.winding_down:
            self.winding_down[thread] = None
            pump.kernel.state.inbox.watch(thread)
        pump.carry_out()

    def resume(self, thread: Thread) -> None:
        """Lets a root thread go on."""
        self._wound_down(thread)
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

    def look(self, stirred: Iterable[Thread]) -> None:
        """Tells the handles of paused threads that have come to rest, among those in which something has happened."""
        for thread in stirred:
            if thread not in self.winding_down:
                continue
            if thread.ended:
                self._wound_down(thread)
            elif self._rests(thread):
                self._wound_down(thread)
                record = so_far(self._pump.kernel.state, thread, self._pump.now())
                self._pump.when_heard(thread, partial(self._rested, thread, record))

    def _wound_down(self, thread: Thread) -> None:
        if self.winding_down.pop(thread, self) is None:
            self._pump.kernel.state.inbox.unwatch(thread)

    def _rested(self, thread: Thread, record: Ended) -> None:
        if thread.paused_at is not None:  # it may have been let go on since
            self._pump.handles.rest(thread, record)

    def _rests(self, thread: Thread) -> bool:
        """Whether nothing of a paused thread runs: all its deliveries wait for others of it, and no model call is open or in line."""
        if any(thread.node.held) or thread.node.crowd:
            return False
        stepped, state = self._pump.aside.stepped, self._pump.kernel.state
        if stepped is not None and root_of(stepped.message.thread) is thread and not self._waits(stepped.message):
            return False
        return all(self._waits(message) for each in descendants(thread) for message in state.at_work(each))

    def _waits(self, message: Message) -> bool:
        delivery = self._pump.running.get(message)
        if delivery is None:  # its handler has ended, or was left behind
            return True
        return not delivery.placed and (is_waiting(message) or message in self._held)
