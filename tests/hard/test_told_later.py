"""What an agent is told of its budget some time after the limit was crossed: the figures are those of the instant, and what one
sub-thread did not hear is told in the next.
"""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Any

import anyio
import pytest

from organism import BudgetExhaustedError, Context, Reply, Send
from organism.primitives import BudgetDecision, BudgetExhausted, BudgetRequest, BudgetWarning
from organism.record.facts import Granted
from organism.testing import Says, ScriptedModel, running
from tests.hard.budget_world import NO_GRACE, Done, Task, agent, asks, code, models, notices, outcome, replies

if TYPE_CHECKING:
    from organism.models.contract import Request


async def test_how_many_calls_are_left_is_counted_when_it_is_told() -> None:
    """The call that crossed left room for two more like it; what a peer has spent since left room for none."""

    def says(request: Request) -> Says:
        if not request.tools:
            return Says(text="much", usage=(3_000, 42_000))
        return replies() if notices(request) else asks("spender", usage=(20_000, 10_000))

    async def spender(task: Task, ctx: Context) -> Reply[Done]:
        await ctx.complete("more", max_output_tokens=450)
        return Reply(Done("spent"))

    model = ScriptedModel(says)
    handlers = {"worker": agent(peers=("spender",), max_output_tokens=100), "spender": code(spender)}
    budget: dict[str, Any] = {"tokens": 100_000, "warn_at": [0.3], "runway": 0, "grace": NO_GRACE}
    async with running(handlers=handlers, models=models(model), budget=budget) as organism:
        assert (await outcome(organism)).reply == Done("done")
    (told,) = notices(model.requests[-1])
    assert "25000 tokens of the thread are left, enough for about 0 more calls like the last" in told


async def test_what_a_sub_thread_did_not_hear_of_its_conversation_is_told_in_the_next() -> None:
    """Its only call crosses the level of the conversation, and there is no prompt any more that could say so."""
    model = ScriptedModel(lambda _: replies(usage=(20, 30)))

    async def lead(task: Task, ctx: Context) -> Reply[Done]:
        for _ in range(3):
            await ctx.ask("clerk", task, expect=Done)
            await anyio.sleep(1)
        return Reply(Done("all"))

    handlers = {
        "lead": code(lead, peers=("clerk",)),
        "clerk": agent(max_output_tokens=40, budget={"tokens": 5000, "runway": 0}),
    }
    conversation: dict[str, Any] = {"tokens": 20_000, "warn_at": {"tokens": [40]}, "runway": 0, "grace": NO_GRACE}
    async with running(
        handlers=handlers, models=models(model), budget={"runway": 0}, conversation=conversation
    ) as organism:
        assert await organism.ask("lead", Task("go"), conversation="c") == Done("all")
    told = [notices(request) for request in model.requests]
    assert [len(each) for each in told] == [0, 1, 0]
    assert "conversation" in told[1][0]


async def test_all_threads_hear_of_the_time_of_the_organism_and_nothing_is_taken_in_when_it_is_over() -> None:
    heard: list[BudgetWarning] = []

    async def patient(task: Task | Done | BudgetWarning | BudgetExhausted, ctx: Context) -> Any:
        if isinstance(task, BudgetWarning):
            heard.append(task)
            return None
        if isinstance(task, BudgetExhausted):
            assert (task.unit, task.scope, task.limit) == ("seconds", "organism", Decimal(100))
            return Reply(Done("out of time"))
        return Send("sleeper", task) if isinstance(task, Task) else Reply(Done("rested"))

    async def sleeper(task: Task, ctx: Context) -> Reply[Done]:
        await anyio.sleep(float(task.text))
        return Reply(Done("slept"))

    handlers = {"patient": code(patient, peers=("sleeper",)), "sleeper": code(sleeper, timeout=None)}
    async with running(handlers=handlers, ceiling={"seconds": 100, "window": "run"}) as organism:
        first, second = [await organism.send("patient", Task(text)) for text in ("70", "1000")]
        assert (await first.result()).reply == Done("rested")
        result = await second.result()
        assert (result.outcome, result.unit, result.reply) == ("exhausted", "seconds", Done("out of time"))
        with pytest.raises(BudgetExhaustedError) as refused:
            await organism.send("patient", Task("1"))
        error = refused.value
        assert (error.unit, error.scope, error.limit) == ("seconds", "organism", 100)
        assert error.used >= 100
    assert [(warning.level, warning.threshold, warning.scope) for warning in heard] == [
        ("warning", Decimal("0.75"), "organism"), ("critical", Decimal("0.9"), "organism"),
        ("final", Decimal("0.95"), "organism"),
    ]  # fmt: skip


async def test_no_more_seconds_are_granted_than_the_organism_has_left() -> None:
    decided: list[bool] = []

    async def worker(task: Task, ctx: Context) -> Reply[Done]:
        await anyio.sleep(50)
        decided.extend([await ctx.request_budget("seconds", seconds, "slow today") for seconds in (60, 20)])
        return Reply(Done("asked"))

    async def boss(asked: BudgetRequest, ctx: Context) -> Reply[BudgetDecision]:
        return Reply(BudgetDecision(granted=True, unit=asked.unit, amount=asked.amount, reason="go on"))

    handlers = {"worker": code(worker, timeout=None), "boss": code(boss)}
    async with running(
        handlers=handlers, budget={"seconds": 90, "grants_by": "boss"}, ceiling={"seconds": 100, "window": "run"}
    ) as organism:
        result = await outcome(organism)
    assert result.reply == Done("asked"), result.error
    granted = [fact.amount for fact in organism.watch.of(Granted)]
    assert (decided, granted) == ([True, False], [Decimal(10)])
