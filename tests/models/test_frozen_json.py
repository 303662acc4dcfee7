"""Messages that stay as they are: what is kept of an answer is nobody's to change."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from organism.models.contract import Response, ToolCall
from organism.models.frozen_json import OTHER, fixed_texts
from organism.models.tokens.prompt import canonical
from organism.models.validation import response_of

TEXTS = st.recursive(
    st.text(max_size=5) | st.none(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=12,
)
VALUES = st.recursive(
    st.text(max_size=5) | st.none() | st.integers() | st.booleans() | st.floats(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3) | st.integers(), inner, max_size=3),
    max_leaves=12,
)


def inside(value: Any) -> list[Any]:
    """What stands in a list or a mapping."""
    whole: Any = value  # what isinstance makes of a container has no types inside
    if isinstance(value, dict):
        return list(whole.values())
    return list(whole) if isinstance(value, list) else []


def is_texts(value: Any) -> bool:
    whole: Any = value  # as above
    if isinstance(value, (dict, list)):
        named = not isinstance(value, dict) or all(isinstance(name, str) for name in whole)
        return named and all(map(is_texts, inside(value)))
    return value is None or isinstance(value, str)


def is_ascii(value: Any) -> bool:
    return value.isascii() if isinstance(value, str) else all(map(is_ascii, inside(value)))


def depth(value: Any) -> int:
    return 1 + max(map(depth, inside(value)), default=0)


def is_fixed(value: Any) -> bool:
    whole: Any = value  # as above
    return type(whole) not in {dict, list} and all(map(is_fixed, inside(value)))


@given(st.dictionaries(st.text(max_size=3), TEXTS | VALUES, max_size=3) | TEXTS | VALUES)
def test_what_is_texts_is_copied_for_good_and_all_else_is_left(value: Any) -> None:
    kept = fixed_texts(value)
    assert (fixed_texts(value, in_ascii=True) is OTHER) is (kept is OTHER or not is_ascii(value))
    if kept is OTHER:
        assert not isinstance(value, (dict, list)) or not is_texts(value) or depth(value) > 8
    else:
        assert is_texts(value)
        assert is_fixed(kept)
        assert kept == value
        assert canonical(kept, "it") == canonical(value, "it")


def test_a_value_that_holds_itself_is_not_gone_through_for_ever() -> None:
    around: dict[str, Any] = {"role": "assistant"}
    around["again"] = [around] * 1000
    assert fixed_texts(around) is OTHER


def test_what_a_model_said_stays_whatever_its_provider_does_with_it_afterwards() -> None:
    function = {"name": "search", "arguments": "{}"}
    calls = [{"id": "1", "type": "function", "function": function}]
    message: dict[str, Any] = {"role": "assistant", "content": None, "tool_calls": calls}
    given = Response(text="", message=message, tool_calls=(ToolCall(id="1", name="search", arguments="{}"),))
    kept: Any = response_of(given).message
    function["name"] = "other"
    calls.clear()
    message["content"] = "no"
    assert kept == {
        "role": "assistant", "content": None,
        "tool_calls": [{"id": "1", "type": "function", "function": {"name": "search", "arguments": "{}"}}],
    }  # fmt: skip
    with pytest.raises(TypeError, match="change a copy"):
        kept["content"] = "yes"


def test_a_response_of_a_class_of_the_provider_s_own_stays_what_it_is() -> None:
    class Own(Response):
        pass

    given = Own(text="yes", message={"role": "assistant", "content": "yes"})
    assert response_of(given) is given
