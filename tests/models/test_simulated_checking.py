"""The simulated model judges what it writes by the schema; an independent validator judges the judge."""

from __future__ import annotations

import json
import math
from typing import Any, Final

import jsonschema  # type: ignore[import-untyped]
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from organism.models.simulation.schemas import Checker, Schemas
from tests.models.simulated_world import arguments, ask, parameters, record, tool, user

VALUES: Final[list[Any]] = [
    *(None, True, False, 0, 1, -1, 3, 6, 7, 1.0, 0.5, 0.3, -2.5, 1e300),
    *("", "a", "abc", "abcdef", "3", "true", "a b"),
    *([], [1], [1, 1], [1, 1.0], [1, True], ["a", 1], [[1], [1]], [{"a": 1}, {"a": 1.0}], [1, "a", None]),
    *({}, {"a": 1}, {"a": "x"}, {"b": 1}, {"a": 1, "b": 2}, {"abc": 1}, {"a": {"a": {"a": 1}}}, {"xa": 1, "b": "x"}),
]
SCHEMAS: Final[list[Any]] = [
    *(True, False, {}, {"type": "null"}, {"type": "integer"}, {"type": ["number", "string"]}, {"type": "array"}),
    *({"const": 1}, {"const": True}, {"const": [1]}, {"const": {"a": 1}}, {"enum": [1, "a", None]}, {"enum": []}),
    *({"minimum": 1}, {"exclusiveMinimum": 1}, {"maximum": 1, "exclusiveMaximum": 1}, {"multipleOf": 3}),
    *({"multipleOf": 0.5}, {"type": "integer", "multipleOf": 1}),
    *({"minLength": 2}, {"maxLength": 2}, {"pattern": "^a"}, {"type": "string", "pattern": "b$", "minLength": 2}),
    *({"minItems": 1}, {"maxItems": 1}, {"uniqueItems": True}, {"items": {"type": "integer"}}, {"items": False}),
    {"prefixItems": [{"type": "integer"}, {"type": "string"}], "items": False},
    {"prefixItems": [{"type": "integer"}]},
    *({"minProperties": 2}, {"maxProperties": 1}, {"required": ["a"]}, {"propertyNames": {"maxLength": 1}}),
    {"properties": {"a": {"type": "integer"}}, "additionalProperties": False},
    {"properties": {"a": False}},
    {"patternProperties": {"^x": {"type": "integer"}}, "additionalProperties": {"type": "string"}},
    {"additionalProperties": {"type": "integer"}},
    {"not": {"type": "object"}},
    {"allOf": [{"required": ["a"]}, {"maxProperties": 1}]},
    {"anyOf": [{"type": "string"}, {"minimum": 3}]},
    {"oneOf": [{"type": "integer"}, {"minimum": 3}]},
    {"$defs": {"A": record({"a": {"$ref": "#/$defs/A"}}, [])}, "$ref": "#/$defs/A"},
    {"$defs": {"no": False}, "properties": {"a": {"$ref": "#/$defs/no"}}},
    {"prefixItems": [{"type": "integer"}, {"$ref": "#/prefixItems/0"}]},
]


def bare(schema: Any) -> Any:
    """Without what the other validator does not look at."""
    if isinstance(schema, dict):
        return {key: bare(value) for key, value in schema.items() if key not in {"format", "contentEncoding"}}
    return [bare(each) for each in schema] if isinstance(schema, list) else schema


def judged(schema: Any, value: Any) -> bool:
    return Checker(Schemas(schema)).valid(schema, value)


@pytest.mark.parametrize("schema", SCHEMAS, ids=json.dumps)
def test_every_keyword_is_judged_as_the_standard_has_it(schema: Any) -> None:
    others = jsonschema.Draft202012Validator(schema)
    wrong = [value for value in VALUES if judged(schema, value) != others.is_valid(value)]
    assert wrong == []


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.floats(-9, 9, width=16) | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["text", "path", "name", "kind"]), inner)
    ),
    max_leaves=6,
)


@settings(max_examples=100)
@given(schema=parameters, other=json_values, data=st.data())
def test_a_value_that_was_changed_anywhere_is_judged_alike(schema: Any, other: Any, data: st.DataObject) -> None:
    schema = bare(schema)
    made = arguments(ask(user("What is it?"), tools=[tool("t", schema)], tool_choice="t", max_output_tokens=100_000))
    root = [made]
    holder, key = data.draw(st.sampled_from(_places(root)))
    holder[key] = other
    assert judged(schema, root[0]) == jsonschema.Draft202012Validator(schema).is_valid(root[0])


def _places(value: Any) -> list[tuple[Any, Any]]:
    held = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [place for key, inner in held for place in ((value, key), *_places(inner))]


@pytest.mark.parametrize(
    ("named", "right", "wrong"),
    [
        ("date-time", "2026-01-02T03:04:05Z", "2026-01-02 03:04"),
        ("date", "2026-12-31", "2026-13-01"),
        ("time", "23:59:59", "24:00:00"),
        ("duration", "P1DT2H", "PT"),
        ("email", "a@b.org", "a@b"),
        ("uri", "urn:x", "no uri"),
        ("uuid", "0" * 8 + "-0000" * 3 + "-" + "0" * 12, "0" * 36),
        ("ipv4", "10.0.0.255", "10.0.0.256"),
        ("hostname", "a-b.org", "-a.org"),
        ("something else", "whatever", None),
    ],
)
def test_formats_are_looked_at(named: str, right: str, wrong: str | None) -> None:
    rules = {"type": "string", "format": named}
    assert judged(rules, right)
    assert not judged(rules, wrong)


def test_base64_is_looked_at() -> None:
    rules = {"type": "string", "contentEncoding": "base64"}
    assert [judged(rules, text) for text in ("", "YWI=", "YWI", "Y!I=", "ä")] == [True, True, False, False, False]


def test_a_pattern_that_python_cannot_read_is_taken_for_kept() -> None:
    assert judged({"pattern": r"^\p{L}+$"}, "anything")


def test_an_endless_schema_fits_nothing() -> None:
    assert not judged({"$ref": "#"}, 1)


def test_a_number_that_json_has_no_form_for_fits_nothing() -> None:
    assert [judged({}, value) for value in (math.inf, -math.inf, math.nan, 1e308)] == [False, False, False, True]


def test_a_number_that_is_too_large_to_be_divided_is_no_multiple() -> None:
    assert [judged({"multipleOf": step}, 10**400) for step in (0.5, 3, 10)] == [False, False, True]


def test_a_tree_fits_a_recursive_schema_as_deep_as_trees_are() -> None:
    rules: dict[str, Any] = {"type": "object", "properties": {"a": {"$ref": "#"}}}
    tree: dict[str, Any] = {"a": {}}
    for _ in range(20):
        tree = {"a": tree}
    assert judged(rules, tree)
    deepest = tree
    while deepest["a"]:
        deepest = deepest["a"]
    deepest["a"] = 5
    assert not judged(rules, tree)
