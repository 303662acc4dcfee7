"""What in a SQLite journal is not as it was written: its entries, and what the other tables say of them, which follows from these."""

from __future__ import annotations

import sqlite3
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from organism.errors import JournalError
from organism.journal.contract import nothing
from organism.journal.endings import Terms
from organism.journal.sqlite_file import LISTED, version_of
from organism.journal.sqlite_reader import WAY_OUT, Row, SqliteReader, blob, named, text_of
from organism.journal.standing import Ledger, Standing, opens_nothing
from organism.names import CONVERSATION, told
from organism.record.facts import Snapshot

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from organism.journal.endings import Ending
    from organism.journal.standing import Sums

SUMS: Final = ("tokens", "input", "output", "cost", "calls", "messages", "reads", "writes", "reasoning")
"""The columns of the ledger that are summed; ``estimated`` is laid over."""
_ADDED: Final = (*SUMS, "estimated")


class SqliteFlaws(SqliteReader):
    """Compares the tables with each other."""

    def flaws(self, looked_at: Callable[[], object] = nothing) -> tuple[tuple[str | None, str], ...]:
        """What is not as it was written, with the root of its chain."""
        self._ask("BEGIN")  # all of it as of one instant, whatever another process writes meanwhile
        try:
            return tuple(self._flaws(looked_at))
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

    def turns_of(self, root: str) -> list[list[bytes]]:
        """The hashes with which the turns of a conversation ended: it may have been exported there before it went on. No other chain goes on."""
        if root.startswith(CONVERSATION):
            with suppress(JournalError):  # of a damaged one its last hash is known
                return [[bytes.fromhex(each["hash"])] for each in self.documents(root, kinds={"Ended"})]
        return []

    def known_again(self, hashes: Sequence[bytes]) -> int:
        """How many of the entries with these hashes are of a chain that was removed from this file: what they spent is in the ledger. That chain
        may have been longer, or have grown elsewhere since.
        """
        if not self._ask("SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'gone'"):
            return 0
        numbers = range(len(hashes), 0, -1)
        return next((each for each in numbers if self._ask("SELECT 1 FROM gone WHERE hash = ?", hashes[each - 1])), 0)

    def _flaws(self, looked_at: Callable[[], object]) -> Iterator[tuple[str | None, str]]:
        spent: Ledger | None = Ledger()
        for columns in self._ask(f"SELECT {self._columns} FROM chains ORDER BY id"):  # noqa: S608 - names of columns
            looked_at()
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
        terms = standing.terms = None if row.terms is None else Terms()
        at_snapshot = None if terms is None else b""
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
                if isinstance(fact, Snapshot):
                    snapshot, at_snapshot = number, None if terms is None else terms.as_bytes()
        size, up_to, of_it = self._sizes(row, snapshot)
        due = {
            "open": int(not standing.over),
            "entries": number if standing.over else row.entries,
            "began": began,
            "last": last,
            "size": size,
            "snapshot": snapshot,
            "snapshot_end": up_to,
            "snapshot_size": of_it,
            "terms": at_snapshot,
        }
        for column, value in due.items():
            if getattr(row, column) != value:
                found = f"column {column} is {getattr(row, column)!r}, and {value!r} by the entries"
                return f"{self.path}: table chains: thread {told(root)}: {found}; {WAY_OUT}"
        return self._unlisted(row, standing.threads) or self._ended_otherwise(row, standing.endings)

    def _ended_otherwise(self, row: Row, endings: Iterable[Ending]) -> str | None:
        """What the table of endings says otherwise of the threads of a chain than its entries."""
        if not self._keeps_endings:
            return None
        due = {each.entry: (each.began, each.as_bytes()) for each in endings}
        rows = self._ask("SELECT n, began, body FROM endings WHERE chain = ? ORDER BY n", row.id)
        have = {number: (began, body) for number, began, body in rows}
        for number in [*due, *(number for number in have if number not in due)]:
            if have.get(number) != due.get(number):
                found, right = (told(each.get(number, ("nothing",))[-1], 200) for each in (have, due))
                place = f"{self.path}: table endings: {named(row.root)}, entry {told(number)}"
                return f"{place}: holds {found}, and {right} by the entries; {WAY_OUT}"
        return None

    def _sizes(self, row: Row, snapshot: int) -> tuple[int, int, int]:
        """Bytes of the entries that the row knows of, of those up to its last snapshot, and of that one."""
        summed = (
            "SELECT coalesce(sum(size), 0), coalesce(sum(size) FILTER (WHERE n <= ?), 0), coalesce(sum(size) FILTER (WHERE n = ?), 0)"
            " FROM (SELECT n, length(body) AS size FROM entries WHERE chain = ? AND n <= ?)"
        )
        size, up_to, of_it = self._ask(summed, snapshot, snapshot, row.id, row.entries)[0]
        return size, up_to, of_it

    def _unlisted(self, row: Row, threads: Iterable[str]) -> str | None:
        """What the table of threads lacks of a chain, or has too much of it."""
        due = dict.fromkeys(map(blob, threads))
        have = {thread for (thread,) in self._ask("SELECT thread FROM threads WHERE chain = ?", row.id)}
        # In a file of an earlier version it may be said of another chain, or not any more where that was removed.
        for thread in due if version_of(self._db) >= LISTED else ():
            if thread not in have:
                return f"{self.path}: table threads: {named(thread)} is missing, but an entry opened it; {WAY_OUT}"
        for thread in sorted(have - due.keys(), key=repr):
            return (
                f"{self.path}: table threads: {named(thread)} is listed in this chain, but no entry opened it;"
                f" {WAY_OUT}"
            )
        return None

    def _strays(self) -> Iterator[str]:
        """What belongs to a chain that is not there."""
        for (chain,) in self._ask("SELECT min(chain) FROM entries WHERE chain NOT IN (SELECT id FROM chains)"):
            if chain is not None:
                yield f"{self.path}: table chains: row {told(chain)} is missing, but it has entries; {WAY_OUT}"
        for thread, chain in self._ask("SELECT * FROM threads WHERE chain NOT IN (SELECT id FROM chains) LIMIT 1"):
            yield f"{self.path}: table threads: {named(thread)} is said to be of chain {told(chain)}, which is not there; {WAY_OUT}"

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
