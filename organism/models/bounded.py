"""The bytes of an answer: unpacked, and no more of them than an answer can have.

A server that sends without end, or packs much into little, would fill this process's memory. Both what comes over the wire and what
comes out of it are counted.
"""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING, Final

import anyio
import httpx2

from organism.models.contract import BackendError
from organism.models.endings import run_out, told_what_came

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

PACKED: Final = "gzip"
"""How an answer may be packed; nothing else is asked for."""
MOST: Final = 16 * 1024 * 1024
"""Bytes of a whole answer: more than any text, and read as JSON still a fraction of the memory that a machine has."""
MOST_OF_A_REFUSAL: Final = 1024 * 1024
MOST_A_TOKEN: Final = 4 * 1024
"""Bytes that a stream may have beside, for each token of output that it was asked for: each may come in a document of its own."""
_STEP: Final = 64 * 1024
"""Bytes that are unpacked at once."""
_KEPT: Final = 1024 * 1024
"""Bytes of what came that tell what it has cost; no output that is held is longer."""


async def bound(response: httpx2.Response) -> None:
    """Sees to it that no more of a response is read than may be. A hook for responses."""
    most = MOST if response.status_code < 400 else MOST_OF_A_REFUSAL
    packed = response.headers.pop("content-encoding", "").strip().lower()
    if isinstance(response.stream, httpx2.AsyncByteStream):
        response.stream = Bounded(response.stream, packed, most, answer=response.is_success)


def bound_stream(response: httpx2.Response, tokens: int) -> None:
    """Lets a response that comes in pieces have as much as so many tokens of output may take. What came of it, its pieces tell."""
    if isinstance(response.stream, Bounded):
        response.stream.goes_on(tokens * MOST_A_TOKEN)


class Bounded(httpx2.AsyncByteStream):
    """The body of a response, unpacked. Iterating raises BackendError (``broken``) where it has more than ``most`` bytes, and (``cut``)
    where it breaks off, with what came where that is an ``answer``: it is billed. Who is cancelled within one tells what came.
    """

    def __init__(self, stream: httpx2.AsyncByteStream, packed: str, most: int, *, answer: bool) -> None:
        self._stream = stream
        self._chunks: AsyncIterator[bytes] | None = None
        self._packed = packed if packed != "identity" else ""
        self._unpacking = zlib.decompressobj(zlib.MAX_WBITS | 16) if packed == PACKED else None
        self._rest = b""
        self._most = most
        self._came = 0
        self._given = 0
        self._kept: list[bytes] | None = [] if answer else None
        self._told = told_what_came()

    def goes_on(self, more: int) -> None:
        """It may have so many bytes more, and nothing is kept of it."""
        self._most += more
        self._kept = None

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        if self._packed and self._unpacking is None:
            raise BackendError("broken", f"the answer is packed as {self._packed[:40]!r}; {PACKED} was asked for")
        try:
            chunk = await (self._next() if self._unpacking is None else self._unpacked())
        except httpx2.HTTPError as error:
            if not self._kept:
                raise
            raise BackendError(
                "cut", f"the connection broke within the answer: {error}", received=self._text()
            ) from None
        except anyio.get_cancelled_exc_class():
            if self._kept:
                self._told(self._text())
            raise
        self._given += len(chunk)
        if self._kept is not None and self._given - len(chunk) < _KEPT:
            self._kept.append(chunk)
        self._look(self._given)
        return chunk

    async def _unpacked(self) -> bytes:
        # What it holds back comes out before more is waited for: an event may end with it.
        while not (chunk := self._out()):
            self._rest = await self._next()
        return chunk

    def _out(self) -> bytes:
        unpacking = self._unpacking
        if unpacking is None or unpacking.eof:  # it would pile up what comes behind its end
            return b""
        try:
            chunk = unpacking.decompress(self._rest, _STEP)
        except zlib.error as error:
            raise httpx2.DecodingError(str(error)) from None
        self._rest = unpacking.unconsumed_tail
        return chunk

    async def _next(self) -> bytes:
        if self._chunks is None:
            self._chunks = aiter(self._stream)
        chunk = await anext(self._chunks)
        self._came += len(chunk)
        self._look(self._came)
        return chunk

    def _look(self, size: int) -> None:
        if size > self._most:
            raise BackendError("broken", f"the answer is longer than {self._most:,} bytes", received=self._text())

    def _text(self) -> str:
        """What is kept of it; nothing is any more."""
        kept, self._kept = self._kept or [], None
        return b"".join(kept).decode("utf-8", "replace")

    async def aclose(self) -> None:
        """Closes it; what is half-way in reading is ended."""
        self._kept = None
        await self._stream.aclose()
        if self._chunks is not None:
            await run_out(self._chunks)
