"""What a model reads of a long result: its beginning, and how much was cut (``tool_output``)."""

from __future__ import annotations

import unicodedata
from typing import Final

_JOINER: Final = "\u200d"
_FURTHEST: Final = 16
"""How many marks on one letter are kept with it: a text may be nothing but marks."""


def cut(text: str, most: int) -> str:
    """A text of which ``most`` bytes of UTF-8 are left at most, with a word of how much is not there. No character is split."""
    raw = text.encode("utf-8", "surrogatepass")
    if len(raw) <= most:
        return text
    kept = raw[:most].decode("utf-8", "ignore")
    kept = kept[: _end(text, len(kept))]
    left_out = len(raw) - len(kept.encode("utf-8", "surrogatepass"))
    return f"{kept}\n[cut: {left_out} of {len(raw)} bytes left out]"


def _end(text: str, end: int) -> int:
    """The last place up to ``end`` at which a character ends: its accents and joined signs belong to it."""
    for place in range(end, max(end - _FURTHEST, 0), -1):
        follows, ends = text[place], text[place - 1]
        if not (unicodedata.category(follows).startswith("M") or _JOINER in {follows, ends}):
            return place
    return end
