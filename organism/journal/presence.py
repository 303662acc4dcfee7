"""Whether a journal that is open is still the one that others see: what is written to a removed file nobody ever reads."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

from organism.errors import JournalError

if TYPE_CHECKING:
    from pathlib import Path

    from organism.journal.lock import Lock

_WAY_OUT: Final = "nothing more is written; stop this organism, put the journal back or leave it, and run again"


class Presence:
    """The file or folder of a journal as it was when it was opened, and the lock that says whose it is, where there is one.

    Two questions to the system a look.
    """

    def __init__(self, path: Path, lock: Lock | None = None) -> None:
        self._path = str(path.absolute())  # the process may go to another folder; a text, since every write asks for it
        self._lock = lock
        self._opened: tuple[int, int] | None = None

    def began(self) -> None:
        """Takes what stands at the path for the journal; does nothing the second time, or where nothing is there yet."""
        if self._opened is None:
            self._opened = self._now()

    def lost(self) -> JournalError | None:
        """Why it must not be written any more."""
        if self._opened is not None and self._now() != self._opened:
            return JournalError(f"{self._path} was removed or replaced while it was open; {_WAY_OUT}")
        if self._lock is not None and not self._lock.holds():
            return JournalError(
                f"{self._path} is not this process's any more: its lock {self._lock.path} was removed or replaced; {_WAY_OUT}"
            )
        return None

    def _now(self) -> tuple[int, int] | None:
        try:
            there = os.stat(self._path)  # noqa: PTH116 - as above
        except OSError:
            return None
        return there.st_dev, there.st_ino


def barred(name: str, *, closed: bool, readonly: bool) -> JournalError | None:
    """Why the journal of this name must not be written, whatever stands at its path; ``None`` where it may."""
    if not (closed or readonly):
        return None
    return JournalError(f"{name} is {'closed' if closed else 'open for reading only'}")
