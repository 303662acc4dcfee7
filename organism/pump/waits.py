"""Those who wait for what the kernel decides: asks, calls in line, senders, and whoever closes the organism."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import anyio

from organism.budget.claims import Charge
from organism.kernel.holds import Hold
from organism.pump import runtime
from organism.pump.room import Room

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
    """What waiting needs of the pump."""

    kernel: Kernel
    now: Callable[[], float]
    scopes: Callable[[], Iterator[object]]

    def carry_out(self) -> None:
        """Does what the kernel has asked for."""
        ...

    def goes_ahead(self, message: Message) -> bool:
        """Whether a delivery may be told of what is not durable yet."""
        ...

    async def settled(self, *threads: Thread) -> None:
        """Waits until all that was recorded so far is durable."""
        ...


def drained(items: list[T]) -> list[T]:
    """What stands in a list, which is empty from now on. It stays the same list: the pump knows it."""
    taken = items.copy()
    items.clear()
    return taken


class Waits:
    """Keeps for each of them how it is woken. The pump says when to look: it knows what the kernel has done."""

    def __init__(self, pump: Host) -> None:
        self._pump = pump
        self.asking: dict[Ask, Callable[[], object]] = {}
        """The asks that wait for their answer, each with what is called once they need not."""
        self.in_line: dict[Waiter, tuple[anyio.Event, list[Hold | BudgetExhaustedError]]] = {}
        """The calls that wait for budget, each with where its verdict goes."""
        self.room = Room(pump.kernel.schedule, pump.kernel.state.settings.queue)
        """Where senders from outside wait."""
        self._drained: anyio.Event | None = None

    # What is waited for

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
                await event.wait()
            finally:
                self.asking.pop(ask, None)
                knots.awaits_no_more(ask.message, ask, pump.scopes())
        if not pump.goes_ahead(ask.message):
            await pump.settled(ask.message.thread)
        return ask.answer

    async def turn_of(self, waiter: Waiter) -> Hold | BudgetExhaustedError:
        """Waits until a waiting call is granted or refused. Cancelled, it takes nothing."""
        event = anyio.Event()
        box: list[Hold | BudgetExhaustedError] = []
        self.in_line[waiter] = (event, box)
        self._pump.carry_out()  # an older call may be tied by this one: nothing else need ever happen
        try:
            await event.wait()
        except BaseException:
            if self.in_line.pop(waiter, None) is not None:
                self._pump.kernel.calls.leave_line(waiter)
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
        """Waits until no thread lives, :data:`PATIENCE` seconds at most: a handler may not hold the end up for ever."""
        with anyio.move_on_after(PATIENCE):
            while self._pump.kernel.state.threads:
                self._drained = anyio.Event()
                await self._drained.wait()

    # What has come

    def wake_askers(self) -> None:
        """Their asks were answered, or will not be."""
        for ask in drained(self._pump.kernel.state.woken):
            go = self.asking.pop(ask, None)
            if go is not None:
                go()

    def tell_line(self) -> None:
        """Waiting calls were granted or refused."""
        for waiter, verdict in drained(self._pump.kernel.calls.answered):
            event, box = self.in_line.pop(waiter)
            box.append(verdict)
            event.set()

    def drain(self) -> None:
        """No thread lives any more."""
        if self._drained is not None:
            self._drained.set()
