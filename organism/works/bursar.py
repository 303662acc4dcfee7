"""The organism's own handler, which every other may address by the name ``organism``: it says what is left, has requests for more
decided and carries them out, and writes forecasts down.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from organism.context.delivery import DeliveryContext
from organism.errors import BudgetExhaustedError, HandlerFailedError, Refused, UnexpectedReplyError
from organism.kernel.answers import Payer, check_messages
from organism.kernel.recall import Done
from organism.message import Reply
from organism.names import ORGANISM
from organism.payloads.primitives import (
    ASKED,
    BudgetDecision,
    BudgetEstimate,
    BudgetGranted,
    BudgetQuery,
    BudgetRefused,
    BudgetReport,
    BudgetRequest,
)
from organism.settings import HandlerSettings

if TYPE_CHECKING:
    from organism.kernel.grants import Room


class BursarContext(DeliveryContext):
    """The context of the organism's own handler. Who asks is the sender of its message."""

    def report(self) -> BudgetReport:
        """What is left to the asker."""
        return BudgetReport(remaining=self._pump.kernel.grants.left(self._message, self._pump.now()))

    def forecast(self, estimate: BudgetEstimate) -> str | None:
        """Writes a forecast down, once; returns what is wrong with it."""
        key = self._key("forecast", lambda: "")
        if self.recall(key) is not None:
            return None
        return self._pump.kernel.grants.forecast(self._message, estimate, self._pump.now(), key=key)

    async def answer(self, asked: BudgetRequest) -> BudgetGranted | BudgetRefused:
        """Has a request decided, and carries out what was."""
        key = self._key("grant", lambda: "")
        done = self.recall(key)
        if isinstance(done, Done):
            self._unasked = set()  # what it asked to come to this need not be asked again
            return BudgetGranted(unit=asked.unit, amount=done.amount, reason=done.text)
        room = self._pump.kernel.grants.room(self._message, asked, self._pump.now())
        if isinstance(room, str):
            return _refused(asked, room)
        decision = await self._decision(room, asked)
        if isinstance(decision, str):
            return _refused(asked, decision)
        given = self._pump.kernel.grants.grant(
            self._message, asked, decision.amount, reason=decision.reason, key=key, at=self._pump.now()
        )
        if asked.unit == "seconds" and isinstance(given, Done):
            self._pump.deadlines.watch(room.thread)
        self._pump.carry_out()
        if isinstance(given, str):
            return _refused(asked, given)
        return BudgetGranted(unit=asked.unit, amount=given.amount, reason=given.text)

    async def _decision(self, room: Room, asked: BudgetRequest) -> BudgetDecision | str:
        """What the one who decides says; a text where that is no."""
        # Run again, it may have asked already: for that there need not be another message.
        if not self._unasked and check_messages([Payer(self._message.thread.node.path)]) is not None:
            return "no message is left to ask the handler that decides"  # asking all the same would end the thread
        try:
            decision = await self.ask(room.by, asked, expect=BudgetDecision)
        except (HandlerFailedError, BudgetExhaustedError, UnexpectedReplyError) as error:
            return _without(error)
        if decision.granted and decision.unit != asked.unit:
            return f"the decision is about {decision.unit}, and what was asked for is {asked.unit}"
        return decision if decision.granted else decision.reason


def _without(error: HandlerFailedError | BudgetExhaustedError | UnexpectedReplyError) -> str:
    """Why there is no decision."""
    if isinstance(error, HandlerFailedError) and error.code == "refused":
        return error.text
    if isinstance(error, HandlerFailedError) and error.code == "cycle":
        return "whoever decides waits for this very request"
    return f"there is no decision: {error}"


def _refused(asked: BudgetRequest, reason: str) -> BudgetRefused:
    return BudgetRefused(unit=asked.unit, amount=asked.amount, reason=reason)


async def handle(
    payload: BudgetQuery | BudgetRequest | BudgetEstimate, ctx: BursarContext
) -> Reply[BudgetReport] | Reply[BudgetGranted | BudgetRefused]:
    """Tells what is left, has more granted, and keeps forecasts."""
    if isinstance(payload, BudgetRequest):
        return Reply(await ctx.answer(payload))
    if isinstance(payload, BudgetEstimate):
        wrong = ctx.forecast(payload)
        if wrong is not None:
            raise Refused(wrong)
    return Reply(ctx.report())


BURSAR: Final = HandlerSettings(
    name=ORGANISM, accepts=ASKED, description="The organism itself.", code=handle, effects="context"
)
"""The handler that answers in the organism's name."""
