"""Text as a terminal may be given it: harmless, wrapped, and as wide as it looks."""

from __future__ import annotations

import unicodedata
from typing import TYPE_CHECKING, Final

from organism.names import MORE, written_out

if TYPE_CHECKING:
    from collections.abc import Iterator

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


def width_of(text: str) -> int:
    """How many columns a terminal needs for a line: wide characters take two, combining ones none."""
    return len(text) if text.isascii() else sum(map(_columns, text))


def padded(text: str, width: int, *, right: bool = False) -> str:
    """The text with blanks up to a width in columns; they come first where it stands at the ``right``."""
    blanks = " " * (width - width_of(text))
    return blanks + text if right else text + blanks


def cut(text: str, width: int) -> str:
    """The text, its end replaced by :data:`MORE` where it needs more columns than ``width``."""
    if _width_up_to(text, width) <= width:
        return text
    return _start(text, width - 1) + MORE


def wrapped(text: str, width: int) -> list[str]:
    """The lines of a text that is harmless already, broken at blanks to fit ``width`` columns; empty lines stay."""
    return [line for paragraph in text.split("\n") for line in _broken(paragraph, max(width, _SHORTEST))]


def _broken(paragraph: str, width: int) -> Iterator[str]:
    if _width_up_to(paragraph, width) <= width:
        yield paragraph.rstrip()
        return
    indent = paragraph[: len(paragraph) - len(paragraph.lstrip(" "))][: width // 2]
    line, used = "", 0
    for word in paragraph.split():
        needs = _width_up_to(word, width)
        if line and used + 1 + needs <= width:
            line, used = f"{line} {word}", used + 1 + needs
            continue
        if line:
            yield line
        line, used = indent + word, len(indent) + needs
        if used > width:
            *full, line = _pieces(line, width)
            yield from full
            used = width_of(line)
    yield line


def _pieces(word: str, width: int) -> Iterator[str]:
    """A word in pieces, each as long as fits. It is gone through once: a model may write one of megabytes."""
    if word.isascii():
        yield from (word[start : start + width] for start in range(0, len(word), width))
        return
    columns = bytes(map(_columns, word))
    # One more than fits: what takes no column would fit as well.
    narrow, wide = b"\1" * (width + 1), b"\2" * (width // 2 + 1)
    start, behind = 0, len(word)
    while start < behind:
        if columns.startswith(wide, start):
            end = start + width // 2
        elif columns.startswith(narrow, start):
            end = start + width
        else:
            end, used = start, 0
            while end < behind and (used := used + columns[end]) <= width:
                end += 1
        yield word[start:end]
        start = end


def _width_up_to(text: str, most: int) -> int:
    """The width of a text, or any above ``most`` where it is above: what is far too long is not gone through."""
    if text.isascii() or len(text) <= most // 2:
        return width_of(text)
    used = 0
    for columns in map(_columns, text):
        used += columns
        if used > most:
            break
    return used


def _start(text: str, width: int) -> str:
    """As much of the beginning as fits, of a text that does not fit as a whole."""
    used = end = 0
    while (used := used + _columns(text[end])) <= width:
        end += 1
    return text[:end]


class _Columns(dict[str, int]):
    """How many columns a character takes. Found out once for each: the texts that are looked at have megabytes."""

    def __missing__(self, one: str) -> int:
        if len(self) >= _KEPT:
            self.clear()
        wide = unicodedata.east_asian_width(one) in "WF"
        columns = self[one] = 0 if unicodedata.combining(one) else 2 if wide else 1
        return columns


_columns = _Columns().__getitem__
