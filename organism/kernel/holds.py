"""What pending model calls may cost."""

from __future__ import annotations

from operator import add
from typing import TYPE_CHECKING, cast

from attrs import define

from organism.budget.claims import NOTHING, Vector
from organism.budget.tree import Node
from organism.dependence import waits_for
from organism.frames import Message, Thread
from organism.kernel.windows import path_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from organism.images import Ref


@define(eq=False, kw_only=True)
class Hold:
    """What a pending model call may cost at most, taken on ``path``. ``message`` is ``None`` for a thread without handlers.

    Nobody changes one; it is not frozen, since that takes twice as long to make, and every call has one. ``id`` numbers the calls of its
    chain, ``held_at`` is the instant whose window it is charged to.
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

    @property
    def key(self) -> Ref:
        """Its chain and its number there."""
        return (self.chain, self.id)


def held_by_streams(streams: Mapping[Thread, Sequence[Hold]], owner: Message | Thread) -> dict[Node, Vector]:
    """What is held by streams that will not end before their owner's call: its own, and those of deliveries in its
    thread that wait for it. By node: where a new window has begun since, they hold nothing any more.
    """
    total: dict[Node, Vector] = {}
    thread = owner.thread if isinstance(owner, Message) else owner
    for hold in streams.get(thread, ()):
        message = hold.message
        if message is None or message is owner or (isinstance(owner, Message) and waits_for(message, owner)):
            for node in path_of(hold):
                total[node] = cast("Vector", tuple(map(add, total.get(node, NOTHING), hold.need)))
    return total
