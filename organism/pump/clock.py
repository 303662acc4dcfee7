"""The organism's clock: instants that never go back, and that leap forward with the time of day (after sleep, or when it is set)."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

log: Final = logging.getLogger("organism.clock")
EVERY: Final = 1.0
"""Seconds between two looks at the time of day, which is slow to read."""
LEAST: Final = 1.0
"""Seconds by which the time of day must be ahead to be followed. Smaller corrections are frequent, and each leap is recorded in every thread."""


MOST: Final = 26 * 3600.0
"""Seconds by which a journal may be ahead and still be followed: no wrong time zone is further off. Following a clock that was wrong by days
would move shared limits into windows that do not end until the calendar gets there.
"""


def _nobody(_since: float, _at: float) -> None:
    pass


def _going_on(elapsed: Callable[[], float], offset: float) -> tuple[Callable[[], float], Callable[[float], None]]:
    """A function that reads a clock (``elapsed`` plus an offset), and one that shifts it. Closures, since every message reads the clock, and a method
    takes half as long again.
    """

    def now() -> float:
        return offset + elapsed()

    def shift(seconds: float) -> None:
        nonlocal offset
        offset += seconds

    return now, shift


class Clock:
    """Instants in seconds since 1970. The clock begins with the time of day (``wall``), and goes on by ``elapsed``, the clock of the event loop.

    Where the time of day has run ahead of ``steady`` (a clock that is never set, and stands still while the machine sleeps), the
    machine slept or its clock was set forward: the next :meth:`look` leaps by the same. Where it was set back, nothing happens, so that
    instants never go back. ``elapsed`` is not compared with them: it may be a virtual clock.

    ``now()`` gives the instant. It does not leap, so that within one change only real time passes. ``leapt`` is called with the instants
    before and after a leap.
    """

    def __init__(self, elapsed: Callable[[], float], *, wall: Callable[[], float], steady: Callable[[], float]) -> None:
        self._elapsed = elapsed
        self._wall = wall
        self._steady = steady
        self.now, self._shift = _going_on(elapsed, wall() - elapsed())
        self._ahead = wall() - steady()
        """The difference between ``wall`` and ``steady`` that has been followed so far."""
        self._look_at = elapsed() + EVERY
        self._told_far = False
        self.leapt: Callable[[float, float], None] = _nobody

    def look(self) -> float:
        """The instant, after a leap where one is due. To be called only between two changes, by whoever is about to begin something."""
        elapsed = self._elapsed()
        if elapsed >= self._look_at:
            self._look_at = elapsed + EVERY
            ahead = self._wall() - self._steady() - self._ahead
            if ahead >= LEAST:
                log.info("the time of day is %.0f s ahead: the machine slept, or its clock was set", ahead)
                self._leap(ahead)
        return self.now()

    def catch_up(self, *instants: float) -> None:
        """Leaps to the latest of these instants of the journal, where it lies in the future: the clock of an earlier process was ahead. One that
        is ahead of the time of day by more than :data:`MOST` is not followed; that is said once.
        """
        wall, now = self._wall(), self.now()
        # By the time of day: `now` may have followed another instant already, and one after the other they would lead anywhere.
        far = max(instants, default=0.0) - wall
        if far > MOST and not self._told_far:
            self._told_far = True
            log.error(
                "the journal is %.0f s ahead of the time of day, and is not followed: the clock was wrong then, or is now",
                far,
            )
        at = max((each for each in instants if each - wall <= MOST), default=now)
        if at > now:
            if at - wall >= LEAST:
                log.warning("the journal is %.0f s ahead of the time of day: time goes on from there", at - wall)
            self._leap(at - now)

    def _leap(self, seconds: float) -> None:
        since = self.now()
        self._shift(seconds)
        self._ahead += seconds
        self.leapt(since, since + seconds)
