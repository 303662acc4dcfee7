"""Accounts: limits that threads of one tenant share, whoever opens them, beside and below the ceiling (R10, R18, hard case 42)."""

from __future__ import annotations

import re
from typing import Any

import anyio
import pytest

from organism import (
    BudgetExhaustedError,
    ConfigurationError,
    Context,
    HandlerFailedError,
    Organism,
    Reply,
    ThreadResult,
    Usage,
)
from organism.errors import RoutingError
from organism.record.facts import CallHeld, CallRefused, ThreadOpened
from organism.testing import running
from tests.hard.budget_world import NO_GRACE, PROMPT, Done, Task, code, models, spend, spender

HOUR = 3600


async def _spend_all(task: Task, ctx: Context) -> None:
    """Spends 100 tokens a call until it is refused."""
    while True:
        await spend(ctx, 100)


async def _spend(task: Task, ctx: Context) -> Reply[Done]:
    """Spends as many tokens as the text says."""
    await spend(ctx, int(task.text))
    return Reply(Done("done"))


async def _result(organism: Organism, text: str = "go", to: str = "worker", **how: Any) -> ThreadResult:
    return await (await organism.send(to, Task(text), **how)).result()


def used(organism: Organism, account: str) -> list[int]:
    return organism.kernel.state.pools[f"account:{account}"].used


@pytest.mark.by_turns
async def test_threads_of_one_tenant_never_pass_its_limit_and_others_are_undisturbed() -> None:
    # For ever: in minutes of a virtual clock, which begins at this very moment, a day may end.
    accounts = {"tenant": {"tokens": 5000}, "tenant:big": {"tokens": 20_000}}
    most: dict[str, int] = {}

    def look(organism: Organism) -> None:
        for name, node in organism.kernel.state.pools.items():
            most[name] = max(most.get(name, 0), node.used[0] + node.held[0])

    async def spend_all(task: Task, ctx: Context) -> None:
        while True:
            await spend(ctx, 100)
            look(organism)

    results: dict[str, list[ThreadResult]] = {"acme": [], "big": [], "small": []}
    async with running(
        handlers={"worker": code(spend_all), "once": code(_spend)},
        models=models(spender(seconds=1)),
        accounts=accounts,
        budget={"tokens": 100_000, "grace": NO_GRACE, "messages": 1000},
    ) as organism:

        async def one(tenant: str, to: str, text: str) -> None:
            results[tenant].append(await _result(organism, text, to, accounts={"tenant": tenant}))

        async with anyio.create_task_group() as group:
            for _ in range(500):
                group.start_soon(one, "acme", "worker", "all")
            group.start_soon(one, "big", "worker", "all")
            for _ in range(10):
                group.start_soon(one, "small", "once", "400")
        by_account = organism.usage("account")
        total = organism.usage()
    assert isinstance(by_account, dict)
    assert isinstance(total, Usage)
    assert {name: usage.tokens for name, usage in by_account.items()} == {
        "tenant:acme": 5000,
        "tenant:big": 20_000,
        "tenant:small": 4000,
    }
    assert total.tokens == 29_000
    assert most["account:tenant:acme"] == 5000
    assert {(each.outcome, each.unit) for each in results["acme"]} == {("exhausted", "tokens")}
    assert {each.outcome for each in results["small"]} == {"completed"}
    assert sum(each.usage.tokens for each in results["acme"]) == 5000
    # Each level of the account was said once, whichever of its threads crossed it.
    said = sorted(row.level for each in results["acme"] for row in each.warnings if row.scope == "account")
    assert [level for level in said if level != "runway"] == ["critical", "final", "warning"]


async def test_a_refusal_names_the_account_and_when_its_window_ends() -> None:
    refusals: list[BudgetExhaustedError] = []

    async def worker(task: Task, ctx: Context) -> Reply[Done]:
        await spend(ctx, 600)
        try:
            await spend(ctx, 600)
        except BudgetExhaustedError as error:
            refusals.append(error)
        return Reply(Done("done"))

    async with running(
        handlers={"worker": code(worker)},
        models=models(spender()),
        accounts={"tenant": {"tokens": 1000, "window": "hour"}},
    ) as organism:
        result = await _result(organism, accounts={"tenant": "acme"})
    assert result.outcome == "completed"
    [error] = refusals
    assert (error.unit, error.scope, error.used, error.limit, error.need) == ("tokens", "account", 600, 1000, 600)
    assert re.search(r"its hour ends \d{4}-\d\d-\d\d \d\d:00 UTC", str(error))
    assert error.account == "tenant:acme"
    assert "tokens of the account tenant:acme: 600 used, 0 held, limit 1,000, needed 600" in str(error)


@pytest.mark.parametrize(
    ("tenant", "team", "account", "used"),
    [
        ({"tokens": 1000}, {"tokens": 5000}, "tenant:acme", 600),
        ({"tokens": 5000}, {"tokens": 1000}, "team:x", 600),
    ],
)
async def test_of_several_accounts_the_one_is_named_that_refuses(
    tenant: dict[str, int], team: dict[str, int], account: str, used: int
) -> None:
    async def worker(task: Task, ctx: Context) -> None:
        await spend(ctx, 600)
        await spend(ctx, 600)

    async def lead(task: Task, ctx: Context) -> Reply[Done]:
        return Reply(await ctx.ask("worker", task, expect=Done))

    async def boss(task: Task, ctx: Context) -> Reply[Done]:
        try:
            await ctx.ask("lead", task)
        except HandlerFailedError as error:
            heard.append(error)
        return Reply(Done("done"))

    heard: list[HandlerFailedError] = []
    async with running(
        handlers={
            "worker": code(worker),
            "lead": code(lead, peers=("worker",)),
            "boss": code(boss, peers=("lead",)),
        },
        models=models(spender()),
        accounts={"tenant": tenant, "team": team},
    ) as organism:
        await _result(organism, to="boss", accounts={"tenant": "acme", "team": "x"})
        [refused] = organism.watch.of(CallRefused)
        # Nobody took it up: it is the end of the thread, and whoever asked from outside hears the same.
        ended = await _result(organism, to="lead", accounts={"tenant": "acme", "team": "x"})
        with pytest.raises(HandlerFailedError) as raised:
            await organism.ask("lead", Task("go"), accounts={"tenant": "acme", "team": "x"})
    assert (refused.scope, refused.account) == ("account", account)
    assert [(each.code, each.scope, each.account) for each in heard] == [("exhausted", "account", account)]
    assert f"tokens of the account {account}: {used} used" in str(heard[0])
    told = (raised.value.unit, raised.value.scope, raised.value.account)
    assert told == (ended.unit, ended.scope, ended.account) == ("tokens", "account", account)
    assert (ended.as_json()["scope"], ended.as_json()["account"]) == ("account", account)


async def test_a_thread_under_two_accounts_is_held_on_both_or_on_none() -> None:
    accounts = {"team": {"tokens": 1000}, "tenant": {"tokens": 500}}
    async with running(
        handlers={"worker": code(_spend)}, models=models(spender()), accounts=accounts, budget={"grace": NO_GRACE}
    ) as organism:
        both = {"team": "red", "tenant": "acme"}
        assert (await _result(organism, "400", accounts=both)).outcome == "completed"
        refused = await _result(organism, "200", accounts=both)
        assert (refused.outcome, refused.unit) == ("exhausted", "tokens")
        assert used(organism, "team:red")[0] == used(organism, "tenant:acme")[0] == 400
        assert (await _result(organism, "200", accounts={"team": "red", "tenant": "other"})).outcome == "completed"
        assert used(organism, "team:red")[0] == 600
        assert used(organism, "tenant:other")[0] == 200
        [first, *_] = organism.watch.of(CallHeld)
        opened = [step for fact in organism.watch.facts for step in fact.steps if isinstance(step, ThreadOpened)]
    assert opened[0].accounts == ("team:red", "tenant:acme")
    assert first.need[0] == 400


async def test_a_call_waits_for_what_another_thread_of_its_account_holds() -> None:
    async with running(
        handlers={"worker": code(_spend)}, models=models(spender(seconds=10)), accounts={"tenant": {"tokens": 1000}}
    ) as organism:
        first = await organism.send("worker", Task("700"), accounts={"tenant": "acme"})
        await anyio.sleep(1)
        # 700 are held and it needs 300: it goes at once. Another 300 fit only once nothing can come of them.
        second = await organism.send("worker", Task("300"), accounts={"tenant": "acme"})
        third = await organism.send("worker", Task("300"), accounts={"tenant": "acme"})
        elsewhere = await organism.send("worker", Task("900"), accounts={"tenant": "other"})
        outcomes = [(await each.result()).outcome for each in (first, second, third, elsewhere)]
    assert outcomes == ["completed", "completed", "exhausted", "completed"]


async def test_sub_threads_are_under_their_callers_accounts() -> None:
    async def boss(task: Task, ctx: Context) -> Reply[Done]:
        await ctx.ask("worker", Task("100"), expect=Done)
        spawned = await ctx.spawn("worker", Task("100"))
        await spawned.result()
        return Reply(Done("done"))

    handlers = {"boss": code(boss, peers=("worker",)), "worker": code(_spend, budget={"tokens": 200})}
    async with running(handlers=handlers, models=models(spender()), accounts={"tenant": {"tokens": 1000}}) as organism:
        assert (await _result(organism, to="boss", accounts={"tenant": "acme"})).outcome == "completed"
        assert used(organism, "tenant:acme")[0] == 200
        by_account = organism.usage("account")
        by_handler = organism.usage("handler")
    assert isinstance(by_account, dict)
    assert isinstance(by_handler, dict)
    assert by_account["tenant:acme"].messages == 3
    assert by_account["tenant:acme"].tokens == by_handler["worker"].tokens


async def test_a_new_window_is_empty_and_what_was_held_in_the_old_one_is_charged_to_that() -> None:
    async with running(
        handlers={"worker": code(_spend)},
        models=models(spender(seconds=HOUR), timeout=2 * HOUR),
        accounts={"tenant": {"tokens": 1000, "window": "hour"}},
    ) as organism:
        out = await organism.send("worker", Task("900"), accounts={"tenant": "acme"})
        await anyio.sleep(1)
        assert organism.kernel.state.pools["account:tenant:acme"].held[0] == 900
        assert (await out.result()).outcome == "completed"  # an hour later: the window has rolled
        assert used(organism, "tenant:acme")[0] == 0
        assert organism.kernel.state.pools["account:tenant:acme"].held[0] == 0
        again = await organism.send("worker", Task("900"), accounts={"tenant": "acme"})
        await anyio.sleep(1)
        assert organism.kernel.state.pools["account:tenant:acme"].held[0] == 900
        assert (await again.result()).outcome == "completed"
        by_account = organism.usage("account")
    assert isinstance(by_account, dict)
    assert by_account["tenant:acme"].tokens == 1800


@pytest.mark.by_turns
async def test_accounts_that_nobody_is_under_are_forgotten_when_their_window_ends() -> None:
    async with running(
        handlers={"worker": code(_spend)},
        models=models(spender()),
        accounts={"tenant": {"tokens": 1000, "window": "hour"}},
    ) as organism:
        for number in range(100):
            await _result(organism, "100", accounts={"tenant": f"t{number}"})
        assert len(organism.kernel.state.pools) == 101
        await anyio.sleep(HOUR)
        await _result(organism, "100", accounts={"tenant": "late"})
        assert set(organism.kernel.state.pools) == {"", "account:tenant:late"}


async def test_an_accounts_messages_run_out_for_all_of_its_threads() -> None:
    async def worker(task: Task, ctx: Context) -> Reply[Done]:
        return Reply(Done("done"))

    async with running(handlers={"worker": code(worker)}, accounts={"tenant": {"messages": 3}}) as organism:
        for _ in range(3):
            assert (await _result(organism, accounts={"tenant": "acme"})).outcome == "completed"
        with pytest.raises(BudgetExhaustedError) as refused:
            await organism.send("worker", Task("one too many"), accounts={"tenant": "acme"})
        assert (refused.value.unit, refused.value.scope, refused.value.used) == ("messages", "account", 3)
        assert str(refused.value).startswith("messages of the account tenant:acme: 3 used")
        assert (await _result(organism, accounts={"tenant": "other"})).outcome == "completed"


async def test_a_conversation_stays_under_the_accounts_of_its_first_turn() -> None:
    async with running(
        handlers={"worker": code(_spend)}, models=models(spender()), accounts={"tenant": {"tokens": 1000}}
    ) as organism:
        assert (await _result(organism, "300", conversation="c", accounts={"tenant": "acme"})).outcome == "completed"
        assert (await _result(organism, "300", conversation="c")).outcome == "completed"
        assert (await _result(organism, "300", conversation="c", accounts={"tenant": "acme"})).outcome == "completed"
        assert used(organism, "tenant:acme")[0] == 900
        with pytest.raises(RoutingError, match=r"conversation 'c' began under tenant:acme, which lasts.*tenant:other"):
            await organism.send("worker", Task("1"), conversation="c", accounts={"tenant": "other"})
        assert (await _result(organism, "300", conversation="c")).outcome == "exhausted"


async def test_a_conversation_that_rotates_goes_on_under_its_accounts() -> None:
    async with running(
        handlers={"worker": code(_spend)},
        models=models(spender()),
        accounts={"tenant": {"tokens": 10_000}},
        conversation={"messages": 2, "on_cap": "rotate"},
    ) as organism:
        for number in range(5):
            accounts = {"tenant": "acme"} if number == 0 else None
            result = await _result(organism, "100", conversation="c", accounts=accounts)
            assert result.outcome == "completed"
        assert set(organism.kernel.state.conversations) == {"c", "c~2", "c~3"}
        assert used(organism, "tenant:acme")[0] == 500


async def test_a_thread_without_handlers_may_be_under_an_account() -> None:
    async with (
        running(handlers={}, models=models(spender()), accounts={"tenant": {"tokens": 100}}) as organism,
        organism.thread(accounts={"tenant": "acme"}) as thread,
    ):
        await thread.complete(PROMPT, max_output_tokens=50)
        with pytest.raises(BudgetExhaustedError) as refused:
            await thread.complete(PROMPT, max_output_tokens=90)
        assert refused.value.scope == "account"


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (
            {"tenent": "acme"},
            r"accounts 'tenent:acme': no account of this name or kind is configured; did you mean 'tenant'\?",
        ),
        ({"tenant": ""}, r"accounts 'tenant:': an account is named KIND:NAME, and its name is empty"),
        ({"tenant": " "}, r"accounts 'tenant: ': an account is named KIND:NAME, and its name is empty"),
        ({"tenant": "a\nb"}, r"200 printable characters at most"),
        ({"tenant": "x" * 201}, r"200 printable characters at most"),
    ],
)
async def test_an_account_that_is_not_configured_is_refused_by_name(given: dict[str, str], said: str) -> None:
    async with running(handlers={"worker": code(_spend_all)}, accounts={"tenant": {"tokens": 1000}}) as organism:
        with pytest.raises(ConfigurationError, match=said):
            await organism.send("worker", Task("go"), accounts=given)
        with pytest.raises(TypeError, match="names by kind"):
            await organism.send("worker", Task("go"), accounts={"tenant": 7})  # type: ignore[dict-item]
        assert not organism.kernel.state.threads


async def test_only_the_named_account_may_be_used_where_its_kind_has_no_template() -> None:
    async with running(
        handlers={"worker": code(_spend)}, models=models(spender()), accounts={"tenant:acme": {}}
    ) as organism:
        assert (await _result(organism, "100", accounts={"tenant": "acme"})).outcome == "completed"
        with pytest.raises(ConfigurationError, match="did you mean 'tenant:acme'"):
            await organism.send("worker", Task("go"), accounts={"tenant": "acne"})
