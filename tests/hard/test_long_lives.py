"""What comes and goes a thousand times in the life of a process leaves nothing behind: no memory, no thread, no open file."""

from __future__ import annotations

import gc
import threading
import tracemalloc
from contextlib import suppress
from itertools import count, pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import anyio
import pytest

from organism import Context, Forward, NotRunningError, Organism, OrganismError, Reply, Send
from organism.primitives import BudgetDecision, BudgetRequest
from tests.hard.pump_world import Go, Said, code, echo
from tests.waiting import LONG

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

MANY: Final = 150
NUMBERS: Final = count()
FILES: Final = Path("/proc/self/fd")
"""What this process has open, where the system tells."""
LEAST: Final = 100
"""Bytes that whatever is forgotten would take each time, at the least."""


async def asks_for_more(message: Go, ctx: Context) -> Reply[Said]:
    """Asks for more budget."""
    assert await ctx.request_budget("tokens", 10, "more")
    return Reply(Said())


async def boss(asked: BudgetRequest, ctx: Context) -> Reply[BudgetDecision]:
    """Grants everything."""
    return Reply(BudgetDecision(granted=True, unit=asked.unit, amount=asked.amount, reason=""))


async def listeners(organism: Organism) -> None:
    """Those who listen to facts, to texts and to one thread come and go."""
    leave = [organism.subscribe(str), organism.overhear(str)]
    facts = organism.events()
    thread = await organism.send("echo", Go())
    events = thread.events()
    await thread.result()
    assert (await anext(facts)).thread == (await anext(events)).fact.thread == thread.id
    for each in leave:
        each()


async def meters(organism: Organism) -> None:
    """Those who hear what calls cost come and go; each has a thread of its own."""
    leave = organism.meter(str)
    await organism.ask("echo", Go())
    leave()


async def nobody(organism: Organism) -> None:
    """Somebody asks for what is not there, by another name each time."""
    name = f"nobody {next(NUMBERS)}"
    assert organism.thread_of(name) is None
    assert await organism.result_of(name) is None
    assert await organism.conversation_of(name) is None
    for wrong in (organism.send(name, Go()), organism.answer(name, Said()), organism.history(name)):
        with pytest.raises(OrganismError):
            await wrong


async def too_late(organism: Organism) -> None:
    """A thread that has ended is ordered about."""
    thread = await organism.send("echo", Go())
    await thread.result()
    for order in (thread.cancel, thread.pause, thread.resume, lambda: thread.add_budget(tokens=5)):
        with suppress(NotRunningError):
            order()
    assert organism.thread_of(thread.id) is None


async def grants(organism: Organism) -> None:
    """A thread asks for more, and gets it."""
    await organism.ask("asks_for_more", Go())


HANDLERS: Final = {"echo": code(echo), "asks_for_more": code(asks_for_more), "boss": code(boss)}
BUDGET: Final[dict[str, Any]] = {"tokens": 100, "grants_by": "boss"}


def grown(taken: list[int]) -> int:
    """By how much at least the bytes that are taken grow from one time to the next: what grows once in a while is no leak."""
    return min(after - before for before, after in pairwise(taken))


@pytest.mark.parametrize("happens", [listeners, meters, nobody, too_late, grants], ids=lambda happens: happens.__name__)
async def test_what_comes_and_goes_leaves_nothing_behind(happens: Callable[[Organism], Awaitable[None]]) -> None:
    async with Organism(handlers=HANDLERS, budget=BUDGET) as organism:
        organism.keep_history()

        async def again() -> int:
            for _ in range(MANY):
                await happens(organism)
            await anyio.sleep(1)
            gc.collect()
            return tracemalloc.get_traced_memory()[0]

        await again()
        tracemalloc.start()
        try:
            taken = [await again() for _ in range(3)]
        finally:
            tracemalloc.stop()
    assert grown(taken) < MANY * LEAST


@pytest.mark.by_turns
@pytest.mark.parametrize("journal", ["memory:", "sqlite:x.db", "jsonl:x"])
async def test_organisms_that_are_opened_and_closed_leave_nothing_behind(tmp_path: Path, journal: str) -> None:
    async def live() -> None:
        kept: dict[str, Any] = {"journal": journal, "folder": tmp_path, "session_log": "log"}
        async with Organism(handlers=HANDLERS, **kept) as organism:
            organism.meter(str)
            await organism.ask("echo", Go())

    def open_files() -> int:
        return sum(1 for _ in FILES.iterdir()) if FILES.exists() else 0

    def ours(others: set[threading.Thread]) -> list[str]:
        """Threads of organisms, but for those that ``others`` have left."""
        own = [each for each in threading.enumerate() if each not in others and each.name.startswith("organism")]
        for each in own:
            each.join(LONG)  # it was told to end, and may still be about to
        return [each.name for each in own if each.is_alive()]

    def alive() -> int:
        gc.collect()
        return sum(str(type(each).__module__).startswith("organism.") for each in gc.get_objects())

    others = set(threading.enumerate())
    await live()
    await live()
    assert ours(others) == []
    files, objects = open_files(), alive()
    for _ in range(10):
        await live()
    assert (ours(others), open_files()) == ([], files)
    assert alive() - objects < 10


async def test_a_thread_that_fails_again_and_again_keeps_the_first_of_its_failures() -> None:
    taken: list[int] = []

    async def sends(message: Go, ctx: Context) -> list[Send[Go] | Forward[Go]] | None:
        if message.n % MANY == 0:
            gc.collect()
            taken.append(tracemalloc.get_traced_memory()[0])
        return [Send("echo", message), Forward("sends", Go(n=message.n + 1))] if message.n < 4 * MANY else None

    budget: dict[str, Any] = {"messages": None, "depth": None}
    async with Organism(handlers={"sends": code(sends, "echo"), "echo": code(echo)}, budget=budget) as organism:
        tracemalloc.start()
        try:
            result = await (await organism.send("sends", Go())).result()
        finally:
            tracemalloc.stop()
    assert (result.outcome, result.code) == ("failed", "validation")
    assert grown(taken) < MANY * LEAST
