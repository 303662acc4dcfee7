"""Summaries by a model: what they cost, when there is none, and what an agent goes on with then."""

from __future__ import annotations

from typing import Any

import pytest

from organism.models.contract import BackendError
from organism.record.calls import call_rows
from organism.record.facts import CallRefused, CallSettled, WarningRaised
from organism.testing import ScriptedModel, running
from tests.agent.compaction_world import WINDOW, Job, Reader, Result, cuts, handlers


def keys(reader: Reader, small: Reader, *, budget: dict[str, Any] | None = None, **compaction: Any) -> dict[str, Any]:
    """An organism whose agent has its history summed up by the alias ``small``."""
    one, two = ScriptedModel(reader), ScriptedModel(small)
    models = {
        "default": one.models(context_window=WINDOW)["default"],
        "small": {**two.models(context_window=WINDOW)["default"], "retries": 0},
    }
    agent = handlers(compaction={"model": "small", **compaction}, prune=None)
    return {"handlers": agent, "models": models, "budget": {"messages": 2_000, **(budget or {})}}


@pytest.mark.by_turns
async def test_a_cheaper_model_sums_up_and_is_charged_to_the_thread_under_a_tag() -> None:
    reader, small = Reader(pages=80), Reader(summary="Pages were read, and line 7 matters.")
    async with running(**keys(reader, small)) as organism:
        result = await (await organism.send("reader", Job("Read all pages."), id="t")).result()
        assert result.reply == Result("read 80 pages")
        made = cuts(organism.watch)
        assert {cut.how for cut in made} == {"model"}
        assert len(made) == small.summaries > 1
        rows = [row for row in call_rows(enumerate(organism.watch.facts, 1)) if row.tags == ("compaction",)]
        assert len(rows) == small.summaries
        assert {row.model for row in rows} == {"small"}
        paid = sum(row.tokens for row in rows)
        assert paid > 0
        assert result.usage.tokens == paid + sum(
            fact.charge.amounts[0] for fact in organism.watch.of(CallSettled) if fact.alias == "default"
        )
        by_tag: Any = organism.usage(by="tag")
        assert by_tag["compaction"].tokens == paid


async def test_the_summary_stands_in_the_prompt_and_its_model_reads_what_it_replaces() -> None:
    reader, small = Reader(pages=40), Reader(summary="Pages were read, and line 7 matters.")
    made = keys(reader, small, prompt="Notes for {{ name }} ({{ description }}) on {{ messages }} in {{ tokens }}.")
    one, two = ScriptedModel(reader), ScriptedModel(small)
    made["models"]["default"] = one.models(context_window=WINDOW)["default"]
    made["models"]["small"] = two.models(context_window=WINDOW)["default"]
    async with running(**made) as organism:
        await (await organism.send("reader", Job("Read all pages."))).result()
        count = cuts(organism.watch)[0].replaced[1]
    request = two.requests[0]
    told, read = request.messages
    assert str(told["content"]) == f"Notes for reader (Reads pages.) on {count} in {request.max_output_tokens}."
    assert 'assistant calls shelf: {"number": 1}' in str(read["content"])
    assert "result: " in str(read["content"])
    assert "Page 3:" in str(read["content"])
    assert not request.tools
    after = next(each for each in one.requests if "summed up" in str(each.messages[2:3]))
    assert str(after.messages[2]["content"]) == (
        f"The conversation so far, summed up ({count} messages):\nPages were read, and line 7 matters."
    )
    if len(two.requests) > 1:
        assert "before: The conversation so far, summed up" in str(two.requests[1].messages[1]["content"])


async def test_a_thread_that_cannot_pay_for_a_summary_gets_extracts_and_no_warning_for_that() -> None:
    reader, small = Reader(pages=30), Reader()
    budget = {"output_tokens": 1_500, "warn_at": [0.99], "runway": 0}
    async with running(**keys(reader, small, budget=budget)) as organism:
        result = await (await organism.send("reader", Job("Read all pages."))).result()
        (cut,) = cuts(organism.watch)[:1]
        assert (cut.how, cut.asked) == ("recap", False)
        assert "output_tokens of the thread" in cut.text
        assert small.sizes == []
        assert organism.watch.of(CallRefused) == []
        assert not [step for fact in organism.watch.facts for step in fact.steps if isinstance(step, WarningRaised)]
        assert result.outcome == "completed"


@pytest.mark.by_turns
async def test_three_failures_open_the_breaker_and_it_tries_again_later() -> None:
    reader = Reader(pages=120)
    small = Reader(summary_error=BackendError("server", "out of order"))
    async with running(**keys(reader, small, at=0.2)) as organism:
        done = await (await organism.send("reader", Job("Read all pages."))).result()
        assert done.outcome == "completed"
        made = cuts(organism.watch)
        asked = [cut.asked for cut in made]
        assert asked[:3] == [True] * 3
        assert {cut.how for cut in made} == {"recap"}
        skipped = [cut for cut in made if not cut.asked]
        assert skipped
        assert all("times in a row" in cut.text for cut in skipped)
        assert any(asked[4:])  # half-open: tried again
        assert "out of order" in made[0].text
        small.summary_error = None
        again = await (await organism.send("reader", Job("Read again."))).result()
        assert again.outcome == "completed"
        assert "model" in {cut.how for cut in cuts(organism.watch)[len(made) :]}


async def test_an_empty_summary_is_none() -> None:
    reader, small = Reader(pages=40), Reader(summary="  ")
    async with running(**keys(reader, small)) as organism:
        done = await (await organism.send("reader", Job("Read all pages."))).result()
        assert done.outcome == "completed"
        (cut, *_) = cuts(organism.watch)
        assert (cut.how, cut.asked, cut.text) == ("recap", True, "model 'small' gave an empty summary")


@pytest.mark.by_turns
async def test_a_level_that_the_summary_crosses_is_told_in_the_very_next_prompt() -> None:
    reader, small = Reader(pages=30), Reader()
    one = ScriptedModel(reader)
    budget = {"tokens": 400_000, "warn_at": {"tokens": []}, "runway": 0}
    made = keys(reader, small, budget=budget)
    made["models"]["default"] = one.models(context_window=WINDOW)["default"]
    async with running(**made) as organism:  # how much is used when the summary has been paid
        await (await organism.send("reader", Job("Read all pages."))).result()
        spent, paid = 0, 0
        for fact in organism.watch.of(CallSettled):
            if fact.alias == "small":
                paid = spent + fact.charge.amounts[0]
                break
            spent += fact.charge.amounts[0]
    assert paid > spent
    reader, small = Reader(pages=30), Reader()
    one = ScriptedModel(reader)
    made = keys(reader, small, budget={**budget, "warn_at": {"tokens": [(spent + paid) // 2]}})
    made["models"]["default"] = one.models(context_window=WINDOW)["default"]
    async with running(**made) as organism:
        await (await organism.send("reader", Job("Read all pages."))).result()
    told = [number for number, each in enumerate(one.requests) if "Budget notice" in str(each.messages[-1])]
    first = next(number for number, each in enumerate(one.requests) if "summed up" in str(each.messages[2:3]))
    assert told == [first]
