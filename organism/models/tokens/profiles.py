"""What a text is made of, by its bytes: how like two texts are, and how many tokens one can be of which nothing is known.

Tokens a byte differ by script, by language and by what a text is for: prose of one language is cheap, numbers, keys and
rare scripts are dear. A profile tells these apart without a table of any language: it is the share of each letter and
of each kind of other sign, and what two profiles have in common is what the texts have in common.
"""

from __future__ import annotations

import math
from string import ascii_lowercase
from struct import Struct
from typing import TYPE_CHECKING, Final, final

if TYPE_CHECKING:
    from collections.abc import Sequence

RATIO: Final = 1 / 1.5
"""The least that is held for a byte of unknown text: prose, code and Japanese stay below, whatever the tokenizer."""

Profile = int
"""The share of each group of signs in the bytes of a text, :data:`ONE` for all of it. They stand side by side in one integer, in
lanes of 32 bits whose highest is left free: so texts are compared in a few steps, and not group by group.
"""
ONE: Final = 1 << 26
"""The shares of a text sum to this, less what rounding takes of each."""

_ASCII: Final[dict[str, float]] = {
    **dict.fromkeys(ascii_lowercase, 0.6),
    "ABCDEFGHIJKLMNOPQRSTUVWXYZ": 1.0,
    "0123456789": 1.0,
    " ": 0.75,
    ",;": 1.0,
    ".": 1.0,
    ":": 0.7,
    '"': 0.5,
    "\\": 0.5,
    "{}": 0.6,
    "[]": 1.0,
    "()<>": 1.0,
    "-_": 1.0,
    "/=+*|&%$#@~^`": 1.0,
    "!?'": 1.0,
}
"""Groups of signs, with the tokens that one may cost where nothing is known of the model: those that cut finest make a
token of every digit, and of most signs between them.
"""
_LEADS: Final[tuple[tuple[int, int, int, float], ...]] = (
    (0xC2, 0xC5, 2, 0.7),  # accented Latin
    (0xC6, 0xCD, 2, 1.0),
    (0xCE, 0xCF, 2, 0.7),  # Greek
    (0xD0, 0xD3, 2, 0.6),  # Cyrillic
    (0xD4, 0xDF, 2, 0.9),  # Hebrew, Arabic and others
    (0xE0, 0xE1, 3, 1.0),  # the scripts of southern Asia and others
    (0xE2, 0xE2, 3, 1.0),  # signs and arrows
    (0xE3, 0xE3, 3, 0.6),  # kana
    (0xE4, 0xE9, 3, 1.0),  # Han
    (0xEA, 0xED, 3, 0.8),  # Hangul
    (0xEE, 0xEF, 3, 1.0),
    (0xF0, 0xF4, 4, 1.0),  # emoji and rare signs
)
"""Groups of characters beyond ASCII: the first and last byte that leads one, its bytes, and the tokens a byte as above."""


_GROUPS: Final = len(_ASCII) + len(_LEADS) + 1
_CONTINUES: Final = _GROUPS
"""Stands for the bytes of a character beyond its first, which are counted with that."""
MOST: Final[tuple[float, ...]] = (*_ASCII.values(), *(most for _, _, _, most in _LEADS), 1.0)
"""The most tokens that a byte of each group may be."""
_STANDS_FOR: Final = (*(1 for _ in _ASCII), *(size for _, _, size, _ in _LEADS), 1)
"""The bytes that the first byte of a sign of each group stands for."""


def _group_of_each() -> bytes:
    """The group of each byte."""
    group = [_GROUPS - 1] * 256
    for number, signs in enumerate(_ASCII):
        for sign in signs.encode():
            group[sign] = number
    for number, (first, last, _, _) in enumerate(_LEADS, len(_ASCII)):
        group[first : last + 1] = [number] * (last + 1 - first)
    group[0x80:0xC0] = [_CONTINUES] * 0x40
    return bytes(group)


_GROUP: Final = _group_of_each()
_COSTS: Final = tuple(sorted({most * size for most, size in zip(MOST, _STANDS_FOR, strict=True)}))
"""The different tokens that a sign may be at most, the least first."""
_COST: Final = bytes(
    len(_COSTS) if group == _CONTINUES else _COSTS.index(MOST[group] * _STANDS_FOR[group]) for group in _GROUP
)
"""Which of them each byte is that begins a sign."""
_OF_ASCII: Final = tuple((number, cost) for number, cost in enumerate(_COSTS) if cost <= 1)
_OF_ALL: Final = tuple(enumerate(_COSTS))


@final
class Text:
    """A piece of what is sent, in UTF-8: its ``body``, and its ``size`` in bytes. What is made of it is kept, and it stays as it is."""

    __slots__ = ("_counts", "_profile", "body", "most", "size")

    def __init__(self, body: bytes) -> None:
        self.body = body
        self.size = len(body)
        signs = body.translate(_COST)
        # Counted for each cost: the signs of a text one after the other would take ten times as long.
        costs = _OF_ASCII if body.isascii() else _OF_ALL
        # ``sum`` of floats differs by the last digit before Python 3.12 and since: a journal would be replayed with another hold.
        self.most: float = math.fsum([signs.count(number) * cost for number, cost in costs])
        """The tokens that it may be at most where nothing is known of it."""
        self._counts: int | None = None
        self._profile: Profile | None = None

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Text) and self.body == other.body

    def __hash__(self) -> int:
        return hash(self.body)

    def __repr__(self) -> str:
        return f"Text({self.body!r})"

    @property
    def counts(self) -> int:
        """Its bytes in each group of signs, side by side as those of a profile."""
        if self._counts is None:
            signs = self.body.translate(_GROUP)
            self._counts = _packed([signs.count(group) * size for group, size in enumerate(_STANDS_FOR)])
        return self._counts

    @property
    def profile(self) -> Profile:
        """The share of each group in it."""
        if self._profile is None:
            self._profile = _profile(self.counts)
        return self._profile


def profile_of(texts: Sequence[Text]) -> Profile:
    """The profile of texts taken together; all zero where there are none."""
    there = [text for text in texts if text.body]
    return there[0].profile if len(there) == 1 else _profile(sum([text.counts for text in there]))


_LANES: Final = Struct(f"<{_GROUPS}I")
_HIGHEST: Final = int.from_bytes(_LANES.pack(*[1 << 31] * _GROUPS), "little")
_LANE: Final = (1 << 32) - 1


def _packed(figures: Sequence[int]) -> int:
    return int.from_bytes(_LANES.pack(*figures), "little")


def _profile(counts: int) -> Profile:
    found = _LANES.unpack(counts.to_bytes(_LANES.size, "little"))
    size = sum(found) or 1
    return _packed([count * ONE // size for count in found])


def floor_of(texts: Sequence[Text], size: int) -> float:
    """Tokens a byte to hold for texts of ``size`` bytes together where nothing is known of them: never less than :data:`RATIO`."""
    return max(RATIO, math.fsum([text.most for text in texts]) / size) if size else RATIO


def unlike(one: Profile, other: Profile, *, times: int = 1) -> float:
    """The share of one text that the other has nothing like: 0 for equal profiles, 1 where they have nothing in common. ``times``: each is
    the sum of so many profiles, of four at most.
    """
    less = ((one | _HIGHEST) - other) & _HIGHEST  # the highest bit of each lane in which the other one has no more
    less -= less >> 31  # and now all others of the lane
    common = one ^ ((one ^ other) & less)  # the smaller of the two in each lane
    return 1 - common % _LANE / (
        times * ONE
    )  # what is left of such a number by its highest digit is the sum of its digits
