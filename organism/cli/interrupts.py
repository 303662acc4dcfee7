"""Signals to a run: the first asks for an orderly end, the second ends the process at once; and so does what holds that end up."""

from __future__ import annotations

import os
import threading
from functools import partial
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any, Self

import anyio
from anyio.lowlevel import current_token

from organism.cli import signals

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType, TracebackType

    from organism.cli.streams import Streams


class Interrupts:
    """Listens to signals from the block on. Open it around the event loop: one that comes while the loop starts or ends would else be
    raised in the middle of it. Behind the block the first one changes nothing any more, until somebody else answers them.

    ``number`` is the signal that came first, ``None`` before; :meth:`wait` waits for it. ``last_words`` is called before the
    second one ends the process, which then is not undone: it is for a terminal that is to be left in order. After :meth:`again`
    the next one is the first. The process also ends where the block is still open ``at_most`` seconds after the first: a handler
    may keep the event loop for ever. Outside the main thread, where Python has no signals, it hears nothing.
    """

    def __init__(self, last_words: Callable[[], None], *, at_most: float | None = None) -> None:
        self.number: int | None = None
        self._last_words = last_words
        self._at_most = at_most
        self._news: SimpleQueue[int | None] = SimpleQueue()
        """The first signal, and ``None`` when the block is left: a signal handler may put into it, and start no thread."""
        self._wakes: tuple[Callable[[], object], ...] = ()
        """Wake those who wait. A tuple: the signal handler may come while one is added."""

    async def wait(self) -> None:
        """Waits until a signal came."""
        token: Any = current_token().native_token
        # Both may be called from a signal handler, and wake a loop that sleeps.
        soon: Callable[..., object] = getattr(token, "run_sync_soon", None) or token.call_soon_threadsafe
        came = anyio.Event()
        wake = partial(soon, came.set)
        self._wakes = (*self._wakes, wake)
        try:
            if self.number is None:  # looked at last: none comes between
                await came.wait()
        finally:
            self._wakes = tuple(each for each in self._wakes if each is not wake)

    def again(self) -> None:
        """What came was heeded, and the block goes on. Not for one with ``at_most``, which is to end."""
        self.number = None

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            # anyio's receiver would hear nothing while a handler keeps the event loop busy, however often Ctrl-C is typed.
            signals.answer(self._came)
            if self._at_most is not None:
                threading.Thread(target=self._see_to_the_end, args=(self._at_most,), daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._news.put(None)

    def _came(self, number: int, _frame: FrameType | None) -> None:
        if self.number is None:
            self.number = number
            self._news.put(number)
            for wake in self._wakes:
                wake()
            return
        self._last_words()
        signals.end_at_once(number)

    def _see_to_the_end(self, at_most: float) -> None:
        number = self._news.get()
        if number is None:
            return
        try:
            self._news.get(timeout=min(at_most, threading.TIMEOUT_MAX))
        except Empty:
            self._last_words()
            signals.end_at_once(number)


def end_now(code: int, streams: Streams) -> None:
    """Ends the process without what does not end: handlers that were left behind would keep their event loop."""
    streams.flush()
    os._exit(code)
