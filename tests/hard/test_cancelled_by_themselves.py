"""A handler that cancels its own task, and returns before that comes."""

from __future__ import annotations

import asyncio

import anyio
import pytest

from organism import Context, Reply
from organism.testing import running
from tests.hard.pump_world import Go, Said, code


async def cancels_itself(message: Go, ctx: Context) -> Reply[Said]:
    """Cancels the task that it runs in where it is told to."""
    task = asyncio.current_task()
    if message.text == "cancel" and task is not None:
        task.cancel()
    return Reply(Said(message.text))


@pytest.mark.parametrize("anyio_backend", ["asyncio"], indirect=True)
async def test_a_handler_that_cancels_its_own_task_and_returns_at_once_fails_alone() -> None:
    async with running(handlers={"worker": code(cancels_itself)}) as organism:
        failed = await (await organism.send("worker", Go("cancel"))).result()
        await anyio.sleep(0.01)
        after = await (await organism.send("worker", Go("go on"))).result()
    assert (failed.outcome, failed.code) == ("failed", "crashed")
    assert (after.outcome, after.reply) == ("completed", Said("go on"))
