"""The payloads that the organism itself speaks.

Any handler may declare one as the type that it takes. Only the organism sends those in :data:`ORGANISM_ONLY`. Amounts are
Decimal in every unit: whole numbers of tokens, calls and messages, seconds, and USD for ``cost_usd``.
"""

from __future__ import annotations

from decimal import Decimal  # noqa: TC003 - read from the annotations
from typing import Annotated, Final, Literal

from organism.payloads.declaration import payload

NAMESPACE: Final = "urn:organism:primitives:1"

FailureCode = Literal[
    "routing",
    "validation",
    "timeout",
    "crashed",
    "refused",
    "exhausted",
    "no_reply",
    "cycle",
    "cancelled",
    "stopped",
]
"""How a callee failed."""


@payload(namespace=NAMESPACE)
class BudgetWarning:
    """A level of a budget was reached. One message tells of all levels that one call crossed, with the highest."""

    unit: Annotated[str, "What is limited: tokens, cost_usd, messages, ..."]
    level: Annotated[str, "warning, critical, final or runway."]
    threshold: Annotated[Decimal, "The level as it is configured: below 1 a share of the limit, from 1 on a figure."]
    used: Decimal
    held: Annotated[Decimal, "What calls that are under way may still use."]
    limit: Decimal
    remaining: Annotated[Decimal, "What is left for new calls."]
    calls_left: Annotated[int | None, "How many more calls like the last one fit."]
    scope: Annotated[str, "Whose limit it is: thread, conversation, account, organism, ..."]
    text: Annotated[str, "The same in a sentence."]


@payload(namespace=NAMESPACE)
class BudgetExhausted:
    """A limit refused a call or a message."""

    unit: Annotated[str, "What is used up: tokens, cost_usd, messages, ..."]
    used: Decimal
    limit: Decimal
    scope: Annotated[str, "Whose limit it is: thread, conversation, account, organism, ..."]
    grace: Annotated[bool, "Whether one last call is granted, to hand in what there is."]
    text: Annotated[str, "The same in a sentence."]


@payload(namespace=NAMESPACE)
class BudgetQuery:
    """Asks the organism what is left. It answers with a BudgetReport."""


@payload(namespace=NAMESPACE)
class BudgetReport:
    """What is left."""

    remaining: Annotated[dict[str, Decimal], "By unit; units without a limit are not in it."]


@payload(namespace=NAMESPACE)
class BudgetRequest:
    """Asks for more than your budget has. It may be refused, or granted in part."""

    unit: Annotated[str, "tokens, input_tokens, output_tokens, cost_usd, model_calls, messages or seconds."]
    amount: Annotated[Decimal, "How much more."]
    reason: Annotated[str, "What for. Whoever decides reads it."]


@payload(namespace=NAMESPACE)
class BudgetDecision:
    """Decides on a BudgetRequest."""

    granted: Annotated[bool, "Whether anything is granted."]
    unit: Annotated[str, "The unit that was asked for."]
    amount: Annotated[Decimal, "How much is granted, at most what was asked for."]
    reason: Annotated[str, "Why. Whoever asked reads it."]


@payload(namespace=NAMESPACE)
class BudgetGranted:
    """More budget was granted."""

    unit: str
    amount: Decimal
    reason: str


@payload(namespace=NAMESPACE)
class BudgetRefused:
    """More budget was refused."""

    unit: str
    amount: Decimal
    reason: str


@payload(namespace=NAMESPACE)
class HandlerFailed:
    """A handler that was called did not answer."""

    code: FailureCode
    text: str
    retry: Annotated[bool, "Whether calling it again could help."] = False


@payload(namespace=NAMESPACE)
class InvalidPayload:
    """What was written is no valid payload; it may be corrected."""

    error: Annotated[str, "What is wrong, and where."]
    attempt: Annotated[int, "How many times it was tried, from 1."]


@payload(namespace=NAMESPACE)
class DeadLetter:
    """A message that nobody could handle."""

    message: Annotated[str, "The message's id."]
    to: str
    reason: str
    attempts: int


@payload(namespace=NAMESPACE)
class BudgetEstimate:
    """Your own forecast of how much more this work will use, from now to its end."""

    unit: Annotated[str, "tokens, input_tokens, output_tokens, cost_usd, model_calls, messages or seconds."]
    low: Annotated[Decimal, "At least."]
    high: Annotated[Decimal, "At most."]


ORGANISM_ONLY: Final[frozenset[type]] = frozenset(
    {
        BudgetWarning,
        BudgetExhausted,
        BudgetReport,
        BudgetGranted,
        BudgetRefused,
        HandlerFailed,
        InvalidPayload,
        DeadLetter,
    }
)
"""What no handler and no model may send."""

ASKED: Final = (BudgetQuery, BudgetRequest, BudgetEstimate)
"""What every handler may address to the organism itself."""

NO_TOOL: Final = ORGANISM_ONLY.union(ASKED)
"""What no model is offered to send to a peer. A person who decides on budgets may be a peer as well; but what is asked of them past the
organism raises no limit, whatever they answer.
"""

ALL: Final[tuple[type, ...]] = (
    BudgetWarning,
    BudgetExhausted,
    BudgetQuery,
    BudgetReport,
    BudgetRequest,
    BudgetDecision,
    BudgetGranted,
    BudgetRefused,
    HandlerFailed,
    InvalidPayload,
    DeadLetter,
    BudgetEstimate,
)
