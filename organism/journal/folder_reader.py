"""Reading the journal of JSON lines: the chains of a folder, and what is known of them without reading them."""

from __future__ import annotations

import logging
import math
import os
from contextlib import closing, contextmanager, suppress
from io import FileIO
from operator import attrgetter, itemgetter
from typing import TYPE_CHECKING, Any, Final, TypeVar

from organism.errors import JournalError
from organism.files import is_there
from organism.journal.chain import content_of, head_of
from organism.journal.codec import decode
from organism.journal.contract import is_meant, nothing
from organism.journal.folder_flaws import flaws_of
from organism.journal.folder_gone import Gone
from organism.journal.folder_index import NAME, OVER, SNAPSHOT, Index
from organism.journal.folder_known import Known, chain_of, end_of, endings_of, known_of
from organism.journal.folder_roll import Roll
from organism.journal.lines import End, LineFiles
from organism.journal.lock import lock_path
from organism.journal.presence import Presence
from organism.journal.standing import Ledger, last_snapshot
from organism.record.facts import Snapshot

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Generator, Iterable, Iterator, Mapping, Sequence
    from os import stat_result
    from pathlib import Path

    from organism.journal.contract import Chain
    from organism.journal.disk import Disk
    from organism.journal.endings import Ending
    from organism.journal.folder_index import Summary
    from organism.journal.lock import Lock
    from organism.payloads import Vocabulary
    from organism.record.facts import Fact
    from organism.usage import Spending

_Chain = TypeVar("_Chain", "Known", "Summary | Known")
_log: Final = logging.getLogger("organism.journal")
_TAIL: Final = 4_096
"""Bytes of a file that are looked at to see whether it ends as the index says."""


class LinesReader:
    """Reads the journal in ``folder``; whoever owns it keeps what it learns for the next time."""

    def __init__(
        self,
        folder: Path,
        vocabulary: Vocabulary | None,
        *,
        durable: bool,
        readonly: bool,
        disk: Disk | None,
        lock: Lock | None,
    ) -> None:
        self.folder = folder
        self._vocabulary = vocabulary
        self._readonly = readonly
        self._files = LineFiles(folder, durable=durable, disk=disk)
        self._index = Index(folder, self._files.disk)
        self._gone = Gone(self._index, self._is_in, self._turns_of)
        self._presence = Presence(folder, lock, said=f"the journal in {folder}", readonly=readonly)
        self._known: dict[str, Known] = {}
        self._damaged: dict[str, tuple[tuple[int, int], Known]] = {}
        """What is sound of damaged chains, each with the size and the time of its file when it was read."""
        self._sound: set[str] = set()
        """The last hashes of chains that are over and were seen to end so."""
        self._names: set[int] | None = None
        """The hashes of the ids of all that was ever opened in a chain, but of root threads, once all were looked through: what is not
        among them need not be looked for.
        """
        if is_there(folder) and not folder.is_dir():
            raise JournalError(f"{folder} is a file; a journal of JSON lines is a folder (sqlite:PATH is a file)")
        if readonly and not folder.is_dir():
            raise JournalError(
                f"{folder} does not exist; 'organism run' creates it, or name another journal with --journal"
            )
        if readonly and not (self._index.is_there() or self._files.are_there() or is_there(lock_path(folder))):
            raise JournalError(f"{folder} holds no journal: neither {NAME} nor a file of a thread is in there")
        self._presence.began()
        self._snapshots = self._tidied()

    @property
    def lasting(self) -> bool:
        """It outlives the process."""
        return True

    def path(self, root: str) -> Path:
        """The file of a chain, whether it is there or not."""
        return self._files.path(root)

    def read(self, root: str) -> tuple[Fact, ...]:
        """The facts of a chain; raises JournalError with the file and line of what is damaged, missing or unknown."""
        return tuple(fact for fact, _ in self._facts(root, None, self._vocabulary))

    def recall(self, root: str) -> tuple[Fact, ...]:
        """The facts from the last snapshot on; what is before it is not read, as far as the index knows."""
        snapshot = self._snapshots.get(root)
        facts: Sequence[Fact] = ()
        if snapshot is not None:
            with suppress(JournalError):  # where the index does not fit the file, the file is right
                facts = [fact for fact, _ in self._facts(root, end_of(snapshot), self._vocabulary)]
        if not facts or not isinstance(facts[0], Snapshot):
            facts = self.read(root)
        return tuple(facts[last_snapshot(facts) :])

    def documents(
        self, root: str, *, after: int = 0, kinds: Collection[str] | None = None, of: str | None = None
    ) -> Iterator[Mapping[str, Any]]:
        """The entries behind number ``after`` as JSON objects, each checked; of these facts or of all, ``of`` this thread or of all."""
        known = self._known.get(root)
        after = after if known is None else max(after, known.standing.before(of))
        for line in self._files.lines(root, self._files.near(root, after) if after else None):
            if line.number > after and is_meant(line.entry, kinds, of):
                yield line.entry

    def chain(self, root: str) -> Chain | None:
        """The chain of this name. If it is not over it is read, unless this journal has written it."""
        known = self._as_told(root, self._index.read(of=root).get((OVER, root)))
        return None if isinstance(known, Known) and not known.is_there else chain_of(known)

    def chains(self, *, open: bool | None = None) -> tuple[Chain, ...]:  # noqa: A002 - the contract's name
        """The chains there are, the oldest first. Those that are not over are read, unless this journal has written them."""
        if open:
            with self._looked_over() as (_, others):
                found = [each for each in map(chain_of, others) if each.open]
        else:
            found = [each for each in map(chain_of, self._all()) if open is None or not each.open]
        return tuple(sorted(found, key=attrgetter("began", "root")))

    def endings(self, *, since: float = -math.inf) -> tuple[Sequence[Chain], Iterator[tuple[str, Ending | None]]]:
        """What is kept of root threads that ended, the one that began last first, behind the chains that it does not tell of."""
        return endings_of(self._all(), since)

    def root_of(self, thread: str) -> str | None:
        """The chain that a thread belongs to."""
        if self._first_line(thread):
            return thread
        if self._names is not None and hash(thread) not in self._names:
            return None
        for known in self._known.values():
            if thread in known.standing.threads:
                return known.standing.root
        names = set[int]()
        for summary in self._summaries():
            if thread in summary.threads:
                return summary.root
            names.update(map(hash, summary.threads))
        if not self._readonly:  # else another process may open more
            self._names = names
        return None

    def spendings(self) -> tuple[Spending, ...]:
        """All that was ever spent."""
        while True:
            removed = self._gone.lines()
            ledger = self._spent(removed.values())
            if not self._readonly or self._gone.lines().keys() == removed.keys():
                return ledger.rows()  # else its owner has removed some since they were listed

    def _spent(self, removed: Iterable[Summary]) -> Ledger:
        """What was spent, where these lines tell of removed chains."""
        with self._looked_over() as (roll, others):
            known = [each.summary(OVER) for each in others]
            ledger = roll.spent()
            if ledger is not None:
                ledger.take_in(self._gone.spent(removed, lambda marks: (*known, *roll.ending_with(marks))))
        if ledger is None:  # the index was changed meanwhile
            ledger = self._gone.spent(removed, lambda _: self._summaries())
            for summary in self._summaries():
                ledger.take_in(Ledger.from_json(summary.spent))
            return ledger
        for summary in known:
            ledger.take_in(Ledger.from_json(summary.spent))
        return ledger

    def removed(self) -> tuple[Spending, ...]:
        """What chains spent that were removed."""
        with self._looked_over() as (roll, others):
            return self._gone.spent(
                self._gone.lines().values(),
                lambda marks: (
                    *(each.summary(OVER) for each in others),
                    *roll.ending_with(marks),
                ),
            ).rows()

    def _turns_of(self, root: str) -> Iterator[tuple[int, str]]:
        """The entries with which root threads of a chain ended, by number and hash."""
        return ((each["n"], each["hash"]) for each in self.documents(root, kinds={"Ended"}))

    def size_since_snapshot(self, root: str) -> tuple[int, int, int]:
        """(entries, bytes) behind the last snapshot, and that one's bytes."""
        known = self._known.get(root) or self._read(root)
        end = known.end
        return (end.head.number - known.snapshot, end.size - known.snapshot_end, known.snapshot_size)

    def verify(self, root: str) -> str | None:
        """The first bad line of a chain, as ``FILE:LINE: problem``; ``None`` where all are sound."""
        return self._files.verify(root)

    def flaws(self, looked_at: Callable[[], object] = nothing) -> tuple[tuple[str | None, str], ...]:
        """All that is not as it was written, in files and index, with the root of its chain."""
        found = tuple(flaws_of(self._files, self._index, lambda root: self._facts(root, None, None), looked_at))
        roll = self._roll()
        with closing(roll.told):
            flaw = None if roll.told.damaged else roll.flaw()
        return found if flaw is None else (*found, (None, flaw))

    # What is known of chains

    def _facts(self, root: str, start: End | None, words: Vocabulary | None) -> Iterator[tuple[Fact, End]]:
        for line in self._files.lines(root, start):
            try:
                yield decode(content_of(line.entry), words), End(head_of(line.entry), line.end)
            except JournalError as error:
                raise JournalError(f"{self.path(root)}:{line.number}: {error}") from None

    def _read(self, root: str) -> Known:
        """A chain as its file has it; from the snapshot on that the index knows, where that fits."""
        snapshot = self._snapshots.get(root)
        if snapshot is not None:
            with suppress(JournalError):
                known = known_of(snapshot)
                self._go_on(known)
                if known.snapshot:
                    return known
        known = Known.new(root)
        self._go_on(known)
        return known

    def _go_on(self, known: Known) -> None:
        for fact, end in self._facts(known.standing.root, known.end if known.end.size else None, None):
            known.take_in(fact, end)

    def _all(self) -> Iterator[Summary | Known]:
        """Every chain: as its summary where it is over, else as it is known, or found."""
        index = self._index.read()
        yield from self._kept(self._as_told(root, index.get((OVER, root))) for root in self._files.roots())

    @contextmanager
    def _looked_over(self) -> Generator[tuple[Roll, Sequence[Known]]]:
        """The roll, with every chain that is over and ends as the index says, and all others as they are known, or found."""
        now = 0
        if self._keeps:
            with suppress(OSError):
                now = self._files.disk.now(self.folder)
        roll = self._roll()
        with closing(roll.told):
            others = list(self._kept(self._not_on(roll, now)))
            if self._keeps:
                with suppress(OSError):  # then they are looked at again the next time
                    roll.write()
            yield roll, others

    def _roll(self) -> Roll:
        return Roll(self.folder, self._files.disk, self.folder / NAME)

    def _not_on(self, roll: Roll, now: int) -> Iterator[Known]:
        """Brings the roll up to date with the folder; gives the chains that it does not tell of."""
        same, others = set[str](), list[tuple[str, "stat_result | None"]]()
        for each in self._files.found(roll.names):
            try:
                there = each.stat()
            except OSError:  # it is gone, or it is said by whoever reads it
                there = None
            if there is not None and roll.holds(each.name, there):
                same.add(each.name)
            else:
                others.append((each.name, there))
        others.sort(key=itemgetter(0))
        looked_at = [
            (name, there, root, roll.place(name, root))
            for name, there in others
            if (root := self._files.root_in(name)) is not None
        ]
        roll.keep(same)
        for name, there, root, place in looked_at:
            if place is not None and there is not None and root not in self._known:
                over = roll.told.at(place, name)
                if over is not None and there.st_size == over.size and self._is_in(over):
                    roll.add(name, there, place, over, now)
                    continue
            yield self._known.get(root) or self._found(root)
        if roll.told.damaged:
            self._index.flaw()  # says which lines, and has them made anew

    @property
    def _keeps(self) -> bool:
        """Whether what is learned of chains may be written beside them."""
        return self._presence.refusal() is None

    def _kept(self, found: Iterable[_Chain]) -> Iterator[_Chain]:
        """The chains of these that are there; what the index lacks of them is added to it."""
        lacking: list[Summary] = []
        for known in found:
            if not isinstance(known, Known):
                yield known
                continue
            root = known.standing.root
            if root not in self._known and known.end.size and not known.damaged:
                if known.standing.over:
                    lacking.append(known.summary(OVER))
                elif not self._readonly:
                    self._known[root] = known
            if known.is_there:
                yield known
        if self._keeps:
            with suppress(OSError, JournalError):  # then they are read again the next time
                self._index.mend(lacking)

    def _as_told(self, root: str, over: Summary | None) -> Summary | Known:
        """A chain as it is known, or as the index has it where that fits its file, or else as it is found there."""
        known = self._known.get(root)
        if known is None and over is not None and self._ends_so(over):
            return over
        return known or self._found(root)

    def _found(self, root: str) -> Known:
        """A chain as its file has it, up to what is damaged; that is said once, and keeps nobody from the other chains."""
        try:
            there = self.path(root).stat()
            mark = (there.st_size, there.st_mtime_ns)
        except OSError:
            mark = (0, 0)
        seen = self._damaged.get(root)
        if seen is not None and seen[0] == mark:
            return seen[1]
        try:
            return self._read(root)
        except JournalError as error:
            _log.warning("%s; the entries before that are kept, and nothing is written after them", error)
        known = Known.new(root, damaged=True)
        with suppress(JournalError):
            self._go_on(known)
        self._damaged[root] = (mark, known)
        return known

    def _ends_so(self, summary: Summary) -> bool:
        """Whether the file of a chain ends as its summary says: the size alone stays when a power cut leaves a hole at the end."""
        with suppress(OSError):
            if self.path(summary.root).stat().st_size == summary.size:
                if summary.hash is not None and summary.hash not in self._sound and self._is_in(summary):
                    self._sound.add(summary.hash)
                return summary.hash in self._sound
        return False

    def _summaries(self) -> Iterator[Summary]:
        """How every chain stands."""
        return (known.summary(OVER) if isinstance(known, Known) else known for known in self._all())

    def _first_line(self, root: str) -> bool:
        """Whether there is anything of a chain."""
        try:
            with self.path(root).open("rb") as file:
                return file.readline().endswith(b"\n")
        except OSError:
            return False

    def _tidied(self) -> dict[str, Summary]:
        """Reads the index, which the owner keeps short. Gives the last snapshots of chains that go on."""
        index = self._index.read(but=OVER)
        if not self._readonly:
            with suppress(OSError):
                files = lambda: len(os.listdir(self.folder))  # noqa: E731, PTH208 - of a folder with many, a path for each takes long
                self._index.shrink(files, stands=self._is_in)
        return {root: summary for (kind, root), summary in index.items() if kind == SNAPSHOT}

    def _is_in(self, summary: Summary) -> bool:
        """Whether the file of a chain holds what its summary tells of, whether it has gone on since or not, and is none of the same name
        that came later.
        """
        end = f'"hash":"{summary.hash}"}}\n'.encode()
        try:
            with FileIO(self.path(summary.root)) as file:
                file.seek(max(0, summary.size - _TAIL))
                tail = file.read(min(_TAIL, summary.size))
                last = tail.rfind(b"\n", 0, -1) + 1
                return tail.endswith(end) and b"\0" not in tail[last:]
        except OSError:
            return False
