"""Single figures that stand beside the rates of the pump.

    python benchmarks/single.py CASE [N]

ask      a handler that asks another one, again and again: asks a second
scope    the same from within a cancel scope of the handler's own
xml      W1 of `pump.py`, and on every hop the message is written as XML, read and checked against its schema: hops a second
turns    an agent whose model answers at once in this process, one turn after the other: turns a second
latency  a message sent from outside at half of the highest rate: from then until its handler has it, median and p99 in ms
waits    1,000 threads whose handlers wait 10 ms, again and again: waits a second
nodes    hold and settle on four nodes: microseconds, by the rules alone and by the kernel
memory   bytes of a queued thread, of one in line for a place of its handler, of one that waits in `ask`, and of a handler
held     `complete` with a model that answers at once and its hold on the disk before: calls a second, one thread
helds    the same, 1,000 threads at once
import   `import organism`: ms of CPU, with the interpreter's own start left out
check    `organism check` on the file that `organism init` writes: ms of CPU, all of the process

Prints ``RESULT {"rate": ..., "cpu_us": ...}``, or what the case says instead.
"""

from __future__ import annotations

import gc
import resource
import statistics
import subprocess
import sys
import time
import tracemalloc
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Final

import anyio
import trio

from organism import Context, Forward, Organism, Reply, Send
from organism.budget.claims import Charge, Claim
from organism.budget.crossings import crossings
from organism.budget.tree import note_details, put_back
from organism.budget.verdicts import Granted
from organism.budget.waiting import Line
from organism.kernel.conversations import Beginning
from organism.kernel.holds import Hold
from organism.models.contract import RawUsage, Response, ToolCall
from organism.payloads import Vocabulary, encode_xml

sys.path.append(str(Path(__file__).resolve().parent.parent))

from benchmarks.budget import BUDGET, IN, Task, call_for, kernel, typical
from benchmarks.floors import measured, say
from benchmarks.gateway import Instant, instant
from benchmarks.pump import FREE, Ping

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from organism.models.contract import Request
    from organism.settings import BackendSettings

PRICE: Final = {"input": 3, "output": 15}


async def echo(message: Ping, ctx: Context) -> Reply[Ping]:
    """Answers."""
    return Reply(message)


async def ask(count: int, *, scope: bool = False) -> None:
    async def asker(message: Ping, ctx: Context) -> Reply[Ping]:
        """Asks so often."""
        for _ in range(count):
            if scope:
                with anyio.CancelScope():
                    message = await ctx.ask("echo", message, expect=Ping)
            else:
                message = await ctx.ask("echo", message, expect=Ping)
        return Reply(message)

    handlers = {"asker": {"code": asker, "peers": ["echo"]}, "echo": echo}
    async with Organism(name="bench", handlers=handlers, budget=FREE) as made:
        await measured(count, lambda: made.ask("asker", Ping("hi", 0)))


async def xml(hops: int) -> None:
    words = Vocabulary([Ping])

    async def ping(message: Ping, ctx: Context) -> Send[Ping] | Reply[Ping]:
        """Reads it, and sends it on until it has gone to and fro often enough."""
        read: Any = words.decode_xml(encode_xml(message))
        return Reply(read) if read.n >= hops else Send("pong", Ping(read.text, read.n + 1))

    async def pong(message: Ping, ctx: Context) -> Reply[Ping]:
        """Reads it, and answers."""
        read: Any = words.decode_xml(encode_xml(message))
        return Reply(Ping(read.text, read.n + 1))

    handlers: dict[str, Any] = {"ping": {"code": ping, "peers": ["pong"]}, "pong": pong}
    async with Organism(name="bench", handlers=handlers, budget=FREE) as made:
        await measured(hops, lambda: made.ask("ping", Ping("hi", 0)))


class Replying(Instant):
    """A model that replies at once: as plain a class as the fakes that other frameworks are measured with."""

    async def complete(self, request: Request) -> Response:
        """See :class:`~organism.models.contract.Backend`."""
        call = ToolCall(id="call_0", name="reply", arguments='{"text": "Very well.", "n": 1}')
        told = {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}
        given = sum(len(each["content"]) for each in request.messages) // 4 + 1
        return Response(
            text="",
            message={"role": "assistant", "content": "", "tool_calls": [told]},
            tool_calls=(call,),
            finish_reason="tool_calls",
            usage=RawUsage(input_tokens=given, output_tokens=9),
        )


def replying(settings: BackendSettings) -> Replying:
    """A provider of the file."""
    return Replying()


async def turns(count: int) -> None:
    models = {"default": {"backends": [{"provider": replying, "model": "m", "price": PRICE}]}}
    desk = {"desk": {"agent": {"accepts": Ping, "replies": Ping}, "description": "Answers."}}
    async with Organism(name="bench", handlers=desk, models=models, budget={"tokens": 10**6}) as made:

        async def all_of_them() -> None:
            for number in range(count):
                await made.ask("desk", Ping("hi", number))

        await made.ask("desk", Ping("hi", 0))
        await measured(count, all_of_them)


async def latency(count: int) -> None:
    """Bursts of what a millisecond holds at half of the rate would hide waiting: each message has its own instant."""
    took: list[float] = []
    due: list[float] = []

    async def sink(message: Ping, ctx: Context) -> None:
        """Looks at the clock."""
        took.append(time.perf_counter() - due[message.n])

    async with Organism(name="bench", handlers={"sink": sink}, budget=FREE) as made:

        async def flood() -> float:
            start, much = time.perf_counter(), 3000
            due[:] = [start] * much
            handles = [await made.send("sink", Ping("hi", number)) for number in range(much)]
            for handle in handles:
                await handle.result()
            return much / (time.perf_counter() - start)

        await flood()
        highest = statistics.median([await flood() for _ in range(3)])
        took.clear()
        gap = 2 / highest
        start = time.perf_counter() + 0.01
        due[:] = [start + number * gap for number in range(count)]
        for number in range(count):
            while time.perf_counter() < due[number]:
                await anyio.lowlevel.checkpoint()
            await made.send("sink", Ping("hi", number))
        while len(took) < count:
            await anyio.lowlevel.checkpoint()
    took.sort()
    say(highest=highest, rate=highest / 2, p50_ms=took[count // 2] * 1e3, p99_ms=took[count * 99 // 100] * 1e3)


async def waits(rounds: int) -> None:
    async def pause(message: Ping, ctx: Context) -> Forward[Ping] | Reply[Ping]:
        """Waits 10 ms, so often, as the bare tasks beside it do: anyio's way there is no part of what is measured."""
        await trio.sleep(0.01)
        return Reply(message) if message.n >= rounds else Forward("pause", Ping(message.text, message.n + 1))

    async with Organism(name="bench", handlers={"pause": pause}, budget=FREE, max_handlers=2000) as made:

        async def all_of_them() -> None:
            for handle in await made.send_all([("pause", Ping("hi", 1))] * 1000):
                await handle.result()

        await measured(1000 * rounds, all_of_them)


async def nodes(count: int) -> None:
    made = kernel()
    made.accept("t", "boss", Task(), BUDGET, {}, 0.0, turn_of=Beginning(id="c", budget=BUDGET, accounts=IN))
    message = made.schedule.take()
    assert message is not None
    path = message.thread.node.path
    claim = Claim(input_tokens=100, wish=20, exact=True, input_cost=5, output_price=1)
    charge = Charge(input_tokens=90, output_tokens=10, cost=5, model_calls=1)
    line, asked = Line(), call_for(message.thread, message)

    def rules() -> None:
        verdict = line.arrive(claim, path, None, grace=False)
        assert isinstance(verdict, Granted)
        put_back(path, verdict.need, charge.amounts)
        note_details(path, charge)
        crossings(path, charge.amounts)
        line.freed(path)

    def whole() -> None:
        hold = made.calls.hold(claim, asked, 1.0)
        assert isinstance(hold, Hold)
        made.calls.settle(hold, charge, 2.0)

    say(nodes=len(path), rules_us=typical(rules, count), kernel_us=typical(whole, count))


async def memory(count: int) -> None:
    over = anyio.Event()
    started = anyio.Event()
    asking = 0

    async def host(message: Ping, ctx: Context) -> Reply[Ping]:
        """Asks, and waits for the answer."""
        nonlocal asking
        asking += 1
        if asking > count:
            started.set()
        return Reply(await ctx.ask("guest", message, expect=Ping))

    async def guest(message: Ping, ctx: Context) -> Reply[Ping]:
        """The first of them keeps all others waiting."""
        await over.wait()
        return Reply(message)

    def traced() -> int:
        gc.collect()
        return tracemalloc.get_traced_memory()[0]

    waiting = {"host": {"code": host, "peers": ["guest"]}, "guest": {"code": guest, "concurrency": 1}, "echo": echo}
    more = {f"more{number}": {"code": echo} for number in range(count)}
    tracemalloc.start()
    async with Organism(
        name="bench", handlers=waiting, budget=FREE, max_handlers=2 * count, queue=3 * count, watchdog=None
    ) as made:
        await made.ask("echo", Ping("hi", 0))
        await made.send_all([("host", Ping("hi", 0)), ("guest", Ping("hi", 0))])
        await anyio.sleep(0.05)
        messages = [Ping("hi", number) for number in range(count)]
        before = traced()
        queued = await made.send_all([("guest", message) for message in messages])
        after = traced()
        await made.ask("echo", Ping("hi", 0))  # by then all of them stand in the line of their handler
        lined_up = traced()
        suspended = await made.send_all([("host", message) for message in messages])
        await started.wait()
        await made.ask("echo", Ping("hi", 0))
        last = traced()
        over.set()
        for handle in (*queued, *suspended):
            await handle.result()
    before_handlers = traced()
    kept = Organism(name="more", handlers=more, budget=FREE)
    handler = traced() - before_handlers
    tracemalloc.stop()
    assert kept is not None
    say(
        queued=(after - before) / count,
        in_line=(lined_up - before) / count,
        suspended=(last - lined_up) / count,
        handler=handler / count,
    )


async def held(rounds: int, threads: int = 1) -> None:
    async def caller(message: Ping, ctx: Context) -> Reply[Ping]:
        """Calls so often."""
        for _ in range(rounds):
            await ctx.complete("hi")
        return Reply(message)

    models = {"default": {"backends": [{"provider": instant, "model": "m", "price": PRICE, "max_concurrent": 2000}]}}
    budget: dict[str, Any] = {"tokens": 10**8, "warn_at": []}
    with TemporaryDirectory() as folder:
        kept: dict[str, Any] = {"journal": "sqlite:journal.db", "folder": Path(folder)}
        async with Organism(name="bench", handlers={"caller": caller}, models=models, budget=budget, **kept) as made:

            async def all_of_them() -> None:
                for handle in await made.send_all([("caller", Ping("hi", 0))] * threads):
                    await handle.result()

            await measured(rounds * threads, all_of_them)


def spawned(code: list[str], folder: str, times: int = 5) -> float:
    """Milliseconds of CPU that a process takes, the least of some: what else runs can only make it more."""
    found: list[float] = []
    for _ in range(times):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run(code, check=True, capture_output=True, cwd=folder)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        found.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    return min(found) * 1e3


async def importing(count: int) -> None:
    with TemporaryDirectory() as folder:
        nothing = spawned([sys.executable, "-c", "pass"], folder)
        say(ms=spawned([sys.executable, "-c", "import organism"], folder) - nothing)


async def checking(count: int) -> None:
    command = [sys.executable, "-m", "organism.cli"]
    with TemporaryDirectory() as folder:
        spawned([*command, "init", "new"], folder, times=1)
        say(ms=spawned([*command, "check"], f"{folder}/new"))


CASES: Final[dict[str, tuple[Callable[[int], Awaitable[None]], int]]] = {
    "ask": (ask, 50_000),
    "scope": (lambda count: ask(count, scope=True), 20_000),
    "xml": (xml, 50_000),
    "turns": (turns, 500),
    "latency": (latency, 20_000),
    "waits": (waits, 50),
    "nodes": (nodes, 2000),
    "memory": (memory, 5000),
    "held": (held, 1000),
    "helds": (lambda rounds: held(rounds, 1000), 10),
    "import": (importing, 1),
    "check": (checking, 1),
}


def main() -> None:
    if len(sys.argv) not in {2, 3} or sys.argv[1] not in CASES:
        raise SystemExit(__doc__)
    work, usual = CASES[sys.argv[1]]
    anyio.run(work, int(sys.argv[2]) if len(sys.argv) == 3 else usual, backend="trio")


if __name__ == "__main__":
    main()
