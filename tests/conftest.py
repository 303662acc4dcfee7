"""Every async test runs on trio and on asyncio, both with a virtual clock: no test waits."""

from __future__ import annotations

import asyncio
import selectors
from typing import TYPE_CHECKING, Any

import hypothesis
import pytest
import trio.testing

if TYPE_CHECKING:
    from collections.abc import Mapping


# How long an example takes says how busy the machine is, and nothing of the code.
hypothesis.settings.register_profile("untimed", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow])
if hypothesis.settings.get_current_profile_name() != "mutation":  # that of benchmarks/mutation.py
    hypothesis.settings.load_profile("untimed")


class _JumpingSelector(selectors.DefaultSelector):
    """A selector that does not wait: where nothing is ready, it moves the loop's clock to the next timer."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0)
        if ready or timeout == 0:
            return ready
        # A worker thread or a socket may still answer; give it a little real time before the clock jumps.
        ready = super().select(0.002 if timeout is not None else None)
        if not ready and timeout is not None:
            self.now += timeout
        return ready


class _JumpingLoop(asyncio.SelectorEventLoop):
    def __init__(self) -> None:
        self._jumping = _JumpingSelector()
        super().__init__(self._jumping)

    def time(self) -> float:
        return self._jumping.now


@pytest.fixture(params=["trio", "asyncio"])
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, Mapping[str, Any]]:
    if request.param == "trio":
        return "trio", {"clock": trio.testing.MockClock(autojump_threshold=0.0)}
    return "asyncio", {"loop_factory": _JumpingLoop}
