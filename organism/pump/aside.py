"""Handlers that wait for asks without keeping a task.

Such a handler yields to the worker that steps it, not to the event loop. The worker lays the coroutine aside and goes on with other
work; when the answer has come, whichever worker is active steps it on. There is no task switch, and no task is kept.

This works only where nothing ties the handler to the task in which it was begun (:func:`organism.pump.runtime.untouched`). A handler that
has a cancel scope open, asks from a task of its own, or has waited in the event loop before keeps its worker.
"""

from __future__ import annotations

from collections import deque
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol, final

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Sequence

    import anyio

    from organism.errors import JournalError
    from organism.pump.delivery import Delivery
    from organism.pump.wakeups import Wakeups
    from organism.threads.frames import Ask, Message, Thread


class Host(Protocol):
    """What :class:`Aside` needs of the pump."""

    wakeups: Wakeups

    @property
    def stopped(self) -> bool:
        """Whether nothing is begun any more."""
        ...

    def goes_ahead(self, message: Message) -> bool:
        """Whether a delivery may be told of facts that are not durable yet."""
        ...

    def check_written(self, thread: Thread) -> None:
        """Raises JournalError where the thread could not be written."""
        ...

    def when_durable(
        self, thread: Thread, go: Callable[[], None], fail: Callable[[JournalError], None] | None = None
    ) -> None:
        """Calls ``go`` once all that was recorded so far is durable, or ``fail`` where the thread's chain could not be written."""
        ...


@final
class Laid:
    """What a delivery is laid aside for: it goes on once these asks are done. ``left`` counts those that are not.

    The context awaits it on behalf of the handler, where :meth:`Aside.takes` the delivery. It is an awaitable and its own iterator: it yields
    itself to the worker once, and ends when it is stepped on. No other object is made for that.
    """

    __slots__ = ("_aside", "_given", "asks", "delivery", "left")

    def __init__(self, aside: Aside, delivery: Delivery, asks: Sequence[Ask]) -> None:
        self._aside = aside
        self._given = False
        self.delivery = delivery
        self.asks = asks
        self.left = len([ask for ask in asks if not ask.done])

    def __await__(self) -> Any:  # it is its own iterator; a cast to Generator would take a call
        return self

    def __next__(self) -> Laid:
        if self._given:
            self._aside.check_written(self.delivery.message.thread)
            raise StopIteration
        self._given = True
        return self

    def __call__(self) -> None:
        """One of the asks is done."""
        self.left -= 1
        if not self.left:
            self._aside.answered(self)


@final
class Aside:
    """Lays deliveries of a pump aside, and queues those that go on (``ready``)."""

    def __init__(self, pump: Host) -> None:
        self._pump = pump
        self.check_written = pump.check_written
        self.stepped: Delivery | None = None
        """The delivery whose handler is stepped in place at this moment."""
        self.untouched: dict[anyio.CancelScope, Callable[[], bool]] = {}
        """For each worker, by its scope, what says whether its task still is as it was (:func:`organism.pump.runtime.untouched`)."""
        self.ready: deque[Delivery] = deque()
        """Deliveries that are to be stepped on."""

    def takes(self, delivery: Delivery) -> bool:
        """Whether a delivery may be laid aside; asked while its own handler is stepped."""
        scope = delivery.scope
        return (
            self.stepped is delivery
            and scope is not None
            and not (delivery.suspended_once or delivery.over or delivery.cut)
            and self.untouched[scope]()
            and not self._pump.stopped
        )

    def put(self, laid: Laid, coro: Coroutine[Any, Any, Any]) -> Laid:
        """Lays a delivery aside until the asks of ``laid`` are done; returns ``laid``."""
        asking = self._pump.wakeups.asking
        for ask in laid.asks:
            if not ask.done:
                asking[ask] = laid
        laid.delivery.lay_aside(coro, laid)
        return laid

    def answered(self, laid: Laid) -> None:
        """All that a delivery is laid aside for is done: it goes on, once the answers are durable where that is required."""
        delivery = laid.delivery
        if self._pump.goes_ahead(delivery.message):
            delivery.answered(laid)
            return
        go = partial(delivery.answered, laid)
        # Where its thread could not be written it goes on as well: Laid raises the error.
        self._pump.when_durable(delivery.message.thread, go, lambda _: go())
