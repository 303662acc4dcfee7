"""Answers in the Messages dialect: bodies and events in, as servers really write them."""

from __future__ import annotations

import json
from typing import Any

import pytest

from organism.models.anthropic.request import turns_of
from organism.models.anthropic.response import Assembler, usage_of
from organism.models.contract import BackendError, Piece, RawUsage, ToolCall
from organism.models.formats import error_of
from organism.models.reasoning import THINKING
from organism.models.tokens.usage import measured
from organism.models.transport.refusals import heard_in, kind_of
from tests.models.anthropic_server import HELLO, OVER, PING, answer, block, call, started, stopped, thought, words

CALL = {"type": "tool_use", "id": "toolu_1", "name": "search", "input": {"q": "é"}}
THOUGHT = {"type": "thinking", "thinking": "hmm", "signature": "sig"}
HIDDEN = {"type": "redacted_thinking", "data": "xyz"}


def _gathered(*events: Any, name: str = "") -> tuple[Assembler, list[Piece]]:
    gathering = Assembler(name)
    return gathering, [piece for event in events for piece in gathering.add(event)]


def test_an_answer() -> None:
    response = Assembler().whole(answer("Hel", "lo"))
    assert (response.text, response.model, response.finish_reason) == ("Hello", "m-1", "stop")
    assert response.message == {"role": "assistant", "content": "Hello"}
    assert response.usage is not None
    assert (response.usage.input_tokens, response.usage.output_tokens) == (9, 2)


def test_an_answer_that_calls_tools_and_thinks() -> None:
    body = answer(THOUGHT, "I look.", HIDDEN, CALL, {"type": "tool_use", "name": "read"}, stop="tool_use")
    response = Assembler().whole(body)
    assert response.tool_calls == (
        ToolCall(id="toolu_1", name="search", arguments='{"q": "é"}'),
        ToolCall(id="call_1", name="read", arguments="{}"),
    )
    assert (response.text, response.finish_reason) == ("I look.", "tool_calls")
    assert response.message[THINKING] == [{**THOUGHT, "at": [0, 0]}, {**HIDDEN, "at": [7, 0]}]
    _, (_, turn) = turns_of([{"role": "user", "content": "hi"}, response.message])
    assert turn["content"][:4] == body["content"][:4], "what it wrote comes back as it was"


def test_each_call_of_an_answer_has_an_id_of_its_own() -> None:
    response = Assembler().whole(answer(CALL, CALL, {**CALL, "id": 7}, {**CALL, "id": "call_2"}, stop="tool_use"))
    ids = [call.id for call in response.tool_calls]
    assert (ids[0], len(set(ids))) == ("toolu_1", 4)
    assert [call["id"] for call in response.message["tool_calls"]] == ids


def test_a_message_without_thinking_is_that_of_every_provider() -> None:
    response = Assembler().whole(answer(CALL, stop="tool_use"))
    assert response.message == {
        "role": "assistant",
        "content": None,
        "tool_calls": [
            {"id": "toolu_1", "type": "function", "function": {"name": "search", "arguments": '{"q": "é"}'}}
        ],
    }


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        ("end_turn", "stop"),
        ("stop_sequence", "stop"),
        ("max_tokens", "length"),
        ("model_context_window_exceeded", "length"),
        ("refusal", "content_filter"),
        ("pause_turn", "other"),
        (None, "other"),
    ],
)
def test_reasons_to_finish(said: Any, meant: str) -> None:
    assert Assembler().whole(answer("x", stop=said)).finish_reason == meant


def test_a_refusal_says_why() -> None:
    details = {"type": "refusal", "category": "bio", "explanation": "I will not."}
    response = Assembler().whole(answer(stop="refusal", content=[], stop_details=details))
    assert (response.text, response.finish_reason) == ("I will not.", "content_filter")


def test_an_answer_that_is_handed_in_is_the_text() -> None:
    handed = {"type": "tool_use", "id": "t", "name": "answer", "input": {"a": 1}}
    response = Assembler("answer").whole(answer("Here:", handed, {**handed, "input": {"a": 2}}, stop="tool_use"))
    assert (response.text, response.tool_calls, response.finish_reason) == ('{"a": 1}', (), "stop")
    assert response.message == {"role": "assistant", "content": '{"a": 1}'}
    other = Assembler().whole(answer(handed, stop="tool_use"))
    assert [made.name for made in other.tool_calls] == ["answer"], "where none was asked for it is a tool as any"
    both = Assembler("answer").whole(answer(CALL, handed, stop="tool_use"))
    assert (both.text, both.finish_reason) == ('{"a": 1}', "tool_calls")


@pytest.mark.parametrize("body", [None, "<html>", [], {}, {"content": None}, {"content": "stop"}])
def test_an_answer_without_content_is_broken(body: object) -> None:
    with pytest.raises(BackendError, match="no content") as caught:
        Assembler().whole(body)
    assert caught.value.kind == "broken"


@pytest.mark.parametrize("content", [[], [None], [{}], [{"type": "text"}], [{"type": "server_tool_use", "name": "x"}]])
def test_content_that_says_nothing_is_an_empty_answer(content: Any) -> None:
    response = Assembler().whole(answer(content=content))
    assert (response.text, response.tool_calls, response.finish_reason) == ("", (), "stop")


def test_what_was_cached_is_part_of_the_input() -> None:
    """Hard case 14."""
    usage = {"input_tokens": 100, "cache_read_input_tokens": 9000, "cache_creation_input_tokens": 500}
    details = {"output_tokens": 20, "output_tokens_details": {"thinking_tokens": 12}}
    report = usage_of(usage | details)
    assert report == RawUsage(
        input_tokens=9600, output_tokens=20, cache_read_tokens=9000, cache_write_tokens=500, reasoning_tokens=12
    )
    assert usage_of(None) is None


@pytest.mark.parametrize(
    "wrong",
    [
        {"input_tokens": None},
        {"input_tokens": "100"},
        {"input_tokens": -100},
        {"input_tokens": True},
        {"input_tokens": 1.0},
        {"cache_read_input_tokens": -1},
        {"cache_read_input_tokens": "many"},
        {"cache_creation_input_tokens": 0.5},
        {"output_tokens": None},
        {"output_tokens_details": {"thinking_tokens": -1}},
    ],
)
def test_one_wrong_figure_does_not_hide_in_the_sum(wrong: dict[str, Any]) -> None:
    right = {"input_tokens": 100, "cache_read_input_tokens": 9000, "output_tokens": 5}
    assert measured(usage_of(right)) is not None
    assert measured(usage_of(right | wrong)) is None


def test_figures_that_are_missing_are_none_at_all() -> None:
    report = measured(usage_of({"input_tokens": 9, "output_tokens": 2, "cache_read_input_tokens": None}))
    assert report is not None
    assert (report.input_tokens, report.cache_read_tokens, report.reasoning_tokens) == (9, 0, 0)


@pytest.mark.parametrize(
    ("status", "kind", "text", "meant"),
    [
        (400, "invalid_request_error", "what?", "rejected"),
        (400, "invalid_request_error", "prompt is too long: 212345 tokens > 200000 maximum", "context"),
        (400, "invalid_request_error", "input length and `max_tokens` exceed context limit: 1 + 2 > 2", "context"),
        (413, "request_too_large", "", "context"),
        (401, "authentication_error", "", "auth"),
        (403, "permission_error", "", "auth"),
        (402, "billing_error", "", "rejected"),
        (404, "not_found_error", "model: m", "rejected"),
        (429, "rate_limit_error", "", "rate_limited"),
        (500, "api_error", "", "server"),
        (504, "timeout_error", "", "server"),
        (529, "overloaded_error", "", "server"),
        (0, "overloaded_error", "", "server"),
        (0, "rate_limit_error", "", "rate_limited"),
        (0, "invalid_request_error", "prompt is too long", "context"),
        (0, "odd_error", "", "cut"),
    ],
)
def test_what_an_error_means(status: int, kind: str, text: str, meant: str) -> None:
    error = {"type": kind, "message": text}
    if status:
        assert kind_of(status, *heard_in(json.dumps({"type": "error", "error": error}))) == meant
        return
    told = error_of(error, unknown="cut")
    assert told.kind == meant
    assert (text or kind) in str(told)


def test_an_error_in_a_body_may_be_a_text() -> None:
    with pytest.raises(BackendError, match="overloaded"):
        Assembler().whole({"error": "overloaded"})


def test_an_error_in_a_body_of_a_success() -> None:
    with pytest.raises(BackendError, match="529: busy") as caught:
        Assembler().whole({"type": "error", "error": {"type": "overloaded_error", "message": "busy"}})
    assert caught.value.kind == "server"


def test_events_make_an_answer() -> None:
    gathering, pieces = _gathered(HELLO[0], PING, *HELLO[1:], {"type": "of tomorrow"}, None)
    assert pieces == [Piece(text="Hel"), Piece(text="lo")]
    response = gathering.response()
    assert (response.text, response.model, response.finish_reason) == ("Hello", "m-1", "stop")
    assert response.usage == gathering.usage
    assert measured(gathering.usage) is not None


def test_events_make_thinking_and_calls() -> None:
    gathering, pieces = _gathered(
        started(),
        *thought(0, "hmm", "sig"),
        *block(1, HIDDEN),
        *words("I look.", index=2),
        *call(3, "search", '{"q"', ": 1}"),
        *call(4, "read"),
        stopped("tool_use"),
        OVER,
    )
    assert [(piece.text, piece.kind) for piece in pieces] == [
        ("hmm", "other"),
        ("I look.", "text"),
        ('{"q"', "other"),
        (": 1}", "other"),
    ]
    assert [(piece.tool, piece.call) for piece in pieces] == [("", 0), ("", 0), ("search", 3), ("search", 3)]
    response = gathering.response()
    assert response.tool_calls == (
        ToolCall(id="toolu_3", name="search", arguments='{"q": 1}'),
        ToolCall(id="toolu_4", name="read", arguments="{}"),
    )
    assert response.message[THINKING] == [{**THOUGHT, "at": [0, 0]}, {**HIDDEN, "at": [0, 0]}]


def test_an_answer_that_is_handed_in_is_streamed_as_text() -> None:
    gathering, pieces = _gathered(started(), *call(0, "answer", '{"a"', ": 1}"), stopped("tool_use"), name="answer")
    assert [(piece.text, piece.kind) for piece in pieces] == [('{"a"', "text"), (": 1}", "text")]
    assert gathering.response().text == '{"a": 1}'


def test_usage_of_a_stream_is_whole_only_when_its_output_was_reported() -> None:
    first = started(input_tokens=100, cache_read_input_tokens=9000, cache_creation_input_tokens=500, output_tokens=1)
    gathering, _ = _gathered(first, *words("Hello"))
    assert gathering.usage is not None
    assert (gathering.usage.input_tokens, gathering.usage.output_tokens) == (9600, None)
    assert measured(gathering.usage) is None
    gathering.add(stopped(output_tokens=20, output_tokens_details={"thinking_tokens": 12}))
    found = measured(gathering.usage)
    assert found is not None
    assert (found.input_tokens, found.output_tokens, found.reasoning_tokens) == (9600, 20, 12)
    gathering.add(stopped(input_tokens=120, output_tokens=25))
    found = measured(gathering.usage)
    assert found is not None
    assert (found.input_tokens, found.output_tokens) == (9620, 25), "the last word counts"


def test_a_stream_without_an_end_was_cut() -> None:
    gathering, _ = _gathered(started(), *words("Hel"))
    with pytest.raises(BackendError, match="ended before its answer did") as caught:
        gathering.response()
    assert caught.value.kind == "cut"
