"""What a result keeps that nobody has read yet."""

from __future__ import annotations

import gc
from typing import Any

import pytest

from organism import Context, Organism, Reply
from organism.outcomes import Memory
from tests.hard.pump_world import Go, Said, code


def memories() -> int:
    """How many memories of handlers are there."""
    return sum(type(each) is Memory for each in gc.get_objects())


async def remembers(message: Go, ctx: Context) -> Reply[Said]:
    """Remembers what it is told."""
    ctx.state["text"] = message.text
    return Reply(Said(message.text))


async def passes_on(message: Go, ctx: Context) -> Reply[Said]:
    """Has it remembered in a thread below."""
    return Reply(await ctx.ask("remembers", message, expect=Said))


@pytest.mark.parametrize(
    "handlers",
    [
        {"worker": code(remembers)},
        {
            "worker": code(passes_on, "remembers"),
            "remembers": code(remembers, budget={"messages": 9}, per="thread"),
        },
    ],
    ids=["its own", "that of a thread below"],
)
async def test_a_result_that_nobody_has_read_keeps_no_memory_of_a_handler(handlers: dict[str, Any]) -> None:
    async with Organism(handlers=handlers) as organism:
        gc.collect()
        before = memories()
        results = [await (await organism.send("worker", Go(str(number)))).result() for number in range(20)]
        gc.collect()
        assert memories() - before <= 1  # the last one may be on its way out
    assert [each.reply for each in results] == [Said(str(number)) for number in range(20)]
