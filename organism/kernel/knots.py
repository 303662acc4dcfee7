"""Knots: deadlocks between calls that wait for each other. Each needs what is held by a stream that will not end before another of them has
gone, or is barred by a call that does. What is held is budget, or a place: at a backend, or that of the call that probes a circuit.

Assumptions:

* A delivery that waits, for budget or for what others do, reads on in none of its streams: their holds come back once it goes on.
* The place of a stream at a backend comes back once the stream's block is left. What a delivery waits for outside of the block does not
  delay that, since another task may leave it; tasks that were started in a group inside the block do.
* The place of a circuit's probe, and any other that a call has while it waits for budget, comes back once that call has gone.

The line of waiting calls refuses a call at once that its own delivery's streams keep from going. Here are the knots between several
deliveries, in whatever order they came to it, and all those over places.
"""

from __future__ import annotations

from collections import Counter
from contextlib import contextmanager
from operator import add, gt
from typing import TYPE_CHECKING

from attrs import define

from organism.budget.claims import NOTHING, Vector
from organism.budget.node import Node
from organism.budget.tree import Lack
from organism.budget.waiting import Waiter, lacking, spare
from organism.kernel.contention import Contention
from organism.kernel.places import Kept, Queued
from organism.kernel.streams import held_by
from organism.threads.dependence import all_below, is_below, is_waiting, needed_by
from organism.threads.frames import Ask, Message, Thread, pending
from organism.threads.lineage import descendants

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Generator, Iterable, Iterator, Mapping, Sequence

    from organism.kernel.holds import Hold
    from organism.kernel.places import Owner, Places
    from organism.kernel.state import State
    from organism.threads.frames import Frame


@define(eq=False)
class _Call:
    """A call that waits ``inside`` the blocks of these streams. ``age`` numbers them: the youngest has the highest."""

    call: Waiter | Queued
    age: int
    inside: list[Kept]


@define(eq=False)
class _Clear:
    """What a look was based on that found nobody tied, where all were calls that wait for budget: it holds ``until`` so much is used at the nodes
    in question, or something has ``grown`` that keeps somebody from going.
    """

    grown: tuple[int, int, int]
    until: dict[Node, Vector]


@define(eq=False)
class _Need:
    """An ask or a thread that a delivery waits for (``what``), and the deliveries one of which must end first (``by``)."""

    what: Ask | Thread
    by: list[Message]


class Knots:
    """Looks for knots among those who wait. It decides nothing: the caller refuses whoever is found.

    ``scopes``, where a method takes them, are the cancel scopes that the calling task stands in, the innermost first: they tell inside which
    streams' blocks it is.
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
        """How many places are kept by streams inside whose blocks something is waited for."""
        self._queues: Counter[Places] = Counter()
        """How many calls wait for a place."""
        self.contention = Contention(self._is_waiting)
        """The quick test for knots over budget."""
        self._grown = 0
        """How often somebody has begun to wait for a call, or waits for less than before and still waits."""
        self._clear: _Clear | None = None

    def joined(self, waiter: Waiter, scopes: Iterable[object]) -> Lack | None:
        """Notes a call that waits for budget from now on. Returns what it lacks for good, where it is the one to be refused for a knot that this
        makes; an older call that is to be refused instead is found by the next :meth:`tied`.
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
        if self._is_waiting(call.owner):
            self._grown += 1  # that one may have gone, and with it the delivery
        self.contention.review(call.owner)

    @contextmanager
    def queued(
        self, owner: Owner, at: Places, refuse: Callable[[], object], scopes: Iterable[object]
    ) -> Generator[None]:
        """A block in which a call waits for a place; ``refuse`` is called, now or later, where it would wait for ever. An older call that is to
        be refused instead is found by the next :meth:`tied`.
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
        """It has that, or has given up."""
        for kept in self._around(owner, scopes):
            self._wait_in(kept, ends=what)
        self.contention.review(owner)

    def tied(self) -> tuple[Waiter, Lack] | Queued | None:
        """The youngest call that would wait for ever, with what it lacks where it waits for budget; ``None`` while all may still go.

        All waits count as stuck at first; those that may go on beside the others are taken out, until none is left that may.
        """
        if not self._may_be_tied():
            return None
        waits = self._waits()
        stuck = {wait for each in waits.values() for wait in each}
        clear = _Clear(self._all_grown, {}) if all(map(_waits_for_budget, stuck)) else None
        while True:
            blocked = {owner for owner, each in waits.items() if stuck.issuperset(each)}
            held = held_by(hold for hold in self._streams() if hold.owner in blocked)
            if clear is not None:
                self._note_until(clear, held)
            taken = self._taken(waits, stuck)
            go = [wait for wait in stuck if self._may_go(wait, blocked, held, taken)]
            if not go:
                break
            stuck.difference_update(go)
        youngest = max(self._tying(waits, stuck, blocked), key=lambda each: each.age, default=None)
        self._clear = clear if youngest is None else None
        if youngest is None:
            return None
        if isinstance(youngest.call, Queued):
            return youngest.call
        lack = self._keeps(youngest.call, held)
        return None if lack is None else (youngest.call, lack)

    def _join(self, call: Waiter | Queued, scopes: Iterable[object]) -> None:
        self._ages += 1
        self._grown += 1
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
        """Whether there can be a knot, so that the search is worth its time: waiting streams hold too much of some budget, or keep all places
        of a backend for which a call waits.
        """
        if self.contention.nodes and not self._is_clear():
            return True
        return any(self._shut[at] >= at.most for at in self._queues)

    @property
    def _all_grown(self) -> tuple[int, int, int]:
        return self._grown, self.contention.grown, self._state.line.lost_patience

    def _is_clear(self) -> bool:
        """Whether the last look found nobody tied, and would again."""
        clear = self._clear
        return (
            clear is not None
            and clear.grown == self._all_grown
            and all(
                node in clear.until and not any(map(gt, node.used, clear.until[node])) for node in self.contention.nodes
            )
        )

    def _note_until(self, clear: _Clear, held: Mapping[Node, Vector]) -> None:
        """Notes how much may be used while just the same calls lack beside this."""
        for node in self.contention.nodes:
            until = tuple(map(add, node.used, spare(node, held.get(node, NOTHING))))
            clear.until[node] = tuple(map(min, until, clear.until.get(node, until)))

    def _streams(self) -> Iterator[Hold]:
        for holds in self._state.streams.values():
            yield from holds

    def _waits(self) -> dict[Owner, list[_Call | _Need]]:
        """All that keeps streams from ending, by owner: calls that wait, and what others are to do."""
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
                    if ask.frame is not None:
                        work = self._has_work(ask.frame.thread, ask.frame)
                        below = frames.get(ask.frame, ())
                        waits.append(_Need(ask, [] if work else list(needed_by(ask.frame, running, below))))
                for thread in owner.awaits or ():
                    work = self._has_work(thread)
                    waits.append(_Need(thread, [] if work else threads.get(thread, [])))
            stack += (other for wait in waits if isinstance(wait, _Need) for other in wait.by)
        return found

    def _in_line_at(self, at: Places) -> Iterator[Owner]:
        """The owners of calls that have a place there and wait for budget."""
        for owner, calls in self.waiting.items():
            if any(at in _places_of(call) for call in calls):
                yield owner

    def _has_work(self, thread: Thread, frame: Frame | None = None) -> bool:
        """Whether a message is queued in a thread (and below the frame) whose mailbox is free, so that it will be handled."""
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
        return isinstance(owner, Message) and is_waiting(owner)

    def _taken(
        self, waits: Mapping[Owner, list[_Call | _Need]], stuck: Collection[_Call | _Need]
    ) -> Mapping[Places, int]:
        """How many places of each backend do not come back before something stuck has gone."""
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
        """The stuck calls whose refusal may untie the knot: everything of their owner is stuck, or they are inside a stream's block."""
        for owner, each in waits.items():
            for wait in each:
                if isinstance(wait, _Call) and wait in stuck and (owner in blocked or wait.inside):
                    yield wait

    def _keeps(self, waiter: Waiter, held: Mapping[Node, Vector]) -> Lack | None:
        """What keeps a call from going where only this is held: what it lacks itself, or what an older call lacks that bars it. The older one
        goes on waiting, whatever else its owner does.
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


def _waits_for_budget(wait: _Call | _Need) -> bool:
    return isinstance(wait, _Call) and isinstance(wait.call, Waiter)


def _places_of(call: Waiter | Queued) -> Sequence[Places]:
    """The places that a call occupies while it waits for budget."""
    if isinstance(call, Queued):
        return ()
    at: tuple[Places, ...] = call.note.at
    return at


def _keeps_open(kept: Kept, wait: _Call | _Need) -> bool:
    """Whether a stream stays open while its delivery waits for this, since that is waited for inside its block."""
    return kept in wait.inside if isinstance(wait, _Call) else wait.what in kept.awaits


def _add(counter: Counter[Places], at: Places, more: int) -> None:
    """Adds to a count, and removes counts of 0."""
    counter[at] += more
    if not counter[at]:
        del counter[at]
