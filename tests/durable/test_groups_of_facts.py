"""What is written together: those who wait for the disk at the same time share a write, and the event loop has its turns meanwhile."""

from __future__ import annotations

from collections import Counter
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

import anyio
import anyio.abc
import anyio.lowlevel
import pytest

from organism import Context, Reply
from organism.journal import MemoryJournal
from organism.pump import runtime
from organism.pump.writer import Writer, in_place
from organism.record.facts import Closed, Fact
from organism.testing import Says, ScriptedModel
from tests.durable.mortal import Mortal, MortalWorks
from tests.hard.budget_world import models
from tests.hard.pump_world import Go, Said, code

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Sequence
    from pathlib import Path

pytestmark = pytest.mark.anyio

CALLS = 4


class LateWorks(MortalWorks):
    """The parts of an organism whose disk has written a group a turn of the event loop later."""

    def _hand_over(self, work: Callable[[], Any], done: Callable[[Any], None]) -> None:
        runtime.caller()(partial(super()._hand_over, work, done))


class Late(Mortal):
    """An organism with such a disk."""

    _parts = LateWorks


async def caller(message: Go, ctx: Context) -> Reply[Said]:
    """Calls so often, with time for others in between where it is told so."""
    for number in range(CALLS):
        await ctx.complete(f"{message.text} {number}", max_output_tokens=5)
        if message.n:
            await anyio.sleep(message.n)
    return Reply(Said(message.text))


async def writes(path: Path, threads: int, *, apart: int = 0) -> int:
    """How often the disk is written to while so many threads make their calls; the n-th waits ``apart`` x n seconds in between."""
    made = Late(
        name="test",
        handlers={"caller": code(caller, timeout=None)},
        models=models(ScriptedModel(lambda _: Says(text="ok", usage=(1, 1)))),
        journal=f"sqlite:{path / 'j.db'}",
    )
    written: list[None] = []
    made.breaks = lambda: written.append(None)
    async with made:
        sent = await made.send_all([("caller", Go(f"{number}", n=apart * number)) for number in range(threads)])
        for handle in sent:
            assert (await handle.result()).outcome == "completed"
    return len(written)


async def test_calls_that_wait_at_the_same_time_share_their_writes(tmp_path: Path) -> None:
    for name in ("one", "many"):
        (tmp_path / name).mkdir()
    # A call waits for its hold and for its answer; what begins and ends a thread comes on top.
    assert await writes(tmp_path / "one", 1) <= 2 * CALLS + 3
    assert await writes(tmp_path / "many", 50) <= 3 * (2 * CALLS + 3)


async def test_what_is_alone_is_written_at_once(tmp_path: Path) -> None:
    assert await writes(tmp_path, 3, apart=7) >= 2 * CALLS * 2  # two of them never wait at the same time


class Slow:
    """A disk whose writes are over when the test says so."""

    def __init__(self) -> None:
        self.under_way: list[tuple[Any, Any]] = []
        self.batches: list[int] = []
        nothing: Callable[..., None] = lambda *_: None  # noqa: E731
        self.journal = _Counting(self.batches)
        self.writer = Writer(self.journal, self._begin, failed=nothing, due=nothing, moved=nothing)

    def _begin(self, work: Any, done: Any) -> None:
        self.under_way.append((work, done))

    def ends(self) -> None:
        """The write that is under way is over."""
        in_place(*self.under_way.pop())


class _Counting(MemoryJournal):
    def __init__(self, batches: list[int]) -> None:
        super().__init__()
        self._batches = batches

    def write(self, batch: Sequence[tuple[str, Fact]]) -> Any:
        self._batches.append(len(batch))
        return {}


@asynccontextmanager
async def at_work(disk: Slow) -> AsyncGenerator[anyio.abc.TaskGroup]:
    """The disk's writer runs, and has one fact to write."""
    async with anyio.create_task_group() as group:
        group.start_soon(disk.writer.run)
        await anyio.lowlevel.checkpoint()
        disk.writer.record("a", Closed(at=0.0, thread="a"))
        yield group
        group.cancel_scope.cancel()


class Busy:
    """Workers of which one has more to do."""

    active = 1


async def test_who_flushes_has_all_of_it_written_whoever_has_more_to_do() -> None:
    disk = Slow()
    writer = disk.writer
    async with at_work(disk) as group:
        writer.start()
        writer.workers = Busy()
        writer.record("b", Closed(at=0.0, thread="b"))
        group.start_soon(writer.flush)
        await anyio.sleep(1)
        disk.ends()
        assert disk.under_way
        disk.ends()
        assert disk.batches == [1, 1]
        assert writer.durable == 2


async def test_what_the_last_of_those_who_were_woken_leaves_is_written() -> None:
    disk = Slow()
    writer = disk.writer

    async def waits(number: int) -> None:
        await writer.settled()
        if not number:
            writer.record("b", Closed(at=0.0, thread="b"))
            await writer.settled()

    async with at_work(disk):
        async with anyio.create_task_group() as waiting:
            for number in range(100):
                waiting.start_soon(waits, number)
            await anyio.sleep(1)
            disk.ends()
            await anyio.sleep(1)
            disk.ends()
        assert disk.batches == [1, 1]


async def test_of_many_who_waited_only_some_go_on_at_a_time() -> None:
    disk = Slow()
    writer = disk.writer
    turns, went_on = [0], Counter[int]()

    async def waits() -> None:
        await writer.settled()
        went_on[turns[0]] += 1

    async def turn() -> None:
        while True:
            turns[0] += 1
            await anyio.lowlevel.checkpoint()

    async with at_work(disk) as group:
        async with anyio.create_task_group() as waiting:
            for _ in range(500):
                waiting.start_soon(waits)
            await anyio.sleep(1)
            group.start_soon(turn)
            disk.ends()
        assert went_on.total() == 500
        assert max(went_on.values()) <= 64  # two turns of 32, where others have had none in between that is seen here
