"""What stands beside the entries of a journal and follows from them: where it says otherwise, that is told with its place."""

from __future__ import annotations

import json
import os
import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest

from organism.errors import JournalError
from organism.journal import LinesJournal, Lock, SqliteJournal, open_journal
from organism.journal.check import _samples as samples
from organism.journal.check import _thread_image as image_of
from organism.journal.folder_index import NAME, REMOVED, Summary, _line
from organism.record.facts import Dropped, Snapshot
from organism.record.images import Image
from organism.replay.forking import fork
from tests.cli.journal_world import written
from tests.journal.fact_values import ended
from tests.journal.test_cut_tails import opened
from tests.journal.test_sqlite import fact
from tests.journal.test_sqlite_ends import WITHOUT_ENDINGS, change, left
from tests.journal.test_standing import accepted, posted
from tests.journal.test_standing import opened as begun

if TYPE_CHECKING:
    from pathlib import Path

URLS = ("sqlite:x.db", "jsonl:x")
SNAPSHOT = Snapshot(at=1.5, thread="r", image=Image(threads=(image_of("r"),), frames=(), messages=(), holds=()))
WAY_OUT = (
    "restore the file from a copy, or take its chains into a new journal with 'organism export' and 'organism import'"
)


def flaws(folder: Path, url: str = URLS[0]) -> tuple[tuple[str | None, str], ...]:
    with closing(open_journal(url, folder=folder, readonly=True)) as journal:
        return tuple(journal.flaws())


def recorded(folder: Path, url: str) -> None:
    """What a run wrote, beside a chain with a snapshot that goes on."""
    written(folder, url)
    with closing(open_journal(url, folder=folder, durable=False)) as journal:
        assert not journal.write([("r", samples("r")[0]), ("r", SNAPSHOT), *(("r", each) for each in samples("r")[1:])])


def asked(path: Path, query: str) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(path)) as db:
        return db.execute(query).fetchall()


@pytest.mark.parametrize("url", URLS)
def test_what_a_run_wrote_is_sound(tmp_path: Path, url: str) -> None:
    recorded(tmp_path, url)
    assert flaws(tmp_path, url) == ()


def test_what_a_killed_process_left_is_sound_also_after_another_one_has_only_looked_at_it(tmp_path: Path) -> None:
    left(tmp_path / "x.db")
    assert flaws(tmp_path) == ()
    with closing(SqliteJournal(tmp_path / "x.db", durable=False)) as journal:
        assert len(journal.recall("r")) == 5
    assert flaws(tmp_path) == ()
    with closing(SqliteJournal(tmp_path / "x.db", readonly=True)) as journal:
        assert journal.chains()[0].last == 4.0


@pytest.mark.parametrize("url", URLS)
def test_two_chains_may_have_threads_of_one_id_and_each_may_go(tmp_path: Path, url: str) -> None:
    for gone, stays in (("a", "b"), ("b", "a")):
        with closing(open_journal(f"{url}-{gone}", folder=tmp_path, durable=False)) as journal:
            for root in ("a", "b"):  # a turn of a conversation, and a sub-thread
                story = [accepted(begun(root), posted(root), begun("x.2")), ended("x.2"), ended(root)]
                assert not journal.write([(root, each) for each in story])
            assert journal.root_of("x.2") == "a"
            journal.remove(gone)
            assert journal.root_of("x.2") == stays
        assert flaws(tmp_path, f"{url}-{gone}") == ()


SHORT = Image(threads=(), frames=(), messages=(), holds=())


@pytest.mark.parametrize("url", URLS)
def test_a_turn_and_a_sub_thread_of_its_conversation_may_have_one_name(tmp_path: Path, url: str) -> None:
    """The turn was named by hand, and has ended before the last snapshot: nobody knows its name when the sub-thread is opened."""
    chain = "conversation:c"
    turn = [accepted(begun("x.2")), ended("x.2"), Snapshot(at=3.0, thread=chain, image=SHORT)]
    later = [accepted(begun("x"), begun("x.2")), ended("x.2"), ended("x")]
    for story in (turn, later):
        with closing(open_journal(url, folder=tmp_path, durable=False)) as journal:
            assert not journal.write([(chain, each) for each in story])
    assert flaws(tmp_path, url) == ()


OLD_KEY = (
    "CREATE TEMP TABLE kept AS SELECT * FROM threads WHERE chain = 1",
    "DROP TABLE threads",
    "CREATE TABLE threads (thread BLOB PRIMARY KEY, chain INTEGER NOT NULL) WITHOUT ROWID",
    "CREATE INDEX threads_of ON threads (chain)",
    "INSERT INTO threads SELECT * FROM kept",
    *WITHOUT_ENDINGS,
    "PRAGMA user_version = 3",
)
"""Makes it a file of the version in which an id stood in the table of threads for one chain alone."""


def test_a_file_in_which_a_threads_id_stood_for_one_chain_alone_is_sound_and_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "x.db"
    with closing(SqliteJournal(path, durable=False)) as journal:
        for root in ("a", "b"):
            story = [accepted(begun(root), posted(root), begun("x.2")), ended("x.2"), ended(root)]
            assert not journal.write([(root, each) for each in story])
    change(path, *OLD_KEY, "DELETE FROM threads")  # what was pruned took the one row with it
    assert flaws(tmp_path) == ()
    with closing(SqliteJournal(path, durable=False)) as journal:
        assert journal.root_of("x.2") == "a"
        assert not journal.write(
            [("c", each) for each in (accepted(begun("c"), begun("x.2")), ended("x.2"), ended("c"))]
        )
        journal.remove("a")
        assert journal.root_of("x.2") == "b"
    assert flaws(tmp_path) == ()
    assert asked(path, "SELECT thread, chain FROM threads") == [(b"x.2", 2), (b"x.2", 3)]
    change(path, "DELETE FROM threads WHERE chain = 3")
    ((chain, said),) = flaws(tmp_path)
    assert (chain, "thread 'x.2' is missing, but an entry opened it" in said) == ("c", True)


@pytest.mark.parametrize("root", ["T", "ThreadOpened", "S", "Snapshot"])
def test_threads_are_listed_also_where_the_mark_of_an_id_stands_in_the_name_of_a_fact(
    tmp_path: Path, root: str
) -> None:
    """Entries that are imported are shortened as a whole."""
    path = tmp_path / "x.db"
    story = [accepted(begun("r"), posted("r"), begun("x.2")), ended("x.2"), ended("r")]
    if root.startswith("S"):
        story = [
            Snapshot(
                at=0.5,
                thread="r",
                image=Image(threads=(image_of("r"), image_of("x.2")), frames=(), messages=(), holds=()),
            )
        ]
    with (
        closing(open_journal("jsonl:j", folder=tmp_path, durable=False)) as other,
        closing(SqliteJournal(path, durable=False)) as journal,
    ):
        for name in ("a", root):
            assert not other.write([(name, each) for each in story])
            journal.put(name, other.documents(name))
    change(path, *OLD_KEY)
    SqliteJournal(path, durable=False).close()
    assert sorted(chain for _, chain in asked(path, "SELECT thread, chain FROM threads WHERE thread = X'782e32'")) == [
        1,
        2,
    ]


def test_what_is_damaged_in_a_file_of_an_earlier_version_is_left_to_whoever_verifies_it(tmp_path: Path) -> None:
    path = tmp_path / "x.db"
    recorded(tmp_path, URLS[0])
    change(
        path,
        *OLD_KEY,
        "UPDATE entries SET body = replace(body, CAST('{' AS BLOB), CAST('[' AS BLOB)) WHERE chain = 1 AND n = 1",
    )
    SqliteJournal(path, durable=False).close()
    ((root, said), *_) = flaws(tmp_path)
    assert (root, "entry 1: was changed" in said) == ("apple", True)


@pytest.mark.parametrize("table", ["chains", "threads", "ledger"])
def test_whatever_is_changed_in_a_table_is_found(tmp_path: Path, table: str) -> None:
    path = tmp_path / "x.db"
    recorded(tmp_path, URLS[0])
    columns = [name for _, name, *_ in asked(path, f"PRAGMA table_info({table})")]
    rows = asked(path, f"SELECT * FROM {table}")  # noqa: S608 - from the list above
    assert rows
    key = ("hour", "handler", "model", "backend", "labels") if table == "ledger" else (columns[0],)
    keys = asked(path, f"SELECT {', '.join(key)} FROM {table}")  # noqa: S608 - from the line above
    there = " AND ".join(f"{name} = ?" for name in key)
    for row, values in zip(rows, keys, strict=True):
        for column, value in zip(columns, row, strict=True):
            new = (
                value + 100
                if isinstance(value, int | float)
                else value[:-1] + bytes([value[-1] ^ 1])
                if value
                else b"x"
            )
            with closing(sqlite3.connect(path)) as db, db:
                statement = f"UPDATE {table} SET {column} = ? WHERE {there}"  # noqa: S608 - from the table
                assert db.execute(statement, [new, *values]).rowcount == 1
            try:
                found: tuple[Any, ...] = flaws(tmp_path)
            except JournalError as error:
                found = (str(error),)
            assert found, f"{table}.{column} of {values} may be {new!r}"
            with closing(sqlite3.connect(path)) as db, db:
                changed = [new if name == column else old for name, old in zip(key, values, strict=True)]
                assert db.execute(statement, [value, *changed]).rowcount == 1
        with closing(sqlite3.connect(path)) as db, db:
            db.execute(f"DELETE FROM {table} WHERE {there}", values)  # noqa: S608 - from the table
        assert flaws(tmp_path), f"{table} may lack {values}"
        with closing(sqlite3.connect(path)) as db, db:
            db.execute(f"INSERT INTO {table} VALUES ({', '.join('?' * len(row))})", row)  # noqa: S608 - marks
    assert flaws(tmp_path) == ()


@pytest.mark.parametrize(
    ("sql", "root", "said"),
    [
        (
            "UPDATE chains SET open = 0 WHERE id = 1",
            "r",
            "table chains: thread 'r': column open is 0, and 1 by the entries",
        ),
        (
            "UPDATE chains SET open = 1 WHERE id = 2",
            "other",
            "table chains: thread 'other': column open is 1, and 0 by the entries",
        ),
        (
            "UPDATE chains SET snapshot = 1 WHERE id = 1",
            "r",
            "table chains: thread 'r': column snapshot is 1, and 0 by the entries",
        ),
        (
            "INSERT INTO threads VALUES (CAST('r.7' AS BLOB), 1)",
            "r",
            "table threads: thread 'r.7' is listed in this chain, but no entry opened it",
        ),
        (
            "INSERT INTO threads VALUES (CAST('r.7' AS BLOB), 9)",
            None,
            "table threads: thread 'r.7' is said to be of chain 9, which is not there",
        ),
        (
            "INSERT INTO ledger VALUES (0, X'61', X'', X'', X'7b7d', 0, 0, 0, 0, 0, 3, 0, 0, 0, 0)",
            None,
            "table ledger: hour 0, handler 'a', model '', backend '', under '{}': holds messages 3, and nothing by the entries",
        ),
        ("DELETE FROM chains WHERE id = 1", None, "table chains: row 1 is missing, but it has entries"),
    ],
)
def test_what_differs_is_told_with_its_place_and_what_it_should_be(
    tmp_path: Path, sql: str, root: str | None, said: str
) -> None:
    path = tmp_path / "x.db"
    left(path)
    change(path, sql)
    assert flaws(tmp_path)[0] == (root, f"{path}: {said}; {WAY_OUT}")


def test_of_a_damaged_chain_the_bad_entry_is_told_and_no_sum_that_lacks_it(tmp_path: Path) -> None:
    path = tmp_path / "x.db"
    recorded(tmp_path, URLS[0])
    change(path, "UPDATE entries SET hash = zeroblob(32) WHERE chain = 1 AND n = 2", "UPDATE ledger SET tokens = 1")
    ((root, said),) = flaws(tmp_path)
    assert root == "apple"
    assert said.endswith("entry 2: was changed: its hash does not match its content")


def test_what_removed_chains_spent_is_known_by_itself(tmp_path: Path) -> None:
    path = tmp_path / "x.db"
    recorded(tmp_path, URLS[0])
    with closing(SqliteJournal(path, durable=False)) as journal:
        spent = journal.spendings()
        journal.remove("apple")
        assert (journal.spendings(), journal.flaws()) == (spent, ())
    change(path, "UPDATE ledger SET tokens = tokens + 1 WHERE tokens > 100")
    ((_, said),) = flaws(tmp_path)
    assert "holds tokens 151, input 100, output 50, " in said
    assert ", and tokens 150, input 100, output 50, " in said


def test_sums_are_not_compared_where_nobody_knows_what_removed_chains_spent(tmp_path: Path) -> None:
    """In a file of an earlier version, or after a chain was removed that could not be read."""
    path = tmp_path / "x.db"
    for statement in ("DROP TABLE removed", "UPDATE entries SET hash = zeroblob(32) WHERE chain = 1 AND n = 2"):
        path.unlink(missing_ok=True)
        recorded(tmp_path, URLS[0])
        change(path, statement)
        with closing(SqliteJournal(path, durable=False)) as journal:
            journal.remove("apple")
            assert journal.flaws() == ()
        change(path, "UPDATE ledger SET tokens = tokens + 1")
        assert flaws(tmp_path) == ()


class _Watched(SqliteJournal):
    """Another process writes while this one compares."""

    other: SqliteJournal

    def _sums(self, table: str) -> Any:
        assert not self.other.write([("r", each) for each in (*samples("r")[1:], ended("r"))])
        return super()._sums(table)


@pytest.mark.parametrize("url", URLS)
def test_what_is_removed_meanwhile_is_no_flaw(tmp_path: Path, url: str) -> None:
    written(tmp_path, url)
    with (
        closing(open_journal(url, folder=tmp_path, durable=False)) as journal,
        closing(open_journal(url, folder=tmp_path, readonly=True)) as reader,
    ):
        over = {chain.root for chain in journal.chains(open=False)}
        assert len(over) > 1

        def looked_at() -> None:
            journal.remove(*over)
            over.clear()

        assert reader.flaws(looked_at) == ()
        assert not over


def test_what_is_written_meanwhile_is_no_flaw(tmp_path: Path) -> None:
    path = tmp_path / "x.db"
    with closing(SqliteJournal(path, durable=False)) as journal:
        assert not journal.write([("r", samples("r")[0])])
        with closing(_Watched(path, readonly=True)) as reader:
            reader.other = journal
            assert reader.flaws() == ()
        assert [chain.open for chain in journal.chains()] == [False]


@pytest.mark.parametrize("sql", ["snapshot = 0", "snapshot = 1", "snapshot = 3", "open = 0"])
def test_a_chain_is_not_recalled_from_a_wrong_place_on(tmp_path: Path, sql: str) -> None:
    path = tmp_path / "x.db"
    recorded(tmp_path, URLS[0])
    with closing(SqliteJournal(path, durable=False)) as journal:
        assert journal.recall("r") == journal.read("r")[1:]
    change(path, f"UPDATE chains SET {sql} WHERE root = CAST('r' AS BLOB)")  # noqa: S608 - from the list above
    column, _, value = sql.partition(" = ")
    said = f"column {column} of its row in the table chains is {value}, but its entries say otherwise"
    with closing(SqliteJournal(path, durable=False)) as journal:
        with pytest.raises(JournalError, match=said):
            journal.recall("r")
        assert said in str(journal.write([("r", Dropped(at=7.0, thread="r", seq=1))])["r"])
        documents = list(journal.documents("r"))
    with closing(SqliteJournal(tmp_path / "new.db", durable=False)) as new:  # the way out
        new.put("r", documents)
        assert new.recall("r") == new.read("r")[1:]


# Folders of JSON lines


def index_of(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "x" / NAME).read_bytes().splitlines()]


def forge(folder: Path, lines: list[dict[str, Any]]) -> None:
    """Writes the index with sums that fit."""
    summaries = [Summary(**{key: value for key, value in line.items() if key != "sum"}) for line in lines]
    (folder / "x" / NAME).write_bytes(b"".join(map(_line, summaries)))


def test_whatever_is_changed_in_the_index_is_found(tmp_path: Path) -> None:
    recorded(tmp_path, URLS[1])
    lines = index_of(tmp_path)
    assert {line["kind"] for line in lines} == {"over", "snapshot"}
    for place, line in enumerate(lines):
        for key, value in line.items():
            if key in {"sum", "kind"}:
                continue
            more: Any = {
                int: lambda v: v + 1,
                float: lambda v: v + 1,
                str: lambda v: v + "x",
                list: lambda v: [*v, *v, "y"],
                type(None): lambda _: "y",
            }
            new = [[0, "h", "", "", "{}", *[1] * 10]] if key == "spent" else more[type(value)](value)
            forge(tmp_path, [*lines[:place], {**line, key: new}, *lines[place + 1 :]])
            assert flaws(tmp_path, URLS[1]), f"{key} of {line['kind']} {line['root']} may be {new!r}"
    forge(tmp_path, lines)
    assert flaws(tmp_path, URLS[1]) == ()


def test_a_chain_that_goes_on_is_not_over_since_the_index_says_so(tmp_path: Path) -> None:
    with closing(open_journal(URLS[1], folder=tmp_path, durable=False)) as journal:
        assert isinstance(journal, LinesJournal)
        assert not journal.write([("r", opened("r")), ("r", fact(1))])
        known = journal._known["r"]
        journal._index.add([known.summary("over")])
    index = tmp_path / "x" / NAME
    assert flaws(tmp_path, URLS[1]) == (
        ("r", f"{index}: thread 'r': is over with entry 2 here, but open by its entries"),
    )


def test_what_is_missing_at_the_end_of_a_file_or_altogether_is_told_where_the_index_knows_of_it(tmp_path: Path) -> None:
    recorded(tmp_path, URLS[1])
    path = tmp_path / "x" / "apple.jsonl"
    count = len(path.read_bytes().splitlines())
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:-1]))
    said = f"{tmp_path / 'x' / NAME}: thread 'apple': entries is {count}, and there are {count - 1}"
    assert flaws(tmp_path, URLS[1]) == (("apple", said),)
    path.unlink()
    assert flaws(tmp_path, URLS[1]) == (("apple", f"{path}: is missing, and {NAME} has {count} entries of it"),)


def test_a_line_of_the_index_that_does_not_fit_its_sum_is_told_where_no_chain_can_mend_it(tmp_path: Path) -> None:
    recorded(tmp_path, URLS[1])
    with closing(open_journal(URLS[1], folder=tmp_path, durable=False)) as journal:
        journal.remove("apple")
        assert journal.flaws() == ()
    index = tmp_path / "x" / NAME
    raw = index.read_bytes()
    assert REMOVED.encode() in raw.splitlines()[-1]
    index.write_bytes(raw.replace(b"removed", b"remowed"))
    number = len(raw.splitlines())
    assert (None, f"{index}:{number}: was changed: its checksum does not match its content") in flaws(tmp_path, URLS[1])


def test_a_chain_of_lines_is_recalled_from_its_snapshot_on_whatever_the_index_says(tmp_path: Path) -> None:
    recorded(tmp_path, URLS[1])
    with closing(open_journal(URLS[1], folder=tmp_path)) as journal:
        assert isinstance(journal, LinesJournal)
        entries = list(journal._files.lines("r"))
    lines = index_of(tmp_path)
    wrong = {"entries": 3, "size": entries[2].end, "hash": entries[2].entry["hash"]}
    forge(tmp_path, [{**line, **wrong} if line["kind"] == "snapshot" else line for line in lines])
    with closing(open_journal(URLS[1], folder=tmp_path)) as journal:
        assert journal.recall("r") == journal.read("r")[1:]


@pytest.mark.parametrize("url", URLS)
def test_what_a_fork_copied_behind_a_snapshot_is_not_spent_again_by_another_process(tmp_path: Path, url: str) -> None:
    recorded(tmp_path, url)
    with closing(open_journal(url, folder=tmp_path, durable=False)) as journal:
        spent = journal.spendings()
        assert not journal.write([("new", each) for each in fork(journal.read("r"), "new")])
    with closing(open_journal(url, folder=tmp_path, durable=False)) as journal:
        assert not journal.write([("new", Dropped(at=9.0, thread="new", seq=1))])
        assert journal.spendings() == spent


# Names


@pytest.mark.skipif(os.name == "nt", reason="there are no such locks")
def test_a_file_with_two_names_is_nobodys(tmp_path: Path) -> None:
    path, other = tmp_path / "x.db", tmp_path / "y.db"
    left(path)
    mine = Lock(path, {})
    mine.take()
    other.hardlink_to(path)
    with pytest.raises(JournalError, match=r"y\.db has 2 names \(hard links\), .* work on a copy"):
        Lock(other, {}).take()
    mine.release()
    with pytest.raises(JournalError, match=r"x\.db has 2 names"):
        mine.take()
    other.unlink()
    mine.take()
    mine.release()
