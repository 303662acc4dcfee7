"""A small HTTP/1.1 server: requests in, documents or streams of events out, on whichever event loop it is opened on.

h11 decides what is HTTP; here is what moves the bytes. A caller who hangs up ends what was done for it, as at a provider.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import aclosing, asynccontextmanager, suppress
from typing import TYPE_CHECKING, Final

import anyio
import h11
from anyio.abc import SocketAttribute
from attrs import define, field, frozen

from organism.settings import NOTHING

if TYPE_CHECKING:
    from anyio.abc import SocketStream

log: Final = logging.getLogger("organism.server")

MOST_BYTES: Final = 32 * 2**20
"""Of the body of a request, as at the providers; more is refused unread."""
_MOST_OF_HEAD: Final = 64 * 2**10
_AT_ONCE: Final = 64 * 2**10
_EVENTS: Final = "text/event-stream; charset=utf-8"
_GONE: Final = (anyio.BrokenResourceError, anyio.ClosedResourceError, anyio.EndOfStream)


@frozen(kw_only=True)
class Asked:
    """A request. ``path`` is without its query; names of ``headers`` are in lower case."""

    method: str
    path: str
    headers: Mapping[str, str] = NOTHING
    body: bytes = b""


@frozen(kw_only=True)
class Answer:
    """A whole answer: a JSON document."""

    status: int = 200
    body: bytes = b""
    headers: Mapping[str, str] = NOTHING


@frozen(kw_only=True)
class Streamed:
    """A stream of events, in pieces. ``pieces`` is called once; what it gives is closed when the caller hangs up."""

    pieces: Callable[[], AsyncGenerator[bytes]]
    headers: Mapping[str, str] = NOTHING


Answering = Callable[[Asked], Awaitable[Answer | Streamed]]
"""What a server does with a request: what it raises becomes a bare 500."""


@define(eq=False)
class Server:
    """A server that listens: ``host`` and ``port`` are where, ``open`` the connections that there are."""

    host: str
    port: int
    answering: Answering
    open: set[_Connection] = field(factory=set["_Connection"], init=False)
    _closing: bool = field(default=False, init=False)
    _stirred: anyio.Event = field(factory=anyio.Event, init=False)

    async def serve(self, stream: SocketStream) -> None:
        """Serves one connection until its caller hangs up, or the server is to close."""
        connection = _Connection(stream, self.answering, self._stir)
        self.open.add(connection)
        try:
            async with stream:
                with connection.scope:
                    while not self._closing and await connection.turn():
                        pass
        except _GONE:
            pass  # the caller hung up, and nobody is left to be answered
        finally:
            self.open.discard(connection)
            self._stir()

    def _stir(self) -> None:
        self._stirred.set()

    async def drain(self, seconds: float) -> None:
        """Closes the connections that wait, and lets those that are answered go on for so long."""
        self._closing = True
        for connection in self.open:
            if not connection.busy:
                connection.scope.cancel()
        with anyio.move_on_after(seconds):
            await self.until(lambda: not self.open)

    async def until(self, so: Callable[[], bool]) -> None:
        """Waits until something is so of its connections."""
        while not so():
            self._stirred = anyio.Event()
            await self._stirred.wait()


@asynccontextmanager
async def listening(answering: Answering, *, host: str = "127.0.0.1", port: int = 0) -> AsyncGenerator[Server]:
    """A server on this host while the block is open; port 0 takes a free one. Raises OSError where it cannot listen."""
    listener = await anyio.create_tcp_listener(local_host=host, local_port=port)
    async with listener, anyio.create_task_group() as tasks:
        bound = listener.extra(SocketAttribute.local_port)  # noqa: S610 - this is a socket's, and no database's
        server = Server(host=host, port=bound, answering=answering)
        tasks.start_soon(listener.serve, server.serve)
        yield server
        tasks.cancel_scope.cancel()


class _Connection:
    """One connection, and the requests that come on it one after the other."""

    def __init__(self, stream: SocketStream, answering: Answering, stirred: Callable[[], None]) -> None:
        self.scope = anyio.CancelScope()
        self.busy = False
        self._head_only = False
        """Whether only the head of an answer is asked for: no more may be sent."""
        self._stirred = stirred
        self._stream = stream
        self._answering = answering
        self._h11 = h11.Connection(h11.SERVER, max_incomplete_event_size=_MOST_OF_HEAD)

    async def turn(self) -> bool:
        """Reads a request and answers it; whether another may follow. Raises anyio's errors of a broken connection."""
        try:
            asked = await self._asked()
        except h11.RemoteProtocolError as error:
            said = f'{{"error": {{"message": "this is not an HTTP request", "type": "http", "code": {error.error_status_hint}}}}}'
            await self._whole(
                Answer(status=error.error_status_hint, body=said.encode(), headers={"connection": "close"})
            )
            return False
        if asked is None:
            return False
        self.busy, self._head_only = True, asked.method == "HEAD"
        self._stirred()
        await self._answered(asked)
        self.busy = False
        if self._h11.our_state is not h11.DONE or self._h11.their_state is not h11.DONE:
            return False
        self._h11.start_next_cycle()
        return True

    async def _asked(self) -> Asked | None:
        """The next request, whole; ``None`` where the caller is done."""
        head = await self._next()
        if not isinstance(head, h11.Request):
            return None
        body = bytearray()
        # Until its end: where it is cut off, h11 raises.
        while isinstance(event := await self._next(), h11.Data):
            body += event.data
            if len(body) > MOST_BYTES:
                raise h11.RemoteProtocolError("the body is too long", error_status_hint=413)
        return Asked(
            method=head.method.decode("ascii"),
            path=head.target.decode("latin-1").partition("?")[0],
            headers={name.decode("latin-1"): value.decode("latin-1") for name, value in head.headers},
            body=bytes(body),
        )

    async def _next(self) -> object:
        while (event := self._h11.next_event()) is h11.NEED_DATA:
            if self._h11.they_are_waiting_for_100_continue:
                await self._send(h11.InformationalResponse(status_code=100, headers=[]))
            try:
                self._h11.receive_data(await self._stream.receive(_AT_ONCE))
            except anyio.EndOfStream:
                self._h11.receive_data(b"")
        return event

    async def _answered(self, asked: Asked) -> None:
        """Answers, unless the caller hangs up meanwhile: then nothing more is done for it."""
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._hear, tasks.cancel_scope)
            with suppress(*_GONE):
                try:
                    await self._answer(asked)
                except _GONE:
                    raise
                except Exception:
                    log.exception("%s %s could not be answered", asked.method, asked.path)
                    await self._broken()
            tasks.cancel_scope.cancel()

    async def _hear(self, scope: anyio.CancelScope) -> None:
        """Waits for the caller to hang up. What comes is the next request: its beginning is kept, and no more is read."""
        try:
            self._h11.receive_data(await self._stream.receive(_AT_ONCE))
        except _GONE:
            scope.cancel()

    async def _answer(self, asked: Asked) -> None:
        answer = await self._answering(asked)
        if isinstance(answer, Answer):
            await self._whole(answer)
            return
        headers = {"content-type": _EVENTS, "transfer-encoding": "chunked", "cache-control": "no-cache"}
        await self._send(_head(200, headers | dict(answer.headers)))
        async with aclosing(answer.pieces()) as pieces:
            async for piece in pieces:
                await self._send(h11.Data(data=piece))
        await self._send(h11.EndOfMessage())

    async def _broken(self) -> None:
        """A failure of the server's own, where nothing was sent yet; else the connection is cut."""
        if self._h11.our_state is h11.SEND_RESPONSE:
            await self._whole(Answer(status=500, body=b'{"error": {"message": "internal error", "type": "api_error"}}'))

    async def _whole(self, answer: Answer) -> None:
        headers = {"content-type": "application/json", "content-length": str(len(answer.body))}
        body = () if self._head_only else (h11.Data(data=answer.body),)
        sent = (_head(answer.status, headers | dict(answer.headers)), *body, h11.EndOfMessage())
        await self._stream.send(b"".join(self._h11.send(event) or b"" for event in sent))

    async def _send(self, event: h11.Event) -> None:
        await self._stream.send(self._h11.send(event) or b"")


def _head(status: int, headers: Mapping[str, str]) -> h11.Response:
    named = [(name.encode("ascii"), value.encode("latin-1", "replace")) for name, value in headers.items()]
    return h11.Response(status_code=status, headers=named, reason=b"")
