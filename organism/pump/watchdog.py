"""A watchdog: it names the handler that blocks the event loop (R25).

A thread of its own asks the loop for an answer now and then. Where none comes, it looks at the stack of the loop's thread. While nothing
blocks, this costs nothing but the answers.
"""

from __future__ import annotations

import logging
import queue
import sys
import threading
import traceback
from typing import TYPE_CHECKING, Final

from organism.names import LINES
from organism.pump import runtime
from organism.pump.workers import Workers

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import FrameType

    from organism.pump.aside import Aside
    from organism.pump.delivery import Delivery
    from organism.threads.frames import Message

PARTS: Final = 4
"""How often the loop is asked within the seconds for which a handler may block it."""
DEEPEST: Final = 60
"""How many frames of a stack are shown: the innermost."""
LAST_WORD: Final = 2.0
"""Seconds that a log line may still take when the watchdog is stopped. Not longer: whatever writes it may itself need the loop."""

_PUMP: Final = frozenset({"organism.pump.stepper", "organism.pump.workers"})
"""The modules from which a stack goes from the pump into a handler. A compiled stepper has no frames."""
_STEPS: Final = "organism.pump.coroutines"
"""The module whose frames step a handler's coroutine: they are left out of the stack that is shown."""
_AWAITS: Final = Workers.deliver.__code__
"""The function that awaits a handler; its local variable ``delivery`` says which."""
_ANSWER: Final = True
_STOP: Final = False
_log: Final = logging.getLogger("organism.handlers")


class Watchdog:
    """Watches the event loop of the thread that starts it, while there are deliveries in ``running``. ``seconds``: how long one may block the
    loop before it is named; each is named once.
    """

    def __init__(self, seconds: float, running: Mapping[Message, Delivery], aside: Aside) -> None:
        self._seconds = seconds
        self._running = running
        self._aside = aside
        self._heard: queue.SimpleQueue[bool] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._named: set[Message | None] = set()
        """The messages whose handlers were named; ``None`` stands for a task that is no delivery, and is forgotten when the loop answers."""

    def start(self) -> None:
        """Begins to watch."""
        self._loop = threading.get_ident()
        self._call = runtime.caller()
        self._thread = threading.Thread(target=self._watch, name="organism watchdog", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Stops to watch. A line that is being logged is finished first, while whatever shows it still exists."""
        self._heard.put(_STOP)
        if self._thread is not None:
            self._thread.join(LAST_WORD)

    def _watch(self) -> None:
        part = self._seconds / PARTS
        # All answers have been heard by now: only `stop` can end this wait early.
        while (heard := self._hear(part)) is None:
            if not self._running:
                continue
            self._call(lambda: self._heard.put(_ANSWER))
            # The whole machine may have slept, and both threads with it: so the loop gets a last moment.
            for seconds in (self._seconds - part, part / PARTS):
                heard = self._hear(seconds) if heard is None else heard
            while heard is None:  # a handler that was named may end, and another one block the loop before it answers
                self._tell()
                heard = self._hear(self._seconds)
            self._named.discard(None)
            if heard is _STOP:
                return

    def _hear(self, seconds: float | None = None) -> bool | None:
        """An answer of the loop, or ``_STOP``; ``None`` where neither came within ``seconds``."""
        try:
            return self._heard.get(timeout=seconds)
        except queue.Empty:
            return None

    def _tell(self) -> None:
        frame = sys._current_frames().get(self._loop)  # noqa: SLF001 # pyright: ignore[reportPrivateUsage] - the one way to see it
        if frame is None:
            return
        delivery, stack = _seen(frame, self._aside.stepped)
        message = None if delivery is None else delivery.message
        self._named = {each for each in self._named if each is None or each in self._running}
        if message in self._named:
            return
        self._named.add(message)
        who = (
            "a task that is not a delivery of its own"
            if message is None
            else f"handler '{message.to}' in thread {message.thread.id}"
        )
        _log.warning(
            "%s has kept the event loop for %g s: nothing else runs meanwhile. Await what takes long, or make it a plain 'def', "
            "which runs in a worker thread. It is at:\n%s",
            who, self._seconds, stack, extra={LINES: True},
        )  # fmt: skip


def _seen(frame: FrameType, stepped: Delivery | None) -> tuple[Delivery | None, str]:
    """The delivery that a stack belongs to, and the handler's part of the stack as text. ``stepped``: the delivery that is stepped in place."""
    delivery: Delivery | None = None
    frames: list[tuple[FrameType, int]] = []
    step: FrameType | None = frame
    while step is not None:
        if step.f_globals.get("__name__") in _PUMP:
            delivery = step.f_locals["delivery"] if step.f_code is _AWAITS else stepped
            break
        if step.f_globals.get("__name__") != _STEPS:
            frames.append((step, step.f_lineno))
        step = step.f_back
    stack = traceback.StackSummary.extract(iter(frames[:DEEPEST][::-1]))
    return delivery, "".join(stack.format()).rstrip()
