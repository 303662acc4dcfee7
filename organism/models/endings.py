"""Answers that are left half-way, read to their end on a connection that is closed.

The SDKs and their client read through generators, one in the other. Those that are dropped before their end are closed by the garbage
collector, some time; trio warns of each, rightly. Once the connection is closed, reading on takes no time, and ends all of them.
"""

from __future__ import annotations

import codecs
from contextlib import suppress
from typing import TYPE_CHECKING, Final

import anyio

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import httpx2

_SECONDS: Final = 1.0
"""Nothing waits on a closed connection; should one be held open all the same, it is not waited for."""


async def run_out(*left: AsyncIterator[object]) -> None:
    """Reads what is left of each, the outermost first, and drops it. Their connection is closed."""
    with anyio.CancelScope(shield=True):
        for each in left:
            with suppress(Exception), anyio.move_on_after(_SECONDS):
                while True:
                    await anext(each)


class Body:
    """The bytes of a streamed answer, without a byte order mark, which readers above take for a part of the first name. Iterating raises
    UnicodeDecodeError at what is no UTF-8: those who read through this all hear of it, where a reader above would leave them half-way.
    """

    def __init__(self, response: httpx2.Response) -> None:
        self._response = response
        self._chunks = response.aiter_bytes()
        self._text = codecs.getincrementaldecoder("utf-8-sig")()

    def __aiter__(self) -> Body:
        return self

    async def __anext__(self) -> bytes:
        chunk = await anext(self._chunks)
        try:
            return self._text.decode(chunk).encode()
        except UnicodeDecodeError:
            await self._response.aclose()
            await run_out(self._chunks)
            raise
