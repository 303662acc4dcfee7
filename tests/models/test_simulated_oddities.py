"""What the simulated model makes of prompts and schemas that are seldom, and still may come."""

from __future__ import annotations

import json
import re
from decimal import Decimal
from itertools import islice
from types import MappingProxyType
from typing import Any

import pytest

from organism.models.simulation.defaults import matching
from organism.models.simulation.documents import documents, loads, plain
from organism.models.simulation.fields import reference_of
from organism.models.simulation.schemas import Schemas
from organism.models.simulation.tokens import count_tokens, text_of
from organism.models.simulation.words import singular, words
from organism.models.simulation.xml_speech import example_at
from organism.models.tokens.prompt import compact
from tests.models.simulated_world import STRING, arguments, ask, listed, problems, record, tool, user

# Documents


@pytest.mark.parametrize(
    ("text", "tree"),
    [
        ("<Note>1 < 2 & 3</Note>", "1 < 2 & 3"),
        ("<Note><text>a <- b</text></Note>", {"text": "a <- b"}),
        ("<Note><!-- <text>no</text> --><text>yes</text></Note>", {"text": "yes"}),
        ("<Note><?how now?><text>yes</text></Note>", {"text": "yes"}),
        ("<Note><text><![CDATA[<b>&amp;</b>]]></text></Note>", {"text": "<b>&amp;</b>"}),
        ("<Note></b><text>yes</text></Note>", {"text": "yes"}),
        ("<Note><text>yes<b></text></Note>", {"text": {"b": "", "text": "yes"}}),
    ],
)
def test_elements_are_read_as_browsers_read_them(text: str, tree: Any) -> None:
    (found,) = documents(text)
    assert (found.name, found.tree) == ("Note", tree)


@pytest.mark.parametrize(
    "text",
    ["<Note><![CDATA[x</Note>", "<Note><!-- x</Note>", "<Note>" * 500 + "</Note>" * 500, '{"a": ' * 5000, "</Note>"],
    ids=["no end of CDATA", "no end of a comment", "too deep", "too deep in JSON", "only an end"],
)
def test_what_never_ends_is_no_document(text: str) -> None:
    assert documents(text) == []


def test_any_value_has_a_plain_form() -> None:
    given = {1: (Decimal("1.5"), MappingProxyType({"a": None}), {"x"}), "b": True}
    assert plain(given) == {"1": ["1.5", {"a": None}, "{'x'}"], "b": True}
    assert loads(compact(given)) == {"1": ["1.5", {"a": None}, "{'x'}"], "b": True}


@pytest.mark.parametrize("text", ["", "{", "nul", "[" * 100_000])
def test_what_is_no_json_is_none(text: str) -> None:
    assert loads(text) is None


# Words


def test_a_script_without_blanks_is_parted_in_pairs() -> None:
    assert list(words("潮は月")) == ["潮は", "は月"]
    assert list(words("The 潮 turns")) == ["The", "潮", "turns"]


@pytest.mark.parametrize(
    ("word", "one"), [("stories", "story"), ("tides", "tide"), ("glass", "glass"), ("bus", "bus"), ("ties", "tie")]
)
def test_a_noun_has_its_singular(word: str, one: str) -> None:
    assert singular(word) == one


def test_the_parts_of_a_content_are_its_text() -> None:
    parts = ["one", {"type": "text", "text": "two"}, {"type": "image_url", "image_url": "x"}, 5]
    assert text_of(parts) == "one\ntwo"
    assert text_of(None) == text_of(5) == ""
    plain_, pictured = [
        ask({"role": "user", "content": content}).usage for content in ("one\ntwo", [*parts[:2], {"type": "image"}])
    ]
    assert plain_ is not None
    assert pictured is not None
    assert isinstance(plain_.input_tokens, int)
    assert isinstance(pictured.input_tokens, int)
    assert pictured.input_tokens > plain_.input_tokens + count_tokens("image")


def test_a_thing_is_called_by_what_says_it_best() -> None:
    assert reference_of({"title": "x", "source_url": "https://example.org"}) == "https://example.org"
    assert reference_of({"title": "x", "id": True}) == ""


# Patterns and schemas


@pytest.mark.parametrize(
    "pattern",
    [r"\Aab\Z", r"\bword\b", "\\x41\\u00e4", "^[\\x41-\\x43]{2}$", "^(?i:ab)+$", r"^(?P<a>x)(?=y)y$", r"^[^\W\d]$", "^[]a]$"],
)  # fmt: skip
def test_a_pattern_is_kept_to(pattern: str) -> None:
    made = list(islice(matching(pattern, 0, 20), 5))
    assert made
    assert all(re.search(pattern, text) for text in made)


@pytest.mark.parametrize("pattern", ["a\\", "\\xzz", "(" * 500, "[", "a{2,1}"])
def test_a_pattern_that_is_none_gives_nothing(pattern: str) -> None:
    assert list(islice(matching(pattern, 0, 20), 1)) == []


def _filled(properties: dict[str, Any], said: str = "What is a tide?", **more: Any) -> Any:
    schema = record(properties, **more)
    response = ask(user(said), tools=[tool("odd", schema)], tool_choice="odd")
    found = arguments(response)
    assert problems(schema, found) == []
    return found


def test_the_kinds_of_values_that_a_schema_leaves_open_are_kept_to() -> None:
    found = _filled(
        {
            "nothing": {"type": "null"},
            "either": {"enum": [None, "x"]},
            "usual": {"enum": ["x", "y"], "default": "y"},
            "inner": {"allOf": [{"enum": ["x", "y"]}, {"enum": ["y", "z"]}]},
            "pair": {"prefixItems": [{"type": "integer"}, STRING], "items": False, "type": "array", "minItems": 2},
            "tags": listed(STRING, uniqueItems=True, maxItems=2),
            "box": {"type": "object", "minProperties": 3, "properties": {"a": STRING}, "additionalProperties": STRING},
        }
    )
    assert (found["nothing"], found["either"], found["usual"], found["inner"]) == (None, None, "y", "y")
    assert len(found["box"]) >= 3


def test_references_lead_through_lists_and_to_what_is_never() -> None:
    root = {"oneOf": [{"type": "integer"}, {"$ref": "#/oneOf/0"}], "$defs": {"no": False, "a/b": {"type": "null"}}}
    schemas = Schemas(root)
    assert schemas.target("#/oneOf/0") == {"type": "integer"}
    assert schemas.target("#/$defs/no") == {"not": {}}
    assert schemas.target("#/$defs/a~1b") == {"type": "null"}
    for nowhere in ("#/oneOf/9", "#/oneOf/x", "#/oneOf/0/type/x", "https://example.org", 5):
        assert schemas.target(nowhere) == {}


def test_a_reference_to_itself_is_anything() -> None:
    found = Schemas({"$ref": "#"}).resolve({"$ref": "#"})
    assert found == {}
    response = ask(user("x"), tools=[tool("odd", {"$ref": "#"})], tool_choice="odd")
    assert [call.name for call in response.tool_calls] == ["odd"]


def test_a_tool_that_takes_one_of_several_records_is_filled_by_one() -> None:
    schema = {"oneOf": [{"type": "null"}, record({"path": STRING, "of": record({"text": STRING})})]}
    tools = [tool("read", schema), tool("reply", record({"text": STRING}))]
    response = ask(user("Read docs/a.md."), tools=tools, tool_choice="read")
    assert [call.name for call in response.tool_calls] == ["read"]
    assert arguments(response)["path"] == "docs/a.md"


# Prompts


def test_a_prompt_without_a_user_is_answered() -> None:
    found = ask({"role": "system", "content": "Budget notice: final. You have 2 calls left."})
    assert (found.finish_reason, bool(found.text)) == ("stop", True)


def test_an_example_that_is_not_whole_is_none() -> None:
    for text in ("<Note><text>x</Note>", "</Note>", "<Note><text>", ""):
        assert example_at(text, 0) is None


def test_what_was_written_otherwise_than_the_example_is_taken_as_far_as_it_goes() -> None:
    many = "<!-- any number of these -->"
    found = example_at(
        f"<Note><count>whole number</count><tags>{many}<item>text</item></tags><by>{many}<entry>number</entry></by></Note>",
        0,
    )
    assert found is not None
    example, _ = found
    assert example.typed("all in one") == {}
    assert example.typed({"count": "many", "tags": "one", "odd": 1}) == {"count": "many", "tags": ["one"]}
    assert example.typed({"tags": None}) == {"tags": []}
    assert example.typed({"count": {"a": "1"}}) == {"count": {"a": "1"}}
    assert json.dumps(example.schema())
