"""From settings to integers: a node's limits, what it keeps back for grace, and the marks at which it warns.

Caps are shared by all nodes of the same settings; a node gets its own only when one of its limits changes. Shares are computed
as exact fractions, so that no limit depends on the decimal context, whose precision a handler may set.
"""

from __future__ import annotations

import math
from decimal import Decimal
from fractions import Fraction
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final, final

from attrs import evolve, frozen

from organism.budget.claims import CALLS, COST, VECTOR, Vector, six
from organism.usage import PICO_PER_USD, added, usd

if TYPE_CHECKING:
    from collections.abc import Sequence

    from organism.settings import Grace, Limits, Policy

NO_LIMIT: Final = 1 << 80
"""Stands for "no limit" in vectors: larger than any sum of amounts."""
FAR: Final = NO_LIMIT * 4
"""Stands for "no mark": larger than any limit."""


@frozen
class Mark:
    """A level of one unit: reached when ``used >= at`` (10^-12 USD for money). ``threshold`` is the share or figure as it was configured."""

    at: int
    level: str
    threshold: Decimal


@final
class Caps:
    """The integers of one node's settings, which nobody changes. Vectors are in the order of :data:`~organism.budget.claims.VECTOR`.

    ``limit`` is what may be spent at most, ``working`` the same less what is kept back for grace; :data:`NO_LIMIT` where there is
    none. ``limited`` has the indexes of the units that have a limit. ``marks`` are ascending for each unit; ``time_marks`` are
    (seconds, level, threshold). ``runway_ratio`` is ``runway`` as (numerator, denominator).
    """

    __slots__ = (
        "calm", "depth", "first_marks", "limit", "limited", "marks", "runway", "runway_ratio", "seconds", "time_marks", "working",
    )  # fmt: skip

    def __init__(
        self,
        *,
        limit: Vector,
        working: Vector,
        marks: tuple[tuple[Mark, ...], ...],
        runway: Decimal,
        seconds: float | None,
        time_marks: tuple[tuple[float, str, Decimal], ...],
        depth: int | None,
    ) -> None:
        self.limit = limit
        self.working = working
        self.limited = tuple(unit for unit, cap in enumerate(limit) if cap < NO_LIMIT)
        self.marks = marks
        self.first_marks = tuple(each[0].at if each else FAR for each in marks)
        """Where the first level of each unit is; :data:`FAR` where it has none."""
        self.calm = tuple(map(min, self.first_marks, working))
        """For each unit the smaller of its first level and its working limit: below this nothing fires and nothing is refused."""
        self.runway = runway
        self.runway_ratio = runway.as_integer_ratio()
        self.seconds = seconds
        self.time_marks = time_marks
        self.depth = depth


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
    limit = six([_limit(limits, unit) for unit in VECTOR])
    bare = [cap - _kept(unit, cap, grace) for unit, cap in enumerate(limit)]
    levels = dict(warn_at)
    return Caps(
        limit=limit,
        working=six([math.floor(cap) for cap in bare]),
        marks=tuple(_marks(unit, bare[unit], levels.get(name, ())) for unit, name in enumerate(VECTOR)),
        runway=runway,
        seconds=limits.seconds,
        time_marks=_time_marks(limits.seconds, levels.get("seconds", ())),
        depth=limits.depth,
    )


def _limit(limits: Limits, unit: str) -> int:
    value: int | Decimal | None = getattr(limits, unit)
    if value is None:
        return NO_LIMIT
    # A limit finer than 10^-12 USD is rounded down: it may be reached too early, but not too late.
    # A limit too large for the vectors still counts as a limit.
    return min(NO_LIMIT - 1, math.floor(Fraction(value) * PICO_PER_USD) if unit == "cost_usd" else int(value))


def raised(limits: Limits, more: Sequence[int]) -> Limits:
    """Limits that are higher by these inner amounts; a unit without a limit stays without one."""
    changes: dict[str, Any] = {}
    for unit, amount in enumerate(more):
        have: int | Decimal | None = getattr(limits, VECTOR[unit])
        if amount and have is not None:
            changes[VECTOR[unit]] = added(Decimal(have), usd(amount)) if unit == COST else int(have) + amount
    return evolve(limits, **changes)


def amounts_of(limits: Limits) -> Vector:
    """Limits as inner amounts, money rounded down; what is not limited is 0."""
    return six([0 if getattr(limits, unit) is None else _limit(limits, unit) for unit in VECTOR])


def _kept(unit: int, limit: int, grace: Grace | None) -> int | Fraction:
    """What is kept back for grace, exactly. A fraction of a token cannot be spent, but it counts where levels are computed."""
    if grace is None or limit >= NO_LIMIT:
        return 0
    if unit == CALLS:
        return min(grace.model_calls, limit) if limit > 1 else 0
    if unit > COST:
        return 0
    share = limit * Fraction(grace.share)
    return share if unit == COST else min(share, Fraction(grace.tokens))


def _marks(unit: int, working: int | Fraction, levels: tuple[Decimal, ...]) -> tuple[Mark, ...]:
    """The levels that use can reach before calls are refused; none for a unit without a limit, or with nothing to spend."""
    if working < 1 or working >= NO_LIMIT:
        return ()
    ascending = sorted((_reached_at(unit, level, working), level) for level in set(levels))
    within = [(at, level) for at, level in ascending if at <= working]
    names = level_names(len(within))
    return tuple(Mark(math.ceil(at), name, level) for (at, level), name in zip(within, names, strict=True))


def _reached_at(unit: int, level: Decimal, working: int | Fraction) -> Fraction:
    """The amount at which ``level`` is reached, exactly."""
    return Fraction(level) * working if level < 1 else figure_of(unit, level)


def figure_of(unit: int, level: Decimal) -> Fraction:
    """A level from 1 on as an inner amount, exactly."""
    return Fraction(level) * (PICO_PER_USD if unit == COST else 1)


def _time_marks(seconds: float | None, levels: tuple[Decimal, ...]) -> tuple[tuple[float, str, Decimal], ...]:
    if not seconds:
        return ()
    times = sorted((float(level) if level >= 1 else float(level) * seconds, level) for level in set(levels))
    within = [(at, level) for at, level in times if at < seconds]
    return tuple((at, name, level) for (at, level), name in zip(within, level_names(len(within)), strict=True))


def figure(unit: int, amount: int) -> int | Decimal:
    """An inner amount as users read it: USD for money, itself otherwise."""
    return usd(amount) if unit == COST else amount
