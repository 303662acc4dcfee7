"""What type checkers must accept, and what they must refuse: an ignore that is not needed is an error of its own."""

from __future__ import annotations

import dataclasses
from datetime import UTC, datetime
from decimal import Decimal
from enum import Enum
from typing import Annotated, Any, ClassVar, Literal, assert_type

import attrs

from organism.payloads import (
    PayloadType,
    Vocabulary,
    decode_fields,
    describe,
    description,
    encode_fields,
    encode_json,
    encode_xml,
    is_payload,
    json_schema,
    payload,
    xsd,
)


class Mood(Enum):
    GOOD = "good"
    BAD = "bad"


@payload
class Cat:
    name: str


@payload(namespace="urn:example:dogs")
class Dog:
    name: str
    age: int = 3


@payload
class Everything:
    """A field of each type."""

    LIMIT: ClassVar[int] = 3

    text: str
    whole: int
    real: float
    truth: bool
    money: Annotated[Decimal, "USD"]
    when: datetime
    mood: Mood
    level: Literal["low", "high", 3]
    raw: bytes
    cat: Cat
    maybe: str | None
    several: list[str]
    places: tuple[int, ...]
    scores: dict[str, float]
    animal: Cat | Dog
    class_: str = "first"
    inner: Everything | None = None
    tags: list[str] = attrs.field(factory=list[str])


@payload
@attrs.frozen
class Ready:
    name: str
    size: int = attrs.field(default=1, validator=attrs.validators.ge(0))


@payload
@dataclasses.dataclass(frozen=True)
class AlsoReady:
    name: str
    tags: list[str] = dataclasses.field(default_factory=list[str])


@payload
class OnlyHere:
    text: str


@payload
class Named:
    """Its annotation names what whoever derives from it has not imported."""

    name: OnlyHere


@payload
class Kitten(Cat):
    mother: Cat


everything = Everything(
    "text",
    1,
    1,
    truth=True,
    money=Decimal("0.10"),
    when=datetime(2026, 1, 31, tzinfo=UTC),
    mood=Mood.GOOD,
    level="low",
    raw=b"\x00",
    cat=Cat("Tom"),
    maybe=None,
    several=["a"],
    places=(1, 2),
    scores={"a": 1},
    animal=Dog(name="Rex"),
    inner=None,
)

assert_type(everything.text, str)
assert_type(everything.animal, Cat | Dog)
assert_type(everything.inner, Everything | None)
assert_type(Dog("Rex").age, int)
assert_type(Ready("a", size=2).size, int)
assert_type(AlsoReady("a").tags, list[str])
assert_type(Kitten("Tim", Cat("Tom")).name, str)
assert_type(encode_xml(everything), bytes)
assert_type(encode_json(everything), dict[str, Any])
assert_type(encode_fields(everything), dict[str, Any])
assert_type(decode_fields(Cat, {"name": "Tom"}), Cat)
assert_type(describe(Cat), PayloadType)
assert_type(description(Cat), str)
assert_type(xsd(Cat), str)
assert_type(json_schema(Cat), dict[str, Any])
assert_type(is_payload(everything), bool)

vocabulary = Vocabulary([Everything])
assert_type(vocabulary.decode_xml(encode_xml(everything), expect=[Everything]), Everything)
assert_type(vocabulary.decode_xml("<Cat><name>Tom</name></Cat>", [Cat]), Cat)
assert_type(vocabulary.decode_json({"Cat": {"name": "Tom"}}, [Cat]), Cat)
assert_type(vocabulary.decode_text("Tom", [Cat]), Cat)
assert_type(vocabulary.get("Cat"), type | None)


def refused() -> None:
    """Never called: these are mistakes that a type checker sees."""
    Cat()  # type: ignore[call-arg]
    Cat(name=1)  # type: ignore[arg-type]
    Cat("Tom").name = "Tim"  # type: ignore[misc]
    Kitten("Tim")  # type: ignore[call-arg]
    decode_fields(Cat, {}).age  # type: ignore[attr-defined] # noqa: B018
