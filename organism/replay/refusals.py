"""Refusals of limits, as the handlers heard of them that they met."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from organism.budget.caps import figure
from organism.budget.claims import VECTOR
from organism.errors import BudgetExhaustedError
from organism.kernel.windows import roll_hint
from organism.usage import pico

if TYPE_CHECKING:
    from organism.record import facts
    from organism.threads.frames import Message


def is_told_by(fact: facts.CallRefused, found: Exception | None) -> bool:
    """Whether a refusal is the one that the record tells of."""
    return isinstance(found, BudgetExhaustedError) and (fact.unit, fact.scope, fact.account, fact.need) == (
        found.unit,
        found.scope,
        found.account,
        found.need,
    )


def refusal_of(message: Message, fact: facts.CallRefused) -> BudgetExhaustedError:
    """The error of a refusal, with the figures of its instant."""
    path = message.thread.node.path
    # Journals of before do not say which account it was; what is told then is what was told then.
    nodes = [node for node in path if node.scope == fact.scope and fact.account in {None, node.account}] or [
        message.thread.node
    ]
    if fact.unit not in VECTOR:
        deepest = nodes[0].caps.depth or 0
        return BudgetExhaustedError(fact.unit, fact.scope, fact.need - 1, 0, deepest, fact.need)
    unit = VECTOR.index(fact.unit)
    needed = pico(fact.need) if fact.unit == "cost_usd" else fact.need

    def lacks(node: Any) -> bool:
        return bool(node.used[unit] + node.held[unit] + needed > node.caps.working[unit])

    node = next((each for each in nodes if lacks(each)), nodes[0])
    used, held, limit = (figure(unit, each) for each in (node.used[unit], node.held[unit], node.caps.limit[unit]))
    return BudgetExhaustedError(
        fact.unit, fact.scope, used, held, limit, fact.need, hint=roll_hint(node), account=fact.account
    )
