"""Questions that wait for people, and the threads in which nothing else goes on."""

from __future__ import annotations

from typing import TYPE_CHECKING

from organism.threads.lineage import descendants, root_of

if TYPE_CHECKING:
    from collections.abc import Collection

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
        self.stirred: dict[Thread, dict[Thread, None]] = {}
        """Watched root threads, or that were watched until just now, in which something has happened; and which threads of theirs it concerns."""
        self.changed: dict[Message, None] = {}
        """Questions that were put, whose time has begun, or that are over, since the pump last looked at their timers."""
        self._by_thread: dict[Thread, dict[int, Message]] = {}
        """The questions of each thread, by their numbers there."""
        self._by_root: dict[Thread, dict[Message, None]] = {}
        """The questions of each root thread and all below it, the oldest first."""
        self.watched: dict[Thread, int] = {}
        """Root threads that are to be stirred where something happens in them, each with how many reasons there are for that."""

    def put(self, message: Message, at: float) -> None:
        """A person is asked."""
        self.questions[message] = at
        self.changed[message] = None
        self._by_thread.setdefault(message.thread, {})[message.seq] = message
        root = root_of(message.thread)
        self._by_root.setdefault(root, {})[message] = None
        self.watch(root)
        self.stir(message.thread)

    def drop(self, message: Message) -> bool:
        """A question was answered or dropped. ``False`` for a message that is no waiting question."""
        if self.questions.pop(message, None) is None:
            return False
        self.changed[message] = None
        beside = self._by_thread[message.thread]
        del beside[message.seq]
        if not beside:
            del self._by_thread[message.thread]
        root = root_of(message.thread)
        del self._by_root[root][message]
        if not self._by_root[root]:
            del self._by_root[root]
        self.stir(message.thread)
        self.unwatch(root)
        return True

    def watch(self, root: Thread) -> None:
        """There is one more reason to watch a root thread: a question, or that it was paused and something of it still runs."""
        self.watched[root] = self.watched.get(root, 0) + 1
        self.stirred.setdefault(root, {})

    def unwatch(self, root: Thread) -> None:
        """There is one reason less."""
        self.watched[root] -= 1
        if not self.watched[root]:
            del self.watched[root]
        self.stirred.setdefault(root, {})

    def of(self, thread: Thread) -> tuple[Message, ...]:
        """The questions of one thread, the oldest first."""
        return tuple(self._by_thread.get(thread, {}).values())

    def count(self, thread: Thread) -> int:
        """How many questions one thread has."""
        return len(self._by_thread.get(thread, ()))

    def below(self, root: Thread) -> Collection[Message]:
        """The questions of a root thread and of all below it, the oldest first."""
        return self._by_root.get(root, {}).keys()

    def question(self, thread: Thread, seq: int) -> Message | None:
        """The question of this number in a thread; ``None`` where it is none, or none any more."""
        return self._by_thread.get(thread, {}).get(seq)

    def stir(self, thread: Thread) -> None:
        """Something has happened in a thread."""
        if self.watched and (root := root_of(thread)) in self.watched:
            self.stirred.setdefault(root, {})[thread] = None

    def take_up(self, root: Thread) -> None:
        """A root thread of an earlier process goes on: its questions are new to this one."""
        for thread in descendants(root):
            self.changed |= dict.fromkeys(self.of(thread))
            self.stir(thread)

    def set_back(self, thread: Thread, at: float) -> None:
        """A thread goes on at this instant: what was asked later, by a process whose clock was ahead, counts as asked now."""
        for message in self.of(thread):
            if self.questions[message] > at:
                self.questions[message] = at
                self.changed[message] = None

    def begin(self, thread: Thread, at: float) -> None:
        """A turn of a conversation begins, which waited for those before it: its questions count as asked now."""
        for message in self.of(thread):
            self.questions[message] = at
            self.changed[message] = None
        self.stir(thread)
