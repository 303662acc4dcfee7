"""What open streams hold while their owners wait."""

from __future__ import annotations

from operator import add
from typing import TYPE_CHECKING

from organism.budget.claims import NOTHING
from organism.kernel.windows import path_of
from organism.threads.dependence import waits_for
from organism.threads.frames import Message

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from organism.budget.claims import Vector
    from organism.budget.node import Node
    from organism.kernel.holds import Hold
    from organism.kernel.places import Owner
    from organism.threads.frames import Thread


def held_by_streams(streams: Mapping[Thread, Sequence[Hold]], owner: Message | Thread) -> dict[Node, Vector]:
    """What is held, by node, by streams that will not end before a call of ``owner`` has gone: its own, and those of deliveries in its
    thread that wait for it.
    """
    thread = owner.thread if isinstance(owner, Message) else owner
    return held_by(
        hold
        for hold in streams.get(thread, ())
        if hold.message is None
        or hold.message is owner
        or (isinstance(owner, Message) and waits_for(hold.message, owner))
    )


def owners_kept_by(hold: Hold, waiting: Iterable[Owner]) -> Iterator[Owner]:
    """Of those who may be ``waiting``, the owners of calls before which this stream will not end, as :func:`held_by_streams` has it."""
    message = hold.message
    yield hold.owner
    if message is not None and message.asks:
        for owner in waiting:
            if isinstance(owner, Message) and owner.thread is hold.thread and waits_for(message, owner):
                yield owner


def held_by(holds: Iterable[Hold]) -> dict[Node, Vector]:
    """The sum of what these hold, by node; nothing at nodes whose window has rolled over since."""
    total: dict[Node, Vector] = {}
    for hold in holds:
        for node in path_of(hold):
            total[node] = tuple(map(add, total.get(node, NOTHING), hold.need))
    return total
