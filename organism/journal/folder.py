"""The journal of JSON lines: a folder with one file a root thread, a fact a line, made for ``tail -f`` and ``jq``."""

from __future__ import annotations

import logging
import math
from contextlib import suppress
from io import FileIO
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Final

from organism.errors import JournalError
from organism.journal.chain import canonical, content_of, head_of
from organism.journal.codec import decode, written_of
from organism.journal.contract import is_meant, nothing
from organism.journal.folder_flaws import flaws_of
from organism.journal.folder_gone import Gone
from organism.journal.folder_index import NAME, OVER, REMOVED, SNAPSHOT, Index, Summary
from organism.journal.folder_known import Known, chain_of, end_of, endings_of, known_of
from organism.journal.imported import checked
from organism.journal.lines import End, LineFiles
from organism.journal.lock import lock_path
from organism.journal.presence import Presence, barred
from organism.journal.room import make_folder
from organism.journal.standing import Ledger, begins_chain
from organism.names import CONVERSATION, told
from organism.record.facts import Forked, Snapshot

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from organism.journal.contract import Chain
    from organism.journal.disk import Disk
    from organism.journal.endings import Ending
    from organism.journal.lock import Lock
    from organism.journal.secrets import Marked
    from organism.payloads import Vocabulary
    from organism.record.facts import Fact
    from organism.usage import Spending

_log: Final = logging.getLogger("organism.journal")
_IDLE: Final = 1_000
"""Conversations between two turns whose standing is kept; that of others is read again."""
_TAIL: Final = 4_096
"""Bytes of a file that are looked at to see whether it ends as the index says."""


class LinesJournal:
    """The journal in ``folder``, which is made with the first write.

    With a ``vocabulary``, what is read has its payloads as objects, without one as PlainPayload. ``durable``: what is written
    survives a power cut, else the end of the process. ``readonly``: nothing is made or written. Write to a folder from one
    process only: with a ``lock``, only while it holds. A chain that is damaged is nobody's but its own hindrance: it is listed as
    open, and what is sound of it counts. Raises JournalError.
    """

    def __init__(
        self,
        folder: Path,
        vocabulary: Vocabulary | None = None,
        *,
        durable: bool = True,
        readonly: bool = False,
        disk: Disk | None = None,
        lock: Lock | None = None,
        marked: Marked | None = None,
    ) -> None:
        self.folder = folder
        self._marked = marked
        self._vocabulary = vocabulary
        self._readonly = readonly
        self._files = LineFiles(folder, durable=durable, disk=disk)
        self._index = Index(folder, self._files.disk)
        self._gone = Gone(self._index, self._is_in, self._turns_of)
        self._presence = Presence(folder, lock)
        self._known: dict[str, Known] = {}
        self._damaged: dict[str, tuple[tuple[int, int], Known]] = {}
        """What is sound of damaged chains, each with the size and the time of its file when it was read."""
        self._sound: set[str] = set()
        """The last hashes of chains that are over and were seen to end so."""
        self._names: set[int] | None = None
        """The hashes of the ids of all that was ever opened in a chain, but of root threads, once all were looked through: what is not
        among them need not be looked for.
        """
        self._closed = False
        if folder.exists() and not folder.is_dir():
            raise JournalError(f"{folder} is a file; a journal of JSON lines is a folder (sqlite:PATH is a file)")
        if readonly and not folder.is_dir():
            raise JournalError(
                f"{folder} does not exist; 'organism run' creates it, or name another journal with --journal"
            )
        if readonly and not (self._index.is_there() or self._files.are_there() or lock_path(folder).exists()):
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

    def write(self, batch: Sequence[tuple[str, Fact]]) -> Mapping[str, JournalError]:
        """Writes facts to the ends of the files of their chains, to each all or nothing."""
        chains: dict[str, list[Fact]] = {}
        for root, fact in batch:
            chains.setdefault(root, []).append(fact)
        wrong = self._barred() or self._presence.lost()
        if wrong is not None:
            return dict.fromkeys(chains, wrong)
        failed: dict[str, JournalError] = {}
        contents: dict[str, list[bytes]] = {}
        for root, facts in chains.items():
            try:
                made = [written_of(fact, root, self._marked) for fact in facts]
                written, facts[:] = [raw for raw, _ in made], [fact for _, fact in made]
                self._load(root)
                if not self._known[root].end.size:
                    late = next((count for count, fact in enumerate(facts) if begins_chain(fact)), len(facts))
                    del facts[:late], written[:late]
                if facts:
                    contents[root] = written
                else:
                    self._let_go(root)
            except JournalError as error:
                failed[root] = error
        summaries: list[Summary] = []
        copies = {root for root in contents if isinstance(chains[root][0], Forked)}
        for root, done in self._files.extend_all(contents, whole=copies).items():
            if isinstance(done, JournalError):
                failed[root] = (
                    done  # what is known of the chain holds: behind its end there is nothing that was committed
                )
            else:
                summaries += self._written(root, chains[root], done)
        self._note(summaries)
        return failed

    def _written(self, root: str, facts: Iterable[Fact], ends: Iterable[End]) -> Iterator[Summary]:
        """Takes in what was written to a chain; gives what the index is to say of it."""
        known = self._known[root]
        for fact, end in zip(facts, ends, strict=True):
            if isinstance(fact, Snapshot) and not known.standing.copies:  # else what follows would count as spent
                self._snapshots[root] = known.summary(SNAPSHOT)
                if known.is_due(SNAPSHOT):
                    yield known.told(self._snapshots[root])
            before = len(known.standing.threads)
            known.take_in(fact, end)
            if self._names is not None:
                self._names.update(map(hash, known.standing.opened(before)))
        if known.standing.over:
            if known.is_due(OVER):
                yield known.told(known.summary(OVER))
            if not root.startswith(CONVERSATION):
                self._snapshots.pop(root, None)
                self._let_go(root)
            elif len(self._known) > _IDLE:
                self._let_go(root)

    def _let_go(self, root: str) -> None:
        self._known.pop(root, None)
        self._files.let_go(root)

    def _note(self, summaries: Sequence[Summary]) -> None:
        """Writes to the index. What it lacks is read from the chains themselves, so it is in nobody's way."""
        if summaries:
            try:
                self._index.add(summaries)
            except (OSError, JournalError) as error:
                why = error.strerror or error if isinstance(error, OSError) else error
                _log.warning("%s: the index could not be written (%s); the chains are read instead", self.folder, why)

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
        last = next((place for place in range(len(facts) - 1, -1, -1) if isinstance(facts[place], Snapshot)), 0)
        return tuple(facts[last:])

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
        known = self._as_told(root, self._index.read(of=root))
        return None if isinstance(known, Known) and not known.is_there else chain_of(known)

    def chains(self, *, open: bool | None = None) -> tuple[Chain, ...]:  # noqa: A002 - the contract's name
        """The chains there are, the oldest first. Those that are not over are read, unless this journal has written them."""
        found = [each for each in map(chain_of, self._all()) if open in {None, each.open}]
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
            ledger = self._gone.spent(removed.values(), self._summaries())
            for summary in self._summaries():
                ledger.take_in(Ledger.from_json(summary.spent))
            if not self._readonly or self._gone.lines().keys() == removed.keys():
                return ledger.rows()  # else its owner has removed some since they were listed

    def removed(self) -> tuple[Spending, ...]:
        """What chains spent that were removed."""
        return self._gone.spent(self._gone.lines().values(), self._summaries()).rows()

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
        return tuple(flaws_of(self._files, self._index, lambda root: self._facts(root, None, None), looked_at))

    def put(self, root: str, documents: Iterable[Mapping[str, Any]]) -> None:
        """Takes in a chain that another journal gave; raises JournalError, then nothing of it is there."""
        wrong = self._barred()
        if wrong is not None:
            raise wrong
        entries = checked(root, documents)
        if self._first_line(root):
            raise JournalError(f"{self.path(root)}: thread {told(root)} is there already")
        facts = [decode(content_of(each)) for each in entries]
        self._known[root] = Known.new(root)
        written = [canonical(content_of(each)) for each in entries]
        done = self._files.extend_all({root: written}, whole={root})[root]
        if isinstance(done, JournalError):
            raise done
        self._note(list(self._written(root, facts, done)))
        self._let_go(root)

    def remove(self, *roots: str) -> None:
        """Removes chains that are over; what they spent stays in the index. What is said there of one whose file stays does not count."""
        if (wrong := self._barred()) is not None:
            raise wrong
        going = [self._removable(root) for root in roots]
        path = self.folder / NAME
        try:
            self._gone.goes(going)
            for root, path in zip(roots, map(self.path, roots), strict=True):
                path.unlink()
                self._snapshots.pop(root, None)
                self._let_go(root)
        except OSError as error:
            raise JournalError(f"{path} cannot be removed: {error.strerror or error}") from error

    def _removable(self, root: str) -> Summary:
        if not self._first_line(root):
            raise JournalError(f"{self.folder}: thread {told(root)} is not there")
        known = self._known.get(root) or self._read(root)
        if not known.standing.over:
            raise JournalError(f"{self.path(root)}: is not finished; only a chain that is over can be removed")
        return known.summary(REMOVED)

    def _turns_of(self, root: str) -> Iterator[tuple[int, str]]:
        """The entries with which root threads of a chain ended, by number and hash."""
        return ((each["n"], each["hash"]) for each in self.documents(root, kinds={"Ended"}))

    def close(self) -> None:
        """Nothing is open between two writes; nothing more is written, but how conversations stand."""
        if self._barred() is None and self._presence.lost() is None:
            self._note([each.summary(OVER) for each in self._known.values() if each.is_untold])
        self._closed = True
        self._known.clear()
        self._files.close()

    def _barred(self) -> JournalError | None:
        """Why nothing is written any more, or ever."""
        return barred(f"the journal in {self.folder}", closed=self._closed, readonly=self._readonly)

    # What is known of chains

    def _facts(self, root: str, start: End | None, words: Vocabulary | None) -> Iterator[tuple[Fact, End]]:
        for line in self._files.lines(root, start):
            try:
                yield decode(content_of(line.entry), words), End(head_of(line.entry), line.end)
            except JournalError as error:
                raise JournalError(f"{self.path(root)}:{line.number}: {error}") from None

    def _load(self, root: str) -> None:
        """Makes a chain known that may be there already; it is checked from its last snapshot on."""
        known = self._known.get(root)
        if known is not None and self._files.end(root) is not None:
            return
        try:
            make_folder(self.folder)
            self._presence.began()
            known = self._known[root] = known or self._read(root)
            if self.path(root).exists():
                self._files.say_torn(root, known.end.size)
            if known.standing.over:
                self._gone.goes_on(known.summary(OVER))
        except OSError as error:
            raise JournalError(f"{self.path(root)} cannot be written: {error.strerror or error}") from error
        self._files.goes_on(root, known.end)

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
        lacking: list[Summary] = []
        for root in self._files.roots():
            known = self._as_told(root, index)
            if not isinstance(known, Known):
                yield known
                continue
            if root not in self._known and known.end.size and not known.damaged:
                if known.standing.over:
                    lacking.append(known.summary(OVER))
                elif not self._readonly:
                    self._known[root] = known
            if known.is_there:
                yield known
        if not (self._readonly or self._closed):
            with suppress(OSError, JournalError):  # then they are read again the next time
                self._index.mend(lacking)

    def _as_told(self, root: str, index: Mapping[tuple[str, str], Summary]) -> Summary | Known:
        """A chain as it is known, or as the index has it where that fits its file, or else as it is found there."""
        known, over = self._known.get(root), index.get((OVER, root))
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
                self._index.shrink(sum(1 for _ in self.folder.iterdir()), stands=self._is_in)
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
