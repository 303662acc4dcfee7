"""What a delivery asks of the world, which may be there at once: only where it is not does anybody else run meanwhile."""

from __future__ import annotations

import types
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar, cast

if TYPE_CHECKING:
    from collections.abc import Coroutine, Generator

    from organism.pump.delivery import Delivery

T = TypeVar("T")


@types.coroutine
def meanwhile(delivery: Delivery, work: Coroutine[Any, Any, T]) -> Generator[Any, Any, T]:
    """What ``work`` comes to. The delivery keeps no place from when that first waits, and its timeout stands still, as in a block of
    :meth:`Delivery.waiting`; of what never waits nobody could have noticed either.
    """
    try:
        waits_for = work.send(None)
    except StopIteration as finished:
        return cast("T", finished.value)
    delivery.begin_waiting()
    try:
        return (yield from _rest(work, waits_for))
    finally:
        yield from delivery.end_waiting().__await__()


def _rest(work: Coroutine[Any, Any, T], waits_for: Any) -> Generator[Any, Any, T]:
    """The rest of a coroutine that was stepped once, and waits for something."""
    while True:
        try:
            value = yield waits_for
        except GeneratorExit:
            work.close()
            raise
        except BaseException as error:  # noqa: BLE001 - whatever it is, it is for what waits
            go_on = partial(work.throw, error)
        else:
            go_on = partial(work.send, value)
        try:
            waits_for = go_on()
        except StopIteration as finished:
            return cast("T", finished.value)
