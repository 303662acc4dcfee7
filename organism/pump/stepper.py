"""The synchronous half of a pump's workers: it takes what is ready, steps handlers in place, and hands what they answered to the kernel.

A handler that does not wait is over here, and the next one begins. One that waits is handed to its worker, which awaits the
rest (:mod:`organism.pump.workers`). Nothing here awaits, so that mypyc can compile it with the kernel.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, Final, Protocol, final

from organism.message import Forward, Reply, Send
from organism.pump.aside import Laid
from organism.pump.coroutines import CANCELLED, go_on, raised
from organism.pump.delivery import Delivery
from organism.pump.delivery import Host as DeliveryHost
from organism.pump.outgoing import outgoing_of
from organism.threads.outcomes import Failure

if TYPE_CHECKING:
    import contextvars
    from collections.abc import Awaitable, Callable, Coroutine, Mapping

    import anyio

    from organism.pump.aside import Aside
    from organism.pump.hooking import Hooks
    from organism.pump.retries import Retries
    from organism.settings import HandlerSettings
    from organism.threads.frames import Message

SLICE: Final = 0.005
"""Seconds for which deliveries may follow one another before I/O gets a turn."""

_handlers_log: Final = logging.getLogger("organism.handlers")
_ANOTHER_WAY: Final = (
    "handler '%s' in thread %s was run again and went another way: answers that it uses no more: %d; "
    "what it asked instead is paid for again"
)


class Host(DeliveryHost, Protocol):
    """What stepping needs of the pump."""

    handlers: Mapping[str, HandlerSettings]
    retries: Retries
    aside: Aside
    running: dict[Message, Delivery]
    hooks: Hooks | None
    look: Callable[[], float]

    @property
    def stopped(self) -> bool:
        """Whether nothing is begun any more."""
        ...


@final
class Stepper:
    """Steps the handlers of a pump, for all of its workers. ``variables`` and ``contexts`` as for :class:`organism.pump.pump.Pump`."""

    def __init__(
        self, pump: Host, variables: contextvars.Context, contexts: Mapping[str, Callable[[Any, Delivery], Any]]
    ) -> None:
        self._pump = pump
        self._kernel = pump.kernel
        self._most: int = pump.kernel.state.settings.thread_queue
        self._handlers = pump.handlers
        self._retries, self._circuits = pump.retries, pump.retries.circuits
        self._running = pump.running
        self._now, self._look = pump.now, pump.look
        self._carry_out = pump.carry_out
        self._aside = pump.aside
        self._hooks = pump.hooks
        self._base = variables
        self._contexts = contexts
        self._at = pump.now()
        """The instant at which it last looked at the clock."""
        self._until = 0.0
        """The end of the time slice, when I/O gets a turn. All workers share it: all that were woken together run before I/O does."""

    def run(
        self, scope: anyio.CancelScope, undisturbed: Callable[[], bool]
    ) -> tuple[Delivery, Awaitable[Any] | None] | None:
        """Carries out deliveries in the scope of a worker. Gives ``None`` where nothing is ready, or I/O is to get its turn (:meth:`due`).

        Gives (delivery, rest) for one that the worker must see to: ``rest`` is what is to be awaited; ``None``: it is over, but was
        cancelled or has not left the worker's task ``undisturbed``.
        """
        aside, handlers, circuits, schedule = self._aside, self._handlers, self._circuits, self._kernel.schedule
        while True:
            if aside.ready:
                delivery = aside.ready.popleft()
                delivery.scope = scope
                aside.stepped = delivery
                rest = self._go_on(delivery)
            else:
                message = schedule.take()
                if message is None:
                    return None
                odd = message.past is not None or circuits or message.to not in handlers
                if odd and self._turns_away(message):
                    continue
                delivery = Delivery(self._pump, message, handlers[message.to], scope, self._at)
                aside.stepped = delivery
                rest = self._begin(delivery)
            aside.stepped = None
            if rest is None and undisturbed() and not delivery.cut:
                delivery.over = True  # the common case: it has never waited, and has no timers or the like to take back
                del self._running[delivery.message]
                self.conclude(delivery)
            elif isinstance(rest, Laid):
                self._at = self._now()
            else:
                return delivery, rest
            if self._at >= self._until:
                return None

    def due(self) -> bool:
        """Whether the time slice is over and I/O is to get its turn."""
        return self._at >= self._until

    def look(self) -> None:
        """Looks at the clock, after a worker has waited."""
        self._at = self._look()

    def begin_anew(self) -> None:
        """Begins a time slice where no worker is active: I/O has just had its turn."""
        self._until = self._now() + SLICE

    def begin_slice(self) -> None:
        """Begins a time slice: deliveries may follow one another for a while from now on."""
        self._until = self._at + SLICE

    def _turns_away(self, message: Message) -> bool:
        """Fails a message without delivering it, where nobody can handle it or its handler's circuit is open. ``False``: it is to be delivered."""
        failure = self._kernel.unfit(message) if message.old or message.to not in self._handlers else None
        if failure is not None:
            _handlers_log.error("message %s cannot be handled: %s", message.id, failure.text)
        elif self._circuits:
            failure = self._retries.barred(message)
        if failure is None:
            return False
        self._kernel.failed(message, failure, self._now())
        self._carry_out()
        return True

    def _begin(self, delivery: Delivery) -> Awaitable[Any] | Laid | None:
        """Calls a handler, and steps it in place as far as it goes."""
        message, hooks = delivery.message, self._hooks
        self._running[message] = delivery
        delivery.context = context = self._contexts[message.to](self._pump, delivery)
        delivery.variables = self._base.copy()
        try:
            coro = (
                delivery.handler.code(message.payload, context)
                if hooks is None
                else hooks.handle(delivery.handler, message.payload, context)
            )
        except BaseException as error:  # noqa: BLE001 - treated as one that it raises later
            delivery.result = error
            return _raised(delivery)
        return self._step(delivery, coro)

    def _go_on(self, delivery: Delivery) -> Awaitable[Any] | Laid | None:
        """Steps on a handler that was laid aside; one that is cancelled goes to its worker, which cancels it in its own task."""
        coro, delivery.coro = delivery.coro, None
        assert coro is not None  # noqa: S101 - it was laid aside
        if not (delivery.cut or self._pump.stopped):
            return self._step(delivery, coro)
        if delivery.cut and delivery.scope is not None:
            delivery.scope.cancel()
        return go_on(coro, delivery.variables, delivery.suspended, CANCELLED, delivery)

    def _step(self, delivery: Delivery, coro: Coroutine[Any, Any, Any]) -> Awaitable[Any] | Laid | None:
        """Steps a handler in place. Gives ``None`` where it is done (``delivery.result`` has its answer), a :class:`Laid` where it is laid
        aside, and else what is to be awaited for its answer.
        """
        try:
            waits_for: object = delivery.variables.run(coro.send, None)
        except StopIteration as finished:
            answer: object = finished.value
        except BaseException as error:  # noqa: BLE001 - it is raised again where it is awaited
            delivery.result = error
            return _raised(delivery)
        else:
            return self._waits(delivery, coro, waits_for)
        kind = type(answer)
        if kind is Reply or kind is Send or kind is Forward:  # as most are
            delivery.result = (answer,)
        elif answer is not None:  # which is what a delivery comes to of itself
            return self._read(delivery, answer)
        return None

    def _waits(self, delivery: Delivery, coro: Coroutine[Any, Any, Any], waits_for: object) -> Awaitable[Any] | Laid:
        """What a step gives whose handler waits."""
        if type(waits_for) is Laid:
            return self._aside.put(waits_for, coro)
        return go_on(coro, delivery.variables, delivery.suspended, waits_for, delivery)

    def _read(self, delivery: Delivery, answer: object) -> Awaitable[Any] | None:
        """Reads what a handler has returned, where that is not one plain answer. ``None``: it was read."""
        try:
            delivery.result = outgoing_of(answer, self._most)
        except BaseException as error:  # noqa: BLE001 - a generator of answers is the handler's own code
            delivery.result = error
            return _raised(delivery)
        return None

    def conclude(self, delivery: Delivery) -> None:
        """Hands what a handler answered to the kernel."""
        result, message, kernel = delivery.result, delivery.message, self._kernel
        self._at = now = self._now()
        if kernel.book.half_done:
            place = f"while '{message.to}' was handled in thread {message.thread.id}"
            raise RuntimeError(f"a change was left unfinished {place}: a bug in organism itself; it stops here")
        rerun = message.past is not None and message.past.rerun
        # One that is cancelled has not come to what it would have asked for again.
        if rerun and not message.dropped and (unasked := delivery.context.unasked()):
            kernel.diverged(message, unasked, now)
            _handlers_log.warning(_ANOTHER_WAY, message.to, message.thread.id, len(unasked))
        void = kernel.is_void(message) if self._circuits else False
        failure: Failure | None
        if type(result) is not Failure and (delivery.deadline is None or now <= delivery.deadline):
            changes = None if delivery.context.kept is None else delivery.context.changes()
            failure = kernel.answered(message, result, changes, now, placed=delivery.placed, began=delivery.started)
            if failure is not None:
                _handlers_log.warning("answer of handler '%s' refused: %s", message.to, failure.text)
        else:
            failure, void = result if type(result) is Failure else delivery.timed_out(), kernel.is_void(message)
            kernel.failed(message, failure, now, placed=delivery.placed, began=delivery.started)
        if failure is not None or self._circuits:
            self._retries.ended(delivery, failure, void=void)
        delivery.context = None  # breaks a reference cycle
        self._carry_out()


def _raised(delivery: Delivery) -> Awaitable[Any]:
    """An awaitable that raises the exception of a handler, which is its result: the worker deals with it as with one raised later."""
    error, delivery.result = delivery.result, ()
    assert isinstance(error, BaseException)  # noqa: S101 - the step said so
    return raised(error)
