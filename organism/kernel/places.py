"""Places at backends, where calls may deadlock over them: which ones open streams keep, and who waits for one.

A backend has ``max_concurrent`` places; a circuit that is half-open has one, for the call that probes it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, final

from attrs import define

from organism.threads.frames import Ask, Message, Thread

Owner = Message | Thread
"""Whose call or stream it is: a delivery's, or a thread's without handlers."""


class Places(Protocol):
    """The places of one backend, or of its circuit."""

    @property
    def most(self) -> int:
        """How many there are."""
        ...


@final
class Kept:
    """The place that an open stream keeps until its block is left, and so until all that is waited for inside the block has come."""

    __slots__ = ("at", "awaits", "calls", "owner")

    def __init__(self, owner: Owner, at: Places) -> None:
        self.owner = owner
        self.at = at
        self.calls = 0
        """How many calls wait inside the block, in whichever task."""
        self.awaits: list[Ask | Thread] = []
        """The asks and threads that are waited for inside the block."""

    @property
    def waits(self) -> bool:
        """Whether something is waited for before the block can be left."""
        return bool(self.calls or self.awaits)


@define(eq=False)
class Queued:
    """A call that waits for a place. ``refuse`` is called where it would wait for ever."""

    owner: Owner
    at: Places
    refuse: Callable[[], object]
