"""What backends reported outlives the process: a conversation that is taken up holds for its next call what it would have held before."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from organism.record.facts import CallHeld
from organism.testing import Says, ScriptedModel, running
from tests.durable.turns_world import Heard, Say, killed, sqlite, turn

if TYPE_CHECKING:
    from pathlib import Path

    from organism.models.contract import Request
    from organism.testing import Watched

pytestmark = pytest.mark.anyio
LONG = "A lighthouse keeper writes down every ship that comes by. " * 10


def lean(request: Request) -> Says:
    """Answers at a tenth of the tokens that its prompt would be held at."""
    size = sum(len(str(each)) for each in request.messages)
    return Says(calls=(("reply", Heard("Noted.")),), usage=(size // 15, 20))


def document(**keys: Any) -> dict[str, Any]:
    agent = {"accepts": Say, "replies": Heard, "prompt": "You keep a log. " * 50, "max_output_tokens": 100}
    handlers = {"agent": {"agent": agent, "description": "Keeps a log."}}
    return {"handlers": handlers, "models": ScriptedModel(lean).models(), **keys}


def held(organism: Watched) -> list[int]:
    """The tokens that were held for each call."""
    return [fact.need[1] for fact in organism.watch.facts if isinstance(fact, CallHeld)]


async def uninterrupted(folder: Path, turns: int) -> list[int]:
    async with running(sqlite(folder, **document())) as organism:
        for _ in range(turns):
            await turn(organism, "agent", LONG)
        return held(organism)


@pytest.mark.parametrize("how", ["closed", "killed", "after a snapshot", "two restarts"])
async def test_a_turn_in_another_process_holds_no_more_than_in_the_one_before(tmp_path: Path, how: str) -> None:
    expected = await uninterrupted(tmp_path / "whole", 4)
    assert expected[3] < 2 * expected[0]  # what is sent again is held at what it did cost
    home = tmp_path / "home"
    async with running(sqlite(home, **document())) as organism:
        for _ in range(3):
            await turn(organism, "agent", LONG)
        if how == "after a snapshot":
            organism.kernel.snapshot("conversation:c", 0.0)
        left = killed(home, "left") if how == "killed" else home
    if how == "two restarts":
        async with running(sqlite(left, **document()), check=False) as organism:
            await turn(organism, "agent", LONG, conversation="another")
    async with running(sqlite(left, **document()), check=False) as organism:
        await turn(organism, "agent", LONG)
        assert held(organism) == expected[3:]
