"""The pump: workers that take ready deliveries and await their handlers, and the one timer.

A worker steps a handler in place. If the handler finishes without waiting, the worker takes the next delivery at once; if it waits,
it keeps this worker, and another one takes over.
"""

from __future__ import annotations

import logging
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

import anyio

from organism.errors import EscalatedError, HandlerFailedError
from organism.frames import Failure, Message, Thread, chain_of
from organism.pump import runtime
from organism.pump.deadlines import Deadlines
from organism.pump.delivery import Delivery, failure_of, outgoing_of, step
from organism.pump.ears import Ears
from organism.pump.escalation import Escalation
from organism.pump.pauses import Pauses
from organism.pump.people import People
from organism.pump.retries import Retries
from organism.pump.waits import Waits

if TYPE_CHECKING:
    import contextvars
    from collections.abc import AsyncIterator, Callable, Coroutine, Mapping

    from anyio.abc import TaskGroup

    from organism.calls import CallRow
    from organism.errors import JournalError
    from organism.facts import Ended
    from organism.kernel import Kernel
    from organism.models.router import Router
    from organism.pump.hooking import Hooks
    from organism.pump.writer import Writer
    from organism.results import Event
    from organism.settings import HandlerSettings

SLICE = 0.005
"""Seconds that deliveries may follow one another without giving I/O a turn."""
SPARE = 32
"""Workers that are kept when there is nothing for them to do."""

_handlers_log = logging.getLogger("organism.handlers")


class _Turn:
    """What a worker was at when its scope was left. ``sound``: it stands in no scope but its own."""

    __slots__ = ("delivery", "sound", "superfluous")

    def __init__(self) -> None:
        self.delivery: Delivery | None = None
        self.sound = True
        self.superfluous = False


class Histories(Protocol):
    """Where the facts of threads can be read."""

    def of(self, thread: Thread, *, after: int = 0) -> AsyncIterator[Event]:
        """Those of a thread behind this number, as they come."""
        ...

    async def so_far(self, thread: Thread) -> tuple[Event, ...]:
        """Those of a thread until now."""
        ...

    async def calls(self, thread: str) -> tuple[CallRow, ...]:
        """The calls of a thread and of those below it."""
        ...


class Pump:
    """Carries out what ``kernel`` decides. ``now`` is the organism's clock, ``variables`` what every delivery starts with a copy
    of, ``context_of`` makes what a handler sees.

    ``on_end`` is told of every thread that ended, ``on_lost`` of one whose end could not be written, ``on_rest``
    of one that is paused and of which nothing runs any more. With a ``writer``, nothing
    leaves before its record is durable. All of it runs in the task group of :meth:`run`.
    """

    def __init__(
        self,
        kernel: Kernel,
        handlers: Mapping[str, HandlerSettings],
        router: Router,
        *,
        now: Callable[[], float],
        variables: contextvars.Context,
        context_of: Callable[[Delivery], Any],
        on_end: Callable[[Thread, Ended], None],
        on_lost: Callable[[Thread, JournalError], None],
        on_rest: Callable[[Thread, Ended], None],
        on_go_on: Callable[[Thread], None],
        histories: Histories,
        writer: Writer | None = None,
    ) -> None:
        self.kernel = kernel
        self.handlers = handlers
        self.router = router
        self.now = now
        self.deadlines = Deadlines(kernel, now, self.carry_out)
        self.timers = self.deadlines.timers
        self._context_of = context_of
        self._on_end = on_end
        self.histories = histories
        self._on_lost = on_lost
        self.waits = Waits(self)
        self.pauses = Pauses(self, on_rest)
        self.people = People(self, on_rest, on_go_on)
        self.retries = Retries(self)
        self.ears = Ears()
        self.hooks: Hooks | None = None
        self.escalation = Escalation(self)
        self._stop: anyio.Event | None = None
        self.writer = writer
        kernel.schedule.gate = writer
        self.beside: Callable[[], Coroutine[Any, Any, None]] | None = None
        """What is to run as long as the pump does."""
        self._base = variables
        self._group: TaskGroup | None = None
        self._active = 0
        self._parked: list[anyio.Event] = []
        self.running: dict[Message, Delivery] = {}
        self.bare: dict[Thread, Callable[[], None]] = {}
        """Threads whose block is entered, and what cuts their calls."""

    async def run(self, started: Callable[[], None], stop: anyio.Event) -> None:
        """Runs until ``stop`` is set; then whatever still runs is cancelled. Raises EscalatedError where a failure has set it."""
        self._stop = stop
        async with anyio.create_task_group() as group:
            self._group = group
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
            finally:
                if self.writer is not None:
                    self.writer.seal()  # what is cancelled now goes on another time
            self._group = None
            group.cancel_scope.cancel()
        if self.escalation.why:
            raise EscalatedError(self.escalation.why)

    # Commands

    def carry_out(self) -> None:
        """Does what the kernel has asked for since the last time, and sees that a worker is there for what is ready."""
        kernel = self.kernel
        if kernel.book.rolled:
            kernel.calls.after_roll()
        if kernel.state.streams and kernel.state.line:
            kernel.calls.untie()
        if kernel.state.woken:
            self.waits.wake_askers()
        if kernel.calls.answered:
            self.waits.tell_line()
        if kernel.state.inbox.stirred:
            self.people.look()
        if kernel.retries.stirred:
            self._look_after_failures()
        if kernel.state.timed or kernel.ends.cancelled or kernel.ends.cut or kernel.ended or self.pauses.running:
            self._look_after_threads()
        if self.waits.wants_room and kernel.schedule.queued < kernel.state.settings.queue:
            self.waits.make_room()
        if self._active == 0 and kernel.schedule.has_work():
            self._wake_worker()

    def _look_after_failures(self) -> None:
        """Times further attempts, tells of dead letters, and stops in order where a failure says so, the first time."""
        self.kernel.retries.stirred = False
        self.retries.look()
        cause, self.kernel.retries.escalated = self.kernel.retries.escalated, None
        if cause is not None and self._group is not None and self._stop is not None and self.escalation.begin(*cause):
            self._group.start_soon(self.escalation.carry_out, self._stop)

    def _look_after_threads(self) -> None:
        kernel = self.kernel
        if kernel.state.timed:
            timed, kernel.state.timed = kernel.state.timed, []
            for thread in timed:
                self.deadlines.watch(thread)
        if kernel.ends.cancelled:
            self._cancel_deliveries()
        if kernel.ends.cut:
            self._cut_calls()
        if kernel.ended:
            self._announce_ends()
        self.pauses.look()

    def _cancel_deliveries(self) -> None:
        cancelled, self.kernel.ends.cancelled = self.kernel.ends.cancelled, []
        for message in cancelled:
            delivery = self.running.get(message)
            if delivery is not None:
                delivery.interrupt(None)

    def _cut_calls(self) -> None:
        """Ends the calls of threads without handlers; with the last of them each ends itself."""
        cut, self.kernel.ends.cut = self.kernel.ends.cut, []
        for thread in cut:
            if thread in self.bare:
                self.bare[thread]()
            else:
                self.kernel.ends.close_bare(thread, self.now())

    def _announce_ends(self) -> None:
        ended, self.kernel.ended = self.kernel.ended, []
        for thread, record in ended:
            self.deadlines.forget(thread)
            self.when_durable(thread, partial(self._on_end, thread, record), partial(self._on_lost, thread))
        self.escalation.look()
        if not self.kernel.state.threads:
            self.waits.drain()

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

    async def settled(self, thread: Thread) -> None:
        """Waits until all that was recorded so far is durable. Raises JournalError where the thread could not be written."""
        if self.writer is not None:
            await self.writer.settled(chain_of(thread))

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

    @property
    def workers(self) -> int:
        """How many workers there are: at work, waiting in a handler, or for work."""
        return self._active + len(self._parked) + sum(each.suspended_once for each in self.running.values())

    # Workers

    def _wake_worker(self) -> None:
        self._active += 1
        if self._parked:
            self._parked.pop().set()
        elif self._group is not None:
            self._group.start_soon(self._work)
        else:
            self._active -= 1

    async def _work(self) -> None:
        """A worker: one cancel scope after the other, each for as many deliveries as nobody cancels."""
        undone = runtime.cancellings()
        while True:
            turn = _Turn()
            try:
                with anyio.CancelScope() as scope:
                    await self._work_in(scope, turn)
            except anyio.get_cancelled_exc_class():
                if runtime.is_cancelled():
                    raise
                # On asyncio a handler may leave something behind that cancels its task later, such as a timeout.
                turn.sound = False
            sound = turn.sound and runtime.cancellings() == undone
            if turn.delivery is not None:
                self._conclude_interrupted(turn.delivery, sound=sound)
            if not sound:
                # Who knows what else a handler left on this task: a fresh one takes its place.
                self._active -= 1
                self.carry_out()
                return
            if turn.superfluous:
                return

    async def _work_in(self, scope: anyio.CancelScope, turn: _Turn) -> None:
        """Handles deliveries until one of them was cancelled or broke the worker; that one is left in ``turn``."""
        mark = runtime.scope_mark()
        until = self.now() + SLICE
        while True:
            message = self.kernel.take()
            if message is None:
                turn.superfluous = not await self._park()
                if turn.superfluous:
                    return
                until = self.now() + SLICE
                continue
            if (message.old or message.to not in self.handlers) and (unfit := self.kernel.unfit(message)) is not None:
                _handlers_log.error("message %s cannot be handled: %s", message.id, unfit.text)
                self.kernel.failed(message, unfit, self.now())
                self.carry_out()
                continue
            if self.retries.circuits and (barred := self.retries.barred(message)) is not None:
                self.kernel.failed(message, barred, self.now())
                self.carry_out()
                continue
            turn.delivery = delivery = Delivery(self, message, scope)
            try:
                await self._deliver(delivery, mark)
            except BaseException as error:
                if not runtime.is_cancelled():
                    # It ends the process; while that closes down, nobody is to wait for this delivery.
                    turn.delivery = None
                    delivery.result = failure_of(error)
                    self._conclude(delivery)
                raise
            finally:
                turn.sound = delivery.sound
            if not turn.sound or scope.cancel_called or runtime.cancellings():
                return
            turn.delivery = None
            self._conclude(delivery)
            if self.now() >= until:
                await runtime.checkpoint()
                until = self.now() + SLICE

    async def _park(self) -> bool:
        """Waits for work. False: there are enough that wait."""
        self._active -= 1
        if self.writer is not None:
            self.writer.start()
        if len(self._parked) >= SPARE:
            return False
        event = anyio.Event()
        self._parked.append(event)
        try:
            await event.wait()
        except BaseException:
            if event in self._parked:
                self._parked.remove(event)
                self._active += 1
            raise
        return True

    async def _deliver(self, delivery: Delivery, mark: object) -> None:
        """Awaits the handler; whatever comes of it is kept in ``delivery`` for :meth:`_conclude`.

        ``mark`` is the worker's own scope: others that the handler leaves open are closed, and it is not sound.
        """
        message = delivery.message
        handler = self.handlers[message.to]
        self.running[message] = delivery
        context = self._context_of(delivery)
        delivery.context = context
        try:
            variables = self._base.copy()
            try:
                hooks = self.hooks
                coro = (
                    handler.code(message.payload, context)
                    if hooks is None
                    else hooks.handle(handler, message.payload, context)
                )
                delivery.result = outgoing_of(await step(coro, variables, delivery.suspended))
            finally:
                if runtime.scope_mark() is not mark:
                    delivery.sound = False
                    await step(runtime.leave_scopes(mark), variables, delivery.suspended)
        except BaseException as error:  # noqa: BLE001 - no failure of a handler goes quiet, and none stops the pump
            own, above = runtime.parted(error)
            if own is not None:
                self._failed(delivery, own)
            if above is not None:
                raise above from None
        finally:
            delivery.finished()
            del self.running[message]
            if delivery.suspended_once:
                self._active += 1

    def _failed(self, delivery: Delivery, error: BaseException) -> None:
        """Keeps what a caller will hear of an exception that left a handler."""
        message = delivery.message
        delivery.result = failure_of(error)
        delivery.passed_on = isinstance(error, HandlerFailedError)
        if delivery.result.code == "crashed":
            _handlers_log.error("handler '%s' crashed in thread %s", message.to, message.thread.id, exc_info=error)

    def delivery_suspended(self, delivery: Delivery) -> None:
        """A handler waits: its mailbox is taken, and another worker goes on with what is ready."""
        self.kernel.suspended(delivery.message)
        if self.kernel.is_void(delivery.message):
            delivery.interrupt(None)  # it was cancelled before it could be: by what it did itself
        self._active -= 1
        self.carry_out()

    def _conclude(self, delivery: Delivery) -> None:
        """Hands what a handler answered to the kernel."""
        result = delivery.result
        if not isinstance(result, Failure) and delivery.too_late():
            result = delivery.timed_out()
        message, now = delivery.message, self.now()
        if self.kernel.book.half_done:
            place = f"while '{message.to}' was handled in thread {message.thread.id}"
            raise RuntimeError(f"a change was left half-way {place}: a fault of organism itself; it stops here")
        if message.rerun and (unasked := delivery.context.unasked()):
            self.kernel.diverged(message, unasked, now)
        began, void = delivery.started, self.kernel.is_void(message)
        failure: Failure | None
        if isinstance(result, Failure):
            failure = result
            self.kernel.failed(message, failure, now, placed=delivery.placed, began=began)
        else:
            changes = delivery.context.changes()
            failure = self.kernel.answered(message, result, changes, now, placed=delivery.placed, began=began)
            if failure is not None:
                _handlers_log.warning("answer of handler '%s' refused: %s", message.to, failure.text)
        if failure is not None or self.retries.circuits:
            self.retries.ended(delivery, failure, void=void)
        delivery.context = None  # they know each other
        self.carry_out()

    def _conclude_interrupted(self, delivery: Delivery, *, sound: bool) -> None:
        """Ends a delivery whose scope was cancelled, or that broke the worker it ran on."""
        message = delivery.message
        if not sound:
            text = f"'{message.to}' left a cancel scope or a cancelling behind"
            _handlers_log.error("%s in thread %s", text, message.thread.id)
            delivery.result = Failure("crashed", text, retry=True)
        elif delivery.interrupted is not None:
            delivery.result = delivery.interrupted
        self._conclude(delivery)
