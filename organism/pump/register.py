"""The handles of the threads that live."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from organism.kernel.outcome import final_of
from organism.pump.handles import ThreadHandle
from organism.results import result_of, result_when_read
from organism.threads.frames import Thread

if TYPE_CHECKING:
    from organism.errors import JournalError
    from organism.record.facts import Ended


class Register(dict[Thread, ThreadHandle]):
    """The handle of each live thread that somebody may wait for. One whose thread has ended goes."""

    def end(self, thread: Thread) -> None:
        """The thread has ended."""
        handle = self.pop(thread, None)
        if handle is not None:
            handle.end(
                result_of(final_of(thread))
                if _remembers(thread) or _settles_late(thread)
                else result_when_read(thread.replies, partial(final_of, thread))
            )

    def lose(self, thread: Thread, error: JournalError) -> None:
        """The thread's end could not be written."""
        handle = self.pop(thread, None)
        if handle is not None:
            handle.fail(error)

    def rest(self, thread: Thread, record: Ended) -> None:
        """Nothing of the thread runs any more, since it is paused or waits for people; this is what it came to so far."""
        handle = self.get(thread)
        if handle is not None:
            handle.rest(record)

    def go_on(self, thread: Thread) -> None:
        """The thread that waited for people goes on."""
        handle = self.get(thread)
        if handle is not None:
            handle.go_on()

    def close(self) -> None:
        """The pump does not run any more: nothing will come of the threads that are left."""
        for handle in tuple(self.values()):
            handle.end(None)
        self.clear()


def _remembers(thread: Thread) -> bool:
    """Whether a thread that has ended keeps what may be large, or others that do. A result that nobody has read keeps its thread, and would
    keep that as well.
    """
    kept = (thread.state, thread.asked, thread.outlay, thread.conversation, thread.below, thread.owner)
    return any(each is not None for each in kept)


def _settles_late(thread: Thread) -> bool:
    """Whether calls of a thread that has ended are out: what they cost is charged to it later, perhaps while its result is read in another
    OS thread.
    """
    return any(thread.node.held)
