"""Organisms that learn together: what one of them learns of its models, all of them know; and what is carried to others as it stands."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from organism.errors import NotRunningError
from organism.models.tokens.estimates import learned_as_json, learned_of
from organism.names import told
from organism.works.hooked import Hooked

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from organism.models.tokens.estimates import Learned


class Learning:
    """What the organism of this ``name`` knows of its models, alone or with the others of its group."""

    def __init__(self, name: str) -> None:
        self._name = name
        self.known: Learned | None = None
        """Set in the head of a group, once one of the group has started, or was given what it knows."""
        self.joined: Learning | None = None
        """One whose group it belongs to; ``None`` in the head of a group."""

    def begin(self) -> Learned:
        """What it reads and writes from now on: it has started."""
        head = _head(self)
        if head.known is None:
            head.known = {}
        return head.known

    @property
    def now(self) -> Learned:
        """What is known by now."""
        return _head(self).known or {}

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


class Learner(Hooked):
    """What learns of its models, and may begin with what others have learned."""

    _learning: Learning

    def learn_from(self, other: Learner | Sequence[Mapping[str, Any]]) -> None:
        """Estimates prompts by what ``other`` has learned of its models. Without this, an organism starts from nothing, and its first holds
        are several times too high.

        From another organism: from now on both learn together, with all that learn with either; all must run on one event loop, or one
        after the other. From what :meth:`learned` gave: it begins with that, and what it learns stays its own.

        Raises NotRunningError once this organism has started, and where others that it learns with have, and ``other`` learns apart from them.
        """
        given = cast("object", other)
        if not isinstance(given, (Learner, list, tuple)):
            raise TypeError(f"learn_from takes an Organism, or what learned() of one gave, not {told(given)}")
        self._check_new("let it learn from others before that")
        if isinstance(other, Learner):
            self._learning.join(other._learning)  # noqa: SLF001 - of its own kind
            return
        before = Learning("what was learned")
        try:
            before.known = learned_of(other)
        except (AttributeError, KeyError, TypeError, ValueError, IndexError) as error:
            raise TypeError(
                f"learn_from takes what learned() of an organism gave, and this is something else: {error!r}"
            ) from None
        self._learning.join(before)

    def learned(self) -> list[dict[str, Any]]:
        """What it has learned of its models until now, as JSON: for :meth:`learn_from` of an organism that is to begin from there, also in a
        later process. Digests and figures, no texts.
        """
        return learned_as_json(self._learning.now)
