"""What an agent was told is part of the record: a replay makes the same notices again, and shows where other ones would be made."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import anyio
import pytest

from organism import Context, Reply
from organism.testing import Says, ScriptedModel
from tests.hard.budget_world import Done, agent, asks, code, models, peer, replies
from tests.hard.budget_world import Task as Job
from tests.replay.replay_world import Recorded

if TYPE_CHECKING:
    from pathlib import Path

    from organism import Organism, ThreadResult

ARMS: dict[str, Any] = {
    "true": {}, "none": {"figures": "none"}, "placebo": {"figures": "placebo"}, "untold": {"deliver": False},
    "words": {"warning": "{{ used }} of {{ limit }}"},
}  # fmt: skip
BUDGET = {"tokens": 100_000, "runway": 0, "messages": 4}


def crossing() -> ScriptedModel:
    """Crosses a level, runs out of messages, and answers."""
    three = tuple(("peer", Job(text)) for text in ("one", "two", "three"))
    return ScriptedModel([asks("peer", usage=(100, 73_910)), Says(calls=three, usage=(100, 10)), replies()])


def written(notices: Any, model: ScriptedModel) -> dict[str, Any]:
    handlers = {"writer": agent(peers=("peer",), notices=notices), "peer": code(peer)}
    return {"handlers": handlers, "models": models(model), "budget": BUDGET}


@pytest.mark.parametrize("arm", ARMS)
def test_every_arm_replays_word_by_word(tmp_path: Path, arm: str) -> None:
    world = Recorded(tmp_path, **written(ARMS[arm], crossing()))
    result = world.send("writer", Job("go"))
    assert (result.outcome, result.unit) == ("exhausted", "messages")
    replayed = world.replay()
    assert replayed.differences == ()
    assert replayed.calls == 3


def test_a_replay_shows_where_another_arm_begins(tmp_path: Path) -> None:
    world = Recorded(tmp_path, **written({}, crossing()))
    world.send("writer", Job("go"))
    replayed = world.replay(**written({"figures": "none"}, crossing()))
    assert replayed.differences
    assert "74010 of 100000 tokens are used" in str(replayed.differences)
    assert "The tokens of the thread are running low" in str(replayed.differences)


def test_a_loop_replays_to_its_stop(tmp_path: Path) -> None:
    keys = written({}, ScriptedModel([asks("peer")]))
    world = Recorded(tmp_path, **{**keys, "budget": {}, "loops": {"repeats": 3, "within": 9}})
    assert world.send("writer", Job("go")).outcome == "stopped"
    assert world.replay().differences == ()


def test_an_agent_that_heeds_a_loop_replays(tmp_path: Path) -> None:
    model = ScriptedModel([*[asks("peer")] * 3, Says(calls=(("reply", {"text": "enough"}),))])
    world = Recorded(tmp_path, **{**written({}, model), "budget": {}, "loops": {"repeats": 3, "within": 9}})
    assert world.send("writer", Job("go")).outcome == "completed"
    assert world.replay().differences == ()


async def slow(task: Job, ctx: Context) -> Reply[Done]:
    """Takes a second."""
    await anyio.sleep(1)
    return Reply(Done(task.text))


def test_a_thread_goes_on_in_its_replay_where_its_account_was_given_more(tmp_path: Path) -> None:
    model = ScriptedModel([asks("peer", usage=(500, 410)), asks("peer", usage=(500, 400)), replies()])
    world = Recorded(
        tmp_path,
        handlers={"writer": agent(peers=("peer",)), "peer": code(slow)},
        models=models(model),
        accounts={"tenant": {"tokens": 1000}},
    )

    async def work(organism: Organism) -> ThreadResult:
        handle = await organism.send("writer", Job("go"), id="t", accounts={"tenant": "acme"})
        await anyio.sleep(0.5)
        organism.account_of("tenant:acme").add_budget(tokens=5000)
        return await handle.result()

    result = world.run(work)
    assert result.outcome == "completed"
    assert result.usage.tokens > 1000
    assert {each.scope for each in result.warnings} == {"account"}
    replayed = world.replay()
    assert (replayed.calls, replayed.differences) == (3, ())
