"""The workers of a pump: each takes ready deliveries and awaits their handlers.

A worker steps a handler in place. If the handler finishes without waiting, the worker takes the next delivery at once; if it waits,
it keeps this worker, and another one takes over.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

import anyio
from attrs import evolve

from organism.errors import HandlerFailedError, ModelError
from organism.kernel.charges import abandoned_charge
from organism.message import Forward, Reply, Send
from organism.outcomes import Failure
from organism.pump import runtime
from organism.pump.aside import Laid
from organism.pump.delivery import (
    CANCELLED,
    PATIENCE,
    Delivery,
    LeftBehind,
    failure_of,
    go_on,
    raised,
    step,
)
from organism.pump.delivery import Host as DeliveryHost
from organism.pump.outgoing import outgoing_of

if TYPE_CHECKING:
    import contextvars
    from collections.abc import Awaitable, Callable, Coroutine, Mapping

    from anyio.abc import TaskGroup

    from organism.frames import Message
    from organism.pump.aside import Aside
    from organism.pump.hooking import Hooks
    from organism.pump.retries import Retries
    from organism.pump.waits import Waits
    from organism.pump.writer import Writer

SLICE = 0.005
"""Seconds that deliveries may follow one another without giving I/O a turn."""
SPARE = 32
"""Workers that are kept when there is nothing for them to do."""

LONGEST = 12
"""How often a handler that was cancelled is waited for while a call of its is out: a minute in all."""

_handlers_log = logging.getLogger("organism.handlers")


class _Turn:
    """What a worker was at when its scope was left. ``sound``: it stands in no scope but its own."""

    __slots__ = ("delivery", "sound", "superfluous")

    def __init__(self) -> None:
        self.delivery: Delivery | None = None
        self.sound = True
        self.superfluous = False


class Host(DeliveryHost, Protocol):
    """What workers need of the pump."""

    retries: Retries
    waits: Waits
    aside: Aside
    running: dict[Message, Delivery]
    hooks: Hooks | None
    writer: Writer | None
    left_out: Callable[[str], str]

    @property
    def stopped(self) -> bool:
        """Whether nothing is begun any more."""
        ...


class Workers:
    """All workers of a pump. ``variables`` is what every delivery starts with a copy of, ``contexts`` are
    by handler what makes what it sees.
    """

    def __init__(
        self, pump: Host, variables: contextvars.Context, contexts: Mapping[str, Callable[[Any, Delivery], Any]]
    ) -> None:
        self._pump = pump
        self._kernel = pump.kernel
        self._most = pump.kernel.state.settings.thread_queue
        self._handlers = pump.handlers
        self._retries = pump.retries
        self._running = pump.running
        self._now = pump.now
        self._carry_out = pump.carry_out
        self._aside = pump.aside
        self._base = variables
        self._contexts = contexts
        self.active = 0
        """Those at work on a handler that does not wait."""
        self._write: Callable[[], object] = pump.writer.start if pump.writer else lambda: None
        """Has what was recorded written: as long as one of them is active, nobody else sees to that."""
        self._until = 0.0
        """When I/O is to have a turn: one for all of them, since all that were woken together come before it."""
        self._parked: list[runtime.Event] = []
        self.left: dict[Delivery, None] = {}
        """Deliveries that were ended without their handlers, as long as those keep a task."""

    def __len__(self) -> int:
        return self.active + len(self._parked) + sum(each.suspended_once for each in self._running.values())

    def wake(self, group: TaskGroup | None) -> None:
        """Sees that somebody works; a new one does so in ``group``."""
        self.active += 1
        if self._parked:
            self._parked.pop().set()
        elif group is not None:
            group.start_soon(self._work)
        else:
            self.active -= 1

    async def _work(self) -> None:
        """A worker: one cancel scope after the other, each for as many deliveries as nobody cancels."""
        undone = runtime.cancellings()
        while True:
            turn = _Turn()
            try:
                with anyio.CancelScope() as scope:
                    try:
                        await self._work_in(scope, turn)
                    finally:
                        del self._aside.homes[scope]
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
                await runtime.swallow_cancelling()
                self._rests()
                self._carry_out()
                return
            if turn.superfluous:
                return

    async def _work_in(self, scope: anyio.CancelScope, turn: _Turn) -> None:
        """Handles deliveries until one of them was cancelled or broke the worker; that one is left in ``turn``."""
        mark, undisturbed = runtime.scope_mark(), runtime.undisturbed()
        aside, homes = self._aside.ready, self._aside.homes
        homes[scope] = runtime.home()
        handlers, retries, take = self._handlers, self._retries, self._kernel.take
        now = self._now()
        while True:
            if aside:
                delivery = aside.popleft()
                delivery.scope = scope
                rest = self._go_on(delivery)
            else:
                message = take()
                if message is None:
                    turn.superfluous = not await self._park()
                    if turn.superfluous:
                        return
                    now = self._now()
                    continue
                odd = message.past is not None or retries.circuits or message.to not in handlers
                if odd and self._turns_away(message):
                    continue
                delivery = Delivery(self._pump, message, handlers[message.to], scope, now)
                rest = self._begin(delivery)
            if rest is None and undisturbed() and not delivery.cut:
                delivery.over = True  # by far the most: it has never waited, and nothing of it is to be taken back
                del self._running[delivery.message]
                now = self._conclude(delivery)
            elif isinstance(rest, Laid):
                now = self._now()
            elif await self._see_through(delivery, rest, turn, mark):
                homes[scope] = runtime.home()
                now = self._conclude(delivery)
            else:
                return
            if now >= self._until:
                self._until = now + SLICE
                self._write()
                await runtime.checkpoint()
                now = self._now()
                self._until = now + SLICE

    def _turns_away(self, message: Message) -> bool:
        """Whether a message fails without being delivered: nobody is there who could handle it, or its handler is left alone for a while."""
        failure = self._kernel.unfit(message) if message.old or message.to not in self._handlers else None
        if failure is not None:
            _handlers_log.error("message %s cannot be handled: %s", message.id, failure.text)
        elif self._retries.circuits:
            failure = self._retries.barred(message)
        if failure is None:
            return False
        self._kernel.failed(message, failure, self._now())
        self._carry_out()
        return True

    def _begin(self, delivery: Delivery) -> Awaitable[Any] | Laid | None:
        """Calls a handler, and steps it in place as far as it goes."""
        message, hooks = delivery.message, self._pump.hooks
        self._running[message] = delivery
        delivery.context = context = self._contexts[message.to](self._pump, delivery)
        delivery.variables = self._base.copy()
        try:
            coro = (
                delivery.handler.code(message.payload, context)
                if hooks is None
                else hooks.handle(delivery.handler, message.payload, context)
            )
        except BaseException as error:  # noqa: BLE001 - as one that it raises later
            return raised(error)
        return self._step(delivery, coro)

    def _go_on(self, delivery: Delivery) -> Awaitable[Any] | Laid | None:
        """Steps a handler on from where it was laid aside."""
        coro, delivery.coro = delivery.coro, None
        assert coro is not None  # noqa: S101 - it was laid aside
        return self._cancelled(delivery, coro) if delivery.cut or self._pump.stopped else self._step(delivery, coro)

    def _step(self, delivery: Delivery, coro: Coroutine[Any, Any, Any]) -> Awaitable[Any] | Laid | None:
        """Steps a handler in place. ``None``: it is done, and ``delivery`` has its answer. What it is laid aside for, where it is. Else
        what is to be awaited for its answer.
        """
        self._aside.stepped = delivery
        try:
            waits_for = delivery.variables.run(coro.send, None)
        except StopIteration as finished:
            answer: object = finished.value
            kind = type(answer)
            if kind is Reply or kind is Send or kind is Forward:  # as most are
                delivery.result = (finished.value,)
                return None
            try:
                delivery.result = outgoing_of(answer, self._most)
            except BaseException as error:  # noqa: BLE001 - a generator of answers is the handler's own code
                return raised(error)
            return None
        except BaseException as error:  # noqa: BLE001 - it is raised again where it is awaited
            return raised(error)
        return (
            self._aside.put(waits_for, coro)
            if type(waits_for) is Laid
            else go_on(coro, delivery.variables, delivery.suspended, waits_for, delivery)
        )

    def _cancelled(self, delivery: Delivery, coro: Coroutine[Any, Any, Any]) -> Awaitable[Any]:
        """The rest of a handler that was laid aside and is cancelled: by itself, or with the pump."""
        if delivery.cut and delivery.scope is not None:
            delivery.scope.cancel()
        return go_on(coro, delivery.variables, delivery.suspended, CANCELLED, delivery)

    async def _see_through(self, delivery: Delivery, rest: Awaitable[Any] | None, turn: _Turn, mark: object) -> bool:
        """Awaits the rest of a delivery. False: the worker's scope is to be left, and the delivery is in ``turn``."""
        turn.delivery = delivery
        try:
            await self._deliver(delivery, rest, mark)
        except BaseException as error:
            if not runtime.is_cancelled():
                # It ends the process; while that closes down, nobody is to wait for this delivery.
                turn.delivery = None
                delivery.result = failure_of(error)
                self._conclude(delivery)
            raise
        finally:
            turn.sound = delivery.sound
        if not turn.sound or delivery.cut or runtime.cancellings():
            return False
        turn.delivery = None
        return True

    async def _park(self) -> bool:
        """Waits for work. False: there are enough that wait."""
        self._rests()
        if len(self._parked) >= SPARE:
            return False
        event = runtime.event()
        self._parked.append(event)
        try:
            await event.wait()
        except BaseException:
            if event in self._parked:
                self._parked.remove(event)
                self.active += 1
            raise
        return True

    def _rests(self) -> None:
        """One of them has nothing to do for now."""
        self.active -= 1
        self._write()

    async def _deliver(self, delivery: Delivery, rest: Awaitable[Any] | None, mark: object) -> None:
        """Awaits the ``rest`` of a handler; whatever comes of it is kept in ``delivery`` for :meth:`_conclude`.

        ``mark`` is the worker's own scope: others that the handler leaves open are closed, and it is not sound.
        """
        message = delivery.message
        try:
            try:
                if rest is not None:
                    delivery.result = outgoing_of(await rest, self._most)
            finally:
                if runtime.scope_mark() is not mark:
                    delivery.sound = False
                    await step(runtime.leave_scopes(mark), delivery.variables, delivery.suspended)
        except LeftBehind:
            delivery.sound = False
        except BaseException as error:  # noqa: BLE001 - no failure of a handler goes quiet, and none stops the pump
            own, above = runtime.parted(error)
            if own is not None:
                self._failed(delivery, own)
            if above is not None:
                raise above from None
        finally:
            delivery.finished()
            if delivery.left:
                del self.left[delivery]
            else:
                del self._running[message]
            if delivery.suspended_once:
                self.active += 1

    def _failed(self, delivery: Delivery, error: BaseException) -> None:
        """Keeps what a caller will hear of an exception that left a handler."""
        message = delivery.message
        failure = failure_of(error)
        delivery.result = failure = evolve(failure, text=self._pump.left_out(failure.text))
        delivery.passed_on = isinstance(error, HandlerFailedError)
        outside = message.frame.parent is None and message.thread.owner is None
        if outside and isinstance(error, ModelError):
            return  # no fault of the handler, and whoever sent the message hears it, with its place in the file
        if failure.code == "crashed":
            _handlers_log.error("handler '%s' crashed in thread %s", message.to, message.thread.id, exc_info=error)

    def suspended(self, delivery: Delivery) -> None:
        """A handler waits: its mailbox is taken, and another worker goes on with what is ready."""
        self._kernel.suspended(delivery.message)
        if self._kernel.is_void(delivery.message):
            delivery.interrupt(None)  # it was cancelled before it could be: by what it did itself
        self._rests()
        self._carry_out()

    def leave_behind(self, delivery: Delivery) -> None:
        """A handler does not end though it was cancelled: its delivery does, and what it holds or stands in line for is let go."""
        message, calls = delivery.message, self._kernel.calls
        in_line = self._pump.waits.in_line
        waiters = [each for each in in_line if each.owner is message]
        holds = [each for each in self._kernel.state.holds.values() if each.message is message]
        if (waiters or holds) and delivery.waited < LONGEST:
            delivery.wait_for_end()  # a call that is out may still come home
            return
        for waiter in waiters:
            del in_line[waiter]
            calls.leave_line(waiter)
        for hold in holds:
            calls.settle(hold, abandoned_charge(hold), self._now())
        self._leave(delivery)
        if delivery.interrupted is not None:
            delivery.result = delivery.interrupted
        self._conclude(delivery)

    def take_up_all(self, group: TaskGroup) -> None:
        """The pump stops: whatever is laid aside is given a task of ``group``, in which it is cancelled."""
        for delivery in tuple(self._running.values()):
            if delivery.scope is None:
                delivery.take_up()
        for _ in self._aside.ready:
            self.active += 1
            group.start_soon(self._work)

    def leave_all(self) -> None:
        """The pump is to stop, and these handlers do not: what they were at stands in the journal."""
        for delivery in tuple(self._running.values()):
            self._leave(delivery)
            for ask in delivery.message.asks:
                if ask in self._pump.waits.asking:  # under a shield, it would wait for ever
                    self._pump.waits.asking[ask]()

    def _leave(self, delivery: Delivery) -> None:
        message = delivery.message
        _handlers_log.error(
            "handler '%s' goes on in thread %s %g s after it was cancelled: it is left behind, and nothing that it does counts",
            message.to, message.thread.id, PATIENCE * max(1, delivery.waited),
        )  # fmt: skip
        delivery.left = True
        delivery.finished()
        del self._running[message]
        self.left[delivery] = None

    def _conclude(self, delivery: Delivery) -> float:
        """Hands what a handler answered to the kernel; gives the instant of that."""
        result, message, now, kernel = delivery.result, delivery.message, self._now(), self._kernel
        if kernel.book.half_done:
            place = f"while '{message.to}' was handled in thread {message.thread.id}"
            raise RuntimeError(f"a change was left half-way {place}: a fault of organism itself; it stops here")
        if message.past is not None and message.past.rerun and (unasked := delivery.context.unasked()):
            kernel.diverged(message, unasked, now)
        void = bool(self._retries.circuits) and kernel.is_void(message)
        if type(result) is tuple and not delivery.too_late(now):
            changes = delivery.context.changes()
            failure = kernel.answered(message, result, changes, now, placed=delivery.placed, began=delivery.started)
            if failure is not None:
                _handlers_log.warning("answer of handler '%s' refused: %s", message.to, failure.text)
        else:
            failure, void = result if type(result) is Failure else delivery.timed_out(), kernel.is_void(message)
            kernel.failed(message, failure, now, placed=delivery.placed, began=delivery.started)
        if failure is not None or self._retries.circuits:
            self._retries.ended(delivery, failure, void=void)
        delivery.context = None  # they know each other
        self._carry_out()
        return now

    def _conclude_interrupted(self, delivery: Delivery, *, sound: bool) -> None:
        """Ends a delivery whose scope was cancelled, or that broke the worker it ran on."""
        message = delivery.message
        if delivery.left:
            return  # it was ended without its handler
        if not sound:
            text = f"'{message.to}' left a cancel scope or a cancelling behind"
            _handlers_log.error("%s in thread %s", text, message.thread.id)
            delivery.result = Failure("crashed", text, retry=True)
        elif delivery.interrupted is not None:
            delivery.result = delivery.interrupted
        self._conclude(delivery)

    call_handlers: ClassVar = frozenset({_begin.__code__, _step.__code__, _deliver.__code__})
    """Where a stack goes from the pump into a handler; the delivery is a local variable of that name."""


__all__ = ["SLICE", "SPARE", "Workers"]
