"""Journals that may not be read, and those whose folders are not there: what is said is so, and nothing is made on the way."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from organism.errors import JournalError
from organism.journal import Lock, open_journal
from organism.journal.room import make_folder

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="permissions of files are POSIX's")
NOBODY = 65534


@contextmanager
def _unprivileged() -> Generator[None]:
    """As somebody whom permissions concern, also where the tests run as root."""
    root = os.geteuid() == 0
    if root:
        os.seteuid(NOBODY)
    try:
        yield
    finally:
        if root:
            os.seteuid(0)


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder that everybody may read: pytest's are the user's alone."""
    made = Path(tempfile.mkdtemp())
    made.chmod(0o755)
    yield made
    made.chmod(0o755)
    shutil.rmtree(made)


def _said(folder: Path, url: str) -> str:
    with _unprivileged(), pytest.raises(JournalError) as caught:
        open_journal(url, folder=folder, readonly=True)
    return str(caught.value)


def test_a_file_that_may_not_be_read_is_said_to_be_one(folder: Path) -> None:
    open_journal("sqlite:a.db", folder=folder).close()
    (folder / "a.db").chmod(0)
    assert _said(folder, "sqlite:a.db") == f"{folder}/a.db cannot be opened: Permission denied"


def test_the_file_beside_a_journal_that_may_not_be_read_is_named(folder: Path) -> None:
    with closing(open_journal("sqlite:a.db", folder=folder)):
        shutil.copytree(folder, copy := folder / "copy")  # as a process leaves it that is killed
    (copy / "a.db-shm").unlink()
    (copy / "a.db").chmod(0o644)  # whatever the umask is
    (copy / "a.db-wal").chmod(0)
    copy.chmod(0o555)
    assert _said(copy, "sqlite:a.db") == f"{copy}/a.db-wal cannot be opened: Permission denied"
    (copy / "a.db-wal").chmod(0o644)
    why = "its folder may not be written; copy it together with a.db-wal to one that may be"
    assert _said(copy, "sqlite:a.db") == f"{copy}/a.db cannot be opened: {why}"
    copy.chmod(0o755)


@pytest.mark.parametrize("url", ["sqlite:a.db", "jsonl:a"])
def test_a_folder_that_may_not_be_looked_into_is_said(folder: Path, url: str) -> None:
    folder.chmod(0)
    assert _said(folder, url) == f"{folder}/{url.partition(':')[2]} cannot be opened: Permission denied"


def test_what_is_no_file_is_not_waited_for(folder: Path) -> None:
    os.mkfifo(folder / "a.db")
    with pytest.raises(JournalError, match=r"a\.db is not a file$"):
        open_journal("sqlite:a.db", folder=folder, readonly=True)


@pytest.mark.parametrize("url", ["sqlite:data/a.db", "jsonl:data/a"])
def test_the_folder_that_a_journal_stands_in_is_made(tmp_path: Path, url: str) -> None:
    lock = Lock(tmp_path / url.partition(":")[2], {})
    lock.take()
    open_journal(url, folder=tmp_path, lock=lock).close()
    lock.release()
    assert (tmp_path / "data").is_dir()


def test_a_link_to_a_folder_that_is_not_there_yet_leads_to_one(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "journal")
    make_folder(tmp_path / "link")
    assert (tmp_path / "journal").is_dir()


@pytest.mark.parametrize("url", ["sqlite:no/data/a.db", "jsonl:no/data/a"])
def test_a_folder_is_not_made_in_one_that_is_missing(tmp_path: Path, url: str) -> None:
    path = tmp_path / url.partition(":")[2]
    said = (
        f"{path} cannot be made: there is no folder {tmp_path}/no; create it, or choose another place for the journal"
    )
    with pytest.raises(JournalError) as caught:
        Lock(path, {}).take()
    assert str(caught.value) == said
    if url.startswith("sqlite"):
        with pytest.raises(JournalError) as caught:
            open_journal(url, folder=tmp_path)
        assert str(caught.value) == said
    assert list(tmp_path.iterdir()) == []
