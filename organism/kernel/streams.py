"""What open streams hold while those wait whose they are."""

from __future__ import annotations

from operator import add
from typing import TYPE_CHECKING

from organism.budget.claims import NOTHING
from organism.kernel.windows import path_of
from organism.threads.dependence import waits_for
from organism.threads.frames import Message

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from organism.budget.claims import Vector
    from organism.budget.node import Node
    from organism.kernel.holds import Hold
    from organism.threads.frames import Thread


def held_by_streams(streams: Mapping[Thread, Sequence[Hold]], owner: Message | Thread) -> dict[Node, Vector]:
    """What is held by streams that will not end before their owner's call: its own, and those of deliveries in its
    thread that wait for it. By node, as :func:`held_by` has it.
    """
    thread = owner.thread if isinstance(owner, Message) else owner
    return held_by(
        hold
        for hold in streams.get(thread, ())
        if hold.message is None
        or hold.message is owner
        or (isinstance(owner, Message) and waits_for(hold.message, owner))
    )


def held_by(holds: Iterable[Hold]) -> dict[Node, Vector]:
    """What these hold in all, by node: where a new window has begun since, they hold nothing any more."""
    total: dict[Node, Vector] = {}
    for hold in holds:
        for node in path_of(hold):
            total[node] = tuple(map(add, total.get(node, NOTHING), hold.need))
    return total
