"""Calls that wait for each other: each needs what is held by a stream that will not end before another of them has gone, or is barred
by one that does. It is budget that is held, or a place: at a backend, or the one from which a circuit is tried.

A delivery that waits, for budget or for what others do, is taken to read on in none of its streams: what these hold of budgets comes back
once it goes on. A place at a backend comes back once the stream's block is left, whatever the delivery waits for outside of that: its other
tasks may. Those that were started in a group inside the block are in it, too. The place of a circuit, and any other that a call has while it
waits for budget, comes back once that call has gone.

The line knows a call's own streams and refuses it at once; here are the knots that several deliveries tie, in whatever order they came to
it, and all that have to do with places.
"""

from __future__ import annotations

from collections import Counter
from contextlib import contextmanager
from typing import TYPE_CHECKING

from attrs import define

from organism.budget.claims import NOTHING
from organism.budget.tree import Lack
from organism.budget.waiting import Waiter, lacking
from organism.kernel.contention import Contention
from organism.kernel.places import Kept, Queued
from organism.kernel.streams import held_by
from organism.threads.dependence import all_below, is_below, needed_by
from organism.threads.frames import Ask, Message, Thread, pending
from organism.threads.lineage import descendants

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Generator, Iterable, Iterator, Mapping, Sequence

    from organism.budget.claims import Vector
    from organism.budget.node import Node
    from organism.kernel.holds import Hold
    from organism.kernel.places import Owner, Places
    from organism.kernel.state import State
    from organism.threads.frames import Frame


@define(eq=False)
class _Call:
    """A call that waits, ``inside`` the blocks of these streams; the youngest has the highest ``age``."""

    call: Waiter | Queued
    age: int
    inside: list[Kept]


@define(eq=False)
class _Need:
    """What a delivery waits for others to do, and who can bring it."""

    what: Ask | Thread
    by: list[Message]


class Knots:
    """Looks for knots among those who wait. Nothing is decided here: who is found is to be refused.

    ``scopes`` are the cancel scopes that the task stands in which asks, the innermost first: those of the blocks of streams are among them.
    """

    def __init__(self, state: State) -> None:
        self._state = state
        self._ages = 0
        self.waiting: dict[Owner, dict[Waiter | Queued, _Call]] = {}
        """The calls that wait, for budget or for a place."""
        self.kept: dict[Kept, None] = {}
        """The places that open streams keep."""
        self._blocks: dict[object, Kept] = {}
        """The streams by the scopes of their blocks."""
        self._shut: Counter[Places] = Counter()
        """How many places may not come back before somebody who waits has gone: those of streams that wait."""
        self._queues: Counter[Places] = Counter()
        """How many calls wait for a place."""
        self.contention = Contention(self._is_waiting)
        """Where streams could keep those from going who wait for budget."""

    def joined(self, waiter: Waiter, scopes: Iterable[object]) -> Lack | None:
        """Notes a call that waits for budget from now on; where it ties a knot by that, what it lacks for good. An older one that it ties
        is found by the next :meth:`tied`.
        """
        self._join(waiter, scopes)
        self.contention.touched(waiter.path)
        tied = self.tied()
        return tied[1] if isinstance(tied, tuple) and tied[0] is waiter else None

    def left(self, call: Waiter | Queued) -> None:
        """Forgets a call that waits no more."""
        beside = self.waiting.get(call.owner, {})
        gone = beside.pop(call, None)
        if not beside:
            self.waiting.pop(call.owner, None)
        if gone is None:
            return
        if isinstance(call, Queued):
            _add(self._queues, call.at, -1)
        else:
            self.contention.touched(call.path)
        for kept in gone.inside:
            self._wait_in(kept, calls=-1)
        self.contention.review(call.owner)

    @contextmanager
    def queued(
        self, owner: Owner, at: Places, refuse: Callable[[], object], scopes: Iterable[object]
    ) -> Generator[None]:
        """A block in which a call waits for a place; ``refuse`` is called, now or later, where it would wait for ever. An older one that
        it ties is found by the next :meth:`tied`.
        """
        call = Queued(owner, at, refuse)
        self._join(call, scopes)
        _add(self._queues, at, 1)
        try:
            if self.tied() is call:
                self.left(call)
                refuse()
            yield
        finally:
            self.left(call)

    @contextmanager
    def keeping(self, owner: Owner, at: Places, scopes: Iterable[object]) -> Generator[None]:
        """A block in a scope of its own, in which a stream is open, and keeps its place."""
        kept, scope = Kept(owner, at), next(iter(scopes), None)
        self.kept[kept] = None
        self._blocks[scope] = kept
        try:
            yield
        finally:
            if kept.waits:
                _add(self._shut, at, -1)
            del self.kept[kept]
            self._blocks.pop(scope, None)

    def awaits(self, owner: Message, what: Ask | Thread, scopes: Iterable[object]) -> None:
        """A task of a delivery waits for what others do from now on."""
        for kept in self._around(owner, scopes):
            self._wait_in(kept, begins=what)

    def awaits_no_more(self, owner: Message, what: Ask | Thread, scopes: Iterable[object]) -> None:
        """It has that, or does without."""
        for kept in self._around(owner, scopes):
            self._wait_in(kept, ends=what)
        self.contention.review(owner)

    def tied(self) -> tuple[Waiter, Lack] | Queued | None:
        """The youngest of those who would wait for ever, with what it lacks where it waits for budget; ``None`` while everybody may yet go."""
        if not self._may_be_tied():
            return None
        waits = self._waits()
        stuck = {wait for each in waits.values() for wait in each}
        while True:
            blocked = {owner for owner, each in waits.items() if stuck.issuperset(each)}
            held = held_by(hold for hold in self._streams() if hold.owner in blocked)
            taken = self._taken(waits, stuck)
            go = [wait for wait in stuck if self._may_go(wait, blocked, held, taken)]
            if not go:
                break
            stuck.difference_update(go)
        youngest = max(self._tying(waits, stuck, blocked), key=lambda each: each.age, default=None)
        if youngest is None:
            return None
        if isinstance(youngest.call, Queued):
            return youngest.call
        lack = self._keeps(youngest.call, held)
        return None if lack is None else (youngest.call, lack)

    def _join(self, call: Waiter | Queued, scopes: Iterable[object]) -> None:
        self._ages += 1
        inside = self._around(call.owner, scopes)
        self.waiting.setdefault(call.owner, {})[call] = _Call(call, self._ages, inside)
        for kept in inside:
            self._wait_in(kept, calls=1)
        self.contention.review(call.owner)

    def _around(self, owner: Owner, scopes: Iterable[object]) -> list[Kept]:
        """The open streams of an owner whose blocks are among these scopes."""
        if not self._blocks:
            return []
        found = (self._blocks.get(scope) for scope in scopes)
        return [kept for kept in found if kept is not None and kept.owner is owner]

    def _wait_in(
        self, kept: Kept, *, calls: int = 0, begins: Ask | Thread | None = None, ends: Ask | Thread | None = None
    ) -> None:
        """Notes what begins or ends to be waited for inside the block of a stream."""
        before = kept.waits
        kept.calls += calls
        if begins is not None:
            kept.awaits.append(begins)
        if ends in kept.awaits:
            kept.awaits.remove(ends)
        if kept in self.kept:
            _add(self._shut, kept.at, kept.waits - before)

    def _may_be_tied(self) -> bool:
        """Whether to look at all, which takes the longer the more there are: whoever waits for budget goes, where not even all that
        wait hold too much of it; and then whoever waits for a place does, where not even all their streams keep all places.
        """
        return bool(self.contention.nodes) or any(self._shut[at] >= at.most for at in self._queues)

    def _streams(self) -> Iterator[Hold]:
        for holds in self._state.streams.values():
            yield from holds

    def _waits(self) -> dict[Owner, list[_Call | _Need]]:
        """All that streams may be waiting for, by whose they are: calls, and what others are to do."""
        running = self._state.occupied
        frames, threads = all_below(running)
        found: dict[Owner, list[_Call | _Need]] = {}
        places: set[Places] = set()
        stack: list[Owner] = [hold.owner for hold in self._streams()]
        stack += (kept.owner for kept in self.kept)
        while stack:
            owner = stack.pop()
            if owner in found or not self._is_waiting(owner):
                continue
            found[owner] = waits = list[_Call | _Need](self.waiting.get(owner, {}).values())
            for each in self.waiting.get(owner, ()):
                if isinstance(each, Queued) and each.at not in places:
                    places.add(each.at)
                    stack += self._in_line_at(each.at)
            if isinstance(owner, Message):
                for ask in owner.asks:
                    if not ask.done and ask.frame is not None:
                        work = self._has_work(ask.frame.thread, ask.frame)
                        below = frames.get(ask.frame, ())
                        waits.append(_Need(ask, [] if work else list(needed_by(ask.frame, running, below))))
                for thread in owner.awaits or ():
                    work = self._has_work(thread)
                    waits.append(_Need(thread, [] if work else threads.get(thread, [])))
            stack += (other for wait in waits if isinstance(wait, _Need) for other in wait.by)
        return found

    def _in_line_at(self, at: Places) -> Iterator[Owner]:
        """Whose calls have a place there, and wait for budget."""
        for owner, calls in self.waiting.items():
            if any(at in _places_of(call) for call in calls):
                yield owner

    def _has_work(self, thread: Thread, frame: Frame | None = None) -> bool:
        """Whether something is queued in a thread, on the frame's behalf, that nobody who waits keeps from being handled."""
        state = self._state
        return any(
            (frame is None or is_below(message.frame, frame))
            and (message.thread, message.mailbox) not in state.occupied
            for each in descendants(thread)
            for message in (*pending(each), *state.schedule.waiting_for_place(each))
        )

    def _is_waiting(self, owner: Owner) -> bool:
        if owner in self.waiting:
            return True
        return isinstance(owner, Message) and bool(owner.asks or owner.awaits)

    def _taken(
        self, waits: Mapping[Owner, list[_Call | _Need]], stuck: Collection[_Call | _Need]
    ) -> Mapping[Places, int]:
        """The places that nobody gives back before one who is stuck has gone."""
        taken: Counter[Places] = Counter()
        for kept in self.kept:
            if any(_keeps_open(kept, wait) for wait in waits.get(kept.owner, ()) if wait in stuck):
                taken[kept.at] += 1
        for wait in stuck:
            if isinstance(wait, _Call):
                taken.update(_places_of(wait.call))
        return taken

    def _may_go(
        self, wait: _Call | _Need, blocked: Collection[Owner], held: Mapping[Node, Vector], taken: Mapping[Places, int]
    ) -> bool:
        """Whether it goes on once all has settled that does not wait itself."""
        if isinstance(wait, _Need):
            return not wait.by or any(other not in blocked for other in wait.by)
        call = wait.call
        if isinstance(call, Queued):
            return taken.get(call.at, 0) < call.at.most
        return self._keeps(call, held) is None

    def _tying(
        self,
        waits: Mapping[Owner, list[_Call | _Need]],
        stuck: Collection[_Call | _Need],
        blocked: Collection[Owner],
    ) -> Iterator[_Call]:
        """The calls that are stuck where something else waits for whoever makes them: all of a delivery, or the block of a stream."""
        for owner, each in waits.items():
            for wait in each:
                if isinstance(wait, _Call) and wait in stuck and (owner in blocked or wait.inside):
                    yield wait

    def _keeps(self, waiter: Waiter, held: Mapping[Node, Vector]) -> Lack | None:
        """What keeps a call from going beside this alone: what it lacks, or what an older one that bars it lacks. That one
        goes on waiting, whatever else its owner does, and whether or not a stream waits for that.
        """
        for node in waiter.path:
            for unit in lacking(waiter, node, held.get(node, NOTHING)):
                return Lack(node, unit, waiter.least[unit], for_good=True)
        for node in waiter.path:
            here = held.get(node, NOTHING)
            older = self._state.line.bar(node, here)
            if older is not None and older.number < waiter.number:
                unit = next(lacking(older, node, here))
                return Lack(node, unit, waiter.least[unit], for_good=True)
        return None


def _places_of(call: Waiter | Queued) -> Sequence[Places]:
    """The places that a call has while it waits for budget."""
    if isinstance(call, Queued):
        return ()
    at: tuple[Places, ...] = call.note.at
    return at


def _keeps_open(kept: Kept, wait: _Call | _Need) -> bool:
    """Whether a stream stays open while its delivery waits for this: it is waited for inside its block."""
    return kept in wait.inside if isinstance(wait, _Call) else wait.what in kept.awaits


def _add(counter: Counter[Places], at: Places, more: int) -> None:
    """Counts, and keeps no nulls."""
    counter[at] += more
    if not counter[at]:
        del counter[at]
