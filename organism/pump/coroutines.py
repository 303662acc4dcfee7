"""Stepping the coroutine of a handler, in its own context variables and in the task of whoever awaits it."""

from __future__ import annotations

import types
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import anyio

from organism.pump.runtime import Abandoned, keep_for_ever

if TYPE_CHECKING:
    import contextvars
    from collections.abc import Callable, Coroutine, Generator

    from organism.pump.delivery import Delivery

CANCELLED: Final = object()
"""What a handler is said to wait for whose task is cancelled."""
RETURNED: Final = object()
"""What a step comes to in which a handler has returned."""
RAISED: Final = object()
"""What a step comes to in which a handler has raised."""


class LeftBehind(BaseException):
    """A handler that did not end when it was cancelled is not stepped any more."""


async def step(coro: Coroutine[Any, Any, Any], context: contextvars.Context, suspended: Callable[[], None]) -> Any:
    """Runs a coroutine in this task and in the context of its handler; says once when it first waits.

    If it finishes without waiting, no task was spawned for it and nothing else has run in between.
    """
    try:
        waits_for = context.run(coro.send, None)
    except StopIteration as finished:
        return finished.value
    return await go_on(coro, context, suspended, waits_for)


def take_step(coro: Coroutine[Any, Any, Any], delivery: Delivery) -> object:
    """Steps a handler in place: gives what it waits for. ``RETURNED`` or ``RAISED``: its end, which is in ``delivery.result``."""
    try:
        return delivery.variables.run(coro.send, None)
    except StopIteration as finished:
        delivery.result = finished.value
        return RETURNED
    except BaseException as error:  # noqa: BLE001 - it is raised again where it is awaited
        delivery.result = error
        return RAISED


async def raised(error: BaseException) -> None:
    """What a handler that has raised still comes to: whoever awaits it gets the exception."""
    raise error


@types.coroutine
def go_on(
    coro: Coroutine[Any, Any, Any],
    context: contextvars.Context,
    suspended: Callable[[], None],
    waits_for: Any,
    delivery: Delivery | None = None,
) -> Generator[Any, Any, Any]:
    """The rest of a handler's coroutine that was stepped once, and waits for something; says so at once. Raises LeftBehind in place of
    stepping the handler once its ``delivery`` is; what it has asked for is seen through, so that nothing is held.

    One that was laid aside and is to be cancelled waits for ``CANCELLED``.
    """
    suspended()
    while True:
        try:
            if waits_for is CANCELLED:
                yield from anyio.lowlevel.checkpoint().__await__()
            value = None if waits_for is CANCELLED else (yield waits_for)
        except GeneratorExit as error:  # of the worker, not of the handler
            context.run(coro.close)
            raise Abandoned from error
        except BaseException as error:  # noqa: BLE001 - whatever it is, it is the handler's to handle
            go_on = partial(coro.throw, error)
        else:
            go_on = partial(coro.send, value)
        if delivery is not None and delivery.left and not delivery.in_our_hands:
            keep_for_ever(coro)
            raise LeftBehind
        try:
            waits_for = context.run(go_on)
        except StopIteration as finished:
            return finished.value
