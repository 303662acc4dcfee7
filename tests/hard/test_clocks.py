"""Clocks that are set, and machines that sleep: windows follow the time of day, running time does not, and no instant goes back."""

from __future__ import annotations

import time
from typing import Any

import anyio
import pytest

from organism import Context, Organism, Reply
from organism.record.facts import CrossedByTime, Resumed
from organism.testing import Says, ScriptedModel, running
from tests.hard.budget_world import NO_GRACE, Done, Task, code, models, spend, spender
from tests.hard.time_of_day import HOUR, NOON, TimeOfDay, ascending, set_clock

ACME: Any = {"accounts": {"tenant": "acme"}}
HOURLY: Any = {"tenant": {"tokens": 1000, "window": "hour"}}


@pytest.fixture
def day(monkeypatch: pytest.MonkeyPatch) -> TimeOfDay:
    return set_clock(monkeypatch)


async def _spend(task: Task, ctx: Context) -> Reply[Done]:
    await spend(ctx, int(task.text))
    return Reply(Done("done"))


def _world(model: ScriptedModel | None = None, **keys: Any) -> dict[str, Any]:
    return {
        "handlers": {"worker": code(_spend)},
        "models": models(model or spender(seconds=1), timeout=24 * HOUR),
        "accounts": HOURLY,
        "budget": {"grace": NO_GRACE, **keys.pop("budget", {})},
        **keys,
    }


async def _outcome(organism: Organism, text: str) -> str:
    return (await (await organism.send("worker", Task(text), **ACME)).result()).outcome


def _node(organism: Organism) -> Any:
    return organism.kernel.state.pools["account:tenant:acme"]


@pytest.mark.parametrize("ahead", [HOUR, 8 * HOUR, 400 * 24 * HOUR])
async def test_a_machine_that_slept_finds_a_new_window(day: TimeOfDay, ahead: float) -> None:
    async with running(**_world()) as organism:
        assert [await _outcome(organism, "900"), await _outcome(organism, "900")] == ["completed", "exhausted"]
        day.ahead += ahead
        await anyio.sleep(2)
        assert await _outcome(organism, "900") == "completed"
        assert _node(organism).window.begins == NOON + ahead
        assert ascending(organism.watch.facts)


@pytest.mark.parametrize("zone", ["Europe/Berlin", "America/New_York", "Australia/Lord_Howe"])
async def test_windows_do_not_know_of_summer_time(monkeypatch: pytest.MonkeyPatch, zone: str) -> None:
    monkeypatch.setenv("TZ", zone)
    time.tzset()
    try:
        set_clock(monkeypatch, 1_792_889_999.0)  # a second before 2026-10-25, 01:00 UTC
        async with running(**_world()) as organism:
            outcomes = [await _outcome(organism, "900")]
            await anyio.sleep(1)
            outcomes += [await _outcome(organism, "900"), await _outcome(organism, "900")]
            await anyio.sleep(HOUR)
            outcomes.append(await _outcome(organism, "900"))
        assert outcomes == ["completed", "completed", "exhausted", "completed"]
    finally:
        monkeypatch.undo()
        time.tzset()


async def test_time_that_a_machine_sleeps_is_nobodys_running_time(day: TimeOfDay) -> None:
    """Neither a thread's seconds, nor a sub-thread's, nor the ceiling's, nor a handler's timeout, nor its attempts' `within`."""
    tries = 0

    async def below(task: Task, ctx: Context) -> Reply[Done]:
        nonlocal tries
        tries += 1
        await anyio.sleep(3)
        day.ahead += 8 * HOUR
        await anyio.sleep(3)
        if tries == 1:
            raise ValueError("once more")
        return Reply(Done("done"))

    async def worker(task: Task, ctx: Context) -> Reply[Done]:
        return Reply(await ctx.ask("below", task, expect=Done))

    async with running(
        handlers={
            "worker": code(worker, peers=("below",)),
            "below": code(
                below, timeout=10, budget={"seconds": 30}, on_failure={"attempts": 2, "within": 20, "backoff": [1, 1]}
            ),
        },
        budget={"seconds": 40, "warn_at": []},
        ceiling={"seconds": 60},
    ) as organism:
        result = await (await organism.send("worker", Task("go"))).result()
        assert (result.outcome, tries) == ("completed", 2)
        assert 12 <= result.usage.seconds <= 14
        assert ascending(organism.watch.facts)
        assert organism.watch.facts[-1].at >= NOON + 8 * HOUR
        slept, *_ = organism.watch.of(Resumed)
        assert round(slept.at - slept.since) == 8 * HOUR


async def test_seconds_end_when_they_are_over_though_the_machine_slept(day: TimeOfDay) -> None:
    async def worker(task: Task, ctx: Context) -> None:
        await anyio.sleep(5)
        day.ahead += HOUR
        await anyio.sleep(100)

    async with running(handlers={"worker": code(worker, timeout=None)}, budget={"seconds": 20}) as organism:
        began = anyio.current_time()
        result = await (await organism.send("worker", Task("go"))).result()
        assert (result.outcome, result.unit) == ("exhausted", "seconds")
        assert 20 <= anyio.current_time() - began <= 21
        assert 20 <= result.usage.seconds <= 21


async def test_a_machine_that_slept_brings_the_organisms_own_time_no_nearer(day: TimeOfDay) -> None:
    async def worker(task: Task, ctx: Context) -> None:
        await anyio.sleep(5)
        day.ahead += HOUR
        await anyio.sleep(5)

    async with running(handlers={"worker": code(worker, timeout=None)}, ceiling={"seconds": 60}) as organism:
        result = await (await organism.send("worker", Task("go"))).result()
        await (await organism.send("worker", Task("go"))).result()
        assert result.outcome == "completed"
        assert organism.watch.of(CrossedByTime) == []


async def test_a_clock_that_is_set_back_opens_no_window_again_and_stops_no_time(day: TimeOfDay) -> None:
    async with running(**_world()) as organism:
        assert await _outcome(organism, "900") == "completed"
        day.ahead -= 5 * HOUR
        await anyio.sleep(2)
        assert await _outcome(organism, "900") == "exhausted"
        await anyio.sleep(HOUR)
        assert await _outcome(organism, "900") == "completed"
        day.ahead += 5 * HOUR  # set right again: it was never behind
        await anyio.sleep(2)
        assert await _outcome(organism, "900") == "exhausted"
        assert _node(organism).window.begins == NOON + HOUR
        assert ascending(organism.watch.facts)


async def test_a_little_that_a_clock_is_set_changes_nothing(day: TimeOfDay) -> None:
    async with running(**_world(spender(seconds=20))) as organism:
        out = await organism.send("worker", Task("100"), **ACME)
        for number in range(8):
            day.ahead += 0.19
            await anyio.sleep(1.5)
            await organism.send("worker", Task("1"), accounts={"tenant": f"t{number}"})
        await out.result()
        assert [round(fact.at - fact.since, 2) for fact in organism.watch.of(Resumed)][:1] == [1.14]


async def test_a_question_is_over_in_its_time_though_the_machine_slept(day: TimeOfDay) -> None:
    async def worker(task: Task, ctx: Context) -> Reply[Done]:
        if task.text == "ask":
            await ctx.ask("boss", task)
        return Reply(Done("done"))

    boss = {"human": {"accepts": Task, "replies": Done}, "description": "Decides.", "timeout": 2 * HOUR}
    async with running(handlers={"worker": code(worker, peers=("boss",)), "boss": boss}) as organism:
        asking = await organism.send("worker", Task("ask"))
        await anyio.sleep(10)
        day.ahead += 3 * HOUR
        await (await organism.send("worker", Task("go"))).result()
        await anyio.sleep(1)
        assert "did not answer within 2 h" in str((await asking.result()).error)


@pytest.mark.parametrize(("hours", "late", "told"), [(2, 2 * 60, "2 h"), (30 * 24, 12 * HOUR, "30 days")])
async def test_a_question_is_over_in_its_time_though_nothing_happened_since_the_machine_slept(
    day: TimeOfDay, hours: int, late: float, told: str
) -> None:
    async def worker(task: Task, ctx: Context) -> Reply[Done]:
        await ctx.ask("boss", task)
        return Reply(Done("done"))

    boss = {"human": {"accepts": Task, "replies": Done}, "description": "Decides.", "timeout": hours * HOUR}
    async with running(handlers={"worker": code(worker, peers=("boss",)), "boss": boss}) as organism:
        asking = await organism.send("worker", Task("ask"))
        await anyio.sleep(10)
        day.ahead += (hours + 1) * HOUR
        while not asking.ended:
            await asking.goes_on() if asking.paused else await asking.result()
        assert f"did not answer within {told}" in str((await asking.result()).error)
        assert anyio.current_time() <= 10 + late


async def test_a_call_that_waits_goes_as_soon_as_a_window_has_room(day: TimeOfDay) -> None:
    """What another call holds for hours is held in the window before."""

    def says(request: Any) -> Says:
        return Says(text="ok", usage=(10, 10), seconds=5 * HOUR if request.max_output_tokens > 600 else 1)

    async with running(**_world(ScriptedModel(says), handlers={"worker": code(_spend, timeout=None)})) as organism:
        long = await organism.send("worker", Task("900"), **ACME)
        await anyio.sleep(1)
        waiting = [await organism.send("worker", Task("300"), **ACME) for _ in range(3)]
        for each in waiting:
            assert (await each.result()).outcome == "completed"
        assert HOUR <= anyio.current_time() <= HOUR + 2
        assert (await long.result()).outcome == "completed"
        assert _node(organism).held[0] == 0


async def test_a_call_that_waits_goes_when_the_machine_has_slept(day: TimeOfDay) -> None:
    def says(request: Any) -> Says:
        return Says(text="ok", usage=(10, 10), seconds=1000 if request.max_output_tokens > 600 else 1)

    async def naps() -> None:
        await anyio.sleep(10)
        day.ahead += HOUR
        await organism.send("worker", Task("1"), accounts={"tenant": "other"})

    async with running(**_world(ScriptedModel(says), handlers={"worker": code(_spend, timeout=None)})) as organism:
        long = await organism.send("worker", Task("900"), **ACME)
        await anyio.sleep(1)
        waiting = await organism.send("worker", Task("300"), **ACME)
        async with anyio.create_task_group() as group:
            group.start_soon(naps)
            assert (await waiting.result()).outcome == "completed"
            assert anyio.current_time() <= 15
        assert (await long.result()).outcome == "completed"
