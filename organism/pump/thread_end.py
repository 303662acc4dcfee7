"""The end of a thread, as whoever holds its handle waits for it: the pump sets what the thread came to, handles read it."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from attrs import evolve

from organism.results import result_when_read

if TYPE_CHECKING:
    from collections.abc import Callable

    from organism.errors import OrganismError
    from organism.pump.runtime import Event as Signal
    from organism.record.facts import Ended
    from organism.results import ThreadResult


class ThreadEnd:
    """The end of a thread: its result, once it has ended, or why there will be none. A thread that is paused has a result for now.

    ``event`` makes events of the running loop. They are made for the first who waits: thousands of threads may end unwatched.
    """

    __slots__ = ("_come", "_event", "_gone_on", "_over", "error", "last_words", "paused", "result")

    def __init__(self, event: Callable[[], Signal]) -> None:
        self._event = event
        self._come: Signal | None = None
        self._gone_on: Signal | None = None
        self._over = False
        """The thread has ended, or never will."""
        self.result: ThreadResult | None = None
        self.error: OrganismError | None = None
        self.paused = False
        self.last_words: Callable[[], None] | None = None
        """Called once the thread has ended, or never will."""

    @property
    def come(self) -> Signal:
        """Set when there is a result, final or for now, or never will be one."""
        if self._come is None:
            self._come = self._event()
            if self._over:
                self._come.set()
        return self._come

    @property
    def gone_on(self) -> Signal:
        """Set when a thread with a result for now goes on, or has ended."""
        if self._gone_on is None:
            self._gone_on = self._event()
            if self._over:
                self._gone_on.set()
        return self._gone_on

    @property
    def is_final(self) -> bool:
        """Whether the thread has ended, and its result is there."""
        return self.result is not None and not self.paused

    async def over(self) -> None:
        """Waits until the thread has ended, or never will."""
        while not self._over:
            await (self.gone_on if self.paused else self.come).wait()

    def finish(self, result: ThreadResult | None) -> None:
        """Sets the final result; ``None`` if the organism was closed before."""
        self.paused, self.result = False, result
        self._close()

    def fail(self, error: OrganismError) -> None:
        """There will be no result, also none for now; whoever waits for one gets ``error``."""
        self.error, self.paused, self.result = error, False, None
        self._close()

    def rest(self, record: Ended) -> None:
        """Sets the result that a paused thread has for now."""
        if self.result is None:
            self.paused = True
            self.result = result_when_read(record.replies, partial(_paused, record))
            self.come.set()

    def go_on(self) -> None:
        """The thread goes on: its result was not final."""
        if self.paused:
            self.paused, self.result, self._come = False, None, None
            self.gone_on.set()
            self._gone_on = None

    def _close(self) -> None:
        """Sets the events that were made."""
        self._over = True
        if self._come is not None:
            self._come.set()
        if self._gone_on is not None:
            self._gone_on.set()
        if self.last_words is not None:
            self.last_words()


def _paused(record: Ended) -> Ended:
    """What a thread that rests has come to. It may rest a thousand times, and have as many threads below it: most look at none of that."""
    return evolve(record, outcome="paused", unit=None, scope=None, account=None)
