"""What may stand in a request to the simulated provider: everything that a provider takes, and never a failure of its own."""

from __future__ import annotations

import copy
import json
import math
from typing import TYPE_CHECKING, Any, Final

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st

from organism.models.anthropic.request import EFFORTS
from organism.models.simulation.options import Options
from organism.server import chat, messages
from organism.server.http import Answer, Asked
from organism.server.simulated import SimulatedProvider

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

CHAT: Final = "/v1/chat/completions"
MESSAGES: Final = "/v1/messages"
ASKS: Final = {"role": "user", "content": "What is a frame? A call."}
HELLO: Final[dict[str, Any]] = {"model": "sim-1", "max_tokens": 50, "messages": [ASKS]}
IMAGE: Final = {"type": "image", "source": {"type": "url", "url": "https://example.org/frame.png"}}
TEXT: Final = {"type": "text", "text": "A frame is a call."}
USE: Final = {"type": "tool_use", "id": "c1", "name": "look_up", "input": {"text": "frame"}}
CALL: Final = {"id": "c1", "type": "function", "function": {"name": "look_up", "arguments": "{}"}}
SCHEMA: Final = {"type": "object", "properties": {"text": {"type": "string"}}, "required": ["text"]}


def provider() -> SimulatedProvider:
    return SimulatedProvider(models=["sim-1"], options=Options(), wall=lambda: 1_800_000_000.0)


def answered(path: str, body: object, *, by: SimulatedProvider | None = None) -> tuple[int, Any]:
    """The status and the document that a body comes to; the texts of a stream as a list of events."""
    ours = by or provider()

    async def ask() -> tuple[int, Any]:
        answer = await ours(Asked(method="POST", path=path, body=json.dumps(body).encode()))
        if isinstance(answer, Answer):
            return answer.status, json.loads(answer.body)
        return 200, [piece async for piece in answer.pieces()]

    return trio.run(ask)


def said(*turns: Mapping[str, Any], **more: Any) -> dict[str, Any]:
    return HELLO | ({"messages": list(turns)} if turns else {}) | more


def used(*blocks: Mapping[str, Any], result: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """A turn with a use of a tool, what stands before it, and its result."""
    of_it = {"type": "tool_result", "tool_use_id": "c1", **(result or {})}
    return said(ASKS, {"role": "assistant", "content": [*blocks, USE]}, {"role": "user", "content": [of_it]})


TAKEN: Final[Mapping[str, tuple[str, dict[str, Any]]]] = {
    "parts of a text": (CHAT, said({"role": "user", "content": [TEXT, TEXT]})),
    "plain text, said so": (CHAT, said(response_format={"type": "text"})),
    "tools that nobody is to call": (
        CHAT,
        said(tools=[{"type": "function", "function": {"name": "look_up"}}], tool_choice="none"),
    ),
    "a system of blocks": (MESSAGES, said(system=[TEXT])),
    "an image beside a text": (MESSAGES, said({"role": "user", "content": [TEXT, IMAGE]})),
    "a result without content": (MESSAGES, used()),
    "a result with an image": (MESSAGES, used(result={"content": [TEXT, IMAGE]})),
    "thinking that is sent back": (MESSAGES, used({"type": "thinking", "thinking": "hm", "signature": "s"}, TEXT)),
    "thinking": (MESSAGES, said(max_tokens=4000, thinking={"type": "enabled", "budget_tokens": 2000})),
}  # fmt: skip

REFUSED: Final[Mapping[str, tuple[str, dict[str, Any], str]]] = {
    "a part that is none": (CHAT, said({"role": "user", "content": [1]}), "messages[0].content[0]: must be an object"),
    "a part without a type": (CHAT, said({"role": "user", "content": [{"text": "x"}]}), "messages[0].content[0].type: is missing"),
    "a role that is none": (CHAT, said({"role": 5, "content": "x"}), "messages[0].role: must be a string"),
    "half a token": (CHAT, said(max_tokens=0.5), "max_tokens: must be an integer"),
    "true tokens": (CHAT, said(max_tokens=True), "max_tokens: must be an integer"),
    "a heat": (CHAT, said(temperature=2.5), "temperature: must be from 0 to 2"),
    "no heat at all": (CHAT, said(temperature=math.nan), "temperature: must be a number"),
    "more heat than can be": (CHAT, said(temperature=10**400), "temperature: must be from 0 to 2"),
    "tools that are no list": (CHAT, said(tools={"name": "look_up"}), "tools: must be an array"),
    "one id for two calls": (CHAT, said({"role": "assistant", "tool_calls": [CALL, CALL]}), "two of them have the same id"),
    "a result of nothing": (CHAT, said({"role": "tool", "content": "x"}), "messages[0].tool_call_id: is missing"),
    "a call without its result": (CHAT, said(ASKS, {"role": "assistant", "tool_calls": [CALL]}), "messages[1]: its calls have no result behind it: c1"),
    "no tools, and one must be called": (CHAT, said(tool_choice="required"), "tool_choice 'required' without any tools"),
    "a call of nothing": (CHAT, said({"role": "assistant", "tool_calls": [CALL | {"function": {"arguments": "{}"}}]}), "messages[0].tool_calls[0].function.name: is missing"),
    "an answer of another kind": (CHAT, said(response_format={"type": "yaml"}), "response_format.type: 'yaml' is not one of"),
    "no turns": (MESSAGES, HELLO | {"messages": []}, "messages: must have at least one message"),
    "a turn that is a number": (MESSAGES, said({"role": "user", "content": 5}), "messages[0].content: must be a string or an array of blocks"),
    "what no assistant says": (MESSAGES, said(ASKS, {"role": "assistant", "content": [IMAGE]}), "messages[1].content[0].type: 'image' is not one of text, thinking, tool_use"),
    "nothing but thinking": (MESSAGES, said(max_tokens=2000, thinking={"type": "enabled", "budget_tokens": 2000}), "thinking.budget_tokens: must be less than max_tokens"),
    "thinking that is too short": (MESSAGES, said(thinking={"type": "enabled", "budget_tokens": 5}), "thinking.budget_tokens: must be at least 1024"),
}  # fmt: skip


@pytest.mark.parametrize(("path", "body"), TAKEN.values(), ids=TAKEN)
def test_what_a_provider_takes_is_taken(path: str, body: dict[str, Any]) -> None:
    status, whole = answered(path, body)
    assert (status, whole.get("error")) == (200, None)
    assert whole["usage"]
    status, events = answered(path, body | {"stream": True})
    assert (status, len(events) > 1) == (200, True)


@pytest.mark.parametrize(("path", "body", "text"), REFUSED.values(), ids=REFUSED)
def test_what_a_provider_refuses_is_refused_with_its_place(path: str, body: dict[str, Any], text: str) -> None:
    ours = provider()
    for streamed in (False, True):
        status, document = answered(path, body | {"stream": streamed}, by=ours)
        assert (status, text in document["error"]["message"]) == (400, True), document
    assert (ours.answered, ours.cancelled) == (0, 0)


def test_any_json_object_may_be_asked_for() -> None:
    status, whole = answered(CHAT, said(response_format={"type": "json_object"}))
    assert status == 200
    assert isinstance(json.loads(whole["choices"][0]["message"]["content"]), dict)


@pytest.mark.parametrize(("choice", "ends"), [("required", "tool_calls"), ("none", "stop")])
def test_a_caller_of_chat_may_ask_for_a_call_or_for_none(choice: str, ends: str) -> None:
    tools = [{"type": "function", "function": {"name": "look_up", "parameters": SCHEMA}}]
    looked_up: list[dict[str, Any]] = []
    for name in ("c1", "c2", "c3"):
        looked_up.append({"role": "assistant", "tool_calls": [CALL | {"id": name}]})
        looked_up.append({"role": "tool", "tool_call_id": name, "content": "A frame is a call that is open."})
    asked = [said(ASKS, tools=tools), said(ASKS, *looked_up, tools=tools)]
    assert [_end(CHAT, body) for body in asked] == ["tool_calls", "stop"]
    assert [_end(CHAT, body | {"tool_choice": choice}) for body in asked] == [ends, ends]


@pytest.mark.parametrize(("choice", "ends"), [("any", "tool_use"), ("none", "end_turn")])
def test_a_caller_of_messages_may_ask_for_a_call_or_for_none(choice: str, ends: str) -> None:
    tools = [{"name": "look_up", "input_schema": SCHEMA}]
    looked_up: list[dict[str, Any]] = []
    for name in ("c1", "c2", "c3"):
        result = {"type": "tool_result", "tool_use_id": name, "content": "A frame is a call that is open."}
        looked_up.append({"role": "assistant", "content": [USE | {"id": name}]})
        looked_up.append({"role": "user", "content": [result]})
    asked = [said(ASKS, tools=tools), said(ASKS, *looked_up, tools=tools)]
    assert [_end(MESSAGES, body) for body in asked] == ["tool_use", "end_turn"]
    assert [_end(MESSAGES, body | {"tool_choice": {"type": choice}}) for body in asked] == [ends, ends]


def _end(path: str, body: dict[str, Any]) -> str:
    _, whole = answered(path, body)
    return str(whole["choices"][0]["finish_reason"] if path == CHAT else whole["stop_reason"])


def test_a_call_is_whole_or_is_not_made() -> None:
    tools = [{"name": "look_up", "input_schema": SCHEMA}]
    wanted = said(tools=tools, tool_choice={"type": "any"})
    status, whole = answered(MESSAGES, wanted | {"max_tokens": 200})
    assert (status, whole["stop_reason"]) == (200, "tool_use")
    seen: dict[str, list[list[str]]] = {}
    for most in range(1, whole["usage"]["output_tokens"] + 1):
        _, answer = answered(MESSAGES, wanted | {"max_tokens": most})
        inputs = [list(block["input"]) for block in answer["content"] if block["type"] == "tool_use"]
        seen.setdefault(answer["stop_reason"], []).extend(inputs)
    assert seen["max_tokens"] == []
    assert seen["tool_use"] == [["text"]] * len(seen["tool_use"]) != []


@pytest.mark.parametrize("effort", EFFORTS)
def test_the_share_that_is_left_to_thinking_is_an_effort(effort: str) -> None:
    most = 100_000
    thinking = {"type": "enabled", "budget_tokens": int(EFFORTS[effort] * most)}
    found = messages.request_of(said(max_tokens=most, thinking=thinking))
    assert found.reasoning_effort == effort
    # What is said of the output weighs more.
    told = said(max_tokens=most, thinking=thinking, output_config={"effort": "low"})
    assert messages.request_of(told).reasoning_effort == "low"


def test_thinking_may_be_left_out_or_left_to_the_model() -> None:
    efforts = {
        kind: messages.request_of(said(thinking={"type": kind})).reasoning_effort for kind in ("disabled", "adaptive")
    }
    assert efforts == {"disabled": "none", "adaptive": None}
    assert messages.request_of(said(output_config={})).reasoning_effort is None


def test_a_result_is_the_text_that_it_is_made_of() -> None:
    for content, seen in (
        ("x", "x"),
        ([TEXT, {"type": "text", "text": "x"}], "A frame is a call.\nx"),
        ([TEXT, IMAGE], [TEXT, IMAGE]),
    ):
        (_, _, result) = messages.request_of(used(result={"content": content})).messages
        assert result == {"role": "tool", "tool_call_id": "c1", "content": seen}
    (_, _, result) = messages.request_of(used()).messages
    assert result["content"] == ""


def test_an_image_keeps_the_texts_beside_it_in_one_turn() -> None:
    marked = TEXT | {"cache_control": {"type": "ephemeral"}}
    (turn,) = messages.request_of(said({"role": "user", "content": [marked, IMAGE]})).messages
    assert turn == {"role": "user", "content": [TEXT, IMAGE]}


def test_both_protocols_ask_the_same_of_the_model() -> None:
    ours, theirs = chat.request_of(said(seed=3)), messages.request_of(said(seed=3))
    assert (ours.messages, ours.max_output_tokens) == (theirs.messages, theirs.max_output_tokens)


# Whatever a body says

BODIES: Final = [
    *[(path, body) for path, body in TAKEN.values()],
    (CHAT, said(tools=[{"type": "function", "function": {"name": "look_up", "parameters": SCHEMA}}], tool_choice="required")),
    (CHAT, said(response_format={"type": "json_schema", "json_schema": {"name": "a", "schema": SCHEMA}}, seed=1, verbosity=2)),
    (MESSAGES, said(tools=[{"name": "look_up", "input_schema": SCHEMA}], tool_choice={"type": "any"}, temperature=0.5)),
]  # fmt: skip
numbers = st.integers() | st.sampled_from([10**400, -(10**400), 2**63, 0, 1]) | st.floats()
values = st.recursive(
    st.none() | st.booleans() | numbers | st.text(max_size=8) | st.sampled_from(["\ud800", "text", "tool", "user"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4) | st.sampled_from(["type", "name"]), inner, max_size=3),
    max_leaves=5,
)  # fmt: skip


def places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Every container in a document, with each of its keys."""
    held = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in held:
        yield value, key
        yield from places(inner)


@settings(max_examples=150)
@given(st.sampled_from(BODIES), st.booleans(), st.data())
def test_no_body_makes_it_fail(body: tuple[str, dict[str, Any]], streamed: bool, data: st.DataObject) -> None:
    path, known = body
    changed = copy.deepcopy(known) | {"stream": streamed}
    holder, key = data.draw(st.sampled_from(list(places(changed))))
    holder[key] = data.draw(values)
    status, document = answered(path, changed)
    assert status in {200, 400, 404}
    if status != 200:
        assert document["error"]["message"]
