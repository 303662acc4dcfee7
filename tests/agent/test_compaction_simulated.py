"""A long conversation with the simulated model, whose window is small and real: it refuses what is longer."""

from __future__ import annotations

import pytest

from organism import Context, Reply
from organism.testing import running
from tests.agent.compaction_world import Job, Page, Result, Text, cuts, fits, kept

WINDOW = 8_000
TURNS = 200


async def shelf(page: Page, ctx: Context) -> Reply[Text]:
    """Has the page of a number."""
    return Reply(Text(f"Page {page.number} tells of river {page.number * 7} and its bridge. " * 24))


@pytest.mark.by_turns
async def test_200_turns_with_the_simulated_model_end_well_and_stay_below_the_mark() -> None:
    agent = {"accepts": Job, "replies": Result, "max_output_tokens": 300}
    backend = {"provider": "simulated", "model": "sim-1", "options": {"context_window": WINDOW}}
    async with running(
        handlers={
            "reader": {"agent": agent, "description": "Reads pages.", "peers": ["shelf"]},
            "shelf": {"code": shelf, "description": "Has pages."},
        },
        models={"default": {"backends": [backend], "max_output_tokens": 300}},
        conversation={"messages": 5_000},
    ) as organism:
        for number in range(TURNS):
            handle = await organism.send("reader", Job(f"What does page {number} tell?"), conversation="c")
            result = await handle.result()
            assert result.outcome == "completed", (number, result.error)
        made = cuts(organism.watch)
        state = kept(organism)
    assert len(made) > 2
    assert all(fits(cut) for cut in made)
    assert {cut.why for cut in made} <= {"over", "mark"}
    assert len(state) < 150
