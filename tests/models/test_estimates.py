"""How much to hold for a prompt."""

from __future__ import annotations

import json
import math
import random
from types import MappingProxyType

import pytest
from hypothesis import given
from hypothesis import strategies as st

from organism.models.contract import Message, Request, ToolSpec
from organism.models.openai.request import body_of
from organism.models.tokens.estimates import Estimates, bound
from organism.models.tokens.prefixes import digests_of
from organism.models.tokens.profiles import RATIO, Text
from organism.models.tokens.prompt import Prompt, canonical
from tests.models.plain_prompts import prompt_of

_TOOL = ToolSpec(name="search", description="Searches.", parameters={"type": "object", "properties": {}})


def _user(text: str) -> Message:
    return {"role": "user", "content": text}


def _bytes(*messages: Message) -> int:
    return sum(len(json.dumps(m, ensure_ascii=False, sort_keys=True, separators=(",", ":")).encode()) for m in messages)


def _prose(number: int, size: int = 2000) -> Message:
    """English of one kind: the same words in another order."""
    words = [
        "the",
        "patient",
        "old",
        "keeper",
        "of",
        "a",
        "lighthouse",
        "wrote",
        "down",
        "every",
        "ship",
        "that",
        "came",
        "by",
        "and",
        "what",
        "she",
        "carried",
    ]
    dice = random.Random(number)
    return _user(f"{number} " + " ".join(dice.choices(words, k=size // 5)))


def _japanese(number: int) -> Message:
    return _user("".join(random.Random(number).choices("来週の会議の資料を金曜日までに送ってください", k=400)))


def _reported(*messages: Message, ratio: float = 0.22) -> int:
    return round(_bytes(*messages) * ratio)


def _taught(*messages: Message, ratio: float = 0.22) -> Estimates:
    estimates = Estimates()
    for message in messages:
        estimates.learn(prompt_of([message]), _reported(message, ratio=ratio))
    return estimates


@pytest.mark.parametrize(
    "text",
    [
        "Four score and seven years ago our fathers brought forth on this continent a new nation. " * 5,
        "Alle menschen werden frei und gleich geboren, mit vernunft und gewissen. " * 5,
        "def total(rows):\n    return sum(row.price for row in rows if row.price is not None)\n" * 5,
    ],
)
def test_unknown_text_is_bytes_by_one_and_a_half(text: str) -> None:
    message = _user(text)
    assert Estimates().input_tokens(prompt_of([message])) == math.ceil(_bytes(message) / 1.5)


@pytest.mark.parametrize(
    "text", ["[[12059,15106],[59421,2936]]" * 40, "0x00 46 34 b2 4e c5 " * 40, "😀🎉🚀" * 40, "தமிழ்" * 80]
)
def test_unknown_numbers_and_rare_signs_are_held_for_more(text: str) -> None:
    message = _user(text)
    assert _bytes(message) * 0.75 < Estimates().input_tokens(prompt_of([message])) <= _bytes(message)


def test_tools_and_the_schema_of_the_answer_count_as_they_are_sent() -> None:
    returns = {"title": "An answer", "type": "object"}
    messages = [_user("x")]
    request = Request(model="m", messages=messages, max_output_tokens=5, tools=[_TOOL], returns=returns)
    body = body_of(request, limit="max_tokens")
    bare, full = prompt_of(messages), prompt_of(messages, tools=[_TOOL], returns=returns)
    sent = [*body["tools"], body["response_format"]]
    assert full.size - bare.size == sum(len(canonical(part, "a part")) + 1 for part in sent)


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
    came = [text for _, text in more.beside]
    assert estimates.input_tokens(more) == 3 + estimates.tokens(came)
    estimates.learn(more, 20)
    assert estimates.input_tokens(more) == 20
    assert estimates.input_tokens(plain) == 3
    only = Estimates()
    only.learn(more, 20)
    assert only.input_tokens(plain) == 20


def test_another_task_of_the_same_agent_is_bounded_by_the_first() -> None:
    estimates = Estimates()
    system = {"role": "system", "content": "You are the keeper of a lighthouse. " * 100}
    estimates.learn(prompt_of([system, _user("What came by?")], tools=[_TOOL]), 900)
    task = prompt_of([system, _user("And now?")], tools=[_TOOL])
    assert estimates.input_tokens(task) == 900 + estimates.tokens(task.parts[2:])


def test_a_bound_is_left_where_the_text_itself_is_less() -> None:
    estimates = Estimates()
    system = {"role": "system", "content": "Be short."}
    estimates.learn(prompt_of([system, _user("x" * 50_000)]), 30_000)
    task = prompt_of([system, _user("And now?")])
    assert estimates.input_tokens(task) == estimates.tokens(task.parts)


def test_the_order_of_keys_and_the_kind_of_mapping_do_not_matter() -> None:
    estimates = Estimates()
    estimates.learn(prompt_of([{"role": "user", "content": "hello"}]), 3)
    assert estimates.input_tokens(prompt_of([MappingProxyType({"content": "hello", "role": "user"})])) == 3


def test_text_like_what_was_seen_is_held_at_its_price() -> None:
    estimates = _taught(*map(_prose, range(10)))
    real = _reported(_prose(99))
    assert real < estimates.input_tokens(prompt_of([_prose(99)])) < 1.3 * real


def test_three_texts_say_something_and_two_do_not() -> None:
    known, unknown = _taught(*map(_prose, range(3))), _taught(*map(_prose, range(2)))
    assert known.input_tokens(prompt_of([_prose(99)])) < 0.5 * unknown.input_tokens(prompt_of([_prose(99)]))


def test_the_dearest_of_the_nearest_speaks() -> None:
    estimates = _taught(*map(_prose, range(9)))
    before = estimates.input_tokens(prompt_of([_prose(99)]))
    for number in range(20, 23):  # as far as their signs show, the same; but dearer
        estimates.learn(prompt_of([_prose(number)]), _reported(_prose(number), ratio=0.4))
    nearest = [prompt_of([_prose(number, 2001)]) for number in range(20, 23)]
    assert max(map(estimates.input_tokens, nearest)) > 1.5 * before


def test_another_script_after_ten_texts_is_unknown() -> None:
    estimates = _taught(*map(_prose, range(10)))
    message = _japanese(1)
    assert estimates.input_tokens(prompt_of([message])) >= 0.95 * _bytes(message) / 1.5


def test_half_of_another_script_is_held_as_half_unknown() -> None:
    estimates = _taught(*map(_prose, range(10)))
    both = prompt_of([_user(str(_prose(50)["content"])[:1200] + str(_japanese(1)["content"]))])
    assert estimates.input_tokens(both) > 0.6 * both.size


def test_what_the_end_of_a_conversation_cost_speaks_for_new_prompts() -> None:
    estimates, messages = Estimates(), [_user("hello")]
    for number in range(5):
        estimates.learn(prompt_of(messages), 9 + sum(_reported(message) for message in messages[1:]))
        messages = [*messages, _prose(number)]
    assert estimates.input_tokens(prompt_of([_prose(99)])) < 1.4 * _reported(_prose(99))


def test_a_model_that_cuts_finer_is_held_for_more_at_once_and_less_slowly() -> None:
    estimates, long = Estimates(), prompt_of([_user("é" * 1000)])
    new = [Text("全く別の文字".encode())]
    usual = estimates.tokens(new)
    estimates.learn(long, long.size)
    assert estimates.tokens(new) > 1.4 * usual
    for step in range(100):
        fine = prompt_of([_user(f"{step:03}" + "x" * 2000)])
        estimates.learn(fine, fine.size // 4)
        assert step > 0 or estimates.tokens(new) > 1.2 * usual
    assert estimates.tokens(new) == usual


def test_short_prompts_garbled_reports_and_pictures_say_nothing_of_the_text() -> None:
    estimates, new = Estimates(), [Text(b"word " * 300)]
    usual = estimates.tokens(new)
    for number in range(5):
        estimates.learn(prompt_of([_user(f"{number}" + "x" * 500)]), 800)
        estimates.learn(prompt_of([_user(f"{number}" + "x" * 5000)]), 10**9)
        estimates.learn(prompt_of([_user(f"{number}" + "x" * 5000)]), 21_000)
        picture = {"type": "image_url", "image_url": {"url": "http://example.org/a.png"}}
        parts = [{"type": "text", "text": f"{number}" + "x" * 2000}, picture]
        estimates.learn(prompt_of([{"role": "user", "content": parts}]), 4000)
    assert estimates.tokens(new) == usual


def test_a_report_that_cannot_be_is_not_remembered() -> None:
    estimates, prompt = Estimates(), prompt_of([_user("hello")])
    before = estimates.input_tokens(prompt)
    estimates.learn(prompt, 10**8)
    assert estimates.input_tokens(prompt) == before


def test_what_a_provider_adds_is_learned_from_short_prompts_and_held_for_new_ones() -> None:
    estimates = Estimates()
    first, second, third = (prompt_of([_user(f"Who is {name}?")]) for name in ("Ada", "Bob", "Eve"))
    text = estimates.tokens(first.parts)
    assert estimates.input_tokens(first, overhead=16) == text + 16
    estimates.learn(first, text + 300)
    estimates.learn(second, text + 310)
    assert estimates.input_tokens(third, overhead=16) == text + 300
    assert estimates.input_tokens(first, overhead=16) == text + 300 + 16  # its report has it already


def test_the_overhead_sinks_slowly_and_never_below_that_of_the_file() -> None:
    estimates = Estimates()
    held: list[int] = []
    for number in range(80):
        prompt = prompt_of([_user(f"What is {number}?")])
        held.append(estimates.input_tokens(prompt, overhead=16) - estimates.tokens(prompt.parts))
        estimates.learn(prompt, 320 if number < 2 else 5)
    assert held[0] == held[1] == 16 < held[3] < held[2]
    assert held[-1] == 16


def test_one_garbled_report_is_no_overhead() -> None:
    estimates, new = Estimates(), prompt_of([_user("What is the time?")])
    text = estimates.tokens(new.parts)
    for number in range(10):
        estimates.learn(prompt_of([_user(f"Who is {number}?")]), 9 if number % 2 else 50_000)
    assert estimates.input_tokens(new) == text
    estimates.learn(prompt_of([_user("Who are you?")]), 50_000)
    estimates.learn(prompt_of([_user("Who am I?")]), 50_000)
    assert estimates.input_tokens(new) > text + 40_000


def test_what_may_be_hidden_in_the_first_report_with_tools_is_held_until_a_lean_one_shows_that_it_is_not() -> None:
    estimates = Estimates()
    other = ToolSpec(name="read", description="Reads a file of the project. " * 40, parameters={"type": "object"})
    new = prompt_of([_user("Go on.")], tools=[_TOOL])
    text = estimates.tokens(new.texts)
    assert estimates.input_tokens(new) == text
    first = prompt_of([_prose(1)], tools=[other])
    estimates.learn(first, 346 + first.size // 4)
    assert estimates.input_tokens(new) == text + 400
    assert estimates.input_tokens(prompt_of([_user("Go on.")])) == estimates.tokens(prompt_of([_user("Go on.")]).parts)
    lean = prompt_of([_user("Go!")], tools=[ToolSpec(name="stop", description="", parameters={})])
    estimates.learn(lean, lean.size // 4)
    assert estimates.input_tokens(new) < text + 40


def test_a_report_of_nothing_is_no_measurement() -> None:
    estimates, prompt = Estimates(), prompt_of([_user("hello")])
    estimates.learn(prompt, 0)
    assert estimates.input_tokens(prompt) == math.ceil(prompt.size * RATIO)


def test_memory_is_bounded_and_keeps_what_is_used() -> None:
    estimates = Estimates(prefixes=4)
    prompts = [prompt_of([_user(str(number) * 30)]) for number in range(4)]
    for prompt in prompts[:3]:
        estimates.learn(prompt, 7)
    estimates.input_tokens(prompts[0])
    estimates.learn(prompts[3], 7)
    assert [estimates.input_tokens(prompt) == 7 for prompt in prompts] == [True, False, True, True]


def test_a_beginning_is_remembered_with_the_last_four_offers() -> None:
    estimates = Estimates()
    offers = [[ToolSpec(name=f"tool_{number}", description="", parameters={})] for number in range(6)]
    prompts = [prompt_of([_user("Go on.")], tools=tools) for tools in offers]
    for prompt in prompts:
        estimates.learn(prompt, 30)
    assert [estimates.input_tokens(prompt) == 30 for prompt in prompts] == [False, False, True, True, True, True]


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
    with pytest.raises(TypeError, match=r"messages\[1\] cannot be sent to a model: object is not JSON; use text"):
        prompt_of([_user("x"), {"role": "user", "content": object()}])


@given(st.lists(st.text(max_size=40), max_size=6), st.integers(1, 500))
def test_an_estimate_of_known_and_new_never_falls_below_the_known(texts: list[str], reported: int) -> None:
    estimates, messages = Estimates(), [_user(text) for text in texts]
    estimates.learn(prompt_of(messages), reported)
    known = estimates.input_tokens(prompt_of(messages))
    assert known == reported
    assert estimates.input_tokens(prompt_of([*messages, _user("more")])) > known
    assert bound(prompt_of([*messages, _user("more")])) >= sum(len(text.encode()) for text in texts)


def _elsewhere(*prompts: tuple[Prompt, int]) -> Estimates:
    """What a process knows that was told of reports in another one."""
    estimates = Estimates()
    for prompt, reported in prompts:
        estimates.recall(digests_of(prompt), reported)
    return estimates


def test_what_another_process_was_told_is_known_again() -> None:
    first, second = _user("What is a lighthouse? " * 20), _user("And a lightship?")
    asked = prompt_of([first])
    estimates = _elsewhere((asked, 55))
    assert estimates.input_tokens(asked) == 55
    longer = prompt_of([first, second])
    assert estimates.input_tokens(longer) == 55 + estimates.tokens(longer.parts[2:])
    assert estimates.input_tokens(prompt_of([second])) == Estimates().input_tokens(prompt_of([second]))


def test_what_was_said_only_once_at_the_end_of_a_prompt_is_left_out_of_what_another_process_knows() -> None:
    first, notice, second = _user("What is a lighthouse? " * 20), _user("75 % are used."), _user("And a lightship?")
    longer = prompt_of([first, second])
    estimates = _elsewhere((prompt_of([first, notice]), 70))
    assert estimates.input_tokens(longer) == 70 + estimates.tokens(longer.parts[2:])


def test_a_prompt_that_is_cut_and_offers_less_is_known_again_by_its_first_report() -> None:
    first, answer, last = _user("What is a lighthouse? " * 20), _user("It is a tower. " * 200), _user("Answer now.")
    estimates = _elsewhere((prompt_of([first], tools=[_TOOL]), 85), (prompt_of([first, answer], tools=[_TOOL]), 900))
    assert estimates.input_tokens(prompt_of([first, answer], tools=[_TOOL])) == 900
    cut = prompt_of([first, last])
    assert estimates.input_tokens(cut) == 85 + estimates.tokens(cut.parts[2:])


def test_a_report_of_another_process_bounds_what_comes_before_its_end() -> None:
    first, answer, last = _user("What is a lighthouse? " * 200), _user("It is a tower."), _user("Answer now.")
    estimates = _elsewhere((prompt_of([first, answer, answer]), 500))
    assert estimates.input_tokens(prompt_of([first, answer, answer])) == 500
    cut = prompt_of([first, last])
    assert estimates.input_tokens(cut) == 500 + estimates.tokens(cut.parts[2:])


def test_a_report_for_other_tools_says_nothing_in_another_process() -> None:
    messages = [_user("What is a lighthouse? " * 20)]
    estimates = _elsewhere((prompt_of(messages), 55))
    assert estimates.input_tokens(prompt_of(messages, tools=[_TOOL])) > 200
    assert estimates.input_tokens(prompt_of(messages)) == 55


def test_what_this_process_was_told_itself_counts_more() -> None:
    asked = prompt_of([_user("What is a lighthouse? " * 20)])
    estimates = Estimates()
    estimates.learn(asked, 60)
    estimates.recall(digests_of(asked), 900)
    assert estimates.input_tokens(asked) == 60


def test_the_latest_report_of_another_process_counts_and_those_of_long_ago_are_forgotten() -> None:
    prompts = [prompt_of([_user(str(number) * 300)]) for number in range(5)]
    estimates = Estimates(prefixes=4)
    for prompt in (*prompts, prompts[1]):
        estimates.recall(digests_of(prompt), 9 if prompt is prompts[1] else 7)
    estimates.recall(digests_of(prompts[1]), 8)
    # Each has two beginnings, and that of nothing at all is one of each.
    assert [estimates.input_tokens(prompt) for prompt in prompts[1:]] == [8, Estimates().input_tokens(prompts[2]), 7, 7]
