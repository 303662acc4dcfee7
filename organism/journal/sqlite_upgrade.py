"""Bringing the tables of a SQLite journal that an earlier version made to what they are now."""

from __future__ import annotations

import json
import sqlite3
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from organism.errors import JournalError
from organism.journal.codec import decode
from organism.journal.sqlite_file import ENDED, ENDINGS, LISTED, SCHEMA, TERMS, THREADS, long, version_of
from organism.journal.sqlite_reader import blob, text_of
from organism.journal.standing import Standing
from organism.journal.texts import root_mark

if TYPE_CHECKING:
    from collections.abc import Iterator

_OPENING: Final = {"opened": b"ThreadOpened", "snapshot": b"Snapshot"}
"""What stands in the entries that tell of the threads of a chain."""


def upgrade(db: sqlite3.Connection) -> None:
    """Writes the file as this version does; all of it or nothing. Raises sqlite3.Error."""
    if version_of(db) == SCHEMA:
        return
    db.execute("BEGIN IMMEDIATE")
    try:
        if version_of(db) < LISTED:  # another process may have done it meanwhile
            _list_threads(db)
        if version_of(db) < ENDED:
            db.execute(f"ALTER TABLE chains ADD COLUMN {TERMS}")
            db.execute(ENDINGS)
        db.execute(f"PRAGMA user_version = {SCHEMA}")
        db.execute("COMMIT")
    except BaseException:
        with suppress(sqlite3.Error):
            db.execute("ROLLBACK")
        raise


def _list_threads(db: sqlite3.Connection) -> None:
    """Makes the table of threads anew. An id stood there for one chain alone, and was lost to others that had it: the entries tell."""
    known = db.execute("SELECT thread, chain FROM threads").fetchall()
    db.execute("DROP TABLE threads")
    for statement in THREADS:
        db.execute(statement)
    db.executemany("INSERT OR IGNORE INTO threads VALUES (?, ?)", known)
    db.executemany("INSERT OR IGNORE INTO threads VALUES (?, ?)", _opened(db))


def _opened(db: sqlite3.Connection) -> Iterator[tuple[bytes, int]]:
    """The threads of all chains, but for the roots, by their entries. What is damaged is left to whoever verifies it."""
    # Of a thread whose id one of these words begins with, the mark of that id may stand in its place.
    some = " OR ".join(f"instr(body, :{word}) OR instr(:{word}, root) = 1" for word in _OPENING)
    found = f"SELECT root, chain, body FROM entries JOIN chains ON chains.id = chain WHERE {some}"  # noqa: S608 - the line above
    for root, chain, body in db.execute(found, _OPENING):
        with suppress(JournalError, ValueError, TypeError, AttributeError, RecursionError, OverflowError):
            name = text_of(root)
            standing = Standing(name)
            content = json.loads(long(body, root_mark(name)))
            standing.apply(decode(content))
            yield from [(blob(thread), chain) for thread in standing.threads]
