"""Prices that are so much a token, as whole numbers: what a use costs is then a sum of products, and exact.

A list of prices works with decimals, one unit after the other, and takes longer for one figure than all the rest of a call. What a
price of it comes to for one token of each kind is asked of it once.
"""

from __future__ import annotations

import math
from decimal import Decimal
from fractions import Fraction
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, Any, Final

from attrs import frozen

from organism.models.tokens.usage import LARGEST, Measured
from organism.usage import PICO_PER_USD

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from organism.settings import Price

_MILLION: Final = 10**6


@frozen(kw_only=True)
class FlatPrices:
    """What tokens of each kind and a call itself cost, in 1/``per`` of 10^-12 USD, for up to ``most`` tokens of input."""

    fresh: int
    read: int
    written: int
    answered: int
    reasoned: int
    call: int = 0
    per: int = 1
    most: int = LARGEST

    def cost(self, used: Measured) -> int:
        """What this use costs (10^-12 USD, rounded up)."""
        read, written, fresh = split(used)
        reasoned = reasoned_of(used)
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


def split(used: Measured) -> tuple[int, int, int]:
    """Input read from a cache, written to one, and neither; never more than the input as a whole."""
    read = min(used.cache_read_tokens, used.input_tokens)
    written = min(used.cache_write_tokens, used.input_tokens - read)
    return read, written, used.input_tokens - read - written


def reasoned_of(used: Measured) -> int:
    """Output that was reasoning; never more than the output as a whole."""
    return min(used.reasoning_tokens, used.output_tokens)


@lru_cache
def own_prices(price: Price) -> FlatPrices:
    """The prices that the configuration has (USD per million tokens)."""
    read = price.input if price.cache_read is None else price.cache_read
    written = price.input if price.cache_write is None else price.cache_write
    reasoned = price.output if price.reasoning is None else price.reasoning
    kinds = (price.input, read, written, price.output, reasoned)
    return _whole([Fraction(each) / _MILLION for each in kinds], call=Fraction(0), most=LARGEST)


_KINDS: Final = (
    Measured(input_tokens=1, output_tokens=0),
    Measured(input_tokens=1, output_tokens=0, cache_read_tokens=1),
    Measured(input_tokens=1, output_tokens=0, cache_write_tokens=1),
    Measured(input_tokens=0, output_tokens=1),
    Measured(input_tokens=0, output_tokens=1, reasoning_tokens=1),
)
"""One token of each kind, in the order of the fields above."""


def listed_prices(listed: object, total: Callable[[Measured], Decimal]) -> FlatPrices | None:
    """The prices of an entry of the list, whose sums for a use are ``total`` (USD, exactly); ``None`` where they are no such
    prices. Where they rise with the size of the prompt, they are those of prompts up to the first step.
    """
    most = LARGEST
    for price in vars(listed).values():
        if price is None or isinstance(price, Decimal):
            continue
        steps: Any = getattr(price, "tiers", None)
        if not steps:
            return None
        most = min(most, *(step.start for step in steps))
    if most < 1:
        return None
    call = Fraction(total(Measured(input_tokens=0, output_tokens=0)))
    return _whole([Fraction(total(kind)) - call for kind in _KINDS], call=call, most=most)


def _whole(usd: Sequence[Fraction], *, call: Fraction, most: int) -> FlatPrices:
    """The same prices over one denominator."""
    amounts = [amount * PICO_PER_USD for amount in (*usd, call)]
    per = math.lcm(*(amount.denominator for amount in amounts))
    fresh, read, written, answered, reasoned, once = (int(amount * per) for amount in amounts)
    return FlatPrices(
        fresh=fresh, read=read, written=written, answered=answered, reasoned=reasoned, call=once, per=per, most=most
    )  # fmt: skip
