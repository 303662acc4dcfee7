"""Messages through the pump with a journal on the disk: every step is synced before its effects.

    python benchmarks/durable.py [--bare] durable-serial|durable-many|durable-steps [N [BYTES]]

durable-serial   two handlers, one conversation, a message to and fro (Send and Reply): hops a second. Each waits for its own sync
durable-many     1,000 conversations at once through greeter -> worker -> collector, each a thread that opens and ends: messages a
                 second. They share their syncs
durable-steps    1,000 conversations at once, a message to and fro in each (Send and Reply): what one step costs where no thread
                 opens or ends
--bare           the floor: the same entries, with their hashes and syncs, in a loop without organism, pump and kernel, in batches of
                 as many as the pump makes

The journal is SQLite, ``durability: full``; a message has a text of 400 bytes, or of so many. Prints ``RESULT {"rate": ..., "cpu_us": ..., "disk": ...}``: CPU of all threads of the
process in microseconds, and bytes on the disk, each for one message.
"""

from __future__ import annotations

import json
import sqlite3
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import anyio

from organism import Context, Forward, Organism, Reply, Send, payload
from organism.journal import open_journal
from organism.journal.chain import sealed_hash
from organism.journal.codec import contents
from organism.journal.texts import root_mark
from organism.payloads import Vocabulary
from organism.pump.garbage import SELDOM

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from organism.record.facts import Fact

FREE: dict[str, Any] = {"messages": None, "depth": None, "warn_at": []}
TEXT = "The quick brown fox jumps over the lazy dog. "
CONVERSATIONS = 1000
BATCH = 650
"""Facts that the pump writes at once where 1,000 conversations are open."""
BARE = "--bare" in sys.argv


@payload
class Ping:
    text: str
    n: int


def size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


async def measured(
    handlers: dict[str, Any], count: int, work: Callable[[Organism], Awaitable[object]], *, batch: int = BATCH
) -> None:
    """Runs ``work``, which sends ``count`` messages, in an organism with a journal of its own; ``batch`` is for ``--bare``."""
    with TemporaryDirectory() as folder:
        made = Organism(name="bench", handlers=handlers, budget=FREE, journal="sqlite:journal.db", folder=Path(folder))
        async with made:
            cpu, wall = time.process_time(), time.perf_counter()
            await work(made)
            cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
        disk = size(Path(folder))
        if BARE:
            facts = written(Path(folder) / "journal.db")
            with SELDOM:  # as while the organism ran
                cpu, wall = bare(Path(folder) / "bare.db", facts, batch)
    figures = {"cpu_us": round(cpu / count * 1e6, 1), "disk": round(disk / count)}
    print("RESULT " + json.dumps({"n": count, "s": wall, "rate": count / wall, **figures}), flush=True)


def written(path: Path) -> list[tuple[str, Fact]]:
    """The facts of a journal, in the order in which they were written."""
    journal = open_journal(f"sqlite:{path}", vocabulary=Vocabulary([Ping]), readonly=True)
    found = [(chain.root, fact) for chain in journal.chains() for fact in journal.read(chain.root)]
    journal.close()
    return sorted(found, key=lambda pair: pair[1].at)


def bare(path: Path, facts: Sequence[tuple[str, Fact]], size: int) -> tuple[float, float]:
    """Writes facts into a table, ``size`` of them in a transaction; the seconds of CPU and those that passed."""
    db = sqlite3.connect(path, isolation_level=None)
    db.execute("PRAGMA journal_mode = WAL")
    db.execute("PRAGMA synchronous = FULL")
    db.execute("CREATE TABLE entries (id INTEGER PRIMARY KEY, chain INTEGER, n INTEGER, hash BLOB, body BLOB)")
    db.execute("CREATE UNIQUE INDEX entries_of ON entries (chain, n)")
    chains = {root: number for number, root in enumerate(dict.fromkeys(root for root, _ in facts))}
    marks = {root: root_mark(root) for root in chains}
    ends: dict[str, tuple[int, str | None]] = {}
    cpu, wall = time.process_time(), time.perf_counter()
    for start in range(0, len(facts), size):
        rows: list[tuple[int, int, bytes, bytes]] = []
        for root, fact in facts[start : start + size]:
            whole, body = contents(fact, root, marks[root])
            number, before = ends.get(root, (0, None))
            hashed = sealed_hash(whole, number + 1, before)
            ends[root] = (number + 1, hashed.hex())
            rows.append((chains[root], number + 1, hashed, body))
        db.execute("BEGIN IMMEDIATE")
        db.executemany("INSERT INTO entries (chain, n, hash, body) VALUES (?, ?, ?, ?)", rows)
        db.execute("COMMIT")
    cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    db.close()
    return cpu, wall


def to_and_fro(hops: int) -> dict[str, Any]:
    async def ping(message: Ping, ctx: Context) -> Send[Ping] | Reply[Ping]:
        """Sends it on until it has gone to and fro often enough."""
        if message.n >= hops:
            return Reply(message)
        return Send("pong", Ping(message.text, message.n + 1))

    async def pong(message: Ping, ctx: Context) -> Reply[Ping]:
        """Answers."""
        return Reply(Ping(message.text, message.n + 1))

    return {"ping": {"code": ping, "peers": ["pong"]}, "pong": pong}


async def serial(hops: int, text: str) -> None:
    await measured(to_and_fro(hops), hops, lambda made: made.ask("ping", Ping(text, 0)), batch=1)


async def steps(hops: int, text: str) -> None:
    async def work(made: Organism) -> None:
        for thread in await made.send_all([("ping", Ping(text, 0))] * CONVERSATIONS):
            await thread.result()

    await measured(to_and_fro(hops), CONVERSATIONS * hops, work)


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

    async def work(made: Organism) -> None:
        for _ in range(rounds):
            threads = await made.send_all([("greeter", Ping(text, 0))] * CONVERSATIONS)
            for thread in threads:
                await thread.result()

    await measured(handlers, 3 * rounds * CONVERSATIONS, work)


WORK = {"durable-serial": (serial, 5_000), "durable-many": (many, 20), "durable-steps": (steps, 50)}


def main() -> None:
    arguments = [each for each in sys.argv[1:] if each != "--bare"]
    if len(arguments) not in {1, 2, 3} or arguments[0] not in WORK:
        raise SystemExit(__doc__)
    work, usual = WORK[arguments[0]]
    count, length = [*map(int, arguments[1:]), *(usual, 400)[len(arguments) - 1 :]]
    anyio.run(work, count, (TEXT * (length // len(TEXT) + 1))[:length], backend="trio")


if __name__ == "__main__":
    main()
