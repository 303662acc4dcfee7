"""What backends reported outlives the process: a conversation that is taken up holds for its next call what it would have held before."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from organism import Context, NotRunningError, Reply
from organism.record.facts import CallHeld
from organism.testing import Says, ScriptedModel, Watched, running
from tests.durable.turns_world import Heard, Say, code, killed, sqlite, turn

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from organism.models.contract import Request

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
@pytest.mark.by_turns
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


def ever_looking(request: Request) -> Says:
    """Looks something up as long as it may, at a tenth of what its prompt would be held at."""
    size = sum(len(str(each)) for each in request.messages)
    called = ("look", Say(LONG)) if len(request.tools) > 1 else ("reply", Heard("What I have."))
    return Says(calls=(called,), usage=(size // 15, 20))


def looking(look: Callable[[], object]) -> dict[str, Any]:
    """An agent that never has enough. ``look`` is called whenever it looks something up."""

    async def peer(say: Say, ctx: Context) -> Reply[Heard]:
        look()
        return Reply(Heard(LONG))

    handlers = document()["handlers"]
    handlers["agent"]["peers"] = ["look"]
    return document(
        handlers={**handlers, "look": code(peer, effects="context")},
        models=ScriptedModel(ever_looking).models(),
        budget={"tokens": 3500},
    )


@pytest.mark.parametrize("how", ["killed", "after a snapshot"])
async def test_a_prompt_that_is_cut_for_an_answer_on_grace_is_known_again(tmp_path: Path, how: str) -> None:
    async with running(sqlite(tmp_path / "whole", **looking(lambda: None))) as organism:
        thread = await organism.send("agent", Say(LONG))
        assert (await thread.result()).reply == Heard("What I have.")
        turns = len(held(organism)) - 1
    home = tmp_path / "home"
    places: list[Path] = []
    looked: list[int] = []

    def look() -> None:
        looked.append(len(looked))
        if len(looked) == turns:
            if how == "after a snapshot":
                organism.kernel.snapshot("t", 0.0)
            places.append(killed(home, "left"))

    async with running(sqlite(home, **looking(look))) as organism:
        await (await organism.send("agent", Say(LONG), id="t")).result()
    async with running(sqlite(places[0], **looking(lambda: None)), check=False) as organism:
        (thread,) = await organism.resume()
        result = await thread.result()
    # Its next turn is refused there as it was here, and what is kept back bears the last one as it did here.
    assert (result.outcome, result.reply) == ("exhausted", Heard("What I have."))


async def test_an_organism_that_learns_from_another_holds_its_first_call_as_that_one_would() -> None:
    async with running(**document()) as first:
        for _ in range(2):
            await first.ask("agent", Say(LONG))
    learning = Watched(name="test", **document())
    learning.learn_from(first)
    async with running(learning):
        await learning.ask("agent", Say(LONG))
        with pytest.raises(NotRunningError, match="has started: let it learn from others before that"):
            learning.learn_from(first)
    assert held(first)[0] > 5 * held(first)[1]
    assert held(learning) == [held(first)[1]]


async def test_organisms_that_learn_from_each_other_in_a_chain_learn_together() -> None:
    first, second, third = (Watched(name=name, **document()) for name in ("first", "second", "third"))
    first.learn_from(second)
    second.learn_from(third)
    third.learn_from(first)  # they do already
    async with running(third):
        for _ in range(2):
            await third.ask("agent", Say(LONG))
    async with running(first):
        await first.ask("agent", Say(LONG))
    async with running(second):
        await second.ask("agent", Say(LONG))
    assert held(third)[0] > 5 * held(third)[1]
    assert held(first) == held(second) == [held(third)[1]]


@pytest.mark.parametrize("knows", [0, 1], ids=["the one that is joined", "the one that joins"])
async def test_whoever_joins_a_group_knows_what_one_of_it_has_learned(knows: int) -> None:
    pair = [Watched(name=name, **document()) for name in ("left", "right")]
    async with running(**document()) as first:
        for _ in range(2):
            await first.ask("agent", Say(LONG))
    pair[knows].learn_from(first)
    pair[0].learn_from(pair[1])
    for each in pair:
        async with running(each):
            await each.ask("agent", Say(LONG))
        assert held(each) == [held(first)[1]]


async def test_groups_that_have_both_started_stay_apart() -> None:
    new = Watched(name="new", **document())
    async with running(**document()) as first, running(**document()) as second:
        new.learn_from(first)
        new.learn_from(first)
        with pytest.raises(NotRunningError, match="organism 'new' learns together with one that has started"):
            new.learn_from(second)
