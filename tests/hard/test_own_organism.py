"""What handlers may do with the organism that runs them, and what programs hear of a thread that stands still."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import anyio
import pytest

from organism import Context, HandlerFailedError, Reply
from organism.hooks import Go as Goes
from organism.hooks import Pause
from organism.testing import Watched, running
from tests.hard.pump_world import Go, Said, code, echo

if TYPE_CHECKING:
    from organism import Organism


@pytest.mark.real_clocks
async def test_a_handler_that_asks_its_own_organism_is_told_to_ask_its_context() -> None:
    organism: Organism

    async def asks(message: Go, ctx: Context) -> Reply[Said]:
        """Would wait for a place that it keeps itself."""
        if message.text == "inner":
            return Reply(Said("done"))
        return Reply(await organism.ask("asks", Go("inner"), expect=Said))

    async def asks_in_a_task(message: Go, ctx: Context) -> None:
        async with anyio.create_task_group() as group:
            group.start_soon(organism.ask, "asks", Go("inner"))

    def asks_from_a_thread(message: Go, ctx: Context) -> Reply[Said]:
        return Reply(ctx.run(organism.ask("asks", Go("inner"))))

    handlers = {
        "asks": code(asks, concurrency=1, timeout=None),
        "task": code(asks_in_a_task),
        "thread": {"code": asks_from_a_thread, "description": "Asks."},
    }
    async with running(handlers=handlers) as organism:
        with anyio.fail_after(120):
            for to in handlers:
                with pytest.raises(HandlerFailedError, match=re.escape("use `await ctx.ask(...)`")) as failed:
                    await organism.ask(to, Go("outer"))
                assert "a handler cannot ask its own organism: it would keep its place" in failed.value.text
            assert await organism.ask("asks", Go("inner")) == Said("done")


@pytest.mark.real_clocks
async def test_a_handler_that_waits_for_a_thread_of_its_own_organism_is_told_to_spawn_it() -> None:
    organism: Organism

    async def waits(message: Go, ctx: Context) -> Reply[Said]:
        """Would wait for a place that it keeps itself."""
        if message.text == "inner":
            return Reply(Said("done"))
        handle = await organism.send("waits", Go("inner"))
        return Reply(Said((await handle.result()).outcome))

    async def waits_for_one_that_is_paused(message: Go, ctx: Context) -> None:
        """Has its result, and would wait until it goes on."""
        handle = await organism.send("waits", Go("inner"))
        handle.pause()
        ctx.log.info((await handle.result()).outcome)
        await handle.goes_on()

    async def spawns(message: Go, ctx: Context) -> Reply[Said]:
        """Waits for one of its own, in a task of its own."""
        handle = await ctx.spawn("echo", Go("spawned"))
        async with anyio.create_task_group() as group:
            group.start_soon(handle.result)
        return Reply((await handle.result()).reply)

    handlers = {
        "waits": code(waits, concurrency=1, timeout=None),
        "pauses": code(waits_for_one_that_is_paused, timeout=None),
        "spawns": code(spawns, "echo"),
        "echo": code(echo),
    }
    async with running(handlers=handlers) as organism:
        with anyio.fail_after(120):
            for to in ("waits", "pauses"):
                with pytest.raises(
                    HandlerFailedError, match=re.escape("or `await ctx.spawn(...)` for a thread")
                ) as failed:
                    await organism.ask(to, Go("outer"))
                assert (
                    "a handler cannot wait for a thread of its own organism: it would keep its place"
                    in failed.value.text
                )
            assert await organism.ask("spawns", Go()) == Said("spawned")


async def test_a_handler_may_have_the_result_of_a_thread_that_has_ended() -> None:
    async def looks(message: Go, ctx: Context) -> Reply[Said]:
        """Looks."""
        return Reply(Said((await handle.result()).reply.text))

    async with running(handlers={"looks": code(looks), "echo": code(echo)}) as organism:
        handle = await organism.send("echo", Go("before"))
        await handle.result()
        assert await organism.ask("looks", Go()) == Said("before")


async def test_a_handler_may_ask_another_organism() -> None:
    async with running(handlers={"echo": code(echo)}) as other:

        async def asks(message: Go, ctx: Context) -> Reply[Said]:
            return Reply(await other.ask("echo", message, expect=Said))

        async with running(handlers={"asks": code(asks)}) as organism:
            assert await organism.ask("asks", Go("there?")) == Said("there?")


async def test_who_asks_for_a_thread_that_a_hook_has_paused_hears_which_it_is() -> None:
    decided: list[bool] = []

    def waits(event: Any, ctx: Context) -> Pause | Goes:
        return Goes() if decided else Pause("somebody has to look")

    organism = Watched(name="test", handlers={"echo": code(echo)})
    organism.add_hook("on_message", waits)
    async with running(organism):
        with pytest.raises(HandlerFailedError, match="paused") as failed:
            await organism.ask("echo", Go("well?"), id="t-1")
        assert failed.value.code == "paused"
        assert failed.value.text == (
            "thread t-1 is paused, and has not replied yet: it goes on once it is resumed, or people have answered it"
        )
        decided.append(True)
        thread = organism.thread_of(re.findall(r"thread (\S+) is paused", failed.value.text)[0])
        assert thread is not None
        thread.resume()
        assert (await thread.result()).reply == Said("well?")
