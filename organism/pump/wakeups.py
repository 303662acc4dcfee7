"""How those who wait for the kernel's decisions are woken: asks, model calls in line for budget, and whoever waits for all threads to end."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import anyio

from organism.budget.claims import Charge
from organism.kernel.holds import Hold
from organism.pump import runtime
from organism.pump.admission import Admission

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from organism.budget.waiting import Waiter
    from organism.errors import BudgetExhaustedError
    from organism.kernel import Kernel
    from organism.threads.frames import Ask, Message, Thread

PATIENCE = 10.0
"""Seconds that cancelled handlers are waited for when the organism is closed."""


T = TypeVar("T")


class Host(Protocol):
    """What :class:`Wakeups` needs of the pump."""

    kernel: Kernel
    now: Callable[[], float]
    scopes: Callable[[], Iterator[object]]

    def carry_out(self) -> None:
        """Does what the kernel has asked for."""
        ...

    def goes_ahead(self, message: Message) -> bool:
        """Whether a delivery may be told of facts that are not durable yet."""
        ...

    async def settled(self, *threads: Thread) -> None:
        """Waits until all that was recorded so far is durable."""
        ...


def take_all(items: list[T]) -> list[T]:
    """Empties a list, and returns what was in it. It stays the same list, to which the kernel adds."""
    taken = items.copy()
    items.clear()
    return taken


class Wakeups:
    """Keeps how each of those who wait is woken. :class:`organism.pump.orders.Orders` calls the methods that wake them."""

    def __init__(self, pump: Host) -> None:
        self._pump = pump
        self.asking: dict[Ask, Callable[[], object]] = {}
        """The asks that wait for their answer, each with what is called once it is there."""
        self.in_line: dict[Waiter, tuple[anyio.Event, list[Hold | BudgetExhaustedError]]] = {}
        """The calls that wait for budget, each with the event to be set and the box that its verdict goes into."""
        self.admission = Admission(pump.kernel.schedule, pump.kernel.state.settings.queue)
        """Where senders from outside wait while the queue is full."""
        self._drained: anyio.Event | None = None

    # Waiting

    async def answer_to(self, ask: Ask) -> Any:
        """Waits for an ask's answer: a payload or a Failure."""
        pump = self._pump
        if not ask.done:
            event = runtime.event()
            self.asking[ask] = event.set
            knots = pump.kernel.calls.knots
            knots.awaits(ask.message, ask, pump.scopes())
            pump.carry_out()
            try:
                while not event.is_set():  # see Event
                    await event.wait()
            finally:
                self.asking.pop(ask, None)
                knots.awaits_no_more(ask.message, ask, pump.scopes())
        if not pump.goes_ahead(ask.message):
            await pump.settled(ask.message.thread)
        return ask.answer

    async def turn_of(self, waiter: Waiter) -> Hold | BudgetExhaustedError:
        """Waits until a call in line is granted or refused. Where the wait is cancelled, nothing stays held."""
        event = anyio.Event()
        box: list[Hold | BudgetExhaustedError] = []
        self.in_line[waiter] = (event, box)
        self._pump.carry_out()  # this one may have deadlocked an older call, and nothing else need ever happen
        try:
            while not event.is_set():  # see Event
                await event.wait()
        except BaseException:
            if self.in_line.pop(waiter, None) is not None:
                self._pump.kernel.calls.leave_line(waiter)
                self._pump.kernel.state.inbox.stir(waiter.note.thread)
                self._pump.carry_out()
            elif isinstance(box[0], Hold):
                self.give_up(box[0])
            raise
        return box[0]

    def give_up(self, hold: Hold) -> None:
        """Releases a hold that nobody will use."""
        self._pump.kernel.calls.settle(hold, Charge(), self._pump.now())
        self._pump.carry_out()

    async def drained(self) -> None:
        """Waits until no thread lives, :data:`PATIENCE` seconds at most: no handler can delay the end for ever."""
        with anyio.move_on_after(PATIENCE):
            while self._pump.kernel.state.threads:
                self._drained = anyio.Event()
                await self._drained.wait()

    # Waking

    def wake_askers(self) -> None:
        """Wakes those whose asks were answered, or will not be."""
        inbox = self._pump.kernel.state.inbox
        for ask in take_all(self._pump.kernel.state.woken):
            if inbox.watched:
                inbox.stir(ask.message.thread)  # it goes on, whichever thread the answer came from
            go = self.asking.pop(ask, None)
            if go is not None:
                go()

    def tell_line(self) -> None:
        """Wakes calls in line that were granted or refused."""
        for waiter, verdict in take_all(self._pump.kernel.calls.answered):
            event, box = self.in_line.pop(waiter)
            box.append(verdict)
            event.set()

    def drain(self) -> None:
        """No thread lives any more."""
        if self._drained is not None:
            self._drained.set()
