"""Between two processes organism.yaml may change: what no longer fits fails alone, with a word."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import anyio
import pytest

from organism import Context, Organism, Reply, Send, payload
from organism.errors import HandlerFailedError, JournalError, NotRunningError
from organism.primitives import BudgetExhausted, HandlerFailed
from organism.pump.disk_thread import IDLE
from organism.record import facts
from tests.durable.inline import Inline
from tests.hard.pump_world import Go, Said, code

if TYPE_CHECKING:
    from pathlib import Path


@payload
class Count:
    """Another payload than before."""

    n: int


async def hang(message: Go, ctx: Context) -> None:
    """Never answers."""
    await anyio.sleep_forever()


async def echo(message: Go, ctx: Context) -> Reply[Said]:
    """Says it again."""
    return Reply(Said(message.text))


async def asks_back(message: Go, ctx: Context) -> Reply[Said]:
    """Asks the one who hangs."""
    try:
        return Reply(await ctx.ask("back", message, expect=Said))
    except HandlerFailedError as failed:
        return Reply(Said(f"{failed.code}: {failed.text}"))


async def counts(message: Count, ctx: Context) -> Reply[Said]:
    """Takes another payload now."""
    return Reply(Said(str(message.n)))


def organism(path: Path, **handlers: Any) -> Inline:
    return Inline(name="test", handlers=handlers, journal=f"sqlite:{path / 'x.db'}")


async def left(path: Path) -> None:
    """An organism that leaves three threads unfinished."""
    handlers = {
        "front": code(asks_back, peers=("back",)),
        "back": code(hang, timeout=None),
        "echo": code(hang, timeout=None),
    }
    async with organism(path, **handlers) as first:
        for id_, to in (("asks", "front"), ("alone", "back"), ("other", "echo")):
            await first.send(to, Go("hello"), id=id_)
        await anyio.sleep(0.1)


async def test_a_handler_that_is_gone_fails_its_own_messages_alone(tmp_path: Path) -> None:
    await left(tmp_path)
    async with organism(tmp_path, front=code(asks_back, peers=()), echo=code(echo)) as second:
        results = {each.id: await each.result() for each in await second.resume()}
        assert (results["alone"].outcome, results["alone"].code) == ("failed", "routing")
        assert results["alone"].error == "'back' is not a handler any more"
        assert results["asks"].reply == Said("routing: 'back' is not a handler any more")
        assert results["other"].reply == Said("hello")
        assert await second.ask("echo", Go("new")) == Said("new")


async def test_a_message_that_its_handler_takes_no_more_fails(tmp_path: Path) -> None:
    await left(tmp_path)
    async with organism(tmp_path, front=code(echo), back=code(counts), echo=code(echo)) as second:
        results = {each.id: await each.result() for each in await second.resume()}
        assert (results["alone"].outcome, results["alone"].code) == ("failed", "validation")
        assert results["alone"].error == "'back' does not take Go any more"
        assert results["other"].reply == Said("hello")


def ordering(function: Any, **fields: Any) -> tuple[Any, dict[str, Any]]:
    """The payload class Order as it is in one version of a program, and the handler that takes it."""
    annotations = {"item": str} | {name: type(default) for name, default in fields.items() if default is not Ellipsis}
    annotations |= {name: int for name, default in fields.items() if default is Ellipsis}
    defaults = {name: default for name, default in fields.items() if default is not Ellipsis}
    made: Any = payload(type("Order", (), {"__annotations__": annotations, "__module__": __name__, **defaults}))

    async def handler(message: Any, ctx: Context) -> Reply[Said]:
        said: Reply[Said] = await function(message)
        return said

    handler.__annotations__["message"] = made
    return made, {"shop": code(handler, timeout=None)}


async def test_a_field_that_was_added_to_a_payload_class_is_named_with_the_way_out(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def sells(order: Any) -> Reply[Said]:
        return Reply(Said(f"{order.item}: {getattr(order, 'count', None)}"))

    order, handlers = ordering(lambda _: anyio.sleep_forever())
    async with organism(tmp_path, **handlers) as first:
        await first.send("shop", order(item="tea"), id="left")
        await anyio.sleep(0.1)
    _, handlers = ordering(sells, count=...)
    async with organism(tmp_path, **handlers) as second:
        assert await second.resume() == []
        assert second.unfinished == ("left",)
        assert (
            "left cannot be taken up: x.db: thread 'left', entry 1: Accepted: steps[1].payload: Order.count: is missing (int); "
            "resume it with the payload classes that it was written with, or give the fields that are new in them a default "
            "(reading needs none)"
        ) in caplog.text.replace(f"{tmp_path}/", "")
    _, handlers = ordering(sells, count=3)
    async with organism(tmp_path, **handlers) as third:
        (left,) = await third.resume()
        assert (await left.result()).reply == Said("tea: 3")


async def test_whoever_is_cancelled_while_it_starts_leaves_nothing_open(tmp_path: Path) -> None:
    made = organism(tmp_path, echo=code(echo))
    with anyio.CancelScope() as scope:
        scope.cancel()
        async with made:
            pass
    with pytest.raises(NotRunningError):
        await made.send("echo", Go("late"))
    async with organism(tmp_path, echo=code(echo)) as again:
        assert await again.ask("echo", Go("hello")) == Said("hello")


async def test_one_that_cannot_start_leaves_no_thread_that_waits_for_work(tmp_path: Path) -> None:
    (tmp_path / "none.db").write_bytes(b"no journal at all " * 99)
    before = {*threading.enumerate()}
    with pytest.raises(JournalError):
        await Organism(name="test", handlers={"echo": code(echo)}, journal=f"sqlite:{tmp_path / 'none.db'}").start()
    for thread in {*threading.enumerate()} - before:
        if thread.name == "organism disk":
            thread.join(IDLE / 2)
            assert not thread.is_alive()


async def test_state_that_cannot_be_written_is_refused_where_it_is_set(tmp_path: Path) -> None:
    deep: list[Any] = []
    for _ in range(3000):
        deep = [deep]
    itself: list[Any] = []
    itself.append(itself)
    values = {"long": 10**5000, "deep": deep, "itself": itself}

    async def sets(message: Go, ctx: Context) -> Reply[Said]:
        """Tries."""
        with pytest.raises(ValueError, match=r"state\['v'\]"):
            ctx.state["v"] = values[message.text]
        return Reply(Said("kept out"))

    async with organism(tmp_path, sets=code(sets)) as running:
        for name in values:
            assert await running.ask("sets", Go(name)) == Said("kept out")


async def test_time_that_passes_while_a_thread_is_paused_is_not_its_own_also_where_it_ends_then(tmp_path: Path) -> None:
    async def slow(message: Go, ctx: Context) -> Reply[Said]:
        """Takes a while."""
        await anyio.sleep(5)
        return Reply(Said("done"))

    async with organism(tmp_path, slow=code(slow, timeout=None)) as running:
        handle = await running.send("slow", Go("hello"))
        await anyio.sleep(1)
        handle.pause()
        result = await handle.result()
        assert result.outcome == "completed"
        assert result.usage.seconds == pytest.approx(1, abs=0.1)


async def takes_failures(message: Go | HandlerFailed, ctx: Context) -> Send[Go] | Reply[Said] | None:
    """Sends it on, and waits when it hears of a failure."""
    if isinstance(message, HandlerFailed):
        await anyio.sleep_forever()
    return Send("part", Go("x"))


async def sends_on(message: Go, ctx: Context) -> Send[Go]:
    """Takes no failures any more."""
    return Send("part", message)


async def part(message: Go | BudgetExhausted, ctx: Context) -> Send[Go] | None:
    """Has nothing to hand in when its messages have run out."""
    return Send("leaf", message) if isinstance(message, Go) else None


async def goes_on(message: Go, ctx: Context) -> Send[Go]:
    """Never has enough."""
    return Send("leaf", message)


async def test_whoever_was_told_of_a_failure_was_told_also_where_it_takes_none_any_more(tmp_path: Path) -> None:
    rest: dict[str, Any] = {"part": code(part, "leaf", budget={"messages": 3}), "leaf": code(goes_on)}
    async with organism(tmp_path, front=code(takes_failures, "part", timeout=None), **rest) as first:
        thread = await first.send("front", Go("hello"), id="t")
        await anyio.sleep(0.1)
        posted = {
            (step.thread, step.seq): step
            for event in await thread.history()
            for step in event.fact.steps
            if isinstance(step, facts.Posted)
        }
        # All that is handled is in the record, also what a thread that runs out brings about.
        assert [step.kind for step in posted.values()] == ["ingress", "send", "send", "send", "last", "failed"]
        ended = [
            (each.fact.thread, each.fact.seq)
            for each in await thread.history()
            if isinstance(each.fact, facts.Answered | facts.Failed)
        ]
        assert {*ended} < {*posted}
    async with organism(tmp_path, front=code(sends_on, "part", timeout=None), **rest) as second:
        (taken,) = await second.resume()
        assert taken.id == "t"
        taken.cancel()
        assert (await taken.result()).outcome == "cancelled"
