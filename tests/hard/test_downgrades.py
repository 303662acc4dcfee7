"""From a level of its budget on a thread's calls go to a cheaper model; it is that one which is held, priced and recorded."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from organism import Context, ModelError, Reply
from organism.record.facts import CallCompleted, CallHeld
from organism.testing import ScriptedModel, running
from tests.hard.budget_world import (
    INPUT,
    NO_GRACE,
    Done,
    Task,
    agent,
    asks,
    code,
    outcome,
    peer,
    replies,
    spend,
    spender,
)

LIMIT: dict[str, Any] = {"tokens": 1000, "grace": NO_GRACE, "runway": 0}


def _two(large: ScriptedModel, small: ScriptedModel, *, at: str = "critical", **backend: Any) -> dict[str, Any]:
    """Two aliases: ``default`` at 10 USD a million tokens, and ``small`` at 1 USD."""
    usual: dict[str, Any] = {"overhead": 0, "price": {"input": 10, "output": 10}}
    cheap = {"provider": small.backend, "model": "small-1", "overhead": 0, "price": {"input": 1, "output": 1}}
    return {
        "default": {
            "downgrade": {"at": at, "to": "small"},
            "backends": [usual | {"provider": large.backend, "model": "large-1"}],
        },
        "small": {"backends": [cheap | backend]},
    }


@pytest.mark.parametrize(("at", "models"), [("warning", "LSSS"), ("critical", "LLSS"), ("final", "LLLS")])
async def test_from_its_level_on_calls_go_to_the_other_alias(at: str, models: str) -> None:
    """75, 90 and 95 % are crossed by the first, the second and the third call."""
    large, small = spender(), spender()
    seen: list[tuple[str, Decimal]] = []

    async def worker(task: Task, ctx: Context) -> Reply[Done]:
        for tokens in (750, 150, 50, INPUT + 1):
            done = await spend(ctx, tokens)
            seen.append((done.model, done.cost_usd))
        return Reply(Done("done"))

    async with running(handlers={"worker": code(worker)}, models=_two(large, small, at=at), budget=LIMIT) as organism:
        result = await outcome(organism)
        assert result.reply == Done("done"), result.error
        names = {"L": "large-1", "S": "small-1"}
        assert [model for model, _ in seen] == [names[each] for each in models]
        prices = {"L": 10, "S": 1}
        tokens = (750, 150, 50, INPUT + 1)
        costs = [Decimal(each * prices[model]) / 10**6 for each, model in zip(tokens, models, strict=True)]
        assert [cost for _, cost in seen] == costs
        assert result.usage.cost_usd == sum(costs)
        held = organism.watch.of(CallHeld)
        aliases = {"L": "default", "S": "small"}
        assert [fact.alias for fact in held] == [aliases[each] for each in models]
        assert [fact.alias for fact in organism.watch.of(CallCompleted)] == [fact.alias for fact in held]
        # What is held is at the price of who is called: the needs are those of the costs.
        assert [fact.need[3] for fact in held] == [int(cost * 10**12) for cost in costs]


async def test_a_level_of_whatever_it_is_below_counts_and_a_raised_limit_takes_it_back() -> None:
    large, small = spender(), spender()
    seen: list[str] = []

    async def worker(task: Task, ctx: Context) -> None:
        seen.append((await spend(ctx, 100)).model)

    kept: dict[str, Any] = {"ceiling": {"tokens": 400}, "budget": {"tokens": 10_000, "runway": 0}}
    async with running(handlers={"worker": code(worker)}, models=_two(large, small, at="warning"), **kept) as organism:
        for _ in range(4):
            await outcome(organism)
    assert seen == ["large-1", "large-1", "large-1", "small-1"]

    async def grows(task: Task, ctx: Context) -> None:
        seen.append((await spend(ctx, 760)).model)
        seen.append((await spend(ctx, 100)).model)
        handle.set_budget(tokens=5000)
        seen.append((await spend(ctx, 100)).model)

    seen.clear()
    models = _two(large, small, at="warning")
    async with running(handlers={"worker": code(grows)}, models=models, budget=LIMIT) as organism:
        handle = await organism.send("worker", Task("go"))
        assert (await handle.result()).error is None
    assert seen == ["large-1", "small-1", "large-1"]


async def test_messages_and_the_runway_are_no_reason() -> None:
    large, small = spender(), spender()

    async def worker(task: Task, ctx: Context) -> Reply[Done]:
        first = await spend(ctx, 400)
        return Reply(Done(f"{first.model} {(await spend(ctx, 100)).model} {ctx.budget.tokens.crossed}"))

    budget = {"tokens": 1000, "messages": 1, "grace": NO_GRACE}
    models = _two(large, small, at="warning")
    async with running(handlers={"worker": code(worker)}, models=models, budget=budget) as organism:
        assert (await outcome(organism)).reply == Done("large-1 large-1 ('runway',)")


async def test_a_price_that_is_missing_is_told_with_both_aliases() -> None:
    large, small = spender(), spender()

    async def worker(task: Task, ctx: Context) -> Reply[Done]:
        await spend(ctx, 950)
        with pytest.raises(ModelError) as caught:
            await spend(ctx, 30)
        return Reply(Done(str(caught.value)))

    models = _two(large, small, price=None)
    async with running(handlers={"worker": code(worker)}, models=models, budget=LIMIT) as organism:
        result = await outcome(organism, budget={"cost_usd": 1})
        assert isinstance(result.reply, Done)
        assert "model 'small' failed: small (instead of default) via" in result.reply.text
        assert "no price is known for 'small-1'" in result.reply.text
    assert not small.requests


async def test_each_downgraded_call_is_said_once(caplog: pytest.LogCaptureFixture) -> None:
    """However often it is asked beforehand what it would hold: a prompt on grace is cut until it fits."""
    large, small = ScriptedModel([asks("friend", usage=(4000, 500))]), ScriptedModel([replies(usage=(200, 20))])
    handlers = {
        "worker": agent(max_output_tokens=500, min_output_tokens=20, peers=("friend",)),
        "friend": code(peer),
    }
    budget = {"cost_usd": "0.05", "runway": 0}
    with caplog.at_level("INFO", logger="organism.models"):
        async with running(handlers=handlers, models=_two(large, small, at="warning"), budget=budget) as organism:
            await outcome(organism)
    said = [record.message for record in caplog.records if "the budget has reached" in record.message]
    assert len(small.requests) == 1
    # One is refused, and the one on grace is made.
    assert said == ["default: the budget has reached final, 'small' is asked"] * 2


async def test_an_agent_is_downgraded_and_its_last_word_is_the_small_ones() -> None:
    """The grace call, too, is held for who is called: at the large one's price it would not fit."""
    large, small = ScriptedModel([]), ScriptedModel([])

    large.script = [asks("friend", usage=(4000, 500))]
    small.script = [replies("from the small one", usage=(200, 20))]
    worker = agent(max_output_tokens=500, min_output_tokens=20, peers=("friend",))
    budget = {"cost_usd": "0.05", "runway": 0}
    models = _two(large, small, at="warning")
    handlers = {"worker": worker, "friend": code(peer)}
    async with running(handlers=handlers, models=models, budget=budget) as organism:
        result = await outcome(organism)
        assert (result.outcome, result.reply) == ("exhausted", Done("from the small one")), result.error
        held = organism.watch.of(CallHeld)
        assert [(fact.alias, fact.grace) for fact in held] == [("default", False), ("small", True)]
        assert 10 * held[1].need[3] > 5 * 10**9
