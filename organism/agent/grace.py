"""The one answer on grace (R17): the prompt is cut to what fits, and nothing is offered but to reply."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from organism.agent.history import shortened
from organism.agent.speech import last_told
from organism.errors import BudgetExhaustedError
from organism.message import Reply
from organism.models.frozen_json import Fixed

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from organism.agent.asking import Asking
    from organism.agent.context import AgentContext
    from organism.agent.history import History
    from organism.agent.speech import Speech
    from organism.agent.telling import Telling
    from organism.models.completion import Call, Completion
    from organism.payloads.primitives import BudgetExhausted

FOR_THE_ANSWER: Final = 0.1
"""Share of what is kept back that the messages of a grace call leave to its answer, beyond those that it must have."""

_ASKED: Final = Fixed({"role": "user", "content": "Answer now."})


class LastWord:
    """Gets an agent's last answer, where its thread has run out."""

    def __init__(self, ctx: AgentContext, asking: Asking, speech: Speech, history: History, telling: Telling) -> None:
        self._ctx = ctx
        self._asking = asking
        self._speech = speech
        self._history = history
        self._telling = telling

    async def say(self, exhausted: BudgetExhausted, error: BudgetExhaustedError | None = None) -> Reply[Any] | None:
        """The reply, ``None`` where there is none. ``error``, the refusal that it was to follow, is raised again then."""
        completion = await self._ctx.recalled_grace(lambda: self._uncut(exhausted)) or await self._last_answer(
            exhausted
        )
        if completion is None:
            if error is not None:
                raise error
            return None
        remembered = self._history.messages
        if error is None or not (remembered and _asks(remembered[-1])):
            # Nothing that it remembers has asked for this answer.
            self._history.add(_ASKED)
        self._history.add(completion.message)
        reply = None if completion.finish_reason == "budget" else self._speech.reply_in(completion)
        if reply is None and error is not None:
            raise error
        for message in last_told(completion, reply):
            self._history.add(message)
        return None if reply is None else Reply(reply.payload)

    async def _last_answer(self, exhausted: BudgetExhausted) -> Completion | None:
        """What the model says on grace; ``None`` where that cannot be borne."""
        unheard = self._ctx.unheard()
        call = self._last_call(exhausted, self._telling.warnings(unheard))
        if call is None and unheard:
            # Where not all fits, the answer is worth more than the warning that it is the last.
            unheard = ()
            call = self._last_call(exhausted, ())
        if call is None:
            return None
        try:
            return await self._asking.on_grace(call, tells=unheard)
        except BudgetExhaustedError:
            return None

    def _uncut(self, exhausted: BudgetExhausted) -> Call:
        """The call with all of the history."""
        return self._asking.call(self._history.prompt(*self._telling.last_call(exhausted)), self._speech.reply_only())

    def _last_call(self, exhausted: BudgetExhausted, told: Sequence[Mapping[str, Any]]) -> Call | None:
        """System, first message, as much of the newest as fits, and the notices; ``None`` where not even that much fits."""
        notice = self._telling.last_call(exhausted)
        system, *_ = self._history.prompt()
        first = self._history.messages[:1]

        def call_with(newest: Sequence[Mapping[str, Any]], *, answer: float = FOR_THE_ANSWER) -> Call | None:
            prompt = (system, *first, *newest, *told, *notice)
            asked = () if _asks(prompt[-1]) else (_ASKED,)
            call = self._asking.call((*prompt, *asked), self._speech.reply_only())
            return call if self._ctx.fits_grace(call, answer=answer) else None

        found = call_with((), answer=0.0)
        kept: list[Mapping[str, Any]] = []
        for group in reversed(self._history.groups()) if found is not None else ():
            for version in shortened(group):
                longer = call_with([*version, *kept])
                if longer is not None:
                    found, kept = longer, [*version, *kept]
                    break
        return found


def _asks(last: Mapping[str, Any]) -> bool:
    """Whether a prompt with this at its end asks for something: providers refuse one that ends with what the model itself has said, as it
    does behind an answer that was cut, or after a delivery that was cancelled and has left nothing.
    """
    return last.get("role") not in {"system", "assistant"}
