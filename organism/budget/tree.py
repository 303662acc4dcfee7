"""The tree of budgets: hold on the whole path to the root or not at all, then settle what it did cost (R10 to R15, R19).

The law, on every node, unit and instant: ``0 <= used``, ``0 <= held``, and a hold is granted only where after it
``used + held <= working limit``. Whatever passes a limit is a recorded overdraft or a limit that was lowered.
"""

from __future__ import annotations

from operator import add, gt, sub
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from attrs import frozen

from organism.budget.caps import NO_LIMIT
from organism.budget.claims import MESSAGES, NOTHING, Claim, Vector
from organism.budget.crowd import bears
from organism.budget.node import FREE, LASTING, NO_DETAILS, Node, note_overdraft

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from organism.budget.claims import Charge

NOWHERE: Final[Mapping[Node, Vector]] = MappingProxyType({})
"""Nothing is held by the asker itself: the usual ``stuck`` of :func:`lack`."""


@frozen
class Lack:
    """Where a need does not fit: ``need`` of ``unit`` (its index in ``VECTOR``; the kernel writes -1 for depth) at ``node``. ``for_good``: it
    will not fit either once everything held has settled.
    """

    node: Node
    unit: int
    need: int
    for_good: bool


def spared_for(path: Sequence[Node]) -> Sequence[Node]:
    """The nodes of whose part that is kept back a grace call may spend: its own thread's, and for a turn that of its conversation, which
    nobody else could ever spend.
    """
    return path[:2] if len(path) > 1 and path[1].scope == LASTING else path[:1]


def lack(
    path: Sequence[Node], need: Vector, *, grace: bool = False, stuck: Mapping[Node, Vector] = NOWHERE
) -> Lack | None:
    """Where ``need`` does not fit on the path; ``None`` where it fits. A lack for good is preferred to one that may pass.

    ``stuck`` is what the asker itself holds, by node, and keeps while it waits.
    """
    passing: Lack | None = None
    whole = spared_for(path) if grace else ()
    for node in path:
        caps = node.caps
        cap = caps.limit if node in whole else caps.working
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
    """Whether ``need`` could be held on the path now: the same as ``lack(...) is None``, but faster."""
    whole = spared_for(path) if grace else ()
    for node in path:
        caps, used, held = node.caps, node.used, node.held
        cap = caps.limit if whole and node in whole else caps.working
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
    """Adds the part of a charge that is shown and not limited, and that it is an estimate, or has no price, where that is so."""
    extra = charge.details
    shown = extra != NO_DETAILS
    if shown:
        path[0].details_own = tuple(map(add, path[0].details_own, extra))
    if shown or charge.estimated:
        path[0].estimated_own |= charge.estimated
        for node in path:
            node.estimated = node.estimated or charge.estimated
            node.details = tuple(map(add, node.details, extra))
    if charge.unpriced:
        path[0].unpriced_own = True
        for node in path:
            node.unpriced = True


def put_back(path: Sequence[Node], need: Vector, charge: Vector) -> None:
    """Settles: replaces what was held by what was spent, on the whole path. What was charged beyond the hold may be an overdraft."""
    tokens, given, output, cost, calls, _ = charge  # unrolled here and below: this runs for every call on each node
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
            note_overdraft(node, need, charge)


def lack_of_one(node: Node) -> Lack | None:
    """Where one more message does not fit on the node's path; ``None`` where it does."""
    caps = node.caps
    if caps.limited and node.used[MESSAGES] + node.held[MESSAGES] >= caps.working[MESSAGES]:
        return Lack(node, MESSAGES, 1, for_good=True)
    for each in node.above:
        caps = each.caps
        if caps.limited and each.used[MESSAGES] + each.held[MESSAGES] >= caps.working[MESSAGES]:
            return Lack(each, MESSAGES, 1, for_good=True)
    return None


def bears_depth(node: Node, depth: int) -> bool:
    """Whether a call may stand at this depth: no limit on the node's path is exceeded."""
    limit = node.caps.depth
    if limit is not None and depth > limit:
        return False
    for each in node.above:
        limit = each.caps.depth
        if limit is not None and depth > limit:
            return False
    return True


def bears_one(node: Node, depth: int = 0) -> bool:
    """Whether one more message may be sent at this depth: :func:`lack_of_one` and :func:`bears_depth` in one pass."""
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
    whole = spared_for(path) if grace else ()
    beside, each = claim.need(0), (1, 0, 1, claim.output_price, 0, 0)
    for node in path:
        caps = node.caps
        cap = caps.limit if node in whole else caps.working
        used, held = node.used, node.held
        for unit in caps.limited:
            left = cap[unit] - used[unit] - held[unit] - beside[unit]
            if each[unit]:
                room = min(room, left // each[unit])
            elif left < 0 and bears(unit, beside[unit]):
                room = min(room, -1)
    return room


def output_of(claim: Claim, room: int, *, grace: bool) -> int:
    """How many output tokens to hold for, where there is ``room`` for so many (R13). An exact wish stays as it is. Any other is lowered to
    half of the room at most, so that concurrent calls share it, and never below ``min_output``. A grace call is the last one, and
    may take all.
    """
    if claim.exact:
        return claim.wish
    return max(min(claim.min_output, claim.wish), min(claim.wish, room if grace else room // 2))
