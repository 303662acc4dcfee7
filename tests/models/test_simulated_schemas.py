"""Whatever schema a tool has, the simulated model calls it with valid arguments."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from organism.models.simulation.tokens import answer_tokens
from tests.models.simulated_world import (
    AWARE,
    DECIMAL,
    STRING,
    arguments,
    ask,
    listed,
    parameters,
    play,
    problems,
    record,
    tool,
    user,
)

PROMPTS = st.sampled_from(
    [
        "What is a frame?",
        "",
        '<Question xmlns="urn:x"><text>Why do birds sing?</text><path>docs/a.md</path><count>12</count></Question>',
        json.dumps(
            {"Task": {"name": "Ada", "tags": ["a", "b"], "amount": "12.50", "when": "2026-01-02T03:04:05+01:00"}}
        ),
        "The tide turns twice a day. The moon pulls the sea. When does the tide turn?",
    ]
)


@settings(max_examples=150)
@given(schema=parameters, prompt=PROMPTS)
def test_a_named_tool_is_called_with_valid_arguments(schema: dict[str, Any], prompt: str) -> None:
    response = ask(user(prompt), tools=[tool("thing", schema)], tool_choice="thing", max_output_tokens=100_000)
    assert response.finish_reason == "tool_calls"
    assert [call.name for call in response.tool_calls] == ["thing"]
    assert problems(schema, arguments(response)) == []


@settings(max_examples=60)
@given(schema=parameters, prompt=PROMPTS)
def test_an_answer_in_json_is_valid(schema: dict[str, Any], prompt: str) -> None:
    response = ask(user(prompt), returns=schema, max_output_tokens=100_000)
    assert response.finish_reason == "stop"
    assert problems(schema, json.loads(response.text)) == []


@settings(max_examples=80)
@given(schema=parameters, room=st.integers(1, 200))
def test_a_call_is_shortened_to_fit_or_not_made(schema: dict[str, Any], room: int) -> None:
    material = "The tide turns twice a day. The moon pulls the sea. Salt water is heavy. When does the tide turn?"
    response = ask(user(material), tools=[tool("reply", schema)], tool_choice="reply", max_output_tokens=room)
    assert response.usage is not None
    assert response.usage.output_tokens == answer_tokens(response.text, response.tool_calls)
    assert answer_tokens(response.text, response.tool_calls) <= room
    if response.tool_calls:
        assert problems(schema, arguments(response)) == []
    else:
        assert response.finish_reason == "length"


RESULTS = st.one_of(
    st.text(max_size=40),
    st.just('{"HandlerFailed": {"code": "timeout", "text": "it took too long", "retry": true}}'),
    st.just('{"InvalidPayload": {"error": "text: is required", "attempt": 1}}'),
    st.just(
        '{"Found": {"items": [{"path": "a.md", "text": "Birds sing at dawn."}, {"path": "b.md", "text": "Fish do not."}]}}'
    ),
    st.just("docs/a.md\ndocs/b.md\nhttps://example.org/c"),
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=20),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
        max_leaves=8,
    ).map(json.dumps),
)


@settings(max_examples=60)
@given(data=st.data(), tools=st.lists(parameters, max_size=3), answer=parameters, prompt=PROMPTS)
def test_a_loop_over_any_tools_ends_in_a_reply(
    data: st.DataObject, tools: list[dict[str, Any]], answer: dict[str, Any], prompt: str
) -> None:
    offered = [tool(f"tool{place}", schema) for place, schema in enumerate(tools)]
    offered.append(tool("reply", answer))
    refusals = iter(data.draw(st.lists(st.just('{"InvalidPayload": {"error": "no", "attempt": 1}}'), max_size=2)))
    played = play(
        prompt,
        offered,
        lambda _: data.draw(RESULTS),
        accept=lambda _: next(refusals, None),
        max_output_tokens=100_000,
    )
    assert played.replied
    assert len(played.answers) <= 10
    known = {each.name: each.parameters for each in offered}
    for name, given_arguments in played.calls:
        assert problems(dict(known[name]), given_arguments) == []


def test_fields_are_filled_from_what_is_at_hand() -> None:
    task = '<Order xmlns="urn:x"><id>A-17</id><amount>12.50</amount><urgent>true</urgent><when>2026-01-02T03:04:05Z</when></Order>'
    schema = record(
        {
            "id": STRING,
            "amount": {"type": "string", "pattern": DECIMAL},
            "urgent": {"type": "boolean"},
            "when": {"type": "string", "pattern": AWARE},
            "note": {"anyOf": [STRING, {"type": "null"}]},
        }
    )
    made = arguments(ask(user(task), tools=[tool("ship", schema)], tool_choice="ship"))
    assert made == {"id": "A-17", "amount": "12.50", "urgent": True, "when": "2026-01-02T03:04:05Z", "note": None}


def test_an_enumeration_takes_the_entry_that_the_task_names() -> None:
    schema = record({"style": {"enum": ["formal", "casual", "terse"]}})
    for style in ("formal", "casual", "terse"):
        made = arguments(ask(user(f"Write it in a {style} way."), tools=[tool("write", schema)], tool_choice="write"))
        assert made == {"style": style}


def test_a_recursive_definition_that_must_go_on_is_ended_by_the_branch_that_ends() -> None:
    schema = {
        "$defs": {
            "Even": record({"next": {"anyOf": [{"$ref": "#/$defs/Odd"}, {"$ref": "#/$defs/End"}]}}),
            "Odd": record({"next": {"$ref": "#/$defs/Even"}}),
            "End": record({"end": {"const": True}}),
        },
        **record({"start": {"$ref": "#/$defs/Even"}}),
    }
    assert problems(schema, arguments(ask(user("Go."), tools=[tool("walk", schema)], tool_choice="walk"))) == []


@pytest.mark.parametrize("least", [0, 1, 7, 64, 300])
def test_texts_are_lengthened_and_cut_to_the_lengths_asked_for(least: int) -> None:
    schema = record(
        {"text": {"type": "string", "minLength": least, "maxLength": least + 3}, "tags": listed(STRING, minItems=2)}
    )
    made = arguments(ask(user("What is rain?"), tools=[tool("reply", schema)], tool_choice="reply"))
    assert problems(schema, made) == []


FOUND = """{"Hits": {"hits": [
    {"id": 7, "path": "docs/tides.md", "title": "Tides", "excerpt": "A tide is the rise and fall of the sea."},
    {"id": 9, "path": "docs/moon.md", "title": "Moon", "excerpt": "The moon pulls the sea and so makes the tide."}]}}"""
TASK = "<Inquiry><question>What is a tide?</question><level>2</level><lang>en</lang></Inquiry>"


def _past(result: str) -> list[Any]:
    call = {
        "id": "c1",
        "type": "function",
        "function": {"name": "find", "arguments": '{"question": "What is a tide?"}'},
    }
    return [
        user(TASK),
        {"role": "assistant", "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "c1", "content": result},
    ]


def _filled(properties: dict[str, Any], required: list[str] | None = None, name: str = "reply") -> Any:
    offered = [tool(name, record(properties, required))]
    return arguments(ask(*_past(FOUND), tools=offered, tool_choice=name, temperature=0))


def test_an_answer_is_filled_by_what_its_fields_mean() -> None:
    quote = record({"quote": STRING, "source": STRING})
    made = _filled(
        {
            "question": STRING,
            "answer": STRING,
            "headline": STRING,
            "key_points": listed(STRING),
            "quotes": listed(quote),
            "sources": listed(STRING, maxItems=1),
            "by_file": {"type": "object", "additionalProperties": STRING},
            "keywords": listed(STRING),
            "confidence": {"type": "number", "minimum": 0, "maximum": 1},
            "hit_count": {"type": "integer"},
            "found": {"type": "boolean"},
            "unanswered": {"type": "boolean"},
            "aside": {"type": ["string", "null"]},
        }
    )
    assert made["question"] == "What is a tide?"
    assert made["answer"].startswith("A tide is the rise and fall of the sea.")
    assert made["headline"] == "Tide"
    assert made["key_points"][0] == "A tide is the rise and fall of the sea."
    assert {"quote": "A tide is the rise and fall of the sea.", "source": "docs/tides.md"} in made["quotes"]
    assert made["sources"] == ["docs/tides.md"]
    assert made["by_file"]["docs/moon.md"] == "The moon pulls the sea and so makes the tide."
    assert made["keywords"] == ["tide"]
    assert made["confidence"] == 1
    assert made["hit_count"] == 2
    assert (made["found"], made["unanswered"], made["aside"]) == (True, False, None)


def test_a_call_about_a_thing_is_filled_from_it() -> None:
    shapes: list[tuple[dict[str, Any], dict[str, Any]]] = [
        ({"id": {"type": "integer"}, "name": STRING}, {"id": 7}),
        (
            {"document": STRING, "passage": STRING},
            {"document": "docs/tides.md", "passage": "A tide is the rise and fall of the sea."},
        ),
        ({"path": STRING, "heading": STRING}, {"path": "docs/tides.md", "heading": "Tides"}),
        ({"of": record({"path": STRING}), "lang": STRING}, {"of": {"path": "docs/tides.md"}, "lang": "en"}),
    ]
    for properties, expected in shapes:
        made = _filled(properties, name="peer")
        assert {key: made[key] for key in expected} == expected


def test_an_optional_field_is_left_out_where_nothing_speaks_for_it() -> None:
    properties = {"question": STRING, "limit": {"type": "integer", "default": 5}, "shout": STRING, "lang": STRING}
    assert _filled(properties, ["question"], name="peer") == {"question": "What is a tide?", "lang": "en"}


def test_stated_values_are_taken_where_nothing_better_is_known() -> None:
    properties = {"depth": {"type": "integer", "default": 4}, "zone": {"type": "string", "examples": ["UTC"]}}
    assert _filled(properties, name="peer") == {"depth": 4, "zone": "UTC"}


def test_an_enumeration_of_numbers_is_chosen_by_a_text() -> None:
    assert _filled({"level": {"enum": [1, 2, 3]}}, name="peer") == {"level": 2}
    assert _filled({"level": {"enum": [True, 2]}}, name="peer") == {"level": 2}


@pytest.mark.parametrize("large", ["9" * 400, 10**400, -(10**400)], ids=["text", "number", "below zero"])
def test_a_number_that_no_float_can_hold_is_copied_as_a_whole_number_only(large: object) -> None:
    messages: list[Any] = [user(f"<Question><level>{large}</level></Question>"), user(json.dumps({"level": large}))]
    for kind, copied in (("number", False), ("integer", True)):
        offered = [tool("reply", record({"level": {"type": kind}}, ["level"]))]
        level = arguments(ask(*messages, tools=offered, tool_choice="reply", temperature=0))["level"]
        assert (level == int(str(large))) is copied


def test_refused_arguments_are_not_written_again() -> None:
    schema = record(
        {"colour": {"enum": ["red", "green", "blue"]}, "of": {"oneOf": [record({"a": STRING}), record({"b": STRING})]}}
    )
    messages: list[Any] = [user("Paint it.")]
    made = []
    for _ in range(3):
        response = ask(*messages, tools=[tool("paint", schema)], tool_choice="paint", temperature=0)
        made.append(response.tool_calls[0].arguments)
        refused = '{"InvalidPayload": {"error": "not that", "attempt": 1}}'
        messages += [response.message, {"role": "tool", "tool_call_id": response.tool_calls[0].id, "content": refused}]
    assert len(set(made)) == 3
    assert all(problems(schema, json.loads(text)) == [] for text in made)


@pytest.mark.parametrize(
    "schema",
    [
        {},
        {"type": "object"},
        {"$ref": "#/$defs/Nowhere"},
        {
            "type": "object",
            "properties": {"any": True, "of": {"$ref": "https://example.org/x"}},
            "required": ["any", "of", "more"],
        },
        {
            "allOf": [{"$ref": "#/$defs/A"}, {"required": ["b"]}],
            "$defs": {"A": record({"a": STRING, "b": STRING}, ["a"])},
        },
        {
            "allOf": [
                {"properties": {"n": {"minimum": 3}}},
                {"properties": {"n": {"type": "integer", "maximum": 4}}, "required": ["n"]},
            ]
        },
        {
            "type": "object",
            "minProperties": 2,
            "propertyNames": {"pattern": "^[a-z]{3}$"},
            "additionalProperties": {"type": "integer"},
        },
        {
            "type": "object",
            "patternProperties": {"^x": {"type": "integer"}},
            "additionalProperties": STRING,
            "required": ["xa", "b"],
        },
        record({"no": {"type": "string", "not": {"enum": ["What is a tide?", "nothing"]}}}),
    ],
)
def test_odd_schemas_are_filled_too(schema: dict[str, Any]) -> None:
    response = ask(user("What is a tide?"), tools=[tool("odd", schema)], tool_choice="odd")
    made = arguments(response)
    if "$ref" not in schema and "of" not in schema.get("properties", {}):  # what these refer to is nowhere
        assert problems(schema, made) == []
    elif "required" in schema:
        assert set(schema["required"]) <= set(made)
