"""Whose turn it is: order, `concurrency` and `max_handlers`, full queues, fair turns between threads (R1, R3)."""

from __future__ import annotations

from typing import Any

import anyio
import pytest

from organism import Context, HandlerFailedError, NotRunningError, Organism, Reply, Send
from organism.errors import QueueFullError
from organism.testing import Says, ScriptedModel, running
from tests.hard.pump_world import Go, Said, code, echo, slow


class Gauge:
    """How many are inside at once, and how many ever were."""

    def __init__(self) -> None:
        self.inside = 0
        self.most = 0
        self.total = 0

    def __enter__(self) -> None:
        self.inside += 1
        self.total += 1
        self.most = max(self.most, self.inside)

    def __exit__(self, *_: object) -> None:
        self.inside -= 1


async def all_of(organism: Organism, to: str, count: int, **how: Any) -> list[Any]:
    """The results of so many threads that run at once."""
    threads = [await organism.send(to, Go(n=number), **how) for number in range(count)]
    return [await thread.result() for thread in threads]


# Order


async def test_messages_of_one_sender_to_one_receiver_arrive_in_order() -> None:
    """The receiver waits for a while in between, and others send to it as well."""
    seen: list[tuple[str, int]] = []

    async def root(message: Go, ctx: Context) -> list[Send[Go]]:
        return [Send(to, Go(n=number)) for number in range(4) for to in ("taker", "other")]

    async def other(message: Go, ctx: Context) -> list[Send[Go]]:
        await anyio.sleep(0.3)
        return [Send("taker", Go(n=message.n * 10 + step)) for step in range(3)]

    async def taker(message: Go, ctx: Context) -> None:
        await anyio.sleep((message.n * 7) % 5 / 10)
        seen.append((ctx.sender, message.n))

    handlers = {"root": code(root, "taker", "other"), "other": code(other, "taker"), "taker": code(taker)}
    async with running(handlers=handlers) as organism:
        result = await (await organism.send("root", Go())).result()
        assert result.outcome == "completed"
        assert [number for sender, number in seen if sender == "root"] == [0, 1, 2, 3]
        assert [number for sender, number in seen if sender == "other"] == [0, 1, 2, 10, 11, 12, 20, 21, 22, 30, 31, 32]


async def test_order_holds_where_places_are_few() -> None:
    seen: dict[str, list[int]] = {}

    async def root(message: Go, ctx: Context) -> list[Send[Go]]:
        return [Send("taker", Go(n=number)) for number in range(5)]

    async def taker(message: Go, ctx: Context) -> None:
        if message.n % 2:
            await anyio.sleep(0.1)
        seen.setdefault(ctx.thread, []).append(message.n)

    handlers = {"root": code(root, "taker"), "taker": code(taker, concurrency=2)}
    async with running(handlers=handlers, max_handlers=3) as organism:
        await all_of(organism, "root", 10)
        assert list(seen.values()) == [[0, 1, 2, 3, 4]] * 10


async def test_one_handler_handles_one_message_of_a_thread_at_a_time() -> None:
    here, there = Gauge(), Gauge()

    async def root(message: Go, ctx: Context) -> list[Send[Go]]:
        return [Send(to, message) for _ in range(3) for to in ("a", "b")]

    def gauged(gauge: Gauge) -> Any:
        async def handle(message: Go, ctx: Context) -> None:
            with gauge, both:
                await anyio.sleep(1)

        return handle

    both = Gauge()
    handlers = {"root": code(root, "a", "b"), "a": code(gauged(here)), "b": code(gauged(there))}
    async with running(handlers=handlers) as organism:
        result = await (await organism.send("root", Go())).result()
        assert (here.most, there.most, both.most) == (1, 1, 2)
        assert result.usage.seconds == pytest.approx(3)


# Concurrency


async def test_concurrency_is_how_many_threads_a_handler_serves_at_once() -> None:
    gauge, free = Gauge(), Gauge()

    async def limited(message: Go, ctx: Context) -> None:
        with gauge:
            await anyio.sleep(1)

    async def unlimited(message: Go, ctx: Context) -> None:
        with free:
            await anyio.sleep(1)

    handlers = {"limited": code(limited, concurrency=3), "unlimited": code(unlimited)}
    async with running(handlers=handlers) as organism:
        start = anyio.current_time()
        await all_of(organism, "limited", 10)
        assert (gauge.most, gauge.total) == (3, 10)
        assert anyio.current_time() - start == pytest.approx(4)
        await all_of(organism, "unlimited", 10)
        assert free.most == 10


async def test_handlers_that_do_not_wait_pass_through_a_narrow_place() -> None:
    async with running(handlers={"echo": code(echo, concurrency=1)}, max_handlers=1) as organism:
        results = await all_of(organism, "echo", 20)
        assert all(result.outcome == "completed" for result in results)


async def test_five_places_all_held_by_deliveries_that_ask_the_same_handler_again() -> None:
    """Hard case 29, second half: asking gives the place back, so nobody starves."""
    gauge = Gauge()

    async def worker(message: Go, ctx: Context) -> Reply[Said]:
        with gauge:
            await anyio.sleep(1)
        if message.n:
            said = await ctx.ask("middle", Go(n=message.n - 1), expect=Said)
            with gauge:
                await anyio.sleep(1)
            return Reply(Said(f"{said.text}."))
        return Reply(Said())

    async def middle(message: Go, ctx: Context) -> Reply[Said]:
        return Reply(await ctx.ask("worker", message, expect=Said))

    handlers = {
        "worker": code(worker, "middle", concurrency=5, budget={"messages": 50}),
        "middle": code(middle, "worker"),
    }
    async with running(handlers=handlers) as organism:
        threads = [await organism.send("worker", Go(n=3)) for _ in range(12)]
        with anyio.fail_after(1000):
            results = [await thread.result() for thread in threads]
        assert {result.reply for result in results} == {Said("...")}
        assert gauge.most == 5


async def test_one_place_for_all_is_enough_for_nested_asks() -> None:
    async def nest(message: Go, ctx: Context) -> Reply[Said]:
        to = {"a": "b", "b": "c", "c": "d"}.get(ctx.name)
        await anyio.sleep(0.1)
        if to is None:
            return Reply(Said(ctx.name))
        said = await ctx.ask(to, message, expect=Said)
        await anyio.sleep(0.1)
        return Reply(Said(f"{ctx.name}{said.text}"))

    handlers = {name: code(nest, *to) for name, to in {"a": "b", "b": "c", "c": "d", "d": ""}.items()}
    async with running(handlers=handlers, max_handlers=1) as organism:
        with anyio.fail_after(1000):
            results = await all_of(organism, "a", 5)
        assert [result.reply for result in results] == [Said("abcd")] * 5


async def test_one_place_for_all_is_enough_for_siblings_that_ask() -> None:
    """Tasks of one delivery ask one after the other and all at once; the delivery has one place, and gives back one."""
    gauge = Gauge()

    async def root(message: Go, ctx: Context) -> Reply[Said]:
        async def one(number: int) -> None:
            await anyio.sleep(number)
            await ctx.ask("slow", Go(n=number))
            await anyio.sleep(0.5)
            await ctx.ask("slow", Go(n=number))

        async with anyio.create_task_group() as group:
            for number in range(4):
                group.start_soon(one, number)
        return Reply(Said("done"))

    async def slow(message: Go, ctx: Context) -> Reply[Said]:
        with gauge:
            await anyio.sleep(1.3)
        return Reply(Said())

    handlers = {"root": code(root, "slow", timeout=None, concurrency=1), "slow": code(slow)}
    async with running(handlers=handlers, max_handlers=2) as organism:
        with anyio.fail_after(1000):
            results = await all_of(organism, "root", 3)
        assert [result.reply for result in results] == [Said("done")] * 3
        assert gauge.most <= 2
        statistics = organism.statistics()
        assert (statistics.running, statistics.queued) == (0, 0)
        # All places are there again: as many handlers run at once as before.
        threads = [await organism.send("slow", Go()) for _ in range(4)]
        await anyio.sleep(0.1)
        assert organism.statistics().running == 2
        for thread in threads:
            await thread.result()


async def test_a_delivery_that_asks_again_while_it_stands_in_line_keeps_no_place() -> None:
    """One task has its answer and waits for a place; a sibling asks: the callee needs the place more."""

    async def root(message: Go, ctx: Context) -> Reply[Said]:
        async def later() -> None:
            await anyio.sleep(1)
            assert await ctx.ask("echo", Go("b"), expect=Said) == Said("b")

        async with anyio.create_task_group() as group:
            group.start_soon(later)
            assert await ctx.ask("echo", Go("a"), expect=Said) == Said("a")
        assert organism.statistics().running == 1
        return Reply(Said("both"))

    async def hog(message: Go, ctx: Context) -> None:
        await anyio.sleep(10)

    handlers = {"root": code(root, "echo"), "echo": code(echo), "hog": code(hog)}
    async with running(handlers=handlers, max_handlers=1) as organism:
        thread = await organism.send("root", Go())
        hogs = [await organism.send("hog", Go()) for _ in range(2)]
        with anyio.fail_after(1000):
            assert (await thread.result()).reply == Said("both")
            for each in hogs:
                await each.result()
        assert organism.statistics().running == 0
        more = [await organism.send("hog", Go()) for _ in range(3)]
        await anyio.sleep(0.1)
        assert organism.statistics().running == 1
        for each in more:
            await each.result()


async def test_a_model_call_and_a_spawn_give_the_place_back_too() -> None:
    gauge = Gauge()
    model = ScriptedModel(lambda _: Says(text="a", seconds=5))

    async def calls(message: Go, ctx: Context) -> Reply[Said]:
        with gauge:
            return Reply(Said((await ctx.complete("x")).text))

    async def spawns(message: Go, ctx: Context) -> Reply[Said]:
        handle = await ctx.spawn("spawns", Go()) if message.n else None
        return Reply(Said(f"{handle and (await handle.result()).reply.text}"))

    handlers = {"calls": code(calls, concurrency=1), "spawns": code(spawns, concurrency=1)}
    async with running(handlers=handlers, max_handlers=1, models=model.models()) as organism:
        start = anyio.current_time()
        await all_of(organism, "calls", 5)
        assert anyio.current_time() - start == pytest.approx(5)
        assert gauge.most == 5
        with anyio.fail_after(1000):
            assert await organism.ask("spawns", Go(n=1)) == Said("None")


async def test_a_cancelled_ask_takes_its_place_again() -> None:
    """A handler whose ask was given up while all places were taken runs on: it counts, and its timeout goes on."""
    running_then: list[int] = []

    async def root(message: Go, ctx: Context) -> Reply[Said]:
        with anyio.move_on_after(5):
            await ctx.ask("never", message)
        running_then.append(organism.statistics().running)
        await anyio.sleep(message.n)
        return Reply(Said("went on"))

    async def never(message: Go, ctx: Context) -> None:
        with anyio.CancelScope(shield=True):
            await anyio.sleep(20)

    handlers = {"root": code(root, "never", timeout=3), "never": code(never, timeout=None)}
    async with running(handlers=handlers, max_handlers=1) as organism:
        results = await all_of(organism, "root", 1)
        assert results[0].reply == Said("went on")
        result = await (await organism.send("root", Go(n=100))).result()
        assert (result.outcome, result.code) == ("failed", "timeout")
        assert (running_then, organism.statistics().running) == ([2, 2], 0)
        threads = [await organism.send("never", Go()) for _ in range(3)]
        await anyio.sleep(0.1)
        assert organism.statistics().running == 1
        for thread in threads:
            await thread.result()


async def test_a_cancelled_thread_leaves_the_lines_for_places() -> None:
    async def slow(message: Go, ctx: Context) -> None:
        await anyio.sleep(10)

    async def asks(message: Go, ctx: Context) -> Reply[Said]:
        return Reply(await ctx.ask("echo", message, expect=Said))

    handlers = {"slow": code(slow, concurrency=1), "asks": code(asks, "echo"), "echo": code(echo)}
    async with running(handlers=handlers) as organism:
        threads = [await organism.send("slow", Go()) for _ in range(4)]
        await anyio.sleep(1)
        threads[1].cancel()
        threads[2].cancel()
        start = anyio.current_time()
        assert [(await thread.result()).outcome for thread in threads] == [
            "completed", "cancelled", "cancelled", "completed"
        ]  # fmt: skip
        assert anyio.current_time() - start == pytest.approx(19)
        statistics = organism.statistics()
        assert (statistics.running, statistics.queued) == (0, 0)


async def test_whoever_waits_for_a_place_gets_it_in_order() -> None:
    """A thread with many messages for a narrow handler does not keep the others out."""
    served: list[str] = []

    async def root(message: Go, ctx: Context) -> list[Send[Go]]:
        return [Send("narrow", Go(message.text)) for _ in range(message.n)]

    async def narrow(message: Go, ctx: Context) -> None:
        await anyio.sleep(1)
        served.append(message.text)

    handlers = {"root": code(root, "narrow"), "narrow": code(narrow, concurrency=1)}
    async with running(handlers=handlers) as organism:
        greedy = await organism.send("root", Go("greedy", 10))
        await anyio.sleep(0.5)
        modest = [await organism.send("root", Go(f"modest {number}", 1)) for number in range(3)]
        for thread in [*modest, greedy]:
            await thread.result()
        assert served[:4] == ["greedy", "modest 0", "modest 1", "modest 2"]
        assert served[4:] == ["greedy"] * 9


# Fair turns


async def test_threads_take_turns_breadth_first() -> None:
    served: list[str] = []

    async def root(message: Go, ctx: Context) -> list[Send[Go]]:
        return [Send("taker", message) for _ in range(4)]

    async def taker(message: Go, ctx: Context) -> None:
        served.append(message.text)

    handlers = {"root": code(root, "taker"), "taker": code(taker)}
    async with running(handlers=handlers) as organism:
        threads = [await organism.send("root", Go(text)) for text in "abc"]
        for thread in threads:
            await thread.result()
        assert "".join(served) == "abcabcabcabc"


async def test_a_long_thread_does_not_keep_a_short_one_waiting() -> None:
    hops: list[int] = []
    at: list[int] = []

    async def pingpong(message: Go, ctx: Context) -> Any:
        hops.append(message.n)
        return Send("pingpong", Go(n=message.n - 1)) if message.n else None

    async def short(message: Go, ctx: Context) -> None:
        at.append(len(hops))

    free = {"depth": None, "messages": None}
    async with running(handlers={"pingpong": code(pingpong), "short": code(short)}, budget=free) as organism:
        long = await organism.send("pingpong", Go(n=2000))
        quick = await organism.send("short", Go())
        assert (await quick.result()).outcome == "completed"
        assert (await long.result()).outcome == "completed"
        assert at == [1]


async def test_depth_first_finishes_what_it_began() -> None:
    served: list[str] = []

    async def root(message: Go, ctx: Context) -> Send[Go]:
        return Send("middle", message)

    async def middle(message: Go, ctx: Context) -> Send[Go]:
        return Send("leaf", message)

    async def leaf(message: Go, ctx: Context) -> None:
        served.append(message.text)

    handlers = {"root": code(root, "middle"), "middle": code(middle, "leaf"), "leaf": code(leaf)}
    finished: dict[str, list[str]] = {}
    for scheduling in ("breadth-first", "depth-first"):
        order: list[str] = []
        async with running(handlers=handlers, scheduling=scheduling) as organism:

            def note(fact: object, order: list[str] = order) -> None:
                order.append(getattr(fact, "handler", ""))

            organism.subscribe(note)
            threads = [await organism.send("root", Go(text)) for text in "ab"]
            for thread in threads:
                await thread.result()
        finished[scheduling] = [name for name in order if name in {"root", "middle", "leaf"}]
    assert finished["breadth-first"][:4] == ["root", "root", "middle", "middle"]
    # The end of a thread names its root handler again.
    assert finished["depth-first"][:4] == ["root", "middle", "leaf", "root"]


async def test_depth_first_finishes_what_a_sub_thread_began_before_the_next_one_begins() -> None:
    served: list[str] = []

    async def root(message: Go, ctx: Context) -> list[Send[Go]]:
        return [Send("middle", Go(text)) for text in "abc"]

    async def middle(message: Go, ctx: Context) -> Send[Go]:
        served.append(message.text)
        return Send("leaf", message)

    async def leaf(message: Go, ctx: Context) -> None:
        served.append(message.text)

    own = {"budget": {"messages": 5}}
    handlers = {"root": code(root, "middle"), "middle": code(middle, "leaf", **own), "leaf": code(leaf, **own)}
    orders: dict[str, str] = {}
    for scheduling in ("breadth-first", "depth-first"):
        served.clear()
        async with running(handlers=handlers, scheduling=scheduling) as organism:
            assert (await (await organism.send("root", Go())).result()).outcome == "completed"
        orders[scheduling] = "".join(served)
    assert orders == {"breadth-first": "abcabc", "depth-first": "ccbbaa"}


# Full queues


async def test_ingress_waits_while_the_queue_is_full() -> None:
    async def slow(message: Go, ctx: Context) -> None:
        await anyio.sleep(1)

    async with running(handlers={"slow": code(slow, concurrency=1)}, queue=3) as organism:
        start = anyio.current_time()
        threads = []
        for _ in range(10):
            threads.append(await organism.send("slow", Go()))
            assert organism.statistics().queued <= 3
        assert anyio.current_time() - start == pytest.approx(6)
        for thread in threads:
            assert (await thread.result()).outcome == "completed"


async def test_ingress_is_refused_while_the_queue_is_full() -> None:
    async def slow(message: Go, ctx: Context) -> None:
        await anyio.sleep(1)

    async with running(handlers={"slow": code(slow, concurrency=1)}, queue=3, on_full="refuse") as organism:
        first = await organism.send("slow", Go())
        await anyio.sleep(0.1)
        threads = [await organism.send("slow", Go()) for _ in range(3)]
        with pytest.raises(QueueFullError, match="3 messages waiting already"):
            await organism.send("slow", Go())
        assert organism.statistics().threads == 4
        await first.result()
        await anyio.sleep(0.1)
        threads.append(await organism.send("slow", Go()))
        for thread in threads:
            assert (await thread.result()).outcome == "completed"


@pytest.mark.parametrize("on_full", ["wait", "refuse"])
async def test_handlers_answer_while_the_queue_is_full(on_full: str) -> None:
    """Hard case 28: no deadlock."""

    async def root(message: Go | Said, ctx: Context) -> Any:
        if isinstance(message, Said):
            ctx.state["heard"] = ctx.state.get("heard", 0) + 1
            return Reply(Said("all")) if ctx.state["heard"] == 20 else None
        await anyio.sleep(0.1)
        await ctx.ask_all([("echo", Go()) for _ in range(10)])
        return [Send("echo", message) for _ in range(20)]

    handlers = {"root": code(root, "echo"), "echo": code(echo, concurrency=1)}
    async with running(handlers=handlers, queue=2, on_full=on_full, max_handlers=2) as organism:
        threads = []
        for number in range(12):
            while True:
                try:
                    threads.append(await organism.send("root", Go(n=number)))
                    break
                except QueueFullError:
                    await anyio.sleep(0.05)
        with anyio.fail_after(1000):
            results = [await thread.result() for thread in threads]
        assert {result.reply for result in results} == {Said("all")}


async def test_whoever_waits_for_room_hears_that_the_organism_was_closed() -> None:
    async def slow(message: Go, ctx: Context) -> None:
        with anyio.CancelScope(shield=True):
            await anyio.sleep(5)

    heard: list[str] = []

    async def late() -> None:
        with pytest.raises(NotRunningError) as caught:
            await organism.send("slow", Go())
        heard.append(str(caught.value))

    async with running(handlers={"slow": code(slow, concurrency=1)}, queue=1) as organism:
        threads = []
        for _ in range(2):
            threads.append(await organism.send("slow", Go()))
            await anyio.sleep(0.1)
        async with anyio.create_task_group() as group:
            group.start_soon(late)  # waits for room
            await anyio.sleep(0.1)
            group.start_soon(organism.close)
            await anyio.sleep(0.1)
            group.start_soon(late)  # comes while it is being closed
        assert len(heard) == 2
        assert [(await thread.result()).outcome for thread in threads] == ["cancelled", "cancelled"]
        assert organism.statistics().threads == 0


async def test_ending_threads_make_room() -> None:
    """Cancelled threads take their queued messages out: whoever waits for room goes on."""

    async def slow(message: Go, ctx: Context) -> None:
        await anyio.sleep(100)

    async with running(handlers={"slow": code(slow, concurrency=1, timeout=None)}, queue=2) as organism:
        threads = [await organism.send("slow", Go())]
        await anyio.sleep(0.1)
        threads += [await organism.send("slow", Go()) for _ in range(2)]
        with anyio.move_on_after(1) as scope:
            await organism.send("slow", Go())
        assert scope.cancelled_caught
        threads[1].cancel()
        with anyio.fail_after(1):
            threads.append(await organism.send("slow", Go()))
        for thread in threads:
            thread.cancel()
            await thread.result()
        assert organism.statistics().queued == 0


async def test_two_organisms_in_one_process_know_nothing_of_each_other() -> None:
    async def slow(message: Go, ctx: Context) -> Reply[Said]:
        await anyio.sleep(1)
        return Reply(Said(message.text))

    async with (
        running(name="one", handlers={"slow": code(slow, concurrency=1)}, max_handlers=1) as one,
        running(name="two", handlers={"slow": code(slow, concurrency=1), "echo": code(echo)}, max_handlers=1) as two,
    ):
        start = anyio.current_time()
        first = await one.send("slow", Go("one"), id="same")
        second = await two.send("slow", Go("two"), id="same")
        assert one.thread_of("same") is first
        assert two.thread_of("same") is second
        assert [(await first.result()).reply, (await second.result()).reply] == [Said("one"), Said("two")]
        assert anyio.current_time() - start == pytest.approx(1)
        await one.close()
        assert await two.ask("echo", Go("still here")) == Said("still here")
        assert {fact.thread for fact in two.watch.facts} != {"same"}
        assert {fact.thread for fact in one.watch.facts} == {"same"}


async def test_a_handler_of_one_organism_may_ask_another() -> None:
    async def bridge(message: Go, ctx: Context) -> Reply[Said]:
        return Reply(await two.ask("fails" if message.n else "echo", message, expect=Said))

    async def fails(message: Go, ctx: Context) -> None:
        raise ValueError("over there")

    async with (
        running(name="two", handlers={"echo": code(echo), "fails": code(fails)}) as two,
        running(name="one", handlers={"bridge": code(bridge)}) as one,
    ):
        assert await one.ask("bridge", Go("across")) == Said("across")
        with pytest.raises(HandlerFailedError, match="crashed: ValueError: over there"):
            await one.ask("bridge", Go(n=1))


@pytest.mark.parametrize("how", ["paused", "cancelled"])
async def test_a_thread_that_does_not_go_on_gives_back_the_place_that_was_kept_for_it(how: str) -> None:
    async def long(message: Go, ctx: Context) -> Reply[Said]:
        await anyio.sleep(3)
        return Reply(Said())

    handlers = {"one": code(slow, concurrency=1), "others": code(long)}
    async with running(handlers=handlers, max_handlers=2) as organism:
        first, next_, last = [await organism.send("one", Go()) for _ in range(3)]
        others = [await organism.send("others", Go()) for _ in range(2)]
        await first.result()
        # Now the handler is kept for the next thread, which waits for one of the two places that the others have.
        if how == "paused":
            next_.pause()
        else:
            next_.cancel()
        with anyio.fail_after(10):
            assert [(await each.result()).outcome for each in (*others, last)] == ["completed"] * 3
            assert (await next_.result()).outcome == how
            next_.resume()
            assert (await next_.result()).outcome == ("completed" if how == "paused" else how)
