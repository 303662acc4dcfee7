"""Places at backends (``max_concurrent``), as far as somebody may wait for one for ever: those that open streams keep, and who waits."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from attrs import define

from organism.threads.frames import Ask, Message, Thread

Owner = Message | Thread
"""Whose call or stream it is: a delivery's, or a thread's without handlers."""


class Places(Protocol):
    """The places of one backend."""

    @property
    def most(self) -> int:
        """How many there are."""
        ...


@define(eq=False)
class Kept:
    """The place of an open stream: nobody but its ``task`` gives it back."""

    owner: Owner
    at: Places
    task: Any
    awaits: Ask | Thread | None = None
    """What that task waited for last, of what others do."""


@define(eq=False)
class Queued:
    """A call that waits for a place. ``refuse`` is called where it would wait for ever."""

    owner: Owner
    at: Places
    refuse: Callable[[], object]
