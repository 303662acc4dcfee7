"""Messages: their levels, and what a thread that has used them up still hands back."""

from __future__ import annotations

from typing import Any

import anyio
import pytest

from organism import BudgetExhaustedError, Context, HandlerFailedError, Reply, Send
from organism.primitives import BudgetExhausted, HandlerFailed
from organism.record.facts import Ended, Exhausted
from organism.testing import ScriptedModel, running
from tests.hard.budget_world import (
    ALL,
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
)


async def test_a_capped_thread_still_hands_back_an_answer() -> None:
    """An agent asks one peer too many; it hears that this and what was still queued came to nothing, and its answer stands."""
    model = ScriptedModel([asks("peer", "peer"), asks("peer", "peer"), replies("from what came")])
    handlers = {"writer": agent(peers=("peer",)), "peer": code(peer)}
    async with running(handlers=handlers, models=models(model), budget={"messages": 4}) as organism:
        result = await outcome(organism, "writer")
    results = [text for text in said_to(model.requests[2]) if text.startswith("{")]
    assert ['"here"' in text for text in results] == [True, True, False, False]
    assert ['"exhausted"' in text for text in results] == [False, False, True, True]
    assert (result.outcome, result.unit, result.reply) == ("exhausted", "messages", Done("from what came"))
    assert result.usage.messages == 4
    # The cap acts, and the levels below it are all there, told in the very next prompt.
    assert levels(result, "messages") == ["warning", "critical", "final"]
    assert {warned.to for warned in result.warnings} == {"writer"}
    assert [len(notices(request)) for request in model.requests] == [0, 1, 1]


async def test_when_messages_run_out_the_root_frames_agent_gets_one_last_delivery_outside_the_count() -> None:
    """Code below it sends in circles. The last prompt says why, and offers nothing but to reply."""
    turns = iter([asks("ping"), replies("nothing came of it")])
    model = ScriptedModel(lambda _: next(turns))

    async def ping(task: Task, ctx: Context) -> Send[Task]:
        """Sends on."""
        return Send("pong", task)

    async def pong(task: Task, ctx: Context) -> Send[Task]:
        return Send("ping", task)

    handlers = {
        "writer": agent(peers=("ping",)),
        "ping": code(ping, peers=("pong",)),
        "pong": code(pong, peers=("ping",)),
    }
    async with running(handlers=handlers, models=models(model), budget={"messages": 20}) as organism:
        result = await outcome(organism, "writer")
    # The asker heard that its branch failed, and could still answer.
    assert (result.outcome, result.unit, result.reply) == ("exhausted", "messages", Done("nothing came of it"))
    assert result.usage.messages == 20


async def test_code_that_takes_it_gets_the_last_delivery() -> None:
    got: list[Any] = []

    async def worker(message: Task | BudgetExhausted, ctx: Context) -> Any:
        if isinstance(message, BudgetExhausted):
            got.append(message)
            assert ctx.sender == "organism"
            with pytest.raises(BudgetExhaustedError, match="messages"):
                await ctx.ask("sink", Task("one more"))
            return Reply(Done(f"counted {ctx.state['count']}"))
        ctx.state["count"] = ctx.state.get("count", 0) + 1
        return [Send("sink", message), Send("worker", message)]

    async def sink(task: Task, ctx: Context) -> None:
        """Swallows."""

    handlers = {"worker": code(worker, peers=("sink",)), "sink": code(sink)}
    async with running(handlers=handlers, budget={"messages": 8}) as organism:
        result = await outcome(organism)
    (last,) = got
    assert (last.unit, last.scope, last.used, last.limit, last.grace) == ("messages", "thread", 7, 8, True)
    # 1 + 3 x 2 messages; the answer that would have needed two more was refused as a whole.
    assert (result.outcome, result.unit, result.reply) == ("exhausted", "messages", Done("counted 3"))
    assert result.usage.messages == 7
    assert len(organism.watch.of(Exhausted)) == len(organism.watch.of(Ended)) == 1


async def test_code_that_does_not_take_it_gets_none() -> None:
    got: list[str] = []

    async def worker(task: Task, ctx: Context) -> Send[Task]:
        got.append(type(task).__name__)
        return Send("worker", task)

    async with running(handlers={"worker": code(worker)}, budget={"messages": 4}) as organism:
        result = await outcome(organism)
    assert got == ["Task"] * 4
    assert (result.outcome, result.unit, result.replies) == ("exhausted", "messages", ())
    assert "messages of the thread: 4 used, limit 4, needed 1" in (result.error or "")


async def test_who_has_answered_already_gets_no_last_delivery() -> None:
    got: list[str] = []

    async def worker(message: Task | BudgetExhausted, ctx: Context) -> Any:
        got.append(type(message).__name__)
        if isinstance(message, BudgetExhausted):
            return Reply(Done("again"))
        return [Reply(Done("first")), Send("spinner", message)]

    async def spinner(task: Task, ctx: Context) -> Send[Task]:
        return Send("spinner", task)

    handlers = {"worker": code(worker, peers=("spinner",)), "spinner": code(spinner)}
    async with running(handlers=handlers, budget={"messages": 6}) as organism:
        result = await outcome(organism)
    assert got == ["Task"]
    assert [reply for _, reply in result.replies] == [Done("first")]
    assert result.outcome == "exhausted"


async def test_what_is_queued_when_messages_run_out_is_refused_to_its_senders() -> None:
    """Two branches: while one uses up the messages, the other's message waits for a place and is refused."""
    handled: list[str] = []
    heard: list[str] = []

    async def boss(message: Task | HandlerFailed, ctx: Context) -> Any:
        assert isinstance(message, Task), "a thread that hands in its last answer delivers nothing else"
        failed = await ctx.ask_all([("slow", Task("1")), ("slow", Task("2")), ("spinner", Task("spin"))])
        heard.extend(f"{each.code}:{each.unit}" for each in failed if isinstance(each, HandlerFailedError))
        return Reply(Done("what came"))

    async def slow(task: Task, ctx: Context) -> Reply[Done]:
        handled.append(task.text)
        await anyio.sleep(5)
        return Reply(Done(task.text))

    async def spinner(task: Task, ctx: Context) -> Send[Task]:
        await anyio.sleep(0.1)
        return Send("spinner", task)

    handlers = {
        "boss": code(boss, peers=("slow", "spinner")),
        "slow": code(slow, concurrency=1),
        "spinner": code(spinner),
    }
    async with running(handlers=handlers, budget={"messages": 10}) as organism:
        result = await outcome(organism, "boss")
    assert len(handled) == 1
    assert heard == ["exhausted:messages", "exhausted:messages"]
    assert (result.outcome, result.reply) == ("exhausted", Done("what came"))


async def test_the_messages_of_a_sub_thread_run_out_and_its_caller_goes_on() -> None:
    """Its last delivery answers the ask, in place of the failure."""

    async def boss(task: Task, ctx: Context) -> Reply[Done]:
        answer = await ctx.ask("worker", task, expect=Done)
        return Reply(Done(f"{answer.text}, and {ctx.budget.messages.remaining} are left"))

    async def worker(message: Task | BudgetExhausted, ctx: Context) -> Any:
        if isinstance(message, BudgetExhausted):
            return Reply(Done(f"{message.scope} ran out of {message.unit}"))
        return Send("worker", message)

    handlers = {"boss": code(boss, peers=("worker",)), "worker": code(worker, budget={"messages": 3})}
    async with running(handlers=handlers, budget={"messages": 100}) as organism:
        result = await outcome(organism, "boss")
    assert (result.outcome, result.reply) == ("completed", Done("sub-thread ran out of messages, and 96 are left"))
    (sub,) = result.threads
    assert (sub.outcome, sub.unit, sub.usage.messages) == ("exhausted", "messages", 3)


async def test_a_sub_threads_last_delivery_answers_its_sender_as_well() -> None:
    got: list[Any] = []

    async def boss(message: Task | Done | HandlerFailed, ctx: Context) -> Any:
        got.append(message)
        if isinstance(message, Task):
            return [Send("worker", message), Send("mute", message)]
        return None

    async def worker(message: Task | BudgetExhausted, ctx: Context) -> Any:
        return Reply(Done("as far as I came")) if isinstance(message, BudgetExhausted) else Send("worker", message)

    async def mute(message: Task | BudgetExhausted, ctx: Context) -> Any:
        return None if isinstance(message, BudgetExhausted) else Send("mute", message)

    own: dict[str, Any] = {"budget": {"messages": 3}}
    handlers = {"boss": code(boss, peers=("worker", "mute")), "worker": code(worker, **own), "mute": code(mute, **own)}
    async with running(handlers=handlers) as organism:
        result = await outcome(organism, "boss")
    answers = [message for message in got if isinstance(message, Done)]
    failures = [message for message in got if isinstance(message, HandlerFailed)]
    assert answers == [Done("as far as I came")]
    assert [failed.code for failed in failures] == ["exhausted"]
    assert len(got) == 3
    assert (result.outcome, [sub.outcome for sub in result.threads]) == ("completed", ["exhausted"] * 2)


async def test_an_agent_in_a_sub_thread_that_answered_is_not_asked_again() -> None:
    """It was refused a message, read so, and replied: that was its answer."""
    model = ScriptedModel([asks("peer", "peer"), replies("enough")])

    async def boss(message: Task, ctx: Context) -> Reply[Done]:
        return Reply(await ctx.ask("writer", message, expect=Done))

    handlers = {
        "boss": code(boss, peers=("writer",)),
        "writer": agent(peers=("peer",), budget={"messages": 2}),
        "peer": code(peer),
    }
    async with running(handlers=handlers, models=models(model)) as organism:
        result = await outcome(organism, "boss")
    assert (result.outcome, result.reply) == ("completed", Done("enough"))
    assert len(model.requests) == 2


async def test_a_sub_thread_that_bears_no_message_is_refused_to_its_caller_alone() -> None:
    async def boss(task: Task, ctx: Context) -> Reply[Done]:
        with pytest.raises(BudgetExhaustedError) as refused:
            await ctx.ask("worker", task)
        assert (refused.value.unit, refused.value.scope, refused.value.limit) == ("messages", "sub-thread", 0)
        return Reply(await ctx.ask("peer", task, expect=Done))

    async def worker(task: Task, ctx: Context) -> None:
        raise AssertionError("never called")

    handlers = {
        "boss": code(boss, peers=("worker", "peer")),
        "worker": code(worker, budget={"messages": 0}),
        "peer": code(peer),
    }
    async with running(handlers=handlers) as organism:
        result = await outcome(organism, "boss")
    assert (result.outcome, result.reply, result.threads) == ("completed", Done("here"), ())


@pytest.mark.parametrize("conversation", [None, "c"])
async def test_a_thread_that_bears_no_message_is_refused_as_a_thread(conversation: str | None) -> None:
    async with running(handlers={"peer": code(peer)}, budget={"messages": 0}) as organism:
        with pytest.raises(
            BudgetExhaustedError, match="messages of the thread: 0 used, 0 held, limit 0, needed 1"
        ) as refused:
            await organism.send("peer", Task("go"), conversation=conversation)
    assert refused.value.scope == "thread"


async def test_a_shared_sub_thread_that_ran_out_refuses_the_next_call() -> None:
    async def boss(task: Task, ctx: Context) -> Reply[Done]:
        done = [await ctx.ask("worker", task, expect=Done) for _ in range(2)]
        for _ in range(2):
            with pytest.raises(BudgetExhaustedError) as refused:
                await ctx.ask("worker", task)
            assert (refused.value.scope, refused.value.used, refused.value.limit) == ("sub-thread", 2, 2)
        return Reply(Done(" ".join(each.text for each in done)))

    handlers = {
        "boss": code(boss, peers=("worker",)),
        "worker": code(peer, budget={"messages": 2}, per="thread"),
    }
    async with running(handlers=handlers) as organism:
        result = await outcome(organism, "boss")
    assert (result.outcome, result.reply) == ("completed", Done("here here"))
    assert [sub.usage.messages for sub in result.threads] == [2]


async def test_an_agent_is_warned_of_messages_too() -> None:
    model = ScriptedModel([asks("peer"), asks("peer", "peer"), replies()])
    handlers = {"writer": agent(peers=("peer",)), "peer": code(peer)}
    budget = {"messages": 10, "warn_at": {"messages": [2, 4]}, "runway": 0}
    async with running(handlers=handlers, models=models(model), budget=budget) as organism:
        result = await outcome(organism, "writer")
    told = [notices(request) for request in model.requests]
    assert [len(each) for each in told] == [0, 1, 1]
    assert "2 of 10 messages are used; 8 messages" in told[1][0]
    assert [(warned.level, warned.used, warned.to) for warned in result.warnings] == [
        ("warning", 2, "writer"),
        ("final", 4, "writer"),
    ]


async def test_a_message_that_reaches_a_level_on_its_way_in_is_told_to_who_gets_it() -> None:
    """One message is all that the thread has: it is used up when it begins, and the first prompt says so."""
    model = ScriptedModel([asks("peer"), replies("alone")])
    handlers = {"writer": agent(peers=("peer",)), "peer": code(peer)}
    async with running(handlers=handlers, models=models(model), budget={"messages": 1}) as organism:
        result = await outcome(organism, "writer")
    (notice,) = notices(model.requests[0])
    assert notice.startswith("Budget notice: final. 1 of 1 messages are used")
    assert {warned.to for warned in result.warnings} == {"writer"}
    assert result.reply == Done("alone")


async def test_the_level_of_a_sub_thread_that_its_first_message_reaches_is_told_in_there() -> None:
    model = ScriptedModel([asks("peer"), replies("alone")])

    async def boss(task: Task, ctx: Context) -> Reply[Done]:
        return Reply(await ctx.ask("writer", task, expect=Done))

    handlers = {
        "boss": code(boss, peers=("writer",)),
        "writer": agent(peers=("peer",), budget={"messages": 1}),
        "peer": code(peer),
    }
    async with running(handlers=handlers, models=models(model)) as organism:
        result = await outcome(organism, "boss")
    assert len(notices(model.requests[0])) == 1
    assert [(warned.scope, warned.to) for warned in result.warnings] == [("sub-thread", "writer")] * 3
    assert (result.outcome, result.reply) == ("completed", Done("alone"))


async def test_an_answer_that_messages_cannot_bear_is_refused_with_its_warning_recorded() -> None:
    """The cap and the levels below it are met by one answer: the cap acts, and the skipped levels are recorded."""

    async def worker(task: Task, ctx: Context) -> list[Send[Task]]:
        return [Send("sink", task) for _ in range(5)]

    async def sink(task: Task, ctx: Context) -> None:
        raise AssertionError("nothing of the answer is carried out")

    handlers = {"worker": code(worker, peers=("sink",)), "sink": code(sink)}
    async with running(handlers=handlers, budget={"messages": 5}) as organism:
        result = await outcome(organism)
    assert (result.outcome, result.unit, result.usage.messages) == ("exhausted", "messages", 1)
    assert levels(result, "messages") == ALL
    # Its delivery is over: nobody reads them any more.
    assert {warned.to for warned in result.warnings} == {None}
