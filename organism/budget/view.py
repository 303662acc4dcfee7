"""A budget as handlers and programs see it: live, and not to be changed through it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from organism.budget.claims import CALLS, COST, INPUT, MESSAGES, OUTPUT, TOKENS, VECTOR

if TYPE_CHECKING:
    from organism.budget.tree import Amount, Node


class UnitView:
    """One unit of a thread's own budget, live. ``limit`` and ``remaining`` are ``None`` without a limit."""

    def __init__(self, node: Node, unit: int) -> None:
        self._node = node
        self._unit = unit

    @property
    def used(self) -> Amount:
        """What was spent: int, or Decimal for ``cost_usd``."""
        return self._figures()[0]

    @property
    def held(self) -> Amount:
        """What pending calls may still cost."""
        return self._figures()[1]

    @property
    def limit(self) -> Amount | None:
        """What may be spent at most."""
        return self._figures()[2]

    @property
    def remaining(self) -> Amount | None:
        """The limit less what is kept back, used and held; at least 0."""
        return self._figures()[3]

    @property
    def crossed(self) -> tuple[str, ...]:
        """The levels that have been crossed, in order; ``runway`` last."""
        return self._node.crossed(self._unit)

    def _figures(self) -> tuple[Amount, Amount, Amount | None, Amount | None]:
        return self._node.figures(self._unit)

    def __repr__(self) -> str:
        used, held, limit, _ = self._figures()
        return f"<{VECTOR[self._unit]}: {used} used, {held} held, limit {limit}>"


class BudgetView:
    """The budget of the thread a handler works in, live; one attribute for each unit that is spent."""

    def __init__(self, node: Node) -> None:
        self.tokens = UnitView(node, TOKENS)
        self.input_tokens = UnitView(node, INPUT)
        self.output_tokens = UnitView(node, OUTPUT)
        self.cost_usd = UnitView(node, COST)
        self.model_calls = UnitView(node, CALLS)
        self.messages = UnitView(node, MESSAGES)
