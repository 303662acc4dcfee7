"""Characters that come in halves: put together wherever a provider parts them, and replaced where the other half never comes."""

from __future__ import annotations

import json
from typing import Any

from attrs import asdict, fields
from hypothesis import given
from hypothesis import strategies as st

from organism.models.contract import Allowance, RawUsage, Response, ToolCall
from organism.models.surrogates import Halves, joined
from organism.models.validation import response_of

UNITS = st.lists(st.sampled_from(["a", "é", "\ud83d", "\ude00", "\U0001f600", "\ufffd"]), max_size=8)


@given(UNITS)
def test_pieces_say_what_the_whole_says(units: list[str]) -> None:
    """However a text is parted, what comes of its pieces is what comes of it whole, which any request can carry."""
    halves, whole = Halves(), joined("".join(units))
    pieces = [halves.add("text", unit) for unit in units]
    assert "".join(pieces) + halves.rest("text") == whole
    assert all(piece == joined(piece) for piece in pieces)


@given(st.text())
def test_whole_characters_stay(text: str) -> None:
    assert joined(text) is text


def test_a_response_holds_whole_characters_everywhere() -> None:
    half = "\ud83d"
    call = ToolCall(id=half, name=half, arguments=half)
    function: dict[str, Any] = {"name": half, "arguments": half}
    for number in (None, 1):  # with a number in it, it is no message of texts alone
        message = {
            "role": "assistant",
            "content": half,
            "tool_calls": [{"id": half, "index": number, "function": function}],
        }
        got = response_of(Response(text=f"{half}\ude00", message=message, tool_calls=(call,)))
        assert json.dumps([got.text, got.message, [*map(str, got.tool_calls)]], ensure_ascii=False).encode()
        assert (got.text, got.tool_calls) == ("\U0001f600", (ToolCall(id="\ufffd", name="\ufffd", arguments="\ufffd"),))
        assert (got.message["content"], got.message["tool_calls"][0]["function"]["arguments"]) == ("\ufffd", "\ufffd")


def test_a_response_in_whole_characters_keeps_all_that_it_says() -> None:
    said = Response(
        text="é",
        message={"role": "assistant", "content": "é"},
        tool_calls=(ToolCall(id="1", name="é", arguments="{}"),),
        finish_reason="tool_calls",
        usage=RawUsage(input_tokens=1),
        model="m",
        thought="é",
        allowance=Allowance(requests=3),
    )
    bare = Response(text="", message={})
    assert [each.name for each in fields(Response) if getattr(said, each.name) == getattr(bare, each.name)] == []
    assert asdict(response_of(said)) == asdict(said)
