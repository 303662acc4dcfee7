"""What all facts have."""

from __future__ import annotations

from attrs import field, frozen

from organism.quick import quick
from organism.record.steps import Step


@quick
@frozen(kw_only=True)
class Fact:
    """What all facts have: when it happened, in which thread, and in ``steps`` the changes that it consists of, in order."""

    at: float
    thread: str
    steps: tuple[Step, ...] = field(default=(), repr=False)
