"""Back-pressure on senders from outside: they wait while the queue is full, and are let in first come, first served."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

import anyio

if TYPE_CHECKING:
    from organism.threads.scheduling import Schedule


class Admission:
    """The line of senders before the ready queue of ``schedule``, which takes so many messages at ``most`` (``queue``)."""

    def __init__(self, schedule: Schedule, most: int) -> None:
        self._schedule = schedule
        self._most = most
        self.line: deque[anyio.Event] = deque()
        """The events of those who wait."""
        self._let_in = 0
        """How many were let in and have not put in their message yet."""
        self._closed = False

    @property
    def is_full(self) -> bool:
        """Whether a sender that comes now has to wait."""
        return bool(self.line) or not self.has_room

    @property
    def has_room(self) -> bool:
        """Whether there is room for one more message, whoever may stand in line for it."""
        return self._schedule.queued + self._let_in < self._most

    async def enter(self) -> None:
        """Waits until there is room, behind those who wait already, or until it is closed."""
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
        """There may be room again: lets in as many as there is room for."""
        while self.line and self.has_room:
            self._let_first_in()

    def close(self) -> None:
        """The organism closes: all are let in, also whoever comes later, and hear of it where they would put in their message."""
        self._closed = True
        while self.line:
            self._let_first_in()

    def _let_first_in(self) -> None:
        self._let_in += 1
        self.line.popleft().set()
