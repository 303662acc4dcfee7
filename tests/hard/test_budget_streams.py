"""Streams hold what they may still cost: who waits for that, who must not, and that nothing stays held."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import anyio
import pytest

from organism import BudgetExhaustedError, Context, HandlerFailedError, ModelError, Reply
from organism.models.contract import BackendError
from organism.record.facts import CallHeld
from organism.testing import Says, ScriptedModel, running
from tests.hard.budget_world import (
    INPUT,
    NO_GRACE,
    PROMPT,
    Done,
    Task,
    code,
    models,
    outcome,
    spend,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from organism.models.contract import Request

LIMIT: dict[str, Any] = {"tokens": 1000, "grace": NO_GRACE, "runway": 0, "warn_at": []}


def sized() -> ScriptedModel:
    """A model that takes as many seconds as it may write tens of tokens, and uses one."""

    def script(request: Request) -> Says:
        return Says(text="ok", usage=(1, 0), seconds=(request.max_output_tokens + INPUT) / 10)

    return ScriptedModel(script)


async def test_a_call_inside_a_stream_that_needs_what_the_stream_holds_is_refused_at_once() -> None:
    model = ScriptedModel(lambda _: Says(text="one two three", usage=(INPUT, 3), seconds=3))

    async def worker(task: Task, ctx: Context) -> Reply[Done]:
        pieces: list[str] = []
        async with ctx.stream(PROMPT, max_output_tokens=700) as stream:
            async for piece in stream:
                pieces.append(piece)
                began = anyio.current_time()
                with pytest.raises(BudgetExhaustedError) as refused:
                    await spend(ctx, 400)
                assert anyio.current_time() == began
                assert (refused.value.held, refused.value.need) == (INPUT + 700, 400)
                # What fits beside it goes.
                await spend(ctx, 150)
        after = await spend(ctx, 400)
        assert stream.completion.text == "one two three"
        return Reply(Done(f"{len(pieces)} {after.text}"))

    handlers = {"worker": code(worker)}
    async with running(handlers=handlers, models=models(model), budget=LIMIT) as organism:
        with anyio.fail_after(1000):
            result = await outcome(organism)
    assert result.reply == Done("3 one two three"), result.error


async def test_a_call_inside_a_stream_waits_for_what_others_hold() -> None:
    """What stands in the way is not the stream alone: it waits until the other call has settled."""
    model = sized()

    async def worker(task: Task, ctx: Context) -> None:
        async with anyio.create_task_group() as group:
            group.start_soon(spend, ctx, 500)
            await anyio.sleep(1)
            async with ctx.stream(PROMPT, max_output_tokens=200 - INPUT) as stream:
                await spend(ctx, 600)
                assert [piece async for piece in stream] == ["ok"]

    async with running(handlers={"worker": code(worker)}, models=models(model), budget=LIMIT) as organism:
        with anyio.fail_after(1000):
            result = await outcome(organism)
    assert result.outcome == "completed", result.error
    assert [fact.need[0] for fact in organism.watch.of(CallHeld)] == [500, 200, 600]


async def test_a_thread_without_handlers_does_not_wait_for_its_own_stream_either() -> None:
    model = ScriptedModel(lambda _: Says(text="one two", usage=(INPUT, 2), seconds=2))
    async with running(models=models(model)) as organism, organism.thread(budget=LIMIT) as thread:
        with anyio.fail_after(1000):
            async with thread.stream(PROMPT, max_output_tokens=700) as stream:
                with pytest.raises(BudgetExhaustedError):
                    await thread.complete(PROMPT, max_output_tokens=400)
                assert [piece async for piece in stream] == ["one ", "two"]
            done = await thread.complete(PROMPT, max_output_tokens=400)
        assert done.text == "one two"


async def test_whom_a_streaming_delivery_asks_does_not_wait_for_that_stream() -> None:
    """A asks B inside its stream, and B needs what the stream holds: neither would ever go on."""
    model = ScriptedModel(lambda _: Says(text="one two", usage=(INPUT, 2), seconds=2))

    async def a(task: Task, ctx: Context) -> Reply[Done]:
        async with ctx.stream(PROMPT, max_output_tokens=700) as stream:
            with pytest.raises(HandlerFailedError) as failed:
                await ctx.ask("b", task)
            assert (failed.value.code, failed.value.unit) == ("exhausted", "tokens")
            assert [piece async for piece in stream] == ["one ", "two"]
        return Reply(await ctx.ask("b", task, expect=Done))

    async def b(task: Task, ctx: Context) -> Reply[Done]:
        return Reply(Done((await spend(ctx, 400)).text))

    handlers = {"a": code(a, peers=("b",)), "b": code(b)}
    async with running(handlers=handlers, models=models(model), budget=LIMIT) as organism:
        with anyio.fail_after(1000):
            result = await outcome(organism, "a")
    assert (result.outcome, result.reply) == ("completed", Done("one two")), result.error


async def test_whom_a_streaming_delivery_waits_for_in_a_thread_of_its_own_does_not_wait_for_that_stream() -> None:
    """As before, and the callee has a budget of its own, or was spawned."""
    model = ScriptedModel(lambda _: Says(text="one two", usage=(INPUT, 2), seconds=2))

    async def a(task: Task, ctx: Context) -> Reply[Done]:
        heard: list[str] = []
        async with ctx.stream(PROMPT, max_output_tokens=700) as stream:
            try:
                await ctx.ask("b", task)
            except HandlerFailedError as error:
                heard.append(f"{error.code} {error.scope}")
            spawned = await ctx.spawn("b", task)
            result = await spawned.result()
            heard.append(f"{result.outcome} {result.unit}")
            assert [piece async for piece in stream] == ["one ", "two"]
        heard.append((await ctx.ask("b", task, expect=Done)).text)
        return Reply(Done(", ".join(heard)))

    async def b(task: Task, ctx: Context) -> Reply[Done]:
        return Reply(Done((await spend(ctx, 400)).text))

    handlers = {"a": code(a, peers=("b",)), "b": code(b, budget={"tokens": 5000})}
    async with running(handlers=handlers, models=models(model), budget=LIMIT) as organism:
        with anyio.fail_after(1000):
            result = await outcome(organism, "a")
    assert result.outcome == "completed", result.error
    assert result.reply == Done("exhausted thread, exhausted tokens, one two")


async def test_streams_of_several_threads_that_wait_for_each_other_are_untied() -> None:
    """Three deliveries hold a stream each below one ceiling, and each needs more than the others leave: the last to come
    is refused until one can go, and with its end the others go as well.
    """
    model = ScriptedModel(lambda _: Says(text="one two", usage=(INPUT, 2), seconds=4))
    order: list[str] = []

    async def worker(task: Task, ctx: Context) -> Reply[Done]:
        async with ctx.stream(PROMPT, max_output_tokens=300 - INPUT) as stream:
            await anyio.sleep(1 if task.text == "first" else 2 if task.text == "second" else 3)
            try:
                await spend(ctx, 350)
            except BudgetExhaustedError as error:
                order.append(f"{task.text} refused {error.scope}")
            else:
                order.append(f"{task.text} went")
            async for _ in stream:
                pass
        return Reply(Done(task.text))

    settings: dict[str, Any] = {"ceiling": {"tokens": 1000}, "budget": {"warn_at": [], "runway": 0}}
    async with running(handlers={"worker": code(worker)}, models=models(model), **settings) as organism:
        handles = [await organism.send("worker", Task(name)) for name in ("first", "second", "third")]
        with anyio.fail_after(1000):
            results = [await handle.result() for handle in handles]
    assert {result.outcome for result in results} == {"completed"}
    assert sorted(order) == ["first went", "second went", "third refused organism"]


async def test_a_call_does_not_wait_for_a_stream_that_is_being_read() -> None:
    """Another task reads it to its end: that is no knot, and the call goes after it."""
    model = sized()

    async def worker(task: Task, ctx: Context) -> Reply[Done]:
        async with ctx.stream(PROMPT, max_output_tokens=600 - INPUT) as stream:
            async for _ in stream:
                pass
        return Reply(Done("read"))

    async def other(task: Task, ctx: Context) -> Reply[Done]:
        await anyio.sleep(1)
        return Reply(Done((await spend(ctx, 600)).text))

    settings: dict[str, Any] = {"ceiling": {"tokens": 1000}, "budget": {"warn_at": [], "runway": 0}}
    handlers = {"worker": code(worker), "other": code(other)}
    async with running(handlers=handlers, models=models(model), **settings) as organism:
        reading = await organism.send("worker", Task("go"))
        result = await outcome(organism, "other")
        assert (await reading.result()).reply == Done("read")
    assert (result.outcome, result.reply) == ("completed", Done("ok")), result.error
    assert result.usage.seconds == pytest.approx(120, abs=1)


async def _read_all(ctx: Context) -> None:
    async with ctx.stream(PROMPT, max_output_tokens=500) as stream:
        async for _ in stream:
            pass


async def _leave_early(ctx: Context) -> None:
    async with ctx.stream(PROMPT, max_output_tokens=500) as stream:
        async for _ in stream:
            break
    assert stream.completion.finish_reason == "left"


async def _raise_inside(ctx: Context) -> None:
    async with ctx.stream(PROMPT, max_output_tokens=500) as stream:
        async for _ in stream:
            raise ZeroDivisionError


async def _be_cancelled(ctx: Context) -> None:
    with anyio.move_on_after(1.5):
        async with ctx.stream(PROMPT, max_output_tokens=500) as stream:
            async for _ in stream:
                pass


@pytest.mark.parametrize(
    ("way", "tokens", "estimated"),
    [
        (_read_all, INPUT + 40, False),
        (_leave_early, INPUT + 3, True),  # "four" is 4 bytes and a blank: 5 / 1.5
        (_raise_inside, INPUT + 4, True),
        (_be_cancelled, INPUT + 4, True),
    ],
)
async def test_a_stream_holds_nothing_after_its_end_whatever_it_was(
    way: Callable[[Context], Awaitable[None]], tokens: int, estimated: Any
) -> None:
    model = ScriptedModel([Says(text="four more words here", usage=(INPUT, 40), seconds=4)])
    after: list[Any] = []

    async def worker(task: Task, ctx: Context) -> None:
        with contextlib.suppress(ZeroDivisionError):
            await way(ctx)
        after.append(ctx.budget.tokens.held)

    async with running(handlers={"worker": code(worker)}, models=models(model), budget=LIMIT) as organism:
        result = await outcome(organism)
    assert after == [0]
    assert result.outcome == "completed", result.error
    assert result.usage.estimated is estimated
    assert abs(result.usage.tokens - tokens) <= 1


async def test_a_stream_that_is_cut_costs_what_came_and_is_not_tried_again() -> None:
    model = ScriptedModel([Says(text="half of it", seconds=3, error=BackendError("cut", "gone"))])

    async def worker(task: Task, ctx: Context) -> Reply[Done]:
        pieces: list[str] = []

        async def read() -> None:
            async with ctx.stream(PROMPT, max_output_tokens=500) as stream:
                async for piece in stream:
                    pieces.append(piece)  # noqa: PERF401 - it ends by an error, and what came before it is kept

        with pytest.raises(ModelError):
            await read()
        assert ctx.budget.tokens.held == 0
        return Reply(Done("".join(pieces)))

    async with running(handlers={"worker": code(worker)}, models=models(model), budget=LIMIT) as organism:
        result = await outcome(organism)
    assert result.reply == Done("half of it")
    assert len(model.requests) == 1
    # The 10 bytes that came are 7 tokens by estimate.
    assert (result.usage.tokens, result.usage.estimated) == (INPUT + 7, True)
