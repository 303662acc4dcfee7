"""Generated programs, written to a disk and killed anywhere: a list of threads is the same, whether it is read from what is kept of them or
from their entries.
"""

from __future__ import annotations

import shutil
import tempfile
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from attrs import evolve
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from organism import Context, Organism, Reply
from organism.journal import SqliteJournal, open_journal
from organism.journal.check import _thread_image as image_of
from organism.journal.folder_index import NAME, _line, summary_of
from organism.journal.secrets import Marked
from organism.record.facts import Ended, LimitsSet, Snapshot
from organism.record.images import Image
from organism.replay.forking import fork_in
from organism.settings import BudgetSettings, Limits
from tests.cli.journal_world import record
from tests.durable.test_any_cut import CHECKS, kept, lasting, program_of, programs
from tests.durable.told_rows import check_kept, check_rows, listed
from tests.hard.pump_world import Go
from tests.journal.fact_values import ended
from tests.journal.test_secrets import SECRETS
from tests.journal.test_sqlite_ends import WITHOUT_ENDINGS, change
from tests.journal.test_standing import accepted, opened
from tests.kernel.test_kernel_laws import Dice, organisms

if TYPE_CHECKING:
    from collections.abc import Sequence

    from organism.record.facts import Fact
    from organism.settings import Settings

URLS = ("sqlite:x.db", "jsonl:x")
SOME = [("sqlite:x.db", "jsonl:y"), ("jsonl:y", "sqlite:x.db")]


def written_on(folder: Path, url: str, facts: Sequence[tuple[str, Fact]], cuts: list[float], batch: int) -> Path:
    """Writes facts, a few at a time, in processes that are killed at these shares of them; gives the folder that the last one left."""
    ends = [*sorted({round(cut * len(facts)) for cut in cuts} - {0, len(facts)}), len(facts)]
    start = 0
    for number, end in enumerate(ends):
        with closing(open_journal(url, folder=folder, durable=False)) as journal:
            for first in range(start, end, batch):
                assert not journal.write(facts[first : min(end, first + batch)])
            left = folder.parent / f"left-{number}"
            shutil.copytree(folder, left)
        folder, start = left, end
        check_kept(folder, url)
    return folder


def over_in(folder: Path, url: str) -> int:
    """How many chains of a journal are over."""
    with closing(open_journal(url, folder=folder, readonly=True)) as journal:
        return len(journal.chains(open=False))


@pytest.mark.parametrize(("url", "other"), SOME)
@settings(max_examples=20, suppress_health_check=CHECKS)
@given(
    organism=organisms().map(lasting),
    dice=programs,
    cuts=st.lists(st.floats(0, 1), max_size=3),
    batch=st.sampled_from([1, 3, 20]),
)
def test_what_is_kept_of_threads_is_what_their_entries_say(
    url: str, other: str, organism: Settings, dice: list[Dice], cuts: list[float], batch: int
) -> None:
    world = kept(program_of(organism, dice))
    if len(dice) % 2:
        world.drain()
    assume(world.written)
    with tempfile.TemporaryDirectory() as name:
        home = Path(name) / "home"
        home.mkdir()
        folder = written_on(home, url, world.written, cuts, batch)
        assert check_kept(folder, url) == over_in(folder, url)
        moved(folder, url, other)


def moved(folder: Path, url: str, other: str) -> None:
    """Threads that are taken into another journal, removed and taken back are told of as they were."""
    with closing(open_journal(url, folder=folder, durable=False)) as journal:
        over = [chain.root for chain in journal.chains(open=False)]
        if not over:
            return
        with closing(open_journal(other, folder=folder, durable=False)) as there:
            for root in over:
                there.put(root, list(journal.documents(root)))
            assert check_rows(there) == len(over)
            journal.remove(*over[::2])
            assert check_rows(journal) == len(over[1::2])
            for root in over[::2]:
                journal.put(root, list(there.documents(root)))
        assert check_rows(journal) == len(over)
    assert check_kept(folder, url) == check_kept(folder, other) == len(over)


@pytest.mark.parametrize("url", URLS)
def test_a_fork_is_told_of_as_its_entries_say(tmp_path: Path, url: str) -> None:
    facts = record().facts
    (tmp_path / "x").mkdir()
    written_on(tmp_path / "x", url, facts, [], 7)
    with closing(open_journal(url, folder=tmp_path / "left-0", durable=False)) as journal:
        fork_in(journal, "apple", "plum", entries=3)
        assert check_rows(journal) == 2
        end = next(fact for root, fact in facts if root == "apple" and isinstance(fact, Ended) and fact.thread == root)
        assert not journal.write([("plum", evolve(end, thread="plum", threads=()))])
        row = next(row for row in listed(journal) if row.result.thread == "plum")
        assert (row.origin, row.short is None) == ("apple", False)
    check_kept(tmp_path / "left-0", url)


WIDER = LimitsSet(at=1.5, thread="r", budget=BudgetSettings(limits=Limits(tokens=9, seconds=2.5)))
SNAPSHOT = Snapshot(at=1.7, thread="r", image=Image(threads=(image_of("r"),), frames=(), messages=(), holds=()))


@pytest.mark.parametrize("url", URLS)
def test_what_was_said_before_a_snapshot_is_kept_by_whoever_goes_on_behind_it(tmp_path: Path, url: str) -> None:
    story: list[tuple[str, Fact]] = [
        ("r", each) for each in (accepted(evolve(opened("r"), accounts=("tenant:x",))), WIDER, SNAPSHOT, ended("r"))
    ]
    (tmp_path / "x").mkdir()
    folder = written_on(tmp_path / "x", url, story, [0.75], 1)
    with closing(open_journal(url, folder=folder, readonly=True)) as journal:
        (row,) = listed(journal)
        assert row.short is not None
        assert (row.began, row.limits, row.accounts) == (1.0, {"tokens": 9, "seconds": 2.5}, ("tenant:x",))


def all_bytes(folder: Path) -> bytes:
    """Whatever is in the files of a folder."""
    return b"".join(file.read_bytes() for file in folder.rglob("*") if file.is_file())


@pytest.mark.parametrize("url", URLS)
def test_no_secret_is_kept_that_the_entries_have_not(tmp_path: Path, url: str) -> None:
    key, word = SECRETS[0], "a word that was marked"
    marked = Marked()
    marked.mark([word])
    begun = accepted(evolve(opened("r", of=key), accounts=(f"tenant:{key}",)))
    story = [begun, SNAPSHOT, evolve(ended("r"), error=f"{key} and {word}", labels={"of": key})]
    with closing(open_journal(url, folder=tmp_path, durable=False, marked=marked)) as journal:
        assert not journal.write([("r", each) for each in story])
    assert check_kept(tmp_path, url) == 1
    assert key.encode() not in all_bytes(tmp_path)
    assert word.encode() not in all_bytes(tmp_path)


@pytest.mark.parametrize("url", URLS)
async def test_no_secret_of_a_sub_thread_or_a_tag_is_kept_beside_the_entries(tmp_path: Path, url: str) -> None:
    key = SECRETS[0]

    async def caller(message: Go, ctx: Context) -> Reply[Go]:
        """Calls a model, under a tag that is a key, and opens a sub-thread."""
        await ctx.complete("hi", tags=[key])
        await ctx.spawn("other", message)
        return Reply(message)

    async def other(message: Go, ctx: Context) -> Reply[Go]:
        """Answers."""
        return Reply(message)

    handlers = {"caller": {"code": caller, "peers": ["other"]}, "other": {"code": other, "budget": {"tokens": 100}}}
    async with Organism(name="keys", handlers=handlers, journal=url, folder=tmp_path) as made:
        handle = await made.send("caller", Go(), labels={"of": key})
        assert (await handle.result()).outcome == "completed"
    assert check_kept(tmp_path, url) == 1
    assert key.encode() not in all_bytes(tmp_path)


def test_of_a_file_of_an_earlier_version_the_entries_are_read_and_what_comes_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "x.db"
    facts = record().facts
    with closing(SqliteJournal(path, durable=False)) as journal:
        assert not journal.write(facts)
        before = [row.result.thread for row in listed(journal)]
    change(path, *WITHOUT_ENDINGS, "PRAGMA user_version = 4")
    assert check_kept(tmp_path, URLS[0]) == 0
    with closing(SqliteJournal(path, durable=False)) as journal:
        assert [row.result.thread for row in listed(journal)] == before
        assert check_rows(journal) == 0
        assert not journal.write([("s", each) for each in (evolve(accepted(opened("s")), thread="s"), ended("s"))])
        assert check_rows(journal) == 1
    assert check_kept(tmp_path, URLS[0]) == 1


def test_of_a_folder_of_an_earlier_version_the_entries_are_read(tmp_path: Path) -> None:
    with closing(open_journal(URLS[1], folder=tmp_path, durable=False)) as journal:
        assert not journal.write(record().facts)
    index = tmp_path / "x" / NAME
    lines = [summary_of(raw) for raw in index.read_bytes().splitlines(keepends=True)]
    index.write_bytes(b"".join(_line(evolve(each, ending=None, terms=None)) for each in lines))
    assert check_kept(tmp_path, URLS[1]) == 0


CHANGES: list[tuple[str, Any]] = [
    ("UPDATE endings SET body = replace(body, 'completed', 'cancelled')", "completed"),
    ("UPDATE endings SET body = CAST('[1]' AS BLOB)", "[1]"),
    ("UPDATE endings SET body = 7", "holds 7"),
    ("UPDATE endings SET began = 3.5", "table endings"),
    ("DELETE FROM endings", "holds 'nothing'"),
    ("INSERT INTO endings VALUES (1, 1, 1.0, x'00')", "entry 1"),
    ("UPDATE chains SET terms = x'5b5d'", "column terms"),
]


@pytest.mark.parametrize(("statement", "said"), CHANGES)
def test_what_is_kept_and_was_changed_is_named_and_read_from_the_entries_where_it_is_no_such_thing(
    tmp_path: Path, statement: str, said: str
) -> None:
    with closing(SqliteJournal(tmp_path / "x.db", durable=False)) as journal:
        assert not journal.write([("r", each) for each in (accepted(opened("r")), ended("r"))])
    change(tmp_path / "x.db", statement)
    with closing(SqliteJournal(tmp_path / "x.db", readonly=True)) as journal:
        ((root, flaw),) = journal.flaws()
        assert root == "r"
        assert said in flaw
        assert {row.result.thread for row in listed(journal)} == {"r"}
