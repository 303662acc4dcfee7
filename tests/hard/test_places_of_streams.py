"""Places at backends (`max_concurrent`) that open streams keep: who waits for one, and who would wait for ever."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import anyio
import pytest

from organism import Context, ModelError, Reply
from organism.errors import BudgetExhaustedError
from organism.kernel.knots import Knots
from organism.testing import Says, ScriptedModel, running
from tests.hard.budget_world import INPUT, PROMPT, Done, Task, code, outcome, spend

if TYPE_CHECKING:
    from organism.models.completion import Completion

FREE: dict[str, Any] = {"budget": {"warn_at": [], "runway": 0}}
TIED = "all its places are taken by streams that stay open until this call is over"


def two_words() -> ScriptedModel:
    return ScriptedModel(lambda _: Says(text="one two", usage=(INPUT, 2), seconds=4))


def places(**most: int) -> dict[str, Any]:
    """An alias for each name, with so many places at its only backend."""
    models: dict[str, Any] = {}
    for name, places in most.items():
        models[name] = two_words().models(overhead=0, max_concurrent=places)["default"]
    return models


async def call(ctx: Context, model: str) -> Completion:
    return await ctx.complete(PROMPT, model=model, max_output_tokens=10)


async def test_streams_of_two_deliveries_that_wait_for_each_others_places_are_untied() -> None:
    """The last to come is refused at once, and once its stream is over the other goes."""
    said: dict[str, str] = {}

    async def worker(task: Task, ctx: Context) -> Reply[Done]:
        own, other = task.text, "y" if task.text == "x" else "x"
        async with ctx.stream(PROMPT, model=own, max_output_tokens=10) as stream:
            await anyio.sleep(1 if own == "x" else 2)
            began = anyio.current_time()
            try:
                said[own] = (await call(ctx, other)).text
            except ModelError as error:
                assert anyio.current_time() == began
                said[own] = str(error)
            async for _ in stream:
                pass
        return Reply(Done(own))

    async with running(handlers={"worker": code(worker)}, models=places(x=1, y=1), **FREE) as organism:
        handles = [await organism.send("worker", Task(name)) for name in ("x", "y")]
        with anyio.fail_after(100):
            results = [await handle.result() for handle in handles]
    assert [result.outcome for result in results] == ["completed", "completed"]
    assert said["x"] == "one two"
    assert TIED in said["y"]
    assert "raise `max_concurrent`" in said["y"]


@pytest.mark.parametrize("how", ["asks", "spawns"])
async def test_whom_a_streaming_delivery_waits_for_does_not_wait_for_its_place(how: str) -> None:
    async def a(task: Task, ctx: Context) -> Reply[Done]:
        async with ctx.stream(PROMPT, model="x", max_output_tokens=10) as stream:
            if how == "asks":
                text = (await ctx.ask("b", task, expect=Done)).text
            else:
                result = await (await ctx.spawn("b", task)).result()
                assert isinstance(result.reply, Done)
                text = result.reply.text
            pieces = [piece async for piece in stream]
        after = await ctx.ask("b", task, expect=Done)
        return Reply(Done(f"{text} | {''.join(pieces)} | {after.text}"))

    async def b(task: Task, ctx: Context) -> Reply[Done]:
        try:
            return Reply(Done((await call(ctx, "x")).text))
        except ModelError as error:
            return Reply(Done(str(error)))

    handlers = {"a": code(a, peers=("b",)), "b": code(b)}
    async with running(handlers=handlers, models=places(x=1), **FREE) as organism:
        with anyio.fail_after(100):
            result = await outcome(organism, "a")
    assert isinstance(result.reply, Done), result.error
    inside, pieces, after = result.reply.text.split(" | ")
    assert TIED in inside
    assert (pieces, after) == ("one two", "one two")


async def test_an_ask_that_ties_a_knot_has_the_call_refused_that_waits_already() -> None:
    """The call came to the line before anybody asked for what comes of it."""
    said: list[str] = []

    async def a(task: Task, ctx: Context) -> Reply[Done]:
        async with ctx.stream(PROMPT, model="x", max_output_tokens=10) as stream:
            spawned = await ctx.spawn("b", task)
            await anyio.sleep(5)
            await spawned.result()
            async for _ in stream:
                pass
        return Reply(Done("read"))

    async def b(_: Task, ctx: Context) -> None:
        began = anyio.current_time()
        with pytest.raises(ModelError, match=TIED):
            await call(ctx, "x")
        said.append(f"{anyio.current_time() - began:g} s")

    handlers = {"a": code(a, peers=("b",)), "b": code(b)}
    async with running(handlers=handlers, models=places(x=1), **FREE) as organism:
        with anyio.fail_after(100):
            result = await outcome(organism, "a")
    assert (result.reply, said) == (Done("read"), ["5 s"])


async def test_a_call_waits_for_a_place_whose_stream_another_task_of_the_same_delivery_reads() -> None:
    """Whatever the delivery asks and calls meanwhile: that task goes on, and ends it."""

    async def a(task: Task, ctx: Context) -> Reply[Done]:
        got: list[str] = []

        async def ask() -> None:
            got.append((await ctx.ask("b", task, expect=Done)).text)

        async with anyio.create_task_group() as group:
            async with ctx.stream(PROMPT, model="x", max_output_tokens=10) as stream:
                group.start_soon(ask)
                async for piece in stream:
                    await anyio.sleep(1)
                    got.append(piece)
        return Reply(Done(" ".join(got)))

    async def b(_: Task, ctx: Context) -> Reply[Done]:
        return Reply(Done((await call(ctx, "x")).text.upper()))

    handlers = {"a": code(a, peers=("b",)), "b": code(b)}
    async with running(handlers=handlers, models=places(x=1), **FREE) as organism:
        with anyio.fail_after(100):
            result = await outcome(organism, "a")
    assert result.reply == Done("one  two ONE TWO"), result.error


@pytest.mark.parametrize("how", ["calls", "asks"])
async def test_a_task_started_inside_the_block_of_a_stream_does_not_wait_for_its_place(how: str) -> None:
    """The block is not left before the task is over."""
    said: list[str] = []

    async def a(task: Task, ctx: Context) -> Reply[Done]:
        async def inside() -> None:
            if how == "asks":
                said.append((await ctx.ask("b", task, expect=Done)).text)
                return
            with pytest.raises(ModelError, match=TIED) as caught:
                await call(ctx, "x")
            said.append(str(caught.value))

        async with ctx.stream(PROMPT, model="x", max_output_tokens=10) as stream:
            async with anyio.create_task_group() as group:
                group.start_soon(inside)
            pieces = [piece async for piece in stream]
        return Reply(Done("".join(pieces)))

    async def b(_: Task, ctx: Context) -> Reply[Done]:
        with pytest.raises(ModelError, match=TIED) as caught:
            await call(ctx, "x")
        return Reply(Done(str(caught.value)))

    handlers = {"a": code(a, peers=("b",)), "b": code(b)}
    async with running(handlers=handlers, models=places(x=1), **FREE) as organism:
        with anyio.fail_after(100):
            result = await outcome(organism, "a")
    assert result.reply == Done("one two"), result.error
    assert TIED in said[0]


async def test_nobody_looks_for_knots_while_places_come_back_anyway(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many streams are open, and calls wait: each look would go through all of them."""
    looks: list[Knots] = []
    look: Any = vars(Knots)["_waits"]

    def counted(knots: Knots) -> Any:
        looks.append(knots)
        return look(knots)

    monkeypatch.setattr(Knots, "_waits", counted)

    async def worker(_: Task, ctx: Context) -> None:
        async with ctx.stream(PROMPT, model="x", max_output_tokens=10):
            await call(ctx, "y")

    async with running(handlers={"worker": code(worker)}, models=places(x=100, y=2), **FREE) as organism:
        handles = [await organism.send("worker", Task("go")) for _ in range(50)]
        with anyio.fail_after(1000):
            assert [(await handle.result()).outcome for handle in handles] == ["completed"] * 50
    assert looks == []


async def test_a_place_that_is_free_in_the_end_is_waited_for() -> None:
    """Of two places one is that of a stream which waits, the other of a call that will be over."""

    async def worker(_: Task, ctx: Context) -> Reply[Done]:
        async with ctx.stream(PROMPT, model="x", max_output_tokens=10) as stream:
            await anyio.sleep(1)
            text = (await call(ctx, "x")).text
            async for _piece in stream:
                pass
        return Reply(Done(text))

    async def other(_: Task, ctx: Context) -> None:
        await call(ctx, "x")

    handlers = {"worker": code(worker), "other": code(other)}
    async with running(handlers=handlers, models=places(x=2), **FREE) as organism:
        first = await organism.send("worker", Task("go"))
        await organism.send("other", Task("go"))
        with anyio.fail_after(100):
            result = await first.result()
    assert result.reply == Done("one two"), result.error


async def test_a_place_and_a_budget_that_wait_for_each_other_are_untied() -> None:
    """One's stream holds what the other's call needs, and that call has the place that the first one needs next."""
    order: list[str] = []

    async def streams(_: Task, ctx: Context) -> None:
        async with ctx.stream(PROMPT, model="x", max_output_tokens=700 - INPUT) as stream:
            await anyio.sleep(2)
            try:
                await call(ctx, "y")
            except ModelError as error:
                order.append(f"{TIED in str(error)}, after {anyio.current_time() - began:g} s")
            async for _piece in stream:
                pass

    async def calls(_: Task, ctx: Context) -> None:
        await anyio.sleep(1)
        try:
            await spend(ctx, 400, model="y")
        except BudgetExhaustedError as error:
            order.append(f"no budget of the {error.scope}")
        else:
            order.append("went")

    handlers = {"streams": code(streams), "calls": code(calls)}
    async with running(handlers=handlers, models=places(x=1, y=1), ceiling={"tokens": 1000}, **FREE) as organism:
        began = anyio.current_time()
        handles = [await organism.send(name, Task("go")) for name in handlers]
        with anyio.fail_after(100):
            results = [await handle.result() for handle in handles]
    assert [result.outcome for result in results] == ["completed", "completed"], [each.error for each in results]
    assert order == ["True, after 4 s", "went"]
