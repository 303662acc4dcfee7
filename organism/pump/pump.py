"""The pump: its parts, put together, and how it starts and stops. Its workers await the handlers, one task keeps the timers."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import anyio

from organism.errors import EscalatedError
from organism.pump import runtime
from organism.pump.aside import Aside
from organism.pump.deadlines import Deadlines
from organism.pump.escalation import Escalation
from organism.pump.garbage import SELDOM
from organism.pump.orders import Orders
from organism.pump.own_loop import OwnLoop
from organism.pump.pauses import Pauses
from organism.pump.people import People
from organism.pump.retries import Retries
from organism.pump.stepper import Stepper
from organism.pump.thread_pool import ThreadPool
from organism.pump.wakeups import Wakeups
from organism.pump.workers import Workers
from organism.threads.frames import Message, Thread
from organism.threads.lineage import chain_of
from organism.threads.outcomes import Failure

if TYPE_CHECKING:
    import contextvars
    from collections.abc import Callable, Coroutine, Mapping

    from organism.errors import JournalError
    from organism.kernel import Kernel
    from organism.models.routing.router import Router
    from organism.pump.clock import Clock
    from organism.pump.delivery import Delivery
    from organism.pump.hooking import Hooks
    from organism.pump.interfaces import Handles, Histories
    from organism.pump.outlet import Outlet
    from organism.pump.text_listeners import TextListeners
    from organism.pump.writer import Writer
    from organism.settings import HandlerSettings


class Pump:
    """Carries out what ``kernel`` decides, in the task group of :meth:`run`.

    ``clock`` is the organism's. Every delivery starts with a copy of the context ``variables``; ``contexts`` has for each handler what makes
    the context object that it sees. ``handles`` are told how threads go on, ``text_listeners`` what agents write while they write it, and by
    ``outlet`` all who listen hear;
    ``left_out`` removes secrets from what callers are told of exceptions. With a ``writer``, nothing leaves before its record is durable.
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
        outlet: Outlet,
        text_listeners: TextListeners,
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
        """Functions of :mod:`organism.pump.runtime`, for handles: importing those must load no event loop, so that checking a file is fast."""
        self.own_loop = OwnLoop(kernel.state.settings.name, kernel.book)
        self._orders = Orders(self)
        self.carry_out = self._orders.carry_out
        """Carries out what the kernel has asked for, and wakes a worker where something is ready."""
        self.deadlines = Deadlines(kernel, clock, self.carry_out)
        self.timers = self.deadlines.timers
        self.handles, self.histories, self.text_listeners, self.left_out = handles, histories, text_listeners, left_out
        self.outlet = outlet
        self.wakeups = Wakeups(self)
        self.aside = Aside(self)
        self.goes_on: Callable[[Delivery], None] = self.aside.ready.append
        self.pauses = Pauses(self)
        self.people = People(self)
        self.retries = Retries(kernel, self.timers, self.now, self.carry_out)
        self.thread_pool = ThreadPool(kernel.state.settings.max_handlers)
        self.handle: Callable[[Thread], Any]
        """Gives the handle of a live thread; set by the organism, which keeps them."""
        self.hooks = hooks
        self.escalation = Escalation()
        self._stop: anyio.Event | None = None
        self.writer = writer
        kernel.schedule.gate = writer
        self.beside: Callable[[], Coroutine[Any, Any, None]] | None = None
        """A further task that is to run as long as the pump does."""
        self.running: dict[Message, Delivery] = {}
        self.bare: dict[Thread, Callable[[], None]] = {}
        """Threads without handlers whose block is entered, each with what cancels its calls."""
        self.variables = variables
        self.workers = Workers(self, Stepper(self, variables, contexts))
        self.delivery_suspended, self.leave_behind = self.workers.suspended, self.workers.leave_behind
        self._orders.watch()
        if writer is not None:
            writer.workers = self.workers

    async def run(self, started: Callable[[], None], stop: anyio.Event) -> None:
        """Runs until ``stop`` is set; then cancels what still runs. Raises EscalatedError where a failure has set it. ``started`` is called
        once the pump takes work.
        """
        self._stop = stop
        with SELDOM:
            await self._run(started, stop)
        if self.escalation.why:
            raise EscalatedError(self.escalation.why)

    async def _run(self, started: Callable[[], None], stop: anyio.Event) -> None:
        async with anyio.create_task_group() as group:
            self.workers.group = group
            group.start_soon(self.deadlines.keep)
            group.start_soon(self.people.keep)
            group.start_soon(self.outlet.keep)
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
                self.workers.group = None  # the event loop is gone: what is laid aside is closed like any coroutine
                raise
            finally:
                self.own_loop.deserted = True
                if self.writer is not None:
                    self.writer.seal()  # what is cancelled from here on goes on in a later process: it is not recorded
                if self.workers.group is not None:
                    self.workers.group = None
                    self.workers.take_up_all(group)
                    group.start_soon(self._tell_what_ended)
            group.cancel_scope.cancel()

    async def _tell_what_ended(self) -> None:
        """Writes what is recorded so far, so that handles hear of threads that ended before the organism stopped: no later process will say so."""
        if self.writer is not None:
            with anyio.CancelScope(shield=True):
                await self.writer.flush()

    def escalate(self, root: Thread, why: str) -> None:
        """Stops the organism in order, since a failure says so; only the first time."""
        group = self.workers.group
        if group is not None and self._stop is not None and self.escalation.begin(root, why):
            group.start_soon(self._stop_in_order, self._stop)

    async def _stop_in_order(self, stop: anyio.Event) -> None:
        """Waits until the thread that escalated has ended and is recorded, then sets ``stop``. With a journal on a disk other threads are
        left as they are, and go on in a later process; without one they are cancelled.
        """
        if self.writer is None:
            await self.cancel_all(f"the organism stops: {self.escalation.why}")
        else:
            await self.escalation.over(self.settled)
        stop.set()

    async def cancel_all(self, why: str) -> None:
        """Cancels all threads, and waits for their ends: for organisms in memory, of which no later process goes on."""
        for thread in self.kernel.state.roots:
            self.kernel.ends.stop(thread, Failure("cancelled", why), self.now())
        self.carry_out()
        await self.wakeups.drained()

    def when_durable(
        self, thread: Thread, go: Callable[[], None], fail: Callable[[JournalError], None] | None = None
    ) -> None:
        """Calls ``go`` once all that was recorded so far is durable, or ``fail`` where the thread's chain could not be written."""
        if self.writer is None:
            go()
        else:
            self.writer.when_durable(chain_of(thread), go, fail)

    @property
    def hears_at_once(self) -> bool:
        """Whether the outside hears at once of what has happened: nothing is to be written or told before."""
        return self.writer is None and not (self.outlet.heeded or self.outlet.untold)

    def when_heard(
        self, thread: Thread, go: Callable[[], None], fail: Callable[[JournalError], None] | None = None
    ) -> None:
        """As :meth:`when_durable`, for what the outside hears: behind what subscribers hear of what was recorded so far."""
        outlet = self.outlet
        if outlet.heeded or outlet.untold:
            go = partial(outlet.behind, go)
        self.when_durable(thread, go, fail)

    def goes_ahead(self, message: Message) -> bool:
        """Whether a delivery may be told of facts that are not durable yet: its handler touches the world through its context only (R20)."""
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
        """The clock has leapt: the time in between is nobody's running time."""
        for delivery in self.running.values():
            delivery.leap(at - since)
        self.kernel.times.leap(since, at)
        self.deadlines.leap()

    def release(self) -> None:
        """More is durable: messages that waited for that are delivered."""
        self.kernel.schedule.release()
        self.carry_out()

    def freeze(self, chain: str, error: JournalError) -> None:
        """A chain could not be written: its live threads are stopped, and nothing of them leaves (R20)."""
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
