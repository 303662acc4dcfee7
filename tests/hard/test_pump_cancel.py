"""Cancelling threads, asks and deliveries cancels all below them, settles what is out and drops late answers (R4)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import anyio
import pytest

from organism import Context, Forward, HandlerFailedError, NotRunningError, Reply, Send
from organism.record.facts import Answered, CallSettled, Ended
from organism.testing import Says, ScriptedModel, running
from tests.hard.pump_world import Go, Said, code, echo, slow

if TYPE_CHECKING:
    from organism.testing import Watched


def ended(organism: Watched) -> list[tuple[str, str]]:
    """Every end, in order: handler of the root frame and outcome."""
    return [(fact.handler, fact.outcome) for fact in organism.watch.of(Ended)]


async def sleeper(message: Go, ctx: Context) -> Reply[Said]:
    await anyio.sleep(1000)
    return Reply(Said("slept"))


async def test_cancelling_a_thread_cancels_all_below_it() -> None:
    stopped: list[str] = []

    async def noting(message: Go, ctx: Context) -> Reply[Said]:
        try:
            await anyio.sleep(1000)
        finally:
            stopped.append(ctx.name)
        return Reply(Said())

    async def root(message: Go, ctx: Context) -> Reply[Said]:
        await ctx.spawn("spawned", message)
        try:
            return Reply(await ctx.ask("middle", message, expect=Said))
        finally:
            stopped.append("root")

    async def middle(message: Go, ctx: Context) -> Reply[Said]:
        return Reply(await ctx.ask("leaf", message, expect=Said))

    handlers = {
        "root": code(root, "middle", "spawned"),
        "middle": code(middle, "leaf", budget={"messages": 10}),
        "leaf": code(noting, timeout=None),
        "spawned": code(noting, timeout=None),
    }
    async with running(handlers=handlers) as organism:
        thread = await organism.send("root", Go())
        await anyio.sleep(1)
        assert organism.statistics().threads == 3
        thread.cancel("enough")
        result = await thread.result()
        assert (result.outcome, result.code, result.error, result.replies) == ("cancelled", "cancelled", "enough", ())
        assert sorted(stopped) == ["leaf", "root", "spawned"]
        assert sorted(ended(organism)) == [("middle", "cancelled"), ("root", "cancelled"), ("spawned", "cancelled")]
        assert organism.watch.of(Answered) == []


async def test_cancelling_drops_what_is_queued() -> None:
    started: list[int] = []

    async def root(message: Go, ctx: Context) -> list[Send[Go]]:
        return [Send("worker", Go(n=number)) for number in range(5)]

    async def worker(message: Go, ctx: Context) -> None:
        started.append(message.n)
        await anyio.sleep(10)

    async with running(handlers={"root": code(root, "worker"), "worker": code(worker)}) as organism:
        thread = await organism.send("root", Go())
        await anyio.sleep(15)
        thread.cancel()
        assert (await thread.result()).outcome == "cancelled"
        assert started == [0, 1]
        assert organism.statistics().queued == 0


async def test_cancelling_twice_and_after_the_end_is_once() -> None:
    async with running(handlers={"sleeper": code(sleeper, timeout=None), "echo": code(echo)}) as organism:
        thread = await organism.send("sleeper", Go())
        await anyio.sleep(1)
        thread.cancel("first")
        thread.cancel("second")
        assert (await thread.result()).error == "first"
        thread.cancel("third")
        done = await organism.send("echo", Go())
        assert (await done.result()).outcome == "completed"
        done.cancel()
        assert (await done.result()).outcome == "completed"
        assert ended(organism) == [("sleeper", "cancelled"), ("echo", "completed")]


async def test_a_thread_that_is_cancelled_before_it_started_never_starts() -> None:
    called = False

    async def root(message: Go, ctx: Context) -> None:
        nonlocal called
        called = True

    async with running(handlers={"root": code(root)}) as organism:
        thread = await organism.send("root", Go())
        thread.cancel()
        result = await thread.result()
        assert (result.outcome, result.usage.messages, called) == ("cancelled", 1, False)


async def test_an_answer_that_comes_after_the_cancelling_is_dropped() -> None:
    async def stubborn(message: Go, ctx: Context) -> list[Any]:
        ctx.state["seen"] = True
        with anyio.CancelScope(shield=True):
            await anyio.sleep(5)
        return [Reply(Said("too late")), Forward("echo", message)]

    async with running(handlers={"stubborn": code(stubborn, "echo"), "echo": code(echo)}) as organism:
        thread = await organism.send("stubborn", Go())
        await anyio.sleep(1)
        thread.cancel()
        result = await thread.result()
        assert (result.outcome, result.replies) == ("cancelled", ())
        assert result.usage.seconds == pytest.approx(5)
        assert result.usage.messages == 1


async def test_a_handler_that_swallows_its_cancelling_changes_nothing_and_harms_nobody() -> None:
    async def swallower(message: Go, ctx: Context) -> Reply[Said]:
        try:
            await anyio.sleep(1000)
        except BaseException:  # noqa: BLE001 - as careless handlers do
            return Reply(Said("I go on"))
        return Reply(Said())

    async with running(handlers={"swallower": code(swallower, timeout=None), "echo": code(echo)}) as organism:
        thread = await organism.send("swallower", Go())
        await anyio.sleep(1)
        thread.cancel("enough")
        result = await thread.result()
        assert (result.outcome, result.error, result.replies) == ("cancelled", "enough", ())
        assert await organism.ask("echo", Go("fine")) == Said("fine")


async def raiser(message: Go, ctx: Context) -> None:
    try:
        await anyio.sleep(1000)
    finally:
        raise ValueError("while cleaning up")


async def raiser_beside(message: Go, ctx: Context) -> None:
    """Its task group brings an exception and a cancelling in one; neither may reach the worker's neighbours."""
    async with anyio.create_task_group() as group:
        group.start_soon(raiser, message, ctx)
        await anyio.sleep(1000)


@pytest.mark.parametrize("handler", [raiser, raiser_beside])
async def test_a_cancelled_handler_that_raises_is_cancelled_all_the_same(handler: Any) -> None:
    async with running(handlers={"raiser": code(handler, timeout=None), "echo": code(echo)}) as organism:
        thread = await organism.send("raiser", Go())
        await anyio.sleep(1)
        thread.cancel("enough")
        result = await thread.result()
        assert (result.outcome, result.error) == ("cancelled", "enough")
        assert await organism.ask("echo", Go("fine")) == Said("fine")


async def test_a_handler_that_cancels_its_own_thread_stops_at_its_first_wait() -> None:
    async def root(message: Go, ctx: Context) -> None:
        handle = organism.thread_of(ctx.thread)
        assert handle is not None
        handle.cancel("by itself")
        await anyio.sleep(1000)

    async with running(handlers={"root": code(root, timeout=None)}) as organism:
        thread = await organism.send("root", Go())
        result = await thread.result()
        assert (result.outcome, result.error) == ("cancelled", "by itself")
        assert result.usage.seconds == pytest.approx(0)


async def test_cancelling_settles_a_call_that_is_out() -> None:
    """What was sent is charged by estimate; nothing stays held."""
    model = ScriptedModel([Says(text="a", seconds=100)])

    async def root(message: Go, ctx: Context) -> Reply[Said]:
        return Reply(Said((await ctx.complete("x" * 300, max_output_tokens=100)).text))

    async with running(handlers={"root": code(root)}, models=model.models()) as organism:
        thread = await organism.send("root", Go())
        await anyio.sleep(1)
        assert organism.statistics().held == 1
        thread.cancel()
        result = await thread.result()
        assert (result.outcome, result.usage.model_calls, result.usage.estimated) == ("cancelled", 1, True)
        assert result.usage.input_tokens > 0
        assert organism.statistics().held == 0
        assert len(organism.watch.of(CallSettled)) == 1


async def test_cancelling_takes_a_call_out_of_the_line_for_budget() -> None:
    model = ScriptedModel([Says(text="a", usage=(10, 10), seconds=100)])

    async def root(message: Go, ctx: Context) -> Reply[Said]:
        return Reply(Said((await ctx.complete("x", max_output_tokens=500)).text))

    async with running(handlers={"root": code(root)}, models=model.models(), ceiling={"tokens": 1000}) as organism:
        first = await organism.send("root", Go())
        second = await organism.send("root", Go())
        await anyio.sleep(1)
        assert organism.statistics().waiting_for_budget == 1
        second.cancel()
        result = await second.result()
        assert (result.outcome, result.usage.tokens) == ("cancelled", 0)
        assert organism.statistics().waiting_for_budget == 0
        assert (await first.result()).outcome == "completed"


# Asks


async def test_an_ask_that_times_out_cancels_its_branch() -> None:
    stopped: list[str] = []

    async def root(message: Go, ctx: Context) -> Reply[Said]:
        with pytest.raises(HandlerFailedError) as caught:
            await ctx.ask("middle", message, timeout=5)
        assert caught.value.retry
        assert ctx.budget.messages.used == 4
        return Reply(Said(str(caught.value)))

    async def middle(message: Go, ctx: Context) -> list[Send[Go]]:
        return [Send("leaf", message), Send("leaf", message)]

    async def leaf(message: Go, ctx: Context) -> None:
        try:
            await anyio.sleep(1000)
        finally:
            stopped.append(ctx.name)

    handlers = {"root": code(root, "middle"), "middle": code(middle, "leaf"), "leaf": code(leaf, timeout=None)}
    async with running(handlers=handlers) as organism:
        result = await (await organism.send("root", Go())).result()
        assert (result.outcome, result.reply) == ("completed", Said("timeout: 'middle' did not reply within 5 s"))
        assert stopped == ["leaf"]  # the other was still queued, and never started
        assert result.usage.seconds == pytest.approx(5)


async def test_a_late_reply_after_a_timeout_changes_nothing() -> None:
    """Hard case 36: the callee shields itself and replies after all."""

    async def root(message: Go, ctx: Context) -> Reply[Said]:
        with pytest.raises(HandlerFailedError):
            await ctx.ask("stubborn", message, timeout=5)
        return Reply(Said("gave up"))

    async def stubborn(message: Go, ctx: Context) -> list[Any]:
        with anyio.CancelScope(shield=True):
            await anyio.sleep(8)
        return [Reply(Said("late")), Send("echo", message)]

    handlers = {"root": code(root, "stubborn"), "stubborn": code(stubborn, "echo"), "echo": code(echo)}
    async with running(handlers=handlers) as organism:
        result = await (await organism.send("root", Go())).result()
        assert (result.outcome, result.replies) == ("completed", (("root", Said("gave up")),))
        assert result.usage.messages == 2
        assert result.usage.seconds == pytest.approx(8)


async def test_a_reply_before_its_branch_is_done_leaves_the_rest_running() -> None:
    """An ask that has its reply is over: what the callee sent beside it goes on."""
    done: list[str] = []

    async def root(message: Go, ctx: Context) -> Reply[Said]:
        return Reply(await ctx.ask("middle", message, expect=Said))

    async def middle(message: Go, ctx: Context) -> list[Any]:
        return [Reply(Said("at once")), Send("leaf", message)]

    async def leaf(message: Go, ctx: Context) -> None:
        await anyio.sleep(10)
        done.append("leaf")

    handlers = {"root": code(root, "middle"), "middle": code(middle, "leaf"), "leaf": code(leaf)}
    async with running(handlers=handlers) as organism:
        result = await (await organism.send("root", Go())).result()
        assert (result.reply, done, result.outcome) == (Said("at once"), ["leaf"], "completed")


@pytest.mark.parametrize("how", ["scope", "sibling"])
async def test_an_ask_whose_task_is_cancelled_cancels_its_branch(how: str) -> None:
    stopped: list[str] = []

    async def root(message: Go, ctx: Context) -> Reply[Said]:
        if how == "scope":
            with anyio.move_on_after(5):
                await ctx.ask("leaf", message)
        else:
            with pytest.raises(ExceptionGroup):
                async with anyio.create_task_group() as group:
                    group.start_soon(ctx.ask, "leaf", message)
                    await anyio.sleep(5)
                    raise ValueError("a sibling failed")
        await anyio.sleep(1)
        assert stopped == ["leaf"]
        return Reply(await ctx.ask("echo", Go("and on")))

    async def leaf(message: Go, ctx: Context) -> None:
        try:
            await anyio.sleep(1000)
        finally:
            stopped.append(ctx.name)

    handlers = {"root": code(root, "leaf", "echo"), "leaf": code(leaf, timeout=None), "echo": code(echo)}
    async with running(handlers=handlers) as organism:
        result = await (await organism.send("root", Go())).result()
        assert (result.outcome, result.reply) == ("completed", Said("and on"))


async def test_one_failed_ask_of_several_cancels_none_of_the_others() -> None:
    async def root(message: Go, ctx: Context) -> Reply[Said]:
        answers = await ctx.ask_all(
            [("fails", message), ("late", Go("late")), ("nobody", message), ("echo", Go("soon"))]
        )
        return Reply(Said(" ".join(str(getattr(each, "code", "") or each.text) for each in answers)))

    async def fails(message: Go, ctx: Context) -> None:
        raise ValueError

    async def late(message: Go, ctx: Context) -> Reply[Said]:
        await anyio.sleep(10)
        return Reply(Said("late"))

    handlers = {
        "root": code(root, "fails", "late", "echo"),
        "fails": code(fails),
        "late": code(late),
        "echo": code(echo),
    }
    async with running(handlers=handlers) as organism:
        assert await organism.ask("root", Go()) == Said("crashed late routing soon")


async def test_a_delivery_that_times_out_takes_its_asks_with_it() -> None:
    async def root(message: Go, ctx: Context) -> Reply[Said]:
        with pytest.raises(HandlerFailedError) as caught:
            await ctx.ask("middle", message)
        return Reply(Said(str(caught.value)))

    async def middle(message: Go, ctx: Context) -> None:
        async with anyio.create_task_group() as group:
            group.start_soon(ctx.ask, "leaf", Go(n=1))
            await anyio.sleep(1)  # by now it has its answer
            await anyio.sleep(1000)

    async def leaf(message: Go, ctx: Context) -> Reply[Said]:
        return Reply(Said())

    handlers = {"root": code(root, "middle"), "middle": code(middle, "leaf", timeout=4), "leaf": code(leaf)}
    async with running(handlers=handlers) as organism:
        result = await (await organism.send("root", Go())).result()
        assert result.reply == Said("timeout: 'middle' did not finish within 4 s")
        assert result.usage.seconds == pytest.approx(4)


async def test_asks_of_tasks_that_outlive_a_delivery_end_with_it() -> None:
    """A handler returns while a task of its own, started elsewhere, still asks: its branch is cancelled."""
    got: list[BaseException] = []

    async def root(message: Go, ctx: Context) -> Reply[Said]:
        async def elsewhere() -> None:
            try:
                await ctx.ask("leaf", message)
            except HandlerFailedError as error:
                got.append(error)

        group.start_soon(elsewhere)
        await anyio.sleep(1)
        return Reply(Said("done"))

    handlers = {"root": code(root, "leaf"), "leaf": code(sleeper, timeout=None)}
    async with anyio.create_task_group() as group:
        async with running(handlers=handlers) as organism:
            result = await (await organism.send("root", Go())).result()
            assert (result.outcome, result.reply) == ("completed", Said("done"))
            assert result.usage.seconds == pytest.approx(1)
            await anyio.sleep(1)
            assert [str(error) for error in got] == ["cancelled: the delivery that asked is over"]


@pytest.mark.parametrize("way", ["ask", "spawn", "complete"])
async def test_a_cancelled_delivery_starts_nothing_more(way: str) -> None:
    """A shielded cleanup that asks again must not hang, nor open new branches."""
    tried: list[str] = []
    model = ScriptedModel([Says(text="a")])

    async def root(message: Go, ctx: Context) -> Reply[Said]:
        with anyio.move_on_after(5):
            await ctx.ask("middle", message)
        return Reply(Said("went on"))

    async def middle(message: Go, ctx: Context) -> None:
        try:
            await anyio.sleep(1000)
        finally:
            with anyio.CancelScope(shield=True):
                try:
                    if way == "complete":
                        await ctx.complete("one more")
                    else:
                        await getattr(ctx, way)("echo", message)
                except Exception as error:  # noqa: BLE001 - whatever it is told
                    tried.append(str(getattr(error, "code", None) or error))

    handlers = {"root": code(root, "middle"), "middle": code(middle, "echo", timeout=None), "echo": code(echo)}
    async with running(handlers=handlers, models=model.models()) as organism:
        with anyio.fail_after(100):
            result = await (await organism.send("root", Go())).result()
        assert (result.outcome, result.reply) == ("completed", Said("went on"))
        assert result.usage.messages == 2
        assert model.requests == []
        assert len(tried) == 1
        assert "cancelled" in tried[0] or "ended" in tried[0]


@pytest.mark.parametrize("how", ["ask", "thread"])
async def test_an_ask_under_a_shield_does_not_hang_when_its_branch_is_cancelled(how: str) -> None:
    heard: list[str] = []

    async def root(message: Go, ctx: Context) -> Reply[Said]:
        with anyio.move_on_after(5):
            await ctx.ask("middle", message)
        return Reply(Said("went on"))

    async def middle(message: Go, ctx: Context) -> None:
        with anyio.CancelScope(shield=True):
            try:
                await ctx.ask("leaf", message)
            except HandlerFailedError as error:
                heard.append(error.code)

    handlers = {
        "root": code(root, "middle"),
        "middle": code(middle, "leaf"),
        "leaf": code(sleeper, timeout=None),
    }
    async with running(handlers=handlers) as organism:
        thread = await organism.send("root", Go())
        await anyio.sleep(1)
        if how == "thread":
            thread.cancel()
        with anyio.fail_after(100):
            result = await thread.result()
        assert result.outcome == ("completed" if how == "ask" else "cancelled")
        assert heard == ["no_reply"]


async def test_whoever_asks_from_outside_and_leaves_cancels_the_thread() -> None:
    async with running(handlers={"sleeper": code(sleeper, timeout=None)}) as organism:
        with anyio.move_on_after(5):
            await organism.ask("sleeper", Go())
        await anyio.sleep(1)
        assert organism.statistics().threads == 0
        assert [(end.outcome, end.error) for end in organism.watch.of(Ended)] == [
            ("cancelled", "whoever asked no longer waits for an answer")
        ]


async def test_whoever_leaves_a_result_leaves_the_thread_alone() -> None:
    async def slow(message: Go, ctx: Context) -> Reply[Said]:
        await anyio.sleep(10)
        return Reply(Said("there"))

    async with running(handlers={"slow": code(slow)}) as organism:
        thread = await organism.send("slow", Go())
        with anyio.move_on_after(5):
            await thread.result()
        assert (await thread.result()).reply == Said("there")


# Sub-threads


async def test_a_spawned_thread_is_cancelled_alone() -> None:
    async def root(message: Go, ctx: Context) -> Reply[Said]:
        handle = await ctx.spawn("sleeper", message)
        await anyio.sleep(1)
        handle.cancel("not needed")
        result = await handle.result()
        return Reply(Said(f"{result.outcome}: {result.error}"))

    async with running(handlers={"root": code(root, "sleeper"), "sleeper": code(sleeper, timeout=None)}) as organism:
        result = await (await organism.send("root", Go())).result()
        assert (result.outcome, result.reply) == ("completed", Said("cancelled: not needed"))
        assert [each.outcome for each in result.threads] == ["cancelled"]


async def test_a_called_sub_thread_that_is_cut_ends_with_the_ask() -> None:
    async def root(message: Go, ctx: Context) -> Reply[Said]:
        with pytest.raises(HandlerFailedError):
            await ctx.ask("sleeper", message, timeout=3)
        return Reply(Said("on"))

    handlers = {"root": code(root, "sleeper"), "sleeper": code(sleeper, timeout=None, budget={"tokens": 100})}
    async with running(handlers=handlers) as organism:
        result = await (await organism.send("root", Go())).result()
        assert (result.outcome, result.reply) == ("completed", Said("on"))
        assert [(each.handler, each.replies) for each in result.threads] == [("sleeper", ())]
        assert len(organism.kernel.state.threads) == 0


# Closing


async def test_closing_cancels_and_settles_what_is_in_flight() -> None:
    model = ScriptedModel([Says(text="a", seconds=1000)])

    async def calls(message: Go, ctx: Context) -> None:
        await ctx.complete("x")

    handlers = {"sleeper": code(sleeper, timeout=None), "calls": code(calls), "echo": code(echo)}
    async with running(handlers=handlers, models=model.models()) as organism:
        threads = [await organism.send(to, Go()) for to in ("sleeper", "calls", "sleeper")]
        await anyio.sleep(1)
        late = await organism.send("echo", Go())
        start = anyio.current_time()
    assert anyio.current_time() - start < 1
    for thread in [*threads, late]:
        result = await thread.result()
        assert (result.outcome, result.error) == ("cancelled", "the organism was closed")
    assert organism.statistics().held == 0
    with pytest.raises(NotRunningError):
        await organism.send("echo", Go())


async def test_closing_does_not_wait_for_ever_for_a_handler_that_will_not_stop() -> None:
    async def stubborn(message: Go, ctx: Context) -> None:
        with anyio.CancelScope(shield=True):
            await anyio.sleep(25)

    async with running(handlers={"stubborn": code(stubborn)}, check=False) as organism:
        thread = await organism.send("stubborn", Go())
        await anyio.sleep(1)
        start = anyio.current_time()
    assert anyio.current_time() - start == pytest.approx(5.2)
    assert organism.left_behind == ("stubborn",)
    assert (await thread.result()).outcome == "cancelled"


async def test_closing_ends_a_thread_without_handlers() -> None:
    model = ScriptedModel([Says(text="a", seconds=1000)])
    async with running(models=model.models()) as organism:
        async with organism.thread() as bare:
            start = anyio.current_time()
            await organism.close()
            assert anyio.current_time() - start < 1
            with pytest.raises(NotRunningError):
                await bare.complete("x")
        assert (await bare.handle.result()).outcome == "cancelled"


async def test_closing_twice_and_from_several_tasks_is_once() -> None:
    async with running(handlers={"sleeper": code(sleeper, timeout=None)}) as organism:
        thread = await organism.send("sleeper", Go())
        await anyio.sleep(1)
        async with anyio.create_task_group() as group:
            group.start_soon(organism.close)
            group.start_soon(organism.close)
        await organism.close()
        assert (await thread.result()).outcome == "cancelled"
    assert ended(organism) == [("sleeper", "cancelled")]


async def test_a_cancelling_subscriber_leaves_the_record_in_order() -> None:
    seen: list[str] = []
    after: list[str] = []

    def subscriber(fact: Any) -> None:
        seen.append(type(fact).__name__)
        if isinstance(fact, Answered):
            handle = organism.thread_of(fact.thread)
            assert handle is not None
            handle.cancel("seen enough")

    async def root(message: Go, ctx: Context) -> Send[Go]:
        return Send("slow", message)

    async with running(handlers={"root": code(root, "slow"), "slow": code(slow)}) as organism:
        organism.subscribe(subscriber)
        organism.subscribe(lambda fact: after.append(type(fact).__name__))
        result = await (await organism.send("root", Go())).result()
        assert (result.outcome, result.error) == ("cancelled", "seen enough")
        assert seen == ["Accepted", "Answered", "Stopped", "Dropped", "Ended"]
        assert seen == after == [type(fact).__name__ for fact in organism.watch.facts]


@pytest.mark.parametrize("how", ["timeout", "failed", "tried again", "answered"])
async def test_sub_threads_of_an_ask_that_was_given_up_are_cancelled(how: str) -> None:
    """Whatever opened them: the ask itself, one below it, a spawn or a Send. What had ended by then stays as it was."""
    runs: list[int] = []

    async def root(message: Go, ctx: Context) -> Reply[Said]:
        runs.append(1)
        if len(runs) == 2:
            return Reply(Said("again"))
        if how == "timeout":
            with pytest.raises(HandlerFailedError, match="'middle' did not reply within 9 s"):
                await ctx.ask("middle", message, timeout=9)
            return Reply(Said("late"))
        async with anyio.create_task_group() as group:
            group.start_soon(ctx.ask, "middle", message)
            await anyio.sleep(9)
            if how != "answered":
                raise RuntimeError(how)
            group.cancel_scope.cancel()
        return Reply(Said("anyway"))

    async def middle(message: Go, ctx: Context) -> Reply[Said]:
        await ctx.ask("quick", message)
        await ctx.spawn("spawned", message)
        return Reply(await ctx.ask("sender", message, expect=Said))

    async def sender(message: Go | Said, ctx: Context) -> Send[Go] | None:
        return Send("leaf", message) if isinstance(message, Go) else None

    own = {"budget": {"messages": 10}}
    handlers = {
        "root": code(root, "middle", on_failure={"attempts": 2 if how == "tried again" else 1}),
        "middle": code(middle, "quick", "spawned", "sender", **own),
        "quick": code(echo, **own),
        "spawned": code(sleeper, timeout=None),
        "sender": code(sender, "leaf"),
        "leaf": code(sleeper, timeout=None, **own),
    }
    async with running(handlers=handlers) as organism:
        result = await (await organism.send("root", Go())).result()
    [cut] = result.threads
    whole = {"quick": "completed", "spawned": "cancelled", "leaf": "cancelled"}
    assert result.outcome == ("failed" if how == "failed" else "completed")
    assert (cut.outcome, cut.code, cut.error) == ("cancelled", "cancelled", "'root' no longer waits for it")
    assert {each.handler: each.outcome for each in cut.threads} == whole


async def test_a_sub_thread_that_calls_share_outlives_an_ask_that_was_given_up() -> None:
    async def root(message: Go, ctx: Context) -> Reply[Said]:
        with pytest.raises(HandlerFailedError, match="did not reply"):
            await ctx.ask("shared", Go("slowly"), timeout=9)
        return Reply(await ctx.ask("shared", message, expect=Said))

    async def shared(message: Go, ctx: Context) -> Reply[Said]:
        return await (sleeper if message.text == "slowly" else echo)(message, ctx)

    own = {"budget": {"messages": 10}, "per": "thread"}
    async with running(
        handlers={"root": code(root, "shared"), "shared": code(shared, timeout=None, **own)}
    ) as organism:
        result = await (await organism.send("root", Go("soon"))).result()
    assert (result.outcome, [each.outcome for each in result.threads]) == ("completed", ["completed"])


async def test_a_reason_to_cancel_a_thread_is_that_of_all_below_it() -> None:
    async def root(message: Go, ctx: Context) -> Reply[Said]:
        return Reply(await ctx.ask("leaf", message, expect=Said))

    handlers = {"root": code(root, "leaf"), "leaf": code(sleeper, timeout=None, budget={"messages": 10})}
    async with running(handlers=handlers) as organism:
        thread = await organism.send("root", Go())
        await anyio.sleep(1)
        thread.cancel("enough")
        result = await thread.result()
    assert [(each.outcome, each.error) for each in (result, *result.threads)] == [("cancelled", "enough")] * 2
