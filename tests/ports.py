"""A port that is nobody's: not taken and given back, since another test may be given it meanwhile."""

from __future__ import annotations

import socket
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Generator


@contextmanager
def kept_port() -> Generator[int]:
    """A port of 127.0.0.1 that is kept inside: connections to it are refused, until a server that is told its number listens there."""
    with socket.socket() as kept:
        kept.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # so that such a server may
        kept.bind(("127.0.0.1", 0))
        port: int = kept.getsockname()[1]
        yield port
