"""What can be read of a SQLite journal, while another process writes it or not."""

from __future__ import annotations

import json
import math
import sqlite3
from contextlib import suppress
from hashlib import sha256
from operator import index
from typing import TYPE_CHECKING, Any, Final, cast

from attrs import evolve, fields, frozen

from organism.errors import JournalError
from organism.journal.chain import CHANGED, Head, sealed_hash
from organism.journal.codec import decode
from organism.journal.contract import Chain, is_meant
from organism.journal.endings import Ending
from organism.journal.sqlite_file import ENDED, closed_on_failure, connected, long, said
from organism.journal.standing import spending
from organism.journal.texts import root_mark
from organism.journal.values import is_instant
from organism.journal.writers import string
from organism.names import told

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence
    from pathlib import Path

    from organism.journal.standing import Key, Sums
    from organism.payloads import Vocabulary
    from organism.record.facts import Fact
    from organism.usage import Spending

WAY_OUT: Final = (
    "restore the file from a copy, or take its chains into a new journal with 'organism export' and 'organism import'"
)
_PAGE: Final = 200
"""Entries that are read at a time: no statement stays open between two of them."""
_COLUMNS: Final = (
    "id, root, open, entries, size, began, last, head, snapshot, snapshot_end, snapshot_size, entries, head"
)
_MORE: Final = 4
"""How many times as many endings are read as the last time: to find the next ones, all are looked through."""


_COLUMN_TYPES: Final = {"int": (int,), "bytes": (bytes,), "float": (float,), "bytes | None": (bytes, type(None))}


@frozen
class Row:
    """A chain: its last hash, the number of its last snapshot (0 where there is none), its size up to that one's end, and that
    one's size. ``noted`` is how many entries the table knew of, and ``noted_head`` the hash of the last of these. ``terms`` are of the last
    snapshot, and ``None`` where it is not kept what its threads came to.
    """

    id: int
    root: bytes
    open: int
    entries: int
    size: int
    began: float
    last: float
    head: bytes
    snapshot: int
    snapshot_end: int
    snapshot_size: int
    noted: int
    noted_head: bytes
    terms: bytes | None


_KINDS: Final = {each.name: _COLUMN_TYPES[str(each.type)] for each in fields(Row)}


@frozen
class Entry:
    """A sound entry: its number, its content, and the hashes of the one before it and its own."""

    number: int
    content: bytes
    before: str | None
    hash: str

    def content_read(self) -> dict[str, Any]:
        """Its content as a JSON object. Raises ValueError and RecursionError where it is none: its hash was made to fit."""
        made: Any = json.loads(self.content)
        if not isinstance(made, dict):
            raise ValueError("it is not an object")  # noqa: TRY004 - to its readers it is as damaged as any
        return cast("dict[str, Any]", made)

    def document(self) -> dict[str, Any]:
        """The entry as a JSON object."""
        return {**self.content_read(), "n": self.number, "prev": self.before, "hash": self.hash}


def blob(text: str) -> bytes:
    """Any text in bytes."""
    return text.encode("utf-8", "surrogatepass")


def text_of(data: bytes) -> str:
    """The text of :func:`blob`."""
    return data.decode("utf-8", "surrogatepass")


def named(thread: Any) -> str:
    """A thread as its row names it, whatever that is."""
    with suppress(ValueError, AttributeError):
        return f"thread {told(text_of(thread))}"
    return f"{told(thread)}"


class SqliteReader:
    """Reads a journal at ``path``. With a ``vocabulary``, payloads are objects, without one PlainPayload."""

    def __init__(
        self, path: Path, vocabulary: Vocabulary | None, *, durable: bool, readonly: bool, patience: float, owned: bool
    ) -> None:
        self.path = path
        self._vocabulary = vocabulary
        self._db = connected(path, durable=durable, readonly=readonly, patience=patience, owned=owned)
        with closed_on_failure(self._db):
            self._keeps_endings = self._ask("PRAGMA user_version")[0][0] >= ENDED

    @property
    def _columns(self) -> str:
        """What a row of a chain is made of."""
        return f"{_COLUMNS}, {'terms' if self._keeps_endings else 'NULL'}"

    @property
    def lasting(self) -> bool:
        """It outlives the process."""
        return True

    def read(self, root: str) -> tuple[Fact, ...]:
        """The facts of a chain; raises JournalError with the entry that is damaged, missing or unknown."""
        row = self._row(root)
        return () if row is None else tuple(self._facts(root, row, 0, self._vocabulary))

    def recall(self, root: str) -> tuple[Fact, ...]:
        """The facts from the last snapshot on; what is before it is not read."""
        row = self._row(root)
        return () if row is None else tuple(self._facts(root, row, max(0, row.snapshot - 1), self._vocabulary))

    def documents(
        self, root: str, *, after: int = 0, kinds: Collection[str] | None = None, of: str | None = None
    ) -> Iterator[Mapping[str, Any]]:
        """The entries behind number ``after`` as JSON objects, each checked; of these facts or of all, ``of`` this thread or of all."""
        row = self._row(root)
        if row is None:
            return
        marks = [b""] if kinds is None else [f'"fact":{string(kind)}'.encode() for kind in kinds]
        # What it is below begins so, too. What other texts have in their place is not always the same in bytes.
        thread = b"" if of is None or not of.isascii() or of == root else f'"thread":{string(of)[:-1]}'.encode()
        for entry in self._entries(root, row, after):
            if thread in entry.content and any(mark in entry.content for mark in marks):
                try:
                    document = entry.document()
                except (ValueError, RecursionError) as error:
                    raise self._no_json(root, entry, error) from None
                if is_meant(document, kinds, of):
                    yield document

    def chain(self, root: str) -> Chain | None:
        """The chain of this name."""
        found = self._ask(f"SELECT {self._columns} FROM chains WHERE root = ?", blob(root))  # noqa: S608 - names of columns
        return self._chain(found[0]) if found else None

    def chains(self, *, open: bool | None = None) -> tuple[Chain, ...]:  # noqa: A002 - the contract's name
        """The chains there are, the oldest first."""
        return self._chains_where({None: "", True: " WHERE open", False: " WHERE NOT open"}[open])

    def endings(self, *, since: float = -math.inf) -> tuple[Sequence[Chain], Iterator[tuple[str, Ending | None]]]:
        """What is kept of root threads that ended, behind the chains that it does not tell of."""
        told_of = "terms NOT NULL AND EXISTS (SELECT 1 FROM endings WHERE chain = chains.id)"
        return self._chains_where(f" WHERE open OR NOT ({told_of})" if self._keeps_endings else ""), self._endings(
            since
        )

    def _endings(self, since: float) -> Iterator[tuple[str, Ending | None]]:
        """A page at a time, the one that began last first."""
        last: tuple[float, int, int] = (math.inf, 0, 0)
        page, more = _PAGE, self._keeps_endings
        while more:
            rows = self._ask(
                "SELECT root, endings.began, chain, n, body FROM endings JOIN chains ON chains.id = chain"
                " WHERE (endings.began, chain, n) < (?, ?, ?) AND endings.began >= ? AND NOT open AND terms NOT NULL"
                " ORDER BY endings.began DESC, chain DESC, n DESC LIMIT ?",
                *last, since, page,
            )  # fmt: skip
            for root, _, _, _, body in rows:
                ending: Ending | None = None
                with suppress(ValueError, RecursionError):
                    ending = Ending.of_bytes(body)
                yield text_of(root), ending
            more = len(rows) == page
            last = rows[-1][1:4] if more else last
            page *= _MORE

    def _chains_where(self, where: str) -> tuple[Chain, ...]:
        rows = self._ask(f"SELECT {self._columns} FROM chains{where} ORDER BY id")  # noqa: S608 - see above
        try:
            return tuple(map(self._chain, rows))
        except (ValueError, AttributeError) as error:
            raise JournalError(f"{self.path} is damaged: the name of a chain cannot be read; {WAY_OUT}") from error

    def _chain(self, columns: Any) -> Chain:
        row = self._current(columns)
        root, last = text_of(row.root), row.last
        if row.entries > row.noted:
            found = self._ask("SELECT body FROM entries WHERE chain = ? AND n = ?", row.id, row.entries)
            with suppress(ValueError, TypeError, IndexError, KeyError):  # damage is told by whoever reads the chain
                last = float(json.loads(long(found[0][0], root_mark(root)))["at"])
        return Chain(root=root, open=bool(row.open), entries=row.entries, size=row.size, began=row.began, last=last)

    def root_of(self, thread: str) -> str | None:
        """The chain that a thread belongs to."""
        name = blob(thread)
        if self._ask("SELECT 1 FROM chains WHERE root = ?", name):
            return thread
        # A turn and a sub-thread elsewhere may have one id: the chain that was begun first is meant.
        chains = "SELECT root FROM threads JOIN chains ON chains.id = chain WHERE thread = ? ORDER BY chain LIMIT 1"
        found = self._ask(chains, name)
        return text_of(found[0][0]) if found else None

    def spendings(self) -> tuple[Spending, ...]:
        """All that was ever spent."""
        return tuple(told for _, _, told in self._sums("ledger"))

    def removed(self) -> tuple[Spending, ...]:
        """What chains spent that were removed; all that was ever spent, of a file of a version that did not note that."""
        return tuple(told for _, _, told in self._sums("removed" if self.notes_removals() else "ledger"))

    def notes_removals(self) -> bool:
        """Whether it is known what chains spent that were removed; not in a file of an earlier version."""
        return bool(self._ask("SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'removed'"))

    def _sums(self, table: str) -> Iterator[tuple[Key, Sums, Spending]]:
        """What stands in a table of what was spent: as it is summed, and as readers get it."""
        rows = self._ask(f"SELECT * FROM {table} ORDER BY hour, handler, model, backend, labels")  # noqa: S608 - its name
        for number, row in enumerate(rows, 1):
            try:
                hour, *sums = map(index, (row[0], *row[5:]))
                _check_hour(hour)
                handler, model, backend, labels = map(text_of, row[1:5])
                key = (hour, handler, model, backend, labels)
                yield key, sums, spending(key, sums)
            except (ValueError, TypeError, AttributeError) as error:
                place = f"{self.path}: row {number} of the table {table}"
                raise JournalError(
                    f"{place}: was changed: what was spent cannot be read ({error}); {WAY_OUT}"
                ) from None

    def size_since_snapshot(self, root: str) -> tuple[int, int, int]:
        """(entries, bytes) behind the last snapshot, and that one's bytes."""
        row = self._row(root)
        if row is None:
            return (0, 0, 0)
        return (row.entries - row.snapshot, row.size - row.snapshot_end, row.snapshot_size)

    def verify(self, root: str) -> str | None:
        """The first bad entry of a chain, as ``FILE: thread 'r', entry 3: problem``; ``None`` where all are sound."""
        try:
            row = self._row(root)
            if row is not None:
                for entry in self._entries(root, row, 0):
                    del entry
        except JournalError as error:
            return str(error)
        return None

    def close(self) -> None:
        """Lets go of the file."""
        self._db.close()

    def _ask(self, sql: str, *values: Any) -> list[Any]:
        try:
            return self._db.execute(sql, values).fetchall()
        except sqlite3.Error as error:
            raise JournalError(said(self.path, error)) from error

    def _row(self, root: str) -> Row | None:
        found = self._ask(f"SELECT {self._columns} FROM chains WHERE root = ?", blob(root))  # noqa: S608 - names of columns
        return self._current(found[0]) if found else None

    def _current(self, columns: Any) -> Row:
        """A chain with the entries that the table does not know of: its writer brings the row of an open one up to date at times."""
        row = Row(*columns)
        return self._grown(row) if row.open else self._sound(row)

    def _grown(self, row: Row) -> Row:
        """The row with the entries behind those that it knows of."""
        further = self._ask(
            "SELECT n, hash FROM entries WHERE chain = ? AND n > ? ORDER BY n DESC LIMIT 1", row.id, row.entries
        )
        if not further:
            return self._sound(row)
        number, head = further[0]
        summed = "SELECT coalesce(sum(length(body)), 0) FROM entries WHERE chain = ? AND n > ? AND n <= ?"
        size = row.size + self._ask(summed, row.id, row.entries, number)[0][0]
        return self._sound(evolve(row, entries=number, head=head, size=size))

    def _sound(self, row: Row) -> Row:
        """The row, where its columns hold what they should: SQLite lets anything stand in any of them. Raises JournalError."""
        wrong = [name for name, kinds in _KINDS.items() if type(getattr(row, name)) not in kinds]
        if wrong or not (is_instant(row.began) and is_instant(row.last)):
            about = f"column {wrong[0]}" if wrong else "an instant"
            raise JournalError(
                f"{self.path}: row {told(row.id)} of the table chains: was changed: {about} cannot be read; {WAY_OUT}"
            )
        return row

    def place(self, root: str, number: int) -> str:
        """Where an entry is, for people."""
        return f"{self.path}: thread {told(root)}, entry {number}"

    def _facts(self, root: str, row: Row, after: int, words: Vocabulary | None) -> Iterator[Fact]:
        for entry in self._entries(root, row, after):
            try:
                yield decode(entry.content_read(), words)
            except JournalError as error:
                raise JournalError(f"{self.place(root, entry.number)}: {error}") from None
            except (ValueError, RecursionError) as error:
                raise self._no_json(root, entry, error) from None

    def _no_json(self, root: str, entry: Entry, error: Exception) -> JournalError:
        return JournalError(f"{self.place(root, entry.number)}: was changed: it is not JSON ({error})")

    def _entries(self, root: str, row: Row, after: int) -> Iterator[Entry]:
        """The entries behind a number, each checked; raises JournalError for the first bad one."""
        mark, head = root_mark(root), self._head(row, after)
        while head.number < row.entries:
            rows = self._ask(
                "SELECT n, hash, body FROM entries WHERE chain = ? AND n > ? AND n <= ? ORDER BY n LIMIT ?",
                row.id, head.number, row.entries, _PAGE,
            )  # fmt: skip
            for number, hashed, body in rows or [(row.entries + 1, b"", b"")]:
                due = head.number + 1
                if number != due:
                    raise self._bad(root, row, due, f"is missing; the chain has {row.entries}")
                content = long(body, mark) if isinstance(body, bytes) else b""
                if sealed_hash(content, due, head.hash) != hashed or (due == row.noted and hashed != row.noted_head):
                    raise self._bad(root, row, due, CHANGED)
                entry = Entry(due, content, head.hash, hashed.hex())
                head = Head(due, entry.hash)
                yield entry

    def _bad(self, root: str, row: Row, number: int, problem: str) -> JournalError:
        """What is said of an entry that is not what it should be, unless another process has removed its chain meanwhile."""
        if self._ask("SELECT 1 FROM chains WHERE root = ? AND id = ?", row.root, row.id):
            return JournalError(f"{self.place(root, number)}: {problem}")
        return JournalError(f"{self.path}: thread {told(root)} was removed while it was read")

    def _head(self, row: Row, after: int) -> Head:
        """The end of the part of a chain that is not asked for."""
        if not after:
            return Head()
        found = self._ask("SELECT hash FROM entries WHERE chain = ? AND n = ?", row.id, min(after, row.entries))
        return Head(min(after, row.entries), found[0][0].hex() if found else sha256().hexdigest())


def _check_hour(hour: int) -> None:
    """Raises ValueError for an hour that no calendar has: readers make dates of it."""
    if not is_instant(hour * 3600):
        raise ValueError(f"no calendar has hour {hour}")
