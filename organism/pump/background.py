"""Running a pump in the background of an event loop, beside the tasks of the embedding program."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import anyio

from organism.pump import runtime
from organism.pump.delivery import PATIENCE

if TYPE_CHECKING:
    from collections.abc import Callable

    from organism.pump.pump import Pump

MOMENT: Final = 0.2
"""Seconds that the tasks of handlers that were left behind are given to end."""


class Background:
    """Runs ``pump`` in a task that belongs to the event loop, so that any task may stop it. ``over`` is called once it has stopped."""

    def __init__(self, pump: Pump, over: Callable[[], None]) -> None:
        self._pump = pump
        self._over = over
        self._stop = anyio.Event()
        self._stopped = anyio.Event()
        self._crash: BaseException | None = None
        self.running = True
        """Whether the pump runs, or is about to. One that has stopped, but whose task is kept by a handler, does not."""

    async def start(self) -> None:
        """Gives the pump its task, and waits until it takes work, or has crashed."""
        started = anyio.Event()
        runtime.spawn(self._host(started))
        await started.wait()

    async def stop(self) -> None:
        """Cancels what still runs, and waits until the pump has stopped; handlers that do not end are left behind."""
        self._stop.set()
        workers = self._pump.workers
        if self._pump.running or not workers.left_behind:
            with anyio.move_on_after(PATIENCE):
                await self._stopped.wait()
                return
            workers.leave_all()
        with anyio.move_on_after(MOMENT):
            await self._stopped.wait()
            return
        self.running = False  # a handler keeps its task, for which nobody waits
        self._over()

    def raise_crash(self) -> None:
        """Raises the exception that the pump crashed with, if any; only the first time."""
        crash, self._crash = self._crash, None
        if crash is None or isinstance(crash, anyio.get_cancelled_exc_class()):
            return
        first = runtime.foremost(crash)
        # On asyncio, an exception that ends the process has left the loop already, and the loop now cancels all tasks. Raised again, it would
        # interrupt that, and threads that are stopped at the end of it would keep the process alive.
        if isinstance(first, Exception) or not runtime.cancellings():
            raise first

    async def _host(self, started: anyio.Event) -> None:
        try:
            try:
                await self._pump.run(started.set, self._stop)
            finally:
                self._over()
        except BaseException as error:
            self._crash = error
            if isinstance(error, anyio.get_cancelled_exc_class()):
                raise
        finally:
            started.set()
            self.running = False
            self._stopped.set()
