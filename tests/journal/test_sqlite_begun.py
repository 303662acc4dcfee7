"""A SQLite file whose maker was killed in the middle of making it."""

from __future__ import annotations

import sqlite3
import struct
from typing import TYPE_CHECKING, Final

import pytest

from organism.errors import JournalError
from organism.journal import Lock, OnlyBegunError, SqliteJournal
from organism.journal.lock import identity
from tests.journal.test_sqlite import fact

if TYPE_CHECKING:
    from pathlib import Path

_MAGIC: Final = bytes.fromhex("d9d505f920a163d7")
_SECTOR: Final = 512
_ROLLED_BACK: Final = b"\1\1"
"""In a file's head: what is written has no log, as it was before."""


def rollback(before: bytes) -> bytes:
    """What SQLite writes beside a file of one page before it changes that page."""
    head = _MAGIC + struct.pack(">5I", 1, 0, 1, _SECTOR, len(before))
    checksum = sum(before[place] for place in range(len(before) - 200, 0, -200))
    return head.ljust(_SECTOR, b"\0") + struct.pack(">I", 1) + before + struct.pack(">I", checksum)


def test_a_file_whose_maker_was_killed_as_it_turned_to_a_log_is_made(tmp_path: Path) -> None:
    path = tmp_path / "x.db"
    begun = sqlite3.connect(path, isolation_level=None)
    begun.execute("PRAGMA auto_vacuum = INCREMENTAL")
    begun.execute("PRAGMA journal_mode = WAL")
    begun.close()
    page = path.read_bytes()
    (tmp_path / "x.db-journal").write_bytes(rollback(page[:18] + _ROLLED_BACK + page[20:]))
    with pytest.raises(JournalError, match="has only begun, or was ended at that point"):
        SqliteJournal(path, readonly=True)
    journal = SqliteJournal(path)
    assert not (tmp_path / "x.db-journal").exists()
    assert not journal.write([("r", fact(1))])
    assert journal.read("r") == (fact(1),)
    journal.close()


@pytest.mark.parametrize("step", range(4))
def test_a_file_whose_owner_was_killed_before_it_had_made_it_is_made_by_the_next_whoever_reads_meanwhile(
    tmp_path: Path, step: int
) -> None:
    killed = tmp_path / "killed/x.db"
    first = Lock(killed, identity(0, organism="first"))
    first.take()
    path = tmp_path / "x.db"
    path.touch()
    making = sqlite3.connect(path, isolation_level=None)
    for statement in ("PRAGMA auto_vacuum = INCREMENTAL", "PRAGMA journal_mode = WAL", "BEGIN IMMEDIATE")[:step]:
        making.execute(statement)
    for each in tmp_path.glob("x.db*"):
        (killed.parent / each.name).write_bytes(each.read_bytes())
    making.close()
    first.release()
    for _ in range(2):
        with pytest.raises(OnlyBegunError, match=r"has only begun, or was ended at that point$"):
            SqliteJournal(killed, readonly=True)
    second = Lock(killed, identity(0, organism="second"))
    second.take()
    journal = SqliteJournal(killed, lock=second)
    assert not journal.write([("r", fact(1))])
    journal.close()
    second.release()


def test_a_copy_without_its_log_is_not_taken_for_one_whose_owner_was_killed(tmp_path: Path) -> None:
    whole, copy = tmp_path / "x.db", tmp_path / "copy/x.db"
    journal = SqliteJournal(whole)
    assert not journal.write([("r", fact(1))])
    copy.parent.mkdir()
    copy.write_bytes(whole.read_bytes())
    lock = Lock(copy, identity(0, organism="reader"))
    lock.take()
    with pytest.raises(JournalError, match=r"x.db-wal, which holds what is written first, is not beside it"):
        SqliteJournal(copy, lock=lock)
    lock.give_up()
    journal.close()
