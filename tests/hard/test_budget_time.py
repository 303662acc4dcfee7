"""Running time: its levels by a timer, and the last ten seconds when it has run out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import anyio
import pytest

from organism import BudgetExhaustedError, Context, HandlerFailedError, ModelError, Reply, Send
from organism.models.contract import BackendError
from organism.primitives import BudgetExhausted, BudgetWarning, HandlerFailed
from organism.testing import Says, ScriptedModel, running
from tests.hard.budget_world import (
    INPUT,
    PROMPT,
    Done,
    Task,
    agent,
    asks,
    code,
    levels,
    models,
    notices,
    outcome,
    peer,
    replies,
    said_to,
    spend,
    spender,
)

if TYPE_CHECKING:
    from organism.models.contract import Request


async def test_time_is_told_by_a_timer_while_the_handler_works() -> None:
    heard: list[tuple[str, Any]] = []
    began = 0.0

    async def worker(message: Task | BudgetWarning, ctx: Context) -> Reply[Done] | None:
        nonlocal began
        if isinstance(message, BudgetWarning):
            heard.append((message.level, anyio.current_time() - began))
            return None
        began = anyio.current_time()
        await anyio.sleep(92)
        return Reply(Done("in time"))

    handlers = {"worker": code(worker, timeout=None)}
    async with running(handlers=handlers, budget={"seconds": 100}) as organism:
        result = await outcome(organism)
    assert (result.outcome, result.reply) == ("completed", Done("in time"))
    # Both levels came while it worked; its message follows the delivery, with the highest.
    assert heard == [("critical", pytest.approx(92))]
    assert [(warned.level, warned.used, warned.limit, warned.to) for warned in result.warnings] == [
        ("warning", pytest.approx(75, abs=0.01), 100, "worker"),
        ("critical", pytest.approx(90, abs=0.01), 100, "worker"),
    ]
    assert {warned.unit for warned in result.warnings} == {"seconds"}
    assert result.usage.seconds == pytest.approx(92)


async def test_time_is_told_at_once_to_code_that_waits_for_a_branch() -> None:
    heard: list[tuple[str, Any]] = []
    began = 0.0

    async def worker(message: Task | BudgetWarning | Done, ctx: Context) -> Any:
        nonlocal began
        match message:
            case Task():
                began = anyio.current_time()
                return Send("slow", message)
            case BudgetWarning():
                heard.append((message.level, anyio.current_time() - began))
                return None
            case Done():
                return Reply(message)

    async def slow(task: Task, ctx: Context) -> Reply[Done]:
        await anyio.sleep(80)
        return Reply(Done("slowly"))

    handlers = {"worker": code(worker, peers=("slow",)), "slow": code(slow, timeout=None)}
    async with running(handlers=handlers, budget={"seconds": 100}) as organism:
        result = await outcome(organism)
    assert heard == [("warning", pytest.approx(75, abs=0.01))]
    assert (result.outcome, result.reply) == ("completed", Done("slowly"))


async def test_time_is_told_to_an_agent_in_its_next_prompt() -> None:
    model = ScriptedModel([asks("peer", seconds=80), replies("in time")])
    handlers = {"writer": agent(peers=("peer",)), "peer": code(peer)}
    async with running(handlers=handlers, models=models(model), budget={"seconds": 100}) as organism:
        result = await outcome(organism, "writer")
    (notice,) = notices(model.requests[1])
    assert notice.startswith("Budget notice: warning. ")
    assert "of 100 seconds are used" in notice
    assert [(warned.unit, warned.to) for warned in result.warnings] == [("seconds", "writer")]


async def test_time_in_a_sub_thread_has_levels_of_its_own() -> None:
    model = ScriptedModel([asks("peer", seconds=80), replies("in time")])

    async def boss(task: Task, ctx: Context) -> Reply[Done]:
        return Reply(await ctx.ask("writer", task, expect=Done))

    handlers = {
        "boss": code(boss, peers=("writer",)),
        "writer": agent(peers=("peer",), budget={"seconds": 100}),
        "peer": code(peer),
    }
    async with running(handlers=handlers, models=models(model), budget={"seconds": 1000}) as organism:
        result = await outcome(organism, "boss")
    assert len(notices(model.requests[1])) == 1
    assert [(warned.unit, warned.scope, warned.limit, warned.to) for warned in result.warnings] == [
        ("seconds", "sub-thread", 100, "writer")
    ]


async def test_levels_of_time_are_armed_again_when_there_is_more_of_it() -> None:
    async def worker(task: Task, ctx: Context) -> None:
        await anyio.sleep(160)

    handlers = {"worker": code(worker, timeout=None)}
    async with running(handlers=handlers, budget={"seconds": 100}) as organism:
        handle = await organism.send("worker", Task("go"))
        await anyio.sleep(80)
        handle.add_budget(seconds=100)
        result = await handle.result()
    assert result.outcome == "completed"
    assert [(warned.level, round(warned.used), warned.limit) for warned in result.warnings] == [
        ("warning", 75, 100),
        ("warning", 150, 200),
    ]
    # Nobody in there takes warnings.
    assert {warned.to for warned in result.warnings} == {None}


async def test_when_time_runs_out_the_root_frames_handler_has_ten_seconds_more() -> None:
    got: list[Any] = []
    cancelled: list[float] = []

    async def worker(message: Task | BudgetExhausted, ctx: Context) -> Any:
        if isinstance(message, BudgetExhausted):
            got.append(message)
            await anyio.sleep(9)
            return Reply(Done("just in time"))
        try:
            await anyio.sleep(1000)
        except anyio.get_cancelled_exc_class():
            cancelled.append(anyio.current_time())
            raise
        return None

    handlers = {"worker": code(worker, timeout=None)}
    async with running(handlers=handlers, budget={"seconds": 100, "warn_at": []}) as organism:
        began = anyio.current_time()
        result = await outcome(organism)
    assert cancelled == [pytest.approx(began + 100, abs=0.01)]
    (last,) = got
    assert (last.unit, last.scope, last.limit) == ("seconds", "thread", 100)
    assert (result.outcome, result.unit, result.reply) == ("exhausted", "seconds", Done("just in time"))
    assert result.usage.seconds == pytest.approx(109, abs=0.02)
    assert result.usage.messages == 1


async def test_the_last_delivery_ends_with_its_ten_seconds() -> None:
    async def worker(message: Task | BudgetExhausted, ctx: Context) -> Any:
        await anyio.sleep(1000)
        return Reply(Done("too late"))

    handlers = {"worker": code(worker, timeout=None)}
    async with running(handlers=handlers, budget={"seconds": 100}) as organism:
        result = await outcome(organism)
    assert (result.outcome, result.unit, result.reply) == ("exhausted", "seconds", None)
    assert result.usage.seconds == pytest.approx(110, abs=0.02)


async def test_code_that_does_not_take_it_ends_when_its_time_does() -> None:
    async def worker(task: Task, ctx: Context) -> Reply[Done]:
        await anyio.sleep(1000)
        return Reply(Done("too late"))

    handlers = {"worker": code(worker, timeout=None)}
    async with running(handlers=handlers, budget={"seconds": 100}) as organism:
        result = await outcome(organism)
    assert (result.outcome, result.unit, result.reply) == ("exhausted", "seconds", None)
    assert result.usage.seconds == pytest.approx(100, abs=0.02)
    assert "seconds of the thread: limit 100" in (result.error or "")


@pytest.mark.parametrize(("below", "patience"), [(4.9, 1), (5, 0)], ids=["sooner", "in one instant"])
async def test_a_thread_below_has_no_last_delivery_once_the_time_of_the_one_above_has_run_out(
    below: float, patience: float
) -> None:
    heard: list[str] = []

    async def boss(message: Task | BudgetExhausted, ctx: Context) -> Reply[Done]:
        if isinstance(message, BudgetExhausted):
            heard.append("boss")
            return Reply(Done("handed in"))
        await ctx.spawn("helper", Task("help"), budget={"seconds": below})
        await anyio.sleep_forever()
        raise AssertionError

    async def helper(message: Task | BudgetExhausted, ctx: Context) -> None:
        if isinstance(message, BudgetExhausted):
            heard.append("helper")
        try:
            await anyio.sleep(20)
        finally:
            with anyio.CancelScope(shield=True):
                await anyio.sleep(patience)

    handlers = {"boss": code(boss, peers=("helper",), timeout=None), "helper": code(helper, timeout=None)}
    async with running(handlers=handlers, budget={"seconds": 5}) as organism:
        handle = await organism.send("boss", Task("x"))
        await anyio.sleep(1)
        handle.set_budget(messages=50)  # whose time is set anew is told last, among those of one instant
        result = await handle.result()
    assert heard == ["boss"]
    assert (result.outcome, result.reply) == ("exhausted", Done("handed in"))
    assert result.usage.seconds == pytest.approx(5 + patience, abs=0.2)


async def test_an_agent_whose_time_runs_out_has_its_last_word_and_the_cut_call_is_charged() -> None:
    def script(request: Request) -> Says:
        if "exhausted" in said_to(request)[-1]:
            return replies("what I have")
        return (
            asks("peer", text="notes", usage=(50, 50)) if len(request.messages) == 2 else Says(text="late", seconds=500)
        )

    model = ScriptedModel(script)
    handlers = {"writer": agent(peers=("peer",)), "peer": code(peer)}
    settings = models(model, timeout=1000)
    async with running(handlers=handlers, models=settings, budget={"seconds": 60}) as organism:
        result = await outcome(organism, "writer")
    assert (result.outcome, result.unit, result.reply) == ("exhausted", "seconds", Done("what I have"))
    assert (result.usage.model_calls, result.usage.estimated) == (3, True)
    last = model.requests[-1]
    assert [tool.name for tool in last.tools] == ["reply"]
    assert "seconds of the thread: limit 60" in said_to(last)[-1]
    # What the cancelled delivery had read is not lost to it... but its state is: a failed delivery leaves no trace.
    assert result.partial is None


@pytest.mark.parametrize("of", ["thread", "ceiling"])
@pytest.mark.parametrize(("asks_for", "said"), [(4, "what I have"), (20, "after the deadline of the call")])
async def test_the_last_words_may_wait_for_a_backend_as_long_as_they_have(of: str, asks_for: float, said: str) -> None:
    busy = BackendError("rate_limited", "429: slow down", retry_after=asks_for)
    model = ScriptedModel([Says(error=busy), Says(text="what I have")])
    waited: list[float] = []

    async def worker(message: Task | BudgetExhausted, ctx: Context) -> Any:
        if isinstance(message, Task):
            return await anyio.sleep(200)
        began = anyio.current_time()
        try:
            text = (await ctx.complete(PROMPT)).text
        except ModelError as error:
            text = str(error)
        waited.append(anyio.current_time() - began)
        return Reply(Done(text))

    budgets: dict[str, Any] = {"budget" if of == "thread" else "ceiling": {"seconds": 60}}
    async with running(handlers={"worker": code(worker, timeout=None)}, models=models(model), **budgets) as organism:
        result = await outcome(organism)
    assert (result.outcome, result.unit) == ("exhausted", "seconds")
    assert said in result.reply.text
    assert waited == [pytest.approx(4 if asks_for == 4 else 0, abs=0.01)]


async def test_who_hands_in_for_want_of_messages_is_in_no_haste() -> None:
    """Its seconds are over while it does: nothing stops it, and so nothing fails for that."""
    busy = BackendError("rate_limited", "429: slow down", retry_after=20)
    model = ScriptedModel([Says(error=busy), Says(text="what I have")])

    async def worker(message: Task | BudgetExhausted, ctx: Context) -> Any:
        if isinstance(message, Task):
            return Send("worker", message)
        await anyio.sleep(50)
        return Reply(Done((await ctx.complete(PROMPT)).text))

    handlers = {"worker": code(worker, timeout=None)}
    async with running(
        handlers=handlers, models=models(model), budget={"messages": 3, "seconds": 60}, loops=None
    ) as organism:
        result = await outcome(organism)
    assert (result.outcome, result.unit, result.reply) == ("exhausted", "messages", Done("what I have"))
    assert result.usage.seconds == pytest.approx(70, abs=0.02)


async def test_the_time_of_a_sub_thread_runs_out_and_its_caller_hears_it() -> None:
    """One callee hands in, one cannot: the ask gets the last word, or the failure."""

    async def boss(task: Task, ctx: Context) -> Reply[Done]:
        began = anyio.current_time()
        answer = await ctx.ask("willing", task, expect=Done)
        with pytest.raises(HandlerFailedError) as failed:
            await ctx.ask("deaf", task)
        took = anyio.current_time() - began
        return Reply(Done(f"{answer.text} {failed.value.code} {failed.value.unit} after {took:.0f} s"))

    async def willing(message: Task | BudgetExhausted, ctx: Context) -> Any:
        if isinstance(message, BudgetExhausted):
            return Reply(Done("a bit"))
        return await anyio.sleep(100)

    async def deaf(task: Task, ctx: Context) -> None:
        await anyio.sleep(100)

    own: dict[str, Any] = {"budget": {"seconds": 5}, "timeout": None}
    handlers = {
        "boss": code(boss, peers=("willing", "deaf")),
        "willing": code(willing, **own),
        "deaf": code(deaf, **own),
    }
    async with running(handlers=handlers, budget={"seconds": 1000}) as organism:
        result = await outcome(organism, "boss")
    assert (result.outcome, result.reply) == ("completed", Done("a bit exhausted seconds after 10 s"))
    assert [(sub.outcome, sub.unit) for sub in result.threads] == [("exhausted", "seconds")] * 2


async def test_a_shared_sub_thread_whose_time_ran_out_refuses_the_next_call() -> None:
    called: list[str] = []

    async def boss(task: Task, ctx: Context) -> Reply[Done]:
        heard: list[str | None] = []
        for _ in range(2):
            with pytest.raises(HandlerFailedError) as failed:
                await ctx.ask("slow", task)
            heard += [failed.value.code, failed.value.unit]
        return Reply(Done(" ".join(map(str, heard))))

    async def slow(task: Task, ctx: Context) -> None:
        called.append(task.text)
        await anyio.sleep(100)

    shared: dict[str, Any] = {"budget": {"seconds": 5}, "per": "thread", "timeout": None}
    handlers = {"boss": code(boss, peers=("slow",)), "slow": code(slow, **shared)}
    async with running(handlers=handlers) as organism:
        result = await outcome(organism, "boss")
    assert len(called) == 1
    assert (result.outcome, result.reply) == ("completed", Done("exhausted seconds exhausted seconds"))
    assert result.usage.seconds == pytest.approx(5, abs=0.02)


async def test_who_sent_to_a_sub_thread_whose_time_ran_out_hears_it() -> None:
    got: list[Any] = []

    async def boss(message: Task | HandlerFailed, ctx: Context) -> Any:
        got.append(message)
        return Send("deaf", message) if isinstance(message, Task) else Reply(Done(message.code))

    async def deaf(task: Task, ctx: Context) -> None:
        await anyio.sleep(100)

    handlers = {"boss": code(boss, peers=("deaf",)), "deaf": code(deaf, budget={"seconds": 5}, timeout=None)}
    async with running(handlers=handlers) as organism:
        result = await outcome(organism, "boss")
    assert [type(message) for message in got] == [Task, HandlerFailed]
    assert (result.outcome, result.reply) == ("completed", Done("exhausted"))


async def test_when_a_threads_time_runs_out_everything_below_it_ends() -> None:
    model = spender(seconds=500)

    async def boss(message: Task | BudgetExhausted, ctx: Context) -> Any:
        if isinstance(message, BudgetExhausted):
            return Reply(Done("over"))
        await ctx.spawn("worker", message, budget={"tokens": 1000})
        return Reply(await ctx.ask("worker", message, expect=Done))

    async def worker(task: Task, ctx: Context) -> Reply[Done]:
        await spend(ctx, 100)
        return Reply(Done("never"))

    handlers = {"boss": code(boss, peers=("worker",)), "worker": code(worker, budget={"tokens": 1000})}
    settings = models(model, timeout=1000)
    async with running(handlers=handlers, models=settings, budget={"seconds": 30, "warn_at": []}) as organism:
        result = await outcome(organism, "boss")
        assert organism.statistics().threads == organism.statistics().held == 0
    assert (result.outcome, result.unit, result.reply) == ("exhausted", "seconds", Done("over"))
    assert [(sub.outcome, sub.unit) for sub in result.threads] == [("exhausted", "seconds")] * 2
    # Both calls were out: each is charged its estimate.
    assert result.usage.tokens == 2 * INPUT
    assert result.usage.seconds == pytest.approx(30, abs=0.02)


async def test_a_warning_that_is_queued_when_time_runs_out_does_not_hold_up_the_end() -> None:
    got: list[str] = []

    async def worker(message: Task | BudgetWarning | BudgetExhausted, ctx: Context) -> Any:
        got.append(type(message).__name__)
        if isinstance(message, BudgetExhausted):
            return Reply(Done("handed in"))
        return await anyio.sleep(200)

    handlers = {"worker": code(worker, timeout=None)}
    async with running(handlers=handlers, budget={"seconds": 100}) as organism:
        result = await outcome(organism)
    assert got == ["Task", "BudgetExhausted"]
    assert (result.outcome, result.reply) == ("exhausted", Done("handed in"))
    assert levels(result, "seconds") == ["warning", "critical", "final"]


async def test_a_thread_without_handlers_makes_no_call_once_its_time_has_run_out() -> None:
    model = spender(seconds=8)
    async with running(models=models(model)) as organism:
        async with organism.thread(budget={"seconds": 10}) as thread:
            await thread.complete(PROMPT, max_output_tokens=10)
            # What is under way when the time ends is finished: the program that awaits it is not ours to cancel.
            await thread.complete(PROMPT, max_output_tokens=10)
            with pytest.raises(BudgetExhaustedError) as refused:
                await thread.complete(PROMPT, max_output_tokens=10)
            assert (refused.value.unit, refused.value.scope, refused.value.limit) == ("seconds", "thread", 10)
        result = await thread.handle.result()
    assert (result.outcome, result.unit, result.usage.model_calls) == ("exhausted", "seconds", 2)
    assert levels(result, "seconds") == ["warning", "critical", "final"]


@pytest.mark.by_turns
async def test_each_of_many_threads_hears_of_its_own_time_whatever_the_others_have() -> None:
    async def worker(message: Task, ctx: Context) -> Reply[Done]:
        await anyio.sleep(float(message.text))
        return Reply(Done(message.text))

    limits, sleeps = (10, 30, 10, 20, 10), (3, 1000, 8, 1000, 1000, 1000)
    async with running(handlers={"worker": code(worker, timeout=None)}) as organism:
        threads: list[Any] = []
        for number in range(120):
            budget = {"seconds": limits[number % len(limits)], "warn_at": {"seconds": [0.5, 0.9]}}
            threads.append(await organism.send("worker", Task(str(sleeps[number % len(sleeps)])), budget=budget))
            if number % 3:
                await anyio.sleep(0.7)
            if number % 7 == 0:
                threads[number // 2].pause()
                await anyio.sleep(2)
                threads[number // 2].resume()
        assert organism.statistics().timers <= len(threads)
        for number, thread in enumerate(threads):
            limit, sleep = limits[number % len(limits)], sleeps[number % len(sleeps)]
            result = await thread.result()
            ran = min(limit, sleep)
            used = result.usage.seconds
            assert ran - 2 - 0.01 <= used <= ran + 0.01
            assert result.outcome == ("exhausted" if used > limit - 0.01 else "completed")
            said = [warned.used for warned in result.warnings]
            assert said == [pytest.approx(limit * share, abs=0.01) for share in (0.5, 0.9) if limit * share <= used]
        assert organism.statistics().timers == 0


async def test_a_thread_hears_of_its_time_after_one_with_more_has_ended() -> None:
    async def worker(message: Task, ctx: Context) -> Reply[Done]:
        await anyio.sleep(float(message.text))
        return Reply(Done(message.text))

    async with running(handlers={"worker": code(worker, timeout=None)}) as organism:
        early = await organism.send("worker", Task("1"), budget={"seconds": 600})
        assert (await early.result()).outcome == "completed"
        assert organism.statistics().timers == 0
        began = anyio.current_time()
        late = await organism.send("worker", Task("100"), budget={"seconds": 10})
        assert (await late.result()).outcome == "exhausted"
        assert anyio.current_time() - began == pytest.approx(10, abs=0.01)
        assert organism.statistics().timers == 0
