"""`timeout` counts a handler's own running; what comes after its deadline is dropped (R8, R25)."""

from __future__ import annotations

from typing import Any

import anyio
import pytest

from organism import Context, HandlerFailedError, ModelError, Reply, Send
from organism.primitives import HandlerFailed  # noqa: TC001 - the handler's annotation is read when the organism is made
from organism.testing import Says, ScriptedModel, running
from tests.hard.pump_world import Go, Said, code, pass_time


async def slow(message: Go, ctx: Context) -> Reply[Said]:
    await anyio.sleep(message.n)
    return Reply(Said(message.text))


@pytest.mark.parametrize(("seconds", "outcome"), [(4, "completed"), (6, "failed")])
async def test_a_handler_has_so_many_seconds(seconds: int, outcome: str) -> None:
    async with running(handlers={"slow": code(slow, timeout=5)}) as organism:
        start = anyio.current_time()
        result = await (await organism.send("slow", Go(n=seconds))).result()
        assert result.outcome == outcome
        assert anyio.current_time() - start == pytest.approx(min(seconds, 5))
        assert organism.statistics().timers == 0


async def test_code_has_thirty_seconds_and_null_is_no_limit() -> None:
    async with running(handlers={"usual": code(slow), "patient": code(slow, timeout=None)}) as organism:
        result = await (await organism.send("usual", Go(n=100))).result()
        assert result.error == "'usual' did not finish within 30 s"
        assert (await (await organism.send("patient", Go(n=100_000))).result()).outcome == "completed"


async def test_each_delivery_has_its_own_time() -> None:
    async def root(message: Go | Said, ctx: Context) -> Any:
        await anyio.sleep(4)
        return Send("slow", message) if isinstance(message, Go) else Reply(message)

    async with running(handlers={"root": code(root, "slow", timeout=5), "slow": code(slow)}) as organism:
        assert await organism.ask("root", Go("x", 4)) == Said("x")


@pytest.mark.parametrize("wait", ["ask", "ask_all", "complete", "stream", "spawn", "budget", "place"])
async def test_what_does_not_count_against_a_timeout(wait: str) -> None:
    """R8: asking, completing, spawning, waiting for budget; and waiting for a place."""
    model = ScriptedModel([Says(text="a b c", usage=(10, 10), seconds=100)])

    async def root(message: Go, ctx: Context) -> Reply[Said]:
        await anyio.sleep(3)
        match wait:
            case "ask":
                await ctx.ask("slow", Go(n=100))
            case "ask_all":
                await ctx.ask_all([("slow", Go(n=100)), ("slow", Go(n=50))])
            case "complete":
                await ctx.complete("x")
            case "stream":
                async with ctx.stream("x") as pieces:
                    assert [piece async for piece in pieces] == ["a ", "b ", "c"]
            case "spawn":
                await (await ctx.spawn("slow", Go(n=100))).result()
            case "budget":
                async with anyio.create_task_group() as group:
                    for _ in range(2):
                        group.start_soon(lambda: ctx.complete("x", max_output_tokens=600))
            case _:
                with anyio.move_on_after(1):
                    await ctx.ask("slow", Go(n=100))
        spent = anyio.current_time()
        await anyio.sleep(message.n)
        return Reply(Said(f"{anyio.current_time() - spent:g}"))

    handlers = {"root": code(root, "slow", timeout=5), "slow": code(slow, timeout=None)}
    async with running(handlers=handlers, models=model.models(), ceiling={"tokens": 1000}) as organism:
        result = await (await organism.send("root", Go(n=1))).result()
        assert (result.outcome, result.reply) == ("completed", Said("1"))
        late = await (await organism.send("root", Go(n=3))).result()
        assert (late.outcome, late.code) == ("failed", "timeout")


async def test_a_failed_model_call_counts_no_time_either() -> None:
    model = ScriptedModel([Says(error=None, text="", seconds=1000)])

    async def root(message: Go, ctx: Context) -> Reply[Said]:
        with pytest.raises(ModelError):
            await ctx.complete("x")
        await anyio.sleep(4)
        return Reply(Said("tried"))

    backends = model.models(timeout=50)
    async with running(handlers={"root": code(root, timeout=5)}, models=backends) as organism:
        assert await organism.ask("root", Go()) == Said("tried")


async def test_a_timeout_in_one_thread_is_none_in_another() -> None:
    async with running(handlers={"slow": code(slow, timeout=5)}) as organism:
        threads = [await organism.send("slow", Go(str(seconds), seconds)) for seconds in (1, 9, 4, 7, 2)]
        results = [await thread.result() for thread in threads]
        assert [result.outcome for result in results] == ["completed", "failed", "completed", "failed", "completed"]


async def test_deadlines_fire_in_order_however_many_there_are() -> None:
    ended: list[int] = []

    async def patient(message: Go, ctx: Context) -> None:
        try:
            await anyio.sleep(1000)
        finally:
            ended.append(message.n)

    handlers = {f"h{seconds}": code(patient, timeout=seconds) for seconds in (7, 3, 5)}
    async with running(handlers=handlers) as organism:
        threads = [await organism.send(f"h{seconds}", Go(n=seconds)) for seconds in (7, 3, 5) * 50]
        assert {(await thread.result()).code for thread in threads} == {"timeout"}
        assert ended == [3] * 50 + [5] * 50 + [7] * 50
        assert organism.statistics().timers == 0


# After the deadline


async def test_an_answer_that_is_computed_past_the_deadline_is_dropped() -> None:
    """A handler that never awaits cannot be stopped; what it answers then is not carried out."""

    async def root(message: Go | HandlerFailed, ctx: Context) -> Any:
        return Send("busy", message) if isinstance(message, Go) else Reply(Said(f"{message.code}: {message.text}"))

    async def busy(message: Go, ctx: Context) -> Any:
        ctx.state["done"] = True
        pass_time(message.n)
        return [Reply(Said("late"))]

    handlers = {"root": code(root, "busy"), "busy": code(busy, timeout=5)}
    async with running(handlers=handlers) as organism:
        result = await (await organism.send("root", Go(n=6))).result()
        assert result.replies == (("root", Said("timeout: 'busy' did not finish within 5 s")),)
        just = await (await organism.send("busy", Go(n=5))).result()
        assert just.reply == Said("late")


async def test_an_answer_under_a_shield_past_the_deadline_is_dropped() -> None:
    async def stubborn(message: Go, ctx: Context) -> Any:
        ctx.state["done"] = True
        with anyio.CancelScope(shield=True):
            await anyio.sleep(20)
        return [Reply(Said("late")), Send("stubborn", message)]

    async with running(handlers={"stubborn": code(stubborn, timeout=5)}) as organism:
        result = await (await organism.send("stubborn", Go())).result()
        assert (result.outcome, result.code, result.replies) == ("failed", "timeout", ())
        assert result.usage.messages == 1


@pytest.mark.parametrize("how", ["swallows", "raises", "raises beside a task"])
async def test_however_a_handler_takes_its_timeout_it_has_timed_out(how: str) -> None:
    async def root(message: Go, ctx: Context) -> Any:
        async def sleeps() -> None:
            try:
                await anyio.sleep(1000)
            finally:
                raise ValueError("cleaning up")

        if how == "swallows":
            try:
                await anyio.sleep(1000)
            except BaseException:  # noqa: BLE001 - as careless handlers do
                return Reply(Said("I go on"))
        elif how == "raises":
            await sleeps()
        async with anyio.create_task_group() as group:
            group.start_soon(sleeps)
        return None

    async with running(handlers={"root": code(root, timeout=5), "slow": code(slow)}) as organism:
        for _ in range(3):
            result = await (await organism.send("root", Go())).result()
            assert (result.outcome, result.code) == ("failed", "timeout")
        assert await organism.ask("slow", Go("fine", 1)) == Said("fine")


async def test_work_after_a_shielded_ask_past_the_deadline_counts() -> None:
    """Time spent before an ask is not given back by it."""

    async def root(message: Go, ctx: Context) -> Reply[Said]:
        await anyio.sleep(3)
        await ctx.ask("slow", Go(n=50))
        await anyio.sleep(1)
        await ctx.ask("slow", Go(n=50))
        await anyio.sleep(message.n)
        return Reply(Said("in time"))

    handlers = {"root": code(root, "slow", timeout=5), "slow": code(slow, timeout=None)}
    async with running(handlers=handlers) as organism:
        assert await organism.ask("root", Go(n=0)) == Said("in time")
        with pytest.raises(HandlerFailedError, match="timeout"):
            await organism.ask("root", Go(n=2))


async def test_a_wait_that_begins_past_the_deadline_times_out_when_it_ends() -> None:
    async def root(message: Go, ctx: Context) -> Reply[Said]:
        pass_time(6)
        await ctx.ask("slow", Go())
        await anyio.sleep(0.1)
        return Reply(Said("late"))

    async with running(handlers={"root": code(root, "slow", timeout=5), "slow": code(slow)}) as organism:
        with pytest.raises(HandlerFailedError, match="timeout"):
            await organism.ask("root", Go())


# The clock that handlers see


async def test_now_is_aware_and_goes_on_with_the_loop() -> None:
    async def root(message: Go, ctx: Context) -> Reply[Said]:
        start = ctx.now()
        assert start.tzinfo is not None
        await anyio.sleep(90)
        return Reply(Said(f"{(ctx.now() - start).total_seconds():g}"))

    async with running(handlers={"root": code(root, timeout=None)}) as organism:
        assert await organism.ask("root", Go()) == Said("90")


async def test_random_is_the_same_for_the_same_message() -> None:
    async def root(message: Go, ctx: Context) -> Reply[Said]:
        return Reply(Said(f"{ctx.random.random()} {ctx.random.random()}"))

    said: list[Any] = []
    for _ in range(2):
        async with running(handlers={"root": code(root)}) as organism:
            said.append(await organism.ask("root", Go(), id="same"))
            said.append(await organism.ask("root", Go(), id="other"))
    assert said[0] == said[2]
    assert said[1] == said[3]
    assert said[0] != said[1]
