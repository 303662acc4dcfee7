"""What was spent: the figures of a call, and the sums of a thread."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from attrs import asdict, frozen

PICO_PER_USD = 10**12
"""Money is an integer of 10^-12 USD inside the organism, so that sums are exact; Decimal outside."""


def pico(usd: Decimal) -> int:
    """USD as an integer of 10^-12 USD, rounded up: a limit may only be met early, never late."""
    return -int(-(usd * PICO_PER_USD) // 1)


def usd(amount: int) -> Decimal:
    """The Decimal of an integer of 10^-12 USD, without trailing zeros or exponent."""
    value = (Decimal(amount) / PICO_PER_USD).normalize()
    return value.quantize(Decimal(1)) if value == value.to_integral() else value


@frozen(kw_only=True)
class Usage:
    """Figures of a thread, with those of its sub-threads. ``input_tokens`` counts cached input too; ``tokens`` is input
    plus output; ``cost_usd`` is exact; ``seconds`` is running time; ``estimated`` says that some figure is an estimate.
    """

    input_tokens: int = 0
    output_tokens: int = 0
    cache_read_tokens: int = 0
    cache_write_tokens: int = 0
    reasoning_tokens: int = 0
    tokens: int = 0
    cost_usd: Decimal = Decimal(0)
    model_calls: int = 0
    messages: int = 0
    seconds: float = 0.0
    estimated: bool = False

    def as_json(self) -> dict[str, Any]:
        """A JSON object of the fields; money as a string."""
        return asdict(self) | {"cost_usd": format(self.cost_usd, "f"), "seconds": round(self.seconds, 6)}
