"""The handles of live threads, and the log line that says how a thread ended."""

from __future__ import annotations

import logging
from functools import partial
from typing import TYPE_CHECKING, Final

from organism.kernel.outcome import final_of, let_go
from organism.names import counted, printable
from organism.pump.handles import ThreadHandle, end_of
from organism.results import result_of, result_when_read
from organism.threads.frames import Thread

if TYPE_CHECKING:
    from organism.errors import JournalError
    from organism.record.facts import Ended

_log: Final = logging.getLogger("organism.threads")
_LONGEST: Final = 300
"""How many characters of the reason are logged when a thread ends."""


class LiveHandles(dict[Thread, ThreadHandle]):
    """The handle of each live thread that somebody may wait for; it is removed when the thread ends. The pump tells it what
    :class:`organism.pump.interfaces.Handles` names.
    """

    def end(self, thread: Thread) -> None:
        """The thread has ended: whoever waits for it hears so, and the log."""
        handle = self.pop(thread, None)
        if handle is not None:
            end_of(handle).finish(
                result_of(final_of(thread))
                if _settles_late(thread) or not let_go(thread)
                else result_when_read(thread.replies, partial(final_of, thread))
            )
        _log_end(thread)

    def lose(self, thread: Thread, error: JournalError) -> None:
        """The thread's end could not be written."""
        handle = self.pop(thread, None)
        if handle is not None:
            end_of(handle).fail(error)

    def rest(self, thread: Thread, record: Ended) -> None:
        """Nothing of the thread runs any more, since it is paused or waits for people; this is what it came to so far."""
        handle = self.get(thread)
        if handle is not None and thread.stopping is None:
            end_of(handle).rest(record)

    def go_on(self, thread: Thread) -> None:
        """The thread that waited for people goes on."""
        handle = self.get(thread)
        if handle is not None:
            end_of(handle).go_on()

    def close(self) -> None:
        """The pump does not run any more: nothing will come of the threads that are left."""
        for handle in tuple(self.values()):
            end_of(handle).finish(None)
        self.clear()


def _settles_late(thread: Thread) -> bool:
    """Whether calls of an ended thread are still open. Then its result is made at once: they are settled later, perhaps while the result is
    read in another thread of the operating system.
    """
    return any(thread.node.held)


def _log_end(thread: Thread) -> None:
    """Says that a root thread or a sub-thread has ended, in one line."""
    if _log.isEnabledFor(logging.INFO):
        record = final_of(thread)
        usage = record.usage
        _log.info(
            "thread %s ended %s: %s, %s USD, %s, %s, %.3f s%s",
            record.thread, record.outcome, counted(usage.tokens, "token"), usage.cost_usd,
            counted(usage.model_calls, "model call"), counted(usage.messages, "message"), usage.seconds,
            f": {printable(record.error, at_most=_LONGEST)}" if record.error else "",
        )  # fmt: skip
