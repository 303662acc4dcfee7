"""One row a call: what it needed and took, how the budget stood, what its handler had been told, and how it ended."""

from __future__ import annotations

import re
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
import pytest
from attrs import evolve, fields

from organism import BudgetExhaustedError, Context, ModelError, NotRunningError, Reply
from organism.journal import open_journal
from organism.models.contract import BackendError
from organism.primitives import BudgetDecision, BudgetRequest, BudgetWarning
from organism.record.calls import COLUMNS, CallRow, call_rows
from organism.record.facts import CallCompleted, CallFailed, CallHeld, CallRefused, CallSettled
from organism.replay.forking import fork_in
from organism.testing import Says, ScriptedModel, Watched, running
from tests.durable.inline import Inline
from tests.durable.mortal import WORDS, Mortal
from tests.hard.budget_world import INPUT, NO_GRACE, PROMPT, Done, Task, agent, code, models, replies, spend, spender

if TYPE_CHECKING:
    from collections.abc import Iterable

    from organism.record.facts import Fact

BARE: dict[str, Any] = {"grace": NO_GRACE, "runway": 0}
"""Levels are shares of the whole limit, and nothing else warns."""


def rows_of(organism: Watched) -> tuple[CallRow, ...]:
    """The rows of all that has happened, where it is one chain."""
    return call_rows(enumerate(organism.watch.facts, 1))


def told(rows: Iterable[CallRow]) -> list[tuple[Any, ...]]:
    """What each call's handler had been told, and how many calls ago."""
    return [(row.told_level, row.told_unit, row.told_calls_ago) for row in rows]


async def test_a_row_has_need_and_use_and_the_budget_before_and_after() -> None:
    async def root(task: Task, ctx: Context) -> Reply[Done]:
        await spend(ctx, 100, tags=["first"])
        await ctx.ask("helper", task)
        await spend(ctx, 300)
        return Reply(Done(""))

    async def helper(task: Task, ctx: Context) -> Reply[Done]:
        await spend(ctx, 50)
        return Reply(Done(""))

    handlers = {"root": code(root, peers=("helper",)), "helper": code(helper, budget={"output_tokens": 1000})}
    limits = {"tokens": 1000, "cost_usd": "1", **BARE}
    async with running(handlers=handlers, models=models(spender(seconds=3)), budget=limits) as organism:
        organism.keep_history()
        handle = await organism.send("root", Task("x"), labels={"arm": "a"})
        result = await handle.result()
    first, below, last = rows_of(organism)
    assert (first.thread, first.handler, first.message, first.model) == (handle.id, "root", 1, "default")
    assert (first.outcome, first.attempts, first.backend) == ("ok", 1, "ScriptedModel.backend/scripted")
    assert first.latency == pytest.approx(3)
    assert (first.need_tokens, first.need_input_tokens, first.need_output_tokens) == (100, INPUT, 100 - INPUT)
    assert (first.tokens, first.input_tokens, first.output_tokens) == (100, INPUT, 100 - INPUT)
    assert first.cost_usd == first.need_cost_usd == first.cost_usd_after
    assert (first.tokens_before, first.tokens_after, first.tokens_limit) == (0, 100, 1000)
    assert (first.messages_before, first.messages_limit, first.input_tokens_limit) == (1, 300, None)
    assert (first.tags, first.labels, first.accounts) == (("first",), {"arm": "a"}, ())
    assert (first.nearest_scope, first.nearest_unit, first.nearest_remaining) == ("thread", "messages", 299)
    assert (below.thread, below.handler) == (f"{handle.id}.2", "helper")
    assert (below.output_tokens_before, below.output_tokens_after, below.output_tokens_limit) == (0, 50 - INPUT, 1000)
    assert (below.tokens_before, below.tokens_limit) == (None, None)
    # What was spent below counts above, where it is limited.
    assert (last.tokens_before, last.tokens_after, last.messages_before) == (150, 450, 2)
    assert (last.nearest_unit, last.nearest_remaining, last.nearest_limit) == ("tokens", 850, 1000)
    assert sum(row.tokens for row in (first, below, last)) == result.usage.tokens
    assert sum((row.cost_usd or Decimal(0) for row in (first, below, last)), Decimal(0)) == result.usage.cost_usd


async def test_the_nearest_limit_may_be_an_account_or_the_organism() -> None:
    keys: dict[str, Any] = {"accounts": {"tenant": {"cost_usd": "0.001"}}, "ceiling": {"model_calls": 2}}
    async with (
        running(models=models(spender()), budget={"tokens": 10**6}, **keys) as organism,
        organism.thread(accounts={"tenant": "acme"}) as thread,
    ):
        for tokens in (20, 50):
            await thread.complete(PROMPT, max_output_tokens=tokens)
    near = [(row.nearest_scope, row.nearest_unit, row.nearest_remaining) for row in rows_of(organism)]
    assert near == [("thread", "tokens", 998_000), ("organism", "model_calls", 1)]


async def test_an_agent_was_told_in_a_prompt_and_knows_from_that_call_on() -> None:
    async def helper(task: Task, ctx: Context) -> Reply[Done]:
        return Reply(Done("yes"))

    asks = (("helper", Task("?")),)
    turns = [Says(calls=asks, usage=used) for used in ((3000, 100), (10, 5), (1200, 5))] + [replies(usage=(10, 5))]
    keys: dict[str, Any] = {"budget": {"tokens": 50_000, "warn_at": {"tokens": [3000, 4200]}, **BARE}}
    handlers = {"writer": agent(max_output_tokens=5, min_output_tokens=1, peers=("helper",)), "helper": code(helper)}
    async with running(handlers=handlers, models=models(ScriptedModel(turns), retries=0), **keys) as organism:
        organism.keep_history()
        handle = await organism.send("writer", Task("x"))
        result = await handle.result()
    rows = rows_of(organism)
    assert result.outcome == "completed", result.error
    assert told(rows) == [
        (None, None, None), ("warning", "tokens", 0), ("warning", "tokens", 1), ("final", "tokens", 0),
    ]  # fmt: skip
    assert [rows[1].told_seq, rows[3].told_seq] == [warned.seq for warned in result.warnings]


async def test_code_was_told_by_its_completion_and_counts_from_there() -> None:
    async def root(task: Task | BudgetWarning, ctx: Context) -> Reply[Done] | None:
        if isinstance(task, BudgetWarning):
            return None
        for tokens in (100, 50, 50, 60, 50):
            await spend(ctx, tokens)
        return Reply(Done(""))

    budget = {"tokens": 1000, "warn_at": {"tokens": [100, 260]}, **BARE}
    async with running(handlers={"root": code(root)}, models=models(spender()), budget=budget) as organism:
        await organism.ask("root", Task("x"))
    assert told(rows_of(organism)) == [
        (None, None, None), ("warning", "tokens", 0), ("warning", "tokens", 1), ("warning", "tokens", 2), ("final", "tokens", 0),
    ]  # fmt: skip


async def test_of_several_levels_at_once_the_highest_is_what_was_told() -> None:
    async def root(task: Task, ctx: Context) -> Reply[Done]:
        await spend(ctx, 95)
        with pytest.raises(BudgetExhaustedError):
            await spend(ctx, 95)
        return Reply(Done(""))

    async with running(
        handlers={"root": code(root)}, models=models(spender()), budget={"tokens": 100, **BARE}
    ) as organism:
        await organism.ask("root", Task("x"))
    _, refused = rows_of(organism)
    assert told([refused]) == [("final", "tokens", 0)]
    assert (refused.outcome, refused.attempts, refused.need_tokens, refused.tokens, refused.latency) == (
        "refused", 0, 95, 0, None,
    )  # fmt: skip
    assert (refused.nearest_scope, refused.nearest_unit, refused.nearest_remaining) == ("thread", "tokens", 5)
    assert (refused.tokens_before, refused.tokens_after, refused.tokens_limit) == (95, 95, 100)


async def test_limits_that_were_changed_are_those_of_the_next_call() -> None:
    async with (
        running(models=models(spender()), budget={"tokens": 1000}) as organism,
        organism.thread() as thread,
    ):
        await thread.complete(PROMPT, max_output_tokens=20)
        thread.handle.set_budget(tokens=2000, output_tokens=500)
        await thread.complete(PROMPT, max_output_tokens=20)
    assert [(row.tokens_limit, row.output_tokens_limit) for row in rows_of(organism)] == [(1000, None), (2000, 500)]


async def test_what_was_granted_is_in_the_limit_of_the_next_call() -> None:
    async def root(task: Task, ctx: Context) -> Reply[Done]:
        await spend(ctx, 100)
        assert await ctx.request_budget("tokens", 200, "there is more to do")
        await spend(ctx, 100)
        return Reply(Done(""))

    async def boss(asked: BudgetRequest, ctx: Context) -> Reply[BudgetDecision]:
        return Reply(BudgetDecision(granted=True, unit=asked.unit, amount=asked.amount, reason="fine"))

    handlers = {"root": code(root), "boss": code(boss)}
    budget = {"tokens": 300, "grants_by": "boss", **BARE}
    async with running(handlers=handlers, models=models(spender()), budget=budget) as organism:
        await organism.ask("root", Task("x"))
    assert [(row.tokens_before, row.tokens_limit) for row in rows_of(organism)] == [(0, 300), (100, 500)]


async def many(organism: Watched) -> Any:
    """Calls that end in every way, in one thread, one after the other and at once."""

    async def cut(thread: Any) -> None:
        with anyio.move_on_after(1):
            await thread.complete(PROMPT, model="slow", max_output_tokens=10)

    async with organism.thread(budget={"tokens": 100_000, **BARE}) as thread:
        await thread.complete(PROMPT, max_output_tokens=10)  # once more after an error
        with pytest.raises(ModelError):
            await thread.complete(PROMPT, model="broken", max_output_tokens=10)
        with pytest.raises(BudgetExhaustedError):
            await thread.complete(PROMPT, max_output_tokens=10**6)
        async with anyio.create_task_group() as group:
            for _ in range(3):
                group.start_soon(cut, thread)
        async with thread.stream(PROMPT, max_output_tokens=50) as stream:
            async for _ in stream:
                break
        async with thread.stream(PROMPT, max_output_tokens=50) as stream:
            async for _ in stream:
                pass
    return thread.handle


def every_way() -> dict[str, Any]:
    """Models that answer, fail once before that, fail always, and take too long."""
    first = ScriptedModel(
        lambda _: (
            Says(error=BackendError("cut", "gone", received="xx"))
            if len(first.requests) == 1
            else Says(text="one two three", usage=(INPUT, 7))
        )
    )
    kinds = {
        "default": first,
        "broken": ScriptedModel(lambda _: Says(error=BackendError("rejected", "no"))),
        "slow": spender(seconds=100),
    }
    return {
        alias: models(model)["default"] | {"backends": [models(model)["default"]["backends"][0] | {"model": alias}]}
        for alias, model in kinds.items()
    }


OUTCOMES = [
    ("default", "ok", 2), ("broken", "failed", 1), ("default", "refused", 0), ("slow", "cut", 1), ("slow", "cut", 1),
    ("slow", "cut", 1), ("default", "cut", 1), ("default", "ok", 1),
]  # fmt: skip


async def test_every_call_has_one_row_that_says_how_it_ended() -> None:
    async with running(models=every_way()) as organism:
        handle = await many(organism)
        result = await handle.result()
    rows = rows_of(organism)
    assert [(row.model, row.outcome, row.attempts) for row in rows] == OUTCOMES
    assert [row.seq for row in rows] == sorted(row.seq for row in rows)
    assert rows[0].need_tokens == sum(fact.need[0] for fact in organism.watch.of(CallHeld)[:2])
    assert rows[0].estimated
    assert [row.streamed for row in rows[-2:]] == [True, True]
    assert sum(row.tokens for row in rows) == result.usage.tokens


async def test_records_of_before_give_the_same_rows_as_far_as_they_go() -> None:
    """What facts say only since they are metered is missing in them: it is inferred, or not known."""
    async with running(models=every_way()) as organism:
        await many(organism)
    now = rows_of(organism)
    before = call_rows(
        enumerate([_as_before(fact) for fact in organism.watch.facts if not isinstance(fact, CallFailed)], 1)
    )
    assert [(row.outcome, row.attempts, row.tokens) for row in before if row.outcome != "refused"] == [
        (row.outcome if row.outcome != "failed" else "cut", row.attempts, row.tokens)
        for row in now
        if row.outcome != "refused"
    ]  # a thread without handlers has no delivery whose end tells that a call failed
    assert sum(row.tokens for row in before) == sum(row.tokens for row in now)
    assert {row.nearest_unit for row in before} == {None}


def _as_before(fact: Fact) -> Fact:
    kinds = (CallHeld, CallSettled, CallCompleted, CallRefused)
    if not isinstance(fact, kinds):
        return fact
    new = {"tags", "call", "clamped", "nearest", "attempt", "labels", "accounts", "alias", "backend"}
    optional = {
        each.name: each.default for each in fields(type(fact)) if each.name in new and each.default in (None, ())
    }
    return evolve(fact, **optional)


# Kept, and read again


async def chatter(task: Task, ctx: Context) -> Reply[Done]:
    """Three calls, one after the other."""
    for number in range(3):
        await ctx.complete(f"{task.text} {number}", max_output_tokens=30, tags=[f"n{number}"])
    return Reply(Done(task.text))


def kept(url: str, folder: Path, **keys: Any) -> dict[str, Any]:
    return {
        "handlers": {"chatter": code(chatter)}, "models": models(spender(seconds=1)), "journal": url, "folder": folder,
        "budget": {"tokens": 300, "warn_at": ["0.5"], **BARE}, **keys,
    }  # fmt: skip


@pytest.mark.parametrize("url", ["sqlite:o.db", "jsonl:o"])
async def test_rows_are_there_after_a_restart_also_of_threads_that_ended(tmp_path: Path, url: str) -> None:
    async with Inline(**kept(url, tmp_path)) as organism:
        handle = await organism.send("chatter", Task("x"), id="mine")
        await handle.result()
        before = await handle.calls()
        other = await organism.ask("chatter", Task("y"))
        assert other == Done("y")
    assert [(row.outcome, row.tags) for row in before] == [("ok", (f"n{number}",)) for number in range(3)]
    async with Inline(**kept(url, tmp_path)) as again:
        assert await again.calls("mine") == before
        with pytest.raises(NotRunningError, match="there is no thread 'yours' in the journal"):
            await again.calls("yours")


async def test_a_call_that_its_process_did_not_live_to_hear_is_cut_and_made_again(tmp_path: Path) -> None:
    dying = Mortal(**kept("sqlite:o.db", tmp_path))
    dying.dies_at = lambda fact: isinstance(fact, CallSettled) and fact.tags == ("n1",)
    await dying.start()
    await dying.send("chatter", Task("x"), id="mine")
    await dying.died.wait()
    dying.bury()
    async with Inline(**kept("sqlite:o.db", tmp_path)) as again:
        (handle,) = await again.resume()
        result = await handle.result()
        rows = await again.calls("mine")
    assert [(row.tags, row.outcome, row.estimated) for row in rows] == [
        (("n0",), "ok", False), (("n1",), "cut", True), (("n1",), "ok", False), (("n2",), "ok", False),
    ]  # fmt: skip
    assert sum(row.tokens for row in rows) == result.usage.tokens


async def test_a_turn_knows_what_an_earlier_turn_of_its_conversation_was_told(tmp_path: Path) -> None:
    limits = {"conversation": {"tokens": 250, "warn_at": ["0.3"], **BARE}, "budget": {**BARE}}
    async with Inline(**kept("sqlite:o.db", tmp_path, **limits)) as organism:
        await organism.ask("chatter", Task("x"), conversation="c")
        with pytest.raises(Exception, match="tokens"):
            await organism.ask("chatter", Task("y"), conversation="c")
        rows = await organism.calls("conversation:c")
    assert [row.conversation for row in rows] == ["c"] * len(rows)
    assert len({row.thread for row in rows}) == 2
    assert [row.told_calls_ago for row in rows][:5] == [None, None, 0, 1, 2]


async def test_in_memory_rows_are_there_while_the_thread_lives() -> None:
    async def root(task: Task, ctx: Context) -> Reply[Done]:
        await spend(ctx, 40)
        seen.extend(await organism.calls(ctx.thread))
        return Reply(Done(""))

    seen: list[CallRow] = []
    async with running(handlers={"root": code(root)}, models=models(spender())) as organism:
        with pytest.raises(NotRunningError, match=r"keep_history\(\)"):
            await organism.calls("nobody")
        organism.keep_history()
        handle = await organism.send("root", Task("x"))
        await handle.result()
        with pytest.raises(NotRunningError, match=r"call keep_history\(\) before it begins"):
            await handle.calls()
    assert [row.tokens for row in seen] == [40]


async def test_a_row_as_json_has_every_column_in_order() -> None:
    async with running(models=models(spender())) as organism, organism.thread(labels={"a": "b"}) as thread:
        await thread.complete(PROMPT, max_output_tokens=20, tags=["t"])
    (row,) = rows_of(organism)
    made = row.as_json()
    assert tuple(made) == COLUMNS
    assert (made["tags"], made["labels"], made["accounts"], made["cost_usd"]) == (
        ["t"], {"a": "b"}, [], format(row.cost_usd or Decimal(0), "f"),
    )  # fmt: skip


async def test_calls_that_a_fork_copied_are_rows_of_its_origin_alone(tmp_path: Path) -> None:
    document = kept("sqlite:o.db", tmp_path, budget={"tokens": 1000, **BARE})
    async with Inline(**document) as organism:
        await organism.ask("chatter", Task("x"), id="mine")
    journal = open_journal("sqlite:o.db", folder=tmp_path, vocabulary=WORDS)
    answered = [number for number, fact in enumerate(journal.read("mine"), 1) if isinstance(fact, CallCompleted)]
    fork_in(journal, "mine", "other", entries=answered[1])
    journal.close()
    async with Inline(**document) as again:
        (handle,) = await again.resume()
        handle.resume()
        await handle.result()
        (row,) = await handle.calls()
        whole: Any = again.usage()
        rows = (*await again.calls("mine"), row)
    assert (row.thread, row.tags, row.tokens_before) == ("other", ("n2",), sum(each.tokens for each in rows[:2]))
    assert sum(each.tokens for each in rows) == whole.tokens


def test_the_reference_tells_every_column() -> None:
    page = (Path(__file__).parents[2] / "docs" / "reference" / "calls.md").read_text("utf-8")
    cells = re.findall(r"^\| (`\w+`(?:, `\w+`)*) \|", page, re.MULTILINE)
    assert tuple(re.findall(r"\w+", " ".join(cells))) == COLUMNS
