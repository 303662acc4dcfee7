"""A SQLite file whose maker was killed in the middle of making it."""

from __future__ import annotations

import sqlite3
import struct
from typing import TYPE_CHECKING, Final

import pytest

from organism.errors import JournalError
from organism.journal import SqliteJournal
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
