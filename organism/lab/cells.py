"""What each thread of a study came to, as its journals tell."""

from __future__ import annotations

from collections import defaultdict
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING

from attrs import frozen

from organism.journal.codec import decode_entry
from organism.lab.folder import journals_of, opened, places, unless_moved
from organism.lab.study import Cell
from organism.names import is_within
from organism.record.calls import CallRow, call_rows
from organism.works.rows import ThreadRow, threads_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from organism.journal import Journal
    from organism.lab.study import Study
    from organism.results import ThreadResult

_ENDS = ("completed", "exhausted", "failed", "stopped")
"""Outcomes that say something of an arm."""


@frozen(kw_only=True)
class Found:
    """The thread of a cell, and its calls, as they were at the last ``attempt``. ``missing`` says why that is no result of its arm, and
    is to be run again: ``None`` where it is one. ``journal`` has the thread.
    """

    cell: Cell
    attempt: int
    journal: Path
    row: ThreadRow
    calls: tuple[CallRow, ...]
    missing: str | None

    @property
    def result(self) -> ThreadResult:
        """What the thread came to."""
        return self.row.result

    @property
    def ended(self) -> bool:
        """Whether it has ended, so that to run it again is to begin it anew."""
        return self.row.ended_at is not None

    def left(self, unit: str) -> Decimal | None:
        """How much of a unit was left of the thread's limit when it ended; ``None`` where it has none."""
        limit = self.row.limits.get(unit)
        return (
            None
            if limit is None
            else max(Decimal(0), Decimal(str(limit)) - Decimal(str(getattr(self.result.usage, unit))))
        )


def found(study: Study, cells: Iterable[Cell] | None = None) -> dict[Cell, Found]:
    """The threads that are there of these cells (all, but for the warm-up). Raises JournalError where a journal is damaged."""
    every: dict[Cell, Found] = {}
    by_home: defaultdict[str, dict[str, Cell]] = defaultdict(dict)
    for cell in study.cells if cells is None else cells:
        by_home[cell.home][study.id_of(cell)] = cell
    # First those under way: another process may move them meanwhile into the journals that are looked at then.
    for place in places(study):
        there = by_home[place.home].get(place.thread)
        with unless_moved(place):
            _look(place.path, place.attempt, {} if there is None else {place.thread: there}, every)
    for home, cells_there in by_home.items():
        for attempt, path in journals_of(study, home):
            _look(path, attempt, cells_there, every)
    return every


def _look(path: Path, attempt: int, cells: Mapping[str, Cell], every: dict[Cell, Found]) -> None:
    """Notes the cells, which are given by the ids of their threads, that are in this journal."""
    with opened(path) as journal:
        for id_, cell in cells.items():
            there = _found(journal, id_, cell, attempt, path)
            if there is not None and (cell not in every or every[cell].attempt <= attempt):
                every[cell] = there


def _found(journal: Journal, id_: str, cell: Cell, attempt: int, path: Path) -> Found | None:
    chain = journal.chain(id_)
    rows = [] if chain is None else threads_of(journal, chain, owned=False)
    if not rows:
        return None
    facts = ((each["n"], decode_entry(each)) for each in journal.documents(id_))
    calls = tuple(row for row in call_rows(facts) if is_within(row.thread, id_))
    return Found(
        cell=cell, attempt=attempt, journal=path, row=rows[0], calls=calls, missing=missing(rows[0].result, calls)
    )


def missing(result: ThreadResult, calls: Iterable[CallRow]) -> str | None:
    """Why a thread says nothing of its arm: the world kept it from its end, and may not do so again. ``None`` where it does."""
    if result.outcome not in _ENDS:
        return f"is {result.outcome}"
    if result.scope in {"account", "organism"}:
        return f"ran into a limit of the {result.scope}: {result.unit}"
    failed = [each for each in calls if each.outcome == "failed"]
    if failed:
        return f"no backend answered a call of '{failed[0].handler}'{f': {result.error}' if result.error else ''}"
    return None
