"""A lower bound of the output that has come: a stream that goes on beyond its limit is cut off, one that keeps to it never is."""

from __future__ import annotations

from itertools import groupby
from typing import Final

_LEAN: Final = 0.15
"""Tokens a character that no tokenizer falls below, over a page: English has some 0.2, other languages and code have more."""
_SLACK: Final = 30
"""Tokens that a few words may fall short of that: a long and common one can be a single token."""
_RUN: Final = 4
"""Of a longer run of one sign, such as a ruled line or deep indentation, no more counts: tokenizers have tokens for those."""


class Output:
    """The output of one attempt so far, in tokens; counted low, since it decides whether an answer is cut off."""

    def __init__(self) -> None:
        self._characters = 0
        self._last = ""
        self._run = 0

    def add(self, text: str) -> None:
        """A piece came."""
        for sign, group in groupby(text):
            before = self._run if sign == self._last else 0
            self._last, self._run = sign, before + len(list(group))
            self._characters += min(_RUN, self._run) - min(_RUN, before)

    @property
    def tokens(self) -> int:
        """The fewest tokens that it can be."""
        return max(0, int(_LEAN * self._characters) - _SLACK)
