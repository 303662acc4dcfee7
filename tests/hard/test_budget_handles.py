"""Limits that are changed while work goes on, from the handle of a thread."""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from organism import (
    BudgetExhaustedError,
    ConfigurationError,
    Context,
    NotRunningError,
    Reply,
)
from organism.testing import running
from tests.hard.budget_world import (
    NO_GRACE,
    Done,
    Task,
    code,
    levels,
    models,
    spend,
    spender,
)


async def test_a_lowered_limit_lets_running_calls_finish_and_refuses_the_next() -> None:
    model = spender(seconds=10)
    made: list[int] = []

    async def worker(task: Task, ctx: Context) -> None:
        while True:
            await spend(ctx, 400)
            made.append(int(ctx.budget.tokens.used))

    budget = {"tokens": 10_000, "runway": 0}
    async with running(handlers={"worker": code(worker)}, models=models(model), budget=budget) as organism:
        handle = await organism.send("worker", Task("go"))
        await anyio.sleep(15)
        handle.set_budget(tokens=100)
        result = await handle.result()
    assert made == [400, 800]
    assert (result.outcome, result.unit, result.usage.tokens) == ("exhausted", "tokens", 800)
    # The settlement that came after the change crossed everything; nobody is refused unwarned.
    assert levels(result) == ["warning", "critical", "final"]
    assert {warned.limit for warned in result.warnings} == {100}
    assert len(model.requests) == 2


async def test_a_raised_limit_lets_waiting_and_later_calls_go_on() -> None:
    model = spender(seconds=10)
    finished: list[float] = []

    async def worker(task: Task, ctx: Context) -> Reply[Done]:
        async def one() -> None:
            await spend(ctx, 400)
            finished.append(anyio.current_time())

        began = anyio.current_time()
        async with anyio.create_task_group() as group:
            for _ in range(3):
                group.start_soon(one)
        await one()
        return Reply(Done(" ".join(f"{at - began:g}" for at in finished)))

    budget = {"tokens": 1000, "grace": NO_GRACE}
    async with running(handlers={"worker": code(worker)}, models=models(model), budget=budget) as organism:
        handle = await organism.send("worker", Task("go"))
        await anyio.sleep(3)
        # Two are under way; the third waits for their holds, which will not do: 800 are needed then.
        assert organism.statistics().waiting_for_budget == 1
        handle.add_budget(tokens=600)
        await anyio.lowlevel.checkpoint()
        assert organism.statistics().waiting_for_budget == 0
        result = await handle.result()
    assert result.reply == Done("10 10 13 23")
    assert (result.outcome, result.usage.tokens) == ("completed", 1600)


async def test_lowered_limits_refuse_what_waits() -> None:
    model = spender(seconds=10)
    refused: list[float] = []

    async def worker(task: Task, ctx: Context) -> Reply[Done]:
        began = anyio.current_time()

        async def late() -> None:
            with pytest.raises(BudgetExhaustedError):
                await spend(ctx, 400)
            refused.append(anyio.current_time() - began)

        async with anyio.create_task_group() as group:
            group.start_soon(spend, ctx, 500)
            await anyio.sleep(1)
            group.start_soon(late)
        return Reply(Done("only the first"))

    budget = {"tokens": 1000, "grace": NO_GRACE}
    async with running(handlers={"worker": code(worker)}, models=models(model), budget=budget) as organism:
        handle = await organism.send("worker", Task("go"))
        await anyio.sleep(0.5)
        handle.set_budget(tokens=800)
        await anyio.sleep(2)
        assert (organism.statistics().waiting_for_budget, refused) == (1, [])
        handle.set_budget(tokens=300)
        result = await handle.result()
    assert refused == [pytest.approx(2.5)]
    assert (result.outcome, result.usage.tokens) == ("completed", 500)


async def test_levels_are_armed_again_above_the_new_share() -> None:
    """900 of a working limit of 1,000 have crossed two levels; of 2,000 they are 45 %, and both fire again."""
    model = spender()
    step = anyio.Event()

    async def worker(task: Task, ctx: Context) -> None:
        await spend(ctx, 900)
        await step.wait()
        await spend(ctx, 600)
        await spend(ctx, 400)

    budget = {"tokens": 1000, "grace": NO_GRACE, "runway": 0}
    async with running(handlers={"worker": code(worker)}, models=models(model), budget=budget) as organism:
        handle = await organism.send("worker", Task("go"))
        await anyio.sleep(1)
        handle.add_budget(tokens=1000)
        step.set()
        result = await handle.result()
    assert result.outcome == "completed"
    assert [(warned.level, warned.used, warned.limit) for warned in result.warnings] == [
        ("warning", 900, 1000),
        ("critical", 900, 1000),
        ("warning", 1500, 2000),
        ("critical", 1900, 2000),
        ("final", 1900, 2000),
    ]


async def test_a_limit_can_be_taken_away_and_a_thread_that_has_ended_takes_none() -> None:
    model = spender(seconds=1)

    async def worker(task: Task, ctx: Context) -> None:
        for _ in range(5):
            await spend(ctx, 400)

    async with running(handlers={"worker": code(worker)}, models=models(model), budget={"tokens": 1000}) as organism:
        handle = await organism.send("worker", Task("go"))
        await anyio.sleep(0.5)
        handle.set_budget(tokens=None)
        # A unit without a limit stays without one.
        handle.add_budget(tokens=1, output_tokens=1)
        result = await handle.result()
        assert (result.outcome, result.usage.tokens) == ("completed", 2000)
        with pytest.raises(NotRunningError, match="has ended"):
            handle.add_budget(tokens=1000)


async def test_a_handle_says_what_cannot_be_changed() -> None:
    async def worker(task: Task, ctx: Context) -> None:
        await anyio.sleep(1)

    async with running(handlers={"worker": code(worker)}, budget={"tokens": 1000}) as organism:
        handle = await organism.send("worker", Task("go"))
        with pytest.raises(ConfigurationError, match="'grace' is not a unit that can be raised; there are: tokens, "):
            handle.add_budget(grace=1)
        with pytest.raises(ConfigurationError, match="tokns"):
            handle.set_budget(tokns=1)
        nothing: Any
        for nothing in (0, -5, 0.0, None, "0", "-0.0", Decimal(0)):
            with pytest.raises(
                ConfigurationError, match=rf"add_budget: tokens: {re.escape(repr(nothing))} must be above 0"
            ):
                handle.add_budget(tokens=nothing)
        with pytest.raises(ConfigurationError, match=r"^budget.tokens: nan is not a whole number"):
            handle.add_budget(tokens=float("nan"))
        assert organism.kernel.state.threads[handle.id].node.caps.limit[0] == 1000
        handle.set_budget(tokens=500, warn_at=[0.5])
        assert organism.kernel.state.threads[handle.id].node.caps.limit[0] == 500
        await handle.result()
