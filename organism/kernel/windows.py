"""The window that the organism's own limits count over, as holds and refusals meet it (R18)."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from organism.budget.tree import Node
    from organism.kernel.holds import Hold
    from organism.kernel.state import State


def roll_hint(state: State, node: Node) -> str:
    """When a node's window rolls over, for whoever was refused by it."""
    if node is not state.root or math.isinf(state.window.ends):
        return ""
    return f"its {state.window.kind} ends {datetime.fromtimestamp(state.window.ends, UTC):%Y-%m-%d %H:%M} UTC"


def path_of(state: State, hold: Hold) -> tuple[Node, ...]:
    """The nodes that a hold is on: not the organism's, where its window has rolled over since."""
    return hold.path if hold.held_at >= state.window.begins else hold.path[:-1]
