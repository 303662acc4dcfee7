"""The keys of organism.yaml as keywords of ``Organism(...)``, for type checkers and editors; what is in them is checked when it is made."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from os import PathLike  # noqa: TC003 - so that the hints can be read
from typing import Any, Literal, TypedDict

Section = Mapping[str, Any]


class Keywords(TypedDict, total=False):
    """Every key at the top of organism.yaml but ``organism``, which is ``name=``."""

    runtime: Literal["trio", "asyncio"]
    defaults: Section
    budget: Section
    conversation: Section
    accounts: Section
    ceiling: Section
    models: Section
    mcp: Section
    handlers: Section
    hooks: Section
    loops: Section | None
    dead_letters: str | None
    scheduling: Literal["breadth-first", "depth-first"]
    max_handlers: int
    watchdog: float | None
    queue: int
    on_full: Literal["wait", "refuse"]
    thread_queue: int
    journal: str
    durability: Literal["full", "normal"]
    session_log: str | PathLike[str] | None
    telemetry: bool
    record: str | PathLike[str] | None
    start: Sequence[Section]
