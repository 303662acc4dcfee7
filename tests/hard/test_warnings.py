"""Warnings: which levels fire, who is told of them, when, in which words, and that nobody is refused unwarned."""

from __future__ import annotations

import json
import logging
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import anyio
import pytest

from organism import BudgetExhaustedError, Context, HandlerFailedError, ModelError, Reply, Send
from organism.facts import CallHeld, CameLate, Ended
from organism.models.contract import BackendError
from organism.primitives import BudgetWarning
from organism.testing import Says, ScriptedModel, running
from tests.hard.budget_world import (
    INPUT,
    NO_GRACE,
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
    replies,
    said_to,
    spend,
    spender,
)

if TYPE_CHECKING:
    from pathlib import Path

    from organism.models.contract import Request

ALL = ["warning", "critical", "final"]


async def peer(task: Task, ctx: Context) -> Reply[Done]:
    """Answers."""
    return Reply(Done("here"))


# Which levels


@pytest.mark.parametrize(
    ("limit", "reached", "short"),
    [
        ({"tokens": 1000}, 675, 674),  # 100 of 1,000 are kept back for grace
        ({"tokens": 1000, "grace": NO_GRACE}, 750, 749),
        ({"output_tokens": 1000}, 675 + INPUT, 674 + INPUT),
        ({"cost_usd": "0.001"}, 675, 674),  # a token costs a millionth
        ({"tokens": 1000, "warn_at": [675]}, 675, 674),
        ({"cost_usd": "0.001", "warn_at": {"cost_usd": [0.1234]}, "grace": NO_GRACE}, 124, 123),
    ],
)
async def test_a_level_fires_exactly_where_it_is_and_not_a_token_before(limit: Any, reached: int, short: int) -> None:
    async def worker(task: Task, ctx: Context) -> Reply[Done]:
        done = await spend(ctx, int(task.text))
        return Reply(Done(" ".join(crossing.level for crossing in done.warnings)))

    settings = models(spender(), price={"input": "1", "output": "1"})
    budget = {"runway": 0, **limit}
    async with running(handlers={"worker": code(worker)}, models=settings, budget=budget) as organism:
        at = await organism.ask("worker", Task(str(reached)))
        before = await organism.ask("worker", Task(str(short)))
    assert at.text in {"warning", "final"}
    assert before == Done("")


async def test_a_jump_fires_all_levels_it_passes_in_order_and_in_one_message() -> None:
    heard: list[BudgetWarning] = []
    seen: list[list[str]] = []
    fails = iter([False, False, True])
    model = ScriptedModel(
        lambda request: (
            Says(error=BackendError("rejected", "no"))
            if next(fails)
            else Says(text="ok", usage=(INPUT, request.max_output_tokens))
        )
    )

    async def worker(message: Task | BudgetWarning, ctx: Context) -> None:
        if isinstance(message, BudgetWarning):
            heard.append(message)
            return
        for tokens in (90, 774):  # from 10 % to 96 % of the working limit of 900
            done = await spend(ctx, tokens)
            seen.append([crossing.level for crossing in done.warnings])
        with pytest.raises(ModelError):  # costs nothing, and fires nothing
            await spend(ctx, 30)

    budget = {"tokens": 1000, "runway": 0}
    async with running(handlers={"worker": code(worker)}, models=models(model), budget=budget) as organism:
        result = await outcome(organism)
    assert seen == [[], ALL]
    (warning,) = heard
    assert (warning.unit, warning.level, warning.threshold, warning.scope) == (
        "tokens",
        "final",
        Decimal("0.95"),
        "thread",
    )
    assert (warning.used, warning.held, warning.limit, warning.remaining) == (864, 0, 1000, 36)
    assert warning.calls_left == 0
    assert "864 of 1000 tokens are used" in warning.text
    assert [(warned.level, warned.threshold, warned.used, warned.to) for warned in result.warnings] == [
        ("warning", Decimal("0.75"), 864, "worker"),
        ("critical", Decimal("0.9"), 864, "worker"),
        ("final", Decimal("0.95"), 864, "worker"),
    ]


@pytest.mark.parametrize(("limit", "working"), [(300, 270), (1000, 900), (5000, 4500), (100_000, 98_000)])
async def test_every_level_can_fire_whatever_the_limit(limit: int, working: int) -> None:
    async def worker(task: Task, ctx: Context) -> None:
        assert ctx.budget.tokens.remaining == working
        await spend(ctx, working - 40)
        await spend(ctx, 40)
        await spend(ctx, 21)

    handlers = {"worker": code(worker)}
    async with running(handlers=handlers, models=models(spender()), budget={"tokens": limit}) as organism:
        result = await outcome(organism)
    assert [level for level in levels(result) if level != "runway"] == ALL
    assert (result.outcome, result.usage.tokens) == ("exhausted", working)


@pytest.mark.parametrize(
    ("warn_at", "expected"),
    [
        ([], []),
        ([0.5], [("final", "0.5")]),
        ([0.8, 0.5], [("warning", "0.5"), ("final", "0.8")]),
        ([0.1, 0.2, 0.3, 0.4], [("warning", "0.1"), ("critical", "0.2"), ("critical", "0.3"), ("final", "0.4")]),
        ({"tokens": [100, 0.5]}, [("warning", "100"), ("final", "0.5")]),
        ({"tokens": [0.9, 5000]}, [("final", "0.9")]),  # what lies beyond the limit is never reached
        ({"messages": [200]}, [("warning", "0.75"), ("critical", "0.9"), ("final", "0.95")]),
    ],
)
async def test_levels_are_named_by_their_place(warn_at: Any, expected: list[tuple[str, str]]) -> None:
    async def worker(task: Task, ctx: Context) -> None:
        for _ in range(20):
            await spend(ctx, 50)

    budget = {"tokens": 1000, "grace": NO_GRACE, "runway": 0, "warn_at": warn_at}
    handlers = {"worker": code(worker)}
    async with running(handlers=handlers, models=models(spender()), budget=budget) as organism:
        result = await outcome(organism)
    assert result.outcome == "completed"
    assert [(warned.level, str(warned.threshold)) for warned in result.warnings] == expected


async def test_runway_warns_once_when_two_more_calls_like_the_last_would_not_fit() -> None:
    crossed: list[list[tuple[str, str]]] = []

    async def worker(task: Task, ctx: Context) -> None:
        for tokens in (200, 300, 100, 100):
            done = await spend(ctx, tokens)
            crossed.append([(crossing.unit, crossing.level) for crossing in done.warnings])

    budget = {"tokens": 1000, "model_calls": 6, "grace": NO_GRACE, "warn_at": []}
    handlers = {"worker": code(worker)}
    async with running(handlers=handlers, models=models(spender()), budget=budget) as organism:
        await outcome(organism)
        # 1,000 - 500 < 2 x 300. It is said once, although a little later 300 < 2 x 300 would hold again.
        assert crossed == [[], [("tokens", "runway")], [], []]
        crossed.clear()
        result = await outcome(organism, budget={"model_calls": 5, "tokens": None})
        # Two calls left are enough for two more; one is not.
        assert crossed == [[], [], [], [("model_calls", "runway")]]
        assert [(warned.threshold, warned.remaining) for warned in result.warnings] == [(2, 1)]
        crossed.clear()
        await outcome(organism, budget={"runway": 0})
        assert crossed == [[], [], [], []]


async def test_results_have_a_row_for_every_crossing() -> None:
    async def worker(task: Task, ctx: Context) -> None:
        await spend(ctx, 760)
        await spend(ctx, 100)

    budget = {"tokens": 1000, "cost_usd": "0.01", "grace": NO_GRACE, "runway": 0}
    settings = models(spender(), price={"input": "10", "output": "10"})
    async with running(handlers={"worker": code(worker)}, models=settings, budget=budget) as organism:
        result = await outcome(organism)
    rows = json.loads(json.dumps(result.as_json()))["warnings"]
    assert len({row.pop("seq") for row in rows}) == 2
    common = {"level": "warning", "threshold": 0.75, "scope": "thread", "to": "worker"}
    assert rows == [
        {"unit": "tokens", "used": 760, "limit": 1000, **common},
        {"unit": "cost_usd", "used": 0.0076, "limit": 0.01, **common},
    ]
    assert [warned.seq for warned in result.warnings] == sorted(warned.seq for warned in result.warnings)


# Code is told


async def test_code_in_a_loop_sees_its_warning_while_it_can_still_act() -> None:
    heard: list[tuple[str, str]] = []

    async def worker(message: Task | BudgetWarning, ctx: Context) -> Reply[Done]:
        if isinstance(message, BudgetWarning):
            heard.append((message.level, ctx.sender))
            return Reply(Done(f"warned: {ctx.state['done']}"))
        made = 0
        while True:
            done = await spend(ctx, 100)
            made += 1
            assert [crossing.level for crossing in done.warnings] == list(ctx.budget.tokens.crossed)
            if done.warnings:
                break
        ctx.state["done"] = made
        return Reply(Done(f"stopped after {made}"))

    budget = {"tokens": 1000, "runway": 0}
    async with running(handlers={"worker": code(worker)}, models=models(spender()), budget=budget) as organism:
        result = await outcome(organism)
    assert (result.outcome, result.usage.tokens) == ("completed", 700)
    # The message came after the delivery, in its frame; at the root all replies leave.
    assert heard == [("warning", "organism")]
    assert [reply for _, reply in result.replies] == [Done("stopped after 7"), Done("warned: 7")]
    # It is the organism's own, and costs no message.
    assert result.usage.messages == 1


async def test_a_reply_to_a_warning_counts_only_where_the_frame_has_none() -> None:
    async def boss(task: Task, ctx: Context) -> Reply[Done]:
        early, late = await ctx.ask_all([("early", task), ("late", task)], expect=Done)
        return Reply(Done(f"{early.text} | {late.text}"))

    async def early(message: Task | BudgetWarning, ctx: Context) -> Reply[Done]:
        if isinstance(message, BudgetWarning):
            return Reply(Done("too late"))
        await spend(ctx, 800)
        return Reply(Done("at once"))

    async def late(message: Task | BudgetWarning, ctx: Context) -> Reply[Done] | None:
        if isinstance(message, BudgetWarning):
            return Reply(Done(f"when warned: {message.level}"))
        await spend(ctx, 800)
        return None

    own = {"budget": {"tokens": 1000, "runway": 0}}
    handlers = {"boss": code(boss, peers=("early", "late")), "early": code(early, **own), "late": code(late, **own)}
    async with running(handlers=handlers, models=models(spender())) as organism:
        result = await outcome(organism, "boss")
    assert result.reply == Done("at once | when warned: warning")
    late_ones = [step for fact in organism.watch.facts for step in fact.steps if isinstance(step, CameLate)]
    assert [step.payload for step in late_ones] == [Done("too late")]
    assert result.outcome == "completed"


async def test_answering_none_to_a_warning_changes_nothing_and_it_keeps_its_thread_open() -> None:
    """The warning comes while a slow branch of the same frame is still at work."""
    heard: list[float] = []

    async def worker(message: Task | BudgetWarning | Done, ctx: Context) -> Send[Task] | Reply[Done] | None:
        match message:
            case Task():
                await spend(ctx, 800)
                return Send("slow", message)
            case BudgetWarning():
                await anyio.sleep(2)
                heard.append(anyio.current_time())
                return None
            case Done():
                return Reply(message)

    async def slow(task: Task, ctx: Context) -> Reply[Done]:
        await spend(ctx, 50)
        return Reply(Done("slowly"))

    handlers = {"worker": code(worker, peers=("slow",)), "slow": code(slow)}
    budget = {"tokens": 1000, "runway": 0}
    async with running(handlers=handlers, models=models(spender(seconds=5)), budget=budget) as organism:
        result = await outcome(organism)
    assert len(heard) == 1
    assert (result.outcome, result.reply) == ("completed", Done("slowly"))
    assert (result.usage.tokens, result.usage.model_calls, result.usage.messages) == (850, 2, 3)
    (end,) = organism.watch.of(Ended)
    assert organism.watch.facts[-1] is end


async def test_a_thread_waits_for_the_warning_of_its_last_call() -> None:
    heard: list[str] = []

    async def worker(message: Task | BudgetWarning, ctx: Context) -> None:
        if isinstance(message, BudgetWarning):
            await anyio.sleep(3)
            heard.append(message.level)
        else:
            await spend(ctx, 800)

    budget = {"tokens": 1000, "runway": 0}
    async with running(handlers={"worker": code(worker)}, models=models(spender()), budget=budget) as organism:
        result = await outcome(organism)
    assert heard == ["warning"]
    assert result.usage.seconds == pytest.approx(3)
    assert [warned.to for warned in result.warnings] == ["worker"]


async def test_what_a_warnings_delivery_crosses_is_told_as_well() -> None:
    heard: list[str] = []

    async def worker(message: Task | BudgetWarning, ctx: Context) -> None:
        if isinstance(message, BudgetWarning):
            heard.append(message.level)
        if len(heard) < 3:
            await spend(ctx, 400 if not heard else 75)

    budget = {"tokens": 500, "grace": NO_GRACE, "runway": 0, "warn_at": [0.8, 0.95, 1.0, 500]}
    budget["warn_at"] = [400, 475, 500]
    async with running(handlers={"worker": code(worker)}, models=models(spender()), budget=budget) as organism:
        result = await outcome(organism)
    # The third call does not fit any more: its refusal comes with the level that had not fired.
    assert heard == ["warning", "critical"]
    assert levels(result) == ALL


async def test_a_subscriber_that_raises_harms_nobody(caplog: pytest.LogCaptureFixture) -> None:
    model = spender()

    async def worker(task: Task, ctx: Context) -> Reply[Done]:
        return Reply(Done((await spend(ctx, 800)).text))

    def broken(fact: object) -> None:
        raise RuntimeError("not today")

    budget = {"tokens": 1000}
    with caplog.at_level(logging.ERROR, "organism"):
        async with running(handlers={"worker": code(worker)}, models=models(model), budget=budget) as organism:
            organism.subscribe(broken)
            result = await outcome(organism)
    assert (result.outcome, result.reply, result.usage.tokens) == ("completed", Done("ok"), 800)
    assert len(model.requests) == 1
    assert any("not today" in str(record.exc_info) for record in caplog.records)


async def test_a_warnings_delivery_that_raises_takes_nothing_from_the_call() -> None:
    model = spender()

    async def worker(message: Task | BudgetWarning, ctx: Context) -> Reply[Done]:
        if type(message) is BudgetWarning:
            raise ValueError("cannot bear it")
        return Reply(Done((await spend(ctx, 800)).text))

    async with running(handlers={"worker": code(worker)}, models=models(model), budget={"tokens": 1000}) as organism:
        result = await outcome(organism)
    assert (result.reply, result.usage.tokens, result.usage.model_calls) == (Done("ok"), 800, 1)
    assert len(model.requests) == 1
    # A failure never vanishes.
    assert (result.outcome, result.code) == ("failed", "crashed")


async def test_who_declares_nothing_of_the_kind_is_not_disturbed_and_nothing_is_lost() -> None:
    got: list[str] = []

    async def worker(task: Task, ctx: Context) -> Reply[Done]:
        got.append(type(task).__name__)
        await spend(ctx, 890)
        return Reply(Done("done"))

    budget = {"tokens": 1000, "runway": 0}
    async with running(handlers={"worker": code(worker)}, models=models(spender()), budget=budget) as organism:
        result = await outcome(organism)
    assert got == ["Task"]
    assert (result.outcome, levels(result)) == ("completed", ALL)
    # It could see them in its completion and its budget.
    assert {warned.to for warned in result.warnings} == {"worker"}


# Agents are told

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
    settings = {"ceiling": {"tokens": 10_000}, "budget": {"runway": 0}}
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


async def test_an_agent_is_warned_of_messages_too() -> None:
    model = ScriptedModel([asks("peer"), asks("peer", "peer"), replies()])
    handlers = {"writer": agent(peers=("peer",)), "peer": code(peer)}
    budget = {"messages": 10, "warn_at": {"messages": [2, 4]}, "runway": 0}
    async with running(handlers=handlers, models=models(model), budget=budget) as organism:
        result = await outcome(organism, "writer")
    told = [notices(request) for request in model.requests]
    assert [len(each) for each in told] == [0, 1, 1]
    assert "2 of 10 messages are used; 8 messages" in told[1][0]
    assert [(warned.level, warned.used, warned.to) for warned in result.warnings] == [
        ("warning", 2, "writer"),
        ("final", 4, "writer"),
    ]


async def test_a_message_that_reaches_a_level_on_its_way_in_is_told_to_who_gets_it() -> None:
    """One message is all that the thread has: it is used up when it begins, and the first prompt says so."""
    model = ScriptedModel([asks("peer"), replies("alone")])
    handlers = {"writer": agent(peers=("peer",)), "peer": code(peer)}
    async with running(handlers=handlers, models=models(model), budget={"messages": 1}) as organism:
        result = await outcome(organism, "writer")
    (notice,) = notices(model.requests[0])
    assert notice.startswith("Budget notice: final. 1 of 1 messages are used")
    assert {warned.to for warned in result.warnings} == {"writer"}
    assert result.reply == Done("alone")


async def test_the_level_of_a_sub_thread_that_its_first_message_reaches_is_told_in_there() -> None:
    model = ScriptedModel([asks("peer"), replies("alone")])

    async def boss(task: Task, ctx: Context) -> Reply[Done]:
        return Reply(await ctx.ask("writer", task, expect=Done))

    handlers = {
        "boss": code(boss, peers=("writer",)),
        "writer": agent(peers=("peer",), budget={"messages": 1}),
        "peer": code(peer),
    }
    async with running(handlers=handlers, models=models(model)) as organism:
        result = await outcome(organism, "boss")
    assert len(notices(model.requests[0])) == 1
    assert [(warned.scope, warned.to) for warned in result.warnings] == [("sub-thread", "writer")] * 3
    assert (result.outcome, result.reply) == ("completed", Done("alone"))


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


# Nobody is refused unwarned


async def test_refused_at_sixty_percent_and_yet_not_unwarned() -> None:
    model = spender()
    heard: list[BudgetWarning] = []
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
GREEDY = {"max_output_tokens": 2500, "min_output_tokens": 2500}


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


async def test_an_answer_that_messages_cannot_bear_is_refused_with_its_warning_recorded() -> None:
    """The cap and the levels below it are met by one answer: the cap acts, and the skipped levels are recorded."""

    async def worker(task: Task, ctx: Context) -> list[Send[Task]]:
        return [Send("sink", task) for _ in range(5)]

    async def sink(task: Task, ctx: Context) -> None:
        raise AssertionError("nothing of the answer is carried out")

    handlers = {"worker": code(worker, peers=("sink",)), "sink": code(sink)}
    async with running(handlers=handlers, budget={"messages": 5}) as organism:
        result = await outcome(organism)
    assert (result.outcome, result.unit, result.usage.messages) == ("exhausted", "messages", 1)
    assert levels(result, "messages") == ALL
    # Its delivery is over: nobody reads them any more.
    assert {warned.to for warned in result.warnings} == {None}


# The caller is told as well


@pytest.mark.parametrize(
    ("notify", "agent_hears", "caller_hears"),
    [(["agent"], 1, 0), (["agent", "caller"], 1, 1), (["caller"], 0, 1), ([], 0, 0)],
)
@pytest.mark.parametrize("by", ["ask", "send"])
async def test_notify_says_whether_the_caller_hears_of_it(
    notify: list[str], agent_hears: int, caller_hears: int, by: str
) -> None:
    heard: list[BudgetWarning] = []
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


# Time


async def test_time_is_told_by_a_timer_while_the_handler_works() -> None:
    heard: list[tuple[str, float]] = []
    began = 0.0

    async def worker(message: Task | BudgetWarning, ctx: Context) -> Reply[Done] | None:
        nonlocal began
        if isinstance(message, BudgetWarning):
            heard.append((message.level, anyio.current_time() - began))
            return None
        began = anyio.current_time()
        await anyio.sleep(92)
        return Reply(Done("in time"))

    handlers = {"worker": code(worker, timeout=None)}
    async with running(handlers=handlers, budget={"seconds": 100}) as organism:
        result = await outcome(organism)
    assert (result.outcome, result.reply) == ("completed", Done("in time"))
    # Both levels came while it worked; its message follows the delivery, with the highest.
    assert heard == [("critical", pytest.approx(92))]
    assert [(warned.level, warned.used, warned.limit, warned.to) for warned in result.warnings] == [
        ("warning", pytest.approx(75, abs=0.01), 100, "worker"),
        ("critical", pytest.approx(90, abs=0.01), 100, "worker"),
    ]
    assert {warned.unit for warned in result.warnings} == {"seconds"}
    assert result.usage.seconds == pytest.approx(92)


async def test_time_is_told_at_once_to_code_that_waits_for_a_branch() -> None:
    heard: list[tuple[str, float]] = []
    began = 0.0

    async def worker(message: Task | BudgetWarning | Done, ctx: Context) -> Any:
        nonlocal began
        match message:
            case Task():
                began = anyio.current_time()
                return Send("slow", message)
            case BudgetWarning():
                heard.append((message.level, anyio.current_time() - began))
                return None
            case Done():
                return Reply(message)

    async def slow(task: Task, ctx: Context) -> Reply[Done]:
        await anyio.sleep(80)
        return Reply(Done("slowly"))

    handlers = {"worker": code(worker, peers=("slow",)), "slow": code(slow, timeout=None)}
    async with running(handlers=handlers, budget={"seconds": 100}) as organism:
        result = await outcome(organism)
    assert heard == [("warning", pytest.approx(75, abs=0.01))]
    assert (result.outcome, result.reply) == ("completed", Done("slowly"))


async def test_time_is_told_to_an_agent_in_its_next_prompt() -> None:
    model = ScriptedModel([asks("peer", seconds=80), replies("in time")])
    handlers = {"writer": agent(peers=("peer",)), "peer": code(peer)}
    async with running(handlers=handlers, models=models(model), budget={"seconds": 100}) as organism:
        result = await outcome(organism, "writer")
    (notice,) = notices(model.requests[1])
    assert notice.startswith("Budget notice: warning. ")
    assert "of 100 seconds are used" in notice
    assert [(warned.unit, warned.to) for warned in result.warnings] == [("seconds", "writer")]


async def test_time_in_a_sub_thread_has_levels_of_its_own() -> None:
    model = ScriptedModel([asks("peer", seconds=80), replies("in time")])

    async def boss(task: Task, ctx: Context) -> Reply[Done]:
        return Reply(await ctx.ask("writer", task, expect=Done))

    handlers = {
        "boss": code(boss, peers=("writer",)),
        "writer": agent(peers=("peer",), budget={"seconds": 100}),
        "peer": code(peer),
    }
    async with running(handlers=handlers, models=models(model), budget={"seconds": 1000}) as organism:
        result = await outcome(organism, "boss")
    assert len(notices(model.requests[1])) == 1
    assert [(warned.unit, warned.scope, warned.limit, warned.to) for warned in result.warnings] == [
        ("seconds", "sub-thread", 100, "writer")
    ]


async def test_levels_of_time_are_armed_again_when_there_is_more_of_it() -> None:
    async def worker(task: Task, ctx: Context) -> None:
        await anyio.sleep(160)

    handlers = {"worker": code(worker, timeout=None)}
    async with running(handlers=handlers, budget={"seconds": 100}) as organism:
        handle = await organism.send("worker", Task("go"))
        await anyio.sleep(80)
        handle.add_budget(seconds=100)
        result = await handle.result()
    assert result.outcome == "completed"
    assert [(warned.level, round(warned.used), warned.limit) for warned in result.warnings] == [
        ("warning", 75, 100),
        ("warning", 150, 200),
    ]
    # Nobody in there takes warnings.
    assert {warned.to for warned in result.warnings} == {None}


async def test_a_warning_costs_neither_a_call_nor_a_message() -> None:
    model = ScriptedModel([asks("peer", usage=(100, 89_900)), replies(usage=(100, 0))])
    handlers = {"writer": agent(peers=("peer",)), "peer": code(peer)}
    async with running(handlers=handlers, models=models(model), budget=BIG) as organism:
        result = await outcome(organism, "writer")
    assert (result.usage.messages, result.usage.model_calls) == (2, 2)
    assert len(organism.watch.of(CallHeld)) == 2
