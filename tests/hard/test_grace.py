"""Exhaustion is a normal end: the root frame's handler hands in what it has, once, and its caller hears it."""

from __future__ import annotations

import json
import logging
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import anyio
import pytest

from organism import BudgetExhaustedError, Context, HandlerFailedError, Reply, Send
from organism.models.contract import BackendError
from organism.primitives import BudgetExhausted, HandlerFailed
from organism.record.facts import CallHeld, CallRefused
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
    peer,
    replies,
    said_to,
    spend,
    spender,
)

if TYPE_CHECKING:
    from pathlib import Path

    from organism.models.contract import Request
    from organism.record.facts import Fact

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


@pytest.mark.parametrize("whose", ["thread", "conversation", "account tenant:acme", "organism"])
async def test_an_answer_on_grace_comes_with_the_limit_that_made_it_the_last(whose: str) -> None:
    # What it has written is too long to be sent once more, and is cut from its last prompt.
    model = ScriptedModel(
        [asks("peer", text="word " * 3000, usage=(300, 3900)), replies("what I have", usage=(300, 20))]
    )
    handlers = {"writer": agent(peers=("peer",)), "peer": code(peer)}
    keys = {
        "thread": "budget",
        "conversation": "conversation",
        "account tenant:acme": "accounts",
        "organism": "ceiling",
    }
    limits: dict[str, Any] = {key: {"tokens": 100_000} for key in keys.values()}
    limits[keys[whose]] = {"tokens": 6000}
    limits["accounts"] = {"tenant": limits["accounts"]}
    async with running(handlers=handlers, models=models(model), **limits) as organism:
        result = await outcome(organism, "writer", conversation="c", accounts={"tenant": "acme"})
    assert (result.outcome, result.unit, result.reply) == ("exhausted", "tokens", Done("what I have"))
    had = "kept back" if whose in {"thread", "conversation"} else "left"  # accounts and the organism keep nothing back
    assert result.error == f"answered on what was {had}: tokens of the {whose}: 4,200 used, limit 6,000"
    (held,) = grace_calls(organism.watch.facts)
    assert held.why is not None
    # The fact of the call has it: whoever reads it later finds a limit that others share changed.
    assert held.why.text == result.error


@pytest.mark.parametrize("limits", [{"model_calls": 3}, {"tokens": 6000}, {"cost_usd": "0.01"}])
async def test_a_turn_answers_on_what_its_conversation_kept_back(limits: dict[str, Any]) -> None:
    """Its thread has no such limit, and nobody else could ever spend that; the next turn has what is left of it."""
    model = ScriptedModel(
        lambda request: (
            replies("what I have", usage=(300, 20))
            if _is_last(request)
            else asks("peer", text="so far", usage=(800, 50))
        )
    )
    handlers = {"writer": agent(peers=("peer",), max_output_tokens=600, min_output_tokens=300), "peer": code(peer)}
    async with running(handlers=handlers, models=models(model), conversation={**limits, "runway": 0}) as organism:
        first = await outcome(organism, "writer", conversation="c")
        second = await outcome(organism, "writer", conversation="c")
        (unit,) = limits
        used = getattr(first.usage, unit) + getattr(second.usage, unit)
        assert Decimal(used) <= Decimal(limits[unit])
    assert (first.outcome, first.unit, first.reply) == ("exhausted", unit, Done("what I have"))
    assert (first.error or "").startswith(f"answered on what was kept back: {unit} of the conversation: ")
    assert (second.outcome, second.reply) == ("exhausted", None if unit == "model_calls" else Done("what I have"))


async def test_what_a_conversation_kept_back_is_for_its_turns_and_nobody_below_them() -> None:
    model = ScriptedModel([asks("reader"), asks("peer", text="notes"), replies("without the reader")])
    handlers = {
        "desk": agent(peers=("reader",)),
        "reader": agent(peers=("peer",), budget={"model_calls": 2}),
        "peer": code(peer),
    }
    async with running(handlers=handlers, models=models(model), conversation={"model_calls": 3}) as organism:
        result = await outcome(organism, "desk", conversation="c")
    assert (result.outcome, result.reply) == ("exhausted", Done("without the reader"))
    assert [fact.thread for fact in grace_calls(organism.watch.facts)] == [result.thread]
    assert [sub.outcome for sub in result.threads] == ["exhausted"]


def _is_last(request: Request) -> bool:
    return "exhausted" in said_to(request)[-1]


async def test_a_grace_answer_in_plain_text_is_an_answer_where_one_text_is_asked_for() -> None:
    model = ScriptedModel([asks("peer"), asks("peer"), Says(text="in plain words")])
    handlers = {"writer": agent(peers=("peer",)), "peer": code(peer)}
    async with running(handlers=handlers, models=models(model), budget=CALLS) as organism:
        result = await outcome(organism, "writer")
    assert (result.outcome, result.reply) == ("exhausted", Done("in plain words"))


@pytest.mark.parametrize("peers_as", ["tools", "xml"])
async def test_a_conversation_goes_on_behind_an_answer_on_grace_with_a_result_for_each_of_its_calls(
    peers_as: str,
) -> None:
    """Providers refuse a history in which a call has no result."""
    last = Says(
        text="<Done><text>what I have</text></Done>" if peers_as == "xml" else "",
        calls=(("peer", Task("late")), *((("reply", Done("what I have")),) if peers_as == "tools" else ())),
    )
    again = Says(text="<Done><text>again</text></Done>") if peers_as == "xml" else replies("again")
    model = ScriptedModel([asks("none"), asks("none"), last, again])
    handlers = {"writer": agent(peers=("peer",), peers_as=peers_as), "peer": code(peer)}
    async with running(handlers=handlers, models=models(model), budget=CALLS) as organism:
        first = await outcome(organism, "writer", conversation="c")
        second = await outcome(organism, "writer", conversation="c")
    assert (first.outcome, first.reply, second.reply) == ("exhausted", Done("what I have"), Done("again"))
    messages = model.requests[3].messages
    (at,) = [
        place for place, each in enumerate(messages) if any("late" in str(call) for call in each.get("tool_calls", ()))
    ]
    calls = messages[at]["tool_calls"]
    told = messages[at + 1 : at + 1 + len(calls)]
    assert [each.get("tool_call_id") for each in told] == [call["id"] for call in calls]
    assert [each["content"] for each in told][1:] == ["Sent."] * (len(calls) - 1)
    assert "Not carried out" in told[0]["content"]


async def test_a_conversation_that_begins_with_an_answer_on_grace_begins_with_somebody_who_asks() -> None:
    """Nothing is left of a delivery that was cancelled, and some providers refuse a history that begins with an answer."""
    model = ScriptedModel([Says(seconds=100), replies("nothing yet"), replies("again")])
    async with running(handlers={"writer": agent()}, models=models(model), budget={"seconds": 10}) as organism:
        first = await outcome(organism, "writer", conversation="c")
        second = await outcome(organism, "writer", conversation="c")
    assert (first.outcome, first.reply, second.reply) == ("exhausted", Done("nothing yet"), Done("again"))
    roles = [each["role"] for each in model.requests[2].messages]
    assert roles == ["system", "user", "assistant", "tool", "user"]


async def test_the_call_on_grace_asks_for_something_behind_an_answer_that_was_cut_where_no_notice_does() -> None:
    """Providers refuse a prompt that ends with what the model itself has said."""
    story = Says(text="a long story", finish_reason="length", usage=(100, 50))
    model = ScriptedModel([story, replies("in short", usage=(100, 50)), replies("again")])
    handlers = {"writer": agent(notices={"deliver": False}, max_output_tokens=50, min_output_tokens=50)}
    async with running(handlers=handlers, models=models(model), budget={"model_calls": 2, "runway": 0}) as organism:
        first = await outcome(organism, "writer", conversation="c")
        second = await outcome(organism, "writer", conversation="c")
    assert (first.outcome, first.reply, second.reply) == ("exhausted", Done("in short"), Done("again"))
    said = [[each["role"] for each in request.messages] for request in model.requests]
    assert said[1] == ["system", "user", "assistant", "user"]
    # What is remembered of it takes turns as well.
    assert said[2] == [*said[1], "assistant", "tool", "user"]


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


@pytest.mark.parametrize(
    ("limit", "last_word"), [(300, ""), (1000, ""), (5000, "my last word"), (100_000, "my last word")]
)
async def test_the_grace_call_fits_from_5000_tokens_on_and_is_not_made_where_it_does_not(
    limit: int, last_word: str
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
    if last_word:
        assert (result.reply, result.partial) == (Done(last_word), None)
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
    long = "word " * 3000  # 15,000 bytes: 10,000 tokens by estimate

    async def library(task: Task, ctx: Context) -> Reply[Done]:
        """Reads aloud."""
        return Reply(Done(long if task.text == "for library" else "something short"))

    model = ScriptedModel(
        [
            Says(calls=(("library", Task("something else")),), usage=(100, 20)),
            asks("library", usage=(200, 20_000)),
            replies("what I have", usage=(300, 20)),
        ]
    )
    handlers = {
        "writer": agent(peers=("library",), prompt="You write.", min_output_tokens=500),
        "library": code(library),
    }
    budget = {"tokens": 30_000, "runway": 0, "warn_at": []}
    async with running(handlers=handlers, models=models(model), budget=budget) as organism:
        handle = await organism.send("writer", Task("the question"))
        result = await handle.result()
    last = said_to(model.requests[-1])
    assert result.reply == Done("what I have")
    assert len(model.requests) == 3
    assert last[0] == "You write."
    assert "the question" in last[1]
    assert any("something short" in text for text in last)
    assert not any(long in text for text in last)
    assert last[-1].startswith("Budget notice: exhausted.")
    # Calls are never parted from their results.
    roles = [str(message["role"]) for message in model.requests[-1].messages]
    assert roles[:2] == ["system", "user"]
    assert roles[-3:] == ["assistant", "tool", "user"]
    assert "user tool" not in " ".join(roles)
    assert result.usage.tokens <= 30_000


async def test_the_grace_call_takes_from_what_is_kept_back_and_no_more() -> None:
    model = ScriptedModel(
        lambda request: (
            replies("all", usage=(100, request.max_output_tokens))
            if notices(request)
            else asks("peer", usage=(100, 7800))
        )
    )
    writer = agent(peers=("peer",), prompt="Write.", max_output_tokens=4000, min_output_tokens=1000)
    handlers = {"writer": writer, "peer": code(peer)}
    budget = {"tokens": 10_000, "warn_at": [], "runway": 0, "grace": {"share": 0.2, "tokens": 5000}}
    async with running(handlers=handlers, models=models(model), budget=budget) as organism:
        result = await outcome(organism, "writer")
    (held,) = grace_calls(organism.watch.facts)
    # 7,900 of a working limit of 8,000 were used, and the last call may take all of the 10,000.
    assert held.need[0] == 2100
    assert held.output == model.requests[-1].max_output_tokens > 1000
    assert result.reply == Done("all")
    assert result.usage.tokens == 7900 + 100 + held.output <= 10_000


async def test_the_prompt_of_the_grace_call_is_cut_for_the_backend_that_is_asked() -> None:
    """Behind the cheap one, which has failed too often, stands one that is dear."""
    dear = ScriptedModel(
        lambda request: (
            replies("what I have") if _is_last(request) else asks("peer", usage=(50 * len(request.messages), 60))
        )
    )
    broken = ScriptedModel([Says(error=BackendError("server", "no luck"))])
    alias = models(broken, price={"input": "1", "output": "1"})["default"]
    alias["backends"] += models(dear, price={"input": "100", "output": "100"}, priority=2)["default"]["backends"]
    handlers = {"writer": agent(peers=("peer",), max_output_tokens=60, min_output_tokens=40), "peer": code(peer)}
    budget = {"cost_usd": "0.5", "runway": 0, "grace": {"share": 0.05}}
    async with running(handlers=handlers, models={"default": alias}, budget=budget) as organism:
        result = await outcome(organism, "writer")
    assert (result.outcome, result.unit, result.reply) == ("exhausted", "cost_usd", Done("what I have"))
    assert len(dear.requests[-1].messages) < len(dear.requests[-2].messages)


async def test_a_grace_call_that_fails_over_to_a_backend_that_is_too_dear_for_it_is_not_made() -> None:
    """It was cut for the first one, and each attempt is held anew: nothing is spent that was not kept back."""
    dear = ScriptedModel([replies("never")])
    cheap = ScriptedModel(
        lambda request: (
            Says(error=BackendError("server", "no luck"))
            if _is_last(request)
            else asks("peer", text="so far", usage=(5_000, 60))
        )
    )
    alias = models(cheap, price={"input": "1", "output": "1"})["default"]
    alias["backends"] += models(dear, price={"input": "10000", "output": "10000"}, priority=2)["default"]["backends"]
    handlers = {"writer": agent(peers=("peer",), max_output_tokens=60, min_output_tokens=40), "peer": code(peer)}
    budget = {"cost_usd": "0.02", "runway": 0, "grace": {"share": 0.3}}
    async with running(handlers=handlers, models={"default": alias}, budget=budget) as organism:
        result = await outcome(organism, "writer")
        assert organism.statistics().held == 0
    assert (result.outcome, result.reply, result.partial) == ("exhausted", None, "so far")
    assert not dear.requests
    assert result.usage.cost_usd <= Decimal("0.02")


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
            assert not grace or (refused.value.unit, refused.value.need) == ("model_calls", 1)
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
    assert "needed 5,000" in failed.text
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


@pytest.mark.parametrize(
    ("limit", "unit", "text"),
    [
        ({"messages": 2}, "messages", "messages of the thread: 1 used, limit 2, needed 3"),
        ({"seconds": 5}, "seconds", "seconds of the thread: limit 5"),
    ],
)
async def test_what_ends_a_thread_after_its_call_on_grace_is_why_it_ends(
    limit: dict[str, int], unit: str, text: str
) -> None:
    """The call was made in good time, and the thread went on behind it until something else ran out."""
    told: list[BudgetExhausted] = []

    async def worker(task: Task | BudgetExhausted, ctx: Context) -> Any:
        if isinstance(task, BudgetExhausted):
            told.append(task)
            return None
        await spend(ctx, 100, grace=True)
        await anyio.sleep(10 if unit == "seconds" else 0)
        return [Send("peer", Task(text)) for text in "abc"]

    handlers = {"worker": code(worker, peers=("peer",)), "peer": code(peer)}
    budget = {"tokens": 1000, **limit}
    async with running(handlers=handlers, models=models(spender()), budget=budget) as organism:
        result = await outcome(organism)
    assert [(each.unit, each.text) for each in told] == [(unit, text)]
    assert (result.outcome, result.unit, result.error) == ("exhausted", unit, text)


async def test_below_it_too_that_is_why_nothing_is_sent() -> None:
    """A sub-thread that has made its own call on grace, in a thread whose messages have run out."""
    refused: list[str] = []

    async def boss(task: Task, ctx: Context) -> Any:
        await ctx.spawn("worker", task)
        await anyio.sleep(1)
        return [Send("peer", Task(text)) for text in "abc"]

    async def worker(task: Task, ctx: Context) -> None:
        await spend(ctx, 100, grace=True)
        await anyio.sleep(2)
        try:
            await ctx.ask("peer", task)
        except (BudgetExhaustedError, HandlerFailedError) as error:
            refused.append(str(error))

    handlers = {
        "boss": code(boss, peers=("worker", "peer")),
        "worker": code(worker, peers=("peer",), budget={"tokens": 1000}),
        "peer": code(peer),
    }
    async with running(handlers=handlers, models=models(spender()), budget={"messages": 3}) as organism:
        await outcome(organism, "boss")
    assert refused == ["messages of the thread: 2 used, 0 held, limit 3, needed 1"]
