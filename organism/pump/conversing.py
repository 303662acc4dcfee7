"""What the embedding program holds of a lasting conversation: to see its limits, and to change them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from organism.budget.view import BudgetView, Gauge
from organism.config import budget as parse_budget
from organism.config.grants import with_decider
from organism.errors import ConfigurationError
from organism.kernel.times import running_time
from organism.pump.handles import raised
from organism.settings import UNITS, laid_over

if TYPE_CHECKING:
    from decimal import Decimal

    from organism.pump.pump import Pump
    from organism.settings import BudgetSettings
    from organism.threads.frames import Conversation

_UNITS = tuple(unit for unit in UNITS if unit != "depth")


class ConversationHandle:
    """A conversation that has begun, whether a turn of it runs or not. ``id`` is its name."""

    def __init__(self, pump: Pump, conversation: Conversation) -> None:
        self._pump = pump
        self._conversation = conversation

    @property
    def id(self) -> str:
        """The conversation's name; of one that goes on in a fresh one, the name of that."""
        return self._conversation.id

    @property
    def budget(self) -> BudgetView:
        """Its limits and what all its turns have used of them, live, as ``ctx.budget`` of a thread."""
        conversation = self._conversation
        state, now = self._pump.kernel.state, self._pump.now

        def seconds() -> tuple[float, float | None, tuple[str, ...]]:
            running = sum(running_time(state, turn, now()) for turn in list(conversation.turns)[:1])
            return round(conversation.seconds + running, 3), conversation.node.caps.seconds, ()

        depth = Gauge("depth", lambda: (0, None, ()))
        return BudgetView(conversation.node, seconds=Gauge("seconds", seconds), depth=depth)

    def add_budget(self, **units: float | str | Decimal) -> None:
        """Raises limits by these amounts: ``add_budget(tokens=1000)``. A unit without a limit stays without. More ``seconds`` count
        from the next turn on.
        """
        if wrong := [unit for unit in units if unit not in _UNITS]:
            raise ConfigurationError(
                [f"{wrong[0]!r} is no unit of a conversation that can be raised; there is {', '.join(_UNITS)}"]
            )
        self._set(raised(self._conversation.budget, units))

    def set_budget(self, **keys: Any) -> None:
        """Sets what is named, as in ``conversation:`` but ``on_cap``; ``tokens=None`` is no limit. Lowered below what is spent, nothing
        more is granted.
        """
        if "depth" in keys:
            raise ConfigurationError(["budget.depth: depth is of one turn, and a conversation has none"])
        budget = with_decider(parse_budget(keys), self._pump.handlers)
        self._set(laid_over(self._conversation.budget, budget, keys))

    def _set(self, budget: BudgetSettings) -> None:
        self._pump.kernel.calls.set_conversation_limits(self._conversation, budget, self._pump.now())
        self._pump.carry_out()
