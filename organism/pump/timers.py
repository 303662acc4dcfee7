"""Timers on one heap. Pure: the instant is an argument, and one task of the pump sleeps until the next timer is due."""

from __future__ import annotations

import heapq
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


class Timer:
    """Something that is due at an instant. ``call`` is ``None`` once it was called or cancelled."""

    __slots__ = ("call",)

    def __init__(self, call: Callable[[], None]) -> None:
        self.call: Callable[[], None] | None = call


class Timers:
    """All timers of a pump. ``moved`` is called when the nearest of them has come nearer."""

    def __init__(self, moved: Callable[[], None]) -> None:
        self._heap: list[tuple[float, int, Timer]] = []
        """(instant, number, timer): timers of one instant come in the order in which they were added."""
        self._moved = moved
        self._count = 0
        self._stale = 0

    def __len__(self) -> int:
        return len(self._heap) - self._stale

    def add(self, at: float, call: Callable[[], None]) -> Timer:
        """Calls ``call`` at ``at``; returns what :meth:`cancel` takes."""
        timer = Timer(call)
        self._count += 1
        heapq.heappush(self._heap, (at, self._count, timer))
        if self._heap[0][2] is timer:
            self._moved()
        return timer

    def cancel(self, timer: Timer) -> None:
        """Forgets a timer. Cancelled ones leave the heap when they come up, or when they are half of it."""
        if timer.call is None:
            return
        timer.call = None
        self._stale += 1
        if self._stale > 64 and self._stale * 2 > len(self._heap):
            self._heap = [each for each in self._heap if each[2].call is not None]
            heapq.heapify(self._heap)
            self._stale = 0

    def next(self) -> float | None:
        """The instant at which the nearest timer is due; ``None`` where there is none."""
        while self._heap and self._heap[0][2].call is None:
            heapq.heappop(self._heap)
            self._stale -= 1
        return self._heap[0][0] if self._heap else None

    def due(self, now: float) -> Iterator[Callable[[], None]]:
        """Takes out what is due, in order, one at a time, so that a call may cancel later ones."""
        while (at := self.next()) is not None and at <= now:
            _, _, timer = heapq.heappop(self._heap)
            call, timer.call = timer.call, None
            if call is not None:
                yield call
