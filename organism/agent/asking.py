"""The one place from which an agent asks its model: what a turn says and offers goes out, and its completion comes back, whole.

An answer that was cut for length is gone on with where it is text; what cannot be gone on with is to be written again, and shorter.
"""

from __future__ import annotations

from contextlib import nullcontext
from typing import TYPE_CHECKING, Any, Final, Literal

from attrs import evolve

from organism.agent.speech import is_broken
from organism.agent.voice import Voice
from organism.errors import BudgetExhaustedError, HandlerFailedError
from organism.models.completion import new_call

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from contextlib import AbstractContextManager

    from organism.agent.context import AgentContext
    from organism.agent.history import History
    from organism.agent.speech import Offer, Speech
    from organism.models.completion import Call, Completion
    from organism.settings import AgentSettings
    from organism.threads.outcomes import Warned

CONTINUED: Final = 2
"""How often one answer is gone on with, and how often in a delivery something is to be written shorter."""
GO_ON: Final = "Your answer was cut for length. Go on exactly where it stopped: repeat nothing, and say nothing else."


class Asking:
    """Asks the model of one agent, for one delivery."""

    def __init__(self, agent: AgentSettings, ctx: AgentContext, speech: Speech, history: History) -> None:
        self._agent = agent
        self._ctx = ctx
        self._speech = speech
        self._history = history
        self._voice: Voice | None = None
        self._cut = 0

    async def turn(
        self, prompt: Sequence[Mapping[str, Any]], offer: Offer, *, tells: Sequence[Warned] = ()
    ) -> Completion:
        """What the model says to a prompt, its pieces joined; each piece is a call of its own to the budget. ``tells`` are the
        warnings that the prompt tells of.

        Raises BudgetExhaustedError before a backend is touched that the budget cannot bear, with what was said so far in the history;
        ModelError where none answered; HandlerFailedError (``validation``) where too many answers were cut that cannot be gone on with.
        """
        completion = await self._said_to(prompt, offer, tells=tells)
        cut = self._missing(completion)
        for _ in range(CONTINUED):
            if cut != "text":
                break
            on = [_said("assistant", completion.text), _said("user", GO_ON)]
            # What was said at the prompt's end was said before the piece; what it was told of its budget is not said again.
            before = [_said("user", offer.reminder)] if offer.reminder else []
            asked = prompt[:-1] if tells else prompt
            try:
                more = await self._said_to((*asked, *before, *on), evolve(offer, reminder=""), goes_on=True)
            except BudgetExhaustedError:
                self._history.add(completion.message)
                raise
            completion = _joined(completion, more)
            cut = self._missing(completion)
        if cut == "call":
            self._count()
        return completion

    async def aside(self, call: Call, *, kind: str) -> Completion:
        """What a model says to a call beside the turns, which waits for no budget; ``kind`` is what it counts as (R21)."""
        return await self._ctx.call_model(call, wait=False, kind=kind)

    async def on_grace(self, call: Call, *, tells: Sequence[Warned]) -> Completion:
        """What the model says to the one call on grace, cut or not; raises like :meth:`turn`."""
        with self._heard():
            return await self._ctx.call_on_grace(call, tells=tells)

    def call(self, prompt: Sequence[Mapping[str, Any]], offer: Offer) -> Call:
        """The call that asks for a turn."""
        agent = self._agent
        return new_call(
            messages=offer.told(prompt, by_xml=self._history.has_xml),
            model=agent.model,
            wish=agent.max_output_tokens,
            min_output_tokens=agent.min_output_tokens,
            temperature=agent.temperature,
            seed=agent.seed,
            reasoning_effort=agent.reasoning_effort,
            tools=offer.tools,
            tool_choice=offer.choice,
        )

    async def _said_to(
        self, prompt: Sequence[Mapping[str, Any]], offer: Offer, *, tells: Sequence[Warned] = (), goes_on: bool = False
    ) -> Completion:
        """What the model says to one prompt. ``goes_on``: that is to go on with what it said last."""
        call = self.call(prompt, offer)
        if tells and offer.reminder:
            # What it is told of its budget ends the prompt: by all that stands before, the question is known again.
            *before, told, reminder = call.messages
            call = evolve(call, messages=(*before, reminder, told))
        with self._heard(goes_on=goes_on):
            return await self._ctx.call_model(call, tells=tells, kind=offer.kind)

    def _heard(self, *, goes_on: bool = False) -> AbstractContextManager[None]:
        """Lets those hear the answer who listen to what agents write; where nobody does, it costs nothing."""
        ctx = self._ctx
        if not ctx.text_listeners:
            return nullcontext()
        if self._voice is None:
            self._voice = Voice(ctx.text_listeners, self._agent, thread=ctx.thread, seq=ctx.seq, handler=ctx.name)
        self._voice.begin(goes_on=goes_on)
        return ctx.heard_by(self._voice)

    def _missing(self, completion: Completion) -> Literal["text", "call"] | None:
        """What of an answer was cut for length: text that can be gone on with, or what must be written again, and shorter; ``None`` where
        nothing is missing that matters.
        """
        if completion.finish_reason != "length":
            return None
        if completion.tool_calls:
            return "call" if is_broken(completion.tool_calls[-1]) else None
        return "text" if self._speech.may_go_on(completion.text) else "call"

    def _count(self) -> None:
        """Counts an answer that is to be written again, and shorter."""
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
