"""Requests in the Messages dialect: chat-completions messages out, whoever wrote them."""

from __future__ import annotations

import json
from types import MappingProxyType
from typing import Any

import pytest

from organism.models.anthropic.request import EFFORTS, RULES, answer_tool, body_of, turns_of
from organism.models.contract import BackendError, Request, ToolSpec
from organism.models.openai.request import body_of as chat_body
from organism.models.reasoning import THINKING

SEARCH = ToolSpec(name="search", description="Searches.", parameters=MappingProxyType({"type": "object"}))
READ = ToolSpec(name="read", description="", parameters={})


def _request(*messages: Any, **said: Any) -> Request:
    usual: dict[str, Any] = {"model": "m", "messages": messages or (_user("hi"),), "max_output_tokens": 9}
    return Request(**usual | said)


def _user(content: Any) -> dict[str, Any]:
    return {"role": "user", "content": content}


def _text(text: str) -> dict[str, Any]:
    return {"type": "text", "text": text}


def _called(*calls: tuple[str, str, str], content: str | None = None, **more: Any) -> dict[str, Any]:
    made = [{"id": i, "type": "function", "function": {"name": name, "arguments": given}} for i, name, given in calls]
    return {"role": "assistant", "content": content, "tool_calls": made} | more


def _result(named: str, content: Any) -> dict[str, Any]:
    return {"role": "tool", "tool_call_id": named, "content": content}


def _turns(*messages: Any) -> list[Any]:
    return turns_of(messages)[1]


def test_a_body_says_only_what_was_said() -> None:
    assert body_of(_request()) == {
        "model": "m",
        "max_tokens": 9,
        "messages": [{"role": "user", "content": [_text("hi")]}],
    }


def test_what_is_said_as_system_comes_first_and_later_in_its_place() -> None:
    system, turns = turns_of(
        [
            {"role": "system", "content": "Be brief."},
            {"role": "developer", "content": [_text("Be kind.")]},
            _user("hi"),
            {"role": "assistant", "content": "Hello"},
            {"role": "system", "content": "Half of the budget is spent."},
            _user("and?"),
        ]
    )
    assert system == [_text("Be brief."), _text("Be kind.")]
    assert turns == [
        {"role": "user", "content": [_text("hi")]},
        {"role": "assistant", "content": [_text("Hello")]},
        {"role": "user", "content": [_text("Half of the budget is spent."), _text("and?")]},
    ]


def test_where_nobody_has_spoken_the_system_is_what_the_user_says() -> None:
    assert turns_of([{"role": "system", "content": "Tell a joke."}]) == (
        [],
        [{"role": "user", "content": [_text("Tell a joke.")]}],
    )


def test_an_answer_does_not_end_with_what_was_thought() -> None:
    """It was cut off there: the protocol takes no such answer back."""
    thought = {"type": "thinking", "thinking": "hm", "signature": "s", "at": [0, 0]}
    later = {"type": "redacted_thinking", "data": "x", "at": [3, 0]}
    cut = {"role": "assistant", "content": "", "thinking_blocks": [thought]}
    assert _turns(_user("hi"), cut, _user("and?")) == [_user([_text("hi"), _text("and?")])]
    kept = {"type": "thinking", "thinking": "hm", "signature": "s"}
    (_, turn) = _turns(_user("hi"), {**cut, "content": "Yes", "thinking_blocks": [thought, later]})
    assert turn["content"] == [kept, _text("Yes")]


def test_calls_and_all_their_results_make_two_turns() -> None:
    turns = _turns(
        _user("look"),
        _called(("a", "search", '{"q": 1}'), ("b", "read", ""), content="I look."),
        _result("a", "found"),
        _result("b", ""),
        _user("Half of the budget is spent."),
    )
    assert turns[1]["content"] == [
        _text("I look."),
        {"type": "tool_use", "id": "a", "name": "search", "input": {"q": 1}},
        {"type": "tool_use", "id": "b", "name": "read", "input": {}},
    ]
    assert turns[2] == {
        "role": "user",
        "content": [
            {"type": "tool_result", "tool_use_id": "a", "content": [_text("found")]},
            {"type": "tool_result", "tool_use_id": "b"},
            _text("Half of the budget is spent."),
        ],
    }


def test_results_open_the_turn_wherever_they_stand_in_it() -> None:
    turns = _turns(_user("look"), _called(("a", "search", "{}")), _user("quick"), _result("a", "found"))
    assert [block["type"] for block in turns[2]["content"]] == ["tool_result", "text"]


@pytest.mark.parametrize("written", ["{", "[1]", '"q"', "[" * 100_000, "not json"])
def test_arguments_that_are_none_are_shown_as_they_were_written(written: str) -> None:
    (_, turn) = _turns(_user("look"), _called(("a", "search", written)))
    assert turn["content"][0]["input"] == {"arguments": written}


def test_every_call_has_an_id_of_its_own_and_its_result_finds_it() -> None:
    """Servers without ids count anew in each answer; some models give all calls of an answer the same."""
    turns = _turns(
        _user("look"),
        _called(("call_0", "search", "{}")),
        _result("call_0", "one"),
        _called(("call_0", "search", "{}"), ("call_0", "search", "{}"), ("a:b c", "read", "{}")),
        _result("call_0", "two"),
        _result("a:b c", "three"),
        _result("call_0", "four"),
    )
    called = [block["id"] for turn in turns for block in turn["content"] if block["type"] == "tool_use"]
    assert called == ["call_0", "call_0_2", "call_0_3", "a_b_c"]
    answered = {
        block["tool_use_id"]: block["content"][0]["text"]
        for turn in turns
        for block in turn["content"]
        if block["type"] == "tool_result"
    }
    assert answered == {"call_0": "one", "call_0_2": "two", "a_b_c": "three", "call_0_3": "four"}


def test_thinking_comes_back_where_it_stood() -> None:
    one, two = {"type": "thinking", "thinking": "hmm", "signature": "s1"}, {"type": "redacted_thinking", "data": "xyz"}
    kept = [{**one, "at": [0, 0]}, {**two, "at": [2, 0]}]
    message = _called(("a", "search", "{}"), content="AB and more", **{THINKING: kept})
    (_, turn, _) = _turns(_user("look"), message, _result("a", "found"))
    found = [block.get("text", block["type"]) for block in turn["content"]]
    assert found == ["thinking", "AB", "redacted_thinking", " and more", "tool_use"]
    assert (turn["content"][0], turn["content"][2]) == (one, two)
    assert kept[0]["at"] == [0, 0], "the history is not touched"


def test_the_other_dialect_leaves_thinking_out() -> None:
    message = {"role": "assistant", "content": "A", THINKING: [{"type": "thinking", "thinking": "x", "signature": "s"}]}
    body = chat_body(_request(message), limit="max_tokens")
    assert body["messages"] == [{"role": "assistant", "content": "A"}]


def test_images_and_files() -> None:
    content = [
        _text("what is this?"),
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,QUJD", "detail": "low"}},
        {"type": "image_url", "image_url": "https://example.org/a.png"},
        {"type": "file", "file": {"filename": "a.pdf", "file_data": "data:application/pdf;base64,QUJD"}},
        {"type": "image", "source": {"type": "file", "file_id": "f1"}},
    ]
    ((turn),) = _turns(_user(content))
    assert [block.get("source") for block in turn["content"]] == [
        None,
        {"type": "base64", "media_type": "image/png", "data": "QUJD"},
        {"type": "url", "url": "https://example.org/a.png"},
        {"type": "base64", "media_type": "application/pdf", "data": "QUJD"},
        {"type": "file", "file_id": "f1"},
    ]
    assert [block["type"] for block in turn["content"]] == ["text", "image", "image", "document", "image"]


@pytest.mark.parametrize(
    ("part", "said"),
    [
        ({"type": "input_audio"}, "messages[1].content[0]: parts of type 'input_audio' are unknown"),
        ("text", "messages[1].content[0]: parts of type 'None' are unknown"),
        ({"type": "image_url", "image_url": {"url": "a.png"}}, "messages[1].content[0].image_url: 'a.png' is neither"),
        ({"type": "file", "file": {"file_id": "f1"}}, "messages[1].content[0].file.file_data: '' is neither"),
    ],
)
def test_parts_that_cannot_be_sent_are_named(part: Any, said: str) -> None:
    with pytest.raises(BackendError) as caught:
        body_of(_request(_user("hi"), _user([part])))
    assert caught.value.kind == "rejected"
    assert str(caught.value).startswith(said)


def test_what_is_empty_is_not_sent() -> None:
    turns = _turns(
        {"role": "system", "content": ""}, _user("hi"), {"role": "assistant", "content": " \n"}, _user([_text("")])
    )
    assert turns == [{"role": "user", "content": [_text("hi")]}]


def test_tools_and_how_they_are_chosen() -> None:
    body = body_of(_request(tools=(SEARCH, READ)))
    assert body["tools"] == [
        {"name": "search", "description": "Searches.", "input_schema": {"type": "object"}},
        {"name": "read", "input_schema": {"type": "object"}},
    ]
    chosen = [
        body_of(_request(tools=(SEARCH,), tool_choice=choice))["tool_choice"]
        for choice in ("auto", "required", "none", "search")
    ]
    assert chosen == [{"type": "auto"}, {"type": "any"}, {"type": "none"}, {"type": "tool", "name": "search"}]
    assert "tool_choice" not in body_of(_request(tool_choice="required"))


def test_an_answer_with_a_schema_is_handed_in_with_a_tool() -> None:
    schema = {"title": "A", "description": "An A.", "type": "object", "properties": {"a": {"type": "integer"}}}
    body = body_of(_request(returns=schema))
    assert body["tools"] == [{"name": "answer", "description": "Hands in the answer. An A.", "input_schema": schema}]
    assert body["tool_choice"] == {"type": "tool", "name": "answer", "disable_parallel_tool_use": True}
    taken = ToolSpec(name="answer", description="", parameters={})
    request = _request(returns=schema, tools=(taken,))
    assert answer_tool(request) == "answer_"
    assert [tool["name"] for tool in body_of(request)["tools"]] == ["answer", "answer_"]
    chosen = [
        body_of(_request(returns=schema, tools=(SEARCH,), tool_choice=choice))["tool_choice"]["type"]
        for choice in ("auto", "required", "none", "search")
    ]
    assert chosen == ["any", "any", "tool", "tool"]
    assert answer_tool(_request()) == ""


def test_what_repeats_is_marked_for_the_cache_of_the_provider() -> None:
    request = _request({"role": "system", "content": "Be brief."}, _user("hi"), tools=(SEARCH, READ))
    body = body_of(request, prompt_cache=True)
    assert body["system"] == [_text("Be brief.") | {"cache_control": {"type": "ephemeral"}}]
    assert ["cache_control" in tool for tool in body["tools"]] == [False, True]
    assert "cache_control" not in json.dumps(body["messages"])
    assert "cache_control" not in json.dumps(body_of(request))
    assert "cache_control" not in json.dumps(body_of(_request(), prompt_cache=True))
    longer = {"type": "ephemeral", "ttl": "1h"}
    marked = _request({"role": "system", "content": [_text("Be brief.") | {"cache_control": longer}]}, _user("hi"))
    assert body_of(marked, prompt_cache=True)["system"][0]["cache_control"] == longer


def test_options_give_way_to_the_call_and_both_to_its_extra() -> None:
    options = {"temperature": 0.9, "top_k": 5, "output_config": {"task_budget": 7, "effort": "low"}}
    extra = {"metadata": {"user_id": "ada"}, "output_config": {"effort": "high"}}
    body = body_of(_request(options=options, temperature=0.1, extra=extra))
    assert {name: body[name] for name in ("temperature", "top_k", "metadata", "output_config")} == {
        "temperature": 0.1,
        "top_k": 5,
        "metadata": {"user_id": "ada"},
        "output_config": {"task_budget": 7, "effort": "high"},
    }
    assert "seed" not in body_of(_request(seed=7))


@pytest.mark.parametrize("name", sorted(RULES.owned))
@pytest.mark.parametrize("where", ["options", "extra"])
def test_nobody_passes_through_what_the_budget_is_held_for(where: str, name: str) -> None:
    with pytest.raises(BackendError, match=f"'{name}' cannot be passed through") as caught:
        body_of(_request(**{where: {name: 5}}))
    assert caught.value.kind == "rejected"


@pytest.mark.parametrize(
    ("effort", "most", "budget"),
    [
        ("low", 4096, 1024),
        ("medium", 4096, 2048),
        ("high", 10_000, 8000),
        ("max", 10_000, 9500),
        ("high", 2048, 1638),
        ("minimal", 2048, 1024),
        ("high", 2047, None),
    ],
)
def test_a_reasoning_effort_is_a_share_of_the_output(effort: str, most: int, budget: int | None) -> None:
    body = body_of(_request(reasoning_effort=effort, max_output_tokens=most, temperature=0.5))
    wanted = None if budget is None else {"type": "enabled", "budget_tokens": budget}
    assert body.get("thinking") == wanted
    assert ("temperature" in body) == (budget is None), "who thinks takes no temperature"


@pytest.mark.parametrize("effort", EFFORTS)
def test_every_effort_leaves_the_least_and_less_than_all(effort: str) -> None:
    for most in (2048, 2049, 4096, 100_000):
        thinking = body_of(_request(reasoning_effort=effort, max_output_tokens=most))["thinking"]
        assert 1024 <= thinking["budget_tokens"] < most


def test_an_effort_that_nobody_knows_is_refused_and_none_means_none() -> None:
    with pytest.raises(BackendError, match="'lots' is unknown; there are: none, minimal, low") as caught:
        body_of(_request(reasoning_effort="lots"))
    assert caught.value.kind == "rejected"
    assert body_of(_request(reasoning_effort="none", temperature=0))["thinking"] == {"type": "disabled"}


def test_where_options_say_how_to_think_the_effort_says_how_hard() -> None:
    options = {"thinking": {"type": "adaptive"}}
    body = body_of(_request(options=options, reasoning_effort="xhigh"))
    assert (body["thinking"], body["output_config"]) == ({"type": "adaptive"}, {"effort": "xhigh"})


def test_nobody_thinks_where_a_tool_is_forced_or_a_turn_of_calls_was_begun_without() -> None:
    said: dict[str, Any] = {"tools": (SEARCH,), "reasoning_effort": "high", "max_output_tokens": 4096, "temperature": 0}
    assert "thinking" in body_of(_request(**said))
    forced = body_of(_request(**said, tool_choice="search"))
    assert ("thinking" in forced, forced["temperature"]) == (False, 0)
    begun = (_user("look"), _called(("a", "search", "{}")), _result("a", "found"))
    assert "thinking" not in body_of(_request(*begun, **said))
    assert "thinking" in body_of(_request(*begun, {"role": "assistant", "content": "so"}, _user("and?"), **said))
    kept: dict[str, Any] = {THINKING: [{"type": "thinking", "thinking": "hmm", "signature": "s", "at": [0, 0]}]}
    begun = (_user("look"), _called(("a", "search", "{}"), **kept), _result("a", "found"))
    assert "thinking" in body_of(_request(*begun, **said))
    adaptive = {"thinking": {"type": "adaptive"}}
    assert "thinking" not in body_of(_request(tools=(SEARCH,), tool_choice="search", options=adaptive))
