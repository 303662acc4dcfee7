"""Organisms that nobody listens to: no fact is made there, and all goes on as where they are."""

from __future__ import annotations

from typing import Any

import pytest

from organism import Context, HandlerFailedError, Organism, Reply, Send
from organism.testing import Says, ScriptedModel
from tests.hard.budget_world import models
from tests.hard.pump_world import Go, Said, code, echo

pytestmark = pytest.mark.anyio


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
