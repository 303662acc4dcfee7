"""Questions that wait for people, and the threads in which nothing else goes on."""

from __future__ import annotations

from typing import TYPE_CHECKING

from organism.threads.lineage import root_of

if TYPE_CHECKING:
    from organism.threads.frames import Message, Thread


class Inbox:
    """Messages to people. They occupy no mailbox and no place: any number may wait, and be answered in any order.

    Plain state; the kernel changes it. A thread is *stirred* when something happened that may make it stand still or go on; the
    pump looks at stirred threads.
    """

    def __init__(self) -> None:
        self.questions: dict[Message, float] = {}
        """The instant since which each waits, the oldest first."""
        self.resting: dict[Thread, float] = {}
        """Threads that stand still, since all of their open work waits for people, and since when: this is no running time of theirs."""
        self.stirred: dict[Thread, None] = {}
        """Root threads with a question, or that had one until just now, in which something has happened."""
        self._by_thread: dict[Thread, dict[Message, None]] = {}
        self._by_root: dict[Thread, int] = {}

    def put(self, message: Message, at: float) -> None:
        """A person is asked."""
        self.questions[message] = at
        self._by_thread.setdefault(message.thread, {})[message] = None
        root = root_of(message.thread)
        self._by_root[root] = self._by_root.get(root, 0) + 1
        self.stirred[root] = None

    def drop(self, message: Message) -> bool:
        """A question was answered or dropped. ``False`` for a message that is no waiting question."""
        if self.questions.pop(message, None) is None:
            return False
        beside = self._by_thread[message.thread]
        del beside[message]
        if not beside:
            del self._by_thread[message.thread]
        root = root_of(message.thread)
        self._by_root[root] -= 1
        if not self._by_root[root]:
            del self._by_root[root]
        self.stirred[root] = None
        return True

    def of(self, thread: Thread) -> tuple[Message, ...]:
        """The questions of one thread, the oldest first."""
        return tuple(self._by_thread.get(thread, ()))

    def asks(self, root: Thread) -> bool:
        """Whether a question waits in a root thread or below it."""
        return root in self._by_root

    def stir(self, thread: Thread) -> None:
        """Something has happened in a thread."""
        if self._by_root and (root := root_of(thread)) in self._by_root:
            self.stirred[root] = None

    def begin(self, thread: Thread, at: float) -> None:
        """A turn of a conversation begins, which waited for those before it: its questions count as asked now."""
        for message in self._by_thread.get(thread, ()):
            self.questions[message] = at
        self.stir(thread)
