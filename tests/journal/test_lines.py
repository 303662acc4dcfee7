"""The files of JSON lines: torn tails, changed bytes, disks that fail at every point once."""

from __future__ import annotations

import errno
import json
import logging
import os
from typing import TYPE_CHECKING, Any

import pytest

from organism.errors import JournalError
from organism.journal import LinesJournal
from organism.journal.chain import Head, canonical, content_of, seal
from organism.journal.codec import content
from organism.journal.lines import LineFiles
from organism.names import counted
from organism.record.facts import Dropped, Ended, Failed
from organism.testing import FailAfter
from organism.threads.outcomes import Failure
from tests.journal.disks import FailingDisk
from tests.journal.fact_values import ended

if TYPE_CHECKING:
    from pathlib import Path

    from organism.record.facts import Fact

ROOT = "c-42"


def fact(number: int) -> Fact:
    return Failed(at=float(number), thread=ROOT, seq=number, handler="h", failure=Failure("crashed", "é" * number))


def append(journal: LinesJournal, root: str, *some: Fact) -> None:
    """Writes facts to one chain; raises why they could not be."""
    for error in journal.write([(root, each) for each in some]).values():
        raise error


def roots(journal: LinesJournal) -> list[str]:
    """The chains that there are."""
    return [chain.root for chain in journal.chains()]


def written(folder: Path, count: int = 3) -> Path:
    """A file with so many facts."""
    journal = LinesJournal(folder, durable=False)
    for number in range(count):
        append(journal, ROOT, fact(number))
    journal.close()
    return journal.path(ROOT)


def test_a_fact_is_a_line(tmp_path: Path) -> None:
    path = written(tmp_path)
    assert path == tmp_path / "c-42.jsonl"
    lines = path.read_bytes().split(b"\n")
    assert lines.pop() == b""
    entries = [json.loads(line) for line in lines]
    assert [(entry["n"], entry["fact"], entry["root"], entry["seq"]) for entry in entries] == [
        (1, "Failed", ROOT, 0), (2, "Failed", ROOT, 1), (3, "Failed", ROOT, 2),
    ]  # fmt: skip
    assert "é".encode() in lines[1], "people read it"


def test_a_torn_tail_is_passed_over_then_cut_and_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = written(tmp_path)
    whole = path.read_bytes()
    ends = [place + 1 for place, byte in enumerate(whole) if byte == ord("\n")]
    for size in (*range(ends[1] - 2, ends[1] + 3), len(whole) - 40, len(whole) - 1):
        path.write_bytes(whole[:size])
        left = sum(end <= size for end in ends)
        facts = tuple(fact(number) for number in range(left))
        caplog.clear()
        reading = LinesJournal(tmp_path)
        assert (reading.read(ROOT), reading.verify(ROOT)) == (facts, None)
        assert path.read_bytes() == whole[:size], "readers change nothing"
        assert not caplog.records
        journal = LinesJournal(tmp_path, durable=False)
        append(journal, ROOT, fact(7))
        assert journal.read(ROOT) == LinesJournal(tmp_path).read(ROOT) == (*facts, fact(7))
        torn = size - max([0, *(end for end in ends if end <= size)])
        said = [record.getMessage() for record in caplog.records]
        assert said == (
            [f"{path}: what was never committed is cut off at its end: {counted(torn, 'byte')}"] if torn else []
        )


@pytest.mark.parametrize("tail", [b"\0" * 300, b"\0" * 300 + b"\n", b'{"at":1.0' + b"\0" * 90 + b'"}\n', b"\xff\xfe{"])
def test_a_half_written_page_is_cut(tmp_path: Path, tail: bytes) -> None:
    path = written(tmp_path)
    path.write_bytes(path.read_bytes() + tail)
    journal = LinesJournal(tmp_path, durable=False)
    assert journal.verify(ROOT) is None
    append(journal, ROOT, fact(3))
    assert LinesJournal(tmp_path).read(ROOT) == tuple(map(fact, range(4)))


def test_a_changed_byte_is_reported_with_its_place(tmp_path: Path) -> None:
    path = written(tmp_path)
    whole = path.read_bytes()
    line_of = [1 + whole[:place].count(b"\n") for place in range(len(whole))]
    for place in range(0, whole.rindex(b"\n", 0, -1), 3):
        for byte in (whole[place] ^ 0x20, whole[place] ^ 1, 0):
            path.write_bytes(whole[:place] + bytes([byte]) + whole[place + 1 :])
            journal = LinesJournal(tmp_path, durable=False)
            found = journal.verify(ROOT)
            assert found is not None
            assert found.startswith(f"{path}:{line_of[place]}: "), (place, byte, found)
            with pytest.raises(JournalError) as caught:
                journal.read(ROOT)
            assert str(caught.value) == found
    before = path.read_bytes()
    with pytest.raises(JournalError):
        append(journal, ROOT, fact(3))
    assert path.read_bytes() == before, "nothing is written behind damage, and nothing is cut"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda lines: lines[1:], ":1: has number 2 where 1 is expected: entries are missing or out of order"),
        (
            lambda lines: [lines[0], *lines[2:]],
            ":2: has number 3 where 2 is expected: entries are missing or out of order",
        ),
        (lambda lines: [lines[0], lines[0], *lines[1:]], ":2: has number 1 where 2 is expected"),
        (
            lambda lines: [lines[0].replace(b":", b": ", 1), *lines[1:]],
            ":1: was changed: its hash does not match its content",
        ),
        (lambda lines: [b"[1]", *lines], ":1: was changed: it is not a JSON object"),
        (lambda lines: [b'{"at":NaN}', *lines], ":1: was changed: it is not JSON (NaN is not a JSON number)"),
        (lambda lines: [b"[" * 200_000, *lines], ":1: was changed: it is not JSON"),
        (lambda lines: [lines[0], b"", *lines[1:]], ":2: was changed: it is not JSON"),
    ],
)
def test_lines_that_are_moved_or_written_anew_are_found(tmp_path: Path, change: Any, said: str) -> None:
    path = written(tmp_path)
    path.write_bytes(b"\n".join([*change(path.read_bytes().splitlines()), b""]))
    assert f"{path}{said}" in str(LinesJournal(tmp_path).verify(ROOT))


def test_a_later_format_is_refused_with_its_place(tmp_path: Path) -> None:
    path = written(tmp_path, 1)
    content = {**content_of(json.loads(path.read_bytes())), "format": 3}
    path.write_bytes(seal(canonical(content), Head())[0] + b"\n")
    with pytest.raises(JournalError) as caught:
        LinesJournal(tmp_path).read(ROOT)
    assert (
        str(caught.value)
        == f"{path}:1: was written by a newer version of organism (format 3, and this one has 2); use that one"
    )
    assert LinesJournal(tmp_path).verify(ROOT) is None, "its chain is sound all the same"


class Stubborn(FailAfter):
    """Fails from its turn on, a few times."""

    def __call__(self) -> None:
        self.made += 1
        if self.calls < self.made <= self.calls + 3:
            raise self.error


@pytest.mark.parametrize("kind", [FailAfter, Stubborn])
@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO])
def test_every_request_to_the_disk_fails_once(tmp_path: Path, code: int, kind: type[FailAfter]) -> None:
    for calls in range(200):
        folder = tmp_path / str(calls)
        disk = FailingDisk(kind(calls, OSError(code, os.strerror(code))), short=True)
        journal = LinesJournal(folder, disk=disk)
        there: list[Fact] = []
        refused: list[str] = []
        while len(there) < 4:
            try:
                append(journal, ROOT, fact(len(there)))
            except JournalError as error:
                refused.append(str(error))
            else:
                there.append(fact(len(there)))
            assert list(journal.read(ROOT)) == there, "what was refused is not there"
            assert journal.verify(ROOT) is None
        again = LinesJournal(folder)
        assert list(again.read(ROOT)) == there
        assert again.verify(ROOT) is None
        if disk.fail.made <= calls:
            assert not refused
            return
        assert set(refused) == {f"{journal.path(ROOT)} cannot be written: {os.strerror(code)}"}
    pytest.fail("it never came to an end")


def test_a_folder_that_cannot_be_made_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(JournalError, match="cannot be read: Not a directory"):
        LinesJournal(tmp_path / "file" / "log")
    with pytest.raises(JournalError, match="file is a file; a journal of JSON lines is a folder"):
        LinesJournal(tmp_path / "file")
    files = LineFiles(tmp_path / "file" / "log")
    with pytest.raises(JournalError, match=r"c-42.jsonl cannot be written: Not a directory"):
        files.extend(ROOT, [content(fact(0), ROOT)])
    with pytest.raises(JournalError, match="cannot be read"):
        files.roots()


def test_a_file_that_somebody_shortened_is_not_written_on(tmp_path: Path) -> None:
    journal = LinesJournal(tmp_path, durable=False)
    append(journal, ROOT, fact(0))
    journal.path(ROOT).write_bytes(b"")
    with pytest.raises(JournalError, match="it lacks 235 bytes at its end"):
        append(journal, ROOT, fact(1))


def test_a_thread_that_ended_is_forgotten_and_may_come_again(tmp_path: Path) -> None:
    journal = LinesJournal(tmp_path, durable=False)
    append(journal, ROOT, fact(0))
    append(journal, ROOT, ended("of another"))
    assert [chain.open for chain in journal.chains()] == [True]
    append(journal, ROOT, ended(ROOT))
    assert (journal._known, journal._files._ends) == ({}, {})
    assert [chain.open for chain in journal.chains()] == [False]
    append(journal, ROOT, fact(1))
    assert [type(each) for each in journal.read(ROOT)] == [Failed, Ended, Ended, Failed]
    assert journal.verify(ROOT) is None


def test_other_files_in_the_folder_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text("mine")
    (tmp_path / "Notes.jsonl").write_text("mine")
    path = written(tmp_path)
    long = LinesJournal(tmp_path, durable=False)
    append(long, "x" * 9_000, Dropped(at=1.0, thread="x" * 9_000, seq=1))
    long.path("y" * 9_000).write_bytes(b'{"torn')
    assert roots(LinesJournal(tmp_path)) == [ROOT, "x" * 9_000]
    long.path("y" * 9_000).write_bytes(path.read_bytes())
    # Not what it was: it goes by the file's own name, and is in nobody's way.
    (tmp_path / "_63.jsonl").write_bytes(path.read_bytes())
    (tmp_path / "_ff.jsonl").write_bytes(path.read_bytes())
    again = LinesJournal(tmp_path)
    assert len(roots(again)) == 3
    (stray,) = set(roots(again)) - {ROOT, "x" * 9_000}
    assert f"{stray}.jsonl:1: belongs to thread 'c-42', and not to" in str(again.verify(stray))


@pytest.mark.skipif(os.name == "nt", reason="a new file's name is on the disk when its folder is, on POSIX")
def test_a_durable_append_is_on_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[str] = []
    fsync = os.fsync

    def watched(handle: int) -> None:
        synced.append("folder" if os.path.isdir(f"/dev/fd/{handle}") else "file")  # noqa: PTH112 - a handle has no Path
        fsync(handle)

    monkeypatch.setattr(os, "fsync", watched)
    journal = LinesJournal(tmp_path, durable=True)
    append(journal, ROOT, fact(0))
    append(journal, ROOT, fact(1))
    assert synced == ["file", "folder", "file"]
    append(LinesJournal(tmp_path, durable=False), "other", Dropped(at=1.0, thread="other", seq=1))
    assert len(synced) == 3


def test_nothing_is_said_where_nothing_happened(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    written(tmp_path)
    written(tmp_path)
    assert not caplog.records
