"""A time of day that tests set, beside the virtual clock that they wait by."""

from __future__ import annotations

import re
import time
from datetime import datetime, timedelta, tzinfo
from functools import cache
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Final

from attrs import define

import organism
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


class _Noon(datetime):
    """Stands for the class ``datetime`` where the time of day is read by it."""

    shift = 0.0

    @classmethod
    def now(cls, tz: tzinfo | None = None) -> datetime:  # type: ignore[override]
        """The time of day."""
        return datetime.now(tz) + timedelta(seconds=cls.shift)


def let_it_be_noon(patch: pytest.MonkeyPatch, begins: float = NOON) -> None:
    """Organisms and commands in this process have another time of day from now on, which goes on as ever: where it begins at a noon, no window of a
    day or a month ends between two commands of a test.
    """
    shift = begins - time.time()
    clock = SimpleNamespace(**{**vars(time), "time": lambda: time.time() + shift})
    stand_ins = {"time": clock, "datetime": type("Noon", (_Noon,), {"shift": shift})}
    for module, name in _reads():
        patch.setattr(f"{module}.{name}", stand_ins[name])


@cache
def _reads() -> frozenset[tuple[str, str]]:
    """The modules that read the time of day, each with what it reads it by."""
    package, found = Path(organism.__file__).parent, set[tuple[str, str]]()
    for path in package.rglob("*.py"):
        module = ".".join(["organism", *path.relative_to(package).with_suffix("").parts])
        found |= {
            (module, name) for name in re.findall(r"\b(time(?=\.time\b)|datetime(?=\.now\b))", path.read_text("utf-8"))
        }
    return frozenset(found)


def ascending(facts: Sequence[Fact]) -> bool:
    """Whether no fact says that it was before the one that was recorded before it."""
    return all(earlier.at <= later.at for earlier, later in pairwise(facts))
