"""Strategies that make payload classes, with values for them: the laws hold for classes that nobody thought of."""

from __future__ import annotations

import dataclasses
import itertools
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from enum import Enum
from typing import TYPE_CHECKING, Annotated, Any, Literal, Union

import attrs
from hypothesis import strategies as st

from organism.payloads import payload

if TYPE_CHECKING:
    from collections.abc import Iterator

    from hypothesis.strategies import DrawFn, SearchStrategy


@attrs.frozen
class Kind:
    """A type that a field may have: how it is annotated, and values for it in their normal form."""

    annotation: Any
    values: SearchStrategy[Any]


PIECES = (
    *("_x0000_", "_x005F_", "_x005F_x0001_", "_xFFFE_", "_x0041_", "_", "x0001_", "x005F_", "_x", "_x00"),
    *("\x00", "\x01", "\x0b", "\x1f", "\ufffe", "\uffff", "\x7f", "\x85", "\u2028", "\ufeff"),
    *("\r", "\n", "\r\n", "\t", " ", "]]>", "<", ">", "&", "&amp;", "&#13;", "'", '"', "<![CDATA[", "<!--", "ä", "😀"),
)

texts: SearchStrategy[str] = st.text(st.characters(exclude_categories=["Cs"]), max_size=8) | st.lists(
    st.sampled_from(PIECES), max_size=5
).map("".join)

decimals: SearchStrategy[Decimal] = st.builds(
    lambda sign, digits, exponent: Decimal((sign, tuple(digits), exponent)),
    st.sampled_from([0, 1]),
    st.lists(st.integers(0, 9), min_size=1, max_size=12),
    st.integers(-40, 40) | st.sampled_from([-9999, -9998, -1000, -999, 999, 1000, 9998, 9999]),
)

offsets: SearchStrategy[timezone] = st.integers(-14 * 60, 14 * 60).map(lambda minutes: timezone(timedelta(minutes=minutes)))

datetimes: SearchStrategy[datetime] = st.datetimes(timezones=offsets | st.just(UTC), allow_imaginary=False)

integers: SearchStrategy[int] = st.integers() | st.sampled_from([10**4299, -(10**4300) + 1, 2**62, -(2**62)])

floats: SearchStrategy[float] = st.floats(allow_nan=False, allow_infinity=False)

SCALARS = (
    Kind(str, texts),
    Kind(int, integers),
    Kind(float, floats),
    Kind(bool, st.booleans()),
    Kind(Decimal, decimals),
    Kind(datetime, datetimes),
    Kind(bytes, st.binary(max_size=8)),
)

FIELD_NAMES = ("name", "text", "item", "entry", "key", "none", "value", "xmlns", "class_", "from_", "None_", "a", "b", "A1")
LITERALS = ("low", "high", " padded ", "two words", "", "1", "true", 1, -2, True, False, "_x0000_", "\x00", "a\nb", "<&>")


@st.composite
def enums(draw: DrawFn) -> Kind:
    values: list[Any] = draw(
        st.lists(st.sampled_from(["low", "high", " x ", "", "\x01", "_x0001_"]), min_size=1, max_size=4, unique=True)
        | st.lists(st.integers(), min_size=1, max_size=4, unique=True)
    )
    made: Any = Enum("Level", {f"member_{number}": value for number, value in enumerate(values)})
    return Kind(made, st.sampled_from(list(made)))


@st.composite
def literals(draw: DrawFn) -> Kind:
    drawn = draw(st.lists(st.sampled_from(LITERALS), min_size=1, max_size=4))
    by_text = {(str(value).lower() if isinstance(value, bool) else str(value)): value for value in drawn}
    values = tuple(by_text.values())
    return Kind(Literal[values], st.sampled_from(values))


class Maker:
    """Makes kinds and classes. One maker never uses a name twice, so its classes can be in one vocabulary."""

    def __init__(self) -> None:
        self.numbers: Iterator[int] = itertools.count()

    def kinds(self, depth: int) -> SearchStrategy[Kind]:
        simple = st.sampled_from(SCALARS) | enums() | literals()
        if depth == 0:
            return simple
        inner = self.kinds(depth - 1)
        maybe = st.deferred(lambda: simple | inner)
        return (
            simple
            | maybe.map(lambda kind: Kind(kind.annotation | None, st.none() | kind.values))
            | maybe.flatmap(self._listed)
            | maybe.flatmap(self._tabled)
            | maybe.map(lambda kind: Kind(Annotated[kind.annotation, "told"], kind.values))
            | self.payloads(depth - 1).map(lambda made: Kind(made[0], made[1]))
            | st.lists(self.payloads(depth - 1), min_size=1, max_size=3).map(
                lambda made: Kind(Union[tuple(cls for cls, _ in made)], st.one_of([values for _, values in made]))
            )
        )

    def _listed(self, kind: Kind) -> SearchStrategy[Kind]:
        values = st.lists(kind.values, max_size=3).map(tuple)
        return st.sampled_from([Kind(list[kind.annotation], values), Kind(tuple[kind.annotation, ...], values)])

    def _tabled(self, kind: Kind) -> SearchStrategy[Kind]:
        return st.just(Kind(dict[str, kind.annotation], st.dictionaries(texts, kind.values, max_size=3)))

    @st.composite
    @staticmethod
    def _payload(draw: DrawFn, self: Maker, depth: int) -> tuple[type, SearchStrategy[Any]]:
        names = draw(st.lists(st.sampled_from(FIELD_NAMES), max_size=4, unique=True))
        fields = {name: draw(self.kinds(depth)) for name in names}
        defaulted = {name for name in names if draw(st.integers(0, 3)) == 0}
        defaults = {name: draw(fields[name].values) for name in sorted(defaulted)}
        style = draw(st.sampled_from(["plain", "attrs", "dataclass", "derived"]))
        cls = _declared(f"P{next(self.numbers)}", fields, defaults, style)
        values = st.fixed_dictionaries(
            {name: kind.values for name, kind in fields.items() if name not in defaults},
            optional={name: kind.values for name, kind in fields.items() if name in defaults},
        )
        return cls, values.map(lambda named: cls(**named))

    def payloads(self, depth: int) -> SearchStrategy[tuple[type, SearchStrategy[Any]]]:
        return Maker._payload(self, depth)


def _declared(name: str, fields: dict[str, Kind], defaults: dict[str, Any], style: str) -> type:
    order = sorted(fields, key=lambda field: field in defaults)
    annotations = {field: fields[field].annotation for field in order}
    if style == "dataclass":
        given: dict[str, Any] = {
            field: dataclasses.field(default_factory=lambda value=value: value) for field, value in defaults.items()
        }
        return payload(dataclasses.dataclass(frozen=True)(_class(name, annotations, given)))
    if style == "attrs":
        given = {field: attrs.field(default=value) for field, value in defaults.items()}
        return payload(attrs.frozen(kw_only=True)(_class(name, annotations, given)))
    if style == "derived" and order:
        first, *others = order
        base = payload(_class(f"{name}Base", {first: annotations[first]}, _of(defaults, [first])))
        return payload(_class(name, {field: annotations[field] for field in others}, _of(defaults, others), base))
    return payload(_class(name, annotations, defaults))


def _of(defaults: dict[str, Any], names: list[str]) -> dict[str, Any]:
    return {name: value for name, value in defaults.items() if name in names}


def _class(name: str, annotations: dict[str, Any], body: dict[str, Any], *bases: type) -> type:
    return type(name, bases, {**body, "__annotations__": annotations, "__module__": __name__, "__doc__": f"A {name}."})


@st.composite
def payload_values(draw: DrawFn, depth: int = 2) -> Any:
    """A value of a new payload class."""
    _, values = draw(Maker().payloads(depth))
    return draw(values)


@st.composite
def payload_classes(draw: DrawFn, depth: int = 2) -> tuple[type, Any]:
    """A new payload class and a value of it."""
    cls, values = draw(Maker().payloads(depth))
    return cls, draw(values)
