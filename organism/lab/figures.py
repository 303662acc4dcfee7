"""Sums of a study by arm, with intervals, and the differences between arms, pair by pair.

Shares have Wilson's interval. Means have a percentile bootstrap, which draws inputs and not threads: the repeats of an input are alike.
Both are of 95 percent. All draws follow from the study's seed.
"""

from __future__ import annotations

import math
import random
from collections import defaultdict
from typing import TYPE_CHECKING, Final

from attrs import evolve, frozen

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from organism.lab.cells import Found
    from organism.lab.study import Study

_DRAWS: Final = 2000
_TAIL: Final = 0.025
_Z: Final = 1.959963984540054
"""The standard normal distribution has so much of itself on each side of it."""
OUTCOMES: Final = ("completed", "exhausted", "failed", "stopped")


@frozen
class Estimate:
    """A mean or a share of ``n`` threads, and between what it probably lies; ``low`` and ``high`` are ``None`` where nobody can say."""

    n: int
    value: float
    low: float | None = None
    high: float | None = None


FIGURES: Final[Mapping[str, Callable[[Found], float | None]]] = {
    "tokens": lambda each: each.result.usage.tokens,
    "calls": lambda each: each.result.usage.model_calls,
    "cost_usd": lambda each: float(each.result.usage.cost_usd),
    "seconds": lambda each: each.result.usage.seconds,
    "tokens_left": lambda each: None if (left := each.left("tokens")) is None else float(left),
    "completed": lambda each: float(each.result.outcome == "completed"),
    "answered": lambda each: float(bool(each.result.replies)),
}
"""What is told of a thread in figures; ``None`` where it has none."""


def of_arms(study: Study, found: Iterable[Found]) -> dict[str, dict[str, Estimate]]:
    """For each arm that has results: the shares of its outcomes (``completed``, ...), of its threads that answered (``answered``) and that
    reached a level (``level warning``, ...), and the means of other figures.
    """
    by_arm: defaultdict[str, list[Found]] = defaultdict(list)
    for each in found:
        if each.missing is None:
            by_arm[each.cell.arm].append(each)
    levels = sorted({warned.level for those in by_arm.values() for each in those for warned in each.result.warnings})
    sums: dict[str, dict[str, Estimate]] = {}
    for arm in (arm.name for arm in study.arms if arm.name in by_arm):
        those = by_arm[arm]
        shares = {outcome: [each.result.outcome == outcome for each in those] for outcome in OUTCOMES}
        shares |= {
            f"level {level}": [any(warned.level == level for warned in each.result.warnings) for each in those]
            for level in levels
        }
        shares["answered"] = [bool(each.result.replies) for each in those]
        sums[arm] = {name: wilson(sum(those_), len(those_)) for name, those_ in shares.items() if those_}
        for name, figure in FIGURES.items():
            if name not in shares:
                values = [(each.cell.input, value) for each in those if (value := figure(each)) is not None]
                if values:
                    sums[arm][name] = mean(values, f"{study.seed} {name}")
    return sums


def of_pairs(study: Study, found: Iterable[Found]) -> dict[str, dict[str, Estimate]]:
    """For each arm but the first: the mean differences of its figures from those of the first, of the same input and repeat in both."""
    there = {each.cell: each for each in found if each.missing is None}
    first, *others = (arm.name for arm in study.arms)
    differences: dict[str, dict[str, Estimate]] = {}
    for arm in others:
        pairs = [
            (each, there[beside])
            for cell, each in there.items()
            if cell.arm == arm and (beside := evolve(cell, arm=first)) in there
        ]
        for name, figure in FIGURES.items():
            values = [
                (each.cell.input, mine - theirs)
                for each, base in pairs
                if (mine := figure(each)) is not None and (theirs := figure(base)) is not None
            ]
            if values:
                differences.setdefault(arm, {})[name] = mean(values, f"{study.seed} {name}")
    return differences


def wilson(hits: int, n: int) -> Estimate:
    """A share, with Wilson's interval."""
    share, square = hits / n, _Z * _Z
    middle = (share + square / (2 * n)) / (1 + square / n)
    half = _Z / (1 + square / n) * math.sqrt(share * (1 - share) / n + square / (4 * n * n))
    return Estimate(
        n, share, 0.0 if not hits else max(0.0, middle - half), 1.0 if hits == n else min(1.0, middle + half)
    )


def mean(values: Sequence[tuple[int, float]], seed: str) -> Estimate:
    """The mean of (group, value), with the interval of a bootstrap that draws whole groups; without one where there is one group only."""
    groups: defaultdict[int, list[float]] = defaultdict(list)
    for group, value in values:
        groups[group].append(value)
    whole = math.fsum(value for _, value in values) / len(values)
    if len(groups) == 1:
        return Estimate(len(values), whole)
    dice = random.Random(seed)  # noqa: S311 - repeatable on purpose
    sums = [(math.fsum(group), len(group)) for _, group in sorted(groups.items())]
    means: list[float] = []
    for _ in range(_DRAWS):
        drawn = dice.choices(sums, k=len(sums))
        means.append(math.fsum(total for total, _ in drawn) / sum(count for _, count in drawn))
    means.sort()
    return Estimate(len(values), whole, means[int(_TAIL * _DRAWS)], means[int((1 - _TAIL) * _DRAWS) - 1])
