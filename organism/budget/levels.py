"""The order of warning levels, and the highest one that a path has crossed: what downgrades of models go by."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, get_args

from organism.budget.claims import CALLS, COST, INPUT, OUTPUT, TOKENS
from organism.settings import Level

if TYPE_CHECKING:
    from collections.abc import Sequence

    from organism.budget.node import Node

URGENCY: Final = ("warning", "critical", "runway", "final")
"""The levels that warnings may have, the most urgent last. One message for several warnings carries the most urgent."""
_LEVELS: Final[tuple[Level, ...]] = get_args(Level)
_OF_CALLS: Final = (TOKENS, INPUT, OUTPUT, COST, CALLS)


def level_of(path: Sequence[Node]) -> Level | None:
    """The highest level that any node of the path has crossed in a unit that model calls spend; ``None`` where none has been.

    Raising a limit may lower it again. The runway does not count.
    """
    if not any(any(node.fired) for node in path):
        return None
    crossed = {level for node in path for unit in _OF_CALLS if node.fired[unit] for level in node.crossed(unit)}
    return next((level for level in reversed(_LEVELS) if level in crossed), None)


def has_reached(level: Level | None, at: Level) -> bool:
    """Whether ``level`` is ``at`` or beyond it."""
    return level is not None and _LEVELS.index(level) >= _LEVELS.index(at)
