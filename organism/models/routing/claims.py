"""What one attempt at a backend needs of a budget at most (R13)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from organism.budget.claims import Claim
from organism.models.tokens.estimates import bound
from organism.quick import maker

if TYPE_CHECKING:
    from organism.models.completion import Call
    from organism.models.prices import Rates
    from organism.models.routing.deployments import Deployment
    from organism.models.tokens.prompt import Prompt
    from organism.settings import ModelSettings


_new_claim: Final = maker(Claim)


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
