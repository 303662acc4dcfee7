"""A pump that runs in the background of its event loop."""

from __future__ import annotations

from typing import TYPE_CHECKING

import anyio

from organism.pump import runtime

if TYPE_CHECKING:
    from collections.abc import Callable

    from organism.pump.pump import Pump


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

    @property
    def running(self) -> bool:
        """Whether the pump runs, or is about to."""
        return not self._stopped.is_set()

    async def start(self) -> None:
        """Gives the pump its task, and waits until it takes work, or has crashed."""
        started = anyio.Event()
        runtime.spawn(self._host(started))
        await started.wait()

    async def stop(self) -> None:
        """Cancels what still runs, and waits until the pump is at rest."""
        self._stop.set()
        await self._stopped.wait()

    def raise_crash(self) -> None:
        """Raises what the pump crashed of, the first time."""
        crash, self._crash = self._crash, None
        if crash is not None and not isinstance(crash, anyio.get_cancelled_exc_class()):
            raise runtime.foremost(crash)

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
            self._stopped.set()
