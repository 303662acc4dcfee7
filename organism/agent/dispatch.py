"""Carries out what a model asked for in one turn: peers are asked concurrently, a reply ends the delivery, and each thing that it
asked for has exactly one result.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

from attrs import frozen

from organism.agent.tools import Mistaken
from organism.errors import HandlerFailedError
from organism.message import Reply
from organism.payloads import encode_json
from organism.payloads.primitives import InvalidPayload

if TYPE_CHECKING:
    from collections.abc import Sequence

    from organism.agent.context import AgentContext
    from organism.agent.speech import Said
    from organism.agent.telling import Telling

CORRECTIONS: Final = 3
"""How often an agent that neither calls nor replies is asked to correct itself."""
_SENT: Final = "Sent."


@frozen
class Carried:
    """What came of a turn: a result for each thing that was asked for, as the model reads it, and the reply, if there is one."""

    results: tuple[str, ...]
    reply: Reply[Any] | None


class Dispatch:
    """Carries out the turns of one delivery, and counts the mistakes that its model makes."""

    def __init__(self, ctx: AgentContext, telling: Telling) -> None:
        self._ctx = ctx
        self._telling = telling
        self._attempt = 0

    async def carry_out(self, said: Sequence[Said]) -> Carried:
        """Carries out one turn. Raises HandlerFailedError where nothing of it made sense once too often."""
        answers = await self._ask_peers(said)
        reply: Reply[Any] | None = None
        results: list[str] = []
        for number, each in enumerate(said):
            if isinstance(each, Mistaken):
                self._attempt += 1
                results.append(as_json(InvalidPayload(each.error, self._attempt)))
            elif each.peer is not None:
                results.append(as_json(answers[number]))
            elif reply is None:
                reply = Reply(each.payload)
                results.append(_SENT)
            else:
                results.append(as_json(InvalidPayload("you have replied already in this turn", self._attempt)))
        if reply is None and all(isinstance(each, Mistaken) for each in said):
            self._check_patience()
        return Carried(tuple(results), reply)

    def correction(self, error: str) -> str:
        """What a model is told that asked for nothing. Raises HandlerFailedError where it did so once too often."""
        self._attempt += 1
        self._check_patience()
        return as_json(InvalidPayload(error, self._attempt))

    def _check_patience(self) -> None:
        if self._attempt > CORRECTIONS:
            text = f"'{self._ctx.name}' was corrected {CORRECTIONS} times and still makes no valid call or reply"
            raise HandlerFailedError("validation", text)

    async def _ask_peers(self, said: Sequence[Said]) -> dict[int, Any]:
        """The results of a turn's calls to peers, made concurrently: their replies, or how they failed.

        They are told apart by their place in the turn: a model may give two calls one id.
        """
        asks = {
            number: (each.peer, each.payload)
            for number, each in enumerate(said)
            if not isinstance(each, Mistaken) and each.peer is not None
        }
        answers = await self._ctx.ask_all(list(asks.values())) if asks else []
        return {number: self._telling.result(answer) for number, answer in zip(asks, answers, strict=True)}


def as_json(payload: Any) -> str:
    """A payload as models read it in results."""
    return json.dumps(encode_json(payload), ensure_ascii=False)
