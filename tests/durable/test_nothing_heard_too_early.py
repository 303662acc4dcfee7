"""A handler that touches the world hears of nothing that is not on the disk yet: what it does by it cannot be taken back (R20)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from organism import Context, Reply
from organism.testing import Says, ScriptedModel
from tests.durable.inline import Inline
from tests.hard.budget_world import Done, Task, code, models

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path


async def peer(task: Task, ctx: Context) -> Reply[Done]:
    """Answers."""
    return Reply(Done("here"))


async def is_called(ctx: Context) -> None:
    pass


async def completes(ctx: Context) -> None:
    await ctx.complete("x", max_output_tokens=5)


async def streams(ctx: Context) -> None:
    async with ctx.stream("x", max_output_tokens=5) as stream:
        async for _ in stream:
            pass


async def asks(ctx: Context) -> None:
    await ctx.ask("peer", Task("x"))


async def asks_many(ctx: Context) -> None:
    await ctx.ask_all([("peer", Task("x")), ("peer", Task("y"))])


async def spawns(ctx: Context) -> None:
    await ctx.spawn("peer", Task("x"))


def count_in(folder: Path, kind: str) -> int:
    """How many facts of a kind are in the files of a journal."""
    return sum(each.read_text().count(f'"fact":"{kind}"') for each in folder.rglob("*.jsonl"))


@pytest.mark.parametrize(
    ("act", "kind", "count"),
    [
        (is_called, "Accepted", 1),
        (completes, "CallCompleted", 1),
        (streams, "CallCompleted", 1),
        (asks, "Answered", 1),
        (asks_many, "Answered", 2),
        (spawns, "Spawned", 1),
    ],
)
async def test_what_a_handler_acts_on_is_on_the_disk(
    act: Callable[[Context], Awaitable[None]], kind: str, count: int, tmp_path: Path
) -> None:
    written: list[int] = []

    async def worker(task: Task, ctx: Context) -> Reply[Done]:
        await act(ctx)
        written.append(count_in(tmp_path, kind))
        return Reply(Done("x"))

    handlers: dict[str, Any] = {"worker": code(worker, peers=("peer",)), "peer": code(peer)}
    model = ScriptedModel([Says(text="one two", usage=(5, 2))])
    async with Inline(
        name="test", journal="jsonl:log", folder=tmp_path, handlers=handlers, models=models(model)
    ) as organism:
        assert await organism.ask("worker", Task("go")) == Done("x")
    assert written == [count]
