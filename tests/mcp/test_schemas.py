"""Arguments that fit what a server says of them, and those that do not; a server's schema may be anything."""

from __future__ import annotations

import json
from typing import Any

import pytest

from organism.errors import InvalidPayloadError
from organism.mcp.schemas import reader
from organism.payloads import parse_json

NESTED: dict[str, Any] = {
    "type": "object",
    "properties": {"to": {"$ref": "#/$defs/Place"}, "most": {"type": "integer"}, "share": {"type": "number"}},
    "required": ["to"],
    "additionalProperties": False,
    "$defs": {"Place": {"type": "object", "properties": {"shelf": {"enum": ["a", "b"]}}, "required": ["shelf"]}},
}


def read(schema: dict[str, Any], text: str) -> Any:
    return json.loads(reader(schema)(parse_json(text)).arguments)


def test_what_fits_is_sent_as_it_is() -> None:
    assert read(NESTED, '{"to": {"shelf": "a"}, "share": 0.5, "most": 3}') == {
        "to": {"shelf": "a"}, "share": 0.5, "most": 3,
    }  # fmt: skip


MISFITS = [
    ("{}", "'to' is a required property"),
    (
        '{"to": {"shelf": "c"}, "most": "3"}',
        "to.shelf: 'c' is not one of ['a', 'b']; most: '3' is not of type 'integer'",
    ),
    ('{"to": {"shelf": "a"}, "least": 1}', "Additional properties are not allowed ('least' was unexpected)"),
    ("[]", "the arguments must be an object, as in {}"),
    ('{"to": {"shelf": "a"}, "share": 1e999}', "1E+999 is too large a number"),
]


@pytest.mark.parametrize(("text", "problem"), MISFITS)
def test_what_does_not_fit_is_told_with_its_place(text: str, problem: str) -> None:
    with pytest.raises(InvalidPayloadError) as caught:
        read(NESTED, text)
    assert caught.value.problem == problem


ODD: list[Any] = [
    {"properties": {"text": {"$ref": "http://127.0.0.1:9/schema"}}},  # nothing is fetched: no connection is tried
    {"properties": {"text": {"$ref": "file:///etc/hostname"}}},
    {"properties": {"text": {"pattern": "^(a+)+$"}}},  # tried, it would not end in this life
    {"patternProperties": {"^(t+)+x$": {"type": "integer"}}, "additionalProperties": False},
    {"properties": {"text": {"$ref": "#/properties/text"}}},
    {"type": 5},
    {"properties": [1, 2]},
]


@pytest.mark.parametrize("schema", ODD)
def test_a_schema_that_is_none_leaves_the_decision_to_its_server(schema: dict[str, Any]) -> None:
    text = "a" * 40 + "!"
    assert read(schema, json.dumps({"text": text})) == {"text": text}
