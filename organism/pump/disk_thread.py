"""One thread of the operating system that does the blocking work on the disk, beside the event loop.

anyio's pool of threads costs twice as much per piece of work: a task, a limiter, and a search for an idle thread.
"""

from __future__ import annotations

from queue import Empty, SimpleQueue
from threading import Lock, Thread
from typing import TYPE_CHECKING, Final, TypeVar

import anyio

from organism.pump import runtime

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")

IDLE: Final = 10.0
"""Seconds without work after which the thread ends; the next work starts a new one."""


class DiskThread:
    """Carries out one piece of work after the other, in the order in which they were given."""

    def __init__(self) -> None:
        self._work: SimpleQueue[Callable[[], None]] = SimpleQueue()
        self._lock = Lock()
        self._lives = False

    async def run(self, work: Callable[[], T]) -> T:
        """Carries out ``work``, and returns what it returns or raises what it raises. Once begun it is carried out to its end, even if this task
        is cancelled.
        """
        ended, came = anyio.Event(), list[T | BaseException]()

        def done(result: T | BaseException) -> None:
            came.append(result)
            ended.set()

        self.begin(work, done)
        await runtime.seen_through(ended)
        result = came.pop()
        if isinstance(result, BaseException):
            raise result
        return result

    def begin(self, work: Callable[[], T], done: Callable[[T | BaseException], None]) -> None:
        """Carries out ``work`` in the thread; then calls ``done`` on this event loop with what it returned or raised."""
        call = runtime.caller()

        def carry_out() -> None:
            try:
                result: T | BaseException = work()
            except BaseException as error:  # noqa: BLE001 - it is told where the work was given
                result = error
            call(lambda: done(result))

        try:
            self._give(carry_out)
        except RuntimeError as error:
            done(error)

    def rest(self) -> None:
        """Lets the thread end as soon as it has done its work, in place of waiting for more. Later work starts a new one."""
        with self._lock:
            if self._lives:
                self._work.put(_nothing_more)

    def _give(self, carry_out: Callable[[], None]) -> None:
        with self._lock:
            if not self._lives:
                # A daemon: work that hangs on a dead disk must not keep the process alive. Where no thread can be started this raises first.
                Thread(target=self._live, name="organism disk", daemon=True).start()
                self._lives = True
            self._work.put(carry_out)

    def _live(self) -> None:
        while True:
            try:
                self._work.get(timeout=IDLE)()
            except Empty:
                with self._lock:
                    if self._work.empty():
                        self._lives = False
                        return


def _nothing_more() -> None:
    raise Empty
