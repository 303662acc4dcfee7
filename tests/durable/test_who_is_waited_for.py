"""Whoever waits for the disk waits for what was recorded when it asked, and what is recorded goes to the disk whoever records it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import anyio
import anyio.lowlevel
import pytest

from organism import Context, Reply, Send
from organism.errors import BudgetExhaustedError
from organism.record.facts import CallRefused, Fact
from organism.testing import Says, ScriptedModel
from tests.durable.inline import Inline, InlineWorks
from tests.hard.pump_world import Go

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


class SlowWorks(InlineWorks):
    """The parts of an organism whose disk writes a group when it is told to, once its world is there."""

    def _hand_over(self, work: Callable[[], Any], done: Callable[[Any], None]) -> None:
        if Slow.at_once:
            super()._hand_over(work, done)
        else:
            Slow.groups.append(lambda: super(SlowWorks, self)._hand_over(work, done))


class Slow(Inline):
    """An organism with such a disk."""

    groups: ClassVar[list[Callable[[], None]]] = []
    """What waits to be written."""
    at_once: ClassVar = False
    _parts = SlowWorks


@pytest.fixture(autouse=True)
def disk() -> None:
    Slow.groups.clear()
    Slow.at_once = False


async def _others() -> None:
    """Gives everything else its turns."""
    for _ in range(20):
        await anyio.lowlevel.checkpoint()


async def test_several_messages_are_taken_in_once_they_are_written_whatever_is_recorded_meanwhile(
    tmp_path: Path,
) -> None:
    async def far(message: Go, ctx: Context) -> Send[Go] | Reply[Go]:
        """Sends it on to itself."""
        return Send("far", Go(message.text, n=message.n + 1)) if message.n < 1000 else Reply(message)

    handlers = {"far": {"code": far, "peers": ["far"], "effects": "context"}}
    budget = {"messages": None, "depth": None}
    accepted = list[str]()
    async with Slow(name="test", handlers=handlers, budget=budget, journal=f"sqlite:{tmp_path / 'x.db'}") as organism:

        async def send() -> None:
            accepted.extend(each.id for each in await organism.send_all([("far", Go("a")), ("far", Go("b"))]))

        async with anyio.create_task_group() as group:
            group.start_soon(send)
            await _others()
            before = len(Slow.groups), len(accepted)
            Slow.groups.pop()()  # the two messages; what their handlers did since is in the next group
            await _others()
            after = len(Slow.groups), len(accepted)
            Slow.at_once = True
            Slow.groups.pop()()
    assert (before, after) == ((1, 0), (1, 2))


async def test_what_a_handler_made_is_written_while_it_waits_for_the_world(tmp_path: Path) -> None:
    refused, heard = anyio.Event(), list[Fact]()

    def hear(fact: Fact) -> None:
        if isinstance(fact, CallRefused):
            heard.append(fact)
            refused.set()

    async def caller(message: Go, ctx: Context) -> Reply[Go]:
        """Is refused a call; that makes no work for anybody, and it waits until it has been told of outside."""
        with pytest.raises(BudgetExhaustedError):
            await ctx.complete("much " * 1000)
        with anyio.fail_after(5):
            await refused.wait()
        return Reply(message)

    models = ScriptedModel([Says(text="never said")]).models()
    handlers = {"caller": {"code": caller, "budget": {"tokens": 100}}}
    journal = f"sqlite:{tmp_path / 'x.db'}"
    async with Inline(
        name="test", handlers=handlers, models=models, budget={"tokens": 100}, journal=journal
    ) as organism:
        organism.subscribe(hear)
        assert (await organism.ask("caller", Go("a"))).text == "a"
    assert len(heard) == 1
