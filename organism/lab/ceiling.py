"""What a study may still begin: the most that a thread may cost is held before it runs, and what it did cost is settled once it has ended."""

from __future__ import annotations

from collections import defaultdict
from decimal import Decimal
from typing import TYPE_CHECKING

from organism.settings import SPENT_UNITS

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from organism.lab.study import Cell, Study

_Amounts = defaultdict[str, Decimal]


class Ceiling:
    """The ceiling of a study, with what is ``spent`` by journal and unit, and what is held for the threads that run."""

    def __init__(self, study: Study, spent: Mapping[Path, Mapping[str, Decimal]]) -> None:
        self._study = study
        self._spent: defaultdict[Path, Mapping[str, Decimal]] = defaultdict(dict)
        self._held: dict[Path, Mapping[str, Decimal]] = {}
        self._all_spent, self._all_held = _Amounts(Decimal), _Amounts(Decimal)
        for path, amounts in spent.items():
            self.settle(path, amounts)

    def hold(self, cell: Cell, path: Path) -> str | None:
        """Holds what the thread of a cell may cost at most, with what is spent already in its journal; why it cannot, if so."""
        most: dict[str, Decimal] = {}
        for unit in SPENT_UNITS:
            limit, costs = getattr(self._study.ceiling, unit), self._study.most_of(cell, unit)
            if limit is None or costs is None:
                continue
            most[unit] = max(Decimal(0), costs - self._spent[path].get(unit, Decimal(0)))
            spent = self._all_spent[unit]
            if spent + self._all_held[unit] + most[unit] > limit:
                return (
                    f"of the ceiling of {limit:,} {unit}, {spent:,} are spent, and the next thread may take {most[unit]:,}: raise "
                    f"ceiling.{unit}, and run the study again"
                )
        self._held[path] = most
        _add(self._all_held, most)
        return None

    def settle(self, path: Path, spent: Mapping[str, Decimal]) -> None:
        """Nothing is held any more for the thread of a journal, and this much is spent in there."""
        _add(self._all_held, self._held.pop(path, {}), -1)
        _add(self._all_spent, self._spent[path], -1)
        _add(self._all_spent, spent)
        self._spent[path] = spent


def _add(amounts: _Amounts, more: Mapping[str, Decimal], times: int = 1) -> None:
    for unit, amount in more.items():
        amounts[unit] += amount * times
