"""Answers that are left half-way, read to their end on a connection that is closed.

The SDKs and their client read through generators, one in the other. Those that are dropped before their end are closed by the garbage
collector, some time; trio warns of each, rightly. Once the connection is closed, reading on takes no time, and ends all of them.
"""

from __future__ import annotations

import codecs
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from typing import TYPE_CHECKING, Final

import anyio
import httpx2

from organism.models.contract import BackendError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Generator

    from organism.models.contract import Failure, Request

_NO_EVENT: Final = (b"{", b"[", b"<", b'"')
"""How documents begin, and no field of an event does."""
_SECONDS: Final = 1.0
"""Nothing waits on a closed connection; should one be held open all the same, it is not waited for."""


async def run_out(*left: AsyncIterator[object]) -> None:
    """Reads what is left of each, the outermost first, and drops it. Their connection is closed."""
    with anyio.CancelScope(shield=True):
        for each in left:
            with suppress(Exception), anyio.move_on_after(_SECONDS):
                while True:
                    await anext(each)


_told: Final[ContextVar[Callable[[str], object]]] = ContextVar("organism_told_what_came")


@contextmanager
def asking(request: Request) -> Generator[None]:
    """A block in which a request is sent: the readers of its answer, which an SDK makes, find its ``came`` there."""
    token = _told.set(request.came)
    try:
        yield
    finally:
        _told.reset(token)


def told_what_came() -> Callable[[str], object]:
    """The ``came`` of the request that is being sent."""
    return _told.get(str)


class Body:
    """The bytes of a streamed answer, without a byte order mark, which readers above take for a part of the first name. Iterating raises
    UnicodeDecodeError at what is no UTF-8: those who read through this all hear of it, where a reader above would leave them half-way.

    A ``document`` in the place of events is kept, and not read on. Iterating raises BackendError where it has more than ``most`` bytes, or
    breaks off; who is cancelled there tells what came of it.
    """

    def __init__(self, response: httpx2.Response, most: int) -> None:
        self.document: bytearray | None = None
        """Some servers answer whole whatever they are asked, and some say in no other way that they fail."""
        self._most = most
        self._begun = False
        self._response = response
        self._chunks = response.aiter_bytes()
        self._text = codecs.getincrementaldecoder("utf-8-sig")()
        self._came = told_what_came()

    def __aiter__(self) -> Body:
        return self

    async def __anext__(self) -> bytes:
        try:
            chunk = await anext(self._chunks)
        except httpx2.HTTPError as error:
            if self.document is None:
                raise
            raise self._broken("cut", f"the connection broke within the answer: {error}") from None
        except anyio.get_cancelled_exc_class():
            if self.document:
                self._came(self._said)
            raise
        try:
            read = self._text.decode(chunk).encode()
        except UnicodeDecodeError:
            await self._end()
            raise
        if not self._begun and (head := read.lstrip()):
            self._begun = True
            self.document = bytearray() if head.startswith(_NO_EVENT) else None
        if self.document is None:
            return read
        self.document += read
        if len(self.document) > self._most:
            await self._end()
            raise self._broken("broken", f"the answer is longer than {self._most:,} bytes")
        return b""

    def _broken(self, kind: Failure, text: str) -> BackendError:
        return BackendError(kind, text, received=self._said)

    @property
    def _said(self) -> str:
        """What has come of a document."""
        return (self.document or b"").decode("utf-8", "replace")

    async def _end(self) -> None:
        await self._response.aclose()
        await run_out(self._chunks)
