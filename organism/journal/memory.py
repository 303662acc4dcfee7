"""The journal that lasts as long as the process: the facts of the chains that are not over, and what all of them spent."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any

from organism.errors import JournalError
from organism.journal.chain import Head, checked, content_of, seal
from organism.journal.codec import content, decode
from organism.journal.contract import Chain, is_meant, nothing
from organism.journal.standing import Ledger, Standing, begins_chain, last_snapshot
from organism.names import told
from organism.record.facts import Snapshot

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence

    from organism.journal.endings import Ending
    from organism.journal.secrets import Marked
    from organism.payloads import Vocabulary
    from organism.record.facts import Fact
    from organism.usage import Spending


class MemoryJournal:
    """Keeps the facts of the chains that are open. What is written is durable at once, as far as memory goes.

    ``vocabulary`` is what imported chains are read with.
    """

    def __init__(self, vocabulary: Vocabulary | None = None, *, marked: Marked | None = None) -> None:
        self._vocabulary = vocabulary
        self._chains: dict[str, tuple[list[Fact], Standing]] = {}
        self._roots: dict[str, str] = {}
        self._spent = Ledger()
        self._marked = marked
        self._closed = False

    @property
    def lasting(self) -> bool:
        """It ends with the process."""
        return False

    def write(self, batch: Sequence[tuple[str, Fact]]) -> Mapping[str, JournalError]:
        """Writes facts to the chains of their root threads; the fact that ends one lets the chain go."""
        if self._closed:
            return dict.fromkeys((root for root, _ in batch), JournalError("the journal in memory is closed"))
        for root, fact in batch:
            self._append(root, fact)
        return {}

    def _append(self, root: str, fact: Fact) -> None:
        chain = self._chains.get(root)
        if chain is None:
            if not begins_chain(fact):
                return
            chain = self._chains[root] = ([], Standing(root))
        kept, standing = chain
        kept.append(fact)
        known = len(standing.threads)
        standing.apply(fact)
        if len(standing.threads) > known:
            self._roots |= dict.fromkeys(standing.opened(known), root)
        if standing.over:
            self._spent.take_in(standing.spent)
            for thread in standing.threads:
                self._roots.pop(thread, None)
            del self._chains[root]

    def read(self, root: str) -> tuple[Fact, ...]:
        """The facts of a chain so far; none of one that is over."""
        return tuple(self._chains[root][0]) if root in self._chains else ()

    def recall(self, root: str) -> tuple[Fact, ...]:
        """The facts from the last snapshot on."""
        known = self.read(root)
        return known[last_snapshot(known) :]

    def documents(
        self, root: str, *, after: int = 0, kinds: Collection[str] | None = None, of: str | None = None
    ) -> Iterator[Mapping[str, Any]]:
        """The entries as JSON objects, made for this; raises JournalError for a fact that cannot be written."""
        head = Head()
        for fact in self.read(root):
            raw, head = seal(content(fact, root, self._marked), head)
            if head.number > after and is_meant(entry := json.loads(raw), kinds, of):
                yield entry

    def chain(self, root: str) -> Chain | None:
        """The chain of this name, if it is not over; its size is not known, and 0."""
        kept = self.read(root)
        if not kept:
            return None
        return Chain(root=root, open=True, entries=len(kept), size=0, began=kept[0].at, last=kept[-1].at)

    def chains(self, *, open: bool | None = None) -> tuple[Chain, ...]:  # noqa: A002 - the contract's name
        """The chains that are not over."""
        every = map(self.chain, self._chains if open is not False else ())
        return tuple(each for each in every if each is not None)

    def endings(self, *, since: float = -math.inf) -> tuple[tuple[Chain, ...], Iterator[tuple[str, Ending | None]]]:
        """All chains that are not over: of others nothing is kept."""
        del since
        return self.chains(), iter(())

    def root_of(self, thread: str) -> str | None:
        """The chain that a thread belongs to which is not over."""
        return thread if thread in self._chains else self._roots.get(thread)

    def spendings(self) -> tuple[Spending, ...]:
        """All that was spent since the process began."""
        ledger = Ledger()
        ledger.take_in(self._spent)
        for _, standing in self._chains.values():
            ledger.take_in(standing.spent)
        return ledger.rows()

    def removed(self) -> tuple[Spending, ...]:
        """What chains spent that were let go."""
        return self._spent.rows()

    def size_since_snapshot(self, root: str) -> tuple[int, int, int]:
        """The number of facts; nothing here has a size."""
        known = self.read(root)
        start = last_snapshot(known)
        behind = len(known) - start - 1 if known and isinstance(known[start], Snapshot) else len(known)
        return (behind, 0, 0)

    def verify(self, root: str) -> str | None:
        """Always sound: facts are frozen, and no disk holds them."""
        del root
        return None

    def flaws(self, looked_at: Callable[[], object] = nothing) -> tuple[tuple[str | None, str], ...]:
        """None, for the same reason."""
        del looked_at
        return ()

    def put(self, root: str, documents: Iterable[Mapping[str, Any]]) -> None:
        """Takes in a chain; one that is over leaves nothing but what it spent."""
        if root in self._chains:
            raise JournalError(f"thread {told(root)} is in the journal already")
        found = [decode(content_of(each), self._vocabulary) for each in checked(root, documents)]
        refused = self.write([(root, fact) for fact in found])
        for error in refused.values():
            raise error

    def remove(self, *roots: str) -> None:
        """There is none that is not open."""
        for root in roots:
            why = "is not finished; only a chain that is over can be removed"
            raise JournalError(f"thread {told(root)} {why if root in self._chains else 'is not in the journal'}")

    def close(self) -> None:
        """Lets everything go."""
        self._closed = True
        self._chains.clear()
        self._roots.clear()

    def __len__(self) -> int:
        return len(self._chains)
