"""Closing with a grace time, and handlers that do not end though they are cancelled (R4, R8, R25)."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import anyio
import pytest

from organism import Context, NotRunningError, Reply, Send
from organism.primitives import HandlerFailed  # noqa: TC001 - the handler's annotation is read when the organism is made
from organism.testing import Says, ScriptedModel, running
from tests.durable.inline import Inline
from tests.hard.pump_world import Go, Said, code, echo, pass_time

if TYPE_CHECKING:
    from pathlib import Path

    from organism import Organism


async def slow(message: Go, ctx: Context) -> Reply[Said]:
    await anyio.sleep(message.n)
    return Reply(Said(f"{message.text} after {message.n}"))


SLOW = code(slow, timeout=None)


# The grace time


@pytest.mark.parametrize(("seconds", "outcome"), [(3, "completed"), (7, "cancelled")])
async def test_what_runs_has_the_grace_time_to_end(seconds: int, outcome: str) -> None:
    async with running(handlers={"slow": SLOW}) as organism:
        thread = await organism.send("slow", Go("x", seconds))
        await anyio.sleep(0.5)
        start = anyio.current_time()
        await organism.close(grace=4)
        assert anyio.current_time() - start == pytest.approx(min(seconds - 0.5, 4), abs=0.06)
        assert (await thread.result()).outcome == outcome


async def test_nothing_is_taken_in_during_the_grace_time() -> None:
    async with running(handlers={"slow": SLOW}) as organism:
        thread = await organism.send("slow", Go("x", 3))
        async with anyio.create_task_group() as beside:
            beside.start_soon(organism.drain, 10)
            await anyio.sleep(1)
            with pytest.raises(NotRunningError, match="is being closed; it accepts no more messages"):
                await organism.send("slow", Go("y", 1))
            assert thread.ended is False
        assert (await thread.result()).reply == Said("x after 3")


async def test_with_nothing_on_a_disk_threads_go_on_to_their_end_in_the_grace_time() -> None:
    async def chain(message: Go, ctx: Context) -> Any:
        await anyio.sleep(1)
        return Send("chain", Go(n=message.n - 1)) if message.n else None

    async with running(handlers={"chain": code(chain)}) as organism:
        thread = await organism.send("chain", Go(n=3))
        await anyio.sleep(0.5)
        await organism.close(grace=10)
        result = await thread.result()
        assert (result.outcome, result.usage.messages) == ("completed", 4)


@pytest.mark.parametrize("how", ["nothing", "paused", "person"])
async def test_what_stands_still_is_not_waited_for(how: str) -> None:
    async def asks(message: Go, ctx: Context) -> Reply[Said]:
        return Reply(await ctx.ask("boss", message, expect=Said))

    boss = {"human": {"accepts": Go, "replies": [Said]}, "description": "Decides."}
    handlers = {"slow": SLOW, "asks": code(asks, "boss"), "boss": boss}
    async with running(handlers=handlers) as organism:
        if how != "nothing":
            thread = await organism.send("asks" if how == "person" else "slow", Go(n=1))
            if how == "paused":
                thread.pause()
            assert (await thread.result()).outcome == "paused"
        start = anyio.current_time()
        await organism.close(grace=60)
        assert anyio.current_time() - start < 0.1


async def test_a_call_that_is_out_comes_home_in_the_grace_time() -> None:
    model = ScriptedModel([Says(text="home", usage=(10, 10), seconds=3)])

    async def calls(message: Go, ctx: Context) -> Reply[Said]:
        return Reply(Said((await ctx.complete("x")).text))

    async with running(handlers={"calls": code(calls)}, models=model.models()) as organism:
        thread = await organism.send("calls", Go())
        await anyio.sleep(0.1)
        await organism.close(grace=30)
        result = await thread.result()
        assert (result.outcome, result.reply, result.usage.estimated) == ("completed", Said("home"), False)


# With a journal


class Desk:
    """An organism on a journal, and what its handlers did, over all its processes."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.did: list[str] = []

    def organism(self) -> Organism:
        async def root(message: Go | Said, ctx: Context) -> Any:
            self.did.append(f"root {message.text}")
            if isinstance(message, Said):
                return Reply(message)
            await anyio.sleep(1)
            answer = await ctx.ask("slow", Go(message.text, 1), expect=Said)
            self.did.append("asked")
            return Send("slow", Go(answer.text, message.n))

        async def step(message: Go, ctx: Context) -> Reply[Said]:
            self.did.append(f"slow {message.text}")
            return await slow(message, ctx)

        handlers = {"root": code(root, "slow", timeout=None), "slow": code(step, timeout=None)}
        return Inline(name="test", journal="sqlite:organism.db", folder=self.folder, handlers=handlers)


async def test_with_a_journal_what_runs_ends_and_the_rest_goes_on_another_time(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    async with desk.organism() as organism:
        thread = await organism.send("root", Go("x", 5), id="t")
        await anyio.sleep(0.5)
        start = anyio.current_time()
        await organism.close(grace=60)
        # What it asks is begun, since it waits for that; what it sends when it has ended is not.
        assert anyio.current_time() - start == pytest.approx(1.5, abs=0.06)
        assert desk.did == ["root x", "slow x", "asked"]
        with pytest.raises(NotRunningError):
            await thread.result()
    async with desk.organism() as organism:
        (again,) = await organism.resume()
        assert (await again.result()).reply == Said("x after 1 after 5")
        assert desk.did == ["root x", "slow x", "asked", "slow x after 1", "root x after 1 after 5"]


async def test_with_a_journal_what_outlasts_the_grace_time_is_run_again(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    async with desk.organism() as organism:
        await organism.send("root", Go("x", 5), id="t")
        await anyio.sleep(2.5)
        start = anyio.current_time()
        await organism.close(grace=3)
        assert anyio.current_time() - start == pytest.approx(3, abs=0.06)
    async with desk.organism() as organism:
        (again,) = await organism.resume()
        assert (await again.result()).reply == Said("x after 1 after 5")
    assert desk.did == ["root x", "slow x", "asked", "slow x after 1", "slow x after 1", "root x after 1 after 5"]


async def test_what_ended_in_the_grace_time_is_told_and_need_not_be_resumed(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    async with desk.organism() as organism:
        thread = await organism.send("slow", Go("x", 3), id="t")
        await anyio.sleep(0.5)
        await organism.drain(10)
        assert (await thread.result()).reply == Said("x after 3")
    async with desk.organism() as organism:
        assert organism.unfinished == ()


# Handlers that do not end


async def spins(message: Go, ctx: Context) -> None:
    """Swallows whatever comes, again and again."""
    while True:
        try:
            await anyio.sleep(1)
        except BaseException:  # noqa: BLE001 - as careless handlers do
            pass_time(0.5)  # no virtual clock goes on by itself while somebody is busy


async def shields(message: Go, ctx: Context) -> None:
    with anyio.CancelScope(shield=True):
        await anyio.sleep(100)


async def swallows_in_a_task(message: Go, ctx: Context) -> None:
    async with anyio.create_task_group() as group:
        group.start_soon(shields, message, ctx)
        await anyio.sleep_forever()


async def asks_on(message: Go, ctx: Context) -> None:
    """Asks again and again, whatever it is answered."""
    while True:
        try:
            with anyio.CancelScope(shield=True):
                await ctx.ask("slow", Go(n=2))
        except BaseException:  # noqa: BLE001 - as above
            pass_time(0.5)


async def calls_on(message: Go, ctx: Context) -> None:
    """The same, of a model."""
    while True:
        try:
            await ctx.complete("x")
        except BaseException:  # noqa: BLE001 - as above
            pass_time(0.5)


STUBBORN = {each.__name__: each for each in (spins, shields, swallows_in_a_task, asks_on, calls_on)}
RUNNING = ("spins", "shields", "swallows_in_a_task")
"""Those whose own running takes the time."""


def left_behind(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno == logging.ERROR]


@pytest.mark.parametrize("name", RUNNING)
async def test_the_caller_of_a_handler_that_does_not_end_hears_its_timeout(
    name: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def root(message: Go | HandlerFailed, ctx: Context) -> Any:
        return Send(name, message) if isinstance(message, Go) else Reply(Said(f"{message.code}: {message.text}"))

    stubborn = code(STUBBORN[name], "slow", timeout=3)
    handlers = {"root": code(root, name), name: stubborn, "slow": SLOW, "echo": code(echo)}
    model = ScriptedModel([Says(text="x", seconds=2)])
    async with running(handlers=handlers, models=model.models()) as organism:
        start = anyio.current_time()
        result = await (await organism.send("root", Go(), id="t")).result()
        assert result.replies == (("root", Said(f"timeout: '{name}' did not finish within 3 s")),)
        assert anyio.current_time() - start == pytest.approx(8, abs=1)
        assert left_behind(caplog) == [
            f"handler '{name}' goes on in thread t 5 s after it was cancelled: it is abandoned, and what it still does is ignored"
        ]
        assert organism.statistics().running == 0
        assert await organism.ask("echo", Go("fine")) == Said("fine")
        await anyio.sleep(200)
        assert organism.left_behind == ()
        assert (organism.statistics().timers, organism.statistics().workers) == (0, 1)


@pytest.mark.parametrize("name", STUBBORN)
@pytest.mark.parametrize("journal", ["memory:", "sqlite:organism.db"])
async def test_a_handler_that_does_not_end_cannot_hold_the_end_up(
    name: str, journal: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    handlers = {name: code(STUBBORN[name], "slow", timeout=None), "slow": SLOW}
    models = ScriptedModel([Says(text="x", seconds=2)]).models()
    organism = Inline(name="test", journal=journal, folder=tmp_path, handlers=handlers, models=models)
    await organism.start()
    thread = await organism.send(name, Go(), id="t")
    await anyio.sleep(0.5)
    start = anyio.current_time()
    await organism.close(grace=2)
    assert anyio.current_time() - start == pytest.approx(7.2, abs=2)  # its loop has a part in how time passes
    assert [name in line and "thread t" in line for line in left_behind(caplog)] == [True]
    if name in RUNNING:  # the others end as soon as what they asked for does
        assert organism.left_behind == (() if name == "spins" else (name,))
    await organism.close()  # once more is as good as once
    if journal == "memory:":
        assert (await thread.result()).outcome == "cancelled"
    else:
        with pytest.raises(NotRunningError):
            await thread.result()
        async with Inline(name="test", journal=journal, folder=tmp_path, handlers={name: code(echo)}) as again:
            (handle,) = await again.resume()
            assert (await handle.result()).outcome == "completed"
    await anyio.sleep(200)
    assert organism.left_behind == ()


async def test_whoever_waits_for_a_handler_that_does_not_end_hears_of_the_end(tmp_path: Path) -> None:
    organism = Inline(name="test", journal="sqlite:organism.db", folder=tmp_path, handlers={"shields": code(shields)})
    await organism.start()
    thread = await organism.send("shields", Go())

    async def waits() -> None:
        with pytest.raises(NotRunningError), anyio.fail_after(100):
            await thread.result()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(waits)
        await anyio.sleep(0.5)
        await organism.close()
    await anyio.sleep(200)
    assert organism.left_behind == ()


async def test_a_handler_that_ends_late_but_in_time_is_not_left_behind(caplog: pytest.LogCaptureFixture) -> None:
    cleaned: list[str] = []

    async def careful(message: Go, ctx: Context) -> None:
        try:
            await anyio.sleep_forever()
        finally:
            with anyio.CancelScope(shield=True):
                await anyio.sleep(4)
                cleaned.append("all")

    async with running(handlers={"careful": code(careful, timeout=2)}) as organism:
        result = await (await organism.send("careful", Go())).result()
        assert (result.code, cleaned) == ("timeout", ["all"])
        assert organism.statistics().timers == 0
    assert left_behind(caplog) == []


async def test_one_that_asks_under_a_shield_is_left_behind_with_nothing_held() -> None:
    model = ScriptedModel([Says(text="late", usage=(10, 10), seconds=30)])

    async def calls(message: Go, ctx: Context) -> None:
        with anyio.CancelScope(shield=True):
            await ctx.complete("x")
            await anyio.sleep(100)

    async with running(handlers={"calls": code(calls, timeout=None)}, models=model.models()) as organism:
        thread = await organism.send("calls", Go())
        await anyio.sleep(1)
        thread.cancel("enough")
        start = anyio.current_time()
        result = await thread.result()
        # The call is in the organism's hands, and ends; only then its handler is left behind.
        assert anyio.current_time() - start == pytest.approx(35, abs=5.5)
        assert (result.outcome, result.usage.tokens, organism.statistics().held) == ("cancelled", 20, 0)
        await anyio.sleep(200)


async def test_many_that_do_not_end_leave_no_workers_and_no_places_taken() -> None:
    handlers = {"shields": code(shields, timeout=1, concurrency=5), "echo": code(echo)}
    async with running(handlers=handlers, max_handlers=10) as organism:
        threads = [await organism.send("shields", Go()) for _ in range(20)]
        codes = [(await thread.result()).code for thread in threads]
        assert codes == ["timeout"] * 20
        assert organism.statistics().running == 0
        assert await organism.ask("echo", Go("fine")) == Said("fine")
        await anyio.sleep(200)
        assert organism.left_behind == ()
