"""A process is killed at each of its writes in turn while it looks after a journal, or the disk is full from there on: what it left is sound, and
the same command, given again, brings it to the same end.
"""

from __future__ import annotations

import errno
import os
import sqlite3
from functools import partial
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NoReturn, cast

import pytest

from organism.journal import open_journal
from organism.journal.disk import Disk
from tests.cli.journal_world import URLS, record, written

if TYPE_CHECKING:
    from collections.abc import Sequence
    from io import FileIO

    from tests.cli.conftest import Desk

OTHER: Final = {"sqlite:organism.db": "jsonl:other", "jsonl:journal": "sqlite:other.db"}
"""Where an export is imported, from each: there is a part of it already."""
COMMANDS: Final[dict[str, Sequence[str]]] = {
    "prune": ("prune", "--before", "2100-01-01"),
    "import": ("import", "all.jsonl"),
    "cancel": ("cancel", "berry"),
    "pause": ("pause", "berry"),
    "add-budget": ("add-budget", "berry", "tokens=500", "--id", "more"),
    "export": ("export",),
}
_READING: Final = {"export"}
"""Commands that write nothing: only SQLite is asked for more than that, by what opens it."""


class Killed(BaseException):
    """The process ended here."""


class Death:
    """Comes at the first write after the next ``left`` ones, if ever. From then on nothing is written, whoever cleans up."""

    def __init__(self) -> None:
        self.left: int | None = None
        self.files: list[sqlite3.Connection] = []
        self.is_full = False
        """Instead, the disk is full from there on, and the process lives."""
        self.came = False

    def step(self, full: Exception) -> None:
        """Counts a write that is about to be made; ``full`` is what a full disk would say."""
        if self.left is not None:
            self.left -= 1
            if self.left < 0:
                self.come(full)

    def come(self, full: Exception) -> NoReturn:
        """It is over: what was not committed is gone."""
        self.left, self.came = 0, True
        if self.is_full:
            raise full
        for file in self.files:
            sqlite3.Connection.close(file)
        raise Killed

    def avert(self) -> None:
        """Another process lives."""
        self.left, self.came = None, False
        self.files.clear()


class Mortal(Disk):
    """A disk whose process may be killed. Of what is written in one go, the first line is there by then."""

    death: Death

    @staticmethod
    def _full() -> OSError:
        return OSError(errno.ENOSPC, "No space left on device")

    def write(self, file: FileIO, data: memoryview) -> int:
        line = bytes(data).find(b"\n") + 1
        before = super().write(file, data[:line]) if self.death.left == 0 else 0
        self.death.step(self._full())
        return before or super().write(file, data)

    def sync(self, file: FileIO) -> None:
        self.death.step(self._full())
        super().sync(file)

    def cut(self, file: FileIO, size: int) -> None:
        self.death.step(self._full())
        super().cut(file, size)

    def move(self, path: Path, to: Path) -> None:
        self.death.step(self._full())
        super().move(path, to)

    def sync_folder(self, folder: Path) -> None:
        self.death.step(self._full())
        super().sync_folder(folder)


_ROOMLESS: Final = ("ROLLBACK", "BEGIN", "PRAGMA")


class Connection(sqlite3.Connection):
    """The same for SQLite, statement by statement."""

    def __init__(self, death: Death, *given: Any, **how: Any) -> None:
        super().__init__(*given, **how)
        self._death = death
        death.files.append(self)

    def _step(self, statement: str) -> None:
        """A full disk is asked for no room by what takes writes back, or says how they are to be made."""
        if not statement.startswith("SELECT") and not (self._death.is_full and statement.startswith(_ROOMLESS)):
            full = sqlite3.OperationalError("database or disk is full")
            full.sqlite_errorname = "SQLITE_FULL"
            self._death.step(full)

    def execute(self, *given: Any) -> sqlite3.Cursor:
        self._step(given[0])
        return super().execute(*given)

    def executemany(self, *given: Any) -> sqlite3.Cursor:
        self._step(given[0])
        return super().executemany(*given)

    def executescript(self, *given: Any) -> sqlite3.Cursor:
        self._step(given[0])
        return super().executescript(*given)


@pytest.fixture
def death(monkeypatch: pytest.MonkeyPatch) -> Death:
    death, connect = Death(), cast("Any", sqlite3.connect)
    monkeypatch.setattr(Mortal, "death", death, raising=False)
    monkeypatch.setattr("organism.journal.lines.Disk", Mortal)
    monkeypatch.setattr(sqlite3, "connect", partial(connect, factory=partial(Connection, death)))
    unlink = Path.unlink

    def removed(path: Path, **how: Any) -> None:
        if path.suffix == ".jsonl" and not death.is_full:  # that gives room
            death.step(OSError())
        unlink(path, **how)

    monkeypatch.setattr(Path, "unlink", removed)
    return death


def what_is_there(url: str) -> Any:
    """All that a sound journal says."""
    journal = open_journal(url, readonly=True)
    try:
        assert not journal.flaws()
        chains = {each.root: (each.open, list(journal.documents(each.root))) for each in journal.chains()}
        return chains, journal.spendings(), journal.removed()
    finally:
        journal.close()


def put_back(folder: Path, kept: dict[Path, bytes]) -> None:
    """Makes a folder what it was."""
    for path in sorted(folder.rglob("*"), reverse=True):
        if path.is_dir():
            path.rmdir() if not any(each.is_relative_to(path) for each in kept) else None
        elif path not in kept:
            os.unlink(path)  # noqa: PTH108 - that of pathlib may be the death of whoever calls it
    for path, data in kept.items():
        path.write_bytes(data)


@pytest.mark.parametrize("full", [False, True], ids=["killed", "full"])
@pytest.mark.parametrize("url", URLS)
@pytest.mark.parametrize("name", COMMANDS)
def test_what_was_cut_short_is_done_when_it_is_asked_for_again(
    desk: Desk, death: Death, url: str, name: str, full: bool
) -> None:
    written(desk.folder, url)
    command = COMMANDS[name]
    if name == "import":
        desk.write("all.jsonl", desk.organism("export", "--journal", url).out)
        url = OTHER[url]
        written(desk.folder, url, [pair for pair in record().facts if pair[0] == "apricot"])
    command = (*command, "--journal", url)
    kept = {path: path.read_bytes() for path in desk.folder.rglob("*") if path.is_file()}
    ran = desk.organism(*command)
    assert ran.code == 0, ran
    due, number = what_is_there(url), 0
    death.is_full = full
    for number in count():
        put_back(desk.folder, kept)
        death.left = number
        try:
            ran = desk.organism(*command)
        except Killed:
            pass
        else:
            if not death.came:
                break
            # What is not needed for it, such as giving room back, may be left undone.
            assert ran.code in {0, 5}, ran
            assert ran.code == 0 or "o space left" in ran.err, ran
        death.avert()
        assert desk.organism("verify", "--journal", url).code == 0
        again = desk.organism(*command)
        assert again.code == 0, again
        assert what_is_there(url) == due
    assert number >= (0 if name in _READING else 1 if full else 2), "nothing was cut short"
