"""Stopping in order, since a handler failed whose ``on_failure`` says ``escalate`` (R9)."""

from __future__ import annotations

import logging
from contextlib import suppress
from typing import TYPE_CHECKING, Final, Protocol

import anyio

from organism.errors import JournalError
from organism.threads.outcomes import Failure

if TYPE_CHECKING:
    from collections.abc import Callable

    from organism.kernel import Kernel
    from organism.pump.waits import Waits
    from organism.pump.writer import Writer
    from organism.threads.frames import Thread

PATIENCE: Final = 10.0
"""Seconds that what runs in the thread has to end in; then the organism stops all the same."""

_log: Final = logging.getLogger("organism.handlers")


class Host(Protocol):
    """What this needs of the pump."""

    kernel: Kernel
    waits: Waits
    writer: Writer | None
    now: Callable[[], float]

    def carry_out(self) -> None:
        """Does what the kernel has asked for."""
        ...

    async def settled(self, *threads: Thread) -> None:
        """Waits until all that was recorded so far is durable."""
        ...


class Escalation:
    """The first failure that stops the organism; ``why`` is a line about it, empty while there is none."""

    def __init__(self, pump: Host) -> None:
        self._pump = pump
        self.why = ""
        self._root: Thread | None = None
        self._ended = anyio.Event()

    def begin(self, root: Thread, why: str) -> bool:
        """Notes it; whether it is the first. Nothing more is taken in from then on."""
        if self.why:
            return False
        self.why, self._root = why, root
        _log.critical("the organism stops: %s", why)
        return True

    def look(self) -> None:
        """Threads have ended."""
        if self._root is not None and self._root.ended:
            self._ended.set()

    async def carry_out(self, stop: anyio.Event) -> None:
        """Lets the thread in which it happened end, and be written down; then sets ``stop``.

        Where a journal on a disk has the others they are left as they are, and go on another time; else they are cancelled.
        """
        pump, root = self._pump, self._root
        if pump.writer is None:
            cancelled = Failure("cancelled", f"the organism stops: {self.why}")
            for thread in [each for each in pump.kernel.state.threads.values() if each.owner is None]:
                pump.kernel.ends.stop(thread, cancelled, pump.now())
            pump.carry_out()
            await pump.waits.drained()
        elif root is not None:
            self.look()
            with anyio.move_on_after(PATIENCE), suppress(JournalError):
                await self._ended.wait()
                await pump.settled(root)
        stop.set()


__all__ = ["Escalation"]
