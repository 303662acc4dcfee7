"""The normal form of values, and what is refused when a payload is constructed."""

from __future__ import annotations

import copy
import math
import pickle
import sys
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from enum import Enum, StrEnum
from types import MappingProxyType
from typing import Any, Literal
from zoneinfo import ZoneInfo

import pytest

from organism.errors import InvalidPayloadError
from organism.payloads import Vocabulary, encode_xml, payload


class Word(str):
    __slots__ = ()


class Bits(bytes):
    __slots__ = ()


class Number(int):
    __slots__ = ()


class Fast(float):
    __slots__ = ()


class Money(Decimal):
    __slots__ = ()


class Moment(datetime):
    __slots__ = ()


class Mood(StrEnum):
    GOOD = "good"


class Level(Enum):
    LOW = 1
    HIGH = 2


@payload
class Cat:
    name: str


@payload
class Dog:
    name: str


@payload
class Puppy(Dog):
    age: int


@payload
class Text:
    value: str


@payload
class Whole:
    value: int


@payload
class Real:
    value: float


@payload
class Truth:
    value: bool


@payload
class Exact:
    value: Decimal


@payload
class When:
    value: datetime


@payload
class Raw:
    value: bytes


@payload
class Picked:
    value: Literal["low", 1, True]


@payload
class Graded:
    value: Level


@payload
class Pet:
    value: Cat | Dog


@payload
class Deep:
    value: dict[str, list[list[str] | None]]


def kind_of(value: object) -> str:
    """A test id for values that have too many digits to be one."""
    return value.__name__ if isinstance(value, type) else type(value).__name__


def at(year: int, *rest: int, offset: timedelta = timedelta(0)) -> datetime:
    return datetime(year, *rest, tzinfo=timezone(offset))  # type: ignore[arg-type,misc]


@pytest.mark.parametrize(
    ("cls", "given", "kept"),
    [
        (Text, Word("a"), "a"),
        (Text, Mood.GOOD, "good"),
        (Whole, -(10**4300) + 1, -(10**4300) + 1),
        (Real, 3, 3.0),
        (Real, 2**53, 2.0**53),
        (Real, -0.0, -0.0),
        (Exact, 5, Decimal(5)),
        (Exact, Decimal("-0E+5"), Decimal("-0E+5")),
        (Raw, b"", b""),
        (Raw, Bits(b"ab"), b"ab"),
        (Whole, Number(5), 5),
        (Real, Fast(0.5), 0.5),
        (Exact, Money("0.10"), Decimal("0.10")),
        (When, Moment(2026, 1, 31, tzinfo=UTC), at(2026, 1, 31)),
        (Graded, Level["HIGH"], Level.HIGH),
        (Picked, True, True),
        (Picked, 1, 1),
        (Picked, Word("low"), "low"),
        (Graded, Level.LOW, Level.LOW),
        (Deep, {"a": [["x"], None]}, {"a": (("x",), None)}),
        (Deep, MappingProxyType({Word("a"): ()}), {"a": ()}),
        (
            When,
            at(2026, 1, 31, offset=timedelta(hours=5, minutes=45)),
            at(2026, 1, 31, offset=timedelta(hours=5, minutes=45)),
        ),
        # What xs:dateTime cannot write as an offset is the same moment in UTC.
        (When, at(2026, 1, 1, offset=timedelta(hours=15)), at(2025, 12, 31, 9)),
        (When, at(2026, 1, 1, offset=timedelta(seconds=1)), at(2025, 12, 31, 23, 59, 59)),
    ],
    ids=kind_of,
)
def test_values_take_their_normal_form(cls: Any, given: Any, kept: Any) -> None:
    value = cls(given).value
    assert type(value) is type(kept) or isinstance(kept, dict)
    assert repr(value) == repr(kept)
    assert value == kept


def test_a_moment_that_a_clock_shows_twice_keeps_its_offset() -> None:
    """Such a datetime equals none of another zone, itself after a journey included."""
    berlin = ZoneInfo("Europe/Berlin")
    first, second = (When(datetime(2026, 10, 25, 2, 30, tzinfo=berlin, fold=fold)).value for fold in (0, 1))
    assert [value.utcoffset() for value in (first, second)] == [timedelta(hours=2), timedelta(hours=1)]
    assert second - first == timedelta(hours=1)
    assert Vocabulary([When]).decode_xml(encode_xml(When(second))) == When(second)


@pytest.mark.parametrize(
    ("cls", "given", "problem"),
    [
        (Text, 1, "expected str, got int 1"),
        (Text, None, "expected str, got None"),
        (Text, b"a", "expected str, got bytes b'a'"),
        (Text, "ab\ud800", "holds a lone surrogate (U+D800) at index 2, which is not a character"),
        (Whole, True, "expected int, got bool True"),
        (Whole, 1.0, "expected int, got float 1.0"),
        (Whole, 10**4300, "has more than 4300 digits"),
        (Whole, -(10**4300), "has more than 4300 digits"),
        (Text, 10**5000, "expected str, got int "),
        (Real, True, "expected float, got bool True"),
        (Real, math.nan, "nan cannot be sent; a float must be finite (None says that there is none)"),
        (Real, -math.inf, "-inf cannot be sent; a float must be finite (None says that there is none)"),
        (Real, 2**53 + 1, "the int 9007199254740993 is not exactly a float"),
        (Real, 10**400, "is not exactly a float"),
        (Real, Decimal(1), "expected float, got Decimal Decimal('1')"),
        (Truth, 1, "expected bool, got int 1"),
        (Exact, 0.1, "expected Decimal, got float 0.1"),
        (Exact, True, "expected Decimal, got bool True"),
        (Exact, Decimal("sNaN"), "sNaN cannot be sent; a Decimal must be finite"),
        (Exact, Decimal("Infinity"), "Infinity cannot be sent"),
        (Exact, Decimal("1E+10000"), "has the exponent 10000; it must be within 9999"),
        (When, datetime(2026, 1, 1), "2026-01-01T00:00:00 has no offset; make it aware, as with tzinfo=UTC"),  # noqa: DTZ001
        (When, "2026-01-01", "expected datetime, got str '2026-01-01'"),
        (When, at(1, 1, 1, offset=timedelta(hours=20)), "is not within the years 1 to 9999 in UTC"),
        (Raw, "a", "expected bytes, got str 'a'"),
        (Raw, bytearray(b"a"), "expected bytes, got bytearray bytearray(b'a')"),
        (Picked, 1.0, "expected 'low' | 1 | True, got float 1.0"),
        (Picked, "high", "expected 'low' | 1 | True, got str 'high'"),
        (Picked, [], "expected 'low' | 1 | True, got list []"),
        (Graded, 1, "expected a member of Level, got int 1"),
        (Pet, "Tom", "expected Cat or Dog, got str 'Tom'"),
        (Pet, Puppy("Rex", 1), "which derives from it and holds more; name it in the field's type: Cat | Dog | Puppy"),
        (Deep, {"a": [3]}, "expected list[str], got int 3"),
        (Deep, {1: []}, "expected str, got int 1"),
        (Deep, [], "expected dict[str, list[list[str] | None]], got list []"),
    ],
    ids=kind_of,
)
def test_values_that_do_not_fit_are_refused_with_their_place(cls: Any, given: Any, problem: str) -> None:
    with pytest.raises(InvalidPayloadError) as caught:
        cls(given)
    assert caught.value.where.startswith(f"{cls.__name__}.value")
    assert problem in caught.value.problem


def test_a_path_leads_to_the_spot() -> None:
    with pytest.raises(InvalidPayloadError) as caught:
        Deep({"a": [], "b c": [["x"], ["y", 3]]})  # type: ignore[list-item]
    assert str(caught.value) == "Deep.value['b c'][1][1]: expected str, got int 3"


def test_values_are_shown_in_bounded_text() -> None:
    for value in ("x" * 100_000, [["y"] * 1000] * 1000, 10**5000):
        with pytest.raises(InvalidPayloadError) as caught:
            Raw(value)  # type: ignore[arg-type]
        assert len(str(caught.value)) < 500


def test_nothing_inside_of_a_payload_can_be_changed() -> None:
    given: dict[str, Any] = {"a": [["x"]]}
    deep = Deep(given)
    given["a"][0].append("y")
    given["b"] = []
    assert deep == Deep({"a": [["x"]]})
    inside: Any = deep.value
    for change in (
        lambda: inside.__setitem__("a", ()),
        lambda: inside.__delitem__("a"),
        lambda: inside.update(a=()),
        lambda: inside.setdefault("b", ()),
        lambda: inside.pop("a"),
        inside.popitem,
        inside.clear,
        lambda: inside.__ior__({"b": ()}),
    ):
        with pytest.raises(TypeError, match="a payload cannot be changed"):
            change()
    assert isinstance(inside["a"], tuple)
    assert inside | {"b": ()} == {"a": (("x",),), "b": ()}
    assert hash(deep) == hash(Deep({"a": [["x"]]}))
    assert copy.deepcopy(deep) == deep
    assert copy.copy(inside) is inside
    assert pickle.loads(pickle.dumps(deep)) == deep  # noqa: S301 - our own
    with pytest.raises(TypeError, match="a payload cannot be changed"):
        pickle.loads(pickle.dumps(inside)).clear()  # noqa: S301 - our own


def test_what_has_its_normal_form_is_kept_and_not_copied() -> None:
    deep = Deep({"a": [["x"], None]})
    assert Deep(deep.value).value is deep.value
    moment = datetime(2026, 1, 1, tzinfo=UTC)
    assert When(moment).value is moment


def test_a_payload_that_is_nested_too_deep_says_so() -> None:
    @payload
    class Chain:
        inner: Chain | None

    chain = Chain(None)
    for _ in range(sys.getrecursionlimit()):
        chain = Chain(chain)
    with pytest.raises(InvalidPayloadError, match=r"^Chain: is nested too deep to be written$"):
        encode_xml(chain)
