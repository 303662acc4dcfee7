"""Limits that are lowered while a handler works: whoever answers next hears of the levels that are reached by that."""

from __future__ import annotations

import anyio
import pytest

from organism import Context, Reply
from organism.testing import running
from tests.hard.pump_world import Go, Said, code


async def asker(message: Go, ctx: Context) -> Reply[Said]:
    """Asks."""
    return Reply(await ctx.ask("waits", message, expect=Said))


async def waits(message: Go, ctx: Context) -> Reply[Said]:
    """Answers after a second."""
    await anyio.sleep(1)
    return Reply(Said("here"))


@pytest.mark.parametrize(("to", "used"), [("waits", 1), ("asker", 2)], ids=["to the outside", "to an ask"])
async def test_a_level_that_is_reached_since_a_limit_was_lowered_is_told_with_a_last_reply(to: str, used: int) -> None:
    async with running(handlers={"asker": code(asker, "waits"), "waits": code(waits)}) as organism:
        await organism.ask(to, Go())  # a value that was sent before is looked at less closely
        handle = await organism.send(to, Go(), budget={"messages": 100})
        await anyio.sleep(0.5)
        handle.set_budget(messages=used)
        result = await handle.result()
    assert (result.outcome, result.reply) == ("completed", Said("here"))
    levels = ("warning", "critical", "final")
    assert [(each.level, each.used, each.limit) for each in result.warnings] == [(each, used, used) for each in levels]
