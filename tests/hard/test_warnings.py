"""Warnings: which levels fire, where exactly, and how code hears of them while it can still act."""

from __future__ import annotations

import json
import logging
from decimal import Decimal
from typing import Any

import anyio
import pytest

from organism import Context, ModelError, Reply, Send
from organism.models.contract import BackendError
from organism.primitives import BudgetWarning
from organism.record.facts import CameLate, Ended
from organism.testing import Says, ScriptedModel, running
from tests.hard.budget_world import (
    ALL,
    INPUT,
    NO_GRACE,
    Done,
    Task,
    code,
    levels,
    models,
    outcome,
    spend,
    spender,
)

# Which levels


@pytest.mark.parametrize(
    ("limit", "reached", "short"),
    [
        ({"tokens": 1000}, 675, 674),  # 100 of 1,000 are kept back for grace
        ({"tokens": 1000, "grace": NO_GRACE}, 750, 749),
        ({"output_tokens": 1000}, 675 + INPUT, 674 + INPUT),
        ({"cost_usd": "0.001"}, 675, 674),  # a token costs a millionth
        ({"tokens": 1000, "warn_at": [675]}, 675, 674),
        ({"cost_usd": "0.001", "warn_at": {"cost_usd": [0.1234]}, "grace": NO_GRACE}, 124, 123),
    ],
)
async def test_a_level_fires_exactly_where_it_is_and_not_a_token_before(limit: Any, reached: int, short: int) -> None:
    async def worker(task: Task, ctx: Context) -> Reply[Done]:
        done = await spend(ctx, int(task.text))
        return Reply(Done(" ".join(crossing.level for crossing in done.warnings)))

    settings = models(spender(), price={"input": "1", "output": "1"})
    budget = {"runway": 0, **limit}
    async with running(handlers={"worker": code(worker)}, models=settings, budget=budget) as organism:
        at = await organism.ask("worker", Task(str(reached)))
        before = await organism.ask("worker", Task(str(short)))
    assert at.text in {"warning", "final"}
    assert before == Done("")


async def test_a_jump_fires_all_levels_it_passes_in_order_and_in_one_message() -> None:
    heard: list[Any] = []
    seen: list[list[str]] = []
    fails = iter([False, False, True])
    model = ScriptedModel(
        lambda request: (
            Says(error=BackendError("rejected", "no"))
            if next(fails)
            else Says(text="ok", usage=(INPUT, request.max_output_tokens))
        )
    )

    async def worker(message: Task | BudgetWarning, ctx: Context) -> None:
        if isinstance(message, BudgetWarning):
            heard.append(message)
            return
        for tokens in (90, 774):  # from 10 % to 96 % of the working limit of 900
            done = await spend(ctx, tokens)
            seen.append([crossing.level for crossing in done.warnings])
        with pytest.raises(ModelError):  # costs nothing, and fires nothing
            await spend(ctx, 30)

    budget = {"tokens": 1000, "runway": 0}
    async with running(handlers={"worker": code(worker)}, models=models(model), budget=budget) as organism:
        result = await outcome(organism)
    assert seen == [[], ALL]
    (warning,) = heard
    assert (warning.unit, warning.level, warning.threshold, warning.scope) == (
        "tokens",
        "final",
        Decimal("0.95"),
        "thread",
    )
    assert (warning.used, warning.held, warning.limit, warning.remaining) == (864, 0, 1000, 36)
    assert warning.calls_left == 0
    assert "864 of 1000 tokens are used" in warning.text
    assert [(warned.level, warned.threshold, warned.used, warned.to) for warned in result.warnings] == [
        ("warning", Decimal("0.75"), 864, "worker"),
        ("critical", Decimal("0.9"), 864, "worker"),
        ("final", Decimal("0.95"), 864, "worker"),
    ]


@pytest.mark.parametrize(("limit", "working"), [(300, 270), (1000, 900), (5000, 4500), (100_000, 98_000)])
async def test_every_level_can_fire_whatever_the_limit(limit: int, working: int) -> None:
    async def worker(task: Task, ctx: Context) -> None:
        assert ctx.budget.tokens.remaining == working
        await spend(ctx, working - 40)
        await spend(ctx, 40)
        await spend(ctx, 21)

    handlers = {"worker": code(worker)}
    async with running(handlers=handlers, models=models(spender()), budget={"tokens": limit}) as organism:
        result = await outcome(organism)
    assert [level for level in levels(result) if level != "runway"] == ALL
    assert (result.outcome, result.usage.tokens) == ("exhausted", working)


@pytest.mark.parametrize(
    ("warn_at", "expected"),
    [
        ([], []),
        ([0.5], [("final", "0.5")]),
        ([0.8, 0.5], [("warning", "0.5"), ("final", "0.8")]),
        ([0.1, 0.2, 0.3, 0.4], [("warning", "0.1"), ("critical", "0.2"), ("critical", "0.3"), ("final", "0.4")]),
        ({"tokens": [100, 0.5]}, [("warning", "100"), ("final", "0.5")]),
        ({"tokens": [0.9, 5000]}, [("final", "0.9")]),  # what lies beyond the limit is never reached
        ({"messages": [200]}, [("warning", "0.75"), ("critical", "0.9"), ("final", "0.95")]),
    ],
)
async def test_levels_are_named_by_their_place(warn_at: Any, expected: list[tuple[str, str]]) -> None:
    async def worker(task: Task, ctx: Context) -> None:
        for _ in range(20):
            await spend(ctx, 50)

    budget = {"tokens": 1000, "grace": NO_GRACE, "runway": 0, "warn_at": warn_at}
    handlers = {"worker": code(worker)}
    async with running(handlers=handlers, models=models(spender()), budget=budget) as organism:
        result = await outcome(organism)
    assert result.outcome == "completed"
    assert [(warned.level, str(warned.threshold)) for warned in result.warnings] == expected


async def test_runway_warns_once_when_two_more_calls_like_the_last_would_not_fit() -> None:
    crossed: list[list[tuple[str, str]]] = []

    async def worker(task: Task, ctx: Context) -> None:
        for tokens in (200, 300, 100, 100):
            done = await spend(ctx, tokens)
            crossed.append([(crossing.unit, crossing.level) for crossing in done.warnings])

    budget = {"tokens": 1000, "model_calls": 6, "grace": NO_GRACE, "warn_at": []}
    handlers = {"worker": code(worker)}
    async with running(handlers=handlers, models=models(spender()), budget=budget) as organism:
        await outcome(organism)
        # 1,000 - 500 < 2 x 300. It is said once, although a little later 300 < 2 x 300 would hold again.
        assert crossed == [[], [("tokens", "runway")], [], []]
        crossed.clear()
        result = await outcome(organism, budget={"model_calls": 5, "tokens": None})
        # Two calls left are enough for two more; one is not.
        assert crossed == [[], [], [], [("model_calls", "runway")]]
        assert [(warned.threshold, warned.remaining) for warned in result.warnings] == [(2, 1)]
        crossed.clear()
        await outcome(organism, budget={"runway": 0})
        assert crossed == [[], [], [], []]


async def test_results_have_a_row_for_every_crossing() -> None:
    async def worker(task: Task, ctx: Context) -> None:
        await spend(ctx, 760)
        await spend(ctx, 100)

    budget = {"tokens": 1000, "cost_usd": "0.01", "grace": NO_GRACE, "runway": 0}
    settings = models(spender(), price={"input": "10", "output": "10"})
    async with running(handlers={"worker": code(worker)}, models=settings, budget=budget) as organism:
        result = await outcome(organism)
    rows = json.loads(json.dumps(result.as_json()))["warnings"]
    assert len({row.pop("seq") for row in rows}) == 2
    common = {"level": "warning", "threshold": 0.75, "scope": "thread", "to": "worker"}
    assert rows == [
        {"unit": "tokens", "used": 760, "limit": 1000, **common},
        {"unit": "cost_usd", "used": 0.0076, "limit": 0.01, **common},
    ]
    assert [warned.seq for warned in result.warnings] == sorted(warned.seq for warned in result.warnings)


# Code is told


async def test_code_in_a_loop_sees_its_warning_while_it_can_still_act() -> None:
    heard: list[tuple[str, str]] = []

    async def worker(message: Task | BudgetWarning, ctx: Context) -> Reply[Done]:
        if isinstance(message, BudgetWarning):
            heard.append((message.level, ctx.sender))
            return Reply(Done(f"warned: {ctx.state['done']}"))
        made = 0
        while True:
            done = await spend(ctx, 100)
            made += 1
            assert [crossing.level for crossing in done.warnings] == list(ctx.budget.tokens.crossed)
            if done.warnings:
                break
        ctx.state["done"] = made
        return Reply(Done(f"stopped after {made}"))

    budget = {"tokens": 1000, "runway": 0}
    async with running(handlers={"worker": code(worker)}, models=models(spender()), budget=budget) as organism:
        result = await outcome(organism)
    assert (result.outcome, result.usage.tokens) == ("completed", 700)
    # The message came after the delivery, in its frame; at the root all replies leave.
    assert heard == [("warning", "organism")]
    assert [reply for _, reply in result.replies] == [Done("stopped after 7"), Done("warned: 7")]
    # It is the organism's own, and costs no message.
    assert result.usage.messages == 1


async def test_a_reply_to_a_warning_counts_only_where_the_frame_has_none() -> None:
    async def boss(task: Task, ctx: Context) -> Reply[Done]:
        early, late = await ctx.ask_all([("early", task), ("late", task)], expect=Done)
        assert isinstance(early, Done)
        assert isinstance(late, Done)
        return Reply(Done(f"{early.text} | {late.text}"))

    async def early(message: Task | BudgetWarning, ctx: Context) -> Reply[Done]:
        if isinstance(message, BudgetWarning):
            return Reply(Done("too late"))
        await spend(ctx, 800)
        return Reply(Done("at once"))

    async def late(message: Task | BudgetWarning, ctx: Context) -> Reply[Done] | None:
        if isinstance(message, BudgetWarning):
            return Reply(Done(f"when warned: {message.level}"))
        await spend(ctx, 800)
        return None

    own: dict[str, Any] = {"budget": {"tokens": 1000, "runway": 0}}
    handlers = {"boss": code(boss, peers=("early", "late")), "early": code(early, **own), "late": code(late, **own)}
    async with running(handlers=handlers, models=models(spender())) as organism:
        result = await outcome(organism, "boss")
    assert result.reply == Done("at once | when warned: warning")
    late_ones = [step for fact in organism.watch.facts for step in fact.steps if isinstance(step, CameLate)]
    assert [step.payload for step in late_ones] == [Done("too late")]
    assert result.outcome == "completed"


async def test_answering_none_to_a_warning_changes_nothing_and_it_keeps_its_thread_open() -> None:
    """The warning comes while a slow branch of the same frame is still at work."""
    heard: list[float] = []

    async def worker(message: Task | BudgetWarning | Done, ctx: Context) -> Send[Task] | Reply[Done] | None:
        match message:
            case Task():
                await spend(ctx, 800)
                return Send("slow", message)
            case BudgetWarning():
                await anyio.sleep(2)
                heard.append(anyio.current_time())
                return None
            case Done():
                return Reply(message)

    async def slow(task: Task, ctx: Context) -> Reply[Done]:
        await spend(ctx, 50)
        return Reply(Done("slowly"))

    handlers = {"worker": code(worker, peers=("slow",)), "slow": code(slow)}
    budget = {"tokens": 1000, "runway": 0}
    async with running(handlers=handlers, models=models(spender(seconds=5)), budget=budget) as organism:
        result = await outcome(organism)
    assert len(heard) == 1
    assert (result.outcome, result.reply) == ("completed", Done("slowly"))
    assert (result.usage.tokens, result.usage.model_calls, result.usage.messages) == (850, 2, 3)
    (end,) = organism.watch.of(Ended)
    assert organism.watch.facts[-1] is end


async def test_a_thread_waits_for_the_warning_of_its_last_call() -> None:
    heard: list[str] = []

    async def worker(message: Task | BudgetWarning, ctx: Context) -> None:
        if isinstance(message, BudgetWarning):
            await anyio.sleep(3)
            heard.append(message.level)
        else:
            await spend(ctx, 800)

    budget = {"tokens": 1000, "runway": 0}
    async with running(handlers={"worker": code(worker)}, models=models(spender()), budget=budget) as organism:
        result = await outcome(organism)
    assert heard == ["warning"]
    assert result.usage.seconds == pytest.approx(3)
    assert [warned.to for warned in result.warnings] == ["worker"]


async def test_what_a_warnings_delivery_crosses_is_told_as_well() -> None:
    heard: list[str] = []

    async def worker(message: Task | BudgetWarning, ctx: Context) -> None:
        if isinstance(message, BudgetWarning):
            heard.append(message.level)
        if len(heard) < 3:
            await spend(ctx, 400 if not heard else 75)

    budget = {"tokens": 500, "grace": NO_GRACE, "runway": 0, "warn_at": [0.8, 0.95, 1.0, 500]}
    budget["warn_at"] = [400, 475, 500]
    async with running(handlers={"worker": code(worker)}, models=models(spender()), budget=budget) as organism:
        result = await outcome(organism)
    # The third call does not fit any more: its refusal comes with the level that had not fired.
    assert heard == ["warning", "critical"]
    assert levels(result) == ALL


async def test_a_subscriber_that_raises_harms_nobody(caplog: pytest.LogCaptureFixture) -> None:
    model = spender()

    async def worker(task: Task, ctx: Context) -> Reply[Done]:
        return Reply(Done((await spend(ctx, 800)).text))

    def broken(fact: object) -> None:
        raise RuntimeError("not today")

    budget = {"tokens": 1000}
    with caplog.at_level(logging.ERROR, "organism"):
        async with running(handlers={"worker": code(worker)}, models=models(model), budget=budget) as organism:
            organism.subscribe(broken)
            result = await outcome(organism)
    assert (result.outcome, result.reply, result.usage.tokens) == ("completed", Done("ok"), 800)
    assert len(model.requests) == 1
    assert any("not today" in str(record.exc_info) for record in caplog.records)


async def test_a_warnings_delivery_that_raises_takes_nothing_from_the_call() -> None:
    model = spender()

    async def worker(message: Task | BudgetWarning, ctx: Context) -> Reply[Done]:
        if type(message) is BudgetWarning:
            raise ValueError("cannot bear it")
        return Reply(Done((await spend(ctx, 800)).text))

    async with running(handlers={"worker": code(worker)}, models=models(model), budget={"tokens": 1000}) as organism:
        result = await outcome(organism)
    assert (result.reply, result.usage.tokens, result.usage.model_calls) == (Done("ok"), 800, 1)
    assert len(model.requests) == 1
    # A failure never vanishes.
    assert (result.outcome, result.code) == ("failed", "crashed")


async def test_who_declares_nothing_of_the_kind_is_not_disturbed_and_nothing_is_lost() -> None:
    got: list[str] = []

    async def worker(task: Task, ctx: Context) -> Reply[Done]:
        got.append(type(task).__name__)
        await spend(ctx, 890)
        return Reply(Done("done"))

    budget = {"tokens": 1000, "runway": 0}
    async with running(handlers={"worker": code(worker)}, models=models(spender()), budget=budget) as organism:
        result = await outcome(organism)
    assert got == ["Task"]
    assert (result.outcome, levels(result)) == ("completed", ALL)
    # It could see them in its completion and its budget.
    assert {warned.to for warned in result.warnings} == {"worker"}
