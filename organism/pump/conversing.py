"""What the embedding program holds of a lasting conversation: to see its limits, and to change them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from organism.budget.view import BudgetView, Gauge
from organism.config import budget_over
from organism.errors import ConfigurationError, NotRunningError
from organism.kernel.times import running_time
from organism.pump.handles import raised
from organism.settings import UNITS

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
        state, now = self._pump.kernel.state, self._pump.now
        conversation = state.conversations.get(self.id, self._conversation)

        def seconds() -> tuple[float, float | None, tuple[str, ...]]:
            running = sum(running_time(state, turn, now()) for turn in list(conversation.turns)[:1])
            return round(conversation.seconds + running, 3), conversation.node.caps.seconds, ()

        depth = Gauge("depth", lambda: (0, None, ()))
        return BudgetView(conversation.node, seconds=Gauge("seconds", seconds), depth=depth)

    def add_budget(self, **units: float | str | Decimal) -> None:
        """Raises limits by these amounts: ``add_budget(tokens=1000)``. A unit without a limit stays without. More ``seconds`` count
        from the next turn on. Raises NotRunningError where the conversation was let go since: idle for long, or removed.
        """
        if wrong := [unit for unit in units if unit not in _UNITS]:
            raise ConfigurationError(
                [f"{wrong[0]!r} is no unit of a conversation that can be raised; there is {', '.join(_UNITS)}"]
            )
        conversation = self._known()
        self._set(conversation, raised(conversation.budget, units))

    def set_budget(self, **keys: Any) -> None:
        """Sets what is named, as in ``conversation:`` but ``on_cap``; ``tokens=None`` is no limit. Lowered below what is spent, nothing
        more is granted. Raises as :meth:`add_budget`.
        """
        if "depth" in keys:
            raise ConfigurationError(["budget.depth: depth is of one turn, and a conversation has none"])
        conversation = self._known()
        self._set(conversation, budget_over(conversation.budget, keys, self._pump.handlers))

    def _known(self) -> Conversation:
        # One that was idle for long was let go, and is another object once it is taken up again; or it was removed, and no chain is there.
        conversation = self._pump.kernel.state.conversations.get(self.id)
        if conversation is None:
            raise NotRunningError(
                f"conversation {self.id!r:.80} was let go while nothing of it ran: find it again with `organism.conversation_of`"
            )
        return conversation

    def _set(self, conversation: Conversation, budget: BudgetSettings) -> None:
        self._pump.home.check()
        self._pump.kernel.calls.set_conversation_limits(conversation, budget, self._pump.now())
        self._pump.carry_out()
