"""Who decides on requests for more: whether the handler that is named can, wherever it is named."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from organism import Context, Reply, config, payload
from organism.config.named import with_decider
from organism.errors import ConfigurationError
from organism.loader import replies_of
from organism.primitives import BudgetDecision, BudgetRequest
from organism.settings import Policy


@payload
class Note:
    """Something else."""

    text: str


async def decides(asked: BudgetRequest, ctx: Context) -> Reply[BudgetDecision]:
    """Decides."""
    return Reply(BudgetDecision(granted=True, unit=asked.unit, amount=asked.amount, reason=""))


async def notes(asked: BudgetRequest, ctx: Context) -> Reply[Note] | None:
    """Takes note."""
    return None


async def untold(asked: BudgetRequest, ctx: Context) -> Any:
    """Who knows."""
    return None


async def writes(note: Note, ctx: Context) -> Reply[Note]:
    """Writes."""
    return Reply(note)


HANDLERS = {"decides": decides, "notes": notes, "untold": untold, "writes": writes}
PROBLEMS = {
    "decide": "'decide' is not a handler; did you mean 'decides'?",
    "notes": "'notes' replies Note, and no BudgetDecision: name a handler that decides on a BudgetRequest",
    "writes": "'writes' takes Note, and no BudgetRequest: name a handler that decides on one",
}


def built(**document: Any) -> Any:
    return config.build({"organism": "o", "handlers": HANDLERS, **document})


@pytest.mark.parametrize("name", ["decides", "untold"])
def test_a_handler_that_may_decide_is_taken(name: str) -> None:
    settings = built(budget={"grants_by": name, "grants_up_to": {"tokens": 20_000, "cost_usd": "0.10", "seconds": 1.5}})
    assert settings.budget.grants_by == name
    assert settings.budget.grants_up_to == {
        "tokens": Decimal(20_000), "cost_usd": Decimal("0.10"), "seconds": Decimal("1.5"),
    }  # fmt: skip


@pytest.mark.parametrize("name", PROBLEMS)
def test_one_that_cannot_is_a_mistake_wherever_it_is_named(name: str) -> None:
    handlers = {**HANDLERS, "own": {"code": writes, "budget": {"grants_by": name}}}
    with pytest.raises(ConfigurationError) as caught:
        built(handlers=handlers, budget={"grants_by": name}, conversation={"grants_by": name})
    assert [mistake.partition(") ")[2] for mistake in caught.value.mistakes] == [
        f"budget.grants_by: {PROBLEMS[name]}",
        f"conversation.grants_by: {PROBLEMS[name]}",
        f"handlers.own.budget.grants_by: {PROBLEMS[name]}",
    ]


def test_a_budget_that_a_program_gives_names_one_that_can_as_well() -> None:
    agent = {"accepts": BudgetRequest, "replies": Note}
    known = built(handlers={**HANDLERS, "boss": {"agent": agent, "description": "Takes note."}}).handlers
    for name in ("decides", "untold", None):
        given = config.budget({"tokens": 5, "grants_by": name})
        assert with_decider(given, known) is given
    for name, problem in {**PROBLEMS, "boss": PROBLEMS["notes"].replace("notes", "boss")}.items():
        with pytest.raises(ConfigurationError) as caught:
            with_decider(config.budget({"grants_by": name}), known)
        assert caught.value.mistakes == (f"budget.grants_by: {problem}",)


def test_an_agent_that_decides_says_so() -> None:
    agent = {"accepts": BudgetRequest, "replies": [Note, BudgetDecision]}
    assert built(handlers={"boss": {"agent": agent, "description": "Decides."}}, budget={"grants_by": "boss"})
    agent["replies"] = Note
    with pytest.raises(ConfigurationError, match="'boss' replies Note"):
        built(handlers={"boss": {"agent": agent, "description": "Decides."}}, budget={"grants_by": "boss"})


def test_nobody_is_said_with_null_and_goes_over_who_decides_above() -> None:
    settings = built(budget={"grants_by": "decides"})
    above = settings.budget.policy(config.budget({}).policy(settings.budget.policy(Policy())))
    assert config.budget({"tokens": 5}).policy(above).grants_by == "decides"
    assert config.budget({"grants_by": None}).policy(above).grants_by == ""
    assert built(budget={"grants_by": None}).budget.grants_by == ""


@pytest.mark.parametrize(
    ("given", "mistake"),
    [
        ({"depth": 3}, "budget.grants_up_to.depth: depth is never granted: leave it out"),
        ({"tokens": -1}, "budget.grants_up_to.tokens: -1 is negative"),
        ({"tokens": None}, "budget.grants_up_to.tokens: has no value: give a whole number, or leave the key out"),
        ({"tokns": 1}, "budget.grants_up_to.tokns: unknown key; did you mean 'tokens'?"),
    ],
)
def test_what_may_be_granted_is_named_by_unit(given: dict[str, Any], mistake: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        config.budget({"grants_up_to": given})
    assert caught.value.mistakes == (mistake,)


async def both(asked: BudgetRequest, ctx: Context) -> Reply[BudgetDecision | Note]:
    """Either."""
    return Reply(Note(""))


async def hidden(asked: BudgetRequest, ctx: Context) -> Reply[Nowhere]:  # type: ignore[name-defined]  # noqa: F821 - as for type checkers alone
    """Cannot be known."""
    raise NotImplementedError


class Callable:
    """An object that handles."""

    async def __call__(self, asked: BudgetRequest, ctx: Context) -> Reply[BudgetDecision]:
        """Decides."""
        return await decides(asked, ctx)


@pytest.mark.parametrize(
    ("handler", "replies"),
    [
        (decides, (BudgetDecision,)),
        (notes, (Note,)),
        (both, (BudgetDecision, Note)),
        (untold, None),
        (hidden, None),
        (Callable(), (BudgetDecision,)),
        (lambda _asked, _ctx: None, None),
    ],
)
def test_what_a_handler_replies_is_read_from_its_annotation(handler: Any, replies: Any) -> None:
    assert replies_of(handler) == replies
