"""Tokens are counted about as a real tokenizer counts them, and never more of them than bytes."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from organism.models.contract import Request, ToolCall
from organism.models.simulation.tokens import (
    answer_tokens,
    count_tokens,
    cut_text,
    message_tokens,
    pieces,
    request_tokens,
)
from tests.models.simulated_world import STRING, record, tool, user

PROSE = (
    "The tide is the rise and fall of the sea, and it follows the moon. Fishermen along the coast have always known when "
    "the water would return, although few of them could have explained why. In the harbour the boats lie on the mud for "
    "half of the day; then the channel fills again, slowly at first, and by the evening every mast is upright. Visitors "
    "often believe that the difference is small, but in some bays it is more than fifteen metres between high and low."
)
SAMPLE = (
    "Many words map to one token, but some don't: indivisible.\n\nUnicode characters like emojis may be split into many "
    "tokens containing the underlying bytes: \U0001f91a\U0001f3fe\n\nSequences of characters commonly found next to each "
    "other may be grouped together: 1234567890"
)


@pytest.mark.parametrize(
    ("text", "tokens"),
    [  # counted by o200k_base
        ("", 0),
        ("The quick brown fox jumps over the lazy dog.", 10),
        ("Hello, world!", 4),
        ("1234567890", 4),
        (SAMPLE, 53),
    ],
)
def test_known_counts(text: str, tokens: int) -> None:
    assert abs(count_tokens(text) - tokens) <= tokens * 0.1


def test_prose_has_about_as_many_characters_a_token_as_english_has() -> None:
    assert 4.3 <= len(PROSE) / count_tokens(PROSE) <= 5.3


def test_dense_texts_cost_more_a_character() -> None:
    dense = json.dumps([{"id": n * 7919, "name": f"u{n}", "ok": True} for n in range(40)], separators=(",", ":"))
    japanese = (
        "\u543e\u8f29\u306f\u732b\u3067\u3042\u308b\u3002\u540d\u524d\u306f\u307e\u3060\u7121\u3044\u3002"
        "\u3069\u3053\u3067\u751f\u308c\u305f\u304b\u3068\u3093\u3068\u898b\u5f53\u304c\u3064\u304b\u306c\u3002"
    )
    assert 1.7 <= len(dense) / count_tokens(dense) <= 2.7
    assert 0.7 <= count_tokens(japanese) / len(japanese) <= 1.1


@given(text=st.text(max_size=300))
def test_no_text_has_more_tokens_than_bytes(text: str) -> None:
    assert count_tokens(text) <= len(text.encode("utf-8", "surrogatepass"))
    assert bool(count_tokens(text)) == bool(text)


@given(text=st.text(max_size=200), limit=st.integers(0, 60))
def test_a_text_is_cut_at_a_count(text: str, limit: int) -> None:
    cut = cut_text(text, limit)
    assert text.startswith(cut)
    assert count_tokens(cut) <= limit
    assert cut == text or count_tokens(text) > limit
    assert "".join(pieces(text)) == text


@given(text=st.text(max_size=200))
def test_pieces_add_up(text: str) -> None:
    assert sum(map(count_tokens, pieces(text))) == count_tokens(text)


def test_a_request_costs_its_parts() -> None:
    message = {"role": "user", "content": PROSE}
    alone = Request(model="m", messages=[message], max_output_tokens=10)
    schema = record({"text": STRING})
    more = Request(model="m", messages=[message], max_output_tokens=10, tools=[tool("reply", schema)], returns=schema)
    assert count_tokens(PROSE) < request_tokens(alone) <= count_tokens(PROSE) + 16
    assert request_tokens(more) > request_tokens(alone) + 10
    called = {"role": "assistant", "content": None, "tool_calls": [{"function": {"name": "reply", "arguments": PROSE}}]}
    assert message_tokens(called) >= count_tokens(PROSE)
    parts = {"role": "user", "content": [{"type": "text", "text": PROSE}, {"type": "image_url", "image_url": {}}]}
    assert message_tokens(parts) > message_tokens(message) + 50
    assert answer_tokens("", [ToolCall(id="1", name="reply", arguments=PROSE)]) > count_tokens(PROSE)


@given(
    texts=st.lists(st.text(max_size=60), max_size=5),
    name=st.text("abc_", min_size=1, max_size=9),
    description=st.text(max_size=40),
)
def test_a_request_never_costs_more_than_its_bytes_and_the_overhead(
    texts: list[str], name: str, description: str
) -> None:
    """Strict accounting holds the bytes of all that is sent and 16 tokens more; the model must keep below that."""
    messages = [user(text) for text in texts]
    messages += [
        {"role": "assistant", "tool_calls": [{"id": "c", "function": {"name": name, "arguments": text}}]}
        for text in texts
    ]
    tools = [tool(name, record({name: STRING}), description)]
    request = Request(model="m", messages=messages, tools=tools, max_output_tokens=1)
    sent = json.dumps(messages, ensure_ascii=False) + json.dumps(
        [tools[0].name, tools[0].description, tools[0].parameters]
    )
    assert request_tokens(request) <= len(sent.encode("utf-8", "surrogatepass")) + 16
