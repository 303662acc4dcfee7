"""A handler that keeps the event loop is noticed and named, with what it is doing, once (R25)."""

from __future__ import annotations

import logging
import threading
import time
from typing import TYPE_CHECKING, Any

import anyio
import pytest

from organism import Context, Reply
from organism.testing import running
from tests.hard.pump_world import Go, Said, code

if TYPE_CHECKING:
    from collections.abc import Iterator

PATIENCE = 0.02
"""Seconds after which the watchdogs of these tests bark."""


async def blocks_at_once(message: Go, ctx: Context) -> Reply[Said]:
    compute(message.n)
    return Reply(Said("at once"))


async def blocks_later(message: Go, ctx: Context) -> Reply[Said]:
    await anyio.lowlevel.checkpoint()
    await deeper(message.n)
    return Reply(Said("later"))


async def deeper(milliseconds: int) -> None:
    compute(milliseconds)


def compute(milliseconds: int) -> None:
    time.sleep(milliseconds / 1000)


async def echo(message: Go, ctx: Context) -> Reply[Said]:
    await anyio.lowlevel.checkpoint()
    return Reply(Said(message.text))


@pytest.fixture
def said(caplog: pytest.LogCaptureFixture) -> Iterator[list[str]]:
    """What was warned of."""
    caplog.set_level(logging.WARNING, "organism.handlers")
    lines: list[str] = []

    class Keep(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            lines.append(f"{record.levelname} {record.getMessage()}")

    keep = Keep()
    logging.getLogger("organism.handlers").addHandler(keep)
    yield lines
    logging.getLogger("organism.handlers").removeHandler(keep)


@pytest.mark.parametrize("handler", [blocks_at_once, blocks_later])
async def test_a_handler_that_blocks_is_named_with_its_stack(handler: Any, said: list[str]) -> None:
    async with running(handlers={"busy": code(handler, timeout=None)}, watchdog=PATIENCE) as organism:
        await organism.ask("busy", Go(n=80), id="t")
    (line,) = said
    first, *stack = line.splitlines()
    assert first == (
        "WARNING handler 'busy' in thread t has kept the event loop for 0.02 s: nothing else runs meanwhile. Await what takes "
        "long, or make it a plain 'def', which runs in a thread. It is at:"
    )
    # The handler's own lines, from its first to where it is, and none of ours.
    assert [each.strip().rpartition(" in ")[2] for each in stack if each.strip().startswith("File")] == (
        ["blocks_at_once", "compute"] if handler is blocks_at_once else ["blocks_later", "deeper", "compute"]
    )
    assert stack[-1].strip() == "time.sleep(milliseconds / 1000)"


async def test_each_delivery_is_named_once(said: list[str]) -> None:
    async def often(message: Go, ctx: Context) -> Reply[Said]:
        for _ in range(3):
            compute(50)
            await anyio.lowlevel.checkpoint()
        return Reply(Said())

    async with running(handlers={"often": code(often, timeout=None)}, watchdog=PATIENCE) as organism:
        for thread in "ab":
            await organism.ask("often", Go(), id=thread)
    assert [line.partition(" has kept")[0] for line in said] == [
        f"WARNING handler 'often' in thread {thread}" for thread in "ab"
    ]


async def test_a_task_that_a_handler_started_is_shown_too(said: list[str]) -> None:
    async def parent(message: Go, ctx: Context) -> Reply[Said]:
        async with anyio.create_task_group() as group:
            group.start_soon(deeper, 80)
        return Reply(Said())

    async with running(handlers={"parent": code(parent, timeout=None)}, watchdog=PATIENCE) as organism:
        await organism.ask("parent", Go())
    (line,) = said
    assert line.startswith("WARNING a task that is no delivery of its own has kept the event loop for 0.02 s")
    assert "in deeper" in line


async def test_nobody_barks_at_those_that_wait_or_work_in_threads(said: list[str]) -> None:
    gate = threading.Event()

    def plain(message: Go, ctx: Context) -> Reply[Said]:
        gate.wait(0.06)
        return Reply(Said("worked"))

    async def waits(message: Go, ctx: Context) -> Reply[Said]:
        await anyio.sleep(1000)
        return Reply(Said("waited"))

    handlers = {"plain": code(plain, timeout=None), "waits": code(waits, timeout=None), "echo": code(echo)}
    async with running(handlers=handlers, watchdog=PATIENCE) as organism:
        assert await organism.ask("plain", Go()) == Said("worked")
        assert await organism.ask("waits", Go()) == Said("waited")
        for _ in range(200):
            await organism.ask("echo", Go())
    assert said == []


async def test_without_a_watchdog_nobody_looks(said: list[str]) -> None:
    before = threading.active_count()
    async with running(handlers={"busy": code(blocks_at_once, timeout=None)}, watchdog=None) as organism:
        assert threading.active_count() == before
        await organism.ask("busy", Go(n=60))
    assert said == []


async def test_the_watchdog_goes_when_the_organism_does() -> None:
    async with running(handlers={"echo": code(echo)}):
        assert "organism watchdog" in {each.name for each in threading.enumerate()}
    for _ in range(200):
        if "organism watchdog" not in {each.name for each in threading.enumerate()}:
            return
        time.sleep(0.001)  # noqa: ASYNC251 - it is another thread that is waited for
    pytest.fail("it is still there")
