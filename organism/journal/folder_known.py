"""What is known of a chain of JSON lines, from its file or from the index beside it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrs import define, field

from organism.journal.chain import Head
from organism.journal.contract import Chain
from organism.journal.folder_index import Summary
from organism.journal.lines import End
from organism.journal.standing import Standing
from organism.record.facts import Snapshot

if TYPE_CHECKING:
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
        )  # fmt: skip

    def chain(self) -> Chain:
        """The chain as readers get it. A damaged one is not over: what it ended with is not known."""
        return Chain(
            root=self.standing.root, open=self.damaged or not self.standing.over, entries=self.end.head.number,
            size=self.end.size, began=self.began, last=self.last,
        )  # fmt: skip


def end_of(summary: Summary) -> End:
    """Where the chain went on when the summary was made."""
    return End(Head(summary.entries, summary.hash), summary.size)


def chain_of(summary: Summary) -> Chain:
    """A chain that is over as readers get it."""
    return Chain(
        root=summary.root,
        open=False,
        entries=summary.entries,
        size=summary.size,
        began=summary.began,
        last=summary.last,
    )
