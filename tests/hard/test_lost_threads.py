"""Threads that were paused, and of which nothing can be written any more."""

from __future__ import annotations

from typing import TYPE_CHECKING

import anyio
import pytest

from organism.errors import JournalError
from organism.pump.handles import end_of
from organism.testing import running
from tests.hard.budget_world import Task, code

if TYPE_CHECKING:
    from organism import Context


async def test_whoever_waits_for_a_paused_thread_hears_that_it_was_lost() -> None:
    async def worker(task: Task, ctx: Context) -> None:
        """Never gets that far."""

    async with running(handlers={"worker": code(worker)}) as organism:
        handle = await organism.send("worker", Task("go"))
        handle.pause()
        assert (await handle.result()).outcome == "paused"
        end_of(handle).fail(JournalError("the disk is full"))
        with anyio.fail_after(1):
            await handle.goes_on()
            await end_of(handle).over()
        with pytest.raises(JournalError, match="the disk is full"):
            await handle.result()
