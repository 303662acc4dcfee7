"""What is said of limits: whose it is, with which figures, also where calls are granted together or seconds are parts of one."""

from __future__ import annotations

import logging
from contextlib import suppress
from typing import Any

import anyio
import pytest

from organism import BudgetExhaustedError, Context, HandlerFailedError, Reply, Send
from organism.errors import out_of_seconds
from organism.primitives import BudgetExhausted
from organism.record.facts import CallHeld
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
    models,
    outcome,
    spend,
    spender,
)


async def test_calls_that_are_granted_together_each_say_what_was_left_before_them() -> None:
    """All three wait for one, and go in one instant; the second finds less than the first, and the third less than that."""

    async def root(task: Task, ctx: Context) -> Reply[Done]:
        async with anyio.create_task_group() as calls:
            for tokens in (900, 201, 202, 203):
                calls.start_soon(spend, ctx, tokens)
                await anyio.sleep(1)
        return Reply(Done("done"))

    model = ScriptedModel(lambda _: Says(text="ok", usage=(INPUT, 1), seconds=5))
    limits: dict[str, Any] = {"tokens": 1000, "warn_at": [], "runway": 0, "grace": NO_GRACE}
    async with running(handlers={"root": code(root)}, models=models(model), budget=limits) as organism:
        await outcome(organism, "root")
    held = organism.watch.of(CallHeld)
    assert [each.need[0] for each in held] == [900, 201, 202, 203]
    assert len({each.at for each in held[1:]}) == 1
    free = 1000 - INPUT - 1
    assert [each.nearest and each.nearest.remaining for each in held[1:]] == [free, free - 201, free - 201 - 202]


@pytest.mark.parametrize("waits", [True, False], ids=["queued", "cut"])
async def test_a_turn_without_the_time_of_its_conversation_says_whose_it_was(waits: bool) -> None:
    heard: list[BudgetExhausted] = []

    async def slow(task: Task | BudgetExhausted, ctx: Context) -> Reply[Done]:
        if isinstance(task, BudgetExhausted):
            heard.append(task)
            return Reply(Done("over"))
        await anyio.sleep(float(task.text))
        return Reply(Done("done"))

    async with running(handlers={"slow": code(slow, timeout=None)}, conversation={"seconds": 10}) as organism:
        first = await organism.send("slow", Task("20" if waits else "6"), conversation="c")
        if not waits:
            assert (await first.result()).outcome == "completed"
        second = await (await organism.send("slow", Task("20"), conversation="c")).result()
    assert (second.outcome, second.unit, second.scope) == ("exhausted", "seconds", "conversation")
    assert second.error == "seconds of the conversation: limit 10"
    assert {(each.scope, int(each.limit)) for each in heard} == {("conversation", 10)}


async def test_a_turn_whose_own_seconds_run_out_says_so() -> None:
    async def slow(task: Task, ctx: Context) -> None:
        await anyio.sleep(20)

    async with running(
        handlers={"slow": code(slow, timeout=None)}, conversation={"seconds": 10}, budget={"seconds": 2}
    ) as organism:
        result = await outcome(organism, "slow", conversation="c")
    assert (result.scope, result.error) == ("thread", "seconds of the thread: limit 2")


async def test_a_part_of_a_second_is_told_as_one() -> None:
    async with running(models=models(spender(seconds=1))) as organism:
        async with organism.thread(budget={"seconds": 0.5}) as thread:
            await thread.complete(PROMPT, max_output_tokens=10)
            with pytest.raises(BudgetExhaustedError, match=r"seconds of the thread: 0\.5 used, 0 held, limit 0\.5,"):
                await thread.complete(PROMPT, max_output_tokens=10)
    whole = out_of_seconds("organism", 60.00049, 60)
    assert (whole.used, whole.limit) == (60, 60)
    assert str(whole) == "seconds of the organism: 60 used, 0 held, limit 60, needed 1"


@pytest.mark.parametrize("ends", ["asked", "sent"])
async def test_what_agents_of_sub_threads_wrote_is_not_lost_where_an_account_refuses_the_last_answer(ends: str) -> None:
    """An account keeps nothing back, so that no grace call fits; the desk itself has written no word."""

    async def desk(task: Task, ctx: Context) -> Reply[Done] | list[Send[Task]]:
        if ends == "sent":
            return [Send("reader", task)]
        with suppress(HandlerFailedError):
            await ctx.ask("reader", task)
        await spend(ctx, 600)
        return Reply(Done("done"))

    finding = Says(text="The cat sat on the mat.", calls=asks("peer").calls, usage=(300, 100))
    model = ScriptedModel([finding, Says(text="", calls=asks("peer").calls, usage=(300, 100))])
    handlers: dict[str, Any] = {
        "desk": code(desk, peers=("reader",)),
        "reader": agent(peers=("peer",), budget={"tokens": 5000}, max_output_tokens=100),
        "peer": code(_peer),
    }
    keys: dict[str, Any] = {"accounts": {"tenant": {"tokens": 1000}}}
    async with running(handlers=handlers, models=models(model, retries=0), **keys) as organism:
        result = await outcome(organism, "desk", accounts={"tenant": "acme"})
    assert (result.outcome, result.scope, result.account) == ("exhausted", "account", "tenant:acme"), result
    assert result.reply is None
    assert result.partial == "The cat sat on the mat."


async def _peer(task: Task, ctx: Context) -> Reply[Done]:
    return Reply(Done("here"))


async def test_the_line_of_an_end_counts_one_as_one(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "organism.threads")

    async def worker(task: Task, ctx: Context) -> Reply[Done]:
        await spend(ctx, 1500)
        return Reply(Done("done"))

    async with running(handlers={"worker": code(worker)}, models=models(spender())) as organism:
        await outcome(organism)
    (line,) = [record.getMessage() for record in caplog.records if record.name == "organism.threads"]
    assert ": 1,500 tokens, " in line
    assert ", 1 model call, 1 message, " in line
