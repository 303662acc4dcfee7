"""Organisms that nobody listens to: no fact is made there, and all goes on as where they are."""

from __future__ import annotations

from typing import Any

import pytest

from organism import Context, HandlerFailedError, Organism, Reply, Send
from organism.budget.claims import Charge, Claim
from organism.frames import Ask
from organism.kernel.holds import Hold
from organism.testing import Says, ScriptedModel
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


@pytest.mark.anyio
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
