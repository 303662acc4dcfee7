"""Messages that failed without being delivered: a replay does not call their handlers either."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import anyio
import pytest

from organism import Context, Refused, Reply, Send
from organism.primitives import BudgetExhausted, HandlerFailed  # noqa: TC001 - handlers' types are read
from organism.threads.restart import FAILURES
from tests.hard.pump_world import Go, Said, code, echo
from tests.replay.replay_world import Recorded

if TYPE_CHECKING:
    from pathlib import Path

    from organism import Organism


async def bad(message: Go, ctx: Context) -> Reply[Said]:
    """Fails."""
    raise ValueError(message.text)


async def hangs(message: Go, ctx: Context) -> None:
    """Never answers."""
    await anyio.sleep_forever()


async def passes_on(message: Go, ctx: Context) -> Reply[Said]:
    """Fails as the one does that it asks."""
    return Reply(await ctx.ask("bad", message, expect=Said))


@pytest.mark.parametrize("on_failure", [{}, {"attempts": 2, "backoff": [0.1, 0.1]}], ids=["once", "twice"])
def test_a_handler_that_was_left_alone_is_left_alone(tmp_path: Path, on_failure: dict[str, Any]) -> None:
    world = Recorded(tmp_path, handlers={"bad": code(bad, on_failure=on_failure), "passes": code(passes_on, "bad")})

    async def work(organism: Organism) -> None:
        for number in range(FAILURES):
            await (await organism.send("bad", Go(f"{number}"), id=f"t{number}")).result()
        for to, id_ in (("bad", "t"), ("passes", "asked")):
            assert "is left alone" in str((await (await organism.send(to, Go("last"), id=id_)).result()).error)

    world.run(work)
    works = {"bad": code(echo, on_failure=on_failure), "passes": code(passes_on, "bad")}
    found = world.replay(handlers=works)
    assert (found.deliveries, found.differences, found.unsure) == (0, (), ())
    # Whoever passes such a failure on was called.
    assert (world.replay("asked", handlers=works).deliveries, world.replay("asked", handlers=works).differences) == (
        1,
        (),
    )
    other = world.replay("asked", handlers={**works, "passes": code(echo, "bad")})
    assert [each.handler for each in other.differences] == ["passes"]
    # One that ran is run again.
    assert [each.handler for each in world.replay("t0", handlers=works).differences][:1] == ["bad"]


@pytest.mark.parametrize("then", [{}, {"back": code(passes_on)}], ids=["gone", "there"])
def test_a_message_whose_handler_was_gone_is_not_handled(tmp_path: Path, then: dict[str, Any]) -> None:
    world = Recorded(tmp_path, handlers={"back": code(hangs, timeout=None), "echo": code(echo)})

    async def leave(organism: Organism) -> None:
        await organism.send("back", Go("hello"), id="t")
        await anyio.sleep(0.1)

    async def take_up(organism: Organism) -> None:
        (thread,) = await organism.resume()
        assert (await thread.result()).code == "routing"

    world.run(leave)
    world.run(take_up, handlers={"echo": code(echo)})
    found = world.replay(handlers={"echo": code(echo), **then})
    assert (found.deliveries, found.differences) == (0, ())


async def refuses(message: Go, ctx: Context) -> Reply[Said]:
    """Says by itself what the organism says of a handler that is gone."""
    raise Refused("'shop' does not sell lamps any more")


def test_whoever_only_says_so_was_called(tmp_path: Path) -> None:
    world = Recorded(tmp_path, handlers={"shop": code(refuses)})

    async def work(organism: Organism) -> None:
        await (await organism.send("shop", Go("lamp"), id="t")).result()

    world.run(work)
    assert (
        world.replay(handlers={"shop": code(refuses)}).deliveries,
        world.replay(handlers={"shop": code(refuses)}).differences,
    ) == (1, ())
    assert [each.handler for each in world.replay(handlers={"shop": code(echo)}).differences] == ["shop"]


async def hands_on(message: Go, ctx: Context) -> Send[Go]:
    """Never has enough."""
    return Send("leaf", message)


async def part(message: Go | BudgetExhausted, ctx: Context) -> Send[Go] | None:
    """Has nothing to hand in when its messages have run out."""
    return Send("leaf", message) if isinstance(message, Go) else None


async def begins(message: Go | HandlerFailed, ctx: Context) -> Send[Go] | None:
    """Takes note of failures."""
    return Send("part", message) if isinstance(message, Go) else None


@pytest.mark.parametrize("budget", [{}, {"budget": {"messages": 3}}], ids=["own", "above"])
def test_a_last_delivery_that_says_nothing_is_compared_as_well(tmp_path: Path, budget: dict[str, Any]) -> None:
    handlers = {"begins": code(begins, "part"), "part": code(part, "leaf", **budget), "leaf": code(hands_on)}
    world = Recorded(tmp_path, handlers=handlers, budget={"messages": 4})

    async def work(organism: Organism) -> None:
        thread = await organism.send("part" if not budget else "begins", Go("x"), id="t")
        assert (await thread.result()).outcome == ("completed" if budget else "exhausted")

    world.run(work)
    found = world.replay(handlers=handlers)
    assert (found.deliveries, found.differences, found.unsure) == (6 if budget else 5, (), ())
