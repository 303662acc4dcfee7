"""What a fact costs: microseconds of CPU to encode it and to write it, and bytes on the disk.

    python benchmarks/journal.py [N], at least 1,000

The facts are those of two handlers that send a message of 400 bytes to and fro: one ``Answered`` with one ``Posted`` a hop. Prints
``RESULT {...}`` a case; ``wall`` is in microseconds a fact, too, and depends on how long the disk takes to sync.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

sys.path.append(str(Path(__file__).resolve().parent.parent))

from benchmarks.given import given
from organism import payload
from organism.journal import MemoryJournal, open_journal
from organism.journal.codec import content
from organism.record.facts import Accepted, Answered, Posted, ThreadOpened
from organism.settings import BudgetSettings

if TYPE_CHECKING:
    from collections.abc import Callable

    from organism.record.facts import Fact

TEXT = ("The quick brown fox jumps over the lazy dog. " * 9)[:400]


@payload
class Ping:
    text: str
    n: int


def opened(root: str) -> Fact:
    step = ThreadOpened(thread=root, kind="root", handler="ping", budget=BudgetSettings(), owner=None, labels={})
    return Accepted(at=1_795_235_072.155673, thread=root, steps=(step,))


def hop(root: str, n: int) -> Fact:
    me, other = ("ping", "pong") if n % 2 else ("pong", "ping")
    posted = Posted(
        thread=root, seq=n + 1, to=other, payload=Ping(TEXT, n), sender=me, kind="send", frame=(root, n + 1), opens=True,
        parent=(root, n), depth=n,
    )  # fmt: skip
    return Answered(at=1_795_235_072.155673 + n / 1000, thread=root, seq=n, handler=me, steps=(posted,))


def timed(name: str, count: int, work: Callable[[], Any], **more: Any) -> None:
    cpu, wall = time.process_time(), time.perf_counter()
    work()
    cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    figures = {"case": name, "n": count, "cpu_us": round(cpu / count * 1e6, 1), "wall_us": round(wall / count * 1e6, 1)}
    print("RESULT " + json.dumps({**figures, **more}), flush=True)


def encoding(count: int) -> None:
    facts = [hop("4164d8399f767c45", n) for n in range(1, count + 1)]
    content(facts[0], "r")
    timed("encode", count, lambda: [content(fact, "4164d8399f767c45") for fact in facts])


def writing(url: str, count: int, chains: int, size: int, *, durable: bool) -> None:
    """``count`` facts of ``chains`` chains in turn, in batches of ``size``."""
    roots = [f"{number:016x}" for number in range(chains)]
    facts = [(root, hop(root, n)) for n in range(1, count // chains + 1) for root in roots]
    with TemporaryDirectory() as folder:
        journal = MemoryJournal() if url == "memory:" else open_journal(url, folder=Path(folder), durable=durable)
        assert not journal.write([(root, opened(root)) for root in roots])

        def write() -> None:
            for start in range(0, len(facts), size):
                assert not journal.write(facts[start : start + size])

        timed(f"{url} {chains} chains, batches of {size}, {'full' if durable else 'normal'}", len(facts), write)
        journal.close()
        taken = sum(path.stat().st_size for path in Path(folder).rglob("*") if path.is_file())
        print(f"       {taken / len(facts):.0f} bytes a fact on the disk")


def main(count: int) -> None:
    encoding(count)
    writing("memory:", count, 1, 100, durable=False)
    for durable in (False, True):
        writing("sqlite:journal.db", count // 10, 1, 1, durable=durable)
        writing("sqlite:journal.db", count, 1, 100, durable=durable)
        writing("sqlite:journal.db", count, 1000, 100, durable=durable)
        writing("jsonl:journal", count // 10, 1, 1, durable=durable)
        writing("jsonl:journal", count, 1, 100, durable=durable)
    writing("jsonl:journal", count, 1000, 100, durable=False)


if __name__ == "__main__":
    main(max(1_000, *given(__doc__, 20_000)))
