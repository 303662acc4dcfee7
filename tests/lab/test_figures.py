"""Shares, means and their intervals."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from organism.lab.figures import mean, wilson


@pytest.mark.parametrize(
    ("hits", "n", "low", "high"),
    [
        (0, 10, 0.0, 0.2775),
        (5, 10, 0.2366, 0.7634),
        (10, 10, 0.7225, 1.0),
        (81, 263, 0.2553, 0.3662),
        (1, 1, 0.2065, 1.0),
    ],
)
def test_a_share_has_wilsons_interval(hits: int, n: int, low: float, high: float) -> None:
    share = wilson(hits, n)
    assert (share.n, share.value) == (n, hits / n)
    assert share.low == pytest.approx(low, abs=1e-4)
    assert share.high == pytest.approx(high, abs=1e-4)


@given(st.integers(1, 500).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_a_share_lies_in_its_interval(counts: tuple[int, int]) -> None:
    share = wilson(*counts)
    assert share.low is not None
    assert share.high is not None
    assert 0 <= share.low <= share.value <= share.high <= 1


def test_a_mean_has_an_interval_of_inputs_and_not_of_their_repeats() -> None:
    few = [(number, float(number)) for number in range(10)]
    many = [pair for pair in few for _ in range(50)]
    alone, repeated = mean(few, "7"), mean(many, "7")
    assert alone.value == repeated.value == 4.5
    # Their standard deviation is 2.87, that of means of ten 0.91: 95 % lie within 1.96 of these.
    assert (alone.low, alone.high) == pytest.approx((4.5 - 1.78, 4.5 + 1.78), abs=0.2)
    assert (repeated.low, repeated.high) == (alone.low, alone.high)
    assert mean(few, "7") == alone
    assert mean(few, "8") != alone


def test_of_one_input_nobody_can_say_how_far_a_mean_is_off() -> None:
    only = mean([(1, 3.0), (1, 5.0)], "0")
    assert (only.n, only.value, only.low, only.high) == (2, 4.0, None, None)


def test_an_interval_holds_the_truth_about_as_often_as_it_says() -> None:
    """Of 300 studies with 30 inputs each; it is a little narrow for so few."""
    held = 0
    for study in range(300):
        dice = random.Random(study)
        found = mean([(number, dice.gauss(10, 3)) for number in range(30)], str(study))
        assert found.low is not None
        assert found.high is not None
        held += found.low <= 10 <= found.high
    assert 0.90 <= held / 300 <= 0.98
