"""A handler that keeps the event loop is noticed and named, with what it is doing, once (R25)."""

from __future__ import annotations

import logging
import queue
import threading
import time
from typing import TYPE_CHECKING, Any, cast

import anyio
import pytest

from organism import Context, Forward, Reply
from organism.pump import runtime, watchdog
from organism.testing import running
from tests.hard.pump_world import Go, Said, code

if TYPE_CHECKING:
    from collections.abc import Iterator

PATIENCE = 0.1
"""Seconds after which the watchdogs of these tests bark."""
LONG = 30.0
"""Seconds after which a test gives up."""

barks: queue.SimpleQueue[str] = queue.SimpleQueue()
"""What was barked, for a handler that waits for it."""


async def blocks_at_once(message: Go, ctx: Context) -> Reply[Said]:
    compute()
    return Reply(Said("at once"))


async def blocks_later(message: Go, ctx: Context) -> Reply[Said]:
    await anyio.lowlevel.checkpoint()
    await deeper()
    return Reply(Said("later"))


async def deeper() -> None:
    compute()


def compute() -> None:
    """Keeps the event loop until the watchdog barks, however busy the machine is."""
    barks.get(timeout=LONG)


async def blocks_while_it_is_read(message: Go, ctx: Context) -> Iterator[Reply[Said]]:
    def answers() -> Iterator[Reply[Said]]:
        compute()
        yield Reply(Said("read"))

    return answers()


async def echo(message: Go, ctx: Context) -> Reply[Said]:
    await anyio.lowlevel.checkpoint()
    return Reply(Said(message.text))


@pytest.fixture
def said(caplog: pytest.LogCaptureFixture) -> Iterator[list[str]]:
    """What was warned of. Left out is that the loop itself did not come on, as it does where the machine is busy."""
    caplog.set_level(logging.WARNING, "organism.handlers")
    lines: list[str] = []

    class Keep(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            line = f"{record.levelname} {record.getMessage()}"
            if "is not a delivery" not in line or __file__ in line:
                lines.append(line)
                barks.put(line)

    keep = Keep()
    logging.getLogger("organism.handlers").addHandler(keep)
    yield lines
    logging.getLogger("organism.handlers").removeHandler(keep)
    while not barks.empty():
        barks.get()


@pytest.mark.parametrize("handler", [blocks_at_once, blocks_later])
async def test_a_handler_that_blocks_is_named_with_its_stack(handler: Any, said: list[str]) -> None:
    async with running(handlers={"busy": code(handler, timeout=None)}, watchdog=PATIENCE) as organism:
        await organism.ask("busy", Go(), id="t")
    (line,) = said
    first, *stack = line.splitlines()
    assert first == (
        "WARNING handler 'busy' in thread t has kept the event loop for 0.1 s: nothing else runs meanwhile. Await what takes "
        "long, or make it a plain 'def', which runs in a worker thread. It is at:"
    )
    # The handler's own lines, from its first to where it is, and none of ours.
    assert [each.strip().rpartition(" in ")[2] for each in stack if each.strip().startswith("File")] == (
        ["blocks_at_once", "compute"] if handler is blocks_at_once else ["blocks_later", "deeper", "compute"]
    )
    assert stack[-1].strip() == "barks.get(timeout=LONG)"


async def test_a_handler_whose_answers_block_while_they_are_read_is_named(said: list[str]) -> None:
    async with running(handlers={"busy": code(blocks_while_it_is_read, timeout=None)}, watchdog=PATIENCE) as organism:
        await organism.ask("busy", Go(), id="t")
    (line,) = said
    assert line.startswith("WARNING handler 'busy' in thread t has kept the event loop")


async def test_each_delivery_is_named_once(said: list[str]) -> None:
    async def often(message: Go, ctx: Context) -> Reply[Said]:
        compute()
        for _ in range(2):
            await anyio.lowlevel.checkpoint()
            time.sleep(2 * PATIENCE)  # noqa: ASYNC251 - it is to block
        return Reply(Said())

    async with running(handlers={"often": code(often, timeout=None)}, watchdog=PATIENCE) as organism:
        for thread in "ab":
            await organism.ask("often", Go(), id=thread)
    assert [line.partition(" has kept")[0] for line in said] == [
        f"WARNING handler 'often' in thread {thread}" for thread in "ab"
    ]


async def test_those_that_keep_it_one_after_the_other_are_all_named(said: list[str]) -> None:
    """The loop may not have answered between two of them: what it owes the first comes behind the second."""
    names = [f"h{number}" for number in range(8)]

    def keeps(behind: str | None) -> Any:
        async def handler(message: Go, ctx: Context) -> Forward[Go] | Reply[Said]:
            while f"handler '{ctx.name}'" not in barks.get(timeout=LONG):
                pass
            return Reply(Said()) if behind is None else Forward(behind, message)

        return handler

    chain = zip(names, [*names[1:], None], strict=True)
    handlers = {name: code(keeps(behind), timeout=None, peers=[behind] if behind else []) for name, behind in chain}
    async with running(handlers=handlers, watchdog=PATIENCE) as organism:
        await organism.ask(names[0], Go())
    assert [line.partition("'")[2].partition("'")[0] for line in said] == names


async def test_a_task_that_a_handler_started_is_shown_too(said: list[str]) -> None:
    async def parent(message: Go, ctx: Context) -> Reply[Said]:
        async with anyio.create_task_group() as group:
            group.start_soon(deeper)
        return Reply(Said())

    async with running(handlers={"parent": code(parent, timeout=None)}, watchdog=PATIENCE) as organism:
        await organism.ask("parent", Go())
    (line,) = said
    assert line.startswith("WARNING a task that is not a delivery of its own has kept the event loop for 0.1 s")
    assert "in deeper" in line


async def test_nobody_barks_at_those_that_wait_or_work_in_threads(said: list[str]) -> None:
    gate = threading.Event()
    patience = 5 * PATIENCE  # where the machine is busy, a step may well stand still for a tenth of a second

    def plain(message: Go, ctx: Context) -> Reply[Said]:
        gate.wait(2 * patience)
        return Reply(Said("worked"))

    async def waits(message: Go, ctx: Context) -> Reply[Said]:
        await anyio.sleep(1000)
        return Reply(Said("waited"))

    handlers = {"plain": code(plain, timeout=None), "waits": code(waits, timeout=None), "echo": code(echo)}
    async with running(handlers=handlers, watchdog=patience) as organism:
        assert await organism.ask("plain", Go()) == Said("worked")
        assert await organism.ask("waits", Go()) == Said("waited")
        for _ in range(200):
            await organism.ask("echo", Go())
    assert said == []


async def test_without_a_watchdog_nobody_looks(said: list[str]) -> None:
    async def blocks(message: Go, ctx: Context) -> Reply[Said]:
        time.sleep(2 * PATIENCE)  # noqa: ASYNC251 - it is to block
        return Reply(Said())

    before = watchdogs()
    async with running(handlers={"busy": code(blocks, timeout=None)}, watchdog=None) as organism:
        assert watchdogs() == before
        await organism.ask("busy", Go())
    assert said == []


def watchdogs() -> set[threading.Thread]:
    """Those that watch now, of whichever test."""
    return {each for each in threading.enumerate() if each.name == "organism watchdog"}


async def test_the_watchdog_goes_when_the_organism_does() -> None:
    before = watchdogs()
    async with running(handlers={"echo": code(echo)}, watchdog=4 * LONG) as organism:
        (own,) = watchdogs() - before
        await organism.ask("echo", Go())
    own.join(LONG)
    assert not own.is_alive()


async def test_what_it_says_is_said_before_the_organism_has_ended() -> None:
    """The handler may have ended while its line is still on the way to whoever shows it."""
    ended = threading.Event()
    said: list[bool] = []

    class Slow(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if "handler 'blocks'" not in record.getMessage():
                return  # the loop itself did not come on, as it does where the machine is busy
            barks.put(record.getMessage())
            said.append(ended.wait(PATIENCE))

    log = logging.getLogger("organism.handlers")
    log.addHandler(slow := Slow())
    try:
        async with running(handlers={"blocks": code(blocks_at_once)}, watchdog=PATIENCE) as organism:
            await organism.ask("blocks", Go())
        ended.set()
        assert said == [False]
    finally:
        log.removeHandler(slow)


async def test_a_watchdog_that_waits_for_an_answer_goes_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whose loop is over gets none."""
    asked: queue.SimpleQueue[object] = queue.SimpleQueue()
    monkeypatch.setattr(runtime, "caller", lambda: asked.put)
    monkeypatch.setattr(watchdog, "PARTS", 4000 * LONG)
    before = watchdogs()
    waiting = watchdog.Watchdog(4 * LONG, {cast("Any", "a message"): cast("Any", "its delivery")}, cast("Any", None))
    waiting.start()
    asked.get(timeout=LONG)
    (own,) = watchdogs() - before
    waiting.stop()
    own.join(LONG)
    assert not own.is_alive()
