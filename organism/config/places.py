"""Where a value was written, and the mistakes that were found there."""

from __future__ import annotations

from decimal import Decimal
from typing import Final

from attrs import frozen

from organism.errors import ConfigurationError
from organism.likeness import without_secrets
from organism.names import Guesses, excerpt

Path = tuple[str | int, ...]
"""The keys and list positions that lead to a value: ``("handlers", "writer", "peers", 0)``."""

FILE: Final = 1
ENVIRONMENT: Final = 2
SET: Final = 3

_COMPARISONS: Final = 20_000
"""Of wrong names in one document with those that there are."""
_LONGEST: Final = 80


@frozen
class Place:
    """Where something was written. ``line`` and ``column`` count from 1, and are 0 where the source has none.

    ``layer`` orders the sources; ``says`` is the path that the source's own name already tells (``--set budget.tokens``).
    """

    source: str
    layer: int = FILE
    line: int = 0
    column: int = 0
    says: Path = ()

    def __str__(self) -> str:
        return f"{self.source}:{self.line}:{self.column}" if self.line else self.source


class Mistakes:
    """All that was found wrong, in the order of the places; the same line is kept once."""

    def __init__(self) -> None:
        self._found: dict[str, tuple[int, int, int, str]] = {}
        self.guesses = Guesses(_COMPARISONS)
        """For what the wrong names of one document were meant to be."""

    def __len__(self) -> int:
        return len(self._found)

    def note(self, place: Place, path: Path, problem: str) -> None:
        """Notes what is wrong with the value at ``path``, which was written at ``place``."""
        line = f"{where(place, path)}: {problem}"
        # A mistake is one line that can be written anywhere, whatever a file, a key or an exception of the user holds.
        line = without_secrets(line)
        line = "".join(one if one.isprintable() else one.encode("unicode_escape").decode() for one in line)
        self._found.setdefault(line, (place.layer, place.line, place.column, place.source))

    def raise_any(self) -> None:
        """Raises ConfigurationError when there is any."""
        if self._found:
            raise ConfigurationError(sorted(self._found, key=self._found.__getitem__))


def where(place: Place, path: Path) -> str:
    """How a place and a path are written in front of a mistake: ``organism.yaml:14:9 handlers.writer.peers[0]``."""
    return " ".join(part for part in (str(place), "" if path == place.says else dotted(path)) if part)


def dotted(path: Path) -> str:
    """A path as users write it: ``handlers.writer.peers[0]``."""
    text = ""
    for step in path:
        if isinstance(step, int):
            text += f"[{step}]"
        else:
            plain = step.isprintable() and step and not set(step) & set(" .[]:")
            text += ("." if text else "") + (step if plain else shown(step))
    return text


def shown(value: object) -> str:
    """A value as it stands in a message: a text quoted, escaped and cut where it is long; an odd object by its type only."""
    if isinstance(value, str):
        text = excerpt(value, _LONGEST)
        return f"'{text}'" if text.isprintable() and not set(text) & {"'", "\\"} else repr(text)
    if isinstance(value, int) and not isinstance(value, bool) and value.bit_length() > 8 * _LONGEST:
        return "a number of hundreds of digits"  # Python refuses to write the text of a still larger one
    if value is None or isinstance(value, (bool, int, float, Decimal)):
        return repr(value) if not isinstance(value, Decimal) else str(value)
    return f"a value of type {type(value).__name__}"
