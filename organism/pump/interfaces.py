"""What the pump needs of the parts outside of it that keep the handles and the facts of threads."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, TypeVar

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from organism.errors import JournalError
    from organism.record.calls import CallRow
    from organism.record.facts import Ended
    from organism.results import Event
    from organism.threads.frames import Thread


T = TypeVar("T")


class Wait(Protocol):
    """How a thread is waited for: see :class:`organism.pump.handles.ThreadHandle`."""

    def __call__(self, come: Callable[[], Awaitable[T]], /) -> Awaitable[T]:
        """Awaits what ``come`` gives; raises OrganismError in a handler that may not."""
        ...


class Handles(Protocol):
    """Is told how threads go on, and tells whoever holds their handles. See :class:`organism.pump.live_handles.LiveHandles`."""

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

    def of(self, thread: Thread, *, wait: Wait, after: int = 0) -> AsyncIterator[Event]:
        """The facts of a thread with a number above ``after``, as they come; ``wait`` waits for them."""
        ...

    async def so_far(self, thread: Thread) -> tuple[Event, ...]:
        """The facts of a thread until now."""
        ...

    async def calls(self, thread: str) -> tuple[CallRow, ...]:
        """The model calls of a thread and of those below it, a row each."""
        ...
