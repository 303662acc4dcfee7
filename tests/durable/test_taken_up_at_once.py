"""What an earlier process left is taken up once, and what is sent under one id is taken in once, whoever asks at the same time."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import anyio
import anyio.lowlevel
import pytest

from organism import Context, Reply
from organism.errors import JournalError
from organism.journal import open_journal
from organism.pump import runtime
from organism.pump.writer import in_place
from organism.works.control.changes import written_down
from organism.works.control.orders import Order
from tests.durable.inline import Inline, InlineWorks
from tests.durable.mortal import facts_of
from tests.hard.pump_world import Go, Said, code

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from organism import ThreadHandle

pytestmark = pytest.mark.anyio


class SlowWorks(InlineWorks):
    """The parts of an organism whose disk takes a while, in which others go on."""

    async def _offload(self, work: Callable[[], Any]) -> Any:
        await anyio.sleep(0.01)
        return work()


class Slow(Inline):
    """An organism with such a disk."""

    _parts = SlowWorks


class LateWorks(InlineWorks):
    """The parts of an organism whose disk has written a batch a turn of the event loop later."""

    def _hand_over(self, work: Callable[[], Any], done: Callable[[Any], None]) -> None:
        runtime.caller()(partial(in_place, work, done))


class Late(Inline):
    """An organism with such a disk."""

    _parts = LateWorks


async def counter(message: Go, ctx: Context) -> Reply[Said]:
    """Counts in a conversation; a turn takes a second."""
    await anyio.sleep(1)
    number = ctx.state.get("n", 0) + 1
    ctx.state["n"] = number
    return Reply(Said(f"{message.text} {number}"))


def organism(path: Path) -> Slow:
    return Slow(name="test", handlers={"counter": code(counter, timeout=None)}, journal=f"sqlite:{path / 'j.db'}")


async def left(path: Path, conversation: str | None = None) -> None:
    """A process leaves three threads; a turn each, where a conversation is given."""
    async with organism(path) as first:
        for number in range(3):
            await first.send("counter", Go(f"left {number}"), id=f"t{number}", conversation=conversation)
        await anyio.sleep(0.5)


async def test_turns_are_sent_while_their_conversation_is_resumed(tmp_path: Path) -> None:
    await left(tmp_path, conversation="c")
    heard: list[str] = []

    async def hear(handle: ThreadHandle) -> None:
        reply = (await handle.result()).reply
        assert isinstance(reply, Said)
        heard.append(reply.text)

    async with organism(tmp_path) as second, anyio.create_task_group() as group:

        async def send(text: str, id_: str | None = None) -> None:
            await hear(await second.send("counter", Go(text), conversation="c", id=id_))

        async def resume() -> None:
            taken = await second.resume()
            assert {"t0", "t1", "t2"} <= {handle.id for handle in taken}
            for handle in taken:
                group.start_soon(hear, handle)

        group.start_soon(resume)
        for number in range(2):
            group.start_soon(send, f"new {number}")
        group.start_soon(send, "left 1", "t1")
    assert {"left 0 1", "left 1 2", "left 2 3"} <= set(heard)
    assert sorted(int(text[-1]) for text in set(heard)) == [1, 2, 3, 4, 5]
    journal = open_journal(f"sqlite:{tmp_path / 'j.db'}", readonly=True)
    assert (len(journal.chains(open=True)), journal.flaws()) == (0, ())
    journal.close()


@pytest.mark.parametrize("after", [0.0, 0.005, 0.015, 0.025])
async def test_an_order_to_what_is_being_taken_up_is_carried_out_or_refused(tmp_path: Path, after: float) -> None:
    await left(tmp_path)
    said: list[str] = []
    async with organism(tmp_path) as second:

        async def order() -> None:
            await anyio.sleep(after)
            assert second._works is not None
            assert second._works.durable is not None
            try:
                order = Order(do="cancel", thread="t0")
                said.append(await written_down(second._works.durable, "t0", "t0", order))
            except JournalError as error:
                said.append(str(error))

        async with anyio.create_task_group() as group:
            group.start_soon(order)
            handles = await second.resume()
        results = {handle.id: await handle.result() for handle in handles}
    ends = [fact for fact in facts_of(tmp_path / "j.db")["t0"] if type(fact).__name__ == "Ended"]
    assert len(ends) == 1
    if "t0" in results:
        assert said == ["'t0' was taken up just now, and nothing was changed; try again"]
        assert results["t0"].outcome == "completed"
    else:
        assert said == ["thread t0 is cancelled"]
    assert {results[each].outcome for each in ("t1", "t2")} == {"completed"}


@pytest.mark.parametrize("how", [{"queue": 1}, {"conversation": {"messages": 1, "on_cap": "rotate"}}])
async def test_what_is_sent_again_while_the_first_one_waits_is_taken_in_once(tmp_path: Path, how: Any) -> None:
    ran: list[str] = []

    async def quick(message: Go, ctx: Context) -> Reply[Said]:
        """Is slow, or at once over."""
        ran.append(message.text)
        if message.text == "slow":
            await anyio.sleep(1)
        return Reply(Said(message.text))

    handlers = {"quick": code(quick, timeout=None, concurrency=1)}
    conversation = "c" if "conversation" in how else None
    threads: set[str] = set()
    async with (
        Slow(name="test", handlers=handlers, journal=f"sqlite:{tmp_path / 'j.db'}", **how) as organism,
        anyio.create_task_group() as clients,
    ):

        async def send(text: str, id_: str | None = None) -> None:
            result = await (await organism.send("quick", Go(text), id=id_, conversation=conversation)).result()
            assert result.reply == Said(text)
            threads.add(result.thread)

        for _ in range(2):
            clients.start_soon(send, "slow")
            await anyio.sleep(0.1)
        for _ in range(3):  # a webhook that hears nothing says it again
            clients.start_soon(send, "again", "w-1")
    assert sorted(ran) == ["again", "slow", "slow"]
    assert len(threads) == 3


@pytest.mark.parametrize("named", [None, "id", "conversation"])
async def test_an_ask_that_is_given_up_while_its_message_is_written_leaves_no_thread(
    tmp_path: Path, named: str | None
) -> None:
    late = Late(name="test", handlers={"counter": code(counter)}, journal=f"sqlite:{tmp_path / 'j.db'}")
    lived: list[int] = []
    async with late:
        for steps in range(8):
            how = {} if named is None else {named: f"number {steps}"}
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(partial(late.ask, "counter", Go("x"), **how))
                for _ in range(steps):
                    await anyio.lowlevel.checkpoint()
                lived.append(late.statistics().threads)
                tasks.cancel_scope.cancel()
            await anyio.sleep(0.5)  # half of what a turn takes
            assert late.statistics().threads == 0
    assert 1 in lived
