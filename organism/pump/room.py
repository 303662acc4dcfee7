"""Senders from outside who wait while the queue is full: the first who came is the first let in."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

import anyio

if TYPE_CHECKING:
    from organism.threads.scheduling import Schedule


class Room:
    """The line before the queue of ``schedule``, which holds so many messages at ``most``."""

    def __init__(self, schedule: Schedule, most: int) -> None:
        self._schedule = schedule
        self._most = most
        self.line: deque[anyio.Event] = deque()
        """Those who wait."""
        self._let_in = 0
        """Those who were told to come and have not put in their message yet."""
        self._closed = False

    @property
    def is_full(self) -> bool:
        """Whether whoever comes now has to wait."""
        return bool(self.line) or not self.is_there

    @property
    def is_there(self) -> bool:
        """Whether there is room for one more, whoever it is for."""
        return self._schedule.queued + self._let_in < self._most

    async def enter(self) -> None:
        """Waits until there is room, behind those who wait already; or until it is closed."""
        if self._closed or not self.is_full:
            return
        event = anyio.Event()
        self.line.append(event)
        try:
            await event.wait()
        finally:
            if event.is_set():
                self._let_in -= 1
            else:
                self.line.remove(event)

    def let_in(self) -> None:
        """There may be room again: as many are let in as there is room for."""
        while self.line and self.is_there:
            self._let_first_in()

    def close(self) -> None:
        """There will be no room any more: all are let in, also whoever comes now, to hear so."""
        self._closed = True
        while self.line:
            self._let_first_in()

    def _let_first_in(self) -> None:
        self._let_in += 1
        self.line.popleft().set()
