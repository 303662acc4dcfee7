"""What all facts have."""

from __future__ import annotations

from attrs import field, frozen

from organism.quick import quick
from organism.record.steps import Step


@quick
@frozen(kw_only=True)
class Fact:
    """What all facts have. ``steps`` are the changes it consists of."""

    at: float
    thread: str
    steps: tuple[Step, ...] = field(default=(), repr=False)
