"""Spans of time in words."""

from __future__ import annotations

import pytest

from organism.durations import duration


@pytest.mark.parametrize(
    ("seconds", "told"),
    [
        (0, "0 s"), (0.25, "0.25 s"), (90, "90 s"), (120, "120 s"), (121, "2 min 1 s"), (300, "5 min"), (3599.9, "1 h"),
        (3600, "1 h"), (3601, "1 h"), (5400, "1 h 30 min"), (86400, "1 day"), (100_000, "1 day 3 h"), (2_592_000, "30 days"),
        (1e9, "11,574 days 1 h"), (float("inf"), "inf s"), (-3, "-3 s"),
    ],
)  # fmt: skip
def test_a_span_is_told_in_its_two_largest_units(seconds: float, told: str) -> None:
    assert duration(seconds) == told


def test_how_few_seconds_are_written_is_up_to_the_caller() -> None:
    assert [duration(each, ".2f") for each in (0.0314, 7, 7200.5)] == ["0.03 s", "7.00 s", "2 h"]
