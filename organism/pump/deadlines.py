"""When threads hear of their time: the timers of those that have a limit of seconds, and the one task that sleeps until the next."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

import anyio

from organism.frames import descendants
from organism.pump.timers import Timer, Timers

if TYPE_CHECKING:
    from collections.abc import Callable

    from organism.frames import Thread
    from organism.kernel import Kernel

LAST_SECONDS: Final = 10.0
"""How long the last delivery of a thread may take whose time has run out (R17)."""


class Deadlines:
    """Watches the time of threads. ``carry_out`` is called when something has become due; ``timers`` takes others' as well."""

    def __init__(self, kernel: Kernel, now: Callable[[], float], carry_out: Callable[[], None]) -> None:
        self.timers = Timers(self._moved)
        self._kernel = kernel
        self._now = now
        self._carry_out = carry_out
        self._of_threads: dict[Thread, Timer] = {}
        self._alarm: anyio.Event | None = None

    def __len__(self) -> int:
        return len(self._of_threads)

    def watch(self, thread: Thread) -> None:
        """Sees that a thread with a limit of seconds hears of its levels and of its end; of one that is at its end, that it is
        stopped if its last delivery takes too long. Watching again is as good as once.
        """
        self.forget(thread)
        if thread.ended or thread.paused_at is not None:
            return
        if thread.closing:
            if thread.exhausted is not None and thread.exhausted.unit == "seconds":
                self._watch_last(thread)
            return
        at = self._kernel.times.due(thread)
        if at is not None:
            self._of_threads[thread] = self.timers.add(at, lambda: self._reached(thread))

    def forget(self, thread: Thread) -> None:
        """Watches a thread no more."""
        timer = self._of_threads.pop(thread, None)
        if timer is not None:
            self.timers.cancel(timer)

    def stand_still(self, root: Thread) -> None:
        """A root thread was paused: neither it nor what is below it hears of time."""
        for thread in descendants(root):
            self.forget(thread)

    def watch_ceiling(self) -> None:
        """Sees that all threads hear of the organism's own time."""
        at = self._kernel.times.ceiling_due()
        if at is not None:
            self.timers.add(at, self._ceiling_reached)

    async def keep(self) -> None:
        """Calls what is due, for as long as it is not cancelled."""
        while True:
            for call in self.timers.due(self._now()):
                call()
            at = self.timers.next()
            self._alarm = anyio.Event()
            with anyio.move_on_after(math.inf if at is None else max(0.0, at - self._now())):
                await self._alarm.wait()
            self._alarm = None

    def _reached(self, thread: Thread) -> None:
        self._of_threads.pop(thread, None)
        if thread.ended:
            return
        self._kernel.times.reach(thread, self._now())
        self.watch(thread)
        self._carry_out()

    def _watch_last(self, thread: Thread) -> None:
        stop_at = self._now() + LAST_SECONDS
        self._of_threads[thread] = self.timers.add(stop_at, lambda: self._last_seconds_over(thread))

    def _last_seconds_over(self, thread: Thread) -> None:
        self._of_threads.pop(thread, None)
        if not thread.ended and thread.exhausted is not None:
            self._kernel.ends.stop(thread, thread.exhausted, self._now())
            self._carry_out()

    def _ceiling_reached(self) -> None:
        now = self._now()
        threads = [thread for thread in self._kernel.state.threads.values() if thread.owner is None]
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
