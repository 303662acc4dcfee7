"""What a call asks of its budget before it is made, what it cost, and the warning levels it reached: the values of hold and settle."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING

from attrs import frozen

from organism.quick import quick
from organism.settings import SPENT_UNITS

if TYPE_CHECKING:
    from collections.abc import Sequence

VECTOR = SPENT_UNITS
"""The order of units in every vector of amounts; money is an integer of 10^-12 USD."""
TOKENS, INPUT, OUTPUT, COST, CALLS, MESSAGES = range(6)

Vector = tuple[int, ...]
"""Six amounts, in the order of :data:`VECTOR`. Not typed as :data:`Six`: compiled code would unbox and box such a tuple at every call."""
Six = tuple[int, int, int, int, int, int]
"""The same in facts and images, where its length is checked when it is read."""
NOTHING: Vector = (0, 0, 0, 0, 0, 0)


def six(amounts: Sequence[int]) -> Six:
    """Amounts as a vector; raises ValueError where there are more or fewer than six."""
    tokens, given, said, cost, calls, messages = amounts
    return tokens, given, said, cost, calls, messages


@frozen(kw_only=True)
class Claim:
    """The worst case of one attempt at one backend (R13), with room for the output to be clamped.

    ``input_tokens``: estimate (``strict``: bound) of the input, the backend's overhead included. ``wish``: output tokens.
    ``exact``: the wish was an argument of the call, and is honoured or refused; otherwise it may be lowered to at least
    ``min_output``. ``input_cost`` (10^-12 USD) is what the input costs, ``output_price`` what one output token costs.
    ``model_calls`` is 1 for the first attempt of a call, 0 for further ones.
    """

    input_tokens: int
    wish: int
    exact: bool = False
    min_output: int = 64
    input_cost: int = 0
    output_price: int = 0
    model_calls: int = 1

    def need(self, output: int) -> Vector:
        """The amounts to hold when ``output`` tokens may come back."""
        cost = self.input_cost + output * self.output_price
        return (self.input_tokens + output, self.input_tokens, output, cost, self.model_calls, 0)


@quick
@frozen(kw_only=True)
class Charge:
    """What an attempt cost. ``cost`` is in 10^-12 USD, ``input_tokens`` includes cached input. All zeros: it cost nothing."""

    input_tokens: int = 0
    output_tokens: int = 0
    cost: int = 0
    model_calls: int = 0
    cache_read_tokens: int = 0
    cache_write_tokens: int = 0
    reasoning_tokens: int = 0
    estimated: bool = False
    unpriced: bool | None = None
    """No price was known, and ``cost`` is 0 for that reason."""

    @property
    def details(self) -> tuple[int, int, int]:
        """What is shown beside the amounts: cache reads, cache writes, reasoning."""
        return (self.cache_read_tokens, self.cache_write_tokens, self.reasoning_tokens)

    @property
    def amounts(self) -> Vector:
        """The amounts to settle."""
        return (
            self.input_tokens + self.output_tokens,
            self.input_tokens,
            self.output_tokens,
            self.cost,
            self.model_calls,
            0,
        )


@quick
@frozen(kw_only=True)
class Crossing:
    """A budget node reached a level of a unit for the first time. Figures are in the unit (Decimal for money); ``scope`` is the
    node's kind, ``thread`` the id of the node's thread (empty for the organism).
    """

    unit: str
    level: str
    threshold: Decimal
    used: int | float | Decimal
    held: int | Decimal
    limit: int | float | Decimal
    remaining: int | float | Decimal
    scope: str
    thread: str = ""
