"""The index beside files of JSON lines: what it saves, and that nothing depends on it."""

from __future__ import annotations

import errno
import json
import logging
import re
from typing import TYPE_CHECKING

import pytest

from organism.errors import JournalError
from organism.journal import LinesJournal
from organism.journal.check import _thread_image
from organism.journal.disk import Disk
from organism.journal.folder_index import NAME, Index
from organism.record.facts import Dropped, Forked, Paused, Snapshot
from organism.record.images import Image
from organism.testing import FailAfter
from tests.journal.disks import FailingDisk
from tests.journal.fact_values import ended
from tests.journal.test_standing import accepted, held, opened, posted, settled

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from contextlib import AbstractContextManager
    from io import FileIO
    from pathlib import Path

    from organism.journal.folder_known import Known
    from organism.journal.folder_roll import Roll
    from organism.record.facts import Fact

STORY: list[Fact] = [accepted(opened("r"), posted("r"), opened("r.2")), held(1), settled(1, 3)]
SNAPSHOT = Snapshot(at=5.0, thread="r", image=Image(threads=(_thread_image("r"),), frames=(), messages=(), holds=()))


def journal_of(folder: Path, *batches: list[Fact]) -> LinesJournal:
    journal = LinesJournal(folder, durable=False)
    for batch in batches:
        assert not journal.write([("r", fact) for fact in batch])
    return journal


def test_what_is_over_is_not_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one = journal_of(tmp_path, STORY, [ended("r"), ended("r.2")])
    there = (one.chains(), one.spendings(), one.root_of("r.2"))
    assert [(chain.root, chain.open, chain.entries) for chain in there[0]] == [("r", False, 5)]
    again = LinesJournal(tmp_path, readonly=True)
    monkeypatch.setattr(LinesJournal, "_read", lambda *_: pytest.fail("a chain that is over was read"))
    assert (again.chains(), again.spendings(), again.root_of("r.2")) == there


@pytest.mark.parametrize("without", ["the index", "its last line", "half of its last line"])
def test_what_the_index_lacks_is_read_from_the_chains(tmp_path: Path, without: str) -> None:
    one = journal_of(tmp_path, STORY, [SNAPSHOT], [ended("r")])
    there = (one.chains(), one.spendings(), one.root_of("r.2"), one.recall("r"))
    index = tmp_path / NAME
    if without == "the index":
        index.unlink()
    else:
        lines = index.read_bytes().splitlines(keepends=True)
        index.write_bytes(b"".join(lines[:-1]) + (lines[-1][:20] if "half" in without else b""))
    again = LinesJournal(tmp_path, durable=False)
    assert (again.chains(), again.spendings(), again.root_of("r.2"), again.recall("r")) == there
    assert not again.write([("new", Dropped(at=1.0, thread="new", seq=1)), ("new", ended("new"))])
    assert len(LinesJournal(tmp_path).chains(open=False)) == 2


def test_a_chain_is_recalled_without_what_is_before_its_last_snapshot(tmp_path: Path) -> None:
    one = journal_of(tmp_path, STORY, [SNAPSHOT], STORY[1:])
    sizes, spent = one.size_since_snapshot("r"), one.spendings()
    assert sizes[0] == 2
    path = one.path("r")
    path.write_bytes(path.read_bytes().replace(b"ingress", b"INGRESS").replace(b'"kind":"send"', b'"kind":"SEND"'))
    again = LinesJournal(tmp_path, durable=False)
    assert again.recall("r") == (SNAPSHOT, *STORY[1:])
    assert (again.size_since_snapshot("r"), again.spendings()) == (sizes, spent)
    assert not again.write([("r", ended("r"))])
    assert [chain.open for chain in again.chains()] == [False]
    assert ":1: was changed" in str(again.verify("r"))


def test_what_removed_chains_spent_stays_and_their_names_come_again(tmp_path: Path) -> None:
    one = journal_of(tmp_path, STORY, [ended("r"), ended("r.2")])
    spent = one.spendings()
    one.remove("r")
    assert (one.chains(), one.spendings()) == ((), spent)
    again = LinesJournal(tmp_path, durable=False)
    assert (again.chains(), again.spendings(), again.path("r").exists()) == ((), spent, False)
    assert not again.write([("r", Dropped(at=1.0, thread="r", seq=1))])
    assert (len(LinesJournal(tmp_path).chains()), LinesJournal(tmp_path).spendings()) == (1, spent)


def test_a_chain_whose_file_cannot_be_removed_is_counted_once_and_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = journal_of(tmp_path, STORY, [ended("r"), ended("r.2")])
    spent = one.spendings()
    with monkeypatch.context() as patched:
        patched.setattr("pathlib.Path.unlink", refused)
        with pytest.raises(JournalError, match=r"r\.jsonl cannot be removed: Permission denied"):
            one.remove("r")
    for journal in (one, LinesJournal(tmp_path, readonly=True)):
        assert (journal.spendings(), journal.flaws()) == (spent, ())
    assert [chain.root for chain in LinesJournal(tmp_path).chains()] == ["r"]
    one.remove("r")
    assert (one.spendings(), one.chains(), one.flaws()) == (spent, (), ())


def refused(*_: object, **__: object) -> None:
    raise PermissionError(errno.EACCES, "Permission denied")


def test_a_removal_that_was_killed_halfway_counts_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one = journal_of(tmp_path, STORY, [ended("r"), ended("r.2")])
    spent = one.spendings()
    with monkeypatch.context() as patched:
        patched.setattr("pathlib.Path.unlink", killed)
        with pytest.raises(KeyboardInterrupt):
            one.remove("r")
    assert LinesJournal(tmp_path, readonly=True).spendings() == spent
    other = LinesJournal(tmp_path)
    assert (other.spendings(), [each.root for each in other.chains()], other.flaws()) == (spent, ["r"], ())
    other.remove("r")
    assert (other.spendings(), other.chains(), other.flaws()) == (spent, (), ())


@pytest.mark.parametrize("version", ["this", "earlier"])
def test_a_file_that_somebody_puts_back_is_a_thread_again_and_has_spent_once(tmp_path: Path, version: str) -> None:
    one = journal_of(tmp_path, STORY, [ended("r"), ended("r.2")])
    spent, entries, whole = one.spendings(), list(one.documents("r")), one.path("r").read_bytes()
    for _ in range(2):
        one.remove("r")
        one.close()
        one.path("r").write_bytes(whole)
        if version == "earlier":
            index = tmp_path / NAME
            *before, last = index.read_bytes().splitlines(keepends=True)
            line = json.loads(last) | {"kind": "back"}
            del line["sum"]
            index.write_bytes(b"".join([*before, json.dumps(line, separators=(",", ":")).encode() + b"\n"]))
        one = LinesJournal(tmp_path, durable=False)
        assert (list(one.documents("r")), one.spendings(), one.removed(), one.flaws()) == (entries, spent, (), ())
    # Also once what was removed is summed up, of which no line stays.
    one.close()
    with (tmp_path / NAME).open("ab") as file:
        file.write(b"{}\n" * 1_100)
    for _ in range(2):
        one = LinesJournal(tmp_path, durable=False)
        assert (tmp_path / NAME).read_bytes().count(b"\n") < 5
        assert (list(one.documents("r")), one.spendings(), one.removed(), one.flaws()) == (entries, spent, (), ())


@pytest.mark.parametrize("way", ["put back", "imported", "cut short"])
def test_what_was_removed_and_goes_on_has_spent_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, way: str) -> None:
    one = journal_of(tmp_path, STORY, [ended("r"), ended("r.2")])
    entries, whole = list(one.documents("r")), one.path("r").read_bytes()
    if way == "cut short":
        monkeypatch.setattr("pathlib.Path.unlink", refused)
        with pytest.raises(JournalError, match="Permission denied"):
            one.remove("r")
    else:
        one.remove("r")
    if way == "put back":
        one.path("r").write_bytes(whole)
    elif way == "imported":
        one.put("r", entries)
    assert not one.write([("r", accepted(posted("r"), at=8.0))])
    other = LinesJournal(tmp_path / "other")
    other.put("r", list(one.documents("r")))
    for journal in (one, LinesJournal(tmp_path)):
        assert (journal.spendings(), journal.removed(), journal.flaws()) == (other.spendings(), (), ())


def killed(*_: object, **__: object) -> None:
    raise KeyboardInterrupt


def test_a_reader_counts_what_is_removed_while_it_looks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one = journal_of(tmp_path, STORY, [ended("r"), ended("r.2")])
    spent = one.spendings()
    reader = LinesJournal(tmp_path, readonly=True)
    looked = reader._looked_over

    def late() -> AbstractContextManager[tuple[Roll, Sequence[Known]]]:
        if one.chains():
            one.remove("r")
        return looked()

    monkeypatch.setattr(reader, "_looked_over", late)
    assert reader.spendings() == spent


@pytest.mark.parametrize("line", [b"{}\n", b"\0\n", None])
def test_a_line_of_the_index_that_was_changed_is_made_anew(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, line: bytes | None
) -> None:
    one = journal_of(tmp_path, STORY, [ended("r"), ended("r.2")])
    assert not one.write([("s", accepted(opened("s"))), ("s", ended("s"))])
    there = (one.chains(), one.spendings())
    index = tmp_path / NAME
    whole = index.read_bytes()
    first, rest = whole.split(b"\n", 1)
    index.write_bytes((line or first.replace(b'"handler', b'"hamdler').replace(b"r.2", b"r.3") + b"\n") + rest)
    reader = LinesJournal(tmp_path, readonly=True)
    assert (reader.chains(), reader.spendings()) == there
    assert index.read_bytes() != whole
    again = LinesJournal(tmp_path, durable=False)
    assert (again.chains(), again.spendings()) == there
    assert sorted(index.read_bytes().splitlines()) == sorted(whole.splitlines())
    said = [each.getMessage() for each in caplog.records]
    assert len(said) == 2, "once for each who opened it"
    assert f"{NAME}:1: was changed; it is made anew from the chains" in said[0]


@pytest.mark.parametrize("kept", [0, 100])
def test_a_finished_chain_whose_end_was_never_on_the_disk_is_open_again(tmp_path: Path, kept: int) -> None:
    one = journal_of(tmp_path, STORY, [ended("r"), ended("r.2")])
    path = one.path("r")
    whole = path.read_bytes()
    path.write_bytes(whole[: -40 - kept] + bytes(40) + whole[len(whole) - kept :])
    again = LinesJournal(tmp_path, durable=False)
    assert [(chain.root, chain.open, chain.entries) for chain in again.chains(open=True)] == [("r", True, 4)]
    assert not again.write([("r", ended("r.2"))])
    assert (path.read_bytes(), again.chains()) == (whole, one.chains())


def test_a_damaged_chain_is_in_no_other_ones_way(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    one = journal_of(tmp_path, STORY)
    long = "x" * 9_000
    for root in ("s", long):
        assert not one.write([(root, accepted(opened(root)))])
    spent = one.spendings()
    path = one.path("r")
    raw = bytearray(path.read_bytes())
    assert not one.write([("r", Dropped(at=7.0, thread="r", seq=1)), ("r", Dropped(at=8.0, thread="r", seq=2))])
    path.write_bytes(path.read_bytes().replace(b'"at":7.0', b'"at":7.5'))
    one.path(long).write_bytes(b"what is this\n")
    for readonly in (True, False):
        caplog.clear()
        again = LinesJournal(tmp_path, durable=False, readonly=readonly)
        assert again.spendings() == spent
        found = {chain.root: chain for chain in again.chains(open=True)}
        assert (len(found), found["s"].entries, found["r"].entries, found["r"].size) == (3, 1, 3, len(raw))
        (stray,) = set(found) - {"r", "s"}
        assert len(caplog.records) == 2, "each is said once"
        assert "r.jsonl:4: was changed: its hash does not match its content" in caplog.records[0].getMessage()
        assert [bool(again.verify(root)) for root in ("r", "s", stray)] == [True, False, True]
        for call in (again.read, again.recall, lambda root, journal=again: list(journal.documents(root))):
            with pytest.raises(JournalError, match="4: was changed"):
                call("r")
    refused = again.write([("r", Dropped(at=9.0, thread="r", seq=3)), ("s", Dropped(at=9.0, thread="s", seq=3))])
    assert list(refused) == ["r"]
    assert len(again.read("s")) == 2


def test_a_folder_that_was_removed_while_it_was_open_is_not_written(tmp_path: Path) -> None:
    folder = tmp_path / "log"
    one = journal_of(folder, STORY)
    folder.rename(tmp_path / "elsewhere")
    for root in ("r", "new"):
        refused = one.write([(root, Dropped(at=7.0, thread=root, seq=1))])
        assert f"{folder} was removed or replaced while it was open" in str(refused[root])
    assert not folder.exists()
    (tmp_path / "elsewhere").rename(folder)
    one.path("r").unlink()
    assert "it was removed while it was written" in str(one.write([("r", Dropped(at=7.0, thread="r", seq=1))])["r"])
    assert not one.path("r").exists()
    assert not one.write([("new", Dropped(at=7.0, thread="new", seq=1))])


def test_an_index_that_was_removed_while_it_was_open_is_made_anew(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    one = journal_of(tmp_path, STORY, [ended("r"), ended("r.2")])
    there = one.chains()
    (tmp_path / NAME).unlink()
    assert not one.write([("s", accepted(opened("s"))), ("s", ended("s"))])
    assert [each.getMessage() for each in caplog.records] == [
        f"{tmp_path / NAME} was removed or cut while it was open; what is missing is read from the threads"
    ]
    assert LinesJournal(tmp_path).chains() == (*there, *one.chains()[1:])
    assert (tmp_path / NAME).read_bytes().count(b"\n") == 2


def test_an_index_that_grew_is_written_anew(tmp_path: Path) -> None:
    one = journal_of(tmp_path, STORY)
    roots = [f"conversation:{number % 2}" for number in range(1_200)]
    for root in roots:
        assert not one.write([(root, accepted(opened("x"))), (root, ended("x"))])
    before = one.spendings()
    one.close()
    assert (tmp_path / NAME).read_bytes().count(b"\n") == 1_200
    again = LinesJournal(tmp_path, durable=False)
    assert (tmp_path / NAME).read_bytes().count(b"\n") == 2
    assert again.spendings() == before


def test_of_all_that_was_removed_one_line_stays(tmp_path: Path) -> None:
    one = journal_of(tmp_path)
    for root in ("", "stays", *map(str, range(600))):
        facts = accepted(opened(root), posted(root)), held(1, thread=root), settled(1, 3, thread=root), ended(root)
        assert not one.write([(root, fact) for fact in facts])
    for number in range(600):
        one.remove(str(number))
    there = (one.chains(), one.spendings())
    one.close()
    assert (tmp_path / NAME).read_bytes().count(b"\n") == 1_202
    for _ in range(2):
        again = LinesJournal(tmp_path, durable=False)
        assert (tmp_path / NAME).read_bytes().count(b"\n") == 3
        assert (again.chains(), again.spendings(), again.flaws()) == (*there, ())
        again.close()


def test_what_is_not_there_is_looked_for_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    journal_of(tmp_path, STORY, [ended("r"), ended("r.2")]).close()
    one = LinesJournal(tmp_path, durable=False)
    assert one.root_of("nobody") is None
    story = [accepted(opened("s"), opened("s.2")), accepted(opened("s.3")), ended("s.2"), ended("s.3"), ended("s")]
    for fact in story:
        assert not one.write([("s", fact)])
    assert [one.root_of(each) for each in ("r.2", "s.2", "s.3", "s")] == ["r", "s", "s", "s"]
    with monkeypatch.context() as patch:
        patch.setattr(Index, "read", lambda *_, **__: pytest.fail("all chains were looked through"))
        assert [one.root_of(each) for each in ("nobody", "r.4")] == [None, None]
    one.remove("s")
    assert [one.root_of(each) for each in ("s.2", "s")] == [None, None]
    reader = LinesJournal(tmp_path, readonly=True)
    assert reader.root_of("t.2") is None
    assert not one.write([("t", accepted(opened("t"), opened("t.2")))])
    assert (reader.root_of("t.2"), one.root_of("t.2")) == ("t", "t")


class _NoIndex(Disk):
    """A disk that has no room for the index."""

    def write(self, file: FileIO, data: memoryview) -> int:
        if b'"kind":"over"' in bytes(data):
            raise OSError(errno.ENOSPC, "No space left on device")
        return super().write(file, data)


def test_an_index_that_cannot_be_written_is_in_nobodys_way(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    journal = LinesJournal(tmp_path, disk=_NoIndex(durable=False))
    assert not journal.write([("r", fact) for fact in [*STORY, ended("r"), ended("r.2")]])
    assert [chain.open for chain in journal.chains()] == [False]
    assert "the index could not be written" in caplog.records[0].getMessage()


def test_readers_make_and_change_nothing(tmp_path: Path) -> None:
    with pytest.raises(JournalError, match="does not exist"):
        LinesJournal(tmp_path / "log", readonly=True)
    journal_of(tmp_path, STORY).close()
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    reader = LinesJournal(tmp_path, readonly=True)
    assert str(reader.write([("r", ended("r"))])["r"]) == f"the journal in {tmp_path} is open for reading only"
    with pytest.raises(JournalError, match="open for reading only"):
        reader.put("x", [])
    with pytest.raises(JournalError, match="open for reading only"):
        reader.remove("r")
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_what_is_behind_an_entry_is_read_without_what_is_before_it(tmp_path: Path) -> None:
    """Whoever follows a chain reads each line a few times at most, also where others follow others."""
    journal = LinesJournal(tmp_path, durable=False)
    for root in ("r", "s"):
        dropped: list[Fact] = [Dropped(at=7.0, thread=root, seq=seq) for seq in range(200)]
        assert not journal.write([(root, accepted(opened(root), posted(root))), *((root, each) for each in dropped)])
        path = journal.path(root)
        path.write_bytes(path.read_bytes().replace(b'"seq":3,', b'"seq":4,'))
    reader = LinesJournal(tmp_path, readonly=True)
    for after in (150, 199, 200, 201, 300):
        for root in ("r", "s"):
            assert [each["n"] for each in reader.documents(root, after=after)] == list(range(after + 1, 202))
    with pytest.raises(JournalError, match=":5: was changed"):
        list(reader.documents("r", after=4))


@pytest.mark.parametrize("changed", ["its hash", "its number", "its root", "all of it", "its end"])
def test_an_entry_that_cannot_be_read_on_from_leads_to_the_beginning(tmp_path: Path, changed: str) -> None:
    journal = LinesJournal(tmp_path, durable=False)
    dropped: list[Fact] = [Dropped(at=7.0, thread="r", seq=seq) for seq in range(200)]
    assert not journal.write([("r", each) for each in (accepted(opened("r"), posted("r")), *dropped)])
    lines = journal.path("r").read_bytes().splitlines(keepends=True)
    ways: dict[str, Callable[[bytes], bytes]] = {
        "its hash": lambda raw: raw.replace(b'"hash":"', b'"hash":"x'),
        "its number": lambda raw: re.sub(rb'"n":\d+', b'"n":-7', raw),
        "its root": lambda raw: raw.replace(b'"root":"r"', b'"root":"q"'),
        "all of it": lambda raw: raw[:1] + b"\n",
        "its end": lambda raw: raw,
    }
    rest = b'{"n":1' if changed == "its end" else b""
    journal.path("r").write_bytes(lines[0] + b"".join(map(ways[changed], lines[1:])) + rest)
    reader = LinesJournal(tmp_path, readonly=True)
    if changed == "its end":
        assert [each["n"] for each in reader.documents("r", after=198)] == [199, 200, 201]
    else:
        with pytest.raises(JournalError, match=r"r\.jsonl:2: "):
            list(reader.documents("r", after=198))


def test_a_file_that_was_put_in_the_place_of_another_is_read_as_it_is(tmp_path: Path) -> None:
    one = journal_of(tmp_path, STORY, [SNAPSHOT])
    path = one.path("r")
    path.unlink()
    new = journal_of(tmp_path / "new", [Dropped(at=7.0, thread="r", seq=1)])
    path.write_bytes(new.path("r").read_bytes())
    again = LinesJournal(tmp_path, durable=False)
    assert again.recall("r") == (Dropped(at=7.0, thread="r", seq=1),)
    assert not again.write([("r", Dropped(at=8.0, thread="r", seq=1))])
    assert len(again.read("r")) == 2


class Killed(BaseException):
    """The process was killed."""


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "No space left on device"), Killed()])
@pytest.mark.parametrize("way", ["forked", "imported"])
def test_a_copied_chain_is_there_as_a_whole_or_not_at_all(tmp_path: Path, way: str, error: BaseException) -> None:
    """Its first lines alone would be another thread, which goes on from an earlier point, under other limits."""
    copy: list[Fact] = [Forked(at=1.0, thread="r", origin="o", entries=len(STORY)), *STORY, Paused(at=6.0, thread="r")]
    entries = list(journal_of(tmp_path / "other", copy).documents("r"))
    for calls in range(20):
        folder = tmp_path / f"{calls}"
        journal = LinesJournal(folder, disk=FailingDisk(FailAfter(calls, error)))
        failed = False
        try:
            if way == "imported":
                journal.put("r", entries)
            else:
                failed = bool(journal.write([("r", fact) for fact in copy]))
        except (JournalError, Killed):
            failed = True
        if failed and isinstance(error, OSError):
            assert journal.chains() == ()
            assert not journal.write([("r", fact) for fact in copy]), "a later write is none the worse"
            assert list(journal.documents("r")) == entries
            continue
        again = LinesJournal(folder, durable=False)
        left = list(again.documents("r"))
        assert left in ([], entries)
        assert list(again.flaws()) == []
        if not failed:
            assert left
            return
    pytest.fail("it never came to an end")


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "No space left on device"), Killed()])
def test_what_comes_back_counts_once_wherever_its_import_ends(tmp_path: Path, error: BaseException) -> None:
    for calls in range(20):
        one = journal_of(tmp_path / f"{calls}", STORY, [ended("r"), ended("r.2")])
        entries, spent = list(one.documents("r")), one.spendings()
        one.remove("r")
        one.close()
        journal = LinesJournal(tmp_path / f"{calls}", disk=FailingDisk(FailAfter(calls, error)))
        failed = False
        try:
            journal.put("r", entries)
        except (JournalError, Killed):
            failed = True
        again = LinesJournal(tmp_path / f"{calls}", durable=False)
        assert list(again.documents("r")) in ([], entries)
        assert (again.spendings(), tuple(again.flaws())) == (spent, ())
        if not again.chains():
            again.put("r", entries)
        last = LinesJournal(tmp_path / f"{calls}", durable=False)
        assert (list(last.documents("r")), last.spendings(), tuple(last.flaws())) == (entries, spent, ())
        if not failed:
            return
    pytest.fail("it never came to an end")
