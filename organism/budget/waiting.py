"""The line of calls that wait for budget (R14): oldest first, none passed over for ever, none waiting in vain.

* A waiting call holds nothing.
* It *lacks* a unit of a node where its need does not fit. It is *passed over* when a younger call is granted on a node where it lacks; after
  :data:`PATIENCE` times it is impatient, and *bars* younger calls on the nodes where it lacks.
* It *stands* at one unit of a node where it lacks or is barred, and is tried again when something is freed there.

So a call that fits and is not barred never stays in line, a call that can never fit is refused, and only calls that may have a reason to
go are looked at.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from attrs import define, evolve

from organism.budget.caps import NO_LIMIT
from organism.budget.claims import Claim, Vector
from organism.budget.crowd import Crowd, Index, Measure, bears
from organism.budget.node import Node
from organism.budget.tree import NOWHERE, Lack, fits, spared_for, take
from organism.budget.verdicts import Granted, MustWait, TooMuch, Verdict, decide

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence

PATIENCE: Final = 16


@define(eq=False)
class Waiter:
    """A call in line. ``number`` is its age (the smallest is the oldest); ``owner`` and ``note`` belong to whoever put it there."""

    number: int
    claim: Claim
    path: tuple[Node, ...]
    grace: bool
    owner: Any
    note: Any
    least: Vector
    """Its need with the smallest output that it would accept."""
    node: Node
    """The node at which it stands."""
    measure: Measure
    passed: int = 0
    """How many younger calls were granted where it lacked."""


class _Owner:
    """The waiting calls of one owner, and what its own streams hold meanwhile, by node. ``listed`` is what they come to in the crowds of their
    nodes (:attr:`Crowd.owners <organism.budget.crowd.Crowd.owners>`).
    """

    def __init__(self, number: int, stuck: Mapping[Node, Vector]) -> None:
        self.number = number
        self.stuck = stuck
        self.calls: dict[int, Waiter] = {}
        self.listed: dict[Node, list[tuple[Measure, int]]] = {}


class Line:
    """All waiting calls of one organism. ``stuck`` says what an owner's own thread holds as long as it waits (its open streams), by node:
    that is asked again only once a stream was :meth:`opened` or :meth:`closed`. ``patience`` is how often a call may be passed over, at least once.
    """

    def __init__(
        self, stuck: Callable[[Any], Mapping[Node, Vector]] = lambda _owner: NOWHERE, *, patience: int = PATIENCE
    ) -> None:
        self._stuck = stuck
        self._patience = patience
        self._next = 0
        self._waiting: dict[int, Waiter] = {}
        self._owners: dict[Any, _Owner] = {}
        self._numbered: dict[int, _Owner] = {}
        self._changed: dict[Any, bool] = {}
        """Owners whose streams have changed since they were last asked for, and whether one was opened."""
        self._tired: dict[Node, None] = {}
        """Nodes at which a call has lost its patience since the last search for calls that can never go beside their own streams."""
        self.lost_patience = 0
        """How often a call has lost its patience, at any node."""

    def __len__(self) -> int:
        return len(self._waiting)

    def __iter__(self) -> Iterator[Waiter]:
        return iter(self._waiting.values())

    @property
    def owners(self) -> Collection[Any]:
        """Those whose calls wait."""
        return self._owners.keys()

    def arrive(self, claim: Claim, path: tuple[Node, ...], owner: Any, *, grace: bool) -> Verdict:
        """The verdict on a new call; where it fits it is held. Older calls that bar it are respected."""
        if not self._waiting:
            verdict = decide(claim, path, grace=grace)
            if type(verdict) is Granted:
                take(path, verdict.need)
                return verdict
        verdict = self._judge(claim, path, owner, grace=grace, number=self._next)
        if isinstance(verdict, Granted):
            self._take(path, verdict.need, self._next)
        return verdict

    def join(self, claim: Claim, path: tuple[Node, ...], stood: Lack, *, grace: bool, owner: Any, note: Any) -> Waiter:
        """Puts a call at the end of the line, where its arrival was told to wait; nothing may happen in between."""
        number = self._next
        self._next += 1
        least = claim.need(claim.wish if claim.exact else min(claim.min_output, claim.wish))
        whole = spared_for(path) if grace else ()
        for node in path:
            if node.crowd is None:
                node.crowd = Crowd(node.caps.limited)
            node.crowd.join(number, least, by_limit=node in whole)
        measure = _crowd(stood.node).stand(number, stood.unit)
        waiter = Waiter(number, claim, path, grace, owner, note, least, stood.node, measure)
        self._waiting[number] = waiter
        own = self._owners.get(owner)
        if own is None:
            own = self._owners[owner] = self._numbered[number] = _Owner(number, self._stuck(owner))
        own.calls[number] = waiter
        _list(own)
        return waiter

    def bar(self, node: Node, held: Sequence[int]) -> Waiter | None:
        """The oldest impatient call that would lack at this node if ``held`` were held there; younger ones are barred here by it."""
        crowd = node.crowd
        if crowd is None or not crowd.impatient.ages:
            return None
        if not _any_lacks(crowd.impatient, node, held):
            return None
        return next(
            (each for each in self._all(crowd.impatient.ages) if any(True for _ in lacking(each, node, held))), None
        )

    def opened(self, owner: Any) -> None:
        """A stream was opened that stays open while this owner waits: its calls may wait for what that holds."""
        if owner in self._owners:
            self._changed[owner] = True

    def closed(self, owner: Any) -> None:
        """Such a stream was closed."""
        if owner in self._owners:
            self._changed.setdefault(owner, False)

    def leave(self, waiter: Waiter) -> None:
        """Takes a call out of the line. Calls that it barred are tried with the next :meth:`freed` of its path."""
        if waiter.number in self._waiting:
            self._remove(waiter)

    def freed(self, path: Iterable[Node]) -> list[tuple[Waiter, Granted | TooMuch]]:
        """Tries those who wait, oldest first, after something held on the path went back or a limit there changed. Gives the grants, then
        the refusals.

        To be called again until it gives nothing: what it granted may be a stream that others of its thread now wait for.
        """
        if not self._waiting:
            return []
        granted: list[tuple[Waiter, Granted | TooMuch]] = []
        refused: list[tuple[Waiter, Granted | TooMuch]] = []
        touched = dict.fromkeys(path)
        for suspect in self._suspects(touched):
            verdict = self._judged(suspect)
            if isinstance(verdict, TooMuch):
                self._remove(suspect)
                refused.append((suspect, verdict))
                touched |= dict.fromkeys(suspect.path)  # it may have barred others, also where nothing was freed
            else:
                self.closed(suspect.owner)  # a window has rolled: its streams hold less than was known
        number = -1
        while (waiter := self._next_at(touched, after=number)) is not None:
            number = waiter.number
            verdict = self._judged(waiter)
            if isinstance(verdict, MustWait):
                self._stand(waiter, verdict.lack)
                continue
            self._remove(waiter)
            if isinstance(verdict, Granted):
                granted.append((waiter, verdict))
                self._take(waiter.path, verdict.need, number)
            else:
                refused.append((waiter, verdict))
        return granted + refused  # a refusal tells of all that is taken by now

    # Judging

    def _judged(self, waiter: Waiter) -> Verdict:
        return self._judge(waiter.claim, waiter.path, waiter.owner, grace=waiter.grace, number=waiter.number)

    def _judge(self, claim: Claim, path: tuple[Node, ...], owner: Any, *, grace: bool, number: int) -> Verdict:
        verdict = decide(claim, path, grace=grace)
        if isinstance(verdict, MustWait):
            stuck = self._stuck(owner)
            return decide(claim, path, grace=grace, stuck=stuck) if stuck else verdict
        if isinstance(verdict, TooMuch) or not self._waiting:
            return verdict
        bar = self._bar_on(path, verdict.need, number)
        if bar is None:
            return verdict
        stuck = self._stuck(owner)
        if stuck and self._barred_by_itself(path, stuck, number):
            return TooMuch(evolve(bar, for_good=True))
        return MustWait(bar)

    def _bar_on(self, path: tuple[Node, ...], need: Vector, number: int) -> Lack | None:
        """Where an older call that has lost its patience lacks on this path."""
        for node in path:
            older = self.bar(node, node.held)
            if older is not None and older.number < number:
                unit = next(lacking(older, node, node.held))
                return Lack(node, unit, need[unit], for_good=False)
        return None

    def _barred_by_itself(self, path: tuple[Node, ...], stuck: Mapping[Node, Vector], number: int) -> bool:
        """Whether one that bars this call lacks what the call's own owner holds meanwhile: neither would ever go."""
        return any(
            node.used[unit] + stuck[node][unit] + older.least[unit] > _cap(node, unit, by_limit=_by_limit(older, node))
            for node in path
            if node.crowd is not None and node in stuck
            for older in self._all(node.crowd.impatient.ages)
            if older.number < number
            for unit in lacking(older, node, node.held)
        )

    def _suspects(self, touched: Iterable[Node]) -> list[Waiter]:
        """Those who may never go any more: they need more than can become free, or wait for what their own streams hold."""
        found: set[int] = set()
        for node in touched:
            if node.crowd is not None:
                for (unit, by_limit), ranking in node.crowd.everyone.rankings.items():
                    left = _cap(node, unit, by_limit=by_limit) - node.used[unit]
                    if ranking.most > left:
                        found.update(ranking.above(left))
        tired, self._tired = self._tired, {}
        for node in dict.fromkeys((*touched, *tired, *self._refreshed())):
            if node.crowd is not None and node.crowd.owners.ages:
                found.update(self._entangled(node, node.crowd))
        return list(self._all(sorted(found)))

    def _refreshed(self) -> Iterator[Node]:
        """Asks again what streams hold where they have changed; the nodes at which it may be more."""
        changed, self._changed = self._changed, {}
        for owner, more in changed.items():
            own = self._owners.get(owner)
            if own is not None:
                own.stuck = self._stuck(owner)
                _list(own)
                if more:
                    yield from own.listed

    def _entangled(self, node: Node, crowd: Crowd) -> Iterator[int]:
        """The calls that may never go beside what streams of their owners hold at a node: it lacks that, or fits and is barred by one that does."""
        for (unit, by_limit), ranking in crowd.owners.rankings.items():
            left = _cap(node, unit, by_limit=by_limit) - node.used[unit]
            if ranking.most > left:
                for own in map(self._numbered.__getitem__, ranking.above(left)):
                    held = own.stuck[node]
                    yield from (
                        each.number for each in own.calls.values() if any(True for _ in lacking(each, node, held))
                    )
        for (unit, by_limit), ranking in crowd.impatient.rankings.items():
            left = _cap(node, unit, by_limit=by_limit) - node.used[unit] - ranking.most
            for own in map(self._numbered.__getitem__, crowd.owners.ages):
                if own.stuck[node][unit] > left:
                    yield from (
                        each.number for each in own.calls.values() if fits(each.path, each.least, grace=each.grace)
                    )

    def _next_at(self, touched: Iterable[Node], *, after: int) -> Waiter | None:
        """The oldest that is younger than ``after``, stands at one of these nodes, and lacks there no more."""
        found: int | None = None
        for node in touched:
            if node.crowd is None:
                continue
            bar = self.bar(node, node.held)
            until = self._next if bar is None else bar.number
            for (unit, by_limit), standing in node.crowd.standing.items():
                number = standing.oldest(node.free(unit, grace=by_limit), after=after, until=until)
                if number is not None and (found is None or number < found):
                    found = number
        return None if found is None else self._waiting[found]

    def _all(self, numbers: Iterable[int]) -> Iterator[Waiter]:
        return (self._waiting[number] for number in numbers)

    # Changing

    def _take(self, path: tuple[Node, ...], need: Vector, number: int) -> None:
        """Holds what was granted to the call of this age, and notes whom it has passed over."""
        if self._waiting:
            self._pass_over(self._lacking_on(path, number), number)
        take(path, need)

    def _lacking_on(self, path: tuple[Node, ...], number: int) -> set[int]:
        """Those who lack on a path where somebody is older than this call."""
        found: set[int] = set()
        for node in reversed(path):
            if node.crowd is None or node.crowd.everyone.ages[0] >= number:
                continue
            for (unit, by_limit), ranking in node.crowd.everyone.rankings.items():
                found.update(ranking.above(node.free(unit, grace=by_limit)))
            if len(found) == len(self._waiting):
                break
        return found

    def _pass_over(self, passed: Iterable[int], number: int) -> None:
        """Notes that a call went before these, where they are older; some lose their patience by it."""
        tired: dict[Node, list[int]] = {}
        for each in passed:
            if each < number:
                older = self._waiting[each]
                older.passed += 1
                if older.passed == self._patience:
                    for node in older.path:
                        tired.setdefault(node, []).append(each)
        for node, numbers in tired.items():
            _crowd(node).lose_patience(numbers)
            self._tired[node] = None
            self.lost_patience += 1

    def _stand(self, waiter: Waiter, lack: Lack) -> None:
        _crowd(waiter.node).step_off(waiter.number, waiter.measure)
        waiter.node = lack.node
        waiter.measure = _crowd(lack.node).stand(waiter.number, lack.unit)

    def _remove(self, waiter: Waiter) -> None:
        number, impatient = waiter.number, waiter.passed >= self._patience
        _crowd(waiter.node).step_off(number, waiter.measure)
        own = self._owners[waiter.owner]
        del own.calls[number]
        _list(own)
        for node in waiter.path:
            crowd = _crowd(node)
            crowd.leave(number, impatient=impatient)
            if not crowd:
                node.crowd = None
        del self._waiting[number]
        if not own.calls:
            del self._owners[waiter.owner], self._numbered[own.number]
            self._changed.pop(waiter.owner, None)


def _crowd(node: Node) -> Crowd:
    """Those who wait below a node where somebody does."""
    assert node.crowd is not None  # noqa: S101 - whoever waits is in the crowd of each node on its path
    return node.crowd


def _list(own: _Owner) -> None:
    """Lists an owner anew in the crowds of its nodes: what the largest of its calls needs there beside what its own streams hold."""
    for node, needs in own.listed.items():
        _crowd(node).owners.remove(own.number, needs)
    own.listed = {}
    if not own.stuck:
        return
    most: dict[Node, dict[Measure, int]] = {}
    for waiter in own.calls.values():
        for node in waiter.path:
            if node in own.stuck:
                here, by_limit = most.setdefault(node, {}), _by_limit(waiter, node)
                for unit, need in enumerate(waiter.least):
                    if bears(unit, need) and need >= here.get((unit, by_limit), 0):
                        here[unit, by_limit] = need
    for node, largest in most.items():
        needs = [(measure, need + own.stuck[node][measure[0]]) for measure, need in largest.items()]
        own.listed[node] = needs
        _crowd(node).owners.add(own.number, needs)


def _by_limit(waiter: Waiter, node: Node) -> bool:
    return waiter.grace and node in spared_for(waiter.path)


def _cap(node: Node, unit: int, *, by_limit: bool) -> int:
    return node.caps.limit[unit] if by_limit else node.caps.working[unit]


def _free(node: Node, unit: int, held: Sequence[int], *, by_limit: bool) -> int:
    """As :meth:`Node.free <organism.budget.node.Node.free>` would have it beside so much."""
    return _cap(node, unit, by_limit=by_limit) - node.used[unit] - held[unit]


def anybody_lacks(node: Node, held: Sequence[int]) -> bool:
    """Whether somebody who waits below a node would lack there beside so much."""
    return node.crowd is not None and _any_lacks(node.crowd.everyone, node, held)


def spare(node: Node, held: Sequence[int]) -> Vector:
    """How much more could be used at a node, by unit, before anybody else who waits below it would lack there beside so much."""
    found = [NO_LIMIT] * len(held)
    for (unit, by_limit), ranking in node.crowd.everyone.rankings.items() if node.crowd is not None else ():
        free = _free(node, unit, held, by_limit=by_limit)
        largest = ranking.largest_within(free)
        if largest is not None:
            found[unit] = min(found[unit], free - largest)
    return tuple(found)


def _any_lacks(calls: Index, node: Node, held: Sequence[int]) -> bool:
    return any(
        ranking.most > _free(node, unit, held, by_limit=by_limit)
        for (unit, by_limit), ranking in calls.rankings.items()
    )


def lacking(waiter: Waiter, node: Node, held: Sequence[int]) -> Iterator[int]:
    """The units of a node on its path in which a waiting call lacks beside so much."""
    by_limit = _by_limit(waiter, node)
    for unit in node.caps.limited:
        need = waiter.least[unit]
        if need > _free(node, unit, held, by_limit=by_limit) and bears(unit, need):
            yield unit
