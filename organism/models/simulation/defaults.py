"""Values for places that nothing at hand fits: the plainest text or number that a schema allows."""

from __future__ import annotations

import base64
import math
import re
from itertools import islice
from typing import TYPE_CHECKING, Final

from organism.models.simulation.patterns import matching
from organism.models.simulation.schemas import whole
from organism.models.simulation.words import shortened

if TYPE_CHECKING:
    from collections.abc import Iterator

    from organism.models.simulation.documents import Json
    from organism.models.simulation.schemas import Schema

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
