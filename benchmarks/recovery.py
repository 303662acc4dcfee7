"""How long an organism takes to go on where its process left off, and what its finished threads cost.

    python benchmarks/recovery.py [FINISHED] [OPEN]

The journal (SQLite) holds 100,000 finished and 1,000 open threads: the facts of two real ones, under other ids. An open one has
asked two handlers, keeps a state, and waits. Prints ``RESULT {"open_s": ..., "resume_s": ..., ...}``: seconds from the start of the
organism until it runs, and from then on until all open threads do; the growth of the process's memory by each, in KB.
"""

from __future__ import annotations

import gc
import json
import resource
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import anyio
from attrs import evolve, fields, has

sys.path.append(str(Path(__file__).resolve().parent.parent))

from benchmarks.given import given
from organism import Context, Organism, Reply, Send, payload
from organism.journal import open_journal

if TYPE_CHECKING:
    from organism.record.facts import Fact

FREE: dict[str, Any] = {"messages": None, "depth": None, "warn_at": []}
TEXT = ("The quick brown fox jumps over the lazy dog. " * 9)[:400]
BATCH = 500
"""Threads whose facts are written at once."""


@payload
class Ping:
    text: str
    n: int


async def greeter(message: Ping, ctx: Context) -> Send[Ping] | Reply[Ping]:
    """Hands on, and answers; above 1 it waits for ever."""
    if ctx.sender or message.n == 0:
        return Reply(message) if ctx.sender else Send("worker", message)
    ctx.state["seen"] = message.n
    for n in range(2):
        await ctx.ask("worker", Ping(message.text, n))
    await anyio.sleep_forever()
    return Reply(message)


async def worker(message: Ping, ctx: Context) -> Reply[Ping]:
    """Answers."""
    return Reply(Ping(message.text, message.n + 1))


def organism(journal: str, folder: Path) -> Organism:
    handlers = {"greeter": {"code": greeter, "peers": ["worker"]}, "worker": worker}
    return Organism(name="bench", handlers=handlers, budget=FREE, journal=journal, folder=folder)


async def lives(folder: Path) -> list[list[Fact]]:
    """The facts of a thread that finishes, and of one that does not."""
    made: list[list[Fact]] = []
    for n in range(2):
        facts: list[Fact] = []
        async with organism("memory:", folder) as running:
            running.subscribe(facts.append)
            handle = await running.send("greeter", Ping(TEXT, n))
            with anyio.move_on_after(0.1):
                await handle.result()
            made.append(facts[:])
    return made


def renamed(value: Any, old: str, new: str) -> Any:
    """The value with another id wherever one stands."""
    if value == old and isinstance(value, str):
        return new
    if isinstance(value, tuple):
        return tuple(renamed(each, old, new) for each in value)
    if has(type(value)) and type(value) is not Ping:
        inner = {each.name: getattr(value, each.name) for each in fields(type(value))}
        changed = {name: renamed(one, old, new) for name, one in inner.items() if isinstance(one, (str, tuple))}
        return evolve(value, **{name: one for name, one in changed.items() if one is not inner[name]})
    return value


def fill(folder: Path, finished: list[Fact], unfinished: list[Fact], counts: tuple[int, int]) -> None:
    """Writes the journal; the open threads are spread over the finished ones."""
    journal = open_journal("sqlite:journal.db", folder=folder, durable=False)
    every = [finished] * counts[0]
    step = max(1, counts[0] // max(1, counts[1]))
    for number in range(counts[1]):
        every.insert(number * (step + 1), unfinished)
    for start in range(0, len(every), BATCH):
        batch = [
            (f"{number:016x}", renamed(fact, facts[0].thread, f"{number:016x}"))
            for number, facts in enumerate(every[start : start + BATCH], start)
            for fact in facts
        ]
        assert not journal.write(batch)
    journal.close()


def size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def kb() -> int:
    """The memory of this process, in KB."""
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() // 1024


async def main(finished: int, unfinished: int) -> None:
    with TemporaryDirectory() as name:
        folder = Path(name)
        done, waits = await lives(folder)
        fill(folder, done, waits, (finished, unfinished))
        before, start = kb(), time.perf_counter()
        made = organism("sqlite:journal.db", folder)
        async with made:
            opened, with_all = time.perf_counter(), kb()
            again = time.perf_counter()
            handles = await made.resume()
            resumed, with_open = time.perf_counter(), kb()
            assert len(handles) == unfinished, len(handles)
        figures = {
            "finished": finished, "open": unfinished, "mb": size(folder) // 2**20, "open_s": round(opened - start, 3),
            "resume_s": round(resumed - again, 3), "opened_kb": with_all - before, "resumed_kb": with_open - with_all,
        }  # fmt: skip
        print("RESULT " + json.dumps(figures), flush=True)


if __name__ == "__main__":
    finished, unfinished = given(__doc__, 100_000, 1_000)
    anyio.run(main, finished, unfinished, backend="trio")
