"""How holds and refusals deal with the windows of the nodes on a path (R18)."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from organism.budget.node import Node
    from organism.kernel.holds import Hold


def roll_hint(node: Node) -> str:
    """A text for whoever was refused by a node: when its window ends; empty where it has no end."""
    window = node.window
    if window is None or math.isinf(window.ends):
        return ""
    return f"its {window.kind} ends {datetime.fromtimestamp(window.ends, UTC):%Y-%m-%d %H:%M} UTC"


def path_of(hold: Hold) -> tuple[Node, ...]:
    """The nodes on which a hold counts now: its path without the nodes whose window has rolled over since, or has not begun yet where the clock of
    the process was ahead that held it.
    """
    at = hold.held_at
    for node in hold.path:
        window = node.window
        if window is not None and not window.begins <= at < window.ends:
            return tuple(node for node in hold.path if node.window is None or at in node.window)
    return hold.path
