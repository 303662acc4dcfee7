"""What is known of a chain of JSON lines, from its file or from the index beside it."""

from __future__ import annotations

from contextlib import suppress
from operator import attrgetter, itemgetter
from typing import TYPE_CHECKING

from attrs import define, field

from organism.errors import JournalError
from organism.journal.chain import Head
from organism.journal.contract import Chain
from organism.journal.endings import Ending, Terms
from organism.journal.folder_index import OVER, SNAPSHOT, Summary
from organism.journal.lines import End
from organism.journal.standing import Ledger, Standing
from organism.names import CONVERSATION, told
from organism.record.facts import Snapshot

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from organism.record.facts import Fact


@define
class Known:
    """A chain as far as it is known: ``snapshot`` is the number of its last one, ``snapshot_end`` the bytes up to its end.

    ``damaged``: behind that end stands what cannot be read.
    """

    standing: Standing
    end: End = field(factory=End)
    began: float = 0.0
    last: float = 0.0
    snapshot: int = 0
    snapshot_end: int = 0
    snapshot_size: int = 0
    damaged: bool = False
    _told: dict[str, tuple[int, int]] = field(init=False, factory=dict[str, tuple[int, int]])
    """How many bytes there were when the index was last told how it stands, by kind, and how long that was."""

    def take_in(self, fact: Fact, end: End) -> None:
        """Applies a fact; ``end`` is that of the chain behind it."""
        if not self.end.size:
            self.began = fact.at
        if isinstance(fact, Snapshot):
            self.snapshot, self.snapshot_end, self.snapshot_size = end.head.number, end.size, end.size - self.end.size
        self.standing.apply(fact)
        self.end, self.last = end, fact.at

    def summary(self, kind: str) -> Summary:
        """How the chain stands, for the index."""
        standing = self.standing
        return Summary(
            kind=kind, root=standing.root, entries=self.end.head.number, size=self.end.size, hash=self.end.head.hash,
            began=self.began, last=self.last, spent=tuple(tuple(row) for row in standing.spent.as_json()),
            threads=tuple(standing.threads),
            ending=standing.endings[-1].as_list() if kind == OVER and standing.endings else None,
            terms=standing.terms.as_bytes().decode() if kind == SNAPSHOT and standing.terms is not None else None,
        )  # fmt: skip

    def is_due(self, kind: str) -> bool:
        """Whether the index is to be told again: not before as much was written as that takes. A conversation that lasts has ever more turns
        to tell of, and what is not told is read from the file.
        """
        told, size = self._told.get(kind, (0, 0))
        return self.end.size - told >= size

    def told(self, summary: Summary) -> Summary:
        """The summary, which the index is told now."""
        self._told[summary.kind] = (self.end.size, summary.weight)
        return summary

    @property
    def is_untold(self) -> bool:
        """Whether the chain is over, and the index has not been told how."""
        return self.standing.over and OVER in self._told and self._told[OVER][0] < self.end.size

    @classmethod
    def new(cls, root: str, *, damaged: bool = False) -> Known:
        """A chain of which nothing was read yet. Of a conversation it is not kept what its turns came to: each line would tell of all."""
        return cls(Standing(root, terms=None if root.startswith(CONVERSATION) else Terms()), damaged=damaged)

    @property
    def is_there(self) -> bool:
        """Whether there is anything of the chain."""
        return bool(self.end.size) or self.damaged


def end_of(summary: Summary) -> End:
    """Where the chain went on when the summary was made."""
    return End(Head(summary.entries, summary.hash), summary.size)


def known_of(snapshot: Summary) -> Known:
    """What the index knows of a chain up to its last snapshot. Raises JournalError where it cannot be read."""
    try:
        terms = None if snapshot.terms is None else Terms.of_bytes(snapshot.terms.encode())
    except (ValueError, TypeError, AttributeError, RecursionError) as error:
        raise JournalError(f"the terms of thread {told(snapshot.root)} cannot be read: {error}") from None
    standing = Standing(snapshot.root, snapshot.entries, terms)
    standing.spent = Ledger.from_json(snapshot.spent)
    standing.threads = dict.fromkeys(snapshot.threads, 0)
    return Known(standing, end_of(snapshot), began=snapshot.began, last=snapshot.last)


def ending_of(known: Summary | Known) -> Ending | None:
    """What the root thread of a chain came to that is over; ``None`` where that must be read."""
    if isinstance(known, Known):
        endings = known.standing.endings
        return endings[-1] if endings and known.standing.over and not known.damaged else None
    with suppress(ValueError):
        return None if known.ending is None else Ending.of_list([*known.ending])
    return None


def endings_of(
    every: Iterable[Summary | Known], since: float
) -> tuple[Sequence[Chain], Iterator[tuple[str, Ending | None]]]:
    """As :meth:`organism.journal.contract.Journal.endings` has it, of these chains."""
    untold: list[Chain] = []
    found: list[tuple[float, str, Ending | None]] = []
    for known in every:
        ending = ending_of(known)
        if ending is None:
            untold.append(chain_of(known))
        elif ending.began >= since:
            found.append((ending.began, known.standing.root if isinstance(known, Known) else known.root, ending))
    found.sort(key=itemgetter(0, 1), reverse=True)
    return sorted(untold, key=attrgetter("began", "root")), ((root, ending) for _, root, ending in found)


def chain_of(known: Summary | Known) -> Chain:
    """A chain as readers get it: a summary is of one that is over. A damaged one is not: what it ended with is not known."""
    if isinstance(known, Known):
        root, end = known.standing.root, known.end
        unfinished, entries, size = known.damaged or not known.standing.over, end.head.number, end.size
    else:
        root, unfinished, entries, size = known.root, False, known.entries, known.size
    return Chain(root=root, open=unfinished, entries=entries, size=size, began=known.began, last=known.last)
