"""Payloads that the simulated model has never seen: what it writes for them is always one."""

from __future__ import annotations

import enum
import json
from datetime import datetime
from decimal import Decimal
from typing import Annotated, Any, Literal

from hypothesis import given, settings
from hypothesis import strategies as st

from organism import payload
from organism.models.contract import ToolSpec
from organism.payloads import decode_fields, encode_json, encode_xml, json_schema
from tests.models.simulated_world import arguments, ask, user


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


@payload
class Remark:
    """What somebody said of a file."""

    path: str
    text: str


@payload
class Doubt:
    reason: Annotated[str, "why it is not certain"]
    weight: float = 0.5


@payload
class Inquiry:
    question: str
    amount: Decimal
    remarks: tuple[Remark, ...] = ()
    aside: str | None = None


TYPES: st.SearchStrategy[Any] = st.recursive(
    st.sampled_from(
        [
            str,
            int,
            float,
            bool,
            Decimal,
            datetime,
            bytes,
            Colour,
            Literal["low", "high"],
            Literal[1, 2],
            Remark,
            Remark | Doubt,
        ]
    ),
    lambda inner: st.one_of(
        inner.map(lambda kind: list[kind]),  # type: ignore[valid-type]
        inner.map(lambda kind: tuple[kind, ...]),  # type: ignore[valid-type]
        inner.map(lambda kind: dict[str, kind]),  # type: ignore[valid-type]
        inner.map(lambda kind: kind | None),
        inner.map(lambda kind: Annotated[kind, "the path or the text that is meant"]),
    ),
    max_leaves=3,
)
FIELDS = st.dictionaries(
    st.sampled_from(
        ["question", "text", "path", "sources", "notes", "count", "found", "amount", "when", "data", "title"]
    ),
    TYPES,
    min_size=1,
    max_size=6,
)
INQUIRY = Inquiry("What makes the tide turn?", Decimal("12.50"), (Remark("a.md", "The moon makes the tide turn."),))
PROMPTS = st.sampled_from([encode_xml(INQUIRY).decode(), json.dumps(encode_json(INQUIRY)), "Hello.", ""])


@settings(max_examples=100)
@given(fields=FIELDS, prompt=PROMPTS)
def test_what_is_written_for_a_payload_is_one(fields: dict[str, Any], prompt: str) -> None:
    cls: Any = payload(type("Made", (), {"__annotations__": fields}))
    spec = ToolSpec(name="reply", description="", parameters=json_schema(cls))
    for room in (4000, 64):
        response = ask(user(prompt), tools=[spec], tool_choice="reply", max_output_tokens=room)
        if response.tool_calls:
            assert isinstance(decode_fields(cls, arguments(response)), cls)
        else:
            assert room == 64
    answered = ask(user(prompt), returns=json_schema(cls), max_output_tokens=4000)
    assert isinstance(decode_fields(cls, json.loads(answered.text)), cls)


def test_a_payload_in_either_form_is_understood_alike() -> None:
    spec = ToolSpec(name="peer", description="", parameters=json_schema(Inquiry))
    for prompt in (encode_xml(INQUIRY).decode(), json.dumps(encode_json(INQUIRY))):
        response = ask(user(f"Message from ada:\n{prompt}"), tools=[spec], tool_choice="peer")
        assert decode_fields(Inquiry, arguments(response)) == INQUIRY
