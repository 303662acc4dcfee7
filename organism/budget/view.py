"""A budget as handlers and programs see it: live and read-only."""

from __future__ import annotations

from typing import TYPE_CHECKING, Generic, TypeVar, cast

from organism.budget.claims import CALLS, COST, INPUT, MESSAGES, OUTPUT, TOKENS, VECTOR

if TYPE_CHECKING:
    from collections.abc import Callable
    from decimal import Decimal

    from organism.budget.node import Node

A = TypeVar("A", bound="int | Decimal")


class UnitView(Generic[A]):
    """One unit of a thread's own budget, live: USD for ``cost_usd``, a Decimal, and else whole numbers. ``limit`` and ``remaining`` are
    ``None`` without a limit.
    """

    def __init__(self, node: Node, unit: int) -> None:
        self._node = node
        self._unit = unit

    @property
    def used(self) -> A:
        """What was spent."""
        return self._figures()[0]

    @property
    def held(self) -> A:
        """What calls under way may still cost at most."""
        return self._figures()[1]

    @property
    def limit(self) -> A | None:
        """What may be spent at most."""
        return self._figures()[2]

    @property
    def remaining(self) -> A | None:
        """The limit minus what is kept back for a last answer, used and held; at least 0."""
        return self._figures()[3]

    @property
    def crossed(self) -> tuple[str, ...]:
        """The levels that have been crossed, in order; ``runway`` last."""
        return self._node.crossed(self._unit)

    def _figures(self) -> tuple[A, A, A | None, A | None]:
        return cast("tuple[A, A, A | None, A | None]", self._node.figures(self._unit))

    def __repr__(self) -> str:
        used, held, limit, _ = self._figures()
        return f"<{VECTOR[self._unit]}: {used} used, {held} held, limit {limit}>"


class Gauge:
    """A unit that is neither held nor summed, live: the seconds that a thread has run, or the depth of a call. ``reading`` gives
    (used, limit, crossed levels); ``limit`` is ``None`` where there is none.
    """

    def __init__(self, name: str, reading: Callable[[], tuple[float, float | None, tuple[str, ...]]]) -> None:
        self._name = name
        self._reading = reading

    @property
    def used(self) -> float:
        """Seconds of running time, a float; or the depth in calls, an int."""
        return self._reading()[0]

    @property
    def held(self) -> int:
        """Always 0: this unit is never held."""
        return 0

    @property
    def limit(self) -> float | None:
        """What is allowed at most."""
        return self._reading()[1]

    @property
    def remaining(self) -> float | None:
        """The limit minus what is used; at least 0."""
        used, limit, _ = self._reading()
        return None if limit is None else max(type(used)(0), limit - used)

    @property
    def crossed(self) -> tuple[str, ...]:
        """The levels that have been crossed, in order; depth has none."""
        return self._reading()[2]

    def __repr__(self) -> str:
        used, limit, _ = self._reading()
        return f"<{self._name}: {used:g} used, limit {limit}>"


class BudgetView:
    """The budget of the thread that a handler works in, live; one attribute for each unit."""

    def __init__(self, node: Node, *, seconds: Gauge, depth: Gauge) -> None:
        self.seconds = seconds
        self.depth = depth
        self.tokens: UnitView[int] = UnitView(node, TOKENS)
        self.input_tokens: UnitView[int] = UnitView(node, INPUT)
        self.output_tokens: UnitView[int] = UnitView(node, OUTPUT)
        self.cost_usd: UnitView[Decimal] = UnitView(node, COST)
        self.model_calls: UnitView[int] = UnitView(node, CALLS)
        self.messages: UnitView[int] = UnitView(node, MESSAGES)
