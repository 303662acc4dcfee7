"""Limits and windows of accounts that change while nobody runs, and around a call that is out (hard cases 18, 37)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import anyio

from organism import Context, Reply
from organism.journal import open_journal
from organism.record.facts import CallHeld, CallSettled
from tests.durable.mortal import Mortal, Scene, every
from tests.hard.budget_world import NO_GRACE, Done, Task, code, models, spend, spender

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from tests.hard.time_of_day import TimeOfDay


HOUR = 3600
ACME: Mapping[str, Any] = {"accounts": {"tenant": "acme"}}


async def one_call(task: Task, ctx: Context) -> Reply[Done]:
    """Spends as many tokens as the text says."""
    return Reply(Done((await spend(ctx, int(task.text))).text))


async def test_a_tenants_limit_that_was_lowered_below_what_is_spent_refuses_and_one_that_was_raised_lets_go_on(
    tmp_path: Path,
) -> None:
    """Hard case 18, for accounts: their limits are the file's, and another process reads another file."""
    ended: list[tuple[str, int]] = []
    for limit in (1000, 300, 600, 599, 1200):
        document = {
            "handlers": {"worker": code(one_call)},
            "models": models(spender()),
            "accounts": {"tenant": {"tokens": limit, "window": "total"}},
            "budget": {"grace": NO_GRACE},
        }
        made = Scene(tmp_path / "j.db", spender(), document, [(f"t{limit}", "worker", Task("400"), ACME)])
        organism = await made.play()
        node = organism.kernel.state.pools["account:tenant:acme"]
        assert not any(node.held)
        ended.append((made.results[f"t{limit}"].outcome, node.used[0]))
    assert ended == [("completed", 400), ("exhausted", 400), ("exhausted", 400), ("exhausted", 400), ("completed", 800)]


async def test_a_window_that_rolls_while_a_call_is_out_and_again_while_nobody_runs_is_charged_where_it_was_held(
    tmp_path: Path,
) -> None:
    """Hard case 37, for accounts and the ceiling at once: three windows, a crash in the second, and 600 seconds to run."""
    quota = {"tokens": 1000, "window": "hour"}
    document = {
        "handlers": {"worker": code(one_call, timeout=None)},
        "models": models(spender(seconds=30), timeout=100),
        "accounts": {"tenant": quota},
        "ceiling": quota,
        "budget": {"seconds": 600, "grace": NO_GRACE},
    }
    made = Scene(tmp_path / "j.db", spender(), document, [("t", "worker", Task("900"), ACME)])

    def nodes(organism: Mortal) -> list[Any]:
        return [organism.kernel.state.pools[name] for name in ("", "account:tenant:acme")]

    async def client(organism: Mortal) -> None:
        now = organism._now()
        await anyio.sleep(HOUR - now % HOUR - 10)
        handle = await organism.send("worker", Task("900"), id="t", **ACME)
        await anyio.sleep(1)
        assert [node.held[0] for node in nodes(organism)] == [900, 900]
        await anyio.sleep(14)  # the window has rolled, and the call is out
        beside = await organism.send("worker", Task("700"), id="beside", **ACME)
        await anyio.sleep(1)
        # What is held in the old window takes nothing of the new one.
        assert [node.held[0] for node in nodes(organism)] == [700, 700]
        await handle.result()
        await beside.result()

    dying = made.organism()
    dying.dies_at = lambda fact: isinstance(fact, CallSettled)
    await made.live(dying, client)
    first, second = every(made.path, CallHeld)
    assert second.at // HOUR == first.at // HOUR + 1
    await anyio.sleep(HOUR)  # both calls are charged in full, each in its window; both are made again in a third one

    async def again(organism: Mortal) -> None:
        for handle in await organism.resume():
            made.results[handle.id] = await handle.result()

    organism = await made.live(made.organism(), again)
    outcomes = {id_: (result.outcome, result.unit) for id_, result in made.results.items()}
    assert sorted(outcomes.values()) == [("completed", None), ("exhausted", "tokens")]
    assert all(result.usage.seconds < 120 for result in made.results.values())
    went = next(id_ for id_, (outcome, _) in outcomes.items() if outcome == "completed")
    spent = {"t": 900, "beside": 700}[went]
    assert [(node.used[0], node.held[0]) for node in nodes(organism)] == [(spent, 0), (spent, 0)]
    by_account: Any = organism.usage("account")
    assert by_account["tenant:acme"].tokens == 900 + 700 + spent
    assert not organism.kernel.state.threads
    assert not organism.kernel.state.holds
    journal = open_journal(f"sqlite:{made.path}", readonly=True)
    by_hour = {row.hour: row.amounts[0] for row in journal.spendings() if row.amounts[0]}
    journal.close()
    assert list(by_hour.values()) == [900, 700, spent]
    assert sorted(by_hour) == list(by_hour)


async def test_a_clock_that_was_set_back_over_the_edge_of_a_window_moves_nothing_into_the_later_one(
    tmp_path: Path, day: TimeOfDay
) -> None:
    """One chain is taken up in the hour that the clock shows, the other brings a later one: each call stays in its own."""
    quota = {"tokens": 1000, "window": "hour"}
    document = {
        "handlers": {"worker": code(one_call, timeout=None)},
        "models": models(spender(seconds=30), timeout=100),
        "accounts": {"tenant": quota},
        "ceiling": quota,
        "budget": {"grace": NO_GRACE},
    }
    made = Scene(tmp_path / "j.db", spender(), document, [])

    async def client(organism: Mortal) -> None:
        now = organism._now()
        await anyio.sleep(HOUR - now % HOUR - 10)
        before = await organism.send("worker", Task("400"), id="before", **ACME)
        await anyio.sleep(15)
        behind = await organism.send("worker", Task("300"), id="behind", **ACME)
        await before.result()
        await behind.result()

    dying = made.organism()
    dying.dies_at = lambda fact: isinstance(fact, CallSettled)
    await made.live(dying, client)
    day.ahead -= HOUR

    async def again(organism: Mortal) -> None:
        handles = await organism.resume()
        # The later hour has the call that was out in it, and not the one of the hour before.
        assert [node.used[0] for node in organism.kernel.state.pools.values()] == [300, 300]
        for handle in handles:
            made.results[handle.id] = await handle.result()

    organism = await made.live(made.organism(), again)
    assert {id_: result.outcome for id_, result in made.results.items()} == dict.fromkeys(
        ("before", "behind"), "completed"
    )
    for node in organism.kernel.state.pools.values():
        assert node.used[0] in {300 + 300, 300 + 300 + 400}
        assert not any(node.held)
    by_account: Any = organism.usage("account")
    assert by_account["tenant:acme"].tokens == 2 * (400 + 300)
