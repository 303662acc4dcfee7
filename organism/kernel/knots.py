"""Calls that wait for each other: each needs what is held by a stream that will not end before another of them has gone.

A delivery that waits for budget, or for a branch that does, reads on in none of its streams. The line knows a call's own
streams and refuses it at once; here are the knots that several deliveries tie together.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from organism.budget.crowd import bears
from organism.budget.tree import Lack
from organism.frames import Message

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from organism.budget.waiting import Waiter
    from organism.frames import Frame, Thread
    from organism.kernel.state import Hold, State


class Knots:
    """The waiting calls for which streams wait. Nothing is decided here: who is found is to be refused."""

    def __init__(self, state: State) -> None:
        self._state = state
        self._by_owner: dict[Any, dict[Waiter, None]] = {}
        self._suspects: dict[Waiter, None] = {}

    def joined(self, waiter: Waiter) -> Lack | None:
        """Notes a call that waits from now on; where it ties a knot by that, what it lacks for good."""
        self._by_owner.setdefault(waiter.owner, {})[waiter] = None
        if any(True for _ in self._kept_open(waiter)):
            self._suspects[waiter] = None
        tied = self.tied()
        return tied[1] if tied is not None and tied[0] is waiter else None

    def opened(self, owner: Message | Thread) -> None:
        """Notes that somebody opened a stream, who may wait in another task."""
        self._suspects |= self._by_owner.get(owner, {})
        if isinstance(owner, Message) and (owner.asks or owner.awaits):
            self.awaits(owner)

    def awaits(self, delivery: Message) -> None:
        """Notes that a delivery waits for what others do: streams of its own stay open until they have done it."""
        if any(hold.message is delivery for hold in self._state.streams.get(delivery.thread, ())):
            self._suspects |= dict.fromkeys(
                waiter for waiter in self._state.line if delivery in self._who_waits_for(waiter.owner)
            )

    def left(self, waiter: Waiter) -> None:
        """Forgets a call that waits no more."""
        self._suspects.pop(waiter, None)
        beside = self._by_owner[waiter.owner]
        del beside[waiter]
        if not beside:
            del self._by_owner[waiter.owner]

    def tied(self) -> tuple[Waiter, Lack] | None:
        """The youngest of those who would wait for ever, and what it lacks; ``None`` while everybody may yet go."""
        left = {waiter: tuple(self._kept_open(waiter)) for waiter in self._suspects}
        while left:
            kept = {hold.id: hold for holds in left.values() for hold in holds}.values()
            # Whoever fits once all else has settled will go and end the streams that wait for it.
            goes = next((waiter for waiter in left if _lack(waiter, kept) is None), None)
            if goes is None:
                youngest = max(left, key=lambda waiter: waiter.number)
                lack = _lack(youngest, kept)
                return None if lack is None else (youngest, lack)
            del left[goes]
        return None

    def _kept_open(self, waiter: Waiter) -> Iterator[Hold]:
        """What is held by streams of the call's own delivery, and of those that wait for its branch."""
        streams, owner = self._state.streams, waiter.owner
        if not streams:
            return
        if isinstance(owner, Message):
            for message in self._who_waits_for(owner):
                yield from (hold for hold in streams.get(message.thread, ()) if hold.message is message)
        else:
            yield from streams.get(owner, ())

    def _who_waits_for(self, owner: Any) -> Iterator[Message]:
        """The delivery itself, and those that ask or await a branch that it belongs to."""
        frame: Frame | None = None
        if isinstance(owner, Message):
            yield owner
            frame = owner.frame
        while frame is not None:
            if frame.asker is not None and not frame.asker.done:
                yield frame.asker.message
            if frame.top:
                yield from frame.thread.awaited or ()
            frame = frame.above


def _lack(waiter: Waiter, kept: Iterable[Hold]) -> Lack | None:
    """Where a call does not fit beside these holds alone."""
    for node in waiter.path:
        cap = node.caps.limit if waiter.grace and node is waiter.path[0] else node.caps.working
        for unit in node.caps.limited:
            held = sum(hold.need[unit] for hold in kept if node in hold.path)
            if node.used[unit] + held + waiter.least[unit] > cap[unit] and bears(unit, waiter.least[unit]):
                return Lack(node, unit, waiter.least[unit], for_good=True)
    return None
