"""What an agent sees besides what every handler sees: its warnings, and whether a last call on grace would fit."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from organism.budget.claims import VECTOR
from organism.budget.levels import level_of
from organism.budget.tree import lack, output_room
from organism.context import Context
from organism.kernel.notices import exhausted_payload, live
from organism.pump.delivery import failure_of
from organism.pump.keys import GRACE, completion_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from organism.errors import BudgetExhaustedError
    from organism.frames import Failure, Thread, Warned
    from organism.models.completion import Call, Completion
    from organism.payloads.primitives import BudgetExhausted


class AgentContext(Context):
    """The context of a handler that is an agent."""

    def unheard(self) -> tuple[Warned, ...]:
        """The warnings that this agent is to be told in its next prompt."""
        return self._pump.kernel.unheard(self._message)

    def with_live_figures(self, warned: Warned) -> Warned:
        """A warning with the figures of now."""
        return live(self._pump.kernel.state.threads, self._message.thread, warned)

    def exhaustion(self, error: BudgetExhaustedError) -> BudgetExhausted:
        """The refusal of a call after which one last answer is possible."""
        return exhausted_payload(self._message.thread.node, failure_of(error))

    @property
    def scope(self) -> str:
        """What its thread is: ``thread`` or ``sub-thread``."""
        return self._message.thread.node.scope

    @property
    def ran_out(self) -> bool:
        """Whether messages or time of its thread ran out: it hands in what it has."""
        return self._message.thread.closing

    def refusal(self, failure: Failure) -> BudgetExhausted:
        """The refusal of a call to a peer, after which the agent goes on."""
        return exhausted_payload(self._message.thread.node, failure, grace=False)

    @property
    def may_ask(self) -> bool:
        """Whether somebody else decides on requests for more, of its thread's limits or of those that called it."""
        thread: Thread | None = self._message.thread
        while thread is not None:
            if thread.node.policy.grants_by not in {"", self.name}:
                return True
            thread = None if thread.owner is None else thread.owner.thread
        return False

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
        claim = self._pump.router.claim(call, strict=strict, level=level_of(path))
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
