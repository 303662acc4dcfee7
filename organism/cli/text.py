"""Text as a terminal may be given it: harmless, wrapped, and as wide as it looks."""

from __future__ import annotations

import unicodedata
from typing import TYPE_CHECKING, Final

from organism.names import MORE, written_out

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_SHORTEST: Final = 20
_KEPT: Final = 1 << 16
"""Characters whose columns are known at a time."""


def harmless(text: str) -> str:
    r"""The text with every character that a terminal would act on written out, as ``\x1b``; line feeds stay.

    ``\r\n`` counts as one line feed, and a tab becomes blanks.
    """
    return written_out(text.replace("\r\n", "\n").expandtabs(4))


def one_line(text: str) -> str:
    """The text, harmless, in one line: its line feeds and the blanks around them become one blank."""
    return " ".join(said for line in harmless(text).split("\n") if (said := line.strip()))


def listed(words: Sequence[str]) -> str:
    """``a``, ``a and b``, ``a, b and c``."""
    return f"{', '.join(words[:-1])} and {words[-1]}" if words[1:] else "".join(words)


def width_of(text: str) -> int:
    """How many columns a terminal needs for a line: wide characters take two, combining ones none."""
    return len(text) if text.isascii() else sum(map(_columns, text))


def padded(text: str, width: int, *, right: bool = False) -> str:
    """The text with blanks up to a width in columns; they come first where it stands at the ``right``."""
    blanks = " " * (width - width_of(text))
    return blanks + text if right else text + blanks


def cut(text: str, width: int) -> str:
    """The text, its end replaced by :data:`MORE` where it needs more columns than ``width``."""
    return text if _fits(text, width) else text[: _end(text, 0, width - 1)] + MORE


def wrapped(text: str, width: int) -> list[str]:
    """The lines of a text that is harmless already, broken at blanks to fit ``width`` columns; empty lines stay."""
    return [line for paragraph in text.split("\n") for line in _broken(paragraph, max(width, _SHORTEST))]


def _broken(paragraph: str, width: int) -> Iterator[str]:
    if _fits(paragraph, width):
        yield paragraph.rstrip()
        return
    indent = paragraph[: len(paragraph) - len(paragraph.lstrip(" "))][: width // 2]
    line, used = "", 0
    for word in paragraph.split():
        if line and used < width and _fits(word, width - used - 1):
            line, used = f"{line} {word}", used + 1 + width_of(word)
            continue
        if line:
            yield line
        *full, line = _pieces(indent + word, width)
        yield from full
        used = width_of(line)
    yield line


def _pieces(word: str, width: int) -> Iterator[str]:
    """A word in pieces, each as long as fits. It is gone through once: a model may write one of megabytes."""
    start = 0
    while start < len(word):
        end = _end(word, start, width)
        yield word[start:end]
        start = end


def _fits(text: str, width: int) -> bool:
    """Whether a text needs no more columns: what is far too long is not gone through."""
    return len(text) <= width // 2 or _end(text, 0, width) == len(text)


def _end(text: str, start: int, width: int) -> int:
    """Where as much of a text ends, from ``start`` on, as fits."""
    if text.isascii():
        return min(start + width, len(text))
    used = 0
    for end in range(start, len(text)):
        used += _columns(text[end])
        if used > width:
            return end
    return len(text)


class _Columns(dict[str, int]):
    """How many columns a character takes. Found out once for each: the texts that are looked at have megabytes."""

    def __missing__(self, one: str) -> int:
        if len(self) >= _KEPT:
            self.clear()
        wide = unicodedata.east_asian_width(one) in "WF"
        columns = self[one] = 0 if unicodedata.combining(one) else 2 if wide else 1
        return columns


_columns = _Columns().__getitem__
