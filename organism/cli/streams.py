"""Standard output, error and input of one command: results, notes, and what it is given."""

from __future__ import annotations

import os
import shutil
from contextlib import nullcontext, suppress
from io import BufferedWriter, FileIO, TextIOWrapper
from typing import TYPE_CHECKING, Any, Protocol, TextIO

from attrs import define

from organism.cli.text import harmless, one_line
from organism.errors import ConfigurationError, reason_of
from organism.likeness import without_secrets

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from organism.errors import OrganismError

WIDEST = 100
"""Columns: lines longer than that are hard to read, however wide the terminal is."""


class Display(Protocol):
    """What is drawn on the terminal, and has to make room for lines that stay."""

    def aside(self) -> AbstractContextManager[object]:
        """Takes it off the terminal while lines are written."""
        ...

    def close(self) -> None:
        """Takes it off the terminal for good."""
        ...

    def draw(self) -> None:
        """Draws it as it is now."""
        ...


@define(eq=False)
class Streams:
    """Where a command writes and reads. ``display`` is what is drawn live on the terminal, if anything is.

    A reader that goes away (``organism run | head``) is no error: what is written after that is lost. Where standard output takes
    nothing for another reason, as on a disk that is full, that is said once, and what is under way goes on: it may be worth much, and
    a journal has it.
    """

    out: TextIO
    err: TextIO
    input: TextIO
    display: Display | None = None
    unread: bool = False
    """The reader of standard output has gone, or it cannot be written: what is written there is lost."""
    failed: bool = False
    """Standard output could not be written."""

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

    def wrong(self, error: OrganismError) -> None:
        """Writes what is wrong to standard error: a line for each mistake of the user's, else one that begins with ``error``."""
        if isinstance(error, ConfigurationError):
            for mistake in error.mistakes:
                self.note(without_secrets(harmless(mistake)))
        else:
            self.note(without_secrets(f"error: {one_line(str(error))}"))

    def clear(self) -> None:
        """Takes what is drawn off the terminal for good, before lines that stay or an end at once."""
        if self.display is not None:
            self.display.close()

    def finish(self) -> None:
        """Writes out what others have left in standard output, as the help of a command."""
        try:
            self.out.flush()
        except OSError as error:
            self.lose(self.out, error)

    def flush(self) -> None:
        """Writes out what is left, as far as it can be; where it cannot, Python tries again when it ends, and tells."""
        for stream in (self.out, self.err):
            with suppress(OSError, ValueError):
                stream.flush()

    def lose(self, stream: TextIO, error: OSError) -> None:
        """Writes nothing more to a stream, which could not be written; says so where that is no reader who has gone."""
        _to_nowhere(stream)
        if stream is self.out:
            self.unread = True
            if not isinstance(error, BrokenPipeError):
                self.failed = True
                self.note(
                    f"error: standard output cannot be written: {reason_of(error)}; what is printed there is lost"
                )

    def _write(self, stream: TextIO, text: str) -> None:
        if stream is self.out and self.unread:
            return
        lost: OSError | None = None
        with self.display.aside() if self.display is not None else nullcontext():
            try:
                stream.write(f"{text}\n")
                stream.flush()
            except OSError as error:
                lost = error
        if lost is not None:
            self.lose(stream, lost)


class _Lasting(FileIO):
    def write(self, data: Any, /) -> int:
        try:
            return super().write(data)
        except OSError:
            _to_nowhere(self)
            return memoryview(data).nbytes


def lasting(stream: TextIO) -> TextIO:
    """A stream to the same file that cannot be lost: where that takes nothing more, as a terminal that was closed, it goes nowhere. What
    is drawn there, and what handlers print, is worth no work that is under way.
    """
    buffer = getattr(stream, "buffer", None)
    if not isinstance(getattr(buffer, "raw", buffer), FileIO):
        return stream
    raw = _Lasting(stream.fileno(), "w", closefd=False)
    return TextIOWrapper(BufferedWriter(raw), stream.encoding, stream.errors, line_buffering=True)


def _to_nowhere(stream: TextIO | FileIO) -> None:
    """Python flushes its streams when it ends, and would say that nobody reads them; so they go nowhere from here on."""
    with suppress(OSError):  # it is no file
        number = stream.fileno()
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, number)
        os.close(nowhere)
