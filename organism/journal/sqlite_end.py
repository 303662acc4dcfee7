"""How a chain in a SQLite journal goes on: what is known of its end while it is written, and what a write adds to it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from attrs import define, field

from organism.errors import JournalError
from organism.journal.chain import sealed_hash
from organism.journal.codec import as_written
from organism.journal.endings import Terms
from organism.journal.standing import Ledger, Standing
from organism.journal.texts import root_mark
from organism.names import told
from organism.record.facts import Snapshot

if TYPE_CHECKING:
    from collections.abc import Iterable

    from organism.journal.sqlite_reader import Row
    from organism.record.facts import Fact

bound: Final = bytearray
"""Bytes as statements take them. For each ``bytes`` the binding looks for an adapter, and raises and forgets two exceptions: of a row with two of
them that took nearly as long as SQLite itself does.
"""
COLUMNS: Final = 4
"""Of an entry: its chain, number, hash and body."""


@define
class End:
    """Where a chain goes on, and how it stands. ``open`` is what its row says, ``noted`` how many entries that row knows of.

    ``before`` and ``threads`` are how many entries and threads it had before the write that is under way.
    """

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
    over: bool = False
    before: int = 0
    threads: int = 0
    terms: bytes | None = b""
    """Of its last snapshot; ``None`` where it is not kept what its threads came to."""

    @property
    def row(self) -> tuple[Any, ...]:
        """What is written of it."""
        return (
            self.id, bound(self.root), int(not self.over), self.number, self.size, self.began, self.last, bound.fromhex(self.hash or ""),
            self.snapshot, self.snapshot_end, self.snapshot_size, None if self.terms is None else bound(self.terms),
        )  # fmt: skip


@define
class Work:
    """What is written in one transaction: chains as they end after it, the columns of their new entries one row after the other, and
    what they spend. ``stale`` are those whose rows are to be brought up to date, ``opening`` those in which threads were opened. ``back``
    is what the beginning of a chain spent that was removed and comes back: the ledger has that. ``endings`` are the rows of root threads that ended.
    """

    ends: dict[str, End] = field(factory=dict[str, End])
    entries: list[Any] = field(factory=list[Any])
    spent: Ledger = field(factory=Ledger)
    back: Ledger = field(factory=Ledger)
    endings: list[tuple[int, int, float, bytearray]] = field(factory=list[tuple[int, int, float, bytearray]])
    stale: list[End] = field(init=False, factory=list[End])
    opening: list[End] = field(init=False, factory=list[End])

    def conclude(self) -> None:
        """All of it is there. The row of a chain that stays open may wait: whoever reads it looks for what it does not know."""
        for end in self.ends.values():
            standing = end.standing
            end.over = standing.over
            if end.over or end.new or not end.open or end.snapshot > end.before:
                self.stale.append(end)
            if len(standing.threads) > end.threads:
                self.opening.append(end)
            if standing.spent is not self.spent:
                self.spent.take_in(standing.spent)


def extend(work: Work, end: End, root: str, fact: Fact, content: bytes, body: bytes) -> None:
    """Adds an entry with this content to a chain; ``body`` is what the file holds of it. Raises JournalError."""
    number = end.number = end.number + 1
    hashed = sealed_hash(content, number, end.hash)
    end.hash = hashed.hex()
    size = len(body)
    end.size += size
    end.last = fact.at
    work.entries.extend((end.id, number, bound(hashed), bound(body)))
    if fact.__class__ is Snapshot:
        end.snapshot, end.snapshot_end, end.snapshot_size = number, end.size, size
        end.terms = None if end.standing.terms is None else end.standing.terms.as_bytes()
    standing = end.standing
    try:
        standing.apply(as_written(fact, content, body))
        if standing.endings:
            for ending in standing.endings:
                work.endings.append((end.id, ending.entry, ending.began, bound(ending.as_bytes())))
            standing.endings.clear()
    except (ValueError, OverflowError) as error:
        raise JournalError(f"thread {told(root)}: {type(fact).__name__} cannot be written: {error}") from error


def end_of(root: str, row: Row, facts: Iterable[Fact]) -> End:
    """The end of a chain that the file holds; ``facts`` are those from its last snapshot on. Raises JournalError where these say
    otherwise than the row: from a wrong place on, something else would be recalled.
    """
    standing, snapshot, last = Standing(root, max(0, row.snapshot - 1), terms_of(root, row)), 0, row.last
    for fact in facts:
        standing.apply(fact)
        standing.endings.clear()  # these are in their table
        last = fact.at  # the row may know of fewer entries
        snapshot = standing.number if isinstance(fact, Snapshot) else snapshot
    for column, found, due in (("snapshot", row.snapshot, snapshot), ("open", row.open, int(not standing.over))):
        if found != due:
            raise JournalError(
                f"thread {told(root)}: was changed: column {column} of its row in the table chains is {found}, but its entries say"
                " otherwise; 'organism verify' says what it should be, and how to repair it"
            )
    return End(
        row.id, row.root, root_mark(root), standing, new=False, open=bool(row.open), noted=row.noted,
        number=row.entries, hash=row.head.hex(), size=row.size, began=row.began, last=last, snapshot=row.snapshot,
        snapshot_end=row.snapshot_end, snapshot_size=row.snapshot_size, over=standing.over, terms=row.terms,
    )  # fmt: skip


def terms_of(root: str, row: Row) -> Terms | None:
    """What is said of the root threads that were open at the last snapshot of a chain. Raises JournalError."""
    try:
        return None if row.terms is None else Terms.of_bytes(row.terms)
    except (ValueError, TypeError, AttributeError, RecursionError) as error:
        raise JournalError(
            f"thread {told(root)}: was changed: column terms of its row in the table chains cannot be read ({error}); 'organism verify'"
            " says what it should be, and how to repair it"
        ) from None
