"""What has happened, as it happens: the facts of one thread from any of them on, or of a whole organism from now on."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import deque
from itertools import count
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar, cast
from weakref import WeakSet

import anyio

from organism.errors import NotRunningError, OrganismError, QueueFullError, check_text
from organism.names import CONVERSATION, told
from organism.record.calls import call_rows
from organism.record.facts import Ended
from organism.results import Event, result_of
from organism.threads.lineage import chain_of, root_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from typing import Self

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

    def all(self) -> Facts:
        """Every fact from now on."""
        return Facts(self)

    def of(self, thread: Thread, *, after: int = 0) -> Events:
        """The facts of a root thread and of what is below it behind number ``after``, up to the one that ends it. Raises
        NotRunningError where nothing is recorded of it.
        """
        if not isinstance(cast("object", after), int) or after < 0:
            raise TypeError(f"after is the number of an event, or 0, not {told(after)}")
        root = root_of(thread)
        return Events(self, root, after, self._kept(root) if self._durable is None else None)

    async def so_far(self, thread: Thread, *, after: int = 0) -> tuple[Event, ...]:
        """The facts of a root thread and of what is below it behind number ``after`` until now. Raises NotRunningError where nothing is
        recorded of it, or not any more.
        """
        root = root_of(thread)
        if self._durable is None:
            return _events(self._kept(root)[after:], root)
        events = _events(await self._durable.facts_of(chain_of(root), after=after), root)
        if not events and await self._durable.chain_of(root.id) is None:
            raise NotRunningError(_not_there(root.id))
        return events

    def _kept(self, root: Thread) -> Sequence[tuple[int, Fact]]:
        """What is kept in memory of the chain of a root thread. Raises NotRunningError where nothing is, or nothing more of this one."""
        if self.audience.history is None:
            raise NotRunningError("journal 'memory:' keeps no facts: call keep_history() before the thread begins")
        kept = tuple(enumerate(self.audience.history.read(chain_of(root)), 1))
        if root.ended and not _events(kept, root):  # whoever waited for more would wait for ever
            raise NotRunningError(_not_kept(root.id))
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
        return tuple(row for row in every if _is_of(row.thread, thread))

    async def history(self, thread: str) -> tuple[Event, ...]:
        """The facts of a thread and of those below it, as :meth:`calls` has its calls."""
        return tuple(
            Event(seq=seq, fact=fact) for seq, fact in await self._facts(thread) if _is_of(fact.thread, thread)
        )

    async def _facts(self, thread: str) -> Sequence[tuple[int, Fact]]:
        """All that is kept of the chain that a thread is in. Raises NotRunningError where nothing is."""
        check_text("thread", thread)
        found: Sequence[tuple[int, Fact]] = ()
        if self._durable is not None:
            chain = await self._durable.chain_of(thread)
            found = () if chain is None else await self._durable.facts_of(chain)
        elif self.audience.history is not None:
            chain = self.audience.history.root_of(thread)
            found = () if chain is None else tuple(enumerate(self.audience.history.read(chain), 1))
        if not found:
            raise NotRunningError(_not_kept(thread) if self._durable is None else _not_there(thread))
        return found


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

    def __init__(self, histories: Histories) -> None:
        queue: _Queue[Fact] = histories.queue()
        self._queue = queue
        self._unsubscribe = histories.audience.subscribe(queue.put)

    async def _next(self) -> Fact:
        fact = await self._queue.next()
        if fact is None:
            raise StopAsyncIteration
        return fact


class Events(_Read[Event]):
    """An async iterator of a thread's events, up to its end. Raises as :class:`Facts` and :meth:`Histories.so_far` do, and
    NotRunningError where the organism is closed before that end. ``kept`` is what memory has of its chain by now; ``None``: it is
    read from the journal, also what comes.
    """

    def __init__(self, histories: Histories, root: Thread, after: int, kept: Sequence[tuple[int, Fact]] | None) -> None:
        self._histories = histories
        self._root = root
        self._seq = after
        self._read = deque(_events((kept or ())[after:], root))
        self._in_memory = self._begun = kept is not None
        self._over = False
        queue: _Queue[Event] = histories.queue()
        audience, chain, known = histories.audience, chain_of(root), len(kept or ())
        numbers = count(known + 1 - audience.yet_to_be_told(chain))

        def hear(fact: Fact) -> None:  # knows nothing of this reader: else nobody would see that it has gone
            for event in _events([(next(numbers), fact)], root):
                if event.seq > known:
                    queue.put(event)

        self._queue = queue
        self._unsubscribe = audience.subscribe(hear, of=chain)

    async def _next(self) -> Event:
        if self._over:
            raise StopAsyncIteration
        while not self._read:
            await self._read_on()
        event = self._read.popleft()
        self._seq = event.seq
        if isinstance(event.fact, Ended) and event.fact.thread == self._root.id:
            self._over = True
            self._unsubscribe()
        return event

    async def _read_on(self) -> None:
        if self._begun:
            event = await self._queue.next()
            if event is None:
                raise NotRunningError(f"thread {self._root.id} had not ended when its organism was closed")
            if self._in_memory:
                self._read.append(event)
                return
        self._begun = False  # where whoever reads is cancelled, it begins anew: nothing may come any more
        self._queue.clear()  # all that has come is read with it
        self._read.extend(await self._histories.so_far(self._root, after=self._seq))
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


def _events(found: Iterable[tuple[int, Fact]], root: Thread) -> tuple[Event, ...]:
    """Those facts of a chain that are of this root thread, or of what is below it: a chain may have other turns."""
    return tuple(Event(seq=seq, fact=fact) for seq, fact in found if _is_of(fact.thread, root.id))


def _is_of(thread: str, name: str) -> bool:
    """Whether a thread is the one of this name or below it, or in the conversation whose chain has this name."""
    return thread == name or thread.startswith(f"{name}.") or name.startswith(CONVERSATION)
