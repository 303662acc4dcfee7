"""What budgets cost, in figures that no other load changes; ``benchmarks/budget.py`` has the times as well."""

from __future__ import annotations

import pytest

from benchmarks.budget import Crowd, Figures, memory


@pytest.mark.by_turns
async def test_a_thread_with_one_queued_message_takes_two_kilobytes_at_most() -> None:
    figures = Figures()
    await memory(figures, 1000)
    assert figures.missed == []
    assert 0 < figures.found["kernel_bytes"] < figures.found["thread_bytes"] <= 2048


def test_all_who_wait_for_an_account_come_and_go() -> None:
    crowd = Crowd(100)
    crowd.come()
    assert len(crowd.kernel.state.line) == 100
    crowd.go()
    assert [node.held[0] for node in crowd.kernel.state.pools.values()] == [10, 10]
