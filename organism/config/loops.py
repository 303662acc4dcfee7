"""``loops:``: when messages go round in circles."""

from __future__ import annotations

from typing import Final

from organism.config.sections import Record, Section
from organism.config.shapes import Whole
from organism.settings import Loops


def _loops(section: Section) -> Loops:
    loops = Loops(**section.values)
    if loops.within < loops.repeats and section.wrong_keys.isdisjoint({"repeats", "within"}):
        key = "within" if "within" in section.values else "repeats"
        never = f"{loops.repeats} equal messages never stand among the last {loops.within}"
        section.wrong(key, f"{never}: 'within' is at least 'repeats'")
    return loops


LOOPS: Final = Record(
    # A thread keeps as many digests as `within` says.
    {"repeats": Whole(least=2), "within": Whole(least=2, most=10_000)},
    named=("loops",),
    make=_loops,
    tolerant=True,
)
