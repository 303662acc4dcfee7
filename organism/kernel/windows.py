"""The windows of the nodes on a path, as holds and refusals meet them (R18)."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from organism.budget.node import Node
    from organism.kernel.holds import Hold


def roll_hint(node: Node) -> str:
    """When a node's window rolls over, for whoever was refused by it."""
    window = node.window
    if window is None or math.isinf(window.ends):
        return ""
    return f"its {window.kind} ends {datetime.fromtimestamp(window.ends, UTC):%Y-%m-%d %H:%M} UTC"


def held_at(path: Sequence[Node], at: float) -> float:
    """The instant whose windows a call is charged to that is held now. Where the facts of an earlier process, whose clock was ahead,
    have brought a node to a later window, it is in that one: nothing would be given back there otherwise.
    """
    for node in path:
        if node.window is not None and node.window.begins > at:
            at = node.window.begins
    return at


def path_of(hold: Hold) -> tuple[Node, ...]:
    """The nodes that a hold is on: not those whose window has rolled over since."""
    at = hold.held_at
    for node in hold.path:
        if node.window is not None and at < node.window.begins:
            return tuple(node for node in hold.path if node.window is None or at >= node.window.begins)
    return hold.path
