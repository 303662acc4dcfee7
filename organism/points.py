"""The points of the work at which hooks are asked (:mod:`organism.hooks`)."""

from __future__ import annotations

from typing import Final, Literal, get_args

Point = Literal[
    "on_message",
    "before_model_call",
    "after_model_call",
    "before_tool",
    "after_tool",
    "on_turn_end",
    "on_abort",
]
POINTS: Final[tuple[Point, ...]] = get_args(Point)
