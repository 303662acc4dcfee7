"""Waiting in real time, for threads and processes, which no virtual clock hurries."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Final

import anyio.lowlevel

if TYPE_CHECKING:
    from collections.abc import Callable

LONG: Final = 120
"""Seconds after which a test gives up: where many share a machine, a process may take half a minute to load what it needs."""
MOMENT: Final = 0.001


def wait_until(done: Callable[[], object], what: str = "it did not come") -> None:
    """Returns once something is so; raises AssertionError, which says ``what``, where that takes too long."""
    for _ in range(int(LONG / MOMENT)):
        if done():
            return
        threading.Event().wait(MOMENT)
    raise AssertionError(what)


async def until(done: Callable[[], object], what: str = "it did not come") -> None:
    """The same on an event loop, which is never idle meanwhile: a virtual clock stands still."""
    for _ in range(int(LONG / MOMENT)):
        if done():
            return
        threading.Event().wait(MOMENT)
        await anyio.lowlevel.checkpoint()
    raise AssertionError(what)
