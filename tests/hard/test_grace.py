"""Exhaustion is a normal end: the root frame's handler hands in what it has, once, and its caller hears it."""

from __future__ import annotations

import json
import logging
from typing import TYPE_CHECKING, Any

import anyio
import pytest

from organism import BudgetExhaustedError, Context, HandlerFailedError, Reply, Send
from organism.facts import CallHeld, CallRefused, Ended, Exhausted
from organism.primitives import BudgetExhausted, BudgetWarning, HandlerFailed
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
    notices,
    outcome,
    replies,
    said_to,
    spend,
    spender,
)

if TYPE_CHECKING:
    from pathlib import Path

    from organism.facts import Fact
    from organism.models.contract import Request


async def peer(task: Task, ctx: Context) -> Reply[Done]:
    """Answers."""
    return Reply(Done("here"))


CALLS = {"model_calls": 3, "runway": 0}
"""Two calls, and a third one on grace."""


def grace_calls(facts: list[Fact]) -> list[CallHeld]:
    return [fact for fact in facts if isinstance(fact, CallHeld) and fact.grace]


# An agent's last call


async def test_an_agent_that_is_refused_hands_in_what_it_has_by_one_call_on_grace() -> None:
    model = ScriptedModel([asks("peer", text="first"), asks("peer", text="second"), replies("what I have")])
    handlers = {"writer": agent(peers=("peer",)), "peer": code(peer)}
    async with running(handlers=handlers, models=models(model), budget=CALLS) as organism:
        result = await outcome(organism, "writer")
    assert (result.outcome, result.unit, result.reply) == ("exhausted", "model_calls", Done("what I have"))
    # An answer that came leaves no partial one, and an answer on grace is an answer.
    assert result.partial is None
    assert (result.usage.model_calls, len(grace_calls(organism.watch.facts))) == (3, 1)
    (refused,) = organism.watch.of(CallRefused)
    assert (refused.handler, refused.unit, refused.scope) == ("writer", "model_calls", "thread")
    last = model.requests[-1]
    assert [tool.name for tool in last.tools] == ["reply"]
    assert last.tool_choice == "reply"
    assert [tool.name for tool in model.requests[0].tools] == ["peer", "reply"]
    told = said_to(last)[-1]
    assert told.startswith("Budget notice: exhausted. model_calls of the thread: 2 used")
    assert "This is your last call" in told


async def test_ask_from_outside_gets_an_answer_made_on_grace() -> None:
    model = ScriptedModel([asks("peer"), asks("peer"), replies("what I have")])
    handlers = {"writer": agent(peers=("peer",)), "peer": code(peer)}
    async with running(handlers=handlers, models=models(model), budget=CALLS) as organism:
        assert await organism.ask("writer", Task("go"), expect=Done) == Done("what I have")


async def test_a_grace_answer_in_plain_text_is_an_answer_where_one_text_is_asked_for() -> None:
    model = ScriptedModel([asks("peer"), asks("peer"), Says(text="in plain words")])
    handlers = {"writer": agent(peers=("peer",)), "peer": code(peer)}
    async with running(handlers=handlers, models=models(model), budget=CALLS) as organism:
        result = await outcome(organism, "writer")
    assert (result.outcome, result.reply) == ("exhausted", Done("in plain words"))


async def test_what_the_last_answer_said_is_partial_where_no_grace_answer_came() -> None:
    model = ScriptedModel(
        [
            asks("peer", text="I found one thing"),
            asks("peer", text="and another"),
            Says(calls=(("peer", Task("more")),)),
        ]
    )
    handlers = {"writer": agent(peers=("peer",)), "peer": code(peer)}
    async with running(handlers=handlers, models=models(model), budget=CALLS) as organism:
        result = await outcome(organism, "writer")
    # The last call was made, and was no reply: a peer is not to be asked any more.
    assert len(model.requests) == 3
    assert (result.outcome, result.reply, result.partial) == ("exhausted", None, "and another")
    assert result.usage.messages == 3
    assert json.loads(json.dumps(result.as_json()))["partial"] == "and another"


@pytest.mark.parametrize(("limit", "fits"), [(300, False), (1000, False), (5000, True), (100_000, True)])
async def test_the_grace_call_fits_from_5000_tokens_on_and_is_not_made_where_it_does_not(
    limit: int, fits: bool
) -> None:
    """The default grace keeps back a tenth, 2,000 tokens at most. What the provider reports for this prompt is 90 tokens."""
    working = limit - min(limit // 10, 2000)

    def script(request: Request) -> Says:
        if "exhausted" in said_to(request)[-1]:
            return replies("my last word", usage=(90, 30))
        return Says(text="so far", calls=(("reply", "{}"),), usage=(90, working - 95))

    model = ScriptedModel(script)
    writer = agent(prompt="Write.", min_output_tokens=20)
    # One earlier thread has shown what this agent's prompt costs.
    async with running(handlers={"writer": writer}, models=models(model)) as organism:
        budget = {"tokens": limit, "runway": 0}
        result = await outcome(organism, "writer", budget=budget) if limit >= 5000 else None
        if result is None:
            await _learn(organism)
            model.requests.clear()
            result = await outcome(organism, "writer", budget=budget)
    assert (result.outcome, result.unit) == ("exhausted", "tokens")
    if fits:
        assert (result.reply, result.partial) == (Done("my last word"), None)
        assert result.usage.tokens > working
    else:
        assert (result.reply, result.partial) == (None, "so far")
        assert result.usage.tokens <= working
    assert levels(result) == ["warning", "critical", "final"]


async def _learn(organism: Any) -> None:
    """Lets the router measure the agent's prompt in a thread that has enough."""
    await outcome(organism, "writer", budget={"model_calls": 1})


async def test_the_prompt_of_the_grace_call_is_cut_to_what_fits() -> None:
    """The system prompt, the first message, as much of the newest as fits, and the notice."""
    long = "word " * 700  # 3,500 bytes: more than 2,300 tokens by estimate

    async def library(task: Task, ctx: Context) -> Reply[Done]:
        """Reads aloud."""
        return Reply(Done(long if task.text == "for library" else "something short"))

    model = ScriptedModel(
        [
            asks("library", usage=(100, 20)),
            Says(calls=(("library", Task("something else")),), usage=(200, 5500)),
            replies("what I have", usage=(300, 20)),
        ]
    )
    handlers = {
        "writer": agent(peers=("library",), prompt="You write.", min_output_tokens=500),
        "library": code(library),
    }
    budget = {"tokens": 10_000, "runway": 0, "warn_at": [], "grace": {"share": 0.2, "tokens": 2000}}
    async with running(handlers=handlers, models=models(model), budget=budget) as organism:
        handle = await organism.send("writer", Task("the question"))
        result = await handle.result()
    whole, last = said_to(model.requests[1]), said_to(model.requests[-1])
    assert result.reply == Done("what I have")
    assert any(long in text for text in whole)
    assert last[0] == "You write."
    assert "the question" in last[1]
    assert any("something short" in text for text in last)
    assert not any(long in text for text in last)
    assert last[-1].startswith("Budget notice: exhausted.")
    # Calls are never parted from their results.
    roles = [message["role"] for message in model.requests[-1].messages]
    assert roles == ["system", "user", "assistant", "tool", "user"]
    assert result.usage.tokens <= 10_000


async def test_the_grace_call_takes_from_what_is_kept_back_and_no_more() -> None:
    model = ScriptedModel(
        lambda request: (
            replies("all", usage=(100, request.max_output_tokens))
            if notices(request)
            else Says(text="so far", usage=(100, 8400))
        )
    )
    writer = agent(prompt="Write.", max_output_tokens=4000, min_output_tokens=1000)
    budget = {"tokens": 10_000, "warn_at": [], "runway": 0, "grace": {"share": 0.15, "tokens": 5000}}
    async with running(handlers={"writer": writer}, models=models(model), budget=budget) as organism:
        result = await outcome(organism, "writer")
    (held,) = grace_calls(organism.watch.facts)
    # 8,500 of 10,000 were used; 1,500 were kept back.
    assert held.need[0] <= 1500
    assert held.output > 1000
    assert result.reply == Done("all")
    assert result.usage.tokens <= 10_000


async def test_wordings_of_the_last_call_are_files_too(tmp_path: Path) -> None:
    grace, exhausted = tmp_path / "grace.md", tmp_path / "exhausted.md"
    grace.write_text("LAST {{ unit }} {{ used }}/{{ limit }} {{ scope }} {{ grace }}: {{ text }}")
    exhausted.write_text("OVER {{ unit }} {{ used }}/{{ limit }}")
    script = [asks("peer"), asks("peer"), replies()]
    for files, expected in (
        (
            {"grace": str(grace), "exhausted": str(exhausted)},
            "LAST model_calls 2/3 thread True: model_calls of the thread",
        ),
        ({"exhausted": str(exhausted)}, "OVER model_calls 2/3"),
    ):
        model = ScriptedModel(script)
        handlers = {"writer": agent(peers=("peer",), notices=files), "peer": code(peer)}
        async with running(handlers=handlers, models=models(model), budget=CALLS) as organism:
            await outcome(organism, "writer")
        assert said_to(model.requests[-1])[-1].startswith(expected)


async def test_only_the_root_frames_handler_has_grace_and_only_once() -> None:
    """A asks B asks C, and C runs out: A alone hands in, and what it was given does not carry over to the next thread."""
    script = [asks("b"), asks("c"), asks("peer", text="c was here"), replies("a, at last")]
    model = ScriptedModel([*script, *script])
    handlers = {
        "a": agent(peers=("b",)),
        "b": agent(peers=("c",)),
        "c": agent(peers=("peer",)),
        "peer": code(peer),
    }
    budget = {"model_calls": 4, "runway": 0}
    async with running(handlers=handlers, models=models(model), budget=budget) as organism:
        first = await outcome(organism, "a")
        assert len(model.requests) == 4
        second = await outcome(organism, "a")
    refused = [fact.handler for fact in organism.watch.of(CallRefused)]
    # C is refused, B hears it and is refused, A hears it and is refused; then A has its one call.
    assert refused == ["c", "b", "a"] * 2
    for result in (first, second):
        assert (result.outcome, result.reply, result.usage.model_calls) == ("exhausted", Done("a, at last"), 4)
    held = grace_calls(organism.watch.facts)
    assert [fact.thread for fact in held] == [first.thread, second.thread]
    # B and A read in the result of their call what became of it.
    told = [text for text in said_to(model.requests[3]) if "HandlerFailed" in text]
    assert len(told) == 1
    assert '"exhausted"' in told[0]


async def test_a_sub_thread_has_a_grace_of_its_own() -> None:
    """The reader's own budget runs out: it hands in, its caller goes on, and nothing of that is the caller's exhaustion."""
    model = ScriptedModel(
        [
            asks("reader"),
            asks("peer", text="notes"),
            replies("notes, as far as I came"),  # on the reader's grace
            replies("the answer"),
        ]
    )
    handlers = {
        "desk": agent(peers=("reader",)),
        "reader": agent(peers=("peer",), budget={"model_calls": 2}),
        "peer": code(peer),
    }
    async with running(handlers=handlers, models=models(model), budget={"model_calls": 20}) as organism:
        result = await outcome(organism, "desk")
    assert (result.outcome, result.reply) == ("completed", Done("the answer"))
    (sub,) = result.threads
    assert (sub.outcome, sub.unit, sub.usage.model_calls) == ("exhausted", "model_calls", 2)
    assert any("notes, as far as I came" in text for text in said_to(model.requests[-1]))


async def test_a_sub_threads_grace_is_within_the_working_limit_above() -> None:
    """The reader has a call kept back, but its caller's thread has none to spare: only that thread's own last call is left."""
    model = ScriptedModel([asks("reader"), asks("peer", text="notes"), replies("without the reader")])
    handlers = {
        "desk": agent(peers=("reader",)),
        "reader": agent(peers=("peer",), budget={"model_calls": 2}),
        "peer": code(peer),
    }
    async with running(handlers=handlers, models=models(model), budget={"model_calls": 3}) as organism:
        result = await outcome(organism, "desk")
    assert (result.outcome, result.reply) == ("exhausted", Done("without the reader"))
    assert [fact.thread for fact in grace_calls(organism.watch.facts)] == [result.thread]
    assert [sub.outcome for sub in result.threads] == ["exhausted"]


async def test_no_grace_where_the_limit_is_one_call() -> None:
    model = ScriptedModel([asks("peer", text="one thought")])
    handlers = {"writer": agent(peers=("peer",)), "peer": code(peer)}
    async with running(handlers=handlers, models=models(model), budget={"model_calls": 1}) as organism:
        result = await outcome(organism, "writer")
    assert (result.outcome, result.reply, result.partial) == ("exhausted", None, "one thought")
    assert len(model.requests) == 1
    assert grace_calls(organism.watch.facts) == []


async def test_nothing_is_kept_back_where_the_file_says_so() -> None:
    model = ScriptedModel([asks("peer", text="1"), asks("peer", text="2"), asks("peer", text="3")])
    handlers = {"writer": agent(peers=("peer",)), "peer": code(peer)}
    async with running(handlers=handlers, models=models(model), budget={**CALLS, "grace": NO_GRACE}) as organism:
        result = await outcome(organism, "writer")
    assert (result.outcome, result.partial, len(model.requests)) == ("exhausted", "3", 3)


async def test_a_failed_grace_call_is_not_made_again() -> None:
    """Once it was made it was made: its error is the last word."""
    from organism.models.contract import BackendError

    model = ScriptedModel(
        [asks("peer", text="1"), asks("peer", text="2"), Says(error=BackendError("rejected", "no such thing"))]
    )
    handlers = {"writer": agent(peers=("peer",)), "peer": code(peer)}
    async with running(handlers=handlers, models=models(model), budget=CALLS) as organism:
        result = await outcome(organism, "writer")
    assert len(model.requests) == 3
    assert (result.outcome, result.reply) == ("failed", None)
    assert "no such thing" in (result.error or "")


# Code's last call


async def test_code_has_one_call_on_grace_and_says_when() -> None:
    model = spender()
    errors: list[str] = []

    async def worker(task: Task, ctx: Context) -> Reply[Done]:
        await spend(ctx, 900)
        with pytest.raises(BudgetExhaustedError):
            await spend(ctx, 50)
        last = await spend(ctx, 100, grace=True)
        for grace in (True, False):
            with pytest.raises(BudgetExhaustedError) as refused:
                await spend(ctx, INPUT + 1, grace=grace)
            errors.append(str(refused.value))
        return Reply(Done(last.text))

    async with running(handlers={"worker": code(worker)}, models=models(model), budget={"tokens": 1000}) as organism:
        result = await outcome(organism)
    assert (result.outcome, result.unit, result.reply) == ("exhausted", "tokens", Done("ok"))
    assert result.usage.tokens == 1000
    assert "has made its grace call" in errors[0]
    assert "has made its grace call" not in errors[1]


async def test_code_that_is_not_the_root_frames_handler_has_none() -> None:
    model = spender()

    async def boss(task: Task, ctx: Context) -> Reply[Done]:
        return Reply(await ctx.ask("worker", task, expect=Done))

    async def worker(task: Task, ctx: Context) -> Reply[Done]:
        with pytest.raises(BudgetExhaustedError, match="grace belongs to 'boss'"):
            await spend(ctx, 950, grace=True)
        return Reply(Done("refused"))

    handlers = {"boss": code(boss, peers=("worker",)), "worker": code(worker)}
    async with running(handlers=handlers, models=models(model), budget={"tokens": 1000}) as organism:
        result = await outcome(organism, "boss")
    assert (result.outcome, result.reply, model.requests) == ("completed", Done("refused"), [])


async def test_a_grace_call_that_does_not_fit_is_refused_and_does_not_use_it_up() -> None:
    model = spender()

    async def worker(task: Task, ctx: Context) -> Reply[Done]:
        await spend(ctx, 900)
        with pytest.raises(BudgetExhaustedError) as refused:
            await spend(ctx, 101, grace=True)
        assert (refused.value.used, refused.value.limit, refused.value.need) == (900, 1000, 101)
        # Any other wish is lowered to all that is left: it is the last call.
        last = await ctx.complete(PROMPT, grace=True)
        assert last.clamped
        return Reply(Done(str(last.usage.tokens)))

    async with running(handlers={"worker": code(worker)}, models=models(model), budget={"tokens": 1000}) as organism:
        result = await outcome(organism)
    assert (result.outcome, result.reply) == ("exhausted", Done("100"))


async def test_an_exhaustion_that_leaves_code_is_no_crash_and_reaches_the_caller_as_what_it_is(
    caplog: pytest.LogCaptureFixture,
) -> None:
    heard: list[HandlerFailed] = []
    raised: list[HandlerFailedError] = []

    async def asker(task: Task, ctx: Context) -> Send[Task]:
        try:
            await ctx.ask("worker", task)
        except HandlerFailedError as error:
            raised.append(error)
        return Send("sender", task)

    async def sender(message: Task | HandlerFailed, ctx: Context) -> Send[Task] | None:
        if isinstance(message, HandlerFailed):
            heard.append(message)
            return None
        return Send("worker", message)

    async def worker(task: Task, ctx: Context) -> None:
        await spend(ctx, 5000)

    handlers = {
        "asker": code(asker, peers=("worker", "sender")),
        "sender": code(sender, peers=("worker",)),
        "worker": code(worker),
    }
    with caplog.at_level(logging.WARNING, "organism"):
        async with running(handlers=handlers, models=models(spender()), budget={"tokens": 1000}) as organism:
            result = await outcome(organism, "asker")
    (error,) = raised
    assert (error.code, error.unit, error.scope, error.retry) == ("exhausted", "tokens", "thread", False)
    (failed,) = heard
    assert (failed.code, failed.retry) == ("exhausted", False)
    assert "needed 5000" in failed.text
    # What a handler caught and answered does not count.
    assert result.outcome == "completed"
    assert [record for record in caplog.records if "crashed" in record.getMessage()] == []


async def test_an_exhaustion_climbs_past_callers_that_do_not_declare_it() -> None:
    async def a(task: Task, ctx: Context) -> Send[Task]:
        return Send("b", task)

    async def b(task: Task, ctx: Context) -> None:
        await spend(ctx, 5000)

    handlers = {"a": code(a, peers=("b",)), "b": code(b)}
    async with running(handlers=handlers, models=models(spender()), budget={"tokens": 1000}) as organism:
        result = await outcome(organism, "a")
        assert (result.outcome, result.unit, result.code) == ("exhausted", "tokens", "exhausted")
        with pytest.raises(HandlerFailedError, match="exhausted: tokens of the thread") as failed:
            await organism.ask("a", Task("go"))
    assert (failed.value.code, failed.value.unit) == ("exhausted", "tokens")


# When messages run out


async def test_a_capped_thread_still_hands_back_an_answer() -> None:
    """An agent asks one peer too many; it hears of it, and its answer stands."""
    model = ScriptedModel([asks("peer", "peer", "peer", "peer"), replies("from what came")])
    handlers = {"writer": agent(peers=("peer",)), "peer": code(peer)}
    async with running(handlers=handlers, models=models(model), budget={"messages": 4}) as organism:
        result = await outcome(organism, "writer")
    results = [text for text in said_to(model.requests[1]) if text.startswith("{")]
    assert len(results) == 4
    assert sum('"here"' in text for text in results) == 3
    assert sum('"exhausted"' in text for text in results) == 1
    assert (result.outcome, result.unit, result.reply) == ("exhausted", "messages", Done("from what came"))
    assert result.usage.messages == 4
    # The cap acts, and the levels below it are all there, told in the very next prompt.
    assert levels(result, "messages") == ["warning", "critical", "final"]
    assert {warned.to for warned in result.warnings} == {"writer"}
    assert len(notices(model.requests[1])) == 1


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
    got: list[BudgetExhausted] = []

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
        if isinstance(message, HandlerFailed):
            raise AssertionError("a thread that hands in its last answer delivers nothing else")
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

    own = {"budget": {"messages": 3}}
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


# When time runs out


async def test_when_time_runs_out_the_root_frames_handler_has_ten_seconds_more() -> None:
    got: list[BudgetExhausted] = []
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

    own = {"budget": {"seconds": 5}, "timeout": None}
    handlers = {
        "boss": code(boss, peers=("willing", "deaf")),
        "willing": code(willing, **own),
        "deaf": code(deaf, **own),
    }
    async with running(handlers=handlers, budget={"seconds": 1000}) as organism:
        result = await outcome(organism, "boss")
    assert (result.outcome, result.reply) == ("completed", Done("a bit exhausted seconds after 10 s"))
    assert [(sub.outcome, sub.unit) for sub in result.threads] == [("exhausted", "seconds")] * 2


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
