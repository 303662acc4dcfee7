"""Waiting on behalf of a delivery: meanwhile it has given its place back, and its timeout stands still (R3, R8)."""

from __future__ import annotations

import types
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar, cast

if TYPE_CHECKING:
    from collections.abc import Coroutine, Generator
    from types import TracebackType

    from organism.pump.delivery import Delivery
    from organism.pump.runtime import Event
    from organism.threads.frames import Message

T = TypeVar("T")
Take = Callable[[Callable[[], Any]], Any]


def take_it(step: Callable[[], T]) -> T:
    """Takes a step, as it is."""
    return step()


class Waiting:
    """A block (``async with``) in which a delivery waits for something that it asked for."""

    __slots__ = ("_delivery",)

    def __init__(self, delivery: Delivery) -> None:
        self._delivery = delivery

    @property
    def message(self) -> Message:
        """The delivery's message."""
        return self._delivery.message

    async def __aenter__(self) -> None:
        self._delivery.begin_waiting()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        event = self._delivery.end_waiting()
        if event is not None:
            await stand_in_line(self._delivery, event)


async def stand_in_line(delivery: Delivery, event: Event) -> None:
    """Waits until a delivery that has all that it waited for has a place again (``event``)."""
    try:
        while not event.is_set():  # see Event
            await event.wait()
    except BaseException:
        delivery.leave_line(event)
        raise


@types.coroutine
def meanwhile(delivery: Delivery, work: Coroutine[Any, Any, T], take: Take = take_it) -> Generator[Any, Any, T]:
    """Awaits ``work`` in such a block, which begins when it first waits: work that never waits saves entering and leaving it. ``take``
    takes each of its steps, up to where it waits.
    """
    try:
        waits_for = take(partial(work.send, None))
    except StopIteration as finished:
        return cast("T", finished.value)
    delivery.begin_waiting()
    try:
        return (yield from _rest(work, waits_for, take))
    finally:
        event = delivery.end_waiting()
        if event is not None:
            yield from stand_in_line(delivery, event).__await__()


def _rest(work: Coroutine[Any, Any, T], waits_for: Any, take: Take) -> Generator[Any, Any, T]:
    """The rest of a coroutine that was stepped once, and waits for ``waits_for``."""
    while True:
        try:
            value = yield waits_for
        except GeneratorExit:
            work.close()
            raise
        except BaseException as error:  # noqa: BLE001 - whatever it is, the coroutine is to get it
            go_on = partial(work.throw, error)
        else:
            go_on = partial(work.send, value)
        try:
            waits_for = take(go_on)
        except StopIteration as finished:
            return cast("T", finished.value)
