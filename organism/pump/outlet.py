"""The one way out to listeners: what they are told stands in one queue, and is told in order, in a task of its own.

Whoever notes that something has happened may be in the middle of a change. A listener may call whatever it likes, as ``handle.cancel()``: that
comes behind the change, since nothing but the event loop is below it.
"""

from __future__ import annotations

import logging
from collections import deque
from typing import TYPE_CHECKING, Final, TypeVar

import anyio

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")
_log: Final = logging.getLogger("organism")


class Outlet:
    """The queue of what is yet to be told. :meth:`keep` tells it while the pump runs; :meth:`empty` what is left of it when that has stopped."""

    def __init__(self) -> None:
        self.untold: deque[Callable[[], object]] = deque()
        """What is yet to be done, the first being done: it stays here meanwhile, so that whatever it causes stands behind it."""
        self.heeded = 0
        """How many are told of facts by it."""
        self._come: anyio.Event | None = None

    def put(self, tell: Callable[[], object]) -> None:
        """Has something told behind all that is untold. Anybody may call this, at any time."""
        self.untold.append(tell)
        if self._come is not None and len(self.untold) == 1:
            self._come.set()

    def behind(self, go: Callable[[], object]) -> None:
        """Does something once all is told that is untold by now, at once where that is nothing."""
        if self.untold:
            self.put(go)
        else:
            go()

    async def keep(self) -> None:
        """Tells what comes, until it is cancelled. What listeners cause themselves has its turn when others had theirs."""
        while True:
            self._come = anyio.Event()
            if self.untold:
                await anyio.lowlevel.checkpoint()
            else:
                await self._come.wait()
            self.empty()

    def empty(self) -> None:
        """Tells what is untold by now."""
        for _ in range(len(self.untold)):
            try:
                self.untold[0]()
            finally:
                self.untold.popleft()


def call(listener: Callable[[T], object], said: T, *, of: str, again: str) -> None:
    """Calls a listener, and logs what it raises, unless that is to end the process. ``of`` is how it was given, ``again`` when it is called
    next.
    """
    try:
        listener(said)
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException:  # noqa: BLE001 - whatever it is, a cancellation or the end of a generator, it is the listener's
        _log.exception("a callback of `%s` raised an exception; it is called again with the next %s", of, again)
