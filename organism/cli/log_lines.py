"""Log records as short lines on standard error."""

from __future__ import annotations

import logging
import os
import sysconfig
import traceback
from contextlib import contextmanager
from pathlib import Path
from textwrap import dedent, indent
from typing import TYPE_CHECKING, Final, cast

from organism.cli.text import harmless, one_line
from organism.errors import ModelError
from organism.likeness import without_secrets
from organism.names import LINES, OF_CALLERS, class_name, excerpt

if TYPE_CHECKING:
    from collections.abc import Generator

    from organism.cli.streams import Streams

_LONGEST: Final = 10_000
"""Characters of what an exception says that a line has, as in the journal."""
_LIBRARIES: Final = (
    f"{Path(__file__).parents[1]}{os.sep}",
    f"organism{os.sep}",  # what is compiled names its files from the root of the project on
    *(f"{path}{os.sep}" for path in {sysconfig.get_path(each) for each in ("stdlib", "purelib", "platlib")}),
    "<",  # what was made while it ran
)
"""How the names of files begin that are no code of the user's."""
_TRACEBACK: Final = BaseException.__dict__["__traceback__"].__get__
"""Where an exception was raised, whatever its own attributes say."""


@contextmanager
def logging_to(streams: Streams, *, verbose: bool, debug: bool) -> Generator[None]:
    """While the block is open, warnings and errors of every logger are written, each in a line.

    ``verbose``: what ``organism`` tells at INFO as well, as a line for every thread that ended. ``debug``: with tracebacks.
    """
    root, own = logging.getLogger(), logging.getLogger("organism")
    handler = _Lines(streams, debug=debug)
    level = own.level
    root.addHandler(handler)
    if verbose:
        own.setLevel(logging.INFO)
    try:
        yield
    finally:
        own.setLevel(level)
        root.removeHandler(handler)


class _Lines(logging.Handler):
    def __init__(self, streams: Streams, *, debug: bool) -> None:
        super().__init__()
        self._streams = streams
        self._debug = debug

    def emit(self, record: logging.LogRecord) -> None:
        """Writes a record; one that cannot be formatted is logging's own to report, as everywhere."""
        if getattr(record, OF_CALLERS, False) is True:
            return
        try:
            text = _in_lines(record)
        except Exception:  # noqa: BLE001 - wrong arguments of a call in somebody's code raise anything
            self.handleError(record)
            return
        error = record.exc_info[1] if record.exc_info else None
        if error is not None:
            text += f": {in_short(error)}"
        self._streams.note(without_secrets(f"{record.levelname.lower()}: {text}"))
        if error is not None and self._debug:
            self._streams.note(in_full(error))


def _in_lines(record: logging.LogRecord) -> str:
    """What a record says: in one line, but for the lines that our own code has made, which are indented below it."""
    said = record.getMessage()
    if not (record.name.startswith("organism.") and getattr(record, LINES, False) is True):
        return one_line(said)
    first, _, below = harmless(said).partition("\n")
    return f"{first.strip()}\n{indent(dedent(below), '  ')}"


def in_short(error: BaseException) -> str:
    """An exception in a line: its type, what it says, and the last line of the user's own that led to it, else where it was raised;
    of a group with one exception, that one.
    """
    error = _inner(error)
    said = one_line(_said(error))
    if issubclass(type(error), ModelError):  # it is no fault of the code that called
        return said
    frames = traceback.extract_tb(_TRACEBACK(error))
    # What a library refuses was asked for by code of the user's: that is where somebody can do something about it.
    theirs = [frame for frame in frames if not frame.filename.startswith(_LIBRARIES)] or frames
    place = one_line(f"({theirs[-1].filename}:{theirs[-1].lineno})") if theirs else ""
    kind = one_line(class_name(error))
    return f"{kind}: {said} {place}".rstrip() if said else f"{kind} {place}".rstrip()


def _said(error: BaseException) -> str:
    """What an exception says, cut where it is long; nothing where it cannot even say that: it is a handler's, which may be any."""
    try:
        said = str.__str__(str(error))
    except Exception:  # noqa: BLE001 - a line that cannot be made must not end the command
        return ""
    return said if len(said) <= _LONGEST else f"{excerpt(said, _LONGEST)} ({len(said):,} characters)"


def _inner(error: BaseException) -> BaseException:
    # By its type: `isinstance` also asks the exception itself, which may raise.
    if not issubclass(type(error), BaseExceptionGroup):
        return error
    group = cast("BaseExceptionGroup[BaseException]", error)
    return _inner(group.exceptions[0]) if len(group.exceptions) == 1 else group


def in_full(error: BaseException) -> str:
    """An exception with its traceback, in lines; in short where it does not let itself be told."""
    try:
        told = "".join(traceback.format_exception(error))
    except Exception:  # noqa: BLE001 - it is a handler's, whose attributes may raise
        return without_secrets(in_short(error))
    return without_secrets(harmless(told).rstrip())
