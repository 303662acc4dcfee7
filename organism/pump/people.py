"""Threads that wait for people: noticing when nothing else goes on in them, and when something does again (R3, R5, R11).

While all open work of a thread waits for people, its running time stands still, and its handle has a result: ``paused``.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Final

import anyio
import anyio.lowlevel
from attrs import evolve

from organism.kernel.times import so_far
from organism.pump.activity import Activity
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
        self._activity = Activity(pump.kernel.state, self._is_at_work)
        self._idle: dict[Thread, dict[Thread, None]] = {}
        """Threads that may stand still, by root: looked at again once all tasks that are ready have run."""
        self._due = anyio.Event()
        self._timers: dict[Message, Timer] = {}
        """The timers of questions with a timeout."""

    def look(self) -> None:
        """Looks at the threads in which something has happened. One that goes on is noted at once; one that seems to stand still is looked at
        again in a moment, since a handler that asks several people does so one after the other.
        """
        inbox = self._pump.kernel.state.inbox
        self._time_questions()
        stirred = tuple(inbox.stirred.items())
        for root, threads in stirred:
            still = self._weigh(root, tuple(threads))
            if still:
                self._idle.setdefault(root, {}).update(dict.fromkeys(still))
        for root, _ in stirred:
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
        inbox = self._pump.kernel.state.inbox
        for root, threads in idle.items():
            rested = root in inbox.resting
            for thread in self._weigh(root, (*inbox.stirred.get(root, ()), *threads)):
                self._pump.kernel.people.stand(thread, self._pump.now())
                self._pump.deadlines.forget(thread)
            if not rested and root in inbox.resting:
                record = so_far(self._pump.kernel.state, root, self._pump.now())
                record = evolve(record, error=_waits_for(inbox.below(root)))
                self._pump.when_heard(root, partial(self._rested, root, record))
            inbox.stirred.pop(root, None)
        self._pump.carry_out()

    def _weigh(self, root: Thread, threads: Sequence[Thread]) -> list[Thread]:
        """Looks at a root thread, in some threads of which something has happened. Those that go on by that, and those above them, are noted;
        gives those that stand still, and had not been noted before.
        """
        inbox, people = self._pump.kernel.state.inbox, self._pump.kernel.people
        still: list[Thread] = []
        if root.ended or root.paused_at is not None:
            self._activity.forget(root)
            return still
        rested = root in inbox.resting
        for thread, stands in self._activity.note(root, threads):
            if not stands:
                people.go_on(thread, self._pump.now())
            elif thread not in inbox.resting:
                still.append(thread)
        if rested and root not in inbox.resting:
            self._pump.handles.go_on(root)
        if root not in inbox.watched:
            self._activity.forget(root)
        return still

    def _is_at_work(self, message: Message) -> bool:
        """Whether what has its mailbox works, or is about to: it does not wait for others."""
        delivery = self._pump.running.get(message)
        if delivery is None:
            return True  # it is about to be delivered, or waits for a place
        return delivery.placed or not is_waiting(message)

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


def _waits_for(questions: Collection[Message]) -> str:
    """A line about what is waited for: the oldest question, and how many more there are."""
    first = next(iter(questions))
    more = f", and {len(questions) - 1} more" if len(questions) > 1 else ""
    return f"waits for an answer of '{first.to}' to question {first.id}{more}"
