"""The journal that lasts as long as the process: a root thread's facts, until it ends."""

from __future__ import annotations

from typing import TYPE_CHECKING

from organism.errors import JournalError
from organism.facts import Ended

if TYPE_CHECKING:
    from organism.facts import Fact


class MemoryJournal:
    """Keeps the facts of the root threads that live. An append is durable at once, as far as memory goes."""

    def __init__(self) -> None:
        self._chains: dict[str, list[Fact]] = {}
        self._closed = False

    @property
    def lasting(self) -> bool:
        """It ends with the process."""
        return False

    def append(self, root: str, fact: Fact) -> None:
        """Writes a fact to the chain of its root thread; the fact that ends it lets the chain go."""
        if self._closed:
            raise JournalError("the journal in memory is closed")
        if isinstance(fact, Ended) and fact.thread == root:
            self._chains.pop(root, None)
            return
        self._chains.setdefault(root, []).append(fact)

    def read(self, root: str) -> tuple[Fact, ...]:
        """The facts of a root thread so far; none of one that has ended."""
        return tuple(self._chains.get(root, ()))

    def roots(self) -> tuple[str, ...]:
        """The root threads that live."""
        return tuple(self._chains)

    def verify(self, root: str) -> str | None:
        """Always sound: facts are frozen, and no disk holds them."""
        del root
        return None

    def close(self) -> None:
        """Lets everything go."""
        self._closed = True
        self._chains.clear()

    def __len__(self) -> int:
        return len(self._chains)
