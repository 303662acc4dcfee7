"""The organism's clock: instants that never go back, and that follow the time of day where it runs ahead."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

log: Final = logging.getLogger("organism.clock")
EVERY: Final = 1.0
"""Seconds between two looks at the time of day: a look takes longer than all else that a reading does."""
LEAST: Final = 1.0
"""Seconds by which the time of day has to be ahead. Clocks are always being set by less, and each leap is written down in every thread."""


MOST: Final = 26 * 3600.0
"""Seconds that a journal may be ahead and is followed: no wrong time zone is further off. A clock that was wrong by days would carry all that
its thread meets along, into windows that do not end before the calendar has come there.
"""


def _nobody(_since: float, _at: float) -> None:
    pass


def _going_on(elapsed: Callable[[], float], offset: float) -> tuple[Callable[[], float], Callable[[float], None]]:
    """What reads a clock that goes on by another, and what shifts it. Every message reads it: it is no method, which takes half as long again."""

    def now() -> float:
        return offset + elapsed()

    def shift(seconds: float) -> None:
        nonlocal offset
        offset += seconds

    return now, shift


class Clock:
    """Instants in seconds since 1970. It begins with the time of day (``wall``), and goes on by ``elapsed``, the clock of the event loop.

    Where the time of day has run ahead of ``steady`` (a clock that is never set, and stands still while the machine sleeps), the
    machine slept or its clock was set forward: the next look leaps as far. Where it was set back, time goes on as it was: nothing
    happens before what has happened. What ``elapsed`` says makes no difference to that, since it may be a virtual one.

    ``now`` gives the instant, and never leaps by itself: between two readings in one change nothing but time passes. ``leapt`` is called
    with the instants before and after a leap.
    """

    def __init__(self, elapsed: Callable[[], float], *, wall: Callable[[], float], steady: Callable[[], float]) -> None:
        self._elapsed = elapsed
        self._wall = wall
        self._steady = steady
        self.now, self._shift = _going_on(elapsed, wall() - elapsed())
        self._ahead = wall() - steady()
        """How far the time of day is ahead of the steady clock where it is the organism's own."""
        self._look_at = elapsed() + EVERY
        self.leapt: Callable[[float, float], None] = _nobody

    def look(self) -> float:
        """The instant, behind the leap that is due. To be called where nothing is half done, by whoever is about to begin something."""
        elapsed = self._elapsed()
        if elapsed >= self._look_at:
            self._look_at = elapsed + EVERY
            ahead = self._wall() - self._steady() - self._ahead
            if ahead >= LEAST:
                log.info("the time of day is %.0f s ahead: the machine slept, or its clock was set", ahead)
                self._leap(ahead)
        return self.now()

    def catch_up(self, at: float) -> None:
        """Leaps to an instant that has been, where that is still to come: a process before this one found another time of day.

        One beyond :data:`MOST` stays where it is.
        """
        ahead = at - self.now()
        if ahead > MOST:
            log.error(
                "the journal is %.0f s ahead of the time of day, and is not followed: the clock was wrong then, or is now",
                ahead,
            )
        elif ahead > 0:
            if ahead >= LEAST:
                log.warning("the journal is %.0f s ahead of the time of day: time goes on from there", ahead)
            self._leap(ahead)

    def _leap(self, seconds: float) -> None:
        since = self.now()
        self._shift(seconds)
        self._ahead += seconds
        self.leapt(since, since + seconds)
