"""Calls that wait for budget: who goes first, who is refused, what waiting costs, and that nobody waits in vain."""

from __future__ import annotations

from typing import Any

import anyio
import pytest

from organism import BudgetExhaustedError, Context, Reply
from organism.models.contract import BackendError
from organism.record.facts import CallHeld, CallRefused
from organism.testing import Says, ScriptedModel, running
from tests.hard.budget_world import (
    INPUT,
    NO_GRACE,
    PROMPT,
    Done,
    Task,
    code,
    models,
    most_committed,
    outcome,
    spend,
    spender,
)

LIMIT: dict[str, Any] = {"tokens": 1000, "grace": NO_GRACE, "runway": 0, "warn_at": []}


def cheap(*, seconds: float = 1.0) -> ScriptedModel:
    """A model that uses one token, whatever was held: limits are filled by what is under way."""
    return ScriptedModel(lambda _: Says(text="ok", usage=(1, 0), seconds=seconds))


async def test_a_call_waits_for_what_is_held_and_takes_nothing_meanwhile() -> None:
    seen: list[tuple[str, float, Any]] = []

    async def worker(task: Task, ctx: Context) -> None:
        began = anyio.current_time()

        async def one(name: str, tokens: int) -> None:
            await spend(ctx, tokens)
            seen.append((name, anyio.current_time() - began, None))

        async with anyio.create_task_group() as group:
            group.start_soon(one, "first", 700)
            await anyio.sleep(1)
            group.start_soon(one, "waits", 400)
            await anyio.sleep(1)
            seen.append(("held", 2.0, ctx.budget.tokens.held))
            # A small one fits beside the first and need not wait behind the second.
            group.start_soon(one, "small", 200)

    async with running(handlers={"worker": code(worker)}, models=models(cheap(seconds=5)), budget=LIMIT) as organism:
        result = await outcome(organism)
    assert seen == [("held", 2.0, 700), ("first", 5.0, None), ("small", 7.0, None), ("waits", 10.0, None)]
    assert result.outcome == "completed"
    assert most_committed(organism.watch.facts) <= 1000


async def test_those_who_wait_go_oldest_first() -> None:
    async def worker(task: Task, ctx: Context) -> None:
        async with anyio.create_task_group() as group:
            for tokens in (900, 500, 400, 300, 90):
                group.start_soon(spend, ctx, tokens)
                await anyio.sleep(0.01)

    async with running(handlers={"worker": code(worker)}, models=models(cheap()), budget=LIMIT) as organism:
        await outcome(organism)
    # The last fits beside the first. When that settles, the next two fit together, and the third waits once more.
    held = [fact.need[0] for fact in organism.watch.of(CallHeld)]
    assert held == [900, 90, 500, 400, 300]


async def test_one_that_was_passed_over_sixteen_times_bars_younger_ones() -> None:
    granted: list[str] = []

    async def worker(task: Task, ctx: Context) -> None:
        over = anyio.Event()

        async def small() -> None:
            while not over.is_set():
                await spend(ctx, 300)
                granted.append("small")

        async def big() -> None:
            await anyio.sleep(0.5)
            granted.clear()
            await spend(ctx, 800)
            granted.append("big")
            over.set()

        async with anyio.create_task_group() as group:
            group.start_soon(big)
            for delay in (0.1, 0.4, 0.7):
                await anyio.sleep(delay)
                group.start_soon(small)

    async with running(handlers={"worker": code(worker)}, models=models(cheap()), budget=LIMIT) as organism:
        result = await outcome(organism)
    assert result.outcome == "completed"
    # 16 smaller and younger calls went before it, besides the three that were under way already or arrived first.
    before = granted.index("big")
    assert 16 <= before <= 16 + 3


async def test_waiting_ends_in_refusal_once_it_can_never_fit() -> None:
    """While it waits another call spends what it needs: it is refused at that instant, not at the end."""
    refused: list[float] = []
    model = ScriptedModel(
        lambda request: Says(
            text="ok", usage=(INPUT, request.max_output_tokens), seconds=request.max_output_tokens / 100
        )
    )

    async def worker(task: Task, ctx: Context) -> None:
        began = anyio.current_time()

        async def late() -> None:
            await anyio.sleep(0.1)
            with pytest.raises(BudgetExhaustedError) as error:
                await spend(ctx, 600)
            refused.append(anyio.current_time() - began)
            assert (error.value.used, error.value.held, error.value.need) == (INPUT + 400, INPUT + 500, 600)

        async with anyio.create_task_group() as group:
            group.start_soon(spend, ctx, INPUT + 400)  # settles after 4 s
            group.start_soon(spend, ctx, INPUT + 500)  # after 5
            group.start_soon(late)

    async with running(handlers={"worker": code(worker)}, models=models(model), budget=LIMIT) as organism:
        result = await outcome(organism)
    assert refused == [pytest.approx(4.0)]
    assert (result.outcome, len(model.requests)) == ("completed", 2)


async def test_who_will_not_wait_is_refused_at_once() -> None:
    async def worker(task: Task, ctx: Context) -> None:
        async with anyio.create_task_group() as group:
            group.start_soon(spend, ctx, 700)
            await anyio.sleep(1)
            began = anyio.current_time()
            with pytest.raises(BudgetExhaustedError) as refused:
                await spend(ctx, 400, wait=False)
            assert anyio.current_time() == began
            assert (refused.value.used, refused.value.held, refused.value.limit) == (0, 700, 1000)

    async with running(handlers={"worker": code(worker)}, models=models(cheap(seconds=5)), budget=LIMIT) as organism:
        result = await outcome(organism)
    assert result.outcome == "completed", result.error


async def test_one_that_is_cancelled_while_it_waits_takes_nothing_and_leaves_the_line() -> None:
    async def worker(task: Task, ctx: Context) -> None:
        async with anyio.create_task_group() as group:
            group.start_soon(spend, ctx, 700)
            await anyio.sleep(1)
            with anyio.move_on_after(2) as scope:
                await spend(ctx, 400)
            assert scope.cancelled_caught
        assert (ctx.budget.tokens.used, ctx.budget.tokens.held) == (1, 0)

    model = cheap(seconds=5)
    async with running(handlers={"worker": code(worker)}, models=models(model), budget=LIMIT) as organism:
        handle = await organism.send("worker", Task("go"))
        await anyio.sleep(2)
        assert organism.statistics().waiting_for_budget == 1
        await anyio.sleep(2)
        assert organism.statistics().waiting_for_budget == 0
        result = await handle.result()
    assert (result.outcome, result.usage.model_calls, len(model.requests)) == ("completed", 1, 1)


async def test_one_that_is_cancelled_just_as_its_turn_comes_gives_it_back() -> None:
    async def worker(task: Task, ctx: Context) -> None:
        async def waits(scope: anyio.CancelScope) -> None:
            with scope:
                await spend(ctx, 400)

        scope = anyio.CancelScope()
        async with anyio.create_task_group() as group:
            group.start_soon(waits, scope)
            group.start_soon(waits, anyio.CancelScope())
            await spend(ctx, 700)
            # The first settlement has granted both of them; neither has gone on yet.
            scope.cancel()
        assert ctx.budget.tokens.held == 0

    model = cheap()
    async with running(handlers={"worker": code(worker)}, models=models(model), budget=LIMIT) as organism:
        result = await outcome(organism)
        assert organism.statistics().held == 0
    assert result.outcome == "completed", result.error


async def test_waiting_counts_neither_for_the_timeout_nor_for_the_place() -> None:
    """One place and a timeout of 10 s: while one delivery waits a minute for budget, others have its place."""
    order: list[str] = []

    async def worker(task: Task, ctx: Context) -> Reply[Done]:
        order.append(f"{task.text} begins")
        if task.text == "waits":
            await spend(ctx, 800)
        order.append(f"{task.text} ends")
        return Reply(Done(task.text))

    async def holder(task: Task, ctx: Context) -> None:
        await spend(ctx, 400)

    handlers = {"worker": code(worker, timeout=10, concurrency=1), "holder": code(holder)}
    settings: dict[str, Any] = {"ceiling": {"tokens": 1000}, "budget": {"warn_at": [], "runway": 0}}
    async with running(handlers=handlers, models=models(cheap(seconds=60)), **settings) as organism:
        holding = await organism.send("holder", Task("hold"))
        await anyio.sleep(1)
        waiting = await organism.send("worker", Task("waits"))
        await anyio.sleep(1)
        assert (await outcome(organism, "worker")).outcome == "completed"
        assert order == ["waits begins", "go begins", "go ends"]
        result = await waiting.result()
        assert (result.outcome, result.reply) == ("completed", Done("waits"))
        assert result.usage.seconds > 100
        assert (await holding.result()).outcome == "completed"


async def test_waiting_ends_with_the_threads_time() -> None:
    async def holder(task: Task, ctx: Context) -> None:
        await spend(ctx, 800)

    async def worker(task: Task, ctx: Context) -> None:
        await spend(ctx, 400)

    model = cheap(seconds=100)
    handlers = {"holder": code(holder), "worker": code(worker)}
    async with running(handlers=handlers, models=models(model), ceiling={"tokens": 1000}) as organism:
        holding = await organism.send("holder", Task("hold"))
        await anyio.sleep(1)
        result = await outcome(organism, budget={"seconds": 20})
        assert (result.outcome, result.unit, result.usage.model_calls) == ("exhausted", "seconds", 0)
        assert organism.statistics().waiting_for_budget == 0
        assert (await holding.result()).outcome == "completed"
    assert len(model.requests) == 1


async def test_threads_wait_for_each_other_below_one_ceiling() -> None:
    """Eight threads, of which the ceiling bears two calls at once: all go in the end, two by two."""
    finished: list[float] = []

    async def worker(task: Task, ctx: Context) -> None:
        await spend(ctx, 450)
        finished.append(anyio.current_time())

    settings: dict[str, Any] = {"ceiling": {"tokens": 1000}, "budget": {"warn_at": [], "runway": 0}}
    async with running(handlers={"worker": code(worker)}, models=models(cheap(seconds=10)), **settings) as organism:
        began = anyio.current_time()
        handles = [await organism.send("worker", Task("go")) for _ in range(8)]
        results = [await handle.result() for handle in handles]
    assert {result.outcome for result in results} == {"completed"}
    assert [round(at - began) for at in finished] == [10, 10, 20, 20, 30, 30, 40, 40]


async def test_a_failed_call_lets_go_of_what_it_held_before_it_tries_again() -> None:
    """Backoff holds nothing: what waits goes meanwhile."""
    said = iter([Says(error=BackendError("server", "busy", retry_after=20)), *[Says(text="ok", usage=(1, 0))] * 5])
    model = ScriptedModel(lambda _: next(said))
    order: list[tuple[str, float]] = []

    async def worker(task: Task, ctx: Context) -> None:
        began = anyio.current_time()

        async def one(name: str, tokens: int) -> None:
            await spend(ctx, tokens)
            order.append((name, round(anyio.current_time() - began)))

        async with anyio.create_task_group() as group:
            group.start_soon(one, "fails first", 800)
            await anyio.sleep(0.001)
            assert ctx.budget.tokens.held == 0
            group.start_soon(one, "goes meanwhile", 900)

    async with running(handlers={"worker": code(worker)}, models=models(model), budget=LIMIT) as organism:
        result = await outcome(organism)
    assert result.outcome == "completed", result.error
    assert order == [("goes meanwhile", 0), ("fails first", 20)]


# Wishes are lowered, so that calls share


async def test_calls_without_an_argument_share_what_is_free() -> None:
    model = spender(seconds=10)

    async def worker(task: Task, ctx: Context) -> Reply[Done]:
        clamped: list[bool] = []

        async def one() -> None:
            clamped.append((await ctx.complete(PROMPT)).clamped)

        began = anyio.current_time()
        async with anyio.create_task_group() as group:
            for _ in range(5):
                group.start_soon(one)
        return Reply(Done(f"{sum(clamped)} of {len(clamped)} clamped in {anyio.current_time() - began:g} s"))

    budget = {**LIMIT, "tokens": 10_000}
    async with running(handlers={"worker": code(worker)}, models=models(model), budget=budget) as organism:
        result = await outcome(organism)
    # All of them are under way at once. Each may write at most half of what was free when it came.
    assert result.reply == Done("4 of 5 clamped in 10 s")
    free, expected = 10_000, []
    for _ in range(5):
        output = min(4096, (free - INPUT) // 2)
        expected.append(output)
        free -= INPUT + output
    assert [request.max_output_tokens for request in model.requests] == expected
    assert most_committed(organism.watch.facts) == 10_000 - free <= 10_000


async def test_a_wish_is_never_lowered_below_its_least_and_then_waits_or_is_refused() -> None:
    model = cheap(seconds=10)

    async def worker(task: Task, ctx: Context) -> Reply[Done]:
        began = anyio.current_time()
        done: dict[str, Any] = {}

        async def one(least: int) -> None:
            completion = await ctx.complete(PROMPT, min_output_tokens=least)
            done[f"{anyio.current_time() - began:g} s"] = completion.clamped

        async with anyio.create_task_group() as group:
            group.start_soon(spend, ctx, 800)
            await anyio.sleep(1)
            # 200 are free. Half of them is less than 150, which fit all the same; 300 do not, and wait.
            group.start_soon(one, 150)
            await anyio.sleep(1)
            group.start_soon(one, 300)
        with pytest.raises(BudgetExhaustedError) as refused:
            await ctx.complete(PROMPT, min_output_tokens=2000)
        # What the model has reported for this prompt is 1 token.
        assert refused.value.need == 1 + 2000
        return Reply(Done(str(done)))

    async with running(handlers={"worker": code(worker)}, models=models(model), budget=LIMIT) as organism:
        result = await outcome(organism)
    assert model.requests[1].max_output_tokens == 150
    assert model.requests[2].max_output_tokens >= 300
    assert result.reply == Done("{'11 s': True, '20 s': True}"), result.error


async def test_an_argument_is_honoured_or_refused_and_never_lowered() -> None:
    model = spender()

    async def worker(task: Task, ctx: Context) -> None:
        done = await ctx.complete(PROMPT, max_output_tokens=900)
        assert not done.clamped
        with pytest.raises(BudgetExhaustedError):
            await ctx.complete(PROMPT, max_output_tokens=900)

    async with running(handlers={"worker": code(worker)}, models=models(model), budget=LIMIT) as organism:
        assert (await outcome(organism)).outcome == "completed"
    assert [request.max_output_tokens for request in model.requests] == [900]


async def test_one_settlement_may_refuse_one_and_let_others_go() -> None:
    """The first call turns out dearer than its hold: of those who wait one can never go now, and others go at once."""
    said = iter(
        [Says(text="dear", usage=(INPUT, 600 - INPUT), seconds=5), *[Says(text="ok", usage=(1, 0), seconds=1)] * 2]
    )
    model = ScriptedModel(lambda _: next(said))
    seen: list[tuple[str, str]] = []

    async def worker(task: Task, ctx: Context) -> None:
        began = anyio.current_time()

        async def one(tokens: int) -> None:
            try:
                await spend(ctx, tokens)
            except BudgetExhaustedError:
                seen.append((f"{tokens} refused", f"{anyio.current_time() - began:g} s"))
            else:
                seen.append((f"{tokens} done", f"{anyio.current_time() - began:g} s"))

        async with anyio.create_task_group() as group:
            for tokens in (550, 500, 460, 480, 300):
                group.start_soon(one, tokens)
                await anyio.sleep(0.001)

    budget = {**LIMIT, "tokens": 1000, "warn_at": [0.5, 0.9]}
    async with running(handlers={"worker": code(worker)}, models=models(model), budget=budget) as organism:
        result = await outcome(organism)
    assert result.outcome == "completed", result.error
    # 300 fit beside the first call; of the others none fits beside the 600 that it cost.
    assert sorted(seen) == [
        ("300 done", "1.004 s"),
        ("460 refused", "5 s"),
        ("480 refused", "5 s"),
        ("500 refused", "5 s"),
        ("550 done", "5 s"),
    ]
    assert len(organism.watch.of(CallRefused)) == 3
    assert len(organism.watch.of(CallHeld)) == 2


async def test_one_settlement_may_refuse_the_oldest_and_grant_younger_ones() -> None:
    said = iter(
        [Says(text="dear", usage=(INPUT, 600 - INPUT), seconds=5), *[Says(text="ok", usage=(1, 0), seconds=1)] * 2]
    )
    model = ScriptedModel(lambda _: next(said))
    seen: list[str] = []

    async def worker(task: Task, ctx: Context) -> None:
        async def one(tokens: int) -> None:
            try:
                await spend(ctx, tokens)
                seen.append(f"{tokens} done")
            except BudgetExhaustedError:
                seen.append(f"{tokens} refused")

        async with anyio.create_task_group() as group:
            for tokens in (900, 500, 250, 150):
                group.start_soon(one, tokens)
                await anyio.sleep(0.001)

    async with running(handlers={"worker": code(worker)}, models=models(model), budget=LIMIT) as organism:
        result = await outcome(organism)
    assert result.outcome == "completed", result.error
    assert sorted(seen) == ["150 done", "250 done", "500 refused", "900 done"]
    kinds = [type(fact).__name__ for fact in organism.watch.facts if isinstance(fact, (CallHeld, CallRefused))]
    # The refusal tells of what is held by then, those that were granted at the same instant among it.
    assert kinds == ["CallHeld", "CallHeld", "CallHeld", "CallRefused"]
