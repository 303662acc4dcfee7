"""Organisms that learn together: what one of them learns of its models, all of them know."""

from __future__ import annotations

from typing import TYPE_CHECKING

from organism.errors import NotRunningError

if TYPE_CHECKING:
    from organism.models.tokens.estimates import Learned


class Learning:
    """What the organism of this ``name`` knows of its models, alone or with the others of its group."""

    def __init__(self, name: str) -> None:
        self._name = name
        self.known: Learned | None = None
        """Set in the head of a group, once one of the group has started."""
        self.joined: Learning | None = None
        """One whose group it belongs to; ``None`` in the head of a group."""

    def begin(self) -> Learned:
        """What it reads and writes from now on: it has started."""
        head = _head(self)
        if head.known is None:
            head.known = {}
        return head.known

    def join(self, other: Learning) -> None:
        """Makes one group of two. Raises NotRunningError where both have started: then each knows something else."""
        mine, theirs = _head(self), _head(other)
        if mine is theirs:
            return
        if mine.known is not None and theirs.known is not None:
            raise NotRunningError(
                f"organism '{self._name}' learns together with one that has started, and organism '{other._name}' has started "
                "apart from it: let organisms learn from each other before they start"
            )
        if theirs.known is None:
            theirs.known = mine.known
        mine.joined = theirs


def _head(of: Learning) -> Learning:
    while of.joined is not None:
        of = of.joined
    return of
