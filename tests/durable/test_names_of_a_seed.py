"""Names that are drawn from a seed come again in the next process: a thread is never taken for one that the journal has already."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

import anyio
import pytest
from anyio.lowlevel import checkpoint

from organism import Context, NotRunningError, Reply
from organism.errors import IdTakenError
from organism.record.facts import ThreadOpened
from organism.works.durable import Durable
from tests.durable.turns_world import COUNTER, Heard, Say, Talking, turn

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence
    from pathlib import Path

PERSON: dict[str, Any] = {"human": {"accepts": Say, "replies": Heard}, "description": "Is asked."}


def world(journal: str, folder: Path, **document: Any) -> Talking:
    return Talking(
        name="test", folder=folder, journal=journal, handlers={**COUNTER, "boss": PERSON}, seed=7, **document
    )


async def names_of_a_process(organism: Talking) -> list[str]:
    """Threads of each kind: that end, that are left unfinished, of a conversation, several at once, and without handlers."""
    async with organism:
        ended = await organism.send("counter", Say())
        await ended.result()
        left = await organism.send("boss", Say(f"asked after {ended.id}"))
        assert (await left.result()).outcome == "paused"
        said = await turn(organism, "counter")
        several = await organism.send_all([("counter", Say()), ("counter", Say())])
        for each in several:
            await each.result()
        async with organism.thread() as bare:
            pass
        return [ended.id, left.id, said.thread, *(each.id for each in several), bare.id]


@pytest.mark.parametrize("journal", ["sqlite:organism.db", "jsonl:organism"])
async def test_a_process_of_the_same_seed_names_its_threads_otherwise(journal: str, tmp_path: Path) -> None:
    first = await names_of_a_process(world(journal, tmp_path))
    again = await names_of_a_process(world(journal, tmp_path))
    assert len({*first, *again}) == len(first) + len(again)
    async with world(journal, tmp_path) as organism:
        await organism.resume()
        asked = sorted(each.payload.text for each in organism.inbox())
    assert asked == sorted(f"asked after {names[0]}" for names in (first, again))


@pytest.mark.parametrize("journal", ["sqlite:organism.db", "jsonl:organism"])
async def test_a_name_stays_with_its_thread_when_that_is_removed(journal: str, tmp_path: Path) -> None:
    """Services know by the ids of messages what they have done already."""
    given: list[str] = []
    for _ in range(4):
        async with world(journal, tmp_path) as organism:
            threads = [await organism.send("counter", Say()) for _ in range(3)]
            given += [(await each.result()).thread for each in threads]
            assert await organism.prune() == 3
    assert len({*given}) == len(given)


async def test_the_same_journal_gives_the_same_names(tmp_path: Path) -> None:
    names: list[list[str]] = []
    for folder in ("one", "other"):
        (tmp_path / folder).mkdir()
        processes = [await names_of_a_process(world("sqlite:o.db", tmp_path / folder)) for _ in range(2)]
        names.append([name for each in processes for name in each])
    assert names[0] == names[1]


async def test_a_thread_that_lives_under_a_name_of_the_seed_keeps_it(tmp_path: Path) -> None:
    async with world("memory:", tmp_path) as organism:
        first = (await organism.send("counter", Say())).id
    async with world("memory:", tmp_path) as organism:
        asked = await organism.send("boss", Say(), id=first)
        other = await organism.send("counter", Say())
        assert asked.id == first != other.id
        assert (await other.result()).outcome == "completed"


async def test_a_name_that_is_given_by_hand_is_given_to_nobody_else(tmp_path: Path) -> None:
    """It was looked for before, and its thread has ended since."""
    (tmp_path / "as it would be").mkdir()
    async with world("sqlite:o.db", tmp_path / "as it would be") as organism:
        names = [(await organism.send("counter", Say())).id for _ in range(9)]
    async with world("sqlite:o.db", tmp_path) as organism:
        given: list[str] = []
        for number in range(6):
            if number == 4:  # names are looked for ahead by now
                for name in (names[5], names[8]):
                    await (await organism.send("counter", Say(), id=name)).result()
            given.append((await organism.send("counter", Say())).id)
    assert given == [*names[:5], names[6]]


async def test_the_journal_is_not_asked_for_each_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    looked = Durable.recorded

    async def counted(durable: Durable, threads: Sequence[str]) -> Collection[str]:
        asked.append(len(threads))
        return await looked(durable, threads)

    monkeypatch.setattr(Durable, "recorded", counted)
    async with world("sqlite:o.db", tmp_path) as organism:
        for _ in range(100):
            await organism.send("counter", Say())
    assert asked == [1, 2, 4, 8, 16, 32, 64]


async def slow(say: Say, _: Context) -> Reply[Heard]:
    """Takes a second."""
    await anyio.sleep(1)
    return Reply(Heard(say.text))


async def test_a_name_under_which_something_waits_to_be_taken_in_is_not_given() -> None:
    handlers = {"slow": {"code": slow, "description": "Is slow.", "concurrency": 1}}
    async with Talking(name="test", handlers=handlers, seed=7) as organism:
        first, second = [(await organism.send("slow", Say())).id for _ in range(2)]
    ids: list[str] = []
    async with (
        Talking(name="test", handlers=handlers, seed=7, queue=1) as organism,
        anyio.create_task_group() as senders,
    ):

        async def send(id_: str | None) -> None:
            handle = await organism.send("slow", Say(), id=id_)
            ids.append(handle.id)
            assert (await handle.result()).outcome == "completed"

        for id_ in ("runs", "fills the queue", first, None):
            senders.start_soon(send, id_)
            await anyio.sleep(0.1)
    assert ids == ["runs", "fills the queue", first, second]


async def test_nothing_is_begun_where_it_closes_while_a_name_is_looked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked = Durable.recorded

    async def slowly(durable: Durable, threads: Sequence[str]) -> Collection[str]:
        found = await looked(durable, threads)
        await organism.close()
        return found

    monkeypatch.setattr(Durable, "recorded", slowly)
    async with world("sqlite:o.db", tmp_path) as organism:
        with pytest.raises(NotRunningError):
            await organism.send("counter", Say())


@pytest.mark.parametrize("how", ["a turn", "several"])
async def test_a_name_is_nobody_elses_while_what_has_it_is_on_its_way_in(tmp_path: Path, how: str) -> None:
    for place in ("as it would be", *map(str, range(5))):
        (tmp_path / place).mkdir()
    async with world("sqlite:o.db", tmp_path / "as it would be") as organism:
        names = [(await organism.send("counter", Say())).id for _ in range(4)]

    async def unnamed() -> None:
        if how == "several":
            await organism.send_all([("counter", Say()) for _ in range(3)])
        else:
            await organism.send("counter", Say(), conversation="c")

    async def by_hand(organism: Any, name: str) -> None:
        with suppress(IdTakenError):  # somebody else was first
            await organism.send("boss", Say(), id=name)

    for steps in range(5):  # wherever it is by then
        async with world("sqlite:o.db", tmp_path / str(steps)) as organism:
            async with anyio.create_task_group() as senders:
                senders.start_soon(unnamed)
                for _ in range(steps):
                    await checkpoint()
                for name in names:
                    senders.start_soon(by_hand, organism, name)
                    await checkpoint()
            opened = [each for fact in organism.watch.facts for each in fact.steps if isinstance(each, ThreadOpened)]
            assert len(opened) == len({each.thread for each in opened})
