"""What the removed chains of a folder had spent: each counts once, also where it is there again, by an import or by hand.

The index has a line for each that was removed. Where its file stands, since it came back, or its removal was cut short, the line does not
count: that is a chain like others. In time one line tells of many of them.

A line has marks: of the last hash of its chain, and of those with which root threads ended in it, since copies may have been made there. A chain that
ends with one of the marks of a line that counts is told of by that; before it goes on, a further line takes it out of there.
"""

from __future__ import annotations

from collections import Counter
from contextlib import suppress
from typing import TYPE_CHECKING

from attrs import evolve

from organism.errors import JournalError
from organism.journal.folder_index import OVER, REMOVED, TAKEN_OUT, Summary, mark, mark_of, marks_in
from organism.journal.standing import Ledger
from organism.names import CONVERSATION, is_of_limits

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from organism.journal.folder_index import Index


class Gone:
    """The lines of ``index`` about removed chains; ``stands`` says whether the file of one holds what its line tells of. ``turns`` gives the numbers and
    the hashes of the entries with which root threads of a chain ended.
    """

    def __init__(
        self, index: Index, stands: Callable[[Summary], bool], turns: Callable[[str], Iterable[tuple[int, str]]]
    ) -> None:
        self._index = index
        self._stands = stands
        self._turns = turns
        self._together: Counter[str] | None = None
        """The marks of chains that are told of together; ``None``: not looked for yet."""
        self._again = set[int]()
        """Hashes of the names of other chains that may come back and go on."""

    def lines(self) -> dict[str, Summary]:
        """The lines, each under the last hash of its chain, or its number. Raises JournalError."""
        return {name: line for (kind, name), line in self._index.read(but=OVER).items() if kind == REMOVED}

    def spent(self, lines: Iterable[Summary], ending_with: Callable[[Counter[str]], Iterable[Summary]]) -> Ledger:
        """What these lines tell of beside what is counted with the chains that are there: ``ending_with`` gives those of them that have one of
        these marks, among others.
        """
        ledger, marks, standing = Ledger(), Counter[str](), dict[str, list[Summary]]()
        for line in lines:
            if self._stands(line):
                standing.setdefault(line.root, []).append(line)
            else:
                ledger.take_in(Ledger.from_json(line.spent))
                marks.update(marks_in(line))
        for chain in ending_with(marks) if marks else ():
            if marks[mark_of(chain)] > marks[f"{TAKEN_OUT}{mark_of(chain)}"]:
                ledger.take_in(_beyond(chain, standing.get(chain.root, ())), times=-1)
        return ledger

    def goes_on(self, chain: Summary) -> None:
        """Says what is to be said before a chain goes on. Raises OSError, JournalError."""
        standing, is_told = self._look(chain)
        if is_told:
            less = Ledger()
            less.take_in(_beyond(chain, standing), times=-1)
            marks = (f"{TAKEN_OUT}{mark_of(chain)}",)
            self._write([evolve(chain, kind=REMOVED, root="", hash=None, size=0, spent=less.as_rows(), threads=marks)])

    def goes(self, chains: Iterable[Summary]) -> None:
        """Says what is to be said before these chains are removed. Raises OSError, JournalError."""
        self._write(list(self._removals(chains)))

    def _removals(self, chains: Iterable[Summary]) -> Iterator[Summary]:
        """A line for each: of all that it spent where others tell of none, and of nothing where they tell of all. One that was removed before,
        came back and went on has a line already of what it had spent by then.
        """
        for chain in chains:
            standing, is_told = self._look(chain)
            if is_told:
                yield evolve(chain, spent=(), ends=())
                continue
            before = max((line.entries for line in standing if line.spent), default=0)
            yield evolve(chain, spent=_beyond(chain, standing).as_rows(), ends=self._ends(chain.root, before))

    def _ends(self, root: str, before: int) -> tuple[str, ...]:
        """The marks of the turns of a conversation that ended behind an entry; no other chain goes on after an end."""
        if root.startswith(CONVERSATION):
            with suppress(JournalError):  # of a damaged one its last hash is known
                return tuple(mark(each) for number, each in self._turns(root) if number > before)
        return ()

    def _look(self, chain: Summary) -> tuple[Sequence[Summary], bool]:
        """The lines of what a chain was when it was removed before, as far as it holds that, and whether others tell of all of it."""
        if self._together is None:
            self._together = Counter()
            self._note(self.lines().values())
        marks, standing = Counter[str](), list[Summary]()
        if hash(chain.root) in self._again:
            for line in self._index.read(but=OVER, of=chain.root).values():
                if line.kind == REMOVED and line.root == chain.root and line.hash != chain.hash:
                    if self._stands(line):
                        standing.append(line)
                    else:
                        marks.update(marks_in(line))
        known, out = mark_of(chain), f"{TAKEN_OUT}{mark_of(chain)}"
        return standing, marks[known] + self._together[known] > marks[out] + self._together[out]

    def _note(self, lines: Iterable[Summary]) -> None:
        """Keeps of these lines what is looked for again and again."""
        for line in lines:
            if line.hash is None and self._together is not None:
                self._together.update(marks_in(line))
            elif line.root.startswith(CONVERSATION) or is_of_limits(line.root):  # no others go on
                self._again.add(hash(line.root))

    def _write(self, lines: Sequence[Summary]) -> None:
        if lines:
            self._index.add(lines)
            self._note(lines)


def _beyond(chain: Summary, standing: Iterable[Summary]) -> Ledger:
    """What a chain spent beyond what these lines tell of it."""
    more = Ledger.from_json(chain.spent)
    for line in standing:
        if line.hash != chain.hash:
            more.take_in(Ledger.from_json(line.spent), times=-1)
    return more
