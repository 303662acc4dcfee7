"""From settings to integers: a node's limits, what it keeps back for grace, and the marks at which it warns.

Caps are shared by all nodes of the same settings; a node gets its own only when a limit of its changes.
"""

from __future__ import annotations

import math
from decimal import Decimal
from functools import lru_cache
from typing import TYPE_CHECKING, Final

from attrs import frozen

from organism.budget.claims import CALLS, COST, VECTOR, Vector
from organism.usage import pico, usd

if TYPE_CHECKING:
    from organism.settings import Grace, Limits, Policy

NO_LIMIT: Final = 1 << 80
"""Stands for "no limit" in vectors: larger than any sum of amounts."""


@frozen
class Mark:
    """A level of one unit: reached when ``used >= at``. ``threshold`` is the share or figure as it was written."""

    at: int
    level: str
    threshold: Decimal


@frozen(kw_only=True)
class Caps:
    """The integers of one node's settings. ``marks`` are ascending for each unit; ``time_marks`` are in seconds."""

    limit: Vector
    working: Vector
    marks: tuple[tuple[Mark, ...], ...]
    runway: Decimal
    seconds: float | None
    time_marks: tuple[tuple[float, str, Decimal], ...]
    depth: int | None


def level_names(count: int) -> tuple[str, ...]:
    """The names of ``count`` ascending levels: the last is final, the first warning, those between critical (R15)."""
    if count == 0:
        return ()
    if count == 1:
        return ("final",)
    return ("warning", *("critical",) * (count - 2), "final")


def caps(limits: Limits, policy: Policy, *, keeps_back: bool) -> Caps:
    """The caps of a node. ``keeps_back``: whether it keeps something back for grace (threads do, the organism does not)."""
    return _caps(limits, policy.grace if keeps_back else None, tuple(sorted(policy.warn_at.items())), policy.runway)


@lru_cache(maxsize=1024)
def _caps(
    limits: Limits, grace: Grace | None, warn_at: tuple[tuple[str, tuple[Decimal, ...]], ...], runway: Decimal
) -> Caps:
    limit = tuple(_limit(limits, unit) for unit in VECTOR)
    working = tuple(cap - _kept(unit, cap, grace) for unit, cap in enumerate(limit))
    levels = dict(warn_at)
    return Caps(
        limit=limit,  # type: ignore[arg-type]
        working=working,  # type: ignore[arg-type]
        marks=tuple(_marks(unit, working[unit], levels.get(name, ())) for unit, name in enumerate(VECTOR)),
        runway=runway,
        seconds=limits.seconds,
        time_marks=_time_marks(limits.seconds, levels.get("seconds", ())),
        depth=limits.depth,
    )


def _limit(limits: Limits, unit: str) -> int:
    value = getattr(limits, unit)
    if value is None:
        return NO_LIMIT
    # A limit finer than the inner unit is rounded down: it may be met early, never late.
    return int(value * 10**12) if unit == "cost_usd" else int(value)


def _kept(unit: int, limit: int, grace: Grace | None) -> int:
    if grace is None or limit >= NO_LIMIT:
        return 0
    if unit == CALLS:
        return min(grace.model_calls, limit) if limit > 1 else 0
    if unit == COST:
        return int(limit * grace.share)
    if unit < COST:
        return min(int(limit * grace.share), grace.tokens)
    return 0


def _marks(unit: int, working: int, levels: tuple[Decimal, ...]) -> tuple[Mark, ...]:
    ascending = sorted({_figure(unit, level, working): level for level in sorted(levels)}.items())
    if working <= 0:
        return ()
    kept = [(at, level) for at, level in ascending if at <= working]
    names = level_names(len(kept))
    return tuple(Mark(at, name, level) for (at, level), name in zip(kept, names, strict=True))


def _figure(unit: int, level: Decimal, working: int) -> int:
    """The least integer amount at which ``level`` is reached."""
    if level >= 1:
        return pico(level) if unit == COST else math.ceil(level)
    return NO_LIMIT * 2 if working >= NO_LIMIT else math.ceil(level * working)


def _time_marks(seconds: float | None, levels: tuple[Decimal, ...]) -> tuple[tuple[float, str, Decimal], ...]:
    if not seconds:
        return ()
    times = sorted({float(level) if level >= 1 else float(level) * seconds: level for level in levels}.items())
    kept = [(at, level) for at, level in times if at < seconds]
    return tuple((at, name, level) for (at, level), name in zip(kept, level_names(len(kept)), strict=True))


def figure(unit: int, amount: int) -> int | Decimal:
    """An inner amount as users read it: USD for money, itself otherwise."""
    return usd(amount) if unit == COST else amount
