"""An index of the calls that wait at one node: by age, by need, and by the place where each stands.

Waiting calls are known here by their number, which is their age (the smallest is the oldest), and by the least they need. A *measure* is
(unit, by_limit): what a need is compared with, the limit (a grace call on its own thread's node) or the working limit of that unit. All
lists are sorted, so that no question looks at every call: ten thousand calls that lack the same cost no more than ten.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from typing import TYPE_CHECKING, Final

from organism.budget.claims import COST, Vector

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator

Measure = tuple[int, bool]
_NO_NEED: Final = -(1 << 99)
"""A need that fits even where a unit is overdrawn."""
_FEW: Final = 16
"""Where the needs of fewer calls fit, it is faster to look at all of these than to search by age."""


class Ranking:
    """Numbers of calls in the order of their needs."""

    __slots__ = ("_order",)

    def __init__(self) -> None:
        self._order: list[tuple[int, int]] = []

    def __bool__(self) -> bool:
        return bool(self._order)

    def add(self, need: int, number: int) -> None:
        """Takes a number in."""
        insort(self._order, (need, number))

    def remove(self, need: int, number: int) -> None:
        """Takes a number out that was added with this need."""
        del self._order[bisect_left(self._order, (need, number))]

    @property
    def most(self) -> int:
        """The largest need."""
        return self._order[-1][0]

    def add_all(self, needs: Iterable[tuple[int, int]]) -> None:
        """Takes many in at once, each as (need, number)."""
        self._order.extend(needs)
        self._order.sort()

    def copy(self) -> Ranking:
        """A copy."""
        same = Ranking()
        same._order = self._order.copy()
        return same

    def above(self, room: int) -> list[int]:
        """The numbers whose need does not fit into ``room``."""
        return [number for _, number in self._order[bisect_left(self._order, (room + 1, -1)) :]]

    def largest_within(self, room: int) -> int | None:
        """The largest need that fits into ``room``; ``None`` where none does."""
        fitting = self.within(room)
        return self._order[fitting - 1][0] if fitting else None

    def within(self, room: int) -> int:
        """How many needs fit into ``room``."""
        return bisect_left(self._order, (room + 1, -1))

    def first(self, count: int) -> Iterator[int]:
        """The ``count`` numbers with the smallest needs."""
        return (number for _, number in self._order[:count])


class Standing:
    """The calls that stand at one measure of a node: they lack that, or are barred there by an older call."""

    __slots__ = ("_ages", "_needs", "_ranking")

    def __init__(self) -> None:
        self._ages: list[int] = []
        self._needs: dict[int, int] = {}
        self._ranking = Ranking()

    def __bool__(self) -> bool:
        return bool(self._ages)

    def add(self, need: int, number: int) -> None:
        """Lets a call stand here."""
        insort(self._ages, number)
        self._needs[number] = need
        self._ranking.add(need, number)

    def remove(self, number: int) -> None:
        """Lets a call go from here."""
        del self._ages[bisect_left(self._ages, number)]
        self._ranking.remove(self._needs.pop(number), number)

    def oldest(self, room: int, *, after: int, until: int) -> int | None:
        """The smallest number whose need fits into ``room``, above ``after`` and at most ``until``; ``None`` where there is none."""
        fitting = self._ranking.within(room)
        if fitting < _FEW:
            return min((number for number in self._ranking.first(fitting) if after < number <= until), default=None)
        for index in range(bisect_right(self._ages, after), len(self._ages)):
            number = self._ages[index]
            if number > until:
                break
            if self._needs[number] <= room:
                return number
        return None


class Index:
    """Calls by age (``ages``), and for each measure by need (``rankings``)."""

    __slots__ = ("ages", "rankings")

    def __init__(self) -> None:
        self.ages: list[int] = []
        self.rankings: dict[Measure, Ranking] = {}

    def add(self, number: int, needs: Iterable[tuple[Measure, int]]) -> None:
        """Takes a call in, with what it needs of each measure."""
        insort(self.ages, number)
        for measure, need in needs:
            self._ranking(measure).add(need, number)

    def add_all(self, calls: Iterable[tuple[int, Iterable[tuple[Measure, int]]]]) -> None:
        """Takes many in at once, which sorts each list once."""
        ranked: dict[Measure, list[tuple[int, int]]] = {}
        for number, needs in calls:
            self.ages.append(number)
            for measure, need in needs:
                ranked.setdefault(measure, []).append((need, number))
        self.ages.sort()
        for measure, found in ranked.items():
            self._ranking(measure).add_all(found)

    def copy(self) -> Index:
        """A copy."""
        same = Index()
        same.ages = self.ages.copy()
        same.rankings = {measure: ranking.copy() for measure, ranking in self.rankings.items()}
        return same

    def _ranking(self, measure: Measure) -> Ranking:
        ranking = self.rankings.get(measure)
        if ranking is None:
            ranking = self.rankings[measure] = Ranking()
        return ranking

    def remove(self, number: int, needs: Iterable[tuple[Measure, int]]) -> None:
        """Takes a call out that was added with these needs."""
        del self.ages[bisect_left(self.ages, number)]
        for measure, need in needs:
            ranking = self.rankings[measure]
            ranking.remove(need, number)
            if not ranking:
                del self.rankings[measure]


class Crowd:
    """All waiting calls that have one node on their path. ``limited`` are the units in which the node has limits.

    ``everyone`` are all of them, ``impatient`` those that were passed over too often and bar younger ones, ``standing`` those that stand at this
    node, by measure. ``owners`` are those of whom open streams hold something here while their calls wait, by what the largest of these calls
    needs beside that: whoever makes the calls keeps it up to date.
    """

    __slots__ = ("_limited", "_needs", "everyone", "impatient", "owners", "standing")

    def __init__(self, limited: tuple[int, ...]) -> None:
        self._limited = limited
        self._needs: dict[int, tuple[Vector, bool]] = {}
        self.everyone = Index()
        self.impatient = Index()
        self.standing: dict[Measure, Standing] = {}
        self.owners = Index()

    def __bool__(self) -> bool:
        return bool(self._needs)

    def join(self, number: int, least: Vector, *, by_limit: bool) -> None:
        """Takes a call in that needs at least ``least``, compared with the limit (``by_limit``) or the working limit."""
        self._needs[number] = (least, by_limit)
        self.everyone.add(number, self._measured(number))

    def leave(self, number: int, *, impatient: bool) -> None:
        """Takes a call out, which must not stand at this node any more. ``impatient``: it was among those."""
        needs = self._measured(number)
        self.everyone.remove(number, needs)
        if impatient:
            self.impatient.remove(number, needs)
        del self._needs[number]

    def lose_patience(self, numbers: Collection[int]) -> None:
        """From now on these calls bar younger ones where they lack."""
        if len(self.impatient.ages) + len(numbers) == len(self._needs):
            self.impatient = self.everyone.copy()  # a common case: all have been passed over by the same calls
            return
        self.impatient.add_all((number, self._measured(number)) for number in numbers)

    def stand(self, number: int, unit: int) -> Measure:
        """Lets a call stand at a unit of this node; returns the measure."""
        least, by_limit = self._needs[number]
        measure = (unit, by_limit)
        standing = self.standing.get(measure)
        if standing is None:
            standing = self.standing[measure] = Standing()
        # A barred call stands where the older one lacks, perhaps at a unit of which it needs nothing itself.
        standing.add(least[unit] if bears(unit, least[unit]) else _NO_NEED, number)
        return measure

    def step_off(self, number: int, measure: Measure) -> None:
        """Takes a call away from the measure where it stood."""
        standing = self.standing[measure]
        standing.remove(number)
        if not standing:
            del self.standing[measure]

    def measure_by(self, limited: tuple[int, ...]) -> None:
        """The node has limits in these units from now on."""
        if limited == self._limited:
            return
        self._limited = limited
        impatient = self.impatient.ages
        self.everyone, self.impatient = Index(), Index()
        self.everyone.add_all((number, self._measured(number)) for number in self._needs)
        self.lose_patience(impatient)

    def _measured(self, number: int) -> list[tuple[Measure, int]]:
        least, by_limit = self._needs[number]
        return [((unit, by_limit), least[unit]) for unit in self._limited if bears(unit, least[unit])]


def bears(unit: int, amount: int) -> bool:
    """Whether a need is compared with the limit of a unit. Tokens and cost always are, so that an overdrawn limit refuses even a free call;
    model calls and messages only where some are needed: a further attempt counts as no model call, and no call needs messages.
    """
    return amount > 0 or unit <= COST
