"""Handlers that wait for the answer to an ask without a task.

What such a handler awaits is handed to the worker that steps it, not to the event loop: the worker lays the coroutine aside and goes
on with other work, and whichever worker is there when the answer comes steps it on. No task is switched, and none is kept.

That holds where nothing ties the handler to the task it was begun in (see :func:`organism.pump.runtime.home`). One that has a
scope open, asks from a task of its own or has waited for something else before keeps its worker, as whoever waits for the world does.
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
    from organism.pump.waits import Waits
    from organism.threads.frames import Ask, Message, Thread


class Host(Protocol):
    """What laying aside needs of the pump."""

    waits: Waits

    @property
    def stopped(self) -> bool:
        """Whether nothing is begun any more."""
        ...

    def goes_ahead(self, message: Message) -> bool:
        """Whether a delivery may be told of what is not durable yet."""
        ...

    def check_written(self, thread: Thread) -> None:
        """Raises JournalError where the thread could not be written."""
        ...

    def when_durable(
        self, thread: Thread, go: Callable[[], None], fail: Callable[[JournalError], None] | None = None
    ) -> None:
        """Calls ``go`` once all that was recorded so far is durable; ``fail`` where the thread could not be written."""
        ...


@final
class Laid:
    """What a delivery is laid aside for: that these asks are done. ``left`` counts those that are not.

    Its handler awaits it, only where :meth:`Aside.takes` its delivery. It is its own iterator, so that nothing else is kept between the
    handler's frame and the worker: the worker gets it when it is laid aside, and steps it on once.
    """

    __slots__ = ("_aside", "_given", "asks", "delivery", "left")

    def __init__(self, aside: Aside, delivery: Delivery, asks: Sequence[Ask]) -> None:
        self._aside = aside
        self._given = False
        self.delivery = delivery
        self.asks = asks
        self.left = len([ask for ask in asks if not ask.done])

    def __await__(self) -> Any:  # a generator that gives itself; to say so would take a call
        return self

    def __next__(self) -> Laid:
        if self._given:
            self._aside.check_written(self.delivery.message.thread)
            raise StopIteration
        self._given = True
        return self

    def __call__(self) -> None:
        """One of them is done."""
        self.left -= 1
        if not self.left:
            self._aside.answered(self)


@final
class Aside:
    """The deliveries of a pump that are laid aside, and which of them go on."""

    def __init__(self, pump: Host) -> None:
        self._pump = pump
        self.check_written = pump.check_written
        self.stepped: Delivery | None = None
        """Whose handler is stepped in place at this moment, or has its answers read."""
        self.homes: dict[anyio.CancelScope, Callable[[], bool]] = {}
        """What tells of each worker, by its scope, that nothing was left open in its task."""
        self.ready: deque[Delivery] = deque()
        """Those that are to be stepped on."""

    def takes(self, delivery: Delivery) -> bool:
        """Whether a delivery may be laid aside, asked by what its own handler does now."""
        scope = delivery.scope
        return (
            self.stepped is delivery
            and scope is not None
            and not (delivery.suspended_once or delivery.over or delivery.cut)
            and self.homes[scope]()
            and not self._pump.stopped
        )

    def put(self, laid: Laid, coro: Coroutine[Any, Any, Any]) -> Laid:
        """Lays a delivery aside; gives what for."""
        asking = self._pump.waits.asking
        for ask in laid.asks:
            if not ask.done:
                asking[ask] = laid
        laid.delivery.lay_aside(coro, laid)
        return laid

    def answered(self, laid: Laid) -> None:
        """All that a delivery is laid aside for is done: it goes on once it may be told."""
        delivery = laid.delivery
        if self._pump.goes_ahead(delivery.message):
            delivery.answered(laid)
            return
        go = partial(delivery.answered, laid)
        # One that was not written goes on as well: it is told of that.
        self._pump.when_durable(delivery.message.thread, go, lambda _: go())
