"""What one turn, or one thread, costs does not depend on how many there were before it, nor on how many others a journal holds."""

from __future__ import annotations

import gc
import tracemalloc
from contextlib import closing
from io import StringIO
from shutil import copytree
from sys import getrecursionlimit
from typing import TYPE_CHECKING, Any, Final

import anyio
import pytest

from organism import Context, Reply, Send
from organism.budget.claims import MESSAGES
from organism.cli.main import execute
from organism.cli.streams import Streams
from organism.journal import open_journal, standing
from organism.journal.folder import LinesJournal
from organism.journal.folder_index import NAME
from organism.journal.sqlite_file import connected
from organism.journal.standing import Standing
from organism.record.facts import Snapshot
from tests.compiled import interpreted
from tests.durable.inline import Inline
from tests.hard.pump_world import Go, Said, code
from tests.hard.test_growth import ROOM, Steps, echoes, waits

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterator
    from pathlib import Path

DISKS: Final = ("sqlite:x.db", "jsonl:x")
CHAIN: Final = "conversation:c"


def swarm(folder: Path, journal: str, **more: Any) -> Inline:
    """It writes on the event loop, so that what the disk costs is counted as well."""
    lasting: dict[str, Any] = {
        "conversation": {"messages": None},
        "folder": folder,
        "journal": journal,
        "durability": "normal",
        **ROOM,
        **more,
    }
    return Inline(name="large", handlers={"echoes": code(echoes), "waits": code(waits, timeout=None)}, **lasting)


async def take_turns(made: Inline, many: int) -> None:
    for number in range(many):
        thread = await made.send("echoes", Go(str(number)), conversation="c")
        assert (await thread.result()).reply == Said(str(number))


@interpreted
@pytest.mark.by_turns
@pytest.mark.parametrize("journal", DISKS)
async def test_what_happened_in_a_turn_is_read_without_the_turns_before_it(tmp_path: Path, journal: str) -> None:
    async def read(many: int) -> int:
        steps = Steps()
        (folder := tmp_path / str(many)).mkdir()
        async with swarm(folder, journal) as made:
            await take_turns(made, many)
            thread = await made.send("echoes", Go("last"), conversation="c", id="last")
            result = await thread.result()
            with steps.counted():
                events = [each async for each in thread.events()]
                assert await made.history("last") == await thread.history() == tuple(events)
                assert await made.result_of("last") == result
                again = await made.send("echoes", Go("last"), conversation="c", id="last")
                assert await again.result() == result
            assert {each.fact.thread for each in events} == {"last"}
            assert len(events) * (many + 1) == len(await made.history(CHAIN))
        return steps.taken

    few, more = await read(15), await read(60)
    assert more < 1.2 * few, f"{few} steps behind 15 turns, {more} behind 60"


@pytest.mark.by_turns
async def test_turns_of_long_ago_are_not_kept_in_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(standing, "_KEPT", 20)
    kept, opened = list[int](), Standing.opened

    def counted(end: Standing, since: int) -> Iterator[str]:
        kept.append(len(end.threads))
        return opened(end, since)

    monkeypatch.setattr(Standing, "opened", counted)
    async with swarm(tmp_path, "sqlite:x.db") as made:
        first = await made.send("echoes", Go("first"), conversation="c", id="first")
        result = await first.result()
        await take_turns(made, 150)
        events = [each async for each in first.events()]
        assert await made.history("first") == tuple(events)
        assert {each.fact.thread for each in events} == {"first"}
        assert await made.result_of("first") == result
    assert max(kept) == 2 * 20 + 1


@pytest.mark.by_turns
async def test_the_index_of_a_folder_takes_no_more_room_than_the_turns_it_tells_of(tmp_path: Path) -> None:
    async with swarm(tmp_path, "jsonl:x") as made:
        await take_turns(made, 400)
        chain, index = (tmp_path / "x" / name for name in ("conversation_3ac.jsonl", NAME))
        assert index.stat().st_size < chain.stat().st_size
        beside = LinesJournal(tmp_path / "x", readonly=True)
        there = (beside.chains(), beside.chain(CHAIN), beside.spendings(), beside.flaws())
        turn = next(each["thread"] for each in beside.documents(CHAIN, after=3))
        assert beside.root_of(turn) == CHAIN
        copytree(tmp_path / "x", tmp_path / "killed" / "x")
    closed = LinesJournal(tmp_path / "x", readonly=True)
    assert (closed.chains(), closed.chain(CHAIN), closed.spendings(), closed.flaws()) == there
    async with swarm(tmp_path / "killed", "jsonl:x") as made:
        await take_turns(made, 1)
    killed = LinesJournal(tmp_path / "killed" / "x", readonly=True)
    assert (killed.root_of(turn), killed.flaws()) == (CHAIN, ())
    assert sum(each.amounts[MESSAGES] for each in killed.spendings()) == 401
    assert there[0] == (there[1],)
    assert there[1] is not None
    assert (there[1].open, there[1].entries, there[3]) == (False, len(closed.read(CHAIN)), ())


@pytest.mark.by_turns
async def test_what_a_folder_knows_of_a_conversation_is_told_once_more_when_it_is_closed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with swarm(tmp_path, "jsonl:x") as made:
        await take_turns(made, 150)
    monkeypatch.setattr(LinesJournal, "_read", lambda *_: pytest.fail("a conversation that rests was read"))
    closed = LinesJournal(tmp_path / "x", readonly=True)
    assert [(each.root, each.open, each.entries) for each in closed.chains()] == [
        (CHAIN, False, 451)
    ]  # a snapshot is among them


@interpreted
@pytest.mark.by_turns
async def test_a_conversation_that_rested_is_recalled_from_its_last_snapshot_on(tmp_path: Path) -> None:
    async with swarm(tmp_path, "jsonl:x") as made:
        await take_turns(made, 150)
    written = LinesJournal(tmp_path / "x").read(CHAIN)
    assert any(isinstance(each, Snapshot) for each in written)
    journal = LinesJournal(tmp_path / "y")
    for fact in written:
        assert not journal.write([(CHAIN, fact)])
    recalled, whole = Steps(), Steps()
    with recalled.counted():
        facts = journal.recall(CHAIN)
    with whole.counted():
        assert journal.read(CHAIN)[-len(facts) :] == facts
    assert recalled.taken < whole.taken * 2 * len(facts) / len(written)


@interpreted
@pytest.mark.by_turns
@pytest.mark.parametrize("journal", DISKS)
@pytest.mark.parametrize("command", ["log", "show"])
async def test_a_thread_is_shown_without_a_look_at_the_others(tmp_path: Path, journal: str, command: str) -> None:
    async def shown(many: int) -> int:
        steps = Steps()
        (folder := tmp_path / str(many)).mkdir()
        async with swarm(folder, journal) as made:
            for number in range(many):
                await (await made.send("echoes", Go("same"), id=f"t{number}")).result()
        out = StringIO()
        kind, _, name = journal.partition(":")
        with steps.counted():
            exit_code = execute(
                [command, "t7", "--journal", f"{kind}:{folder / name}"], Streams(out, StringIO(), StringIO())
            )
        assert exit_code == 0
        assert "t7" in out.getvalue()
        return steps.taken

    await shown(10)  # what is imported by the first is nobody's
    few, more = await shown(15), await shown(60)
    # A folder's index is looked through line by line, though not taken apart.
    assert more < (1.2 if journal.startswith("sqlite") else 1.6) * few, (
        f"{few} steps beside 15 threads, {more} beside 60"
    )
    with closing(open_journal(journal, folder=tmp_path / "60", readonly=True)) as written:
        assert written.chain("t60") is None


@interpreted
@pytest.mark.by_turns
async def test_a_turn_begins_without_a_look_at_all_other_conversations(tmp_path: Path) -> None:
    async def begun(many: int) -> int:
        steps = Steps(within_lines=True)
        (folder := tmp_path / str(many)).mkdir()
        async with swarm(folder, "sqlite:x.db") as made:
            threads = [await made.send("waits", Go("x"), conversation=f"c{number}") for number in range(many)]
            with steps.counted():
                threads += [await made.send("waits", Go("x"), conversation=f"d{number}") for number in range(10)]
            for thread in threads:
                thread.cancel()
            for thread in threads:
                await thread.result()
            for number in range(130):  # those that rest now go, whatever was at work before
                await (await made.send("echoes", Go("x"), conversation=f"e{number % 2}")).result()
            assert len(made.kernel.state.conversations) <= 256
        return steps.taken

    few, more = await begun(260), await begun(600)
    assert more < 1.05 * few, f"{few} steps beside 260 conversations, {more} beside 600"


@pytest.mark.by_turns
@pytest.mark.parametrize("journal", DISKS)
async def test_many_threads_are_removed_with_few_waits_for_the_disk(
    tmp_path: Path, journal: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with swarm(tmp_path, journal) as made:
        for number in range(120):
            await (await made.send("echoes", Go("same"), id=f"t{number}")).result()
        spent = made.usage()
    waits: list[object] = []

    def watched(*given: Any, **how: Any) -> sqlite3.Connection:
        db = connected(*given, **how)
        db.set_trace_callback(lambda said: waits.append(said) if said == "COMMIT" else None)
        return db

    monkeypatch.setattr("organism.journal.sqlite_reader.connected", watched)
    monkeypatch.setattr("os.fsync", waits.append)
    told = StringIO()
    kind, _, name = journal.partition(":")
    where = ["--journal", f"{kind}:{tmp_path / name}"]
    assert execute(["prune", "--before", "2100-01-01", *where], Streams(told, StringIO(), StringIO())) == 0
    assert "removed 120 threads" in told.getvalue()
    assert 1 <= len(waits) < 10
    with closing(open_journal(journal, folder=tmp_path, readonly=True)) as left:
        assert (left.chains(), left.flaws()) == ((), ())
        assert sum(each.amounts[MESSAGES] for each in left.spendings()) == spent.messages == 120


@pytest.mark.by_turns
@pytest.mark.parametrize("journal", DISKS)
async def test_a_thread_goes_on_that_is_deeper_than_calls_of_python_may_be_nested(tmp_path: Path, journal: str) -> None:
    deepest, at_the_end = getrecursionlimit() + 100, anyio.Event()

    async def deeper(message: Go | Said, ctx: Context) -> Send[Go] | Reply[Said]:
        if isinstance(message, Said):
            return Reply(message)
        if message.n < deepest:
            return Send("deeper", Go(n=message.n + 1))
        return Reply(await ctx.ask("below", Go(), expect=Said))

    async def below(message: Go, ctx: Context) -> Reply[Said]:
        if not at_the_end.is_set():
            for _ in range(300):  # so that there is a snapshot of all that is above
                await ctx.ask("echoes", Go("x" * 1000))
            at_the_end.set()
            await anyio.sleep(1000)
        return Reply(Said("the bottom"))

    handlers = {
        "deeper": code(deeper, "below", timeout=None),
        "below": code(below, "echoes", timeout=None, budget={"messages": None}),
        "echoes": code(echoes),
    }
    kept: dict[str, Any] = {
        "handlers": handlers,
        "folder": tmp_path,
        "journal": journal,
        "durability": "normal",
        **ROOM,
    }
    async with Inline(name="deep", **kept) as made:
        await made.send("deeper", Go(), id="deep")
        with anyio.fail_after(100):
            await at_the_end.wait()
    with closing(open_journal(journal, folder=tmp_path, readonly=True)) as found:
        assert any(isinstance(fact, Snapshot) for fact in found.read("deep"))
    async with Inline(name="deep", **kept) as made:
        (thread,) = await made.resume()
        assert (await thread.result()).reply == Said("the bottom")


@interpreted
@pytest.mark.by_turns
@pytest.mark.parametrize("journal", ["memory:", *DISKS])
async def test_a_conversation_goes_on_without_a_look_at_all_that_it_went_on_from(tmp_path: Path, journal: str) -> None:
    rotates = {"messages": 2, "on_cap": "rotate"}
    async with swarm(tmp_path, journal, conversation=rotates) as made:

        async def turns(many: int) -> int:
            steps = Steps()
            await take_turns(made, many)
            with steps.counted():
                await take_turns(made, 10)
            return steps.taken

        few, more = await turns(10), await turns(50)
        last = await made.conversation_of("c")
    assert last is not None
    assert last.id == "c~40"
    assert more < 1.2 * few, f"{few} steps for 10 turns behind 5 conversations, {more} behind 35"


@pytest.mark.by_turns
async def test_a_conversation_that_was_begun_once_takes_little(tmp_path: Path) -> None:
    async with swarm(tmp_path, "memory:") as made:

        async def begun(name: str, many: int) -> int:
            gc.collect()
            before = tracemalloc.get_traced_memory()[0]
            for number in range(many):
                await (await made.send("echoes", Go(), conversation=f"{name} {number}")).result()
            gc.collect()
            return (tracemalloc.get_traced_memory()[0] - before) // many

        await begun("early", 100)
        tracemalloc.start()
        try:
            await begun("first", 100)
            taken = await begun("second", 300)
        finally:
            tracemalloc.stop()
    assert taken < 1100
