"""The bytes of an answer: unpacked, no more of them than an answer can have, and read to their end where they are left half-way.

A server that sends without end, or packs much into little, would fill this process's memory. Both what comes over the wire and what
comes out of it are counted.
"""

from __future__ import annotations

import codecs
import zlib
from collections.abc import Callable
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from typing import TYPE_CHECKING, Final

import anyio
import httpx2
from attrs import define, field

from organism.models.contract import BackendError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Generator

    from organism.models.contract import Request

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
_NO_EVENT: Final = (b"{", b"[", b"<", b'"')
"""How documents begin, and no field of an event does."""
_SECONDS: Final = 1.0
"""Nothing waits on a closed connection; should one be held open all the same, it is not waited for."""


@define(eq=False)
class Sending:
    """A request that is being sent. ``came`` hears the output that has come where the attempt is cancelled."""

    came: Callable[[str], object] = field(default=str)
    output_tokens: int = 0
    written: bool = False
    """What fails before cannot be written, whoever it is sent to."""
    sent: bool = False
    """Something of it may be on its way. It is not while it waits for its connection."""

    async def heed(self, event: str, _: object) -> None:
        """Hears how far the client has come: see the ``trace`` extension of httpx."""
        if event.endswith(".send_request_headers.started"):
            self.sent = True


_sending: Final[ContextVar[Sending]] = ContextVar("organism_sending")


@contextmanager
def sending(request: Request) -> Generator[None]:
    """A block in which a request is sent: hooks and readers of its answer, which an SDK calls and makes, find it there. What fails before
    it is written is raised as BackendError (``rejected``): no other attempt would fare better, and none is billed.
    """
    state = Sending(request.came, request.max_output_tokens)
    token = _sending.set(state)
    try:
        yield
    except Exception as error:
        if state.written or isinstance(error, BackendError):
            raise
        raise BackendError("rejected", f"the request cannot be written: {error}") from None
    except BaseException:
        if not state.sent:
            request.unsent()
        raise
    finally:
        _sending.reset(token)


async def follow(request: httpx2.Request) -> None:
    """Notes that the request is written, and how far it comes from now on. A hook for requests."""
    state = _sending.get(Sending())
    state.written = True
    request.extensions = {**request.extensions, "trace": state.heed}


async def bound(response: httpx2.Response) -> None:
    """Sees to it that no more of a response is read than may be. A hook for responses."""
    packed = response.headers.pop("content-encoding", "").strip().lower()
    if isinstance(response.stream, httpx2.AsyncByteStream):
        most = MOST if response.status_code < 400 else MOST_OF_A_REFUSAL
        response.stream = BoundedBody(response.stream, packed, most, answer=response.is_success)


async def run_out(*left: AsyncIterator[object]) -> None:
    """Reads what is left of each, the outermost first, and drops it. Their connection is closed.

    The SDKs and their client read through generators, one in the other. Those that are dropped before their end are closed by the
    garbage collector, some time; trio warns of each, rightly. Once the connection is closed, reading on takes no time, and ends all.
    """
    with anyio.CancelScope(shield=True):
        for each in left:
            with suppress(Exception), anyio.move_on_after(_SECONDS):
                while True:
                    await anext(each)


class BoundedBody(httpx2.AsyncByteStream):
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
        self._sending = _sending.get(Sending())

    def is_of_events(self) -> None:
        """It may have as much more as the output may take that was asked for, and what came of that its events tell."""
        self._most += self._sending.output_tokens * MOST_A_TOKEN
        self._kept = None

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        if self._packed and self._unpacking is None:
            raise BackendError("broken", f"the answer is packed as {self._packed[:40]!r}; {PACKED} was asked for")
        try:
            chunk = await (self._next() if self._unpacking is None else self._unpacked())
        except httpx2.HTTPError as error:
            if not (said := self._text()):
                raise
            raise BackendError("cut", f"the connection broke within the answer: {error}", received=said) from None
        except anyio.get_cancelled_exc_class():
            if said := self._text():
                self._sending.came(said)
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


class EventBytes:
    """The bytes of a streamed answer, without a byte order mark, which readers above take for a part of the first name. Iterating raises
    UnicodeDecodeError at what is no UTF-8: those who read through this all hear of it, where a reader above would leave them half-way.

    A ``document`` in the place of events is kept, and not read on: some servers answer whole whatever they are asked, and some say in no
    other way that they fail.
    """

    def __init__(self, response: httpx2.Response) -> None:
        self.document: bytearray | None = None
        self._begun = False
        self._response = response
        self._chunks = response.aiter_bytes()
        self._text = codecs.getincrementaldecoder("utf-8-sig")()

    def __aiter__(self) -> EventBytes:
        return self

    async def __anext__(self) -> bytes:
        chunk = await anext(self._chunks)
        try:
            read = self._text.decode(chunk).encode()
        except UnicodeDecodeError:
            await self._response.aclose()
            await run_out(self._chunks)
            raise
        if not self._begun and (head := read.lstrip()):
            self._begun = True
            if head.startswith(_NO_EVENT):
                self.document = bytearray()
            elif isinstance(body := self._response.stream, BoundedBody):
                body.is_of_events()
        if self.document is None:
            return read
        self.document += read
        return b""
