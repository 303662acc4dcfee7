"""Ids of threads from outside may be those that sub-threads get: they are named after the thread above them, as in ``report.2``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import anyio
import pytest

from organism import Context, Reply
from organism.errors import RoutingError
from tests.durable.inline import Inline
from tests.hard.pump_world import Go, Said, code

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [pytest.mark.anyio, pytest.mark.parametrize("kind", ["sqlite", "jsonl"])]


async def desk(message: Go, ctx: Context) -> Reply[Said]:
    """Asks in a sub-thread, or is slow by itself."""
    if message.text == "slow":
        await anyio.sleep(5)
        return Reply(Said("was slow"))
    return Reply(await ctx.ask("below", message, expect=Said))


async def below(message: Go, ctx: Context) -> Reply[Said]:
    """Takes a second."""
    await anyio.sleep(1)
    return Reply(Said(message.text))


def organism(path: Path, kind: str) -> Inline:
    handlers = {"desk": code(desk, "below", timeout=None), "below": code(below, budget={"messages": 9})}
    return Inline(name="test", handlers=handlers, journal=f"{kind}:{path / 'journal'}")


async def test_what_was_left_under_the_id_of_a_sub_thread_is_taken_up_once_that_has_ended(
    tmp_path: Path, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with organism(tmp_path, kind) as first:
        await first.send("desk", Go("slow"), id="report.2")
        await anyio.sleep(0.1)
    async with organism(tmp_path, kind) as second:
        report = await second.send("desk", Go("quick"), id="report")
        await anyio.sleep(0.5)
        assert await second.resume() == []
        assert "report.2 cannot be taken up: a thread runs that has the id 'report.2' as well; resume" in caplog.text
        assert second.unfinished == ("report.2",)
        result = await report.result()
        assert (result.reply, [each.thread for each in result.threads]) == (Said("quick"), ["report.2"])
        (left,) = await second.resume()
        assert (await left.result()).reply == Said("was slow")


async def test_a_message_is_not_sent_under_the_id_of_a_sub_thread_that_has_run(tmp_path: Path, kind: str) -> None:
    async with organism(tmp_path, kind) as first:
        await (await first.send("desk", Go("quick"), id="report")).result()
    async with organism(tmp_path, kind) as second:
        said = "thread id 'report.2' was used by a sub-thread: choose another one"
        with pytest.raises(RoutingError, match=said):
            await second.send("desk", Go("another"), id="report.2")
        assert (await (await second.send("desk", Go("quick"), id="report")).result()).reply == Said("quick")
