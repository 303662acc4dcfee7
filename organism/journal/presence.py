"""Whether a journal may be written: what is written to a removed file nobody ever reads, and one process writes at a time."""

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

    ``said`` is what the journal is called, which is ``closed`` once nothing is written any more.
    """

    def __init__(self, path: Path, lock: Lock | None, *, said: str, readonly: bool) -> None:
        self._path = str(path.absolute())  # the process may go to another folder; a text, since every write asks for it
        self._lock = lock
        self._said = said
        self._readonly = readonly
        self._opened: tuple[int, int] | None = None
        self.closed = False

    def began(self) -> None:
        """Takes what stands at the path for the journal; does nothing the second time, or where nothing is there yet."""
        if self._opened is None:
            self._opened = self._now()

    def refusal(self) -> JournalError | None:
        """Why nothing may be written or removed, or not any more; ``None`` where it may. Whatever changes the journal asks this first: that is
        two questions to the system.
        """
        if self.closed or self._readonly:
            return JournalError(f"{self._said} is {'closed' if self.closed else 'open for reading only'}")
        if self._opened is not None and self._now() != self._opened:
            return JournalError(f"{self._path} was removed or replaced while it was open; {_WAY_OUT}")
        if self._lock is not None and not self._lock.holds():
            return JournalError(
                f"{self._path} is not this process's any more: its lock {self._lock.path} was removed or replaced; {_WAY_OUT}"
            )
        return None

    def check(self) -> None:
        """Raises the JournalError of :meth:`refusal`, where there is one."""
        if (wrong := self.refusal()) is not None:
            raise wrong

    def _now(self) -> tuple[int, int] | None:
        try:
            there = os.stat(self._path)  # noqa: PTH116 - as above
        except OSError:
            return None
        return there.st_dev, there.st_ino
