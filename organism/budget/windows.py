"""The windows that shared limits count over: calendar hours, days and months in UTC, which cover time without gaps.

Pure: the instant is an argument. What was spent in a window is known from a ledger of whole hours, and every window begins
and ends with an hour.
"""

from __future__ import annotations

import math
from calendar import monthrange
from datetime import date
from typing import TYPE_CHECKING, Final

from attrs import frozen

from organism.budget.claims import NOTHING, Vector
from organism.settings import WindowKind
from organism.usage import Raised

if TYPE_CHECKING:
    from collections.abc import Iterable

    from organism.usage import Spending

HOUR: Final = 3600
_DAY: Final = 24 * HOUR
_EPOCH: Final = date(1970, 1, 1).toordinal()


@frozen
class Window:
    """The instants from ``begins`` (inclusive) to ``ends`` (exclusive), in seconds since 1970, UTC; ``-inf`` and ``inf`` where it is open."""

    kind: WindowKind
    begins: float
    ends: float

    def __contains__(self, at: float) -> bool:
        return self.begins <= at < self.ends


@frozen
class Used:
    """What was spent in a window: ``amounts`` as :data:`~organism.budget.claims.VECTOR` has them, ``details`` cache reads,
    cache writes and reasoning, ``estimated`` whether some of it is an estimate, ``unpriced`` whether nobody knew the price of some of it.
    """

    amounts: Vector = NOTHING
    details: tuple[int, int, int] = (0, 0, 0)
    estimated: bool = False
    unpriced: bool = False


def window_of(kind: WindowKind, at: float) -> Window:
    """The window of this kind that ``at`` (seconds since 1970, UTC) lies in. ``run`` and ``total`` contain every instant.

    Raises ValueError or OverflowError for an instant that no calendar has (``nan``, ``inf``, a month after the year 9999).
    """
    match kind:
        case "run" | "total":
            return Window(kind, -math.inf, math.inf)
        case "hour" | "day":
            length = HOUR if kind == "hour" else _DAY
            # Whole seconds first: dividing the float itself may round up into the next window.
            begins = math.floor(at) // length * length
            return Window(kind, begins, begins + length)
        case "month":
            day = date.fromordinal(_EPOCH + math.floor(at) // _DAY)
            begins = (day.toordinal() - _EPOCH - day.day + 1) * _DAY
            return Window(kind, begins, begins + monthrange(day.year, day.month)[1] * _DAY)


def used_in(window: Window, spendings: Iterable[Spending]) -> Used:
    """What a ledger says was spent in a window.

    For ``run`` that is nothing: it counts this process alone, and the ledger that a process begins with was written by others.
    """
    if window.kind == "run":
        return Used()
    rows = [each for each in spendings if each.hour * HOUR in window]
    if not rows:
        return Used()
    tokens, given, output, cost, calls, messages = map(sum, zip(*(row.amounts for row in rows), strict=True))
    reads, writes, reasoning = map(sum, zip(*(row.details for row in rows), strict=True))
    return Used(
        (tokens, given, output, cost, calls, messages),
        (reads, writes, reasoning),
        any(row.estimated for row in rows),
        any(row.unpriced for row in rows),
    )


def raised_in(window: Window, node: str, spendings: Iterable[Spending]) -> Vector:
    """By how much a ledger says that the limits of a node were raised in a window. For ``run`` that is nothing, as in :func:`used_in`."""
    if window.kind == "run":
        return NOTHING
    told = [
        row.tells.amounts
        for row in spendings
        if isinstance(row.tells, Raised) and row.tells.node == node and row.hour * HOUR in window
    ]
    return tuple(map(sum, zip(NOTHING, *told, strict=True)))
