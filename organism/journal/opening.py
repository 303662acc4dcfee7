"""Which journal an organism has, as ``journal:`` in organism.yaml says it: ``memory:``, ``sqlite:PATH`` or ``jsonl:DIR``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from organism.errors import JournalError, reason_of
from organism.journal.folder import LinesJournal
from organism.journal.memory import MemoryJournal
from organism.journal.sqlite import SqliteJournal
from organism.names import told

if TYPE_CHECKING:
    from organism.journal.contract import Journal
    from organism.journal.lock import Lock
    from organism.journal.secrets import Marked
    from organism.payloads import Vocabulary


def open_journal(
    url: str,
    *,
    folder: Path | None = None,
    vocabulary: Vocabulary | None = None,
    durable: bool = True,
    readonly: bool = False,
    lock: Lock | None = None,
    marked: Marked | None = None,
) -> Journal:
    """Opens a journal, and makes it where there is none yet and it may be written.

    A path is relative to ``folder`` (to the working directory without one). With a ``lock``, which is taken, nothing is written once
    another process may have it. What is ``marked`` is not written. Raises JournalError for a name that is none, and for a
    file or folder that is no journal of ours.
    """
    place = place_of(url, folder=folder)
    if place is None:
        return MemoryJournal(vocabulary, marked=marked)
    cls = SqliteJournal if url.startswith("sqlite:") else LinesJournal
    try:
        return cls(place, vocabulary, durable=durable, readonly=readonly, lock=lock, marked=marked)
    except OSError as error:
        raise JournalError(f"{place} cannot be opened: {reason_of(error)}") from error


def place_of(url: str, *, folder: Path | None = None) -> Path | None:
    """The file or folder that a journal is in; ``None`` for ``memory:``. Raises JournalError."""
    kind, _, path = url.partition(":")
    if url == "memory:":
        return None
    if kind not in {"sqlite", "jsonl"} or not path or "\0" in path:
        raise JournalError(f"journal {told(url, 200)} is not a journal: use memory:, sqlite:PATH or jsonl:DIR")
    return Path(path) if folder is None else folder / path
