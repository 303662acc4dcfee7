"""What one attempt at a backend needs of a budget at most (R13)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from organism.budget.claims import Claim
from organism.models.estimates import bound
from organism.quick import maker

if TYPE_CHECKING:
    from organism.models.completion import Call
    from organism.models.prices import Rates
    from organism.models.prompt import Prompt
    from organism.models.seats import Seat
    from organism.settings import ModelSettings


_new_claim: Final = maker(Claim)


def bound_of(call: Call, seat: Seat, prompt: Prompt) -> int:
    """The most input that a backend may charge for a prompt (R13): more of it closes the backend to strict calls."""
    return bound(prompt, sent_along=(seat.settings.options, call.extra)) + seat.settings.overhead


def claim_of(
    call: Call, alias: ModelSettings, seat: Seat, price: Rates, *, prompt: Prompt, strict: bool, model_calls: int = 1
) -> Claim:
    """The need of one attempt at a backend (R13)."""
    wish = _wish(call, alias)
    if strict:
        given = bound_of(call, seat, prompt)
    else:
        given = seat.estimates.input_tokens(prompt, overhead=seat.settings.overhead)
    return _new_claim(
        input_tokens=given,
        wish=wish,
        exact=call.max_output_tokens is not None,
        min_output=min(call.min_output_tokens, wish),
        input_cost=price.input_cost(given),
        output_price=price.output_price(given),
        model_calls=model_calls,
    )


def weight_of(call: Call, alias: ModelSettings, seat: Seat, prompt: Prompt) -> int:
    """The tokens that an attempt may come to, as its provider's rate limits count them beforehand."""
    return seat.estimates.input_tokens(prompt, overhead=seat.settings.overhead) + _wish(call, alias)


def _wish(call: Call, alias: ModelSettings) -> int:
    if call.max_output_tokens is not None:
        return call.max_output_tokens
    return alias.max_output_tokens if call.wish is None else call.wish
