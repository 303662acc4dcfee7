"""The line of calls that wait for budget (R14): oldest first, nobody passed over for ever, nobody waiting in vain.

A waiting call takes nothing. It is passed over when a younger one is granted on a node where it lacks; after
:data:`PATIENCE` times it bars younger ones on the nodes where it lacks. It stands at one place that keeps it from going, a unit of a
node where it lacks or is barred, and is tried when something there goes back. Three things follow, whatever happens in
between: one that fits and is not barred never stays, one that can never fit is refused, and only those are looked at that
have a reason to go.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from attrs import define, evolve

from organism.budget.claims import Claim, Vector
from organism.budget.crowd import Crowd, Index, Measure, bears
from organism.budget.node import Node
from organism.budget.tree import NOWHERE, Lack, fits, lack, output_of, output_room, spared_for, take

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

PATIENCE: Final = 16


@define(eq=False)
class Waiter:
    """A call that waits. ``number`` is its age; ``owner`` and ``note`` belong to whoever put it in the line."""

    number: int
    claim: Claim
    path: tuple[Node, ...]
    grace: bool
    owner: Any
    note: Any
    least: Vector
    """What it needs with the smallest output that it would take."""
    node: Node
    """Where it stands: something there keeps it from going."""
    measure: Measure
    passed: int = 0
    """How many younger calls were granted where it lacked."""


@define
class Granted:
    """The claim fits and is held: ``output`` tokens may come back. As a hold, it is made for every call, and so not frozen."""

    need: Vector
    output: int
    clamped: bool


@define(frozen=True)
class MustWait:
    """The claim fits once what is held has settled, or is barred until older calls have gone."""

    lack: Lack


@define(frozen=True)
class TooMuch:
    """The claim does not fit, and will not."""

    lack: Lack


Verdict = Granted | MustWait | TooMuch


class Line:
    """All waiting calls of one organism. ``stuck`` says what an owner's own thread holds as long as it waits (its open
    streams), by node; ``patience`` is how often a call may be passed over, at least once.
    """

    def __init__(
        self, stuck: Callable[[Any], Mapping[Node, Vector]] = lambda _owner: NOWHERE, *, patience: int = PATIENCE
    ) -> None:
        self._stuck = stuck
        self._patience = patience
        self._next = 0
        self._waiting: dict[int, Waiter] = {}
        self._at: dict[Node, dict[int, Waiter]] = {}  # by the thread they belong to
        self._entangled: dict[Node, None] = {}  # threads in which one that waits may wait for a stream of its own

    def __len__(self) -> int:
        return len(self._waiting)

    def __iter__(self) -> Iterator[Waiter]:
        return iter(self._waiting.values())

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
        self._at.setdefault(path[0], {})[number] = waiter
        if self._stuck(owner):
            self._entangled[path[0]] = None
        return waiter

    def bar(self, node: Node, held: Sequence[int]) -> Waiter | None:
        """The oldest that has lost its patience and would lack at this node beside so much: younger ones may not pass here then."""
        crowd = node.crowd
        if crowd is None or not crowd.impatient.ages:
            return None
        if not _any_lacks(crowd.impatient, node, held):
            return None
        return next(
            (each for each in self._all(crowd.impatient.ages) if any(True for _ in lacking(each, node, held))), None
        )

    def opened(self, node: Node) -> None:
        """A stream was opened in the thread of this node: calls that wait there may wait for what it holds."""
        if node in self._at:
            self._entangled[node] = None

    def leave(self, waiter: Waiter) -> None:
        """Takes a call out of the line. Those whom it barred go on with the next :meth:`freed` of its path."""
        if waiter.number in self._waiting:
            self._remove(waiter)

    def freed(self, path: Iterable[Node]) -> list[tuple[Waiter, Granted | TooMuch]]:
        """Tries those who wait, oldest first, after something held on the path went back or a limit there changed.

        To be called again until it gives nothing: what it granted may be a stream that others of its thread now wait for.
        """
        if not self._waiting:
            return []
        done: list[tuple[Waiter, Granted | TooMuch]] = []
        touched = dict.fromkeys(path)
        for suspect in self._suspects(touched):
            verdict = self._judged(suspect)
            if isinstance(verdict, TooMuch):
                self._remove(suspect)
                done.append((suspect, verdict))
                touched |= dict.fromkeys(suspect.path)  # it may have barred others, also where nothing was freed
        number = -1
        while (waiter := self._next_at(touched, after=number)) is not None:
            number = waiter.number
            verdict = self._judged(waiter)
            if isinstance(verdict, MustWait):
                self._stand(waiter, verdict.lack)
                continue
            self._remove(waiter)
            done.append((waiter, verdict))
            if isinstance(verdict, Granted):
                self._take(waiter.path, verdict.need, number)
        return done

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
        for node in tuple(self._entangled):
            stuck = [number for number, waiter in self._at[node].items() if self._stuck(waiter.owner)]
            found.update(stuck)
            if not stuck:
                del self._entangled[node]
        return list(self._all(sorted(found)))

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

    def _stand(self, waiter: Waiter, lack: Lack) -> None:
        _crowd(waiter.node).step_off(waiter.number, waiter.measure)
        waiter.node = lack.node
        waiter.measure = _crowd(lack.node).stand(waiter.number, lack.unit)

    def _remove(self, waiter: Waiter) -> None:
        number, impatient = waiter.number, waiter.passed >= self._patience
        _crowd(waiter.node).step_off(number, waiter.measure)
        for node in waiter.path:
            crowd = _crowd(node)
            crowd.leave(number, impatient=impatient)
            if not crowd:
                node.crowd = None
        del self._waiting[number]
        beside = self._at[waiter.path[0]]
        del beside[number]
        if not beside:
            del self._at[waiter.path[0]]
            self._entangled.pop(waiter.path[0], None)


def decide(
    claim: Claim, path: tuple[Node, ...], *, grace: bool = False, stuck: Mapping[Node, Vector] = NOWHERE
) -> Verdict:
    """Whether a claim fits on the path now, later, or never. Changes nothing."""
    # Of two outputs the second is for those who call beside it (R13). Where there is room for both nothing is to be weighed.
    wish = claim.wish
    need = claim.need(wish)
    if fits(path, need if grace or claim.exact else claim.need(2 * wish), grace=grace):
        return Granted(need, wish, clamped=False)
    room = output_room(path, claim, grace=grace)
    output = output_of(claim, room, grace=grace)
    need = claim.need(output)
    missing = None if output <= room else lack(path, need, grace=grace, stuck=stuck)
    if missing is None:
        return Granted(need, output, clamped=output < claim.wish)
    return TooMuch(missing) if missing.for_good else MustWait(missing)


def _crowd(node: Node) -> Crowd:
    """Those who wait below a node where somebody does."""
    assert node.crowd is not None  # noqa: S101 - whoever waits is in the crowd of each node on its path
    return node.crowd


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
