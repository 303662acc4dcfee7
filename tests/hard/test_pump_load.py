"""Many threads at once and one after the other: totals add up, and everything is back at its start (hard cases 30, 31)."""

from __future__ import annotations

import gc
import tracemalloc
from typing import Any

import anyio
import pytest
import trio

from organism import Context, Forward, HandlerFailedError, Organism, Reply, Send
from organism.record.facts import Accepted, Answered, CallSettled, Ended, Posted
from organism.settings import SPENT_UNITS
from organism.testing import Says, ScriptedModel, running
from organism.usage import Usage
from tests.hard.pump_world import Go, Said, code


async def greeter(message: Go, ctx: Context) -> Forward[Go]:
    return Forward("worker", message)


async def worker(message: Go, ctx: Context) -> Forward[Go]:
    return Forward("collector", message)


async def collector(message: Go, ctx: Context) -> Reply[Said]:
    return Reply(Said(message.text))


HOPS = {"greeter": code(greeter, "worker"), "worker": code(worker, "collector"), "collector": code(collector)}


def sizes(organism: Organism) -> dict[str, int]:
    """How much there is of everything that lives and dies with threads."""
    assert organism._works is not None
    state, pump = organism.kernel.state, organism._works.pump
    return {
        "threads": len(state.threads),
        "holds": len(state.holds),
        "streams": len(state.streams),
        "line": len(state.line),
        "occupied": len(state.occupied),
        "taken": len(state.schedule.taken),
        "woken": len(state.woken),
        "ended": len(state.ended) + len(organism.kernel.ended),
        "cancelled": len(organism.kernel.ends.cancelled),
        "answered": len(organism.kernel.calls.answered),
        "queued": state.schedule.queued,
        "placed": state.schedule.running,
        "ready": len(state.schedule._ready),
        "returning": len(state.schedule._returning),
        "taken slots": sum(slot.taken + len(slot.waiting) for slot in state.schedule._slots.values()),
        "running": len(pump.running),
        "asking": len(pump.wakeups.asking),
        "in line": len(pump.wakeups.in_line),
        "thread timers": len(pump.deadlines),
        "timers": len(pump.timers),
        "handles": len(organism._handles),
        "active": pump.workers.active,
    }


NOTHING = dict.fromkeys(
    [
        "threads", "holds", "streams", "line", "occupied", "taken", "woken", "ended", "cancelled", "answered", "queued",
        "placed", "ready", "returning", "taken slots", "running", "asking", "in line", "thread timers", "timers", "handles", "active",
    ],
    0,
)  # fmt: skip


def added(usages: list[Usage]) -> Usage:
    """The sum of several; of seconds none is made."""
    return Usage(**{unit: sum(getattr(each, unit) for each in usages) for unit in (*SPENT_UNITS,)})


def spent(usage: Usage) -> dict[str, Any]:
    return {unit: getattr(usage, unit) for unit in SPENT_UNITS}


@pytest.mark.by_turns
async def test_a_thousand_threads_of_three_hops() -> None:
    async with running(handlers=HOPS) as organism:
        threads = [await organism.send("greeter", Go(str(number))) for number in range(1000)]
        results = [await thread.result() for thread in threads]
        assert [result.reply for result in results] == [Said(str(number)) for number in range(1000)]
        assert {(result.outcome, result.usage.messages) for result in results} == {("completed", 3)}
        assert organism.usage().messages == 3000
        by_handler: Any = organism.usage("handler")
        assert {name: usage.messages for name, usage in by_handler.items()} == dict.fromkeys(HOPS, 1000)
        watch = organism.watch
        assert [len(watch.of(kind)) for kind in (Accepted, Answered, Ended)] == [1000, 3000, 1000]
        assert sum(isinstance(step, Posted) for fact in watch.facts for step in fact.steps) == 3000
        await anyio.sleep(1)
        assert sizes(organism) == NOTHING


@pytest.mark.by_turns
async def test_totals_are_the_sums_of_threads_handlers_models_and_facts() -> None:
    """Hard case 31: under load, with calls, sub-threads, failures and cancellings at once."""
    model = ScriptedModel(lambda request: Says(text="a", usage=(len(str(request.messages)) % 50 + 1, 7), seconds=1))
    models = {**model.models(), "small": model.models()["default"]}

    async def root(message: Go, ctx: Context) -> list[Any]:
        await ctx.complete("x" * message.n, model="small" if message.n % 3 else "default")
        answers = await ctx.ask_all([("helper", message), ("helper", message), ("fails", message)])
        assert isinstance(answers[2], HandlerFailedError)
        await ctx.spawn("helper", message)
        return [Reply(Said()), Send("leaf", message)]

    async def helper(message: Go, ctx: Context) -> Reply[Said]:
        await ctx.complete("y" * message.n)
        return Reply(Said())

    async def leaf(message: Go, ctx: Context) -> None:
        await anyio.sleep(message.n % 5)

    async def fails(message: Go, ctx: Context) -> None:
        await ctx.complete("z")
        raise ValueError

    handlers = {
        "root": code(root, "helper", "leaf", "fails"),
        "helper": code(helper, budget={"tokens": 5000}),
        "leaf": code(leaf, concurrency=7),
        "fails": code(fails, budget={"tokens": 5000}, per="thread"),
    }
    count = 60
    async with running(handlers=handlers, models=models, max_handlers=20) as organism:
        threads = [
            await organism.send("root", Go(n=number), labels={"arm": "ab"[number % 2]}) for number in range(count)
        ]
        await anyio.sleep(2.5)
        for thread in threads[::10]:
            thread.cancel()
        results = [await thread.result() for thread in threads]
        whole = organism.usage()
        assert isinstance(whole, Usage)
        assert whole.model_calls > count
        assert spent(whole) == spent(added([result.usage for result in results]))
        for kind in ("handler", "label"):
            by: Any = organism.usage(kind)
            assert spent(whole) == spent(added(list(by.values()))), kind
        calls_only = {"messages": 0}
        for kind in ("model", "backend"):
            by = organism.usage(kind)
            assert spent(whole) | calls_only == spent(added(list(by.values()))), kind
        settled = [fact.charge.amounts for fact in organism.watch.of(CallSettled)]
        charged = sum(step.charged for fact in organism.watch.facts for step in fact.steps if isinstance(step, Posted))
        assert [sum(column) for column in zip(*settled, strict=True)][:2] == [whole.tokens, whole.input_tokens]
        assert charged == whole.messages
        own = [fact.own for fact in organism.watch.of(Ended)]
        assert spent(whole) == spent(added(own))
        outcomes = [result.outcome for result in results]
        assert (outcomes.count("cancelled"), outcomes.count("completed")) == (6, 54)
        await anyio.sleep(1)
        assert sizes(organism) == NOTHING


@pytest.mark.by_turns
async def test_ten_thousand_threads_leave_nothing_behind() -> None:
    """Hard case 30: registries at their start, the oldest live thread still there."""
    gate = anyio.Event()

    async def waits(message: Go, ctx: Context) -> Reply[Said]:
        await gate.wait()
        return Reply(Said("still here"))

    async def simple(message: Go, ctx: Context) -> Reply[Said]:
        return Reply(Said(message.text))

    handlers = {"waits": code(waits, timeout=None), "simple": code(simple)}
    # Nobody listens: as in production, and no facts are kept by a watch. On a busy machine a watchdog's stacks would count whole modules' lines.
    async with Organism(name="test", handlers=handlers, watchdog=None) as organism:
        oldest = await organism.send("waits", Go(), id="oldest")
        await anyio.sleep(0.1)
        before = sizes(organism)

        async def batch(size: int) -> None:
            threads = [await organism.send("simple", Go(str(number))) for number in range(size)]
            for thread in threads:
                await thread.result()

        await batch(1000)
        gc.collect()
        objects = len(gc.get_objects())
        for _ in range(5):
            await batch(1000)
        tracemalloc.start()
        try:
            await batch(1000)
            gc.collect()
            memory = tracemalloc.get_traced_memory()[0]
            for _ in range(3):
                await batch(1000)
            gc.collect()
            grown = tracemalloc.get_traced_memory()[0] - memory
        finally:
            tracemalloc.stop()
        await anyio.sleep(1)
        assert sizes(organism) == before
        assert len(gc.get_objects()) - objects < 500
        assert grown < 10_000  # the 3,000 threads that were measured took some 700 bytes each while they lived
        assert organism.thread_of("oldest") is oldest
        gate.set()
        assert (await oldest.result()).reply == Said("still here")
        await anyio.sleep(1)
        assert sizes(organism) == NOTHING


async def test_what_fails_waits_times_out_or_is_cancelled_leaves_nothing_behind_either() -> None:
    model = ScriptedModel(lambda _: Says(text="a", usage=(5, 5), seconds=1))

    async def root(message: Go, ctx: Context) -> Any:
        match message.n % 8:
            case 0:
                raise ValueError
            case 1:
                await anyio.sleep(100)
            case 2:
                await ctx.ask("slow", message, timeout=1)
            case 3:
                await ctx.ask_all([("slow", message), ("slow", message), ("root", message)])
            case 4:
                await (await ctx.spawn("slow", message)).result()
            case 5:
                await ctx.complete("x", max_output_tokens=400)
            case 6:
                anyio.CancelScope().__enter__()
            case _:
                return [Send("slow", message), Send("slow", message)]
        return None

    async def slow(message: Go, ctx: Context) -> Reply[Said]:
        await anyio.sleep(2)
        return Reply(Said())

    handlers = {"root": code(root, "slow", timeout=10), "slow": code(slow, concurrency=9, budget={"tokens": 10})}
    async with running(
        handlers=handlers, models=model.models(), ceiling={"tokens": 5000}, max_handlers=30, budget={"seconds": 500}
    ) as organism:
        workers = []
        for _ in range(3):
            threads = [await organism.send("root", Go(n=number)) for number in range(160)]
            await anyio.sleep(1.5)
            for thread in threads[::7]:
                thread.cancel()
            for thread in threads:
                await thread.result()
            await anyio.sleep(20)
            assert sizes(organism) == NOTHING
            workers.append(organism.statistics().workers)
        assert workers[-1] <= 40


@pytest.mark.parametrize("rounds", [3])
async def test_a_journal_that_is_kept_lets_ended_threads_go(rounds: int) -> None:
    async with running(handlers=HOPS) as organism:
        journal = organism.keep_history()
        for _ in range(rounds):
            threads = [await organism.send("greeter", Go()) for _ in range(100)]
            assert len(journal) == 100
            assert len(journal.read(threads[0].id)) == 1
            for thread in threads:
                await thread.result()
            assert len(journal) == 0


class Steps(trio.abc.Instrument):
    """Counts how often the event loop steps a task, but for one."""

    def __init__(self, but_for: trio.lowlevel.Task) -> None:
        self._but_for = but_for
        self.count = 0

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        self.count += task is not self._but_for


@pytest.mark.parametrize("anyio_backend", ["trio"], indirect=True)
async def test_a_worker_that_is_woken_while_nobody_is_at_work_is_stepped_once() -> None:
    """I/O has had its turn when it comes: it gives it no other before it rests, however long ago somebody was at work."""
    steps = Steps(trio.lowlevel.current_task())
    async with running(handlers={"collector": code(collector)}) as organism:
        await organism.ask("collector", Go("first"))
        await anyio.sleep(1)
        trio.lowlevel.add_instrument(steps)
        assert await organism.ask("collector", Go("hi")) == Said("hi")
        await anyio.sleep(0.001)
        trio.lowlevel.remove_instrument(steps)
    assert steps.count == 1
