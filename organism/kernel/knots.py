"""Calls that wait for each other: each needs what is held by a stream that will not end before another of them has gone, or is barred
by one that does.

A delivery that waits, for budget or for what others do, is taken to read on in none of its streams. The line knows a call's
own streams and refuses it at once; here are the knots that several deliveries tie, in whatever order they came to it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from organism.budget.claims import NOTHING
from organism.budget.tree import Lack
from organism.budget.waiting import lacking
from organism.kernel.streams import held_by
from organism.threads.dependence import is_below, needed_by, needed_in
from organism.threads.frames import Message, pending
from organism.threads.lineage import descendants

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping

    from organism.budget.claims import Vector
    from organism.budget.node import Node
    from organism.budget.waiting import Waiter
    from organism.kernel.holds import Hold
    from organism.kernel.state import State
    from organism.threads.frames import Frame, Thread

    Owner = Message | Thread
    """Whose call or stream it is: a delivery's, or a thread's without handlers."""


class Knots:
    """Looks for knots among those who wait. Nothing is decided here: who is found is to be refused."""

    def __init__(self, state: State) -> None:
        self._state = state
        self._calls: dict[Owner, dict[Waiter, None]] = {}

    def joined(self, waiter: Waiter) -> Lack | None:
        """Notes a call that waits from now on; where it ties a knot by that, what it lacks for good."""
        self._calls.setdefault(waiter.owner, {})[waiter] = None
        tied = self.tied()
        return tied[1] if tied is not None and tied[0] is waiter else None

    def left(self, waiter: Waiter) -> None:
        """Forgets a call that waits no more."""
        beside = self._calls[waiter.owner]
        del beside[waiter]
        if not beside:
            del self._calls[waiter.owner]

    def tied(self) -> tuple[Waiter, Lack] | None:
        """The youngest of those who would wait for ever, and what it lacks; ``None`` while everybody may yet go."""
        if not self._calls or not self._state.streams:
            return None
        needs = self._needs()
        blocked = set(needs)
        while True:
            kept = held_by(hold for hold in self._streams() if _owner(hold) in blocked)
            go = [owner for owner in blocked if self._may_go(owner, needs[owner], blocked, kept)]
            if not go:
                break
            blocked.difference_update(go)
        waiting = [waiter for owner in blocked for waiter in self._calls.get(owner, ())]
        youngest = max(waiting, key=lambda waiter: waiter.number, default=None)
        lack = None if youngest is None else self._keeps(youngest, kept)
        return None if youngest is None or lack is None else (youngest, lack)

    def _streams(self) -> Iterator[Hold]:
        for holds in self._state.streams.values():
            yield from holds

    def _needs(self) -> dict[Owner, list[list[Message]]]:
        """All that streams may be waiting for: for each delivery that waits, and each thing it waits for, who can bring it."""
        running = self._state.occupied
        found: dict[Owner, list[list[Message]]] = {}
        stack: list[Owner] = [_owner(hold) for hold in self._streams()]
        while stack:
            owner = stack.pop()
            if owner in found or not self._waits(owner):
                continue
            found[owner] = []
            if isinstance(owner, Message):
                asked = (ask.frame for ask in owner.asks if not ask.done and ask.frame is not None)
                for frame in asked:
                    found[owner].append([] if self._has_work(frame.thread, frame) else list(needed_by(frame, running)))
                for thread in owner.awaits or ():
                    found[owner].append([] if self._has_work(thread) else list(needed_in(thread, running)))
            stack += (other for needed in found[owner] for other in needed)
        return found

    def _has_work(self, thread: Thread, frame: Frame | None = None) -> bool:
        """Whether something is queued in a thread, on the frame's behalf, that nobody who waits keeps from being handled."""
        state = self._state
        return any(
            (frame is None or is_below(message.frame, frame))
            and (message.thread, message.mailbox) not in state.occupied
            for each in descendants(thread)
            for message in (*pending(each), *state.schedule.waiting_for_place(each))
        )

    def _waits(self, owner: Owner) -> bool:
        if owner in self._calls:
            return True
        return isinstance(owner, Message) and bool(owner.asks or owner.awaits)

    def _may_go(
        self, owner: Owner, needs: list[list[Message]], blocked: Collection[Owner], kept: Mapping[Node, Vector]
    ) -> bool:
        """Whether it goes on once all has settled that does not wait itself."""
        if any(self._keeps(waiter, kept) is None for waiter in self._calls.get(owner, ())):
            return True
        return any(not needed or any(other not in blocked for other in needed) for needed in needs)

    def _keeps(self, waiter: Waiter, kept: Mapping[Node, Vector]) -> Lack | None:
        """What keeps a call from going beside this alone: what it lacks, or what an older one that bars it lacks. That one
        goes on waiting, whatever else its owner does, and whether or not a stream waits for that.
        """
        for node in waiter.path:
            for unit in lacking(waiter, node, kept.get(node, NOTHING)):
                return Lack(node, unit, waiter.least[unit], for_good=True)
        for node in waiter.path:
            held = kept.get(node, NOTHING)
            older = self._state.line.bar(node, held)
            if older is not None and older.number < waiter.number:
                unit = next(lacking(older, node, held))
                return Lack(node, unit, waiter.least[unit], for_good=True)
        return None


def _owner(hold: Hold) -> Owner:
    return hold.message or hold.thread
