"""Lines on the socket: the one that is asked, and what is said to it."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, cast

import anyio

from organism.errors import ConfigurationError, JournalError
from organism.works.control.orders import LONGEST

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from anyio.abc import ByteStream

    from organism.works.control.orders import Order

PATIENCE: Final = 5.0
"""Seconds in which a request must have come, and in which what is said to it must have been read."""
_ANSWERED_IN: Final = 60.0
"""Seconds that a request waits for what is said to it: the owner may be writing much to a slow disk."""
_PRUNED_IN: Final = 3600.0
"""The same where it is to remove threads."""


async def tell(path: Path, order: Order) -> Mapping[str, Any]:
    """Sends an order to the process that listens at ``path``, and gives what it says: ``said``, and more by what was asked.

    Raises ConfigurationError with what it says where it does not do it, JournalError where its journal is what prevents it, or where it
    says nothing that can be understood, and ConnectionError where nobody listens there.
    """
    try:
        with anyio.fail_after(_PRUNED_IN if order.do == "prune" else _ANSWERED_IN):
            async with await anyio.connect_unix(path) as stream:
                await stream.send(order.as_line())
                answer = await _whole_line(stream)
    except (anyio.BrokenResourceError, anyio.EndOfStream, TimeoutError, ConnectionResetError) as error:
        raise JournalError(
            f"the process that works on the journal does not answer ({path}); it may have done what was asked: look with 'organism "
            "threads' before you ask again"
        ) from error
    try:
        said: Any = json.loads(answer)
    except (ValueError, RecursionError):
        said = None
    if not isinstance(said, dict):
        raise JournalError(f"the answer of the process that listens at {path} cannot be understood")
    found = cast("dict[str, Any]", said)
    if found.get("ok") is not True:
        why = str(found.get("error", "it was not done, and no reason was given"))
        raise JournalError(why) if found.get("journal") is True else ConfigurationError([why])
    return found


async def line_of(stream: ByteStream) -> bytes | None:
    """The line that somebody sends; ``None`` where it does not come whole, or not in time, or is too long."""
    with anyio.move_on_after(PATIENCE), suppress(anyio.EndOfStream):
        return await _whole_line(stream, most=LONGEST)
    return None


async def _whole_line(stream: ByteStream, *, most: int | None = None) -> bytes:
    found = bytearray()
    while b"\n" not in found:
        if most is not None and len(found) > most:
            raise anyio.EndOfStream
        found += await stream.receive()
    return bytes(found.partition(b"\n")[0])
