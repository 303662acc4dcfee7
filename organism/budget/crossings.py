"""Crossings: the warning levels that use has reached and that have not fired yet (R15)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from organism.budget.caps import Mark, figure
from organism.budget.claims import NOTHING, VECTOR, Crossing, Vector
from organism.budget.node import Node, below_runway, reached

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence


def has_crossed(node: Node) -> bool:
    """Whether use has reached a level on the node's path that has not fired yet. Runways are not looked at: only calls reach those."""
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


def crossings(path: Sequence[Node], charge: Vector = NOTHING) -> tuple[tuple[Node, int, Mark], ...]:
    """The levels that use has reached on these nodes and that have not fired yet: ascending for each node and unit, then runways.

    ``charge`` is what the call that was just settled cost. Nothing changes: :func:`~organism.budget.node.fire` marks them as fired.
    """
    found: list[tuple[Node, int, Mark]] = []
    called = charge != NOTHING  # in any unit: a further attempt may cost a fee and no tokens
    for node in path:
        caps, used, held, calm = node.caps, node.used, node.held, node.calm
        calls, per = caps.runway_ratio
        for unit in caps.limited:
            # Where this is false, neither a level nor the runway is near. Most calls end here.
            if (calm[unit] - used[unit] - held[unit]) * per <= calls * (charge[unit] or 1):
                found += _crossings_at(node, charge, called=called)
                break
    return tuple(found)


def _crossings_at(node: Node, charge: Vector, *, called: bool) -> Iterator[tuple[Node, int, Mark]]:
    used, marks = node.used, node.next_mark
    for unit in node.caps.limited:
        if used[unit] >= marks[unit]:
            yield from ((node, unit, mark) for mark in reached(node, unit))
    if called and node.caps.runway:
        yield from ((node, unit, Mark(-1, "runway", node.caps.runway)) for unit in below_runway(node, charge))


def crossing(node: Node, unit: int, mark: Mark) -> Crossing:
    """A crossing with the figures of this instant, as users read them."""
    return Crossing(
        unit=VECTOR[unit],
        level=mark.level,
        threshold=mark.threshold,
        used=figure(unit, node.used[unit]),
        held=figure(unit, node.held[unit]),
        limit=figure(unit, node.caps.limit[unit]),
        remaining=figure(unit, max(0, node.free(unit))),
        scope=node.scope,
        thread=node.thread,
    )
