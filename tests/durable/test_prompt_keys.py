"""What a prompt is called: by what it says, however much of it was looked at before."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

from hypothesis import given
from hypothesis import strategies as st

from organism.kernel.prompts import Name
from organism.models.completion import Call
from organism.models.contract import ToolSpec
from organism.models.frozen_json import fixed
from organism.pump.keys import Keys
from organism.settings import NOTHING

if TYPE_CHECKING:
    from organism.kernel.prompts import Prompt

MESSAGE = st.fixed_dictionaries(
    {"role": st.sampled_from(["user", "tool"]), "content": st.text("aé\ud800", max_size=3) | st.integers() | st.none()}
)
TURN = st.tuples(
    st.integers(0, 4),  # how many messages of before stay
    st.lists(MESSAGE.map(fixed) | MESSAGE, max_size=3),
    st.sampled_from(["a", "b"]),  # what else is asked
    st.sampled_from([1, 1.0]),
    st.booleans(),  # told something at the end
    st.sampled_from(["new", "changed", "none"]),  # what no other field says: new, the same and changed, or nothing
)
TOOLS = {
    name: (ToolSpec(name=name, description="", parameters=make({"type": "object"})),)
    for name, make in (("a", fixed), ("b", dict[str, Any]))
}


def text_of(value: Any) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"))


def plain(call: Call, *, tells: bool) -> str:
    """The digest of a request, all of it looked at."""
    tools = [{"name": each.name, "description": each.description, "parameters": each.parameters} for each in call.tools]
    asked = {
        "model": call.model, "max_output_tokens": call.max_output_tokens, "wish": call.wish,
        "min_output_tokens": call.min_output_tokens, "temperature": call.temperature, "seed": call.seed,
        "reasoning_effort": call.reasoning_effort, "tools": tools, "tool_choice": call.tool_choice,
        "returns": call.returns, "extra": dict(call.extra),
    }  # fmt: skip
    messages = call.messages[:-1] if tells else call.messages
    return hashlib.sha256(text_of([asked, messages]).encode()).hexdigest()[:24]


@given(st.lists(TURN, max_size=8))
def test_a_prompt_that_goes_on_is_called_as_if_it_were_the_first(
    turns: list[tuple[int, list[Any], str, float, bool, str]],
) -> None:
    said: list[Any] = []
    changing: dict[str, Any] = {}
    before: Prompt | None = None
    for stay, more, name, heat, tells, beside in turns:
        said = [*said[: len(said) - stay], *more]
        told = [{"role": "user", "content": "notice"}] if tells else []
        changing["turns"] = len(said)
        extra = {"new": {"user": name, "n": 1.5}, "changed": changing, "none": NOTHING}[beside]
        call = Call(messages=(*said, *told), tools=TOOLS[name], temperature=heat, extra=extra)
        found = Keys().prompt(call, tells=tells, before=before)
        assert found.key == f"complete:{plain(call, tells=tells)}:1"
        assert found.asked == Keys().prompt(call, tells=tells).asked
        for message in said:
            if type(message) is dict:
                message["content"] = f"{message['content']}!"  # whoever asks may change what is its own
        before = found


@given(
    st.lists(MESSAGE, min_size=1, max_size=4),
    st.integers(0, 4),
    st.lists(MESSAGE, max_size=2),
    st.tuples(*[st.booleans()] * 2),
    st.booleans(),
)
def test_a_prompt_is_known_to_go_on_from_one_of_which_there_is_the_name_alone(
    first: list[Any], stay: int, more: list[Any], tells: tuple[bool, bool], other: bool
) -> None:
    def prompt(said: list[Any], number: int, before: Name | None = None) -> Prompt:
        told = [{"role": "user", "content": f"notice {number}"}] if tells[number] else []
        call = Call(messages=(*said, *told), seed=number if other else None)
        return Keys().prompt(call, tells=tells[number], before=before)

    earlier = prompt(first, 0)
    name = Name(earlier.key, len(earlier.messages))
    said = [*first[:stay], *more]
    found = prompt(said, 1, name)
    goes_on = not other and text_of(said[: len(first)]) == text_of(first)
    assert found.begins == ((name, len(first)) if goes_on else None)
    assert prompt(said, 1, Name("grace", len(first))).begins is prompt(said, 1, Name("", len(first))).begins is None
