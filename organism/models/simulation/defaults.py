"""Values for places that nothing at hand fits: the plainest text or number that a schema allows.

Texts that match a regular expression are the shortest ones, made of what Python's own parser reads in it. Look-arounds and back-references
are skipped, so every text is checked before it is given away.
"""

from __future__ import annotations

import base64
import math
import re
import string
from importlib import import_module
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

from organism.models.simulation.schemas import whole
from organism.models.simulation.words import shortened

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from organism.models.simulation.documents import Json
    from organism.models.simulation.schemas import Schema

_parser: Any = import_module("re._parser")  # it is there in every Python, and nobody vouches for its form

_CLASSES: Final = {"DIGIT": string.digits, "WORD": string.ascii_lowercase + string.digits + "_", "SPACE": " "}
_PRINTABLE: Final = string.ascii_lowercase + string.digits + string.ascii_uppercase + " " + string.punctuation
_MOST_TIMES: Final = 4096
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
            for made in (text, text.ljust(least, _PAD)):  # a pattern that says nothing of the end takes any end
                if made not in seen and least <= len(made) <= most and compiled.search(made):
                    seen.add(made)
                    yield made


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
            times: int = min(most, least + extra, _MOST_TIMES)
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


_SAMPLES: Final = {
    "date-time": ("2000-01-01T00:00:00Z", "2000-01-01T00:00:00+00:00", "2000-01-01T00:00:00.000Z"),
    "date": ("2000-01-01",),
    "time": ("00:00:00Z", "00:00:00"),
    "duration": ("PT0S", "P1D"),
    "email": ("someone@example.org",),
    "idn-email": ("someone@example.org",),
    "uri": ("https://example.org/",),
    "iri": ("https://example.org/",),
    "uri-reference": ("https://example.org/", "x"),
    "uuid": ("00000000-0000-4000-8000-000000000000",),
    "ipv4": ("192.0.2.1",),
    "ipv6": ("2001:db8::1",),
    "hostname": ("example.org",),
    "json-pointer": ("/x", ""),
    "regex": ("x",),
}
_STAMP: Final = re.compile(r"\b\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{1,9})?(?:Z|[+-]\d\d:\d\d)|\b\d{4}-\d\d-\d\d\b")
_FILLER: Final = "there is no more to say here "
_LONGEST: Final = 1 << 20
_EXACT: Final = 1 << 52


def fitted(text: str, schema: Schema) -> str:
    """A text cut or lengthened to the lengths a schema allows, encoded as it asks."""
    least, most = whole(schema, "minLength", 0), whole(schema, "maxLength", _LONGEST)
    if schema.get("contentEncoding") == "base64":
        return _encoded(text, least, most)
    cut = shortened(text, most)
    if len(cut) < least <= _LONGEST:
        cut = f"{cut} " if cut else cut
        cut = (cut + _FILLER * (1 + (least - len(cut)) // len(_FILLER)))[:least]
        cut = cut[:-1] + "." if cut.endswith(" ") else cut
    return cut


def _encoded(text: str, least: int, most: int) -> str:
    """A text's UTF-8 as base64 of fitting length, a multiple of four characters."""
    data = text.encode("utf-8", "replace")[: max(0, min(most, _LONGEST) // 4 * 3)]
    short = -(-min(least, _LONGEST) // 4) * 3 - len(data)
    return base64.b64encode(data + b" " * max(0, short)).decode("ascii")


def texts(schema: Schema, words: str, known: str) -> Iterator[str]:
    """Texts that may fit a resolved string schema, the likeliest first.

    ``words`` is what to say where anything may be said, ``known`` a text in which dates of the right form are looked for.
    """
    named = schema.get("format")
    if isinstance(named, str) and named in _SAMPLES:
        if named in {"date", "date-time"}:
            yield from islice(_STAMP.findall(known), 8)
        yield from _SAMPLES[named]
    yield fitted(words, schema)
    pattern = schema.get("pattern")
    if isinstance(pattern, str):
        yield "1"  # what a pattern of figures means by the smallest amount that is one
        yield from islice(matching(pattern, whole(schema, "minLength", 0), whole(schema, "maxLength", _LONGEST)), 24)
    yield fitted("", schema)


def numbers(schema: Schema, *, integer: bool) -> Iterator[int | float]:
    """Numbers that may fit a resolved schema, small ones first."""
    low, high = _limit(schema, "minimum", "exclusiveMinimum"), _limit(schema, "maximum", "exclusiveMaximum")
    step = schema.get("multipleOf")
    yield from (1, 0, 2, 3, 5)
    for edge, away in ((low, 1), (high, -1)):
        if edge is None:
            continue
        if abs(edge) > _EXACT:
            yield edge if isinstance(edge, int) or not integer else int(edge)
            continue
        if isinstance(step, (int, float)) and step > 0 and math.isfinite(edge / step):
            nearest = math.ceil(edge / step) if away > 0 else math.floor(edge / step)
            yield from (nearest * step, (nearest + away) * step)
        yield from (math.ceil(edge), math.floor(edge), math.ceil(edge) + away, math.floor(edge) + away)
        if not integer:
            yield from (edge, edge + away * 0.5, math.nextafter(edge, away * math.inf))
    if low is not None and high is not None and not integer and abs(low) + abs(high) < _EXACT:
        yield (low + high) / 2
    if isinstance(step, (int, float)):
        yield step


def _limit(schema: Schema, inclusive: str, exclusive: str) -> float | None:
    found = [schema.get(inclusive), schema.get(exclusive)]
    given = [value for value in found if isinstance(value, (int, float)) and not isinstance(value, bool)]
    return None if not given else (max(given) if inclusive == "minimum" else min(given))


def scalar(schema: Schema, kind: str, words: str, known: str) -> Iterator[Json]:
    """Plain values of one JSON type that may fit a resolved schema."""
    match kind:
        case "null":
            yield None
        case "boolean":
            yield from (False, True)
        case "integer":
            yield from (int(n) for n in numbers(schema, integer=True) if float(n).is_integer())
        case "number":
            yield from numbers(schema, integer=False)
        case _:
            yield from texts(schema, words, known)
