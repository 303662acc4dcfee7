"""Stopping the organism in order, since a handler failed whose ``on_failure`` says ``escalate`` (R9)."""

from __future__ import annotations

import logging
from contextlib import suppress
from typing import TYPE_CHECKING, Final

import anyio

from organism.errors import JournalError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from organism.threads.frames import Thread

PATIENCE: Final = 10.0
"""Seconds in which the thread of the failure must end; then the organism stops all the same."""

_log: Final = logging.getLogger("organism.handlers")


class Escalation:
    """The first failure for which the organism stops. ``why`` is a line about it, empty while there is none."""

    def __init__(self) -> None:
        self.why = ""
        self._root: Thread | None = None
        self._ended = anyio.Event()

    def begin(self, root: Thread, why: str) -> bool:
        """Notes such a failure; returns whether it is the first. Nothing more is taken in from then on."""
        if self.why:
            return False
        self.why, self._root = why, root
        _log.critical("the organism stops: %s", why)
        return True

    def look(self) -> None:
        """To be called when threads have ended."""
        if self._root is not None and self._root.ended:
            self._ended.set()

    async def over(self, settled: Callable[[Thread], Awaitable[None]]) -> None:
        """Waits until the thread of the failure has ended and is durable, which ``settled`` waits for; :data:`PATIENCE` seconds at most."""
        if self._root is None:
            return
        self.look()
        with anyio.move_on_after(PATIENCE), suppress(JournalError):
            await self._ended.wait()
            await settled(self._root)
