"""Places at backends (``max_concurrent``, and the one of a circuit for the call that tries it), as far as somebody may wait for one for
ever: those that open streams keep, and who waits.
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
    """The place of an open stream: it comes back once the stream's block is left, and so after all that is waited for inside that."""

    __slots__ = ("at", "awaits", "calls", "owner")

    def __init__(self, owner: Owner, at: Places) -> None:
        self.owner = owner
        self.at = at
        self.calls = 0
        """How many calls wait inside the block, in whichever task."""
        self.awaits: list[Ask | Thread] = []
        """What is waited for inside it, of what others do."""

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
