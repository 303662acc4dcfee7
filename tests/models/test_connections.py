"""The connections to a server: as many as there are calls at once, used again, and none of them paid for by the others."""

from __future__ import annotations

import gc
import json
import sys
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import anyio
import pytest
from attrs import define, field

from organism.models.anthropic.backend import AnthropicBackend
from organism.models.contract import BackendError, Request
from organism.models.openai.backend import OpenAIBackend
from organism.settings import BackendSettings
from tests.models.hostile import listening

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from anyio.abc import SocketStream

ASKED = Request(model="m", messages=({"role": "user", "content": "hi"},), max_output_tokens=9)
ANSWERS = {
    "openai": {"choices": [{"message": {"content": "Hello"}, "finish_reason": "stop"}]},
    "anthropic": {"type": "message", "content": [{"type": "text", "text": "Hello"}], "stop_reason": "end_turn"},
}


pytestmark = pytest.mark.sockets


@define
class Server:
    """It keeps its connections open, and answers once ``together`` requests are there."""

    answer: bytes
    url: str = ""
    together: int = 1
    made: int = 0
    open: int = 0
    asked: list[str] = field(factory=list[str])
    waiting: list[anyio.Event] = field(factory=list[anyio.Event])
    closed: anyio.Event = field(factory=anyio.Event)
    came: anyio.Event = field(factory=anyio.Event)
    """The next request."""

    async def serve(self, stream: SocketStream) -> None:
        self.made += 1
        self.open += 1
        try:
            async with stream:
                while True:
                    await self._answer(stream)
        except (anyio.EndOfStream, anyio.BrokenResourceError):
            pass
        finally:
            self.open -= 1
            self.closed.set()
            self.closed = anyio.Event()

    async def _answer(self, stream: SocketStream) -> None:
        came = b""
        while b"\r\n\r\n" not in came:
            came += await stream.receive()
        head, _, body = came.partition(b"\r\n\r\n")
        length = next(int(line[15:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
        while len(body) < length:
            body += await stream.receive()
        self.asked.append(head.decode().split("\r\n")[0])
        self.waiting.append(here := anyio.Event())
        self.came.set()
        self.came = anyio.Event()
        if len(self.waiting) >= self.together:
            while self.waiting:
                self.waiting.pop().set()
        await here.wait()
        said = f"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {len(self.answer)}\r\n\r\n"
        await stream.send(said.encode() + self.answer)

    async def down_to(self, connections: int) -> None:
        """Waits until no more than so many connections are open."""
        with anyio.fail_after(5):
            while self.open > connections:
                await self.closed.wait()


@asynccontextmanager
async def serving(answer: object = ANSWERS["openai"]) -> AsyncGenerator[Server]:
    server = Server(json.dumps(answer).encode())
    async with listening(server.serve) as server.url:
        yield server


@asynccontextmanager
async def backend(url: str, **more: Any) -> AsyncGenerator[OpenAIBackend]:
    made = OpenAIBackend(BackendSettings(provider="openai", model="m", base_url=url, **more), None)
    try:
        yield made
    finally:
        await made.aclose()
        gc.collect()


async def at_once(asking: OpenAIBackend | AnthropicBackend, calls: int) -> None:
    async with anyio.create_task_group() as tasks:
        for _ in range(calls):
            tasks.start_soon(asking.complete, ASKED)


async def test_calls_at_once_have_a_connection_each_and_later_ones_use_it_again() -> None:
    async with serving() as server, backend(server.url, max_concurrent=50) as asking:
        for _ in range(3):
            server.together = 50
            await at_once(asking, 50)
        assert (server.made, len(server.asked)) == (50, 150)


async def test_the_same_holds_for_the_other_protocol() -> None:
    async with serving(ANSWERS["anthropic"]) as server:
        settings = BackendSettings(provider="anthropic", model="m", base_url=server.url, max_concurrent=10)
        asking = AnthropicBackend(settings, None)
        for _ in range(3):
            server.together = 10
            await at_once(asking, 10)
        await asking.aclose()
        assert (server.made, len(server.asked)) == (10, 30)


async def test_a_connection_of_a_call_that_was_cancelled_is_not_used_again() -> None:
    async with serving() as server, backend(server.url) as asking:
        await asking.complete(ASKED)
        server.together = 2
        with anyio.fail_after(5):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(asking.complete, ASKED)
                await server.came.wait()
                tasks.cancel_scope.cancel()
        server.together = 1
        server.waiting.pop().set()
        await server.down_to(0)
        assert (await asking.complete(ASKED)).text == "Hello"
        assert server.made == 2


async def test_more_than_may_wait_are_closed() -> None:
    async with serving() as server, backend(server.url, max_concurrent=2) as asking:
        server.together = 5
        await at_once(asking, 5)
        server.together = 1
        for _ in range(5):
            await asking.complete(ASKED)
        await server.down_to(2)
        assert server.made == 5


async def test_closing_the_backend_closes_all_of_them() -> None:
    async with serving() as server:
        async with backend(server.url) as asking:
            server.together = 5
            await at_once(asking, 5)
            assert server.open == 5
        await server.down_to(0)


async def test_a_server_that_cannot_be_reached_leaves_nothing_behind() -> None:
    async with serving() as server:
        url = server.url
    async with backend(url) as asking:
        for _ in range(2):
            with pytest.raises(BackendError, match="no connection to"):
                await asking.complete(ASKED)


async def test_a_proxy_of_the_environment_is_gone_through(monkeypatch: pytest.MonkeyPatch) -> None:
    async with serving() as server:
        monkeypatch.setenv("HTTP_PROXY", server.url.removesuffix("/v1"))
        async with backend("http://models.example/v1") as asking:
            assert (await asking.complete(ASKED)).text == "Hello"
    assert server.asked == ["POST http://models.example/v1/chat/completions HTTP/1.1"]


async def steps_of_a_call(connections: int) -> int:
    """The calls of functions that one request takes where so many connections wait."""
    async with serving() as server, backend(server.url, max_concurrent=connections) as asking:
        server.together = connections
        await at_once(asking, connections)
        server.together = 1
        await asking.complete(ASKED)
        steps = 0

        def count(frame: object, event: str, argument: object) -> None:
            nonlocal steps
            steps += event in {"call", "c_call"}

        sys.setprofile(count)
        try:
            await asking.complete(ASKED)
        finally:
            sys.setprofile(None)
    return steps


@pytest.mark.by_turns
async def test_a_call_costs_the_same_however_many_connections_wait() -> None:
    assert await steps_of_a_call(100) < 1.2 * await steps_of_a_call(4)
