"""The small server itself, where what is behind it fails."""

from __future__ import annotations

import logging
import socket
import struct
from typing import TYPE_CHECKING

import anyio
import httpx2
import pytest
from anyio.abc import SocketAttribute

from organism.server import http
from organism.server.http import Answer, Asked, Streamed, listening

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator


pytestmark = pytest.mark.sockets


async def half() -> AsyncGenerator[bytes]:
    yield b"data: begun\n\n"
    raise ValueError("of our own")


async def answering(asked: Asked) -> Answer | Streamed:
    if asked.path == "/stream":
        return Streamed(pieces=half)
    if asked.path == "/fails":
        raise ValueError("of our own")
    return Answer(body=asked.body)


async def test_a_failure_of_our_own_is_a_bare_500_and_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    async with listening(answering) as server:
        async with httpx2.AsyncClient(base_url=f"http://127.0.0.1:{server.port}") as client:
            failed = await client.get("/fails")
            assert (failed.status_code, "of our own" in failed.text) == (500, False)
            with pytest.raises(httpx2.RemoteProtocolError):
                await client.get("/stream")
            assert (await client.post("/echo", content=b"x" * 100_000)).content == b"x" * 100_000
    assert [
        (each.name, each.levelno, each.getMessage()) for each in caplog.records if each.name == "organism.server"
    ] == [
        ("organism.server", logging.ERROR, "GET /fails could not be answered"),
        ("organism.server", logging.ERROR, "GET /stream could not be answered"),
    ]


async def test_who_asks_for_the_head_alone_gets_no_more_and_may_ask_again(caplog: pytest.LogCaptureFixture) -> None:
    async with listening(answering) as server:
        async with httpx2.AsyncClient(base_url=f"http://127.0.0.1:{server.port}") as client:
            for _ in range(2):
                head = await client.request("HEAD", "/echo", content=b"12345")
                assert (head.status_code, head.headers["content-length"], head.content) == (200, "5", b"")
            assert (await client.post("/echo", content=b"12345")).content == b"12345"
            assert (await client.head("/fails")).status_code == 500
    assert [each.getMessage() for each in caplog.records if each.name == "organism.server"] == [
        "HEAD /fails could not be answered"
    ]


async def test_a_body_that_is_too_long_is_refused_unread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "MOST_BYTES", 1000)
    async with listening(answering) as server, await anyio.connect_tcp("127.0.0.1", server.port) as stream:
        await stream.send(b"POST /echo HTTP/1.1\r\nhost: x\r\ncontent-length: 9000\r\n\r\n" + b"x" * 2000)
        assert b" 413 " in await stream.receive()


async def test_who_asks_first_whether_to_send_is_told_to() -> None:
    async with listening(answering) as server, await anyio.connect_tcp("127.0.0.1", server.port) as stream:
        await stream.send(b"POST /echo HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\ncontent-length: 2\r\n\r\n")
        assert b" 100 " in await stream.receive()
        await stream.send(b"hi")
        assert (await stream.receive()).endswith(b"hi")


async def test_who_resets_its_connection_ends_that_one_alone() -> None:
    async with listening(answering) as server:
        for sent in (b"GET /ec", b"POST /echo HTTP/1.1\r\nhost: x\r\ncontent-length: 9\r\n\r\nhalf"):
            stream = await anyio.connect_tcp("127.0.0.1", server.port)
            raw = stream.extra(SocketAttribute.raw_socket)  # noqa: S610 - this is a socket
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            await stream.send(sent)
            with anyio.fail_after(10):
                await server.until(lambda: len(server.open) == 1)
            await stream.aclose()
            with anyio.fail_after(10):
                await server.until(lambda: not server.open)
        async with httpx2.AsyncClient(base_url=f"http://127.0.0.1:{server.port}") as client:
            assert (await client.post("/echo", content=b"hi")).content == b"hi"
