"""Whoever hears of facts and is slow at it: nobody else waits for a reader, and what waits for one is bounded."""

from __future__ import annotations

import logging
from typing import Any

import anyio
import pytest

from organism import Context, Organism, Reply
from organism.errors import OrganismError, QueueFullError
from organism.record.facts import Accepted, Fact, Failed, Spawned, ThreadOpened
from organism.threads.outcomes import Failure
from organism.works.audience import Audience
from tests.hard.pump_world import Go, Said, code, echo, slow

FACTS = 10_000
"""As many may wait for a reader."""


async def run_threads(organism: Organism, count: int) -> None:
    """So many threads, of three facts each."""
    for start in range(0, count, 500):
        threads = [await organism.send("echo", Go()) for _ in range(min(500, count - start))]
        for thread in threads:
            assert (await thread.result()).reply == Said()


@pytest.mark.by_turns
async def test_a_reader_of_events_that_falls_too_far_behind_is_told_so_and_nobody_waits_for_it() -> None:
    async with Organism(name="test", handlers={"echo": code(echo)}) as organism:
        asleep, awake = organism.events(), organism.events()
        with anyio.fail_after(1):  # of the virtual clock: nobody waits
            for _ in range(FACTS // 3 + 10):
                await organism.ask("echo", Go())
                for _ in range(3):
                    await anext(awake)
        for _ in range(FACTS):
            await anext(asleep)  # what came while there was room is not lost to it
        with pytest.raises(QueueFullError, match="more than 10,000 facts behind"):
            await anext(asleep)
        assert await organism.ask("echo", Go("still")) == Said("still")


@pytest.mark.parametrize("of", ["organism", "thread"])
async def test_a_second_task_that_reads_the_same_events_is_told_so_and_the_first_reads_on(of: str) -> None:
    async with Organism(name="test", handlers={"slow": code(slow)}) as organism:
        organism.keep_history()
        thread = await organism.send("slow", Go())
        events: Any = organism.events() if of == "organism" else thread.events(after=1)
        async with anyio.create_task_group() as tasks:
            read: list[Any] = []

            async def first() -> None:
                read.append(await anext(events))

            tasks.start_soon(first)
            await anyio.sleep(0.1)
            with pytest.raises(OrganismError, match=r"another task reads these events: .* its own call of events\(\)"):
                await anext(events)
        assert len(read) == 1


def test_a_subscriber_that_is_slow_is_named_once_and_loses_nothing(caplog: pytest.LogCaptureFixture) -> None:
    """It runs where everything runs: all that can be done is to say so."""
    now, heard = 0.0, list[Fact]()

    def slow(fact: Fact) -> None:
        nonlocal now
        now += 0.2
        heard.append(fact)

    audience = Audience(lambda: None, clock=lambda: now)
    audience.subscribe(slow)
    audience.subscribe(heard.append)
    facts = [
        Failed(at=float(number), thread="t", seq=1, handler="h", failure=Failure("crashed", "")) for number in range(9)
    ]
    with caplog.at_level(logging.WARNING, "organism"):
        for fact in facts:
            audience.tell("t", fact)
        audience.outlet.empty()
    assert heard == [fact for fact in facts for _ in range(2)]
    (said,) = [each.getMessage() for each in caplog.records]
    assert said.startswith("a callback of `subscribe` took 0.2 s, and everything else waited: read `organism.events()`")


async def test_a_subscriber_that_stops_the_reader_beside_it_does_no_harm() -> None:
    """Subscribers come and go while they are told."""
    heard: list[str] = []

    def first(fact: Fact) -> None:
        heard.append("first")
        leave()

    async with Organism(name="test", handlers={"echo": code(echo)}) as organism:
        organism.subscribe(first)
        leave = organism.subscribe(lambda _: heard.append("second"))
        await run_threads(organism, 1)
        with anyio.fail_after(1):
            await run_threads(organism, 1)
    assert heard == ["first"] * 6


async def test_a_thread_that_a_subscriber_cancels_as_it_is_opened_has_ended_for_whoever_waits_for_it() -> None:
    async def spawns(message: Go, ctx: Context) -> Reply[Said]:
        return Reply(Said((await (await ctx.spawn("slow", message)).result()).outcome))

    handlers = {"slow": code(slow), "spawns": code(spawns, "slow")}
    async with Organism(name="test", handlers=handlers) as organism:
        kinds: list[type[Fact]] = [Accepted]

        def cancel(fact: Fact) -> None:
            opened = [step.thread for step in fact.steps if isinstance(step, ThreadOpened)]
            for thread in filter(None, map(organism.thread_of, opened)):
                if isinstance(fact, *kinds):
                    thread.cancel("not this one")

        organism.subscribe(cancel)
        with anyio.fail_after(10):
            result = await (await organism.send("slow", Go())).result()
            assert (result.outcome, result.error) == ("cancelled", "not this one")
            kinds[:] = [Spawned]
            assert await organism.ask("spawns", Go()) == Said("cancelled")
