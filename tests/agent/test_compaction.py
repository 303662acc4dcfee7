"""Agents that work longer than their model's window is, through the real pump; only the model follows a script."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from organism.record.facts import Answered, CallHeld, Compacted
from organism.testing import NO_USAGE, Says, ScriptedModel, running
from tests.agent.compaction_world import WINDOW, Job, Reader, Result, cuts, fits, handlers, kept, organism_of

if TYPE_CHECKING:
    from collections.abc import Sequence


@pytest.mark.by_turns
async def test_an_agent_of_200_turns_in_a_small_window_finishes_and_every_prompt_fits() -> None:
    reader = Reader(pages=200)
    async with running(**organism_of(reader)) as organism:
        result = await (await organism.send("reader", Job("Read all pages."))).result()
        assert result.outcome == "completed"
        assert result.reply.text == "read 200 pages"
        made = cuts(organism.watch)
    assert reader.seen == list(range(1, 201))
    assert max(reader.sizes) < WINDOW
    assert len(made) > 3
    assert all(fits(cut) for cut in made)


def asked(model: Any) -> Sequence[Sequence[Any]]:
    """The messages of each request."""
    return [request.messages for request in model.requests]


def parted(messages: Sequence[Any]) -> list[str]:
    """Calls without a result, and results without their call."""
    called = [call["id"] for message in messages for call in message.get("tool_calls") or ()]
    told = [message["tool_call_id"] for message in messages if message["role"] == "tool"]
    return [*(set(called) ^ set(told)), *(["order"] if called != told else [])]


async def test_the_instructions_the_task_and_the_last_turns_stay_and_no_call_is_parted_from_its_result() -> None:
    reader = Reader(pages=60)
    model = ScriptedModel(reader)
    async with running(
        handlers=handlers(compaction={"keep_turns": 3}),
        models=model.models(context_window=WINDOW),
        budget={"messages": 500},
    ) as organism:
        await (await organism.send("reader", Job("Read all pages."))).result()
        assert cuts(organism.watch)
    system, task, *_ = asked(model)[0]
    short = [messages for messages in asked(model) if "cut short" in str(messages[2:3])]
    assert short
    for messages in asked(model):
        assert messages[:2] == (system, task)
        assert parted(messages) == []
    first = next(messages for messages in short if len(messages) == 9)
    assert [message["role"] for message in first[3:]] == ["assistant", "tool"] * 3
    assert 'shelf: {"number": 1}' in str(first[2]["content"])


@pytest.mark.by_turns
async def test_what_is_handled_now_stays_however_long_ago_it_came() -> None:
    reader = Reader(pages=3)
    model = ScriptedModel(reader)
    models = model.models(context_window=WINDOW)
    async with running(handlers=handlers(), models=models, budget={"messages": 500}) as organism:
        await (await organism.send("reader", Job("The first task."), conversation="c")).result()
        before, reader.pages = len(model.requests), 70
        await (await organism.send("reader", Job("The second task."), conversation="c")).result()
        assert len(cuts(organism.watch)) > 1
    for messages in asked(model)[before:]:
        assert [each["role"] for each in messages if "The second task." in str(each["content"])][-1:] == ["user"]
        assert sum(str(each["content"]).startswith("Message:") for each in messages) == 2


async def test_nothing_is_cut_where_it_is_turned_off_or_far_from_the_mark() -> None:
    for keys, pages in (({"compaction": None, "prune": None}, 30), ({}, 5)):
        reader = Reader(pages=pages)
        async with running(**organism_of(reader, **keys)) as organism:
            result = await (await organism.send("reader", Job("Read."))).result()
            assert result.outcome == "completed"
            assert organism.watch.of(Compacted) == []


async def test_without_compaction_a_window_that_is_full_fails_the_agent() -> None:
    reader = Reader(pages=200)
    async with running(**organism_of(reader, compaction=None)) as organism:
        result = await (await organism.send("reader", Job("Read."))).result()
        assert result.outcome == "failed"
        assert "8000 is the most" in (result.error or "")


@pytest.mark.by_turns
async def test_where_no_window_is_known_the_provider_refuses_once_and_what_it_refused_is_the_window_then() -> None:
    reader = Reader(pages=100)
    async with running(**organism_of(reader, window=None, prune=None)) as organism:
        result = await (await organism.send("reader", Job("Read all pages."))).result()
        assert result.reply == Result("read 100 pages")
        made = cuts(organism.watch)
        assert sum(size > WINDOW for size in reader.sizes) == 1
        assert [cut.why for cut in made] == ["context", *["mark"] * (len(made) - 1)]
        assert len(made) > 2
        assert all(cut.tokens_after < cut.tokens_before and cut.window is None for cut in made)
        assert reader.seen == list(range(1, 101))
        assert result.usage.model_calls == len(reader.sizes)


@pytest.mark.parametrize("reports", [NO_USAGE, (0, 20)])
@pytest.mark.by_turns
async def test_a_provider_that_reports_no_usage_is_measured_all_the_same(reports: Any) -> None:
    reader = Reader(pages=100, reports=reports)
    async with running(**organism_of(reader, prune=None)) as organism:
        result = await (await organism.send("reader", Job("Read all pages."))).result()
        assert result.reply == Result("read 100 pages")
        assert {cut.why for cut in cuts(organism.watch)} == {"mark"}
        assert max(reader.sizes) < WINDOW


@pytest.mark.by_turns
async def test_a_window_that_is_smaller_than_was_said_is_met_once() -> None:
    reader = Reader(pages=100)
    async with running(**organism_of(reader, window=60_000, prune=None)) as organism:
        result = await (await organism.send("reader", Job("Read all pages."))).result()
        assert result.reply == Result("read 100 pages")
        assert sum(size > WINDOW for size in reader.sizes) == 1
        assert {cut.why for cut in cuts(organism.watch)} == {"context", "mark"}


@pytest.mark.by_turns
async def test_beyond_the_hard_limit_the_history_is_cut_before_anything_else() -> None:
    reader = Reader(pages=60)
    async with running(**organism_of(reader, prune=None, compaction={"at": 0.5, "hard_limit": 0.5})) as organism:
        result = await (await organism.send("reader", Job("Read all pages."))).result()
        assert result.reply == Result("read 60 pages")
        assert {(cut.why, cut.mark) for cut in cuts(organism.watch)} == {("limit", WINDOW // 2)}


async def test_a_delivery_that_fails_leaves_the_history_as_it_was() -> None:
    reader = Reader(pages=30)
    fails = False

    def script(request: Any) -> Says:
        said = reader(request)
        return Says(calls=(("nobody", {}),)) if fails else said

    model = ScriptedModel(script)
    models = model.models(context_window=WINDOW)
    async with running(handlers=handlers(), models=models, budget={"messages": 2_000}) as organism:
        first = await (await organism.send("reader", Job("Read."), conversation="c")).result()
        assert first.outcome == "completed"
        before = kept(organism)
        made = len(cuts(organism.watch))
        fails = True
        failed = await (await organism.send("reader", Job("Read on. " * 1000), conversation="c")).result()
        assert failed.outcome == "failed"
        assert len(cuts(organism.watch)) > made
        assert kept(organism) == before
        fails, reader.pages = False, 3
        again = await (await organism.send("reader", Job("Read on."), conversation="c")).result()
        assert again.outcome == "completed"


async def test_what_is_replaced_leaves_the_state_and_its_numbers_lead_to_it_in_the_record() -> None:
    reader = Reader(pages=60)
    async with running(**organism_of(reader)) as organism:
        await (await organism.send("reader", Job("Read all pages."), conversation="c")).result()
        state = kept(organism)
        made = cuts(organism.watch)
        numbers = sorted(int(key.split()[1]) for key in state if key.startswith("message "))
        start, behind = made[-1].replaced
        assert numbers == [0, *range(behind, state["count"])]
        assert made[0].replaced[0] == 0
        assert [each.replaced[0] for each in made[1:]] == [each.replaced[1] for each in made[:-1]]
        assert start < behind
        assert len({each.digest for each in made}) == len(made)
        (answered,) = [fact for fact in organism.watch.of(Answered) if fact.handler == "reader"]
        assert len(answered.state) < 40


@pytest.mark.by_turns
async def test_what_is_written_down_grows_with_the_turns_and_not_with_their_square() -> None:
    async def written(pages: int) -> int:
        reader = Reader(pages=pages)
        async with running(**organism_of(reader)) as organism:
            await (await organism.send("reader", Job("Read all pages."))).result()
            held = [fact.prompt for fact in organism.watch.of(CallHeld) if fact.prompt is not None]
            return sum(len(str(prompt.messages)) for prompt in held)

    half, whole = await written(100), await written(200)
    assert whole < 2.4 * half
