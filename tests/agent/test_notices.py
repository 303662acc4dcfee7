"""What agents are told of budgets can be varied without touching what is enforced: words, figures, or nothing at all."""

from __future__ import annotations

import json
import re
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest

from organism import ConfigurationError, Context, Organism, Reply
from organism.journal.codec import encode
from organism.journal.prompts import prompts
from organism.models.contract import BackendError
from organism.primitives import BudgetDecision, BudgetRequest
from organism.record.facts import CallHeld, Noticed
from organism.testing import Says, ScriptedModel, running
from tests.hard.budget_world import (
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
)

if TYPE_CHECKING:
    from pathlib import Path

    from organism import ThreadResult
    from organism.models.contract import Request

BIG = {"tokens": 100_000, "runway": 0}
"""A budget with a working limit of 98,000 tokens and levels at 73,500, 88,200 and 93,100."""
SMALL = {"tokens": 10_000, "grace": {"share": 0.4, "tokens": 4000}, "runway": 0}
"""A working limit of 6,000 tokens, with 4,000 for the last word."""
GREEDY: dict[str, Any] = {"max_output_tokens": 2500, "min_output_tokens": 2500}
NONE = {"figures": "none"}
PLACEBO = {"figures": "placebo"}
UNTOLD = {"deliver": False}


def spending() -> ScriptedModel:
    """Crosses the first level by its first call, the second by its second, and replies then."""
    return ScriptedModel(
        [asks("peer", usage=(100, 73_910)), asks("peer", usage=(100, 14_910)), replies(usage=(100, 10))]
    )


async def run(model: ScriptedModel, told: Any, *, budget: Any = BIG, **keys: Any) -> ThreadResult:
    """A writer that has a peer, told of its budget like this."""
    organism_keys = {key: keys.pop(key) for key in ("loops",) if key in keys}
    handlers = {"writer": agent(peers=("peer",), notices=told, **keys), "peer": code(peer)}
    async with running(handlers=handlers, models=models(model), budget=budget, **organism_keys) as organism:
        return await outcome(organism, "writer")


def figures(text: str) -> list[str]:
    """The figures in a text."""
    return re.findall(r"\d[\d.]*", text)


def whole(request: Request) -> str:
    """All that a prompt says, calls and tools included."""
    return json.dumps([dict(message) for message in request.messages], default=str) + str(request.tools)


# Enforced the same


@pytest.mark.parametrize("told", [{}, NONE, PLACEBO, UNTOLD], ids=["true", "none", "placebo", "untold"])
async def test_what_is_told_changes_nothing_of_what_is_enforced(told: Any) -> None:
    result = await run(spending(), told)
    assert (result.outcome, result.reply) == ("completed", Done("done"))
    assert (result.usage.tokens, result.usage.messages, levels(result)) == (89_130, 3, ["warning", "critical"])
    assert [(warned.used, warned.limit) for warned in result.warnings] == [(74_010, 100_000), (89_020, 100_000)]
    assert {warned.to for warned in result.warnings} == ({None} if told is UNTOLD else {"writer"})


@pytest.mark.parametrize("told", [{}, NONE, PLACEBO, UNTOLD], ids=["true", "none", "placebo", "untold"])
async def test_the_last_answer_on_grace_is_made_whatever_is_told(told: Any) -> None:
    model = ScriptedModel([asks("peer", usage=(100, 3_500)), replies("all I have", usage=(500, 50))])
    result = await run(model, told, budget=SMALL, **GREEDY)
    assert (result.outcome, result.unit, result.reply) == ("exhausted", "tokens", Done("all I have"))
    assert [tool.name for tool in model.requests[1].tools] == ["reply"]
    assert levels(result) == ["warning", "critical", "final"]


# Figures


async def test_without_figures_the_words_are_there_and_no_figure_is() -> None:
    model = spending()
    await run(model, NONE)
    told = [notices(request) for request in model.requests]
    assert [len(each) for each in told] == [0, 1, 1]
    assert told[1][0].startswith(
        "Budget notice: warning. The tokens of the thread are running low. Make only the calls"
    )
    assert told[2][0].startswith("Budget notice: critical. The tokens of the thread are running low.")
    assert figures(told[1][0] + told[2][0]) == []


async def test_the_last_call_says_no_figure_either() -> None:
    model = ScriptedModel([asks("peer", usage=(100, 3_500)), replies("all", usage=(500, 50))])
    await run(model, NONE, budget=SMALL, **GREEDY)
    warned, last = notices(model.requests[1])
    assert last.startswith("Budget notice: exhausted. The tokens of the thread are used up. This is your last call")
    assert figures(warned + last) == []


async def test_a_placebo_looks_like_figures_and_says_nothing_of_the_true_ones() -> None:
    seen: set[str] = set()
    for limit in (100_000, 200_000):
        model = ScriptedModel(
            [asks("peer", usage=(100, limit * 3 // 4)), asks("peer", usage=(100, limit * 15 // 100)), replies()]
        )
        handlers = {"writer": agent(peers=("peer",), notices=PLACEBO), "peer": code(peer)}
        budget = {"tokens": limit, "runway": 0}
        async with running(handlers=handlers, models=models(model), budget=budget) as organism:
            result = await (await organism.send("writer", Task("go"), id="the-same")).result()
        assert levels(result) == ["warning", "critical"]
        told = [notices(request)[0] for request in model.requests[1:]]
        read = [
            re.search(r"(\d+) of (\d+) tokens are used; (\d+) tokens of the thread are left", text) for text in told
        ]
        used, limits, left = zip(
            *((int(a), int(b), int(c)) for a, b, c in (m.groups() for m in read if m)), strict=True
        )
        # They hold together, and rise from level to level.
        assert limits[0] == limits[1]
        assert [a + c for a, c in zip(used, left, strict=True)] == list(limits)
        assert limits[0] / 2 <= used[0] < used[1] < limits[0]
        seen.add("|".join(told))
    # Twice the budget and twice the use are the same figures: nothing of them is in there.
    assert len(seen) == 1
    assert not {"100000", "200000"} & set(figures(seen.pop()))


async def test_each_thread_has_its_own_placebo() -> None:
    told: set[str] = set()
    for number in range(8):
        model = spending()
        handlers = {"writer": agent(peers=("peer",), notices=PLACEBO), "peer": code(peer)}
        async with running(handlers=handlers, models=models(model), budget=BIG) as organism:
            await (await organism.send("writer", Task("go"), id=f"thread-{number}")).result()
        told.add(notices(model.requests[1])[0])
    assert len(told) == 8


async def test_the_placebo_of_a_conversation_lasts_and_each_turn_has_one_of_its_own() -> None:
    turn = [asks("peer", usage=(100, 7_900)), replies(usage=(100, 10))]
    model = ScriptedModel(turn * 2)
    handlers = {"writer": agent(peers=("peer",), notices=PLACEBO), "peer": code(peer)}
    each: dict[str, Any] = {"tokens": 10_000, "runway": 0, "warn_at": [0.8]}
    whole: dict[str, Any] = {"tokens": 20_000, "runway": 0, "warn_at": [0.4, 0.8]}
    async with running(handlers=handlers, models=models(model), budget=each, conversation=whole) as organism:
        for id_ in ("first", "second"):
            await (await organism.send("writer", Task("go"), id=id_, conversation="c")).result()
    told = [notices(request)[0] for request in model.requests if notices(request)]
    limits = [
        re.findall(rf"of (\d+) tokens are used; \d+ tokens of the {scope} are left", " ".join(told))
        for scope in ("thread", "conversation")
    ]
    assert [len(found) for found in limits] == [2, 2]
    assert [len(set(found)) for found in limits] == [2, 1]


@pytest.mark.parametrize("budget", [
    {"cost_usd": "0.1", "warn_at": [0.1, 0.2, 0.3, 0.4]}, {"model_calls": 4, "runway": 5}, {"messages": 4},
    {"output_tokens": 90_000}, {"seconds": 100},
])  # fmt: skip
async def test_a_placebo_stands_for_every_unit(budget: Any) -> None:
    model = ScriptedModel([asks("peer", usage=(5000, 20_000), seconds=30)] * 3 + [replies()])
    handlers = {"writer": agent(peers=("peer",), notices=PLACEBO, max_output_tokens=20_000), "peer": code(peer)}
    settings = models(model, price={"input": "1", "output": "1"})
    async with running(handlers=handlers, models=settings, budget=budget) as organism:
        result = await outcome(organism, "writer")
    (unit,) = {warned.unit for warned in result.warnings}
    assert unit in budget
    told = [text for request in model.requests for text in notices(request)]
    assert told
    assert all(" are used; " in text or "used, limit" in text for text in told)
    warnings = [text for text in told if " are used; " in text]
    assert all(
        ("enough for about" in text) == (unit not in {"seconds", "messages"}) for text in warnings
    )  # as true ones say


async def test_a_loop_is_told_without_its_count() -> None:
    for told, count in ((NONE, []), (PLACEBO, ["5"]), ({}, ["4"])):
        model = ScriptedModel([asks("peer")] * 4 + [replies()])
        result = await run(model, told, budget={}, loops={"repeats": 4, "within": 12})
        assert result.outcome == "completed"
        (notice,) = notices(model.requests[4])
        assert notice.startswith("Budget notice: final. The same message (Task to peer) was sent ")
        assert figures(notice) == count


# Nothing at all


async def test_an_agent_that_is_told_nothing_reads_nothing_of_budgets_anywhere() -> None:
    """Warned, refused by its budget, refused through a peer's, and asked for its last answer: no prompt speaks of any of it."""

    async def poor(task: Task, ctx: Context) -> Reply[Done]:
        return Reply(Done((await ctx.complete("x", max_output_tokens=900_000)).text))

    model = ScriptedModel([
        asks("peer", "poor", usage=(100, 70_000)), asks("peer", usage=(100, 20_000)), asks("peer", usage=(100, 100)), replies("so"),
    ])  # fmt: skip
    handlers = {
        "writer": agent(peers=("peer", "poor"), notices=UNTOLD),
        "peer": code(peer),
        "poor": code(poor, budget={"tokens": 500}),
    }
    budget = {**BIG, "messages": 4}
    async with running(handlers=handlers, models=models(model), budget=budget) as organism:
        result = await outcome(organism, "writer")
    assert (result.outcome, result.unit, result.reply) == ("exhausted", "messages", Done("so"))
    assert {warned.unit for warned in result.warnings} >= {"tokens", "messages"}
    assert {warned.to for warned in result.warnings if warned.limit != 500} == {None}
    assert organism.watch.of(Noticed) == []
    assert len(model.requests) == 4
    for request in model.requests:
        prompt = whole(request).lower()
        assert re.findall(r"budget|exhaust|limit|tokens|\bused", prompt) == []
    failed = [json.loads(text)["HandlerFailed"] for text in said_to(model.requests[3]) if "HandlerFailed" in text]
    # The peer's budget and its own: it hears that it got no answer, and not why.
    assert [(each["code"], each["text"]) for each in failed] == [("refused", "it did not answer")] * 2


async def test_a_last_delivery_that_is_told_nothing_still_asks_for_something() -> None:
    """Time cancelled the only delivery, so nothing is remembered that could be answered."""
    model = ScriptedModel([Says(seconds=100), replies("in time")])
    result = await run(model, UNTOLD, budget={"seconds": 50})
    assert (result.outcome, result.unit, result.reply) == ("exhausted", "seconds", Done("in time"))
    assert said_to(model.requests[1])[1:] == ["Answer now."]


@pytest.mark.parametrize(("told", "offered"), [
    ({}, ["BudgetQuery", "BudgetEstimate", "BudgetRequest"]), (NONE, ["BudgetEstimate", "BudgetRequest"]),
    (PLACEBO, ["BudgetQuery", "BudgetEstimate", "BudgetRequest"]), (UNTOLD, []),
])  # fmt: skip
async def test_what_an_agent_may_ask_of_budgets_follows_what_it_is_told(told: Any, offered: list[str]) -> None:
    async def purse(request: BudgetRequest, ctx: Context) -> Reply[BudgetDecision]:
        return Reply(BudgetDecision(granted=False, unit=request.unit, amount=Decimal(0), reason="only 17 are left"))

    asked: list[tuple[str, Any]] = [
        ("organism_BudgetQuery", {}),
        ("organism_BudgetRequest", {"unit": "tokens", "amount": 9, "reason": "more"}),
    ]

    def script(request: Request) -> Says:
        names = {tool.name for tool in request.tools}
        calls = tuple(call for call in asked if call[0] in names)
        return Says(calls=calls) if calls and len(request.messages) == 2 else replies()

    model = ScriptedModel(script)
    handlers = {"writer": agent(peers=("organism",), notices=told), "purse": code(purse)}
    budget = {"tokens": 77_000, "grants_by": "purse"}
    async with running(handlers=handlers, models=models(model), budget=budget) as organism:
        result = await outcome(organism, "writer", id="placebos-come-from-this")
    assert result.outcome == "completed"
    tools = [tool.name.removeprefix("organism_") for tool in model.requests[0].tools if tool.name != "reply"]
    assert sorted(tools) == sorted(offered)
    heard = " ".join(said_to(model.requests[-1])[2:])
    assert ("only 17 are left" in heard) == (not told)
    if told == PLACEBO:
        (report,) = [json.loads(text)["BudgetReport"] for text in said_to(model.requests[1]) if "BudgetReport" in text]
        assert set(report["remaining"]) >= {"tokens", "messages"}
        assert not {"76", "77", "69", "70", "75", "74"} & {str(report["remaining"]["tokens"])[:2]}


async def test_a_caller_that_is_told_nothing_hears_nothing_of_its_callees() -> None:
    for told in (True, False):
        model = ScriptedModel([asks("worker"), asks("peer", usage=(100, 80_000)), replies(), replies()])
        handlers = {
            "boss": agent(peers=("worker",), notices={"deliver": told}),
            "worker": agent(peers=("peer",)),
            "peer": code(peer),
        }
        budget = {**BIG, "notify": ["agent", "caller"]}
        async with running(handlers=handlers, models=models(model), budget=budget) as organism:
            result = await outcome(organism, "boss")
        assert result.outcome == "completed"
        assert [len(notices(request)) for request in model.requests] == [0, 0, 1, int(told)]


async def test_what_the_last_call_of_a_callee_crosses_is_told_to_the_caller_who_goes_on() -> None:
    for notify in (["agent"], ["agent", "caller"]):
        model = ScriptedModel([asks("worker"), replies(usage=(100, 80_000)), replies()])
        handlers = {"boss": agent(peers=("worker",)), "worker": agent()}
        async with running(handlers=handlers, models=models(model), budget={**BIG, "notify": notify}) as organism:
            result = await outcome(organism, "boss")
        told = "caller" in notify
        assert [warned.to for warned in result.warnings] == ["boss" if told else None]
        assert [len(notices(request)) for request in model.requests] == [0, 0, int(told)]


async def test_one_who_loops_untold_is_stopped_all_the_same() -> None:
    model = ScriptedModel([asks("peer")])
    result = await run(model, UNTOLD, budget={}, loops={"repeats": 4, "within": 12})
    assert (result.outcome, result.usage.messages) == ("stopped", 6)
    assert [(warned.unit, warned.to) for warned in result.warnings] == [("repeats", None)]
    assert not any(notices(request) for request in model.requests)


# Prompts


async def test_the_limits_that_a_prompt_names_are_told_like_the_rest() -> None:
    prompt = "{% if budget is defined %}{{ budget.tokens }}{% else %}untold{% endif %} {{ notices }}"
    said: list[str] = []
    for told in ({}, PLACEBO, NONE, UNTOLD):
        model = ScriptedModel([replies()])
        await run(model, told, prompt=prompt)
        said.append(said_to(model.requests[0])[0])
    assert (said[0], said[2], said[3]) == ("100000 True", "untold True", "untold False")
    assert re.fullmatch(r"\d{4,6} True", said[1])
    assert said[1] != said[0]


async def test_the_standard_prompt_speaks_of_notices_only_to_those_who_get_them() -> None:
    for told in (True, False):
        model = ScriptedModel([replies()])
        await run(model, {"deliver": told})
        assert ('A line that begins with "Budget notice:"' in said_to(model.requests[0])[0]) == told


@pytest.mark.parametrize(("told", "why"), [(NONE, "'notices.figures' is none"), (UNTOLD, "'notices.deliver' is false")])
def test_a_prompt_that_needs_what_is_not_told_is_refused(told: Any, why: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        Organism(handlers={"writer": agent(notices=told, prompt="a\nYou have {{ budget.tokens }}.")})
    head = "Organism(handlers=...) handlers.writer.agent.prompt: line 2: 'budget' has the limits, and"
    between = "'{% if budget is defined %}' and '{% endif %}'"
    assert caught.value.mistakes == (f"{head} {why}: leave it out, or put it between {between}",)


# Wordings


async def test_a_refusal_while_the_agent_goes_on_has_a_wording_of_its_own() -> None:
    model = ScriptedModel([asks("peer", "peer"), replies()])
    wordings = {"exhausted": "No more {{ unit }} ({{ used }} of {{ limit }}).", "grace": "Your last word, {{ scope }}."}
    result = await run(model, wordings, budget={"messages": 2})
    assert (result.outcome, result.reply) == ("exhausted", Done("done"))
    failed = [json.loads(text)["HandlerFailed"] for text in said_to(model.requests[1]) if "HandlerFailed" in text]
    assert [(each["code"], each["text"]) for each in failed] == [("exhausted", "No more messages (2 of 2).")] * 2


async def test_the_last_call_has_the_wording_of_grace() -> None:
    model = ScriptedModel([asks("peer", usage=(100, 3_500)), replies("all", usage=(500, 50))])
    await run(model, {"grace": "Your last word: {{ unit }} {{ used }}/{{ limit }} {{ grace }}"}, budget=SMALL, **GREEDY)
    assert said_to(model.requests[1])[-1] == "Your last word: tokens 3600/10000 True"


async def test_a_refusal_by_a_conversation_has_the_figures_of_the_conversation() -> None:
    model = ScriptedModel([asks("peer", "peer"), replies()])
    handlers = {
        "writer": agent(peers=("peer",), notices={"exhausted": "{{ scope }} {{ used }}/{{ limit }}"}),
        "peer": code(peer),
    }
    settings: dict[str, Any] = {"budget": {"messages": None}, "conversation": {"messages": 2}}
    async with running(handlers=handlers, models=models(model), **settings) as organism:
        await outcome(organism, "writer", conversation="c")
    assert any("conversation 2/2" in text for text in said_to(model.requests[1]))


async def test_a_wording_that_cannot_be_rendered_fails_clearly() -> None:
    model = spending()
    result = await run(model, {"warning": "{{ used / (limit - 100000) }}"})
    assert (result.outcome, result.error) == ("failed", "notices.warning cannot be rendered: division by zero")


FIELDS = "'unit', 'level', 'threshold', 'used', 'held', 'limit', 'remaining', 'calls_left', 'scope' or 'text'"
FEWER = "'unit', 'used', 'limit', 'scope', 'grace' or 'text'"
A_FIGURE = "is a figure, and 'notices.figures' is none: leave it out"


@pytest.mark.parametrize(("section", "mistake"), [
    ({"warning": "a\n{{ usde }}"}, f"warning: line 2: nothing is called 'usde' here; did you mean 'used'?; use {FIELDS}"),
    ({"exhausted": "{{ held }}"}, f"exhausted: line 1: nothing is called 'held' here; use {FEWER}"),
    ({"grace": "{{ calls_left }}"}, f"grace: line 1: nothing is called 'calls_left' here; use {FEWER}"),
    ({"warning": "{{ used"}, "warning: line 1: unexpected end of template, expected 'end of print statement'"),
    ({"warning": "no.md"}, "warning: 'no.md' is not a file that is there; a line that ends in '.md', '.txt' or '.j2' is a path"),
    ({"figures": "none", "warning": "{{ level }}\n\n{{ used }}"}, f"warning: line 3: 'used' {A_FIGURE}"),
    ({"figures": "none", "grace": "{{ limit }}"}, f"grace: line 1: 'limit' {A_FIGURE}"),
    ({"figures": "some"}, "figures: 'some' is not 'true', 'none' or 'placebo'"),
    ({"figures": False}, "figures: False is not 'true', 'none' or 'placebo'"),
    ({"deliver": "no"}, "deliver: 'no' is not true or false"),
])  # fmt: skip
def test_what_is_wrong_with_notices(section: Any, mistake: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        Organism(handlers={"writer": agent(notices=section)})
    assert caught.value.mistakes == (f"Organism(handlers=...) handlers.writer.agent.notices.{mistake}",)


@pytest.mark.parametrize("section", [
    {"figures": True}, {"figures": "true"}, {"deliver": True}, {"figures": "none", "warning": "{{ unit }} {{ used is defined }}"},
    {"warning": "{{ used | default('?') }} {% set x = 1 %}{{ x }} {% for n in range(2) %}{{ n }}{% endfor %}"},
])  # fmt: skip
def test_what_is_right_with_notices(section: Any) -> None:
    Organism(handlers={"writer": agent(notices=section)})


def test_a_wording_in_a_file_is_found_by_its_line(tmp_path: Path) -> None:
    (tmp_path / "warning.md").write_text("one\ntwo {{ spent }}\n", "utf-8")
    with pytest.raises(ConfigurationError, match=r"warning: .*warning\.md:2: nothing is called 'spent' here"):
        Organism(folder=tmp_path, handlers={"writer": agent(notices={"warning": "warning.md"})})


# The record


@pytest.mark.parametrize("told", [{}, NONE, PLACEBO, {"warning": "Mind the {{ unit }}."}])
async def test_the_record_holds_the_notice_that_the_model_was_given(told: Any) -> None:
    model = spending()
    handlers = {"writer": agent(peers=("peer",), notices=told), "peer": code(peer)}
    async with running(handlers=handlers, models=models(model), budget=BIG) as organism:
        await outcome(organism, "writer")
    facts = [encode(fact, "t") for fact in organism.watch.facts if isinstance(fact, CallHeld)]
    recorded = list(prompts(facts).values())
    assert [each[-1]["content"] for each in recorded[1:]] == [said_to(request)[-1] for request in model.requests[1:]]
    assert recorded[1][-1]["content"].startswith(("Budget notice: warning.", "Mind the tokens."))
    assert len(organism.watch.of(Noticed)) == 2


async def test_a_warning_that_a_failed_attempt_has_heard_is_told_again_by_the_next_one() -> None:
    """R9: nothing of the failed attempt is used again, so its successor has not heard of it."""
    fails = Says(error=BackendError("rejected", "out of order"))
    one = asks("peer", usage=(10, 10))
    model = ScriptedModel([asks("peer", usage=(100, 73_910)), one, fails, one, one, replies(usage=(10, 10))])
    policy = {"on_failure": {"attempts": 2, "backoff": [1, 1]}}
    handlers = {"writer": agent(peers=("peer",)) | policy, "peer": code(peer)}
    async with running(handlers=handlers, models=models(model), budget=BIG) as organism:
        result = await outcome(organism, "writer")
    assert result.outcome == "completed", result.error
    assert [len(notices(request)) for request in model.requests] == [0, 1, 0, 1, 0, 0]
    assert [(warned.level, warned.to) for warned in result.warnings] == [("warning", "writer")]
    assert len(organism.watch.of(Noticed)) == 1


async def test_a_warning_that_no_model_answered_is_told_again_by_the_next_attempt() -> None:
    fails = Says(error=BackendError("rejected", "out of order"))
    model = ScriptedModel(
        [asks("peer", usage=(100, 73_910)), fails, asks("peer", usage=(10, 10)), replies(usage=(10, 10))]
    )
    policy = {"on_failure": {"attempts": 2, "backoff": [1, 1]}}
    handlers = {"writer": agent(peers=("peer",)) | policy, "peer": code(peer)}
    async with running(handlers=handlers, models=models(model), budget=BIG) as organism:
        result = await outcome(organism, "writer")
    assert result.outcome == "completed", result.error
    assert [len(notices(request)) for request in model.requests] == [0, 1, 1, 0]
    assert [(warned.level, warned.to) for warned in result.warnings] == [("warning", "writer")]
    assert len(organism.watch.of(Noticed)) == 1
