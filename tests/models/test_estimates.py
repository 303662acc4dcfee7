"""How much to hold for a prompt."""

from __future__ import annotations

import json
import math
from types import MappingProxyType

import pytest
from hypothesis import given
from hypothesis import strategies as st

from organism.models.contract import Message, ToolSpec
from organism.models.estimates import RATIO, Estimates, Prompt, bound, prompt_of

_TOOL = ToolSpec(name="search", description="Searches.", parameters={"type": "object", "properties": {}})


def _user(text: str) -> Message:
    return {"role": "user", "content": text}


def _bytes(*messages: Message) -> int:
    return sum(len(json.dumps(m, ensure_ascii=False, sort_keys=True, separators=(",", ":")).encode()) for m in messages)


def test_unknown_text_is_bytes_by_one_and_a_half() -> None:
    message = _user("Grüße, 世界! " * 10)
    assert Estimates().input_tokens(prompt_of([message])) == math.ceil(_bytes(message) / 1.5)


def test_tools_and_the_schema_of_the_answer_count() -> None:
    bare, full = (
        prompt_of([_user("x")]),
        prompt_of([_user("x")], tools=[_TOOL], returns={"title": "Answer", "type": "object"}),
    )
    assert full.size - bare.size > len("search" + "Searches." + "Answer")


def test_what_was_reported_for_the_same_beginning_counts_as_reported() -> None:
    estimates, first = Estimates(), _user("a" * 600)
    estimates.learn(prompt_of([first]), 151)
    answer, more = {"role": "assistant", "content": "b" * 90}, _user("c" * 30)
    assert estimates.input_tokens(prompt_of([first])) == 151
    assert estimates.input_tokens(prompt_of([first, answer, more])) == 151 + math.ceil(_bytes(answer, more) * RATIO)


def test_the_longest_known_beginning_wins() -> None:
    estimates, one, two, three = Estimates(), _user("a" * 300), _user("b" * 300), _user("c" * 300)
    estimates.learn(prompt_of([one, two]), 170)
    estimates.learn(prompt_of([one]), 80)
    assert estimates.input_tokens(prompt_of([one, two, three])) == 170 + math.ceil(_bytes(three) * RATIO)


@pytest.mark.parametrize(
    "other",
    [
        prompt_of([_user("a" * 599 + "b")]),
        prompt_of([_user("b"), _user("a" * 600)]),
    ],
)
def test_another_beginning_is_not_the_same(other: Prompt) -> None:
    estimates = Estimates()
    estimates.learn(prompt_of([_user("a" * 600)]), 3)
    assert estimates.input_tokens(other) == math.ceil(other.size * RATIO)


@pytest.mark.parametrize("given", [{"tools": [_TOOL]}, {"returns": {"title": "Answer"}}])
def test_tools_and_schemas_that_come_are_new_and_those_that_go_leave_a_bound(given: dict[str, object]) -> None:
    estimates = Estimates()
    plain, more = prompt_of([_user("a" * 600)]), prompt_of([_user("a" * 600)], **given)  # type: ignore[arg-type]
    estimates.learn(plain, 3)
    assert estimates.input_tokens(more) == 3 + math.ceil((more.size - plain.size) * RATIO)
    estimates.learn(more, 20)
    assert estimates.input_tokens(plain) == 20


def test_the_order_of_keys_and_the_kind_of_mapping_do_not_matter() -> None:
    estimates = Estimates()
    estimates.learn(prompt_of([{"role": "user", "content": "hello"}]), 3)
    assert estimates.input_tokens(prompt_of([MappingProxyType({"content": "hello", "role": "user"})])) == 3


def test_a_model_that_cuts_finer_is_held_for_more_at_once_and_less_slowly() -> None:
    estimates, long = Estimates(), prompt_of([_user("é" * 1000)])
    estimates.learn(long, long.size)
    assert estimates.tokens(100) == 100
    for step in range(100):
        fine = prompt_of([_user(f"{step:03}" + "x" * 2000)])
        estimates.learn(fine, fine.size // 4)
        assert step > 0 or 85 < estimates.tokens(100) < 95
    assert estimates.ratio == RATIO


def test_short_prompts_garbled_reports_and_pictures_say_nothing_of_the_ratio() -> None:
    estimates = Estimates()
    estimates.learn(prompt_of([_user("x" * 500)]), 800)
    estimates.learn(prompt_of([_user("x" * 5000)]), 10**9)
    picture = {"type": "image_url", "image_url": {"url": "http://example.org/a.png"}}
    estimates.learn(prompt_of([{"role": "user", "content": [{"type": "text", "text": "x" * 2000}, picture]}]), 4000)
    assert estimates.ratio == RATIO


def test_a_report_of_nothing_is_no_measurement() -> None:
    estimates, prompt = Estimates(), prompt_of([_user("hello")])
    estimates.learn(prompt, 0)
    assert estimates.input_tokens(prompt) == math.ceil(prompt.size * RATIO)


def test_memory_is_bounded_and_keeps_what_is_used() -> None:
    estimates = Estimates(prefixes=3)
    prompts = [prompt_of([_user(str(number) * 30)]) for number in range(4)]
    for prompt in prompts[:3]:
        estimates.learn(prompt, 7)
    estimates.input_tokens(prompts[0])
    estimates.learn(prompts[3], 7)
    assert [estimates.input_tokens(prompt) == 7 for prompt in prompts] == [True, False, True, True]


def test_the_bound_is_the_bytes_of_everything_that_is_sent() -> None:
    message = _user("ab\n世")
    assert bound(prompt_of([message])) == _bytes(message)
    assert bound(prompt_of([message]), sent_along=({"top_k": 5}, {})) == _bytes(message) + len('{"top_k":5}')


@pytest.mark.parametrize(
    ("content", "place"),
    [
        ("text", ""),
        (None, ""),
        ([{"type": "text", "text": "a"}], ""),
        ([{"type": "text", "text": "a"}, {"type": "image_url"}], "messages[1].content[1] (image_url)"),
        ([{"type": "input_audio"}], "messages[1].content[0] (input_audio)"),
        (["bare"], "messages[1].content[0] (None)"),
    ],
)
def test_parts_without_a_bound_are_found(content: object, place: str) -> None:
    assert prompt_of([_user("x"), {"role": "user", "content": content}]).unbounded == place


def test_what_is_no_json_is_named() -> None:
    with pytest.raises(TypeError, match=r"messages\[1\] cannot be sent to a model: object is no JSON; use text"):
        prompt_of([_user("x"), {"role": "user", "content": object()}])


@given(st.lists(st.text(max_size=40), max_size=6), st.integers(1, 500))
def test_an_estimate_of_known_and_new_never_falls_below_the_known(texts: list[str], reported: int) -> None:
    estimates, messages = Estimates(), [_user(text) for text in texts]
    estimates.learn(prompt_of(messages), reported)
    known = estimates.input_tokens(prompt_of(messages))
    assert known == reported
    assert estimates.input_tokens(prompt_of([*messages, _user("more")])) > known
    assert bound(prompt_of([*messages, _user("more")])) >= sum(len(text.encode()) for text in texts)
