"""The figures that a benchmark is given on its command line."""

from __future__ import annotations

import sys
from typing import TypeVar

Figure = TypeVar("Figure", int, float)


def given(usage: str | None, *usual: Figure) -> tuple[Figure, ...]:
    """The figures behind the script's name, and the ``usual`` ones for those that are left out. Ends the process with the usage where it is
    given anything else.
    """
    words: list[str] = sys.argv[1:]
    figures: list[Figure] = []
    try:
        figures.extend(type(figure)(word) for word, figure in zip(words, usual, strict=False))
    except ValueError:
        sys.exit(usage)
    if len(words) > len(usual) or any(figure < 0 for figure in figures):
        sys.exit(usage)
    return tuple(figures) + usual[len(words) :]
