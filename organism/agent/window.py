"""What fits into a model's window: up to where an agent's prompt may grow, and from where on it surely does not fit."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from attrs import evolve, frozen

from organism.agent.pruning import said_by
from organism.models.tokens.usage import Output
from organism.quick import maker

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from organism.agentsettings import Compaction

_WORTH: Final = 0.2
"""Share of the mark that must go away for a compaction to be worth its while before it must be."""
_REFUSED: Final = 0.6
"""Share of a prompt that was refused as too long to which it is cut where nothing better is known."""
_CHARACTERS: Final = 4
"""Characters of text that count as a token where a size must be the same in every process."""
_RECAP: Final = 0.12
"""Share of the mark that a recap or a summary may take."""
_LEAST_MARK: Final = 0.5
"""Share of the window that the answer that is wished for leaves to the mark, see :func:`bounds`."""
_BYTES: Final = 4
"""The most that a character takes in UTF-8."""
_AROUND: Final = 100
"""Bytes around what a message says, when it is sent."""
_UNKNOWN: Final = 12_000
"""Tokens that the mark is taken for where no window is known, to give recaps a size."""
_LEAST_SUMMARY: Final = 128
_MOST_SUMMARY: Final = 2048
_LEAST_LINES: Final = 6
_MOST_LINES: Final = 60


@frozen(kw_only=True)
class Bounds:
    """The tokens that a prompt may have. Beyond ``mark`` it is cut short where that is worth it, beyond ``hard`` before anything else.

    ``window`` is what the model takes with its answer. All ``None``: that is not known.
    """

    window: int | None = None
    mark: int | None = None
    hard: int | None = None

    def worth(self, tokens: int) -> bool:
        """Whether so many tokens are worth cutting away while the prompt may still be sent as it is."""
        return self.mark is not None and tokens >= _WORTH * self.mark

    def refused(self, characters: int) -> Bounds:
        """The bounds once a prompt of so many characters was refused: it is less than was thought. It is the same in every process,
        for recaps and summaries are given their size by it.
        """
        most = int(_REFUSED * tokens_of(characters))
        return evolve(self, mark=most if self.mark is None else min(most, self.mark))

    def after_refusal(self, tokens: int) -> int:
        """To what a prompt of ``tokens`` is cut that the provider refused."""
        return int(_REFUSED * tokens)

    @property
    def summary_tokens(self) -> int:
        """What a model's summary may come to."""
        return min(_MOST_SUMMARY, max(_LEAST_SUMMARY, int(_RECAP * (self.mark or _UNKNOWN))))

    def recap_lines(self, line: int) -> int:
        """How many extracts of ``line`` characters a recap may have."""
        fit = int(_RECAP * (self.mark or _UNKNOWN)) * _CHARACTERS // line
        return min(_MOST_LINES, max(_LEAST_LINES, fit))

    def pins(self, message: Mapping[str, Any]) -> bool:
        """Whether the first message is small enough to stay for good. One that calls tools goes with its results."""
        return not message.get("tool_calls") and said_by(message) <= _RECAP * (self.mark or _UNKNOWN) * _CHARACTERS


def bounds(settings: Compaction, window: int | None, output: int) -> Bounds:
    """The bounds of a model with this window, where ``output`` tokens of it are wished for as the answer."""
    if window is None:
        return Bounds()
    hard = int(settings.hard_limit * window)
    # A wish that leaves no room is clamped or refused elsewhere; it is no reason to throw the history away.
    if output <= window // 2:
        hard = min(hard, window - output)
    return Bounds(window=window, mark=min(int(settings.at * window), hard), hard=hard)


def tokens_of(characters: int) -> int:
    """The tokens that so many characters count as where a size must be the same in every process."""
    return characters // _CHARACTERS


@frozen
class Extent:
    """How much a prompt says: its ``characters``, and in how many ``messages``."""

    characters: int
    messages: int

    @property
    def most(self) -> int:
        """The most tokens that it can be: no token is less than a byte."""
        return _BYTES * self.characters + _AROUND * self.messages

    def beyond(self, other: Extent) -> Extent:
        """What it says more than another one that it begins with."""
        return new_extent(max(0, self.characters - other.characters), max(0, self.messages - other.messages))


new_extent: Final = maker(Extent)


def fits_anyway(tokens: int, settings: Compaction, window: int) -> bool:
    """Whether a prompt that is so many tokens at most need not be measured."""
    return tokens <= min(settings.at, settings.hard_limit, _LEAST_MARK) * window


def surely_beyond(prompt: Sequence[Mapping[str, Any]], window: int | None) -> bool:
    """Whether a prompt cannot fit, however few tokens its texts are: an estimate alone is no reason to give up."""
    if window is None:
        return False
    counted = Output()
    for message in prompt:
        counted.add(str(message.get("content") or ""))
    return counted.tokens > window
