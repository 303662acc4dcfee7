"""What the simulated model is tried on: schemas of every shape, tools that answer anything, and a loop like an agent's."""

from __future__ import annotations

import base64
import json
from datetime import datetime
from typing import TYPE_CHECKING, Any

import jsonschema  # type: ignore[import-untyped]
from attrs import field, frozen
from hypothesis import strategies as st

from organism.models.contract import Request, Response, ToolCall, ToolSpec
from organism.models.simulation.options import Options
from organism.models.simulation.writing import answer

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

Schema = dict[str, Any]

STRING: Schema = {"type": "string"}
DECIMAL = r"^[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?$"
AWARE = r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,6})?(Z|[+-]\d\d:\d\d)$"
PATTERNS = (
    DECIMAL,
    r"^[a-z][a-z0-9_-]{0,63}$",
    r"^\d{3}-\d{4}$",
    r"^(yes|no)$",
    r"^[^\s]+$",
    r"\S",
    r"^#[0-9A-Fa-f]{6}$",
)
FORMATS = ("date-time", "date", "email", "uri", "uuid", "ipv4", "hostname")
NAMES = (
    "question", "text", "path", "sources", "notes", "terms", "count", "found", "name", "id", "tags", "answer", "amount",
    "title", "children", "value", "reason", "confidence", "items", "when", "data",
)  # fmt: skip


def record(properties: Schema, required: Sequence[str] | None = None, **more: Any) -> Schema:
    """The schema of an object; all its properties are required unless said otherwise."""
    must = list(properties) if required is None else list(required)
    return {"type": "object", "properties": properties, "required": must, "additionalProperties": False, **more}


def listed(items: Schema, **more: Any) -> Schema:
    return {"type": "array", "items": items, **more}


def tool(name: str, parameters: Schema, description: str = "") -> ToolSpec:
    return ToolSpec(name=name, description=description, parameters=parameters)


@st.composite
def _strings(draw: st.DrawFn) -> Schema:
    least = draw(st.integers(0, 40))
    shapes: list[Schema] = [
        dict(STRING),
        {"type": "string", "minLength": least, "maxLength": least + draw(st.integers(0, 60))},
        {"type": "string", "pattern": draw(st.sampled_from(PATTERNS))},
        {"type": "string", "format": draw(st.sampled_from(FORMATS))},
        {"type": "string", "contentEncoding": "base64", "maxLength": 4 * (least // 4)},
        {"enum": draw(st.lists(st.text(min_size=1, max_size=8), min_size=1, max_size=4, unique=True))},
        {"const": draw(st.sampled_from(["Note", "", 3, True, None]))},
        {"type": "string", "format": "date-time", "pattern": AWARE},
    ]
    return draw(st.sampled_from(shapes))


@st.composite
def _numbers(draw: st.DrawFn) -> Schema:
    kind = draw(st.sampled_from(["integer", "number"]))
    low = draw(st.integers(-(10**6), 10**6) | st.integers(-(10**30), 10**30))
    width = draw(st.integers(1, 100))
    ranges: list[Schema] = [
        {},
        {"minimum": low},
        {"maximum": low},
        {"minimum": low, "maximum": low + width},
        {"exclusiveMinimum": low, "maximum": low + width},
        {"multipleOf": width},
        {"minimum": abs(low) % 1000, "multipleOf": width},
    ]
    if kind == "number":
        ranges.append({"exclusiveMinimum": 0, "exclusiveMaximum": 1})
        ranges.append({"minimum": 0.25, "maximum": 0.5})
    return {"type": kind, **draw(st.sampled_from(ranges))}


def _composed(inner: st.SearchStrategy[Schema]) -> st.SearchStrategy[Schema]:
    return st.one_of(_lists(inner), _records(inner), _maps(inner), _unions(inner), _parts(inner))


@st.composite
def _lists(draw: st.DrawFn, inner: st.SearchStrategy[Schema]) -> Schema:
    least = draw(st.integers(0, 3))
    shape: Schema = draw(
        st.sampled_from([{}, {"minItems": least}, {"minItems": least, "maxItems": least + 2}, {"maxItems": least}])
    )
    if draw(st.booleans()):
        return listed(draw(inner), **shape)
    if draw(st.booleans()):
        items = draw(
            st.sampled_from([STRING, {"type": "integer"}, {"enum": ["red", "green", "blue", "grey", "black"]}])
        )
        return listed(items, uniqueItems=True, **shape)
    first = draw(st.lists(inner, min_size=1, max_size=2))
    return {"type": "array", "prefixItems": first, "items": False, "minItems": len(first)}


@st.composite
def _records(draw: st.DrawFn, inner: st.SearchStrategy[Schema]) -> Schema:
    names = draw(st.lists(st.sampled_from(NAMES), max_size=5, unique=True))
    properties = {name: draw(inner) for name in names}
    for name in names[::2]:
        properties[name] = {
            **properties[name],
            "description": draw(st.sampled_from(["", "a path", "what to look for"])),
        }
    required = draw(st.lists(st.sampled_from(names), unique=True)) if names else []
    return record(properties, required, title="Thing")


@st.composite
def _maps(draw: st.DrawFn, inner: st.SearchStrategy[Schema]) -> Schema:
    least = draw(st.integers(0, 2))
    return {"type": "object", "additionalProperties": draw(inner), "minProperties": least}


@st.composite
def _unions(draw: st.DrawFn, inner: st.SearchStrategy[Schema]) -> Schema:
    one, other = draw(inner), draw(inner)
    return draw(
        st.sampled_from(
            [
                {"anyOf": [one, {"type": "null"}]},
                {"anyOf": [one, other]},
                {"oneOf": [record({"Note": one}), record({"Finding": other})]},
                {"oneOf": [record({"kind": {"const": "a"}, "of": one}), record({"kind": {"const": "b"}, "of": other})]},
                {"type": ["string", "null"]},
                {"type": ["integer", "string"]},
                {"anyOf": [{"type": "number"}, {"type": "string", "pattern": DECIMAL}]},
            ]
        )
    )


@st.composite
def _parts(draw: st.DrawFn, inner: st.SearchStrategy[Schema]) -> Schema:
    """References: shared, recursive through lists, recursive through a choice; and ``allOf``."""
    return draw(
        st.sampled_from(
            [
                {"$ref": "#/$defs/Tree"},
                {"$ref": "#/$defs/Chain"},
                {"$ref": "#/$defs/Leaf", "description": "the leaf"},
                {"allOf": [{"$ref": "#/$defs/Leaf"}], "description": "the same"},
                {"allOf": [{"type": "integer", "minimum": 3}, {"maximum": 7}]},
                draw(inner),
            ]
        )
    )


_DEFS: Schema = {
    "Leaf": record({"text": STRING, "path": STRING}),
    "Tree": record({"name": STRING, "children": listed({"$ref": "#/$defs/Tree"})}),
    "Chain": record({"value": {"type": "integer"}, "next": {"oneOf": [{"$ref": "#/$defs/Chain"}, {"type": "null"}]}}),
}

_scalars = st.one_of(_strings(), _numbers(), st.just({"type": "boolean"}), st.just({"type": "null"}))
schemas = st.recursive(_scalars, _composed, max_leaves=6)
parameters = _records(schemas).map(lambda schema: {**schema, "$defs": _DEFS})
"""Schemas of a tool's one object argument, as payload classes give them and as other programs write them."""


def problems(schema: Schema, value: Any) -> list[str]:
    """What an independent validator says against a value, and what it does not look at: dates and encodings."""
    found = [str(error.message) for error in jsonschema.Draft202012Validator(schema).iter_errors(value)]
    return found + _unreadable(schema, schema, value)


def _unreadable(root: Schema, schema: Any, value: Any) -> list[str]:
    if not isinstance(schema, dict):
        return []
    if isinstance(value, str) and schema.get("format") == "date-time":
        return [] if datetime.fromisoformat(value).tzinfo else [f"{value} has no offset"]
    if isinstance(value, str) and schema.get("contentEncoding") == "base64":
        base64.b64decode(value, validate=True)
    if isinstance(value, list) and "items" in schema:
        return [p for entry in value for p in _unreadable(root, schema["items"], entry)]
    if isinstance(value, dict):
        known = schema.get("properties", {})
        return [p for key, entry in value.items() for p in _unreadable(root, known.get(key), entry)]
    return []


def ask(
    *messages: Mapping[str, Any],
    tools: Sequence[ToolSpec] = (),
    options: Options | None = None,
    max_output_tokens: int = 2000,
    **more: Any,
) -> Response:
    """The model's answer to a prompt."""
    request = Request(model="sim", messages=messages, tools=tools, max_output_tokens=max_output_tokens, **more)
    return answer(request, options or Options())


def user(text: str) -> dict[str, Any]:
    return {"role": "user", "content": text}


def arguments(response: Response, place: int = 0) -> Any:
    """The arguments of a call of an answer."""
    return json.loads(response.tool_calls[place].arguments)


@frozen
class Played:
    """How a loop went: the answers, and every call with its arguments."""

    answers: list[Response] = field(factory=list)
    calls: list[tuple[str, Any]] = field(factory=list)
    replied: bool = False

    @property
    def output_tokens(self) -> int:
        return sum(answered.usage.output_tokens for answered in self.answers)  # type: ignore[union-attr, misc]


def play(
    task: str,
    tools: Sequence[ToolSpec],
    respond: Callable[[ToolCall], str],
    *,
    options: Options | None = None,
    notice: Callable[[int], str | None] = lambda _: None,
    turns: int = 20,
    accept: Callable[[ToolCall], str | None] = lambda _: None,
    **more: Any,
) -> Played:
    """Runs turns as an agent does, until a reply is accepted: every call gets one result, a text without calls is
    complained about, notices are told once and not kept.
    """
    messages: list[Any] = [{"role": "system", "content": "You are the desk. Use what you have and reply."}, user(task)]
    answers: list[Response] = []
    calls: list[tuple[str, Any]] = []
    for turn in range(turns):
        told = notice(turn)
        prompt = [*messages, user(told)] if told else messages
        answered = ask(*prompt, tools=tools, options=options, **more)
        answers.append(answered)
        messages.append(answered.message)
        replied = False
        for call in answered.tool_calls:
            calls.append((call.name, json.loads(call.arguments)))
            if call.name.startswith("reply"):
                refused = accept(call)
                replied = replied or refused is None
                result = refused or "Sent."
            else:
                result = respond(call)
            messages.append({"role": "tool", "tool_call_id": call.id, "content": result})
        if replied:
            return Played(answers, calls, replied=True)
        if not answered.tool_calls:
            messages.append(user('{"InvalidPayload": {"error": "answer by calling the reply tool", "attempt": 1}}'))
    return Played(answers, calls)
