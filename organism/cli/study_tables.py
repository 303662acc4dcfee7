"""A study for people: what is to be run, sums by arm, and differences between arms."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from organism.cli.tables import amount_text, table
from organism.cli.text import one_line
from organism.lab import of_arms, of_pairs
from organism.lab.figures import OUTCOMES
from organism.names import counted
from organism.settings import SPENT_UNITS, Limits

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from organism.lab import Cell, Estimate, Found, Study

_NONE: Final = "-"
_WIDEST: Final = 100
"""Columns of a terminal that a table takes at most, where it has more than one arm."""
_LEVEL: Final = "level "
_LEVELS: Final = ("warning", "critical", "final", "runway")
_MEANS: Final = {
    "tokens": "tokens", "calls": "calls", "cost_usd": "cost USD", "tokens_left": "tokens left", "seconds": "seconds",
}  # fmt: skip
_INTERVALS: Final = "in brackets: intervals of 95 %, Wilson's for shares, and for means a bootstrap that draws inputs ({} of them, seed {})"


def plan(study: Study, there: Mapping[Cell, Found]) -> Iterator[str]:
    """What a study runs, in which order, and what that costs at most."""
    done = sum(each.missing is None for each in there.values())
    every, warm_ups = len(study.cells), len(study.warm_ups)
    at_once = f", {study.concurrency} at the same time" if study.concurrency > 1 else ""
    how = {"interleaved": "arms interleaved", "blocked": "one arm after the other"}[study.order]
    yield (
        f"study {study.name}: {counted(len(study.arms), 'arm')} x {counted(len(study.inputs), 'input')} x "
        f"{counted(study.repeats, 'repeat')} = {counted(every, 'thread')}{at_once}, {how} in an order drawn from seed {study.seed}; "
        f"{done} of them are done; {counted(warm_ups, 'thread')} before to warm up"
    )
    for arm in study.arms:
        sets = ", ".join(f"{key}={value}" for key, value in arm.sets.items())
        yield one_line(f"arm {arm.name}: {sets or 'as the organism file says'}")
    known = [(unit, most) for unit in SPENT_UNITS if (most := study.most(unit)) is not None]
    granted = (
        ", with all that may be granted" if known and any(arm.settings.budget.grants_by for arm in study.arms) else ""
    )
    yield f"at most: {', '.join(f'{amount_text(unit, most)} {unit}' for unit, most in known) or 'nothing is limited'}{granted}"
    limits = [(unit, limit) for unit in SPENT_UNITS if (limit := getattr(study.ceiling, unit)) is not None]
    if limits:
        yield "ceiling: " + ", ".join(f"{amount_text(unit, limit)} {unit}" for unit, limit in limits)
    if any(arm.settings.ceiling.limits != Limits() for arm in study.arms):
        yield f"note: the 'ceiling' in {one_line(study.organism.name)} counts for each thread by itself here; that of the study counts all of them"
    yield f"kept in: {one_line(str(study.folder))}"


def figures(study: Study, results: Sequence[Found]) -> Iterator[str]:
    """Sums by arm, a column for each, and below them the differences of each from the first."""
    sums, differences = of_arms(study, results), of_pairs(study, results)
    if not sums:
        yield "no thread has a result"
        return
    planned = len(study.inputs) * study.repeats
    names = [arm.name for arm in study.arms]
    outcomes = [each for each in OUTCOMES if _any(sums, each)]
    levels = [_LEVEL + each for each in _LEVELS if _any(sums, _LEVEL + each)]
    means = [name for name in _MEANS if _any(sums, name)]
    columns = [("threads", "missing", *outcomes, "answered", *map(_reached, levels), *map(_MEANS.__getitem__, means))]
    for arm in names:
        of = sums.get(arm, {})
        n = of["completed"].n if of else 0
        shares = [_share(of.get(name)) for name in (*outcomes, "answered", *levels)]
        columns.append((str(n), str(planned - n), *shares, *(_mean(name, of.get(name)) for name in means)))
    yield from _blocks(columns, ("arm", *names))
    if differences:
        yield ""
        columns = [("pairs", "completed", "answered", *map(_MEANS.__getitem__, means))]
        for of in differences.values():
            of_means = [_mean(name, of.get(name), sign="+") for name in means]
            columns.append((str(of["answered"].n), _points(of["completed"]), _points(of["answered"]), *of_means))
        yield from _blocks(columns, (f"less {names[0]}", *differences))
    yield ""
    yield _INTERVALS.format(len(study.inputs), study.seed)


def _any(sums: Mapping[str, Mapping[str, Estimate]], name: str) -> bool:
    """Whether an arm has anything of a figure but zeros."""
    return any(name in of and of[name].value for of in sums.values())


def _reached(level: str) -> str:
    return f"reached {level.removeprefix(_LEVEL)}"


def _blocks(columns: Sequence[Sequence[str]], heads: Sequence[str]) -> Iterator[str]:
    """Columns below their heads; in several tables, each with the first column, where one would be too wide."""
    first, *others = [(head, *column) for head, column in zip(heads, columns, strict=True)]
    widths = [max(map(len, column)) + 2 for column in others]
    begin = 0
    while begin < len(others):
        end, width = begin + 1, max(map(len, first)) + widths[begin]
        while end < len(others) and width + widths[end] <= _WIDEST:
            width += widths[end]
            end += 1
        if begin:
            yield ""
        yield from table(list(zip(first, *others[begin:end], strict=True)), right=range(1, end - begin + 1))
        begin = end


def _share(share: Estimate | None) -> str:
    return _NONE if share is None else _with_interval(share, lambda value: f"{100 * value:.0f}", unit="%")


def _points(difference: Estimate) -> str:
    """A difference of shares, in points of percent."""
    return _with_interval(difference, lambda value: f"{100 * value:+.0f}", unit=" pp")


def _mean(name: str, mean: Estimate | None, *, sign: str = "") -> str:
    if mean is None:
        return _NONE
    form = {"cost_usd": f"{sign}.4f", "seconds": f"{sign}.2f", "calls": f"{sign}.1f"}.get(name, f"{sign},.0f")
    return _with_interval(mean, lambda value: format(value, form))


def _with_interval(estimate: Estimate, say: Callable[[float], str], *, unit: str = "") -> str:
    value = say(estimate.value) + unit
    if estimate.low is None or estimate.high is None:
        return value
    return f"{value} ({say(estimate.low)} to {say(estimate.high)})"
