"""Carries out what the kernel has asked for: called after anything that may have changed its state."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Protocol, final

from organism.pump.wakeups import take_all

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from organism.errors import JournalError
    from organism.kernel import Kernel
    from organism.pump.aside import Aside
    from organism.pump.deadlines import Deadlines
    from organism.pump.delivery import Delivery
    from organism.pump.escalation import Escalation
    from organism.pump.interfaces import Handles
    from organism.pump.pauses import Pauses
    from organism.pump.people import People
    from organism.pump.retries import Retries
    from organism.pump.wakeups import Wakeups
    from organism.pump.workers import Workers
    from organism.threads.frames import Message, Thread


class Host(Protocol):
    """The parts of the pump that are needed for that."""

    kernel: Kernel
    aside: Aside
    bare: dict[Thread, Callable[[], None]]
    deadlines: Deadlines
    escalation: Escalation
    handles: Handles
    now: Callable[[], float]
    pauses: Pauses
    people: People
    retries: Retries
    running: dict[Message, Delivery]
    wakeups: Wakeups
    workers: Workers

    def escalate(self, root: Thread, why: str) -> None:
        """Stops the organism in order: a failure in a thread says so."""
        ...

    @property
    def hears_at_once(self) -> bool:
        """Whether the outside hears at once of what has happened: nothing is to be written or told before."""
        ...

    def when_heard(
        self, thread: Thread, go: Callable[[], None], fail: Callable[[JournalError], None] | None = None
    ) -> None:
        """Calls ``go`` once all that was recorded so far is durable and told, or ``fail`` where the thread's chain could not be written."""
        ...


@final
class Orders:
    """Carries out what the kernel asks of a pump. :meth:`watch` is called once all parts of the pump exist."""

    def __init__(self, pump: Host) -> None:
        self._pump = pump
        self._kernel = pump.kernel
        self._asked_for: tuple[Collection[object], ...] = ()
        """The collections in which the kernel and parts of the pump leave work. Mostly all are empty, which one `any` finds out."""

    def watch(self) -> None:
        """Takes the parts of the pump, which exist by now."""
        pump, kernel, state, ends = self._pump, self._kernel, self._kernel.state, self._kernel.ends
        self._asked_for = (
            state.woken, kernel.calls.knots.waiting, state.inbox.stirred, kernel.calls.answered, ends.cancelled,
            ends.cut, pump.wakeups.admission.line, kernel.retries.waiting, kernel.retries.escalated, kernel.book.rolled,
        )  # fmt: skip
        self._ready = pump.aside.ready
        self._workers = pump.workers

    def carry_out(self) -> None:
        """Carries out what the kernel has asked for since the last time, and wakes a worker where something is ready and none is active."""
        kernel = self._kernel
        if any(self._asked_for):  # most deliveries only send a message on
            self._look()
        if kernel.ended or kernel.state.timed:  # frequent, and by itself no reason for all of the above
            self._look_after_threads()
        workers = self._workers
        if workers.active == 0 and (self._ready or kernel.schedule.has_work()):
            workers.wake()

    def _look(self) -> None:
        pump, kernel = self._pump, self._kernel
        if kernel.book.rolled:
            kernel.calls.after_roll()
        if kernel.calls.knots.waiting:
            kernel.calls.untie()
        if kernel.state.woken:
            pump.wakeups.wake_askers()
        if kernel.calls.answered:
            pump.wakeups.tell_line()
        stirred = tuple(kernel.state.inbox.stirred)
        if stirred:
            pump.people.look()
        if kernel.retries.waiting or kernel.retries.escalated:
            self._look_after_failures()
        if kernel.ends.cancelled:
            self._cancel_deliveries()
        if kernel.ends.cut:
            self._cut_calls()
        pump.pauses.look(stirred)
        pump.wakeups.admission.let_in()

    def _look_after_failures(self) -> None:
        """Times further attempts, and stops the organism in order where a failure says so."""
        self._pump.retries.look()
        for root, why in take_all(self._kernel.retries.escalated):
            self._pump.escalate(root, why)

    def _look_after_threads(self) -> None:
        """Watches the time of threads with a limit of seconds, and tells handles of threads that have ended."""
        if self._kernel.state.timed:
            for thread in take_all(self._kernel.state.timed):
                self._pump.deadlines.watch(thread)
        if self._kernel.ended:
            self._announce_ends()

    def _cancel_deliveries(self) -> None:
        for message in take_all(self._kernel.ends.cancelled):
            delivery = self._pump.running.get(message)
            if delivery is not None:
                delivery.interrupt(None)

    def _cut_calls(self) -> None:
        """Cancels the calls of threads without handlers; such a thread ends with the last of them."""
        pump, ends = self._pump, self._kernel.ends
        for thread in take_all(ends.cut):
            if thread in pump.bare:
                pump.bare[thread]()
            else:
                ends.close_bare(thread, pump.now())

    def _announce_ends(self) -> None:
        pump = self._pump
        for thread in take_all(self._kernel.ended):
            pump.deadlines.forget(thread)
            if pump.hears_at_once:
                pump.handles.end(thread)
            else:
                pump.when_heard(thread, partial(pump.handles.end, thread), partial(pump.handles.lose, thread))
        pump.escalation.look()
        if not self._kernel.state.threads:
            pump.wakeups.drain()
