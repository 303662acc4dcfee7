"""Whether anything goes on in watched threads, and below them: counted, so that an event costs the same however many threads there are."""

from __future__ import annotations

from typing import TYPE_CHECKING, final

from organism.threads.lineage import descendants

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from organism.kernel.state import State
    from organism.threads.frames import Message, Thread


@final
class _Count:
    """What is known of one thread: its ``own`` questions, and those with all below it (``asked``); whether a handler of it is at ``work``, or
    something is ``due`` in it; and how many of the threads right below it are active (``below``).
    """

    __slots__ = ("asked", "below", "due", "own", "work")

    def __init__(self) -> None:
        self.own = self.asked = self.below = 0
        self.work = self.due = False

    @property
    def active(self) -> bool:
        """Whether something goes on in it, or below it."""
        return self.work or self.due or self.below > 0


class Activity:
    """Counts what goes on in root threads and below them. ``is_at_work`` says whether the message that has a mailbox is worked on."""

    def __init__(self, state: State, is_at_work: Callable[[Message], bool]) -> None:
        self._state = state
        self._is_at_work = is_at_work
        self._trees: dict[Thread, dict[Thread, _Count]] = {}

    def note(self, root: Thread, threads: Sequence[Thread]) -> Iterator[tuple[Thread, bool]]:
        """Counts anew what concerns these threads of a root, in which something has happened; all of them where it is looked at for the
        first time. Gives those that live and those above them, the lowest first, each with whether it stands still: people are asked there
        or below, and nothing else goes on.
        """
        tree = self._trees.get(root)
        if tree is None:
            tree = self._trees[root] = {}
            threads = tuple(reversed([*descendants(root)]))
        noted: dict[Thread, None] = {}
        for thread in threads:
            for each in self._count(tree, thread):
                noted.pop(each, None)
                noted[each] = None
        for each in noted:
            count = tree[each]
            yield each, count.asked > 0 and not count.active

    def forget(self, root: Thread) -> None:
        """Nothing of a root thread is to be counted any more."""
        self._trees.pop(root, None)

    def _count(self, tree: dict[Thread, _Count], thread: Thread) -> Iterator[Thread]:
        """Counts a thread anew, and what that changes for those above it. Gives all of them that live."""
        count = tree.setdefault(thread, _Count())
        was = count.active
        own = 0 if thread.ended else self._state.inbox.count(thread)
        more, count.own = own - count.own, own
        count.work = not thread.ended and self._works(thread)
        above: Thread | None = thread
        while above is not None:
            count.asked += more
            count.due = not above.ended and _is_due(above)
            if not above.ended:
                yield above
            elif not (count.asked or count.active):
                del tree[above]
            risen = count.active - was
            above = None if above.owner is None else above.owner.thread
            if above is not None:
                count = tree.setdefault(above, _Count())
                was = count.active
                count.below += risen

    def _works(self, thread: Thread) -> bool:
        """Whether a handler is at work in a thread itself, or is about to be."""
        for mailbox in thread.busy or ():
            message = self._state.occupied.get((thread, mailbox))
            if message is None or self._is_at_work(message):
                return True
        return False


def _is_due(thread: Thread) -> bool:
    """Whether a message is to be delivered in a thread, or a call of it, or below it, is out or waits for budget."""
    if any(thread.node.held) or thread.node.crowd is not None:
        return True
    if thread.head is None:
        return False
    # One whose mailbox is another's goes behind that one when its turn comes, of which nobody hears: it is not due even now.
    busy = thread.busy or {}
    return any(message.holds or message.mailbox not in busy for message in (thread.head, *(thread.more or ())))
