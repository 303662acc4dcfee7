"""How a SQLite journal knows the ends of its chains: their rows are brought up to date at times, and entries say the rest."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest

from organism.journal import SqliteJournal
from organism.journal.sqlite_file import SCHEMA, long
from organism.journal.texts import root_mark
from organism.record.facts import Snapshot
from organism.record.images import Image
from tests.journal.fact_values import ended
from tests.journal.test_cut_tails import opened
from tests.journal.test_sqlite import fact
from tests.journal.test_sqlite_short import ONE, OTHER, Pair, answered, short_in_version_1

if TYPE_CHECKING:
    from pathlib import Path


def left(path: Path, count: int = 5) -> None:
    """A file whose process was killed after so many writes to a chain, beside one that is over."""
    journal = SqliteJournal(path, durable=False)
    for each in (opened("r"), *map(fact, range(1, count))):
        assert not journal.write([("r", each)])
    assert not journal.write([("other", opened("other")), ("other", ended("other"))])
    journal._db.close()


def change(path: Path, *statements: str) -> None:
    with closing(sqlite3.connect(path)) as db, db:
        for each in statements:
            db.execute(each)
    db.close()


def rows(path: Path) -> list[Any]:
    db = sqlite3.connect(path)
    try:
        return db.execute("SELECT entries, size, last, head FROM chains ORDER BY id").fetchall()
    finally:
        db.close()


def test_a_killed_process_leaves_a_row_behind_its_entries_and_nothing_is_lost(tmp_path: Path) -> None:
    path = tmp_path / "x.db"
    left(path)
    assert [entries for entries, *_ in rows(path)] == [1, 2]
    reader = SqliteJournal(path, readonly=True)
    assert reader.read("r") == (opened("r"), *map(fact, range(1, 5)))
    (chain,) = reader.chains(open=True)
    reader.close()
    again = SqliteJournal(path, durable=False)
    assert not again.write([("r", fact(5))])
    assert again.verify("r") is None
    assert (chain.entries, chain.last) == (5, 4.0)
    again.close()
    with closing(sqlite3.connect(path)) as db, db:
        (size,) = db.execute("SELECT sum(length(body)) FROM entries WHERE chain = 1 AND n <= 5").fetchone()
    db.close()
    assert chain.size == size


def test_closing_brings_the_rows_up_to_date(tmp_path: Path) -> None:
    path = tmp_path / "x.db"
    left(path)
    journal = SqliteJournal(path, durable=False)
    assert not journal.write([("r", fact(5)), ("r", fact(6))])
    before = journal.chains()
    journal.close()
    assert [(entries, size, last) for entries, size, last, _ in rows(path)] == [
        (chain.entries, chain.size, chain.last) for chain in before
    ]
    change(path, "DELETE FROM entries WHERE chain = 1 AND n = 7")
    again = SqliteJournal(path, readonly=True)
    assert "entry 7: is missing; the chain has 7" in str(again.verify("r"))
    again.close()


def test_a_snapshot_is_found_in_what_a_killed_process_left(tmp_path: Path) -> None:
    path = tmp_path / "x.db"
    left(path)
    journal = SqliteJournal(path, durable=False)
    snapshot = Snapshot(at=5.0, thread="r", image=Image(threads=(), frames=(), messages=(), holds=()))
    assert not journal.write([("r", snapshot), ("r", opened("r"))])
    assert not journal.write([("r", fact(7))])
    sizes = journal.size_since_snapshot("r")
    journal._db.close()
    again = SqliteJournal(path, durable=False)
    assert again.recall("r") == (snapshot, opened("r"), fact(7))
    assert again.size_since_snapshot("r")[0] == sizes[0] == 2
    again.close()


@pytest.mark.parametrize(
    ("sql", "said"),
    [
        ("UPDATE entries SET body = replace(body, '3.0', '2.0') WHERE chain = 1 AND n = 4", "entry 4: was changed"),
        ("DELETE FROM entries WHERE chain = 1 AND n = 3", "entry 3: is missing; the chain has 5"),
        ("UPDATE entries SET hash = zeroblob(32) WHERE chain = 1 AND n = 1", "entry 1: was changed"),
        ("UPDATE chains SET head = zeroblob(32) WHERE id = 1", "entry 1: was changed"),
        ("UPDATE entries SET hash = zeroblob(32), body = 'x' WHERE chain = 1 AND n = 5", "entry 5: was changed"),
        ("UPDATE entries SET body = zeroblob(3) WHERE chain = 1 AND n = 5", "entry 5: was changed"),
    ],
)  # fmt: skip
def test_damage_behind_a_row_is_found_and_does_not_hide_the_chain(tmp_path: Path, sql: str, said: str) -> None:
    path = tmp_path / "x.db"
    left(path)
    change(path, sql)
    journal = SqliteJournal(path, durable=False)
    found = str(journal.verify("r"))
    assert found.startswith(f"{path}: thread 'r', {said}")
    assert [chain.root for chain in journal.chains()] == ["r", "other"]
    assert str(journal.write([("r", fact(7))])["r"]) == found
    journal.close()


def test_a_chain_that_another_process_removed_is_not_written(tmp_path: Path) -> None:
    path = tmp_path / "x.db"
    journal = SqliteJournal(path, durable=False)
    assert not journal.write([("r", opened("r")), ("s", opened("s"))])
    change(path, *(f"DELETE FROM {table} WHERE {key} = 1" for table, key in (("entries", "chain"), ("chains", "id"))))  # noqa: S608 - see there
    failed = journal.write([("r", fact(1)), ("s", fact(1, "s"))])
    assert list(failed) == ["r"]
    assert str(failed["r"]).endswith("another process wrote to these chains, or removed one")
    assert journal.read("s") == (opened("s"), fact(1, "s"))
    assert not journal.write([("r", fact(2))])
    assert journal.read("r") == (fact(2),)
    journal.close()


WITHOUT_ENDINGS = ("ALTER TABLE chains DROP COLUMN terms", "DROP TABLE endings")
"""Makes it a file of a version that kept nothing of what threads came to, with its number."""


def test_a_file_of_the_first_version_is_read_and_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "x.db"
    facts = [opened("r"), answered(Pair(ONE, OTHER)), answered(Pair(ONE, ONE), Pair(OTHER, "short"))]
    journal = SqliteJournal(path, durable=False)
    assert not journal.write([("r", each) for each in facts])
    journal.close()
    mark = root_mark("r")
    with closing(sqlite3.connect(path)) as db, db:
        for number, body in db.execute("SELECT n, body FROM entries").fetchall():
            old = short_in_version_1(long(body, mark), mark)
            assert old != body or number == 1
            db.execute("UPDATE entries SET body = ? WHERE n = ?", [old, number])
        for statement in WITHOUT_ENDINGS:
            db.execute(statement)
        db.execute("PRAGMA user_version = 1")
    db.close()
    reader = SqliteJournal(path, readonly=True)
    assert reader.verify("r") is None
    plain = reader.read("r")
    reader.close()
    again = SqliteJournal(path, durable=False)
    assert not again.write([("r", facts[1])])
    assert again.verify("r") is None
    assert again.read("r") == (*plain, plain[1])
    assert again._ask("PRAGMA user_version") == [(SCHEMA,)]
    again.close()
