"""Old results that are left out of prompts: a projection of the history, which keeps them."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from organism.agent.pruning import Boundary, pruned
from organism.agentsettings import Prune
from organism.record.facts import Compacted
from organism.testing import ScriptedModel, running
from tests.agent.compaction_world import Job, Reader, handlers, kept


def call(number: int) -> dict[str, Any]:
    return {"role": "assistant", "content": "", "tool_calls": [{"id": str(number)}]}


def result(number: int, length: int) -> dict[str, Any]:
    return {"role": "tool", "tool_call_id": str(number), "content": "x" * length}


def turns(*lengths: int) -> list[dict[str, Any]]:
    task = [{"role": "user", "content": "x" * 9000}]
    return task + [
        message for number, length in enumerate(lengths) for message in (call(number), result(number, length))
    ]


def place_of(prune: Prune | None, messages: list[dict[str, Any]]) -> int:
    boundary = Boundary(prune)
    for message in messages:
        boundary.add(message)
    return boundary.place


def test_results_behind_the_protected_turns_are_left_out_once_that_saves_enough() -> None:
    prune = Prune(protect_turns=2, min_tokens=1000)
    assert place_of(prune, turns(2000, 2000, 2000)) == 0  # one result would go, which is too little
    assert place_of(prune, turns(2000, 2000, 2000, 2000)) == 0
    three = turns(2000, 2000, 2000, 2000, 2000)
    assert place_of(prune, three) == 7
    seen = pruned(three, 7)
    assert len(seen) == 7
    assert seen[:2] == three[:2]
    assert seen[2] == {
        "role": "tool",
        "tool_call_id": "0",
        "content": "[a result of 2000 characters was here and is left out now; ask again if you need it]",
    }


def test_a_task_an_answer_and_what_is_short_stay() -> None:
    messages = turns(50, 5000, 5000, 0, 0, 0)
    seen = pruned(messages, len(messages))
    assert seen[0] is messages[0]
    assert seen[2] is messages[2]
    assert len(seen[4]["content"]) < 100
    assert len(seen) == len(messages)


def test_without_pruning_everything_is_sent() -> None:
    assert place_of(None, turns(*[5000] * 9)) == 0


@given(st.lists(st.integers(0, 9000), max_size=40), st.integers(1, 5), st.integers(0, 5000))
def test_what_was_left_out_stays_so_and_the_protected_turns_never_are(
    lengths: list[int], protect: int, least: int
) -> None:
    prune = Prune(protect_turns=protect, min_tokens=least)
    found = [place_of(prune, turns(*lengths[:number])) for number in range(len(lengths) + 1)]
    assert found == sorted(found)
    assert all(place <= 1 + 2 * max(0, number - protect) for number, place in enumerate(found))
    messages = turns(*lengths)
    seen = pruned(messages, found[-1])
    saved = sum(len(m["content"]) for m in messages[: found[-1]]) - sum(len(m["content"]) for m in seen)
    assert saved >= 0
    if found[-1] > 1 and least:
        assert saved >= 4 * least


async def test_an_agent_is_sent_less_of_what_it_was_told_long_ago_and_remembers_all_of_it() -> None:
    reader = Reader(pages=30, window=60_000)
    model = ScriptedModel(reader)
    async with running(
        handlers=handlers(lines=40, prune={"protect_turns": 2, "min_tokens": 1000}),
        models=model.models(),
        budget={"messages": 500},
    ) as organism:
        done = await (await organism.send("reader", Job("Read."), conversation="c")).result()
        assert done.outcome == "completed"
        state = kept(organism)
        made = [fact.cut for fact in organism.watch.of(Compacted)]
    assert "Page 1:" in state["message 2"]["content"]
    assert "left out" in model.requests[-1].messages[3]["content"]
    assert {cut.how for cut in made} == {"prune"}
    assert len(made) < 12  # it goes in steps: a prompt mostly begins as the one before it
    assert all(cut.tokens_before - cut.tokens_after > 300 for cut in made)
    assert max(reader.sizes) < 5000
    for request in model.requests:
        whole = [each for each in request.messages if "Page" in str(each["content"])]
        assert len(whole) >= min(2, len(request.messages) // 2 - 1)
