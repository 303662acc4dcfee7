"""The journal in one SQLite file: a write is one transaction, whatever chains it goes to.

The file is in WAL mode: readers in other processes see whole writes, and are in nobody's way. ``synchronous = FULL`` syncs the log
with every commit. The row of a chain that goes on is brought up to date when it is over, at a snapshot, and on closing: to do so
with every write cost a fifth of it.
"""

from __future__ import annotations

import sqlite3
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

from attrs import define

from organism.errors import JournalError
from organism.facts import Snapshot
from organism.journal.chain import canonical, content_of, sealed_hash
from organism.journal.codec import contents, decode
from organism.journal.imported import checked
from organism.journal.presence import Presence
from organism.journal.sqlite_file import concerns_all, said, short
from organism.journal.sqlite_reader import SqliteReader, blob, root_mark
from organism.journal.standing import CONVERSATION, Ledger, Standing
from organism.journal.texts import marked_bytes

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from organism.facts import Fact
    from organism.journal.lock import Lock
    from organism.journal.secrets import Marked
    from organism.journal.sqlite_reader import Row
    from organism.payloads import Vocabulary

PATIENCE: Final = 5.0
"""Seconds that one process waits for another that is writing."""
_FREE: Final = 1_000
"""Free pages, of 4 KB each, that are given back while the file is open; the rest is when it is closed."""
_IDLE: Final = 1_000
"""Conversations between two turns whose ends are kept; of others it is looked up."""


@define
class _End:
    """Where a chain goes on, and how it stands. ``open`` is what its row says, ``noted`` how many entries that row knows of."""

    id: int
    root: bytes
    mark: bytes
    standing: Standing
    new: bool
    open: bool = True
    noted: int = 0
    number: int = 0
    hash: str | None = None
    size: int = 0
    began: float = 0.0
    last: float = 0.0
    snapshot: int = 0
    snapshot_end: int = 0
    snapshot_size: int = 0


@define
class _Work:
    """What a write adds to one chain: rows of its entries and threads, what it spends, and its end after that."""

    root: str
    end: _End
    before: int
    entries: list[tuple[int, int, bytes, bytes]]
    threads: list[tuple[bytes, int]]
    noted: bool = True
    """Whether its row is brought up to date. One that stays open may wait: whoever reads it looks for what its row does not know."""

    @property
    def turned(self) -> bool:
        """Whether the chain was open, and is no more, or is again."""
        return self.end.open is self.end.standing.over


class SqliteJournal(SqliteReader):
    """The journal in the file ``path``, which is made where there is none.

    With a ``vocabulary``, what is read has its payloads as objects, without one as PlainPayload. ``durable``: what is written
    survives a power cut, else the end of the process. ``readonly``: nothing is made or written. ``patience`` is how many seconds
    to wait for another process that is writing. With a ``lock`` it is written while that one holds, and never where its file was
    removed or replaced. Raises JournalError where the file is none of ours.
    """

    def __init__(
        self,
        path: Path,
        vocabulary: Vocabulary | None = None,
        *,
        durable: bool = True,
        readonly: bool = False,
        patience: float = PATIENCE,
        lock: Lock | None = None,
        marked: Marked | None = None,
    ) -> None:
        super().__init__(path, vocabulary, durable=durable, readonly=readonly, patience=patience)
        self._readonly = readonly
        self._marked = marked
        self._closed = False
        self._presence = Presence(path, lock)
        self._presence.began()
        self._ends: dict[str, _End] = {}
        found: int | None = None if readonly else self._ask("SELECT max(id) FROM chains")[0][0]
        self._chains = found or 0
        self._version = self._version_now()

    def recall(self, root: str) -> tuple[Fact, ...]:
        """The facts from the last snapshot on; what is before it is not read."""
        known = super().recall(root)
        if known and not self._readonly and root not in self._ends:
            row = self._row(root)
            if row is not None and row.open:
                self._ends[root] = _end_of(root, row, known)
        return known

    def write(self, batch: Sequence[tuple[str, Fact]]) -> Mapping[str, JournalError]:
        """Writes facts in one transaction; where that fails, each chain in one of its own."""
        chains: dict[str, list[Fact]] = {}
        for root, fact in batch:
            chains.setdefault(root, []).append(fact)
        if self._closed or self._readonly:
            state = "closed" if self._closed else "open for reading only"
            return dict.fromkeys(chains, JournalError(f"{self.path} is {state}"))
        lost = self._presence.lost()
        if lost is not None:
            return dict.fromkeys(chains, lost)
        works: list[_Work] = []
        failed: dict[str, JournalError] = {}
        for root, facts in chains.items():
            try:
                works.append(self._work(root, [(fact, *contents(fact, root, self._marked)) for fact in facts]))
            except JournalError as error:
                failed[root] = error
        together = self._commit(works)
        if together is not None:
            for work in works:
                # Where nobody can write, waiting once for it is enough.
                alone = together if len(works) == 1 or concerns_all(together) else self._commit([work])
                if alone is not None:
                    failed[work.root] = JournalError(said(self.path, alone))
        return failed

    def size_since_snapshot(self, root: str) -> tuple[int, int, int]:
        """(entries, bytes) behind the last snapshot, and that one's bytes; of a chain that is being written, without asking the file."""
        end = self._ends.get(root)
        if end is None:
            return super().size_since_snapshot(root)
        return (end.number - end.snapshot, end.size - end.snapshot_end, end.snapshot_size)

    def put(self, root: str, documents: Iterable[Mapping[str, Any]]) -> None:
        """Takes in a chain that another journal gave; raises JournalError, then nothing of it is there."""
        if self._closed or self._readonly:
            raise JournalError(f"{self.path} is {'closed' if self._closed else 'open for reading only'}")
        found = [(content_of(each), canonical(content_of(each))) for each in checked(root, documents)]
        if self._row(root) is not None:
            raise JournalError(f"{self.path}: thread {root!r:.80} is there already")
        error = self._commit([self._work(root, [(decode(each), raw, marked_bytes(raw)) for each, raw in found])])
        if error is not None:
            raise JournalError(said(self.path, error)) from error

    def remove(self, root: str) -> None:
        """Removes a chain that is over, and gives its room back; what it spent stays."""
        row = self._row(root)
        if row is None:
            raise JournalError(f"{self.path}: thread {root!r:.80} is not there")
        if row.open:
            raise JournalError(
                f"{self.path}: thread {root!r:.80} is not finished; only a chain that is over can be removed"
            )
        self._ends.pop(root, None)
        try:
            self._db.execute("BEGIN IMMEDIATE")
            for table, key in (("entries", "chain"), ("threads", "chain"), ("chains", "id")):
                self._db.execute(f"DELETE FROM {table} WHERE {key} = ?", [row.id])  # noqa: S608 - names from the line above
            self._db.execute("COMMIT")
        except sqlite3.Error as error:
            self._roll_back()
            raise JournalError(said(self.path, error)) from error
        self._give_back(_FREE)

    def close(self) -> None:
        """Lets go of the file."""
        if not self._closed:
            self._note_ends()
            self._give_back(1)
            self._closed = True
            self._ends.clear()
            super().close()

    def _note_ends(self) -> None:
        """Brings the rows of chains up to date; where that fails, whoever reads them looks further."""
        works = [_Work(root, end, end.noted, [], []) for root, end in self._ends.items() if end.noted < end.number]
        if works and self._presence.lost() is None:
            try:
                self._db.execute("BEGIN IMMEDIATE")
                self._check(works)
                self._update(_UPDATE, works)
                self._db.execute("COMMIT")
            except sqlite3.Error:
                self._roll_back()

    def _give_back(self, least: int) -> None:
        """Gives free pages back to the system where there are so many; where that fails, the next removal does it."""
        if not self._readonly:
            with suppress(sqlite3.Error):
                if self._db.execute("PRAGMA freelist_count").fetchone()[0] >= least:
                    # As a script, which is carried out to its end; a statement without columns is not.
                    self._db.executescript("PRAGMA incremental_vacuum")

    # Before anything is written

    def _work(self, root: str, facts: Sequence[tuple[Fact, bytes, bytes]]) -> _Work:
        """What these facts add to a chain, each with its content as it is and with marks. Its end is forgotten until that is
        committed.
        """
        end = self._ends.pop(root, None) or self._end(root)
        work = _Work(root, end, end.number, [], [])
        known = len(end.standing.threads)
        if end.standing.spent.sums:
            end.standing.spent = Ledger()
        if end.new:
            end.began = facts[0][0].at
        for fact, raw, marked in facts:
            try:
                _extend(work, end, fact, raw, marked)
            except (ValueError, OverflowError) as error:
                kind = type(fact).__name__
                raise JournalError(f"thread {root!r:.80}: {kind} cannot be written: {error}") from error
        end.last = facts[-1][0].at
        work.noted = end.new or not end.open or end.snapshot > work.before or end.standing.over
        if len(end.standing.threads) > known:
            work.threads = [(blob(thread), end.id) for thread in list(end.standing.threads)[known:]]
        return work

    def _end(self, root: str) -> _End:
        """The end of a chain that may be there already; from its last snapshot on it is checked."""
        row = self._row(root)
        if row is not None:
            return _end_of(root, row, tuple(self._plain(root, row)))
        self._chains += 1
        return _End(self._chains, blob(root), root_mark(root), Standing(root), new=True)

    def _plain(self, root: str, row: Row) -> Iterable[Fact]:
        return self._facts(root, row, max(0, row.snapshot - 1), None)

    # Writing

    def _commit(self, works: Sequence[_Work]) -> Exception | None:
        """All of these in one transaction, or none, with the reason."""
        if not works:
            return None
        try:
            self._db.execute("BEGIN IMMEDIATE")
            self._check(works)
            self._insert(works)
            self._db.execute("COMMIT")
        except (sqlite3.Error, OverflowError) as error:
            self._roll_back()
            return error
        for work in works:
            end, standing = work.end, work.end.standing
            if work.noted:
                end.noted = end.number
                end.new, end.open = False, not standing.over
            if end.open or (work.root.startswith(CONVERSATION) and len(self._ends) < _IDLE):
                self._ends[work.root] = end
        return None

    def _roll_back(self) -> None:
        with suppress(sqlite3.Error):  # what was not committed is gone in any case when the file is opened next
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")

    def _version_now(self) -> int:
        """Changes with what other processes write."""
        version: int = self._ask("PRAGMA data_version")[0][0]
        return version

    def _check(self, works: Sequence[_Work]) -> None:
        """Raises IntegrityError where another process has removed one of these chains; what it wrote to one is in the way of new
        entries. The ends of others are forgotten where it wrote at all.
        """
        version: int = self._db.execute("PRAGMA data_version").fetchone()[0]
        if version == self._version:
            return
        for end in [work.end for work in works if not work.end.new]:
            there = "SELECT 1 FROM chains WHERE id = ? AND root = ? AND began = ?"
            if not self._db.execute(there, [end.id, end.root, end.began]).fetchone():
                raise sqlite3.IntegrityError(_MEANWHILE)
        self._ends.clear()
        self._version = version

    def _insert(self, works: Sequence[_Work]) -> None:
        spent = Ledger()
        for work in works:
            if work.end.standing.spent.sums:
                spent.take_in(work.end.standing.spent)
        run = self._db.executemany
        run(
            "INSERT INTO entries (chain, n, hash, body) VALUES (?, ?, ?, ?)",
            [row for work in works for row in work.entries],
        )
        noted = [work for work in works if work.noted]
        new = [_row(work) for work in noted if work.end.new]
        if new:
            run("INSERT INTO chains VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)", new)
        self._update(_UPDATE, [work for work in noted if not work.end.new and not work.turned])
        self._update(_UPDATE_OPEN, [work for work in noted if not work.end.new and work.turned])
        threads = [row for work in works for row in work.threads]
        if threads:
            run("INSERT OR REPLACE INTO threads VALUES (?, ?)", threads)
        if spent.sums:
            run(_SPEND, [(key[0], *map(blob, key[1:]), *sums) for key, sums in spent.sums.items()])

    def _update(self, statement: str, works: Sequence[_Work]) -> None:
        rows = [(*_row(work), work.end.noted) for work in works]
        if rows and self._db.executemany(statement, rows).rowcount != len(rows):
            raise sqlite3.IntegrityError(_MEANWHILE)


_MEANWHILE: Final = "another process wrote to these chains, or removed one"
_UPDATE: Final = (
    "UPDATE chains SET entries = ?4, size = ?5, last = ?7, head = ?8, snapshot = ?9, snapshot_end = ?10,"
    " snapshot_size = ?11 WHERE id = ?1 AND entries = ?12 AND root = ?2 AND began = ?6"
)
_UPDATE_OPEN: Final = _UPDATE.replace("SET ", "SET open = ?3, ")
"""Writes one page more, since an index says which chains are open."""
_SUMS: Final = ("tokens", "input", "output", "cost", "calls", "messages", "reads", "writes", "reasoning")
_SPEND: Final = (
    f"INSERT INTO ledger VALUES ({', '.join('?' * 15)}) ON CONFLICT DO UPDATE SET "  # noqa: S608 - names from the line above
    f"{', '.join(f'{name} = {name} + excluded.{name}' for name in _SUMS)}, estimated = estimated | excluded.estimated"
)


def _extend(work: _Work, end: _End, fact: Fact, raw: bytes, marked: bytes) -> None:
    number = end.number = end.number + 1
    hashed = sealed_hash(raw, number, end.hash)
    end.hash = hashed.hex()
    body = short(marked, end.mark)
    end.size += len(body)
    work.entries.append((end.id, number, hashed, body))
    if isinstance(fact, Snapshot):
        end.snapshot, end.snapshot_end, end.snapshot_size = number, end.size, len(body)
    end.standing.apply(fact)


def _end_of(root: str, row: Row, facts: Iterable[Fact]) -> _End:
    standing = Standing(root)
    for fact in facts:
        standing.apply(fact)
    return _End(
        row.id, row.root, root_mark(root), standing, new=False, open=bool(row.open), noted=row.noted,
        number=row.entries, hash=row.head.hex(), size=row.size, began=row.began, last=row.last, snapshot=row.snapshot, snapshot_end=row.snapshot_end, snapshot_size=row.snapshot_size,
    )  # fmt: skip


def _row(work: _Work) -> tuple[Any, ...]:
    end = work.end
    head = bytes.fromhex(end.hash or "")
    return (
        end.id, end.root, int(not end.standing.over), end.number, end.size, end.began, end.last, head, end.snapshot,
        end.snapshot_end, end.snapshot_size,
    )  # fmt: skip
