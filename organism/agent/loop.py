"""A delivery to an agent: turns of a model, what it asks for carried out between them, until it replies.

:mod:`organism.agent` has the reading order of this room.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from attrs import evolve

from organism.agent.allowance import Allowance
from organism.agent.asking import Asking
from organism.agent.compaction import Compacting
from organism.agent.dispatch import Dispatch
from organism.agent.grace import LastWord
from organism.agent.history import History
from organism.agent.speech import CUT_BY_BUDGET, ToolSpeech
from organism.agent.telling import Telling
from organism.agent.tools import Toolbox
from organism.agent.wording import SystemPrompt, incoming
from organism.agent.xml_speech import XmlSpeech
from organism.errors import BudgetExhaustedError, HandlerFailedError
from organism.models.frozen_json import Fixed
from organism.names import counted
from organism.payloads.primitives import BudgetExhausted
from organism.pump.keys import ASKS_LAST

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Mapping

    from organism.agent.compaction import Told
    from organism.agent.context import AgentContext
    from organism.agent.speech import Offer, Speech
    from organism.message import Reply
    from organism.models.completion import Completion
    from organism.settings import AgentSettings, HandlerSettings


def ready(handler: HandlerSettings, handlers: Mapping[str, HandlerSettings]) -> HandlerSettings:
    """A handler with the function that is called for it: its own, or the agents' loop."""
    return handler if handler.agent is None else evolve(handler, code=_loop(handler, handler.agent, handlers))


def _loop(
    handler: HandlerSettings, agent: AgentSettings, handlers: Mapping[str, HandlerSettings]
) -> Callable[[Any, AgentContext], Coroutine[Any, Any, Reply[Any] | None]]:
    """The function that handles an agent's messages."""
    toolbox, prompt = Toolbox(handler, agent, handlers), SystemPrompt(handler, agent, handlers)
    speech = ToolSpeech(agent, toolbox) if agent.peers_as == "tools" else XmlSpeech(handler, agent, handlers, toolbox)

    async def handle(payload: Any, ctx: AgentContext) -> Reply[Any] | None:
        history, telling = History.of(ctx.state, agent.prune), Telling(agent.notices, ctx)
        if history.system is None:
            history.begin(prompt.of(budget=telling.limits, now=ctx.now, labels=lambda: ctx.labels))
        allowance = Allowance(agent.tool_calls, ctx, toolbox)
        turns = _Turns(handler, agent, speech, history, ctx, telling, allowance)
        if isinstance(payload, BudgetExhausted):
            reply = await turns.last_word.say(payload)
        else:
            history.add(Fixed({"role": "user", "content": incoming(payload, ctx.sender)}))
            reply = await turns.run()
        history.leave()
        return reply

    return handle


class _Turns:
    """The turns of one delivery."""

    def __init__(
        self,
        handler: HandlerSettings,
        agent: AgentSettings,
        speech: Speech,
        history: History,
        ctx: AgentContext,
        telling: Telling,
        allowance: Allowance,
    ) -> None:
        self._agent = agent
        self._speech = speech
        self._history = history
        self._ctx = ctx
        self._telling = telling
        self._asking = Asking(agent, ctx, speech, history)
        self._compacting = Compacting(handler, agent, self._asking, history, ctx)
        self._allowance = allowance
        self._dispatch = Dispatch(ctx, telling, allowance, agent.tool_output)

    @property
    def last_word(self) -> LastWord:
        """Gets the answer of one that has run out."""
        return LastWord(self._ctx, self._asking, self._speech, self._history, self._telling)

    async def run(self) -> Reply[Any] | None:
        """Turns until the model replies; the last one that it may take offers the reply alone, and so does every one after
        its thread has run out: nothing can be called any more.
        """
        for turn in range(1, self._agent.max_turns + 1):
            ran_out = self._ctx.ran_out
            offer = self._speech.reply_only() if ran_out or turn == self._agent.max_turns else self._offer()
            if ran_out:
                offer = evolve(offer, kind=ASKS_LAST)
            try:
                completion = await self._compacting.turn(offer, self._told)
            except BudgetExhaustedError as error:
                if not self._ctx.has_grace:
                    raise
                return await self.last_word.say(self._ctx.exhaustion(error), error)
            reply = await self._take(completion, offer)
            if reply is not None:
                await self._compacting.over()
                return reply
        raise HandlerFailedError(
            "no_reply", f"'{self._ctx.name}' did not reply within {counted(self._agent.max_turns, 'turn')}"
        )

    def _told(self) -> Told:
        """What it is told of its budget in its next prompt."""
        unheard = self._ctx.unheard()
        return unheard, self._telling.warnings(unheard)

    def _offer(self) -> Offer:
        """What it may do, used-up tools left out. It is offered to ask for more, but not where it is to know of no budget."""
        may_ask = self._ctx.may_ask and self._agent.notices.deliver
        return self._allowance.left(self._speech.offer(may_ask=may_ask), self._speech.reply_only())

    async def _take(self, completion: Completion, offer: Offer) -> Reply[Any] | None:
        """Carries out what a turn asks for; the reply, if it is one."""
        self._history.add(completion.message)
        by_budget = completion.finish_reason == "budget"
        said = CUT_BY_BUDGET if by_budget else self._speech.read(completion, offer)
        if isinstance(said, str):
            self._history.add(self._speech.corrected(self._dispatch.correction(said)))
            return None
        carried = await self._dispatch.carry_out(said)
        for message in self._speech.told(said, carried.results):
            self._history.add(message)
        hooks = self._ctx.hooks
        if hooks is not None:
            reply = None if carried.reply is None else carried.reply.payload
            await hooks.turn_ended(completion, carried.results, reply, self._ctx)
        return carried.reply
