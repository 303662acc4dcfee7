"""The tree of budgets: hold on the whole path to the root or not at all, then settle what it did cost (R10 to R15, R19).

The law, on every node, unit and instant: ``0 <= used``, ``0 <= held``, and a hold is granted only where after it
``used + held <= working limit``. Whatever passes a limit is a recorded overdraft or a limit that was lowered.
"""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Final

from attrs import frozen

from organism.budget.caps import NO_LIMIT, Caps, Mark, figure
from organism.budget.claims import (
    CALLS,
    COST,
    INPUT,
    MESSAGES,
    NOTHING,
    OUTPUT,
    TOKENS,
    VECTOR,
    Claim,
    Crossing,
    Vector,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from organism.budget.claims import Charge
    from organism.settings import Policy

Amount = int | Decimal
"""A figure as users read it: Decimal for money."""
_UNITS: Final = range(len(VECTOR))
_FAR: Final = Mark(NO_LIMIT * 4, "", figure(COST, 0))  # type: ignore[arg-type]


class Node:
    """One budget: what it may spend (``caps``), has spent (``used``, sub-threads included; ``own`` without) and holds.

    ``path`` goes from the node itself to the root. Amounts are lists indexed as :data:`VECTOR`.
    """

    __slots__ = (
        "bar", "caps", "details", "details_own", "estimated", "fired", "granted", "held", "next_mark", "overdraft", "own", "path", "policy", "runways", "scope",
        "thread", "used", "waiters",
    )  # fmt: skip

    def __init__(self, scope: str, caps: Caps, policy: Policy, *, thread: str = "", above: Node | None = None) -> None:
        self.scope = scope
        self.thread = thread
        self.caps = caps
        self.policy = policy
        self.path: tuple[Node, ...] = (self,) if above is None else (self, *above.path)
        self.used = [0, 0, 0, 0, 0, 0]
        self.own = [0, 0, 0, 0, 0, 0]
        self.held = [0, 0, 0, 0, 0, 0]
        self.overdraft = [0, 0, 0, 0, 0, 0]
        self.details = [0, 0, 0]  # cache reads, cache writes, reasoning: shown, not limited
        self.details_own = [0, 0, 0]
        self.estimated = False
        self.fired = [0, 0, 0, 0, 0, 0]  # how many levels of each unit have fired
        self.next_mark = [marks[0].at if marks else _FAR.at for marks in caps.marks]
        self.runways = 0  # a bit for each unit whose runway warning has fired
        self.waiters: dict[int, object] | None = None  # made by the line of waiting calls
        self.bar: int | None = None
        self.granted = 0

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
        levels = tuple(mark.level for mark in self.caps.marks[unit][: self.fired[unit]])
        return (*levels, "runway") if self.runways >> unit & 1 else levels


@frozen
class Lack:
    """Where a need does not fit: ``for_good`` says that it will not fit either once everything held has settled."""

    node: Node
    unit: int
    need: int
    for_good: bool


def lack(path: Sequence[Node], need: Vector, *, grace: bool = False, stuck: Vector = NOTHING) -> Lack | None:
    """Where ``need`` does not fit on the path, or ``None`` where it fits. A place that lacks for good is named first.

    ``stuck`` is what the asker holds itself on all of the path and will not let go of while it waits.
    """
    passing: Lack | None = None
    own = path[0]
    for node in path:
        cap = node.caps.limit if grace and node is own else node.caps.working
        used, held = node.used, node.held
        for unit in _UNITS:
            amount = need[unit]
            if amount and used[unit] + held[unit] + amount > cap[unit]:
                if used[unit] + stuck[unit] + amount > cap[unit]:
                    return Lack(node, unit, amount, for_good=True)
                if passing is None:
                    passing = Lack(node, unit, amount, for_good=False)
    return passing


def take(path: Sequence[Node], need: Vector) -> None:
    """Holds ``need`` on the whole path; the caller has checked that it fits."""
    for node in path:
        held = node.held
        for unit in _UNITS:
            held[unit] += need[unit]


def note_details(path: Sequence[Node], charge: Charge) -> None:
    """Adds what is shown of a charge beside the units that are limited."""
    extra = (charge.cache_read_tokens, charge.cache_write_tokens, charge.reasoning_tokens)
    for node in path:
        node.estimated = node.estimated or charge.estimated
        if any(extra):
            node.details = [have + more for have, more in zip(node.details, extra, strict=True)]
    if any(extra):
        path[0].details_own = [have + more for have, more in zip(path[0].details_own, extra, strict=True)]


def put_back(path: Sequence[Node], need: Vector, charge: Vector) -> None:
    """Replaces what was held by what was spent, on the whole path; notes what was charged beyond the hold as overdraft."""
    own = path[0].own
    for unit in _UNITS:
        own[unit] += charge[unit]
    for node in path:
        used, held = node.used, node.held
        for unit in _UNITS:
            held[unit] -= need[unit]
            used[unit] += charge[unit]
            if charge[unit] > need[unit]:
                over = used[unit] + held[unit] - node.caps.limit[unit]
                if over > 0:
                    node.overdraft[unit] = max(node.overdraft[unit], over)


def charge_messages(node: Node, count: int) -> None:
    """Charges messages, which are known when they are sent and need no hold."""
    node.own[MESSAGES] += count
    for each in node.path:
        each.used[MESSAGES] += count


def output_room(path: Sequence[Node], claim: Claim, *, grace: bool) -> int:
    """How many output tokens the path could bear beside the claim's input, right now."""
    room = NO_LIMIT
    own = path[0]
    for node in path:
        on_grace = grace and node is own
        room = min(
            room,
            node.free(TOKENS, grace=on_grace) - claim.input_tokens,
            node.free(OUTPUT, grace=on_grace),
        )
        if claim.output_price:
            room = min(room, (node.free(COST, grace=on_grace) - claim.input_cost) // claim.output_price)
    return room


def output_of(path: Sequence[Node], claim: Claim, *, grace: bool = False) -> int:
    """How much output to hold for (R13): an argument as it is; any other wish at most half of what is free, so that
    concurrent calls share it, and never below ``min_output``. A grace call is the last one: it may take all.
    """
    if claim.exact:
        return claim.wish
    room = output_room(path, claim, grace=grace)
    return max(min(claim.min_output, claim.wish), min(claim.wish, room if grace else room // 2))


def crossings(path: Sequence[Node], charge: Vector = NOTHING) -> tuple[tuple[Node, int, Mark], ...]:
    """The levels that the nodes' use has reached and that have not fired, ascending for each node and unit, then runways.

    ``charge`` is what the call cost that has just been settled. Nothing changes; :func:`fire` marks them as fired.
    """
    found: list[tuple[Node, int, Mark]] = []
    for node in path:
        used, next_mark = node.used, node.next_mark
        for unit in _UNITS:
            if used[unit] >= next_mark[unit]:
                found += ((node, unit, mark) for mark in unfired(node, unit) if used[unit] >= mark.at)
        runway = node.caps.runway
        if runway and (charge[CALLS] or charge[TOKENS]):
            found += ((node, unit, mark) for unit, mark in _short_runways(node, charge, runway))
    return tuple(found)


def _short_runways(node: Node, charge: Vector, runway: Decimal) -> Iterable[tuple[int, Mark]]:
    for unit in (TOKENS, INPUT, OUTPUT, COST, CALLS):
        working = node.caps.working[unit]
        if working >= NO_LIMIT or working <= 0 or node.runways >> unit & 1:
            continue
        like_the_last = 1 if unit == CALLS else charge[unit]
        if working - node.used[unit] - node.held[unit] < runway * like_the_last:
            yield unit, Mark(-1, "runway", runway)


def unfired(node: Node, unit: int) -> tuple[Mark, ...]:
    """The levels of a unit that have not fired yet, ascending."""
    return node.caps.marks[unit][node.fired[unit] :]


def fire(node: Node, unit: int, mark: Mark) -> None:
    """Notes that a level has fired; it does not again."""
    if mark.level == "runway":
        node.runways |= 1 << unit
        return
    node.fired[unit] += 1
    left = unfired(node, unit)
    node.next_mark[unit] = left[0].at if left else _FAR.at


def recap(node: Node, caps: Caps) -> None:
    """Gives a node other limits. Levels above the new share are armed again, those at or below it count as fired."""
    for unit in _UNITS:
        if caps.working[unit] > node.caps.working[unit]:
            node.runways &= ~(1 << unit)
        marks = caps.marks[unit]
        reached = sum(mark.at <= node.used[unit] for mark in marks)
        if caps.marks[unit] != node.caps.marks[unit]:
            # A lowered limit may put use past levels that have not fired: those fire with the next settlement.
            node.fired[unit] = min(reached, node.fired[unit])
        left = marks[node.fired[unit] :]
        node.next_mark[unit] = left[0].at if left else _FAR.at
    node.caps = caps


def crossing(node: Node, unit: int, mark: Mark) -> Crossing:
    """What is said of a crossing: live figures, as users read them."""
    return Crossing(
        unit=VECTOR[unit],
        level=mark.level,
        threshold=mark.threshold,
        used=figure(unit, node.used[unit]),
        held=figure(unit, node.held[unit]),
        limit=figure(unit, node.caps.limit[unit]),
        remaining=figure(unit, node.remaining(unit) or 0),
        scope=node.scope,
        thread=node.thread,
    )
