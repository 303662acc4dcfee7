"""The contract of journals: ours keep it, and the check finds those that do not."""

from __future__ import annotations

from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING, Any

import pytest

from organism.errors import JournalError
from organism.journal import LinesJournal, MemoryJournal, SqliteJournal, open_journal
from organism.journal.filenames import file_name
from organism.payloads import Vocabulary
from organism.record.facts import Dropped
from organism.testing import check_journal
from tests.journal.fact_values import ended

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from organism.journal import Chain, Journal
    from organism.record.facts import Fact
    from organism.usage import Spending

WORDS = Vocabulary()


def test_memory_keeps_the_contract() -> None:
    check_journal(lambda: MemoryJournal(WORDS))


@pytest.mark.parametrize("durable", [False, True])
@pytest.mark.parametrize("url", ["sqlite:not-there/x.db", "jsonl:not-there/x"])
def test_journals_on_a_disk_keep_the_contract(tmp_path: Path, url: str, *, durable: bool) -> None:
    check_journal(lambda: open_journal(url, folder=tmp_path, vocabulary=WORDS, durable=durable))
    inside = tmp_path / "not-there"
    folders = {path.parent for path in tmp_path.rglob("*") if path.is_file()}
    assert folders == {inside if url.startswith("sqlite") else inside / "x"}


class _Forgetful(SqliteJournal):
    def read(self, root: str) -> tuple[Fact, ...]:
        return super().read(root)[:2]


class _Blind(SqliteJournal):
    def chains(self, *, open: bool | None = None) -> tuple[Any, ...]:  # noqa: A002 - the contract's name
        return super().chains(open=open)[1:]


class _Crying(SqliteJournal):
    def verify(self, root: str) -> str | None:
        return super().verify(root) or "wolf"


class _Folding(SqliteJournal):
    """Takes two spellings for one thread."""

    def write(self, batch: Sequence[tuple[str, Fact]]) -> Mapping[str, JournalError]:
        return super().write([(root.casefold(), fact) for root, fact in batch])


class _Endless(SqliteJournal):
    def close(self) -> None:
        pass


class _Slow(SqliteJournal):
    """Recalls what it need not."""

    def recall(self, root: str) -> tuple[Fact, ...]:
        return self.read(root)


class _Trusting(SqliteJournal):
    def put(self, root: str, documents: Iterable[Mapping[str, Any]]) -> None:
        with suppress(JournalError):
            super().put(root, documents)


class _Generous(SqliteJournal):
    def spendings(self) -> tuple[Spending, ...]:
        return ()


class _Keeping(SqliteJournal):
    def remove(self, *roots: str) -> None:
        pass


class _Halfway(SqliteJournal):
    def remove(self, *roots: str) -> None:
        super().remove(*roots[:1])


class _Lost(SqliteJournal):
    def chain(self, root: str) -> Chain | None:
        return super().chain(f"{root}?")


class _Mixing(SqliteJournal):
    def documents(
        self, root: str, *, after: int = 0, kinds: Collection[str] | None = None, of: str | None = None
    ) -> Iterator[Mapping[str, Any]]:
        return super().documents(root, after=after, kinds=kinds, of=of and root)


class _Short(MemoryJournal):
    @property
    def lasting(self) -> bool:
        return True


def _left(opened: ExitStack, journal: Journal) -> Journal:
    """A journal that the check leaves open where it finds something."""
    if isinstance(journal, SqliteJournal):  # also one whose own way to close does nothing
        opened.callback(SqliteJournal.close, journal)
    return journal


@pytest.mark.parametrize(
    "cls",
    [_Forgetful, _Blind, _Crying, _Folding, _Endless, _Slow, _Trusting, _Generous, _Keeping, _Halfway, _Lost, _Mixing],
)
def test_a_journal_that_breaks_the_contract_is_found(cls: type[SqliteJournal], tmp_path: Path) -> None:
    with ExitStack() as opened, pytest.raises(AssertionError):
        check_journal(lambda: _left(opened, cls(tmp_path / "log", WORDS, durable=False)))


def test_one_that_says_it_lasts_and_does_not_is_found() -> None:
    with pytest.raises(AssertionError):
        check_journal(_Short)


@pytest.mark.parametrize("cls", [SqliteJournal, LinesJournal])
def test_a_missing_vocabulary_is_found(cls: type[SqliteJournal | LinesJournal], tmp_path: Path) -> None:
    with ExitStack() as opened, pytest.raises(AssertionError, match="read"):
        check_journal(lambda: _left(opened, cls(tmp_path / "log", durable=False)))


def test_memory_lets_go_of_what_has_ended() -> None:
    journal = MemoryJournal()
    for root in ("one", "two"):
        journal.write([(root, Dropped(at=1.0, thread=root, seq=1)), (root, ended("a sub-thread of it"))])
    assert len(journal) == 2
    journal.write([("one", ended("one"))])
    assert (len(journal), [chain.root for chain in journal.chains()], journal.read("one")) == (1, ["two"], ())


@pytest.mark.parametrize(("one", "other"), [("sqlite:a", "jsonl:b"), ("jsonl:a", "sqlite:b"), ("memory:", "jsonl:b")])
def test_a_chain_is_the_same_in_every_journal(tmp_path: Path, one: str, other: str) -> None:
    here = open_journal(one, folder=tmp_path, vocabulary=WORDS)
    there = open_journal(other, folder=tmp_path, vocabulary=WORDS)
    facts = [Dropped(at=float(number), thread="../é\0", seq=number) for number in range(3)]
    for journal in (here, there):
        assert not journal.write([("../é\0", fact) for fact in facts])
    assert list(here.documents("../é\0")) == list(there.documents("../é\0"))
    assert not here.write([("second", Dropped(at=1.0, thread="second", seq=1))])
    there.put("second", here.documents("second"))
    assert list(here.documents("second")) == list(there.documents("second"))
    assert there.verify("second") is None
    for journal in (here, there):
        assert not journal.write([("second", ended("x"))])
    assert list(here.documents("second")) == list(there.documents("second"))
    here.close()
    there.close()


def test_names_of_files_do_not_say_whose_they_are_alone(tmp_path: Path) -> None:
    """A file that was renamed is no other thread's."""
    journal = LinesJournal(tmp_path, WORDS)
    journal.write([("one", Dropped(at=1.0, thread="one", seq=1))])
    journal.path("one").rename(tmp_path / file_name("two"))
    other = LinesJournal(tmp_path, WORDS)
    assert str(other.verify("two")).endswith("two.jsonl:1: belongs to thread 'one', and not to 'two'")
    refused = other.write([("two", Dropped(at=1.0, thread="two", seq=1))])
    assert "belongs to thread 'one'" in str(refused["two"])
