"""Honest threads beside fifty handlers that crash, hang, flood, lie and block; ``benchmarks/chaos.py`` is the long form."""

from __future__ import annotations

import pytest

from benchmarks.chaos import HONEST, LATENCY, THREAD_QUEUE, TURNS, chaos
from tests.hard.pump_world import pass_time

ROUNDS = 3


@pytest.mark.by_turns
async def test_honest_threads_are_right_and_in_time_beside_fifty_that_are_not() -> None:
    """Time is virtual: what a turn takes more than its model's calls, it waited for others."""
    figures, wrong = await chaos(ROUNDS, 1, pass_time)
    assert wrong == []
    assert figures["quiet"]["p99"] == pytest.approx(2000 * LATENCY)
    assert figures["facts"]["CallCompleted"] == ROUNDS * HONEST * TURNS * 2
    # What it is about did happen.
    assert min(figures["did"].values()) > 10
    assert len(figures["did"]) == 7
    assert {"Retried", "Buried", "Failed", "Abandoned"} <= figures["facts"].keys()
    assert 0.8 * THREAD_QUEUE < figures["most under way in a thread"] <= THREAD_QUEUE + 5
