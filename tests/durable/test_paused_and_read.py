"""A thread that is paused: its handle and a reader of its journal say the same of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import anyio

from organism import Context, Reply
from organism.journal import open_journal
from organism.works.rows import threads_of
from tests.durable.inline import Inline
from tests.hard.pump_world import Go, Said, code

if TYPE_CHECKING:
    from pathlib import Path


async def asks(message: Go, ctx: Context) -> Reply[Said]:
    """Asks the part."""
    return Reply(await ctx.ask("part", message, expect=Said))


async def part(message: Go, ctx: Context) -> Reply[Said]:
    """Asks again and again, until it is warned and beyond."""
    for _ in range(3):
        await ctx.ask("slow", message, expect=Said)
    return Reply(Said("done"))


async def slow(message: Go, ctx: Context) -> Reply[Said]:
    """Takes a second."""
    await anyio.sleep(1)
    return Reply(Said(message.text))


async def test_a_paused_thread_is_told_alike_with_the_warnings_of_what_is_below_it(tmp_path: Path) -> None:
    handlers = {
        "front": code(asks, "part"),
        "part": code(part, "slow", budget={"messages": 4, "warn_at": [0.5]}, timeout=None),
        "slow": code(slow),
    }
    journal = f"sqlite:{tmp_path / 'x.db'}"
    async with Inline(name="test", handlers=handlers, journal=journal) as organism:
        thread = await organism.send("front", Go("x"), id="t")
        await anyio.sleep(1.5)
        thread.pause()
        paused = await thread.result()
        assert (paused.outcome, paused.usage.messages) == ("paused", 5)
        assert [(each.unit, each.scope) for each in paused.warnings] == [("messages", "sub-thread")]
        reader = open_journal(journal, readonly=True)
        (row,) = [row for chain in reader.chains() for row in threads_of(reader, chain, owned=False)]
        reader.close()
        assert (row.result.outcome, row.result.usage, row.result.warnings) == ("paused", paused.usage, paused.warnings)
        thread.resume()
        assert (await thread.result()).reply == Said("done")
