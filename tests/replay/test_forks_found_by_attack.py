"""Forks of odd threads: of those of which nothing is left to be done, and of forks."""

from __future__ import annotations

from typing import TYPE_CHECKING

import anyio
import pytest

from organism import Context, HandlerFailedError, Reply, Send
from tests.hard.pump_world import Go, Said, code
from tests.replay.replay_world import Recorded

if TYPE_CHECKING:
    from pathlib import Path

    from organism import Organism, ThreadResult


async def impatient(message: Go, ctx: Context) -> Reply[Said]:
    """Does without an answer that takes long."""
    try:
        await ctx.ask("slow", message, timeout=1)
    except HandlerFailedError as error:
        return Reply(Said(error.code))
    return Reply(Said("in time"))


async def slow(message: Go, ctx: Context) -> None:
    """Takes long, and a while to be cancelled."""
    try:
        await anyio.sleep(100)
    finally:
        with anyio.CancelScope(shield=True):
            await anyio.sleep(1)


@pytest.mark.parametrize("budget", [None, {"messages": 5}])
def test_a_fork_that_was_left_with_what_is_cancelled_has_its_result(
    budget: dict[str, int] | None, tmp_path: Path
) -> None:
    """The reply has left; whoever was asked is still to be cancelled, and is not run again for that."""
    world = Recorded(tmp_path, handlers={"impatient": code(impatient, "slow"), "slow": code(slow, budget=budget)})
    first = world.send("impatient", Go())

    async def work(organism: Organism) -> list[ThreadResult]:
        forks = [await organism.fork("t", id="again") for _ in range(2)]
        return [await each.result() for each in forks]

    for result in world.run(work):
        assert (result.thread, result.outcome, result.replies) == ("again", "completed", first.replies)
    assert world.replay("again").differences == ()


async def draws(message: Go, ctx: Context) -> Send[Go] | None:
    """Goes on with a number that is another one in each thread."""
    drawn = Go(f"{message.text} {ctx.random.random()}", n=message.n - 1)
    return Send("draws", drawn) if message.n else None


def test_a_fork_of_a_fork_is_replayed_by_the_names_that_it_had(tmp_path: Path) -> None:
    """Its first delivery is one of the first thread, its second one of the first fork, and what follows is its own."""
    world = Recorded(tmp_path, handlers={"draws": code(draws)})
    world.send("draws", Go(n=3))

    def answered(thread: str, count: int) -> int:
        return [int(each["n"]) for each in world.documents(thread) if each["fact"] == "Answered"][count - 1]

    async def fork(organism: Organism) -> None:
        await (await organism.fork("t", at=answered("t", 1), id="once")).result()
        await (await organism.fork("once", at=answered("once", 2), id="twice")).result()

    world.run(fork)
    for thread in ("t", "once", "twice"):
        replayed = world.replay(thread)
        assert (replayed.deliveries, replayed.differences, replayed.unsure) == (4, (), ())
