"""Budgets hold through the real pump: what is granted, what is charged, what is refused, and what adds up."""

from __future__ import annotations

import logging
from decimal import Decimal
from typing import Any

import anyio
import pytest

from organism import (
    BudgetExhaustedError,
    ConfigurationError,
    Context,
    ModelError,
    Organism,
    Reply,
    Send,
)
from organism.models.contract import BackendError, RawUsage
from organism.record.facts import CallHeld, CallRefused, CallSettled, Ended
from organism.testing import NO_USAGE, Says, ScriptedModel, running
from tests.hard.budget_world import (
    INPUT,
    NO_GRACE,
    PROMPT,
    Done,
    Task,
    agent,
    asks,
    code,
    levels,
    models,
    most_committed,
    outcome,
    replies,
    spend,
    spender,
)


async def test_of_fifty_calls_at_once_only_those_that_fit_reach_the_backend() -> None:
    model = spender(seconds=1)
    refused: list[BudgetExhaustedError] = []

    async def worker(task: Task, ctx: Context) -> Reply[Done]:
        async def one() -> None:
            try:
                await spend(ctx, 400)
            except BudgetExhaustedError as error:
                refused.append(error)

        async with anyio.create_task_group() as group:
            for _ in range(50):
                group.start_soon(one)
        assert (ctx.budget.tokens.used, ctx.budget.tokens.held) == (800, 0)
        return Reply(Done("over"))

    async with running(handlers={"worker": code(worker)}, models=models(model), budget={"tokens": 1000}) as organism:
        result = await outcome(organism)
        assert organism.statistics().waiting_for_budget == 0
    assert len(model.requests) == 2
    assert len(refused) == 48
    assert {(error.unit, error.scope, error.limit, error.need) for error in refused} == {
        ("tokens", "thread", 1000, 400)
    }
    assert result.outcome == "completed"
    assert (result.usage.tokens, result.usage.model_calls) == (800, 2)
    assert most_committed(organism.watch.facts) == 800


async def test_a_backend_that_reports_more_than_was_held_is_charged_in_full(caplog: pytest.LogCaptureFixture) -> None:
    model = ScriptedModel([Says(text="ok", usage=(INPUT, 1200 - INPUT))])
    seen: list[Any] = []

    async def worker(task: Task, ctx: Context) -> None:
        done = await spend(ctx, 400)
        seen.append([crossing.level for crossing in done.warnings])
        tokens = ctx.budget.tokens
        seen.append((tokens.used, tokens.held, tokens.limit, tokens.remaining, tokens.crossed))
        await spend(ctx, INPUT + 1)

    budget = {"tokens": 1000, "runway": 0}
    with caplog.at_level(logging.ERROR, "organism"):
        async with running(handlers={"worker": code(worker)}, models=models(model), budget=budget) as organism:
            result = await outcome(organism)
    assert seen == [
        ["warning", "critical", "final"],
        (1200, 0, 1000, 0, ("warning", "critical", "final")),
    ]
    assert len(model.requests) == 1
    assert (result.outcome, result.unit, result.usage.tokens) == ("exhausted", "tokens", 1200)
    assert levels(result) == ["warning", "critical", "final"]
    (said,) = [record.getMessage() for record in caplog.records]
    assert "tokens" in said
    assert "1,200" in said
    assert "400" in said
    assert result.thread in said


@pytest.mark.parametrize(
    ("kind", "tokens_an_attempt", "attempts"),
    [
        ("server", 0, 4),
        ("rate_limited", 0, 4),
        ("connection", 0, 4),
        ("rejected", 0, 1),
        ("auth", 0, 1),
        # What was received before the cut is 9 bytes: 6 tokens by estimate.
        ("cut", INPUT + 6, 4),
        ("broken", INPUT + 6, 4),
    ],
)
async def test_a_call_that_fails_holds_nothing_afterwards(kind: Any, tokens_an_attempt: int, attempts: int) -> None:
    model = ScriptedModel([Says(error=BackendError(kind, "no", received="some text"), seconds=1)])
    after: list[tuple[Any, ...]] = []

    async def worker(task: Task, ctx: Context) -> None:
        with pytest.raises(ModelError) as failed:
            await spend(ctx, 400)
        assert len(failed.value.causes) == attempts
        budget = ctx.budget
        after.append((budget.tokens.used, budget.tokens.held, budget.model_calls.used, budget.model_calls.held))

    async with running(handlers={"worker": code(worker)}, models=models(model), budget={"tokens": 10_000}) as organism:
        result = await outcome(organism)
    assert len(model.requests) == attempts
    # A call is one call, however often it is tried.
    assert after == [(tokens_an_attempt * attempts, 0, 1, 0)]
    assert result.usage.estimated == (tokens_an_attempt > 0)
    # Each attempt was held anew, after the one before was settled.
    kinds = [type(fact) for fact in organism.watch.facts if isinstance(fact, (CallHeld, CallSettled))]
    assert kinds == [CallHeld, CallSettled] * attempts


async def test_a_call_that_times_out_or_is_cancelled_costs_its_estimate_once_it_was_sent() -> None:
    model = ScriptedModel([Says(text="late", seconds=1000)])
    held: list[int | Decimal] = []

    async def worker(task: Task, ctx: Context) -> None:
        with pytest.raises(ModelError):
            await spend(ctx, 400)
        held.append(ctx.budget.tokens.held)
        with anyio.move_on_after(3):
            await spend(ctx, 400)
        held.append(ctx.budget.tokens.held)

    settings = models(model, retries=0, timeout=10)
    async with running(handlers={"worker": code(worker)}, models=settings, budget={"tokens": 10_000}) as organism:
        result = await outcome(organism)
    assert held == [0, 0]
    assert (result.usage.tokens, result.usage.model_calls, result.usage.estimated) == (2 * INPUT, 2, True)


async def test_before_a_further_attempt_the_last_one_is_paid_and_the_need_held_anew() -> None:
    """A cut call is billed; what is left then does not bear the same call again, so there is no second attempt."""
    model = ScriptedModel(
        [Says(error=BackendError("cut", "gone", usage=RawUsage(input_tokens=INPUT, output_tokens=500)))]
    )

    async def worker(task: Task, ctx: Context) -> None:
        await spend(ctx, 600)

    budget = {"tokens": 1000, "grace": NO_GRACE}
    async with running(handlers={"worker": code(worker)}, models=models(model), budget=budget) as organism:
        result = await outcome(organism)
    assert len(model.requests) == 1
    assert (result.outcome, result.usage.tokens, result.usage.model_calls) == ("exhausted", INPUT + 500, 1)
    assert organism.watch.of(CallRefused)[0].need == 600


@pytest.mark.by_turns
async def test_a_thousand_failing_calls_leave_nothing_held() -> None:
    failures: list[Says] = [
        Says(error=BackendError("server", "500")),
        Says(error=BackendError("cut", "cut", received="abc"), seconds=0.5),
        Says(text="too late", seconds=50),
        Says(error=BackendError("connection", "refused")),
        Says(error=BackendError("rate_limited", "slow down")),
    ]
    calls = iter(range(10_000))
    model = ScriptedModel(lambda _: failures[next(calls) % len(failures)])
    failed: list[str] = []

    async def worker(task: Task, ctx: Context) -> None:
        async def one() -> None:
            try:
                await ctx.complete(PROMPT, max_output_tokens=100)
            except ModelError as error:
                failed.append(str(error))

        async with anyio.create_task_group() as group:
            for _ in range(1000):
                group.start_soon(one)
        tokens = ctx.budget.tokens
        assert tokens.held == 0
        # 200 were cut (the 3 bytes that came are 2 tokens) and 200 timed out; the others cost nothing.
        assert tokens.used == 200 * (INPUT + 2) + 200 * INPUT

    settings = models(model, retries=0, timeout=5)
    async with running(handlers={"worker": code(worker)}, models=settings, budget={"tokens": 10**6}) as organism:
        result = await outcome(organism)
        assert result.outcome == "completed", result.error
        assert len(failed) == 1000
        assert organism.statistics().held == 0
        assert not any(organism.kernel.state.root.held)


async def test_one_budget_and_one_end_when_the_last_branch_ends() -> None:
    """A sends to B and C in one thread; B answers nothing first, C is still calling its model."""
    model = spender(seconds=5)

    async def a(task: Task, ctx: Context) -> list[Send[Task]]:
        return [Send("b", Task("b")), Send("c", Task("c"))]

    async def b(task: Task, ctx: Context) -> None:
        assert ctx.budget.messages.used == 3

    async def c(task: Task, ctx: Context) -> None:
        await spend(ctx, 100)
        await spend(ctx, 50)

    handlers = {"a": code(a, peers=("b", "c")), "b": code(b), "c": code(c)}
    async with running(handlers=handlers, models=models(model), budget={"tokens": 1000}) as organism:
        result = await outcome(organism, "a")
    assert (result.outcome, result.usage.tokens, result.usage.messages) == ("completed", 150, 3)
    (end,) = organism.watch.of(Ended)
    assert end.usage == result.usage
    assert organism.watch.facts[-1] is end
    assert result.usage.seconds == pytest.approx(10)


async def test_a_chain_of_asks_is_one_bill() -> None:
    """A asks B asks C, each calling models."""
    script = [asks("b"), asks("c"), replies("c"), replies("b"), replies("a")]
    model = ScriptedModel([Says(calls=each.calls, usage=(100 + n, 10)) for n, each in enumerate(script)])
    handlers = {"a": agent(peers=("b",)), "b": agent(peers=("c",)), "c": agent()}
    async with running(handlers=handlers, models=models(model), budget={"tokens": 100_000}) as organism:
        result = await outcome(organism, "a")
        by_handler = organism.usage(by="handler")
        assert isinstance(by_handler, dict)
    assert result.reply == Done("a")
    assert (result.usage.input_tokens, result.usage.output_tokens) == (510, 50)
    assert (result.usage.model_calls, result.usage.messages) == (5, 3)
    assert {name: usage.model_calls for name, usage in by_handler.items()} == {"a": 2, "b": 2, "c": 1}
    assert sum(usage.tokens for usage in by_handler.values()) == result.usage.tokens


async def test_who_sends_to_itself_gets_no_new_budget() -> None:
    model = spender()
    threads: list[str] = []

    async def worker(task: Task, ctx: Context) -> Send[Task] | None:
        threads.append(ctx.thread)
        await spend(ctx, 300)
        return Send("worker", task)

    async def boss(task: Task, ctx: Context) -> Reply[Done]:
        with pytest.raises(Exception, match="exhausted"):
            await ctx.ask("worker", task)
        return Reply(Done("seen"))

    handlers = {
        "boss": code(boss, peers=("worker",)),
        "worker": code(worker, budget={"tokens": 1000, "grace": NO_GRACE}),
    }
    async with running(handlers=handlers, models=models(model), budget={"tokens": 100_000}) as organism:
        result = await outcome(organism, "boss")
    assert len(set(threads)) == 1
    assert len(threads) == 4
    assert len(model.requests) == 3
    (sub,) = result.threads
    assert (sub.usage.tokens, sub.outcome, sub.unit) == (900, "exhausted", "tokens")
    assert result.outcome == "completed"


async def test_a_thread_that_is_ended_twice_says_its_usage_once(caplog: pytest.LogCaptureFixture) -> None:
    model = spender(seconds=100)

    async def worker(task: Task, ctx: Context) -> None:
        await spend(ctx, 100)

    with caplog.at_level(logging.INFO, "organism.threads"):
        async with running(handlers={"worker": code(worker)}, models=models(model)) as organism:
            thread = await organism.send("worker", Task("go"))
            await anyio.sleep(1)
            thread.cancel("first")
            thread.cancel("second")
            result = await thread.result()
            thread.cancel("third")
            await organism.close()
    assert (result.outcome, result.error) == ("cancelled", "first")
    assert (result.usage.tokens, result.usage.estimated) == (INPUT, True)
    assert len(organism.watch.of(Ended)) == 1
    (line,) = [record.getMessage() for record in caplog.records if record.name == "organism.threads"]
    assert f"{INPUT} tokens" in line


@pytest.mark.parametrize(
    "report",
    [
        NO_USAGE,
        RawUsage(input_tokens=None, output_tokens=None),
        RawUsage(input_tokens=50),
        RawUsage(input_tokens=-5, output_tokens=10),
        RawUsage(input_tokens=5, output_tokens=-10),
        RawUsage(input_tokens="50", output_tokens="10"),
        RawUsage(input_tokens=50.5, output_tokens=10),
        RawUsage(input_tokens=10**9 + 1, output_tokens=10),
        RawUsage(input_tokens=50, output_tokens=10, cache_read_tokens="many"),
    ],
)
async def test_usage_that_cannot_be_taken_at_its_word_is_charged_by_estimate(report: RawUsage) -> None:
    model = ScriptedModel([Says(text="four", usage=report)])

    async def worker(task: Task, ctx: Context) -> Reply[Done]:
        done = await spend(ctx, 100)
        assert done.usage.estimated
        return Reply(Done(done.text))

    async with running(handlers={"worker": code(worker)}, models=models(model), budget={"tokens": 1000}) as organism:
        result = await outcome(organism)
    assert result.reply == Done("four")
    assert (result.usage.input_tokens, result.usage.output_tokens) == (INPUT, 3)
    assert (result.usage.estimated, result.as_json()["usage"]["estimated"]) == (True, True)


async def test_cached_input_counts_as_input_and_costs_what_it_costs() -> None:
    """Of 9,600 tokens 9,000 were read from a cache and 500 written to it."""
    report = RawUsage(input_tokens=9600, output_tokens=100, cache_read_tokens=9000, cache_write_tokens=500)
    model = ScriptedModel([Says(text="ok", usage=report)])

    async def worker(task: Task, ctx: Context) -> None:
        await ctx.complete("word " * 2000)

    price = {"input": "3", "output": "15", "cache_read": "0.30", "cache_write": "3.75"}
    async with running(handlers={"worker": code(worker)}, models=models(model, price=price)) as organism:
        result = await outcome(organism, budget={"cost_usd": 1})
    usage = result.usage
    assert (usage.input_tokens, usage.tokens) == (9600, 9700)
    assert (usage.cache_read_tokens, usage.cache_write_tokens) == (9000, 500)
    millionths = 100 * 3 + 9000 * Decimal("0.30") + 500 * Decimal("3.75") + 100 * 15
    assert usage.cost_usd == millionths / 10**6


def _priced_and_not(model: ScriptedModel) -> dict[str, Any]:
    return {
        "default": {"backends": [{"provider": model.backend, "model": "s-1", "price": {"input": 1, "output": 1}}]},
        "unknown": {"backends": [{"provider": model.backend, "model": "nobody-has-heard-of-it"}]},
    }


async def test_a_model_without_a_price_is_refused_at_the_start_where_cost_is_limited() -> None:
    model = spender()

    async def worker(task: Task, ctx: Context) -> None:
        await ctx.complete(PROMPT, model="unknown")

    limits: list[dict[str, Any]] = [{"budget": {"cost_usd": 1}}, {"ceiling": {"cost_usd": 1}}]
    for limited in limits:
        with pytest.raises(ConfigurationError, match=r"unknown\.backends\[0\].*nobody-has-heard-of-it"):
            Organism(handlers={"worker": code(worker)}, models=_priced_and_not(model), **limited)
    with pytest.raises(ConfigurationError, match="nobody-has-heard-of-it"):
        Organism(handlers={"worker": code(worker, budget={"cost_usd": 1})}, models=_priced_and_not(model))


async def test_a_model_without_a_price_is_refused_at_the_call_where_its_thread_limits_cost() -> None:
    model = spender()

    async def worker(task: Task, ctx: Context) -> Reply[Done]:
        paid = await ctx.complete(PROMPT, max_output_tokens=80)
        assert paid.cost_usd == Decimal(INPUT + 80) / 10**6
        with pytest.raises(ModelError, match="no price is known for 'nobody-has-heard-of-it'"):
            await ctx.complete(PROMPT, model="unknown", max_output_tokens=80)
        return Reply(Done("only one of them"))

    async with running(handlers={"worker": code(worker)}, models=_priced_and_not(model)) as organism:
        result = await outcome(organism, budget={"cost_usd": "0.5"})
        assert (result.outcome, result.usage.model_calls) == ("completed", 1)
        assert result.usage.cost_usd == Decimal(INPUT + 80) / 10**6
    assert [request.model for request in model.requests] == ["s-1"]


async def test_on_unpriced_ignore_calls_it_and_counts_its_tokens() -> None:
    model = spender()

    async def worker(task: Task, ctx: Context) -> None:
        await ctx.complete(PROMPT, model="unknown", max_output_tokens=80)

    budget = {"cost_usd": "0.5", "on_unpriced": "ignore"}
    handlers = {"worker": code(worker)}
    async with running(handlers=handlers, models=_priced_and_not(model), budget=budget) as organism:
        result = await outcome(organism)
    assert (result.outcome, result.usage.tokens, result.usage.cost_usd) == ("completed", INPUT + 80, Decimal(0))


async def test_cost_is_held_at_its_worst_and_charged_exactly() -> None:
    """Calls of 0.30 USD each under a limit of 1 USD: the fourth is refused, and sums are exact."""
    model = spender()
    made: list[Decimal] = []

    async def worker(task: Task, ctx: Context) -> None:
        while True:
            made.append((await spend(ctx, 300_000)).cost_usd)

    budget = {"cost_usd": "1", "grace": NO_GRACE}
    settings = models(model, price={"input": "1", "output": "1"})
    async with running(handlers={"worker": code(worker)}, models=settings, budget=budget) as organism:
        result = await outcome(organism)
    assert made == [Decimal("0.3")] * 3
    assert (result.outcome, result.unit, result.usage.cost_usd) == ("exhausted", "cost_usd", Decimal("0.9"))


async def test_strict_accounting_holds_every_byte_that_is_sent() -> None:
    model = spender()

    async def worker(task: Task, ctx: Context) -> None:
        await ctx.complete("Grüße", max_output_tokens=100, extra={"user": "ada"})

    settings = models(model, overhead=7, options={"top_k": 3})
    handlers = {"worker": code(worker)}
    async with running(handlers=handlers, models=settings, budget={"tokens": 1000}) as organism:
        strict = await outcome(organism, budget={"accounting": "strict"})
        await outcome(organism)
    sent = '{"content":"Grüße","role":"user"}{"top_k":3}{"user":"ada"}'
    bound, estimate = (fact.need for fact in organism.watch.of(CallHeld))
    assert bound[1] == len(sent.encode()) + 7
    assert bound[0] == bound[1] + 100
    assert estimate[1] < bound[1]
    assert strict.outcome == "completed"


async def test_strict_accounting_refuses_what_nothing_bounds() -> None:
    model = spender()
    image = {"type": "image_url", "image_url": {"url": "https://example.org/cat.png"}}

    async def worker(task: Task, ctx: Context) -> Reply[Done]:
        with pytest.raises(ModelError, match=r"messages\[0\]\.content\[0\] \(image_url\)"):
            await ctx.complete([{"role": "user", "content": [image]}])
        return Reply(Done("refused"))

    budget = {"tokens": 1000, "accounting": "strict"}
    async with running(handlers={"worker": code(worker)}, models=models(model), budget=budget) as organism:
        result = await outcome(organism)
    assert (result.reply, model.requests) == (Done("refused"), [])


async def test_a_provider_that_charges_more_than_the_bound_is_closed_to_strict_threads_alone() -> None:
    model = ScriptedModel([Says(text="ok", usage=(500, 1))])

    async def worker(task: Task, ctx: Context) -> None:
        await ctx.complete(PROMPT, max_output_tokens=10)

    strict = {"accounting": "strict"}
    async with running(handlers={"worker": code(worker)}, models=models(model), budget={"tokens": 9000}) as organism:
        first = await outcome(organism, budget=strict)
        second = await outcome(organism, budget=strict)
        third = await outcome(organism)
    assert (first.outcome, first.usage.tokens) == ("completed", 501)
    assert second.outcome == "failed"
    assert "raise its `overhead`" in (second.error or "")
    assert third.outcome == "completed"
    assert len(model.requests) == 2


async def test_a_limit_of_nothing_bears_nothing() -> None:
    model = spender()

    async def worker(task: Task, ctx: Context) -> None:
        await ctx.complete(PROMPT)

    async with running(handlers={"worker": code(worker), "helper": agent()}, models=models(model)) as organism:
        for unit in ("tokens", "input_tokens", "output_tokens", "cost_usd", "model_calls"):
            for to in ("worker", "helper"):
                result = await outcome(organism, to, budget={unit: 0})
                assert (result.outcome, result.unit, result.code) == ("exhausted", unit, "exhausted")
                assert result.warnings == ()
                assert result.usage.tokens == 0
        with pytest.raises(BudgetExhaustedError, match="messages"):
            await organism.send("worker", Task("go"), budget={"messages": 0})
        assert organism.statistics().threads == 0
    assert model.requests == []


@pytest.mark.parametrize("unit", ["input_tokens", "output_tokens", "model_calls"])
async def test_every_unit_is_a_limit_of_its_own(unit: str) -> None:
    model = spender()
    calls = 0

    async def worker(task: Task, ctx: Context) -> None:
        nonlocal calls
        while True:
            await ctx.complete(PROMPT, max_output_tokens=INPUT)
            calls += 1

    limit = {unit: 4 if unit == "model_calls" else 4 * INPUT + 1, "grace": NO_GRACE}
    async with running(handlers={"worker": code(worker)}, models=models(model), budget=limit) as organism:
        result = await outcome(organism)
    assert calls == len(model.requests) == 4
    assert (result.outcome, result.unit) == ("exhausted", unit)
