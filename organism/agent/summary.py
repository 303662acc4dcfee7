"""A model's summary of what an agent leaves out: what it is asked, how much it is given to read, and when none is asked for."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, Final

from attrs import frozen

from organism.agent.recaps import is_recap, text_of, told
from organism.agent.wording import summary_prompt
from organism.errors import BudgetExhaustedError, ModelError
from organism.models.completion import Call
from organism.names import counted, excerpt

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from organism.agent.asking import Asking
    from organism.agent.context import AgentContext
    from organism.agent.history import History, Plan
    from organism.agent.window import Bounds
    from organism.agentsettings import Compaction
    from organism.settings import HandlerSettings

TAG: Final = "compaction"
"""What the costs of summaries are counted under."""
FAILURES: Final = 3
"""So many in a row open the breaker."""
REST: Final = 20
"""Messages for which no summary is asked for then; the next one after them tries again."""
_CHARACTERS: Final = 2
"""Characters that the summing model is given for each token of its window: no text that people write is denser."""
_ROOM: Final = 0.8
"""Share of its window that may be filled so."""
_UNKNOWN: Final = 60_000
"""Characters that it is given where its window is not known."""
_SHORTEST: Final = 120
EMPTY: Final = "gave an empty summary"
"""How it ends why there is none where a model was asked and said nothing."""
_log: Final = logging.getLogger("organism.agent")


@frozen
class Summary:
    """What came of asking: ``text``, or ``why`` there is none. ``asked``: a model was."""

    text: str = ""
    why: str = ""
    asked: bool = False


class Summaries:
    """Asks for the summaries of one delivery."""

    def __init__(
        self, handler: HandlerSettings, compaction: Compaction, asking: Asking, history: History, ctx: AgentContext
    ) -> None:
        self._handler = handler
        self._compaction = compaction
        self._asking = asking
        self._ctx = ctx
        self._history = history

    async def of(self, plan: Plan, bounds: Bounds) -> Summary:
        """The summary of what a plan replaces, charged to the thread; a reason where none is to be had."""
        model, history = self._compaction.model, self._history
        if model is None:
            return Summary()
        failures, until = history.breaker
        if failures >= FAILURES and history.count < until:
            return Summary(
                why=f"no summary came {failures} times in a row; the next is asked for {counted(until - history.count, 'message')} on"
            )
        call = self.call(plan, bounds, model=model)
        refused = self._ctx.lacks_for(call)
        if refused:
            return Summary(why=refused)
        return await self.ask(call)

    async def again(self, plan: Plan, bounds: Bounds) -> Summary:
        """The summary that was asked for before, as it came then."""
        model = self._compaction.model
        if model is None:  # it is no more in the configuration
            return Summary()
        return await self.ask(self.call(plan, bounds, model=model))

    async def ask(self, call: Call) -> Summary:
        """Makes the call, and counts those that failed."""
        history = self._history
        try:
            completion = await self._asking.aside(call, kind="summary")
        except BudgetExhaustedError as error:
            return Summary(why=f"refused: {error}", asked=True)
        except ModelError as error:
            why = str(error)
        else:
            if completion.text.strip():
                history.breaker = (0, 0)
                return Summary(completion.text, asked=True)
            why = f"model '{call.model}' {EMPTY}"
        self.failed()
        _log.warning("%s: the history is cut short without a summary: %s", self._handler.name, why)
        return Summary(why=why, asked=True)

    def failed(self) -> None:
        """No summary came."""
        failures, _ = self._history.breaker
        self._history.breaker = (failures + 1, self._history.count + REST)

    def call(self, plan: Plan, bounds: Bounds, *, model: str) -> Call:
        """The call that asks for the summary of what a plan replaces: the same whenever it is made."""
        values = {
            "name": self._handler.name,
            "description": self._handler.description,
            "messages": plan.start,
            "tokens": bounds.summary_tokens,
        }
        window = self._ctx.window(model)
        most = _UNKNOWN if window is None else max(_SHORTEST, int(_ROOM * window * _CHARACTERS))
        return Call(
            messages=(
                {"role": "system", "content": summary_prompt(self._compaction.prompt, values)},
                {"role": "user", "content": transcript(plan.replaced, most)},
            ),
            model=model,
            wish=bounds.summary_tokens,
            temperature=0,
            tags=(TAG,),
        )


def transcript(messages: Sequence[Mapping[str, Any]], most: int) -> str:
    """The messages as text, ``most`` characters about: what is longest is cut first, and says so."""
    parts = [part for message in messages for part in _parts(message)]
    longest = max((len(text) for _, text in parts), default=0)
    while sum(min(len(text), longest) + len(who) + 4 for who, text in parts) > most and longest > _SHORTEST:
        longest = max(_SHORTEST, longest * 3 // 4)
    while len(parts) > 1 and sum(min(len(text), longest) + len(who) + 4 for who, text in parts) > most:
        del parts[1]
    return "\n\n".join(f"{who}: {_cut(text, longest)}" for who, text in parts)


def _parts(message: Mapping[str, Any]) -> list[tuple[str, str]]:
    return [("before", text_of(message.get("content")))] if is_recap(message) else list(told(message))


def _cut(text: str, longest: int) -> str:
    return text if len(text) <= longest else f"{excerpt(text, longest)} [cut from {len(text)} characters]"
