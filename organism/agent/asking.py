"""The one place from which an agent asks its model: what a turn says and offers goes out, and its completion comes back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from organism.models.completion import Call

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from organism.agent.context import AgentContext
    from organism.agent.speech import Offer
    from organism.frames import Warned
    from organism.models.completion import Completion
    from organism.settings import AgentSettings


class Asking:
    """Asks the model of one agent, for one delivery."""

    def __init__(self, agent: AgentSettings, ctx: AgentContext) -> None:
        self._agent = agent
        self._ctx = ctx

    async def turn(
        self, prompt: Sequence[Mapping[str, Any]], offer: Offer, *, tells: Sequence[Warned] = ()
    ) -> Completion:
        """What the model says to a prompt. ``tells`` are the warnings that the prompt tells of.

        Raises BudgetExhaustedError before a backend is touched that the budget cannot bear, ModelError where none answered.
        """
        return await self._ctx.call_model(self.call(prompt, offer), tells=tells)

    async def on_grace(self, call: Call, *, tells: Sequence[Warned]) -> Completion:
        """What the model says to the one call on grace; raises like :meth:`turn`."""
        return await self._ctx.call_on_grace(call, tells=tells)

    def call(self, prompt: Sequence[Mapping[str, Any]], offer: Offer) -> Call:
        """The call that asks for a turn."""
        agent = self._agent
        return Call(
            messages=tuple(prompt),
            model=agent.model,
            wish=agent.max_output_tokens,
            min_output_tokens=agent.min_output_tokens,
            temperature=agent.temperature,
            seed=agent.seed,
            reasoning_effort=agent.reasoning_effort,
            tools=offer.tools,
            tool_choice=offer.choice,
        )
