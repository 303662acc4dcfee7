"""Agents and callers are told of budgets: in the very next prompt, with true figures, and nobody is refused unwarned."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from organism import BudgetExhaustedError, Context, HandlerFailedError, Reply, Send
from organism.primitives import BudgetWarning
from organism.record.facts import CallHeld
from organism.testing import Says, ScriptedModel, running
from tests.hard.budget_world import (
    ALL,
    PROMPT,
    Done,
    Task,
    agent,
    asks,
    code,
    levels,
    models,
    notices,
    outcome,
    peer,
    replies,
    said_to,
    spend,
    spender,
)

if TYPE_CHECKING:
    from pathlib import Path

    from organism.models.contract import Request

BIG = {"tokens": 100_000, "runway": 0}
"""A budget with a working limit of 98,000 tokens and levels at 73,500, 88,200 and 93,100."""


async def test_an_agent_is_told_in_its_very_next_prompt_once_and_never_again() -> None:
    model = ScriptedModel(
        [
            asks("peer", usage=(100, 73_910)),  # crosses the first level
            asks("peer", usage=(100, 10)),
            asks("peer", usage=(100, 14_910)),  # the second
            replies(usage=(100, 10)),
        ]
    )
    handlers = {"writer": agent(peers=("peer",)), "peer": code(peer)}
    async with running(handlers=handlers, models=models(model), budget=BIG) as organism:
        result = await outcome(organism, "writer")
    assert (result.outcome, result.reply) == ("completed", Done("done"))
    told = [notices(request) for request in model.requests]
    assert [len(each) for each in told] == [0, 1, 0, 1]
    assert told[1][0].startswith("Budget notice: warning.")
    assert "74010 of 100000 tokens are used; 23990 tokens of the thread are left" in told[1][0]
    assert told[3][0].startswith("Budget notice: critical.")
    # A notice is the last that the prompt says, and no part of the history.
    assert said_to(model.requests[1])[-1] == told[1][0]
    assert [each for each in said_to(model.requests[2]) if "74010" in each] == []
    assert [(warned.level, warned.to) for warned in result.warnings] == [("warning", "writer"), ("critical", "writer")]
    # It declares another payload class, and was called with that alone.
    assert result.usage.messages == 4


async def test_one_notice_tells_of_all_levels_of_a_call_and_carries_the_highest() -> None:
    model = ScriptedModel([asks("peer", usage=(100, 89_900)), replies(usage=(100, 10))])
    handlers = {"writer": agent(peers=("peer",)), "peer": code(peer)}
    async with running(handlers=handlers, models=models(model), budget={**BIG, "model_calls": 10}) as organism:
        result = await outcome(organism, "writer")
    (notice,) = notices(model.requests[1])
    assert notice.startswith("Budget notice: critical.")
    assert notice.count("90000 of 100000") == 1
    assert levels(result) == ["warning", "critical"]


async def test_a_notice_has_the_figures_of_the_instant_it_is_read() -> None:
    """Between the call that crossed and the next prompt a peer spends as well."""

    async def costly(task: Task, ctx: Context) -> Reply[Done]:
        """Spends."""
        await spend(ctx, 2000)
        return Reply(Done("spent"))

    def script(request: Request) -> Says:
        if said_to(request) == [PROMPT]:
            return Says(text="ok", usage=(1000, 1000))
        return replies() if notices(request) else asks("costly", usage=(100, 73_900))

    model = ScriptedModel(script)
    handlers = {"writer": agent(peers=("costly",)), "costly": code(costly)}
    async with running(handlers=handlers, models=models(model), budget=BIG) as organism:
        result = await outcome(organism, "writer")
    (notice,) = notices(model.requests[-1])
    assert "76000 of 100000 tokens are used; 22000 tokens" in notice
    # The row tells of the instant at which the level was crossed.
    assert [(warned.used, warned.to) for warned in result.warnings] == [(74_000, "writer")]


async def test_the_handler_whose_call_crossed_is_told_and_nobody_else() -> None:
    model = ScriptedModel(
        [
            asks("b", usage=(100, 0)),
            asks("peer", usage=(100, 79_900)),  # b crosses
            replies("b", usage=(100, 0)),
            replies("a", usage=(100, 0)),
        ]
    )
    handlers = {"a": agent(peers=("b",)), "b": agent(peers=("peer",)), "peer": code(peer)}
    async with running(handlers=handlers, models=models(model), budget=BIG) as organism:
        result = await outcome(organism, "a")
    assert [len(notices(request)) for request in model.requests] == [0, 0, 1, 0]
    assert [warned.to for warned in result.warnings] == ["b"]


async def test_a_level_crossed_by_the_last_call_is_recorded_and_told_to_nobody() -> None:
    model = ScriptedModel([replies(usage=(100, 89_900))])
    async with running(handlers={"writer": agent()}, models=models(model), budget=BIG) as organism:
        result = await outcome(organism, "writer")
    assert [(warned.level, warned.to) for warned in result.warnings] == [("warning", None), ("critical", None)]
    assert [row["to"] for row in result.as_json()["warnings"]] == [None, None]


async def test_a_warning_of_the_ceiling_names_the_ceiling() -> None:
    model = ScriptedModel([asks("peer", usage=(100, 7_900)), replies(usage=(100, 0))])
    handlers = {"writer": agent(peers=("peer",)), "peer": code(peer)}
    settings: dict[str, Any] = {"ceiling": {"tokens": 10_000}, "budget": {"runway": 0}}
    async with running(handlers=handlers, models=models(model), **settings) as organism:
        result = await outcome(organism, "writer")
    (notice,) = notices(model.requests[1])
    assert "8000 of 10000 tokens are used; 2000 tokens of the organism are left" in notice
    assert [(warned.scope, warned.to) for warned in result.warnings] == [("organism", "writer")]


async def test_a_warning_has_the_figures_of_the_node_that_crossed() -> None:
    """Two sub-threads, one in the other, and the outer one crosses by the inner one's call."""
    model = ScriptedModel(
        [
            asks("inner", usage=(100, 0)),
            asks("peer", usage=(100, 79_800)),
            replies("inner", usage=(100, 0)),
            replies("outer", usage=(100, 0)),
        ]
    )

    async def boss(task: Task, ctx: Context) -> Reply[Done]:
        return Reply(await ctx.ask("outer", task, expect=Done))

    handlers = {
        "boss": code(boss, peers=("outer",)),
        "outer": agent(peers=("inner",), budget={"tokens": 100_000}),
        "inner": agent(peers=("peer",), budget={"tokens": 200_000}),
        "peer": code(peer),
    }
    async with running(handlers=handlers, models=models(model), budget={"runway": 0}) as organism:
        result = await outcome(organism, "boss")
    (notice,) = notices(model.requests[2])
    assert "80000 of 100000 tokens are used; 18000 tokens of the sub-thread are left" in notice
    assert [(warned.limit, warned.scope, warned.to) for warned in result.warnings] == [(100_000, "sub-thread", "inner")]


async def test_wordings_are_files_over_the_fields_with_plain_numbers(tmp_path: Path) -> None:
    wording = tmp_path / "warning.md"
    wording.write_text(
        "{{ level }} {{ unit }} {{ threshold }} {{ used + 1 }}/{{ limit }} left {{ remaining }} calls {{ calls_left }} "
        "held {{ held }} {{ scope }}: {{ text }}"
    )
    model = ScriptedModel([asks("peer", usage=(100, 73_900)), asks("peer", usage=(100, 14_900)), replies()])
    writer = agent(peers=("peer",), notices={"warning": str(wording)})
    handlers = {"writer": writer, "peer": code(peer)}
    async with running(handlers=handlers, models=models(model), budget=BIG) as organism:
        await outcome(organism, "writer")
    # "calls" is how many calls like the last one fit, by the unit that has the least of them.
    text = "74000 of 100000 tokens are used; 24000 tokens of the thread are left, enough for about 0 more calls like the last."
    said = said_to(model.requests[1])[-1]
    assert said == f"warning tokens 0.75 74001/100000 left 24000 calls 0 held 0 thread: {text}"
    assert said_to(model.requests[2])[-1].startswith("critical tokens 0.9 89001/100000 left 9000 calls 0")


async def test_one_call_that_is_left_is_told_in_the_singular() -> None:
    model = ScriptedModel([asks("peer"), asks("peer"), asks("peer"), replies()])
    handlers = {"writer": agent(peers=("peer",)), "peer": code(peer)}
    async with running(handlers=handlers, models=models(model), budget={"model_calls": 5, "runway": 0}) as organism:
        await outcome(organism, "writer")
    said = said_to(model.requests[3])[-1]
    assert (
        "3 of 5 model calls are used; 1 model call of the thread is left, enough for about 1 more call like the last."
        in said
    )


# Nobody is refused unwarned


async def test_refused_at_sixty_percent_and_yet_not_unwarned() -> None:
    model = spender()
    heard: list[Any] = []
    crossed: list[tuple[str, ...]] = []

    async def worker(message: Task | BudgetWarning, ctx: Context) -> Reply[Done] | None:
        if isinstance(message, BudgetWarning):
            heard.append(message)
            return Reply(Done("warned"))
        await spend(ctx, 600)
        crossed.append(ctx.budget.tokens.crossed)
        with pytest.raises(BudgetExhaustedError) as refused:
            await spend(ctx, 600)
        crossed.append(ctx.budget.tokens.crossed)
        assert (refused.value.used, refused.value.need) == (600, 600)
        return None

    budget = {"tokens": 1000, "runway": 0}
    async with running(handlers={"worker": code(worker)}, models=models(model), budget=budget) as organism:
        result = await outcome(organism)
    assert len(model.requests) == 1
    assert crossed == [(), tuple(ALL)]
    assert [(warning.level, warning.used) for warning in heard] == [("final", 600)]
    # The skipped ones are recorded.
    assert [(warned.level, warned.used, warned.limit) for warned in result.warnings] == [
        ("warning", 600, 1000),
        ("critical", 600, 1000),
        ("final", 600, 1000),
    ]
    assert (result.outcome, result.reply) == ("completed", Done("warned"))


WIDE = {"tokens": 10_000, "grace": {"share": 0.4, "tokens": 4000}, "runway": 0}
"""A working limit of 6,000 tokens, with 4,000 for the last word."""
GREEDY: dict[str, Any] = {"max_output_tokens": 2500, "min_output_tokens": 2500}


async def test_an_agent_that_is_refused_early_hears_the_warning_together_with_the_refusal() -> None:
    model = ScriptedModel([asks("peer", usage=(100, 3_500)), replies("all I have", usage=(500, 50))])
    handlers = {"writer": agent(peers=("peer",), **GREEDY), "peer": code(peer)}
    async with running(handlers=handlers, models=models(model), budget=WIDE) as organism:
        result = await outcome(organism, "writer")
    assert (result.outcome, result.unit, result.reply) == ("exhausted", "tokens", Done("all I have"))
    last = "\n".join(said_to(model.requests[-1])[-2:])
    assert "Budget notice: final. 3600 of 10000 tokens are used" in last
    assert "Budget notice: exhausted." in last
    assert [(warned.level, warned.to) for warned in result.warnings] == [(level, "writer") for level in ALL]


async def test_what_was_meant_for_a_prompt_that_is_refused_comes_with_the_refusal() -> None:
    """The first call crosses a level; the next prompt would have said so, but its call is refused."""
    model = ScriptedModel([asks("peer", usage=(100, 4_700)), replies("all I have", usage=(500, 50))])
    handlers = {"writer": agent(peers=("peer",), **GREEDY), "peer": code(peer)}
    async with running(handlers=handlers, models=models(model), budget=WIDE) as organism:
        result = await outcome(organism, "writer")
    assert len(model.requests) == 2
    last = "\n".join(said_to(model.requests[-1])[-2:])
    assert "Budget notice: final. 4800 of 10000 tokens are used" in last
    assert "Budget notice: exhausted." in last
    assert [(warned.level, warned.to) for warned in result.warnings] == [(level, "writer") for level in ALL]


async def test_who_never_had_a_prompt_after_it_was_not_told() -> None:
    """C has no grace: what its last call crossed, and what its refusal fires, it does not read."""
    model = ScriptedModel([asks("peer", text="some notes", usage=(100, 4_700))])

    async def boss(task: Task, ctx: Context) -> Reply[Done]:
        with pytest.raises(HandlerFailedError) as failed:
            await ctx.ask("c", task)
        return Reply(Done(failed.value.code))

    handlers = {"boss": code(boss, peers=("c",)), "c": agent(peers=("peer",), **GREEDY), "peer": code(peer)}
    async with running(handlers=handlers, models=models(model), budget=WIDE) as organism:
        result = await outcome(organism, "boss")
    assert (result.outcome, result.reply) == ("completed", Done("exhausted"))
    assert [(warned.level, warned.to) for warned in result.warnings] == [(level, None) for level in ALL]


# The caller is told as well


@pytest.mark.parametrize(
    ("notify", "agent_hears", "caller_hears"),
    [(["agent"], 1, 0), (["agent", "caller"], 1, 1), (["caller"], 0, 1), ([], 0, 0)],
)
@pytest.mark.parametrize("by", ["ask", "send"])
async def test_notify_says_whether_the_caller_hears_of_it(
    notify: list[str], agent_hears: int, caller_hears: int, by: str
) -> None:
    heard: list[Any] = []
    model = ScriptedModel([asks("peer", usage=(100, 79_900)), replies("written", usage=(100, 0))])

    async def boss(message: Task | Done | BudgetWarning, ctx: Context) -> Any:
        match message:
            case BudgetWarning():
                heard.append(message)
                return None
            case Task():
                return Reply(await ctx.ask("writer", message, expect=Done)) if by == "ask" else Send("writer", message)
            case Done():
                return Reply(message)

    handlers = {"boss": code(boss, peers=("writer",)), "writer": agent(peers=("peer",)), "peer": code(peer)}
    async with running(handlers=handlers, models=models(model), budget={**BIG, "notify": notify}) as organism:
        result = await outcome(organism, "boss")
    assert (result.outcome, result.reply) == ("completed", Done("written"))
    assert len(notices(model.requests[1])) == agent_hears
    assert [(warning.level, warning.used) for warning in heard] == [("warning", 80_000)] * caller_hears
    to = "boss" if caller_hears else "writer" if agent_hears else None  # the first that was told
    assert [(warned.level, warned.to) for warned in result.warnings] == [("warning", to)]


async def test_a_caller_that_is_an_agent_hears_of_it_in_its_next_prompt() -> None:
    """The worker is code that declares nothing; its caller is told in its place."""
    model = ScriptedModel(
        lambda request: (
            Says(text="ok", usage=(100, 79_900))
            if said_to(request) == [PROMPT]
            else (replies("told") if notices(request) else asks("worker", usage=(100, 0)))
        )
    )

    async def worker(task: Task, ctx: Context) -> Reply[Done]:
        """Spends."""
        await spend(ctx, 50_000)
        return Reply(Done("spent"))

    handlers = {"desk": agent(peers=("worker",)), "worker": code(worker)}
    async with running(handlers=handlers, models=models(model), budget={**BIG, "notify": ["caller"]}) as organism:
        result = await outcome(organism, "desk")
    assert result.reply == Done("told")
    assert "80100 of 100000 tokens" in notices(model.requests[-1])[0]


async def test_a_warning_costs_neither_a_call_nor_a_message() -> None:
    model = ScriptedModel([asks("peer", usage=(100, 89_900)), replies(usage=(100, 0))])
    handlers = {"writer": agent(peers=("peer",)), "peer": code(peer)}
    async with running(handlers=handlers, models=models(model), budget=BIG) as organism:
        result = await outcome(organism, "writer")
    assert (result.usage.messages, result.usage.model_calls) == (2, 2)
    assert len(organism.watch.of(CallHeld)) == 2
