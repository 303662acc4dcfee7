"""The time in which an organism starts: one may start it, and who would close it waits for that."""

from __future__ import annotations

import anyio


class Starting:
    """Entered by whoever starts an organism, and left when that is done or has failed."""

    def __init__(self) -> None:
        self._over: anyio.Event | None = None

    @property
    def goes_on(self) -> bool:
        """Whether somebody starts it right now."""
        return self._over is not None

    async def over(self) -> None:
        """Waits until nobody does."""
        if self._over is not None:
            await self._over.wait()

    def __enter__(self) -> None:
        self._over = anyio.Event()

    def __exit__(self, *_: object) -> None:
        over, self._over = self._over, None
        if over is not None:
            over.set()
