"""Accounts over processes: what a tenant has spent in a window counts in the next process too, and what was held at a crash."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import anyio
import pytest

from organism import Context, Reply
from organism.journal import socket_path
from organism.record.facts import CallHeld, CallSettled
from organism.testing import Says, ScriptedModel
from organism.works.control import Order, tell
from tests.control.test_control import listening
from tests.durable.mortal import Mortal, Scene, behind, check_whole, every
from tests.hard.budget_world import models, spend, spender
from tests.hard.pump_world import Go, Said, code

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


ACME: Mapping[str, Any] = {"accounts": {"tenant": "acme"}}


async def _worker(message: Go, ctx: Context) -> Reply[Said]:
    return Reply(Said((await spend(ctx, 150)).text))


def scene(path: Path, accounts: Mapping[str, Any], model: ScriptedModel | None = None, **keys: Any) -> Scene:
    journal = keys.pop("journal", "sqlite")
    model = model or spender()
    document = {
        "handlers": {"worker": code(_worker)},
        "models": models(model, retries=0, timeout=10**6),
        "accounts": accounts,
        **keys,
    }
    return Scene(path / "j.db", model, document, [("t", "worker", Go("x"), ACME)], journal=journal)


def account(organism: Mortal, name: str = "tenant:acme") -> Any:
    return organism.kernel.state.pools[f"account:{name}"]


@pytest.mark.parametrize("window", ["total", "month"])
async def test_what_a_tenant_has_spent_counts_in_the_next_process(tmp_path: Path, window: str) -> None:
    made = scene(tmp_path, {"tenant": {"tokens": 400, "window": window}})
    last: Mortal | None = None
    for number in range(3):
        made.sends = [(f"{number}", "worker", Go("x"), ACME), (f"o{number}", "worker", Go("x"), {})]
        last = await made.play()
    assert last is not None
    outcomes = {id_: result.outcome for id_, result in made.results.items()}
    assert outcomes == {
        "0": "completed",
        "1": "completed",
        "2": "exhausted",
        "o0": "completed",
        "o1": "completed",
        "o2": "completed",
    }
    assert account(last).used[0] == 300
    usage: Any = last.usage("account")
    assert {name: each.tokens for name, each in usage.items()} == {"tenant:acme": 300}
    # A level that was said in one process is not said again in another, neither where the sums tell that it was reached nor where a
    # refusal or the runway made it fire.
    said = [row.level for result in made.results.values() for row in result.warnings if row.scope == "account"]
    assert sorted(said) == sorted(set(said))


async def test_an_account_of_a_run_begins_anew_with_each_process(tmp_path: Path) -> None:
    made = scene(tmp_path, {"tenant": {"tokens": 200, "window": "run"}})
    for number in range(2):
        made.sends = [(f"{number}", "worker", Go("x"), ACME)]
        organism = await made.play()
        assert account(organism).used[0] == 150
    assert [result.outcome for result in made.results.values()] == ["completed", "completed"]


async def test_what_was_held_at_a_crash_is_charged_to_the_accounts_window(tmp_path: Path) -> None:
    model = ScriptedModel(lambda _: Says(text="ok", usage=(10, 5), seconds=30))
    made = scene(tmp_path, {"tenant": {"tokens": 1000, "window": "hour"}}, model)

    dying = made.organism()
    dying.dies_at = lambda fact: isinstance(fact, CallSettled)
    await made.live(dying, made.send_at_the_edge)
    (held,) = every(made.path, CallHeld)
    await anyio.sleep(3600)
    organism = await made.resume()
    assert made.results["t"].outcome == "completed"
    assert account(organism).used[0] == 15
    assert not any(account(organism).held)
    usage: Any = organism.usage("account")
    assert usage["tenant:acme"].tokens == held.need[0] + 15
    check_whole(organism, made.path)


async def test_what_was_held_at_a_crash_within_the_window_stays_charged(tmp_path: Path) -> None:
    model = ScriptedModel(lambda _: Says(text="ok", usage=(10, 5), seconds=30))
    made = scene(tmp_path, {"tenant": {"tokens": 1000, "window": "total"}}, model)
    dying = made.organism()
    dying.dies_at = lambda fact: isinstance(fact, CallSettled)
    await made.live(dying, made.send_all)
    (held,) = every(made.path, CallHeld)
    organism = await made.resume()
    assert account(organism).used[0] == held.need[0] + 15
    assert not any(account(organism).held)
    check_whole(organism, made.path)
    third = made.organism()

    async def look(life: Mortal) -> None:
        await life.send("worker", Go("x"), id="again", **ACME)
        assert account(life).used[0] == held.need[0] + 15

    await made.live(third, look)


@pytest.mark.parametrize("journal", ["sqlite", "jsonl"])
async def test_a_conversation_is_under_its_accounts_in_every_process(tmp_path: Path, journal: str) -> None:
    made = scene(tmp_path, {"tenant": {"tokens": 500, "window": "total"}}, journal=journal)
    for number in range(4):
        how = {"conversation": "c", **(ACME if number == 0 else {})}
        made.sends = [(f"{number}", "worker", Go("x"), how)]
        await made.play()
    assert [result.outcome for result in made.results.values()] == ["completed"] * 3 + ["exhausted"]


async def test_what_was_left_and_is_cancelled_by_hand_counts_once_where_others_are_at_work(tmp_path: Path) -> None:
    """What the left thread had spent before is in the account already, and what its call may have cost counts from the start."""

    async def worker(message: Go, ctx: Context) -> Reply[Said]:
        await spend(ctx, 150)
        return Reply(Said((await spend(ctx, 200)).text))

    model = spender(seconds=10)
    made = scene(tmp_path, {"tenant": {"tokens": 1000, "window": "total"}}, model, handlers={"worker": code(worker)})
    dying = made.organism()
    dying.dies_at = behind(2, CallHeld)
    await made.live(dying, made.send_all)
    living = made.organism()

    async def cancel(organism: Mortal) -> None:
        path = socket_path(made.path)
        await listening(path)
        await organism.send("worker", Go("y"), id="other", **ACME)
        assert account(organism).used[0] == 350
        assert (await tell(path, Order(do="cancel", thread="t")))["ok"]
        assert account(organism).used[0] == 350

    await made.live(living, cancel)
