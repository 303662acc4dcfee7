"""The signals that ask a process to end: Ctrl-C, SIGTERM, and SIGHUP, which comes when its terminal is closed.

A process has one answer to them at every instant: here is what sets it. What loads this is loaded first, so it loads next to nothing.
"""

from __future__ import annotations

import os
import signal
import sys
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from types import FrameType
    from typing import Never

if sys.platform == "win32":
    ENDING: Final = (signal.SIGINT, signal.SIGTERM)
else:
    ENDING: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def answer(by: Callable[[int, FrameType | None], object] | signal.Handlers) -> None:
    """Sets what each of them does from here on, but for one that whoever started this process ignores, as ``nohup`` does: it stays
    ignored. Only for the main thread, as Python has it.
    """
    for number in ENDING:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, by)


def answers() -> dict[int, Any]:
    """What each of them does now, for :func:`set_back`."""
    return {number: signal.getsignal(number) for number in ENDING}


def set_back(before: Mapping[int, Any]) -> None:
    """Sets what they did before, in a process that goes on when a command has ended."""
    for number, by in before.items():
        if signal.getsignal(number) is not by:
            # None: it was not set from Python, and Python cannot set it back.
            signal.signal(number, signal.SIG_DFL if by is None else by)


def end_at_once(number: int, _frame: FrameType | None = None) -> Never:
    """Ends the process as it is, with the code of the signal: there is nothing yet that would have to be put away."""
    os._exit(exit_code(number))


def exit_code(number: int) -> int:
    """The exit code of a process that ends for a signal, as shells count them: 130 for Ctrl-C."""
    return 128 + number
