"""A quick test for whether calls that wait for budget can be deadlocked: the nodes at which a waiting call would lack beside what is held by
open streams whose owners wait themselves. While there are none, no such call is part of a knot, and the search need not be made.
"""

from __future__ import annotations

from operator import add, sub
from typing import TYPE_CHECKING

from organism.budget.claims import NOTHING
from organism.budget.waiting import anybody_lacks

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from organism.budget.claims import Vector
    from organism.budget.node import Node
    from organism.kernel.holds import Hold
    from organism.kernel.places import Owner


class _Open:
    """The open streams of one owner. ``counts``: the owner waits, so that what they hold is counted."""

    def __init__(self) -> None:
        self.holds: dict[Hold, None] = {}
        self.counts = False


class Contention:
    """Counts what such streams hold, by node. ``waits`` says whether an owner waits for anything.

    A node whose window rolls over keeps its count: that is too high for a while, which only costs a search, and never too low.
    """

    def __init__(self, waits: Callable[[Owner], bool]) -> None:
        self._waits = waits
        self._open: dict[Owner, _Open] = {}
        self._held: dict[Node, Vector] = {}
        self.nodes: set[Node] = set()
        """The nodes at which a waiting call would lack."""
        self.grown = 0
        """How often such streams have come to hold more, or limits have changed."""

    def opened(self, hold: Hold) -> None:
        """A stream was granted its hold."""
        streams = self._open.setdefault(hold.owner, _Open())
        streams.holds[hold] = None
        if streams.counts:
            self._count(hold, counts=True)
        else:
            self.review(hold.owner)

    def closed(self, hold: Hold) -> None:
        """A stream's hold was settled. One that an earlier process left open was never counted, and is ignored."""
        streams = self._open.get(hold.owner)
        if streams is None or hold not in streams.holds:
            return
        del streams.holds[hold]
        if streams.counts:
            self._count(hold, counts=False)
        if not streams.holds:
            del self._open[hold.owner]

    def review(self, owner: Owner) -> None:
        """An owner has begun or ceased to wait for something."""
        streams = self._open.get(owner)
        if streams is None or streams.counts == (waits := self._waits(owner)):
            return
        streams.counts = waits
        for hold in streams.holds:
            self._count(hold, counts=waits)

    def touched(self, path: Iterable[Node]) -> None:
        """Something has changed at these nodes: what is spent, the limits, or which calls wait below."""
        if self._held:
            for node in path:
                self._judge(node)

    def limits_changed(self) -> None:
        """Limits have changed, perhaps of many nodes: a thread's policy holds for those below it."""
        self.grown += 1
        self.touched(tuple(self._held))

    def _count(self, hold: Hold, *, counts: bool) -> None:
        self.grown += counts
        for node in hold.path:
            total = tuple(map(add if counts else sub, self._held.get(node, NOTHING), hold.need))
            if any(total):
                self._held[node] = total
            else:
                self._held.pop(node, None)
            self._judge(node)

    def _judge(self, node: Node) -> None:
        held = self._held.get(node)
        if held is not None and anybody_lacks(node, held):
            self.nodes.add(node)
        else:
            self.nodes.discard(node)
