"""Threads that wait for people: noticing when nothing else goes on in them, and when something does again (R3, R5, R11).

While all open work of a thread waits for people, its running time stands still, and its handle has a result: ``paused``.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Final

import anyio
import anyio.lowlevel
from attrs import evolve

from organism.kernel.outcome import record_of
from organism.threads.dependence import is_waiting
from organism.threads.lineage import root_of

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from organism.pump.pauses import Host
    from organism.pump.timers import Timer
    from organism.record.facts import Ended
    from organism.threads.frames import Message, Thread


_PASSES: Final = 2
"""How many times all other tasks may run before a thread is taken to stand still: by then every task that was ready has run."""


class People:
    """Looks after threads that ask people. Handles are told of root threads that stand still, with what they have come to, and of those that
    go on.
    """

    def __init__(self, pump: Host) -> None:
        self._pump = pump
        self._idle: dict[Thread, None] = {}
        """Root threads of which some may stand still: looked at again once all tasks that are ready have run."""
        self._due = anyio.Event()
        self._timers: dict[Message, Timer] = {}
        """The timers of questions with a timeout."""

    def look(self) -> None:
        """Looks at the threads in which something has happened. One that goes on is noted at once; one that seems to stand still is looked at
        again in a moment, since a handler that asks several people does so one after the other.
        """
        inbox = self._pump.kernel.state.inbox
        self._time_questions()
        stirred = tuple(inbox.stirred)
        for root in stirred:
            if self._weigh_tree(root, may_stand=False):
                self._idle[root] = None
        for root in stirred:
            inbox.stirred.pop(root, None)  # also where the changes made here have stirred it again
        if self._idle:
            self._due.set()

    async def keep(self) -> None:
        """Looks again at threads that may stand still, until it is cancelled."""
        while True:
            await self._due.wait()
            for _ in range(_PASSES):
                await anyio.lowlevel.checkpoint()
            self._due = anyio.Event()
            self._look_again()

    def _look_again(self) -> None:
        idle, self._idle = self._idle, {}
        for root in idle:
            self._weigh_tree(root, may_stand=True)
            self._pump.kernel.state.inbox.stirred.pop(root, None)
        self._pump.carry_out()

    def _weigh_tree(self, root: Thread, *, may_stand: bool) -> bool:
        """Looks at a root thread and all below it. Those that go on are noted; those that stand still only if ``may_stand``. ``True``: some
        stand still that had not been noted before.
        """
        if root.ended or root.paused_at is not None:
            return False
        resting = self._pump.kernel.state.inbox.resting
        rested = root in resting
        still: list[Thread] = []
        self._weigh(root, {waiter.owner for waiter in self._pump.wakeups.in_line}, still)
        if rested and root not in resting:
            self._pump.handles.go_on(root)
        for thread in still if may_stand else ():
            self._pump.kernel.people.stand(thread, self._pump.now())
            self._pump.deadlines.forget(thread)
        if not rested and root in resting:
            record = evolve(record_of(root, self._pump.now()), error=_waits_for(self._questions(root)))
            self._pump.when_durable(root, partial(self._rested, root, record))
        return bool(still)

    def _questions(self, thread: Thread) -> list[Message]:
        below = [each for sub in (thread.subs or {}).values() for each in self._questions(sub)]
        return [*self._pump.kernel.state.inbox.of(thread), *below]

    def _weigh(self, thread: Thread, in_line: Collection[object], still: list[Thread]) -> tuple[int, bool]:
        """How many questions a thread and those below it have, and whether anything else goes on there. Threads that stand still and are not
        noted yet are added to ``still``; those that go on are noted.
        """
        pump = self._pump
        waiting = pump.kernel.state.inbox.count(thread)
        active = self._works(thread, in_line)
        for sub in tuple((thread.subs or {}).values()):
            asked, works = self._weigh(sub, in_line, still)
            waiting += asked
            active = active or works
        if waiting and not active:
            if thread not in pump.kernel.state.inbox.resting:
                still.append(thread)
        else:
            pump.kernel.people.go_on(thread, pump.now())
        return waiting, active

    def _works(self, thread: Thread, in_line: Collection[object]) -> bool:
        """Whether something goes on in a thread itself: a message is to be delivered, a call is out, or a handler is at work."""
        if thread.head is not None or thread.more or any(thread.node.held):
            return True
        state = self._pump.kernel.state
        for handler in thread.busy or ():
            message = state.occupied.get((thread, handler))
            delivery = None if message is None else self._pump.running.get(message)
            if delivery is None or message is None:
                return True  # it is about to be delivered, or waits for a place
            if delivery.placed or not is_waiting(message) or message in in_line:
                return True
        return False

    def _rested(self, root: Thread, record: Ended) -> None:
        if root in self._pump.kernel.state.inbox.resting:  # it may have gone on since
            self._pump.handles.rest(root, record)

    # Questions with a timeout

    def _time_questions(self) -> None:
        """Sets the timers of new questions with a timeout, and cancels those of questions that are over. A turn that has not begun has time."""
        pump, inbox = self._pump, self._pump.kernel.state.inbox
        changed, inbox.changed = inbox.changed, {}
        for message in changed:
            timer = self._timers.pop(message, None)
            if timer is not None:
                pump.deadlines.timers.cancel(timer)
            asked_at, patience = inbox.questions.get(message), pump.kernel.routes[message.to].patience
            if asked_at is not None and patience is not None and not root_of(message.thread).waits_turn:
                self._timers[message] = pump.deadlines.timers.add(asked_at + patience, partial(self._over, message))

    def _over(self, message: Message) -> None:
        if message in self._pump.kernel.state.inbox.questions:
            self._pump.kernel.people.expire(message, self._pump.now())
            self._pump.carry_out()


def _waits_for(questions: Sequence[Message]) -> str:
    """A line about what is waited for: the oldest question, and how many more there are."""
    first = min(questions, key=lambda each: each.seq)
    more = f", and {len(questions) - 1} more" if len(questions) > 1 else ""
    return f"waits for an answer of '{first.to}' to question {first.id}{more}"
