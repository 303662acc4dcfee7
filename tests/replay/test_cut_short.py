"""Replays of what was given up or left: calls that a handler cut short, and deliveries that the record leaves under way."""

from __future__ import annotations

import signal
import threading
from typing import TYPE_CHECKING, Any

import anyio
import pytest

from organism import Context, Reply
from organism.testing import Says, ScriptedModel
from tests.hard.pump_world import Go, Said, code, echo
from tests.replay.replay_world import Recorded

if TYPE_CHECKING:
    from pathlib import Path

    from organism import Organism


def world_of(folder: Path, **handlers: Any) -> Recorded:
    model = ScriptedModel(lambda _: Says(text="said", usage=(10, 5), seconds=5))
    known = {name: code(each, "echo", timeout=None) for name, each in handlers.items()}
    return Recorded(folder, handlers={"echo": code(echo), **known}, models=model.models(), budget={"tokens": 5000})


def test_a_call_that_its_handler_gave_up_is_given_up_again(tmp_path: Path) -> None:
    async def impatient(message: Go, ctx: Context) -> Reply[Said]:
        said = "nothing"
        with anyio.move_on_after(1):
            said = (await ctx.complete(message.text, max_output_tokens=20)).text
        return Reply(Said(said))

    world = world_of(tmp_path, impatient=impatient)
    assert world.send("impatient", Go("x")).reply == Said("nothing")
    replayed = world.replay()
    assert (replayed.differences, replayed.unsure) == ((), ())


def test_what_a_delivery_asks_otherwise_that_the_record_leaves_under_way_is_told(tmp_path: Path) -> None:
    async def asks(message: Go, ctx: Context) -> Reply[Said]:
        return Reply(Said((await ctx.complete(message.text, max_output_tokens=20)).text))

    async def asks_otherwise(message: Go, ctx: Context) -> Reply[Said]:
        return Reply(Said((await ctx.complete("another thing", max_output_tokens=20)).text))

    async def begin(organism: Organism) -> None:
        await organism.send("asks", Go("x"), id="t")
        await anyio.sleep(1)

    world = world_of(tmp_path, asks=asks)
    world.run(begin)
    assert world.replay().differences == ()
    (told,) = world.replay(handlers={**world.keys["handlers"], "asks": code(asks_otherwise, timeout=None)}).differences
    assert (told.handler, told.what) == ("asks", "it asked")
    assert "another thing" in told.now


def test_a_person_ends_a_replay_while_a_function_works_in_its_thread(tmp_path: Path) -> None:
    def presses(message: Go, ctx: Context) -> Reply[Said]:
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
        return Reply(Said("x"))

    world = world_of(tmp_path)
    world.send("echo", Go("x"))
    before = signal.signal(
        signal.SIGINT, signal.default_int_handler
    )  # commands that ran in this process may have left another
    try:
        with pytest.raises(KeyboardInterrupt):
            world.replay(handlers={"echo": code(presses)})
    finally:
        signal.signal(signal.SIGINT, before)
