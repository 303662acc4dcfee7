"""An organism that is closed while others wait for it: each of them hears so, and nothing stays open."""

from __future__ import annotations

import asyncio
import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import anyio
import pytest

from organism import Organism
from organism.errors import NotRunningError
from organism.pump import disk_thread
from organism.record.facts import Ended
from tests.durable.inline import Inline
from tests.hard.pump_world import Go, code, echo, slow

if TYPE_CHECKING:
    from pathlib import Path


def organism(journal: str, path: Path, **keys: Any) -> Organism:
    where = "memory:" if journal == "memory" else f"{journal}:{path / 'j'}"
    return Inline(name="test", journal=where, handlers={"slow": code(slow, concurrency=1), "echo": code(echo)}, **keys)


@pytest.mark.parametrize("journal", ["memory", "sqlite"])
@pytest.mark.parametrize("conversation", [None, "c"])
async def test_whoever_waits_for_room_hears_that_the_organism_was_closed(
    journal: str, conversation: str | None, tmp_path: Path
) -> None:
    organ = organism(journal, tmp_path, queue=1)
    await organ.start()
    refused: list[str] = []

    async def send() -> None:
        try:
            await organ.send("slow", Go(), conversation=conversation)
        except NotRunningError as error:
            refused.append(str(error))

    with anyio.move_on_after(100) as patience:
        async with anyio.create_task_group() as group:
            for _ in range(5):
                group.start_soon(send)
            await anyio.sleep(0.1)
            await organ.close()
    assert not patience.cancel_called
    assert len(refused) == 3
    assert all("is being closed" in each or "does not run" in each for each in refused)
    works = organ._works
    assert works is not None
    with anyio.fail_after(100):
        await works.pump.wakeups.admission.enter()  # as does whoever was looking for its thread until now


@pytest.mark.parametrize("journal", ["memory", "sqlite"])
async def test_all_events_end_when_the_organism_is_closed_and_those_of_a_thread_say_so(
    journal: str, tmp_path: Path
) -> None:
    organ = organism(journal, tmp_path)
    organ.keep_history()
    await organ.start()
    ended: list[str] = []
    handle = await organ.send("slow", Go())
    said: list[str] = []

    async def hear_all() -> None:
        ended.extend([fact.thread async for fact in organ.events() if isinstance(fact, Ended)])

    async def hear_one() -> None:
        try:
            async for _ in handle.events():
                pass
        except NotRunningError as error:
            said.append(str(error))

    with anyio.move_on_after(100) as patience:
        async with anyio.create_task_group() as group:
            group.start_soon(hear_all)
            group.start_soon(hear_one)
            await anyio.sleep(0.1)
            await organ.ask("echo", Go())
            await organ.close()
    assert not patience.cancel_called
    if journal == "memory":  # it was cancelled, and so has ended
        assert (len(ended), said) == (2, [])
    else:
        assert (len(ended), said) == (1, [f"thread {handle.id} had not ended when its organism was closed"])


async def test_whoever_is_cancelled_while_the_journal_is_opened_gives_it_back(
    tmp_path: Path, anyio_backend_name: str
) -> None:
    """`Task.cancel`, as of `asyncio.wait_for`, passes every shield."""
    if anyio_backend_name != "asyncio":
        pytest.skip("trio cancels by scopes alone")
    for steps in range(1, 8):
        first = Organism(name="test", journal=f"sqlite:{tmp_path / 'j'}", handlers={"echo": code(echo)})
        task = asyncio.create_task(first.start())
        for _ in range(steps):
            await asyncio.sleep(0)
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        await first.close()
        async with Organism(name="test", journal=f"sqlite:{tmp_path / 'j'}", handlers={"echo": code(echo)}) as second:
            await second.ask("echo", Go())


async def test_an_organism_that_was_closed_leaves_no_thread_behind(tmp_path: Path) -> None:
    before = set(threading.enumerate())
    async with Organism(name="test", journal=f"sqlite:{tmp_path / 'j'}", handlers={"echo": code(echo)}) as organ:
        await organ.ask("echo", Go())
        (disk,) = (each for each in set(threading.enumerate()) - before if each.name == "organism disk")
    disk.join(disk_thread.IDLE / 2)
    assert not disk.is_alive()
