"""Budgets as a tree: the ceiling over all threads, sub-threads inside their callers, how deep calls may go."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from organism import (
    BudgetExhaustedError,
    Context,
    Forward,
    HandlerFailedError,
    Reply,
    Send,
    ThreadResult,
    Usage,
)
from organism.models.contract import RawUsage
from organism.primitives import HandlerFailed
from organism.record.facts import CallHeld, CallRefused, Ended
from organism.testing import Says, ScriptedModel, running
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


async def _spend_all(task: Task, ctx: Context) -> None:
    """Spends 100 tokens a call until it is refused."""
    while True:
        await spend(ctx, 100)


async def test_threads_share_the_ceiling_and_never_pass_it() -> None:
    model = spender(seconds=1)
    ceiling = {"tokens": 1000}
    handlers = {"worker": code(_spend_all)}
    async with running(handlers=handlers, models=models(model), ceiling=ceiling, budget={"tokens": 600}) as organism:
        results: list[ThreadResult] = []

        async def one() -> None:
            results.append(await outcome(organism))

        async with anyio.create_task_group() as group:
            for _ in range(5):
                group.start_soon(one)
        total = organism.usage()
        assert isinstance(total, Usage)
    # The ceiling keeps nothing back.
    assert sum(result.usage.tokens for result in results) == total.tokens == 1000
    assert len(model.requests) == 10
    assert most_committed(organism.watch.facts) == 1000
    assert {(result.outcome, result.unit) for result in results} == {("exhausted", "tokens")}
    refused = organism.watch.of(CallRefused)
    assert {fact.scope for fact in refused} == {"organism"}
    # Each level of the ceiling was said once, to the handler whose call crossed it.
    said = [warned for result in results for warned in result.warnings if warned.scope == "organism"]
    assert sorted(warned.level for warned in said if warned.level != "runway") == ["critical", "final", "warning"]
    assert {warned.to for warned in said} == {"worker"}
    assert {warned.limit for warned in said} == {1000}


async def test_the_ceiling_counts_messages_of_all_threads() -> None:
    async def worker(task: Task, ctx: Context) -> Reply[Done]:
        return Reply(Done("done"))

    async with running(handlers={"worker": code(worker)}, ceiling={"messages": 3}) as organism:
        for _ in range(3):
            assert (await outcome(organism)).outcome == "completed"
        with pytest.raises(BudgetExhaustedError) as refused:
            await organism.send("worker", Task("one too many"))
        assert (refused.value.unit, refused.value.scope, refused.value.used) == ("messages", "organism", 3)


async def test_a_call_is_held_on_the_whole_path_or_not_at_all() -> None:
    """The sub-thread and the thread could bear it, the organism cannot."""
    model = spender()

    async def boss(task: Task, ctx: Context) -> Reply[Done]:
        with pytest.raises(HandlerFailedError, match="exhausted"):
            await ctx.ask("worker", task)
        assert (ctx.budget.tokens.used, ctx.budget.tokens.held) == (0, 0)
        return Reply(Done("refused above"))

    async def worker(task: Task, ctx: Context) -> None:
        with pytest.raises(BudgetExhaustedError) as refused:
            await spend(ctx, 500)
        assert (refused.value.scope, refused.value.limit) == ("organism", 400)
        assert ctx.budget.tokens.held == 0
        raise refused.value

    handlers = {"boss": code(boss, peers=("worker",)), "worker": code(worker, budget={"tokens": 2000})}
    budget = {"tokens": 10_000}
    async with running(handlers=handlers, models=models(model), budget=budget, ceiling={"tokens": 400}) as organism:
        result = await outcome(organism, "boss")
        assert result.outcome == "completed", result.error
    assert model.requests == []
    assert organism.watch.of(CallHeld) == []


async def test_each_call_has_a_budget_of_its_own_inside_the_callers() -> None:
    model = spender()
    threads: list[str] = []

    async def boss(task: Task, ctx: Context) -> Reply[Done]:
        for _ in range(2):
            with pytest.raises(HandlerFailedError) as failed:
                await ctx.ask("worker", task)
            assert (failed.value.code, failed.value.unit, failed.value.scope) == ("exhausted", "tokens", "sub-thread")
        # The thread itself can go on.
        await spend(ctx, 50)
        return Reply(Done("three bills"))

    async def worker(task: Task, ctx: Context) -> None:
        threads.append(ctx.thread)
        assert (ctx.budget.tokens.limit, ctx.budget.tokens.used) == (250, 0)
        await _spend_all(task, ctx)

    handlers = {
        "boss": code(boss, peers=("worker",)),
        "worker": code(worker, budget={"tokens": 250, "grace": NO_GRACE}),
    }
    async with running(handlers=handlers, models=models(model), budget={"tokens": 10_000}) as organism:
        result = await outcome(organism, "boss")
    assert result.outcome == "completed"
    assert (result.usage.tokens, result.usage.model_calls, result.usage.messages) == (450, 5, 3)
    assert [(sub.thread, sub.outcome, sub.usage.tokens) for sub in result.threads] == [
        (threads[0], "exhausted", 200),
        (threads[1], "exhausted", 200),
    ]
    end = organism.watch.of(Ended)[-1]
    assert (end.own.tokens, end.own.messages) == (50, 1)


async def test_calls_of_one_thread_may_share_one_budget() -> None:
    model = spender()
    threads: list[str] = []

    async def boss(task: Task, ctx: Context) -> Reply[Done]:
        await ctx.ask("worker", task)
        await ctx.ask("worker", task)
        with pytest.raises(HandlerFailedError, match="exhausted"):
            await ctx.ask("worker", task)
        return Reply(Done("one bill"))

    async def worker(task: Task, ctx: Context) -> Reply[Done]:
        threads.append(ctx.thread)
        await spend(ctx, 100)
        return Reply(Done("cheap"))

    shared: dict[str, Any] = {"budget": {"tokens": 250, "grace": NO_GRACE}, "per": "thread"}
    handlers = {"boss": code(boss, peers=("worker",)), "worker": code(worker, **shared)}
    async with running(handlers=handlers, models=models(model), budget={"tokens": 10_000}) as organism:
        first = await outcome(organism, "boss")
        second = await outcome(organism, "boss")
    assert (len(set(threads[:3])), len(set(threads))) == (1, 2)
    for result in (first, second):
        assert result.outcome == "completed"
        (sub,) = result.threads
        assert (sub.usage.tokens, sub.usage.messages, sub.outcome) == (200, 3, "exhausted")
        assert levels(sub) == ["runway", "warning", "critical", "final"]


async def test_a_shared_budget_bears_no_more_messages_than_it_has() -> None:
    handled: list[str] = []

    async def boss(task: Task, ctx: Context) -> list[Send[Task]]:
        return [Send("worker", Task(str(number))) for number in range(3)]

    async def worker(task: Task, ctx: Context) -> None:
        handled.append(task.text)

    shared: dict[str, Any] = {"budget": {"messages": 2}, "per": "thread"}
    handlers = {"boss": code(boss, peers=("worker",)), "worker": code(worker, **shared)}
    async with running(handlers=handlers) as organism:
        result = await outcome(organism, "boss")
    # All of an answer is carried out or nothing of it.
    assert handled == []
    assert (result.outcome, result.unit, result.usage.messages) == ("exhausted", "messages", 1)


async def test_a_sub_thread_has_the_policy_of_its_caller_where_it_says_nothing() -> None:
    model = spender()
    seen: list[tuple[str, int | Decimal | None]] = []

    async def boss(task: Task, ctx: Context) -> Reply[Done]:
        for peer in ("silent", "outspoken"):
            await ctx.ask(peer, task)
        return Reply(Done("two policies"))

    async def worker(task: Task, ctx: Context) -> Reply[Done]:
        seen.append((ctx.name, ctx.budget.tokens.remaining))
        await spend(ctx, 400)
        return Reply(Done("spent"))

    handlers = {
        "boss": code(boss, peers=("silent", "outspoken")),
        "silent": code(worker, budget={"tokens": 1000}),
        "outspoken": code(
            worker,
            budget={"tokens": 1000, "warn_at": {"tokens": [400]}, "grace": {"share": 0.2}, "accounting": "estimate"},
        ),
    }
    budget = {
        "tokens": 100_000,
        "warn_at": {"tokens": [0.5, 0.6, 0.8], "model_calls": []},
        "runway": 0,
        "grace": {"share": 0.5, "tokens": 500},
        "accounting": "strict",
    }
    async with running(handlers=handlers, models=models(model), budget=budget) as organism:
        result = await outcome(organism, "boss")
    # 500 of 1,000 are kept back as the thread says; 200 of 1,000 as the second one says itself.
    assert seen == [("silent", 500), ("outspoken", 800)]
    silent, outspoken = result.threads
    assert [(warned.level, warned.threshold) for warned in silent.warnings] == [
        ("warning", Decimal("0.5")),
        ("critical", Decimal("0.6")),
        ("final", Decimal("0.8")),
    ]
    assert [(warned.level, warned.threshold) for warned in outspoken.warnings] == [("final", 400)]
    # What a thread counts strictly, nobody inside it counts by estimate.
    sent = len('{"content":".","role":"user"}')
    assert [fact.need[1] for fact in organism.watch.of(CallHeld)] == [sent, sent]


async def test_a_spawned_thread_has_its_handlers_budget_and_what_goes_over_it() -> None:
    model = spender()
    limits: list[tuple[Any, ...]] = []

    async def boss(task: Task, ctx: Context) -> Reply[Done]:
        plain = await ctx.spawn("worker", task)
        richer = await ctx.spawn("worker", task, budget={"tokens": 500})
        results = [await plain.result(), await richer.result()]
        return Reply(Done(" ".join(f"{result.outcome}:{result.usage.tokens}" for result in results)))

    async def worker(task: Task, ctx: Context) -> None:
        limits.append((ctx.budget.tokens.limit, ctx.budget.model_calls.limit))
        await _spend_all(task, ctx)

    budget = {"tokens": 200, "model_calls": 4, "grace": NO_GRACE}
    handlers = {"boss": code(boss, peers=("worker",)), "worker": code(worker, budget=budget)}
    async with running(handlers=handlers, models=models(model), budget={"tokens": 10_000}) as organism:
        result = await outcome(organism, "boss")
    assert limits == [(200, 4), (500, 4)]
    assert result.reply == Done("exhausted:200 exhausted:400")
    assert [sub.unit for sub in result.threads] == ["tokens", "model_calls"]
    assert result.usage.tokens == 600
    assert result.outcome == "completed"


async def test_a_spawned_thread_cannot_spend_more_than_its_owner_has() -> None:
    model = spender()

    async def boss(task: Task, ctx: Context) -> Reply[Done]:
        handles = [await ctx.spawn("worker", task, budget={"tokens": 5000}) for _ in range(3)]
        spent = [(await handle.result()).usage.tokens for handle in handles]
        return Reply(Done(str(sum(spent))))

    handlers = {"boss": code(boss, peers=("worker",)), "worker": code(_spend_all)}
    budget = {"tokens": 1000, "grace": NO_GRACE}
    async with running(handlers=handlers, models=models(model), budget=budget) as organism:
        result = await outcome(organism, "boss")
    assert result.reply == Done("1000")
    assert result.usage.tokens == 1000


async def test_the_handle_of_a_spawned_thread_raises_what_it_has() -> None:
    model = spender(seconds=1)

    async def boss(task: Task, ctx: Context) -> Reply[Done]:
        handle = await ctx.spawn("worker", task, budget={"tokens": 300})
        await anyio.sleep(1.5)
        handle.add_budget(tokens=200)
        result = await handle.result()
        return Reply(Done(f"{result.outcome} {result.usage.tokens}"))

    handlers = {"boss": code(boss, peers=("worker",)), "worker": code(_spend_all)}
    budget = {"tokens": 5000, "grace": NO_GRACE}
    async with running(handlers=handlers, models=models(model), budget=budget) as organism:
        result = await outcome(organism, "boss")
    assert result.reply == Done("exhausted 500")


async def test_waiting_for_a_spawned_thread_keeps_no_place_and_counts_for_no_timeout() -> None:
    async def boss(task: Task, ctx: Context) -> Reply[Done]:
        handles = [await ctx.spawn("worker", task) for _ in range(2)]
        return Reply(Done(" ".join([(await handle.result()).outcome for handle in handles])))

    async def worker(task: Task, ctx: Context) -> None:
        await spend(ctx, 100)

    handlers = {"boss": code(boss, peers=("worker",), timeout=5), "worker": code(worker)}
    settings: dict[str, Any] = {"models": models(spender(seconds=60)), "max_handlers": 1}
    async with running(handlers=handlers, **settings) as organism:
        with anyio.fail_after(1000):
            result = await outcome(organism, "boss")
    assert (result.outcome, result.reply) == ("completed", Done("completed completed")), result.error


async def test_a_handoff_does_not_leave_the_budget_it_was_called_in() -> None:
    """A asks B, which has 500 tokens and hands over to C, which has 5,000 of its own: inside B's."""
    model = spender()
    seen: list[tuple[Any, ...]] = []

    async def a(task: Task, ctx: Context) -> Reply[Done]:
        return Reply(await ctx.ask("b", task, expect=Done))

    async def b(task: Task, ctx: Context) -> Forward[Task]:
        await spend(ctx, 100)
        return Forward("c", task)

    async def c(task: Task, ctx: Context) -> Reply[Done]:
        with pytest.raises(BudgetExhaustedError) as refused:
            await spend(ctx, 450)
        seen.append((refused.value.scope, refused.value.used, refused.value.limit))
        return Reply(Done((await spend(ctx, 300)).text))

    for per in ("call", "thread"):
        handlers = {
            "a": code(a, peers=("b",)),
            "b": code(b, peers=("c",), budget={"tokens": 500, "grace": NO_GRACE}),
            "c": code(c, budget={"tokens": 5000}, per=per),
        }
        async with running(handlers=handlers, models=models(model), budget={"tokens": 10_000}) as organism:
            result = await outcome(organism, "a")
        assert (result.outcome, result.reply) == ("completed", Done("ok")), result.error
        (inside_a,) = result.threads
        (inside_b,) = inside_a.threads
        assert [each.usage.tokens for each in (result, inside_a, inside_b)] == [400, 400, 300]
    assert seen == [("sub-thread", 100, 500)] * 2


async def test_what_send_says_goes_over_the_file() -> None:
    async def worker(task: Task, ctx: Context) -> Reply[Done]:
        budget = ctx.budget
        return Reply(Done(f"{budget.tokens.limit} {budget.model_calls.limit} {budget.messages.limit}"))

    budget = {"tokens": 1000, "model_calls": 7}
    async with running(handlers={"worker": code(worker)}, budget=budget) as organism:
        assert (await outcome(organism)).reply == Done("1000 7 300")
        assert (await outcome(organism, budget={"tokens": 50, "messages": 9})).reply == Done("50 7 9")


async def test_depth_is_refused_to_its_sender_alone() -> None:
    """Frames of depth 1 to 3 are there; the fourth is refused to the third, which can say so. It goes on through sub-threads."""
    seen: list[str] = []

    async def worker(task: Task, ctx: Context) -> Reply[Done]:
        number = int(task.text)
        try:
            answer = await ctx.ask("helper" if number % 2 else "worker", Task(str(number + 1)), expect=Done)
        except BudgetExhaustedError as error:
            seen.append(f"{error.unit} {error.scope} {error.used} {error.limit} {error.need}")
            return Reply(Done(f"{number} deep"))
        return Reply(answer)

    async def sender(task: Task, ctx: Context) -> Send[Task]:
        return Send("sender", task)

    handlers = {
        "worker": code(worker, peers=("helper",)),
        "helper": code(worker, peers=("worker",), budget={"tokens": 100}),
        "sender": code(sender),
    }
    async with running(handlers=handlers, budget={"depth": 3}) as organism:
        handle = await organism.send("worker", Task("1"))
        result = await handle.result()
        assert (result.outcome, result.reply) == ("completed", Done("3 deep"))
        assert seen == ["depth thread 3 3 4"]
        assert [sub.outcome for sub in result.threads] == ["completed"]
        sent = await outcome(organism, "sender")
    assert (sent.outcome, sent.unit, sent.usage.messages) == ("exhausted", "depth", 3)
    # Depth never warns.
    assert result.warnings == sent.warnings == ()


async def test_a_sub_thread_may_have_a_depth_of_its_own() -> None:
    """Depth goes on through sub-threads: what is called there stands at depth 2 already."""

    async def boss(task: Task, ctx: Context) -> Reply[Done]:
        with pytest.raises(BudgetExhaustedError) as refused:
            await ctx.ask("shallow", task)
        assert (refused.value.unit, refused.value.scope, refused.value.need) == ("depth", "sub-thread", 2)
        return Reply(await ctx.ask("deeper", task, expect=Done))

    async def worker(task: Task, ctx: Context) -> Reply[Done]:
        return Reply(Done("fits"))

    handlers = {
        "boss": code(boss, peers=("shallow", "deeper")),
        "shallow": code(worker, budget={"depth": 1}),
        "deeper": code(worker, budget={"depth": 2}),
    }
    async with running(handlers=handlers) as organism:
        result = await outcome(organism, "boss")
    assert (result.outcome, result.reply) == ("completed", Done("fits")), result.error


async def test_a_handoff_goes_no_deeper() -> None:
    async def worker(task: Task, ctx: Context) -> Forward[Task] | Reply[Done]:
        number = int(task.text)
        return Reply(Done("there")) if number == 20 else Forward("worker", Task(str(number + 1)))

    async with running(handlers={"worker": code(worker)}, budget={"depth": 1}) as organism:
        result = await (await organism.send("worker", Task("1"))).result()
    assert (result.reply, result.usage.messages) == (Done("there"), 20)


async def test_the_sender_hears_of_a_refused_depth_by_its_caller() -> None:
    """A sends to B, which may not send on: A hears that B failed, and its thread goes on."""
    heard: list[HandlerFailed] = []

    async def a(message: Task | HandlerFailed, ctx: Context) -> Send[Task] | Reply[Done]:
        if isinstance(message, HandlerFailed):
            heard.append(message)
            return Reply(Done("without b"))
        return Send("b", message)

    async def b(task: Task, ctx: Context) -> Send[Task]:
        return Send("b", task)

    handlers = {"a": code(a, peers=("b",)), "b": code(b)}
    async with running(handlers=handlers, budget={"depth": 2}) as organism:
        result = await outcome(organism, "a")
    assert (result.outcome, result.reply) == ("completed", Done("without b"))
    assert [(failed.code, "depth" in failed.text) for failed in heard] == [("exhausted", True)]


async def test_a_thread_without_handlers_is_governed_like_any_other() -> None:
    model = spender()
    async with running(models=models(model), budget={"messages": 5}) as organism:
        async with organism.thread(budget={"tokens": 1000, "grace": NO_GRACE}, labels={"arm": "blind"}) as thread:
            done = await thread.complete(PROMPT, max_output_tokens=900 - INPUT)
            assert [crossing.level for crossing in done.warnings if crossing.level != "runway"] == [
                "warning",
                "critical",
            ]
            with pytest.raises(BudgetExhaustedError) as refused:
                await thread.complete(PROMPT, max_output_tokens=900 - INPUT)
            assert (refused.value.used, refused.value.limit, refused.value.need) == (900, 1000, 900)
            assert thread.budget.tokens.crossed == ("warning", "critical", "final", "runway")
        result = await thread.handle.result()
        assert (result.usage.tokens, result.usage.messages) == (900, 0)
        assert organism.usage(by="label")["arm=blind"].tokens == 900
        assert organism.statistics().threads == 0


async def test_an_agents_calls_run_in_sub_threads_with_budgets_of_their_own() -> None:
    """A desk asks two readers at once; each may make one call, and has one more on grace where it needs it."""
    readers: list[Says] = []

    def script(request: Any) -> Says:
        if "desk" in str(request.messages[0]["content"]).split("\n", 1)[0]:
            first = len(request.messages) == 2
            return asks("reader", "reader", usage=(200, 20)) if first else replies("both read", usage=(300, 20))
        readers.append(replies("notes", usage=(150, 30)))
        return readers[-1]

    model = ScriptedModel(script)
    handlers = {"desk": agent(peers=("reader",)), "reader": agent(budget={"tokens": 5000, "model_calls": 2})}
    async with running(handlers=handlers, models=models(model), budget={"tokens": 50_000}) as organism:
        result = await outcome(organism, "desk")
    assert (result.outcome, result.reply) == ("completed", Done("both read"))
    assert [sub.usage.tokens for sub in result.threads] == [180, 180]
    assert result.usage.tokens == 220 + 320 + 360
    assert len(readers) == 2


async def test_own_figures_are_estimated_only_where_a_call_of_the_thread_itself_was() -> None:
    async def boss(task: Task, ctx: Context) -> Reply[Done]:
        await ctx.ask("worker", task, expect=Done)
        return Reply(Done("done"))

    async def worker(task: Task, ctx: Context) -> Reply[Done]:
        await ctx.complete(PROMPT, max_output_tokens=10)
        return Reply(Done("done"))

    handlers = {"boss": code(boss, peers=("worker",)), "worker": code(worker, budget={"tokens": 1000})}
    silent = ScriptedModel([Says(text="ok", usage=RawUsage())])
    async with running(handlers=handlers, models=models(silent)) as organism:
        result = await (await organism.send("boss", Task("x"))).result()
    assert result.usage.estimated
    own = {ended.handler: ended.own.estimated for ended in organism.watch.of(Ended)}
    assert own == {"boss": False, "worker": True}
