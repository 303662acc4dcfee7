"""A disk that fails where a test wants it to."""

from __future__ import annotations

from typing import TYPE_CHECKING

from organism.journal.disk import Disk

if TYPE_CHECKING:
    from io import FileIO
    from pathlib import Path

    from organism.testing import FailAfter


class FailingDisk(Disk):
    """Fails some requests to the system: half of a write is done, others are not. ``short``: what does not fail takes two thirds."""

    def __init__(self, fail: FailAfter, *, durable: bool = True, short: bool = False) -> None:
        super().__init__(durable=durable)
        self.fail = fail
        self.short = short

    def write(self, file: FileIO, data: memoryview) -> int:
        try:
            self.fail()
        except BaseException:
            file.write(data[: len(data) // 2])
            raise
        return file.write(data[: max(1, len(data) * 2 // 3)] if self.short else data)

    def sync(self, file: FileIO) -> None:
        self.fail()
        super().sync(file)

    def cut(self, file: FileIO, size: int) -> None:
        self.fail()
        super().cut(file, size)

    def move(self, path: Path, to: Path) -> None:
        self.fail()
        super().move(path, to)

    def sync_folder(self, folder: Path) -> None:
        self.fail()
        super().sync_folder(folder)
