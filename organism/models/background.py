"""Slow work that is done once and must not block the event loop: loading an SDK, reading certificates or a recording.

It runs in a thread of its own. Whoever waits for it polls, and leaves the processor to the thread for a moment at each turn of the loop:
other tasks go on, while the thread gets nearly all of the processor. Since the loop is never idle meanwhile, a virtual clock stands
still, and no deadline of a test comes while a library is loaded.
"""

from __future__ import annotations

import contextvars
from threading import Event, Thread
from typing import TYPE_CHECKING, Final, Generic, TypeVar

import anyio
import anyio.lowlevel

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")

MOMENT: Final = 0.001
"""Seconds of each turn of the loop that its thread leaves to the work."""


class BackgroundWork(Generic[T]):
    """Starts ``work`` at once; it runs to its end, whether anybody waits for it or not."""

    def __init__(self, work: Callable[[], T]) -> None:
        self._work = work
        self._came: list[T] = []
        self._error: BaseException | None = None
        self._ended = Event()
        self._looking = anyio.Lock(fast_acquire=True)
        try:
            # A daemon: what hangs must not keep the process.
            Thread(
                target=contextvars.copy_context().run, args=(self._do,), name="organism loading", daemon=True
            ).start()
        except RuntimeError:  # the system has no thread left
            self._do()

    @property
    def over(self) -> bool:
        """Whether it has come to its end."""
        return self._ended.is_set()

    async def wait(self) -> None:
        """Returns once it is over; one of those that wait looks for all of them."""
        async with self._looking:
            while not self._ended.is_set():
                await anyio.lowlevel.checkpoint()
                self._ended.wait(MOMENT)

    def result(self) -> T:
        """What the work gave; raises what it raised. To be called once it is over."""
        if self._error is not None:
            raise self._error
        return self._came[0]

    def _do(self) -> None:
        try:
            self._came.append(self._work())
        except BaseException as error:  # noqa: BLE001 - it is raised where the result is asked for
            self._error = error
        self._ended.set()
