"""What a backend's tokens cost at a moment: its own ``price:``, else the bundled list of genai-prices, else unknown.

Unknown is ``None`` and never 0. The moment is an argument, so that a replay finds the prices of its time. Money is an
integer of 10^-12 USD, rounded up. A handler may set the precision of its decimals, and no price moves by that.
"""

from __future__ import annotations

import math
from datetime import datetime
from decimal import Context, localcontext
from fractions import Fraction
from typing import TYPE_CHECKING, Final, Protocol

from attrs import frozen

from organism.models.measured import Measured
from organism.settings import NOTHING, Price
from organism.usage import PICO_PER_USD, pico

if TYPE_CHECKING:
    from collections.abc import Mapping
    from decimal import Decimal
    from typing import Any

    from genai_prices.types import PriceCalculation

    from organism.settings import BackendSettings, ModelSettings

_MILLION: Final = 10**6
_PICO_PER_USD_A_MILLION: Final = PICO_PER_USD // _MILLION
_EXACT: Final = Context(prec=100)
"""Digits enough for what a list of prices may compute."""


class Rates(Protocol):
    """The prices of one backend at one moment."""

    def input_cost(self, tokens: int) -> int:
        """What ``tokens`` of input cost at most, whichever of them are read from or written to a cache."""
        ...

    def output_price(self, input_tokens: int) -> int:
        """What one token of output costs after so much input (prices may depend on the size of the prompt)."""
        ...

    def cost(self, used: Measured) -> int:
        """What this use costs."""
        ...


def rates(settings: BackendSettings, at: datetime, *, extra: Mapping[str, Any] = NOTHING) -> Rates | None:
    """The prices of a backend at ``at`` (aware), or ``None`` where nobody knows them.

    ``extra`` is what the call passes through to the provider: a ``service_tier`` in it, or in the backend's options, has
    its own prices. The simulated model costs nothing unless it is given a ``price``.
    """
    if settings.price is not None:
        return OwnRates(price=settings.price)
    if settings.provider == "simulated":
        return FREE
    tier = extra.get("service_tier", settings.options.get("service_tier"))
    for provider, url in _sellers(settings):
        listed = ListedRates(
            model=settings.model, provider=provider, url=url, at=at, tier=tier if isinstance(tier, str) else None
        )
        if listed.known():
            return listed
    return None


def check_prices(models: Mapping[str, ModelSettings], *, cost_limited: bool, at: datetime) -> list[str]:
    """One placed line for each backend without a price, where some limit is in USD and such models are refused."""
    if not cost_limited:
        return []
    return [
        f"{backend.place or f'models.{alias}.backends[{index}]'}: {unpriced(backend)}"
        for alias, model in models.items()
        for index, backend in enumerate(model.backends)
        if rates(backend, at) is None
    ]


def counts_as_nothing(settings: BackendSettings) -> str:
    """What is said of a backend without a price that is used, since no limit of ``cost_usd`` refuses it."""
    return (
        f"no price is known for '{settings.model}' of provider '{settings.provider}': what it costs is counted as 0 USD, and marked; "
        "give it a `price: {input: 3, output: 15}` (USD per million tokens)"
    )


def unpriced(settings: BackendSettings) -> str:
    """Why a backend without a price cannot be used under a limit of ``cost_usd``, and the ways out."""
    return (
        f"no price is known for '{settings.model}' of provider '{settings.provider}', and cost_usd is limited; give it one "
        "(`price: {input: 3, output: 15}`, USD per million tokens) or say `on_unpriced: ignore` in the budget"
    )


@frozen(kw_only=True)
class OwnRates:
    """Prices as the configuration has them."""

    price: Price

    def input_cost(self, tokens: int) -> int:
        """See :class:`Rates`."""
        return _at(max(self.price.input, self._read, self._write), tokens)

    def output_price(self, input_tokens: int) -> int:  # noqa: ARG002 - own prices do not depend on the size of the prompt
        """See :class:`Rates`."""
        return _at(max(self.price.output, self._reasoning), 1)

    def cost(self, used: Measured) -> int:
        """See :class:`Rates`."""
        read, written, fresh = _split(used)
        usd = read * Fraction(self._read) + written * Fraction(self._write) + fresh * Fraction(self.price.input)
        reasoned = _reasoned(used)
        usd += reasoned * Fraction(self._reasoning) + (used.output_tokens - reasoned) * Fraction(self.price.output)
        return math.ceil(usd * _PICO_PER_USD_A_MILLION)

    @property
    def _read(self) -> Decimal:
        return self.price.input if self.price.cache_read is None else self.price.cache_read

    @property
    def _write(self) -> Decimal:
        return self.price.input if self.price.cache_write is None else self.price.cache_write

    @property
    def _reasoning(self) -> Decimal:
        return self.price.output if self.price.reasoning is None else self.price.reasoning


@frozen
class _Free:
    def input_cost(self, tokens: int) -> int:  # noqa: ARG002 - see Rates
        return 0

    def output_price(self, input_tokens: int) -> int:  # noqa: ARG002 - see Rates
        return 0

    def cost(self, used: Measured) -> int:  # noqa: ARG002 - see Rates
        return 0


FREE: Final[Rates] = _Free()
"""What costs nothing, and is known to."""


@frozen
class _Unknown(_Free):
    pass


UNKNOWN: Final[Rates] = _Unknown()
"""Nobody knows what it costs, and no limit asks: it counts as nothing, and whatever is charged by it says so."""


@frozen(kw_only=True)
class ListedRates:
    """Prices of the bundled list: those of the server at ``url``, else of ``provider``, else by the model's name alone."""

    model: str
    provider: str | None
    url: str | None
    at: datetime
    tier: str | None = None

    def known(self) -> bool:
        """Whether the list has this model, with prices for both directions: one without would count as free."""
        try:
            listed = self._calculate(Measured(input_tokens=0, output_tokens=0)).model_price
        except LookupError:
            return False
        return listed.input_mtok is not None and listed.output_mtok is not None

    def input_cost(self, tokens: int) -> int:
        """See :class:`Rates`."""
        plain = Measured(input_tokens=tokens, output_tokens=0)
        # Reading from a cache is dearer than not to, for some sellers.
        read = Measured(input_tokens=tokens, output_tokens=0, cache_read_tokens=tokens)
        written = Measured(input_tokens=tokens, output_tokens=0, cache_write_tokens=tokens)
        return max(self.cost(plain), self.cost(read), self.cost(written))

    def output_price(self, input_tokens: int) -> int:
        """See :class:`Rates`."""
        plain = Measured(input_tokens=input_tokens, output_tokens=_MILLION)
        reasoned = Measured(input_tokens=input_tokens, output_tokens=_MILLION, reasoning_tokens=_MILLION)
        million = max(self._calculate(plain).output_price, self._calculate(reasoned).output_price)
        return -(-pico(million) // _MILLION)

    def cost(self, used: Measured) -> int:
        """See :class:`Rates`."""
        return pico(self._calculate(used).total_price)

    def _calculate(self, used: Measured) -> PriceCalculation:
        # Loaded where it is first needed: an organism of simulated models never pays for it.
        from genai_prices import Usage, calc_price

        read, written, _ = _split(used)
        usage = Usage(
            input_tokens=used.input_tokens,
            output_tokens=used.output_tokens,
            cache_read_tokens=read,
            cache_write_tokens=written,
            output_reasoning_tokens=_reasoned(used),
        )
        context = None if self.tier is None else {"service_tier": self.tier}
        with localcontext(_EXACT):
            if self.url is not None:
                return calc_price(
                    usage, self.model, provider_api_url=self.url, genai_request_timestamp=self.at, price_context=context
                )
            return calc_price(
                usage, self.model, provider_id=self.provider, genai_request_timestamp=self.at, price_context=context
            )


def _sellers(settings: BackendSettings) -> tuple[tuple[str | None, str | None], ...]:
    """Whose prices to look for, as (provider, server): the server's own where it is known, else the provider's own for
    that name. The second is what a gateway in front of the provider costs, and too much rather than nothing for a local
    server. A provider of the user's own is found by the name of the model.
    """
    provider = settings.provider if settings.factory is None else None
    return ((provider, None),) if settings.base_url is None else ((None, settings.base_url), (provider, None))


def _split(used: Measured) -> tuple[int, int, int]:
    """Input read from a cache, written to one, and neither; never more than the input as a whole."""
    read = min(used.cache_read_tokens, used.input_tokens)
    written = min(used.cache_write_tokens, used.input_tokens - read)
    return read, written, used.input_tokens - read - written


def _reasoned(used: Measured) -> int:
    """Output that was reasoning; never more than the output as a whole."""
    return min(used.reasoning_tokens, used.output_tokens)


def _at(price: Decimal, tokens: int) -> int:
    """What so many tokens cost at a price of USD per million."""
    return math.ceil(Fraction(price) * tokens * _PICO_PER_USD_A_MILLION)
