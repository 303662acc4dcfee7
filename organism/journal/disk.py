"""Writing to the ends of files: whole or not at all, as far as one process can see to it."""

from __future__ import annotations

import errno
import os
from contextlib import suppress
from io import FileIO
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


class Disk:
    """Appends to files, one call at a time. ``durable``: what was appended survives a power cut once the call is over.

    ``write``, ``sync`` and ``cut`` are each one request to the system, for whoever wants to watch or to fail them.
    """

    def __init__(self, *, durable: bool) -> None:
        self._durable = durable

    def append(self, path: Path, data: bytes | bytearray, *, at: int) -> None:
        """Writes ``data`` at the end of a file of ``at`` bytes, and makes the file where there is none.

        Whatever stands behind ``at`` is what is left of an append that failed; it is cut off first. Raises OSError; then the
        file is as it was, or the next append makes it so.
        """
        with FileIO(path, "ab") as file:
            new = file.seek(0, os.SEEK_END)
            if new < at:
                raise OSError(errno.EIO, f"is {at - new} bytes shorter than what was written to it")
            if new > at:
                self.cut(file, at)
            try:
                left = memoryview(data)
                while left:
                    left = left[self.write(file, left) :]
                if self._durable:
                    self.sync(file)
            except OSError:
                with suppress(OSError):
                    self.cut(file, at)
                raise
        if self._durable and not at:
            self._sync_folder(path.parent)

    def write(self, file: FileIO, data: memoryview) -> int:
        """Writes some of the data; gives how many bytes."""
        return file.write(data)

    def sync(self, file: FileIO) -> None:
        """Waits until the file is on the disk."""
        os.fsync(file.fileno())

    def cut(self, file: FileIO, size: int) -> None:
        """Shortens a file."""
        file.truncate(size)

    def _sync_folder(self, folder: Path) -> None:
        """A new file's name is on the disk when its folder is; where folders cannot be opened, the system sees to it."""
        if os.name == "nt":
            return
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
