"""The journal that lasts as long as the process: a root thread's facts, until it ends."""

from __future__ import annotations

from typing import TYPE_CHECKING

from organism.facts import Ended

if TYPE_CHECKING:
    from organism.facts import Fact


class MemoryJournal:
    """Keeps the facts of the root threads that live. An append is durable at once, as far as memory goes."""

    def __init__(self) -> None:
        self._chains: dict[str, list[Fact]] = {}

    def append(self, root: str, fact: Fact) -> None:
        """Writes a fact to the chain of its root thread; the fact that ends it lets the chain go."""
        if isinstance(fact, Ended) and fact.thread == root:
            self._chains.pop(root, None)
            return
        self._chains.setdefault(root, []).append(fact)

    def read(self, root: str) -> tuple[Fact, ...]:
        """The facts of a root thread so far; none of one that has ended."""
        return tuple(self._chains.get(root, ()))

    def __len__(self) -> int:
        return len(self._chains)
