"""A node of the tree of budgets: what it may spend, has spent and holds, which of its levels have fired, and what changes that.

What is held and settled, on the whole path to the root, is in :mod:`organism.budget.tree`.
"""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Final, TypeVar, final

from organism.budget.caps import FAR, NO_LIMIT, Caps, Mark, figure, figure_of
from organism.budget.claims import CALLS, MESSAGES, NOTHING, VECTOR, Vector
from organism.errors import titled
from organism.names import ACCOUNT

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from organism.budget.crowd import Crowd
    from organism.budget.windows import Window
    from organism.settings import Policy

T = TypeVar("T")

Amount = int | Decimal
"""A figure as users read it: Decimal for money."""
_UNITS: Final = range(len(VECTOR))
_NONE: Final[Sequence[frozenset[Decimal]]] = (frozenset[Decimal](),) * len(VECTOR)
NO_DETAILS: Final = (0, 0, 0)
"""Of what is shown and not limited: no cache reads, no cache writes, no reasoning."""
FREE: Final[Sequence[int]] = NOTHING
"""What a node holds that holds nothing, as most do."""
_LEAST: Final[Vector] = (1, 1, 1, 1, 1, 1)
LASTING: Final = "conversation"
"""The scope of a node whose threads are turns, one after the other."""


@final
class Node:
    """One budget: what it may spend (``caps``), has spent (``used``, sub-threads included; ``own`` without, the same list until one of
    those spends) and holds (``held``: of a single call, that one's need itself).

    ``path`` goes from the node itself to the root; ``above`` are the nodes above it, the nearest first. A node that many threads
    share counts over a ``window``; others have none. Amounts are lists indexed as :data:`VECTOR`. ``fired`` has the
    thresholds of each unit's levels that have fired, ``runways`` a bit for each unit; ``next_mark`` is where each unit's next level is,
    and below ``calm`` there is neither that nor the limit. ``crowd`` is made by the line of those
    who wait, while there are any.
    """

    __slots__ = (
        "above", "calm", "caps", "crowd", "details", "details_own", "estimated", "estimated_own", "fired", "held", "next_mark",
        "overdraft", "own", "policy", "runways", "scope", "thread", "used", "window",
    )  # fmt: skip

    def __init__(
        self,
        scope: str,
        caps: Caps,
        policy: Policy,
        *,
        thread: str = "",
        above: tuple[Node, ...] = (),
        window: Window | None = None,
    ) -> None:
        self.scope = scope
        self.thread = thread
        self.caps = caps
        self.policy = policy
        self.above = above
        self.window = window
        self.used = [0, 0, 0, 0, 0, 0]
        self.own = self.used
        self.held: Sequence[int] = FREE  # replaced when it changes
        self.overdraft: Sequence[int] = NOTHING  # these are replaced when they change: most threads never have any
        self.details: Sequence[int] = NO_DETAILS  # cache reads, cache writes, reasoning: shown, not limited
        self.details_own: Sequence[int] = NO_DETAILS
        self.estimated = False
        self.estimated_own = False
        self.fired: Sequence[frozenset[Decimal]] = _NONE
        self.next_mark: Sequence[int] = caps.first_marks  # shared until one of them changes, as is what follows
        self.calm: Sequence[int] = caps.calm
        self.runways = 0
        self.crowd: Crowd | None = None

    @property
    def path(self) -> tuple[Node, ...]:
        """The node and those above it. Made anew each time: a node that knew itself would be left to the collector of cycles."""
        return (self, *self.above)

    @property
    def account(self) -> str | None:
        """``kind:name`` of an account; ``None`` of any other node."""
        return self.thread.removeprefix(ACCOUNT) if self.scope == "account" else None

    @property
    def title(self) -> str:
        """What it is called in words: its scope, and which one of the accounts it is."""
        return titled(self.scope, self.account)

    def free(self, unit: int, *, grace: bool = False) -> int:
        """What may still be held of a unit; negative where it is overdrawn."""
        cap = self.caps.limit[unit] if grace else self.caps.working[unit]
        return cap - self.used[unit] - self.held[unit]

    def remaining(self, unit: int) -> int | None:
        """``working limit - used - held``, at least 0; ``None`` without a limit."""
        return None if self.caps.working[unit] >= NO_LIMIT else max(0, self.free(unit))

    def figures(self, unit: int) -> tuple[Amount, Amount, Amount | None, Amount | None]:
        """(used, held, limit, remaining) of a unit as users read them; no limit is ``None``."""
        left = self.remaining(unit)
        limit = None if left is None else figure(unit, self.caps.limit[unit])
        remaining = None if left is None else figure(unit, left)
        return figure(unit, self.used[unit]), figure(unit, self.held[unit]), limit, remaining

    def crossed(self, unit: int) -> tuple[str, ...]:
        """The levels of a unit that have fired, ascending; the runway last."""
        levels = tuple(mark.level for mark in self.caps.marks[unit] if mark.threshold in self.fired[unit])
        return (*levels, "runway") if self.runways >> unit & 1 else levels


def unfired(node: Node, unit: int) -> tuple[Mark, ...]:
    """The levels of a unit that have not fired yet, ascending."""
    return tuple(mark for mark in node.caps.marks[unit] if mark.threshold not in node.fired[unit])


def fire(node: Node, unit: int, mark: Mark) -> None:
    """Notes that a level has fired; it does not again."""
    if mark.level == "runway":
        node.runways |= 1 << unit
    else:
        node.fired = _with(node.fired, unit, node.fired[unit] | {mark.threshold})
        aim(node, unit)


def aim(node: Node, unit: int) -> None:
    """Sets where the next level of a unit is, after ``fired`` or the caps have changed."""
    left = unfired(node, unit)
    marks, calm = list(node.next_mark), list(node.calm)
    marks[unit] = left[0].at if left else FAR
    calm[unit] = min(marks[unit], node.caps.working[unit])
    node.next_mark, node.calm = tuple(marks), tuple(calm)


def below_runway(node: Node, charge: Vector) -> Iterator[int]:
    """The units in which what is left bears fewer calls like this one than the runway has, and that have not said so."""
    caps, used, held, said = node.caps, node.used, node.held, node.runways
    calls, per = caps.runway_ratio
    for unit in caps.limited:
        working = caps.working[unit]
        if unit == MESSAGES or working == 0 or said >> unit & 1:
            continue
        like_this = 1 if unit == CALLS else charge[unit]
        if (working - used[unit] - held[unit]) * per < calls * like_this:
            yield unit


def note_overdraft(node: Node, need: Vector, charge: Vector) -> None:
    """How far use and holds are beyond a limit by what was charged more than was held: the furthest it came."""
    for unit in node.caps.limited:
        if charge[unit] > need[unit]:
            over = node.used[unit] + node.held[unit] - node.caps.limit[unit]
            node.overdraft = _with(node.overdraft, unit, max(node.overdraft[unit], over))


def set_caps(node: Node, caps: Caps) -> None:
    """Gives a node other limits. Raising one arms its levels above the new share again, and its runway; lowering arms none:
    levels that it puts below what was used, and that have not fired, do so with the next settlement.
    """
    before, node.caps = node.caps, caps
    for unit in _UNITS:
        if caps.working[unit] > before.working[unit]:
            reached = {mark.threshold for mark in caps.marks[unit] if mark.at <= node.used[unit]}
            # A figure is reached or not whatever the limit is, also while it lies beyond it.
            still = {
                level
                for level in node.fired[unit]
                if level in reached or (level >= 1 and figure_of(unit, level) <= node.used[unit])
            }
            node.fired = _with(node.fired, unit, frozenset(still))
            node.runways &= ~(1 << unit)
        aim(node, unit)
    if node.crowd is not None:
        node.crowd.measure_by(caps.limited)


def roll(node: Node) -> None:
    """A new window begins for a node: nothing is spent or held in it yet, and every level and runway is armed again.

    What is still held belongs to the window before (R18): settle it on the path without this node, or its ``held`` would
    fall below 0. There may be room now for those who wait: the line is to be told that the node was freed.
    """
    node.used = node.own = [0, 0, 0, 0, 0, 0]
    node.held = FREE
    node.overdraft = NOTHING
    node.details = node.details_own = NO_DETAILS
    node.estimated = node.estimated_own = False
    node.fired = _NONE
    node.runways = 0
    for unit in _UNITS:
        aim(node, unit)


def begin_with(
    node: Node, amounts: Vector, details: tuple[int, int, int] = (0, 0, 0), *, estimated: bool = False
) -> None:
    """A node takes up what was spent in its window before, by threads that are gone: ``own`` stays as it is. This comes
    first, while nothing is held there.

    Every level that this reaches has fired, in whatever process it was reached. A runway has fired for certain where what is
    left would not even bear such calls that cost 1, the least that the last one can have cost; one that fired for a dearer
    call, or beside what was held then, cannot be told from the sum.
    """
    node.used = list(amounts)
    node.details = details
    node.estimated = estimated
    for unit in _UNITS:
        used = node.used[unit]
        reached = frozenset(mark.threshold for mark in node.caps.marks[unit] if mark.at <= used)
        node.fired = _with(node.fired, unit, reached)
        node.overdraft = _with(node.overdraft, unit, max(0, used - node.caps.limit[unit]))
        aim(node, unit)
    node.runways = sum(1 << unit for unit in below_runway(node, _LEAST) if node.used[unit]) if node.caps.runway else 0


def _with(values: Sequence[T], unit: int, value: T) -> Sequence[T]:
    """The same with one changed."""
    return (*values[:unit], value, *values[unit + 1 :])
