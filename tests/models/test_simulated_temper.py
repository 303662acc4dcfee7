"""The simulated model differs from seed to seed in how much it looks up and writes, and asks for more budget where too little is left."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest

from organism import Context, Reply, payload
from organism.models.simulation.options import Options
from organism.primitives import BudgetDecision, BudgetRequest
from organism.settings import NOTHING
from organism.testing import running
from tests.models.simulated_world import STRING, play, record, tool

if TYPE_CHECKING:
    from collections.abc import Mapping

    from organism.models.contract import ToolCall
    from organism.results import ThreadResult

PAGES = tuple(f"{letter}.md" for letter in "abcdef")
TASK = "<Question><text>How do bees make honey?</text></Question>"
SEEK = tool("find", record({"query": STRING}), "Searches for words.")
READ = tool("read", record({"path": STRING}), "Reads a file.")
REPLY = tool("reply", record({"text": STRING}))


def _world(call: ToolCall) -> str:
    given = json.loads(call.arguments)
    if call.name == "find":
        return json.dumps({"items": [{"path": path} for path in PAGES]})
    said = " ".join(
        f"For honey {given['path']} tells that bees {verb}." for verb in ("fly", "dance", "drink", "fan", "rest")
    )
    return json.dumps({"path": given["path"], "text": said})


def _calls_and_tokens(seed: int, **how: Any) -> tuple[int, int]:
    played = play(TASK, [SEEK, READ, REPLY], _world, options=Options(seed=seed), **how)
    return len(played.calls), played.output_tokens


def test_seeds_differ_in_how_much_is_looked_up_and_written() -> None:
    drawn = [_calls_and_tokens(seed) for seed in range(1, 21)]
    assert len({calls for calls, _ in drawn}) > 1
    assert len({tokens for _, tokens in drawn}) > 4
    usual = _calls_and_tokens(0)[1]
    assert min(tokens for _, tokens in drawn) < usual < max(tokens for _, tokens in drawn)


def test_the_same_seed_takes_the_same() -> None:
    assert [_calls_and_tokens(seed) for seed in range(5)] == [_calls_and_tokens(seed) for seed in range(5)]


# Asking for more


@payload
class Query:
    text: str


@payload
class Page:
    path: str


@payload
class Found:
    pages: list[Page]


@payload
class Text:
    text: str


async def find(query: Query, ctx: Context) -> Reply[Found]:
    """Finds pages."""
    return Reply(Found([Page(path) for path in PAGES]))


async def read(page: Page, ctx: Context) -> Reply[Text]:
    """Reads a page."""
    return Reply(Text(f"On page {page.path} bees make honey. " + "A bee flies far to find honey on a meadow. " * 12))


async def _answered(
    budget: Mapping[str, Any], *, grants: bool = True, options: Mapping[str, Any] = NOTHING, **agent: Any
) -> tuple[ThreadResult, list[BudgetRequest]]:
    """What an answer comes to, and what was asked for on the way."""
    asked: list[BudgetRequest] = []

    async def decide(request: BudgetRequest, ctx: Context) -> Reply[BudgetDecision]:
        """Decides."""
        asked.append(request)
        return Reply(BudgetDecision(granted=grants, unit=request.unit, amount=request.amount, reason=BOSS))

    writer = {
        "description": "Writes.",
        "peers": ["finder", "shelf"],
        "agent": {"accepts": Query, "replies": Text, **agent},
    }
    handlers = {"writer": writer, "finder": find, "shelf": read, "boss": decide}
    models = {"default": {"backends": [{"provider": "simulated", "model": "sim-1", "options": options}]}}
    async with running(handlers=handlers, budget=budget, models=models) as organism:
        return await (await organism.send("writer", Query("How do bees make honey?"))).result(), asked


BOSS = "Bees make honey where the boss of bees grants honey."
SHORT = {"tokens": 2500, "warn_at": [0.15], "grants_by": "boss"}


async def test_it_asks_once_for_what_is_lacking_and_goes_on_with_what_is_granted() -> None:
    granted, asked = await _answered({"model_calls": 3, "warn_at": [0.3], "grants_by": "boss"})
    assert [(each.unit, each.amount) for each in asked] == [("model_calls", Decimal(3))]
    assert asked[0].reason == "It would take 4 more calls to finish this, and what is left is not enough for them."
    said = granted.reply_as(Text).text
    assert (granted.outcome, "meadow" in said) == ("completed", True)
    assert BOSS not in said


@pytest.mark.by_turns
async def test_it_makes_do_where_nothing_is_granted() -> None:
    refused, asked = await _answered(SHORT, grants=False)
    assert [each.unit for each in asked] == ["tokens"]
    assert 1000 < asked[0].amount < 2500
    assert (refused.outcome, refused.usage.model_calls) == ("completed", 3)  # it reads no page any more


@pytest.mark.by_turns
@pytest.mark.parametrize(
    ("budget", "more"),
    [
        ({**SHORT, "grants_by": None}, {}),
        ({**SHORT, "tokens": 50_000, "warn_at": [0.008]}, {}),
        (SHORT, {"options": {"obedience": 0.0}}),
        (SHORT, {"notices": {"deliver": False}}),
        (SHORT, {"notices": {"figures": "none"}}),
    ],
    ids=["nobody decides", "there is enough", "it heeds nothing", "it is not told", "it is told no figures"],
)
async def test_it_does_not_ask_where_it_need_not_or_may_not(budget: Mapping[str, Any], more: Any) -> None:
    result, asked = await _answered(budget, **more)
    assert asked == []
    assert result.replies
