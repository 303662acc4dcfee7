"""What a report is worth."""

from __future__ import annotations

from decimal import Decimal

import pytest

from organism.models.contract import RawUsage
from organism.models.tokens.usage import LARGEST, Measured, measured


def test_a_whole_report_is_taken_as_it_is() -> None:
    report = RawUsage(
        input_tokens=9600, output_tokens=5, cache_read_tokens=9000, cache_write_tokens=500, reasoning_tokens=2
    )
    assert measured(report) == Measured(
        input_tokens=9600, output_tokens=5, cache_read_tokens=9000, cache_write_tokens=500, reasoning_tokens=2
    )


def test_details_may_be_missing() -> None:
    report = RawUsage(
        input_tokens=1, output_tokens=0, cache_read_tokens=None, cache_write_tokens=None, reasoning_tokens=None
    )
    assert measured(report) == Measured(input_tokens=1, output_tokens=0)


@pytest.mark.parametrize(
    ("said", "taken"),
    [((9, 0, 0), (9, 0, 0)), ((50, 50, 0), (10, 0, 0)), ((6, 50, 3), (6, 4, 3)), ((0, 11, 900), (0, 10, 5))],
)
def test_details_are_parts_of_what_they_are_details_of(said: tuple[int, int, int], taken: tuple[int, int, int]) -> None:
    names = ("cache_read_tokens", "cache_write_tokens", "reasoning_tokens")
    found = measured(RawUsage(input_tokens=10, output_tokens=5, **dict(zip(names, said, strict=True))))
    assert found == Measured(input_tokens=10, output_tokens=5, **dict(zip(names, taken, strict=True)))


@pytest.mark.parametrize("wrong", [None, -1, "7", 7.0, True, LARGEST + 1, Decimal(7), [7], float("nan")])
@pytest.mark.parametrize("field", ["input_tokens", "output_tokens"])
def test_one_wrong_figure_spoils_it(field: str, wrong: object) -> None:
    assert measured(RawUsage(**{"input_tokens": 10, "output_tokens": 10, field: wrong})) is None


@pytest.mark.parametrize("wrong", [-1, "7", 7.5, False, LARGEST + 1])
@pytest.mark.parametrize("field", ["cache_read_tokens", "cache_write_tokens", "reasoning_tokens"])
def test_so_does_a_wrong_detail(field: str, wrong: object) -> None:
    assert measured(RawUsage(**{"input_tokens": 10, "output_tokens": 10, field: wrong})) is None


def test_no_report_and_the_largest_one() -> None:
    assert measured(None) is None
    assert measured(RawUsage(input_tokens=LARGEST, output_tokens=0)) == Measured(input_tokens=LARGEST, output_tokens=0)
