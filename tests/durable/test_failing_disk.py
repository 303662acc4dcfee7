"""Disks that cannot be written: whoever is concerned hears it in clear words, the others go on, and nothing is damaged."""

from __future__ import annotations

import errno
import logging
import re
from typing import TYPE_CHECKING, Any

import anyio
import pytest

from organism import Context, Reply
from organism.errors import JournalError
from organism.journal import open_journal
from organism.testing import FailAfter, Says, ScriptedModel
from tests.durable.mortal import Mortal, Scene, check_whole
from tests.hard.budget_world import models
from tests.hard.pump_world import Go, Said, code

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from organism import ThreadResult
    from organism.record.facts import Fact

FULL = OSError(errno.ENOSPC, "No space left on device")


async def worker(message: Go, ctx: Context) -> Reply[Said]:
    first = await ctx.complete(f"{message.text} 1", max_output_tokens=10)
    answers = await ctx.ask_all([("peer", Go(message.text, n=number)) for number in range(2)])
    return Reply(Said(" ".join([first.text, *(answer.text for answer in answers)])))


async def peer(message: Go, ctx: Context) -> Reply[Said]:
    return Reply(Said((await ctx.complete(f"{message.text} peer {message.n}", max_output_tokens=10)).text))


def make(path: Path, *threads: str, journal: str = "sqlite") -> Scene:
    model = ScriptedModel(lambda request: Says(text=f"<{request.messages[-1]['content']}>", usage=(10, 5), seconds=1))
    document = {"handlers": {"worker": code(worker, "peer"), "peer": code(peer)}, "models": models(model)}
    return Scene(path, model, document, [(name, "worker", Go(name), {}) for name in threads], journal=journal)


class Clients:
    """Send and wait; what they hear is kept by thread."""

    def __init__(self, scene: Scene) -> None:
        self._scene = scene
        self.heard: dict[str, ThreadResult | JournalError] = {}

    async def __call__(self, organism: Mortal) -> None:
        async with anyio.create_task_group() as group:
            for id_, to, payload, _ in self._scene.sends:
                group.start_soon(self._one, organism, id_, to, payload)

    async def _one(self, organism: Mortal, id_: str, to: str, payload: Any) -> None:
        try:
            handle = await organism.send(to, payload, id=id_)
            self.heard[id_] = await handle.result()
        except JournalError as error:
            self.heard[id_] = error

    @property
    def failed(self) -> list[str]:
        return sorted(id_ for id_, heard in self.heard.items() if isinstance(heard, JournalError))


def reply_of(name: str) -> Said:
    return Said(f"<{name} 1> <{name} peer 0> <{name} peer 1>")


async def goes_on(scene: Scene) -> None:
    """In another process, with a disk that works, everything comes to its end."""
    organism = await scene.resume()
    assert {id_: result.reply for id_, result in scene.results.items()} == {
        id_: reply_of(id_) for id_, *_ in scene.sends
    }
    if scene.journal == "sqlite":
        check_whole(organism, scene.path)
    journal = open_journal(f"{scene.journal}:{scene.path}", readonly=True)
    assert [journal.verify(chain.root) for chain in journal.chains()] == [None] * len(scene.sends)
    assert not journal.chains(open=True)
    journal.close()


def nth(number: int, root: str, error: JournalError) -> Callable[[str, Fact], JournalError | None]:
    """The fact of this number of a root thread cannot be written."""
    seen = 0

    def refuses(of: str, _: Fact) -> JournalError | None:
        nonlocal seen
        seen += of == root
        return error if of == root and seen == number else None

    return refuses


async def test_one_thread_that_cannot_be_written_at_any_point_stops_and_the_others_go_on(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, half: slice
) -> None:
    whole = make(tmp_path / "plain", "good", "bad")
    facts = (await whole.play()).written // 2
    for number in range(1, facts + 1)[half]:
        caplog.clear()
        scene = make(tmp_path / f"{number}", "good", "bad")
        clients = Clients(scene)
        organism = scene.organism()
        organism.refuses = nth(number, "bad", JournalError("sector 17 of the disk cannot be written"))

        async def client(life: Mortal) -> None:
            await clients(life)  # noqa: B023 - called in this round
            assert life.unfinished == ("bad",)

        await scene.live(organism, client)
        assert clients.failed == ["bad"], number
        assert "sector 17 of the disk cannot be written" in str(clients.heard["bad"])
        assert clients.heard["good"].reply == reply_of("good")  # type: ignore[union-attr]
        said = [record for record in caplog.records if record.levelno >= logging.ERROR]
        assert len(said) == 1, [record.getMessage() for record in said]
        assert "thread bad is frozen" in said[0].getMessage()
        assert not organism.kernel.state.holds
        assert not organism.kernel.state.threads, number
        await goes_on(scene)


@pytest.mark.by_turns
async def test_a_thread_whose_writing_failed_goes_on_in_the_same_process_once_it_is_taken_up(tmp_path: Path) -> None:
    whole = make(tmp_path / "plain", "good", "bad")
    facts = (await whole.play()).written // 2
    for number in range(1, facts + 1):
        scene = make(tmp_path / f"{number}", "good", "bad")
        clients = Clients(scene)
        organism = scene.organism()
        organism.refuses = nth(number, "bad", JournalError("no"))

        async def client(life: Mortal) -> None:
            await clients(life)  # noqa: B023 - called in this round
            assert clients.failed == ["bad"]  # noqa: B023
            if number % 2:  # noqa: B023
                await life.resume()
                assert life.unfinished == ()
            scene.results["bad"] = await (await life.send("worker", Go("bad"), id="bad")).result()  # noqa: B023

        await scene.live(organism, client)
        assert scene.results["bad"].reply == reply_of("bad")
        await goes_on(scene)


@pytest.mark.parametrize("kind", ["sqlite", "jsonl"])
@pytest.mark.by_turns
async def test_every_write_fails_once_in_turn_and_nothing_is_damaged(kind: str, tmp_path: Path) -> None:
    number = 0
    while True:
        number += 1
        scene = make(tmp_path / f"{number}", "a", "b", journal=kind)
        clients = Clients(scene)
        organism = scene.organism()
        disk = organism.breaks = FailAfter(number - 1, FULL)
        await scene.live(organism, clients)
        if disk.made < number:
            break
        for heard in clients.heard.values():
            if isinstance(heard, JournalError):
                assert "No space left on device" in str(heard)
            else:
                assert heard.outcome == "completed"
        assert sorted(clients.heard) == ["a", "b"]
        await goes_on(scene)
    assert number > 8
    assert not clients.failed


async def test_a_full_disk_stops_all_and_says_it_and_takes_nothing_more_in(tmp_path: Path) -> None:
    scene = make(tmp_path / "j.db", "a", "b", "c")
    clients = Clients(scene)
    organism = scene.organism()
    writes = 0

    def breaks() -> None:
        nonlocal writes
        writes += 1
        if writes > 6:
            raise FULL

    organism.breaks = breaks

    async def client(life: Mortal) -> None:
        await clients(life)
        with pytest.raises(JournalError, match="No space left on device"):
            await (await life.send("worker", Go("d"), id="d")).result()

    await scene.live(organism, client)
    assert clients.failed == ["a", "b", "c"]
    await goes_on(scene)


@pytest.mark.parametrize(
    ("pragma", "says"), [("max_page_count = 12", "no space left"), ("query_only = 1", "read.?only")]
)
async def test_sqlite_that_cannot_write_any_more_says_so(pragma: str, says: str, tmp_path: Path) -> None:
    scene = make(tmp_path / "j.db", "a", "b")
    clients = Clients(scene)

    async def client(organism: Mortal) -> None:
        async with anyio.create_task_group() as group:
            group.start_soon(clients, organism)
            await anyio.sleep(1.5)
            connection(organism).execute(f"PRAGMA {pragma}")

    await scene.live(scene.organism(), client)
    assert clients.failed == ["a", "b"]
    for heard in clients.heard.values():
        assert re.search(says, str(heard)), str(heard)
    await goes_on(scene)


def connection(organism: Mortal) -> Any:
    """The connection to the database of a running organism."""
    assert organism._works is not None
    assert organism._works.durable is not None
    journal: Any = organism._works.durable._journal
    return journal._db


@pytest.mark.by_turns
async def test_a_thousand_threads_leave_nothing_behind_in_memory(tmp_path: Path) -> None:
    scene = make(tmp_path / "j.db", *(f"t{number}" for number in range(1000)))

    async def client(organism: Mortal) -> None:
        await scene.send_all(organism)
        assert organism._works is not None
        state, pump = organism.kernel.state, organism._works.pump
        writer: Any = pump.writer
        assert not (state.threads or state.holds or state.streams or state.occupied or state.schedule.taken)
        assert not (writer._waiting or writer._leaving or writer._frozen)
        assert not (organism._handles or pump.running or pump.wakeups.in_line or len(pump.deadlines))
        assert not state.schedule._limbo
        kept = {name: len(value) for name, value in vars(writer.journal._inner).items() if hasattr(value, "__len__")}
        assert all(size < 300 for size in kept.values()), kept
        assert len(state.sums.totals) < 10
        assert state.schedule.queued == 0 == state.schedule.running

    scene.sends = [(id_, "peer", payload, how) for id_, _, payload, how in scene.sends]
    scene.document = {**scene.document, "models": models(ScriptedModel(lambda _: Says(text="ok", usage=(1, 1))))}
    await scene.live(scene.organism(), client)
    assert len(scene.results) == 1000
