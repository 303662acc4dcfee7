"""What was said before is taken apart once, and comes to the same prompt as if it never had been."""

from __future__ import annotations

import tracemalloc
from typing import Any
from weakref import ref

import pytest
from hypothesis import given
from hypothesis import strategies as st

from organism.models.contract import ToolSpec
from organism.models.frozen_json import fixed
from organism.models.tokens import prompt_cache
from organism.models.tokens.prompt_cache import PromptCache
from tests.models.plain_prompts import prompt_of

LEAVES = (
    st.none()
    | st.booleans()
    | st.integers(-2, 2)
    | st.sampled_from([0.0, -0.0, 1.0, 0.5])
    | st.text("aé\ud800", max_size=3)
)
VALUES = st.recursive(
    LEAVES,
    lambda inner: (
        st.lists(inner, max_size=3) | st.tuples(inner) | st.dictionaries(st.sampled_from("ab"), inner, max_size=2)
    ),
    max_leaves=5,
)
PLAIN = st.fixed_dictionaries({"role": st.sampled_from(["user", "assistant"]), "content": st.text("ab", max_size=2)})
ODD = st.fixed_dictionaries(
    {"role": st.sampled_from(["user", "tool"])}, optional={"content": VALUES, "tool_calls": VALUES, "name": VALUES}
)
SHARED = [fixed({"role": "user", "content": text}) for text in ("a", "b")] + [
    fixed({"role": "tool", "name": [1, True]})
]
"""Messages that stay as they are, and stand in one prompt and in another, behind this and behind that."""
MESSAGES = st.lists(PLAIN | ODD | ODD.map(fixed) | st.sampled_from(SHARED), max_size=5)
SCHEMAS = st.dictionaries(st.sampled_from("ab"), VALUES, max_size=2)
TOOLS = st.lists(
    st.builds(
        ToolSpec,
        name=st.sampled_from(["look", "say"]),
        description=st.just(""),
        parameters=SCHEMAS | SCHEMAS.map(fixed),
    ),
    max_size=2,
)


@given(st.lists(st.tuples(MESSAGES, TOOLS), max_size=12), st.sampled_from([0, 2000, 100_000]))
def test_every_prompt_is_what_it_would_be_without_a_cache(
    asked: list[tuple[list[Any], list[ToolSpec]]], most: int
) -> None:
    cache = PromptCache(most=most)
    for messages, tools in [*asked, *asked]:
        plain = prompt_of(messages, tools=tools, returns={"title": "Answer"} if tools else None)
        assert cache.of(messages, tools=tools, returns={"title": "Answer"} if tools else None) == plain
        assert plain.size == sum(map(len, (text.body for text in plain.texts))) + len(plain.beside)


def test_a_message_that_was_changed_is_another_one() -> None:
    cache, message = PromptCache(), {"role": "user", "content": "one"}
    before = cache.of([message])
    message["content"] = "two"
    assert cache.of([message]) == prompt_of([message]) != before


@pytest.mark.parametrize(("one", "other"), [(1, True), (1, 1.0), (0.0, -0.0), ([1], [True]), ({"a": 1}, {"a": 1.0})])
def test_what_only_python_takes_for_equal_is_not_the_same(one: Any, other: Any) -> None:
    cache = PromptCache()
    for value in (one, other):
        message = {"role": "user", "content": value}
        assert cache.of([message]) == prompt_of([message])


def test_what_is_no_json_is_named_each_time() -> None:
    cache, circle = PromptCache(), {"role": "user", "content": list[Any]()}
    circle["content"].append(circle)  # type: ignore[attr-defined]  # a message that holds itself
    for wrong in ({"role": "user", "content": object()}, circle):
        for _ in range(2):
            with pytest.raises(TypeError, match=r"messages\[1\] cannot be sent to a model"):
                cache.of([{"role": "user", "content": "hi"}, wrong])


def test_a_long_history_is_taken_apart_once() -> None:
    cache = PromptCache()
    messages = [{"role": "user", "content": f"message {number}"} for number in range(200)]
    first = cache.of(messages)
    again = cache.of([*map(dict, messages), {"role": "user", "content": "more"}])
    assert all(one is other for one, other in zip(first.parts, again.parts, strict=False))


def test_what_it_keeps_is_bounded() -> None:
    cache = PromptCache(most=100_000)
    cache.of([{"role": "user", "content": "hi"}])
    tracemalloc.start()
    for number in range(2000):
        cache.of([{"role": "user", "content": f"{number} " + "x" * 1000}])
    kept = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert kept < 1_000_000, "2000 messages of a kilobyte were said"


SAID = [fixed({"role": role, "content": f"message {number}"}) for number in range(40) for role in ("user", "assistant")]
TOLD = {"role": "user", "content": "budget notice"}
CHANGES = st.lists(st.tuples(st.integers(0, 39), st.integers(0, 39)), max_size=3)
"""Which message stands in the place of which other."""


@given(
    st.lists(st.tuples(st.integers(0, 40), CHANGES, st.booleans()), max_size=12), st.sampled_from([0, 3000, 100_000])
)
def test_long_prompts_of_the_same_messages_are_what_they_would_be_without_a_cache(
    asked: list[tuple[int, list[tuple[int, int]], bool]], most: int
) -> None:
    cache = PromptCache(most=most)
    for length, changes, told in asked:
        messages: list[Any] = SAID[:length]
        for place, other in changes:
            if place < length:
                messages[place] = SAID[other]
        messages += [TOLD] if told else []
        assert cache.of(messages) == prompt_of(messages)


def test_of_a_prompt_that_goes_on_only_what_is_new_is_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    cache, looked = PromptCache(), list[Any]()
    cache.of(SAID[:60])

    def noted(said: Any) -> Any:
        looked.append(said)
        return ref(said)

    monkeypatch.setattr(prompt_cache, "ref", noted)
    cache.of(SAID[:62])
    cache.of([*SAID[:64], TOLD])
    assert len(looked) == 4


def test_long_prompts_are_forgotten_where_they_are_too_much() -> None:
    cache = PromptCache(most=20_000)
    for number in range(50):
        cache.of([fixed({"role": "user", "content": f"{number} {place} " + "x" * 100}) for place in range(30)])
    assert cache.long.weight <= 20_000


def _long_text(number: int) -> dict[str, Any]:
    return {"role": "user", "content": f"{number} " + "some words " * 30}


def _tiny(number: int) -> dict[str, Any]:
    return {"role": "user", "content": str(number)}


def _tool_call(number: int) -> dict[str, Any]:
    called = {"name": "reply", "arguments": f'{{"n": {number}}}'}
    return {
        "role": "assistant",
        "content": "",
        "tool_calls": [{"id": f"call {number}", "type": "function", "function": called}],
    }


@pytest.mark.parametrize("said", [_tiny, _long_text, _tool_call])
@pytest.mark.parametrize("as_it_is", [fixed, dict], ids=["fixed", "changeable"])
def test_it_takes_no_more_than_it_counts(said: Any, as_it_is: Any) -> None:
    most = 200_000
    cache = PromptCache(most=most)
    cache.of([{"role": "user", "content": "hi"}]).parts[0].profile  # noqa: B018 - what is made once for all
    tracemalloc.start()
    history: list[Any] = []
    for agent in range(5):
        history.clear()
        for number in range(100):
            history.append(as_it_is(said(1000 * agent + number)))
            for text in cache.of([*history, {"role": "user", "content": f"notice {number}"}]).parts[-2:]:
                text.profile  # noqa: B018 - it is kept with the text
            history = history[len(history) // 2 :] if len(history) > 60 else history
    history.clear()
    kept = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert kept < 3 * most, "what is known, what was known before, and the long prompts"
    assert kept > most / 2, "little is forgotten before there is need"
