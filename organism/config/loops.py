"""``loops:``: when messages go round in circles."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from organism.config.sections import Record, Section
from organism.config.shapes import BROKEN, Whole
from organism.settings import Loops

if TYPE_CHECKING:
    from organism.config.shapes import Broken


_MOST: Final = 10_000
"""A thread keeps as many digests as `within` says."""


def _loops(section: Section) -> Loops | Broken:
    loops = Loops(**section.values)
    if loops.within > _MOST:
        section.wrong("within", f"{loops.within} is too much: {_MOST} is the most")
        return BROKEN
    if loops.within >= loops.repeats:
        return loops
    key = "within" if "within" in section.values else "repeats"
    problem = (
        f"{loops.repeats} equal messages never stand among the last {loops.within}: 'within' is at least 'repeats'"
    )
    section.wrong(key, problem)
    return BROKEN


LOOPS: Final = Record({"repeats": Whole(least=2), "within": Whole(least=2)}, make=_loops)
