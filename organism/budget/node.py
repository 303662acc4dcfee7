"""A node of the tree of budgets: what it may spend, has spent and holds, which of its levels have fired, and what changes that.

Hold and settle, which concern the whole path to the root, are in :mod:`organism.budget.tree`.
"""

from __future__ import annotations

from bisect import bisect_left
from decimal import Decimal
from operator import attrgetter
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
_AT: Final = attrgetter("at")
_NONE: Final[Sequence[frozenset[Decimal]]] = (frozenset[Decimal](),) * len(VECTOR)
NO_DETAILS: Final = (0, 0, 0)
"""The ``details`` of what has none: cache reads, cache writes and reasoning tokens, which are shown and not limited."""
FREE: Final[Sequence[int]] = NOTHING
"""The ``held`` of a node without holds, as most are. It is recognised by identity."""
_LEAST: Final[Vector] = (1, 1, 1, 1, 1, 1)
LASTING: Final = "conversation"
"""The scope of a conversation's node, whose threads are turns, one after the other."""


@final
class Node:
    """One budget. Amounts are indexed as :data:`~organism.budget.claims.VECTOR`.

    Figures: ``caps`` are the limits. ``used`` is what was spent, sub-threads included; ``own`` is without those, and the same list until
    one of them spends. ``held`` is the sum of the open holds; of a single hold it is that hold's own vector. ``overdraft`` is how far
    ``used + held`` once exceeded a limit. ``details`` and ``details_own`` are shown and not limited.

    Place: ``path`` goes from the node to the root, ``above`` is the same without the node. ``scope`` is its kind, ``thread`` the id of
    its thread, the chain of its conversation or the name of its account. Nodes that many threads share count over a ``window``.

    Warnings: ``fired`` has for each unit the thresholds of the levels that have fired, ``runways`` a bit for each unit. ``next_mark``
    is where each unit's next level is, ``calm`` the smaller of that and the working limit. ``crowd`` indexes the calls that wait here;
    ``None`` while there are none.
    """

    __slots__ = (
        "above", "calm", "caps", "crowd", "details", "details_own", "estimated", "estimated_own", "fired", "held", "next_mark",
        "overdraft", "own", "policy", "runways", "scope", "thread", "unpriced", "unpriced_own", "used", "window",
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
        self.overdraft: Sequence[int] = NOTHING  # replaced when it changes, as are the next
        self.details: Sequence[int] = NO_DETAILS
        self.details_own: Sequence[int] = NO_DETAILS
        self.estimated = False
        self.estimated_own = False
        self.unpriced = False
        self.unpriced_own = False
        self.fired: Sequence[frozenset[Decimal]] = _NONE
        self.next_mark: Sequence[int] = caps.first_marks  # shared with other nodes until it changes, as is the next
        self.calm: Sequence[int] = caps.calm
        self.runways = 0
        self.crowd: Crowd | None = None

    @property
    def path(self) -> tuple[Node, ...]:
        """The node and those above it. Made each time: a node that referred to itself would be left to the garbage collector."""
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


def reached(node: Node, unit: int) -> Iterator[Mark]:
    """The levels of a unit that use has reached and that have not fired yet, ascending. There may be thousands; those that have fired are
    not looked at.
    """
    used, fired, marks = node.used[unit], node.fired[unit], node.caps.marks[unit]
    for place in range(_next(node, unit), len(marks)):
        if marks[place].at > used:
            return
        if marks[place].threshold not in fired:
            yield marks[place]


def _next(node: Node, unit: int) -> int:
    """How many levels of a unit stand before the next one: all of them have fired."""
    return bisect_left(node.caps.marks[unit], node.next_mark[unit], key=_AT)


def fire(node: Node, unit: int, mark: Mark) -> None:
    """Marks a level as fired, so that it does not fire again."""
    if mark.level == "runway":
        node.runways |= 1 << unit
    else:
        node.fired = _with(node.fired, unit, node.fired[unit] | {mark.threshold})
        aim(node, unit, _next(node, unit))


def aim(node: Node, unit: int, start: int = 0) -> None:
    """Sets where the next level of a unit is, after ``fired`` or the caps have changed. The levels before ``start`` have fired."""
    fired, levels = node.fired[unit], node.caps.marks[unit]
    while start < len(levels) and levels[start].threshold in fired:
        start += 1
    marks, calm = list(node.next_mark), list(node.calm)
    marks[unit] = levels[start].at if start < len(levels) else FAR
    calm[unit] = min(marks[unit], node.caps.working[unit])
    node.next_mark, node.calm = tuple(marks), tuple(calm)


def below_runway(node: Node, charge: Vector) -> Iterator[int]:
    """The units in which fewer calls like this one fit into what is left than the runway demands, and whose runway has not fired yet.
    Messages have none.
    """
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
    """Records how far use and holds exceed a limit since more was charged than was held; the largest excess is kept."""
    for unit in node.caps.limited:
        if charge[unit] > need[unit]:
            over = node.used[unit] + node.held[unit] - node.caps.limit[unit]
            node.overdraft = _with(node.overdraft, unit, max(node.overdraft[unit], over))


def set_caps(node: Node, caps: Caps) -> None:
    """Gives a node other limits. Where a limit rises, its levels above the new share of use and its runway are armed again. Where it
    falls, nothing is armed: levels that use has reached by that, and that have not fired, fire with the next settlement.
    """
    before, node.caps = node.caps, caps
    for unit in _UNITS:
        if caps.working[unit] > before.working[unit]:
            reached = {mark.threshold for mark in caps.marks[unit] if mark.at <= node.used[unit]}
            # An absolute level (a figure, not a share) stays reached whatever the limit is, also while it lies beyond the limit.
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
    """Begins a new window for a node: nothing is spent or held in it yet, and every level and runway is armed again.

    Open holds belong to the window before (R18): settle them on the path without this node, or its ``held`` would fall below 0.
    There may be room now for calls that wait: the caller tells the line that the node was freed.
    """
    node.used = node.own = [0, 0, 0, 0, 0, 0]
    node.held = FREE
    node.overdraft = NOTHING
    node.details = node.details_own = NO_DETAILS
    node.estimated = node.estimated_own = node.unpriced = node.unpriced_own = False
    node.fired = _NONE
    node.runways = 0
    for unit in _UNITS:
        aim(node, unit)


def begin_with(
    node: Node,
    amounts: Vector,
    details: tuple[int, int, int] = (0, 0, 0),
    *,
    estimated: bool = False,
    unpriced: bool = False,
) -> None:
    """Sets what threads that are gone have spent in a node's window. To be called first, while nothing is held there; ``own`` stays.

    Every level that this reaches counts as fired, whichever process reached it. A runway counts as fired only where what is left
    would not even bear calls that cost 1, the least that the last call can have cost: whether it fired for a dearer call, or
    because of what was held then, cannot be told from the sum.
    """
    node.used = list(amounts)
    node.details = details
    node.estimated, node.unpriced = estimated, unpriced
    for unit in _UNITS:
        used = node.used[unit]
        reached = frozenset(mark.threshold for mark in node.caps.marks[unit] if mark.at <= used)
        node.fired = _with(node.fired, unit, reached)
        node.overdraft = _with(node.overdraft, unit, max(0, used - node.caps.limit[unit]))
        aim(node, unit)
    node.runways = sum(1 << unit for unit in below_runway(node, _LEAST) if node.used[unit]) if node.caps.runway else 0


def _with(values: Sequence[T], unit: int, value: T) -> Sequence[T]:
    """A copy with the value of one unit replaced."""
    return (*values[:unit], value, *values[unit + 1 :])
