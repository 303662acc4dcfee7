"""Profiles are compared sooner than one sign after the other, and to the same numbers."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from organism.models.profiles import MOST, RATIO, Text, floor_of, makeup_of, unlike, unlike_each

TEXTS = st.builds(
    Text, st.binary(max_size=60) | st.text(max_size=40).map(str.encode) | st.sampled_from([b"", b"{}", b"a"])
)


@given(st.lists(TEXTS, max_size=4))
def test_texts_taken_together_are_the_sum_of_them(texts: list[Text]) -> None:
    sums = [sum(counts) for counts in zip(*(text.counts for text in texts), strict=True)] or [0] * len(MOST)
    plain = tuple(count / (sum(sums) or 1) for count in sums)
    assert makeup_of(texts)[0] == plain
    assert floor_of(plain) == max(RATIO, sum(share * most for share, most in zip(plain, MOST, strict=True)))


@given(st.lists(TEXTS, min_size=1, max_size=4), st.lists(TEXTS, max_size=5))
def test_profiles_are_as_unlike_as_their_common_shares_leave_them(texts: list[Text], others: list[Text]) -> None:
    one, found = makeup_of(texts)[0], [makeup_of([other])[0] for other in others]
    plain = [1 - sum(map(min, one, other)) for other in found]
    assert unlike_each(one, found) == plain
    assert [unlike(one, other) for other in found] == plain
