"""``loops:``: when messages go round in circles."""

from __future__ import annotations

from typing import Final

from organism.config.sections import Record, Section
from organism.config.shapes import Whole
from organism.settings import Loops

_MOST: Final = 10_000
"""A thread keeps as many digests as `within` says."""


def _loops(section: Section) -> Loops:
    loops = Loops(**section.values)
    if loops.within > _MOST:
        section.wrong("within", f"{loops.within} is too much: {_MOST} is the most")
    elif loops.within < loops.repeats and section.wrong_keys.isdisjoint({"repeats", "within"}):
        key = "within" if "within" in section.values else "repeats"
        problem = (
            f"{loops.repeats} equal messages never stand among the last {loops.within}: 'within' is at least 'repeats'"
        )
        section.wrong(key, problem)
    return loops


LOOPS: Final = Record({"repeats": Whole(least=2), "within": Whole(least=2)}, make=_loops, tolerant=True)
