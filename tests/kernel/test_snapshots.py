"""The value by which states are compared: what is different there is different here, or a law that compares them holds of nothing."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest

from organism.budget.claims import OUTPUT, TOKENS
from organism.kernel.comparable import comparable
from organism.settings import BudgetSettings, Limits
from organism.testing import differences, running
from tests.durable.turns_world import COUNTER, turn
from tests.hard.pump_world import Go
from tests.kernel.kernel_world import World, handler, organism_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from organism.budget.node import Node


def _mark(node: Node) -> None:
    node.fired = [frozenset({Decimal("0.75")}), *node.fired[1:]]


CHANGES: dict[str, Callable[[Node], None]] = {
    "used": lambda node: setattr(node, "used", [7, *node.used[1:]]),
    "own": lambda node: setattr(node, "own", [7, *node.own[1:]]),
    "held": lambda node: setattr(node, "held", [*node.held[:OUTPUT], 7, *node.held[OUTPUT + 1 :]]),
    "overdraft": lambda node: setattr(node, "overdraft", (7, 0, 0, 0, 0, 0)),
    "details": lambda node: setattr(node, "details", (7, 0, 0)),
    "estimated": lambda node: setattr(node, "estimated", not node.estimated),
    "unpriced": lambda node: setattr(node, "unpriced", not node.unpriced),
    "fired": _mark,
}


@pytest.mark.parametrize("what", list(CHANGES))
@pytest.mark.parametrize("whose", ["root", "thread"])
def test_no_figure_of_a_budget_is_left_out(whose: str, what: str) -> None:
    world = World(organism_of(handler("a", Go), budget=BudgetSettings(limits=Limits(tokens=1000))))
    thread = world.accept("a", Go())
    assert thread is not None
    state = world.kernel.state
    before = comparable(state)
    assert before["threads"]["t0"]["node"]["limit"][TOKENS] == 1000
    CHANGES[what](state.root if whose == "root" else thread.node)
    after = comparable(state)
    assert differences(before, after)
    own: dict[str, Any] = (after["root"] if whose == "root" else after["threads"]["t0"]["node"])[what]
    assert own != (before["root"] if whose == "root" else before["threads"]["t0"]["node"])[what]


async def test_what_a_conversation_remembers_is_in_it() -> None:
    async with running(handlers=COUNTER) as organism:
        await turn(organism, "counter", "a")
        await turn(organism, "counter", "b")
        assert comparable(organism.kernel.state)["conversations"]["c"]["state"] == {"counter": {"turns": 2}}
