"""The tree of budgets: hold on the whole path to the root or not at all, then settle what it did cost (R10 to R15, R19).

The law, on every node, unit and instant: ``0 <= used``, ``0 <= held``, and a hold is granted only where after it
``used + held <= working limit``. Whatever passes a limit is a recorded overdraft or a limit that was lowered.
"""

from __future__ import annotations

from decimal import Decimal
from operator import add, gt, sub
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, TypeVar, final

from attrs import frozen

from organism.budget.caps import FAR, NO_LIMIT, Caps, Mark, figure, figure_of
from organism.budget.claims import CALLS, MESSAGES, NOTHING, VECTOR, Claim, Vector
from organism.budget.crowd import Crowd, bears
from organism.errors import titled
from organism.names import ACCOUNT

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from organism.budget.claims import Charge
    from organism.budget.windows import Window
    from organism.settings import Policy

T = TypeVar("T")

Amount = int | Decimal
"""A figure as users read it: Decimal for money."""
_UNITS: Final = range(len(VECTOR))
_NONE: Final[Sequence[frozenset[Decimal]]] = (frozenset[Decimal](),) * len(VECTOR)
_NO_DETAILS: Final = (0, 0, 0)
FREE: Final[Sequence[int]] = NOTHING
"""What a node holds that holds nothing, as most do."""
_LEAST: Final[Vector] = (1, 1, 1, 1, 1, 1)
NOWHERE: Final[Mapping[Node, Vector]] = MappingProxyType({})


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
        self.details: Sequence[int] = _NO_DETAILS  # cache reads, cache writes, reasoning: shown, not limited
        self.details_own: Sequence[int] = _NO_DETAILS
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


@frozen
class Lack:
    """Where a need does not fit: ``for_good`` says that it will not fit either once everything held has settled."""

    node: Node
    unit: int
    need: int
    for_good: bool


def lack(
    path: Sequence[Node], need: Vector, *, grace: bool = False, stuck: Mapping[Node, Vector] = NOWHERE
) -> Lack | None:
    """Where ``need`` does not fit on the path, or ``None`` where it fits. A place that lacks for good is named first.

    ``stuck`` is what the asker holds itself, by node, and will not let go of while it waits.
    """
    passing: Lack | None = None
    own = path[0]
    for node in path:
        caps = node.caps
        cap = caps.limit if grace and node is own else caps.working
        used, held = node.used, node.held
        for unit in caps.limited:
            amount = need[unit]
            if used[unit] + held[unit] + amount > cap[unit] and bears(unit, amount):
                if used[unit] + stuck.get(node, NOTHING)[unit] + amount > cap[unit]:
                    return Lack(node, unit, amount, for_good=True)
                if passing is None:
                    passing = Lack(node, unit, amount, for_good=False)
    return passing


def fits(path: Sequence[Node], need: Vector, *, grace: bool = False) -> bool:
    """Whether ``need`` could be held on the path now: as :func:`lack` would find nothing, sooner."""
    own = path[0] if grace else None
    for node in path:
        caps, used, held = node.caps, node.used, node.held
        cap = caps.limit if node is own else caps.working
        for unit in caps.limited:
            if used[unit] + held[unit] + need[unit] > cap[unit] and bears(unit, need[unit]):
                return False
    return True


def take(path: Sequence[Node], need: Vector) -> None:
    """Holds ``need`` of a call on the whole path; the caller has checked that it fits."""
    for node in path:
        held = node.held
        node.held = need if held is FREE else tuple(map(add, held, need))


def note_details(path: Sequence[Node], charge: Charge) -> None:
    """Adds what is shown of a charge beside the units that are limited."""
    extra = charge.details
    shown = extra != _NO_DETAILS
    if shown:
        path[0].details_own = tuple(map(add, path[0].details_own, extra))
    if shown or charge.estimated:
        path[0].estimated_own |= charge.estimated
        for node in path:
            node.estimated = node.estimated or charge.estimated
            node.details = tuple(map(add, node.details, extra))


def put_back(path: Sequence[Node], need: Vector, charge: Vector) -> None:
    """Replaces what was held by what was spent, on the whole path; notes what was charged beyond the hold as overdraft."""
    tokens, given, output, cost, calls, _ = charge  # written out here and below: every call comes by on each node
    first = path[0]
    own = first.own
    if own is not first.used:
        own[0] += tokens
        own[1] += given
        own[2] += output
        own[3] += cost
        own[4] += calls
    over = any(map(gt, charge, need))
    for node in path:
        held, used = node.held, node.used
        if used is node.own and node is not first:
            node.own = used.copy()
        node.held = FREE if held is need else tuple(map(sub, held, need))
        used[0] += tokens
        used[1] += given
        used[2] += output
        used[3] += cost
        used[4] += calls
        if over:
            _note_overdraft(node, need, charge)


def _note_overdraft(node: Node, need: Vector, charge: Vector) -> None:
    """How far use and holds are beyond a limit by what was charged more than was held: the furthest it came."""
    for unit in node.caps.limited:
        if charge[unit] > need[unit]:
            over = node.used[unit] + node.held[unit] - node.caps.limit[unit]
            node.overdraft = _with(node.overdraft, unit, max(node.overdraft[unit], over))


def _with(values: Sequence[T], unit: int, value: T) -> Sequence[T]:
    """The same with one changed."""
    return (*values[:unit], value, *values[unit + 1 :])


def lack_of_one(node: Node) -> Lack | None:
    """Where one message more does not fit: as a :class:`Lack` of it on the node's path."""
    caps = node.caps
    if caps.limited and node.used[MESSAGES] + node.held[MESSAGES] >= caps.working[MESSAGES]:
        return Lack(node, MESSAGES, 1, for_good=True)
    for each in node.above:
        caps = each.caps
        if caps.limited and each.used[MESSAGES] + each.held[MESSAGES] >= caps.working[MESSAGES]:
            return Lack(each, MESSAGES, 1, for_good=True)
    return None


def bears_depth(node: Node, depth: int) -> bool:
    """Whether a call may stand so deep: no limit on the node's path is passed."""
    limit = node.caps.depth
    if limit is not None and depth > limit:
        return False
    for each in node.above:
        limit = each.caps.depth
        if limit is not None and depth > limit:
            return False
    return True


def bears_one(node: Node, depth: int = 0) -> bool:
    """Whether one message more may be sent at this depth: as :func:`lack_of_one` and :func:`bears_depth` find it, in one look."""
    caps = node.caps
    if caps.limited and node.used[MESSAGES] + node.held[MESSAGES] >= caps.working[MESSAGES]:
        return False
    if caps.depth is not None and depth > caps.depth:
        return False
    for each in node.above:
        caps = each.caps
        if caps.limited and each.used[MESSAGES] + each.held[MESSAGES] >= caps.working[MESSAGES]:
            return False
        if caps.depth is not None and depth > caps.depth:
            return False
    return True


def has_reached(node: Node) -> bool:
    """Whether a level was reached on the node's path that has not fired; runways aside, which only calls come to."""
    if node.caps.limited and _reaches(node):
        return True
    for each in node.above:  # noqa: SIM110 - written out, here and below: every message comes by
        if each.caps.limited and _reaches(each):
            return True
    return False


def _reaches(node: Node) -> bool:
    used, marks = node.used, node.next_mark
    for unit in node.caps.limited:  # noqa: SIM110
        if used[unit] >= marks[unit]:
            return True
    return False


def charge_messages(node: Node, count: int) -> None:
    """Charges messages, which are known when they are sent and need no hold."""
    used = node.used
    used[MESSAGES] += count
    if node.own is not used:
        node.own[MESSAGES] += count
    for each in node.above:
        used = each.used
        if used is each.own:
            each.own = used.copy()
        used[MESSAGES] += count


def output_room(path: Sequence[Node], claim: Claim, *, grace: bool) -> int:
    """How many output tokens the path could bear beside the claim's input, right now; negative where not even that fits."""
    room = NO_LIMIT
    own = path[0]
    beside, each = claim.need(0), (1, 0, 1, claim.output_price, 0, 0)
    for node in path:
        caps = node.caps
        cap = caps.limit if grace and node is own else caps.working
        used, held = node.used, node.held
        for unit in caps.limited:
            left = cap[unit] - used[unit] - held[unit] - beside[unit]
            if each[unit]:
                room = min(room, left // each[unit])
            elif left < 0 and bears(unit, beside[unit]):
                room = min(room, -1)
    return room


def output_of(claim: Claim, room: int, *, grace: bool) -> int:
    """How much output to hold for where there is ``room`` for so much (R13): an argument as it is; any other wish at most
    half of the room, so that concurrent calls share it, and never below ``min_output``. A grace call is the last one: it may
    take all.
    """
    if claim.exact:
        return claim.wish
    return max(min(claim.min_output, claim.wish), min(claim.wish, room if grace else room // 2))


def crossings(path: Sequence[Node], charge: Vector = NOTHING) -> tuple[tuple[Node, int, Mark], ...]:
    """The levels that the nodes' use has reached and that have not fired, ascending for each node and unit, then runways.

    ``charge`` is what the call cost that has just been settled. Nothing changes; :func:`fire` marks them as fired.
    """
    found: list[tuple[Node, int, Mark]] = []
    called = charge != NOTHING  # a price a call may be all that another attempt at it cost
    for node in path:
        caps, used, held, calm = node.caps, node.used, node.held, node.calm
        calls, per = caps.runway_ratio
        for unit in caps.limited:
            # Where this is false, neither a level nor the runway is near: for the most that is all that is looked at.
            if (calm[unit] - used[unit] - held[unit]) * per <= calls * (charge[unit] or 1):
                found += _crossings_at(node, charge, called=called)
                break
    return tuple(found)


def _crossings_at(node: Node, charge: Vector, *, called: bool) -> Iterator[tuple[Node, int, Mark]]:
    used, marks = node.used, node.next_mark
    for unit in node.caps.limited:
        if used[unit] >= marks[unit]:
            yield from ((node, unit, mark) for mark in unfired(node, unit) if used[unit] >= mark.at)
    if called and node.caps.runway:
        yield from ((node, unit, Mark(-1, "runway", node.caps.runway)) for unit in _short(node, charge))


def _short(node: Node, charge: Vector) -> Iterator[int]:
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
    node.details = node.details_own = _NO_DETAILS
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
    node.runways = sum(1 << unit for unit in _short(node, _LEAST) if node.used[unit]) if node.caps.runway else 0
