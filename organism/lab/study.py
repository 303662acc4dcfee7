"""What is studied: inputs, arms and repeats, the order of all threads, and the most that they may cost."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

from attrs import evolve, field, frozen

from organism.payloads import encode_json
from organism.settings import Limits, Settings, with_backends

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from organism.settings import BackendSettings

Order = Literal["interleaved", "blocked"]
WARM_UP: Final = "warm-up"
_SIMULATED: Final = "simulated"


@frozen(kw_only=True)
class Arm:
    """Settings that are compared with others. ``sets`` is what the study says of it, by dotted keys; ``before`` are its settings without
    what it sets of ``budget``, for the warm-up.
    """

    name: str
    sets: Mapping[str, Any]
    settings: Settings = field(repr=False)
    before: Settings = field(repr=False)
    warmed_as: str
    """The first arm that differs from it in its budget alone: one warm-up is enough for both."""


@frozen(kw_only=True)
class Cell:
    """One thread of a study: an input (by its number, from 1) in an arm, for the so-manieth time (from 1; 0 is the warm-up)."""

    arm: str
    input: int
    repeat: int

    @property
    def warms_up(self) -> bool:
        """Whether it is run before all others, and counts for no arm."""
        return not self.repeat

    @property
    def home(self) -> str:
        """What the journal is called that has its thread."""
        return WARM_UP if self.warms_up else self.arm


@frozen(kw_only=True)
class Study:
    """A study, read and checked. ``inputs`` are payloads for the handler ``to``; ``ceiling`` is of all its threads together, and
    ``concurrency`` how many of them run at the same time. ``digest`` tells the organism's file, as it was read, from every other.
    """

    name: str
    to: str
    inputs: tuple[Any, ...] = field(repr=False)
    arms: tuple[Arm, ...]
    folder: Path
    organism: Path
    digest: str
    repeats: int = 1
    seed: int = 0
    order: Order = "interleaved"
    warm_up: int = 1
    concurrency: int = 1
    ceiling: Limits = field(factory=Limits)

    def arm(self, name: str) -> Arm:
        """The arm of this name."""
        return next(each for each in self.arms if each.name == name)

    def id_of(self, cell: Cell) -> str:
        """The id of a cell's thread. It is the same in each arm, whose journals are apart: so handlers draw the same random numbers there."""
        if cell.warms_up:
            return f"{WARM_UP}-{cell.arm}-{cell.input}"
        return f"{self.name}-{cell.input}-{cell.repeat}"

    def labels_of(self, cell: Cell) -> dict[str, str]:
        """The labels of a cell's thread."""
        return {"study": self.name, "arm": cell.home, "input": str(cell.input), "repeat": str(cell.repeat)}

    def settings_of(self, cell: Cell) -> Settings:
        """The settings of a cell's organism. Its simulated models draw what belongs to the repeat: the same in each arm, and another lot in
        each repeat. Nobody is told of dead letters: whoever is has a thread, and a budget, beside that of the cell.
        """
        arm = self.arm(cell.arm)
        return evolve(self._seeded(arm.before if cell.warms_up else arm.settings, cell.repeat), dead_letters=None)

    @property
    def cells(self) -> tuple[Cell, ...]:
        """All cells in the order in which they are run, drawn from the seed.

        ``interleaved``: all arms of one input and repeat follow each other, in an order of their own. ``blocked``: one arm after the other.
        """
        dice = random.Random(f"{self.seed} order of {self.name}")  # noqa: S311 - repeatable on purpose
        rounds = [
            (number, repeat) for repeat in range(1, self.repeats + 1) for number in range(1, len(self.inputs) + 1)
        ]
        names = [arm.name for arm in self.arms]
        if self.order == "blocked":
            pairs = [(name, each) for name in _shuffled(names, dice) for each in _shuffled(rounds, dice)]
        else:
            pairs = [(name, each) for each in _shuffled(rounds, dice) for name in _shuffled(names, dice)]
        return tuple(Cell(arm=name, input=number, repeat=repeat) for name, (number, repeat) in pairs)

    @property
    def warm_ups(self) -> tuple[Cell, ...]:
        """The threads of the warm-up."""
        apart = [arm.name for arm in self.arms if arm.warmed_as == arm.name]
        return tuple(Cell(arm=name, input=number, repeat=0) for name in apart for number in range(1, self.warm_up + 1))

    def most_of(self, cell: Cell, unit: str) -> Decimal | None:
        """The most that a cell's thread may cost of a unit, with what may be granted; ``None`` where nothing says so."""
        arm = self.arm(cell.arm)
        budget = (arm.before if cell.warms_up else arm.settings).budget
        limit = getattr(budget.limits, unit)
        if limit is None:
            return None
        if not budget.grants_by:
            return Decimal(limit)
        return None if budget.grants_up_to is None else Decimal(limit) + budget.grants_up_to.get(unit, Decimal(0))

    def most(self, unit: str, cells: Iterable[Cell] | None = None) -> Decimal | None:
        """The most that these cells may cost of a unit (all of them, with the warm-up); ``None`` where nothing says so."""
        each = [self.most_of(cell, unit) for cell in ((*self.warm_ups, *self.cells) if cells is None else cells)]
        known = [most for most in each if most is not None]
        return sum(known, Decimal(0)) if len(known) == len(each) else None

    def _seeded(self, settings: Settings, repeat: int) -> Settings:
        return evolve(settings, models=with_backends(settings.models, lambda each: self._drawn(each, repeat)))

    def _drawn(self, backend: BackendSettings, repeat: int) -> BackendSettings:
        if backend.built_in != _SIMULATED:
            return backend
        seed = self._seed(repeat, backend.options.get("seed", 0))
        return evolve(backend, options={**backend.options, "seed": seed})

    def _seed(self, repeat: int, said: int) -> int:
        drawn = hashlib.sha256(f"{self.seed} {repeat} {said}".encode()).digest()
        return 1 + int.from_bytes(drawn[:6], "big")

    def record(self) -> dict[str, Any]:
        """What all threads of it have in common, as JSON: what later runs are compared with."""
        return {
            "study": self.name,
            "organism": self.digest,
            "to": self.to,
            "seed": self.seed,
            "warm_up": self.warm_up,
            "arms": {arm.name: dict(arm.sets) for arm in self.arms},
            "inputs": [encode_json(each) for each in self.inputs],
        }


def _shuffled(every: Sequence[Any], dice: random.Random) -> list[Any]:
    return dice.sample(every, len(every))
