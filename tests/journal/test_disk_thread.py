"""The thread that waits for the disk: what is given to it is carried out in order, to its end, and by it alone."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import anyio
import pytest

from organism.pump import disk_thread
from organism.pump.disk_thread import DiskThread
from organism.testing import FailAfter

if TYPE_CHECKING:
    from collections.abc import Callable


async def test_work_is_done_in_the_order_in_which_it_was_given_and_by_one_thread() -> None:
    disk, done, threads = DiskThread(), list[int](), set[int]()

    def work(number: int) -> Callable[[], int]:
        def do() -> int:
            done.append(number)
            threads.add(threading.get_ident())
            return number

        return do

    assert [await disk.run(work(number)) for number in range(50)] == list(range(50))
    async with anyio.create_task_group() as group:
        for number in range(50, 100):
            group.start_soon(disk.run, work(number))
    assert sorted(done) == list(range(100))
    assert done[:50] == list(range(50))
    assert len(threads) == 1
    assert threading.get_ident() not in threads


async def test_what_the_work_raises_is_raised_where_it_was_given() -> None:
    disk = DiskThread()

    def fail() -> None:
        raise OSError("no disk")

    with pytest.raises(OSError, match="no disk"):
        await disk.run(fail)
    assert await disk.run(lambda: 1) == 1


async def test_who_is_cancelled_waits_for_the_work_to_its_end() -> None:
    disk, results = DiskThread(), list[str]()
    with anyio.CancelScope() as scope:
        scope.cancel()
        results.append(await disk.run(lambda: "done"))
        await anyio.lowlevel.checkpoint()
        results.append("not cancelled")
    assert results == ["done"]


async def test_who_is_called_back_may_start_tasks() -> None:
    disk, ended, came = DiskThread(), anyio.Event(), list[object]()

    async def task(number: object) -> None:
        await anyio.lowlevel.checkpoint()
        came.append(number)
        ended.set()

    async with anyio.create_task_group() as group:

        def done(number: int | BaseException) -> None:
            try:
                group.start_soon(task, number)
            except RuntimeError as error:
                came.append(error)
                ended.set()

        disk.begin(lambda: 1, done)
        await ended.wait()
    assert came == [1]


async def test_a_thread_without_work_ends_and_the_next_work_starts_another(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(disk_thread, "IDLE", 0.001)
    disk = DiskThread()
    first = await disk.run(threading.current_thread)
    first.join()
    second = await disk.run(threading.current_thread)
    assert second is not first
    second.join()


async def test_a_thread_that_is_to_rest_does_what_it_was_given_and_does_not_wait_for_more() -> None:
    disk, gate = DiskThread(), threading.Event()
    disk.rest()  # there is none yet
    first = await disk.run(threading.current_thread)
    disk.begin(gate.wait, lambda _: None)
    disk.rest()
    gate.set()
    first.join()
    second = await disk.run(threading.current_thread)
    assert second is not first
    disk.rest()
    second.join()


@pytest.mark.parametrize("backend", ["trio", "asyncio"])
def test_work_that_outlives_its_loop_says_nothing(backend: str) -> None:
    disk, gate, came = DiskThread(), threading.Event(), list[object]()

    async def leave() -> None:
        disk.begin(gate.wait, came.append)

    anyio.run(leave, backend=backend)
    gate.set()
    assert anyio.run(disk.run, threading.current_thread, backend=backend).name == "organism disk"
    assert not came


async def test_where_no_thread_can_be_started_whoever_gave_the_work_hears_it_and_it_is_not_done_later(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    disk, done, came = DiskThread(), list[int](), list[object]()
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", FailAfter(0, RuntimeError("can't start new thread")))
        with pytest.raises(RuntimeError, match="new thread"):
            await disk.run(lambda: done.append(1))
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", FailAfter(0, RuntimeError("can't start new thread")))
        disk.begin(lambda: done.append(2), came.append)
    assert "new thread" in str(came.pop())
    assert await disk.run(lambda: 3) == 3
    assert not done
