"""The clock of the world goes on with the loop's, from one organism of a test to the next."""

from __future__ import annotations

import pytest

from tests.hard.time_of_day import NOON, TimeOfDay, set_clock


@pytest.fixture(autouse=True)
def day(monkeypatch: pytest.MonkeyPatch) -> TimeOfDay:
    return set_clock(monkeypatch, NOON + 1800)
