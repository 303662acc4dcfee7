"""Profiles are compared sooner than one sign after the other, and to the same numbers."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from organism.models.tokens.profiles import MOST, ONE, RATIO, Text, floor_of, profile_of, unlike

WORDS = st.builds(lambda text: Text(text.encode("utf-8", "surrogatepass")), st.text(max_size=40))
TEXTS = st.builds(Text, st.binary(max_size=60) | st.sampled_from([b"", b"{}", b"a"])) | WORDS


def lanes(figures: int) -> tuple[int, ...]:
    """What stands side by side in lanes of 32 bits, one group after the other."""
    return tuple(figures >> 32 * group & 0xFFFF_FFFF for group in range(len(MOST)))


def counted(text: Text) -> tuple[int, ...]:
    """Its bytes in each group, as a table counts them."""
    return lanes(text.counts)


def plainly(texts: list[Text]) -> tuple[float, ...]:
    """The shares of texts, one group after the other."""
    sums = [sum(counts) for counts in zip(*map(counted, texts), strict=True)] or [0] * len(MOST)
    return tuple(count / (sum(sums) or 1) for count in sums)


@given(st.lists(TEXTS, max_size=4))
def test_texts_taken_together_are_the_sum_of_them(texts: list[Text]) -> None:
    assert [share / ONE for share in lanes(profile_of(texts))] == pytest.approx(plainly(texts), abs=1 / ONE)


@given(st.lists(WORDS, max_size=4))
def test_each_byte_is_counted_and_none_twice(texts: list[Text]) -> None:
    assert [sum(counted(text)) for text in texts] == [text.size for text in texts]


@given(st.lists(WORDS, max_size=4))
def test_a_floor_is_what_the_profile_shows(texts: list[Text]) -> None:
    shown = sum(share * most for share, most in zip(plainly(texts), MOST, strict=True))
    assert floor_of(texts, sum(text.size for text in texts)) == pytest.approx(max(RATIO, shown))


def test_a_text_costs_the_same_in_every_python_and_in_any_order() -> None:
    # Each sign costs a float, and the last digit of a plain sum depends on its order.
    assert Text("the budget. für 42".encode() * 7).most == 92.75
    some, other = Text("д".encode()), Text(b"1")
    assert floor_of([some, some, other], 5) == floor_of([other, some, some], 5)


def common(one: tuple[float, ...], other: tuple[float, ...]) -> float:
    return sum(map(min, one, other))


@given(st.lists(TEXTS, min_size=1, max_size=4), TEXTS)
def test_profiles_are_as_unlike_as_their_common_shares_leave_them(texts: list[Text], other: Text) -> None:
    found = unlike(profile_of(texts), other.profile)
    assert found == pytest.approx(1 - common(plainly(texts), plainly([other])), abs=1e-5)
    assert found == pytest.approx(unlike(other.profile, profile_of(texts)))


@given(TEXTS, st.tuples(TEXTS, TEXTS, TEXTS))
def test_a_text_is_compared_with_what_three_are_on_average(text: Text, others: tuple[Text, Text, Text]) -> None:
    among = tuple(sum(shares) / 3 for shares in zip(*(plainly([other]) for other in others), strict=True))
    found = unlike(3 * text.profile, sum(other.profile for other in others), times=3)
    assert found == pytest.approx(1 - common(plainly([text]), among), abs=1e-5)


def test_equal_texts_are_alike_and_others_have_nothing_in_common() -> None:
    assert unlike(Text(b"abc").profile, Text(b"cba").profile) == pytest.approx(0, abs=1e-5)
    assert unlike(Text(b"abc").profile, Text("日本".encode()).profile) == 1
