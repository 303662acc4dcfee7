"""A watchdog: it names the handler that keeps the event loop from everybody else (R25).

A thread of its own has the loop answer now and then. Where no answer comes, it looks at what the loop's thread is doing: a run
that nothing blocks pays nothing but the answers.
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
"""The loop is asked so many times in the seconds that it may be kept."""
DEEPEST: Final = 60
"""Lines of a stack that are shown, the innermost."""
LAST_WORD: Final = 2.0
"""Seconds that a line which is being said may still take when the watchdog is stopped: whoever reads it may itself want the loop."""

_PUMP: Final = frozenset({"organism.pump.stepper", "organism.pump.workers"})
"""The modules in which a stack goes from the pump into a handler; where they are compiled, only the second has frames."""
_STEPS: Final = "organism.pump.coroutines"
"""The module whose frames carry a handler's steps, and say nothing of it."""
_AWAITS: Final = Workers.deliver.__code__
"""Where a handler is awaited; the delivery is a local variable of that name."""
_ANSWER: Final = True
_STOP: Final = False
_log: Final = logging.getLogger("organism.handlers")


class Watchdog:
    """Watches the loop of the thread that starts it, while there are deliveries in ``running``. ``seconds``: how long one may keep
    the loop before it is named; each is named once.
    """

    def __init__(self, seconds: float, running: Mapping[Message, Delivery], aside: Aside) -> None:
        self._seconds = seconds
        self._running = running
        self._aside = aside
        self._heard: queue.SimpleQueue[bool] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._named: set[Message | None] = set()
        """Those that were named; ``None``: a task that is no delivery was, since the loop last answered."""

    def start(self) -> None:
        """Begins to watch."""
        self._loop = threading.get_ident()
        self._call = runtime.caller()
        self._thread = threading.Thread(target=self._watch, name="organism watchdog", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Watches no more. What it is saying is said first, while whoever shows it is still there."""
        self._heard.put(_STOP)
        if self._thread is not None:
            self._thread.join(LAST_WORD)

    def _watch(self) -> None:
        part = self._seconds / PARTS
        # While it sleeps, only being stopped can wake it: every answer was heard before.
        while (heard := self._hear(part)) is None:
            if not self._running:
                continue
            self._call(lambda: self._heard.put(_ANSWER))
            # Both may have slept, as the whole machine does: so the loop gets a last moment.
            for seconds in (self._seconds - part, part / PARTS):
                heard = self._hear(seconds) if heard is None else heard
            while heard is None:  # whoever was named may end, and another one keep the loop before it answers
                self._tell()
                heard = self._hear(self._seconds)
            self._named.discard(None)
            if heard is _STOP:
                return

    def _hear(self, seconds: float | None = None) -> bool | None:
        """An answer of the loop, or that it is to stop; ``None`` where neither came within ``seconds``."""
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
            "a task that is no delivery of its own"
            if message is None
            else f"handler '{message.to}' in thread {message.thread.id}"
        )
        _log.warning(
            "%s has kept the event loop for %g s: nothing else runs meanwhile. Await what takes long, or make it a plain 'def', "
            "which runs in a thread. It is at:\n%s",
            who, self._seconds, stack, extra={LINES: True},
        )  # fmt: skip


def _seen(frame: FrameType, stepped: Delivery | None) -> tuple[Delivery | None, str]:
    """The delivery that a stack belongs to, and the part of it that is the handler's; ``stepped`` is the one that is stepped in place."""
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
