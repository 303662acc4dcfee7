"""How holds and refusals deal with the windows of the nodes on a path (R18)."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from organism.budget.node import Node
    from organism.kernel.holds import Hold


def roll_hint(node: Node) -> str:
    """A text for whoever was refused by a node: when its window ends; empty where it has no end."""
    window = node.window
    if window is None or math.isinf(window.ends):
        return ""
    return f"its {window.kind} ends {datetime.fromtimestamp(window.ends, UTC):%Y-%m-%d %H:%M} UTC"


def held_at(path: Sequence[Node], at: float) -> float:
    """The instant whose windows a call that is held now is charged to: ``at``, unless an earlier process's clock was ahead and its facts have moved
    a node to a later window. Then it is the begin of that one, or its settlement would give nothing back there.
    """
    for node in path:
        if node.window is not None and node.window.begins > at:
            at = node.window.begins
    return at


def path_of(hold: Hold) -> tuple[Node, ...]:
    """The nodes on which a hold still counts: its path without the nodes whose window has rolled over since."""
    at = hold.held_at
    for node in hold.path:
        if node.window is not None and at < node.window.begins:
            return tuple(node for node in hold.path if node.window is None or at >= node.window.begins)
    return hold.path
