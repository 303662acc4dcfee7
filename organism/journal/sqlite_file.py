"""The file of a SQLite journal: what makes it one, how it is opened, and what its errors mean to a person.

``chains`` has a row a root thread, ``entries`` all facts in the order in which they were written (so that a batch touches few pages),
``threads`` the chain of every thread that is no root, ``ledger`` what was spent, and ``removed`` how much of that by chains that were
removed: the rest is what the entries come to. ``endings`` has a row a root thread that ended, in a chain whose ``terms`` are not null: those
are what is said of the ones that were open at its last snapshot. ``gone``, which is made with the first removal, has the last hash of each of these, and those with
which its root threads ended: one that comes back counts once, whole or as an older copy. Names are UTF-8 bytes, since they may be any text.
"""

from __future__ import annotations

import re
import sqlite3
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from organism.errors import JournalError, reason_of
from organism.files import is_there
from organism.journal.room import make_room
from organism.journal.texts import FRAGMENTS, LONGEST, ROOT, grown, whole_bytes

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator
    from pathlib import Path

APPLICATION: Final = 0x4F52474E
"""The file says whose it is: ``ORGN``."""
SCHEMA: Final = 5
"""The version of the tables. In 1 the row of a chain knew of all its entries, and :mod:`organism.journal.texts` marked no texts; before
3 there was no table ``removed``, before 4 a thread's id stood in ``threads`` once, and before 5 there were no ``endings``. Such a file is read
as it is. Whoever writes to it makes it one of this version (:mod:`organism.journal.sqlite_upgrade`), but for ``removed``, of which nobody
knows what it would hold, and the endings of the chains that are there: of those the entries are read.
"""
LISTED: Final = 4
"""The version from which on every chain has a row for each of its threads."""
ENDED: Final = 5
"""The version from which on it is kept what root threads came to."""
_READ: Final = (1, 2, 3, 4, SCHEMA)

_LEDGER: Final = """
CREATE TABLE {name} (
    hour INTEGER NOT NULL, handler BLOB NOT NULL, model BLOB NOT NULL, backend BLOB NOT NULL, labels BLOB NOT NULL,
    tokens INTEGER NOT NULL, input INTEGER NOT NULL, output INTEGER NOT NULL, cost INTEGER NOT NULL, calls INTEGER NOT NULL,
    messages INTEGER NOT NULL, reads INTEGER NOT NULL, writes INTEGER NOT NULL, reasoning INTEGER NOT NULL,
    estimated INTEGER NOT NULL, PRIMARY KEY (hour, handler, model, backend, labels)) WITHOUT ROWID;
"""
THREADS: Final = (
    "CREATE TABLE threads (thread BLOB NOT NULL, chain INTEGER NOT NULL, PRIMARY KEY (thread, chain)) WITHOUT ROWID",
    "CREATE INDEX threads_of ON threads (chain)",
)
TERMS: Final = "terms BLOB"
ENDINGS: Final = (
    "CREATE TABLE endings (chain INTEGER NOT NULL, n INTEGER NOT NULL, began REAL NOT NULL, body BLOB NOT NULL,"
    " PRIMARY KEY (chain, n)) WITHOUT ROWID"
)
_TABLES: Final = f"""
CREATE TABLE chains (
    id INTEGER PRIMARY KEY, root BLOB NOT NULL UNIQUE, open INTEGER NOT NULL, entries INTEGER NOT NULL, size INTEGER NOT NULL,
    began REAL NOT NULL, last REAL NOT NULL, head BLOB NOT NULL,
    snapshot INTEGER NOT NULL, snapshot_end INTEGER NOT NULL, snapshot_size INTEGER NOT NULL, {TERMS});
CREATE INDEX open_chains ON chains (id) WHERE open;
CREATE TABLE entries (id INTEGER PRIMARY KEY, chain INTEGER NOT NULL, n INTEGER NOT NULL, hash BLOB NOT NULL, body BLOB NOT NULL);
CREATE UNIQUE INDEX entries_of ON entries (chain, n);
{"; ".join(THREADS)};
{ENDINGS};
{_LEDGER.format(name="ledger")}{_LEDGER.format(name="removed")}"""

_HEAD: Final = 100
"""Bytes of the head of a SQLite file: its pages' size, and then what reads and writes it."""
_LOGGED: Final = b"\x02\x02"
"""What is written goes to a log first (WAL)."""
_EMPTY: Final = "is empty: the run that creates it has only begun, or was ended at that point"


class OnlyBegunError(JournalError):
    """There is nothing in a file yet: the process that makes it has not come further, or was killed."""


_ROOT: Final = ROOT.encode()
_MARKS: Final = tuple((each.text.encode(), each.mark.encode()) for each in FRAGMENTS)
_STANDING: Final = tuple((mark, fragment) for fragment, mark in _MARKS)
_LONGEST_FRAGMENT: Final = max(len(fragment) for fragment, _ in _MARKS)
_AGAIN: Final = tuple(bytes([place]) for place in range(14, 32))
_LONG: Final = re.compile(rb'>([^"\\<>\x00-\x1f]{40,})</')
"""A long text of an XML element that needs no escape in JSON, and in which no mark stands: shortening leaves it as it is."""


def short(content: bytes, root: bytes) -> bytes:
    """An entry as the file holds it, of one whose long texts have their marks already; what was written with marks needs it not.

    ``root`` is the id as :func:`organism.journal.texts.root_mark` gives it. Compressing entries one by one took 4 times as long as all the rest.
    """
    content = content.replace(root, _ROOT)
    for fragment, mark in _MARKS:
        content = content.replace(fragment, mark)
    return content


def long(body: bytes, root: bytes) -> bytes:
    """The entry that :func:`short` shortened, with its long texts. What would be longer than an entry may be stays as it is: it is
    none of ours, as its hash tells.
    """
    if len(body) * max(len(root), _LONGEST_FRAGMENT) > LONGEST and grown(body, [(_ROOT, root), *_STANDING]) > LONGEST:
        return body
    for fragment, mark in _MARKS:
        body = body.replace(mark, fragment)
    body = whole_bytes(body.replace(_ROOT, root))
    texts = [(mark, b':"%b"' % text) for text, mark in _texts(body)]
    if texts and grown(body, texts) > LONGEST:
        return body
    for mark, text in texts:  # of version 1, where what the mark stood for was found by its place
        body = body.replace(mark, text)
    return body


def _texts(content: bytes) -> Iterator[tuple[bytes, bytes]]:
    """The long texts of XML elements, each once, with the byte that stood for it where it was a JSON value."""
    return zip(dict.fromkeys(_LONG.findall(content)), _AGAIN, strict=False)


def connected(path: Path, *, durable: bool, readonly: bool, patience: float, owned: bool) -> sqlite3.Connection:
    """The open file, made where there is none yet and it may be written; raises JournalError with the file's name.

    ``patience`` is how many seconds one process waits for another that is writing. ``owned``: somebody has owned a journal there before.
    """
    try:
        if path.is_dir():
            raise JournalError(f"{path} is a folder; a sqlite journal is a file (jsonl:DIR is a folder)")
        if is_there(path) and not path.is_file():
            raise JournalError(f"{path} is not a file")  # a pipe is opened when somebody else opens it, and maybe never
        _check_whole(path, readonly=readonly, owned=owned)
        if readonly:
            db = _reading(path, patience)
        else:
            make_room(path)
            db = sqlite3.connect(path, timeout=patience, isolation_level=None, check_same_thread=False)
        with closed_on_failure(db):
            if readonly:
                _check(path, db)
            else:
                _prepare(path, db, durable=durable)
    except sqlite3.Error as error:
        raise JournalError(said(path, error)) from error
    except OSError as error:
        raise JournalError(f"{path} cannot be opened: {reason_of(error)}") from error
    return db


def _wal_of(path: Path) -> Path:
    return path.with_name(f"{path.name}-wal")


def _is_logged(path: Path) -> bool:
    """Whether the log beside the file holds anything: a process works on it, or was killed."""
    try:
        return _wal_of(path).stat().st_size > 0
    except FileNotFoundError:
        return False


def _check_whole(path: Path, *, readonly: bool, owned: bool) -> None:
    """Raises JournalError for a file that was copied alone before anything had come there from the log beside it: it would be taken for new.

    It is looked at before it is opened, which makes a log.
    """
    if not is_there(path) or is_there(_wal_of(path)):
        return
    with path.open("rb") as file:
        head = file.read(_HEAD)
    page = int.from_bytes(head[16:18], "big")
    if head[18:20] != _LOGGED or path.stat().st_size > page:
        return
    if readonly and owned:
        raise OnlyBegunError(f"{path} {_EMPTY}")
    if readonly:
        raise JournalError(
            f"{path} {_EMPTY}, or it was copied without {_wal_of(path).name}, which holds what is written first"
        )
    # Whoever made it was killed, and maybe a reader has removed the empty log since. SQLite takes back what a journal of its own tells of.
    if owned or is_there(path.with_name(f"{path.name}-journal")):
        return
    raise JournalError(
        f"{path} holds nothing, and {_wal_of(path).name}, which holds what is written first, is not beside it; copy both, or delete "
        f"{path.name} to begin anew"
    )


@contextmanager
def closed_on_failure(db: sqlite3.Connection) -> Generator[None]:
    """Closes the file where it cannot be used after all: nobody has it yet who would."""
    try:
        yield
    except BaseException:
        db.close()
        raise


def _reading(path: Path, patience: float) -> sqlite3.Connection:
    if not is_there(path):
        raise JournalError(f"{path} does not exist; 'organism run' creates it, or name another journal with --journal")
    name = path.absolute().as_uri()
    # Whoever may only read makes the files beside it, and cannot remove them. Where a log holds something, it stays as it is.
    mode = "ro" if _is_logged(path) else "rw"
    db = sqlite3.connect(
        f"{name}?mode={mode}", timeout=patience, isolation_level=None, check_same_thread=False, uri=True
    )
    try:
        with closed_on_failure(db):
            db.execute("PRAGMA query_only = ON")
            db.execute("SELECT 1 FROM sqlite_master").fetchall()
    except sqlite3.OperationalError:
        if is_there(_wal_of(path)):
            raise
        # In a folder that cannot be written, where nobody else can write it either.
        return sqlite3.connect(f"{name}?immutable=1", isolation_level=None, check_same_thread=False, uri=True)
    return db


def _prepare(path: Path, db: sqlite3.Connection, *, durable: bool) -> None:
    if not db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
        _make(path, db)
    _check(path, db)
    db.execute("PRAGMA journal_mode = WAL")
    db.execute(f"PRAGMA synchronous = {'FULL' if durable else 'NORMAL'}")


def _make(path: Path, db: sqlite3.Connection) -> None:
    application, version = _whose(db)
    if application or version:
        raise JournalError(f"{path} belongs to another program; give the journal a file of its own")
    db.execute("PRAGMA auto_vacuum = INCREMENTAL")
    db.execute("PRAGMA journal_mode = WAL")
    statements = [each for each in _TABLES.split(";") if each.strip()]
    # All of it or nothing: a process may end in the middle.
    db.execute("BEGIN IMMEDIATE")
    try:
        if not db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
            for statement in statements:
                db.execute(statement)
            db.execute(f"PRAGMA application_id = {APPLICATION}")
            db.execute(f"PRAGMA user_version = {SCHEMA}")
        db.execute("COMMIT")
    except sqlite3.Error:
        if db.in_transaction:
            db.execute("ROLLBACK")
        raise


def _check(path: Path, db: sqlite3.Connection) -> None:
    application, version = _whose(db)
    if application == APPLICATION and version in _READ:
        return
    if not (application or version or db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]):
        raise OnlyBegunError(f"{path} {_EMPTY}")
    if application != APPLICATION:
        raise JournalError(f"{path} is not a journal of an organism; it is a SQLite database of another program")
    age, way_out = (
        ("a newer", "use that one") if version > SCHEMA else ("an older", "export it there, and import it here")
    )
    raise JournalError(
        f"{path} was written by {age} version of organism (tables {version}, and this one has {SCHEMA}); {way_out}"
    )


def _whose(db: sqlite3.Connection) -> tuple[int, int]:
    (application,) = db.execute("PRAGMA application_id").fetchone()
    return application, version_of(db)


def version_of(db: sqlite3.Connection) -> int:
    """The version of the tables of an open file."""
    (version,) = db.execute("PRAGMA user_version").fetchone()
    return int(version)


_SAID: Final = {
    "SQLITE_NOTADB": "is not a SQLite database",
    "SQLITE_CORRUPT": "is damaged: a page of it is not what was written; restore it from a copy",
    "SQLITE_FULL": "cannot be written: there is no space left",
    "SQLITE_BUSY": "is locked by another process that writes it",
    "SQLITE_READONLY": "cannot be written: it is read-only",
    "SQLITE_PERM": "cannot be opened: permission is denied",
    "SQLITE_CONSTRAINT": "was written by another process meanwhile",
}


def said(path: Path, error: Exception) -> str:
    """What an error of SQLite means, with the file's name."""
    name = str(getattr(error, "sqlite_errorname", ""))
    kind = "_".join(name.split("_")[:2])
    if kind in _SAID:
        return f"{path} {_SAID[kind]}"
    if kind == "SQLITE_CANTOPEN":
        return _unopened(path)
    return f"{path} cannot be used: {error}"


def _unopened(path: Path) -> str:
    """Why a file cannot be opened. SQLite says no more than that; the system does, of each file that belongs to it."""
    wal = _wal_of(path)
    for each in (path, wal, path.with_name(f"{path.name}-shm")):
        try:
            each.open("rb").close()
        except FileNotFoundError:
            continue
        except OSError as error:
            return f"{each} cannot be opened: {reason_of(error)}"
    if is_there(wal):
        return f"{path} cannot be opened: its folder may not be written; copy it together with {wal.name} to one that may be"
    return f"{path} cannot be opened: its folder may not be written, or is not there"


def concerns_all(error: Exception) -> bool:
    """Whether it is about the file, and not about what was to be written there."""
    return str(getattr(error, "sqlite_errorname", "")).startswith(("SQLITE_BUSY", "SQLITE_READONLY", "SQLITE_CANTOPEN"))
