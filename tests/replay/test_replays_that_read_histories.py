"""Handlers read what happened in threads that they have spawned, and a replay has it for them from the record."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from organism import Context, Reply
from tests.hard.budget_world import code, models, spend, spender
from tests.replay.replay_world import Note, Recorded, Task

if TYPE_CHECKING:
    from pathlib import Path


async def spends(task: Task, ctx: Context) -> Reply[Note]:
    """Calls a model twice."""
    await spend(ctx, 50)
    await spend(ctx, 60)
    return Reply(Note("spent"))


async def reads_when_it_is_over(task: Task, ctx: Context) -> Reply[Note]:
    """What it was, by its calls and its history."""
    handle = await ctx.spawn("below", task)
    await handle.result()
    calls, history = await handle.calls(), await handle.history()
    return Reply(Note(f"{[call.handler for call in calls]} {[type(event.fact).__name__ for event in history]}"))


async def reads_as_it_happens(task: Task, ctx: Context) -> Reply[Note]:
    """What it was, event by event, with their numbers, and once more from the third on."""
    handle = await ctx.spawn("below", task)
    seen = [(event.seq, type(event.fact).__name__) async for event in handle.events()]
    again = [event.seq async for event in handle.events(after=seen[2][0])]
    return Reply(Note(f"{seen} {again}"))


@pytest.mark.parametrize("reads", [reads_when_it_is_over, reads_as_it_happens])
def test_a_replay_reads_what_the_run_read(reads: object, tmp_path: Path) -> None:
    handlers = {"first": code(reads, peers=("below",)), "below": code(spends)}
    world = Recorded(tmp_path, handlers=handlers, models=models(spender()))
    assert "CallSettled" in world.send("first", Task("x")).reply.text
    replayed = world.replay()
    assert (replayed.differences, replayed.unsure) == ((), ())
