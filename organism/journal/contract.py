"""What every journal does; :func:`organism.testing.check_journal` proves it of one."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Protocol

from attrs import frozen

from organism.names import is_within

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence

    from organism.errors import JournalError
    from organism.journal.endings import Ending
    from organism.record.facts import Fact
    from organism.usage import Spending


@frozen(kw_only=True)
class Chain:
    """What a journal knows of the chain of a root thread (or of a conversation) without reading it.

    ``open``: something of it is unfinished, or a call of it unsettled. ``entries`` is how many there are, ``size`` how many
    bytes they take, ``began`` and ``last`` the instants of the first and the last.
    """

    root: str
    open: bool
    entries: int
    size: int
    began: float
    last: float


def nothing() -> None:
    """Nobody wants to know how far it is."""


def is_meant(entry: Mapping[str, Any], kinds: Collection[str] | None, of: str | None) -> bool:
    """Whether :meth:`Journal.documents` gives this entry."""
    if kinds is not None and entry.get("fact") not in kinds:
        return False
    return of is None or is_within(str(entry.get("thread")), of)


class Journal(Protocol):
    """The append-only record of facts, one chain a root thread. Any text may be the id of a thread.

    Methods are called from one thread at a time, and never wait for anything but the disk. What is read has its payloads as
    objects where the journal was given a vocabulary, as :class:`organism.journal.PlainPayload` where not.
    """

    @property
    def lasting(self) -> bool:
        """Whether it outlives the process. One that does not may let a chain go once its root thread has ended."""
        ...

    def write(self, batch: Sequence[tuple[str, Fact]]) -> Mapping[str, JournalError]:
        """Writes facts, each to the end of the chain of its root thread, in order; what is written is durable.

        Gives the chains that could not be written, or are damaged, with the reason: of those nothing is written, and a later
        write goes on where the chain ended. All others are. A fact that no chain begins with
        (:func:`organism.journal.standing.begins_chain`) is passed over where there is none.
        """
        ...

    def read(self, root: str) -> Sequence[Fact]:
        """The facts of a root thread in their order; none of one that is not known. Raises JournalError for a damaged chain."""
        ...

    def recall(self, root: str) -> Sequence[Fact]:
        """The facts from the last :class:`organism.record.facts.Snapshot` on, which is the first of them; all where there is none.

        Of the chain these are checked. Raises JournalError.
        """
        ...

    def documents(
        self, root: str, *, after: int = 0, kinds: Collection[str] | None = None, of: str | None = None
    ) -> Iterator[Mapping[str, Any]]:
        """The entries of a chain behind number ``after``, as JSON objects with ``n``, ``prev`` and ``hash``, of these facts (by
        their class's name) or of all, ``of`` this thread and those below it or of all. What of the chain is not asked for need be
        neither read nor checked. Raises JournalError.
        """
        ...

    def chain(self, root: str) -> Chain | None:
        """The chain of this name; ``None`` where there is none."""
        ...

    def chains(self, *, open: bool | None = None) -> Sequence[Chain]:  # noqa: A002 - what it asks is which are open
        """The chains there are, the oldest first; ``open`` asks for those that are, or are not, unfinished."""
        ...

    def endings(self, *, since: float = -math.inf) -> tuple[Sequence[Chain], Iterator[tuple[str, Ending | None]]]:
        """What is kept of root threads that ended beside their chains, so that these need not be read: the one that began last first, each
        behind the root of its chain; ``None`` where it was changed, and the entries must tell. Those that began before ``since``, in seconds
        since 1970, are left out. Before them the chains that it does not tell of, the oldest first: some are open. Raises JournalError.
        """
        ...

    def root_of(self, thread: str) -> str | None:
        """The root thread (chain) that a thread, a sub-thread or a turn of a conversation belongs to; ``None`` where unknown."""
        ...

    def spendings(self) -> Sequence[Spending]:
        """All that was ever spent, by hour, handler, model, backend and labels, also in chains that were removed."""
        ...

    def removed(self) -> Sequence[Spending]:
        """What chains spent that were removed, which is a part of :meth:`spendings`; all of that where nobody knows which part."""
        ...

    def size_since_snapshot(self, root: str) -> tuple[int, int, int]:
        """(entries, bytes) of an open chain behind its last snapshot, and the bytes of that snapshot (0 where there is none)."""
        ...

    def verify(self, root: str) -> str | None:
        """The first bad entry of a chain, with its place and what is wrong with it; ``None`` where all are sound."""
        ...

    def flaws(self, looked_at: Callable[[], object] = nothing) -> Sequence[tuple[str | None, str]]:
        """All that is not as it was written, as of one instant: each with the root of its chain, or ``None`` for what concerns no
        single one, and its place and what is wrong with it.

        Of each chain that is the first bad entry; or, where all are sound, the first of what else the journal keeps of it that is not
        what the entries come to. What chains spent that were removed cannot be compared with anything. ``looked_at`` is called before
        each chain is read. Raises JournalError.
        """
        ...

    def put(self, root: str, documents: Iterable[Mapping[str, Any]]) -> None:
        """Makes a chain of documents that :meth:`documents` gave (an import). Raises JournalError where the chain is there, or
        they are no sound chain; then nothing of it is. One that was removed from this journal and comes back has spent once.
        """
        ...

    def remove(self, *roots: str) -> None:
        """Removes chains that are not open; their spendings stay. Many together cost the disk no more than one. Raises JournalError, before
        any is removed where one of them is not there or is open.
        """
        ...

    def close(self) -> None:
        """Lets go of what is open. Closing twice is once; a write after that fails for all of its chains."""
        ...
