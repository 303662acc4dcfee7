"""What has happened, as it happens: the facts of one thread from any of them on, or of a whole organism from now on."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import deque
from itertools import count
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar, cast
from weakref import WeakSet

import anyio

from organism.errors import NotRunningError, OrganismError, QueueFullError, check_text
from organism.names import is_within, told
from organism.record.calls import call_rows
from organism.record.facts import Ended
from organism.results import Event, result_of
from organism.threads.lineage import chain_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from typing import Self

    from organism.pump.interfaces import Wait
    from organism.record.calls import CallRow
    from organism.record.facts import Fact
    from organism.results import ThreadResult
    from organism.threads.frames import Thread
    from organism.works.audience import Audience
    from organism.works.durable import Durable

T = TypeVar("T")
_MOST: Final = 10_000
"""Facts that wait for a reader; one that falls further behind is told so."""


class Histories:
    """Reads facts for whoever holds a running organism. Where no journal is on a disk, it has those of live threads only, from
    when :meth:`organism.Organism.keep_history` was called.
    """

    def __init__(self, audience: Audience, durable: Durable | None) -> None:
        self.audience = audience
        self._durable = durable
        self._queues: WeakSet[_Queue[Any]] = WeakSet()
        self._closed = False

    def queue(self) -> _Queue[Any]:
        """What another reader has not read yet."""
        queue = _Queue[Any]()
        if self._closed:
            queue.close()
        self._queues.add(queue)
        return queue

    def close(self) -> None:
        """The organism is closed: its readers hear that no more will come."""
        self._closed = True
        for queue in tuple(self._queues):
            queue.close()

    def all(self, check: Callable[[], None]) -> Facts:
        """Every fact from now on. ``check`` raises OrganismError where whoever reads may not wait."""
        return Facts(self, check)

    def of(self, thread: Thread, *, wait: Wait, after: int = 0) -> Events:
        """The facts of a thread and of what is below it behind number ``after``, up to the one that ends it; ``wait`` waits for them.
        Raises NotRunningError where nothing is recorded of it.
        """
        if not isinstance(cast("object", after), int) or after < 0:
            raise TypeError(f"after is the number of an event, or 0, not {told(after)}")
        return Events(self, thread, after, self._kept(thread) if self._durable is None else None, wait)

    async def so_far(self, thread: Thread, *, after: int = 0) -> tuple[Event, ...]:
        """The facts of a thread and of what is below it behind number ``after`` until now. Raises NotRunningError where nothing is
        recorded of it, or not any more.
        """
        if self._durable is None:
            return _events(self._kept(thread)[after:], thread)
        events = _events(await self._durable.facts_of(chain_of(thread), after=after, of=thread.id), thread)
        if not events and await self._durable.chain_of(thread.id) is None:
            raise NotRunningError(_not_there(thread.id))
        return events

    def _kept(self, thread: Thread) -> Sequence[tuple[int, Fact]]:
        """What is kept in memory of the chain of a thread. Raises NotRunningError where nothing is, or nothing more of this one."""
        if self.audience.history is None:
            raise NotRunningError("journal 'memory:' keeps no facts: call keep_history() before the thread begins")
        kept = tuple(enumerate(self.audience.history.read(chain_of(thread)), 1))
        if thread.ended and not _events(kept, thread):  # whoever waited for more would wait for ever
            raise NotRunningError(_not_kept(thread.id))
        return kept

    async def result_of(self, thread: str) -> ThreadResult | None:
        """How a thread ended, as far as anything is recorded of it; ``None`` where it has not, or where nothing is."""
        check_text("id", thread)
        record: Fact | None = None
        if self._durable is not None:
            record = await self._durable.end_of(thread)
        elif (history := self.audience.history) is not None:
            facts = history.read(history.root_of(thread) or "")
            record = next((each for each in facts if isinstance(each, Ended) and each.thread == thread), None)
        return result_of(record) if isinstance(record, Ended) else None

    async def calls(self, thread: str) -> tuple[CallRow, ...]:
        """The calls of a thread and of those below it (of all turns, of ``conversation:ID``), also of one that has ended where the
        journal is on a disk.

        Raises NotRunningError where nothing is kept of it.
        """
        every = call_rows(await self._facts(thread))
        return tuple(row for row in every if is_within(row.thread, thread))

    async def history(self, thread: str) -> tuple[Event, ...]:
        """The facts of a thread and of those below it, as :meth:`calls` has its calls."""
        found = await self._facts(thread, of=thread)
        return tuple(Event(seq=seq, fact=fact) for seq, fact in found if is_within(fact.thread, thread))

    async def _facts(self, thread: str, *, of: str | None = None) -> Sequence[tuple[int, Fact]]:
        """All that is kept of the chain that a thread is in, or what of that may be ``of`` one. Raises NotRunningError where nothing is."""
        check_text("thread", thread)
        if self._durable is not None:
            chain = await self._durable.chain_of(thread)
            if chain is None:
                raise NotRunningError(_not_there(thread))
            return await self._durable.facts_of(chain, of=of)
        history = self.audience.history
        chain = None if history is None else history.root_of(thread)
        if history is None or chain is None:
            raise NotRunningError(_not_kept(thread))
        return tuple(enumerate(history.read(chain), 1))


class _Read(ABC, Generic[T]):
    """An async iterator over what one task reads; when that has gone, nothing more is kept for it."""

    _unsubscribe: Callable[[], None]
    _is_read = False

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> T:
        if self._is_read:  # two would take from each other, and what is read ahead would be read twice
            raise OrganismError(
                "another task reads these events: have each task read what its own call of events() gives"
            )
        self._is_read = True
        try:
            return await self._next()
        finally:
            self._is_read = False

    @abstractmethod
    async def _next(self) -> T:
        """The next one; raises StopAsyncIteration where there will be none."""

    def __del__(self) -> None:
        self._unsubscribe()


class Facts(_Read["Fact"]):
    """An async iterator of facts as they become durable; it ends when the organism is closed. Raises QueueFullError where its reader
    falls too far behind, and OrganismError in a second task.
    """

    def __init__(self, histories: Histories, check: Callable[[], None]) -> None:
        queue: _Queue[Fact] = histories.queue()
        self._queue = queue
        self._check = check
        self._unsubscribe = histories.audience.hear(queue.put)

    async def _next(self) -> Fact:
        if not self._queue.is_due:
            self._check()
        fact = await self._queue.next()
        if fact is None:
            raise StopAsyncIteration
        return fact


class Events(_Read[Event]):
    """An async iterator of a thread's events, up to its end. Raises as :class:`Facts` and :meth:`Histories.so_far` do, and
    NotRunningError where the organism is closed before that end. ``kept`` is what memory has of its chain by now; ``None``: it is
    read from the journal, also what comes. ``wait`` waits for that.
    """

    def __init__(
        self, histories: Histories, thread: Thread, after: int, kept: Sequence[tuple[int, Fact]] | None, wait: Wait
    ) -> None:
        self._histories = histories
        self._wait = wait
        self._thread = thread
        self._seq = after
        self._read = deque(_events((kept or ())[after:], thread))
        self._in_memory = self._begun = kept is not None
        self._over = False
        queue: _Queue[Event] = histories.queue()
        audience, chain, known = histories.audience, chain_of(thread), len(kept or ())
        numbers = count(known + 1)

        def hear(fact: Fact) -> None:  # knows nothing of this reader: else nobody would see that it has gone
            for event in _events([(next(numbers), fact)], thread):
                queue.put(event)

        self._queue = queue
        self._unsubscribe = audience.hear(hear, of=chain)

    async def _next(self) -> Event:
        if self._over:
            raise StopAsyncIteration
        while not self._read:
            await self._read_on()
        event = self._read.popleft()
        self._seq = event.seq
        if isinstance(event.fact, Ended) and event.fact.thread == self._thread.id:
            self._over = True
            self._unsubscribe()
        return event

    async def _read_on(self) -> None:
        if self._begun:
            event = await (self._queue.next() if self._queue.is_due else self._wait(self._queue.next))
            if event is None:
                raise NotRunningError(f"thread {self._thread.id} had not ended when its organism was closed")
            if self._in_memory:
                self._read.append(event)
                return
        self._begun = False  # where whoever reads is cancelled, it begins anew: nothing may come any more
        self._queue.clear()  # all that has come is read with it
        self._read.extend(await self._histories.so_far(self._thread, after=self._seq))
        self._begun = True


class _Queue(Generic[T]):
    """What one reader has not read yet: facts, or events."""

    def __init__(self) -> None:
        self._facts: deque[T] = deque()
        self._come = anyio.Event()
        self._lost = self._closed = False

    def put(self, fact: T) -> None:
        """Takes a fact, if there is room."""
        self._lost = self._lost or len(self._facts) >= _MOST
        if not self._lost:
            self._facts.append(fact)
        self._come.set()

    def close(self) -> None:
        """No more will come."""
        self._closed = True
        self._come.set()

    @property
    def is_due(self) -> bool:
        """Whether :meth:`next` has not to wait."""
        return bool(self._facts) or self._lost or self._closed

    async def next(self) -> T | None:
        """The next fact; waits for it. ``None``: there will be none."""
        while not self._facts:
            if self._lost:
                raise QueueFullError(f"its reader is more than {_MOST:,} facts behind: continue with events(after=...)")
            if self._closed:
                return None
            self._come = anyio.Event()
            await self._come.wait()
        return self._facts.popleft()

    def clear(self) -> None:
        """What came is read from the journal."""
        self._facts.clear()
        self._lost = False


def _not_kept(thread: str) -> str:
    return f"nothing is kept of thread {told(thread)}: with journal 'memory:' call keep_history() before it begins, and ask while it lives"


def _not_there(thread: str) -> str:
    return f"there is no thread {told(thread)} in the journal"


def _events(found: Iterable[tuple[int, Fact]], thread: Thread) -> tuple[Event, ...]:
    """Those facts of a chain that are of this thread, or of what is below it: a chain may have other turns."""
    return tuple(Event(seq=seq, fact=fact) for seq, fact in found if is_within(fact.thread, thread.id))
