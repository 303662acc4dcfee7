"""How cost and memory grow: with handlers, live threads, messages of a thread, depth, payloads, histories and journals.

    python benchmarks/growth.py [--memory] CASE [SIZE]

handlers   a ring of so many handlers, one token: each hop
threads    so many threads that wait in `ask`, and beside them a message to and fro: each hop
messages   one thread of so many messages: each of them
depth      so many handlers, each of which asks the next: each ask
payload    a message with a text of so many bytes on every hop: each hop, journal included
xml        the same, written as XML and read and checked again: each
history    an agent in a conversation that has had so many turns: each further turn, the model's own time left out
journal    an organism on a journal (SQLite) with so many ended threads: to open it, and each hop from then on

Prints ``RESULT {"cpu_us": ..., "rate": ...}``: microseconds of this process for one of them, and how many a second by the clock on
the wall; with ``--memory`` (slower: every allocation is counted) ``RESULT {"bytes": ...}``: what the size itself keeps in memory.
"""

from __future__ import annotations

import gc
import json
import sys
import time
import tracemalloc
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Final

import anyio
from attrs import define, field

from organism import Context, Forward, Organism, Reply, Send
from organism.journal import open_journal
from organism.payloads import Vocabulary, encode_xml
from organism.testing import Says, ScriptedModel

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.pump import FREE
from benchmarks.recovery import Ping, fill, greeter, lives, worker

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Generator

HOPS: Final = 20_000
MODEL: Final = ScriptedModel([Says(calls=(("reply", {"text": "Very well, that is done.", "n": 1}),))])
TEXT: Final = "The quick brown fox jumps over the lazy dog. "


@define
class Meter:
    """What is measured: time, or, where ``tracing``, memory."""

    tracing: bool
    found: dict[str, float] = field(factory=dict[str, float])
    _before: int = 0

    def begin(self) -> None:
        """What is kept from here on is counted."""
        if self.tracing:
            gc.collect()
            self._before = tracemalloc.get_traced_memory()[0]

    def keep(self) -> None:
        """What was kept since ``begin`` is the size's own."""
        if self.tracing:
            gc.collect()
            self.found["bytes"] = tracemalloc.get_traced_memory()[0] - self._before

    def timed(self, count: int) -> Generator[None]:
        """Takes the time of so many, between the two steps of what it gives."""
        cpu, wall = time.process_time(), time.perf_counter()
        yield
        cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
        if not self.tracing:
            self.found |= {"cpu_us": cpu / count * 1e6, "rate": count / wall}

    async def time(self, count: int, work: Callable[[], Awaitable[object]]) -> None:
        """The time of so many, all in one."""
        both = self.timed(count)
        next(both)
        await work()
        next(both, None)


async def pong(message: Ping, ctx: Context) -> Reply[Ping]:
    """Answers."""
    return Reply(Ping(message.text, message.n + 1))


def to_and_fro(hops: int, last: Callable[[], None] | None = None) -> dict[str, Any]:
    """Two handlers between which a message goes so often; ``last`` is called in the last hop."""

    async def ping(message: Ping, ctx: Context) -> Send[Ping] | Reply[Ping]:
        """Sends it on until it has gone to and fro often enough."""
        if message.n >= hops:
            if last is not None:
                last()
            return Reply(message)
        return Send("pong", Ping(message.text, message.n + 1))

    return {"ping": {"code": ping, "peers": ["pong"]}, "pong": pong}


def organism(handlers: dict[str, Any], **more: Any) -> Organism:
    return Organism(name="growth", handlers=handlers, budget=FREE, **more)


async def handlers(size: int, meter: Meter) -> None:
    def link(number: int) -> Any:
        onward = f"h{(number + 1) % size}"

        async def hand_on(message: Ping, ctx: Context) -> Forward[Ping] | Reply[Ping]:
            """Hands the token on."""
            return Reply(message) if message.n >= HOPS else Forward(onward, Ping(message.text, message.n + 1))

        return {"code": hand_on, "peers": [onward]}

    links = {f"h{number}": link(number) for number in range(size)}
    meter.begin()
    async with organism(links) as made:
        meter.keep()
        await meter.time(HOPS, lambda: made.ask("h0", Ping("hi", 1)))


async def threads(size: int, meter: Meter) -> None:
    over = anyio.Event()

    async def host(message: Ping, ctx: Context) -> Reply[Ping]:
        """Asks, and waits for the answer."""
        return Reply(await ctx.ask("guest", message, expect=Ping))

    async def guest(message: Ping, ctx: Context) -> Reply[Ping]:
        """The first of them keeps all others waiting."""
        await over.wait()
        return Reply(message)

    waiting = {"host": {"code": host, "peers": ["guest"]}, "guest": {"code": guest, "concurrency": 1}}
    async with organism(to_and_fro(HOPS) | waiting, max_handlers=size + 10, queue=size + 10) as made:
        messages = [("host", Ping("hi", number)) for number in range(size)]
        meter.begin()
        handles = await made.send_all(messages)
        await made.ask("ping", Ping("hi", HOPS))  # everything before it has been delivered
        await anyio.sleep(0.05)
        meter.keep()
        await meter.time(HOPS, lambda: made.ask("ping", Ping("hi", 0)))
        over.set()
        for handle in handles:
            await handle.result()


async def messages(size: int, meter: Meter) -> None:
    async with organism(to_and_fro(size, meter.keep)) as made:
        await made.ask("pong", Ping("hi", 0))
        meter.begin()
        await meter.time(size, lambda: made.ask("ping", Ping("hi", 0)))


async def depth(size: int, meter: Meter) -> None:
    def floor(number: int) -> Any:
        below = f"h{number + 1}"

        async def ask_on(message: Ping, ctx: Context) -> Reply[Ping]:
            """Asks the one below, but for the last."""
            if number < size:
                return Reply(await ctx.ask(below, message, expect=Ping))
            meter.keep()
            return Reply(message)

        return {"code": ask_on, "peers": [below] if number < size else []}

    rounds = max(1, 5000 // size)
    async with organism({f"h{number}": floor(number) for number in range(size + 1)}) as made:
        meter.begin()

        async def again() -> None:
            for _ in range(rounds):
                await made.ask("h0", Ping("hi", 0))

        await meter.time(rounds * size, again)


async def payload(size: int, meter: Meter) -> None:
    hops = min(4000, max(100, 40_000_000 // size))
    with TemporaryDirectory() as folder:
        kept: dict[str, Any] = {"journal": "sqlite:journal.db", "durability": "normal", "folder": Path(folder)}
        async with organism(to_and_fro(hops, meter.keep), **kept) as made:
            text = (TEXT * (size // len(TEXT) + 1))[:size]
            meter.begin()
            await meter.time(hops, lambda: made.ask("ping", Ping(text, 0)))


async def xml(size: int, meter: Meter) -> None:
    words = Vocabulary([Ping])
    message = Ping((TEXT * (size // len(TEXT) + 1))[:size], 7)
    rounds = min(5000, max(20, 20_000_000 // size))

    async def all_of_them() -> None:
        for _ in range(rounds):
            words.decode_xml(encode_xml(message))

    words.decode_xml(encode_xml(message))  # everything that is made once
    meter.begin()
    kept = words.decode_xml(encode_xml(message))
    meter.keep()
    assert kept == message
    await meter.time(rounds, all_of_them)


async def history(size: int, meter: Meter) -> None:
    desk = {"agent": {"accepts": Ping, "replies": Ping}, "description": "Answers."}
    further = 50
    budget = FREE | {"tokens": None}
    made = Organism(name="growth", handlers={"desk": desk}, models=MODEL.models(context_window=10**9), budget=budget)
    async with made:

        async def turns(count: int) -> None:
            for number in range(count):
                handle = await made.send("desk", Ping(TEXT * 4, number), conversation="long")
                await handle.result()
                MODEL.requests.clear()

        meter.begin()
        await turns(size)
        meter.keep()
        await meter.time(further, lambda: turns(further))


async def journal(size: int, meter: Meter) -> None:
    with TemporaryDirectory() as name:
        folder = Path(name)
        done, unfinished = await lives(folder)
        fill(folder, done, unfinished, (size, 0))
        meter.begin()
        opening, cpu = time.perf_counter(), time.process_time()
        kept: dict[str, Any] = {"journal": "sqlite:journal.db", "durability": "normal", "folder": folder}
        greeting = {"greeter": {"code": greeter, "peers": ["worker"]}, "worker": worker}
        async with organism(to_and_fro(HOPS // 5) | greeting, **kept) as made:
            opened = {
                "open_ms": (time.perf_counter() - opening) * 1e3,
                "open_cpu_ms": (time.process_time() - cpu) * 1e3,
            }
            meter.keep()
            await meter.time(HOPS // 5, lambda: made.ask("ping", Ping("hi", 0)))
        start = time.process_time()
        reader = open_journal(f"sqlite:{folder / 'journal.db'}", vocabulary=Vocabulary([Ping]), readonly=True)
        assert list(reader.read(f"{size // 2:016x}"))
        meter.found |= opened | {"read_one_ms": (time.process_time() - start) * 1e3}
        reader.close()


CASES: Final[dict[str, tuple[Callable[[int, Meter], Awaitable[None]], tuple[int, ...]]]] = {
    "handlers": (handlers, (10, 100, 1000, 4000)),
    "threads": (threads, (10, 100, 1000, 10_000)),
    "messages": (messages, (1000, 10_000, 100_000)),
    "depth": (depth, (10, 100, 1000, 3000)),
    "payload": (payload, (100, 1000, 10_000, 100_000, 1_000_000)),
    "xml": (xml, (100, 1000, 10_000, 100_000, 1_000_000)),
    "history": (history, (10, 30, 100, 300)),
    "journal": (journal, (1000, 10_000, 100_000)),
}
"""What grows, and to what sizes."""


def main() -> None:
    words = [word for word in sys.argv[1:] if word != "--memory"]
    if len(words) not in {1, 2} or words[0] not in CASES:
        raise SystemExit(__doc__)
    work, sizes = CASES[words[0]]
    for size in [int(words[1])] if len(words) == 2 else sizes:
        meter = Meter("--memory" in sys.argv)
        if meter.tracing:
            tracemalloc.start()
        anyio.run(work, size, meter, backend="trio")
        tracemalloc.stop()
        figures = {name: round(value, 3) for name, value in meter.found.items()}
        print("RESULT " + json.dumps({"case": words[0], "size": size, **figures}), flush=True)


if __name__ == "__main__":
    main()
