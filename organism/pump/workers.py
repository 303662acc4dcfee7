"""The workers of a pump: tasks that await handlers.

A worker has handlers stepped in place, one after the other (:mod:`organism.pump.stepper`). A handler that waits in the event loop keeps its
worker, and another worker takes over the rest. A worker whose task a handler has not left as it was is replaced (R25).
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
    from organism.pump.wakeups import Wakeups
    from organism.pump.writer import Writer

SPARE: Final = 32
"""How many workers are kept when there is nothing for them to do."""

LONGEST: Final = 12
"""How often a cancelled handler gets :data:`PATIENCE` while a model call of it is open: a minute in all."""

_handlers_log: Final = logging.getLogger("organism.handlers")


class _Turn:
    """How a worker left its scope: with which ``delivery`` that is to be concluded; ``sound``: its task stands in no scope but its own;
    ``superfluous``: there are enough workers without it.
    """

    __slots__ = ("delivery", "sound", "superfluous")

    def __init__(self) -> None:
        self.delivery: Delivery | None = None
        self.sound = True
        self.superfluous = False


class Host(StepperHost, Protocol):
    """What workers need of the pump."""

    wakeups: Wakeups
    writer: Writer | None
    left_out: Callable[[str], str]


class Workers:
    """All workers of a pump; ``stepper`` steps handlers for them."""

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
        """The task group in which workers are started. ``None``: nothing is begun any more."""
        self.active = 0
        """How many are neither parked nor kept by a handler that waits."""
        self._write: Callable[[], object] = pump.writer.start if pump.writer else lambda: None
        """Starts writing what was recorded."""
        self._write_soon: Callable[[], object] = pump.writer.start_soon if pump.writer else lambda: None
        """The same, where no worker is active: the writer leaves that to the workers as long as one is."""
        self._parked: list[runtime.Event] = []
        """Those that wait for work."""
        self.left_behind: dict[Delivery, None] = {}
        """Deliveries that were left behind, as long as their handlers keep a task."""

    def __len__(self) -> int:
        return self.active + len(self._parked) + sum(each.suspended_once for each in self._running.values())

    def wake(self) -> None:
        """Makes one more worker active: a parked one, or a new one."""
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
        """A worker: it enters one cancel scope after another, and a new one after each delivery that was cancelled in the last."""
        undone = runtime.cancellings()
        while True:
            turn = _Turn()
            try:
                with anyio.CancelScope() as scope:
                    try:
                        await self._work_in(scope, turn)
                    finally:
                        del self._aside.untouched[scope]
            except anyio.get_cancelled_exc_class():
                if runtime.is_cancelled():
                    raise
                # On asyncio a handler may leave something behind, such as a timeout, that cancels the worker's task later.
                turn.sound = False
            sound = turn.sound and runtime.cancellings() == undone
            if turn.delivery is not None:
                self._conclude_interrupted(turn.delivery, sound=sound)
            if not sound:
                # A handler may have left more on this task: a new worker takes its place.
                await runtime.swallow_cancelling()
                self._rests()
                self._carry_out()
                return
            if turn.superfluous:
                return

    async def _work_in(self, scope: anyio.CancelScope, turn: _Turn) -> None:
        """Handles deliveries until one of them was cancelled or did not leave the task as it was: that one is left in ``turn``."""
        mark, undisturbed = runtime.scope_mark(), runtime.undisturbed()
        stepper, untouched = self._stepper, self._aside.untouched
        untouched[scope] = runtime.untouched()
        stepper.look()
        while True:
            waiting = stepper.run(scope, undisturbed)
            if waiting is not None:
                if not await self._see_through(*waiting, turn, mark):
                    return
                untouched[scope] = runtime.untouched()
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
        """Awaits the rest of a delivery, and concludes it. ``False``: the worker's scope is to be left first, and the delivery is in ``turn``."""
        turn.delivery = delivery
        try:
            await self.deliver(delivery, rest, mark)
        except BaseException as error:
            if not runtime.is_cancelled():
                # It ends the process. While that shuts down, nobody must wait for this delivery.
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
        """Waits for work. ``False``: enough workers wait already."""
        self._rests()
        if len(self._parked) >= SPARE:
            return False
        event = runtime.event()
        self._parked.append(event)
        try:
            while not event.is_set():  # see Event
                await event.wait()
        except BaseException:
            if event in self._parked:
                self._parked.remove(event)
                self.active += 1
            raise
        return True

    def _rests(self) -> None:
        """One of them is not active any more."""
        self.active -= 1
        self._write_soon()

    async def deliver(self, delivery: Delivery, rest: Awaitable[Any] | None, mark: object) -> None:
        """Awaits the ``rest`` of a handler, and keeps what comes of it in ``delivery`` for :meth:`organism.pump.stepper.Stepper.conclude`.

        ``mark`` is the worker's own scope: scopes that the handler has left open are closed, and the delivery is not ``sound``.
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
            if delivery.left_behind:
                del self.left_behind[delivery]
            else:
                del self._running[message]
            if delivery.suspended_once:
                self.active += 1

    def _failed(self, delivery: Delivery, error: BaseException) -> None:
        """Keeps the failure that a caller hears of for an exception that left a handler, and logs a crash."""
        message = delivery.message
        failure = failure_of(error)
        delivery.result = failure = evolve(failure, text=self._pump.left_out(failure.text))
        delivery.passed_on = isinstance(error, HandlerFailedError)
        outside = message.frame.parent is None and message.thread.owner is None
        if outside and isinstance(error, ModelError):
            return  # not logged: no fault of the handler, and whoever sent the message gets it whole
        if failure.code == "crashed":
            _handlers_log.error("handler '%s' crashed in thread %s", message.to, message.thread.id, exc_info=error)

    def suspended(self, delivery: Delivery) -> None:
        """A handler waits in the event loop: its mailbox is taken, and another worker goes on with what is ready."""
        self._kernel.suspended(delivery.message)
        if self._kernel.is_void(delivery.message):
            delivery.interrupt(None)  # cancelled by its own doing, before it was known as running
        self.active -= 1
        self._carry_out()  # wakes another one where there is more to do
        if self._pump.writer is not None:
            self._pump.writer.see_to_it()

    def leave_behind(self, delivery: Delivery) -> None:
        """A handler has not ended in time though it was cancelled: its delivery ends without it. Where it has model calls that are open or
        wait for budget, it first gets more time, :data:`LONGEST` times; then the former are charged in full, and the latter leave the line.
        """
        message, calls = delivery.message, self._kernel.calls
        in_line = self._pump.wakeups.in_line
        waiters = [each for each in in_line if each.owner is message]
        holds = [each for each in self._kernel.state.holds.values() if each.message is message]
        if (waiters or holds) and delivery.waited < LONGEST:
            delivery.wait_for_end()  # its calls may still be settled
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
        """The pump stops: deliveries that are laid aside get a worker in ``group``, in which they are cancelled."""
        for delivery in tuple(self._running.values()):
            if delivery.scope is None:
                delivery.take_up()
        for _ in self._aside.ready:
            self.active += 1
            group.start_soon(self._work)

    def leave_all(self) -> None:
        """The pump is to stop, and the handlers that still run do not end: they are left behind. The journal has what they were at."""
        for delivery in tuple(self._running.values()):
            self._leave(delivery)
            for ask in delivery.message.asks:
                if ask in self._pump.wakeups.asking:  # it may wait under a shield, and would do so for ever
                    self._pump.wakeups.asking[ask]()

    def _leave(self, delivery: Delivery) -> None:
        message = delivery.message
        _handlers_log.error(
            "handler '%s' goes on in thread %s %g s after it was cancelled: it is abandoned, and what it still does is ignored",
            message.to, message.thread.id, PATIENCE * max(1, delivery.waited),
        )  # fmt: skip
        delivery.left_behind = True
        delivery.finished()
        del self._running[message]
        self.left_behind[delivery] = None

    def _conclude_interrupted(self, delivery: Delivery, *, sound: bool) -> None:
        """Concludes a delivery that was cancelled, or that did not leave the task of its worker as it was."""
        message = delivery.message
        if delivery.left_behind:
            return  # it was concluded when it was left behind
        if not sound:
            text = f"'{message.to}' left a cancel scope or a cancelling behind"
            _handlers_log.error("%s in thread %s", text, message.thread.id)
            delivery.result = Failure("crashed", text, retry=True)
        elif delivery.interrupted is not None:
            delivery.result = delivery.interrupted
        self._stepper.conclude(delivery)
