"""What a replay says of deliveries that ended badly then, and of those that do something else now."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import anyio
import pytest

from organism import Context, HandlerFailedError, Reply, Send
from organism.errors import BudgetExhaustedError
from organism.testing import Says, ScriptedModel
from tests.hard.pump_world import Go, Said, code, echo
from tests.replay.replay_world import Recorded

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


async def lead(message: Go, ctx: Context) -> Reply[Said]:
    return Reply(await ctx.ask("echo", message, expect=Said))


async def sloppy(message: Go, ctx: Context) -> Send[Go]:
    """Takes no answer."""
    return Send("echo", message)


async def stray(message: Go, ctx: Context) -> Send[Go]:
    """Addresses somebody who is no peer."""
    return Send("lead", message)


async def late(message: Go, ctx: Context) -> Reply[Said]:
    await anyio.sleep(10)
    return Reply(Said("late"))


async def hurry(message: Go, ctx: Context) -> Reply[Said]:
    try:
        return Reply(await ctx.ask("late", message, timeout=1, expect=Said))
    except HandlerFailedError as error:
        await anyio.sleep(100)
        return Reply(Said(error.code))


async def dig(message: Go, ctx: Context) -> Reply[Said]:
    """Asks itself as deep as it may."""
    try:
        return Reply(await ctx.ask("dig", message, expect=Said))
    except (BudgetExhaustedError, HandlerFailedError) as error:
        return Reply(Said(str(error)))


async def call(message: Go, ctx: Context) -> Reply[Said]:
    return Reply(Said((await ctx.complete(message.text, max_output_tokens=20)).text))


async def twice(message: Go, ctx: Context) -> Reply[Said]:
    await ctx.ask("echo", message)
    return Reply(Said("done"))


HANDLERS: dict[str, Any] = {
    "echo": code(echo),
    "lead": code(lead, "echo"),
    "sloppy": code(sloppy, "echo"),
    "stray": code(stray, "echo"),
    "late": code(late, timeout=None),
    "hurry": code(hurry, "late", timeout=None),
    "dig": code(dig),
    "call": code(call),
    "twice": code(twice, "echo"),
}


@pytest.fixture
def world(tmp_path: Path) -> Recorded:
    model = ScriptedModel(lambda _: Says(text="said", usage=(10, 5)))
    return Recorded(tmp_path, handlers=HANDLERS, models=model.models(), budget={"tokens": 5000, "depth": 5})


def instead(name: str, function: Callable[..., Any], *peers: str) -> dict[str, Any]:
    """The handlers, one of them another function."""
    return {**HANDLERS, name: code(function, *peers, timeout=None)}


@pytest.mark.parametrize("to", ["sloppy", "stray", "hurry", "dig", "call", "twice"])
def test_what_ended_badly_then_comes_out_the_same(world: Recorded, to: str) -> None:
    world.send(to, Go("x"))
    found = world.replay()
    assert (found.differences, found.unsure) == ((), ())
    assert found.deliveries >= 1


def test_a_reply_that_its_caller_does_not_take_is_compared_by_that(world: Recorded) -> None:
    async def other(message: Go, ctx: Context) -> None:
        """Says nothing."""

    world.send("sloppy", Go("x"))
    (first, *_) = world.replay(handlers=instead("echo", other)).differences
    assert (first.handler, first.recorded, first.now) == ("echo", "Reply that its caller does not take", "nothing")


def test_a_long_reply_is_shown_where_it_differs(world: Recorded) -> None:
    async def other(message: Go, ctx: Context) -> Reply[Said]:
        return Reply(Said(message.text.replace("apple", "pear")))

    world.send("echo", Go("x" * 2000 + " apple " + "y" * 2000))
    (first,) = world.replay(handlers=instead("echo", other)).differences
    for shown, word in ((first.recorded, "apple"), (first.now, "pear")):
        assert word in shown
        assert shown.startswith("…")
        assert shown.endswith("…")
        assert len(shown) < 1000


def test_a_handler_that_asks_more_or_something_else_is_told(world: Recorded) -> None:
    world.send("echo", Go("x"), id_="echo")
    world.send("twice", Go("x"), id_="twice")
    (more,) = world.replay("echo", handlers=instead("echo", call)).differences
    assert (more.what, more.recorded, more.now.startswith("asks model 'default'")) == (
        "it asked",
        "nothing like it",
        True,
    )
    (other,) = world.replay("twice", handlers=instead("twice", call, "echo")).differences
    assert (other.handler, other.what, other.recorded) == (
        "twice",
        "it asked",
        "another handler, or another thing of it",
    )


def test_of_a_request_it_shows_what_differs_and_not_its_end(world: Recorded) -> None:
    def asking(instruction: str, **more: Any) -> Callable[..., Any]:
        async def other(message: Go, ctx: Context) -> Reply[Said]:
            messages = [{"role": "system", "content": instruction}, {"role": "user", "content": message.text}]
            return Reply(Said((await ctx.complete(messages, max_output_tokens=20, **more)).text))

        return other

    handlers = instead("call", asking("Be brief."))
    world.send("call", Go("x"), handlers=handlers)
    assert world.replay(handlers=handlers).differences == ()
    (told,) = world.replay(handlers=instead("call", asking("Be kind."))).differences
    assert told.recorded == 'a model, message 1: {"content": "Be brief.", "role": "system"}'
    assert told.now == 'a model, message 1: {"content": "Be kind.", "role": "system"}'
    (set_,) = world.replay(handlers=instead("call", asking("Be brief.", temperature=0.5))).differences
    assert (set_.recorded, set_.now) == ("a model, temperature: none", "a model, temperature: 0.5")


def test_an_alias_that_is_no_more_makes_it_unsure(world: Recorded) -> None:
    async def other(message: Go, ctx: Context) -> Reply[Said]:
        return Reply(Said((await ctx.complete("something else", model="small", max_output_tokens=20)).text))

    model = ScriptedModel(lambda _: Says(text="said", usage=(10, 5)))
    world.send("call", Go("x"), models=model.models() | {"small": model.models()["default"]})
    found = world.replay(handlers=instead("call", other))
    assert [why for _, why in found.unsure] == ["it asked model 'small', which is not an alias any more"]
    assert found.differences == ()


def test_an_answer_that_would_be_refused_is_told_as_that(world: Recorded) -> None:
    async def other(message: Go, ctx: Context) -> Send[Go]:
        return Send("lead", message)

    world.send("echo", Go("x"))
    (first,) = world.replay(handlers=instead("echo", other)).differences
    assert (first.handler, "routing" in first.now, "Said" in first.recorded) == ("echo", True, True)
