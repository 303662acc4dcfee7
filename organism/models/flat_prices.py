"""Prices that are so much a token, as whole numbers: what a use costs is then a sum of products, and exact.

A list of prices works with decimals, one unit after the other, and takes longer for one figure than all the rest of a call. What a
price of it comes to for one token of each kind is asked of it once, for each size of prompts from which on they are dearer.
"""

from __future__ import annotations

import math
from decimal import Decimal
from fractions import Fraction
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, Any, Final

from attrs import frozen

from organism.models.tokens.usage import Measured
from organism.usage import PICO_PER_USD

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from organism.settings import Price

_MILLION: Final = 10**6


@frozen(kw_only=True)
class FlatPrices:
    """What tokens of each kind and a call itself cost, in 1/``per`` of 10^-12 USD."""

    fresh: int
    read: int
    written: int
    answered: int
    reasoned: int
    call: int = 0
    per: int = 1

    def cost(self, used: Measured) -> int:
        """What this use costs (10^-12 USD, rounded up)."""
        read, written, reasoned = used.cache_read_tokens, used.cache_write_tokens, used.reasoning_tokens
        fresh = used.input_tokens - read - written
        said = reasoned * self.reasoned + (used.output_tokens - reasoned) * self.answered
        return -(-(self.call + fresh * self.fresh + read * self.read + written * self.written + said) // self.per)

    def input_cost(self, tokens: int) -> int:
        """What so much input costs at most, whichever of it is read from or written to a cache."""
        return -(-(self.call + self._dearest * tokens) // self.per)

    @cached_property
    def _dearest(self) -> int:
        return max(self.fresh, self.read, self.written)

    def output_price(self, input_tokens: int) -> int:  # noqa: ARG002 - it does not depend on the size of the prompt
        """What one token of output costs at most."""
        return self._dearest_output

    @cached_property
    def _dearest_output(self) -> int:
        return -(-max(self.answered, self.reasoned) // self.per)


@lru_cache
def own_prices(price: Price) -> FlatPrices:
    """The prices that the configuration has (USD per million tokens)."""
    read = price.input if price.cache_read is None else price.cache_read
    written = price.input if price.cache_write is None else price.cache_write
    reasoned = price.output if price.reasoning is None else price.reasoning
    kinds = (price.input, read, written, price.output, reasoned)
    return _whole([Fraction(each) / _MILLION for each in kinds], call=Fraction(0))


def steps_of(listed: object) -> list[int] | None:
    """From more than how many tokens of input on the prices of an entry of the list are others; ``None`` where some of them are of a kind
    that nobody knows.
    """
    found: set[int] = set()
    for name, price in vars(listed).items():
        tiers: Any = () if price is None or isinstance(price, Decimal) else getattr(price, "tiers", None)
        if tiers is None and not name.startswith("_"):
            return None
        found.update(tier.start for tier in tiers or () if tier.start > 0)
    return sorted(found)


def listed_prices(total: Callable[[Measured], Decimal], tokens: int) -> FlatPrices:
    """The prices of prompts of about so many tokens (1 or more), where ``total`` is what a use costs (USD, exactly) by the list."""

    def cost(*, output_tokens: int = 0, **cached: int) -> Fraction:
        return Fraction(total(Measured(input_tokens=tokens, output_tokens=output_tokens, **cached)))

    call = Fraction(total(Measured(input_tokens=0, output_tokens=0)))
    inputs = (cost(), cost(cache_read_tokens=tokens), cost(cache_write_tokens=tokens))
    outputs = (cost(output_tokens=1), cost(output_tokens=1, reasoning_tokens=1))
    kinds = [*((each - call) / tokens for each in inputs), *(each - inputs[0] for each in outputs)]
    return _whole(kinds, call=call)


def _whole(usd: Sequence[Fraction], *, call: Fraction) -> FlatPrices:
    """The same prices over one denominator."""
    amounts = [amount * PICO_PER_USD for amount in (*usd, call)]
    per = math.lcm(*(amount.denominator for amount in amounts))
    fresh, read, written, answered, reasoned, once = (int(amount * per) for amount in amounts)
    return FlatPrices(
        fresh=fresh, read=read, written=written, answered=answered, reasoned=reasoned, call=once, per=per
    )  # fmt: skip
