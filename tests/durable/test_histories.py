"""What has happened in a thread can be read from any event on, while it happens and afterwards."""

from __future__ import annotations

from typing import TYPE_CHECKING

import anyio
import anyio.lowlevel
import pytest

from organism import Context, Reply, Send
from organism.errors import NotRunningError
from organism.record.facts import Accepted, Answered, Ended, Paused, Resumed
from organism.testing import Says, ScriptedModel
from tests.durable.inline import Inline, InlineWorks
from tests.hard.pump_world import Go, Said, code

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path
    from typing import Any

    from organism.record.facts import Fact
    from organism.results import Event


async def first(message: Go, ctx: Context) -> Send[Go]:
    """Passes it on once it may."""
    await ctx.complete("may I?")
    await anyio.sleep(1)
    return Send("second", message)


async def second(message: Go, ctx: Context) -> Reply[Said]:
    """Says it."""
    return Reply(Said(message.text))


async def third(message: Go, ctx: Context) -> Reply[Said]:
    """Asks, and takes its time."""
    said = await ctx.ask("second", message, expect=Said)
    await anyio.sleep(2)
    return Reply(said)


def organism(journal: str) -> Inline:
    asks = {"peers": ("second",)}
    handlers = {
        "first": code(first, **asks),
        "second": code(second, budget={"messages": 5}),
        "third": code(third, **asks),
    }
    model = ScriptedModel([Says(text="yes")])
    return Inline(name="test", handlers=handlers, models=model.models(), journal=journal)


async def read(events: Any, until: int | None = None) -> list[Event]:
    found: list[Event] = []
    async for event in events:
        found.append(event)
        if len(found) == until:
            break
    return found


@pytest.mark.parametrize("kind", ["memory:", "sqlite:x.db", "jsonl:x"])
async def test_events_come_as_they_happen_and_go_on_behind_any_of_them(kind: str, tmp_path: Path) -> None:
    name, _, path = kind.partition(":")
    async with organism(f"{name}:{tmp_path / path}" if path else kind) as running:
        running.keep_history()
        handle = await running.send("first", Go("hello"))
        whole = await read(handle.events())
        assert isinstance(whole[0].fact, Accepted)
        assert isinstance(whole[-1].fact, Ended)
        assert whole[-1].fact.thread == handle.id
        assert [event.seq for event in whole] == list(range(1, len(whole) + 1))
        assert any(isinstance(event.fact, Answered) and event.fact.thread != handle.id for event in whole)
        if path:
            assert list(await handle.history()) == whole
            assert await read(handle.events(after=3)) == whole[3:]


@pytest.mark.parametrize("kind", ["memory:", "sqlite:x.db", "jsonl:x"])
async def test_how_a_thread_ended_is_read_from_what_is_kept_of_it(kind: str, tmp_path: Path) -> None:
    name, _, path = kind.partition(":")
    journal = f"{name}:{tmp_path / path}" if path else kind
    async with organism(journal) as running:
        assert await running.result_of("t") is None
        running.keep_history()
        handle = await running.send("third", Go("hello"), id="t")
        await anyio.sleep(1)
        assert await running.result_of("t") is None  # it lives, and thread_of has it
        below = await running.result_of("t.2")
        assert below is not None
        assert (below.handler, below.outcome) == ("second", "completed")
        result = await handle.result()
        assert await running.result_of("t") == (result if path else None)
        assert await running.result_of("nobody") is None
    if path:
        async with organism(journal) as running:
            assert (await running.result_of("t"), await running.result_of("t.2")) == (result, below)
    with pytest.raises(NotRunningError):
        await running.result_of("t")


async def test_reading_on_behind_an_event_misses_nothing(tmp_path: Path) -> None:
    async with organism(f"sqlite:{tmp_path / 'x.db'}") as running:
        handle = await running.send("first", Go("hello"))
        begun = await read(handle.events(), until=2)
        rest = await read(handle.events(after=begun[-1].seq))
        assert [*begun, *rest] == list(await handle.history())


class LateWorks(InlineWorks):
    """The parts of an organism whose disk takes a moment, in which whoever reads may be cancelled: as by `asyncio.wait_for`."""

    async def _offload(self, work: Callable[[], Any]) -> Any:
        found = work()
        await anyio.lowlevel.checkpoint()
        return found


class Late(Inline):
    """Such an organism."""

    _parts = LateWorks


async def test_who_stopped_waiting_for_an_event_misses_nothing(tmp_path: Path) -> None:
    async with Late(name="test", handlers={"second": code(second)}, journal=f"sqlite:{tmp_path / 'x.db'}") as running:
        handle = await running.send("second", Go("hello"))
        events: Any = handle.events()
        await handle.result()
        with anyio.CancelScope() as waiting:
            waiting.cancel()
            await anext(events)
        assert waiting.cancelled_caught
        with anyio.fail_after(10):  # nothing more happens in its thread
            assert isinstance((await read(events))[-1].fact, Ended)


@pytest.mark.parametrize("kind", ["memory:", "sqlite:x.db"])
@pytest.mark.parametrize("after", [-1, "3", 2.5, None])
async def test_events_begin_behind_a_number(kind: str, after: Any, tmp_path: Path) -> None:
    name, _, path = kind.partition(":")
    async with organism(f"{name}:{tmp_path / path}" if path else kind) as running:
        running.keep_history()
        handle = await running.send("third", Go("hello"))
        with pytest.raises(TypeError, match=f"^after is the number of an event, or 0, not {after!r}$"):
            handle.events(after=after)


async def test_all_events_of_an_organism_come_once_they_are_durable(tmp_path: Path) -> None:
    async with organism(f"sqlite:{tmp_path / 'x.db'}") as running:
        ended: list[str] = []

        async def listen() -> None:
            async for fact in running.events():
                if isinstance(fact, Ended) and fact.kind == "root":
                    ended.append(fact.thread)
                    if len(ended) == 2:
                        return

        async with anyio.create_task_group() as group:
            group.start_soon(listen)
            await anyio.lowlevel.checkpoint()
            handles = [await running.send("first", Go(text)) for text in ("a", "b")]
        assert sorted(ended) == sorted(handle.id for handle in handles)


async def test_without_a_record_there_is_no_history() -> None:
    async with organism("memory:") as running:
        handle = await running.send("second", Go("hello"))
        with pytest.raises(NotRunningError, match=r"keep_history\(\) before the thread begins"):
            await handle.history()


async def test_in_memory_the_history_of_a_thread_goes_with_it() -> None:
    """Nobody waits for the rest of what is not kept any more."""
    gone = "nothing is kept of thread 'a': .* ask while it lives"
    async with organism("memory:") as running:
        running.keep_history()
        handle = await running.send("second", Go("hello"), id="a")
        await handle.result()
        with pytest.raises(NotRunningError, match=gone):
            handle.events()
        with pytest.raises(NotRunningError, match=gone):
            await handle.history()


async def test_events_tell_nothing_twice_however_late_their_reading_begins() -> None:
    async with organism("memory:") as running:
        running.keep_history()
        handle = await running.send("first", Go("hello"))
        events = handle.events()
        handle.pause()
        handle.resume()
        found = await read(events)
        assert [event.seq for event in found] == list(range(1, len(found) + 1))
        assert len({id(event.fact) for event in found}) == len(found)
        assert [type(event.fact) for event in found].count(Paused) == 1


async def test_events_that_a_subscriber_asks_for_tell_nothing_twice() -> None:
    """What it has caused by itself has happened, and nobody was told of it yet."""
    async with organism("memory:") as running:
        running.keep_history()
        handle = await running.send("first", Go("hello"))
        asked: list[AsyncIterator[Event]] = []

        def hear(fact: Fact) -> None:
            if isinstance(fact, Paused):
                handle.resume()
                asked.append(handle.events())

        running.subscribe(hear)
        handle.pause()
        await anyio.sleep(0.1)
        (events,) = asked
        found = await read(events)
        assert [event.seq for event in found] == list(range(1, len(found) + 1))
        assert [type(event.fact) for event in found].count(Resumed) == 1


async def test_events_tell_of_no_thread_whose_name_begins_like_that_of_one_below() -> None:
    async with organism("memory:") as running:
        running.keep_history()
        handle = await running.send("first", Go("hello"), id="a")
        events = handle.events()
        assert isinstance((await anext(events)).fact, Accepted)
        await (await running.send("second", Go("other"), id="a.b")).result()
        found = await read(events)
        assert "a.b" not in {event.fact.thread for event in found}
        assert [event.seq for event in found] == list(range(2, len(found) + 2))


async def test_events_of_a_turn_have_the_numbers_that_they_have_in_the_record_of_all_turns() -> None:
    async with organism("memory:") as running:
        running.keep_history()
        record: list[Fact] = []
        running.subscribe(record.append)
        handle = await running.send("first", Go("hello"), conversation="c")
        events = handle.events()
        found = [await anext(events)]
        following = await running.send("second", Go("next"), conversation="c")  # stands in the same record
        found += await read(events)
        await handle.result()  # by then, subscribers have heard of it all as well
        assert [record[event.seq - 1] for event in found] == [event.fact for event in found]
        assert isinstance(found[-1].fact, Ended)
        assert any(fact.thread == following.id for fact in record[: found[-1].seq])


@pytest.mark.parametrize("kind", ["sqlite:x.db", "jsonl:x"])
async def test_another_process_reads_the_history_of_any_thread_and_forks_by_its_numbers(
    kind: str, tmp_path: Path
) -> None:
    name, _, path = kind.partition(":")
    journal = f"{name}:{tmp_path / path}"
    async with organism(journal) as running:
        handle = await running.send("third", Go("hello"), id="t")
        await handle.result()
        for _ in range(2):
            await (await running.send("second", Go("again"), conversation="c")).result()
        whole = await handle.history()
    async with organism(journal) as running:
        assert await running.history("t") == whole
        assert await running.history("t.2") == tuple(event for event in whole if event.fact.thread == "t.2")
        turns = [event for event in await running.history("conversation:c") if isinstance(event.fact, Ended)]
        assert len(turns) == 2
        with pytest.raises(NotRunningError, match="there is no thread 'nobody' in the journal"):
            await running.history("nobody")
        answered = next(event for event in whole if event.fact.thread == "t.2" and isinstance(event.fact, Answered))
        fork = await running.fork("t", at=answered.seq, id="f")
        assert (await fork.result()).replies == (await handle.result()).replies
        assert [event.fact.at for event in await running.history("f")][1 : answered.seq + 1] == [
            event.fact.at for event in whole[: answered.seq]
        ]
    with pytest.raises(NotRunningError):
        await running.history("t")


async def test_in_memory_the_history_of_a_live_thread_is_read_by_its_id() -> None:
    async with organism("memory:") as running:
        running.keep_history()
        handle = await running.send("third", Go("hello"), id="t")
        await anyio.sleep(1)
        assert await running.history("t") == await handle.history()
        await handle.result()
        with pytest.raises(NotRunningError, match="nothing is kept of thread 't'"):
            await running.history("t")
