"""Durable execution: the journal that a running organism owns, written behind it, and read to go on where a process left off."""

from __future__ import annotations

import logging
from contextlib import ExitStack, suppress
from itertools import dropwhile, islice
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol, TypeVar, cast

import anyio

from organism.errors import JournalError, NotRunningError
from organism.journal import Journal, Lock, open_journal, place_of
from organism.journal.chain import content_of
from organism.journal.codec import decode, decode_entry
from organism.journal.lock import identity
from organism.journal.standing import opens_nothing
from organism.kernel import Kernel, recovery
from organism.kernel.fold import Fold
from organism.names import CONVERSATION, is_of_limits, told
from organism.pump.writer import HandOver, Writer
from organism.replay.forking import fork_in
from organism.threads.frames import Thread
from organism.works.ordered import done_before, turns_of
from organism.works.repeats import opening_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence

    from organism.journal import Chain
    from organism.journal.secrets import Marked
    from organism.kernel.holds import Hold
    from organism.payloads import Vocabulary
    from organism.record.facts import Buried, Ended, Fact
    from organism.record.images import Ordered
    from organism.settings import BudgetSettings, Settings
    from organism.usage import Spending
    from organism.works.repeats import Sent

T = TypeVar("T")
_Opened = tuple[Journal, "Sequence[Spending]", "Sequence[Chain]", "Mapping[str, Sequence[Hold]]"]
_log: Final = logging.getLogger("organism.journal")
_AHEAD: Final = 50
"""Chains that are read at once where all are taken up."""


class _Record(NamedTuple):
    """What is read of a chain to take it up, and the ids of all threads in there."""

    facts: tuple[Fact, ...]
    threads: set[str]


class Offload(Protocol):
    """Runs what waits for the disk, so that the event loop does not."""

    def __call__(self, work: Callable[[], T], /) -> Awaitable[T]:
        """Its result; raises what it raises."""
        ...


class Durable:
    """The journal on a disk of one running organism. ``vocabulary`` has its payload classes (``None``: payloads stay PlainPayload, for whoever
    delivers none), ``now`` is the organism's clock; what is ``marked`` is not written. ``took_up`` is told of each chain that is
    taken up, with its unfinished root threads, before anything of it goes on.
    """

    def __init__(
        self,
        settings: Settings,
        kernel: Kernel,
        vocabulary: Vocabulary | None,
        *,
        now: Callable[[], float],
        catch_up: Callable[..., None] = lambda *_: None,
        offload: Offload,
        hand_over: HandOver,
        took_up: Callable[[str, Sequence[Thread]], object] = lambda _chain, _threads: None,
        marked: Marked | None = None,
    ) -> None:
        self._marked = marked
        place = place_of(settings.journal, folder=settings.folder)
        if place is None:
            raise JournalError(f"{settings.journal} does not last beyond its process")
        self.settings = settings
        self._kernel = kernel
        self._now = now
        self._catch_up = catch_up
        self._offload = offload
        self._hand_over = hand_over
        self._took_up = took_up
        self._lock = Lock(place, identity(now(), organism=settings.name))
        self._vocabulary = vocabulary
        self._journal: Journal | None = None
        self._writer: Writer | None = None
        self._left: dict[str, Chain] = {}
        self._ahead: dict[str, _Record] = {}
        """Records of some of them that were read already."""
        self._taking = anyio.Lock()
        """Held by whoever reads what was left of a chain and goes on from there: while it reads, another one may come for the same."""

    async def open(self, *, failed: Callable[[str, JournalError], None], moved: Callable[[], None]) -> Writer:
        """Takes the journal and begins with what was spent before. ``failed`` and ``moved`` are as for the Writer.

        Raises JournalHeldError where another process has it, and JournalError where it cannot be opened.
        """
        opened: list[_Opened] = []
        try:
            await self._offload(lambda: opened.append(self._opened()))
            ((journal, spendings, unfinished, under_way),) = opened
            self._left = {each.root: each for each in unfinished}
            recovery.begin(self._kernel, spendings, self._now())
            for chain, holds in under_way.items():
                self._kernel.state.pools.expect(chain, holds)
        except BaseException:
            for journal, *_ in opened:  # whoever was cancelled meanwhile has nothing that would close it
                await self._give_back(journal)
            raise
        self._journal = journal
        self._writer = Writer(journal, self._hand_over, failed=failed, due=self._snapshot, moved=moved)
        self._kernel.book.listen(self._writer.record)
        return self._writer

    def _opened(self) -> _Opened:
        settings = self.settings
        self._lock.take()
        with ExitStack() as opened:
            opened.callback(self._lock.give_up)
            journal = open_journal(
                settings.journal,
                folder=settings.folder,
                vocabulary=self._vocabulary,
                durable=settings.durability == "full",
                lock=self._lock,
                marked=self._marked,
            )
            opened.callback(journal.close)
            unfinished = journal.chains(open=True)
            found = journal, journal.spendings(), unfinished, self._under_way(journal, unfinished)
            opened.pop_all()
            return found

    def _under_way(self, journal: Journal, unfinished: Sequence[Chain]) -> dict[str, Sequence[Hold]]:
        """The calls that were out when their process ended, by chain: where threads share limits, those count before they are taken up."""
        found: dict[str, Sequence[Hold]] = {}
        for each in unfinished if self._kernel.state.pools.are_limited else ():
            with suppress(JournalError):  # said when that one is taken up
                state = self._apart(journal.recall(each.root))[0].state
                state.come_to(self._now())
                found[each.root] = tuple(state.holds.values())
        return found

    def _sound(self, journal: Journal, chain: str) -> _Record:
        """The facts of a chain, as far as they must be known, each of which follows from those before it; raises JournalError.

        One that does not would leave half of a thread behind in the live state. Here, in the disk's thread, nobody waits for the look.
        """
        record = tuple(journal.recall(chain))
        odd = opens_nothing(record[0]) if record else None
        if odd is not None:
            raise JournalError(f"thread {told(chain)}: {odd}")
        _, folding = self._apart(record)
        return _Record(record, folding.threads)

    def _apart(self, record: Iterable[Fact], kernel: Kernel | None = None) -> tuple[Kernel, Fold]:
        """A kernel that holds what this record tells, and nothing else but what it held before, where one is given."""
        kernel = kernel or Kernel(self.settings)
        folding = Fold(self.settings, kernel.state)
        for fact in record:
            folding.apply(fact)
        kernel.state.index = None
        return kernel, folding

    def _snapshot(self, chain: str) -> None:
        self._kernel.snapshot(chain, self._now())

    @property
    def _owned(self) -> tuple[Journal, Writer]:
        if self._journal is None or self._writer is None:
            raise NotRunningError("the organism is being closed; its journal is not open any more")
        return self._journal, self._writer

    async def _flushed(self) -> Journal:
        """The journal, with all that is recorded by now."""
        journal, writer = self._owned
        await writer.flush()
        return journal

    async def _read(self, read: Callable[[Journal], T]) -> T:
        """What is read of the journal, with all that is recorded by now."""
        journal = await self._flushed()
        return await self._offload(lambda: read(journal))

    async def recover(self, chain: str) -> list[Thread]:
        """Takes up a chain that an earlier process left, or whose writing failed: the root threads of it that are unfinished. A
        conversation is there afterwards, whether any of its turns is or not; of one that is not known nothing is.

        Raises JournalError where it is damaged, or one of its threads has the id of one that runs; then it stays as it is.
        """
        async with self._taking:
            if self._lives(chain):  # somebody else has taken it up since it was looked for
                return recovery.unfinished(self._kernel, chain)
            if not (self.left(chain) or chain.startswith(CONVERSATION)):
                return []
            return await self._recover(chain)

    async def _recover(self, chain: str) -> list[Thread]:
        journal, writer = self._owned
        if chain not in self._left:  # else nobody has written to it since
            await writer.flush()
        found = self._ahead.pop(chain, None)
        if found is None:
            found = await self._offload(lambda: self._sound(journal, chain))
        record = found.facts
        # Sub-threads are named after the one above them, and nobody else has looked yet for what is left.
        double = next((each for each in found.threads if each in self._kernel.state.threads), None)
        if double is not None:
            raise JournalError(
                f"a thread runs that has the id {told(double)} as well; resume this one once that has ended"
            )
        # It stood still since its last entry: others may have been worked on for longer, by a process that left this one alone.
        last = record[-1].at if record else 0.0
        self._left.pop(chain, None)
        self._catch_up(last)
        writer.thaw(chain)
        threads = recovery.recover(self._kernel, chain, record, self._now(), since=last)
        self._took_up(chain, threads)
        return threads

    def catch_up(self) -> None:
        """Goes on from the latest entry of all that was left, where it lies in the future: for whoever takes up all of it. A leap for each would
        be recorded in all threads that were taken up before it.
        """
        self._catch_up(*(each.last for each in self._left.values()))

    async def read_ahead(self, chain: str) -> None:
        """Reads the records of this chain, which was left, and of some behind it: for whoever takes up one after the other."""
        async with self._taking:
            if chain in self._left and chain not in self._ahead:
                await self._read_ahead(chain)

    async def _read_ahead(self, chain: str) -> None:
        journal, _ = self._owned
        following = tuple(islice(dropwhile(lambda each: each != chain, self._left), _AHEAD))

        def read() -> dict[str, _Record]:
            found: dict[str, _Record] = {}
            for each in following:
                with suppress(JournalError):  # said when that one is taken up
                    found[each] = self._sound(journal, each)
            return found

        self._ahead = await self._offload(read)

    async def look_at(self, chain: str, kernel: Kernel) -> None:
        """Adds what is recorded of a chain to a kernel of which nothing runs. Raises JournalError where it is damaged."""
        self._apart(await self._read(lambda journal: journal.recall(chain)), kernel)

    async def note(self, chain: str, change: Callable[[Kernel, float], None]) -> None:
        """Writes a change down behind a chain that an earlier process left, without taking it up: whoever does finds it made.

        ``change`` gets a kernel that holds that chain alone, and the instant of its last entry, or now where there is none: what
        has passed since is nobody's running time. Raises what it raises, and JournalError.
        """
        async with self._taking:
            if self._lives(chain):
                raise JournalError(f"{told(chain)} was taken up just now, and nothing was changed; try again")
            await self._note(chain, change)

    async def _note(self, chain: str, change: Callable[[Kernel, float], None]) -> None:
        journal, writer = self._owned
        await writer.flush()
        record = await self._offload(lambda: tuple(journal.recall(chain)))
        if writer.is_frozen(chain):
            left = await self._offload(lambda: [each for each in journal.chains(open=True) if each.root == chain])
            self._left.update((each.root, each) for each in left)
            writer.thaw(chain)
        at = record[-1].at if record else self._now()
        kernel = Kernel(self.settings)
        # Of an earlier process whose clock was ahead, what is under way now would count in none of them.
        kernel.state.pools.until = at
        _, folding = self._apart(record, kernel)
        kernel.book.listen(writer.record)
        kernel.state.come_to(at)
        before = kernel.state.pools.sums()
        try:
            for gone in folding.unsaid.values():  # its process ended between the two, as in `recovery.recover`
                kernel.book.say_end(gone)
            change(kernel, at)
        finally:
            pools = self._kernel.state.pools
            pools.add(kernel.state.pools, before)
            pools.expect(chain, kernel.state.holds.values())
            if kernel.state.chain(chain) is None:
                self._left.pop(chain, None)
            await writer.flush()
            self._ahead.pop(chain, None)
        await writer.settled(chain)

    async def fork(
        self,
        thread: str,
        new: str,
        *,
        entries: int | None,
        budget: Callable[[BudgetSettings], BudgetSettings],
        labels: Mapping[str, str],
    ) -> None:
        """Copies a root thread's first entries into a chain of its own, which is :meth:`left` then. Raises as
        :func:`organism.replay.forking.fork_in`.
        """
        journal = await self._flushed()
        written: list[Chain] = []

        def write() -> None:
            fork_in(
                journal, thread, new, entries=entries, budget=budget, labels=labels, vocabulary=self._vocabulary,
                has_ended=lambda record: thread in self._apart(record)[1].unsaid,
            )  # fmt: skip
            written.extend(each for each in journal.chains(open=True) if each.root == new)

        try:
            await self._offload(write)
        finally:  # also where whoever forks was cancelled while it was written
            self._left.update((each.root, each) for each in written if not self._lives(each.root))

    async def end_of(self, thread: str) -> Ended | None:
        """The final record of a thread that has ended, whichever process ran it; ``None`` where there is none."""

        def look(journal: Journal) -> Ended | None:
            chain = journal.root_of(thread)
            ends = () if chain is None else journal.documents(chain, kinds={"Ended"}, of=thread)
            found = next((each for each in ends if each["thread"] == thread), None)
            return None if found is None else cast("Ended", decode_entry(found, self._vocabulary))

        return await self._read(look)

    async def opening_of(self, thread: str) -> Sent | None:
        """The message that began a root thread, as :func:`organism.works.repeats.opening_of` finds it."""
        return await self._read(lambda journal: opening_of(journal, thread, self._vocabulary))

    async def done_before(self, name: str, order: Ordered) -> bool:
        """Whether an order was carried out before, as :func:`organism.works.ordered.done_before` finds it."""
        return await self._read(lambda journal: done_before(journal, name, order))

    async def is_conversation(self, name: str) -> bool:
        """Whether a conversation of this name has begun, or one in which it goes on."""
        return await self._read(lambda journal: next(turns_of(journal, name), None) is not None)

    async def facts_of(self, chain: str, *, after: int = 0, of: str | None = None) -> Sequence[tuple[int, Fact]]:
        """The facts of a chain behind number ``after``, ``of`` a thread and those below it or of all, with their numbers, as far as they
        are durable.
        """
        journal, _ = self._owned

        def read() -> list[tuple[int, Fact]]:
            found = journal.documents(chain, after=after, of=of)
            return [(each["n"], decode(content_of(each), self._vocabulary)) for each in found]

        return await self._offload(read)

    async def buried(self) -> Sequence[Buried]:
        """The dead letters of all chains. What is damaged is logged, and others are read."""

        def read(journal: Journal) -> list[Buried]:
            found: list[Buried] = []
            for chain in journal.chains():
                try:
                    letters = journal.documents(chain.root, kinds={"Buried"})
                    found += [cast("Buried", decode(content_of(each), self._vocabulary)) for each in letters]
                except JournalError as error:
                    _log.error("the dead letters of %s cannot be read: %s", chain.root, error)
            return found

        return await self._read(read)

    async def chains(self) -> Sequence[Chain]:
        """The chains that there are, with all that is recorded by now."""
        return await self._read(lambda journal: journal.chains())

    async def unchanged(self, chains: Sequence[Chain]) -> Sequence[Chain]:
        """Those of these chains to which nothing was written since they were looked at."""
        return await self._read(
            lambda journal: [each for each in chains if not any(journal.documents(each.root, after=each.entries))]
        )

    async def remove(self, *chains: str) -> None:
        """Removes chains that are over, and of which nothing is in memory any more; raises JournalError."""
        journal, writer = self._owned
        await writer.settled()  # what was recorded of them until now goes with them, and does not begin them anew
        await self._offload(lambda: journal.remove(*chains))

    async def chain_of(self, thread: str) -> str | None:
        """The chain that a thread is recorded in; ``None`` where it is not known."""
        # One that has ended just now lives no more, and its end may be on its way to the disk.
        return None if is_of_limits(thread) else await self._read(lambda journal: journal.root_of(thread))

    async def recorded(self, threads: Sequence[str]) -> Collection[str]:
        """Those of these threads that are recorded."""
        return await self._read(lambda journal: {each for each in threads if journal.root_of(each) is not None})

    async def removed(self) -> str:
        """What stands for all threads that were removed until now, and changes with each that has done anything; empty where none was."""
        journal, _ = self._owned
        spent: Sequence[Spending] = await self._offload(journal.removed)
        sums = [sum(column) for column in zip(*(each.amounts for each in spent), strict=True)]
        return " ".join(map(str, sums))

    def left(self, chain: str) -> bool:
        """Whether this chain is unfinished and nobody works on it: an earlier process left it, or its writing failed and it has
        stopped since.
        """
        return chain in self._left or (self._owned[1].is_frozen(chain) and not self._lives(chain))

    def _lives(self, chain: str) -> bool:
        """Whether it is in memory. What lives there under the id of a root thread may be a sub-thread of another one."""
        whole = self._kernel.state.chain(chain)
        return whole is not None and (not isinstance(whole, Thread) or whole.owner is None)

    @property
    def unfinished(self) -> tuple[str, ...]:
        """The chains that are :meth:`left`."""
        return tuple(self._left) + tuple(each for each in self._owned[1].frozen if self.left(each))

    async def settled(self, chain: str) -> None:
        """Waits until all that was recorded so far is durable. Raises JournalError where that of this chain could not be written."""
        await self._owned[1].settled(chain)

    async def flush(self) -> None:
        """Writes what is recorded and not written yet."""
        await self._owned[1].flush()

    async def close(self) -> None:
        """Writes what is left, and gives the journal back. Closing again does nothing."""
        if self._journal is None or self._writer is None:
            return
        journal, self._journal = self._journal, None
        try:
            await self._writer.flush()
        finally:
            await self._give_back(journal)

    async def _give_back(self, journal: Journal) -> None:
        try:
            await self._offload(journal.close)
        finally:
            self._lock.release()
