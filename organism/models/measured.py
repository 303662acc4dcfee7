"""What a call used, as far as the provider's word can be taken: a report is either whole or worth nothing (R18)."""

from __future__ import annotations

from typing import Final

from attrs import frozen

from organism.models.contract import RawUsage
from organism.quick import quick

LARGEST: Final = 10**9
"""The most tokens that a report may name: more is a garbled number, and no call."""


@quick
@frozen(kw_only=True)
class Measured:
    """Tokens of one attempt. ``input_tokens`` includes cached input, ``output_tokens`` includes reasoning."""

    input_tokens: int
    output_tokens: int
    cache_read_tokens: int = 0
    cache_write_tokens: int = 0
    reasoning_tokens: int = 0


def measured(report: object) -> Measured | None:
    """The report (a RawUsage) as numbers; ``None`` where it is missing or something else, partial, negative, not integer or above :data:`LARGEST`.

    Input and output must be there. The details may be missing (``None``: none), but a wrong one spoils the whole: a
    provider that garbles one figure has not earned trust in the others.
    """
    if not isinstance(report, RawUsage):
        return None
    given, answered = _count(report.input_tokens), _count(report.output_tokens)
    read, written = _detail(report.cache_read_tokens), _detail(report.cache_write_tokens)
    reasoned = _detail(report.reasoning_tokens)
    if given is None or answered is None or read is None or written is None or reasoned is None:
        return None
    return Measured(
        input_tokens=given,
        output_tokens=answered,
        cache_read_tokens=read,
        cache_write_tokens=written,
        reasoning_tokens=reasoned,
    )


def _detail(figure: object) -> int | None:
    return 0 if figure is None else _count(figure)


def _count(figure: object) -> int | None:
    if type(figure) is int:  # nearly all of them
        return figure if 0 <= figure <= LARGEST else None
    if not isinstance(figure, int) or isinstance(figure, bool):
        return None
    number = int.__int__(figure)  # of a class of its own it may compare and add in ways of its own
    return number if 0 <= number <= LARGEST else None
