"""Calls that wait for each other in ways that only one look at all of them tells, and how often anybody looks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import anyio
import pytest

from organism import Context, ModelError, Reply
from organism.kernel.knots import Knots
from organism.models.contract import BackendError
from organism.testing import Says, ScriptedModel, running
from tests.compiled import interpreted
from tests.hard.budget_world import INPUT, PROMPT, Done, Task, code, models, outcome, spend

if TYPE_CHECKING:
    from organism.models.contract import Request

FREE: dict[str, Any] = {"budget": {"warn_at": [], "runway": 0}}
WORDS = Says(text="one two", usage=(INPUT, 2), seconds=4)


def says_words(_: Request) -> Says:
    return WORDS


def is_slow(_: Request) -> Says:
    return Says(text="slow", usage=(INPUT, 1), seconds=60)


def aliases(**settings: dict[str, Any]) -> dict[str, Any]:
    """An alias for each name, with the settings of its only backend; one that answers in two words, unless they say how."""
    made: dict[str, Any] = {}
    for name, backend in settings.items():
        script = backend.pop("script", says_words)
        made[name] = models(ScriptedModel(script), retries=0, **backend)["default"]
    return made


@pytest.mark.parametrize("streams", ["hold little", "are read"])
async def test_nobody_looks_for_knots_while_budget_comes_back_anyway(
    streams: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many streams are open, and calls wait: each look would go through all of them."""
    looks: list[Knots] = []
    look: Any = vars(Knots)["_waits"]

    def counted(knots: Knots) -> Any:
        looks.append(knots)
        return look(knots)

    monkeypatch.setattr(Knots, "_waits", counted)
    waited: list[float] = []

    async def calls(_: Task, ctx: Context) -> None:
        began = anyio.current_time()
        await spend(ctx, 500)
        waited.append(anyio.current_time() - began)

    async def worker(task: Task, ctx: Context) -> None:
        async with ctx.stream(PROMPT, max_output_tokens=10) as stream:
            await anyio.sleep(1)
            if streams == "hold little":
                await calls(task, ctx)
            async for _ in stream:
                await anyio.sleep(1)

    async def other(task: Task, ctx: Context) -> None:
        await anyio.sleep(4)
        await calls(task, ctx)

    room = 30 * (INPUT + 10) + 1100 if streams == "hold little" else 30 * (INPUT + 2) + 550
    handlers = {"worker": code(worker), "other": code(other)}
    to = ["worker"] * 30 + ["other"] * (0 if streams == "hold little" else 10)
    made = aliases(default={})
    async with running(handlers=handlers, models=made, ceiling={"tokens": room + 40 * 20}, **FREE) as organism:
        handles = [await organism.send(name, Task("go")) for name in to]
        with anyio.fail_after(1000):
            assert {(await handle.result()).outcome for handle in handles} == {"completed"}
    assert max(waited) > 4, "some did wait"
    assert looks == []


@interpreted
async def test_nobody_looks_again_while_little_is_spent_and_nobody_else_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """However contended the budget is: a call is kept by the streams of those who wait, and they go first."""
    looks: list[float] = []
    look: Any = vars(Knots)["_waits"]

    def counted(knots: Knots) -> Any:
        looks.append(anyio.current_time())
        return look(knots)

    monkeypatch.setattr(Knots, "_waits", counted)
    began = anyio.current_time()

    async def worker(task: Task, ctx: Context) -> None:
        async with ctx.stream(PROMPT, max_output_tokens=200 - INPUT):
            await anyio.sleep(1)
            await spend(ctx, 3_000 if task.text == "large" else 500)

    room = 20 * 200 + 600
    handlers = {"worker": code(worker)}
    async with running(handlers=handlers, models=aliases(default={}), ceiling={"tokens": room}, **FREE) as organism:
        handles = [await organism.send("worker", Task("large" if number == 2 else "small")) for number in range(20)]
        with anyio.fail_after(1000):
            assert {(await handle.result()).outcome for handle in handles} == {"completed"}
    assert anyio.current_time() - began > 10, "some did wait"
    assert min(looks) < began + 6, "who came last looked"
    assert len([at for at in looks if at > began + 6]) < 4


async def test_who_waits_for_a_circuit_to_be_tried_does_not_keep_back_what_that_call_waits_for() -> None:
    """The call that tries it waits for budget, which is held by the stream of one that waits for what the call finds."""
    failures = iter(range(5))
    said: list[str] = []

    def script(_: Request) -> Says:
        return WORDS if next(failures, None) is None else Says(error=BackendError("server", "down"))

    async def opens(_: Task, ctx: Context) -> None:
        for _again in range(5):
            with pytest.raises(ModelError):
                await ctx.complete(PROMPT, model="y", max_output_tokens=10)

    async def streams(_: Task, ctx: Context) -> None:
        async with ctx.stream(PROMPT, model="x", max_output_tokens=700 - INPUT) as stream:
            await anyio.sleep(20)
            began = anyio.current_time()
            with pytest.raises(ModelError, match="its circuit is open, and the call that tries it waits for budget"):
                await ctx.complete(PROMPT, model="y", max_output_tokens=10)
            said.append(f"refused after {anyio.current_time() - began:g} s")
            async for _piece in stream:
                pass

    async def tries(_: Task, ctx: Context) -> None:
        await anyio.sleep(12)
        said.append((await spend(ctx, 400, model="y")).text)

    handlers = {"opens": code(opens), "streams": code(streams), "tries": code(tries)}
    made = aliases(x={}, y={"script": script})
    async with running(handlers=handlers, models=made, ceiling={"tokens": 1000}, **FREE) as organism:
        assert (await outcome(organism, "opens")).outcome == "completed"
        handles = [await organism.send(name, Task("go")) for name in ("streams", "tries")]
        with anyio.fail_after(100):
            results = [await handle.result() for handle in handles]
    assert [result.outcome for result in results] == ["completed", "completed"], [each.error for each in results]
    assert said == ["refused after 0 s", "one two"]


async def test_an_older_call_that_a_younger_one_ties_is_refused_at_once() -> None:
    """The younger one cannot be refused in its place: its delivery may yet go on, since it waits for something else besides."""
    said: list[str] = []

    async def streams(_: Task, ctx: Context) -> None:
        async with ctx.stream(PROMPT, model="x", max_output_tokens=700 - INPUT) as stream:
            await anyio.sleep(6)
            with pytest.raises(ModelError, match="all its places are taken by streams"):
                await ctx.complete(PROMPT, model="y", max_output_tokens=10)
            said.append(f"refused at {anyio.current_time() - began:g} s")
            async for _piece in stream:
                pass

    async def calls(task: Task, ctx: Context) -> Reply[Done]:
        async with anyio.create_task_group() as group:
            group.start_soon(ctx.ask, "sleeps", task)
            await ctx.complete(PROMPT, model="y", max_output_tokens=10)
            # It has its place long before its turn comes, which is 10 s after the first one's; only then it waits for budget.
            said.append((await spend(ctx, 400, model="y")).text)
            said.append(f"went at {anyio.current_time() - began:g} s")
        return Reply(Done("called"))

    async def sleeps(_: Task, __: Context) -> Reply[Done]:
        await anyio.sleep(25)
        return Reply(Done("slept"))

    handlers = {"streams": code(streams), "calls": code(calls, peers=("sleeps",)), "sleeps": code(sleeps)}
    made = aliases(x={}, y={"max_concurrent": 1, "requests_per_minute": 6})
    async with running(handlers=handlers, models=made, ceiling={"tokens": 1000}, **FREE) as organism:
        began = anyio.current_time()
        handles = [await organism.send(name, Task("go")) for name in ("streams", "calls")]
        with anyio.fail_after(100):
            results = [await handle.result() for handle in handles]
    assert [result.outcome for result in results] == ["completed", "completed"], [each.error for each in results]
    assert said == ["refused at 10 s", "one two", "went at 16 s"]


@pytest.mark.parametrize("how", ["calls", "spawns"])
async def test_a_call_that_is_tied_by_what_another_task_waits_for_no_more_is_refused_at_once(how: str) -> None:
    """Until then its delivery might have gone on by that, and left its stream."""
    said: list[str] = []

    async def streams(task: Task, ctx: Context) -> None:
        async def waits_a_while() -> None:
            with anyio.move_on_after(6):
                if how == "calls":
                    await ctx.complete(PROMPT, model="y", max_output_tokens=10)
                else:
                    await (await ctx.spawn("takes_long", task)).result()

        async with ctx.stream(PROMPT, model="x", max_output_tokens=700 - INPUT) as stream:
            async with anyio.create_task_group() as group:
                group.start_soon(waits_a_while)
                await anyio.sleep(4)
                with pytest.raises(ModelError, match="all its places are taken by streams"):
                    await ctx.complete(PROMPT, model="z", max_output_tokens=10)
                said.append(f"refused at {anyio.current_time() - began:g} s")
            async for _piece in stream:
                pass

    async def takes_long(_: Task, ctx: Context) -> None:
        await ctx.complete(PROMPT, model="y", max_output_tokens=10)

    async def calls(_: Task, ctx: Context) -> None:
        await anyio.sleep(5)
        said.append((await spend(ctx, 400, model="z")).text)

    handlers = {"takes_long": code(takes_long), "streams": code(streams, peers=("takes_long",)), "calls": code(calls)}
    made = aliases(x={}, y={"max_concurrent": 1, "script": is_slow}, z={"max_concurrent": 1})
    async with running(handlers=handlers, models=made, ceiling={"tokens": 1000}, **FREE) as organism:
        began = anyio.current_time()
        handles = [await organism.send(name, Task("go")) for name in handlers]
        with anyio.fail_after(200):
            results = [await handle.result() for handle in handles]
    assert [result.outcome for result in results] == ["completed"] * 3, [each.error for each in results]
    assert said == ["refused at 8 s", "one two"]
