"""Handlers whose tasks run side by side: which of them went on first is not in the record, and a replay finds a way that fits."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

import anyio
import pytest

from organism import BudgetExhaustedError, Context, OrganismError, Refused, Reply
from organism.replay.player import ALIKE
from organism.replay.stage import PARTED
from organism.testing import Says, ScriptedModel
from tests.hard.budget_world import code, models, spend, spender
from tests.replay.replay_world import Note, Recorded, Task

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from pathlib import Path

OFTEN = 8
"""Replays of one record: trio lets tasks go on in this order or in that one, by chance."""


async def notes(task: Task, ctx: Context) -> Reply[Note]:
    return Reply(Note(task.text))


async def sleeps(task: Task, ctx: Context) -> Reply[Note]:
    await anyio.sleep(5)
    return Reply(Note(task.text))


def side_by_side(*jobs: Callable[[Context], Coroutine[Any, Any, None]]) -> Any:
    """A handler that does all of it at once; what fails first ends the others."""

    async def works(task: Task, ctx: Context) -> Reply[Note]:
        async with anyio.create_task_group() as group:
            for job in jobs:
                group.start_soon(job, ctx)
        return Reply(Note("all of it is done"))

    return works


def check_same(world: Recorded, to: str = "first") -> None:
    """The record, made a few times, replays as it is."""
    for number in range(3):
        world.send(to, Task("x"), f"t{number}")
        found = [world.replay(f"t{number}") for _ in range(OFTEN)]
        assert [(each.differences, each.unsure) for each in found] == [((), ())] * OFTEN


@pytest.mark.parametrize("text", ["3", "5", "6"])
def test_of_two_tasks_that_hear_the_same_refusal_either_goes_on_first(text: str, tmp_path: Path) -> None:
    """The one asks on, and the other fails, by which the one ends."""

    async def is_served(ctx: Context) -> None:
        await ctx.ask("late", Task("0"))

    async def asks_on(ctx: Context) -> None:
        await anyio.sleep(1)
        await ctx.ask_all([("late", Task("1")), ("late", Task("also"))])
        await spend(ctx, 50)

    async def fails(ctx: Context) -> None:
        await anyio.sleep(1)
        await ctx.ask("late", Task(text))

    async def is_refused(ctx: Context) -> None:
        await anyio.sleep(2)
        with suppress(OrganismError):
            await ctx.ask("late", Task("2"))

    handlers = {
        "first": code(side_by_side(is_served, asks_on, fails, is_refused), peers=("late",), budget={"messages": 5}),
        "late": code(sleeps, concurrency=1),
        "top": code(asks_first, peers=("first",)),
    }
    check_same(Recorded(tmp_path, handlers=handlers, models=models(spender())), "top")


async def asks_first(task: Task, ctx: Context) -> Reply[Note]:
    try:
        return Reply(await ctx.ask("first", task, expect=Note))
    except OrganismError as error:
        return Reply(Note(str(error)))


@pytest.mark.parametrize("texts", ["ab", "ba"])
def test_of_two_tasks_the_one_was_refused_and_the_other_waited(texts: str, tmp_path: Path) -> None:
    """The one ends its handler by that, and the other would not have minded."""

    async def is_refused(ctx: Context) -> None:
        await ctx.complete(texts[0], max_output_tokens=500, wait=False)

    async def waits(ctx: Context) -> None:
        with suppress(OrganismError):
            await ctx.complete(texts[1], max_output_tokens=500)
        await anyio.sleep(100)

    async def first(task: Task, ctx: Context) -> Reply[Note]:
        """Somebody else holds a part of it meanwhile."""
        told = ""
        async with anyio.create_task_group() as group:
            group.start_soon(spend, ctx, 100)
            await anyio.sleep(1)
            try:
                async with anyio.create_task_group() as inner:
                    inner.start_soon(is_refused, ctx)
                    inner.start_soon(waits, ctx)
            except* BudgetExhaustedError as refused:
                told = str(refused.exceptions[0])
        return Reply(Note(told))

    world = Recorded(
        tmp_path,
        handlers={"first": code(first)},
        models=models(spender(seconds=10)),
        budget={"tokens": 550, "grace": {"tokens": 0}},
    )
    check_same(world)


def test_a_refusal_tells_of_what_was_granted_just_before_it(tmp_path: Path) -> None:
    """Two wait; what comes back is enough for the one that came later, and the other cannot be helped any more."""
    said: dict[str, str] = {}

    async def first(task: Task, ctx: Context) -> Reply[Note]:
        async def too_much() -> None:
            try:
                await spend(ctx, 950)
            except BudgetExhaustedError as error:
                said["told"] = str(error)

        async with anyio.create_task_group() as group:
            group.start_soon(spend, ctx, 900)
            await anyio.sleep(1)
            group.start_soon(too_much)
            await anyio.sleep(1)
            group.start_soon(spend, ctx, 200)
        return Reply(Note(said["told"]))

    model = ScriptedModel(lambda _: Says(text="ok", usage=(10, 90), seconds=10))
    world = Recorded(
        tmp_path, handlers={"first": code(first)}, models=models(model), budget={"tokens": 1000, "grace": {"tokens": 0}}
    )
    check_same(world)
    assert said["told"] == "tokens of the thread: 100 used, 200 held, limit 1,000, needed 950"


def test_a_refusal_beside_a_failure_is_not_sure(tmp_path: Path) -> None:
    """Whoever is refused at once does not wait: both fail at one instant, and in a replay the one ends the other."""

    async def is_refused(ctx: Context) -> None:
        await spend(ctx, 950, wait=False)

    async def gives_up(ctx: Context) -> None:
        raise Refused("it is too late")

    world = Recorded(
        tmp_path,
        handlers={"first": code(side_by_side(is_refused, gives_up))},
        models=models(spender()),
        budget={"tokens": 500, "grace": {"tokens": 0}},
    )
    unsure: set[object] = set()
    for number in range(OFTEN):
        world.send("first", Task("x"), f"t{number}")
        found = world.replay(f"t{number}")
        assert found.differences == ()
        unsure |= {*found.unsure}
    assert unsure <= {("first", PARTED)}


def test_what_tasks_ask_alike_side_by_side_is_not_sure(tmp_path: Path) -> None:
    """One of two equal questions is answered, and who asked that one decides what its handler does then."""

    async def is_content(ctx: Context) -> None:
        await ctx.ask("slow", Task("same"))

    async def is_not(ctx: Context) -> None:
        await ctx.ask("slow", Task("same"))
        raise ValueError("not again")

    handlers = {
        "first": code(side_by_side(is_content, is_not), peers=("slow",)),
        "slow": code(sleeps, concurrency=1),
    }
    world = Recorded(tmp_path, handlers=handlers)
    for number in range(OFTEN):
        world.send("first", Task("x"), f"t{number}")
        found = world.replay(f"t{number}")
        assert found.differences == ()
        assert found.unsure in {(), (("first", ALIKE),)}


def test_who_waits_for_a_time_is_not_disturbed_by_who_does_something_else(tmp_path: Path) -> None:
    """While that one is waited for, days go by."""

    def of(text: str) -> dict[str, Any]:
        async def asks_a_model(task: Task, ctx: Context) -> Reply[Note]:
            return Reply(Note((await ctx.complete(text, max_output_tokens=10)).text))

        async def has_little_time(task: Task, ctx: Context) -> Reply[Note]:
            said = "too late"
            with anyio.move_on_after(15):
                said = (await ctx.complete("at once", max_output_tokens=10)).text
            return Reply(Note(said))

        async def both(task: Task, ctx: Context) -> Reply[Note]:
            heard = await ctx.ask_all([("second", task), ("third", task)], expect=Note)
            return Reply(Note(" ".join(each.text for each in heard if isinstance(each, Note))))

        return {
            "first": code(both, peers=("second", "third")),
            "second": code(asks_a_model),
            "third": code(has_little_time),
        }

    world = Recorded(tmp_path, handlers=of("how is it?"), models=models(spender(seconds=10)))
    assert world.send("first", Task("x")).reply == Note("ok ok")
    found = world.replay(handlers=of("how was it?"))
    assert [each.handler for each in found.differences] == ["second"]


def test_what_tasks_do_otherwise_side_by_side_is_told(tmp_path: Path) -> None:
    """However they go on, that is not what happened."""

    def of(text: str) -> dict[str, Any]:
        async def asks_on(ctx: Context) -> None:
            await ctx.ask_all([("late", Task("1")), ("late", Task("2"))])
            await ctx.complete(text, max_output_tokens=10)

        async def waits(ctx: Context) -> None:
            try:
                await ctx.ask("late", Task("3"))
            except OrganismError:
                await ctx.complete("what now?", max_output_tokens=10)

        return {
            "first": code(side_by_side(asks_on, waits), peers=("late",), budget={"messages": 3}),
            "late": code(sleeps),
            "top": code(asks_first, peers=("first",)),
        }

    world = Recorded(tmp_path, handlers=of("how is it?"), models=models(spender()))
    world.send("top", Task("x"))
    assert (world.replay().differences, world.replay().unsure) == ((), ())
    (difference,) = world.replay(handlers=of("how was it?")).differences
    assert (difference.handler, difference.what) == ("first", "it asked")
