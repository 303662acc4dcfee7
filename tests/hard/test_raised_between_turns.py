"""What an agent is told of limits that were raised between its turns (hard case 27)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from organism import Reply
from organism.models.contract import BackendError
from organism.record.facts import Noticed
from organism.testing import Says, ScriptedModel, running
from tests.hard.budget_world import NO_GRACE, Done, Task, agent, asks, code, models, notices, peer, replies

if TYPE_CHECKING:
    from organism import Context
    from organism.models.contract import Request


@pytest.mark.parametrize("raised", [False, True])
@pytest.mark.parametrize("heard", [True, False])
async def test_warnings_of_an_earlier_turn_do_not_stay_in_the_prompt_after_the_limit_was_raised(
    *, heard: bool, raised: bool
) -> None:
    """Hard case 27. A level that was not told yet is told in the next turn, unless the limit was raised beyond it meanwhile."""

    def says(request: Request) -> Says:
        asked = sum(message["role"] == "assistant" for message in request.messages)
        first = len(model.requests) <= (2 if heard else 1)
        if first and heard and asked == 0:
            return Says(calls=(("peer", Task("x")),), usage=(4000, 28_000))
        return replies("done", usage=(4000, 28_000) if first and not heard else (10, 5))

    model = ScriptedModel(says)
    document: dict[str, Any] = {
        "handlers": {"writer": agent(peers=("peer",), max_output_tokens=3000), "peer": code(peer)},
        "models": models(model),
        "budget": {"runway": 0},
        "conversation": {"tokens": 60_000, "warn_at": [0.5], "runway": 0, "grace": NO_GRACE},
    }
    async with running(**document) as organism:
        first = await (await organism.send("writer", Task("go"), conversation="c")).result()
        assert first.outcome == "completed", first.error
        told = [len(notices(request)) for request in model.requests]
        assert told == ([0, 1] if heard else [0])
        if raised:
            conversation = await organism.conversation_of("c")
            assert conversation is not None
            conversation.set_budget(tokens=1_000_000)
        before = len(model.requests)
        second = await (await organism.send("writer", Task("go on"), conversation="c")).result()
        assert second.outcome == "completed", second.error
        third = await (await organism.send("writer", Task("go on"), conversation="c")).result()
        assert third.outcome == "completed", third.error
    later = [len(notices(request)) for request in model.requests[before:]]
    assert later == ([0, 0] if heard or raised else [1, 0])


async def test_a_level_at_a_figure_is_not_told_where_there_is_no_limit_any_more() -> None:
    """A figure stays reached whatever the limit is, and nothing can be said of what is left of none."""

    async def lifted(task: Task, ctx: Context) -> Reply[Done]:
        handle.set_budget(tokens=None)
        return Reply(Done("there is none any more"))

    model = ScriptedModel([asks("peer", usage=(200, 20)), replies(usage=(200, 20))])
    handlers = {"writer": agent(peers=("peer",)), "peer": code(lifted)}
    budget = {"tokens": 100_000, "warn_at": {"tokens": [100]}}
    async with running(handlers=handlers, models=models(model), budget=budget) as organism:
        handle = await organism.send("writer", Task("go"))
        result = await handle.result()
    assert (result.outcome, result.reply) == ("completed", Done("done")), result.error
    assert [len(notices(request)) for request in model.requests] == [0, 0]


async def test_a_prompt_that_is_cut_short_and_sent_again_tells_once_what_an_earlier_turn_left() -> None:
    """What the second sending wrote down once more was of a warning that waited no more, and no process could read it."""

    def says(request: Request) -> Says:
        match len(model.requests):
            case 1:
                return asks("peer", usage=(100, 10))
            case 3:
                return Says(error=BackendError("context", "too long"))
            case _:
                return replies(usage=(300, 10))

    async def tells(task: Task, ctx: Context) -> Reply[Done]:
        return Reply(Done("a word and another one, " * 400))

    model = ScriptedModel(says)
    document: dict[str, Any] = {
        "handlers": {"writer": agent(peers=("peer",), compaction={"keep_turns": 1}), "peer": code(tells)},
        "models": models(model),
        "conversation": {"model_calls": 8, "warn_at": [0.25], "runway": 0, "grace": NO_GRACE},
    }
    async with running(**document) as organism:  # which folds all that is written down
        for _ in range(2):
            result = await (await organism.send("writer", Task("go"), conversation="c")).result()
            assert result.outcome == "completed", result.error
    assert [len(notices(request)) for request in model.requests] == [0, 0, 1, 1]
    assert len(organism.watch.of(Noticed)) == 1
