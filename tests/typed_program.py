"""A program that uses what users are given, with the types that its checkers have to find; an ignore that is not needed is an error."""

from __future__ import annotations

from collections.abc import AsyncIterator, Coroutine, Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any, assert_type

from organism import (
    BudgetExhaustedError,
    Completion,
    Context,
    ConversationHandle,
    DeadMessage,
    Event,
    Forward,
    HandlerFailedError,
    ModelError,
    Organism,
    OrganismError,
    Outgoing,
    Question,
    Refused,
    Replayed,
    Reply,
    Send,
    Statistics,
    ThreadHandle,
    ThreadResult,
    Usage,
    payload,
)
from organism.facts import Fact
from organism.hooks import CallEvent, Change, Go, MessageEvent
from organism.primitives import BudgetWarning
from organism.testing import ScriptedModel, Watched, running

if TYPE_CHECKING:
    from pathlib import Path


@payload
class Plan:
    """What is to be done."""

    steps: tuple[str, ...] = ()
    weight: float = 1


@payload(namespace="urn:example")
class Note:
    """What was found."""

    text: str
    tags: dict[str, int] | None = None


# Handlers: what they take, what they give, what their context gives them.


def looked_up(word: str, times: int) -> list[str]:
    """A plain function."""
    return [word] * times


async def asks(message: Plan, ctx: Context) -> Reply[Note | Plan]:
    """Asks its peers."""
    assert_type(await ctx.ask("finder", message, expect=Note), Note)
    assert_type(await ctx.ask("finder", message, expect=Note | Plan, timeout=5), Note | Plan)
    assert_type(await ctx.ask("finder", message), Any)
    answers = await ctx.ask_all([("finder", message), ("finder", Plan())], expect=Note)
    assert_type(answers, list[Note | OrganismError])
    assert_type(await ctx.ask_all((("finder", message),)), list[Any])
    found = [each.text for each in answers if isinstance(each, Note)]
    assert_type(found, list[str])
    handle = await ctx.spawn("finder", message, budget={"tokens": 500})
    assert_type(handle, ThreadHandle)
    assert_type((await handle.result()).reply_as(Note), Note)
    assert_type(await ctx.in_thread(looked_up, "oak", 2), list[str])
    assert_type(ctx.budget.tokens.remaining, int | None)
    assert_type(ctx.budget.cost_usd.used, Decimal)
    assert_type(ctx.budget.seconds.limit, float | None)
    assert_type(ctx.now(), datetime)
    assert_type(ctx.conversation, str | None)
    assert_type(ctx.labels, Mapping[str, str])
    ctx.state["found"] = found
    assert_type(ctx.state.get("found"), Any | None)
    ctx.log.info("%s of %s", ctx.message_id, ctx.sender)
    # What one helper replies is a reply of a handler that may reply more.
    return told(found[0])


def told(text: str) -> Reply[Note]:
    """A reply that is made elsewhere."""
    return Reply(Note(text))


async def calls(message: Note | BudgetWarning, ctx: Context) -> Sequence[Outgoing] | None:
    """Calls its model."""
    if isinstance(message, BudgetWarning):
        assert_type(message.level, str)
        return None
    if ctx.sender == "finder":
        return None
    plain = await ctx.complete("Plan.", max_output_tokens=20, tags=["first"], extra={"user": "a"})
    assert_type(plain, Completion[None])
    assert_type(plain.text, str)
    assert_type(plain.cost_usd, Decimal)
    planned = await ctx.complete([{"role": "user", "content": message.text}], returns=Plan, max_output_tokens=20)
    assert_type(planned.value, Plan)
    assert_type(planned.usage.tokens, int)
    either = await ctx.complete("Plan, or look it up.", returns=Plan, tools=[Note], max_output_tokens=20)
    assert_type(either.value, Plan | None)
    async with ctx.stream("Say.", max_output_tokens=20) as stream:
        pieces = [piece async for piece in stream]
        assert_type(pieces, list[str])
    assert_type(stream.completion.text, str)
    return [Reply(planned.value), Send("finder", planned.value)]


def finds(message: Plan, ctx: Context) -> Reply[Note] | Forward[Plan]:
    """A plain function that finds."""
    if not message.steps:
        return Reply(Note("nothing"))
    if message.steps == ("refuse",):
        raise Refused("not that")
    return Reply(Note(ctx.run(given(message.steps[0]))))


async def given(text: str) -> str:
    return text


# Hooks


def sees(event: MessageEvent, ctx: Context) -> None:
    assert_type(event.sender, str)


async def shortens(event: CallEvent, ctx: Context) -> Go | Change:
    assert_type(event.call.model, str)
    return Go(secrets=["a secret"])


def counts(event: MessageEvent, ctx: Context) -> int:
    return 1


# The organism


def made(model: ScriptedModel, **keys: Any) -> Watched:
    organism = Watched(
        name="typed",
        budget={"tokens": 50_000},
        accounts={"tenant": {"tokens": 100_000}},
        models=model.models(),
        handlers={
            "asker": {"code": asks, "peers": ["finder"]},
            "caller": {"code": calls, "peers": ["finder"]},
            "finder": finds,
        },
        **keys,
    )
    organism.add_hook("on_message", sees)
    organism.add_hook("before_model_call", shortens)
    organism.add_hook("on_message", lambda _event, _ctx: None)
    return organism


async def wrong(organism: Organism, ctx: Context) -> None:
    """What a checker refuses; nobody calls it."""
    await ctx.in_thread(looked_up, "oak")  # type: ignore[arg-type]
    await ctx.complete("Plan.", max_tokens=20)  # type: ignore[call-overload]
    Organism(nam="typed")  # type: ignore[call-arg]
    Organism(runtime="gevent")  # type: ignore[arg-type]
    organism.add_hook("on_message", counts)  # type: ignore[call-overload]
    organism.add_hook("on_massage", sees)  # type: ignore[call-overload]
    organism.add_hook("before_model_call", sees)  # type: ignore[call-overload]
    organism.add_hook("on_abort", lambda _event, _ctx: Change("later"))  # type: ignore[call-overload]


async def used(folder: Path, model: ScriptedModel) -> None:
    """Uses everything once."""
    async with running(made(model, journal="sqlite:typed.db", folder=folder, seed=7)) as organism:
        assert_type(organism, Watched)
        said = await organism.ask("finder", Plan(("oak",)), expect=Note, labels={"arm": "a"}, budget={"messages": 5})
        assert_type(said, Note)
        assert_type(await organism.ask("asker", Plan(("oak",)), expect=Note | Plan), Note | Plan)
        assert_type(await organism.ask("finder", Plan()), Any)
        handle = await organism.send("caller", Note("plan"), id="t", conversation="c", accounts={"tenant": "acme"})
        assert_type(handle, ThreadHandle)
        assert_type(handle.events(after=1), AsyncIterator[Event])
        result = await handle.result()
        assert_type(result, ThreadResult)
        assert_type(result.outcome, str)
        assert_type(result.reply, Any)
        assert_type(result.reply_as(Plan), Plan)
        assert_type(result.usage, Usage)
        assert_type([each.level for each in result.warnings], list[str])
        assert_type(await handle.history(), tuple[Event, ...])
        assert_type([each.cost_usd for each in await handle.calls()], list[Decimal | None])
        assert_type(await organism.result_of("t"), ThreadResult | None)
        assert_type(organism.thread_of("t"), ThreadHandle | None)
        conversation = await organism.conversation_of("c")
        assert_type(conversation, ConversationHandle | None)
        assert conversation is not None
        conversation.add_budget(tokens=5)
        conversation.set_budget(cost_usd=Decimal("0.5"))
        handles = await organism.send_all(
            [("finder", Plan()), ("finder", Note("no"))], refused=lambda _number, _error: None
        )
        assert_type(handles, list[ThreadHandle])
        assert_type(organism.usage(), Usage)
        assert_type(organism.usage("handler"), dict[str, Usage])
        assert_type(organism.statistics(), Statistics)
        assert_type(organism.inbox(), tuple[Question, ...])
        assert_type(await organism.dead(), tuple[DeadMessage, ...])
        assert_type(organism.events(), AsyncIterator[Fact])
        organism.subscribe(lambda fact: assert_type(fact.at, float))()
        organism.overhear(lambda delta: assert_type(delta.text, str))()
        organism.meter(lambda metered: metered)()
        assert_type(await organism.resume(paused=True), list[ThreadHandle])
        assert_type(organism.unfinished, tuple[str, ...])
        try:
            await organism.ask("finder", Plan(("refuse",)))
        except (BudgetExhaustedError, ModelError):
            raise
        except HandlerFailedError as error:
            assert_type(error.code, str)
            assert_type(error.unit, str | None)
        async with organism.thread(budget={"tokens": 5000}) as thread:
            done = await thread.complete("Plan.", returns=Plan, max_output_tokens=20)
            assert_type(done.value, Plan)
        assert_type(await thread.handle.result(), ThreadResult)
        await (await organism.send("caller", Note("plan"), id="u")).result()
        fork = await organism.fork("u", at=3, labels={"arm": "b"})
        assert_type(fork, ThreadHandle)
        assert_type(await fork.result(), ThreadResult)


def replayed(folder: Path, model: ScriptedModel) -> Replayed:
    organism = made(model, journal="sqlite:typed.db", folder=folder)
    assert_type(organism.run_sync("finder", Plan(("oak",)), expect=Note), Note)
    return organism.replay("u")


def later(organism: Organism) -> Coroutine[Any, Any, Note]:
    """A coroutine keeps the type of what it gives."""
    return organism.ask("finder", Plan(("oak",)), expect=Note)
