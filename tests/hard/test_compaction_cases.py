"""Hard cases of compaction: what is too large to be cut, what is not worth it, and what must not be disturbed by it."""

from __future__ import annotations

from typing import Any

import pytest

from organism.record.facts import CallHeld, Compacted, WarningRaised
from organism.testing import Says, ScriptedModel, running
from tests.agent.compaction_world import WINDOW, Job, Page, Reader, Result, cuts, handlers, kept, organism_of


async def test_one_giant_message_fails_its_agent_before_any_call_and_says_what_is_too_large() -> None:
    reader = Reader()
    async with running(**organism_of(reader)) as organism:
        result = await (await organism.send("reader", Job("word " * 20_000))).result()
        assert result.outcome == "failed"
        assert result.error is not None
        assert "the message that it handles has 100" in result.error
        assert "model 'default' takes 8000 tokens" in result.error
        assert "send less, or use a model with a longer context" in result.error
        assert reader.sizes == []
        assert organism.watch.of(Compacted) == []
        assert result.usage.tokens == 0


async def test_a_giant_message_that_only_its_provider_knows_to_be_too_long_is_asked_for_once() -> None:
    reader = Reader()
    async with running(**organism_of(reader, window=None)) as organism:
        result = await (await organism.send("reader", Job("word " * 20_000))).result()
        assert result.outcome == "failed"
        assert "the message that it handles has 100" in (result.error or "")
        assert "takes less" in (result.error or "")
        assert len(reader.sizes) == 1
        assert organism.watch.of(Compacted) == []


async def test_an_estimate_alone_is_no_alarm_where_the_prompt_may_fit() -> None:
    """Held is more than is meant: a prompt that is a bit beyond the limit by that, is sent."""
    reader = Reader(pages=1)
    async with running(**organism_of(reader)) as organism:
        result = await (await organism.send("reader", Job("antidisestablishment " * 900))).result()
        assert result.outcome == "completed"
        first = organism.watch.of(CallHeld)[0]
        assert first.need[1] > 0.9 * WINDOW
        assert max(reader.sizes) < WINDOW


async def test_fewer_turns_than_are_kept_have_their_long_results_cut_and_go_on() -> None:
    reader = Reader(pages=2)
    async with running(**organism_of(reader, lines=2_000, tool_output={"max_bytes": 10**6})) as organism:
        result = await (await organism.send("reader", Job("Read two long pages."))).result()
        assert result.outcome == "completed"
        made = cuts(organism.watch)
        assert [cut.how for cut in made] == ["cut"] * len(made)
        assert 1 <= len(made) <= 2
        assert {cut.why for cut in made} == {"limit"}
        assert all(cut.longest and cut.replaced == (0, 0) and cut.tokens_after <= 0.9 * WINDOW for cut in made)
        assert reader.seen == [1, 2]
        assert max(reader.sizes) < WINDOW


async def test_what_frees_too_little_is_not_done_again_and_again() -> None:
    """A task that fills the prompt up to the mark: each turn is beyond it, and little can go."""
    reader = Reader(pages=40)
    async with running(**organism_of(reader, lines=2)) as organism:
        result = await (await organism.send("reader", Job("word " * 3_700))).result()
        assert result.outcome == "completed"
        made = cuts(organism.watch)
        assert len(made) < 6
        assert sum(size > 0.6 * WINDOW for size in reader.sizes) > 25
        assert max(reader.sizes) < WINDOW
        assert reader.seen == list(range(1, 41))


async def test_results_that_are_all_too_long_are_met_one_by_one() -> None:
    reader = Reader(pages=12)
    async with running(**organism_of(reader, lines=400)) as organism:
        result = await (await organism.send("reader", Job("Read long pages."))).result()
        assert result.outcome == "completed"
        assert reader.seen == list(range(1, 13))
        made = cuts(organism.watch)
        assert len(made) <= 13
        assert max(reader.sizes) < WINDOW


async def test_a_provider_that_refuses_whatever_it_is_sent_is_asked_twice() -> None:
    reader = Reader(pages=20)
    asked = 0

    def script(request: Any) -> Says:
        nonlocal asked
        asked += 1
        if asked > 6:
            reader.window = 10
        return reader(request)

    model = ScriptedModel(script)
    async with running(handlers=handlers(), models=model.models(), budget={"messages": 500}) as organism:
        result = await (await organism.send("reader", Job("Read."))).result()
        assert result.outcome == "failed"
        assert "cannot be cut any shorter" in (result.error or "")
        assert asked == 8
        (cut,) = cuts(organism.watch)
        assert cut.why == "context"


@pytest.mark.by_turns
async def test_limits_and_their_levels_stand_through_compactions() -> None:
    reader = Reader(pages=120)
    keys = organism_of(reader)
    keys["budget"] = {"messages": 2_000, "tokens": 900_000, "warn_at": {"tokens": [0.1, 0.2, 0.3]}, "runway": 0}
    model = ScriptedModel(reader)
    keys["models"] = model.models(context_window=WINDOW)
    async with running(**keys) as organism:
        result = await (await organism.send("reader", Job("Read all pages."))).result()
        assert result.outcome == "completed"
        assert len(cuts(organism.watch)) > 2
        levels = [step for fact in organism.watch.facts for step in fact.steps if isinstance(step, WarningRaised)]
        assert [each.level for each in levels if each.unit == "tokens"] == ["warning", "critical", "final"]
        assert result.usage.tokens > 270_000
    noticed = [
        str(each.messages[-1]["content"]) for each in model.requests if "Budget notice" in str(each.messages[1:])
    ]
    assert len(noticed) == 3
    assert all(text.startswith("Budget notice") for text in noticed)  # each once, at its place, and in no recap


@pytest.mark.by_turns
async def test_a_thread_that_runs_out_after_compactions_still_answers_on_grace() -> None:
    reader = Reader(pages=500)

    def script(request: Any) -> Says:
        if [tool.name for tool in request.tools] == ["reply"]:
            return Says(calls=(("reply", Result("what there is")),))
        return reader(request)

    keys = organism_of(reader, prune=None)
    keys["models"] = ScriptedModel(script).models(context_window=WINDOW)
    keys["budget"] = {"messages": 3_000, "tokens": 600_000}
    async with running(**keys) as organism:
        result = await (await organism.send("reader", Job("Read all pages."))).result()
        assert (result.outcome, result.unit) == ("exhausted", "tokens")
        assert result.reply == Result("what there is")
        assert len(cuts(organism.watch)) > 2


@pytest.mark.by_turns
async def test_a_conversation_is_cut_short_between_its_turns_where_that_costs_nothing() -> None:
    reader = Reader(pages=2)
    async with running(**organism_of(reader, lines=40)) as organism:
        for _ in range(40):
            done = await (await organism.send("reader", Job("Read two pages."), conversation="c")).result()
            assert done.outcome == "completed"
        made = cuts(organism.watch)
        assert {cut.why for cut in made} <= {"over", "mark"}
        assert "over" in {cut.why for cut in made}
        state = kept(organism)
        assert len(state) < 60
        assert state["count"] > 250
        assert max(reader.sizes) < WINDOW


@pytest.mark.by_turns
async def test_a_conversation_that_goes_on_in_a_fresh_one_takes_its_recap_along() -> None:
    reader = Reader(pages=2)
    model = ScriptedModel(reader)
    async with running(
        handlers=handlers(lines=40),
        models=model.models(context_window=WINDOW),
        conversation={"messages": 100, "on_cap": "rotate"},
    ) as organism:
        names = []
        for number in range(40):
            handle = await organism.send("reader", Job(f"Task {number}."), conversation="c")
            names.append((await handle.result()).conversation)
        assert cuts(organism.watch)
        assert len(set(names)) > 1
    fresh = next(number for number, name in enumerate(names) if name != "c")
    first = next(each for each in model.requests if f"Task {fresh}." in str(each.messages[-1]))
    assert len(first.messages) == 3
    assert "cut short" in str(first.messages[1]["content"])
    assert f"Task {fresh - 1}." in str(first.messages[1]["content"])


async def test_a_sub_threads_agent_and_its_caller_are_cut_each_for_itself() -> None:
    caller = Reader(pages=30)
    made = {
        "boss": {
            "agent": {"accepts": Job, "replies": Result, "max_turns": 200, "max_output_tokens": 300},
            "description": "Has it read.",
            "peers": ["shelf", "reader"],
        },
        **handlers(),
    }
    turns = 0

    def script(request: Any) -> Says:
        nonlocal turns
        turns += 1
        if "boss" in str(request.messages[0]["content"])[:30]:
            if turns == 1:
                return Says(calls=(("reader", Job("Read.")), ("shelf", Page(1))), usage=(400, 20))
            return Says(calls=(("reply", Result("done")),), usage=(400, 20))
        return caller(request)

    made["reader"]["budget"] = {"tokens": 300_000}
    async with running(
        handlers=made, models=ScriptedModel(script).models(context_window=WINDOW), budget={"messages": 500}
    ) as organism:
        result = await (await organism.send("boss", Job("Have it read."))).result()
        assert result.reply == Result("done")
        facts = [fact for fact in organism.watch.of(Compacted) if fact.cut.how != "prune"]
        assert facts
        assert {fact.handler for fact in facts} == {"reader"}
        assert all("." in fact.thread for fact in facts)
