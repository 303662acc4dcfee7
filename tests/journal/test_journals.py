"""The contract of journals: ours keep it, and the check finds those that do not."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from organism.errors import JournalError
from organism.facts import Dropped
from organism.journal import LinesJournal, MemoryJournal
from organism.journal.filenames import file_name
from organism.payloads import Vocabulary
from organism.testing import check_journal
from tests.journal.fact_values import ended

if TYPE_CHECKING:
    from pathlib import Path

    from organism.facts import Fact

WORDS = Vocabulary()


def test_memory_keeps_the_contract() -> None:
    check_journal(MemoryJournal)


@pytest.mark.parametrize("durable", [False, True])
def test_lines_keep_the_contract(tmp_path: Path, *, durable: bool) -> None:
    folder = tmp_path / "not" / "there"
    check_journal(lambda: LinesJournal(folder, WORDS, durable=durable))
    assert [path for path in tmp_path.rglob("*") if path.is_file() and path.parent != folder] == []


class _Forgetful(LinesJournal):
    def read(self, root: str) -> tuple[Fact, ...]:
        return super().read(root)[:2]


class _Blind(LinesJournal):
    def roots(self) -> tuple[str, ...]:
        return super().roots()[1:]


class _Crying(LinesJournal):
    def verify(self, root: str) -> str | None:
        return super().verify(root) or "wolf"


class _Folding(LinesJournal):
    """Takes two spellings for one thread."""

    def append(self, root: str, fact: Fact) -> None:
        super().append(root.casefold(), fact)


class _Endless(LinesJournal):
    def close(self) -> None:
        pass


class _Short(MemoryJournal):
    @property
    def lasting(self) -> bool:
        return True


@pytest.mark.parametrize("cls", [_Forgetful, _Blind, _Crying, _Folding, _Endless])
def test_a_journal_that_breaks_the_contract_is_found(cls: type[LinesJournal], tmp_path: Path) -> None:
    with pytest.raises(AssertionError):
        check_journal(lambda: cls(tmp_path / "log", WORDS))


def test_one_that_says_it_lasts_and_does_not_is_found() -> None:
    with pytest.raises(AssertionError, match="after opening again"):
        check_journal(_Short)


def test_a_missing_vocabulary_is_found(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match="read"):
        check_journal(lambda: LinesJournal(tmp_path / "log"))


def test_memory_lets_go_of_what_has_ended() -> None:
    journal = MemoryJournal()
    for root in ("one", "two"):
        journal.append(root, Dropped(at=1.0, thread=root, seq=1))
        journal.append(root, ended("a sub-thread of it"))
    assert len(journal) == 2
    journal.append("one", ended("one"))
    assert (len(journal), journal.roots(), journal.read("one")) == (1, ("two",), ())


def test_names_of_files_do_not_say_whose_they_are_alone(tmp_path: Path) -> None:
    """A file that was renamed is no other thread's."""
    journal = LinesJournal(tmp_path, WORDS)
    journal.append("one", Dropped(at=1.0, thread="one", seq=1))
    journal.path("one").rename(tmp_path / file_name("two"))
    other = LinesJournal(tmp_path, WORDS)
    assert str(other.verify("two")).endswith("two.jsonl:1: belongs to thread 'one', and not to 'two'")
    with pytest.raises(JournalError, match="belongs to thread 'one'"):
        other.append("two", Dropped(at=1.0, thread="two", seq=1))
