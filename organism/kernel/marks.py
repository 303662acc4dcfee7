"""What facts of model calls say for metering and studies: what the costs are counted under, and how near a limit was."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from organism.budget.caps import figure
from organism.budget.claims import NOTHING, VECTOR
from organism.budget.tree import NOWHERE
from organism.record.images import Nearest

if TYPE_CHECKING:
    from collections.abc import Mapping

    from organism.budget.claims import Vector
    from organism.budget.node import Node
    from organism.threads.frames import Thread


def marks(thread: Thread, tags: tuple[str, ...]) -> dict[str, Any]:
    """The fields of a fact that say what its costs are counted under."""
    return {"tags": tags, "labels": thread.labels or None, "accounts": thread.accounts}


def nearest(path: tuple[Node, ...], held: Vector, later: Mapping[Node, Vector] = NOWHERE) -> Nearest | None:
    """The node and unit on the path of which the smallest share of the working limit was left before ``held`` was taken, with its figures;
    ``None`` where nothing is limited. Of equals it is the node nearest to the thread. ``later`` was taken at each node behind it.
    """
    least, found = 2.0, None
    for node in path:
        working, used, holds, behind = node.caps.working, node.used, node.held, later.get(node, NOTHING)
        for unit in node.caps.limited:
            cap = working[unit]
            left = cap - used[unit] - holds[unit] + held[unit] + behind[unit]
            share = left / cap if cap > 0 else 0.0
            if share < least:
                least, found = share, (node, unit, left)
    return None if found is None else _said(*found)


def left_at(node: Node, unit: int) -> Nearest:
    """What is left of a unit on this node."""
    return _said(node, unit, node.free(unit))


def _said(node: Node, unit: int, left: int) -> Nearest:
    return Nearest(
        scope=node.scope,
        unit=VECTOR[unit],
        remaining=figure(unit, max(0, left)),
        limit=figure(unit, node.caps.limit[unit]),
    )
