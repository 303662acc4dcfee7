"""Lines that somebody types, or that a program writes: read one by one, while the event loop goes on."""

from __future__ import annotations

import os
import select
from contextlib import suppress
from typing import TYPE_CHECKING, Final

import anyio

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import TextIO

_PIECE: Final = 65536


class InputLines:
    """The lines of an input. No thread waits for them: one that does would keep a process from ending."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._rest = b""
        self._over = False
        self.number = 0
        """That of the line that was given last, from 1."""
        try:
            self._number: int | None = stream.fileno()
        except (OSError, ValueError):
            self._number = None  # a text in memory

    async def next(self) -> str | None:
        """The next line without what ends it; ``None`` at the end. Raises UnicodeDecodeError for what is no UTF-8."""
        if self._number is None:
            line = self._stream.readline()
            self.number += 1
            return line.rstrip("\r\n") if line else None
        while b"\n" not in self._rest and not self._over:
            piece = await _read(self._number)
            self._rest += piece
            self._over = not piece
        if not self._rest:
            self._over = False  # at a terminal, more may be typed after Ctrl-D
            return None
        line_read, _, self._rest = self._rest.partition(b"\n")
        self.number += 1
        return line_read.decode("utf-8-sig").rstrip("\r")

    def ahead(self) -> Iterator[tuple[int, str]]:
        """The next lines that are not blank, with their numbers, as far as they are there already: nobody waits for one."""
        if self._number is None:
            lines = iter(self._stream.readline, "")
        else:
            with suppress(OSError, ValueError):  # what cannot be looked at has nothing
                if select.select([self._number], [], [], 0)[0]:
                    self._rest += os.read(self._number, _PIECE)
            lines = iter(self._rest.decode("utf-8", "replace").split("\n"))
        return ((number, line) for number, line in enumerate(lines, self.number + 1) if line.strip())


async def _read(number: int) -> bytes:
    with suppress(PermissionError):  # a file, which is always readable
        await anyio.wait_readable(number)
    return os.read(number, _PIECE)
