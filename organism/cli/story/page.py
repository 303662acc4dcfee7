"""The lines of a story, each as deep as what it tells of, and the options of how they are written."""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrs import define, evolve, field, frozen

if TYPE_CHECKING:
    from collections.abc import Iterable


@frozen(kw_only=True)
class Line:
    """Something that happened. ``depth`` is how deep it stands, ``more`` are lines below it, told whole."""

    at: float
    depth: int
    text: str
    more: tuple[str, ...] = ()


@frozen(kw_only=True)
class How:
    """How a story is told. ``full``: payloads field by field; ``xml``: their XML; ``prompts``: all that a model was asked."""

    full: bool = False
    xml: bool = False
    prompts: bool = False
    width: int = 80


@define(eq=False)
class Page:
    """The lines so far. While it is ``muted``, nothing is added."""

    lines: list[Line] = field(factory=list[Line])
    muted: bool = False

    def add(self, at: float, depth: int, text: str, more: Iterable[str] = ()) -> None:
        """Writes a line, unless it is muted."""
        if not self.muted:
            self.lines.append(Line(at=at, depth=depth, text=text, more=tuple(more)))

    def rewrite(self, number: int, text: str) -> None:
        """Writes another text in the place of that of a line."""
        self.lines[number] = evolve(self.lines[number], text=text)
