"""The journal in one SQLite file: a write is one transaction, whatever chains it goes to.

The file is in WAL mode: readers in other processes see whole writes, and are in nobody's way. ``synchronous = FULL`` syncs the log
with every commit. The row of a chain that goes on is brought up to date when it is over, at a snapshot, and on closing: to do so
with every write cost a fifth of it.
"""

from __future__ import annotations

import sqlite3
from contextlib import suppress
from functools import cache
from operator import itemgetter
from typing import TYPE_CHECKING, Any, Final

from organism.errors import JournalError
from organism.files import is_there
from organism.journal.chain import canonical, checked, content_of
from organism.journal.codec import check_not_newer, contents, decode
from organism.journal.endings import Terms
from organism.journal.lock import lock_path
from organism.journal.presence import Presence
from organism.journal.sqlite_end import COLUMNS, End, Work, bound, end_of, extend
from organism.journal.sqlite_file import closed_on_failure, concerns_all, said, short
from organism.journal.sqlite_flaws import SUMS, SqliteFlaws
from organism.journal.sqlite_reader import blob, text_of
from organism.journal.sqlite_upgrade import upgrade
from organism.journal.standing import Ledger, Standing, begins_chain
from organism.journal.texts import marked_bytes, root_mark
from organism.names import CONVERSATION, told
from organism.record.facts import Forked

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from organism.journal.lock import Lock
    from organism.journal.secrets import Marked
    from organism.journal.sqlite_reader import Row
    from organism.payloads import Vocabulary
    from organism.record.facts import Fact

PATIENCE: Final = 5.0
"""Seconds that one process waits for another that is writing."""
_FREE: Final = 1_000
"""Free pages, of 4 KB each, that are given back while the file is open; the rest is when it is closed."""
_IDLE: Final = 1_000
"""Conversations between two turns whose ends are kept; of others it is looked up."""


class SqliteJournal(SqliteFlaws):
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
        # Whoever copied a file alone, which holds nothing yet, has no lock beside it; whoever was killed while they made it has.
        owned = is_there(lock_path(path)) if lock is None else lock.found
        super().__init__(path, vocabulary, durable=durable, readonly=readonly, patience=patience, owned=owned)
        self._readonly = readonly
        self._marked = marked
        self._presence = Presence(path, lock, said=str(path), readonly=readonly)
        self._presence.began()
        self._ends: dict[str, End] = {}
        with closed_on_failure(self._db):
            if not readonly:
                self._upgrade()
            found: int | None = None if readonly else self._ask("SELECT max(id) FROM chains")[0][0]
            self._chains = found or 0
            self._version = self._version_now()

    def _upgrade(self) -> None:
        try:
            upgrade(self._db)
            self._keeps_endings = True
        except sqlite3.Error as error:
            raise JournalError(said(self.path, error)) from error

    def recall(self, root: str) -> tuple[Fact, ...]:
        """The facts from the last snapshot on; what is before it is not read."""
        known = super().recall(root)
        if known and root not in self._ends:
            row = self._row(root)
            if row is not None:
                end = end_of(root, row, known)
                if row.open and not self._readonly:
                    self._ends[root] = end
        return known

    def documents(
        self, root: str, *, after: int = 0, kinds: Collection[str] | None = None, of: str | None = None
    ) -> Iterator[Mapping[str, Any]]:
        """As a reader has them; of a thread that began while the chain was being written, what is before it is not read."""
        end = self._ends.get(root)
        start = after if end is None else max(after, end.standing.before(of))
        return super().documents(root, after=start, kinds=kinds, of=of)

    def write(self, batch: Sequence[tuple[str, Fact]]) -> Mapping[str, JournalError]:
        """Writes facts in one transaction; where that fails, each chain in one of its own."""
        reason = self._presence.refusal()
        if reason is not None:
            return dict.fromkeys((root for root, _ in batch), reason)
        return self._write(batch)

    def _write(self, batch: Sequence[tuple[str, Fact]]) -> dict[str, JournalError]:
        work = Work()
        failed = self._prepare(work, batch)
        if failed:  # what they were to spend is in the sums by now
            return {**failed, **self._write([pair for pair in batch if pair[0] not in failed])}
        error = self._commit(work)
        if error is None:
            return {}
        if len(work.ends) == 1 or concerns_all(error):  # where nobody can write, waiting once for it is enough
            return {root: JournalError(said(self.path, error)) for root in work.ends}
        return self._write_alone(work, batch)

    def _write_alone(self, work: Work, batch: Sequence[tuple[str, Fact]]) -> dict[str, JournalError]:
        """Writes each chain in a transaction of its own, since they could not be written together."""
        failed: dict[str, JournalError] = {}
        facts: dict[str, list[Fact]] = {root: [] for root in work.ends}
        for root, fact in batch:
            facts[root].append(fact)
        entries: dict[int, list[Any]] = {end.id: [] for end in work.ends.values()}
        for start in range(0, len(work.entries), COLUMNS):
            entries[work.entries[start]] += work.entries[start : start + COLUMNS]
        for root, end in work.ends.items():
            try:
                end.standing.spent = self._spent(root, end, facts[root])
            except JournalError as unread:
                failed[root] = unread
                continue
            endings = [each for each in work.endings if each[0] == end.id]
            alone = Work({root: end}, entries[end.id], end.standing.spent, endings=endings)
            alone.conclude()
            error = self._commit(alone)
            if error is not None:
                failed[root] = JournalError(said(self.path, error))
        return failed

    def _spent(self, root: str, end: End, facts: Iterable[Fact]) -> Ledger:
        """What a chain spends by these facts, which come behind those that the file holds of it."""
        row = self._row(root) if end.before else None
        standing = Standing(root) if row is None else end_of(root, row, tuple(self._plain(root, row))).standing
        standing.spent = Ledger()
        for fact in facts:
            standing.apply(fact)
        return standing.spent

    def size_since_snapshot(self, root: str) -> tuple[int, int, int]:
        """(entries, bytes) behind the last snapshot, and that one's bytes; of a chain that is being written, without asking the file."""
        end = self._ends.get(root)
        if end is None:
            return super().size_since_snapshot(root)
        return (end.number - end.snapshot, end.size - end.snapshot_end, end.snapshot_size)

    def put(self, root: str, documents: Iterable[Mapping[str, Any]]) -> None:
        """Takes in a chain that another journal gave; raises JournalError, then nothing of it is there."""
        self._presence.check()
        found = [(content_of(each), canonical(content_of(each))) for each in checked(root, documents)]
        if self._row(root) is not None:
            raise JournalError(f"{self.path}: thread {told(root)} is there already")
        facts = [decode(each) for each, _ in found]
        work = Work()
        end = self._end(root, facts[0], work, there=False, own=True)
        for fact, (_, raw) in zip(facts, found, strict=True):
            extend(work, end, root, fact, raw, short(marked_bytes(raw), end.mark))
        work.conclude()
        before = Standing(root)
        for fact in facts[: self.known_again(work.entries[2::COLUMNS])]:
            before.apply(fact)
        work.back = before.spent
        work.spent.take_in(before.spent, times=-1)
        error = self._commit(work)
        if error is not None:
            raise JournalError(said(self.path, error)) from error

    def remove(self, *roots: str) -> None:
        """Removes chains that are over, all or none, and gives their room back; what they spent stays."""
        self._presence.check()
        going = [(self._removable(root), self.spent_by(root), self.turns_of(root)) for root in roots]
        for root in roots:
            self._ends.pop(root, None)
        try:
            self._db.execute("BEGIN IMMEDIATE")
            for row, spent, turns in going:
                self._delete(row, spent, turns)
            self._db.execute("COMMIT")
        except sqlite3.Error as error:
            self._roll_back()
            raise JournalError(said(self.path, error)) from error
        self._give_back(_FREE)

    def _removable(self, root: str) -> Row:
        row = self._row(root)
        if row is None:
            raise JournalError(f"{self.path}: thread {told(root)} is not there")
        if row.open:
            raise JournalError(
                f"{self.path}: thread {told(root)} is not finished; only a chain that is over can be removed"
            )
        last: Mapping[str, Any] = {}
        with suppress(JournalError):  # of a damaged one nobody would know more another time
            last = next(self.documents(root, after=row.entries - 1), last)
        try:
            check_not_newer(last)
        except JournalError as error:
            raise JournalError(f"{self.path}: thread {told(root)} {error}; nothing was removed") from None
        return row

    def _delete(self, row: Row, spent: Ledger | None, turns: list[list[bytes]]) -> None:
        if spent is None:
            for table in ("removed", "gone"):
                self._db.execute(f"DROP TABLE IF EXISTS {table}")  # what it would have to hold is not known any more
        elif self.notes_removals():
            self._sum(_SPEND_REMOVED, spent)
            self._db.execute("CREATE TABLE IF NOT EXISTS gone (hash BLOB PRIMARY KEY) WITHOUT ROWID")
            self._db.executemany("INSERT OR IGNORE INTO gone VALUES (?)", [*turns, [row.head]])
        for table, key in (("entries", "chain"), ("endings", "chain"), ("threads", "chain"), ("chains", "id")):
            self._db.execute(f"DELETE FROM {table} WHERE {key} = ?", [row.id])  # noqa: S608 - names from the line above

    def close(self) -> None:
        """Lets go of the file."""
        if not self._presence.closed:
            self._note_ends()
            self._give_back(1)
            self._presence.closed = True
            self._ends.clear()
            super().close()

    def _note_ends(self) -> None:
        """Brings the rows of chains up to date; where that fails, whoever reads them looks further."""
        ends = [end for end in self._ends.values() if end.noted < end.number]
        if ends and self._presence.refusal() is None:
            try:
                self._db.execute("BEGIN IMMEDIATE")
                self._check(ends)
                self._update(_UPDATE, ends)
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

    def _prepare(self, work: Work, batch: Sequence[tuple[str, Fact]]) -> dict[str, JournalError]:
        """Puts what these facts add to their chains into ``work``; gives the chains of which something cannot be written. The ends of
        all are forgotten until that is committed.
        """
        failed: dict[str, JournalError] = {}
        ends, marked = work.ends, self._marked
        forks = Forked in set(map(type, map(itemgetter(1), batch)))
        forked = {root for root, fact in batch if fact.__class__ is Forked} if forks else set[str]()
        unknown = set(map(itemgetter(0), batch)).difference(self._ends)
        there = self._there(unknown) if unknown else unknown
        for root, fact in batch:
            if root in failed:
                continue
            try:
                end = ends.get(root)
                if end is None:
                    if root in unknown and not (root in there or begins_chain(fact)):
                        continue
                    end = self._end(root, fact, work, there=root in there, own=root in forked)
                extend(work, end, root, fact, *contents(fact, root, end.mark, marked))
            except JournalError as error:
                failed[root] = error
        work.conclude()
        return failed

    def _there(self, roots: Collection[str]) -> set[str]:
        """Those of these chains that the file holds. To ask for each alone took five times as long."""
        waiting, found = [bound(blob(root)) for root in roots], set[str]()
        for start in range(0, len(waiting), _ASKED):
            some = waiting[start : start + _ASKED]
            marks = ", ".join("?" * len(some))
            try:
                rows = self._ask(f"SELECT root FROM chains WHERE root IN ({marks})", *some)  # noqa: S608 - marks
                found.update(text_of(root) for (root,) in rows)
            except JournalError:
                found.update(
                    map(text_of, map(bytes, some))
                )  # each is asked for alone then, and it is said what is wrong with it
        return found

    def _end(self, root: str, first: Fact, work: Work, *, there: bool, own: bool) -> End:
        """The end of a chain, which may be ``there`` already, for a write that begins with this fact; from its last snapshot on it is
        checked. ``own``: what it spends is summed on its own, since a fork of it may turn out to have spent nothing.
        """
        end = self._ends.pop(root, None)
        if end is None:
            row = self._row(root) if there else None
            end = self._new(root, first) if row is None else end_of(root, row, tuple(self._plain(root, row)))
        standing = end.standing
        end.before, end.threads = end.number, len(standing.threads)
        standing.spent = Ledger() if own else work.spent
        work.ends[root] = end
        return end

    def _new(self, root: str, first: Fact) -> End:
        self._chains += 1
        return End(self._chains, blob(root), root_mark(root), Standing(root, terms=Terms()), new=True, began=first.at)

    def _plain(self, root: str, row: Row) -> Iterable[Fact]:
        return self._facts(root, row, max(0, row.snapshot - 1), None)

    # Writing

    def _commit(self, work: Work) -> Exception | None:
        """All of it in one transaction, or nothing, with the reason."""
        if not work.ends:
            return None
        try:
            self._db.execute("BEGIN IMMEDIATE")
            self._check(work.ends.values())
            self._insert(work)
            self._db.execute("COMMIT")
        except (sqlite3.Error, OverflowError) as error:
            self._roll_back()
            return error
        kept = self._ends
        kept.update(work.ends)
        for end in work.opening:  # in the file they can be looked up from now on
            end.standing.forget_the_oldest()
        for end in work.stale:  # any other stays open
            end.noted = end.number
            end.new, end.open = False, not end.over
            root = end.standing.root
            if not (end.open or (root.startswith(CONVERSATION) and len(kept) <= _IDLE)):
                del kept[root]
        return None

    def _roll_back(self) -> None:
        with suppress(sqlite3.Error):  # what was not committed is gone in any case when the file is opened next
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")

    def _version_now(self) -> int:
        """Changes with what other processes write."""
        version: int = self._ask("PRAGMA data_version")[0][0]
        return version

    def _check(self, ends: Collection[End]) -> None:
        """Raises IntegrityError where another process has removed one of these chains; what it wrote to one is in the way of new
        entries. The ends of others are forgotten where it wrote at all.
        """
        version: int = self._db.execute("PRAGMA data_version").fetchone()[0]
        if version == self._version:
            return
        for end in ends:
            there = "SELECT 1 FROM chains WHERE id = ? AND root = ? AND began = ?"
            if not end.new and not self._db.execute(there, [end.id, end.root, end.began]).fetchone():
                raise sqlite3.IntegrityError(_MEANWHILE)
        self._ends.clear()
        self._version = version

    def _insert(self, work: Work) -> None:
        entries = work.entries
        for start in range(0, len(entries), _TOGETHER * COLUMNS):
            some = entries[start : start + _TOGETHER * COLUMNS]
            self._db.execute(_insertion(len(some) // COLUMNS), some)
        if work.stale:
            self._note(work.stale)
        threads = [(bound(blob(thread)), end.id) for end in work.opening for thread in end.standing.opened(end.threads)]
        if threads:
            # A name may come twice in a chain, a turn's by hand and a sub-thread's, and behind a snapshot nobody knows of the first.
            self._db.executemany("INSERT OR IGNORE INTO threads VALUES (?, ?)", threads)
        if work.endings:
            self._db.executemany("INSERT INTO endings VALUES (?, ?, ?, ?)", work.endings)
        self._sum(_SPEND, work.spent)
        self._sum(_TAKE_BACK, work.back)

    def _sum(self, statement: str, spent: Ledger) -> None:
        if spent.sums:
            rows = [(key[0], *map(bound, map(blob, key[1:])), *sums) for key, sums in spent.sums.items()]
            self._db.executemany(statement, rows)

    def _note(self, stale: Sequence[End]) -> None:
        """Brings the rows of these chains up to date."""
        new = [end.row for end in stale if end.new]
        if new:
            self._db.executemany(f"INSERT INTO chains VALUES ({', '.join('?' * len(new[0]))})", new)  # noqa: S608 - marks
        # Its row says that a chain was open, and it is no more, or the other way round.
        self._update(_UPDATE, [end for end in stale if not end.new and end.open is not end.over])
        self._update(_UPDATE_OPEN, [end for end in stale if not end.new and end.open is end.over])

    def _update(self, statement: str, ends: Sequence[End]) -> None:
        rows = [dict(zip(_ROW, (*end.row, end.noted), strict=True)) for end in ends]
        if rows and self._db.executemany(statement, rows).rowcount != len(rows):
            raise sqlite3.IntegrityError(_MEANWHILE)


_ASKED: Final = 100
"""Chains that are asked for in one statement."""
_TOGETHER: Final = 32
"""Entries in one statement: each statement gives the interpreter to the event loop and waits to get it back."""


@cache
def _insertion(count: int) -> str:
    return f"INSERT INTO entries (chain, n, hash, body) VALUES {', '.join(['(?, ?, ?, ?)'] * count)}"  # noqa: S608 - marks


_MEANWHILE: Final = "another process wrote to these chains, or removed one"
_ROW: Final[tuple[str, ...]] = (
    "id", "root", "open", "entries", "size", "began", "last", "head", "snapshot", "snapshot_end", "snapshot_size", "terms",
    "noted",
)  # fmt: skip
"""What a row of a chain binds, by name: Python 3.12.1 warns of marks with numbers."""
_UPDATE: Final = (
    "UPDATE chains SET entries = :entries, size = :size, last = :last, head = :head, snapshot = :snapshot,"
    " snapshot_end = :snapshot_end, snapshot_size = :snapshot_size, terms = :terms"
    " WHERE id = :id AND entries = :noted AND root = :root AND began = :began"
)
_UPDATE_OPEN: Final = _UPDATE.replace("SET ", "SET open = :open, ")
"""Writes one page more, since an index says which chains are open."""
_SPEND: Final = (
    f"INSERT INTO ledger VALUES ({', '.join('?' * 15)}) ON CONFLICT DO UPDATE SET "  # noqa: S608 - names from the line above
    f"{', '.join(f'{name} = {name} + excluded.{name}' for name in SUMS)}, estimated = estimated | excluded.estimated"
)
_SPEND_REMOVED: Final = _SPEND.replace("ledger", "removed")
_TAKE_BACK: Final = _SPEND_REMOVED.replace(" + excluded", " - excluded")
