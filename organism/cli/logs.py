"""Log records as short lines on standard error."""

from __future__ import annotations

import logging
import traceback
from contextlib import contextmanager
from typing import TYPE_CHECKING, cast

from organism.cli.text import harmless, one_line
from organism.errors import ModelError
from organism.likeness import without_secrets

if TYPE_CHECKING:
    from collections.abc import Generator

    from organism.cli.streams import Streams


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
        try:
            text = one_line(record.getMessage())
        except Exception:  # noqa: BLE001 - wrong arguments of a call in somebody's code raise anything
            self.handleError(record)
            return
        error = record.exc_info[1] if record.exc_info else None
        if error is not None:
            text += f": {in_short(error)}"
        self._streams.note(without_secrets(f"{record.levelname.lower()}: {text}"))
        if error is not None and self._debug:
            self._streams.note(in_full(error))


def in_short(error: BaseException) -> str:
    """An exception in a line: its type, what it says, and where it was raised; of a group with one exception, that one."""
    error = _inner(error)
    if isinstance(error, ModelError):  # it is no fault of the code that called
        return one_line(str(error))
    frames = traceback.extract_tb(error.__traceback__)
    place = f" ({frames[-1].filename}:{frames[-1].lineno})" if frames else ""
    said = one_line(str(error))
    return f"{type(error).__name__}: {said}{place}" if said else f"{type(error).__name__}{place}"


def _inner(error: BaseException) -> BaseException:
    if not isinstance(error, BaseExceptionGroup):
        return error
    group = cast("BaseExceptionGroup[BaseException]", error)
    return _inner(group.exceptions[0]) if len(group.exceptions) == 1 else group


def in_full(error: BaseException) -> str:
    """An exception with its traceback, in lines."""
    return without_secrets(harmless("".join(traceback.format_exception(error))).rstrip())
