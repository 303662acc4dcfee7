"""What the pump knows of who keeps the facts of threads."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from organism.record.calls import CallRow
    from organism.results import Event
    from organism.threads.frames import Thread


class Histories(Protocol):
    """Where the facts of threads can be read."""

    def of(self, thread: Thread, *, after: int = 0) -> AsyncIterator[Event]:
        """Those of a thread behind this number, as they come."""
        ...

    async def so_far(self, thread: Thread) -> tuple[Event, ...]:
        """Those of a thread until now."""
        ...

    async def calls(self, thread: str) -> tuple[CallRow, ...]:
        """The calls of a thread and of those below it."""
        ...


__all__ = ["Histories"]
