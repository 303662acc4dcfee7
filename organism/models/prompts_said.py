"""Long prompts as they were said last: the next one of an agent begins with all of it, and what it adds is all that is looked at."""

from __future__ import annotations

from operator import is_
from typing import TYPE_CHECKING, Final, Generic, TypeVar

from attrs import define

from organism.models.contract import Message
from organism.models.fixed import Fixed
from organism.models.profiles import Text

if TYPE_CHECKING:
    from collections.abc import Sequence

S = TypeVar("S")

LONG: Final = 16
"""Messages from which a prompt is kept: shorter ones are looked through as soon."""
_LOOK: Final = 8
"""Messages at the end of a prompt that may be new, beyond those that were said last."""


@define(eq=False)
class Beginning(Generic[S]):
    """The first messages of a prompt, of which nobody can change any, with the ``parts`` and ``digests`` that it begins with for them (one
    more than messages). ``last`` is what stands for all of it. Nobody changes one.
    """

    messages: tuple[Message, ...]
    parts: tuple[Text, ...]
    digests: tuple[bytes, ...]
    last: S
    weight: int


class PromptsSaid(Generic[S]):
    """The beginnings that were said last, ``most`` bytes of messages in all; each is known by the last of its messages."""

    def __init__(self, *, most: int) -> None:
        self._most = most
        self.weight = 0
        """Bytes that are kept."""
        self._known: dict[int, Beginning[S]] = {}

    def of(self, messages: Sequence[Message]) -> Beginning[S] | None:
        """A beginning of this prompt that is all the same objects as one that was said."""
        for place in range(len(messages) - 1, max(-1, len(messages) - 1 - _LOOK), -1):
            found = self._known.get(id(messages[place]))
            if found is not None and len(found.messages) == place + 1 and all(map(is_, found.messages, messages)):
                return found
        return None

    def keep(self, beginning: Beginning[S], instead_of: Beginning[S] | None) -> None:
        """Keeps one, ``instead_of`` the one that it goes on from."""
        if instead_of is not None:
            self._forget(instead_of)
        self._forget(self._known.get(id(beginning.messages[-1])))
        self._known[id(beginning.messages[-1])] = beginning
        self.weight += beginning.weight
        while self.weight > self._most:
            self._forget(next(iter(self._known.values())))

    def _forget(self, beginning: Beginning[S] | None) -> None:
        if beginning is not None and self._known.get(id(beginning.messages[-1])) is beginning:
            del self._known[id(beginning.messages[-1])]
            self.weight -= beginning.weight


def stays_until(messages: Sequence[Message], start: int) -> int:
    """The place of the first message from ``start`` on that somebody may change."""
    for place in range(start, len(messages)):
        if type(messages[place]) is not Fixed:
            return place
    return len(messages)
