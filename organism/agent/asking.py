"""The one place from which an agent asks its model: what a turn says and offers goes out, and its completion comes back."""

from __future__ import annotations

from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

from organism.agent.voice import Voice
from organism.models.completion import Call

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from contextlib import AbstractContextManager

    from organism.agent.context import AgentContext
    from organism.agent.speech import Offer
    from organism.models.completion import Completion
    from organism.outcomes import Warned
    from organism.settings import AgentSettings


class Asking:
    """Asks the model of one agent, for one delivery."""

    def __init__(self, agent: AgentSettings, ctx: AgentContext) -> None:
        self._agent = agent
        self._ctx = ctx
        self._voice: Voice | None = None

    async def turn(
        self, prompt: Sequence[Mapping[str, Any]], offer: Offer, *, tells: Sequence[Warned] = ()
    ) -> Completion:
        """What the model says to a prompt. ``tells`` are the warnings that the prompt tells of.

        Raises BudgetExhaustedError before a backend is touched that the budget cannot bear, ModelError where none answered.
        """
        call = self.call(prompt, offer)
        if not self._ctx.ears:  # so it is with most: nobody listens
            return await self._ctx.call_model(call, tells=tells)
        with self._heard():
            return await self._ctx.call_model(call, tells=tells)

    async def more(self, prompt: Sequence[Mapping[str, Any]], offer: Offer) -> Completion:
        """What the model says that is to go on with what it said last; raises like :meth:`turn`."""
        call = self.call(prompt, offer)
        with self._heard(goes_on=True):
            return await self._ctx.call_model(call)

    async def aside(self, call: Call, *, kind: str) -> Completion:
        """What a model says to a call beside the turns, which waits for no budget; ``kind`` is what it counts as (R21)."""
        return await self._ctx.call_model(call, wait=False, kind=kind)

    async def on_grace(self, call: Call, *, tells: Sequence[Warned]) -> Completion:
        """What the model says to the one call on grace; raises like :meth:`turn`."""
        with self._heard():
            return await self._ctx.call_on_grace(call, tells=tells)

    @property
    def _may_be_xml(self) -> bool:
        """Whether a prompt may have answers to XML in it."""
        return True

    def _heard(self, *, goes_on: bool = False) -> AbstractContextManager[None]:
        """Lets those hear the answer who listen to what agents write; where nobody does, it costs nothing."""
        ctx = self._ctx
        if not ctx.ears:
            return nullcontext()
        if self._voice is None:
            self._voice = Voice(ctx.ears, self._agent, thread=ctx.thread, seq=ctx.seq, handler=ctx.name)
        self._voice.begin(goes_on=goes_on)
        return ctx.heard_by(self._voice)

    def call(self, prompt: Sequence[Mapping[str, Any]], offer: Offer) -> Call:
        """The call that asks for a turn."""
        agent = self._agent
        return Call(
            messages=offer.told(prompt, by_xml=self._may_be_xml),
            model=agent.model,
            wish=agent.max_output_tokens,
            min_output_tokens=agent.min_output_tokens,
            temperature=agent.temperature,
            seed=agent.seed,
            reasoning_effort=agent.reasoning_effort,
            tools=offer.tools,
            tool_choice=offer.choice,
        )
