"""Functions made of source, one for each class, as attrs makes its own: what every message passes through.

The alternative, functions that call a function for each field, took twice as long. Nothing a user wrote gets into the
source but names of attributes and of classes, which are identifiers; all other values are constants of the function.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence


class Source:
    """Source in the making. ``about`` names what it is for, in tracebacks; ``taken`` are names that it has otherwise."""

    def __init__(self, about: str, taken: Collection[str] = ()) -> None:
        self._about = about
        self._taken = taken
        self._names: dict[str, Any] = {}
        self._variables = 0

    def constant(self, value: Any) -> str:
        """A name for a value."""
        name = f"c{len(self._names)}"
        while name in self._taken:
            name += "_"
        self._names[name] = value
        return name

    def variable(self) -> str:
        """A name that the source does not use yet."""
        self._variables += 1
        return f"v{self._variables}"

    def function(self, parameters: str, lines: Sequence[str]) -> Callable[..., Any]:
        """The function of these parameters with these lines as its body."""
        source = "\n".join([f"def made({parameters}):", *(f"    {line}" for line in lines)])
        names = dict(self._names)
        exec(compile(source, f"<{self._about}>", "exec"), names)  # noqa: S102 - see above
        made: Callable[..., Any] = names["made"]
        return made
