"""The texts of a JSON object that is still being written."""

from __future__ import annotations

import json
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from organism.agent.partial import Texts

TEXT = st.text(st.characters(exclude_categories=["Cs"]))
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=8,
)


def read(written: str, names: set[str], cuts: list[int] | None = None) -> str:
    """What comes of an object that is cut at these places."""
    texts, found = Texts(names), ""
    places = sorted({0, *(cut % (len(written) + 1) for cut in cuts or ()), len(written)})
    for begin, end in pairwise(places):
        found += texts.add(written[begin:end])
    return found


@given(
    st.dictionaries(TEXT.filter(lambda name: len(name) < 200), ANYTHING, max_size=5),
    st.sets(TEXT, max_size=3),
    st.lists(st.integers(min_value=0), max_size=6),
    st.booleans(),
    st.sampled_from([None, 2]),
)
def test_whatever_is_written_its_texts_are_read(
    fields: dict[str, object], others: set[str], cuts: list[int], ascii_only: bool, indent: int | None
) -> None:
    names = {*list(fields)[::2], *others}
    written = json.dumps(fields, ensure_ascii=ascii_only, indent=indent)
    expected = "\n".join(value for name, value in fields.items() if name in names and isinstance(value, str) and value)
    assert read(written, names, cuts) == expected


@given(st.text(alphabet='{}[]":,\\u0dDeEf8 \nat', max_size=40))
def test_what_is_no_json_does_no_harm(written: str) -> None:
    texts = Texts({"a"})
    found = "".join(texts.add(sign) for sign in written)
    found.encode()


@pytest.mark.parametrize(
    ("written", "text"),
    [
        ('{"text": "so f', "so f"),
        ('{"text": "a\\', "a"),
        ('{"text": "a\\u00', "a"),
        ('{"text": "\\ud83d', ""),
        ('{"text": "\\ud83d\\udc1d"', "\U0001f41d"),
        ('{"text": "\\ud83d!"', "\ufffd!"),
        ('{"text": "\\ud83d\\n"', "\ufffd\n"),
        ('{"text": "\\ud83d\\ud83d\\udc1d"', "\ufffd\U0001f41d"),
        ('{"text": "\\udc1d"', "\ufffd"),
        ('{"text": "\\ud83d"', "\ufffd"),
        ('{"text": "\\uzzzz!"', "\ufffd!"),
        ('{"more": {"text": "no"}, "text": "yes"}', "yes"),
        ('{"more": ["text", "no", {"text": "no"}], "text": "yes"}', "yes"),
        ('{"more": "text", "text": "yes"}', "yes"),
        ('{"te\\u0078t": "yes"}', "yes"),
        ('{"text": "yes"} {"text": "no"}', "yes"),
        ('["text", "no"]', ""),
        ('text: "no"', ""),
        ('"text": "no"', ""),
        ("", ""),
    ],
)
def test_only_texts_of_the_object_itself_are_read(written: str, text: str) -> None:
    assert read(written, {"text"}) == text
    assert read(written, {"text"}, list(range(len(written)))) == text
