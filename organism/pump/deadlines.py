"""When threads hear of their time: the timers of those that have a limit of seconds, and the one task that sleeps until the next."""

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
"""How long the last delivery of a thread may take whose time has run out (R17)."""
LOOK: Final = 60.0
"""Seconds after which the time of day is looked at again, where nothing happens until the next timer: the machine may sleep meanwhile."""
PARTS: Final = 60
"""Of a wait that is longer than so many looks, the part after which that is done: what is due in a month need not be known by the minute."""


class Deadlines:
    """Watches the time of threads. ``carry_out`` is called when something has become due; ``timers`` takes others' as well.

    Threads with the same limits become due in the order in which they were opened: they stand in line, and one timer is enough
    for the first of them. Those that become due before the last in line have timers of their own.
    """

    def __init__(self, kernel: Kernel, clock: Clock, carry_out: Callable[[], None]) -> None:
        self.timers = Timers(self._moved)
        self._kernel = kernel
        self._now, self._look = clock.now, clock.look
        self._carry_out = carry_out
        self._line: dict[Thread, float] = {}
        """When each becomes due; the first is the nearest."""
        self._latest = 0.0
        """When the last in line does."""
        self._first: Timer | None = None
        """Comes when the first in line is due, or one that has left the line was; there is none where nobody stands there."""
        self._of_threads: dict[Thread, Timer] = {}
        self._last: dict[Thread, float] = {}
        """When the last delivery is stopped of each whose time has run out."""
        self._roll: tuple[float, Timer] | None = None
        """Comes when a window is over, since the last call that had to wait."""
        self._alarm: anyio.Event | None = None

    def __len__(self) -> int:
        return len(self._line) + len(self._of_threads)

    def watch(self, thread: Thread) -> None:
        """Sees that a thread with a limit of seconds hears of its levels and of its end; of one that is at its end, that it is
        stopped if its last delivery takes too long. Watching again is as good as once.
        """
        self.forget(thread)
        at = self._kernel.times.due(thread)
        if at is not None:
            self._stand(thread, at)
        elif not thread.ended and thread.paused_at is None and _hands_in(thread):
            self._watch_last(thread)

    def left(self, thread: Thread, at: float) -> float | None:
        """The seconds that the last delivery of a thread still has whose time has run out; ``None``: nothing stops it."""
        until = self._last.get(thread)
        return None if until is None else until - at

    def forget(self, thread: Thread) -> None:
        """Watches a thread no more."""
        self._last.pop(thread, None)
        if self._line.pop(thread, None) is not None:
            if not self._line and self._first is not None:
                self.timers.cancel(self._first)
                self._first = None
            return
        timer = self._of_threads.pop(thread, None)
        if timer is not None:
            self.timers.cancel(timer)

    def _stand(self, thread: Thread, at: float) -> None:
        """It becomes due at this instant, and stands in line where nobody there does later."""
        if self._line and at < self._latest:
            self._of_threads[thread] = self.timers.add(at, partial(self._reached, thread))
            return
        self._line[thread] = self._latest = at
        if self._first is None:
            self._first = self.timers.add(at, self._first_due)

    def _first_due(self) -> None:
        """Tells those in line that are due, and sees that the next ones will be told."""
        while self._line:
            thread, at = next(iter(self._line.items()))
            if at > self._now():
                if self._first is not None:  # it has come, or was made for one behind that which is the first now
                    self.timers.cancel(self._first)
                self._first = self.timers.add(at, self._first_due)
                return
            self._reached(thread)

    def stand_still(self, root: Thread) -> None:
        """A root thread was paused: neither it nor what is below it hears of time."""
        for thread in descendants(root):
            self.forget(thread)

    def watch_ceiling(self) -> None:
        """Sees that all threads hear of the organism's own time."""
        at = self._kernel.times.ceiling_due()
        if at is not None:
            self.timers.add(at, self._ceiling_reached)

    def watch_windows(self) -> None:
        """Sees that calls that wait are tried as soon as a window is over: what others hold from it is no hindrance any more."""
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
        """The clock has leapt: what comes next comes sooner."""
        self._carry_out()
        self._moved()

    async def keep(self) -> None:
        """Calls what is due, for as long as it is not cancelled."""
        while True:
            for call in self.timers.due(self._look()):
                call()
            at = self.timers.next()
            wait = math.inf if at is None else max(0.0, at - self._now())
            self._alarm = anyio.Event()
            with anyio.move_on_after(min(wait, max(LOOK, wait / PARTS))):
                await self._alarm.wait()
            self._alarm = None

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
    """Whether a thread's time has run out, and its last answer is waited for."""
    return thread.closing and thread.exhausted is not None and thread.exhausted.unit == "seconds"
