"""Ctrl-C and SIGTERM: the first asks for an orderly end, the second ends the process at once."""

from __future__ import annotations

import os
import signal
import threading
from typing import TYPE_CHECKING, Any, Final, Self

import anyio
from anyio.lowlevel import current_token

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType, TracebackType

_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM)


class Interrupts:
    """Listens to signals while the block is open, in the event loop of the task that opens it.

    ``number`` is the signal that came first, ``None`` before; :meth:`wait` waits for it. ``last_words`` is called before the
    second one ends the process, which then is not undone: it is for a terminal that is to be left in order. Outside the
    main thread, where Python has no signals, it hears nothing.
    """

    def __init__(self, last_words: Callable[[], None]) -> None:
        self.number: int | None = None
        self._last_words = last_words
        self._event = anyio.Event()
        self._before: dict[int, Any] = {}
        token: Any = current_token().native_token
        # Both may be called from a signal handler, and wake a loop that sleeps.
        self._soon: Callable[..., object] = getattr(token, "run_sync_soon", None) or token.call_soon_threadsafe

    async def wait(self) -> None:
        """Waits until a signal came."""
        await self._event.wait()

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            # anyio's receiver would hear nothing while a handler keeps the event loop busy, however often Ctrl-C is typed.
            self._before = {number: signal.signal(number, self._came) for number in _SIGNALS}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, before in self._before.items():
            # None: it was not set from Python, and Python cannot set it back.
            signal.signal(number, signal.SIG_DFL if before is None else before)

    def _came(self, number: int, _frame: FrameType | None) -> None:
        if self.number is None:
            self.number = number
            self._soon(self._event.set)
            return
        self._last_words()
        os._exit(exit_code(number))


def exit_code(number: int) -> int:
    """The exit code of a process that ends for a signal, as shells count them: 130 for Ctrl-C."""
    return 128 + number
