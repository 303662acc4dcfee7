"""The chain: whatever is done to it, the first bad entry is named."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from organism.errors import JournalError
from organism.journal.chain import Flaw, Head, canonical, content_of, line_of, seal, verify

CONTENTS: list[dict[str, Any]] = [{"root": "r", "at": float(number), "text": "é" * number} for number in range(6)]


def chain(contents: list[dict[str, Any]]) -> list[dict[str, Any]]:
    head, entries = Head(), []
    for content in contents:
        raw, head = seal(canonical(content), head)
        entries.append(json.loads(raw))
        assert line_of(entries[-1]) == raw
    return entries


def test_a_chain_is_sound() -> None:
    entries = chain(CONTENTS)
    assert verify(entries) is None
    assert verify(entries, "r") is None
    assert verify([]) is None
    assert [entry["n"] for entry in entries] == [1, 2, 3, 4, 5, 6]
    assert entries[0]["prev"] is None
    assert [entry["prev"] for entry in entries[1:]] == [entry["hash"] for entry in entries[:-1]]
    assert [content_of(entry) for entry in entries] == CONTENTS


@pytest.mark.parametrize("at", range(6))
@pytest.mark.parametrize("key", ["root", "at", "text", "n", "prev", "hash", "new"])
def test_a_changed_entry_is_named(at: int, key: str) -> None:
    entries = chain(CONTENTS)
    entries[at][key] = "other"
    assert verify(entries) == Flaw(at + 1, "was changed: its hash does not match its content")


@pytest.mark.parametrize("at", range(6))
def test_a_changed_entry_with_its_hash_made_anew_is_found_by_the_next(at: int) -> None:
    entries = chain(CONTENTS)
    entries[at]["text"] = "other"
    before = Head(at, entries[at]["prev"])
    entries[at] = json.loads(seal(canonical(content_of(entries[at])), before)[0])
    found = verify(entries)
    if at == 5:
        assert found is None, "nothing follows that could tell"
    else:
        assert found == Flaw(at + 2, "does not follow the entry before it: the hash that it holds of that one is wrong")


@given(st.permutations(range(6)), st.integers(1, 6))
@settings(max_examples=60)
def test_what_is_left_out_or_moved_is_found_at_the_first_place_that_differs(order: list[int], count: int) -> None:
    entries = chain(CONTENTS)
    given_ = [entries[number] for number in order[:count]]
    first = next((place for place, number in enumerate(order[:count]) if number != place), None)
    found = verify(given_)
    assert (None if found is None else found.number) == (None if first is None else first + 1)


def test_an_entry_of_another_thread_is_named() -> None:
    entries = chain([CONTENTS[0], {**CONTENTS[1], "root": "s"}])
    assert verify(entries) is None
    assert str(verify(entries, "r")) == "entry 2: belongs to thread 's', and not to 'r'"


@given(
    st.dictionaries(
        st.text(max_size=5),
        st.one_of(st.text(st.characters(), max_size=5), st.floats(allow_nan=False, allow_infinity=False)),
    )
)
@settings(max_examples=100)
def test_the_canonical_form_says_the_same_and_is_the_only_one(document: dict[str, Any]) -> None:
    written = canonical(document)
    assert b"\n" not in written
    assert canonical(json.loads(written)) == written
    assert canonical(dict(reversed(document.items()))) == written


def test_two_halves_are_hashed_as_the_character_that_they_are_read_as() -> None:
    assert canonical({"a": "\ud83d\ude00"}) == canonical({"a": "\U0001f600"})
    assert canonical({"a": "\ude00\ud83d"}) == rb'{"a":"\ude00\ud83d"}'


@pytest.mark.parametrize("value", [float("nan"), float("inf"), object(), {1: {2}}])
def test_what_is_not_json_is_refused(value: Any) -> None:
    with pytest.raises(JournalError, match="an entry cannot be written as JSON"):
        canonical({"a": value})
