"""Answers cut for length: text is gone on with where it stopped; what cannot be, is to be written again, and shorter."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from attrs import evolve

from organism.agent.asking import Asking
from organism.errors import BudgetExhaustedError, HandlerFailedError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from organism.agent.context import AgentContext
    from organism.agent.history import History
    from organism.agent.speech import Offer, Speech
    from organism.models.completion import Completion
    from organism.outcomes import Warned
    from organism.settings import AgentSettings

CONTINUED: Final = 2
"""How often one answer is gone on with, and how often in a delivery something is to be written shorter."""
GO_ON: Final = "Your answer was cut for length. Go on exactly where it stopped: repeat nothing, and say nothing else."


class Unabridged(Asking):
    """Asks the model of one agent for whole answers."""

    def __init__(self, agent: AgentSettings, ctx: AgentContext, speech: Speech, history: History) -> None:
        super().__init__(agent, ctx)
        self._speech = speech
        self._history = history
        self._cut = 0

    async def turn(
        self, prompt: Sequence[Mapping[str, Any]], offer: Offer, *, tells: Sequence[Warned] = ()
    ) -> Completion:
        """What the model says to a prompt, its pieces joined. Each piece is a call of its own to the budget.

        Raises as :meth:`Asking.turn` does, with what was said so far in the history; and HandlerFailedError (``validation``) where
        too many answers were cut that cannot be gone on with.
        """
        completion = await super().turn(prompt, offer, tells=tells)
        cut = self._speech.cut(completion)
        for _ in range(CONTINUED):
            if cut != "text":
                break
            on = [_said("assistant", completion.text), _said("user", GO_ON)]
            # What was said at the prompt's end was said before the piece.
            before = [_said("user", offer.reminder)] if offer.reminder else []
            try:
                more = await self.more((*prompt, *before, *on), evolve(offer, reminder=""))
            except BudgetExhaustedError:
                self._history.add(completion.message)
                raise
            completion = _joined(completion, more)
            cut = self._speech.cut(completion)
        if cut == "call":
            self._count()
        return completion

    @property
    def _may_be_xml(self) -> bool:
        return self._history.has_xml

    def _count(self) -> None:
        self._cut += 1
        if self._cut > CONTINUED:
            raise HandlerFailedError(
                "validation",
                f"answers of '{self._ctx.name}' were cut for length {self._cut} times: raise its 'max_output_tokens'",
            )


def _said(role: str, text: str) -> Mapping[str, Any]:
    return {"role": role, "content": text}


def _joined(first: Completion, more: Completion) -> Completion:
    """Two pieces as one answer."""
    text = first.text + more.text
    # What a provider keeps of its reasoning belongs to the calls that it made.
    message = {**(more.message if more.tool_calls else first.message), "content": text}
    return evolve(more, text=text, message=message)
