"""Floods from inside and outside: what is under way in one thread is bounded, and nobody is kept from its turn by another's flood."""

from __future__ import annotations

import gc
import logging
import tracemalloc
from itertools import count
from typing import TYPE_CHECKING, Any

import anyio
import anyio.lowlevel
import pytest
import trio

from organism import Context, HandlerFailedError, Organism, Reply, Send
from organism.errors import QueueFullError, RoutingError
from organism.settings import Settings
from organism.testing import Says, ScriptedModel, running
from tests.hard.pump_world import Go, Said, code, echo

if TYPE_CHECKING:
    from collections.abc import Iterator

    from organism import ThreadHandle

FREE: dict[str, Any] = {"messages": None, "depth": None}


async def nothing(message: Go, ctx: Context) -> None:
    """Takes a message."""


async def flood(message: Go, ctx: Context) -> list[Send[Go]]:
    return [Send("sink", Go(message.text)) for _ in range(message.n)]


# How much of one thread is under way


async def test_what_a_thread_sends_beyond_its_queue_is_an_error_of_that_thread() -> None:
    """Nothing of the answer is carried out, the sender's caller hears why, and the others notice nothing."""
    handlers = {"flood": code(flood, "sink"), "sink": code(nothing), "echo": code(echo)}
    async with running(handlers=handlers, budget=FREE, thread_queue=100) as organism:
        just = await (await organism.send("flood", Go(n=100))).result()
        assert (just.outcome, just.usage.messages) == ("completed", 101)
        over = await (await organism.send("flood", Go(n=101))).result()
        assert (over.outcome, over.code, over.usage.messages) == ("failed", "refused", 1)
        assert over.error == (
            "messages under way in this thread: 1, and 100 more do not fit: 'thread_queue' is 100; "
            "send fewer at once, or raise it"
        )
        assert await organism.ask("echo", Go("and others")) == Said("and others")


@pytest.mark.parametrize("budget", [None, {"messages": 10_000}])
async def test_sub_threads_are_no_way_around(budget: dict[str, int] | None) -> None:
    """Messages double with each step, into threads of their own; what has begun ends all the same."""
    most = 0

    async def double(message: Go, ctx: Context) -> Any:
        nonlocal most
        most = max(most, organism.statistics().queued)
        await anyio.sleep(0.1)
        return [Send("twin" if ctx.name == "double" else "double", message)] * 2 if message.n else None

    handlers = {
        "double": code(double, "twin", budget=budget),
        "twin": code(double, "double", budget=budget),
    }
    async with running(handlers=handlers, budget=FREE, thread_queue=50) as organism:
        thread = await organism.send("double", Go(n=1))
        with anyio.move_on_after(3):
            await thread.result()
        assert 10 < most <= 50
        thread.cancel()
        assert (await thread.result()).outcome in {"cancelled", "failed"}


async def test_asks_and_spawns_beyond_the_queue_are_refused_to_who_asks() -> None:
    async def root(message: Go, ctx: Context) -> Reply[Said]:
        answers = await ctx.ask_all([("slow", message)] * 12)
        refused = [each for each in answers if isinstance(each, HandlerFailedError)]
        assert {each.code for each in refused} == {"refused"}
        with pytest.raises(HandlerFailedError, match="'thread_queue' is 10"):
            for _ in range(12):
                await ctx.spawn("slow", message)
        return Reply(Said(f"{len(refused)}"))

    async def slow(message: Go, ctx: Context) -> Reply[Said]:
        await anyio.sleep(1)
        return Reply(Said())

    handlers = {"root": code(root, "slow"), "slow": code(slow)}
    async with running(handlers=handlers, budget=FREE, thread_queue=10) as organism:
        assert await organism.ask("root", Go()) == Said("3")  # it is one of the ten itself


async def test_who_sends_one_for_each_it_gets_goes_on_where_the_queue_is_full() -> None:
    """Forwarding, replying and answering with one message brings nothing more: what has begun is finished."""

    async def root(message: Go | Said, ctx: Context) -> Any:
        if isinstance(message, Said):
            ctx.state["heard"] = ctx.state.get("heard", 0) + 1
            return Reply(Said("all")) if ctx.state["heard"] == 10 else None
        return [Send("echo", message)] * 10

    handlers = {"root": code(root, "echo"), "echo": code(echo)}
    async with running(handlers=handlers, thread_queue=10) as organism:
        assert await organism.ask("root", Go()) == Said("all")


async def test_what_waits_for_another_attempt_or_a_person_counts_as_well() -> None:
    """The queue of the pump does not know of them, but they are there."""

    async def fails(message: Go, ctx: Context) -> None:
        raise ValueError

    async def root(message: Go, ctx: Context) -> list[Send[Go]]:
        return [Send("again", message), Send("person", message), Send("person", message), Send("later", message)]

    async def later(message: Go, ctx: Context) -> list[Send[Go]]:
        await anyio.sleep(5)
        return [Send("sink", message), Send("sink", message), Send("sink", message)]

    handlers = {
        "root": code(root, "again", "person", "later"),
        "again": code(fails, on_failure={"attempts": 2, "backoff": [50, 50], "within": 90}),
        "person": {"human": {"accepts": Go, "replies": Said}, "description": "Somebody."},
        "later": code(later, "sink"),
        "sink": code(nothing),
    }
    async with running(handlers=handlers, thread_queue=5) as organism:
        thread = await organism.send("root", Go())
        await anyio.sleep(6)
        thread.cancel()
        result = await thread.result()
        refusals = [
            each for each in organism.watch.facts if getattr(getattr(each, "failure", None), "code", "") == "refused"
        ]
        assert len(refusals) == 1
        assert result.usage.messages == 5


def test_the_default_is_as_many_as_the_whole_queue() -> None:
    assert Settings(name="test").thread_queue == Settings(name="test").queue == 10_000


@pytest.mark.parametrize(("budget", "most"), [(None, 600), ({"messages": 5}, 1900)])
@pytest.mark.by_turns
async def test_what_a_flood_costs_in_memory_is_known(
    budget: dict[str, int] | None, most: int, caplog: pytest.LogCaptureFixture
) -> None:
    """Some 450 bytes a message that waits, and 1,400 where it waits in a thread of its own; docs/explanation/floods.md says so."""
    count = 3000
    caplog.set_level(logging.ERROR, "organism")  # a line for every thread that ends would be kept

    async def stays(message: Go, ctx: Context) -> None:
        await anyio.sleep(1000)

    handlers = {"flood": code(flood, "sink"), "sink": code(stays, timeout=None, concurrency=1, budget=budget)}
    # Nobody listens: as in production, and no facts are kept by a watch. On a busy machine a watchdog's stacks would count whole modules' lines.
    async with Organism(name="test", handlers=handlers, budget=FREE, watchdog=None) as organism:
        threads = [await organism.send("flood", Go(n=10))]
        await anyio.sleep(1)
        gc.collect()
        tracemalloc.start()
        try:
            threads.append(await organism.send("flood", Go(n=count)))
            await anyio.sleep(1)
            gc.collect()
            assert organism.statistics().queued > count
            assert 100 < tracemalloc.get_traced_memory()[0] / count < most
            while threads:
                threads[-1].cancel()
                await threads.pop().result()
            await anyio.sleep(1)
            schedule: Any = organism.kernel.schedule
            assert (organism.statistics().threads, schedule.queued) == (0, 0)
            assert not (schedule._ready or schedule._below or any(slot.waiting for slot in schedule._slots.values()))
        finally:
            tracemalloc.stop()


async def test_what_a_thread_costs_in_memory_that_waits_for_an_answer_is_known(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Some 3,300 bytes with the message that it sent, on trio; docs/explanation/floods.md says so. On asyncio each waits in a task."""
    count = 1000
    caplog.set_level(logging.ERROR, "organism")

    async def asks(message: Go, ctx: Context) -> Reply[Said]:
        return Reply(await ctx.ask("sink", message, expect=Said))

    async def stays(message: Go, ctx: Context) -> None:
        await anyio.sleep(1000)

    handlers = {"asks": code(asks, "sink"), "sink": code(stays, timeout=None, concurrency=1)}
    async with Organism(name="test", handlers=handlers, budget=FREE, watchdog=None) as organism:
        await organism.send("asks", Go())
        await anyio.sleep(1)
        gc.collect()
        tracemalloc.start()
        try:
            threads = await organism.send_all([("asks", Go())] * count)
            await anyio.sleep(1)
            gc.collect()
            assert organism.statistics().queued == count
            most = 4100 if trio.lowlevel.in_trio_run() else 13_000
            assert 1000 < tracemalloc.get_traced_memory()[0] / count < most
            for thread in threads:
                thread.cancel()
        finally:
            tracemalloc.stop()


# Turns


@pytest.mark.parametrize("scheduling", ["breadth-first", "depth-first"])
@pytest.mark.parametrize("budget", [None, {"messages": 5}])
@pytest.mark.parametrize("max_handlers", [1000, 1])
@pytest.mark.by_turns
async def test_a_flood_delays_nobody_by_more_than_its_turn(
    scheduling: str, budget: dict[str, int] | None, max_handlers: int
) -> None:
    """Also one in sub-threads, and where only one handler may run: depth-first a turn is 64 messages."""
    served: list[str] = []
    begun = anyio.Event()

    async def sink(message: Go, ctx: Context) -> None:
        served.append(message.text)
        if len(served) == 10:
            begun.set()
        await anyio.lowlevel.checkpoint()

    handlers = {"flood": code(flood, "sink"), "sink": code(sink, budget=budget)}
    async with running(handlers=handlers, budget=FREE, scheduling=scheduling, max_handlers=max_handlers) as organism:
        threads = [await organism.send("flood", Go("flood", 300))]
        await begun.wait()
        threads += [await organism.send("flood", Go(f"short {number}", 2)) for number in range(5)]
        for thread in threads:
            assert (await thread.result()).outcome == "completed"
    turn = 64 if scheduling == "depth-first" else 1
    for number in range(5):
        place = [index for index, text in enumerate(served) if text == f"short {number}"]
        # Its own two turns among the five, each after one of the flood's; the first of them is that of its root.
        assert place[-1] - 10 <= 3 * (5 + turn) + 5, (number, place)
    assert len(served) == 310


async def test_places_of_a_narrow_handler_go_around_among_threads_with_all_below_them() -> None:
    """A handler with a budget is called in sub-threads: a hundred of one thread stand in line as one."""
    served: list[str] = []

    async def narrow(message: Go, ctx: Context) -> None:
        await anyio.sleep(1)
        served.append(message.text)

    handlers = {"flood": code(flood, "sink"), "sink": code(narrow, concurrency=1, budget={"messages": 5})}
    async with running(handlers=handlers, budget=FREE) as organism:
        greedy = await organism.send("flood", Go("greedy", 100))
        await anyio.sleep(3.5)
        modest = [await organism.send("flood", Go(f"modest {number}", 2)) for number in range(2)]
        for thread in [*modest, greedy]:
            await thread.result()
    # One of the greedy thread's has the place, and the next one its turn.
    assert served[3:9] == ["greedy", "greedy", "modest 0", "modest 1", "greedy", "modest 0"]
    assert (served.count("greedy"), len(served)) == (100, 104)


async def test_a_paused_thread_does_not_keep_its_turn_at_a_narrow_handler_from_others() -> None:
    served: list[str] = []

    async def narrow(message: Go, ctx: Context) -> None:
        await anyio.sleep(1)
        served.append(message.text)

    handlers = {"flood": code(flood, "sink"), "sink": code(narrow, concurrency=1, budget={"messages": 5})}
    async with running(handlers=handlers, budget=FREE) as organism:
        first = await organism.send("flood", Go("first", 5))
        await anyio.sleep(0.5)
        second = await organism.send("flood", Go("second", 3))
        await anyio.sleep(0.1)
        first.pause()
        await second.result()
        assert served == ["first", "second", "second", "second"]
        first.resume()
        await first.result()
    assert served.count("first") == 5


async def test_deliveries_that_return_from_a_wait_keep_their_order() -> None:
    """Several wait for a place of their own handler, others only for any: who came first is not put behind by who passes it."""
    returned: list[str] = []
    model = ScriptedModel(lambda request: Says(seconds=float(str(request.messages[-1]["content"]))))

    async def calls(message: Go, ctx: Context) -> None:
        narrow = ctx.name == "narrow"
        await ctx.complete(f"{1 + message.n * 0.2 + 0.1 * (not narrow)}")
        returned.append(f"{ctx.name} {message.n}")
        await anyio.sleep(10 if narrow else 3)

    handlers = {"wide": code(calls, timeout=None), "narrow": code(calls, timeout=None, concurrency=1)}
    async with running(handlers=handlers, models=model.models(), max_handlers=2) as organism:
        threads: list[ThreadHandle] = []
        for number in range(4):
            threads += [await organism.send(name, Go(n=number)) for name in ("narrow", "wide")]
        for thread in threads:
            await thread.result()
    for name in ("narrow", "wide"):
        assert [each for each in returned if each.startswith(name)] == [f"{name} {number}" for number in range(4)]


# From outside


async def test_who_waits_for_room_is_let_in_in_order_and_before_who_comes_later() -> None:
    order: list[int] = []

    async def slow(message: Go, ctx: Context) -> None:
        await anyio.sleep(1)

    async def sender(number: int) -> None:
        await organism.send("slow", Go(n=number))
        order.append(number)

    async with running(handlers={"slow": code(slow, concurrency=1)}, queue=1) as organism:
        async with anyio.create_task_group() as group:
            for number in range(8):
                group.start_soon(sender, number)
                await anyio.sleep(0.01)
            await anyio.sleep(2.99)  # the fourth began just now, and others have waited for long
            group.start_soon(sender, 8)
        assert order == list(range(9))


async def test_a_sender_that_was_let_in_and_does_not_come_makes_room_for_the_next() -> None:
    """It names no handler, was cancelled, or its organism is closed: those behind it are not forgotten."""
    heard: list[str] = []

    async def slow(message: Go, ctx: Context) -> None:
        await anyio.sleep(1)

    async def lost() -> None:
        with pytest.raises(RoutingError):
            await organism.send("nobody", Go())
        heard.append("lost")

    async def impatient() -> None:
        with anyio.move_on_after(0.5):
            await organism.send("slow", Go())
        heard.append("impatient")

    async def honest() -> None:
        await organism.send("slow", Go())
        heard.append("honest")

    async with running(handlers={"slow": code(slow, concurrency=1)}, queue=1) as organism:
        threads: list[ThreadHandle] = []
        for _ in range(2):
            threads.append(await organism.send("slow", Go()))
            await anyio.sleep(0.01)
        with anyio.fail_after(100):
            async with anyio.create_task_group() as group:
                for each in (lost, impatient, lost, honest):
                    group.start_soon(each)
                    await anyio.sleep(0.01)
                await anyio.sleep(0.7)
                threads[1].cancel()  # nothing waits or runs behind it but those in the line
        assert heard == ["impatient", "lost", "lost", "honest"]


async def test_a_queue_that_senders_of_conversations_fill_stays_as_long_as_it_may_be() -> None:
    async def slow(message: Go, ctx: Context) -> None:
        most.append(organism.statistics().queued)
        await anyio.sleep(1)

    async def sender(number: int) -> None:
        await organism.send("slow", Go(), conversation=f"c-{number % 7}")

    most: list[int] = []
    async with running(handlers={"slow": code(slow, concurrency=2)}, queue=3) as organism:
        async with anyio.create_task_group() as group:
            for number in range(40):
                group.start_soon(sender, number)
        await anyio.sleep(60)
        assert max(most) <= 3
        assert len(most) == 40


async def test_floods_from_outside_and_inside_at_once_come_to_an_end() -> None:
    """Hard case 28, with senders that never stop: handlers that answer go on where the queue is full many times over."""
    refused = 0

    async def root(message: Go, ctx: Context) -> list[Send[Go]]:
        await ctx.ask_all([("echo", message)] * 5)
        return [Send("echo", message)] * 20

    async def take(message: Go | Said, ctx: Context) -> Any:
        return await root(message, ctx) if isinstance(message, Go) else None

    async def sender(count: int) -> None:
        nonlocal refused
        for number in range(count):
            try:
                threads.append(await organism.send("take", Go(n=number)))
            except QueueFullError:
                refused += 1
            await anyio.sleep(0.001)

    threads: list[ThreadHandle] = []
    handlers = {"take": code(take, "echo"), "echo": code(echo, concurrency=1)}
    for on_full in ("wait", "refuse"):
        async with running(
            handlers=handlers, queue=4, on_full=on_full, max_handlers=2, thread_queue=30, budget=FREE
        ) as organism:
            async with anyio.create_task_group() as group:
                for _ in range(10):
                    group.start_soon(sender, 10)
            with anyio.fail_after(1000):
                assert {(await thread.result()).outcome for thread in threads} == {"completed"}
        assert (len(threads) == 100) is (on_full == "wait")
        assert len(threads) + refused == 100
        threads.clear()
    assert refused


async def endless(message: Go, ctx: Context) -> Iterator[Send[Go]]:
    """Never comes to the end of what it sends."""
    return (Send("sink", Go(str(n))) for n in count())


async def as_many(message: Go, ctx: Context) -> Iterator[Send[Go]]:
    """Makes what it sends while it is read."""
    return (Send("sink", Go(str(n))) for n in range(message.n))


async def test_what_a_handler_gives_without_an_end_is_read_as_far_as_its_thread_could_bear_it() -> None:
    handlers = {
        "endless": code(endless, "sink"),
        "many": code(as_many, "sink"),
        "sink": code(nothing),
        "echo": code(echo),
    }
    async with running(handlers=handlers, budget=FREE, thread_queue=100) as organism:
        just = await (await organism.send("many", Go(n=100))).result()
        assert (just.outcome, just.usage.messages) == ("completed", 101)
        over = await (await organism.send("endless", Go())).result()
        assert (over.outcome, over.code, over.usage.messages) == ("failed", "refused", 1)
        assert over.error == (
            "a handler gave more than 100 answers at once, and is read no further: 'thread_queue' is 100; send fewer at once"
        )
        assert await organism.ask("echo", Go("and others")) == Said("and others")
