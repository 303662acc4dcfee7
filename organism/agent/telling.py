"""What an agent is told of budgets, and what not: true figures, none, or a placebo; or nothing at all (``notices``).

Nothing here touches what is enforced. A placebo's figures are drawn from the thread's name, the unit and the level's name alone: so
they look like figures, rise from level to level, are the same when a delivery is run again, and say nothing that the level's name
does not.
"""

from __future__ import annotations

import random
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

from attrs import evolve

from organism.agent.wording import Values, exhausted_text, values_of, warning_text
from organism.errors import BudgetExhaustedError
from organism.kernel.notices import WORDS, highest, warning_payload
from organism.payloads.primitives import BudgetExhausted, BudgetRefused, BudgetReport, HandlerFailed
from organism.pump.failures import failure_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from organism.agent.context import AgentContext
    from organism.agentsettings import Notices
    from organism.threads.outcomes import Failure, Warned

Message = dict[str, Any]
"""A chat message."""

_LIMITS: Final[Mapping[str, tuple[int, ...]]] = {
    "tokens": (8_000, 12_000, 20_000, 30_000, 50_000, 80_000, 120_000, 200_000),
    "input_tokens": (8_000, 12_000, 20_000, 30_000, 50_000, 80_000, 120_000, 200_000),
    "output_tokens": (2_000, 4_000, 6_000, 10_000, 16_000, 24_000),
    "cost_usd": (1, 2, 3, 4, 5, 8, 10, 20),
    "model_calls": (10, 15, 20, 30, 40, 60),
    "messages": (50, 80, 100, 150, 200, 300, 500, 1000),
    "seconds": (120, 180, 300, 600, 900, 1800),
    "depth": (10, 15, 20, 30, 50),
}
"""What a placebo says that a limit is."""
_BANDS: Final[Mapping[str, tuple[str, float, float]]] = {
    "warning": ("0.5", 0.50, 0.63),
    "critical": ("0.65", 0.65, 0.78),
    "runway": ("2", 0.65, 0.80),
    "final": ("0.8", 0.80, 0.95),
}
"""Its threshold for each level's name, and between which shares of the limit it says the use is."""
_MONEY: Final = Decimal("0.0001")


class Telling:
    """What one delivery of an agent is told."""

    def __init__(self, notices: Notices, ctx: AgentContext) -> None:
        self._notices = notices
        self._ctx = ctx

    def warnings(self, unheard: Sequence[Warned]) -> tuple[Message, ...]:
        """The message that tells of these warnings, with the figures of now; none where there is nothing to tell."""
        if not unheard or not self._notices.deliver:
            return ()
        now = [self._ctx.with_live_figures(each) for each in unheard]
        if self._notices.figures == "placebo":
            now = [self._placebo(each) for each in now]
        values = values_of(warning_payload(now))
        if self._notices.figures == "none":
            top = highest(now)
            text = " ".join(dict.fromkeys(_plain(each) for each in now))
            values = {"unit": top.unit, "level": top.level, "scope": top.scope, "text": text}
        return (_said(warning_text(values, self._notices)),)

    def last_call(self, exhausted: BudgetExhausted) -> tuple[Message, ...]:
        """The message that asks for the one answer on grace."""
        if not self._notices.deliver:
            return ()
        return (_said(exhausted_text(self._refusal(exhausted), self._notices)),)

    def result(self, answer: Any) -> Any:
        """What came of a call to a peer, as the model reads it: a reply, or how it failed."""
        if not isinstance(answer, Exception):
            return self._payload(answer)
        failure = failure_of(answer)
        if failure.code != "exhausted":
            return HandlerFailed(failure.code, failure.text, failure.retry)
        if not self._notices.deliver:
            return _UNTOLD
        # What a peer's own budget refused is not worded: its figures are the peer's.
        own = isinstance(answer, BudgetExhaustedError) or self._ctx.ran_out
        return HandlerFailed("exhausted", self._exhausted(failure, own=own), failure.retry)

    def _payload(self, payload: Any) -> Any:
        """An answer for the agent: one that speaks of its budget is told as everything else that does."""
        if self._notices.tells_all:
            return payload
        if isinstance(payload, BudgetReport):
            return BudgetReport(remaining={unit: self._left(unit) for unit in payload.remaining})
        if isinstance(payload, BudgetRefused):
            return BudgetRefused(unit=payload.unit, amount=payload.amount, reason="it is not granted")
        return payload

    def limits(self) -> dict[str, Any] | None:
        """The limits of the thread's budget, as prompts may name them; ``None`` where they may not."""
        if not self._notices.deliver or self._notices.figures == "none":
            return None
        true = self._ctx.limits()
        scope = self._ctx.scope
        return true if self._notices.figures == "true" else {unit: self._limit(unit, scope) for unit in true}

    def _exhausted(self, failure: Failure, *, own: bool) -> str:
        """What is said of a call that a limit refused, while the agent goes on."""
        values = self._refusal(self._ctx.refusal(failure))
        return exhausted_text(values, self._notices) if own and self._notices.exhausted else str(values["text"])

    def _refusal(self, refused: BudgetExhausted) -> Values:
        values = values_of(refused)
        unit, scope = refused.unit, refused.scope
        words = f"{WORDS.get(unit, unit)} of the {scope}"
        match self._notices.figures:
            case "true":
                return values
            case "none":
                return {"unit": unit, "scope": scope, "grace": refused.grace, "text": f"The {words} are used up"}
            case "placebo":
                limit = self._limit(unit, scope)
                return {**values, "used": limit, "limit": limit, "text": f"{words}: {limit:,} used, limit {limit:,}"}

    # Placebos

    def _limit(self, unit: str, scope: str) -> int:
        return self._dice(unit, scope).choice(_LIMITS.get(unit, _LIMITS["tokens"]))

    def _left(self, unit: str) -> Decimal:
        """What it is told is left, where it asks."""
        scope = self._ctx.scope
        left = Decimal(self._limit(unit, scope) * self._dice(unit, scope, "left").uniform(0.2, 0.5))
        return left.quantize(_MONEY if unit == "cost_usd" else Decimal(1))

    def _dice(self, *of: str) -> random.Random:
        """The same ones whenever the same is told in this thread, or of this conversation."""
        ctx = self._ctx
        whose = ctx.conversation if "conversation" in of and ctx.conversation is not None else ctx.thread
        return random.Random("\0".join((whose, *of)))  # noqa: S311 - repeatable on purpose

    def _placebo(self, warned: Warned) -> Warned:
        """A warning whose figures say nothing; its unit, level and scope are true."""
        if warned.about is not None:
            return evolve(warned, threshold=Decimal(5), used=5, limit=5)
        threshold, least, most = _BANDS[warned.level]
        dice = self._dice(warned.unit, warned.scope, warned.level)
        limit: Any = self._limit(warned.unit, warned.scope)
        used: Any = limit * dice.uniform(least, most)
        used = Decimal(used).quantize(_MONEY) if warned.unit == "cost_usd" else int(used)
        per_call = dice.uniform(0.03, 0.09)
        return evolve(
            warned,
            threshold=Decimal(threshold),
            used=used,
            held=0,
            limit=limit,
            remaining=limit - used,
            calls_left=None if warned.calls_left is None else int((1 - float(used) / limit) / per_call),
        )


_UNTOLD: Final = HandlerFailed("refused", "it did not answer", retry=False)
"""What an agent hears of a refusal by a budget that it is to know nothing of."""


def _plain(warned: Warned) -> str:
    """A warning in words without a figure."""
    if warned.about is not None:
        return f"The same message ({warned.about}) was sent again and again; send it once more, and this thread is stopped."
    return f"The {WORDS[warned.unit]} of the {warned.scope} are running low."


def _said(text: str) -> Message:
    return {"role": "user", "content": text}
