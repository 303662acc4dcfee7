"""A run that is written down: threads that ended in several ways and one that has not, in a journal beside organism.yaml."""

from __future__ import annotations

from contextlib import suppress
from functools import cache
from typing import TYPE_CHECKING, Any, Final

import anyio
import trio.testing
from attrs import evolve, frozen

from organism import Context, HandlerFailedError, Refused, Reply
from organism.journal import open_journal
from organism.record.facts import CallSettled, Fact
from organism.testing import Says, ScriptedModel, running
from tests.hard.pump_world import Go, Said, code

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

BEGAN: Final = 1_780_000_000.0
"""2026-05-28 20:26:40 UTC."""
URLS: Final = ("sqlite:organism.db", "jsonl:journal")


async def desk(message: Go, ctx: Context) -> Reply[Said]:
    """Asks its model, a reader, and one that refuses."""
    await ctx.complete("What is asked?", max_output_tokens=20)
    await anyio.sleep(1)
    answer = await ctx.ask("reader", Go(message.text, 2), expect=Said)
    with suppress(HandlerFailedError):
        await ctx.ask("refuser", Go("?"))
    return Reply(Said(answer.text.upper()))


async def reader(message: Go, ctx: Context) -> Reply[Said]:
    ctx.state["seen"] = ctx.state.get("seen", 0) + 1
    return Reply(Said(f"read {message.text}"))


async def refuser(message: Go, ctx: Context) -> None:
    raise Refused("not\x1b[31m today")


async def sleeper(message: Go, ctx: Context) -> None:
    await anyio.sleep_forever()


HANDLERS: Final = {
    "desk": code(desk, "reader", "refuser"),
    "reader": code(reader, budget={"messages": 5}),
    "refuser": code(refuser),
    "sleeper": code(sleeper, timeout=None),
}


@frozen
class Record:
    """The facts of a run, each with its root thread, and what ``run --json`` prints of the threads that ended."""

    facts: tuple[tuple[str, Fact], ...]
    results: dict[str, dict[str, Any]]


@cache
def record() -> Record:
    """``apple`` completed, ``apricot`` was cancelled an hour later, and ``berry`` is unfinished after another one."""

    async def ran() -> Record:
        model = ScriptedModel([Says(text="About apples.", usage=(100, 50))])
        limits = {"tokens": 1000, "cost_usd": "0.5", "seconds": None}
        async with running(handlers=HANDLERS, models=model.models(), budget=limits) as organism:
            apple = await organism.send("desk", Go("apple"), id="apple", labels={"arm": "a"})
            results = {"apple": (await apple.result()).as_json()}
            apricot = await organism.send("sleeper", Go("apricot"), id="apricot", labels={"arm": "b"})
            await anyio.sleep(3600)
            apricot.cancel("enough")
            results["apricot"] = (await apricot.result()).as_json()
            berry = await organism.send("sleeper", Go("berry"), id="berry")
            await anyio.sleep(3600)
            facts = tuple(organism.watch.facts)
            berry.cancel()
            await berry.result()
        first = facts[0].at
        return Record(tuple((fact.thread.partition(".")[0], _shifted(fact, BEGAN - first)) for fact in facts), results)

    clock = trio.testing.MockClock(autojump_threshold=0.0)
    return anyio.run(ran, backend="trio", backend_options={"clock": clock})


def _shifted(fact: Fact, by: float) -> Fact:
    at = round(fact.at + by, 3)
    return evolve(fact, at=at, held_at=at) if isinstance(fact, CallSettled) else evolve(fact, at=at)


def written(folder: Path, url: str, facts: Iterable[tuple[str, Fact]] | None = None) -> None:
    """Writes the facts into a journal; without any, those of the record."""
    journal = open_journal(url, folder=folder)
    assert not journal.write(list(record().facts if facts is None else facts))
    journal.close()
