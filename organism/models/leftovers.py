"""What a server sends beyond its answer. On a connection that is kept, the next call would take it for its own answer."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    import httpx2
    from httpcore2 import AsyncConnectionInterface


def sweeping(client: httpx2.AsyncClient) -> Callable[[httpx2.Request], Awaitable[None]]:
    """A hook for the client's requests: connections that wait with something left over are closed before one is chosen."""

    async def sweep(_: httpx2.Request) -> None:
        await close_stale(getattr(client, "_transport", None), *getattr(client, "_mounts", {}).values())

    return sweep


async def close_stale(*transports: object) -> None:
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
