"""What handlers forecast of their own need, and what came (BudgetEstimate)."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import anyio
import pytest

from organism import Context, HandlerFailedError, Reply, ThreadResult
from organism.primitives import BudgetEstimate, BudgetReport
from organism.record.facts import Forecast
from organism.testing import Says, ScriptedModel, running
from tests.hard.budget_world import Done, Task, agent, code, models, outcome, replies, spend, spender


def forecast(low: int, high: int, unit: str = "tokens") -> BudgetEstimate:
    return BudgetEstimate(unit=unit, low=Decimal(low), high=Decimal(high))


def rows(result: ThreadResult) -> tuple[Any, ...]:
    """What was forecast in a thread, and what came; figures compare with ints."""
    return result.estimates


async def test_a_forecast_is_compared_with_what_came_after_it() -> None:
    async def worker(task: Task, ctx: Context) -> Reply[Done]:
        await spend(ctx, 100)
        report = await ctx.ask("organism", forecast(200, 500), expect=BudgetReport)
        assert report.remaining["tokens"] == 8900
        await ctx.ask("organism", forecast(1, 1, "model_calls"))
        await spend(ctx, 300)
        await spend(ctx, 200)
        return Reply(Done("done"))

    budget = {"tokens": 10_000}
    async with running(handlers={"worker": code(worker)}, models=models(spender()), budget=budget) as organism:
        result = await outcome(organism)
        assert [fact.estimate.end for fact in organism.watch.of(Forecast)] == [None, None]
    tokens, calls = rows(result)
    assert (tokens.handler, tokens.unit, tokens.low, tokens.high) == ("worker", "tokens", 200, 500)
    assert (tokens.used, tokens.end, tokens.came, tokens.hit) == (100, 600, 500, True)
    assert (calls.used, calls.end, calls.came, calls.hit) == (1, 3, 2, False)
    assert result.as_json()["estimates"][0] == {
        "handler": "worker", "unit": "tokens", "low": "200", "high": "500", "used": "100", "end": "600", "came": "500",
        "hit": True,
    }  # fmt: skip


async def test_what_a_sub_thread_uses_counts_for_the_forecast_above_it() -> None:
    async def worker(task: Task, ctx: Context) -> Reply[Done]:
        await ctx.ask("organism", forecast(100, 350))
        return Reply(await ctx.ask("helper", Task("go"), expect=Done))

    async def helper(task: Task, ctx: Context) -> Reply[Done]:
        await ctx.ask("organism", forecast(0, 50))
        await spend(ctx, 300)
        return Reply(Done("done"))

    handlers = {"worker": code(worker, peers=("helper",)), "helper": code(helper, budget={"tokens": 500})}
    async with running(handlers=handlers, models=models(spender()), budget={"tokens": 10_000}) as organism:
        result = await outcome(organism)
    (above,), (below,) = rows(result), rows(result.threads[0])
    assert (above.came, above.hit, below.handler, below.came, below.hit) == (300, True, "helper", 300, False)


async def test_seconds_can_be_forecast() -> None:
    async def worker(task: Task, ctx: Context) -> Reply[Done]:
        await anyio.sleep(2)
        await ctx.ask("organism", forecast(2, 4, "seconds"))
        await anyio.sleep(3)
        return Reply(Done("done"))

    async with running(handlers={"worker": code(worker)}) as organism:
        result = await outcome(organism)
    (row,) = rows(result)
    assert (row.used, row.end, row.came, row.hit) == (2, 5, 3, True)


@pytest.mark.parametrize(
    ("said", "problem"),
    [
        (forecast(1, 2, "pages"), "there is no unit 'pages'"),
        (forecast(3, 2), "3 to 2 is not a forecast"),
        (forecast(-1, 2), "-1 to 2 is not a forecast"),
    ],
)
async def test_a_forecast_that_makes_no_sense_is_refused(said: BudgetEstimate, problem: str) -> None:
    async def worker(task: Task, ctx: Context) -> Reply[Done]:
        with pytest.raises(HandlerFailedError) as failed:
            await ctx.ask("organism", said)
        return Reply(Done(f"{failed.value.code}: {failed.value.text}"))

    async with running(handlers={"worker": code(worker)}) as organism:
        result = await outcome(organism)
    assert result.reply.text.startswith(f"refused: {problem}")
    assert result.estimates == ()
    assert "estimates" not in result.as_json()


async def test_an_agent_forecasts_beside_its_other_calls() -> None:
    both: Any = (("organism_BudgetEstimate", forecast(100, 400)), ("helper", Task("please")))
    model = ScriptedModel([Says(calls=both, usage=(50, 50)), replies(usage=(150, 50))])

    async def helper(task: Task, ctx: Context) -> Reply[Done]:
        return Reply(Done("here"))

    handlers = {"worker": agent(peers=("helper", "organism")), "helper": code(helper)}
    async with running(handlers=handlers, models=models(model), budget={"tokens": 10_000}) as organism:
        result = await outcome(organism)
    (row,) = rows(result)
    assert (row.handler, row.used, row.came, row.hit) == ("worker", 100, 200, True)
    assert result.usage.messages == 3
