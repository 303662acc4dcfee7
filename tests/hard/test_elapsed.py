"""What the organism's clock goes on by: the machine's own clock where the event loop has that, whatever the loop says elsewhere."""

from __future__ import annotations

import asyncio
import time

import pytest
import trio
import trio.testing

from organism.pump import runtime


async def _read() -> object:
    return runtime.elapsed(precise=time.perf_counter, steady=time.monotonic)


@pytest.mark.real_clocks
def test_nothing_stands_between_a_reader_and_the_clock_of_the_machine() -> None:
    assert trio.run(_read) is time.perf_counter
    with asyncio.Runner(loop_factory=asyncio.SelectorEventLoop) as runner:
        assert runner.run(_read()) is time.monotonic


@pytest.mark.real_clocks
def test_a_loop_with_another_clock_is_asked() -> None:
    clock = trio.testing.MockClock()
    assert trio.run(_read, clock=clock) == clock.current_time

    class Slow(asyncio.SelectorEventLoop):
        def time(self) -> float:
            return super().time() / 2

    slow = Slow()
    with asyncio.Runner(loop_factory=lambda: slow) as runner:
        assert runner.run(_read()) == slow.time
