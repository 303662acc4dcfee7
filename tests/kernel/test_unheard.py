"""Organisms that nobody listens to: no fact is made there, and all goes on as where they are."""

from __future__ import annotations

from copy import copy
from typing import Any

import pytest
from attrs import evolve

from organism import Context, HandlerFailedError, Organism, Reply, Send
from organism.budget.claims import Charge, Claim
from organism.kernel import Kernel
from organism.kernel.calls import CallFor
from organism.kernel.holds import Hold
from organism.kernel.outcome import final_of
from organism.kernel.sums import ALL
from organism.results import result_of
from organism.settings import BudgetSettings
from organism.testing import Says, ScriptedModel
from organism.threads.frames import Ask
from tests.hard.budget_world import models
from tests.hard.pump_world import Go, Said, code, echo
from tests.kernel.kernel_world import World, handler, organism_of


async def mute(message: Go, ctx: Context) -> None:
    """Says nothing."""


async def crash(message: Go, ctx: Context) -> None:
    """Fails."""
    raise ValueError(message.text)


async def asker(message: Go, ctx: Context) -> Reply[Said]:
    """Asks all the others, one after the other, and calls a model; says what came of each."""
    heard: list[str] = []
    for to in ("echo", "mute", "crash", "nobody"):
        try:
            heard.append((await ctx.ask(to, message, expect=Said)).text)
        except HandlerFailedError as error:
            heard.append(error.code)
    spawned = await (await ctx.spawn("echo", Go("spawned"))).result()
    heard += [str(each) for each in await ctx.ask_all([("echo", message), ("mute", message)])]
    heard += [str(spawned.reply), (await ctx.complete("Say something.", max_output_tokens=20)).text]
    return Reply(Said(" | ".join(heard)))


async def sender(message: Go | Said, ctx: Context) -> Any:
    """Sends, and says what it was answered."""
    return Reply(message) if isinstance(message, Said) else Send("echo", message)


async def test_whoever_asks_sends_and_calls_where_nobody_listens_is_answered() -> None:
    handlers = {
        "asker": code(asker, "echo", "mute", "crash"),
        "sender": code(sender, "echo"),
        "echo": code(echo),
        "mute": code(mute),
        "crash": code(crash),
    }
    model = ScriptedModel(lambda _: Says(text="something", usage=(10, 5)))
    async with Organism(name="test", handlers=handlers, models=models(model)) as organism:
        assert not organism.kernel.book.listening
        answer = await organism.ask("asker", Go("x"), expect=Said)
        assert answer.text == (
            "x | no_reply | crashed | routing | Said(text='x') | no_reply: the callee finished without a reply | "
            "Said(text='spawned') | something"
        )
        assert await organism.ask("sender", Go("y")) == Said("y")
        assert organism.statistics().threads == 0


async def test_who_looks_at_no_more_than_the_reply_has_no_record_made() -> None:
    async with Organism(name="test", handlers={"echo": code(echo), "crash": code(crash)}) as organism:
        handle = await organism.send("echo", Go("x"), labels={"of": "a test"})
        thread = organism.kernel.state.threads[handle.id]
        result = await handle.result()
        assert result.reply == result.reply_as(Said) == Said("x")
        assert thread.final is None
        assert result == result_of(final_of(thread))
        assert (result.thread, result.outcome, result.error, result.code) == (handle.id, "completed", None, None)
        assert (result.usage.messages, result.labels, result.handler) == (1, {"of": "a test"}, "echo")
        assert (await handle.result()) is result
        assert handle.ended
        failed = await (await organism.send("crash", Go("x"))).result()
        assert copy(failed).replies == ()
        assert (failed.outcome, failed.code) == ("failed", "crashed")
        assert evolve(failed, code=None) == evolve(copy(failed), code=None) != failed


async def test_an_unread_result_keeps_nothing_of_what_its_thread_remembered() -> None:
    async def keeper(message: Go, ctx: Context) -> Reply[Said] | None:
        """Remembers, and calls a model; it replies where it is asked to."""
        ctx.state["text"] = (await ctx.complete("Say something.", max_output_tokens=20)).text
        return Reply(Said("kept")) if message.text == "reply" else None

    model = ScriptedModel(lambda _: Says(text="something", usage=(10, 5)))
    async with Organism(name="test", handlers={"keeper": code(keeper)}, models=models(model)) as organism:
        for text, made_at_once in (("reply", False), ("be silent", True)):
            handle = await organism.send("keeper", Go(text))
            thread = organism.kernel.state.threads[handle.id]
            result = await handle.result()
            assert thread.state is None
            assert (thread.final is not None) is made_at_once
            assert (result.usage.tokens, result.usage.model_calls, result.partial) == (15, 1, None)


async def test_a_result_that_was_not_read_has_no_other_attributes() -> None:
    async with Organism(name="test", handlers={"echo": code(echo)}) as organism:
        unread: Any = await (await organism.send("echo", Go("x"))).result()
        assert not hasattr(unread, "nothing")
        with pytest.raises(AttributeError, match="'ThreadResult' object has no attribute 'nothing'"):
            unread.nothing  # noqa: B018 - it is asked for
        assert unread.usage.messages == 1
        assert not hasattr(unread, "nothing")
        assert repr(unread).startswith(f"ThreadResult(thread='{unread.thread}', outcome='completed'")


def test_a_record_that_is_asked_for_later_says_what_was_at_the_end() -> None:
    kernel = Kernel(organism_of(handler("a", Go)))
    thread = kernel.accept("t", "a", Go(), BudgetSettings(), {}, 1.0)
    message = kernel.schedule.take()
    assert message is not None
    about = CallFor(thread=thread, message=message, alias="m", backend="b", attempt=1)
    first, second = (kernel.calls.hold(Claim(input_tokens=5, wish=100, exact=True), about, 2.0) for _ in range(2))
    assert isinstance(first, Hold)
    assert isinstance(second, Hold)
    kernel.calls.settle(first, Charge(output_tokens=7, model_calls=1), 3.0)
    kernel.answered(message, (), None, 4.0)
    assert kernel.ended == [thread]
    assert thread.final is None
    kernel.calls.settle(second, Charge(output_tokens=60, model_calls=1, estimated=True), 9.0)
    record = final_of(thread)
    assert (record.at, record.usage.tokens, record.own.model_calls, record.usage.estimated) == (4.0, 7, 1, False)
    assert record.usage.seconds == 3.0
    assert kernel.state.sums.tally(*ALL).usage().tokens == 67


def test_no_change_is_left_half_way() -> None:
    world = World(organism_of(handler("a", Go, Said, peers=("b",)), handler("b", Go)))
    book = world.kernel.book
    book.listen(None)
    world.accept("a", Go())
    delivery = world.take()
    assert delivery is not None
    for _ in range(2):
        hold = world.call(delivery, Claim(input_tokens=1, wish=10, exact=True))
        assert isinstance(hold, Hold)
        assert not book.half_done
        world.settle(delivery, hold, Charge(output_tokens=5, model_calls=1))
        assert not book.half_done
        ask = world.ask(delivery, "b", Go())
        assert isinstance(ask, Ask)
        assert not book.half_done
        asked = world.take()
        assert asked is not None
        world.answer(asked, Reply(Said("done")))
        assert not book.half_done
    world.answer(delivery, Send("b", Go()))
    assert not book.half_done
    last = world.take()
    assert last is not None
    world.fail(last)
    assert not book.half_done
    assert not world.kernel.state.threads
