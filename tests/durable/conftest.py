"""The clock of the world goes on with the loop's, from one organism of a test to the next."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from organism.pump import runtime

NOON = 1_800_014_400.0
"""An instant at which an hour begins."""


class Clock:
    """What organisms read as the time; ``ahead`` moves it against the loop's."""

    def __init__(self) -> None:
        self.ahead = 1800.0

    def time(self) -> float:
        return NOON + self.ahead + self.monotonic()

    def monotonic(self) -> float:
        try:
            return runtime.clock()()
        except RuntimeError:  # outside of a loop
            return 0.0


@pytest.fixture(autouse=True)
def wall(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr("organism.organism.time", SimpleNamespace(time=clock.time, monotonic=clock.monotonic))
    return clock
