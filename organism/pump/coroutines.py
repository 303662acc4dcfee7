"""Stepping the coroutine of a handler by hand, with its own context variables, in the task of whoever awaits it."""

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
"""In place of what a handler waits for: it was laid aside, and is to be cancelled."""


class LeftBehind(BaseException):
    """Raised in place of stepping a handler that was left behind: it did not end when it was cancelled."""


async def step(coro: Coroutine[Any, Any, Any], context: contextvars.Context, suspended: Callable[[], None]) -> Any:
    """Runs a coroutine in this task, with the context variables of its handler; calls ``suspended`` when it first waits.

    Where it finishes without waiting, nothing else has run in between.
    """
    try:
        waits_for = context.run(coro.send, None)
    except StopIteration as finished:
        return finished.value
    return await go_on(coro, context, suspended, waits_for)


async def raised(error: BaseException) -> None:
    """An awaitable that raises this exception."""
    raise error


@types.coroutine
def go_on(
    coro: Coroutine[Any, Any, Any],
    context: contextvars.Context,
    suspended: Callable[[], None],
    waits_for: Any,
    delivery: Delivery | None = None,
) -> Generator[Any, Any, Any]:
    """The rest of a handler's coroutine that was stepped and now waits for ``waits_for`` (``CANCELLED``: it was laid aside, and is to be cancelled
    at the next checkpoint). Calls ``suspended`` first.

    Once its ``delivery`` was left behind it raises LeftBehind in place of stepping the handler. What the handler has asked the organism
    for is awaited before that, so that no hold stays open.
    """
    suspended()
    while True:
        try:
            if waits_for is CANCELLED:
                yield from anyio.lowlevel.checkpoint().__await__()
            value = None if waits_for is CANCELLED else (yield waits_for)
        except GeneratorExit as error:  # the worker is closed, not the handler
            context.run(coro.close)
            raise Abandoned from error
        except BaseException as error:  # noqa: BLE001 - whatever it is, it is the handler's to handle
            go_on = partial(coro.throw, error)
        else:
            go_on = partial(coro.send, value)
        if delivery is not None and delivery.left_behind and not delivery.waits:
            keep_for_ever(coro)
            raise LeftBehind
        try:
            waits_for = context.run(go_on)
        except StopIteration as finished:
            return finished.value
