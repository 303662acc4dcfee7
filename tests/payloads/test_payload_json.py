"""JSON: documents, the bare fields that a model's tool call gives, and the schemas it is shown."""

from __future__ import annotations

import json
import sys
from datetime import UTC, datetime
from decimal import Decimal
from enum import Enum
from typing import Annotated, Any, Literal

import pytest

from organism.errors import InvalidPayloadError, PayloadTypeError
from organism.payloads import (
    Vocabulary,
    decode_fields,
    description,
    encode_fields,
    encode_json,
    json_schema,
    parse_json,
    payload,
)
from organism.payloads.prose import example


class Level(Enum):
    LOW = 1
    HIGH = 2


@payload
class Source:
    """Where it stands."""

    file: str


@payload
class Shelf:
    boxes: list[Shelf | Source]
    named: dict[str, Shelf]


@payload
class Order:
    """What is ordered."""

    item: Annotated[str, "By name."]
    amount: Decimal
    when: datetime | None
    level: Level = Level.LOW
    weight: float = 1.5
    sources: list[Source] = []  # noqa: RUF012 - it becomes a tuple
    either: Source | Order | None = None
    note: str | None = "none"


ORDER = Order(
    "tea", Decimal("0.10"), datetime(2026, 1, 31, tzinfo=UTC), Level.HIGH, 2, [Source("a.md")], Source("b.md"), None
)
FIELDS = {
    "item": "tea",
    "amount": "0.10",
    "when": "2026-01-31T00:00:00+00:00",
    "level": "HIGH",
    "weight": 2.0,
    "sources": [{"file": "a.md"}],
    "either": {"Source": {"file": "b.md"}},
    "note": None,
}


def problem_of(fields: Any) -> str:
    with pytest.raises(InvalidPayloadError) as caught:
        decode_fields(Order, fields)
    return str(caught.value)


def test_the_document() -> None:
    assert encode_json(ORDER) == {"Order": FIELDS}
    assert encode_fields(ORDER) == FIELDS
    assert decode_fields(Order, FIELDS) == ORDER
    assert Vocabulary([Order]).decode_json({"Order": FIELDS}, [Order]) == ORDER
    assert encode_fields(Order("tea", Decimal(1), None)) == {
        "item": "tea", "amount": "1", "level": "LOW", "weight": 1.5, "sources": [], "note": "none",
    }  # fmt: skip


def test_numbers_are_taken_as_json_means_them() -> None:
    fields = {"item": "", "amount": 5, "weight": 3, "when": None}
    assert decode_fields(Order, fields) == Order("", Decimal(5), None, weight=3.0)
    assert decode_fields(Order, {**fields, "amount": 0.1}).amount == Decimal("0.1")
    exact = '{"item": "", "amount": 0.1234567890123456789012345, "weight": 0.5}'
    assert decode_fields(Order, parse_json(exact)).amount == Decimal("0.1234567890123456789012345")
    assert decode_fields(Order, parse_json(exact)).weight == 0.5

    @payload
    class Count:
        number: int

    assert decode_fields(Count, {"number": 5.0}).number == 5
    assert decode_fields(Count, parse_json('{"number": 5.0}')).number == 5
    for number in (5.5, "5", True, None, Decimal("5.5"), Decimal("1E+999999999")):
        with pytest.raises(InvalidPayloadError, match=r"^Count\.number: expected int, got "):
            decode_fields(Count, {"number": number})


def test_dicts_and_literals() -> None:
    @payload
    class Scale:
        steps: dict[str, Literal[1, 2, "max"]]

    assert decode_fields(Scale, {"steps": {"a": 1, "b": 2.0, "c": "max"}}) == Scale({"a": 1, "b": 2, "c": "max"})
    assert encode_fields(Scale({"a": 1})) == {"steps": {"a": 1}}
    for value, problem in (
        ([], r"^Scale\.steps: expected an object, got list \[\]$"),
        ({"a": 3}, r"^Scale\.steps\['a'\]: expected 1 \| 2 \| 'max', got int 3$"),
        ({"a": 1.5}, r"^Scale\.steps\['a'\]: expected 1 \| 2 \| 'max', got float 1\.5$"),
        ({"a": True}, r"^Scale\.steps\['a'\]: expected 1 \| 2 \| 'max', got bool True$"),
        ({"\ud800": 1}, r"^Scale\.steps\['\\ud800'\]: the key is wrong: holds a lone surrogate"),
    ):
        with pytest.raises(InvalidPayloadError, match=problem):
            decode_fields(Scale, {"steps": value})


def test_a_class_may_refuse_with_an_error_of_its_own() -> None:
    @payload
    class Even:
        number: int

        def __attrs_post_init__(self) -> None:
            if self.number % 2:
                raise InvalidPayloadError("is odd", where="Even.number")

    with pytest.raises(InvalidPayloadError, match=r"^Even\.number: is odd$"):
        decode_fields(Even, {"number": 1})


def test_what_is_nested_too_deep_cannot_be_written() -> None:
    order = Order("", Decimal(1), None)
    for _ in range(sys.getrecursionlimit()):
        order = Order("", Decimal(1), None, either=order)
    with pytest.raises(InvalidPayloadError, match=r"^Order: is nested too deep to be written$"):
        encode_json(order)


def test_all_problems_are_told_at_once() -> None:
    told = problem_of(
        {
            "itm": "tea",
            "amount": "much",
            "when": "2026-02-30T00:00:00Z",
            "level": "MIDDLE",
            "weight": "heavy",
            "sources": [{"file": 1}, {}, "c"],
            "either": {"Orders": {}},
        }
    )
    assert told == (
        "Order: 10 problems: Order.itm: is not a field; did you mean 'item'?; Order.item: is missing (str); "
        "Order.amount: expected a decimal number (exponent within 9999), got str 'much'; "
        "Order.when: expected a date and time with its offset, such as 2026-01-31T12:00:00+01:00, got str '2026-02-30T00:00:00Z'; "
        "Order.level: expected 'LOW' | 'HIGH', got str 'MIDDLE'; "
        "Order.weight: expected float, got str 'heavy'; "
        "Order.sources[0].file: expected str, got int 1; Order.sources[1].file: is missing (str); "
        "Order.sources[2]: expected an object with the fields of Source, got str 'c'; "
        """Order.either: expected {"Source": {...}} or {"Order": {...}}, got dict {'Orders': {}}"""
    )


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        (None, "Order: expected an object with the fields of Order, got None"),
        ([], "Order: expected an object with the fields of Order, got list []"),
        ({"item": "\ud800", "amount": 1}, "Order.item: holds a lone surrogate (U+D800) at index 0"),
        ({"item": "", "amount": 1, "weight": 10**400}, "is too large for a float"),
        ({"item": "", "amount": 1, "sources": {}}, "Order.sources: expected a list, got dict {}"),
        ({"item": "", "amount": 1, 3: 4}, "Order.3: is not a field; there are item, amount, when"),
        ({"item": "", "amount": 1, "x" * 10_000: 4}, "x: is not a field; there are item"),
        ({"item": "", "amount": True}, "Order.amount: expected Decimal, got bool True"),
    ],
)
def test_problems_have_their_place(fields: Any, problem: str) -> None:
    assert problem in problem_of(fields)
    assert len(problem_of(fields)) < 1_000


def test_documents_name_one_payload() -> None:
    words = Vocabulary([Order])
    documents: list[Any] = [{}, {"Order": {}, "Source": {}}, [], None, "Order"]
    for document in documents:
        with pytest.raises(InvalidPayloadError, match=r"^expected an object like \{\"Name\": "):
            words.decode_json(document)
    with pytest.raises(
        InvalidPayloadError, match=r"^'Ordr' is not a payload of this organism; did you mean 'Order'\?$"
    ):
        words.decode_json({"Ordr": {}})
    with pytest.raises(InvalidPayloadError, match=r"^expected Source, got 'Order'$"):
        words.decode_json({"Order": FIELDS}, [Source])


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("{", "is not JSON: Expecting property name"),
        ("{} {}", "is not JSON: Extra data"),
        ('{"a": NaN}', "is not JSON: NaN is not a JSON number"),
        ('{"a": -Infinity}', "is not JSON: -Infinity is not a JSON number"),
        ('{"a": 1, "b": {"c": 1, "c": 2}}', "is not JSON: an object has the name 'c' twice"),
        (b'{"a": "\xff"}', "is not JSON: "),
        ("\ufeff{}", "is not JSON: Unexpected UTF-8 BOM"),
        ("1" * 5_000, "has a number of more than 4300 digits"),
        ("[" * 100_000, "is nested too deep to be read"),
    ],
)
def test_json_is_read_strictly(text: str | bytes, problem: str) -> None:
    with pytest.raises(InvalidPayloadError) as caught:
        parse_json(text)
    assert str(caught.value).startswith(problem)


def test_an_example_of_what_holds_itself_ends() -> None:
    shown = example(Shelf)
    assert shown == '{"Shelf": {"boxes": [], "named": {}}}'
    assert Vocabulary([Shelf]).decode_json(json.loads(shown)) == Shelf(boxes=[], named={})


def test_a_document_that_is_nested_too_deep_is_refused() -> None:
    fields: dict[str, Any] = {"item": "", "amount": 1}
    for _ in range(2_000):
        fields = {"item": "", "amount": 1, "either": {"Order": fields}}
    assert problem_of(fields) == "Order: is nested too deep to be read"


def test_the_schema_of_the_fields() -> None:
    schema = json_schema(Order)
    decimal = schema["properties"]["amount"].pop("pattern")
    moment = schema["properties"]["when"].pop("pattern")
    assert decimal.startswith("^(")
    assert moment.endswith(")$")
    assert schema == {
        "title": "Order",
        "description": "What is ordered.",
        "type": "object",
        "properties": {
            "item": {"type": "string", "description": "By name."},
            "amount": {"type": ["string", "number"]},
            "when": {"type": ["string", "null"], "format": "date-time"},
            "level": {"type": "string", "enum": ["LOW", "HIGH"], "default": "LOW"},
            "weight": {"type": "number", "default": 1.5},
            "sources": {"type": "array", "items": {"$ref": "#/$defs/Source"}, "default": []},
            "either": {
                "anyOf": [
                    {
                        "anyOf": [
                            {
                                "type": "object",
                                "properties": {"Source": {"$ref": "#/$defs/Source"}},
                                "required": ["Source"],
                                "additionalProperties": False,
                            },
                            {
                                "type": "object",
                                "properties": {"Order": {"$ref": "#"}},
                                "required": ["Order"],
                                "additionalProperties": False,
                            },
                        ]
                    },
                    {"type": "null"},
                ],
                "default": None,
            },
            "note": {"type": ["string", "null"], "default": "none"},
        },
        "required": ["item", "amount"],
        "additionalProperties": False,
        "$defs": {
            "Source": {
                "title": "Source",
                "description": "Where it stands.",
                "type": "object",
                "properties": {"file": {"type": "string"}},
                "required": ["file"],
                "additionalProperties": False,
            }
        },
    }
    schema["properties"].clear()
    assert json_schema(Order)["properties"]


def test_the_description_for_people_and_models() -> None:
    assert description(Order) == (
        "Order: What is ordered.\n"
        "- item (str): By name.\n"
        "- amount (Decimal)\n"
        "- when (datetime | None, may be left out)\n"
        "- level ('LOW' | 'HIGH', 'LOW' if left out)\n"
        "- weight (float, 1.5 if left out)\n"
        "- sources (list[Source], [] if left out)\n"
        "- either (Source | Order | None, may be left out)\n"
        "- note (str | None, 'none' if left out)\n"
        "\n"
        "Source: Where it stands.\n"
        "- file (str)"
    )


def test_what_is_no_payload_is_refused_everywhere() -> None:
    uses: list[Any] = [json_schema, description, lambda cls: encode_json(cls("1")), lambda cls: decode_fields(cls, {})]
    for use in uses:
        with pytest.raises(PayloadTypeError, match=r"builtins\.str is not a payload; decorate the class with @payload"):
            use(str)


def test_schemas_are_json() -> None:
    assert json.loads(json.dumps(json_schema(Order))) == json_schema(Order)
