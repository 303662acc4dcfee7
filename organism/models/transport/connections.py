"""The connections to one server, each taken and given back at the same cost however many there are.

The client's own pool looks at all of its connections, and at all requests that are out, twice for each request: with 500 calls at
once that takes longer than the calls. Here each connection is a pool of its own, and what waits is a stack of them.

A server may send more than its answer. On a connection that is used again, the next call would take that for its own answer: such a
connection is closed.
"""

from __future__ import annotations

from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

import anyio
import httpx2

from organism.models.transport.body import PACKED, bound, follow
from organism.models.transport.errors import hear_reasons
from organism.names import told

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

    from httpcore2 import AsyncConnectionInterface

_SECONDS_KEPT: Final = 5.0
"""A connection that has waited for so long is not used again: many servers close theirs soon after."""


def client_of(make: Callable[..., httpx2.AsyncClient], *, most: int) -> httpx2.AsyncClient:
    """The HTTP client of one backend, made by its SDK; ``most`` connections wait for the next call, or a few more for a while.

    Where the environment names proxies the client's own pools go through them, as the SDK has it.
    """
    context = httpx2.create_ssl_context()

    def plain(kept: int) -> httpx2.AsyncClient:
        limits = httpx2.Limits(max_connections=None, max_keepalive_connections=kept, keepalive_expiry=_SECONDS_KEPT)
        return make(limits=limits, verify=context)

    def connection() -> httpx2.AsyncBaseTransport:
        # With the SDK's own settings: some keep a connection alive on which a model is silent for minutes.
        made: httpx2.AsyncBaseTransport = vars(plain(1))["_transport"]
        return made

    client = plain(most)
    # Where it can no longer be seen whether there are proxies, the plain client is the safe answer.
    if getattr(client, "_mounts", True):
        client.event_hooks = {"request": [_sweeping(client), follow], "response": [bound, hear_reasons]}
    else:
        hooks: dict[str, list[Callable[..., Any]]] = {"request": [follow], "response": [bound, hear_reasons]}
        client = make(transport=Connections(connection, most=most), event_hooks=hooks)
    client.headers["accept-encoding"] = PACKED
    return client


class Connections(httpx2.AsyncBaseTransport):
    """Connections that are made as they are needed; how many calls go at once is for the router to say."""

    def __init__(self, make: Callable[[], httpx2.AsyncBaseTransport], *, most: int) -> None:
        self._make = make
        self._most = most
        self._idle: deque[tuple[httpx2.AsyncBaseTransport, float]] = deque()
        """Those that wait, and since when; the last one is used first, so that the first ones may grow old."""
        self._lent: set[httpx2.AsyncBaseTransport] = set()

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """See httpx2: the connection is given back when the response is closed."""
        await self._close_old()
        transport = self._idle.pop()[0] if self._idle else self._make()
        self._lent.add(transport)
        try:
            await _close_stale(transport)  # nothing may be in it that an earlier answer left there
            response = await transport.handle_async_request(request)
        except BaseException:
            self.give_back(transport)  # what broke, it has thrown away itself
            raise
        if not isinstance(response.stream, httpx2.AsyncByteStream):
            raise TypeError(f"a response without an asynchronous stream: {told(response.stream)}")
        response.stream = _Lent(response.stream, transport, self)
        return response

    def give_back(self, transport: httpx2.AsyncBaseTransport) -> None:
        """It is used no more."""
        self._lent.discard(transport)
        self._idle.append((transport, anyio.current_time()))

    async def _close_old(self) -> None:
        """Closes what has waited for too long, or is too much; one a call, so that no call pays for all of them."""
        if self._idle:
            oldest, since = self._idle[0]
            if len(self._idle) > self._most or anyio.current_time() - since > _SECONDS_KEPT:
                self._idle.popleft()
                with anyio.CancelScope(shield=True):
                    await oldest.aclose()

    async def aclose(self) -> None:
        """Closes all of them, those in use too."""
        every = [*(transport for transport, _ in self._idle), *self._lent]
        self._idle.clear()
        self._lent.clear()
        for transport in every:
            with suppress(httpx2.HTTPError):
                await transport.aclose()


class _Lent(httpx2.AsyncByteStream):
    """The body of a response, whose connection is given back when it is closed."""

    def __init__(self, stream: httpx2.AsyncByteStream, transport: httpx2.AsyncBaseTransport, home: Connections) -> None:
        self._stream = stream
        self._chunks: AsyncIterator[bytes] | None = None
        self._transport: httpx2.AsyncBaseTransport | None = transport
        self._home = home

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        if self._chunks is None:
            self._chunks = aiter(self._stream)
        return await anext(self._chunks)

    async def aclose(self) -> None:
        try:
            await self._stream.aclose()  # what is half-way in reading is ended by who reads: see `body`
        finally:
            transport, self._transport = self._transport, None
            if transport is not None:
                self._home.give_back(transport)


def _sweeping(client: httpx2.AsyncClient) -> Callable[[httpx2.Request], Awaitable[None]]:
    """A hook for the client's requests: connections that wait with something left over are closed before one is chosen."""

    async def sweep(_: httpx2.Request) -> None:
        await _close_stale(getattr(client, "_transport", None), *getattr(client, "_mounts", {}).values())

    return sweep


async def _close_stale(*transports: object) -> None:
    """Closes the connections of these transports that wait with something left over.

    What arrives while a connection waits is noticed by its pool itself; what came in one piece with the answer lies in the
    connection's parser, and is not. Nothing is awaited after the last look.
    """
    while (stale := next(_stale(transports), None)) is not None:
        await stale.aclose()


def _stale(transports: tuple[object, ...]) -> Iterator[AsyncConnectionInterface]:
    for transport in transports:
        connections: list[AsyncConnectionInterface] = getattr(getattr(transport, "_pool", None), "connections", [])
        yield from (each for each in connections if each.is_idle() and _left_over(each))


def _left_over(connection: AsyncConnectionInterface) -> bool:
    """Whether more came than was asked for. Where that cannot be seen, a new connection is the safe answer."""
    inside: object = getattr(connection, "_connection", connection)
    state: object = getattr(inside, "_h11_state", None)
    left, _ = getattr(state, "trailing_data", (b"unknown", False))
    return bool(left)
