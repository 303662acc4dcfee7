"""What is read of a large journal is what is asked for: not all that ever happened."""

from __future__ import annotations

import io
from contextlib import closing, nullcontext
from typing import TYPE_CHECKING, Any, Final

import pytest
from attrs import evolve

from organism.cli.main import execute
from organism.cli.streams import Streams
from organism.cli.threads import flat
from organism.journal import open_journal
from organism.record.facts import Dropped
from organism.works.rows import rows_in, whole
from tests.compiled import interpreted
from tests.hard.test_growth import Steps
from tests.journal.fact_values import ended
from tests.journal.test_standing import accepted, opened, posted

if TYPE_CHECKING:
    from pathlib import Path

    from organism.journal import Journal
    from organism.record.facts import Fact

URLS: Final = ("sqlite:x.db", "jsonl:x")


def history(thread: str, at: float, length: int) -> list[Fact]:
    """A thread that began then and ended a second later, with so many entries."""
    begun = accepted(opened(thread), posted(thread), at=at)
    between: list[Fact] = [Dropped(at=at, thread=thread, seq=2) for _ in range(length - 2)]
    return [evolve(begun, thread=thread), *between, evolve(ended(thread), at=at + 1)]


def filled(folder: Path, url: str, threads: int, length: int) -> Path:
    """A journal with so many threads of so many entries."""
    folder.mkdir(exist_ok=True)
    with closing(open_journal(url, folder=folder, durable=False)) as journal:
        facts = [(f"t{n}", fact) for n in range(threads) for fact in history(f"t{n}", float(n), length)]
        assert not journal.write(facts)
    return folder


def all_rows(journal: Journal) -> int:
    rows = [flat(row) for row in rows_in(journal, nullcontext(), owned=False)]
    assert {row["outcome"] for row in rows} == {"completed"}
    return len(rows)


def steps_to_list(folder: Path, url: str) -> int:
    steps = Steps()
    with closing(open_journal(url, folder=folder, readonly=True)) as journal:
        journal.chain("t0")  # whatever is made once is made
        with steps.counted():
            all_rows(journal)
    return steps.taken


@interpreted
@pytest.mark.parametrize("url", URLS)
def test_to_list_threads_costs_the_same_however_long_each_was(tmp_path: Path, url: str) -> None:
    steps_to_list(filled(tmp_path / "first", url, 30, 3), url)
    short, long = (steps_to_list(filled(tmp_path / str(n), url, 30, n), url) for n in (3, 60))
    assert long < 1.05 * short, f"{short} lines for threads of 3 entries, {long} for threads of 60"


def steps_of(folder: Path, *words: str) -> int:
    """What ``organism threads`` takes to list seven."""
    out, steps = io.StringIO(), Steps()
    with steps.counted():
        code = execute(
            ["threads", "--journal", f"sqlite:{folder / 'x.db'}", "--csv", *words],
            Streams(out=out, err=io.StringIO(), input=io.StringIO()),
        )
    assert (code, len(out.getvalue().splitlines())) == (0, 8)
    return steps.taken


@interpreted
def test_to_list_the_last_threads_costs_the_same_however_many_there_are(tmp_path: Path) -> None:
    few, many = (filled(tmp_path / str(threads), URLS[0], threads, 3) for threads in (30, 300))
    steps_of(few, "--limit", "7")
    for some, more in (
        (("--limit", "7"),) * 2,
        (("--since", "1970-01-01T00:00:23"), ("--since", "1970-01-01T00:04:53")),
    ):
        taken = steps_of(few, *some), steps_of(many, *more)
        assert taken[1] < 1.05 * taken[0], f"{taken[0]} lines with 30 threads, {taken[1]} with 300"


@interpreted
def test_all_of_one_result_is_read_without_what_is_before_it(tmp_path: Path) -> None:
    taken: list[int] = []
    for length in (3, 3, 600):
        folder = filled(tmp_path / f"{len(taken)}", URLS[0], 1, length)
        with closing(open_journal(URLS[0], folder=folder, readonly=True)) as journal:
            (row,) = rows_in(journal, nullcontext(), owned=False)
            assert row.short is not None
            steps = Steps()
            with steps.counted():
                known: Any = whole(journal, row)
                assert known.as_json()["outcome"] == "completed"
        taken.append(steps.taken)
    assert taken[2] <= 1.05 * taken[1]
