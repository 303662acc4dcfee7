"""The router's view of budgets: what an attempt needs at most (R13), is held before it and settled after it. It knows nothing of threads."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol

from attrs import frozen

from organism.budget.claims import Claim
from organism.models.tokens.estimates import bound
from organism.quick import maker

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    from organism.budget.claims import Charge, Crossing
    from organism.errors import BudgetExhaustedError
    from organism.kernel.places import Places
    from organism.models.completion import Call
    from organism.models.prices import Rates
    from organism.models.routing.deployments import Deployment
    from organism.models.tokens.prompt import Prompt
    from organism.record.images import Missed
    from organism.settings import Level, ModelSettings

_new_claim: Final = maker(Claim)


@frozen(kw_only=True)
class Held:
    """A granted hold. ``output_tokens`` is how much output may come back; ``clamped`` that the wish was lowered."""

    id: int
    output_tokens: int
    clamped: bool = False


class Ledger(Protocol):
    """The budget of one call, from its first hold to its last settlement."""

    @property
    def strict(self) -> bool:
        """Whether the input must be held as its bound in bytes rather than as an estimate."""
        ...

    @property
    def needs_price(self) -> bool:
        """Whether a model without a price must be refused: the path has a cost limit and ``on_unpriced`` is ``refuse``."""
        ...

    @property
    def counted(self) -> bool:
        """Whether the call counts in ``model_calls`` already: a process has ended between two of its attempts."""
        ...

    @property
    def level(self) -> Level | None:
        """The highest level that was reached on the path, of what model calls spend; ``None`` where none was."""
        ...

    @property
    def seconds_left(self) -> float | None:
        """The seconds that the budget leaves the call; ``None`` without a limit."""
        ...

    def out_of_time(self) -> BudgetExhaustedError:
        """The refusal of a call whose seconds are over."""
        ...

    def queued(self, at: Places, refuse: Callable[[], object]) -> AbstractContextManager[object]:
        """A block in which the call waits for a place, at a backend or its circuit. ``refuse`` is called, at its beginning or later, where
        the call would wait for ever, since those who have the places wait for it.
        """
        ...

    def keeping(self, at: Places) -> AbstractContextManager[object]:
        """A block in which the call, a stream, is open, and keeps its place at a backend."""
        ...

    async def hold(self, claim: Claim, *, alias: str, backend: str, attempt: int, at: tuple[Places, ...]) -> Held:
        """Holds the claim, waiting where R14 says so, with these places (``at``): the backend's, and that of its circuit where it is the
        probe. Raises BudgetExhaustedError; then nothing is held.
        """
        ...

    def settle(
        self,
        held: Held,
        charge: Charge,
        missed: Missed | None = None,
        reported: Prompt | None = None,
        *,
        made: bool = True,
    ) -> tuple[Crossing, ...]:
        """Replaces the hold by what was spent (nothing: releases it); never fails, also after the thread's end. ``missed`` is why the
        attempt failed, where its backend said so; ``reported`` is the prompt, where the input that is charged is its report for it. Not ``made``: its
        backend was not asked after all.
        """
        ...


def bound_of(call: Call, deployment: Deployment, prompt: Prompt) -> int:
    """The most input that a backend may charge for a prompt (R13): more of it closes the backend to strict calls."""
    return bound(prompt, sent_along=(deployment.settings.options, call.extra)) + deployment.settings.overhead


def claim_of(
    call: Call,
    alias: ModelSettings,
    deployment: Deployment,
    price: Rates,
    *,
    prompt: Prompt,
    strict: bool,
    model_calls: int = 1,
) -> Claim:
    """The need of one attempt at a backend (R13)."""
    wish = _wish(call, alias)
    if strict:
        given = bound_of(call, deployment, prompt)
    else:
        given = deployment.estimates.input_tokens(prompt, overhead=deployment.settings.overhead)
    return _new_claim(
        input_tokens=given,
        wish=wish,
        exact=call.max_output_tokens is not None,
        min_output=min(call.min_output_tokens, wish),
        input_cost=price.input_cost(given),
        output_price=price.output_price(given),
        model_calls=model_calls,
    )


def weight_of(call: Call, alias: ModelSettings, deployment: Deployment, prompt: Prompt) -> int:
    """The tokens that an attempt may come to, as its provider's rate limits count them beforehand."""
    return deployment.estimates.input_tokens(prompt, overhead=deployment.settings.overhead) + _wish(call, alias)


def _wish(call: Call, alias: ModelSettings) -> int:
    if call.max_output_tokens is not None:
        return call.max_output_tokens
    return alias.max_output_tokens if call.wish is None else call.wish
