"""What a text is made of, by its bytes: how like two texts are, and how many tokens one can be of which nothing is known.

Tokens a byte differ by script, by language and by what a text is for: prose of one language is cheap, numbers, keys and
rare scripts are dear. A profile tells these apart without a table of any language: it is the share of each letter and
of each kind of other sign, and what two profiles have in common is what the texts have in common.
"""

from __future__ import annotations

from collections import Counter
from functools import cached_property
from operator import mul
from string import ascii_lowercase
from typing import TYPE_CHECKING, Final

from attrs import frozen

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

RATIO: Final = 1 / 1.5
"""The least that is held for a byte of unknown text: prose, code and Japanese stay below, whatever the tokenizer."""

Profile = tuple[float, ...]
"""The share of each group of signs in the bytes of a text. They sum to 1."""

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


def _groups() -> tuple[list[int], list[int], tuple[float, ...]]:
    """The group of each byte, the bytes that it stands for, and the most tokens a byte of each group."""
    group, stands_for = [len(_ASCII) + len(_LEADS)] * 256, [1] * 256
    for number, signs in enumerate(_ASCII):
        for sign in signs.encode():
            group[sign] = number
    for number, (first, last, size, _) in enumerate(_LEADS, len(_ASCII)):
        for lead in range(first, last + 1):
            group[lead], stands_for[lead] = number, size
    for continuing in range(0x80, 0xC0):
        stands_for[continuing] = 0  # counted with its lead
    return group, stands_for, (*_ASCII.values(), *(most for _, _, _, most in _LEADS), 1.0)


_GROUP, _STANDS_FOR, MOST = _groups()
"""``MOST``: the most tokens that a byte of each group may be."""


@frozen
class Text:
    """A piece of what is sent, in UTF-8."""

    body: bytes

    @property
    def size(self) -> int:
        """Its bytes."""
        return len(self.body)

    @cached_property
    def counts(self) -> tuple[int, ...]:
        """Its bytes in each group of signs. Counted once: an estimate, and the report that comes of it, both need them."""
        found = [0] * len(MOST)
        for byte, times in Counter(self.body).items():
            found[_GROUP[byte]] += times * _STANDS_FOR[byte]
        return tuple(found)

    @cached_property
    def makeup(self) -> tuple[Profile, float]:
        """Its profile, and the floor of that."""
        return _makeup(self.counts)


def makeup_of(texts: Sequence[Text]) -> tuple[Profile, float]:
    """The profile of texts taken together (all zero where there are none), and :func:`floor_of` it."""
    there = [text for text in texts if text.body]
    if len(there) == 1:
        return there[0].makeup
    return _makeup([*map(sum, zip(*[text.counts for text in there], strict=True))] or [0] * len(MOST))


def _makeup(counts: Sequence[int]) -> tuple[Profile, float]:
    size = sum(counts) or 1
    profile = tuple([count / size for count in counts])
    return profile, floor_of(profile)


def floor_of(profile: Profile) -> float:
    """Tokens a byte to hold for such a text where nothing is known of it: never less than :data:`RATIO`."""
    costs: Iterable[float] = map(mul, profile, MOST)
    return max(RATIO, sum(costs))


def unlike(one: Profile, other: Profile) -> float:
    """The share of one text that the other has nothing like: 0 for equal profiles, 1 where they have nothing in common."""
    return unlike_each(one, (other,))[0]


def unlike_each(one: Profile, others: Iterable[Profile]) -> list[float]:
    """As :func:`unlike`, for each of many. Most groups of signs are not in a text at all, and are not looked at."""
    there = [(group, share) for group, share in enumerate(one) if share]
    # Written out: `min` for each group of each witness is most of what an estimate would cost.
    return [
        1 - sum([share if share < (theirs := other[group]) else theirs for group, share in there]) for other in others
    ]
