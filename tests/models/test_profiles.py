"""Profiles are compared sooner than one sign after the other, and to the same numbers."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from organism.models.profiles import MOST, RATIO, Text, floor_of, profile_of, unlike, unlike_each

WORDS = st.builds(lambda text: Text(text.encode("utf-8", "surrogatepass")), st.text(max_size=40))
TEXTS = st.builds(Text, st.binary(max_size=60) | st.sampled_from([b"", b"{}", b"a"])) | WORDS


@given(st.lists(TEXTS, max_size=4))
def test_texts_taken_together_are_the_sum_of_them(texts: list[Text]) -> None:
    sums = [sum(counts) for counts in zip(*(text.counts for text in texts), strict=True)] or [0] * len(MOST)
    plain = tuple(count / (sum(sums) or 1) for count in sums)
    assert profile_of(texts) == plain


@given(st.lists(WORDS, max_size=4))
def test_each_byte_is_counted_and_none_twice(texts: list[Text]) -> None:
    assert [sum(text.counts) for text in texts] == [text.size for text in texts]


@given(st.lists(WORDS, max_size=4))
def test_a_floor_is_what_the_profile_shows(texts: list[Text]) -> None:
    shown = sum(share * most for share, most in zip(profile_of(texts), MOST, strict=True))
    assert floor_of(texts, sum(text.size for text in texts)) == pytest.approx(max(RATIO, shown))


@given(st.lists(TEXTS, min_size=1, max_size=4), st.lists(TEXTS, max_size=5))
def test_profiles_are_as_unlike_as_their_common_shares_leave_them(texts: list[Text], others: list[Text]) -> None:
    one, found = profile_of(texts), [profile_of([other]) for other in others]
    plain = [1 - sum(map(min, one, other)) for other in found]
    assert unlike_each(one, found) == plain
    assert [unlike(one, other) for other in found] == plain
