"""A server of chat completions that does what none should: raw sockets, so that it can break off, lie and stall at every byte."""

from __future__ import annotations

import gc
import json
from collections.abc import Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING, Any, Final

import anyio
import anyio.lowlevel
from anyio.abc import SocketAttribute, SocketStream
from attrs import define, field

from organism.models.tokens.estimates import Estimates
from organism.models.tokens.profiles import Text
from organism.testing import running
from tests.models.plain_prompts import prompt_of
from tests.ports import kept_port

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Generator, Sequence

REPORTED: Final[Mapping[str, Any]] = {"prompt_tokens": 9, "completion_tokens": 2}
"""What the server reports where nothing else is said."""
BACKEND: Final = "openai/m"
TURNS: Final = 5
"""Turns of the event loop in which the other side reads what it was sent."""
TIMEOUT: Final = 0.25
"""Seconds an attempt may take where the server is to stall."""


@define(eq=False)
class Peer:
    """One connection, as the server has it. A way out reads a request from it, and answers or does not."""

    stream: SocketStream
    heard: Callable[[], None]
    rest: bytes = b""
    closed: bool = False

    async def request(self) -> dict[str, Any]:
        """Reads a whole request; its body."""
        while b"\r\n\r\n" not in self.rest:
            self.rest += await self.stream.receive()
        head, _, body = self.rest.partition(b"\r\n\r\n")
        lines = [line.split(": ", 1) for line in head.decode().split("\r\n")[1:]]
        length = int({name.lower(): value for name, value in lines}.get("content-length", 0))
        while len(body) < length:
            body += await self.stream.receive()
        self.rest = body[length:]
        self.heard()
        read: dict[str, Any] = json.loads(body[:length])
        return read

    async def send(self, raw: bytes) -> None:
        await self.stream.send(raw)

    async def hang(self) -> None:
        """Says nothing more until the other side hangs up."""
        try:
            while True:
                await self.stream.receive()
        except (anyio.EndOfStream, anyio.BrokenResourceError):
            self.closed = True

    async def cut(self) -> None:
        self.closed = True
        await self.stream.aclose()


Way = Callable[[Peer], Awaitable[None]]


def estimate(text: str) -> int:
    """What is charged for a text that came, where nothing was reported."""
    return Estimates().tokens([Text(text.encode())])


def estimate_of(prompt: str) -> int:
    """What is charged for a question, where nothing was reported."""
    return Estimates().input_tokens(prompt_of([{"role": "user", "content": prompt}]))


def head(status: int = 200, **headers: object) -> bytes:
    """The head of a response; ``_`` in a name stands for ``-``."""
    lines = {"content_type": "application/json", **headers}
    said = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in lines.items())
    return f"HTTP/1.1 {status} Whatever\r\n{said}\r\n".encode()


def whole(body: object, status: int = 200, **headers: object) -> bytes:
    """A whole response of a JSON body, or of bytes as they are."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return head(status, **({"content_length": len(content)} | headers)) + content


def answer(text: str = "Hello", **document: Any) -> dict[str, Any]:
    """A chat completion."""
    message = {"role": "assistant", "content": text}
    return {"model": "m-1", "choices": [{"message": message, "finish_reason": "stop"}], "usage": REPORTED} | document


def word(text: str, reason: str | None = None, **document: Any) -> dict[str, Any]:
    """A chunk of a stream."""
    return {"model": "m-1", "choices": [{"index": 0, "delta": {"content": text}, "finish_reason": reason}]} | document


def usage(**said: Any) -> dict[str, Any]:
    """The last chunk of a stream: it has no choices."""
    return {"choices": [], "usage": said or REPORTED}


DONE: Final = "[DONE]"
END: Final = b"0\r\n\r\n"
"""The end of a stream's body."""


def events(*chunks: object) -> bytes:
    """The head of a stream, and its first chunks; the body goes on until :data:`END`."""
    return head(content_type="text/event-stream", transfer_encoding="chunked") + more(*chunks)


def more(*chunks: object) -> bytes:
    """Further chunks."""
    lines = [f"data: {chunk if chunk == DONE else json.dumps(chunk)}\n\n".encode() for chunk in chunks]
    return b"".join(f"{len(line):x}\r\n".encode() + line + b"\r\n" for line in lines)


def says(*raw: bytes, cut: bool = False, hang: bool = False, pause: float = 0.0) -> Way:
    """Reads a request and sends these bytes, one part after the other; then it cuts, hangs, or is ready for the next."""

    async def way(peer: Peer) -> None:
        await peer.request()
        for part in raw:
            await peer.send(part)
            if pause:
                await anyio.sleep(pause)
            for _ in range(TURNS):
                await anyio.lowlevel.checkpoint()
        if hang:
            await peer.hang()
        elif cut:
            await peer.cut()

    return way


async def echo(peer: Peer) -> None:
    """Answers in order: the text is the last thing that was said to it."""
    asked = await peer.request()
    text = str(asked["messages"][-1]["content"])
    if asked.get("stream"):
        await peer.send(events(word(text), word("", "stop"), usage(), DONE) + END)
    else:
        await peer.send(whole(answer(text)))


async def unread(peer: Peer) -> None:
    """Closes before it has read what it was sent."""
    await peer.cut()


@define(eq=False)
class Hostile:
    """The server: ``ways`` are what it does with one request after the other, the last one again and again."""

    ways: list[Way]
    url: str = ""
    asked: int = 0
    connections: int = 0
    heard: int = 0
    """Requests that it has read to their end."""
    open: set[Peer] = field(factory=set[Peer])
    stirred: anyio.Event = field(factory=anyio.Event)

    async def serve(self, stream: SocketStream) -> None:
        """One connection."""
        peer = Peer(stream, self._hear)
        self.open.add(peer)
        self.connections += 1
        try:
            async with stream:
                while not peer.closed:
                    peer.rest = peer.rest or await stream.receive()
                    self.asked += 1
                    way = self.ways.pop(0) if len(self.ways) > 1 else self.ways[0]
                    await way(peer)
        except (anyio.EndOfStream, anyio.BrokenResourceError, anyio.ClosedResourceError):
            return
        finally:
            self.open.discard(peer)
            self.stirred.set()

    def _hear(self) -> None:
        self.heard += 1
        self.stirred.set()

    async def until(self, so: Callable[[], bool]) -> None:
        """Waits until something is so of what it heard, or of its connections."""
        with anyio.fail_after(10):
            while not so():
                self.stirred = anyio.Event()
                await self.stirred.wait()

    async def deserted(self) -> None:
        """Waits until every connection is closed, which takes no time where none was forgotten."""
        await self.until(lambda: not self.open)


@asynccontextmanager
async def listening(serve: Callable[[SocketStream], Awaitable[None]]) -> AsyncGenerator[str]:
    """Has ``serve`` speak with whoever connects; the URL at which they do."""
    listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
    async with listener, anyio.create_task_group() as tasks:
        port = listener.extra(SocketAttribute.local_port)  # noqa: S610 - this is a socket's, and no database's
        tasks.start_soon(listener.serve, serve)
        yield f"http://127.0.0.1:{port}/v1"
        tasks.cancel_scope.cancel()


@contextmanager
def nobody() -> Generator[Hostile]:
    """A server that has gone: whoever connects to it is refused."""
    with kept_port() as port:
        yield Hostile([], url=f"http://127.0.0.1:{port}/v1")


@asynccontextmanager
async def serving(*ways: Way) -> AsyncGenerator[Hostile]:
    """A server on this host."""
    server = Hostile(list(ways))
    async with listening(server.serve) as server.url:
        yield server


def models(*servers: Hostile, retries: int = 0, backoff: Sequence[float] = (0, 0), **backend: Any) -> dict[str, Any]:
    """The ``models:`` of an organism whose backends these servers are, in this order."""
    usual = {"provider": "openai", "model": "m", "api_key_env": None, "overhead": 0, "price": {"input": 1, "output": 2}}
    backends = [usual | {"base_url": server.url, "priority": number} | backend for number, server in enumerate(servers)]
    return {"default": {"retries": retries, "backoff": list(backoff), "max_output_tokens": 50, "backends": backends}}


@asynccontextmanager
async def facing(
    ways: Sequence[Way],
    *,
    retries: int = 0,
    backoff: Sequence[float] = (0, 0),
    backend: Mapping[str, Any] | None = None,
    **document: Any,
) -> AsyncGenerator[tuple[Any, Hostile]]:
    """A running organism whose only backend is such a server. After its block no connection is left open."""
    async with serving(*ways) as server:
        made = models(server, retries=retries, backoff=backoff, **(backend or {}))
        async with running(models=made, **document) as organism:
            yield organism, server
        await server.deserted()
        gc.collect()
