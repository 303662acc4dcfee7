"""What the pump knows of those who keep something of threads for others: their handles, and their facts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from organism.errors import JournalError
    from organism.record.calls import CallRow
    from organism.record.facts import Ended
    from organism.results import Event
    from organism.threads.frames import Thread


class Handles(Protocol):
    """What hears how threads go on, and tells whoever holds their handles."""

    def end(self, thread: Thread) -> None:
        """The thread has ended."""
        ...

    def lose(self, thread: Thread, error: JournalError) -> None:
        """The thread's end could not be written."""
        ...

    def rest(self, thread: Thread, record: Ended) -> None:
        """Nothing of the thread runs any more, since it is paused or waits for people; this is what it came to so far."""
        ...

    def go_on(self, thread: Thread) -> None:
        """The thread that waited for people goes on."""
        ...


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
