"""What the router costs a call, with every rule of budgets on: over HTTP, and over a backend that answers at once.

    python benchmarks/gateway.py [PART...]

http      64 calls at a time over the SDK to a local server that answers at once: the rate
crowd     the same with 512 at a time
sdk       the SDK alone, without a router, 64 and 512 at a time: what of the above is not ours
inside    the router over a backend of this process: the processor's time for a call with a short question, with 20 messages, and
          with a history of 200 messages to which each call adds two, as an agent's does

The server is the one on port 8911 where there is one, else one of its own. Times are of this process alone and not of the clock on
the wall. Prints a line for each figure, with its target where it has one, and ``RESULT {"rate": ...}``: calls a second, 64 at a
time. It fails where a target is missed.
"""

from __future__ import annotations

import asyncio
import json
import socket
import subprocess
import sys
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

import anyio
import httpx2
import openai
from attrs import define, field

from organism import Organism
from organism.models.contract import RawUsage, Response

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Generator, Sequence
    from contextlib import AbstractAsyncContextManager

    from organism.models.contract import Message, Request, Stream
    from organism.settings import BackendSettings

PORT: Final = 8911
CALLS: Final = 2000
ROUNDS: Final = 7
TARGETS: Final = {"short_us": 100}
"""What each figure may be at most."""
BUDGET: Final[dict[str, Any]] = {"tokens": 10**9, "cost_usd": 10**6, "model_calls": 10**7, "seconds": 10**6}
PRICE: Final = {"input": 3, "output": 15}
WORDS: Final = (
    "Please look at what the others have found so far, and say in a few words what is still to be done, and by whom. "
)
ANSWER: Final = {
    "id": "c",
    "object": "chat.completion",
    "created": 1,
    "model": "m",
    "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "ok"}}],
    "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2},
}


@define
class Figures:
    """What was measured, and where that is more than it may be."""

    found: dict[str, float] = field(factory=dict[str, float])
    missed: list[str] = field(factory=list[str])

    def add(self, name: str, value: float, said: str) -> None:
        """Prints a figure."""
        target = TARGETS.get(name)
        self.found[name] = round(value, 1)
        self.missed += [name] if target is not None and value > target else []
        print(f"{value:10.1f}  {said}" + ("" if target is None else f" (at most {target})"), flush=True)


# Over HTTP


class _Answers(asyncio.Protocol):
    """A server that answers every request with the same."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport: Any = transport
        self._came = b""

    def data_received(self, data: bytes) -> None:
        body = json.dumps(ANSWER).encode()
        self._came += data
        while (end := self._came.find(b"\r\n\r\n")) >= 0:
            head = self._came[:end].lower()
            at = head.find(b"content-length:")
            length = 0 if at < 0 else int(head[at + 15 :].split(b"\r\n")[0])
            if len(self._came) < end + 4 + length:
                return
            self._came = self._came[end + 4 + length :]
            said = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(body)
            self._transport.write(said + body)


async def serve(port: int) -> None:
    server = await asyncio.get_running_loop().create_server(_Answers, "127.0.0.1", port, backlog=1024)
    await server.serve_forever()


def _is_there(port: int) -> bool:
    with socket.socket() as knocking:
        return knocking.connect_ex(("127.0.0.1", port)) == 0


@contextmanager
def serving() -> Generator[str]:
    """The URL of a server that answers at once."""
    own = None if _is_there(PORT) else subprocess.Popen([sys.executable, __file__, "serve"])
    try:
        while not _is_there(PORT):
            time.sleep(0.05)
        yield f"http://127.0.0.1:{PORT}/v1"
    finally:
        if own is not None:
            own.terminate()
            own.wait()


async def many(call: Callable[[], Awaitable[object]], calls: int, at_once: int) -> tuple[float, float]:
    """The calls a second by the clock on the wall, and the microseconds of this process for each."""
    left = calls

    async def caller() -> None:
        nonlocal left
        while left > 0:
            left -= 1
            await call()

    async def all_of_them() -> None:
        async with anyio.create_task_group() as group:
            for _ in range(at_once):
                group.start_soon(caller)

    await all_of_them()  # every connection is made, and everything that is made once
    left = calls
    wall, own = time.perf_counter(), time.process_time()
    await all_of_them()
    own, wall = time.process_time() - own, time.perf_counter() - wall
    return calls / wall, own / calls * 1e6


def organism(backend: dict[str, Any]) -> Organism:
    models = {"default": {"backends": [{"price": PRICE, **backend}]}}
    return Organism(name="bench", models=models, budget=BUDGET, ceiling={"tokens": 10**10, "cost_usd": 10**7})


async def over_http(url: str, at_once: int) -> tuple[float, float]:
    backend = {"provider": "openai", "model": "m", "base_url": url, "max_concurrent": at_once}
    async with organism(backend) as made, made.thread() as thread:
        return await many(lambda: thread.complete("hi"), CALLS, at_once)


async def alone(url: str, at_once: int) -> tuple[float, float]:
    limits = httpx2.Limits(max_connections=None, max_keepalive_connections=at_once)
    http = openai.DefaultAsyncHttpxClient(limits=limits)
    question: Any = [{"role": "user", "content": "hi"}]
    async with openai.AsyncOpenAI(api_key="x", base_url=url, max_retries=0, http_client=http) as client:
        return await many(lambda: client.chat.completions.create(model="m", messages=question), CALLS, at_once)


def http(figures: Figures, at_once: int = 64, name: str = "") -> None:
    with serving() as url:
        rate, each = anyio.run(over_http, url, at_once, backend="trio")
    figures.add(f"{name}rate", rate, f"calls a second over HTTP, {at_once} at a time")
    figures.add(f"{name}call_us", each, "us of this process for each")


def sdk(figures: Figures) -> None:
    for at_once, name in ((64, ""), (512, "crowd_")):
        with serving() as url:
            rate, each = anyio.run(alone, url, at_once, backend="trio")
        figures.add(f"{name}sdk_rate", rate, f"calls a second of the SDK alone, {at_once} at a time")
        figures.add(f"{name}sdk_call_us", each, "us of this process for each")


# In this process


class Instant:
    """A backend that answers at once, and reports what prose comes to."""

    async def complete(self, request: Request) -> Response:
        """See :class:`~organism.models.contract.Backend`."""
        given = sum(len(each["content"]) for each in request.messages) // 4 + 8 * len(request.messages)
        message = {"role": "assistant", "content": "It is done."}
        return Response(text="It is done.", message=message, usage=RawUsage(input_tokens=given, output_tokens=4))

    def stream(self, request: Request) -> AbstractAsyncContextManager[Stream]:
        """Nobody asks for one here."""
        raise NotImplementedError

    async def aclose(self) -> None:
        """Has nothing to close."""


def instant(settings: BackendSettings) -> Instant:
    """A provider of the file."""
    return Instant()


def said(number: int) -> str:
    """What is said in a long conversation; never the same twice."""
    return f"{number}: {WORDS}{WORDS if number % 3 else ''}({number * 7919 % 1000})"


def history(messages: int, about: int) -> list[Message]:
    roles = ("user", "assistant")
    first: Message = {"role": "system", "content": WORDS * 5}
    numbers = range(about * 1000, about * 1000 + messages - 1)
    return [first, *({"role": roles[number % 2], "content": said(number)} for number in numbers)]


async def per_call(prompts: Callable[[int], Sequence[Sequence[Message]]]) -> float:
    """Microseconds of this process for a call, in the best of some rounds; the prompts are made beforehand."""
    found: list[float] = []
    async with organism({"provider": instant, "model": "m"}) as made:
        for number in range(ROUNDS):
            async with made.thread() as thread:
                asked = prompts(number)
                start = time.process_time()
                for messages in asked:
                    await thread.complete(messages)
                found.append((time.process_time() - start) / len(asked) * 1e6)
    return min(found)


def short(about: int) -> list[Sequence[Message]]:
    return [({"role": "user", "content": f"hi {about} {number}"},) for number in range(1000)]


def middle(about: int) -> list[Sequence[Message]]:
    begun = history(19, about)
    return [(*begun, {"role": "user", "content": said(1000 * about + 500 + number)}) for number in range(300)]


def growing(about: int) -> list[Sequence[Message]]:
    """A history of 200 messages to which each call adds two."""
    whole = history(400, about)
    return [tuple(whole[:end]) for end in range(200, 400, 2)]


def inside(figures: Figures) -> None:
    for name, prompts, what in (
        ("short", short, "a short question"),
        ("middle", middle, "20 messages, the last of them new"),
        ("long", growing, "200 to 400 messages, two of them new"),
    ):
        each = anyio.run(per_call, prompts, backend="trio")
        figures.add(f"{name}_us", each, f"us of this process for a call with {what}")


PARTS: Final[dict[str, Callable[[Figures], None]]] = {
    "http": http,
    "crowd": lambda figures: http(figures, 512, "crowd_"),
    "sdk": sdk,
    "inside": inside,
}


def main() -> None:
    if sys.argv[1:] == ["serve"]:
        asyncio.run(serve(PORT))
    if not set(sys.argv[1:]) <= set(PARTS):
        raise SystemExit(__doc__)
    figures = Figures()
    for name in sys.argv[1:] or PARTS:
        PARTS[name](figures)
    print("RESULT " + json.dumps(figures.found), flush=True)
    if figures.missed:
        sys.exit(f"more than it may be: {', '.join(figures.missed)}")


if __name__ == "__main__":
    main()
