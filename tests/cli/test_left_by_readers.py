"""What a command leaves that only reads: the folder as it was, byte for byte."""

from __future__ import annotations

import shutil
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from organism.journal import open_journal
from organism.record.facts import Accepted
from tests.cli.journal_world import URLS, written

if TYPE_CHECKING:
    from pathlib import Path

    from tests.cli.conftest import Desk


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("url", URLS)
def test_whoever_reads_a_journal_leaves_no_file_behind(tmp_path: Path, url: str) -> None:
    written(tmp_path, url)
    before = files(tmp_path)
    for _ in range(2):
        with closing(open_journal(url, folder=tmp_path, readonly=True)) as journal:
            assert not journal.flaws()
            with closing(open_journal(url, folder=tmp_path, readonly=True)) as another:
                assert another.chains() == journal.chains()
        assert files(tmp_path) == before


def test_what_a_killed_process_left_in_its_log_stays_there(tmp_path: Path) -> None:
    written(tmp_path, URLS[0])
    with closing(open_journal(URLS[0], folder=tmp_path)) as journal:
        assert not journal.write([("new", Accepted(at=1.0, thread="new"))])
        shutil.copytree(tmp_path, copy := tmp_path / "killed")
    before = files(copy)
    assert before["organism.db-wal"]
    with closing(open_journal(URLS[0], folder=copy, readonly=True)) as journal:
        assert journal.chain("new") is not None
    after = files(copy)
    for name in ("organism.db", "organism.db-wal"):
        assert after[name] == before[name], name


def test_whoever_reads_cannot_write(tmp_path: Path) -> None:
    written(tmp_path, URLS[0])
    with closing(open_journal(URLS[0], folder=tmp_path, readonly=True)) as journal:
        before = files(tmp_path)["organism.db"]
        assert journal.write([("new", Accepted(at=1.0, thread="new"))])
        assert journal.chain("new") is None
    assert files(tmp_path)["organism.db"] == before


@pytest.mark.parametrize("command", [("verify",), ("threads",), ("show", "apple"), ("export",), ("usage",), ("dead",)])
def test_a_command_that_reads_leaves_no_file_behind(desk: Desk, command: tuple[str, ...]) -> None:
    written(desk.folder, URLS[0])
    before = files(desk.folder)
    assert desk.organism(*command, "--journal", URLS[0]).code == 0
    assert files(desk.folder) == before
