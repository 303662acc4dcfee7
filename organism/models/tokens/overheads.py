"""What a provider adds to a prompt without being asked, as far as its reports show it."""

from __future__ import annotations

import math
from typing import Final

_FORGET: Final = 8
"""It rises at once and sinks by an eighth of the way: a hold too low is an overdraft, one too high only a wait."""
_LEAN: Final = 0.15
"""Tokens a byte of tools that no tokenizer falls below."""
_HIDDEN: Final = 400
"""Tokens that a prompt of the provider's own about tools may have and still stay unseen in a long report."""


class Overhead:
    """Learned from short prompts: in long ones, how the model cuts text prevails.

    As much is believed as two reports in succession say: a garbled one must not make every later call look unaffordable.
    """

    def __init__(self) -> None:
        self._held = 0.0
        self._last = 0

    @property
    def tokens(self) -> int:
        """What to hold for it."""
        return math.ceil(self._held)

    def learn(self, excess: int) -> None:
        """Takes in by how much a report passed what was expected for the text alone; below zero it did not."""
        seen = max(0, excess)
        believed, self._last = min(seen, self._last), seen
        self._held = max(believed, self._held + (believed - self._held) / _FORGET)


class OfferOverhead(Overhead):
    """The same for prompts with tools or a schema, before which some providers put hundreds of tokens of instructions.

    Such prompts are seldom short, so it starts from the other side: what a report leaves, its text taken as lean as can
    be, may all be instructions. The first report with few tools shows that there are none.
    """

    def __init__(self) -> None:
        super().__init__()
        self._room: int | None = None

    @property
    def tokens(self) -> int:
        """What to hold for it; nothing where no tools were ever sent."""
        return max(super().tokens, self._room or 0)

    def leaves(self, reported: int, size: int) -> None:
        """Takes in a report for a whole prompt of ``size`` bytes."""
        room = max(0, reported - math.floor(_LEAN * size))
        self._room = min(room, _HIDDEN if self._room is None else self._room)
