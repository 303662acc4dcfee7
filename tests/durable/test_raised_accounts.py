"""Limits of accounts, and the ceiling, that are raised while a process runs: for the rest of their window, also after a restart."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import anyio
import pytest

from organism import ConfigurationError, Context, Organism, Reply, ThreadResult
from organism.errors import JournalError, RoutingError
from organism.journal import open_journal, socket_path
from organism.kernel.comparable import comparable
from organism.kernel.fold import Fold
from organism.record.facts import CallSettled, QuotaRaised
from organism.testing import running
from organism.works.control import Order, tell
from tests.control.test_control import listening
from tests.durable.mortal import Mortal, Scene
from tests.hard.budget_world import ALL, NO_GRACE, Done, Task, code, models, spend, spender

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from organism.record.facts import Fact

HOUR = 3600
ACME: Mapping[str, Any] = {"accounts": {"tenant": "acme"}}


async def one_call(task: Task, ctx: Context) -> Reply[Done]:
    """Spends as many tokens as the text says."""
    return Reply(Done((await spend(ctx, int(task.text))).text))


def document(seconds: float = 0.0, **keys: Any) -> dict[str, Any]:
    usual: dict[str, Any] = {
        "handlers": {"worker": code(one_call, timeout=None)},
        "models": models(spender(seconds=seconds)),
        "accounts": {"tenant": {"tokens": 1000, "window": "hour"}},
        "budget": {"grace": NO_GRACE},
    }
    return usual | keys


async def result(organism: Organism, tokens: int, **how: Any) -> ThreadResult:
    return await (await organism.send("worker", Task(str(tokens)), **(how or ACME))).result()


def limit(organism: Organism, name: str = "tenant:acme") -> int | None:
    return organism.account_of(name).budget.tokens.limit


# In memory


async def test_what_waits_goes_and_what_comes_fits_once_an_account_has_more() -> None:
    async with running(**document(seconds=10)) as organism:
        first = await organism.send("worker", Task("900"), **ACME)
        await anyio.sleep(1)
        waits = await organism.send("worker", Task("100"), accounts={"tenant": "acme"})
        more = await organism.send("worker", Task("1050"), accounts={"tenant": "acme"})
        other = await organism.send("worker", Task("1050"), accounts={"tenant": "other"})
        await anyio.sleep(1)
        assert (await more.result()).error == (
            "tokens of the account tenant:acme: 0 used, 1,000 held, limit 1,000, needed 1,050; its hour ends 2026-10-28 13:00 UTC"
        )
        third = await organism.send("worker", Task("300"), **ACME)
        organism.account_of("tenant:acme").add_budget(tokens=500)
        outcomes = [(await each.result()).outcome for each in (first, waits, third, other)]
        assert outcomes == ["completed", "completed", "completed", "exhausted"]
        budget = organism.account_of("tenant:acme").budget
        assert (budget.tokens.used, budget.tokens.limit, budget.tokens.remaining) == (1300, 1500, 200)
        assert limit(organism, "tenant:other") == 1000
        (raised,) = organism.watch.of(QuotaRaised)
        assert (raised.thread, raised.amounts) == ("account:tenant:acme", (500, 0, 0, 0, 0, 0))


async def test_a_call_in_line_goes_at_once_when_the_limit_is_raised() -> None:
    """What it waits for would not come for an hour; the raise is enough."""
    async with running(**document(seconds=HOUR, models=models(spender(seconds=HOUR), timeout=2 * HOUR))) as organism:
        await organism.send("worker", Task("900"), **ACME)
        await anyio.sleep(1)
        handle = await organism.send("worker", Task("200"), **ACME)
        await anyio.sleep(1)
        assert limit(organism) == 1000
        assert organism.kernel.state.pools["account:tenant:acme"].held[0] == 900
        organism.account_of("tenant:acme").add_budget(tokens=100)
        assert organism.kernel.state.pools["account:tenant:acme"].held[0] == 1100
        handle.cancel()


async def test_levels_above_the_new_share_warn_again_and_each_once() -> None:
    async with running(**document()) as organism:
        first = await result(organism, 960)
        organism.account_of("tenant:acme").add_budget(tokens=1000)
        again = [await result(organism, tokens) for tokens in (40, 600, 390)]
    said = [
        [row.level for row in each.warnings if row.scope == "account" and row.level != "runway"]
        for each in (first, *again)
    ]
    assert said == [ALL, [], ["warning"], ["critical", "final"]]


async def test_what_was_given_ends_with_its_window() -> None:
    async with running(**document()) as organism:
        organism.account_of("tenant:acme").add_budget(tokens=500)
        organism.account_of("tenant:acme").add_budget(tokens=500)
        assert limit(organism) == 2000
        assert (await result(organism, 1900)).outcome == "completed"
        await anyio.sleep(HOUR)
        assert limit(organism) == 1000
        assert (await result(organism, 1100)).outcome == "exhausted"
        assert (await result(organism, 1000)).outcome == "completed"


async def test_the_ceiling_is_raised_by_its_name() -> None:
    async with running(**document(accounts={}, ceiling={"tokens": 500, "seconds": 1000})) as organism:
        ceiling = organism.account_of("ceiling")
        assert repr(ceiling) == "<AccountHandle ceiling>"
        assert (await result(organism, 600, labels={})).error == (
            "tokens of the organism: 0 used, 0 held, limit 500, needed 600"
        )
        await anyio.sleep(5)
        ceiling.add_budget(tokens=100)
        assert (await result(organism, 600, labels={})).outcome == "completed"
        (raised,) = organism.watch.of(QuotaRaised)
        assert (raised.thread, raised.amounts[0]) == ("ceiling:", 100)
        budget = ceiling.budget
        assert (budget.seconds.limit, budget.depth.limit) == (1000, None)
        assert budget.seconds.used == pytest.approx(5)


@pytest.mark.parametrize(
    ("name", "units", "problem"),
    [
        ("tenant:acme", {"tokns": 1}, "'tokns' is not a unit that can be raised here; there are: tokens, input_tokens"),
        ("ceiling", {"seconds": 1}, "'seconds' is not a unit that can be raised here"),
        ("tenant:acme", {"cost_usd": 1}, "account tenant:acme has no limit of cost_usd that could be raised"),
        ("ceiling", {"tokens": 1}, "ceiling has no limit of tokens that could be raised"),
        ("tenant:acme", {"tokens": 0}, "add_budget: tokens: 0 must be above 0"),
        ("tenant:acme", {"tokens": None}, "add_budget: tokens: None must be above 0"),
        ("tenant:acme", {"tokens": 1.5}, "1.5 is not a whole number"),
        ("tenat:acme", {"tokens": 1}, "account 'tenat:acme': no account of this name or kind is configured"),
        ("acme", {"tokens": 1}, "account 'acme': is not an account: name one as KIND:NAME, such as tenant:acme"),
        ("tenant:", {"tokens": 1}, "its name is empty"),
    ],
)
async def test_what_cannot_be_raised_is_refused_and_changes_nothing(
    name: str, units: dict[str, Any], problem: str
) -> None:
    async with running(**document()) as organism:
        with pytest.raises(ConfigurationError, match=problem):
            organism.account_of(name).add_budget(**units)
        assert limit(organism) == 1000
        assert not organism.watch.of(QuotaRaised)


async def test_no_thread_is_called_as_the_chains_of_accounts_are() -> None:
    async with running(**document()) as organism:
        for name in ("account:tenant:acme", "ceiling:"):
            with pytest.raises(RoutingError, match="begins as the chains of conversations and accounts do"):
                await organism.send("worker", Task("1"), id=name)


# With a journal


def owner(path: Path, **keys: Any) -> Mortal:
    return Mortal(name="test", journal=f"sqlite:{path}", **document(**keys))


def accounts(tokens: int = 1000, window: str = "hour") -> dict[str, Any]:
    return {"accounts": {"tenant": {"tokens": tokens, "window": window}}}


async def test_another_process_finds_the_limits_of_its_file_with_what_was_given_in_this_window(tmp_path: Path) -> None:
    path = tmp_path / "organism.db"
    async with owner(path) as organism:
        assert (await result(organism, 900)).outcome == "completed"
        for _ in range(2):
            organism.account_of("tenant:acme").add_budget(tokens=500)
        assert (await result(organism, 1000)).outcome == "completed"
    async with owner(path) as organism:
        assert limit(organism) == 2000
        assert limit(organism, "tenant:other") == 1000
        assert (await result(organism, 200)).outcome == "exhausted"
        assert (await result(organism, 100)).outcome == "completed"
    async with owner(path, **accounts(300)) as organism:
        assert limit(organism) == 1300
    async with owner(path, **accounts(1200)) as organism:
        assert limit(organism) == 2200
        await anyio.sleep(HOUR)
        assert limit(organism) == 1200
    async with owner(path) as organism:
        assert limit(organism) == 1000
    async with owner(path, **accounts(window="total")) as organism:
        assert limit(organism) == 2000
    async with owner(path, **accounts(window="run")) as organism:
        assert limit(organism) == 1000


async def test_a_level_that_fired_beyond_the_raise_does_not_fire_again_after_a_restart(tmp_path: Path) -> None:
    path = tmp_path / "organism.db"
    async with owner(path) as organism:
        organism.account_of("tenant:acme").add_budget(tokens=1000)
        first = await result(organism, 1600)
    async with owner(path) as organism:
        second = await result(organism, 100)
        third = await result(organism, 200)
    said = [[row.level for row in each.warnings if row.level != "runway"] for each in (first, second, third)]
    assert said == [["warning"], [], ["critical", "final"]]


async def test_what_runs_goes_on_under_the_raised_limit_after_a_crash(tmp_path: Path) -> None:
    """The call was held beyond the limit of the file; it is charged in full, and made again, since the raise is known before."""
    path = tmp_path / "organism.db"
    made = Scene(path, spender(), document(seconds=30), [])

    async def client(organism: Mortal) -> None:
        organism.account_of("tenant:acme").add_budget(tokens=2000)
        await (await organism.send("worker", Task("1400"), id="t", **ACME)).result()

    dying = made.organism()
    dying.dies_at = lambda fact: isinstance(fact, CallSettled)
    await made.live(dying, client)
    async with owner(path) as organism:
        assert limit(organism) == 3000
        (handle,) = await organism.resume()
        assert (await handle.result()).outcome == "completed"
        assert organism.account_of("tenant:acme").budget.tokens.used == 2800


def full(root: str, fact: Fact) -> JournalError:
    """No disk takes anything any more."""
    return JournalError(f"there is no space left for {type(fact).__name__} of {root}")


async def test_what_could_not_be_written_down_is_not_raised(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "organism.db"
    async with owner(path) as organism:
        organism.refuses = full
        organism.account_of("tenant:acme").add_budget(tokens=500)
        with pytest.raises(JournalError, match="there is no space left"):
            await asked(path, account="tenant:acme", units={"tokens": 70})
        assert limit(organism) == 1000
        assert "the limits of account tenant:acme were not raised: there is no space left" in caplog.text
        organism.refuses = None
        assert not organism.unfinished
        said = await asked(path, account="tenant:acme", units={"tokens": 70})
        assert said == "account tenant:acme: tokens 1,000 -> 1,070; its hour ends 2026-10-28 13:00 UTC"
    async with owner(path) as organism:
        assert limit(organism) == 1070


async def asked(path: Path, **order: Any) -> str:
    await listening(socket_path(path))
    return str((await tell(socket_path(path), Order(do="add-budget", **order)))["said"])


async def test_another_process_asks_for_it(tmp_path: Path) -> None:
    path = tmp_path / "organism.db"
    keys = {"ceiling": {"cost_usd": "20"}, "accounts": {"tenant": {"tokens": 1000, "window": "total"}}}
    async with owner(path, **keys) as organism:
        said = await asked(path, account="tenant:acme", units={"tokens": 500})
        assert said == "account tenant:acme: tokens 1,000 -> 1,500; for good"
        assert (
            await asked(path, account="ceiling", units={"cost_usd": "0.5"})
            == "ceiling: cost_usd 20 -> 20.5; until this process ends"
        )
        for account, units, problem in (
            ("tenant:acme", {"cost_usd": "1"}, "has no limit of cost_usd"),
            ("team:x", {"tokens": 1}, "no account of this name or kind is configured"),
        ):
            with pytest.raises(ConfigurationError, match=problem):
                await asked(path, account=account, units=units)
        with pytest.raises(ConfigurationError, match="only add-budget takes an account, and then no thread"):
            await asked(path, account="ceiling", thread="t", units={"tokens": 1})
        with pytest.raises(ConfigurationError, match="only add-budget takes an account"):
            Order(do="cancel", account="ceiling")
        assert limit(organism) == 1500
        with pytest.raises(ConfigurationError, match="no thread 'account:tenant:acme'"):
            await tell(socket_path(path), Order(do="pause", thread="account:tenant:acme"))


async def test_the_record_folds_to_the_limits_that_are_live(tmp_path: Path) -> None:
    path = tmp_path / "organism.db"
    async with owner(path, ceiling={"cost_usd": "20", "window": "month"}) as organism:
        organism.account_of("tenant:acme").add_budget(tokens=500)
        organism.account_of("ceiling").add_budget(cost_usd="0.000000000001")
        await organism.send("worker", Task("10"), **ACME)
        settings, live = organism.settings, organism.kernel.state
        await anyio.sleep(1)
        found = comparable(live)
        await anyio.sleep(1)
    journal = open_journal(f"sqlite:{path}", readonly=True)
    folding = Fold(settings)
    for chain in journal.chains():
        for fact in journal.read(chain.root):
            folding.apply(fact)
    assert all(journal.verify(chain.root) is None for chain in journal.chains())
    assert not journal.flaws()
    journal.close()
    assert comparable(folding.state)["root"] == found["root"]
    node = folding.state.pools["account:tenant:acme"]
    assert node.caps.limit == live.pools["account:tenant:acme"].caps.limit
    assert node.caps.limit[0] == 1500
