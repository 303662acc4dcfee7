"""A time of day that tests set, beside the virtual clock that they wait by."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Final

from attrs import define

from organism.pump import runtime

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pytest

    from organism.record.facts import Fact

HOUR: Final = 3600
NOON: Final = 1_793_188_800.0
"""2026-10-28, 12:00 UTC: a whole hour."""


@define
class TimeOfDay:
    """Stands for the module ``time`` where an organism reads it; it goes on with the event loop's clock. ``ahead`` is how far it was set, or
    how long the machine slept.
    """

    begins: float = NOON
    ahead: float = 0.0

    def time(self) -> float:
        """Seconds since 1970."""
        return self.begins + self.ahead + self.monotonic()

    def monotonic(self) -> float:
        """A clock that is never set, and stands still while the machine sleeps."""
        try:
            return runtime.clock()()
        except RuntimeError:  # outside of a loop
            return 0.0


def set_clock(patch: pytest.MonkeyPatch, begins: float = NOON) -> TimeOfDay:
    """Organisms that start from now on begin at this instant."""
    made = TimeOfDay(begins)
    patch.setattr("organism.organism.time", made)
    return made


def ascending(facts: Sequence[Fact]) -> bool:
    """Whether no fact says that it was before the one that was recorded before it."""
    return all(earlier.at <= later.at for earlier, later in pairwise(facts))
