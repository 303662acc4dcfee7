"""A study whose process is killed at any instant at all: what is on the disk then goes on, and comes to the same."""

from __future__ import annotations

import shutil
import sqlite3
import threading
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from organism.journal.lock import lock_path
from organism.journal.sqlite import SqliteJournal
from tests.cli.test_study import ORGANISM, STUDY, WORLD, calls, figures_of, rows

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.cli.conftest import Desk

SMALL = STUDY.replace("[What is a den?, {Question: {text: Whose is it?}}]", "[What is a den?]").replace("2\n", "1\n")


class Instants:
    """Copies of a folder, as it stood before and after each change that is made on the disk. Two of them are never made at the same time."""

    def __init__(self, folder: Path, into: Path) -> None:
        self._folder, self._into = folder, into
        self._one = threading.RLock()
        self.taken: list[tuple[str, Path]] = []

    def look_at(self, kind: type, name: str, patch: pytest.MonkeyPatch) -> None:
        change: Callable[..., Any] = getattr(kind, name)

        def changed(*given: Any, **how: Any) -> Any:
            with self._one:
                self._take(f"before {name}")
                done = change(*given, **how)
                if name == "_commit":  # else the next change is what comes next
                    self._take(f"after {name}")
                return done

        patch.setattr(kind, name, changed)

    def _take(self, what: str) -> None:
        copy = self._into / str(len(self.taken))
        shutil.copytree(self._folder, copy, ignore=shutil.ignore_patterns("*.sock", "__pycache__"))
        self.taken.append((what, copy))


@pytest.mark.parametrize("concurrency", [1, 3])
def test_a_study_goes_on_from_every_instant(
    desk: Desk, concurrency: int, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk.write("world.py", WORLD)
    desk.write("organism.yaml", ORGANISM)
    desk.write("study.yaml", f"{SMALL}    concurrency: {concurrency}\n")
    instants = Instants(desk.folder, tmp_path_factory.mktemp("instants"))
    with monkeypatch.context() as patch:
        for kind, name in [(SqliteJournal, "_commit"), (SqliteJournal, "close"), (Path, "replace"), (Path, "unlink")]:
            instants.look_at(kind, name, patch)
        whole = desk.organism("study", "--csv")
    assert whole.code == 0
    paid = calls(desk)
    assert len(instants.taken) > 40
    for what, copy in instants.taken[::concurrency]:
        shutil.rmtree(desk.folder / "dens.study", ignore_errors=True)
        (desk.folder / "calls.txt").unlink(missing_ok=True)
        for left in ("dens.study", "calls.txt"):
            if (copy / left).is_dir():
                shutil.copytree(copy / left, desk.folder / left)
            elif (copy / left).exists():
                shutil.copy(copy / left, desk.folder / left)
        ran = desk.organism("study", "--csv")
        assert ran.code == 0, (what, copy, ran.err)
        assert calls(desk) <= paid + concurrency, (what, copy)
        pairs = zip(figures_of(ran), figures_of(whole), rows(ran), strict=True)
        assert {row["estimated"] for one, other, row in pairs if one != other} <= {"1"}, (what, copy)
        assert not [*(desk.folder / "dens.study" / "under-way").iterdir()], (what, copy)


def begun(path: Path, *, steps: int) -> None:
    """A journal as it stands when its maker was killed after so many steps."""
    making = path.with_name("making.db")
    making.touch()
    with closing(sqlite3.connect(making, isolation_level=None)) as maker:
        for statement in ("PRAGMA journal_mode = WAL", "BEGIN IMMEDIATE")[:steps]:
            maker.execute(statement)
        for each in path.parent.glob("making.db*"):
            shutil.copy(each, path.with_name(each.name.replace("making.db", path.name)))
    for each in path.parent.glob("making.db*"):
        each.unlink()
    lock_path(path).touch()


@pytest.mark.parametrize("steps", range(3))
def test_a_study_goes_on_where_a_journal_was_only_begun(desk: Desk, steps: int) -> None:
    desk.write("world.py", WORLD)
    desk.write("organism.yaml", ORGANISM)
    desk.write("study.yaml", SMALL.replace("repeats: 1", "repeats: 2"))
    kept, before = desk.folder / "dens.study", desk.folder / "before"
    whole = desk.organism("study", "--csv")
    kept.rename(before)
    paid = calls(desk)
    desk.write("ends_at", str(paid + 3))  # the warm-up is over by then
    assert desk.process("study", "--quiet").code == 9
    (desk.folder / "ends_at").unlink()
    (under_way,) = (kept / "under-way").glob("*.db")
    for each in (kept / "under-way").iterdir():
        each.unlink()
    begun(under_way, steps=steps)
    begun(kept / f"{under_way.name.partition('.')[0]}.db", steps=steps)
    reports = [desk.organism("study", "--report", *how) for how in (["--csv"], ["--usage"])]
    missing = "4 threads of 4 are missing; 'organism study' runs what is left\n"
    assert [(each.code, each.err) for each in reports] == [(1, missing)] * 2
    ran = desk.organism("study", "--csv")
    assert (ran.code, figures_of(ran)) == (0, figures_of(whole)), ran.err
    assert not [*(kept / "under-way").iterdir()]
