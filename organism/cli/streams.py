"""Standard output, error and input of one command: results, notes, and what it is given."""

from __future__ import annotations

import os
import shutil
from contextlib import nullcontext
from typing import TYPE_CHECKING, Protocol, TextIO

from attrs import define

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

WIDEST = 100
"""Columns: lines longer than that are hard to read, however wide the terminal is."""


class Display(Protocol):
    """What is drawn on the terminal, and has to make room for lines that stay."""

    def aside(self) -> AbstractContextManager[object]:
        """Takes it off the terminal while lines are written."""
        ...


@define(eq=False)
class Streams:
    """Where a command writes and reads. ``display`` is what is drawn live on the terminal, if anything is.

    A reader that goes away (``organism run | head``) is no error: what is written after that is lost.
    """

    out: TextIO
    err: TextIO
    input: TextIO
    display: Display | None = None
    unread: bool = False
    """The reader of standard output has gone: what is written there is lost."""

    @property
    def width(self) -> int:
        """Columns for text that people read: those of the terminal (``COLUMNS``, else its size, else 80), 100 at most."""
        return min(shutil.get_terminal_size().columns, WIDEST)

    def result(self, text: str) -> None:
        """Writes one line (or several) of the command's result to standard output, at once."""
        self._write(self.out, text)

    def note(self, text: str) -> None:
        """Writes one line (or several) about what goes on to standard error, at once."""
        self._write(self.err, text)

    def _write(self, stream: TextIO, text: str) -> None:
        with self.display.aside() if self.display is not None else nullcontext():
            try:
                stream.write(f"{text}\n")
                stream.flush()
            except BrokenPipeError:
                self.unread |= stream is self.out
                _to_nowhere(stream)


def _to_nowhere(stream: TextIO) -> None:
    """Python flushes its streams when it ends, and would say that nobody reads them; so they go nowhere from here on."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, stream.fileno())
    os.close(nowhere)
