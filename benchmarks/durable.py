"""Messages through the pump with a journal on the disk: every step is synced before its effects.

    python benchmarks/durable.py durable-serial|durable-many [N [BYTES]]

durable-serial   two handlers, one conversation, a message to and fro (Send and Reply): hops a second. Each waits for its own sync
durable-many     1,000 conversations at once through greeter -> worker -> collector, each a thread that opens and ends: messages a
                 second. They share their syncs

The journal is SQLite, ``durability: full``; a message has a text of 400 bytes, or of so many. Prints ``RESULT {"rate": ..., "cpu_us": ..., "disk": ...}``: CPU of all threads of the
process in microseconds, and bytes on the disk, each for one message.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import anyio

from organism import Context, Forward, Organism, Reply, Send, payload

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

FREE: dict[str, Any] = {"messages": None, "depth": None, "warn_at": []}
TEXT = "The quick brown fox jumps over the lazy dog. "


@payload
class Ping:
    text: str
    n: int


def size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


async def measured(handlers: dict[str, Any], count: int, work: Callable[[Organism], Awaitable[object]]) -> None:
    """Runs ``work``, which sends ``count`` messages, in an organism with a journal of its own."""
    with TemporaryDirectory() as folder:
        made = Organism(name="bench", handlers=handlers, budget=FREE, journal="sqlite:journal.db", folder=Path(folder))
        async with made:
            cpu, wall = time.process_time(), time.perf_counter()
            await work(made)
            cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
        disk = size(Path(folder))
    figures = {"cpu_us": round(cpu / count * 1e6, 1), "disk": round(disk / count)}
    print("RESULT " + json.dumps({"n": count, "s": wall, "rate": count / wall, **figures}), flush=True)


async def serial(hops: int, text: str) -> None:
    async def ping(message: Ping, ctx: Context) -> Send[Ping] | Reply[Ping]:
        """Sends it on until it has gone to and fro often enough."""
        if message.n >= hops:
            return Reply(message)
        return Send("pong", Ping(message.text, message.n + 1))

    async def pong(message: Ping, ctx: Context) -> Reply[Ping]:
        """Answers."""
        return Reply(Ping(message.text, message.n + 1))

    handlers = {"ping": {"code": ping, "peers": ["pong"]}, "pong": pong}
    await measured(handlers, hops, lambda made: made.ask("ping", Ping(text, 0)))


async def many(rounds: int, text: str) -> None:
    async def greeter(message: Ping, ctx: Context) -> Forward[Ping]:
        """Hands on."""
        return Forward("worker", Ping(message.text, message.n + 1))

    async def worker(message: Ping, ctx: Context) -> Forward[Ping]:
        """Hands on."""
        return Forward("collector", Ping(message.text, message.n + 1))

    async def collector(message: Ping, ctx: Context) -> None:
        """Takes it in."""

    handlers = {
        "greeter": {"code": greeter, "peers": ["worker"]},
        "worker": {"code": worker, "peers": ["collector"]},
        "collector": collector,
    }
    conversations = 1000

    async def work(made: Organism) -> None:
        for _ in range(rounds):
            threads = await made.send_all([("greeter", Ping(text, 0))] * conversations)
            for thread in threads:
                await thread.result()

    await measured(handlers, 3 * rounds * conversations, work)


WORK = {"durable-serial": (serial, 5_000), "durable-many": (many, 20)}


def main() -> None:
    if len(sys.argv) not in {2, 3, 4} or sys.argv[1] not in WORK:
        raise SystemExit(__doc__)
    work, usual = WORK[sys.argv[1]]
    count, length = [*map(int, sys.argv[2:]), *(usual, 400)[len(sys.argv) - 2 :]]
    anyio.run(work, count, (TEXT * (length // len(TEXT) + 1))[:length], backend="trio")


if __name__ == "__main__":
    main()
