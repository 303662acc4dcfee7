"""Running a study: the warm-up, and then one thread after the other, each in an organism of its own that knows what the warm-up learned.

So no thread holds more or less than it would alone, whatever ran before it, and whichever process it runs in.
"""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from attrs import define, evolve, field, frozen

from organism.errors import JournalError, OrganismError
from organism.lab import folder
from organism.lab.cells import found, missing
from organism.lab.study import UNITS, WARM_UP, Cell, Study
from organism.names import counted
from organism.organism import Organism
from organism.results import ThreadResult

if TYPE_CHECKING:
    from collections.abc import Sequence

    from organism.context.interface import Context
    from organism.hooks import CompletionEvent

Ended = Callable[[Cell, ThreadResult | None, str | None], object]
_IN_A_ROW: Final = 3
"""So many threads that come to nothing, one after the other, say that the next ones would not either."""


@frozen(kw_only=True)
class Ran:
    """What a run of a study did. ``ran`` threads came to a result; of the others ``missing`` says why, by cell. ``stopped`` says why the rest
    was not begun, if any was left.
    """

    ran: int
    missing: dict[Cell, str]
    stopped: str | None


async def run(study: Study, *, ended: Ended | None = None) -> Ran:
    """Runs what is left of a study: threads that have a result stay as they are, unfinished ones are continued, and missing ones begin anew.

    ``ended`` is called with each cell, those of the warm-up first, what its thread came to, and why that is missing, if it is.
    Raises ConfigurationError where the folder has threads of another study, JournalHeldError while another process runs this one, and other
    JournalErrors; whatever else goes wrong with a thread makes that one missing.
    """
    with folder.owned(study):
        folder.begin(study)
        running = _Running(study, ended)
        running.count()
        stopped = await running.run(study.warm_ups, at_most=1)
        if stopped is None:
            stopped = await running.run(study.cells, at_most=_IN_A_ROW)
        return Ran(ran=running.ran, missing=running.missing, stopped=stopped)


@define(eq=False)
class _Running:
    """A study under way."""

    study: Study
    ended: Ended | None
    ran: int = 0
    missing: dict[Cell, str] = field(factory=dict[Cell, str])
    spent: dict[Path, dict[str, Any]] = field(factory=dict[Path, dict[str, Any]])
    """By journal."""

    async def run(self, cells: Sequence[Cell], *, at_most: int) -> str | None:
        """The threads of these cells that have no result yet; why some were not begun, if so. ``at_most``: so many that come to nothing, one
        after the other, say that the next ones would not either.
        """
        there = found(self.study, cells)
        in_a_row = 0
        for cell in cells:
            known = there.get(cell)
            if known is not None and known.missing is None:
                continue
            lacking = self._too_dear(cell)
            if lacking is not None:
                return lacking
            attempt = 1 if known is None else known.attempt + known.ended
            result, why = await self._thread(cell, folder.journal_of(self.study, cell.home, attempt))
            if self.ended is not None:
                self.ended(cell, result, why)
            if why is None:
                self.ran += not cell.warms_up
                in_a_row = 0
                continue
            self.missing[cell] = why
            in_a_row += 1
            if in_a_row == at_most:
                return (
                    "the warm-up came to nothing"
                    if cell.warms_up
                    else f"{counted(at_most, 'thread')} in a row came to nothing"
                )
        return None

    async def _thread(self, cell: Cell, path: Path) -> tuple[ThreadResult | None, str | None]:
        """What a cell's thread comes to, and why that is missing, if it is."""
        study, id_ = self.study, self.study.id_of(cell)
        organism = Organism.of(evolve(study.settings_of(cell), journal=folder.url_of(path)))
        organism.learn_from(folder.learned(study))

        def keep(_event: CompletionEvent, _ctx: Context) -> None:
            # Before the handler has the answer: once its thread has ended, all that it learned is kept, wherever the process is killed.
            folder.keep_learned(study, organism.learned())

        if cell.warms_up:
            organism.add_hook("after_model_call", keep)
        result, why = None, None
        try:
            async with organism:
                payload = study.inputs[cell.input - 1]
                thread = await organism.send(study.to, payload, id=id_, labels=study.labels_of(cell))
                if thread.paused:  # when it was left
                    thread.resume()
                result = await thread.result()
                why = missing(result, await organism.calls(id_))
        except JournalError:
            raise
        except OrganismError as error:
            why = (
                str(error) if result is None else why
            )  # else the organism has ended with its thread, as `on_failure` may say
        self._count(path)
        return result, why

    def count(self) -> None:
        """Counts what earlier runs have spent."""
        for home in (WARM_UP, *(arm.name for arm in self.study.arms)):
            for _, path in folder.journals_of(self.study, home):
                self._count(path)

    def _count(self, path: Path) -> None:
        if path.exists():
            self.spent[path] = folder.spent(path)

    def _too_dear(self, cell: Cell) -> str | None:
        """Why a thread could pass the study's ceiling; ``None`` if it cannot."""
        for unit in UNITS:
            limit, costs = getattr(self.study.ceiling, unit), self.study.most_of(cell, unit)
            if limit is None or costs is None:
                continue
            spent = sum((Decimal(each[unit]) for each in self.spent.values()), Decimal(0))
            if spent + costs > limit:
                return (
                    f"of the ceiling of {limit:,} {unit}, {spent:,} are spent, and the next thread may take {costs:,}: raise "
                    f"ceiling.{unit}, and run the study again"
                )
        return None
