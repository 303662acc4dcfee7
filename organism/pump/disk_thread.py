"""The one thread that waits for the disk beside the event loop.

A pool of threads costs twice as much for each piece of work: a task for it, a limiter, and a look at which thread is free.
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
"""Seconds after which a thread without work ends; the next work starts another one."""


class DiskThread:
    """Carries out one piece of work after the other, in the order in which they were given."""

    def __init__(self) -> None:
        self._work: SimpleQueue[Callable[[], None]] = SimpleQueue()
        self._lock = Lock()
        self._lives = False

    async def run(self, work: Callable[[], T]) -> T:
        """What ``work`` gives; raises what it raises. Given, it is carried out to its end, whoever is cancelled meanwhile."""
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
        """Carries out ``work``; then ``done`` is called on this event loop with what it gave or raised."""
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
        """Its thread ends once it has done what was given, and does not wait for more; should more be given, another one starts."""
        with self._lock:
            if self._lives:
                self._work.put(_nothing_more)

    def _give(self, carry_out: Callable[[], None]) -> None:
        with self._lock:
            if not self._lives:
                # A daemon: what hangs on a dead disk must not keep the process. Where the system has no thread left, nothing was given.
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
