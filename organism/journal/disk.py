"""Writing to the ends of files: whole or not at all, as far as one process can see to it."""

from __future__ import annotations

import errno
import os
from contextlib import ExitStack, suppress
from io import FileIO
from typing import TYPE_CHECKING, Final

from organism.names import counted

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

_NEW: Final = "_new"
"""The name of a file that is being made, until it is whole. One that was left behind is overwritten by the next."""


class Disk:
    """Appends to files, one call at a time. ``durable``: what was appended survives a power cut once the call is over.

    ``write``, ``sync``, ``cut`` and ``move`` are each one request to the system, for whoever wants to watch or to fail them.
    """

    def __init__(self, *, durable: bool) -> None:
        self._durable = durable

    def append(self, path: Path, data: bytes | bytearray, *, at: int) -> None:
        """Writes ``data`` at the end of a file of ``at`` bytes, and makes the file where there is none.

        Whatever stands behind ``at`` is what is left of an append that failed; it is cut off first. Raises OSError; then the
        file is as it was, or the next append makes it so.
        """
        (error,) = self.append_all([(path, data, at)])
        if error is not None:
            raise error

    def create(self, path: Path, data: bytes | bytearray) -> None:
        """Makes a file that is there with all of ``data`` or not at all, even if the process is killed meanwhile. Raises OSError."""
        new = path.with_name(_NEW)
        self.append(new, data, at=0)
        self.move(new, path)
        if self._durable:
            try:
                self.sync_folder(path.parent)
            except OSError:
                with suppress(OSError):
                    path.unlink()
                raise

    def append_all(self, parts: Sequence[tuple[Path, bytes | bytearray, int]]) -> list[OSError | None]:
        """Appends to several files, as :meth:`append` does to one; returns for each why it could not be done.

        All are written before the first is synced: then the disk does most of the work once.
        """
        errors: list[OSError | None] = [None] * len(parts)
        with ExitStack() as opened:
            files: list[FileIO | None] = []
            for number, (path, data, at) in enumerate(parts):
                files.append(None)
                try:
                    file = files[number] = opened.enter_context(FileIO(path, "ab", opener=_kept if at else None))
                    self._append(file, data, at)
                except FileNotFoundError as error:
                    errors[number] = OSError(errno.ENOENT, "it was removed while it was written") if at else error
                except OSError as error:
                    errors[number] = error
            if self._durable:
                self._sync_all(parts, files, errors)
            for (_, _, at), each, failed in zip(parts, files, errors, strict=True):
                if each is not None and failed is not None:
                    with suppress(OSError):
                        if each.seek(0, os.SEEK_END) > at:
                            self.cut(each, at)
        return errors

    def _append(self, file: FileIO, data: bytes | bytearray, at: int) -> None:
        size = file.seek(0, os.SEEK_END)
        if size < at:
            raise OSError(
                errno.EIO, f"it lacks {counted(at - size, 'byte')} at its end, or another file stands in its place"
            )
        if size > at:
            self.cut(file, at)
        left = memoryview(data)
        while left:
            left = left[self.write(file, left) :]

    def _sync_all(
        self,
        parts: Sequence[tuple[Path, bytes | bytearray, int]],
        files: Sequence[FileIO | None],
        errors: list[OSError | None],
    ) -> None:
        new: dict[Path, list[int]] = {}
        for number, ((path, _, at), file) in enumerate(zip(parts, files, strict=True)):
            if file is None or errors[number] is not None:
                continue
            try:
                self.sync(file)
            except OSError as error:
                errors[number] = error
            else:
                if not at:
                    new.setdefault(path.parent, []).append(number)
        for folder, numbers in new.items():
            try:
                self.sync_folder(folder)
            except OSError as error:
                for number in numbers:
                    errors[number] = error

    def write(self, file: FileIO, data: memoryview) -> int:
        """Writes some of the data; returns how many bytes."""
        return file.write(data)

    def sync(self, file: FileIO) -> None:
        """Waits until the file is on the disk."""
        os.fsync(file.fileno())

    def cut(self, file: FileIO, size: int) -> None:
        """Shortens a file."""
        file.truncate(size)

    def now(self, folder: Path) -> int:
        """What time it is by the clock that the times of files in a folder are of, in nanoseconds. Raises OSError."""
        new = folder / _NEW
        new.touch()
        there = new.stat()
        new.unlink()
        return there.st_mtime_ns

    def move(self, path: Path, to: Path) -> None:
        """Gives a file another name, which it may take from another file."""
        path.replace(to)

    def sync_folder(self, folder: Path) -> None:
        """A new file's name is on the disk when its folder is; where folders cannot be opened, the system sees to it."""
        if os.name == "nt":
            return
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _kept(path: str, flags: int) -> int:
    """Opens a file that is to be there: it is not made anew where it is gone."""
    return os.open(path, flags & ~os.O_CREAT)
