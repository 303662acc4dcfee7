"""What the removed chains of a folder had spent: each counts once, also where it is there again, by an import or by hand.

The index has a line for each that was removed. Where its file stands, since it came back, or its removal was cut short, the line does not
count: that is a chain like others. In time one line tells of many of them, with the marks of their last hashes. A chain that ends with one of
these counts there; before it goes on or goes again, a further line takes it out of that one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrs import evolve

from organism.journal.folder_index import OVER, REMOVED, TAKEN_OUT, mark_of, marks_of
from organism.journal.standing import Ledger
from organism.names import CONVERSATION, is_of_limits

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from organism.journal.folder_index import Index, Summary


class Gone:
    """The lines of ``index`` about removed chains; ``stands`` says whether the file of one holds what its line tells of."""

    def __init__(self, index: Index, stands: Callable[[Summary], bool]) -> None:
        self._index = index
        self._stands = stands
        self._marks: set[str] | None = None
        """Of the chains that are told of together; ``None``: not looked for yet."""

    def lines(self) -> dict[str, Summary]:
        """The lines, each under the last hash of its chain, or its number. Raises JournalError."""
        return {name: line for (kind, name), line in self._index.read(but=OVER).items() if kind == REMOVED}

    def spent(self, lines: Iterable[Summary], chains: Iterable[Summary]) -> Ledger:
        """What these lines tell of beside what is counted with the ``chains`` that are there, which are all."""
        ledger, lines = Ledger(), tuple(lines)
        for line in lines:
            if not self._stands(line):
                ledger.take_in(Ledger.from_json(line.spent))
        marks = marks_of(line for line in lines if line.hash is None)
        for chain in chains if marks else ():
            if mark_of(chain) in marks:
                ledger.take_in(Ledger.from_json(chain.spent), times=-1)
        return ledger

    def goes_on(self, chain: Summary) -> None:
        """Says what is to be said before a chain goes on. Raises OSError, JournalError."""
        self._write(self._taken_out(chain))

    def goes(self, chains: Iterable[Summary]) -> None:
        """Says what is to be said before these chains are removed. Raises OSError, JournalError."""
        self._write(self._removals(tuple(chains)))

    def _write(self, lines: Iterable[Summary]) -> None:
        if lines := tuple(lines):
            self._index.add(lines)
            self._marks = None

    def _taken_out(self, chain: Summary) -> Iterator[Summary]:
        """The line that takes a chain out of those that are told of together, where it is among them."""
        if self._marks is None:
            self._marks = marks_of(line for line in self.lines().values() if line.hash is None)
        mark = mark_of(chain)
        if mark in self._marks:
            less = Ledger()
            less.take_in(Ledger.from_json(chain.spent), times=-1)
            marks = (f"{TAKEN_OUT}{mark}",)
            yield evolve(chain, kind=REMOVED, root="", hash=None, size=0, spent=less.as_rows(), threads=marks)

    def _removals(self, chains: Sequence[Summary]) -> Iterator[Summary]:
        """A line for each. One that was removed before, came back and went on has a line already of what it had spent by then."""
        before: dict[str, list[Summary]] = {}
        if any(chain.root.startswith(CONVERSATION) or is_of_limits(chain.root) for chain in chains):  # no others go on
            for line in self.lines().values():
                before.setdefault(line.root, []).append(line)
        for chain in chains:
            yield from self._taken_out(chain)
            more = Ledger.from_json(chain.spent)
            for line in before.get(chain.root, ()):
                if line.hash != chain.hash and self._stands(line):
                    more.take_in(Ledger.from_json(line.spent), times=-1)
            yield evolve(chain, spent=more.as_rows())
