"""How much output has surely come: a server that is told to stop and does not is cut, and one that keeps to it never is."""

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
    """The output of one attempt so far. Less than it was, in tokens, for it decides whether an answer is cut off."""

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
        """The least that it can be."""
        return max(0, int(_LEAN * self._characters) - _SLACK)
