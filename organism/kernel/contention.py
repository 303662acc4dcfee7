"""Where streams could keep calls from budget: the nodes at which somebody who waits would lack beside what is held by open streams whose
owners wait themselves. While there are none, no call that waits for budget is part of a knot, and nobody need look for one.
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
    """The open streams of one owner. ``counts``: it waits, so that what they hold does."""

    def __init__(self) -> None:
        self.holds: dict[Hold, None] = {}
        self.counts = False


class Contention:
    """Counts what such streams hold, by node. ``waits`` says whether an owner waits, for anything.

    A node that rolls over keeps its count: that is too much for a while, and never too little.
    """

    def __init__(self, waits: Callable[[Owner], bool]) -> None:
        self._waits = waits
        self._open: dict[Owner, _Open] = {}
        self._held: dict[Node, Vector] = {}
        self.nodes: set[Node] = set()
        """Those at which somebody would lack."""

    def opened(self, hold: Hold) -> None:
        """A stream was granted its hold."""
        streams = self._open.setdefault(hold.owner, _Open())
        streams.holds[hold] = None
        if streams.counts:
            self._count(hold, counts=True)
        else:
            self.review(hold.owner)

    def closed(self, hold: Hold) -> None:
        """It was settled. What an earlier process has held was never counted."""
        streams = self._open.get(hold.owner)
        if streams is None or hold not in streams.holds:
            return
        del streams.holds[hold]
        if streams.counts:
            self._count(hold, counts=False)
        if not streams.holds:
            del self._open[hold.owner]

    def review(self, owner: Owner) -> None:
        """Somebody has begun to wait for something, or does so no more."""
        streams = self._open.get(owner)
        if streams is None or streams.counts == (waits := self._waits(owner)):
            return
        streams.counts = waits
        for hold in streams.holds:
            self._count(hold, counts=waits)

    def touched(self, path: Iterable[Node]) -> None:
        """What is spent at these nodes has changed, or their limits, or who waits below them."""
        if self._held:
            for node in path:
                self._judge(node)

    def limits_changed(self) -> None:
        """Limits have changed, perhaps of many nodes: a thread's policy holds for those below it."""
        self.touched(tuple(self._held))

    def _count(self, hold: Hold, *, counts: bool) -> None:
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
