"""Journals of processes whose clocks were far ahead, too far to be followed, or ahead by different times."""

from __future__ import annotations

from contextlib import closing, nullcontext
from typing import TYPE_CHECKING, Any

import anyio
import pytest
from attrs import evolve

from organism import Context, Reply
from organism.journal import open_journal
from organism.pump.clock import MOST
from organism.record.facts import CallHeld, CallSettled, Resumed, WarningRaised
from organism.works.rows import rows_in
from tests.durable.mortal import Mortal, Scene, behind, check_whole, every, facts_of
from tests.hard.budget_world import models, spend, spender
from tests.hard.pump_world import Go, Said, code
from tests.hard.time_of_day import HOUR, NOON, TimeOfDay, ascending

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from organism.settings import WindowKind

DAY = 24 * HOUR
ACME: Any = {"accounts": {"tenant": "acme"}}
BOSS = {"human": {"accepts": Go, "replies": Said}, "description": "Decides.", "timeout": 2 * HOUR}


async def _sleeper(message: Go, ctx: Context) -> Reply[Said]:
    await anyio.sleep(float(message.text))
    return Reply(Said("done"))


async def _asker(message: Go, ctx: Context) -> Reply[Said]:
    return Reply(await ctx.ask("boss", message, expect=Said))


async def _spender(message: Go, ctx: Context) -> Reply[Said]:
    return Reply(Said((await spend(ctx, 400)).text))


def _scene(path: Path, window: WindowKind = "hour", **keys: Any) -> Scene:
    model = spender(seconds=10)
    document = {
        "handlers": {
            "sleeper": code(_sleeper, timeout=None),
            "asker": code(_asker, peers=("boss",)),
            "spender": code(_spender),
            "boss": BOSS,
        },
        "models": models(model, retries=0),
        "accounts": {"tenant": {"tokens": 1000, "window": window}},
        **keys,
    }
    return Scene(path / "j.db", model, document, [])


def _leaves(*ids: str, for_: float = 1000, after: float = 2) -> Callable[[Mortal], Awaitable[None]]:
    """A process that sends one after the other, and ends while all are at work."""

    async def client(organism: Mortal) -> None:
        for id_ in ids:
            await organism.send("sleeper", Go(str(for_)), id=id_)
            await anyio.sleep(after)

    return client


async def test_many_that_are_taken_up_together_leap_once(tmp_path: Path, day: TimeOfDay) -> None:
    """Where each leapt for itself, every thread had an entry for each that was taken up behind it."""
    made, names = _scene(tmp_path), [f"t{number}" for number in range(20)]
    await made.live(made.organism(), _leaves(*names))
    day.ahead = -5 * HOUR
    made.sends = [(name, "sleeper", Go("1000"), {}) for name in names]
    organism = await made.resume()
    assert {result.outcome for result in made.results.values()} == {"completed"}
    assert len(every(made.path, Resumed)) == len(names)
    check_whole(organism, made.path)


async def test_one_after_the_other_they_lead_no_further(
    tmp_path: Path, day: TimeOfDay, caplog: pytest.LogCaptureFixture
) -> None:
    """Each chain is 20 hours ahead of the one before: no more is followed than one that is 26 hours ahead of the time of day."""
    made = _scene(tmp_path)
    for number in range(5):
        day.ahead = number * 20 * HOUR
        await made.live(made.organism(), _leaves(f"t{number}"))
    day.ahead = -HOUR
    caplog.clear()
    made.sends = [("new", "sleeper", Go("1"), {})]
    await made.resume()
    assert facts_of(made.path)["new"][0].at < NOON + MOST
    assert caplog.text.count("is not followed") == 1


@pytest.mark.parametrize("ahead", [-HOUR, HOUR, 20 * HOUR, 30 * DAY])
async def test_a_question_is_over_in_its_time_wherever_the_clock_was(
    tmp_path: Path, day: TimeOfDay, ahead: float
) -> None:
    made = _scene(tmp_path)
    day.ahead = ahead

    async def ask(organism: Mortal) -> None:
        assert (await (await organism.send("asker", Go("x"), id="t")).result()).outcome == "paused"

    async def go_on(organism: Mortal) -> None:
        (handle,) = await organism.resume()
        began = anyio.current_time()
        assert (await handle.result()).outcome == "paused"
        await handle.goes_on()
        assert "did not answer within 2 h" in str((await handle.result()).error)
        assert anyio.current_time() - began <= 2 * HOUR + 1

    await made.live(made.organism(), ask)
    day.ahead = 0
    organism = await made.live(made.organism(), go_on)
    check_whole(organism, made.path)
    assert ascending(facts_of(made.path)["t"]) == (ahead < MOST)


async def test_it_is_listed_among_those_that_began_then(tmp_path: Path, day: TimeOfDay) -> None:
    made = _scene(tmp_path)
    day.ahead = 30 * DAY
    await made.live(made.organism(), _leaves("t"))
    day.ahead = 0

    async def go_on(organism: Mortal) -> None:
        await organism.resume()

    await made.live(made.organism(), go_on)
    with closing(open_journal(f"sqlite:{made.path}", readonly=True)) as journal:
        rows = rows_in(journal, nullcontext(), owned=False, since=NOON + 20 * DAY)
        assert [row.result.thread for row in rows] == ["t"]


@pytest.mark.parametrize("ahead", [-HOUR, 0, HOUR, 20 * HOUR, 30 * DAY])
@pytest.mark.parametrize("told", [None, "pause"])
async def test_time_that_has_run_is_not_given_again(
    tmp_path: Path, day: TimeOfDay, ahead: float, told: str | None
) -> None:
    made = _scene(tmp_path, budget={"seconds": 1000, "warn_at": [0.55]})
    day.ahead = ahead
    await made.live(made.organism(), _leaves("t", for_=5000, after=600))

    async def go_on(organism: Mortal) -> None:
        if told is not None:
            await organism.pause_left("t")
        await organism.resume(paused=True)
        began, handle = anyio.current_time(), await organism.send("sleeper", Go("5000"), id="t")
        result = await handle.result()
        assert (result.outcome, result.unit) == ("exhausted", "seconds")
        # It is known to have run until its last entry, the warning.
        assert 450 <= anyio.current_time() - began <= 451
        assert 1000 <= result.usage.seconds <= 1001

    day.ahead = 0
    organism = await made.live(made.organism(), go_on)
    check_whole(organism, made.path)


@pytest.mark.parametrize(
    ("window", "outcomes"),
    [
        ("hour", ["completed", "exhausted", "completed", "completed", "exhausted"]),
        ("day", ["completed", "exhausted", "exhausted", "exhausted", "exhausted"]),
        ("total", ["exhausted"] * 5),
        ("run", ["exhausted"] * 5),
    ],
)
async def test_others_have_the_windows_of_now(
    tmp_path: Path, day: TimeOfDay, window: WindowKind, outcomes: list[str]
) -> None:
    """A thread that was left far ahead is taken up beside them: the windows of its account do not begin where it was."""
    made = _scene(tmp_path, window)
    day.ahead = 45 * DAY
    made.sends = [("a", "spender", Go("x"), ACME)]
    dying = made.organism()
    dying.dies_at = behind(1, CallHeld)
    await made.live(dying, made.send_all)
    day.ahead = 0

    async def go_on(organism: Mortal) -> None:
        await made.go_on(organism)
        for number in range(5):
            made.sends = [(f"b{number}", "spender", Go("x"), ACME)]
            await made.send_all(organism)
            await anyio.sleep(1200)

    organism = await made.live(made.organism(), go_on)
    assert made.results["a"].outcome == "completed"
    assert [made.results[f"b{number}"].outcome for number in range(5)] == outcomes
    check_whole(organism, made.path)


async def test_what_was_under_way_far_ahead_counts_once_its_window_comes(tmp_path: Path, day: TimeOfDay) -> None:
    made = _scene(tmp_path)
    day.ahead = 45 * DAY
    made.sends = [("a", "spender", Go("x"), ACME)]
    dying = made.organism()
    dying.dies_at = behind(1, CallHeld)
    await made.live(dying, made.send_all)
    day.ahead = 0

    async def go_on(organism: Mortal) -> None:
        await organism.resume()
        await anyio.sleep(45 * DAY)
        for name in "bcd":
            made.sends = [(name, "spender", Go("x"), ACME)]
            await made.send_all(organism)

    await made.live(made.organism(), go_on)
    assert [made.results[name].outcome for name in "bcd"] == ["completed", "exhausted", "exhausted"]
    spent = [fact for fact in every(made.path, CallSettled) if fact.held_at > NOON + 40 * DAY]
    assert sum(fact.charge.amounts[0] for fact in spent) == 800


@pytest.mark.parametrize("told", [None, "pause"])
async def test_nor_taken_away_once_the_clock_is_right(tmp_path: Path, day: TimeOfDay, told: str | None) -> None:
    """The second process has written entries that are earlier than those of the first; the third goes on from the last."""
    made = _scene(tmp_path, budget={"seconds": 1000, "warn_at": [0.55, 0.75]})
    day.ahead = 30 * DAY
    await made.live(made.organism(), _leaves("t", for_=5000, after=600))
    day.ahead = 0

    async def go_on(organism: Mortal) -> None:
        await organism.resume()
        await anyio.sleep(250)

    async def end(organism: Mortal) -> None:
        if told is not None:
            await organism.pause_left("t")
        await organism.resume(paused=True)
        began, handle = anyio.current_time(), await organism.send("sleeper", Go("5000"), id="t")
        assert (await handle.result()).unit == "seconds"
        assert 250 <= anyio.current_time() - began <= 251

    await made.live(made.organism(), go_on)
    check_whole(await made.live(made.organism(), end), made.path)


async def test_a_level_that_was_reached_far_ahead_is_still_told_of_now(tmp_path: Path, day: TimeOfDay) -> None:
    async def twice(message: Go, ctx: Context) -> Reply[Said]:
        await spend(ctx, 400)
        return Reply(Said((await spend(ctx, 300)).text))

    made = _scene(tmp_path, budget={"warn_at": [0.35]})
    made = evolve(made, document={**made.document, "handlers": {"twice": code(twice)}})
    day.ahead = 45 * DAY
    made.sends = [("a", "twice", Go("x"), ACME)]
    dying = made.organism()
    dying.dies_at = behind(1, CallSettled)
    await made.live(dying, made.send_all)
    day.ahead = 0
    await made.resume()
    told = [step for fact in facts_of(made.path)["a"] for step in fact.steps if isinstance(step, WarningRaised)]
    assert [each.level for each in told if each.level != "runway"] == ["final", "final"]


@pytest.mark.by_turns
async def test_an_order_to_what_was_left_gives_nothing_of_it_back(tmp_path: Path, day: TimeOfDay) -> None:
    """The first process was far ahead, the second was right, and died while its call was out: that counts now, cancelled or not."""
    made = _scene(tmp_path, "day", ceiling={"tokens": 2000, "window": "day"})
    day.ahead = 45 * DAY
    made.sends = [("a", "spender", Go("x"), ACME)]
    for client in (made.send_all, made.go_on):
        dying = made.organism()
        dying.dies_at = behind(1, CallHeld)
        await made.live(dying, client)
        day.ahead = 0

    async def cancel(organism: Mortal) -> None:
        await organism.cancel_left("a")
        assert [node.used[0] for node in organism.kernel.state.pools.values()] == [400, 400]

    check_whole(await made.live(made.organism(), cancel), made.path)
