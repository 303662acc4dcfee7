"""Holds: what a pending model call may cost at most."""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrs import define

from organism.budget.claims import Vector
from organism.budget.node import Node
from organism.threads.frames import Message, Thread

if TYPE_CHECKING:
    from organism.record.images import Ref


@define(eq=False, kw_only=True)
class Hold:
    """What a pending model call may cost at most (``need``), taken on ``path``. ``message`` is its delivery, ``None`` for a thread without
    handlers. ``output`` is how many output tokens may come back, ``clamped`` that these are fewer than wished for. ``id`` numbers the
    calls of its ``chain``, ``held_at`` is the instant whose window it is charged to.

    Not frozen, though nobody changes one: a frozen one takes twice as long to make, and every call makes one.
    """

    id: int
    thread: Thread
    message: Message | None
    path: tuple[Node, ...]
    need: Vector
    output: int
    clamped: bool
    alias: str
    backend: str
    attempt: int
    grace: bool
    streamed: bool
    held_at: float
    chain: str
    tags: tuple[str, ...] = ()
    asked: str = ""
    """The key of the call among those of its delivery; only while facts are recorded."""

    @property
    def seq(self) -> int:
        """The number of its delivery's message; 0 for a thread without handlers."""
        return 0 if self.message is None else self.message.seq

    @property
    def handler(self) -> str:
        """Whose call it is; empty for a thread without handlers."""
        return "" if self.message is None else self.message.to

    @property
    def owner(self) -> Message | Thread:
        """Whose call it is."""
        return self.message or self.thread

    @property
    def key(self) -> Ref:
        """Its chain and its number there."""
        return (self.chain, self.id)
