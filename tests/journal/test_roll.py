"""The roll of a folder: what it saves, and that whoever opens the folder learns the same with it as without it."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
from typing import TYPE_CHECKING, Any

import pytest
from attrs import evolve

from organism.journal import LinesJournal
from organism.journal import folder_roll as roll_module
from organism.journal.disk import Disk
from organism.journal.folder_index import NAME as INDEX
from organism.journal.folder_reader import LinesReader
from organism.journal.folder_roll import NAME, Told
from organism.record.facts import Dropped
from organism.testing import FailAfter
from tests.journal.disks import FailingDisk
from tests.journal.fact_values import ended
from tests.journal.test_standing import accepted, held, opened, posted, settled

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from organism.journal.folder_index import Summary
    from organism.record.facts import Fact

COUNT = 110
MINUTES = 10 * 60 * 10**9


class LaterDisk(Disk):
    """A disk on which all files were left alone for ten minutes."""

    def now(self, folder: Path) -> int:
        return super().now(folder) + MINUTES


def later(folder: Path, *, readonly: bool = False) -> LinesJournal:
    return LinesJournal(folder, readonly=readonly, disk=LaterDisk(durable=False))


def over(root: str, cost: int = 3) -> list[tuple[str, Fact]]:
    facts = accepted(opened(root), posted(root)), held(1, thread=root), settled(1, cost, thread=root), ended(root)
    return [(root, fact) for fact in facts]


def filled(folder: Path) -> Path:
    """A folder with many chains that are over, some that are open or conversations, and some that were removed."""
    one = LinesJournal(folder, durable=False)
    odd = "x" * 300, "ä/ö\n", 'a"b\\', "", "root"
    for number, root in enumerate((*odd, *(f"t{number}" for number in range(COUNT)))):
        assert not one.write(over(root, number))
    for root in ("open", "open2"):
        assert not one.write(over(root)[:-1])
    for turn in ("one", "two"):
        turn_facts = accepted(opened(turn)), ended(turn)
        assert not one.write([("conversation:c", fact) for fact in turn_facts])
    one.remove("t5", "t7")
    one.close()
    return folder


def told(journal: LinesJournal) -> dict[str, Any]:
    found = {"open": journal.chains(open=True), "spent": journal.spendings(), "removed": journal.removed()}
    journal.close()
    return found


def same_without(folder: Path) -> dict[str, Any]:
    """What whoever opens the folder learns with the roll, which is what others learn without it."""
    bare = folder.with_name("bare")
    shutil.rmtree(bare, ignore_errors=True)
    shutil.copytree(folder, bare)
    (bare / NAME).unlink(missing_ok=True)
    reader = told(later(folder, readonly=True))
    due = told(LinesJournal(bare, durable=False))
    assert reader == due
    assert told(later(folder)) == due
    assert told(later(folder)) == due
    return due


@pytest.fixture(scope="module")
def rolled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = filled(tmp_path_factory.mktemp("rolled") / "log")
    told(later(folder))
    assert (folder / NAME).exists()
    return folder


@pytest.fixture
def folder(rolled: Path, tmp_path: Path) -> Path:
    """A copy of it that was opened again: what the system says of the files of a copy is other than what the roll has of them."""
    made = tmp_path / "log"
    shutil.copytree(rolled, made)
    told(later(made))
    return made


def a_line_was_read(*_: object) -> None:
    pytest.fail("a line of the index was read")


def test_opening_reads_neither_what_is_over_nor_what_the_index_says_of_it(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    due = told(LinesJournal(folder, readonly=True))
    monkeypatch.setattr(Told, "at", a_line_was_read)
    looked_at: list[str] = []
    is_in = vars(LinesReader)["_is_in"]

    def noted(self: LinesReader, each: Summary) -> bool:
        looked_at.append(each.root)
        return bool(is_in(self, each))

    monkeypatch.setattr(LinesReader, "_is_in", noted)
    for readonly in (True, False):
        journal = LinesJournal(folder, durable=False, readonly=readonly)
        assert {"open": journal.chains(open=True), "spent": journal.spendings()} == {
            key: due[key] for key in ("open", "spent")
        }
    assert set(looked_at) == {"t5", "t7"}, "whether these, which were removed, are back"
    assert [each.root for each in due["open"]] == ["open", "open2"]


def test_what_ends_later_is_added_to_the_roll(folder: Path) -> None:
    before = (folder / NAME).read_bytes()
    one = LinesJournal(folder, durable=False)
    for number in range(COUNT):
        assert not one.write(over(f"more{number}"))
    one.close()
    same_without(folder)
    after = (folder / NAME).read_bytes()
    assert after.startswith(before)
    assert after.count(b'{"format":') == 2


def test_files_that_were_just_written_are_not_put_on_the_roll(tmp_path: Path) -> None:
    made = filled(tmp_path / "log")
    due = told(LinesJournal(made, durable=False))
    assert not (made / NAME).exists()
    assert same_without(made) == due


def test_a_small_folder_has_no_roll(tmp_path: Path) -> None:
    one = LinesJournal(tmp_path / "log", durable=False)
    assert not one.write(over("a"))
    one.close()
    told(later(tmp_path / "log"))
    assert sorted(each.name for each in (tmp_path / "log").iterdir()) == [INDEX, "a.jsonl"]


def rewrite(name: str, change: Callable[[bytes], bytes]) -> Callable[[Path], None]:
    def do(folder: Path) -> None:
        path = folder / name
        path.write_bytes(change(path.read_bytes()))

    return do


def replaced(folder: Path) -> None:
    """One file stands in the place of another, which had ended too."""
    (folder / "t2.jsonl").replace(folder / "t1.jsonl")


def gone_on(folder: Path) -> None:
    """A thread that had ended goes on, by a version that keeps no roll."""
    one = LinesJournal(folder, durable=False)
    assert not one.write(
        [("t9", accepted(opened("t9"), posted("t9"), at=9.0)), ("conversation:c", accepted(opened("x")))]
    )
    one.close()


def removed(folder: Path) -> None:
    one = LinesJournal(folder, durable=False)
    one.remove("t11", "t12", "conversation:c")
    assert not one.write(over("t12", 50))
    one.close()


def back(folder: Path) -> None:
    """Removed, and put back."""
    raw = (folder / "t13.jsonl").read_bytes()
    one = LinesJournal(folder, durable=False)
    one.remove("t13")
    one.close()
    (folder / "t13.jsonl").write_bytes(raw)


def aged(raw: bytes) -> bytes:
    lines = raw.splitlines(keepends=True)
    return b"".join([*lines[5:], *lines[:5]])


def without_sum(raw: bytes) -> bytes:
    """As earlier versions wrote it; another handler has spent what a thread spent."""
    first, rest = raw.split(b"\n", 1)
    return first.rpartition(b',"sum"')[0].replace(b'"h"', b'"i"') + b"}\n" + rest


CHANGES: dict[str, Callable[[Path], object]] = {
    "nothing": lambda _: None,
    "its last line": rewrite("t3.jsonl", lambda raw: raw[: raw[:-1].rfind(b"\n") + 1]),
    "half of its last line": rewrite("t3.jsonl", lambda raw: raw[:-30]),
    "a hole at its end": rewrite("t3.jsonl", lambda raw: raw[:-40] + bytes(40)),
    "its last hash": rewrite("t3.jsonl", lambda raw: raw[:-5] + b'0"}\n'),
    "all of it": rewrite("t3.jsonl", lambda _: b"what is this\n"),
    "nothing in it": rewrite("t3.jsonl", lambda _: b""),
    "written again": rewrite("t3.jsonl", lambda raw: raw),
    "one file removed": lambda folder: (folder / "t3.jsonl").unlink(),
    "one file in the place of another": replaced,
    "its times": lambda folder: os.utime(folder / "t3.jsonl", (0, 0)),
    "gone on": gone_on,
    "removed and come again": removed,
    "removed and put back": back,
    "the index removed": lambda folder: (folder / INDEX).unlink(),
    "the index cut": rewrite(INDEX, lambda raw: raw[: len(raw) // 2]),
    "the index cut at a line": rewrite(INDEX, lambda raw: b"".join(raw.splitlines(keepends=True)[:50])),
    "a line of the index": rewrite(INDEX, lambda raw: raw.replace(b'"t4"', b'"t6"')),
    "the order of the index": rewrite(INDEX, aged),
    "spent by a line without a sum": rewrite(INDEX, without_sum),
    "spent by the index": rewrite(INDEX, lambda raw: raw.replace(b'"handler', b'"hamdler', 7)),
    "the roll removed": lambda folder: (folder / NAME).unlink(),
    "the roll empty": rewrite(NAME, lambda _: b""),
    "the roll twice": rewrite(NAME, lambda raw: raw + raw),
    "something behind the roll": rewrite(NAME, lambda raw: raw + b'{"format":1}\n'),
    "the roll of a later version": rewrite(NAME, lambda raw: raw.replace(b'{"format":1', b'{"format":2')),
    "no roll": rewrite(NAME, lambda _: b"[]\n" * 50),
}


@pytest.mark.parametrize("change", CHANGES)
def test_whatever_was_changed_by_hand_the_roll_changes_nothing(folder: Path, change: str) -> None:
    CHANGES[change](folder)
    same_without(folder)


def test_a_roll_that_was_cut_or_changed_anywhere_changes_nothing(folder: Path) -> None:
    whole = (folder / NAME).read_bytes()
    due = told(LinesJournal(folder, readonly=True))
    head = whole.index(b"\n") + 1
    for at in (*range(0, head, 37), *range(head - 3, head + 3), *range(head, len(whole), 499), len(whole) - 1):
        for changed in (whole[:at], whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :]):
            (folder / NAME).write_bytes(changed)
            assert told(LinesJournal(folder, readonly=True)) == due, at


def test_the_roll_of_another_folder_counts_for_nothing(folder: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    one = LinesJournal(other, durable=False)
    for number in range(COUNT):
        assert not one.write(over(f"t{number}", 77))
    one.close()
    shutil.copy(folder / NAME, other / NAME)
    same_without(other)


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "No space left on device"), KeyboardInterrupt()])
def test_wherever_writing_it_ends_the_roll_changes_nothing(folder: Path, error: BaseException) -> None:
    for calls in range(30):
        one = LinesJournal(folder, durable=False)
        for number in range(COUNT):
            assert not one.write(over(f"more{calls}.{number}"))
        removed_now = [f"more{calls - 1}.{number}" for number in range(COUNT)] if calls else ["t20"]
        one.remove(*removed_now)
        one.close()
        due = told(LinesJournal(folder, readonly=True))
        disk = FailingDisk(FailAfter(calls, error))
        disk.now = LaterDisk(durable=False).now  # type: ignore[method-assign]
        failed = False
        try:
            journal = LinesJournal(folder, disk=disk)
            assert journal.spendings() == due["spent"]
        except KeyboardInterrupt:
            failed = True
        assert told(LinesJournal(folder, readonly=True)) == due
        if not failed and disk.fail.calls <= calls:
            return
    pytest.fail("it never came to an end")


def test_labels_that_look_like_a_line_of_the_index_are_none(tmp_path: Path) -> None:
    one = LinesJournal(tmp_path / "log", durable=False)
    labels = {"kind": "removed", "last": "1", "root": "t1", "size": "1"}
    for number in range(COUNT):
        first = accepted(evolve(opened(f"t{number}"), labels=labels), posted(f"t{number}"))
        last = evolve(ended(f"t{number}"), labels=labels)
        assert not one.write([(f"t{number}", first), (f"t{number}", last)])
    one.close()
    same_without(tmp_path / "log")
    rows = [json.loads(line) for line in (tmp_path / "log" / NAME).read_bytes().splitlines() if line[:1] == b"{"]
    assert rows[0]["rows"] == COUNT


def test_a_thread_that_was_open_and_ended_is_counted_once(folder: Path) -> None:
    one = later(folder)
    before = one.spendings()
    assert not one.write([("open", Dropped(at=9.0, thread="open", seq=1)), ("open", ended("open"))])
    for journal in (one, later(folder), LinesJournal(folder, readonly=True)):
        assert [each.root for each in journal.chains(open=True)] == ["open2"]
        assert sum(each.amounts[0] for each in journal.spendings()) == sum(each.amounts[0] for each in before)


def test_sums_are_added_up_anew_by_blocks(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / NAME).unlink()
    monkeypatch.setattr(roll_module, "_TOGETHER", 20)
    told(later(folder))
    assert (folder / NAME).read_bytes().count(b'{"format":') == 6
    for number in (30, 31, 32):
        (folder / f"t{number}.jsonl").unlink()
    looked_at: list[str] = []
    at = Told.at

    def noted(self: Told, place: int, root: str) -> Summary | None:
        looked_at.append(root)
        return at(self, place, root)

    monkeypatch.setattr(Told, "at", noted)
    LinesJournal(folder, readonly=True).spendings()
    assert 0 < len(looked_at) <= 3 * 20
    same_without(folder)


def test_verify_compares_the_roll_with_the_index(folder: Path) -> None:
    assert LinesJournal(folder, readonly=True).flaws() == ()
    head, rest = (folder / NAME).read_bytes().split(b"\n", 1)
    raw = head.rpartition(b',"sum":"')[0].replace(b'"h"', b'"i"')
    digest = hashlib.sha256(raw + rest).hexdigest().encode()
    (folder / NAME).write_bytes(raw + b',"sum":"' + digest + b'"}\n' + rest)
    ((root, flaw),) = LinesJournal(folder, readonly=True).flaws()
    assert root is None
    assert flaw.startswith(f"{folder / NAME}: the sum of what '")
    assert flaw.endswith("is not what the index says; remove this file, and it is made anew")
    (folder / NAME).unlink()
    assert same_without(folder)


@pytest.mark.parametrize("gone", ["t20", "x" * 300, "ä/ö\n"])
def test_what_was_removed_since_the_roll_was_written_is_no_flaw_of_it(folder: Path, gone: str) -> None:
    """Of a long id the name of its file does not tell, and the file is not there any more."""
    one = later(folder)
    one.remove(gone)
    one.close()
    before = (folder / NAME).read_bytes()
    assert LinesJournal(folder, readonly=True).flaws() == ()
    same_without(folder)
    assert (folder / NAME).read_bytes() == before


def a_chain_was_read(*_: object) -> None:
    pytest.fail("a chain was read")


def test_long_threads_are_removed_without_being_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one = LinesJournal(tmp_path / "log", durable=False)
    *story, (_, last) = over("a")
    dropped: list[Fact] = [Dropped(at=7.0, thread="a", seq=seq) for seq in range(200)]
    for _ in range(3):
        assert not one.write([*story, *(("a", each) for each in dropped), ("a", last)])
        spent = one.spendings()
        with monkeypatch.context() as patched:
            patched.setattr(LinesReader, "_read", a_chain_was_read)
            one.remove("a")
        assert (one.spendings(), one.removed(), one.flaws(), one.chains()) == (spent, spent, (), ())
