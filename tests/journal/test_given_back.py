"""A journal that cannot be used is not kept open: from Python 3.13 on, sqlite3 warns of a file that nobody has closed."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest

from organism.errors import JournalError
from organism.journal import SqliteJournal
from organism.journal.sqlite_file import APPLICATION, SCHEMA
from organism.record.facts import Dropped
from tests.durable.inline import Inline
from tests.hard.pump_world import Go  # noqa: TC001 - read from the annotation of a handler

if TYPE_CHECKING:
    from organism import Context

HANDLES: Final = Path("/proc/self/fd")

pytestmark = pytest.mark.skipif(not HANDLES.exists(), reason="only Linux shows what a process has open")


def is_open(path: Path) -> bool:
    """Whether this process has the file open."""
    found = []
    for each in HANDLES.iterdir():
        try:
            found.append(each.readlink())
        except OSError:
            continue  # closed since it was listed
    return path.resolve() in found


def change(path: Path, sql: str) -> None:
    with closing(sqlite3.connect(path)) as db:
        db.executescript(sql)


async def nobody(message: Go, ctx: Context) -> None:
    """Is never asked."""


HANDLERS: Final = {"nobody": {"code": nobody, "description": "-"}}


@pytest.mark.parametrize("readonly", [False, True])
@pytest.mark.parametrize(
    "sql",
    [
        None,
        "CREATE TABLE mine (a)",
        f"CREATE TABLE chains (a); PRAGMA application_id = {APPLICATION}; PRAGMA user_version = {SCHEMA + 1}",
    ],
)
def test_a_file_that_is_refused_is_closed(tmp_path: Path, sql: str | None, *, readonly: bool) -> None:
    path = tmp_path / "x.db"
    if sql is None:
        path.write_bytes(b"my own notes\n" * 100)
    else:
        change(path, sql)
    with pytest.raises(JournalError) as caught:
        SqliteJournal(path, readonly=readonly)
    assert not is_open(path), caught.value  # what was raised keeps whatever had the file


def test_a_file_that_lacks_a_table_is_closed(tmp_path: Path) -> None:
    path = tmp_path / "x.db"
    SqliteJournal(path).close()
    change(path, "DROP TABLE chains")
    with pytest.raises(JournalError, match="no such table") as caught:
        SqliteJournal(path)
    assert not is_open(path), caught.value


async def test_an_organism_that_cannot_begin_with_a_journal_closes_it(tmp_path: Path) -> None:
    path = tmp_path / "x.db"
    with closing(SqliteJournal(path, durable=False)) as journal:
        assert not journal.write([("r", Dropped(at=1.0, thread="r", seq=1))])
        assert is_open(path)
    change(path, "UPDATE chains SET root = x'ff'")
    organism = Inline(name="test", journal=f"sqlite:{path}", handlers=HANDLERS)
    with pytest.raises(JournalError, match="the name of a chain cannot be read") as caught:
        await organism.start()
    assert not is_open(path), caught.value
