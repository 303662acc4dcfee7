"""Strategies that make payload classes, with values for them: the laws hold for classes that nobody thought of."""

from __future__ import annotations

import dataclasses
import functools
import itertools
import operator
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from enum import Enum
from typing import TYPE_CHECKING, Annotated, Any, Literal

import attrs
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from organism.payloads import payload

if TYPE_CHECKING:
    from collections.abc import Iterator

    from hypothesis.strategies import DrawFn


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

offsets: SearchStrategy[timezone] = st.integers(-14 * 60, 14 * 60).map(
    lambda minutes: timezone(timedelta(minutes=minutes))
)

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

FIELDS = (
    (),
    ("name",),
    ("text", "item"),
    ("entry", "key", "none"),
    ("class_", "from_", "value", "None_"),
    ("xmlns", "a", "A1", "b", "item"),
)
ENUMS: tuple[tuple[Any, ...], ...] = (("low", "high"), (" x ", "", "\x01", "_x0001_"), (1, -2), ("one", 2))
LITERALS: tuple[tuple[Any, ...], ...] = (
    ("low", "high", "two words"),
    (" padded ", "", "_x0000_", "\x00", "a\nb", "<&>"),
    (1, -2, True, "yes"),
    (False, "x"),
)


class Maker:
    """Makes kinds and classes. One maker never uses a name twice, so its classes can be in one vocabulary."""

    def __init__(self, draw: DrawFn) -> None:
        self.draw = draw
        self.numbers: Iterator[int] = itertools.count()

    def kind(self, depth: int) -> Kind:
        """A kind with at most so many kinds inside of each other."""
        simple = [self.scalar, self.scalar, self.scalar, self.enum, self.literal]
        nesting = [self.maybe, self.listed, self.tabled, self.told, self.nested, self.union]
        if depth == 0:
            return self.draw(st.sampled_from(simple))()
        if self.draw(st.booleans()):
            return self.draw(st.sampled_from(simple))()
        return self.draw(st.sampled_from(nesting))(depth - 1)

    def scalar(self) -> Kind:
        return self.draw(st.sampled_from(SCALARS))

    def enum(self) -> Kind:
        values = self.draw(st.sampled_from(ENUMS))
        make: Any = Enum  # called, it makes a class
        made = make("Level", {f"member_{number}": value for number, value in enumerate(values)})
        return Kind(made, st.sampled_from(list(made)))

    def literal(self) -> Kind:
        values = self.draw(st.sampled_from(LITERALS))
        return Kind(Literal[values], st.sampled_from(values))

    def maybe(self, depth: int) -> Kind:
        kind = self.kind(depth)
        return Kind(kind.annotation | None, st.none() | kind.values)

    def listed(self, depth: int) -> Kind:
        kind = self.kind(depth)
        inner: Any = kind.annotation
        form: Any = self.draw(st.sampled_from([list[inner], tuple[inner, ...]]))
        return Kind(form, st.lists(kind.values, max_size=3).map(tuple))

    def tabled(self, depth: int) -> Kind:
        kind = self.kind(depth)
        inner: Any = kind.annotation
        return Kind(dict[str, inner], st.dictionaries(texts, kind.values, max_size=3))

    def told(self, depth: int) -> Kind:
        kind = self.kind(depth)
        return Kind(Annotated[kind.annotation, "told"], kind.values)

    def nested(self, depth: int) -> Kind:
        return Kind(*self.payload(depth))

    def union(self, depth: int) -> Kind:
        members = [self.payload(depth) for _ in range(self.draw(st.integers(1, 3)))]
        return Kind(
            functools.reduce(operator.or_, [cls for cls, _ in members]), st.one_of([values for _, values in members])
        )

    def payload(self, depth: int) -> tuple[type, SearchStrategy[Any]]:
        """A class, and values of it."""
        names = self.draw(st.sampled_from(FIELDS))
        fields = {name: self.kind(depth) for name in names}
        defaults = {name: self.draw(kind.values) for name, kind in fields.items() if self.draw(st.integers(0, 3)) == 0}
        style = self.draw(st.sampled_from(["plain", "attrs", "dataclass", "derived"]))
        cls = _declared(f"P{next(self.numbers)}", fields, defaults, style)
        values = st.fixed_dictionaries(
            {name: kind.values for name, kind in fields.items() if name not in defaults},
            optional={name: kind.values for name, kind in fields.items() if name in defaults},
        )
        return cls, values.map(lambda named: cls(**named))


def _declared(name: str, fields: dict[str, Kind], defaults: dict[str, Any], style: str) -> type:
    order = sorted(fields, key=lambda field: field in defaults)
    annotations = {field: fields[field].annotation for field in order}
    if style == "dataclass":
        given: dict[str, Any] = {
            field: dataclasses.field(default_factory=functools.partial(_itself, value))
            for field, value in defaults.items()
        }
        return payload(dataclasses.dataclass(frozen=True)(_class(name, annotations, given)))
    if style == "attrs":
        given = {field: attrs.field(default=value) for field, value in defaults.items()}
        return payload(attrs.frozen(kw_only=True)(_class(name, annotations, given)))
    if style == "derived" and order:
        first, *others = order
        base: type = payload(_class(f"{name}Base", {first: annotations[first]}, _of(defaults, [first])))
        return payload(_class(name, {field: annotations[field] for field in others}, _of(defaults, others), base))
    return payload(_class(name, annotations, defaults))


def _itself(value: Any) -> Any:
    return value


def _of(defaults: dict[str, Any], names: list[str]) -> dict[str, Any]:
    return {name: value for name, value in defaults.items() if name in names}


def _class(name: str, annotations: dict[str, Any], body: dict[str, Any], *bases: type) -> type:
    return type(name, bases, {**body, "__annotations__": annotations, "__module__": __name__, "__doc__": f"A {name}."})


@st.composite
def payload_values(draw: DrawFn, depth: int = 2) -> Any:
    """A value of a new payload class."""
    _, values = Maker(draw).payload(depth)
    return draw(values)
