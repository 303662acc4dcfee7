"""Texts that match a regular expression: the shortest ones, made of what Python's own parser reads in it.

Look-arounds and back-references are skipped, so every text is checked before it is given away.
"""

from __future__ import annotations

import re
import string
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_parser: Any = import_module("re._parser")  # it is there in every Python, and nobody vouches for its form

_CLASSES: Final = {"DIGIT": string.digits, "WORD": string.ascii_lowercase + string.digits + "_", "SPACE": " "}
_PRINTABLE: Final = string.ascii_lowercase + string.digits + string.ascii_uppercase + " " + string.punctuation
_LONGEST: Final = 4096
_VARIANTS: Final = 12
_RANGE: Final = 256
"""Signs of a range that are told apart."""
_PAD: Final = "x"


def matching(pattern: str, least: int, most: int) -> Iterator[str]:
    """Texts from ``least`` to ``most`` characters that match a pattern, shortest first; none where it cannot be read."""
    try:
        nodes = _parser.parse(pattern)
        compiled = re.compile(pattern)
    except (ValueError, re.error, OverflowError, RecursionError):
        return
    seen: set[str] = set()
    for variant in range(_VARIANTS):
        for extra in (*range(min(least, 64) + 3), least, least - len(_text(nodes, 0, variant))):
            text = _text(nodes, max(0, extra), variant)
            for whole in (text, text.ljust(least, _PAD)):  # a pattern that says nothing of the end takes any end
                if whole not in seen and least <= len(whole) <= most and compiled.search(whole):
                    seen.add(whole)
                    yield whole


def _text(nodes: Iterable[Any], extra: int, variant: int) -> str:
    """A text for nodes one after the other: with so many repetitions more than there must be, and its free choices by the variant."""
    return "".join([_part(str(kind), value, extra, variant) for kind, value in nodes])


def _part(kind: str, value: Any, extra: int, variant: int) -> str:
    match kind:
        case "LITERAL" | "NOT_LITERAL" | "ANY" | "IN":
            among = _signs(kind, value)
            return among[variant % len(among)] if among else ""
        case "BRANCH":
            options = value[1]
            return _text(options[variant % len(options)], extra, variant // len(options))
        case "MAX_REPEAT" | "MIN_REPEAT" | "POSSESSIVE_REPEAT":
            least, most, part = value
            # Only the outermost repetition grows: nested ones would multiply.
            times: int = min(most, least + extra, _LONGEST)
            return _text(part, extra if most == 1 else 0, variant) * times
        case "SUBPATTERN":
            return _text(value[-1], extra, variant)
        case "ATOMIC_GROUP":
            return _text(value, extra, variant)
        case _:
            return ""


def _signs(kind: str, value: Any) -> str:
    """What may stand in the place of one sign."""
    match kind:
        case "LITERAL":
            return chr(value)
        case "RANGE":
            low, high = value
            return "".join(map(chr, range(low, min(high + 1, low + _RANGE))))
        case "CATEGORY":
            name = str(value).removeprefix("CATEGORY_")
            return _CLASSES[name] if name in _CLASSES else _but(_CLASSES[name.removeprefix("NOT_")])
        case "NOT_LITERAL":
            return _but(chr(value))
        case "IN":
            members = [(str(each), what) for each, what in value]
            found = "".join([_signs(each, what) for each, what in members if each != "NEGATE"])
            return _but(found) if members[0][0] == "NEGATE" else found
        case _:
            return _PRINTABLE


def _but(signs: str) -> str:
    return "".join([sign for sign in _PRINTABLE if sign not in signs])
