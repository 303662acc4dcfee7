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


@settings(max_examples=150, deadline=None)
@given(schema=parameters, prompt=PROMPTS)
def test_a_named_tool_is_called_with_valid_arguments(schema: dict[str, Any], prompt: str) -> None:
    response = ask(user(prompt), tools=[tool("thing", schema)], tool_choice="thing", max_output_tokens=100_000)
    assert response.finish_reason == "tool_calls"
    assert [call.name for call in response.tool_calls] == ["thing"]
    assert problems(schema, arguments(response)) == []


@settings(max_examples=60, deadline=None)
@given(schema=parameters, prompt=PROMPTS)
def test_an_answer_in_json_is_valid(schema: dict[str, Any], prompt: str) -> None:
    response = ask(user(prompt), returns=schema, max_output_tokens=100_000)
    assert response.finish_reason == "stop"
    assert problems(schema, json.loads(response.text)) == []


@settings(max_examples=80, deadline=None)
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


@settings(max_examples=60, deadline=None)
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
