"""Journals from processes whose clocks were ahead: no window has more than its limit, no chain goes back in time, and time goes on."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import anyio
import pytest

from organism import Context, Reply
from organism.pump.clock import MOST
from organism.record.facts import Accepted, CallHeld, CallSettled, Resumed
from tests.durable.mortal import Mortal, Scene, behind, check_whole, every, facts_of
from tests.hard.budget_world import models, spend, spender
from tests.hard.pump_world import Go, Said, code
from tests.hard.time_of_day import HOUR, NOON, TimeOfDay, ascending

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from organism.record.facts import Fact


ACME: Any = {"accounts": {"tenant": "acme"}}


async def _worker(message: Go, ctx: Context) -> Reply[Said]:
    return Reply(Said((await spend(ctx, 400)).text))


def _scene(path: Path, journal: str = "sqlite", **keys: Any) -> Scene:
    model = spender(seconds=10)
    document = {
        "handlers": {"worker": code(_worker)},
        "models": models(model, retries=0, timeout=10**6),
        "accounts": {"tenant": {"tokens": 1000, "window": "hour"}},
        "ceiling": {"tokens": 5000, "window": "hour"},
        **keys,
    }
    return Scene(path / ("j" if journal == "jsonl" else "j.db"), model, document, [], journal=journal)


async def _die(made: Scene, when: Callable[[Fact], bool]) -> None:
    """A process sends what is to be sent, and dies at this fact."""
    dying = made.organism()
    dying.dies_at = when
    await made.live(dying, made.send_all)


def _spent(path: Path) -> dict[int, int]:
    """Tokens by hours since noon."""
    found: Counter[int] = Counter()
    for fact in every(path, CallSettled):
        found[int((fact.held_at - NOON) // HOUR)] += fact.charge.amounts[0]
    return dict(found)


def _check(path: Path) -> None:
    assert max(_spent(path).values()) <= 1000
    for facts in facts_of(path).values():
        assert ascending(facts)


@pytest.mark.parametrize("journal", ["sqlite", "jsonl"])
@pytest.mark.by_turns
async def test_what_was_spent_in_a_window_to_come_counts_when_it_comes(
    tmp_path: Path, day: TimeOfDay, journal: str
) -> None:
    made = _scene(tmp_path, journal)
    day.ahead = 2 * HOUR
    made.sends = [(f"a{number}", "worker", Go("x"), ACME) for number in range(2)]
    await made.play()
    day.ahead = 0
    made.sends = [(f"b{number}", "worker", Go("x"), ACME) for number in range(3)]

    async def later(organism: Mortal) -> None:
        await made.send_all(organism)
        await anyio.sleep(2 * HOUR)
        made.sends = [("c", "worker", Go("x"), ACME)]
        await made.send_all(organism)
        await anyio.sleep(HOUR)
        made.sends = [("d", "worker", Go("x"), ACME)]
        await made.send_all(organism)

    await made.live(made.organism(), later)
    assert Counter(result.outcome for result in made.results.values()) == {"completed": 5, "exhausted": 2}
    assert _spent(tmp_path / made.path.name) == {2: 800, 0: 800, 3: 400}
    _check(made.path)


@pytest.mark.parametrize("back", [60, HOUR, 5 * HOUR, 24 * HOUR])
@pytest.mark.by_turns
async def test_a_chain_that_is_taken_up_does_not_go_back(tmp_path: Path, day: TimeOfDay, back: float) -> None:
    made = _scene(tmp_path)
    made.sends = [("a", "worker", Go("x"), ACME)]
    await _die(made, behind(1, CallHeld))
    day.ahead = -back
    organism = await made.resume()
    assert made.results["a"].outcome == "completed"
    assert made.results["a"].usage.seconds < 60
    assert organism.kernel.state.pools["account:tenant:acme"].used[0] == 800
    # It is charged where it was held, and what follows counts beside it.
    assert _spent(made.path) == {0: 800}
    _check(made.path)
    check_whole(organism, made.path)

    day.ahead = -back
    made.sends = [("b", "worker", Go("x"), ACME)]
    after = await made.play()
    assert made.results["b"].outcome == ("completed" if back >= HOUR else "exhausted")
    assert after.kernel.state.pools["account:tenant:acme"].held[0] == 0
    _check(made.path)


async def test_time_goes_on_from_what_was_taken_up(tmp_path: Path, day: TimeOfDay) -> None:
    made = _scene(tmp_path)
    made.sends = [("a", "worker", Go("x"), ACME)]
    await _die(made, behind(1, CallHeld))
    day.ahead = -24 * HOUR

    async def client(organism: Mortal) -> None:
        made.sends = [("before", "worker", Go("x"), {})]
        await made.send_all(organism)  # it runs while the clock leaps
        await organism.resume()
        await anyio.sleep(100)
        made.sends = [("refused", "worker", Go("x"), ACME)]
        await made.send_all(organism)
        await anyio.sleep(HOUR)
        made.sends = [("next", "worker", Go("x"), ACME)]
        await made.send_all(organism)

    await made.live(made.organism(), client)
    outcomes = {name: result.outcome for name, result in made.results.items()}
    assert outcomes == {"before": "completed", "refused": "exhausted", "next": "completed"}
    _check(made.path)


async def test_others_that_run_when_the_clock_catches_up_lose_no_time(tmp_path: Path, day: TimeOfDay) -> None:
    made = _scene(tmp_path, budget={"seconds": 30})
    made.sends = [("a", "worker", Go("x"), {})]
    await _die(made, behind(1, CallHeld))
    day.ahead = -24 * HOUR

    async def client(organism: Mortal) -> None:
        handle = await organism.send("worker", Go("x"), id="b")
        await anyio.sleep(5)
        await organism.resume()
        result = await handle.result()
        assert result.outcome == "completed"
        assert 10 <= result.usage.seconds <= 11

    await made.live(made.organism(), client)
    _check(made.path)


async def test_nobody_goes_on_from_an_instant_that_is_still_to_come(tmp_path: Path, day: TimeOfDay) -> None:
    """The process lived on while another thread of it was at work; the clock only catches up with the one that is taken up."""
    made = _scene(tmp_path)
    made.sends = [("a", "worker", Go("x"), {}), ("b", "worker", Go("x"), {})]
    dying = made.organism()
    dying.dies_at = behind(2, CallHeld)

    async def apart(organism: Mortal) -> None:
        await organism.send("worker", Go("x"), id="a")
        await anyio.sleep(5)
        await made.send_all(organism)

    await made.live(dying, apart)
    day.ahead = -24 * HOUR
    made.sends = made.sends[:1]
    await made.play()
    (resumed,) = every(made.path, Resumed)
    assert (resumed.thread, resumed.since) == ("a", resumed.at)
    assert 10 <= made.results["a"].usage.seconds <= 11
    _check(made.path)


async def test_calls_left_in_a_window_to_come_count_when_it_comes(tmp_path: Path, day: TimeOfDay) -> None:
    """Sending under an id again takes up that chain alone; it brings the window before the one whose call was under way there."""
    made = _scene(tmp_path, accounts={"tenant": {"tokens": 1700, "window": "hour"}})
    made.sends = [(name, "worker", Go("x"), ACME) for name in "ab"]
    await _die(made, behind(2, CallHeld))
    day.ahead = -24 * HOUR

    async def client(organism: Mortal) -> None:
        for name in "acd":
            handle = await organism.send("worker", Go("x"), id=name, **ACME)
            made.results[name] = await handle.result()
        made.results["b"] = await (await organism.send("worker", Go("x"), id="b", **ACME)).result()

    await made.live(made.organism(), client)
    outcomes = {name: result.outcome for name, result in made.results.items()}
    assert outcomes == {"a": "completed", "c": "completed", "d": "exhausted", "b": "exhausted"}
    assert _spent(made.path) == {0: 1600}


async def test_a_thread_of_a_clock_that_was_ahead_may_be_cancelled_and_no_window_is_left_for_that(
    tmp_path: Path, day: TimeOfDay
) -> None:
    made = _scene(tmp_path)
    made.sends = [(name, "worker", Go("x"), ACME) for name in "ab"]
    await made.play()
    day.ahead = 2 * HOUR
    made.sends = [("left", "worker", Go("x"), ACME)]
    await _die(made, behind(1, Accepted))
    day.ahead = 0

    async def client(organism: Mortal) -> None:
        await organism.cancel_left("left")
        made.sends = [("c", "worker", Go("x"), ACME)]
        await made.send_all(organism)

    await made.live(made.organism(), client)
    assert made.results["c"].outcome == "exhausted"
    _check(made.path)


async def test_what_is_charged_to_a_window_to_come_by_hand_counts_when_it_comes(tmp_path: Path, day: TimeOfDay) -> None:
    made = _scene(tmp_path)
    day.ahead = 2 * HOUR
    made.sends = [("left", "worker", Go("x"), ACME)]
    await _die(made, behind(1, CallHeld))
    day.ahead = 0

    async def client(organism: Mortal) -> None:
        await organism.cancel_left("left")
        await anyio.sleep(2 * HOUR)
        for name in "ab":
            made.sends = [(name, "worker", Go("x"), ACME)]
            await made.send_all(organism)

    await made.live(made.organism(), client)
    assert [made.results[name].outcome for name in "ab"] == ["completed", "exhausted"]
    assert _spent(made.path) == {2: 800}
    _check(made.path)


async def test_a_clock_that_was_wrong_by_days_is_not_followed(
    tmp_path: Path, day: TimeOfDay, caplog: pytest.LogCaptureFixture
) -> None:
    made = _scene(tmp_path)
    made.sends = [("a", "worker", Go("x"), ACME)]
    day.ahead = 2 * MOST
    await _die(made, behind(1, CallHeld))
    day.ahead = 0
    caplog.clear()
    await made.resume()
    assert made.results["a"].outcome == "completed"
    assert "is not followed: the clock was wrong then, or is now" in caplog.text
    # Whoever comes beside it, or after, has the time of day, and the windows of that.
    for number, hour in enumerate((0, 0, 0, 24), 1):
        day.ahead = hour * HOUR
        made.sends = [(f"b{number}", "worker", Go("x"), ACME)]
        await made.play()
        assert facts_of(made.path)[f"b{number}"][0].at < NOON + day.ahead + HOUR
    outcomes = [made.results[f"b{number}"].outcome for number in range(1, 5)]
    assert outcomes == ["completed", "exhausted", "exhausted", "completed"]
    # What "a" called for once more counts in the window of now, what was under way in the one that it was held in.
    assert _spent(made.path) == {0: 800, 24: 400, 52: 400}
