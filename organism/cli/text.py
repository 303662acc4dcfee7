"""Text as a terminal may be given it: harmless, wrapped, and as wide as it looks."""

from __future__ import annotations

import unicodedata
from functools import lru_cache
from typing import TYPE_CHECKING, Final

from organism.names import written_out

if TYPE_CHECKING:
    from collections.abc import Iterator

_SHORTEST: Final = 20


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
    if text.isascii():
        return len(text)
    return sum(_columns(one) for one in text)


def padded(text: str, width: int, *, right: bool = False) -> str:
    """The text with blanks up to a width in columns; they come first where it stands at the ``right``."""
    blanks = " " * (width - width_of(text))
    return blanks + text if right else text + blanks


def cut(text: str, width: int) -> str:
    """The text, its end replaced by ``…`` where it needs more columns than ``width``."""
    if width_of(text) <= width:
        return text
    return _start(text, width - 1) + "…"


def wrapped(text: str, width: int) -> list[str]:
    """The lines of a text that is harmless already, broken at blanks to fit ``width`` columns; empty lines stay."""
    return [line for paragraph in text.split("\n") for line in _broken(paragraph, max(width, _SHORTEST))]


def _broken(paragraph: str, width: int) -> Iterator[str]:
    if width_of(paragraph) <= width:
        yield paragraph.rstrip()
        return
    indent = paragraph[: len(paragraph) - len(paragraph.lstrip(" "))][: width // 2]
    line, used = "", 0
    for word in paragraph.split():
        needs = width_of(word)
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
    start = used = 0
    for end, one in enumerate(word):
        columns = _columns(one)
        if used + columns > width:
            yield word[start:end]
            start, used = end, 0
        used += columns
    yield word[start:]


def _start(text: str, width: int) -> str:
    """As much of the beginning as fits, of a text that does not fit as a whole."""
    used = end = 0
    while (used := used + _columns(text[end])) <= width:
        end += 1
    return text[:end]


@lru_cache(4096)
def _columns(one: str) -> int:
    if unicodedata.combining(one):
        return 0
    return 2 if unicodedata.east_asian_width(one) in "WF" else 1
