"""What every journal does; :func:`organism.testing.check_journal` proves it of one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

    from organism.facts import Fact


class Journal(Protocol):
    """The append-only record of facts, one chain a root thread. Any text may be the id of a thread.

    Methods are called from one thread at a time, and never wait for anything but the disk.
    """

    @property
    def lasting(self) -> bool:
        """Whether it outlives the process. One that does not may let a chain go once its root thread has ended."""
        ...

    def append(self, root: str, fact: Fact) -> None:
        """Writes a fact to the end of the chain of its root thread.

        Raises JournalError where it cannot be written, or the chain is damaged: then nothing of it is in the chain, and a later
        append goes on where the chain ended.
        """
        ...

    def read(self, root: str) -> Sequence[Fact]:
        """The facts of a root thread in their order; none of one that is not known. Raises JournalError for a damaged chain."""
        ...

    def roots(self) -> Sequence[str]:
        """The root threads that there are chains of, each once."""
        ...

    def verify(self, root: str) -> str | None:
        """The first bad entry of a chain, with its place and what is wrong with it; ``None`` where all are sound."""
        ...

    def close(self) -> None:
        """Lets go of what is open. Closing twice is once; an append after that raises JournalError."""
        ...
