"""A journal whose write ends the process: the organism ends with it, whoever waits hears so, and the record has no gap."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import anyio
import pytest

from organism.errors import OrganismError
from organism.journal import MemoryJournal
from organism.pump.writer import Writer, in_place
from organism.record.facts import Closed
from organism.testing import FailAfter
from tests.durable.test_failing_disk import Clients, goes_on, make
from tests.hard.pump_world import Go

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence
    from pathlib import Path

    from organism.record.facts import Fact
    from tests.durable.mortal import Mortal, Scene


class Gone(BaseException):
    """Nothing that anybody handles, as SystemExit is not."""


def holds(error: Any) -> bool:
    return isinstance(error, Gone) or any(map(holds, getattr(error, "exceptions", ())))


async def ends(scene: Scene, organism: Mortal, client: Callable[[Mortal], Awaitable[None]]) -> bool:
    """Whether the organism ended of the disk; nothing hangs, and the journal is closed."""
    gone = False
    with anyio.move_on_after(100) as patience:
        try:
            await scene.live(organism, client)
        except BaseException as error:
            gone = holds(error)
            if not gone:
                raise
    assert not patience.cancel_called
    assert organism.kept._presence.closed
    return gone


@pytest.mark.parametrize("kind", ["sqlite", "jsonl"])
async def test_every_write_ends_the_process_once_in_turn(kind: str, tmp_path: Path, half: slice) -> None:
    for number in range(1, 100)[half]:
        scene = make(tmp_path / f"{number}", "a", "b", journal=kind)
        organism = scene.organism()
        disk = organism.breaks = FailAfter(number - 1, Gone())
        gone = await ends(scene, organism, Clients(scene))
        assert disk.made <= number, "something was written behind the gap"
        await goes_on(scene)
        if not gone:
            assert number > 8
            return
    raise AssertionError("it never came to its end")


async def test_whoever_sends_from_outside_does_not_wait_for_a_journal_that_is_gone(tmp_path: Path) -> None:
    scene = make(tmp_path / "j.db", "a")
    organism = scene.organism()
    heard: list[str] = []

    def breaks() -> None:
        raise Gone

    async def sends(life: Mortal) -> None:
        life.breaks = breaks
        for _ in range(2):
            try:
                await life.send("worker", Go("a"))
            except OrganismError as error:
                heard.append(str(error))

    assert await ends(scene, organism, sends)
    assert heard == [
        "the organism was closed before this was written to the journal",
        "organism 'test' does not run: use it inside `async with`, or between `start()` and `close()`",
    ]


class Ending(MemoryJournal):
    """Its first write ends the process."""

    def __init__(self) -> None:
        super().__init__()
        self.tried: list[list[str]] = []

    def write(self, batch: Sequence[tuple[str, Fact]]) -> Any:
        self.tried.append([root for root, _ in batch])
        raise Gone


def writing(hand_over: Callable[[Any, Any], None] = in_place) -> tuple[Writer, Ending]:
    journal = Ending()
    nothing: Callable[..., None] = lambda *_: None  # noqa: E731
    return Writer(journal, hand_over, failed=nothing, due=nothing, moved=nothing), journal


async def test_what_waits_behind_the_gap_is_not_written_and_who_closes_hears_of_it_once() -> None:
    under_way: list[tuple[Any, Any]] = []
    writer, journal = writing(lambda work, done: under_way.append((work, done)))
    writer.record("a", Closed(at=0.0, thread="a"))
    writer.start()
    writer.record("b", Closed(at=0.0, thread="b"))
    in_place(*under_way.pop())
    with pytest.raises(Gone):
        await writer.flush()
    await (
        writer.flush()
    )  # whenever some such error leaves a task, asyncio stops its loop, and the rest would not be closed
    assert journal.tried == [["a"]]
    assert not under_way


async def test_whoever_runs_in_the_pump_is_not_told_by_the_journal_what_the_pump_ends_of() -> None:
    writer, journal = writing()
    flushed: list[bool] = []

    async def records() -> None:
        await anyio.sleep(1)
        writer.record("a", Closed(at=0.0, thread="a"))
        await writer.flush()
        flushed.append(True)

    with pytest.raises(BaseExceptionGroup) as raised:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(writer.run)
            tasks.start_soon(records)
    assert [type(each) for each in raised.value.exceptions] == [Gone]
    assert flushed, "the task that runs the writer alone raises it"
    assert journal.tried == [["a"]]
