"""Spans of time: as people say them, and how long is waited before another attempt."""

from __future__ import annotations

from typing import Final

_PLAIN: Final = 120
"""Up to so many seconds they are said as they are."""
_DOUBLINGS: Final = 60
"""Any wait has reached its longest by then; the power stays finite."""
_UNITS: Final = ((86400, "day"), (3600, "h"), (60, "min"), (1, "s"))


def duration(seconds: float, form: str = "g") -> str:
    """``0.5 s``, ``90 s``, ``5 min``, ``1 h 30 min``, ``30 days``: the two largest units. ``form`` is how few seconds are written."""
    if not _PLAIN < seconds < float("inf"):
        return f"{seconds:{form}} s"
    left, said = round(seconds), list[str]()
    for size, unit in _UNITS:
        count, left = divmod(left, size)
        if count:
            said.append(f"{count:,} {unit}{'s' if unit == 'day' and count > 1 else ''}")
        if said and (len(said) == 2 or not count):
            break  # what is smaller than the unit below the largest says nothing any more
    return " ".join(said)


def backoff(first: float, longest: float, *, failures: int) -> float:
    """Seconds to wait after so many ``failures`` in a row, from 1: ``first``, and twice as long each time, up to ``longest``."""
    return min(longest, first * 2.0 ** min(failures - 1, _DOUBLINGS))
