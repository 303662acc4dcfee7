"""A pump that runs in the background of its event loop."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import anyio

from organism.pump import runtime
from organism.pump.delivery import PATIENCE

if TYPE_CHECKING:
    from collections.abc import Callable

    from organism.pump.pump import Pump

MOMENT: Final = 0.2
"""Seconds in which the tasks of handlers that were left behind end, where they can."""


class Background:
    """Runs ``pump`` in a task of the event loop's own, so that any task may end it. ``over`` is called once it does not run any
    more.
    """

    def __init__(self, pump: Pump, over: Callable[[], None]) -> None:
        self._pump = pump
        self._over = over
        self._stop = anyio.Event()
        self._stopped = anyio.Event()
        self._crash: BaseException | None = None
        self.running = True
        """Whether the pump runs, or is about to; one whose task a handler keeps does not."""

    async def start(self) -> None:
        """Gives the pump its task, and waits until it takes work, or has crashed."""
        started = anyio.Event()
        runtime.spawn(self._host(started))
        await started.wait()

    async def stop(self) -> None:
        """Cancels what still runs, and waits until the pump is at rest; handlers that do not end are left behind."""
        self._stop.set()
        workers = self._pump.workers
        if self._pump.running or not workers.left:
            with anyio.move_on_after(PATIENCE):
                await self._stopped.wait()
                return
            workers.leave_all()
        with anyio.move_on_after(MOMENT):
            await self._stopped.wait()
            return
        self.running = False  # its task goes on, and nobody waits for that
        self._over()

    def raise_crash(self) -> None:
        """Raises what the pump crashed of, the first time."""
        crash, self._crash = self._crash, None
        if crash is None or isinstance(crash, anyio.get_cancelled_exc_class()):
            return
        first = runtime.foremost(crash)
        # On asyncio what ends the process has left its loop by then, which cancels all that is left. Raised in there once more, it would
        # end the cancelling half-way, and threads that are told at its end would keep the process for ever.
        if isinstance(first, Exception) or not runtime.cancellings():
            raise first

    async def _host(self, started: anyio.Event) -> None:
        try:
            await self._pump.run(started.set, self._stop)
        except BaseException as error:
            self._crash = error
            if isinstance(error, anyio.get_cancelled_exc_class()):
                raise
        finally:
            self._over()
            started.set()
            self.running = False
            self._stopped.set()
