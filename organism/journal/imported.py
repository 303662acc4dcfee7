"""Chains that come from another journal: nothing of one is taken in before all of it was checked."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from organism.errors import JournalError
from organism.journal.chain import verify
from organism.names import told

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping


def checked(root: str, documents: Iterable[Mapping[str, Any]]) -> tuple[Mapping[str, Any], ...]:
    """The entries of a whole and sound chain of this root thread; raises JournalError for any other."""
    entries = tuple(documents)
    if not entries:
        raise JournalError(f"thread {told(root)} cannot be imported: it has no entries")
    flaw = verify(entries, root)
    if flaw is not None:
        raise JournalError(f"thread {told(root)} cannot be imported: {flaw}")
    return entries
