"""Source of texts: what functions that are made of source put together."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from organism.generated import Source


class Literal:
    """Source of a text in the making: what stands in it, and expressions for the rest. It becomes one literal, with a variable for
    each expression: that takes four fifths of the time of a format with a tuple.
    """

    def __init__(self, begin: str, source: Source) -> None:
        self._source = source
        self._said = begin
        self._literal = ""
        self._lines: list[str] = []

    def say(self, text: str) -> None:
        """Adds this very text."""
        self._said += text

    def ends_with(self, text: str) -> bool:
        """Whether it ends with a text; then that is taken away."""
        found = bool(text) and self._said.endswith(text)
        if found:
            self._said = self._said.removesuffix(text)
        return found

    def put(self, expression: str) -> None:
        """Adds the text that an expression gives."""
        name = self._source.variable()
        self._lines.append(f"{name} = {expression}")
        self._close()
        self._literal += f"{{{name}}}"

    def _close(self) -> None:
        self._literal += self._said.replace("{", "{{").replace("}", "}}")
        self._said = ""

    def lines(self) -> list[str]:
        """The lines of a function that returns it."""
        self._close()
        return [*self._lines, f"return f{self._literal!r}"]
