"""What a server writes to its standard error: lines for the log, and the last of them for whoever asks why it has ended."""

from __future__ import annotations

import os
from threading import Thread
from typing import IO, TYPE_CHECKING, Final

from organism.names import excerpt, written_out

if TYPE_CHECKING:
    import logging
    from collections.abc import Callable

_LONGEST: Final = 2000
"""Bytes of a line that are read at once."""
_SOON: Final = 0.2
"""Seconds that the last lines of one that has ended are waited for."""


class Stderr:
    """A pipe, whose other end is read by a thread of its own: reading it would block, and the server blocks where nobody reads."""

    def __init__(self, server: str, log: logging.Logger, left_out: Callable[[str], str]) -> None:
        reading, writing = os.pipe()
        self.file: Final = os.fdopen(writing, "w", encoding="utf-8")
        """What the server is given."""
        self._server = server
        self._log = log
        self._left_out = left_out
        self._said = ""
        self._thread = Thread(target=self._read, args=(os.fdopen(reading, "rb"),), name="organism mcp", daemon=True)
        self._thread.start()

    def release(self) -> None:
        """The server has its own end now, or never will."""
        self.file.close()

    @property
    def last(self) -> str:
        """The last line so far."""
        if self.file.closed:
            self._thread.join(_SOON)
        return self._said

    def _read(self, stream: IO[bytes]) -> None:
        with stream:
            while line := stream.readline(_LONGEST):
                text = self._left_out(written_out(line.decode("utf-8", "replace").strip()))
                if text:
                    self._said = excerpt(text, _LONGEST)
                    self._log.info("MCP server '%s': %s", self._server, self._said)
