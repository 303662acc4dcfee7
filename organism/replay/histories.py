"""What a handler reads of threads that it has spawned while it is replayed: the record, as far as that has been gone through."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from organism.names import is_within
from organism.record.calls import call_rows
from organism.record.facts import Ended
from organism.results import Event

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Self

    from organism.pump.interfaces import Wait
    from organism.record.calls import CallRow
    from organism.record.facts import Fact
    from organism.threads.frames import Thread


class Passing(Protocol):
    """Whoever goes through a record."""

    def passed(self) -> Sequence[Fact]:
        """The facts that have been gone through, from the first of the record on."""
        ...

    async def next_one(self) -> None:
        """Waits until another one has."""
        ...


class Histories:
    """Stands for :class:`organism.works.histories.Histories` in handles of threads; facts have their numbers in the record."""

    def __init__(self, record: Passing) -> None:
        self._record = record

    def of(self, thread: Thread, *, wait: Wait, after: int = 0) -> Events:
        """The events of a thread behind number ``after``, up to its end."""
        del wait  # nothing minds how long
        return Events(self._record, thread.id, after)

    async def so_far(self, thread: Thread) -> tuple[Event, ...]:
        """The events of a thread until now."""
        return events(self._record, thread.id, 0)

    async def calls(self, thread: str) -> tuple[CallRow, ...]:
        """The finished calls of a thread and of those below it."""
        rows = call_rows(enumerate(self._record.passed(), 1))
        return tuple(row for row in rows if is_within(row.thread, thread))


class Events:
    """An async iterator of a thread's events, up to its end."""

    def __init__(self, record: Passing, thread: str, after: int) -> None:
        self._record = record
        self._thread = thread
        self._seq = after
        self._over = False

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Event:
        if self._over:
            raise StopAsyncIteration
        while not (come := events(self._record, self._thread, self._seq)):
            await self._record.next_one()
        event = come[0]
        self._seq = event.seq
        self._over = isinstance(event.fact, Ended) and event.fact.thread == self._thread
        return event


def events(record: Passing, thread: str, after: int) -> tuple[Event, ...]:
    """What has happened in a thread and below it, behind number ``after``."""
    facts = record.passed()[after:]
    return tuple(
        Event(seq=seq, fact=fact) for seq, fact in enumerate(facts, after + 1) if is_within(fact.thread, thread)
    )
