"""Carries out what a model asked for in one turn: peers are asked concurrently, a reply ends the delivery, and each thing that it
asked for has exactly one result.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from attrs import frozen

from organism.agent.cutting import cut
from organism.agent.tools import SENT, Mistaken
from organism.agent.wording import as_json, as_xml
from organism.errors import BudgetExhaustedError, HandlerFailedError, Refused
from organism.functions import FunctionResult
from organism.message import Reply
from organism.names import called_as
from organism.payloads.primitives import HandlerFailed, InvalidPayload
from organism.quick import maker

if TYPE_CHECKING:
    from collections.abc import Sequence

    from organism.agent.allowance import Allowance
    from organism.agent.context import AgentContext
    from organism.agent.speech import Said
    from organism.agent.telling import Telling
    from organism.agent.tools import Wanted
    from organism.agentsettings import ToolOutput

CORRECTIONS: Final = 3
"""How often in a row an agent that neither calls nor replies is asked to correct itself."""
_HOOK_FAILED: Final = (HandlerFailedError, Refused, BudgetExhaustedError)
"""What a hook may end a call of a tool with; the model is told."""


@frozen
class Carried:
    """What came of a turn: a result for each thing that was asked for, as the model reads it, and the reply, if there is one."""

    results: tuple[str, ...]
    reply: Reply[Any] | None


_new_carried: Final = maker(Carried)


class Dispatch:
    """Carries out the turns of one delivery, and counts those in a row in which its model makes mistakes."""

    def __init__(self, ctx: AgentContext, telling: Telling, allowance: Allowance, output: ToolOutput) -> None:
        self._ctx = ctx
        self._telling = telling
        self._allowance = allowance
        self._output = output
        self._attempt = 0

    async def carry_out(self, said: Sequence[Said]) -> Carried:
        """Carries out one turn. Raises HandlerFailedError where nothing of it made sense once too often."""
        mistakes, asks = 0, False
        for each in said:
            if isinstance(each, Mistaken):
                mistakes += 1
            elif each.peer is not None:
                asks = True
        answers = await self._ask_peers(said) if asks else {}
        reply: Reply[Any] | None = None
        results: list[str] = []
        # Once a turn: of several mistakes that are made together none could be corrected before the next.
        # A turn without any shows that the model can: what it gets wrong later is corrected anew.
        self._attempt = self._attempt + 1 if mistakes else 0
        for number, each in enumerate(said):
            if isinstance(each, Mistaken):
                results.append(_text(InvalidPayload(each.error, self._attempt), each))
            elif each.peer is not None:
                results.append(answers[number])
            elif reply is None:
                reply = Reply(each.payload)
                results.append(SENT)
            else:
                results.append(_text(InvalidPayload("you have replied already in this turn", self._attempt or 1), each))
        if mistakes == len(said):
            self._check_patience()
        return _new_carried(tuple(results), reply)

    def correction(self, error: str) -> InvalidPayload:
        """What a model is told that asked for nothing. Raises HandlerFailedError where it did so once too often."""
        self._attempt += 1
        self._check_patience()
        return InvalidPayload(error, self._attempt)

    def _check_patience(self) -> None:
        if self._attempt > CORRECTIONS:
            text = f"'{self._ctx.name}' was corrected {CORRECTIONS} times and still makes no valid call or reply"
            raise HandlerFailedError("validation", text)

    async def _ask_peers(self, said: Sequence[Said]) -> dict[int, str]:
        """The results of a turn's calls to peers and functions, made concurrently: their replies, or how they failed.

        They are told apart by their place in the turn: a model may give two calls one id.
        """
        asks: dict[int, tuple[str, Any]] = {}
        results: dict[int, str] = {}
        for number, each in enumerate(said):
            if isinstance(each, Mistaken) or each.peer is None:
                continue
            used_up = self._allowance.take(each.peer)
            if used_up is None:
                asked, given = await self._before(each.peer, each)
                if given is None:
                    asks[number] = (each.peer, asked)
                else:
                    results[number] = cut(given, self._output.most(called_as(each.peer)))
            else:
                results[number] = _text(HandlerFailed("refused", used_up), each)
        answers = await self._ctx.ask_all(list(asks.values())) if asks else []
        for (number, (peer, asked)), answer in zip(asks.items(), answers, strict=True):
            told = await self._after(peer, asked, answer, said[number])
            results[number] = cut(told, self._output.most(called_as(peer)))
        return results

    async def _before(self, peer: str, said: Wanted) -> tuple[Any, str | None]:
        """What a peer is asked, and a result in its place, as hooks have it."""
        hooks = self._ctx.hooks
        if hooks is None:
            return said.payload, None
        try:
            return await hooks.before_tool(called_as(peer), said.payload, self._ctx)
        except _HOOK_FAILED as error:
            return said.payload, _text(self._telling.result(error), said)

    async def _after(self, peer: str, asked: Any, answer: Any, said: Said) -> str:
        """The result that the model reads, as hooks have it."""
        result, hooks = _text(self._telling.result(answer), said), self._ctx.hooks
        if hooks is None:
            return result
        failed = isinstance(answer, Exception)
        try:
            return await hooks.after_tool(called_as(peer), asked, result, self._ctx, failed=failed)
        except _HOOK_FAILED as error:
            return _text(self._telling.result(error), said)


def _text(result: Any, of: Said) -> str:
    """A result as the model reads it: what a function returned is a text already; what it asked for in XML is answered so."""
    if isinstance(result, FunctionResult):
        return result.text
    return as_xml(result) if of.call is None else as_json(result)
