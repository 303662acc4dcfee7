"""Asking for more: who decides, how much there may be, and what is told of it (R10, R15)."""

from __future__ import annotations

import json
import re
from decimal import Decimal, localcontext
from typing import TYPE_CHECKING, Any

import anyio
import pytest
from attrs import evolve

from organism import BudgetExhaustedError, ConfigurationError, Context, HandlerFailedError, Refused, Reply, Send
from organism.kernel.fold import Fold
from organism.kernel.grants import GRANTABLE
from organism.payloads import json_schema
from organism.primitives import (
    BudgetDecision,
    BudgetEstimate,
    BudgetGranted,
    BudgetQuery,
    BudgetRefused,
    BudgetReport,
    BudgetRequest,
    BudgetWarning,
)
from organism.record.facts import Granted, LimitsSet
from organism.replay.forking import fork
from organism.settings import Limits
from organism.testing import Says, ScriptedModel, Watched, running
from tests.hard.budget_world import (
    NO_GRACE,
    Done,
    Task,
    agent,
    code,
    levels,
    models,
    outcome,
    replies,
    said_to,
    spend,
    spender,
)

if TYPE_CHECKING:
    from organism.models.contract import Request


async def generous(asked: BudgetRequest, ctx: Context) -> Reply[BudgetDecision]:
    """Grants whatever is asked for."""
    return Reply(BudgetDecision(granted=True, unit=asked.unit, amount=asked.amount, reason="go on"))


async def strict(asked: BudgetRequest, ctx: Context) -> Reply[BudgetDecision]:
    """Grants nothing."""
    return Reply(BudgetDecision(granted=False, unit=asked.unit, amount=asked.amount, reason="not today"))


async def ask_for(ctx: Context, amount: int, unit: str = "tokens") -> BudgetGranted | BudgetRefused:
    """A request, and what came of it."""
    answer: BudgetGranted | BudgetRefused = await ctx.ask(
        "organism", BudgetRequest(unit=unit, amount=Decimal(amount), reason="there is more to do")
    )
    return answer


async def test_who_asks_and_is_granted_goes_on_beyond_the_limit() -> None:
    async def worker(task: Task, ctx: Context) -> Reply[Done]:
        await spend(ctx, 900)
        assert await ctx.request_budget("tokens", 500, "one more page")
        assert (ctx.budget.tokens.limit, ctx.budget.tokens.remaining) == (1500, 600)
        await spend(ctx, 600)
        return Reply(Done("all of it"))

    budget = {"tokens": 1000, "grace": NO_GRACE, "grants_by": "boss"}
    handlers = {"worker": code(worker), "boss": code(generous)}
    async with running(handlers=handlers, models=models(spender()), budget=budget) as organism:
        result = await outcome(organism)
        (granted,) = organism.watch.of(Granted)
    assert (result.outcome, result.usage.tokens, result.reply) == ("completed", 1500, Done("all of it"))
    assert (granted.unit, granted.amount, granted.by, granted.reason) == ("tokens", 500, "boss", "go on")
    # One message brought the task, one the question to the organism, one the question to who decides.
    assert result.usage.messages == 3


async def test_without_anybody_who_decides_nothing_is_granted() -> None:
    async def worker(task: Task, ctx: Context) -> Reply[Done]:
        assert not await ctx.request_budget("tokens", 500, "please")
        return Reply(Done((await ask_for(ctx, 5)).reason))

    async with running(handlers={"worker": code(worker)}, budget={"tokens": 1000}) as organism:
        result = await outcome(organism)
    assert result.reply == Done("nobody grants more here ('grants_by')")


def asking(*amounts: int, unit: str = "tokens") -> Any:
    """A handler that asks for these amounts, one after the other, and hands in what it was told."""

    async def worker(task: Task, ctx: Context) -> Reply[Done]:
        told = [await ask_for(ctx, amount, unit) for amount in amounts]
        return Reply(
            Done(
                " | ".join(
                    f"{type(each).__name__.removeprefix('Budget')} {each.amount}: {each.reason}" for each in told
                )
            )
        )

    return worker


async def said(budget: dict[str, Any], decider: Any, *amounts: int, unit: str = "tokens", **document: Any) -> str:
    """What a handler is told that asks for these amounts in a thread with this budget."""
    handlers = {"worker": code(asking(*amounts, unit=unit)), "boss": code(decider)}
    async with running(handlers=handlers, budget={"grants_by": "boss", **budget}, **document) as organism:
        result = await outcome(organism)
    assert result.outcome == "completed", result.error
    text: str = result.reply.text
    return text


async def test_who_decides_may_refuse_with_a_reason() -> None:
    assert await said({"tokens": 1000}, strict, 500) == "Refused 500: not today"


async def test_a_decider_may_grant_less_and_never_more() -> None:
    async def frugal(asked: BudgetRequest, ctx: Context) -> Reply[BudgetDecision]:
        return Reply(BudgetDecision(granted=True, unit=asked.unit, amount=Decimal(40), reason="a little"))

    assert await said({"tokens": 1000}, frugal, 500, 7) == (
        "Granted 40: a little; 40 of the 500 tokens that were asked for | Granted 7: a little"
    )


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (Refused("ask me tomorrow"), "ask me tomorrow"),
        (ValueError("oh"), "there is no decision: crashed: ValueError: oh"),
        (BudgetDecision(granted=True, unit="model_calls", amount=Decimal(1), reason=""),
         "the decision is about model_calls, and what was asked for is tokens"),
        (BudgetDecision(granted=True, unit="tokens", amount=Decimal("0.5"), reason="half"), "less than one was granted"),
        (BudgetDecision(granted=True, unit="tokens", amount=Decimal(-5), reason="less"), "less than one was granted"),
        (Task("what?"), "there is no decision: expected BudgetDecision, got Task"),
        (None, "there is no decision: no_reply: the callee finished without a reply"),
    ],
)  # fmt: skip
async def test_a_decider_that_does_not_decide_is_a_refusal(answer: Any, reason: str) -> None:
    async def odd(asked: BudgetRequest, ctx: Context) -> Any:
        if isinstance(answer, Exception):
            raise answer
        return None if answer is None else Reply(answer)

    assert await said({"tokens": 1000}, odd, 5) == f"Refused 5: {reason}"


async def test_what_a_thread_may_be_granted_in_all_is_bounded_for_all_below_it() -> None:
    async def worker(task: Task, ctx: Context) -> Reply[Done]:
        first, between, last = await ask_for(ctx, 200), await ctx.ask("helper", Task("go")), await ask_for(ctx, 200)
        return Reply(Done(f"{first.reason} | {between.text} | {last.reason}"))

    budget = {"tokens": 1000, "model_calls": 5, "grants_by": "boss", "grants_up_to": {"tokens": 300}}
    handlers = {
        "worker": code(worker, peers=("helper",)),
        "helper": code(asking(150, 1), budget={"tokens": 500}),
        "boss": code(generous),
    }
    async with running(handlers=handlers, budget=budget) as organism:
        result = await outcome(organism)
        granted = [(each.node.count("."), each.amount) for each in organism.watch.of(Granted)]
    spent = "0 more tokens may be granted to this thread ('grants_up_to')"
    less = "go on; 100 of the 150 tokens that were asked for; 100 more tokens may be granted to this thread ('grants_up_to')"
    assert result.reply == Done(f"go on | Granted 100: {less} | Refused 1: {spent} | {spent}")
    assert granted == [(0, 200), (1, 100)]


async def test_a_unit_that_is_not_named_in_grants_up_to_is_not_granted() -> None:
    budget = {"tokens": 1000, "model_calls": 5, "grants_up_to": {"tokens": 300}}
    told = await said(budget, generous, 1, unit="model_calls")
    assert told == "Refused 1: 0 more model_calls may be granted to this thread ('grants_up_to')"


@pytest.mark.parametrize(
    "above", [{"ceiling": {"tokens": 1300}}, {"conversation": {"tokens": 1300, "grace": NO_GRACE}}]
)
async def test_a_grant_goes_no_further_than_those_above_bear(above: dict[str, Any]) -> None:
    """1,300 above a limit of 1,000: 300 can be granted, and then nothing."""
    handlers = {"worker": code(asking(200, 200, 200)), "boss": code(generous)}
    budget = {"tokens": 1000, "grace": NO_GRACE, "grants_by": "boss"}
    async with running(handlers=handlers, budget=budget, **above) as organism:
        how: Any = {"conversation": "c"} if "conversation" in above else {}
        result = await outcome(organism, **how)
    scope = "conversation" if "conversation" in above else "organism"
    bears = f"the {scope} above has room for 1300 tokens in all"
    assert result.reply.text == (
        f"Granted 200: go on | Granted 100: go on; 100 of the 200 tokens that were asked for; {bears} | Refused 200: {bears}"
    )


async def test_what_others_hold_above_cannot_be_granted() -> None:
    """A root thread of 1,000 whose helpers hold 600: the sub-thread of 300 may come to 400 and not to 500."""

    async def worker(task: Task, ctx: Context) -> Reply[Done]:
        answers: list[Done] = []
        async with anyio.create_task_group() as group:
            group.start_soon(spend, ctx, 600)
            await anyio.sleep(1)
            answers.append(await ctx.ask("helper", Task("go"), expect=Done))
        return Reply(answers[0])

    budget = {"tokens": 1000, "grace": NO_GRACE, "grants_by": "boss"}
    handlers = {
        "worker": code(worker, peers=("helper",)),
        "helper": code(asking(200, 10), budget={"tokens": 300}),
        "boss": code(generous),
    }
    async with running(handlers=handlers, models=models(spender(seconds=10)), budget=budget) as organism:
        result = await outcome(organism)
    bears = "the thread above has room for 400 tokens in all"
    assert result.reply.text == (
        f"Granted 100: go on; 100 of the 200 tokens that were asked for; {bears} | Refused 10: {bears}"
    )


async def test_a_sub_thread_without_a_limit_of_that_unit_has_the_next_one_raised() -> None:
    budget = {"tokens": 1000, "grants_by": "boss"}
    handlers: dict[str, Any] = {"boss": code(generous)}

    async def worker(task: Task, ctx: Context) -> Reply[Done]:
        await ctx.ask("helper", Task("go"), expect=Done)
        return Reply(Done(f"{ctx.budget.tokens.limit}"))

    handlers["worker"] = code(worker, peers=("helper",))
    handlers["helper"] = code(asking(200), budget={"model_calls": 3})
    async with running(handlers=handlers, budget=budget) as organism:
        result = await outcome(organism)
    assert result.reply == Done("1200")


async def test_a_unit_without_a_limit_is_not_granted() -> None:
    told = await said({"tokens": None}, generous, 5)
    assert told == "Refused 5: this thread has no limit of tokens that could be raised"


async def test_who_decides_does_not_decide_for_itself() -> None:
    """Neither when it asks, nor when it waits for whoever asks."""

    async def boss(message: Task | BudgetRequest, ctx: Context) -> Any:
        if isinstance(message, BudgetRequest):
            return Reply(BudgetDecision(granted=True, unit=message.unit, amount=message.amount, reason="mine"))
        own = await ask_for(ctx, 5)
        assert not await ctx.request_budget("tokens", 5, "for me")
        told = await ctx.ask("worker", Task("go"), expect=Done)
        return Reply(Done(f"{own.reason} | {told.text}"))

    handlers = {"worker": code(asking(5)), "boss": code(boss, peers=("worker",))}
    async with running(handlers=handlers, budget={"tokens": 1000, "grants_by": "boss"}) as organism:
        result = await outcome(organism, to="boss")
        assert not organism.watch.of(Granted)
    assert result.reply == Done(
        "'boss' decides on requests itself, and cannot ask for its own decision"
        " | Refused 5: whoever decides waits for this very request"
    )


async def test_who_decides_may_be_whoever_sent_the_work() -> None:
    """It waits for no answer, so it can be asked in between."""

    async def boss(message: Task | Done | BudgetRequest, ctx: Context) -> Any:
        if isinstance(message, BudgetRequest):
            return Reply(BudgetDecision(granted=True, unit=message.unit, amount=message.amount, reason="mine"))
        return Reply(message) if isinstance(message, Done) else Send("worker", Task("go"))

    handlers = {"worker": code(asking(5)), "boss": code(boss, peers=("worker",))}
    async with running(handlers=handlers, budget={"tokens": 1000, "grants_by": "boss"}) as organism:
        result = await outcome(organism, to="boss")
    assert result.reply == Done("Granted 5: mine")


async def test_two_requests_at_once_are_decided_one_after_the_other() -> None:
    """Both ask for all that there is: who comes second is refused, and the sum is not passed."""

    async def worker(task: Task, ctx: Context) -> Reply[Done]:
        told = await ctx.ask_all(
            [("organism", BudgetRequest(unit="tokens", amount=Decimal(300), reason=text)) for text in ("a", "b")]
        )
        return Reply(Done(" ".join(sorted(type(each).__name__ for each in told))))

    async def slow(asked: BudgetRequest, ctx: Context) -> Reply[BudgetDecision]:
        await anyio.sleep(5)
        return await generous(asked, ctx)

    handlers = {"worker": code(worker), "boss": code(slow)}
    budget = {"tokens": 1000, "grants_by": "boss", "grants_up_to": {"tokens": 300}}
    async with running(handlers=handlers, budget=budget) as organism:
        result = await outcome(organism)
    assert result.reply == Done("BudgetGranted BudgetRefused")


async def test_money_and_calls_and_messages_and_seconds_can_be_granted() -> None:
    async def worker(task: Task, ctx: Context) -> Reply[Done]:
        for unit, amount in (("cost_usd", "0.25"), ("model_calls", 2), ("messages", 10), ("seconds", 30)):
            assert await ctx.request_budget(unit, amount, "more"), unit
        await anyio.sleep(15)
        views = (ctx.budget.cost_usd, ctx.budget.model_calls, ctx.budget.messages, ctx.budget.seconds)
        return Reply(Done(" ".join(str(view.limit) for view in views)))

    budget = {"cost_usd": "0.50", "model_calls": 3, "messages": 20, "seconds": 10, "grants_by": "boss"}
    handlers = {"worker": code(worker), "boss": code(generous)}
    async with running(handlers=handlers, budget=budget) as organism:
        result = await outcome(organism)
    assert (result.outcome, result.reply) == ("completed", Done("0.75 5 30 40.0"))


async def test_seconds_are_granted_within_those_above() -> None:
    async def worker(task: Task, ctx: Context) -> Reply[Done]:
        await anyio.sleep(4)
        return Reply(await ctx.ask("helper", Task("go"), expect=Done))

    handlers = {
        "worker": code(worker, peers=("helper",)),
        "helper": code(asking(5, unit="seconds"), budget={"seconds": 3}),
        "boss": code(generous),
    }
    async with running(handlers=handlers, budget={"seconds": 10, "grants_by": "boss"}) as organism:
        result = await outcome(organism)
    assert result.reply.text.startswith("Granted 3: go on; 3 of the 5 seconds")
    assert result.reply.text.endswith("the thread above has room for 6 seconds in all")


async def test_a_grant_arms_levels_again_and_lets_waiting_calls_go() -> None:
    finished: list[float] = []

    async def worker(task: Task, ctx: Context) -> Reply[Done]:
        began = anyio.current_time()

        async def call(tokens: int) -> None:
            await spend(ctx, tokens)
            finished.append(anyio.current_time() - began)

        async with anyio.create_task_group() as group:
            group.start_soon(call, 900)
            await anyio.sleep(1)
            group.start_soon(call, 100)
            group.start_soon(call, 50)
            await anyio.sleep(1)
            assert await ctx.request_budget("tokens", 1000, "both at once")
        await spend(ctx, 700)
        return Reply(Done("done"))

    budget = {"tokens": 1000, "grace": NO_GRACE, "grants_by": "boss", "runway": 0}
    handlers = {"worker": code(worker), "boss": code(generous)}
    async with running(handlers=handlers, models=models(spender(seconds=10)), budget=budget) as organism:
        result = await outcome(organism)
    assert finished == [10, 11, 12]
    assert levels(result) == ["warning"]
    assert result.outcome == "completed"


async def test_a_warning_comes_again_after_a_grant() -> None:
    async def worker(task: Task, ctx: Context) -> Reply[Done]:
        await spend(ctx, 900)
        assert await ctx.request_budget("tokens", 1000, "there is more")
        await spend(ctx, 700)
        return Reply(Done("done"))

    budget = {"tokens": 1000, "grace": NO_GRACE, "grants_by": "boss", "runway": 0}
    handlers = {"worker": code(worker), "boss": code(generous)}
    async with running(handlers=handlers, models=models(spender()), budget=budget) as organism:
        result = await outcome(organism)
    assert [(each.level, each.used, each.limit) for each in result.warnings] == [
        ("warning", 900, 1000),
        ("critical", 900, 1000),
        ("warning", 1600, 2000),
    ]


async def test_a_question_costs_a_message_and_is_refused_without_one() -> None:
    async def worker(task: Task, ctx: Context) -> Reply[Done]:
        before = int(ctx.budget.messages.used)
        report = await ctx.ask("organism", BudgetQuery(), expect=BudgetReport)
        assert int(ctx.budget.messages.used) == before + 1
        assert report.remaining["messages"] == 1
        refused = await ask_for(ctx, 5)
        with pytest.raises(BudgetExhaustedError):
            await ctx.ask("organism", BudgetQuery())
        with pytest.raises((BudgetExhaustedError, HandlerFailedError)):
            await ctx.request_budget("tokens", 5, "now that nothing is left")
        return Reply(Done(refused.reason))

    handlers = {"worker": code(worker), "boss": code(generous)}
    async with running(handlers=handlers, budget={"messages": 3, "tokens": 10, "grants_by": "boss"}) as organism:
        result = await outcome(organism)
        assert not organism.watch.of(Granted)
    assert result.reply == Done("no message is left to ask the handler that decides")
    assert (result.outcome, result.unit, result.usage.messages) == ("exhausted", "messages", 3)


async def test_a_report_has_the_least_of_what_is_left_on_the_way_up() -> None:
    reports: list[BudgetReport] = []

    async def helper(task: Task, ctx: Context) -> Reply[Done]:
        await anyio.sleep(2)
        reports.append(await ctx.ask("organism", BudgetQuery(), expect=BudgetReport))
        return Reply(Done("seen"))

    async def worker(task: Task, ctx: Context) -> Reply[Done]:
        await spend(ctx, 300)
        return Reply(await ctx.ask("helper", task, expect=Done))

    handlers = {"worker": code(worker, peers=("helper",)), "helper": code(helper, budget={"tokens": 800, "seconds": 9})}
    budget = {"tokens": 1000, "messages": 10, "grace": NO_GRACE, "depth": 6, "seconds": 60}
    ceiling = {"cost_usd": "1"}
    price = {"input": "0", "output": "0"}
    async with running(
        handlers=handlers, models=models(spender(), price=price), budget=budget, ceiling=ceiling
    ) as organism:
        await outcome(organism)
    (report,) = reports
    assert report.remaining == {
        "tokens": 700, "cost_usd": 1, "messages": 7, "seconds": 7, "depth": 4,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("unit", "amount", "problem"),
    [
        ("tokns", 5, "there is no unit 'tokns'; did you mean 'tokens'?; there are: tokens, "),
        ("depth", 5, "there is no unit 'depth'"),
        ("tokens", 0, "0 tokens cannot be asked for"),
        ("tokens", -3, "-3 tokens cannot be asked for"),
        ("tokens", "many", "'many' is not an amount"),
        ("tokens", float("nan"), "NaN tokens cannot be asked for"),
        ("cost_usd", 1e120, "1E+120 cost_usd cannot be asked for: an amount must be 10^12 at most"),
    ],
)
async def test_what_cannot_be_asked_for_is_said(unit: str, amount: Any, problem: str) -> None:
    async def worker(task: Task, ctx: Context) -> Reply[Done]:
        with pytest.raises(ConfigurationError) as raised:
            await ctx.request_budget(unit, amount, "more")
        return Reply(Done(str(raised.value)))

    async with running(handlers={"worker": code(worker)}) as organism:
        result = await outcome(organism)
    assert problem in result.reply.text
    assert result.usage.messages == 1


def test_models_are_told_all_units_that_can_be_asked_for() -> None:
    for asked in (BudgetRequest, BudgetEstimate):
        said = json_schema(asked)["properties"]["unit"]["description"]
        assert re.findall(r"\w+(?=[,.]| or)|(?<=or )\w+", said) == list(GRANTABLE)


async def test_a_request_for_nonsense_is_refused_with_what_there_is() -> None:
    assert (await said({"tokens": 5}, generous, 5, unit="tokns")).startswith("Refused 5: there is no unit 'tokns'")
    assert (await said({"tokens": 5}, generous, 0)).startswith("Refused 0: 0 tokens cannot be asked for")


@pytest.mark.parametrize("unit", ["tokens", "cost_usd", "seconds", "messages"])
async def test_a_request_beyond_all_figures_is_refused_in_words(unit: str) -> None:
    budget = {"tokens": 5, "cost_usd": 1, "seconds": 60, "messages": 50, "grants_by": "boss"}

    async def worker(task: Task, ctx: Context) -> Reply[Done]:
        answers = [await ask_for(ctx, amount, unit) for amount in (10**120, int("9" * 200), 10**12)]
        return Reply(Done(" | ".join(f"{type(each).__name__}: {each.reason}" for each in answers)))

    async with running(handlers={"worker": code(worker), "boss": code(generous)}, budget=budget) as organism:
        result = await outcome(organism)
    first, second, last = result.reply.text.split(" | ")
    assert first == f"BudgetRefused: 1{'0' * 79}… {unit} cannot be asked for: an amount must be 10^12 at most"
    assert second.startswith(f"BudgetRefused: {'9' * 80}… {unit} cannot be asked for")
    assert last == "BudgetGranted: go on"


@pytest.mark.parametrize("above", [{"grants_up_to": {"tokens": 1260}}, {}])
async def test_no_grant_grows_by_how_exactly_a_program_computes(above: dict[str, Any]) -> None:
    async def worker(task: Task, ctx: Context) -> Reply[Done]:
        await ask_for(ctx, 1000)
        await ask_for(ctx, 5000)
        return Reply(Done(str(ctx.budget.tokens.limit)))

    budget = {"tokens": 1000, "grace": NO_GRACE, "grants_by": "boss", **above}
    with localcontext() as digits:
        digits.prec = 1
        handlers = {"worker": code(worker), "boss": code(generous)}
        async with running(handlers=handlers, budget=budget, ceiling={"tokens": 2260}) as organism:
            result = await outcome(organism)
    assert result.reply.text == "2260"


@pytest.mark.parametrize("forged", [BudgetGranted("tokens", Decimal(5), "x"), BudgetReport({}), Task("hello")])
async def test_nobody_but_the_organism_grants(forged: Any) -> None:
    async def worker(task: Task, ctx: Context) -> Reply[Done]:
        with pytest.raises(HandlerFailedError) as failed:
            await ctx.ask("organism", forged)
        return Reply(Done(f"{failed.value.code}: {failed.value.text}"))

    async with running(handlers={"worker": code(worker)}) as organism:
        result = await outcome(organism)
    assert result.reply.text.startswith("validation: ")


async def test_nobody_outside_addresses_the_organism() -> None:
    async with running(handlers={"worker": code(generous)}) as organism:
        with pytest.raises(Exception, match="'organism' is not a handler"):
            await organism.send("organism", BudgetQuery())


async def test_a_thread_that_was_cancelled_while_it_was_decided_is_granted_nothing() -> None:
    async def slow(asked: BudgetRequest, ctx: Context) -> Reply[BudgetDecision]:
        await anyio.sleep(5)
        return await generous(asked, ctx)

    handlers = {"worker": code(asking(5)), "boss": code(slow)}
    async with running(handlers=handlers, budget={"tokens": 1000, "grants_by": "boss"}) as organism:
        handle = await organism.send("worker", Task("go"))
        await anyio.sleep(1)
        handle.cancel()
        assert (await handle.result()).outcome == "cancelled"
        assert not organism.watch.of(Granted)


async def test_what_stood_above_may_have_changed_until_there_is_a_decision() -> None:
    """Asked while 500 were free above, decided when 100 were left."""

    async def slow(asked: BudgetRequest, ctx: Context) -> Reply[BudgetDecision]:
        await anyio.sleep(5)
        return await generous(asked, ctx)

    async def other(task: Task, ctx: Context) -> None:
        await spend(ctx, 400)

    handlers = {"worker": code(asking(300)), "boss": code(slow), "other": code(other)}
    budget = {"tokens": 500, "grace": NO_GRACE, "grants_by": "boss"}
    async with running(
        handlers=handlers, models=models(spender()), budget=budget, ceiling={"tokens": 1000}
    ) as organism:
        handle = await organism.send("worker", Task("go"))
        await anyio.sleep(1)
        await outcome(organism, to="other")
        result = await handle.result()
    assert result.reply.text.startswith("Granted 100: go on; 100 of the 300")


async def test_a_decider_may_be_named_for_one_thread() -> None:
    handlers = {"worker": code(asking(5)), "boss": code(generous)}
    async with running(handlers=handlers, budget={"tokens": 100}) as organism:
        result = await outcome(organism, budget={"grants_by": "boss", "grants_up_to": {"tokens": 3}})
        assert result.reply.text.startswith("Granted 3: ")
        with pytest.raises(ConfigurationError, match="'bos' is not a handler; did you mean 'boss'"):
            await organism.send("worker", Task("go"), budget={"grants_by": "bos"})


async def test_a_handler_of_its_own_budget_may_have_nobody_who_decides() -> None:
    async def worker(task: Task, ctx: Context) -> Reply[Done]:
        return Reply(await ctx.ask("helper", task, expect=Done))

    handlers = {
        "worker": code(worker, peers=("helper",)),
        "helper": code(asking(5), budget={"tokens": 10, "grants_by": None}),
        "boss": code(generous),
    }
    async with running(handlers=handlers, budget={"tokens": 100, "grants_by": "boss"}) as organism:
        result = await outcome(organism)
    assert result.reply == Done("Refused 5: nobody grants more here ('grants_by')")


# Agents


def tools_of(request: Request) -> list[str]:
    """The names of the tools that a model was offered."""
    return [tool.name for tool in request.tools]


def wants(amount: int, unit: str = "tokens") -> Says:
    """A turn that asks for more."""
    asked = BudgetRequest(unit=unit, amount=Decimal(amount), reason="two more pages")
    return Says(calls=(("organism_BudgetRequest", asked),), usage=(100, 100))


async def test_an_agent_asks_reads_the_answer_and_goes_on() -> None:
    long = Says(text="thinking", calls=(("nothing", {}),), usage=(100, 3500))
    model = ScriptedModel([wants(3000), long, replies("all three pages")])
    budget = {"tokens": 4000, "grace": NO_GRACE, "grants_by": "boss", "runway": 0}
    handlers = {"worker": agent(max_output_tokens=3500), "boss": code(generous)}
    async with running(handlers=handlers, models=models(model), budget=budget) as organism:
        result = await outcome(organism)
    assert (result.outcome, result.reply) == ("completed", Done("all three pages"))
    assert '"BudgetGranted": {"unit": "tokens", "amount": "3000", "reason": "go on"}' in said_to(model.requests[1])[-1]
    assert result.usage.messages == 3


async def test_an_agent_decides_on_what_another_asks_for() -> None:
    def script(request: Request) -> Says:
        if "reply" in tools_of(request) and "BudgetRequest" in said_to(request)[1]:
            assert "two more pages" in said_to(request)[1]
            return Says(
                calls=(("reply", BudgetDecision(granted=True, unit="tokens", amount=Decimal(9), reason="fine")),)
            )
        return wants(20) if len(request.messages) == 2 else replies(said_to(request)[-1])

    handlers = {
        "worker": agent(),
        "boss": agent(accepts=BudgetRequest, replies=BudgetDecision),
    }
    model = ScriptedModel(script)
    async with running(
        handlers=handlers, models=models(model), budget={"tokens": 90_000, "grants_by": "boss"}
    ) as organism:
        result = await outcome(organism)
    assert '"amount": "9"' in result.reply.text
    assert "9 of the 20 tokens that were asked for" in result.reply.text


@pytest.mark.parametrize(
    ("peers", "budget", "offered"),
    [
        ((), {}, ["reply"]),
        ((), {"grants_by": "boss"}, ["organism_BudgetRequest", "reply"]),
        (("organism",), {}, ["organism_BudgetQuery", "organism_BudgetEstimate", "reply"]),
        (("organism",), {"grants_by": "worker"}, ["organism_BudgetQuery", "organism_BudgetEstimate", "reply"]),
    ],
)
async def test_an_agent_is_offered_what_can_come_of_something(
    peers: tuple[str, ...], budget: dict[str, Any], offered: list[str]
) -> None:
    model = ScriptedModel([replies()])
    worker = agent(peers=peers, accepts=[Task, BudgetRequest], replies=[Done, BudgetDecision])
    handlers = {"worker": worker, "boss": code(generous)}
    async with running(handlers=handlers, models=models(model), budget={"tokens": 9000, **budget}) as organism:
        handle = await organism.send("worker", Task("go"))
        await handle.result()
    assert [
        name.replace("reply_Done", "reply") for name in tools_of(model.requests[0]) if "Decision" not in name
    ] == offered


async def test_an_agent_that_forges_a_grant_is_told_so() -> None:
    forged = Says(calls=(("organism_BudgetGranted", BudgetGranted("tokens", Decimal(5), "mine")),))
    model = ScriptedModel([forged, replies("so be it")])
    handlers = {"worker": agent(peers=("organism",)), "boss": code(generous)}
    async with running(
        handlers=handlers, models=models(model), budget={"tokens": 9000, "grants_by": "boss"}
    ) as organism:
        result = await outcome(organism)
        assert not organism.watch.of(Granted)
    assert "there is no tool 'organism_BudgetGranted' now" in said_to(model.requests[1])[-1]
    assert result.reply == Done("so be it")


async def test_an_agent_asks_what_is_left() -> None:
    model = ScriptedModel([Says(calls=(("organism_BudgetQuery", {}),), usage=(100, 100)), replies("seen")])
    async with running(
        handlers={"worker": agent(peers=("organism",))}, models=models(model), budget={"tokens": 9000}
    ) as organism:
        result = await outcome(organism)
    remaining = json.loads(said_to(model.requests[1])[-1])["BudgetReport"]["remaining"]
    assert (remaining["tokens"], list(remaining)) == ("7900", sorted(remaining))
    assert result.reply == Done("seen")


# Limits that are changed from outside, of sub-threads (hard case 18)


async def test_the_limits_of_a_sub_thread_are_raised_and_cut_while_it_runs() -> None:
    async def worker(task: Task, ctx: Context) -> Reply[Done]:
        raised = await ctx.spawn("helper", task, budget={"tokens": 400})
        cut = await ctx.spawn("helper", task, budget={"tokens": 4000})
        await anyio.sleep(15)
        raised.add_budget(tokens=400)
        cut.set_budget(tokens=100)
        said = [(await each.result()).reply.text for each in (raised, cut)]
        return Reply(Done(" | ".join(said)))

    async def helper(task: Task, ctx: Context) -> Reply[Done]:
        done = 0
        try:
            while True:
                await spend(ctx, 400)
                done += 1
                await anyio.sleep(10)
        except BudgetExhaustedError as error:
            return Reply(Done(f"{done}, then {error.unit} of the {error.scope}"))

    handlers = {"worker": code(worker, peers=("helper",)), "helper": code(helper, timeout=None)}
    budget = {"tokens": 10_000, "grace": NO_GRACE}
    async with running(handlers=handlers, models=models(spender(seconds=10)), budget=budget) as organism:
        result = await outcome(organism)
    # Who was raised makes one more call; the other one had made one, and the next is refused.
    assert result.reply == Done("2, then tokens of the sub-thread | 1, then tokens of the sub-thread")


async def test_seconds_and_depth_are_seen_live() -> None:
    seen: list[str] = []

    async def worker(task: Task, ctx: Context) -> Reply[Done]:
        await anyio.sleep(8)
        view = ctx.budget
        seen.append(f"{view.seconds.used:g} {view.seconds.remaining:g} {view.seconds.crossed} {view.seconds.held}")
        seen.append(f"{view.depth.used} {view.depth.limit} {view.depth.remaining} {view.depth.crossed}")
        return Reply(await ctx.ask("helper", task, expect=Done))

    async def helper(task: Task, ctx: Context) -> Reply[Done]:
        await anyio.sleep(1)
        view = ctx.budget
        seen.append(f"{view.seconds.used:g} {view.seconds.limit} {view.seconds.remaining}")
        seen.append(f"{view.depth.used} {view.depth.limit} {view.depth.remaining}")
        return Reply(Done("seen"))

    handlers = {"worker": code(worker, peers=("helper",)), "helper": code(helper, budget={"depth": 9})}
    async with running(handlers=handlers, budget={"seconds": 10, "depth": 4}) as organism:
        await outcome(organism)
        async with organism.thread(budget={"seconds": 3}) as bare:
            await anyio.sleep(1)
            assert (bare.budget.seconds.remaining, bare.budget.depth.used) == (2, 0)
    assert seen == ["8 2 ('warning',) 0", "1 4 3 ()", "1 None None", "2 4 2"]


async def test_seconds_stand_still_while_a_thread_is_paused() -> None:
    seen: list[float] = []

    async def worker(task: Task, ctx: Context) -> Reply[Done]:
        await anyio.sleep(2)
        seen.append(ctx.budget.seconds.used)
        await anyio.sleep(3)
        seen.append(ctx.budget.seconds.used)
        return Reply(Done("done"))

    async with running(handlers={"worker": code(worker)}, budget={"seconds": 10}) as organism:
        handle = await organism.send("worker", Task("go"))
        await anyio.sleep(1)
        handle.pause()
        await anyio.sleep(3)
        handle.resume()
        await handle.result()
    assert seen == [1, 2]


async def test_an_agent_may_write_amounts_as_numbers() -> None:
    asked = Says(calls=(("organism_BudgetRequest", '{"unit": "cost_usd", "amount": 0.1, "reason": "more"}'),))
    model = ScriptedModel([asked, replies("seen")])
    budget = {"cost_usd": "0.30", "grants_by": "boss"}
    handlers = {"worker": agent(), "boss": code(generous)}
    async with running(handlers=handlers, models=models(model), budget=budget) as organism:
        await outcome(organism)
        (granted,) = organism.watch.of(Granted)
    assert (granted.amount, granted.budget.limits.cost_usd) == (Decimal("0.1"), Decimal("0.40"))
    (tool,) = [tool for tool in model.requests[0].tools if tool.name == "organism_BudgetRequest"]
    assert tool.parameters["properties"]["amount"] == {"type": "number", "description": "How much more."}


async def test_the_simulated_model_does_not_ask_at_random() -> None:
    handlers = {"worker": agent(peers=("organism",)), "boss": code(generous)}
    async with running(handlers=handlers, budget={"tokens": 20_000, "grants_by": "boss"}) as organism:
        result = await outcome(organism)
    assert (result.outcome, result.usage.messages, result.estimates) == ("completed", 1, ())


async def test_who_asks_is_told_what_the_question_to_who_decides_crosses() -> None:
    """The third of four messages brings the organism's question to the boss; the level is the worker's to hear of."""

    async def worker(message: Task | BudgetWarning, ctx: Context) -> Any:
        if isinstance(message, BudgetWarning):
            return Reply(Done(f"{message.level} of {message.unit}"))
        assert await ctx.request_budget("tokens", 5, "more")
        return None

    budget = {"messages": 4, "warn_at": {"messages": [0.75], "tokens": []}, "tokens": 100, "grants_by": "boss"}
    handlers = {"worker": code(worker), "boss": code(generous)}
    async with running(handlers=handlers, budget=budget) as organism:
        result = await outcome(organism)
    assert [(warned.unit, warned.used, warned.to) for warned in result.warnings] == [("messages", 3, "worker")]
    assert result.reply == Done("final of messages")


async def test_a_person_decides_and_waiting_for_them_takes_no_time() -> None:
    handlers = {
        "worker": code(asking(500)),
        "boss": {"human": {"accepts": BudgetRequest, "replies": BudgetDecision}, "description": "Decides."},
    }
    budget = {"tokens": 1000, "seconds": 60, "grants_by": "boss"}
    async with running(handlers=handlers, budget=budget) as organism:
        handle = await organism.send("worker", Task("go"))
        assert (await handle.result()).outcome == "paused"
        await anyio.sleep(10_000)
        (question,) = organism.inbox()
        assert question.payload == BudgetRequest(unit="tokens", amount=Decimal(500), reason="there is more to do")
        decision = BudgetDecision(granted=True, unit="tokens", amount=Decimal(300), reason="see me afterwards")
        await organism.answer(question.id, decision)
        await handle.goes_on()
        result = await handle.result()
    assert result.reply == Done("Granted 300: see me afterwards; 300 of the 500 tokens that were asked for")
    assert (result.outcome, round(result.usage.seconds)) == ("completed", 0)


async def test_a_person_who_decides_must_be_able_to() -> None:
    boss = {"human": {"accepts": BudgetRequest, "replies": Done}, "description": "Decides."}
    with pytest.raises(ConfigurationError, match="'boss' replies Done, and no BudgetDecision"):
        Watched(name="test", handlers={"worker": code(asking(5)), "boss": boss}, budget={"grants_by": "boss"})


async def test_a_fork_goes_on_with_what_was_granted() -> None:
    async def worker(task: Task, ctx: Context) -> Reply[Done]:
        assert await ctx.request_budget("tokens", 500, "more")
        await anyio.sleep(5)
        return Reply(Done("done"))

    handlers = {"worker": code(worker), "boss": code(generous)}
    async with running(handlers=handlers, budget={"tokens": 1000, "grants_by": "boss"}) as organism:
        handle = await organism.send("worker", Task("go"), id="t")
        await anyio.sleep(1)
        copy = fork(organism.watch.facts, "u")
        await handle.result()
    folding = Fold(organism.settings)
    for fact in copy:
        folding.apply(fact)
    thread = folding.state.threads["u"]
    assert (thread.budget.limits.tokens, thread.node.caps.limit[0]) == (1500, 1500)
    assert thread.have_outlay().granted == {"tokens": Decimal(500)}
    lowered = fork(organism.watch.facts[:-2], "v", budget=lambda limits: evolve(limits, limits=Limits(tokens=5)))
    assert isinstance(lowered[-1], LimitsSet)


async def test_while_one_request_is_decided_others_are_answered() -> None:
    """Who decides may take long, a person days; nobody else who asks the organism something has to wait for that."""
    seen: list[str] = []

    async def worker(task: Task, ctx: Context) -> Reply[Done]:
        began = anyio.current_time()

        async def more(amount: int) -> None:
            told = await ask_for(ctx, amount)
            seen.append(f"{type(told).__name__} {told.amount} at {anyio.current_time() - began:g}")

        async with anyio.create_task_group() as group:
            group.start_soon(more, 10)
            await anyio.sleep(1)
            group.start_soon(more, 5)
            report = await ctx.ask("organism", BudgetQuery(), expect=BudgetReport)
            seen.append(f"{report.remaining['model_calls']} left at {anyio.current_time() - began:g}")
        return Reply(Done("done"))

    async def slow(asked: BudgetRequest, ctx: Context) -> Reply[BudgetDecision]:
        report = await ctx.ask("organism", BudgetQuery(), expect=BudgetReport)
        assert report.remaining["model_calls"] == 8
        await anyio.sleep(float(asked.amount))
        return await generous(asked, ctx)

    handlers = {"worker": code(worker), "boss": code(slow)}
    budget = {"tokens": 1000, "model_calls": 9, "grants_by": "boss"}
    async with running(handlers=handlers, budget=budget) as organism:
        assert (await outcome(organism)).outcome == "completed"
    # Two requests of one thread are still decided in turn, by a handler that does one thing after the other there.
    assert seen == ["8 left at 1", "BudgetGranted 10 at 10", "BudgetGranted 5 at 15"]


async def test_a_thread_is_cancelled_while_several_requests_are_decided() -> None:
    async def worker(task: Task, ctx: Context) -> None:
        async with anyio.create_task_group() as group:
            for amount in (1, 2, 3):
                group.start_soon(ask_for, ctx, amount)

    async def slow(asked: BudgetRequest, ctx: Context) -> Reply[BudgetDecision]:
        await anyio.sleep(50)
        return await generous(asked, ctx)

    handlers = {"worker": code(worker), "boss": code(slow)}
    async with running(handlers=handlers, budget={"tokens": 1000, "grants_by": "boss"}) as organism:
        handle = await organism.send("worker", Task("go"))
        await anyio.sleep(1)
        handle.cancel()
        result = await handle.result()
        assert (result.outcome, round(result.usage.seconds)) == ("cancelled", 1)
        assert organism.statistics().running == 0


@pytest.mark.parametrize("unit", ["tokens", "model_calls"])
async def test_one_is_something_to_grant(unit: str) -> None:
    budget = {"tokens": 1000, "model_calls": 5, "grants_up_to": {"tokens": 1, "model_calls": 1}}
    less = f"1 of the 3 {unit} that were asked for; 1 more {unit} may be granted to this thread ('grants_up_to')"
    assert await said(budget, generous, 3, unit=unit) == f"Granted 1: go on; {less}"
