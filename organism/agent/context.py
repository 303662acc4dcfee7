"""What an agent sees besides what every handler sees: its warnings, and whether a last call on grace would fit."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from organism.budget.claims import VECTOR
from organism.budget.tree import lack, output_room
from organism.context import Context
from organism.kernel.notices import exhausted_payload, live, warning_payload
from organism.pump.delivery import failure_of
from organism.pump.keys import GRACE, completion_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from organism.errors import BudgetExhaustedError
    from organism.frames import Warned
    from organism.models.completion import Call, Completion
    from organism.payloads.primitives import BudgetExhausted, BudgetWarning


class AgentContext(Context):
    """The context of a handler that is an agent."""

    def unheard(self) -> tuple[Warned, ...]:
        """The warnings that this agent is to be told in its next prompt."""
        return self._pump.kernel.unheard(self._message)

    def warning(self, warned: Sequence[Warned]) -> BudgetWarning:
        """One message for these warnings, with the figures of now."""
        threads, thread = self._pump.kernel.state.threads, self._message.thread
        return warning_payload([live(threads, thread, each) for each in warned])

    def exhaustion(self, error: BudgetExhaustedError) -> BudgetExhausted:
        """The refusal of a call, as the agent is told it."""
        failure = failure_of(error)
        return exhausted_payload(self._message.thread.node, failure)

    @property
    def has_grace(self) -> bool:
        """Whether this agent handles its thread's root frame and has not made the one call on grace."""
        thread = self._message.thread
        return thread.handler == self.name and (not thread.graced or GRACE in (self._message.known or ()))

    def recalled_grace(self) -> Completion | None:
        """What the call on grace was answered that this delivery made before its process ended."""
        kept = self.recall(GRACE)
        return None if kept is None else completion_of(*kept)

    async def call_on_grace(self, call: Call, *, tells: Sequence[Warned]) -> Completion:
        """Makes the thread's one call on grace, or one within what is left where grace is another's."""
        return await self.call_model(call, grace=self.has_grace, tells=tells, kind=GRACE)

    def fits_grace(self, call: Call, *, answer: float = 0.0) -> bool:
        """Whether a call could be made on what is kept back, with ``answer`` of the room left for what it answers."""
        path = self._message.thread.node.path
        strict = any(node.policy.accounting == "strict" for node in path)
        claim = self._pump.router.claim(call, strict=strict)
        if claim is None:
            return False
        room = output_room(path, claim, grace=True)
        wanted = min(claim.wish, int(answer * (room + claim.input_tokens)))
        output = max(min(claim.min_output, claim.wish), wanted)
        return lack(path, claim.need(output), grace=True) is None

    def limits(self) -> dict[str, Any]:
        """The limits of the thread's own budget by unit, as prompts may name them."""
        node = self._message.thread.node
        found = {unit: node.figures(index)[2] for index, unit in enumerate(VECTOR)}
        return {unit: limit for unit, limit in found.items() if limit is not None}
