"""What the log of a service says of the work that it leaves to the next process."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import anyio
import pytest

from organism import Context, Reply
from tests.durable.inline import Inline
from tests.hard.pump_world import Go, Said, code

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.anyio

LEFT = "left in the journal"


async def clerk(message: Go, ctx: Context) -> Reply[Said]:
    """Takes as many seconds as it is told."""
    await anyio.sleep(message.n)
    return Reply(Said(message.text))


def organism(journal: str) -> Inline:
    return Inline(name="test", handlers={"clerk": code(clerk, timeout=None)}, journal=journal)


@pytest.mark.parametrize(("slow", "said"), [(2, "2 threads are "), (1, "1 thread is "), (0, None)])
async def test_threads_that_are_left_are_counted_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, slow: int, said: str | None
) -> None:
    caplog.set_level(logging.INFO, "organism.threads")
    one = organism(f"sqlite:{tmp_path / 'j.db'}")
    await one.start()
    for seconds in (1, *[99] * slow):
        await one.send("clerk", Go("x", seconds))
    await one.close(grace=5)
    await one.close()
    lines = [each.getMessage() for each in caplog.records if LEFT in each.getMessage()]
    assert lines == ([] if said is None else [f"{said}{LEFT}; the next process goes on by resume()"])
    async with organism(f"sqlite:{tmp_path / 'j.db'}") as other:
        assert len(other.unfinished) == slow


async def test_nothing_is_left_without_a_journal(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "organism.threads")
    async with organism("memory:") as one:
        await one.send("clerk", Go("x", 99))
    assert LEFT not in caplog.text
    assert "ended cancelled" in caplog.text
