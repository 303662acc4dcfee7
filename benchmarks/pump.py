"""Messages through the pump, with every rule on: peers and types checked, budgets counted, ends detected.

    python benchmarks/pump.py W1|W2F|W2C|W4 [N]

W1   two handlers, one conversation, a small typed message to and fro (Send and Reply): hops a second
W2F  one coordinator, 1,000 handlers, each answers, next round: messages a second
W2C  1,000 conversations at once through greeter -> worker -> collector, each a thread that opens and ends
W4   a ring of 100 handlers, one token (Forward): hops a second

Prints ``RESULT {"rate": ..., "cpu_us": ...}``: by the clock on the wall, and microseconds of this process for one of them.
"""

from __future__ import annotations

import json
import sys
import time
from typing import Any

import anyio

from organism import Context, Forward, Organism, Reply, Send, payload

FREE: dict[str, Any] = {"messages": None, "depth": None, "warn_at": []}


@payload
class Ping:
    text: str
    n: int


def now() -> tuple[float, float]:
    """The clock on the wall, and the time of this process."""
    return time.perf_counter(), time.process_time()


def report(count: int, since: tuple[float, float]) -> None:
    seconds, cpu = (end - start for start, end in zip(since, now(), strict=True))
    figures = {"n": count, "s": seconds, "rate": count / seconds, "cpu_us": round(cpu / count * 1e6, 2)}
    print("RESULT " + json.dumps(figures), flush=True)


def organism(handlers: dict[str, Any]) -> Organism:
    return Organism(name="bench", handlers=handlers, budget=FREE)


async def w1(hops: int) -> None:
    async def ping(message: Ping, ctx: Context) -> Send[Ping] | Reply[Ping]:
        """Sends it on until it has gone to and fro often enough."""
        if message.n >= hops:
            return Reply(message)
        return Send("pong", Ping(message.text, message.n + 1))

    async def pong(message: Ping, ctx: Context) -> Reply[Ping]:
        """Answers."""
        return Reply(Ping(message.text, message.n + 1))

    async with organism({"ping": {"code": ping, "peers": ["pong"]}, "pong": pong}) as made:
        start = now()
        await made.ask("ping", Ping("hi", 0))
        report(hops, start)


async def w2f(rounds: int) -> None:
    workers = [f"w{number}" for number in range(1000)]
    answers = 0

    async def coordinator(message: Ping, ctx: Context) -> list[Send[Ping]] | Reply[Ping] | None:
        """Asks everybody, and again when everybody has answered."""
        nonlocal answers
        if ctx.sender:
            answers += 1
            if answers % len(workers):
                return None
        if answers == rounds * len(workers):
            return Reply(message)
        return [Send(worker, Ping("x", answers)) for worker in workers]

    async def worker(message: Ping, ctx: Context) -> Reply[Ping]:
        """Answers."""
        return Reply(Ping(message.text, message.n + 1))

    handlers: dict[str, Any] = dict.fromkeys(workers, worker)
    async with organism({"coordinator": {"code": coordinator, "peers": workers}, **handlers}) as made:
        start = now()
        await made.ask("coordinator", Ping("go", 0))
        report(2 * rounds * len(workers), start)


async def w2c(rounds: int) -> None:
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
    async with organism(handlers) as made:
        start = now()
        for _ in range(rounds):
            threads = [await made.send("greeter", Ping("hi", 0)) for _ in range(conversations)]
            for thread in threads:
                await thread.result()
        report(3 * rounds * conversations, start)


async def w4(hops: int) -> None:
    size = 100

    def link(number: int) -> Any:
        onward = f"h{(number + 1) % size}"

        async def hand_on(message: Ping, ctx: Context) -> Forward[Ping] | Reply[Ping]:
            """Hands the token on."""
            if message.n >= hops:
                return Reply(message)
            return Forward(onward, Ping(message.text, message.n + 1))

        return {"code": hand_on, "peers": [onward]}

    async with organism({f"h{number}": link(number) for number in range(size)}) as made:
        start = now()
        await made.ask("h0", Ping("hi", 1))
        report(hops, start)


WORK = {"W1": (w1, 100_000), "W2F": (w2f, 25), "W2C": (w2c, 17), "W4": (w4, 50_000)}


def main() -> None:
    if len(sys.argv) not in {2, 3} or sys.argv[1] not in WORK:
        raise SystemExit(__doc__)
    work, usual = WORK[sys.argv[1]]
    anyio.run(work, int(sys.argv[2]) if len(sys.argv) == 3 else usual, backend="trio")


if __name__ == "__main__":
    main()
