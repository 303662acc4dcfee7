"""Whatever a crash cuts off the end of a journal: what is left is a prefix of what was written, and the next write is whole."""

from __future__ import annotations

import shutil
import tempfile
from contextlib import closing
from pathlib import Path
from typing import Any, Final

from hypothesis import given, settings
from hypothesis import strategies as st

from organism.budget.claims import Charge
from organism.journal import LinesJournal, SqliteJournal
from organism.record.facts import Accepted, CallHeld, CallSettled, Dropped, Fact, Snapshot, ThreadOpened
from organism.record.images import Image
from organism.settings import BudgetSettings
from tests.journal.fact_values import ended

ROOTS: Final = ("a", "A/b", "conversation:x")


def opened(root: str) -> Fact:
    step = ThreadOpened(thread=root, kind="root", handler="h", budget=BudgetSettings(), owner=None, labels={"of": root})
    return Accepted(at=1.0, thread=root, steps=(step,))


def fact(kind: int, root: str, number: int) -> Fact:
    """One of some kinds of facts of a chain."""
    some: tuple[Fact, ...] = (
        opened(root),
        Dropped(at=float(number), thread=root, seq=number),
        CallHeld(at=2.0, thread=root, hold=number, seq=1, need=(3, 2, 1, 0, 1, 0), output=1, alias="m", backend="b", attempt=1,
                 grace=False, streamed=False),
        CallSettled(at=2.0, thread=root, hold=number - 1, seq=1, handler="h", alias="m", backend="b", held_at=2.0,
                    charge=Charge(input_tokens=number)),
        Snapshot(at=3.0, thread=root, image=Image(threads=(), frames=(), messages=(), holds=())),
        ended(root),
    )  # fmt: skip
    return some[kind]


histories = st.lists(
    st.lists(st.tuples(st.integers(0, 5), st.sampled_from(ROOTS)), min_size=1, max_size=4), min_size=1, max_size=6
)


def batches(history: list[list[tuple[int, str]]]) -> list[list[tuple[str, Fact]]]:
    number = iter(range(1, 1000))
    return [[(root, fact(kind, root, next(number))) for kind, root in batch] for batch in history]


def is_whole(journal: Any, written: dict[str, list[Fact]], least: dict[str, int]) -> None:
    """What is there is a prefix of what was written, and goes on."""
    spent = sum(each.amounts[0] for each in journal.spendings())
    left = {root: list(journal.read(root)) for root in ROOTS}
    for root in ROOTS:
        assert left[root] == written[root][: len(left[root])]
        assert len(left[root]) >= least[root]
        assert journal.verify(root) is None
        recalled = list(journal.recall(root))
        assert recalled == left[root][len(left[root]) - len(recalled) :]
        assert sum(isinstance(each, Snapshot) for each in recalled) <= 1
    due = sum(each.charge.input_tokens for facts in left.values() for each in facts if isinstance(each, CallSettled))
    assert spent == due, "what was spent is what the facts say that are there"
    more = Dropped(at=9.0, thread="x", seq=99)
    assert not journal.write([(root, more) for root in ROOTS])
    for root in ROOTS:
        assert list(journal.read(root)) == [*left[root], more]
        assert journal.verify(root) is None
    journal.close()


def story(made: list[list[tuple[str, Fact]]]) -> dict[str, list[Fact]]:
    return {root: [each for batch in made for name, each in batch if name == root] for root in ROOTS}


@given(histories, st.data())
@settings(max_examples=60)
def test_lines_that_are_cut_anywhere_leave_a_prefix(history: list[list[tuple[int, str]]], data: Any) -> None:
    made = batches(history)
    written = story(made)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        journal = LinesJournal(folder, durable=False)
        for batch in made:
            assert not journal.write(batch)
        journal.close()
        files = sorted(folder.iterdir())
        cut = data.draw(st.sampled_from(files), label="file")
        size = data.draw(st.integers(0, cut.stat().st_size), label="bytes")
        whole = cut.read_bytes()
        cut.write_bytes(whole[:size])
        least = {root: 0 if cut == journal.path(root) else len(written[root]) for root in ROOTS}
        is_whole(LinesJournal(folder, durable=False), written, least)


@given(histories, st.data())
@settings(max_examples=60)
def test_a_database_whose_log_is_cut_anywhere_leaves_whole_writes(
    history: list[list[tuple[int, str]]], data: Any
) -> None:
    made = batches(history)
    written = story(made)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with closing(SqliteJournal(folder / "x.db", durable=False)) as journal:
            for batch in made:
                assert not journal.write(batch)
            # As it is on the disk while its owner lives: what the owner wrote is in the log.
            shutil.copy(folder / "x.db", folder / "y.db")
            log = (folder / "x.db-wal").read_bytes()
            size = data.draw(st.integers(0, len(log)), label="bytes of the log")
            (folder / "y.db-wal").write_bytes(log[:size])
        least = {root: len(written[root]) if size == len(log) else 0 for root in ROOTS}
        is_whole(SqliteJournal(folder / "y.db", durable=False), written, least)
