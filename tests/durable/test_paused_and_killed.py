"""A thread that was paused and whose process was killed stands still in the next one, and says so."""

from __future__ import annotations

from typing import TYPE_CHECKING

import anyio
import pytest

from organism import Context, Reply
from organism.testing import Says, ScriptedModel
from tests.durable.turns_world import Heard, Say, code, killed, sqlite

if TYPE_CHECKING:
    from pathlib import Path


async def talk(say: Say, ctx: Context) -> Reply[Heard]:
    """Asks its model."""
    return Reply(Heard((await ctx.complete(say.text, max_output_tokens=10)).text))


@pytest.mark.parametrize("by_id", [False, True])
async def test_a_paused_thread_says_so_as_soon_as_it_is_taken_up(tmp_path: Path, *, by_id: bool) -> None:
    keys = {"handlers": {"talk": code(talk)}, "models": ScriptedModel([Says(text="hm", seconds=5)]).models()}
    async with sqlite(tmp_path / "0", **keys) as organism:
        thread = await organism.send("talk", Say("x"), id="x")
        await anyio.sleep(1)
        thread.pause()
        await anyio.sleep(1)
        assert not thread.paused  # its call is under way
        left = killed(tmp_path / "0", "1")
    async with sqlite(left, **keys) as organism:
        if by_id:
            thread = await organism.send("talk", Say("x"), id="x")
        else:
            (thread,) = await organism.resume()
        assert thread.paused
        (same,) = await organism.resume(paused=True)  # as the command does
        assert same is thread
        assert (await thread.result()).reply == Heard("hm")


async def test_what_was_paused_in_an_earlier_process_goes_on_where_that_is_said(tmp_path: Path) -> None:
    keys = {"handlers": {"talk": code(talk)}, "models": ScriptedModel([Says(text="hm", seconds=5)]).models()}
    async with sqlite(tmp_path / "0", **keys) as organism:
        paused, other = [await organism.send("talk", Say("x"), id=each) for each in ("a", "b")]
        await anyio.sleep(1)
        paused.pause()
        left = killed(tmp_path / "0", "1")
    async with sqlite(left, **keys) as organism:
        handles = await organism.resume(paused=True)
        assert [each.id for each in handles] == [paused.id, other.id]
        assert [(await each.result()).outcome for each in handles] == ["completed", "completed"]
        assert await organism.resume(paused=True) == []
