"""The pump: carries out what the kernel decides. Its workers await the handlers, one task keeps the timers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import anyio

from organism.errors import EscalatedError
from organism.pump import runtime
from organism.pump.aside import Aside
from organism.pump.deadlines import Deadlines
from organism.pump.escalation import Escalation
from organism.pump.home import Home
from organism.pump.orders import Orders
from organism.pump.pauses import Pauses
from organism.pump.people import People
from organism.pump.retries import Retries
from organism.pump.stepper import Stepper
from organism.pump.threads import Threads
from organism.pump.waits import Waits
from organism.pump.workers import Workers
from organism.threads.frames import Message, Thread
from organism.threads.lineage import chain_of
from organism.threads.outcomes import Failure

if TYPE_CHECKING:
    import contextvars
    from collections.abc import Callable, Coroutine, Mapping

    from organism.errors import JournalError
    from organism.kernel import Kernel
    from organism.models.router import Router
    from organism.pump.clock import Clock
    from organism.pump.delivery import Delivery
    from organism.pump.ears import Ears
    from organism.pump.hooking import Hooks
    from organism.pump.keepers import Handles, Histories
    from organism.pump.writer import Writer
    from organism.settings import HandlerSettings


class Pump:
    """Carries out what ``kernel`` decides. ``clock`` is the organism's, ``variables`` what every delivery starts with a copy
    of, ``contexts`` are by handler what makes what it sees.

    ``handles`` hear how threads go on, ``ears`` what agents write while they write it; ``left_out`` leaves secrets out of what callers
    are told of exceptions. With a ``writer``, nothing leaves before its record is durable. All of it runs in the task group of
    :meth:`run`.
    """

    def __init__(
        self,
        kernel: Kernel,
        handlers: Mapping[str, HandlerSettings],
        router: Router,
        *,
        clock: Clock,
        variables: contextvars.Context,
        contexts: Mapping[str, Callable[[Any, Delivery], Any]],
        handles: Handles,
        histories: Histories,
        ears: Ears,
        left_out: Callable[[str], str],
        hooks: Hooks | None = None,
        writer: Writer | None = None,
    ) -> None:
        self.kernel = kernel
        self.handlers = handlers
        self.router = router
        self.now, self.look = clock.now, clock.look
        clock.leapt = self._leapt
        self.event, self.heed, self.scopes = runtime.event, runtime.heed(), runtime.scopes
        """The event loop's own, for handles: a file is checked without loading one."""
        self.home = Home(kernel.state.settings.name)
        self._orders = Orders(self)
        self.carry_out = self._orders.carry_out
        """Does what the kernel has asked for, and sees that a worker is there for what is ready."""
        self.deadlines = Deadlines(kernel, clock, self.carry_out)
        self.timers = self.deadlines.timers
        self.handles, self.histories, self.ears, self.left_out = handles, histories, ears, left_out
        self.waits = Waits(self)
        self.aside = Aside(self)
        self.goes_on: Callable[[Delivery], None] = self.aside.ready.append
        self.pauses = Pauses(self)
        self.people = People(self)
        self.retries = Retries(kernel, self.timers, self.now, self.carry_out)
        self.threads = Threads(kernel.state.settings.max_handlers)
        self.handle: Callable[[Thread], Any]
        """Gives the handle of a live thread; set by whoever keeps them."""
        self.hooks = hooks
        self.escalation = Escalation()
        self._stop: anyio.Event | None = None
        self.writer = writer
        kernel.schedule.gate = writer
        self.beside: Callable[[], Coroutine[Any, Any, None]] | None = None
        """What is to run as long as the pump does."""
        self.running: dict[Message, Delivery] = {}
        self.bare: dict[Thread, Callable[[], None]] = {}
        """Threads whose block is entered, and what cuts their calls."""
        self.workers = Workers(self, Stepper(self, variables, contexts))
        self.delivery_suspended, self.leave_behind = self.workers.suspended, self.workers.leave_behind
        self._orders.watch()
        if writer is not None:
            writer.workers = self.workers

    async def run(self, started: Callable[[], None], stop: anyio.Event) -> None:
        """Runs until ``stop`` is set; then whatever still runs is cancelled. Raises EscalatedError where a failure has set it."""
        self._stop = stop
        async with anyio.create_task_group() as group:
            self.workers.group = group
            group.start_soon(self.deadlines.keep)
            group.start_soon(self.people.keep)
            if self.writer is not None:
                group.start_soon(self.writer.run)
            if self.beside is not None:
                group.start_soon(self.beside)
            self.kernel.times.start(self.now())
            self.deadlines.watch_ceiling()
            self.carry_out()
            started()
            try:
                await stop.wait()
            except GeneratorExit:
                self.workers.group = None  # its event loop is gone: what is laid aside is closed like any coroutine
                raise
            finally:
                self.home.deserted = True
                if self.writer is not None:
                    self.writer.seal()  # what is cancelled now goes on another time
                if self.workers.group is not None:
                    self.workers.group = None
                    self.workers.take_up_all(group)
                    group.start_soon(self._tell_what_ended)
            group.cancel_scope.cancel()
        if self.escalation.why:
            raise EscalatedError(self.escalation.why)

    async def _tell_what_ended(self) -> None:
        """What ended before the organism stopped is told as soon as that is written: the journal has it, and nobody will go on with it."""
        if self.writer is not None:
            with anyio.CancelScope(shield=True):
                await self.writer.flush()

    def escalate(self, root: Thread, why: str) -> None:
        """A failure says that the organism is to stop: so it does in order, the first time."""
        group = self.workers.group
        if group is not None and self._stop is not None and self.escalation.begin(root, why):
            group.start_soon(self._stop_in_order, self._stop)

    async def _stop_in_order(self, stop: anyio.Event) -> None:
        """Lets the thread that escalated end, and be written down; then sets ``stop``. Where a journal on a disk has the others they are
        left as they are, and go on another time; else they are cancelled.
        """
        if self.writer is None:
            await self.cancel_all(f"the organism stops: {self.escalation.why}")
        else:
            await self.escalation.over(self.settled)
        stop.set()

    async def cancel_all(self, why: str) -> None:
        """Cancels all that runs, and waits for its end: of what is in memory alone, nothing goes on another time."""
        for thread in self.kernel.state.roots:
            self.kernel.ends.stop(thread, Failure("cancelled", why), self.now())
        self.carry_out()
        await self.waits.drained()

    def when_durable(
        self, thread: Thread, go: Callable[[], None], fail: Callable[[JournalError], None] | None = None
    ) -> None:
        """Calls ``go`` once all that was recorded so far is durable; ``fail`` where the thread could not be written."""
        if self.writer is None:
            go()
        else:
            self.writer.when_durable(chain_of(thread), go, fail)

    def goes_ahead(self, message: Message) -> bool:
        """Whether a delivery may be told of what is not durable yet: it touches the world through its context only (R20)."""
        return self.writer is None or (self.kernel.routes[message.to].early and not self.writer.crowded)

    def check_written(self, thread: Thread) -> None:
        """Raises JournalError where the thread could not be written."""
        if self.writer is not None:
            self.writer.check(chain_of(thread))

    async def settled(self, *threads: Thread) -> None:
        """Waits until all that was recorded so far is durable. Raises JournalError where one of the threads could not be written."""
        if self.writer is not None:
            await self.writer.settled(*map(chain_of, threads))

    def _leapt(self, since: float, at: float) -> None:
        """What lies between two instants has passed for nobody."""
        for delivery in self.running.values():
            delivery.leap(at - since)
        self.kernel.times.leap(since, at)
        self.deadlines.leap()

    def release(self) -> None:
        """More is durable: what waited for it goes on."""
        self.kernel.schedule.release()
        self.carry_out()

    def freeze(self, chain: str, error: JournalError) -> None:
        """A chain could not be written: what lives of it is stopped, and nothing of it leaves (R20)."""
        whole = self.kernel.state.chain(chain)
        threads = [whole] if isinstance(whole, Thread) else [] if whole is None else list(whole.turns)
        for thread in threads:
            self.kernel.ends.stop(thread, Failure("stopped", f"its journal could not be written: {error}"), self.now())
        if not isinstance(whole, Thread) and whole is not None:
            del self.kernel.state.conversations[whole.id]
        self.carry_out()

    # Workers

    @property
    def stopped(self) -> bool:
        """Whether nothing is begun any more."""
        return self.workers.group is None
