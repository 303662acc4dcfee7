"""What a call used: a report, as far as the provider's word can be taken (R18: it is either whole or worth nothing), and without one the least
that a stream has brought: one that goes on beyond its limit is cut off, one that keeps to it never is.
"""

from __future__ import annotations

from itertools import groupby
from typing import Any, Final

from attrs import frozen

from organism.models.contract import RawUsage
from organism.quick import maker

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


LARGEST: Final = 10**9
"""The most tokens that a report may name: more is a garbled number, and no call."""
_PLAIN: Final = frozenset({int})


@frozen(kw_only=True)
class Measured:
    """Tokens of one attempt. ``input_tokens`` includes cached input, ``output_tokens`` includes reasoning: neither of its parts is more than it,
    and those of input are not together.
    """

    input_tokens: int
    output_tokens: int
    cache_read_tokens: int = 0
    cache_write_tokens: int = 0
    reasoning_tokens: int = 0


_new: Final = maker(Measured)


def measured(report: object) -> Measured | None:
    """The report (a RawUsage) as numbers; ``None`` where it is missing or something else, partial, negative, not integer or above :data:`LARGEST`.

    Input and output must be there. The details may be missing (``None``: none), but a wrong one spoils the whole: a
    provider that garbles one figure has not earned trust in the others. Details that come to more than what they are parts of are
    cut to it: what is counted and paid for is the whole.
    """
    if not isinstance(report, RawUsage):
        return None
    read, written, reasoned = report.cache_read_tokens, report.cache_write_tokens, report.reasoning_tokens
    figures: list[Any] = [
        report.input_tokens,
        report.output_tokens,
        0 if read is None else read,
        0 if written is None else written,
        0 if reasoned is None else reasoned,
    ]
    if not _PLAIN.issuperset(map(type, figures)):  # hardly ever
        figures = [_number(each) for each in figures]
    if min(figures) < 0 or max(figures) > LARGEST:
        return None
    given, said, read, written, reasoned = figures
    if read + written > given:
        read = min(read, given)
        written = min(written, given - read)
    return _new(
        input_tokens=given,
        output_tokens=said,
        cache_read_tokens=read,
        cache_write_tokens=written,
        reasoning_tokens=min(reasoned, said),
    )


def _number(figure: object) -> int:
    """A figure as a plain number; of a class of its own it may compare and add in ways of its own. What is no integer is one that is wrong."""
    return int.__int__(figure) if isinstance(figure, int) and not isinstance(figure, bool) else -1
