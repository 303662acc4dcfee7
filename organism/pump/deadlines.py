"""The timers of threads that have a limit of seconds, and the one task that sleeps until the next timer."""

from __future__ import annotations

import math
from functools import partial
from typing import TYPE_CHECKING, Final

import anyio

from organism.pump.timers import Timer, Timers
from organism.threads.lineage import descendants

if TYPE_CHECKING:
    from collections.abc import Callable

    from organism.kernel import Kernel
    from organism.pump.clock import Clock
    from organism.threads.frames import Thread

LAST_SECONDS: Final = 10.0
"""Seconds that the last delivery of a thread may take whose time has run out (R17)."""
LOOK: Final = 60.0
"""Seconds of sleep after which the time of day is looked at again, though no timer is due: the machine may have slept meanwhile."""
PARTS: Final = 60
"""Where the wait is longer than so many times :data:`LOOK`, the look comes after this part of it: what is due in a month need not be exact."""


class Deadlines:
    """Watches the running time of threads. ``carry_out`` is called when something has become due; ``timers`` takes other timers as well.

    Threads with the same limits become due in the order in which they were opened. They stand in one line, with one timer for the
    first of them. A thread that becomes due before the last in line has a timer of its own.
    """

    def __init__(self, kernel: Kernel, clock: Clock, carry_out: Callable[[], None]) -> None:
        self.timers = Timers(self._moved)
        self._kernel = kernel
        self._now, self._look = clock.now, clock.look
        self._carry_out = carry_out
        self._line: dict[Thread, float] = {}
        """The threads in line, and the instant at which each becomes due, in that order."""
        self._latest = 0.0
        """The instant at which the last in line becomes due."""
        self._first: Timer | None = None
        """The timer of the line. It may be too early, where the thread that it was set for has left; ``None`` while the line is empty."""
        self._of_threads: dict[Thread, Timer] = {}
        """The timers of threads that do not stand in line."""
        self._last: dict[Thread, float] = {}
        """For threads whose time has run out, the instant at which their last delivery is stopped; each has a timer of its own."""
        self._roll: tuple[float, Timer] | None = None
        """The timer for the end of a window, while calls wait for budget."""
        self._alarm: anyio.Event | None = None

    def __len__(self) -> int:
        return len(self._line) + len(self._of_threads)

    def watch(self, thread: Thread) -> None:
        """Sets the timer of a thread with a limit of seconds: for its next level or its end; where its time has run out, for the end of its last
        delivery. It may be called any number of times.
        """
        self.forget(thread)
        at = self._kernel.times.due(thread)
        if at is not None:
            self._stand(thread, at)
        elif not thread.ended and thread.paused_at is None and _hands_in(thread):
            self._watch_last(thread)

    def left(self, thread: Thread, at: float) -> float | None:
        """The seconds that are left for the last delivery of a thread whose time has run out; ``None``: no timer stops it."""
        until = self._last.get(thread)
        return None if until is None else until - at

    def forget(self, thread: Thread) -> None:
        """Watches a thread no more."""
        if self._line.pop(thread, None) is not None:
            if not self._line and self._first is not None:
                self.timers.cancel(self._first)
                self._first = None
            return
        timer = self._of_threads.pop(thread, None)
        if timer is not None:
            self.timers.cancel(timer)
            self._last.pop(thread, None)

    def _stand(self, thread: Thread, at: float) -> None:
        """Puts a thread in line that becomes due at this instant; it gets a timer of its own where others in line become due later."""
        if self._line and at < self._latest:
            self._of_threads[thread] = self.timers.add(at, partial(self._reached, thread))
            return
        self._line[thread] = self._latest = at
        if self._first is None:
            self._first = self.timers.add(at, self._first_due)

    def _first_due(self) -> None:
        """Handles all in line that are due, and sets the timer for the next."""
        while self._line:
            thread, at = next(iter(self._line.items()))
            if at > self._now():
                if self._first is not None:  # the timer that has come, or one that was set meanwhile
                    self.timers.cancel(self._first)
                self._first = self.timers.add(at, self._first_due)
                return
            self._reached(thread)

    def stand_still(self, root: Thread) -> None:
        """A root thread was paused: time stands still for it and for all below it."""
        for thread in descendants(root):
            self.forget(thread)

    def watch_ceiling(self) -> None:
        """Sets the timer of the organism's own limit of seconds (``ceiling``)."""
        at = self._kernel.times.ceiling_due()
        if at is not None:
            self.timers.add(at, self._ceiling_reached)

    def watch_windows(self) -> None:
        """Sets a timer for the next end of a window, so that calls in line are tried then: holds of the old window do not count any more."""
        at = self._kernel.state.pools.rolls_at
        if at == math.inf or (self._roll is not None and self._roll[0] <= at):
            return
        if self._roll is not None:
            self.timers.cancel(self._roll[1])
        self._roll = at, self.timers.add(at, self._rolled)

    def _rolled(self) -> None:
        self._roll = None
        self._kernel.calls.come_to(self._now())
        if self._kernel.state.line:
            self.watch_windows()
        self._carry_out()

    def leap(self) -> None:
        """The clock has leapt: the next timer is nearer than the sleeping task knows."""
        self._carry_out()
        self._moved()

    async def keep(self) -> None:
        """Runs timers until it is cancelled."""
        while True:
            for call in self.timers.due(self._look()):
                call()
            at = self.timers.next()
            wait = math.inf if at is None else max(0.0, at - self._now())
            self._alarm = anyio.Event()
            with anyio.move_on_after(min(wait, max(LOOK, wait / PARTS))):
                await self._alarm.wait()

    def _reached(self, thread: Thread) -> None:
        self.forget(thread)
        if thread.ended:
            return
        self._kernel.times.reach(thread, self._now())
        self.watch(thread)
        self._carry_out()

    def _watch_last(self, thread: Thread) -> None:
        stop_at = self._last[thread] = self._now() + LAST_SECONDS
        self._of_threads[thread] = self.timers.add(stop_at, partial(self._last_seconds_over, thread))

    def _last_seconds_over(self, thread: Thread) -> None:
        self.forget(thread)
        if not thread.ended and thread.exhausted is not None:
            self._kernel.ends.stop(thread, thread.exhausted, self._now())
            self._carry_out()

    def _ceiling_reached(self) -> None:
        now = self._now()
        threads = self._kernel.state.roots
        self._kernel.times.reach_ceiling(now)
        if self._kernel.times.refusal(now) is None:
            self.watch_ceiling()
        for thread in threads:
            if thread.closing and not thread.ended:
                self.watch(thread)
        self._carry_out()

    def _moved(self) -> None:
        if self._alarm is not None:
            self._alarm.set()


def _hands_in(thread: Thread) -> bool:
    """Whether a thread's time has run out, and its last delivery is waited for."""
    return thread.closing and thread.exhausted is not None and thread.exhausted.unit == "seconds"
