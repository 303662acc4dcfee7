"""Calls that come at an odd moment: what a listener does comes behind the change that it hears of, and no handler waits in its place."""

from __future__ import annotations

import asyncio
import inspect
import re
import signal
import sys
from typing import TYPE_CHECKING, Any, Final

import anyio
import pytest
import trio

from organism import Context, Organism, OrganismError, Reply
from organism.record.facts import Answered, Ended, Fact, QuotaRaised
from organism.testing import Says, ScriptedModel, Watched, running
from tests.durable.inline import Inline
from tests.hard.pump_world import Go, Said, code, echo, slow

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from organism.pump.text_listeners import TextDelta

JOURNALS = ["memory:", "sqlite:j.db", "jsonl:j"]


def modules_below() -> Iterator[str]:
    frame = inspect.currentframe()
    while frame is not None:
        yield frame.f_globals["__name__"]
        frame = frame.f_back


@pytest.mark.parametrize("journal", JOURNALS)
async def test_whoever_listens_is_called_by_the_event_loop_and_in_the_order_of_what_happens(
    journal: str, tmp_path: Path
) -> None:
    """In the middle of nothing: not of a change, not of a delivery, not of a write."""
    below: set[str] = set()
    told: list[str] = []

    def hear(fact: Fact) -> None:
        below.update(modules_below())
        told.append(type(fact).__name__)

    def overhear(spoken: TextDelta) -> None:
        below.update(modules_below())
        told.append(spoken.text)

    agent = {"agent": {"accepts": Go, "replies": Said}, "description": "x"}
    model = ScriptedModel([Says(calls=(("reply", {"text": "done"}),), seconds=1)])
    keys: dict[str, Any] = {"models": model.models(), "journal": journal, "folder": tmp_path}
    async with Inline(name="test", handlers={"agent": agent}, **keys) as organism:
        organism.subscribe(hear)
        organism.overhear(overhear)
        thread = await organism.send("agent", Go())
        assert (await thread.result()).reply == Said("done")
        assert told[0] == "Accepted"
        assert told.index("CallHeld") < told.index("done") < told.index("Answered") < told.index("Ended")
    ours = {each for each in below if each.startswith("organism.")}
    assert ours <= {"organism.pump.outlet", "organism.works.audience", "organism.pump.text_listeners"}


@pytest.mark.parametrize("journal", JOURNALS)
async def test_a_result_is_there_when_subscribers_have_heard_of_the_end(journal: str, tmp_path: Path) -> None:
    heard: list[str] = []
    async with Inline(name="test", handlers={"slow": code(slow)}, journal=journal, folder=tmp_path) as organism:
        organism.subscribe(lambda fact: heard.append(fact.thread) if isinstance(fact, Ended) else None)

        async def waits(number: int) -> None:
            thread = await organism.send("slow", Go(), id=f"t{number}")
            await thread.result()
            assert thread.id in heard

        async with anyio.create_task_group() as group:
            for number in range(20):
                group.start_soon(waits, number)


@pytest.mark.parametrize("error", [asyncio.CancelledError(), GeneratorExit(), KeyError("x")], ids=repr)
async def test_what_a_listener_raises_ends_nothing(error: BaseException, caplog: pytest.LogCaptureFixture) -> None:
    def hear(fact: Fact) -> None:
        raise error

    async with running(handlers={"echo": code(echo)}) as organism:
        organism.subscribe(hear)
        for _ in range(3):
            assert await organism.ask("echo", Go("well")) == Said("well")
    assert "a callback of `subscribe` raised an exception" in caplog.text


async def test_a_subscriber_that_causes_what_it_hears_of_leaves_others_their_turn() -> None:
    """It would do so for ever."""
    heard = 0

    def hear(fact: Fact) -> None:
        nonlocal heard
        heard += 1
        if isinstance(fact, (Answered, QuotaRaised)):
            organism.account_of("ceiling").add_budget(tokens=1)

    async with running(handlers={"echo": code(echo)}, ceiling={"tokens": 10}) as organism:
        organism.subscribe(hear)
        for _ in range(3):
            assert await organism.ask("echo", Go("well")) == Said("well")
            await anyio.lowlevel.checkpoint()
    assert heard > 3


class Interrupted(Watched):
    """A signal comes whenever a change is written."""

    def _seen(self, root: str, fact: Fact) -> None:
        signal.raise_signal(signal.SIGUSR1)
        super()._seen(root, fact)


FACTS: Final = 7
"""How many there are of the thread below."""
CALLS: dict[str, Callable[[Any], object]] = {
    "cancel": lambda handle: handle.cancel("by a signal"),
    "pause": lambda handle: handle.pause(),
    "pause and resume": lambda handle: (handle.pause(), handle.resume()),
    "add_budget": lambda handle: handle.add_budget(messages=1),
    "set_budget": lambda handle: handle.set_budget(messages=100),
}


@pytest.mark.skipif(sys.platform == "win32", reason="there is no such signal")
@pytest.mark.parametrize("call", CALLS)
async def test_what_a_signal_handler_calls_comes_behind_the_change_that_it_interrupts(call: str) -> None:
    async def asks(message: Go, ctx: Context) -> Reply[Said]:
        await ctx.ask("slow", message)
        handle = await ctx.spawn("slow", message)
        await handle.result()
        return Reply(Said("done"))

    due, outcomes = 0, list[str]()

    def interrupt(*_: object) -> None:
        nonlocal due
        due -= 1
        handle = organism.thread_of("t")
        if due == 0 and handle is not None:
            CALLS[call](handle)

    before = signal.signal(signal.SIGUSR1, interrupt)
    try:
        for nth in range(2, FACTS + 1):
            due = nth
            made = Interrupted(name="test", handlers={"asks": code(asks, "slow"), "slow": code(slow)})
            with anyio.fail_after(100):
                async with running(made) as organism:
                    handle = await organism.send("asks", Go(), id="t")
                    while (result := await handle.result()).outcome == "paused":
                        handle.resume()
                    outcomes.append(result.outcome)
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert ("cancelled" in outcomes) == (call == "cancel")
    assert {*outcomes} <= {"cancelled", "completed"}


# Waiting


async def test_a_handler_that_would_wait_for_room_is_told_so() -> None:
    organism: Organism
    told: list[str] = []

    async def floods(message: Go, ctx: Context) -> Reply[Said]:
        """Needs the place that it keeps."""
        if message.text == "inner":
            return Reply(Said("inner"))
        for number in range(3):
            try:
                await organism.send("floods", Go("inner"), id=f"inner-{number}")
            except OrganismError as error:
                told.append(str(error))
        return Reply(Said("outer"))

    async with running(handlers={"floods": code(floods, concurrency=1, timeout=None)}, queue=2) as organism:
        with anyio.fail_after(100):
            assert await organism.ask("floods", Go()) == Said("outer")
        (said,) = told
        assert said.startswith(
            "a handler cannot wait for room in its own organism: it would keep its place while it waits"
        )
        assert "use `await ctx.spawn(...)`, answer with `Send(...)`, or try again later" in said
        assert organism.thread_of("inner-2") is None


async def test_a_handler_that_would_wait_for_whoever_waits_for_room_is_told_so() -> None:
    """The same is sent from outside, and waits for the handler's place: whichever of both comes first."""
    organism: Organism
    told: list[str] = []

    async def sends(message: Go, ctx: Context) -> Reply[Said]:
        if message.text == "inner":
            return Reply(Said("inner"))
        await anyio.sleep(message.n)
        try:
            await organism.send("sends", Go("inner"), id="same")
        except OrganismError as error:
            told.append(str(error))
        return Reply(Said("outer"))

    async with running(handlers={"sends": code(sends, concurrency=1, timeout=None)}, queue=1) as organism:
        with anyio.fail_after(100):
            outer = await organism.send("sends", Go(n=2))
            await anyio.sleep(1)
            await organism.send("sends", Go("inner"))
            same = await organism.send("sends", Go("inner"), id="same")
            assert (await outer.result()).reply == Said("outer")
            assert (await same.result()).reply == Said("inner")
    assert [each[:51] for each in told] == ["a handler cannot wait for room in its own organism:"]


@pytest.mark.parametrize("of", ["thread", "organism", "drain", "models", "turn"])
async def test_a_handler_that_would_wait_in_its_place_is_told_what_to_do(of: str) -> None:
    organism: Organism

    async def waits(message: Go, ctx: Context) -> Reply[Said]:
        if of == "thread":
            handle = organism.thread_of(ctx.thread)
            assert handle is not None
            async for _ in handle.events():
                pass
        elif of == "organism":
            async for _ in organism.events():
                pass
        elif of == "drain":
            await organism.drain(1e6)
        elif of == "models":
            async with organism.thread() as thread:
                await thread.complete("?")
        else:
            await organism.send("waits", Go(), conversation="c")
        return Reply(Said())

    says = {
        "thread": "wait for events of",
        "organism": "wait for events of",
        "drain": "drain",
        "turn": "wait for a turn in",
    }
    model = ScriptedModel([Says(text="!")])
    capped: dict[str, Any] = {"conversation": {"messages": 1, "on_cap": "rotate"}}
    handlers = {"waits": code(waits, timeout=None)}
    async with running(handlers=handlers, models=model.models(), **capped) as organism:
        organism.keep_history()
        with anyio.fail_after(100):
            result = await (await organism.send("waits", Go(), conversation="c" if of == "turn" else None)).result()
        wrong = f"a handler cannot {says.get(of, 'call models without its context in')} its own organism: "
        assert re.search(re.escape(wrong), result.error or ""), result.error


@pytest.mark.parametrize("journal", JOURNALS)
async def test_a_handler_gives_its_place_back_while_it_reads_the_events_of_a_thread_that_it_has_spawned(
    journal: str, tmp_path: Path
) -> None:
    async def reads(message: Go, ctx: Context) -> Reply[Said]:
        """The inner one needs its place."""
        if message.text == "inner":
            await anyio.sleep(1)
            return Reply(Said("inner"))
        handle = await ctx.spawn("reads", Go("inner"))
        events = [type(event.fact).__name__ async for event in handle.events()]
        return Reply(Said(" ".join(events[-2:])))

    handlers = {"reads": code(reads, concurrency=1, timeout=None)}
    async with Inline(name="test", handlers=handlers, journal=journal, folder=tmp_path) as organism:
        organism.keep_history()
        with anyio.move_on_after(100) as patience:
            result = await (await organism.send("reads", Go())).result()
            assert result.reply is not None, result.error
        assert not patience.cancelled_caught


async def test_a_worker_that_is_woken_too_early_goes_on_waiting(anyio_backend_name: str) -> None:
    """On trio, whoever steps a wait by hand leaves the worker's task in somebody's line."""
    if anyio_backend_name != "trio":
        pytest.skip("asyncio's tasks wait for futures")
    left: list[trio.Event] = []

    async def steps(message: Go, ctx: Context) -> Reply[Said]:
        left.append(trio.Event())
        wait = left[-1].wait()
        wait.send(None)
        wait.close()
        return Reply(Said("stepped"))

    async with running(handlers={"steps": code(steps), "slow": code(slow)}) as organism:
        with anyio.fail_after(100):
            assert await organism.ask("steps", Go()) == Said("stepped")
            await anyio.sleep(1)
            left.pop().set()
            await anyio.sleep(1)
            for _ in range(3):
                assert await organism.ask("slow", Go("still")) == Said("still")
