"""The workers of a pump: tasks that await handlers.

A worker has handlers stepped in place, one after the other (:mod:`organism.pump.stepper`). One that waits keeps its worker, and another
worker takes over.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, Final, Protocol

import anyio
from attrs import evolve

from organism.errors import HandlerFailedError, ModelError
from organism.kernel.charges import abandoned_charge
from organism.pump import runtime
from organism.pump.coroutines import LeftBehind, step
from organism.pump.delivery import PATIENCE, Delivery
from organism.pump.failures import failure_of
from organism.pump.outgoing import outgoing_of
from organism.pump.stepper import Host as StepperHost
from organism.threads.outcomes import Failure

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from anyio.abc import TaskGroup

    from organism.pump.stepper import Stepper
    from organism.pump.waits import Waits
    from organism.pump.writer import Writer

SPARE: Final = 32
"""Workers that are kept when there is nothing for them to do."""

LONGEST: Final = 12
"""How often a handler that was cancelled is waited for while a call of its is out: a minute in all."""

_handlers_log: Final = logging.getLogger("organism.handlers")


class _Turn:
    """What a worker was at when its scope was left. ``sound``: it stands in no scope but its own."""

    __slots__ = ("delivery", "sound", "superfluous")

    def __init__(self) -> None:
        self.delivery: Delivery | None = None
        self.sound = True
        self.superfluous = False


class Host(StepperHost, Protocol):
    """What workers need of the pump."""

    waits: Waits
    writer: Writer | None
    left_out: Callable[[str], str]


class Workers:
    """All workers of a pump, whose handlers ``stepper`` steps."""

    def __init__(self, pump: Host, stepper: Stepper) -> None:
        self._pump = pump
        self._kernel = pump.kernel
        self._most = pump.kernel.state.settings.thread_queue
        self._running = pump.running
        self._now = pump.now
        self._carry_out = pump.carry_out
        self._aside = pump.aside
        self._stepper = stepper
        self.group: TaskGroup | None = None
        """In which new ones are started. ``None``: nothing is begun any more."""
        self.active = 0
        """Those at work on a handler that does not wait."""
        self._write: Callable[[], object] = pump.writer.start if pump.writer else lambda: None
        """Has what was recorded written: as long as one of them is active, nobody else sees to that."""
        self._parked: list[runtime.Event] = []
        self.left: dict[Delivery, None] = {}
        """Deliveries that were ended without their handlers, as long as those keep a task."""

    def __len__(self) -> int:
        return self.active + len(self._parked) + sum(each.suspended_once for each in self._running.values())

    def wake(self) -> None:
        """Sees that somebody works."""
        if not self.active:
            self._stepper.begin_anew()
        self.active += 1
        if self._parked:
            self._parked.pop().set()
        elif self.group is not None:
            self.group.start_soon(self._work)
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
        stepper, homes = self._stepper, self._aside.homes
        homes[scope] = runtime.home()
        stepper.look()
        while True:
            waiting = stepper.run(scope, undisturbed)
            if waiting is not None:
                if not await self._see_through(*waiting, turn, mark):
                    return
                homes[scope] = runtime.home()
            elif not stepper.due():
                turn.superfluous = not await self._park()
                if turn.superfluous:
                    return
                stepper.look()
                continue
            if stepper.due():
                stepper.begin_slice()
                self._write()
                await anyio.lowlevel.checkpoint()
                stepper.look()
                stepper.begin_slice()

    async def _see_through(self, delivery: Delivery, rest: Awaitable[Any] | None, turn: _Turn, mark: object) -> bool:
        """Awaits the rest of a delivery, and concludes it. False: the worker's scope is to be left, and the delivery is in ``turn``."""
        turn.delivery = delivery
        try:
            await self.deliver(delivery, rest, mark)
        except BaseException as error:
            if not runtime.is_cancelled():
                # It ends the process; while that closes down, nobody is to wait for this delivery.
                turn.delivery = None
                delivery.result = failure_of(error)
                self._stepper.conclude(delivery)
            raise
        finally:
            turn.sound = delivery.sound
        if not turn.sound or delivery.cut or runtime.cancellings():
            return False
        turn.delivery = None
        self._stepper.conclude(delivery)
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

    async def deliver(self, delivery: Delivery, rest: Awaitable[Any] | None, mark: object) -> None:
        """Awaits the ``rest`` of a handler; whatever comes of it is kept in ``delivery`` for
        :meth:`organism.pump.stepper.Stepper.conclude`.

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
        self._stepper.conclude(delivery)

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
        self._stepper.conclude(delivery)
