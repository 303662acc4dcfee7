"""What earlier reports say of new text: the tokens a byte of texts like it, as far as it is like them."""

from __future__ import annotations

import math
from collections import deque
from typing import TYPE_CHECKING, Final

from organism.models.tokens.profiles import floor_of, profile_of, unlike

if TYPE_CHECKING:
    from collections.abc import Sequence

    from organism.models.tokens.profiles import Profile, Text

_MOST: Final = 32
NEEDED: Final = 3
"""Witnesses that are asked: those most like a text. The dearest of them speaks for it."""
SAID_FROM: Final = 1000
"""Bytes of text from which a report says something of it: in short ones what the provider adds prevails."""
_LIKE_FROM: Final = 64
"""Bytes of text from which it is compared: the signs of a shorter one are chance."""
_DOUBT: Final = 2.0
"""How much more of a text is held as unknown than its signs show: two languages share most of their letters."""
_CHANCE: Final = 1.0
"""By how much two texts of one kind differ for being short, times the root of the bytes."""
_MARGIN: Final = 1.15
"""What is added to the witnesses' figure: texts of one kind differ by as much."""
ABSURD: Final = 4.0
"""Tokens a byte that no tokenizer makes: one garbled report must not make every later call look unaffordable."""
_FORGET: Final = 8
"""The factor of a model rises at once and sinks by an eighth of the way: a hold too low is an overdraft, one too high only
a wait."""


class Witnesses:
    """Texts with what was reported for them, for one model: the last :data:`_MOST` of at least :data:`SAID_FROM` bytes."""

    def __init__(self) -> None:
        self._seen: deque[tuple[Profile, float]] = deque(maxlen=_MOST)
        self._finer = 1.0

    def tokens(self, texts: Sequence[Text]) -> float:
        """Tokens to hold for new texts."""
        size = size_of(texts)
        return size * self._ratio(texts, size)

    def _ratio(self, texts: Sequence[Text], size: int) -> float:
        """Tokens to hold for a byte of new text: what the witnesses say for as much as is like them, the floor for the rest."""
        floor = self._finer * floor_of(texts, size)
        if size < _LIKE_FROM or len(self._seen) < NEEDED:
            return floor
        profile = profile_of(texts)
        far = [unlike(profile, seen) for seen, _ in self._seen]
        nearest = [self._seen[index] for index in sorted(range(len(far)), key=far.__getitem__)[:NEEDED]]
        among = sum([other for other, _ in nearest])
        far_from_them = unlike(NEEDED * profile, among, times=NEEDED)
        unknown = min(1.0, _DOUBT * max(0.0, far_from_them - _CHANCE / math.sqrt(size)))
        known = _MARGIN * max(said for _, said in nearest)
        return unknown * floor + (1 - unknown) * known

    def learn(self, texts: Sequence[Text], reported: int) -> None:
        """Takes in what was reported for a text."""
        size = size_of(texts)
        if size < SAID_FROM or not 0 < (said := reported / size) <= ABSURD:
            return
        self._seen.append((profile_of(texts), said))
        finer = said / floor_of(texts, size)
        self._finer = max(1.0, finer, self._finer + (finer - self._finer) / _FORGET)


def size_of(texts: Sequence[Text]) -> int:
    """The bytes of texts together."""
    return sum([text.size for text in texts])
