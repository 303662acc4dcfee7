"""What in a SQLite journal is not as it was written: its entries, and what the other tables say of them, which follows from these."""

from __future__ import annotations

import sqlite3
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

from organism.errors import JournalError
from organism.journal.sqlite_file import LISTED, version_of
from organism.journal.sqlite_reader import COLUMNS, WAY_OUT, Row, SqliteReader, blob, text_of
from organism.journal.standing import Ledger, Standing, opens_nothing
from organism.names import told
from organism.record.facts import Snapshot

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from organism.journal.standing import Sums

SUMS: Final = ("tokens", "input", "output", "cost", "calls", "messages", "reads", "writes", "reasoning")
"""The columns of the ledger that are summed; ``estimated`` is laid over."""
_ADDED: Final = (*SUMS, "estimated")


class SqliteFlaws(SqliteReader):
    """Compares the tables with each other."""

    def flaws(self) -> tuple[tuple[str | None, str], ...]:
        """What is not as it was written, with the root of its chain."""
        self._ask("BEGIN")  # all of it as of one instant, whatever another process writes meanwhile
        try:
            return tuple(self._flaws())
        finally:
            with suppress(sqlite3.Error):
                self._db.execute("ROLLBACK")

    def spent_by(self, root: str) -> Ledger | None:
        """What a chain spent by its entries; ``None`` where they cannot be read."""
        row, standing = self._row(root), Standing(root)
        try:
            for fact in () if row is None else self._facts(root, row, 0, None):
                standing.apply(fact)
        except (JournalError, ValueError, OverflowError):
            return None
        return standing.spent

    def _flaws(self) -> Iterator[tuple[str | None, str]]:
        spent: Ledger | None = Ledger()
        for columns in self._ask(f"SELECT {COLUMNS} FROM chains ORDER BY id"):  # noqa: S608 - names of columns
            root = text_of(columns[1])
            standing = Standing(root)
            try:
                flaw = self._flaw_of(root, self._sound(Row(*columns)), standing)
            except (JournalError, ValueError, OverflowError) as error:
                spent = None  # what it spent is not known, and so nothing of the sums
                flaw = str(error)
            if spent is not None:
                spent.take_in(standing.spent)
            if flaw is not None:
                yield root, flaw
        yield from ((None, flaw) for flaw in self._strays())
        if spent is not None and self.notes_removals():
            try:
                wrong = self._unsummed(spent)
            except JournalError as error:
                wrong = str(error)
            if wrong is not None:
                yield None, wrong

    def _flaw_of(self, root: str, row: Row, standing: Standing) -> str | None:
        """The first bad entry, or else what its row or those of its threads say otherwise. Raises JournalError."""
        whole = self._grown(row)
        began = last = row.began
        number = snapshot = 0
        for number, fact in enumerate(self._facts(root, whole, 0, None), 1):
            odd = opens_nothing(fact) if number == 1 else None
            if odd is not None:
                raise JournalError(f"{self.path}: thread {told(root)}: {odd}")
            standing.apply(fact)
            began = fact.at if number == 1 else began
            if number <= row.entries:  # the row of an open chain may know of no more
                last = fact.at
                snapshot = number if isinstance(fact, Snapshot) else snapshot
        due = {
            "open": int(not standing.over),
            "entries": number if standing.over else row.entries,
            "began": began,
            "last": last,
            "size": self._size(row, row.entries),
            "snapshot": snapshot,
            "snapshot_end": self._size(row, snapshot),
            "snapshot_size": self._size(row, snapshot) - self._size(row, snapshot - 1),
        }
        for column, value in due.items():
            if getattr(row, column) != value:
                found = f"column {column} is {getattr(row, column)}, and {value} by the entries"
                return f"{self.path}: table chains: thread {told(root)}: {found}; {WAY_OUT}"
        return self._unlisted(row, standing.threads)

    def _size(self, row: Row, number: int) -> int:
        summed = "SELECT coalesce(sum(length(body)), 0) FROM entries WHERE chain = ? AND n <= ?"
        size: int = self._ask(summed, row.id, number)[0][0]
        return size

    def _unlisted(self, row: Row, threads: Iterable[str]) -> str | None:
        """What the table of threads lacks of a chain, or has too much of it."""
        due = dict.fromkeys(map(blob, threads))
        have = {thread for (thread,) in self._ask("SELECT thread FROM threads WHERE chain = ?", row.id)}
        # In a file of an earlier version it may be said of another chain, or not any more where that was removed.
        for thread in due if version_of(self._db) >= LISTED else ():
            if thread not in have:
                return f"{self.path}: table threads: {_name(thread)} is missing, but an entry opened it; {WAY_OUT}"
        for thread in sorted(have - due.keys(), key=repr):
            return (
                f"{self.path}: table threads: {_name(thread)} is listed in this chain, but no entry opened it;"
                f" {WAY_OUT}"
            )
        return None

    def _strays(self) -> Iterator[str]:
        """What belongs to a chain that is not there."""
        for (chain,) in self._ask("SELECT min(chain) FROM entries WHERE chain NOT IN (SELECT id FROM chains)"):
            if chain is not None:
                yield f"{self.path}: table chains: row {told(chain)} is missing, but it has entries; {WAY_OUT}"
        for thread, chain in self._ask("SELECT * FROM threads WHERE chain NOT IN (SELECT id FROM chains) LIMIT 1"):
            yield f"{self.path}: table threads: {_name(thread)} is said to be of chain {told(chain)}, which is not there; {WAY_OUT}"

    def _unsummed(self, spent: Ledger) -> str | None:
        """The first sum of the ledger that is another one than chains come to, with those that were removed."""
        for key, sums, _ in self._sums("removed"):
            spent.add(key, sums)
        have = {key: sums for key, sums, _ in self._sums("ledger")}
        due = spent.sums
        for key in sorted({**have, **due}):
            if have.get(key) != due.get(key):
                hour, handler, model, backend, under = key
                place = f"hour {hour}, handler {told(handler)}, model {told(model)}, backend {told(backend)}, under {told(under, 200)}"
                found, right = _told(have.get(key)), _told(due.get(key))
                return f"{self.path}: table ledger: {place}: holds {found}, and {right} by the entries; {WAY_OUT}"
        return None


def _told(sums: Sums | None) -> str:
    """Sums in words: ``tokens 14, calls 1``."""
    if sums is None:
        return "nothing"
    return ", ".join(f"{name} {value}" for name, value in zip(_ADDED, sums, strict=True) if value) or "a level"


def _name(thread: Any) -> str:
    """A thread as its row names it, whatever that is."""
    with suppress(ValueError, AttributeError):
        return f"thread {told(text_of(thread))}"
    return f"{told(thread)}"
