"""The chat-completions dialect: bodies out, bodies and chunks in, as servers really write them."""

from __future__ import annotations

import json
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import pytest

from organism.models.contract import BackendError, Piece, RawUsage, Request, ToolCall, ToolSpec
from organism.models.openai.request import RULES, body_of
from organism.models.openai.response import Assembler, usage_of
from organism.models.surrogates import all_joined
from organism.models.tokens.prompt import canonical
from organism.models.transport.refusals import heard_in, kind_of

if TYPE_CHECKING:
    from collections.abc import Mapping


def _request(**said: Any) -> Request:
    usual: dict[str, Any] = {"model": "m", "messages": ({"role": "user", "content": "hi"},), "max_output_tokens": 9}
    return Request(**usual | said)


def _body(message: Any, **more: Any) -> dict[str, Any]:
    return {"model": "m-1", "choices": [{"message": message, "finish_reason": "stop"} | more]}


def test_a_body_says_only_what_was_said() -> None:
    body = body_of(_request(), limit="max_tokens")
    assert body == {"model": "m", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 9}


@pytest.mark.parametrize(
    "empty",
    [
        {"content": ""},
        {"content": None, "tool_calls": []},
        {"content": [], "refusal": None},
        {"content": "", "thinking_blocks": [{"type": "thinking", "thinking": "hm"}]},
    ],
)
def test_an_answer_that_says_nothing_is_not_sent(empty: dict[str, Any]) -> None:
    """Many servers refuse a prompt that has one, and so would every later call of a conversation be."""
    user = {"role": "user", "content": "hi"}
    said = [{"role": "assistant", "refusal": "no", "content": None}, {"role": "assistant", "content": " "}]
    messages = (user, {"role": "assistant", **empty}, *said, {"role": "user", "content": ""})
    assert body_of(_request(messages=messages), limit="max_tokens")["messages"] == [user, *said, messages[-1]]


def test_a_body_says_all_that_was_said_in_plain_json() -> None:
    schema = MappingProxyType({"title": "An answer!", "type": "object", "required": ("a",)})
    tool = ToolSpec(name="search", description="Searches.", parameters=MappingProxyType({"type": "object"}))
    body = body_of(
        _request(
            temperature=0.0, seed=7, reasoning_effort="low", tools=(tool,), tool_choice="required", returns=schema
        ),
        limit="max_completion_tokens",
    )
    assert (body["temperature"], body["seed"], body["reasoning_effort"], body["max_completion_tokens"]) == (
        0.0,
        7,
        "low",
        9,
    )
    assert body["tools"] == [
        {
            "type": "function",
            "function": {"name": "search", "description": "Searches.", "parameters": {"type": "object"}},
        }
    ]
    assert body["tool_choice"] == "required"
    wanted = {"name": "An_answer_", "schema": {"title": "An answer!", "type": "object", "required": ["a"]}}
    assert body["response_format"] == {"type": "json_schema", "json_schema": wanted}
    assert json.loads(json.dumps(body)) == body


def test_a_tool_may_be_chosen_by_name_and_none_is_chosen_where_there_is_none() -> None:
    tool = ToolSpec(name="search", description="", parameters={})
    body = body_of(_request(tools=(tool,), tool_choice="search"), limit="max_tokens")
    assert body["tool_choice"] == {"type": "function", "function": {"name": "search"}}
    assert "tool_choice" not in body_of(_request(tool_choice="required"), limit="max_tokens")


def test_options_give_way_to_the_call_and_both_to_its_extra() -> None:
    options = {"temperature": 0.9, "seed": 1, "top_k": 5}
    body = body_of(_request(options=options, temperature=0.1, extra={"seed": 3, "user": "ada"}), limit="max_tokens")
    assert {name: body[name] for name in ("temperature", "seed", "top_k", "user")} == {
        "temperature": 0.1,
        "seed": 3,
        "top_k": 5,
        "user": "ada",
    }


@pytest.mark.parametrize("name", sorted(RULES.owned))
def test_nobody_passes_through_what_the_budget_is_held_for(name: str) -> None:
    with pytest.raises(BackendError, match=f"'{name}' cannot be passed through") as caught:
        body_of(_request(extra={name: 5}), limit="max_tokens")
    assert caught.value.kind == "rejected"


def test_an_answer() -> None:
    body = _body({"role": "assistant", "content": "Hello", "annotations": []})
    response = Assembler().whole(body | {"usage": {"prompt_tokens": 9, "completion_tokens": 2}})
    assert (response.text, response.model, response.finish_reason) == ("Hello", "m-1", "stop")
    assert response.message == {"role": "assistant", "content": "Hello"}
    assert response.usage == RawUsage(
        input_tokens=9, output_tokens=2, cache_read_tokens=None, cache_write_tokens=None, reasoning_tokens=None
    )


def test_an_answer_that_calls_tools() -> None:
    calls: list[Any] = [
        {"id": "a", "type": "function", "function": {"name": "search", "arguments": '{"q": 1}'}},
        {"id": None, "function": {"name": "read", "arguments": {"page": 2}}},
        {"id": "c", "type": "custom", "custom": {"name": "x", "input": "y"}},
    ]
    response = Assembler().whole(_body({"content": None, "tool_calls": calls}))
    assert response.tool_calls == (
        ToolCall(id="a", name="search", arguments='{"q": 1}'),
        ToolCall(id="call_1", name="read", arguments='{"page": 2}'),
    )
    assert response.finish_reason == "tool_calls"
    assert response.message["content"] is None
    assert [call["id"] for call in response.message["tool_calls"]] == ["a", "call_1"]


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        ("stop", "stop"),
        ("length", "length"),
        ("tool_calls", "tool_calls"),
        ("function_call", "tool_calls"),
        ("content_filter", "content_filter"),
        ("eos", "other"),
        (None, "other"),
    ],
)
def test_reasons_to_finish(said: str | None, meant: str) -> None:
    assert Assembler().whole(_body({"content": "x"}, finish_reason=said)).finish_reason == meant


def test_a_refusal_is_the_text() -> None:
    response = Assembler().whole(_body({"content": None, "refusal": "I will not."}))
    assert (response.text, response.finish_reason) == ("I will not.", "content_filter")
    assert response.message == {"role": "assistant", "content": "I will not."}


@pytest.mark.parametrize(
    "body",
    [None, "<html>", [], {}, {"choices": None}, {"choices": []}, {"choices": "stop"}, {"error": {"message": "x"}}],
)
def test_an_answer_without_a_choice_is_broken(body: object) -> None:
    with pytest.raises(BackendError, match=r"no choices|^x$") as caught:
        Assembler().whole(body)
    assert caught.value.kind == "broken"


@pytest.mark.parametrize(
    "choice", [None, {}, {"message": None}, {"message": "x"}, {"message": {"content": 5, "tool_calls": 7}}]
)
def test_a_choice_that_says_nothing_is_an_empty_answer(choice: object) -> None:
    assert Assembler().whole({"choices": [choice]}).text == ""


@pytest.mark.parametrize(
    ("code", "kind"), [(429, "rate_limited"), (502, "server"), (402, "rejected"), ("429", "broken")]
)
def test_gateways_put_a_status_into_the_body(code: object, kind: str) -> None:
    with pytest.raises(BackendError) as caught:
        Assembler().whole({"error": {"code": code, "message": "upstream"}})
    assert caught.value.kind == kind


@pytest.mark.parametrize(
    "refusal",
    [
        {"message": "The input token count (1200001) exceeds the maximum number of tokens allowed (1048575)."},
        {"message": "This model's maximum prompt length is 131072 but the request contains 537812 tokens."},
        {"message": "Input is too long for requested model."},
        {"message": "Input validation error: `inputs` tokens + `max_new_tokens` must be <= 4096. Given: 5000 and 100"},
        {
            "message": "prompt token count of 12345 exceeds the limit of 8192",
            "code": "model_max_prompt_tokens_exceeded",
        },
        {"message": "Prompt contains 65673 tokens, too large for model with 32768 maximum context length"},
        {"message": "Your request exceeded model token limit: 8192"},
        {"message": "Range of input length should be [1, 30720]", "code": "InvalidParameter"},
        {"message": "Prompt exceeds max length", "code": "1261"},
        {"message": "Invalid 'messages[1].content'", "code": "string_above_max_length"},
    ],
)
def test_servers_have_many_ways_to_say_that_a_prompt_is_too_long(refusal: dict[str, str]) -> None:
    assert kind_of(400, *heard_in(json.dumps({"error": refusal}))) == "context"


@pytest.mark.parametrize(
    "said",
    [
        "max_tokens is too large: 99999. This model supports at most 4096 completion tokens, whereas you provided 99999.",
        "max_tokens: 300000 > 128000, which is the maximum allowed number of output tokens",
        "tools[0].name is too long",
        "The image exceeds the maximum size",
    ],
)
def test_other_things_may_be_too_long_as_well(said: str) -> None:
    assert kind_of(400, *heard_in(json.dumps({"error": {"message": said}}))) == "rejected"


@pytest.mark.parametrize(
    ("status", "code", "text", "kind"),
    [
        (400, "", "what?", "rejected"),
        (400, "context_length_exceeded", "", "context"),
        (400, "", "This model's maximum context length is 8192 tokens", "context"),
        (400, "exceed_context_size_error", "", "context"),
        (413, "", "", "context"),
        (401, "", "", "auth"),
        (403, "", "", "auth"),
        (404, "model_not_found", "", "rejected"),
        (408, "", "", "server"),
        (409, "", "", "server"),
        (422, "", "", "rejected"),
        (429, "", "", "rate_limited"),
        (429, "insufficient_quota", "", "rejected"),
        (500, "", "", "server"),
        (529, "", "", "server"),
    ],
)
def test_what_a_status_means(status: int, code: str, text: str, kind: str) -> None:
    assert kind_of(status, code, text) == kind


def test_usage_with_its_details() -> None:
    usage = {
        "prompt_tokens": 100,
        "completion_tokens": 20,
        "prompt_tokens_details": {"cached_tokens": 60, "cache_write_tokens": 8},
        "completion_tokens_details": {"reasoning_tokens": 12},
    }
    assert usage_of({"usage": usage}) == RawUsage(
        input_tokens=100, output_tokens=20, cache_read_tokens=60, cache_write_tokens=8, reasoning_tokens=12
    )
    assert usage_of({}) is None
    assert usage_of({"usage": "lots"}) == RawUsage(
        cache_read_tokens=None, cache_write_tokens=None, reasoning_tokens=None
    )


def _chunk(delta: Any, reason: str | None = None, **more: Any) -> dict[str, Any]:
    return {"model": "m-1", "choices": [{"delta": delta, "finish_reason": reason}]} | more


def test_chunks_make_an_answer() -> None:
    gathering = Assembler()
    pieces = [
        piece
        for chunk in (
            _chunk({"role": "assistant", "content": ""}),
            _chunk({"content": "Hel"}),
            _chunk({"content": "lo"}),
            _chunk({}, "stop"),
            {"choices": [], "usage": {"prompt_tokens": 9, "completion_tokens": 2}},
        )
        for piece in gathering.add(chunk)
    ]
    assert pieces == [Piece(text="Hel"), Piece(text="lo")]
    response = gathering.response()
    assert (response.text, response.model, response.finish_reason) == ("Hello", "m-1", "stop")
    assert response.usage is not None
    assert response.usage.input_tokens == 9


def test_chunks_make_tool_calls_side_by_side() -> None:
    gathering, pieces = Assembler(), list[Piece]()
    for calls in (
        [{"index": 0, "id": "a", "function": {"name": "search", "arguments": ""}}],
        [{"index": 1, "id": "b", "function": {"name": "read", "arguments": "{"}}],
        [{"index": 0, "function": {"arguments": '{"q"'}}],
        [{"index": 0, "function": {"arguments": ": 1}"}}, {"index": 1, "function": {"arguments": "}"}}],
    ):
        pieces += gathering.add(_chunk({"tool_calls": calls}))
    assert {piece.kind for piece in pieces} == {"other"}
    assert [(piece.tool, piece.call, piece.text) for piece in pieces] == [
        ("", 0, "search"),
        ("", 0, "read"),
        ("read", 1, "{"),
        ("search", 0, '{"q"'),
        ("search", 0, ": 1}"),
        ("read", 1, "}"),
    ]
    gathering.add(_chunk({}, "tool_calls"))
    assert gathering.response().tool_calls == (
        ToolCall(id="a", name="search", arguments='{"q": 1}'),
        ToolCall(id="b", name="read", arguments="{}"),
    )


def test_calls_that_all_have_the_same_index_or_none_are_told_apart_by_their_ids() -> None:
    for index in ({"index": 0}, {}):
        gathering = Assembler()
        for name in ("a", "b"):
            call = {"id": name, "function": {"name": name, "arguments": "{}"}} | index
            gathering.add(_chunk({"tool_calls": [call]}))
        gathering.add(_chunk({}, "stop"))
        assert [call.name for call in gathering.response().tool_calls] == ["a", "b"]


@pytest.mark.parametrize(
    "told",
    [
        pytest.param([[(0, "a", "f", "")], [(0, None, None, "[1]")], [(0, "b", "g", "")], [(0, None, None, "[2]")]], id="0"),
        pytest.param([[(None, "a", "f", "")], [(None, "a", None, "[1]")], [(None, "b", "g", "")], [(None, "b", None, "[2]")]], id="no index"),
        pytest.param([[(0, "a", "f", "[")], [(0, "a", "f", "1]")], [(1, "b", "g", "[")], [(1, "b", "g", "2]")]], id="said again"),
        pytest.param([[(0, "a", "f", "[1]")], [(0, "b", "g", "[")], [(1, "c", "h", "[3]")], [(0, None, None, "2]")]], id="mixed"),
        pytest.param([[(0, "a", "f", "[")], [(0, "x", None, "1")], [(0, "y", None, "]")], [(0, "b", "g", "[2]")]], id="an id each"),
        pytest.param([[(0, "", "f", "[1]")], [(0, "", "g", "[2]")]], id="no ids"),
        pytest.param([[(0, None, "f", "[1]"), (0, None, "g", "[2]")]], id="at once"),
        pytest.param([[(0, None, "f", ""), (0, None, "g", "")]], id="at once, without arguments"),
    ],
)  # fmt: skip
def test_each_call_of_a_stream_gets_its_own_arguments_however_the_server_counts(
    told: list[list[tuple[Any, ...]]],
) -> None:
    gathering, heard = Assembler(), dict[int, str]()
    for calls in told:
        said = [
            {"index": index, "id": named, "function": {"name": name, "arguments": arguments}}
            for index, named, name, arguments in calls
        ]
        for piece in gathering.add(_chunk({"tool_calls": said})):
            if piece.tool:
                heard[piece.call] = heard.get(piece.call, "") + piece.text
    gathering.add(_chunk({}, "tool_calls"))
    made = gathering.response().tool_calls
    assert [call.name for call in made] == ["f", "g", "h"][: len(made)]
    assert len({call.id for call in made}) == len(made) >= 2
    assert [call.arguments for call in made] in (["[1]", "[2]"], ["[1]", "[2]", "[3]"], ["", ""])
    assert [heard.get(number, "") for number in range(len(made))] == [call.arguments for call in made]


SIGNED: Mapping[str, Any] = {"google": {"thought_signature": "c2ln"}}


def _thinking_pieces() -> list[dict[str, Any]]:
    """A turn of calls that was thought about, piece by piece."""

    def call(index: int, **said: Any) -> dict[str, Any]:
        return {"tool_calls": [{"index": index, **said}]}

    def detail(text: str | None = None, **said: Any) -> dict[str, Any]:
        return {"reasoning_details": [{"type": "reasoning.text", "index": 0, "text": text} | said]}

    return [
        {"reasoning_content": "hm"},
        {"reasoning_content": "m", **detail("a")},
        detail("b", signature=None),
        {"reasoning_details": [{"type": "reasoning.text", "index": 0, "signature": "s"}]},
        {"reasoning_details": [{"type": "reasoning.encrypted", "data": "x", "index": 1}]},
        call(0, id="one", function={"name": "f", "arguments": ""}, extra_content=SIGNED),
        call(0, function={"arguments": "{}"}),
        call(1, id="two", function={"name": "g", "arguments": "{}"}),
    ]


WANTED_BACK: Mapping[str, Any] = {
    "reasoning_content": "hmm",
    "reasoning_details": [
        {"type": "reasoning.text", "index": 0, "text": "ab", "signature": "s"},
        {"type": "reasoning.encrypted", "data": "x", "index": 1},
    ],
}


def _sent(message: Mapping[str, Any], server: str) -> Any:
    return body_of(_request(messages=(message,)), limit="max_tokens", server=server)["messages"][0]


def test_each_call_of_an_answer_has_an_id_of_its_own() -> None:
    given = ["a", "a", "", "call_2", "a"]
    calls = [{"id": named, "function": {"name": "f", "arguments": "{}"}} for named in given]
    response = Assembler().whole(_body({"tool_calls": calls}))
    ids = [call.id for call in response.tool_calls]
    assert (ids[0], len(set(ids))) == ("a", 5)
    assert [call["id"] for call in response.message["tool_calls"]] == ids


@pytest.mark.parametrize("streamed", [True, False])
def test_what_was_thought_of_calls_goes_back_to_the_server_that_said_it_and_to_no_other(streamed: bool) -> None:
    gathering = Assembler("https://a")
    for delta in _thinking_pieces():
        gathering.add(_chunk(delta))
    gathering.add(_chunk({}, "tool_calls"))
    response = gathering.response()
    if not streamed:
        calls = [{**call, "index": None} for call in _sent(response.message, "https://a")["tool_calls"]]
        whole = {"content": None, "tool_calls": calls, **WANTED_BACK}
        response = Assembler("https://a").whole({"choices": [{"message": whole, "finish_reason": "stop"}]})
    first, second = (
        {"id": named, "type": "function", "function": {"name": name, "arguments": "{}"}}
        for named, name in (("one", "f"), ("two", "g"))
    )
    plain = {"role": "assistant", "content": None, "tool_calls": [first, second]}
    assert _sent(response.message, "https://b") == plain
    thought = {**plain, "tool_calls": [{**first, "extra_content": SIGNED}, second], **WANTED_BACK}
    assert _sent(response.message, "https://a") == thought
    # A text can be kept whatever it says, and nothing of it stands in the way where its calls are gone.
    assert set(map(type, response.message["kept_for_server"].values())) == {str}
    alone = {name: part for name, part in response.message.items() if name != "tool_calls"} | {"content": "A"}
    assert _sent(alone, "https://a") == {"role": "assistant", "content": "A"}


def _thought(text: str) -> Mapping[str, Any]:
    """The message of an answer that was thought about so."""
    call = {"id": "a", "function": {"name": "f", "arguments": "{}"}}
    return Assembler("https://a").whole(_body({"reasoning_content": text, "tool_calls": [call]})).message


@pytest.mark.parametrize(("text", "sent"), [("啊\ud83d\ude00", "啊😀"), ("cut \ud83d", "cut \ufffd")])
def test_half_characters_of_a_thought_are_found_as_those_of_a_text_are(text: str, sent: str) -> None:
    assert _sent(all_joined(_thought(text)), "https://a")["reasoning_content"] == sent


def test_a_thought_counts_as_long_as_it_is() -> None:
    assert len(canonical(_thought("啊" * 1000), "it")) < 3 * 1000 + 300


@pytest.mark.parametrize("kept", [{}, {"said": 5}, {"said": "{"}, {"said": "5"}, {"said": "[5]"}])
def test_what_is_kept_and_cannot_be_read_is_left_out(kept: dict[str, Any]) -> None:
    message = {**_thought("hmm"), "kept_for_server": {"server": "https://a", **kept}}
    assert _sent(message, "https://a") == _sent(_thought("hmm"), "https://b")


def test_thoughts_of_an_answer_without_calls_are_not_kept() -> None:
    gathering = Assembler("https://a")
    gathering.add(_chunk({"reasoning_content": "hmm", "content": "A"}, "stop"))
    assert gathering.response().message == {"role": "assistant", "content": "A"}


def test_content_may_come_in_parts() -> None:
    thought = {"type": "thinking", "thinking": [{"type": "text", "text": "hmm"}]}
    content = [thought, {"type": "text", "text": "Hel"}, {"type": "reference", "reference_ids": [1]}, "odd"]
    choice = {"message": {"content": [*content, {"type": "text", "text": "lo"}]}, "finish_reason": "stop"}
    response = Assembler().whole({"choices": [choice]})
    assert (response.text, response.message) == ("Hello", {"role": "assistant", "content": "Hello"})
    gathering = Assembler()
    assert gathering.add(_chunk({"content": content})) == [Piece(text="Hel"), Piece(text="hmm", kind="other")]
    gathering.add(_chunk({"content": "lo"}, "stop"))
    assert gathering.response().text == "Hello"


def test_a_report_that_says_nothing_takes_none_back() -> None:
    gathering = Assembler()
    gathering.add(_chunk({"content": "A"}, "stop", usage={"prompt_tokens": 9, "completion_tokens": 2}))
    gathering.add({"choices": [], "usage": {}})
    assert gathering.usage is not None
    assert gathering.usage.input_tokens == 9


def test_reasoning_is_output_that_is_not_shown() -> None:
    gathering = Assembler()
    assert gathering.add(_chunk({"reasoning_content": "hmm", "content": "A"})) == [
        Piece(text="A"),
        Piece(text="hmm", kind="other"),
    ]
    gathering.add(_chunk({}, "stop"))
    assert gathering.response().text == "A"


def test_a_stream_without_an_end_was_cut() -> None:
    gathering = Assembler()
    gathering.add(_chunk({"content": "Hel"}, usage={"prompt_tokens": 9, "completion_tokens": 1}))
    with pytest.raises(BackendError, match="ended before its answer did") as caught:
        gathering.response()
    assert caught.value.kind == "cut"
    assert caught.value.usage is not None
    assert caught.value.usage.output_tokens == 1
