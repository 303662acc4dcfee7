"""The session log: the lines of every root thread, never in the way of the work."""

from __future__ import annotations

import errno
import json
import logging
import os
import threading
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from organism import Context, Organism, Reply
from organism.errors import ConfigurationError, JournalError
from organism.journal import LinesJournal, SessionLog, session_log
from organism.journal.disk import Disk
from organism.journal.lines import LineFiles
from organism.names import counted
from organism.payloads import Vocabulary
from organism.record.facts import Answered, Dropped
from organism.testing import FailAfter, Watched, running
from tests.hard.pump_world import Go, Said, code
from tests.journal.disks import FailingDisk
from tests.journal.fact_values import ended
from tests.waiting import LONG, wait_until

if TYPE_CHECKING:
    from io import FileIO

    from organism.record.facts import Fact

WORDS = Vocabulary([Go, Said])


async def echo(message: Go, ctx: Context) -> Reply[Said]:
    ctx.state["n"] = message.n
    return Reply(Said(message.text))


HANDLERS = {"echo": code(echo)}


def dropped(number: int, root: str = "r") -> Fact:
    return Dropped(at=float(number), thread=root, seq=number)


def entries(folder: Path, root: str = "r") -> list[dict[str, Any]]:
    """The lines of a thread, each checked."""
    return [dict(line.entry) for line in LineFiles(folder).lines(root)]


def files(folder: Path) -> list[Path]:
    """Every file in a folder, at any depth."""
    return sorted(path for path in folder.rglob("*") if path.is_file())


def story(folder: Path, root: str = "r") -> list[Any]:
    """The lines in short: the seq of a fact, ``-n`` where n are missing."""
    return [-entry["lost"] if "lost" in entry else entry.get("seq", "end") for entry in entries(folder, root)]


# What it writes


async def test_it_holds_every_fact_of_every_root_thread(tmp_path: Path) -> None:
    log = tmp_path / "deep" / "log"
    async with running(handlers=HANDLERS, session_log=str(log)) as organism:
        for name in ("..", "a/b", "a_b", "", "x" * 10_000):
            await (await organism.send("echo", Go(name[:9]), id=name or "empty")).result()
        live = await organism.send("echo", Go("last"), id="é")
        await live.result()
    journal = LinesJournal(log, WORDS)
    assert {chain.root for chain in journal.chains()} == {"..", "a/b", "a_b", "empty", "x" * 10_000, "é"}
    watched = organism.watch.facts
    for root in (chain.root for chain in journal.chains()):
        assert journal.read(root) == tuple(fact for fact in watched if fact.thread == root)
        assert journal.verify(root) is None
    assert files(tmp_path) == files(log)


async def test_closing_writes_what_waits_and_stops_the_thread(tmp_path: Path) -> None:
    organism = Organism(name="test", handlers=HANDLERS, session_log=str(tmp_path))
    async with organism:
        await (await organism.send("echo", Go("x"), id="one")).result()
        assert any(thread.name == "organism session log" for thread in threading.enumerate())
    assert not any(thread.name == "organism session log" for thread in threading.enumerate())
    assert [entry["fact"] for entry in entries(tmp_path, "one")] == ["Accepted", "Answered", "Ended"]
    await organism.close()


async def test_it_stands_beside_the_facts_that_are_kept(tmp_path: Path) -> None:
    organism = Organism(name="test", handlers=HANDLERS, session_log=str(tmp_path))
    async with organism:
        organism.keep_history()
        ends: list[Any] = []
        organism.subscribe(ends.append)()
        await (await organism.send("echo", Go("x"), id="one")).result()
    assert len(entries(tmp_path, "one")) == 3
    assert ends == []


async def test_nothing_is_written_without_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    async with running(handlers=HANDLERS, session_log=None) as organism:
        await (await organism.send("echo", Go("x"))).result()
        assert not any(thread.name == "organism session log" for thread in threading.enumerate())
    assert files(tmp_path) == []


async def test_a_name_that_is_used_again_goes_on_in_its_file(tmp_path: Path) -> None:
    for _ in range(2):
        async with running(handlers=HANDLERS, session_log=str(tmp_path)) as organism:
            await (await organism.send("echo", Go("x"), id="again")).result()
    assert [entry["n"] for entry in entries(tmp_path, "again")] == [1, 2, 3, 4, 5, 6]


def test_the_folder_is_relative_to_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "project").mkdir()
    file = tmp_path / "project" / "organism.yaml"
    file.write_text("organism: demo\nsession_log: logs\n")
    monkeypatch.chdir(tmp_path)
    assert Organism.load(file.relative_to(tmp_path)).settings.session_log == Path("project/logs")
    assert Organism.load(file, set={"session_log": str(tmp_path / "x")}).settings.session_log == tmp_path / "x"
    assert Organism(name="demo").settings.session_log is None
    assert Organism(name="demo", session_log=None).settings.session_log is None


def test_a_path_with_a_zero_byte_is_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"session_log.* holds a zero byte, which no path can"):
        Organism(name="demo", session_log="a\0b")


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("organism.yaml", "organism.yaml:2:14 session_log: 'organism.yaml' is a file, not a folder"),
        ("[a]", "organism.yaml:2:14 session_log: must be the path of a folder and not a list"),
        ("''", "organism.yaml:2:14 session_log: is an empty text: give the path of a folder, or leave the key out"),
    ],
)
def test_what_is_no_folder_is_refused(tmp_path: Path, value: str, said: str) -> None:
    (tmp_path / "organism.yaml").write_text(f"organism: demo\nsession_log: {value}\n")
    with pytest.raises(ConfigurationError) as caught:
        Organism.load(tmp_path / "organism.yaml")
    assert [mistake.removeprefix(f"{tmp_path}{os.sep}") for mistake in caught.value.mistakes] == [said]


async def test_no_key_and_nothing_of_the_environment_is_in_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOME_API_KEY", "sk-very-secret")

    async def reads(message: Go, ctx: Context) -> Reply[Said]:
        return Reply(Said(f"{len(os.environ['SOME_API_KEY'])}"))

    async with running(handlers={"reads": code(reads)}, session_log=str(tmp_path)) as organism:
        await (await organism.send("reads", Go("x"), id="one")).result()
    written = (tmp_path / "one.jsonl").read_text()
    assert '"text":"14"' in written
    assert "sk-very-secret" not in written
    assert str(Path.home()) not in written


# What is in its way


async def test_a_folder_that_cannot_be_written_harms_nobody(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "file").write_text("")
    log = tmp_path / "file" / "log"
    async with running(handlers=HANDLERS, session_log=str(log)) as organism:
        for number in range(3):
            result = await (await organism.send("echo", Go(str(number)))).result()
            assert result.reply == Said(str(number))
    said = [record.getMessage() for record in caplog.records if record.name == "organism.journal"]
    assert len(said) == 2
    assert said[0].startswith(f"session log {log}: {log}{os.sep}")
    assert said[0].endswith(
        "cannot be written: Not a directory; what cannot be written is left out, and the work goes on"
    )
    assert said[1] == f"session log {log} lacks 9 facts; where is marked in its files, as far as those could be written"


async def test_damage_that_is_there_is_left_as_it_is(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "one.jsonl").write_text("my own notes\n")
    async with running(handlers=HANDLERS, session_log=str(tmp_path)) as organism:
        await (await organism.send("echo", Go("x"), id="one")).result()
        await (await organism.send("echo", Go("x"), id="two")).result()
    assert (tmp_path / "one.jsonl").read_text() == "my own notes\n"
    assert len(entries(tmp_path, "two")) == 3
    assert "one.jsonl:1: was changed: it is not JSON" in caplog.records[0].getMessage()


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """It writes only when it is closed or told to: what is written together is then certain."""
    monkeypatch.setattr(session_log, "PAUSE", 3600.0)


def logged(folder: Path, disk: Disk, *batches: list[Fact], room: int = 100) -> SessionLog:
    """A log that has written batches, one after the other, and is closed."""
    log = SessionLog(folder, disk=disk, room=room)
    for batch in batches:
        for fact in batch:
            log.record("r", fact)
        log._drain()
    log.start()
    log.close()
    return log


BATCHES = [[dropped(1), dropped(2)], [dropped(3)], [dropped(4), dropped(5), dropped(6)]]


@pytest.mark.usefixtures("at_once")
def test_what_a_failing_disk_did_not_take_is_said_in_its_place(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    seen: list[list[Any]] = []
    for calls in range(50):
        folder = tmp_path / str(calls)
        caplog.clear()
        disk = FailingDisk(FailAfter(calls, OSError(errno.ENOSPC, "No space left on device")), durable=False)
        logged(folder, disk, *BATCHES)
        assert LinesJournal(folder).verify("r") is None
        seen.append(story(folder))
        missing = -sum(one for one in seen[-1] if one < 0)
        assert [one for one in seen[-1] if one > 0] == [one for one in (1, 2, 3, 4, 5, 6) if one in seen[-1]]
        assert missing + sum(one > 0 for one in seen[-1]) == 6
        said = [record.getMessage() for record in caplog.records]
        assert len(said) == (2 if missing else 0)
        if not missing:
            break
        assert "No space left on device; what cannot be written is left out" in said[0]
        assert said[1].startswith(f"session log {folder} lacks {counted(missing, 'fact')};")
        with pytest.raises(JournalError, match=rf"r.jsonl:\d: {counted(missing, 'fact')} (is|are) missing here"):
            LinesJournal(folder).read("r")
    assert seen == [[-2, 3, 4, 5, 6], [1, 2, -1, 4, 5, 6], [1, 2, 3, -3], [1, 2, 3, 4, 5, 6]]


@pytest.mark.usefixtures("at_once")
def test_what_is_missing_is_dated_and_keeps_the_chain(tmp_path: Path) -> None:
    logged(tmp_path, FailingDisk(FailAfter(0, OSError(errno.EIO, "broken")), durable=False), *BATCHES)
    first = entries(tmp_path)[0]
    assert {key: value for key, value in first.items() if key not in {"hash", "prev"}} == {
        "format": 2, "root": "r", "n": 1, "at": 2.0, "lost": 2,
    }  # fmt: skip


class Dead(Disk):
    """A disk that is full, and stays so."""

    def __init__(self) -> None:
        super().__init__(durable=False)

    def write(self, _file: FileIO, _data: memoryview) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.usefixtures("at_once")
def test_a_disk_that_stays_full_keeps_nothing_in_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session_log, "_MOST_LOSSES", 5)
    log = SessionLog(tmp_path, disk=Dead())
    for number in range(20):
        log.record(f"t{number}", dropped(number, f"t{number}"))
        log.record(f"t{number}", ended(f"t{number}"))
        log._drain()
    assert (log._dropped, len(log._losses)) == (40, 5)
    log.start()
    log.close()


@pytest.mark.usefixtures("at_once")
def test_what_does_not_fit_in_is_dropped_and_said_in_its_place(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    log = SessionLog(tmp_path, room=2)
    for number in (1, 2, 3, 4):
        log.record("r", dropped(number))
    log.record("s", dropped(1, "s"))
    log._drain()
    for number in (5, 6, 7):
        log.record("r", dropped(number))
    log.start()
    log.close()
    assert story(tmp_path) == [1, 2, -2, 5, -2]
    assert story(tmp_path, "s") == [-1]
    first, second = [record.getMessage() for record in caplog.records]
    assert first == (
        f"session log {tmp_path}: more than 2 facts wait to be written; what cannot be written is left out, and the work goes on"
    )
    assert second.startswith(f"session log {tmp_path} lacks 5 facts")


@pytest.mark.usefixtures("at_once")
def test_very_many_threads_that_do_not_fit_in_are_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(session_log, "_MOST_LOSSES", 3)
    log = SessionLog(tmp_path, room=0)
    for number in range(10):
        log.record(f"t{number}", dropped(number, f"t{number}"))
    assert len(log._overflow) == 3
    log.start()
    log.close()
    assert "lacks 10 facts" in caplog.records[-1].getMessage()
    assert LineFiles(tmp_path).roots() == ("t7", "t8", "t9")


@pytest.mark.usefixtures("at_once")
def test_a_fact_that_cannot_be_written_is_only_itself_missing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    odd = Answered(at=2.0, thread="r", seq=2, handler="h", state={"k": (object(),)})
    log = logged(tmp_path, Disk(durable=False), [dropped(1), odd, dropped(3)])
    assert story(tmp_path) == [1, -1, 3]
    assert log._dropped == 1
    assert "thread 'r': Answered cannot be written: object is neither a JSON value" in caplog.records[0].getMessage()


class SlowDisk(Disk):
    """A disk that does not answer until it is let go."""

    def __init__(self) -> None:
        super().__init__(durable=False)
        self.answers = threading.Event()

    def write(self, file: FileIO, data: memoryview) -> int:
        self.answers.wait(LONG)
        return super().write(file, data)


async def test_a_slow_disk_does_not_slow_the_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    disk = SlowDisk()
    monkeypatch.setattr(session_log, "PAUSE", 0.0)
    monkeypatch.setattr("organism.works.audience.SessionLog", partial(SessionLog, disk=disk))
    organism = Watched(name="test", handlers=HANDLERS, session_log=str(tmp_path))
    async with organism:
        for number in range(5):
            result = await (await organism.send("echo", Go(str(number)), id="one")).result()
            assert result.reply == Said(str(number))
        assert sum(path.stat().st_size for path in files(tmp_path)) == 0
        disk.answers.set()
    assert len(entries(tmp_path, "one")) == 15
    organism.watch.check()


def test_closing_does_not_wait_for_ever(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    disk = SlowDisk()
    log = SessionLog(tmp_path, disk=disk, patience=0.05)
    log.start()
    log.record("r", dropped(1))
    log.close()
    (record,) = caplog.records
    assert record.getMessage().startswith(f"session log {tmp_path}: the disk did not answer for 0.05 s; ")
    disk.answers.set()
    log._thread.join(LONG)
    assert story(tmp_path) == [1]


async def test_where_no_thread_can_be_started_nothing_is_written_and_the_work_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    start = threading.Thread.start

    def refuse(thread: threading.Thread) -> None:
        if thread.name == "organism session log":
            raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", refuse)
    async with running(handlers=HANDLERS, session_log=str(tmp_path)) as organism:
        assert (await (await organism.send("echo", Go("x"))).result()).reply == Said("x")
    assert [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING] == [
        f"session log {tmp_path} is not written: can't start new thread"
    ]
    assert files(tmp_path) == []


class Broken(Disk):
    def __init__(self) -> None:
        super().__init__(durable=False)

    def write(self, _file: FileIO, _data: memoryview) -> int:
        raise ZeroDivisionError


def test_what_nobody_expected_is_told_and_harms_nobody(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    log = SessionLog(tmp_path, disk=Broken())
    log.record("r", dropped(1))
    log.start()
    log.close()
    (record,) = caplog.records
    assert record.levelno == logging.ERROR
    assert "nothing more is written to it; the work goes on" in record.getMessage()
    assert record.exc_info is not None


def test_a_line_is_written_while_the_thread_goes_on(tmp_path: Path) -> None:
    log = SessionLog(tmp_path)
    log.start()
    log.record("r", dropped(1))
    path = tmp_path / "r.jsonl"
    wait_until(lambda: path.exists() and path.stat().st_size)
    assert json.loads(path.read_bytes())["seq"] == 1
    log.close()


def test_of_very_many_conversations_it_forgets_where_their_files_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    known: list[int] = []

    def close(files: LineFiles) -> None:
        known.append(len(files._ends))
        closed(files)

    closed = LineFiles.close
    monkeypatch.setattr(LineFiles, "close", close)
    monkeypatch.setattr(session_log, "_MOST_ENDS", 5)
    log = SessionLog(tmp_path)
    log.start()
    for number in (1, 2):
        for name in range(20):
            log.record(f"conversation:{name}", dropped(number, f"conversation:{name}"))
    log.close()
    assert known == [5]
    assert all(story(tmp_path, f"conversation:{name}") == [1, 2] for name in range(20))
