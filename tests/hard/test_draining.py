"""Draining: what running handlers wait for still comes, however many steps that takes, and nothing else begins (R3, R9, R20)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import anyio
import pytest

from organism import Context, Organism, Reply, Send
from organism.hooks import Pause
from organism.models.contract import BackendError
from organism.testing import Says, ScriptedModel
from tests.durable.inline import Inline
from tests.hard.pump_world import Go, Said, code

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

TURNS = 30


def an_organism(folder: Path, handlers: dict[str, Any], *, cls: type[Organism] = Inline, **keys: Any) -> Organism:
    return cls(name="test", journal="sqlite:organism.db", folder=folder, handlers=handlers, **keys)


async def child(message: Go, ctx: Context) -> Reply[Said]:
    return Reply(Said(message.text))


async def until(happened: Callable[[], bool]) -> None:
    """Waits for what another task or thread does."""
    while not happened():  # noqa: ASYNC110 - it has no event to wait for
        await anyio.sleep(0.001)


async def drained(organism: Organism, grace: float) -> float:
    """Drains it; gives how long that took, in seconds of the loop's clock."""
    start = anyio.current_time()
    await organism.drain(grace)
    return anyio.current_time() - start


@pytest.mark.parametrize("how", ["laid aside", "in a task"])
async def test_one_that_asks_again_and_again_comes_to_its_end(tmp_path: Path, how: str) -> None:
    asked: list[int] = []
    begun = anyio.Event()

    async def boss(message: Go, ctx: Context) -> Reply[Said]:
        for number in range(TURNS):
            asked.append(number)
            begun.set()
            if how == "in a task":
                with anyio.CancelScope():
                    await ctx.ask("child", Go(str(number)))
            else:
                await ctx.ask("child", Go(str(number)))
        return Reply(Said("done"))

    handlers = {"boss": code(boss, "child"), "child": code(child)}
    async with an_organism(tmp_path, handlers, cls=Organism) as organism:
        thread = await organism.send("boss", Go())
        await begun.wait()
        assert len(asked) < TURNS
        await organism.drain(1e6)  # the virtual clock runs while the disk is busy, so that it is looked at very often
        assert thread.ended
        assert (await thread.result()).reply == Said("done")


async def test_a_call_between_two_attempts_is_waited_for(tmp_path: Path) -> None:
    model = ScriptedModel([Says(error=BackendError("server", "no")), Says(text="home")])

    async def calls(message: Go, ctx: Context) -> Reply[Said]:
        return Reply(Said((await ctx.complete("x")).text))

    models = {"default": {**model.models()["default"], "backoff": [3, 3]}}
    async with an_organism(tmp_path, {"calls": code(calls)}, models=models) as organism:
        thread = await organism.send("calls", Go())
        await anyio.sleep(0.1)
        assert organism.statistics().held == 0
        assert await drained(organism, 30) < 4
        assert thread.ended
        assert (await thread.result()).reply == Said("home")


async def test_a_further_attempt_is_waited_for_where_an_answer_hangs_on_it(tmp_path: Path) -> None:
    tries: list[str] = []

    async def flaky(message: Go, ctx: Context) -> Reply[Said]:
        tries.append(message.text)
        if tries.count(message.text) == 1:
            raise ValueError(message.text)
        return Reply(Said("at last"))

    async def boss(message: Go, ctx: Context) -> Reply[Said]:
        return Reply(await ctx.ask("flaky", Go("asked"), expect=Said))

    handlers = {
        "boss": code(boss, "flaky"),
        "flaky": code(flaky, on_failure={"attempts": 2, "backoff": [3, 3]}),
        "slower": code(flaky, on_failure={"attempts": 2, "backoff": [20, 20]}),
    }
    async with an_organism(tmp_path, handlers) as organism:
        thread = await organism.send("boss", Go())
        await organism.send("slower", Go("sent"))
        await until(lambda: len(tries) == 2)
        assert await drained(organism, 30) < 4
        assert thread.ended
        assert (await thread.result()).reply == Said("at last")
        assert sorted(tries) == ["asked", "asked", "sent"], "nobody waits for the other one, which goes on another time"


async def test_a_place_goes_to_what_is_waited_for(tmp_path: Path) -> None:
    """Threads that were accepted before stand in line for the one place; they go on another time."""
    did: list[str] = []

    async def narrow(message: Go, ctx: Context) -> Reply[Said]:
        did.append(message.text)
        await anyio.sleep(1)
        return Reply(Said(message.text))

    async def boss(message: Go, ctx: Context) -> Reply[Said]:
        await anyio.sleep(0.5)
        return Reply(await ctx.ask("narrow", Go("asked"), expect=Said))

    handlers = {"boss": code(boss, "narrow"), "narrow": code(narrow, concurrency=1)}
    async with an_organism(tmp_path, handlers) as organism:
        thread = await organism.send("boss", Go())
        for number in range(3):
            await organism.send("narrow", Go(str(number)))
        await until(lambda: bool(did))
        assert await drained(organism, 30) == pytest.approx(2, abs=0.1)
        assert thread.ended
        assert (await thread.result()).reply == Said("asked")
        assert did == ["0", "asked"]


async def test_what_stands_in_front_of_it_in_its_mailbox_is_begun(tmp_path: Path) -> None:
    did: list[str] = []

    async def boss(message: Go | Said, ctx: Context) -> Any:
        if isinstance(message, Said):
            return None
        if message.n:
            await anyio.sleep(0.5)
            return Reply(await ctx.ask("slow", Go("asked"), expect=Said))
        return [Send("slow", Go("first", 1)), Send("slow", Go("second")), Send("asker", Go("x", 1))]

    async def slow(message: Go, ctx: Context) -> Reply[Said]:
        did.append(message.text)
        await anyio.sleep(1)
        return Reply(Said(message.text))

    handlers = {"boss": code(boss, "slow", "asker"), "asker": code(boss, "slow"), "slow": code(slow)}
    async with an_organism(tmp_path, handlers) as organism:
        await organism.send("boss", Go())
        await until(lambda: bool(did))
        assert await drained(organism, 30) == pytest.approx(3, abs=0.1)
        assert did == ["first", "second", "asked"]


@pytest.mark.parametrize("why", ["paused", "person", "held up"])
async def test_what_stands_still_is_not_waited_for_by_whoever_asked_it(tmp_path: Path, why: str) -> None:
    async def boss(message: Go, ctx: Context) -> Reply[Said]:
        await anyio.sleep(0.5)
        return Reply(await ctx.ask("person" if why == "person" else "child", message, expect=Said))

    def look(event: Any, ctx: Context) -> Any:
        return Pause("look at it") if ctx.name == "child" else None

    person = {"human": {"accepts": Go, "replies": [Said]}, "description": "Decides."}
    handlers = {"boss": code(boss, "child", "person"), "child": code(child), "person": person}
    hooks = {"on_message": look} if why == "held up" else {}
    async with an_organism(tmp_path, handlers, hooks=hooks) as organism:
        thread = await organism.send("boss", Go("x"))
        await anyio.sleep(0.2)
        if why == "paused":
            thread.pause()
        await anyio.sleep(0.8)
        assert await drained(organism, 30) < 0.1
        assert not thread.ended
