"""What a backend's tokens cost at a moment, and how many of them it takes at once: as its settings say, else the bundled list of
genai-prices, else unknown.

Unknown is ``None`` and never 0. The moment is an argument, so that a replay finds the prices of its time. Money is an
integer of 10^-12 USD, rounded up. A handler may set the precision of its decimals, and no price moves by that.
"""

from __future__ import annotations

import sys
from bisect import bisect_left
from datetime import datetime
from decimal import Decimal, localcontext
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final, Protocol

from attrs import evolve, fields, frozen

from organism.models.flat_prices import FlatPrices, listed_prices, own_prices, steps_of
from organism.models.simulation.options import Options
from organism.settings import NOTHING
from organism.usage import EXACT

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping

    from genai_prices.types import ModelInfo, ModelPrice, Provider

    from organism.models.tokens.usage import Measured
    from organism.settings import BackendSettings, ModelSettings, Seller

_Steps = tuple[list[int], list[FlatPrices]]
_FLAT: Final[dict[int, tuple[ModelPrice, _Steps]]] = {}
"""Entries of the list that were asked for, each with its prices as whole numbers. By ``id``, since entries cannot be hashed."""
_MOST_FLAT: Final = 1000
_OF_PRICES: Final = frozenset({"model", "base_url", "price", "options"})
"""What the price of a backend depends on."""


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
    lasting = lasting_rates(settings)
    if lasting is not None:
        return lasting
    if settings.built_in == "recorded":
        # What is not in its file is answered by nobody, and costs nothing.
        return (
            FREE
            if settings.seller is None
            else rates(_sold(settings, settings.seller), settings.seller.at, extra=extra)
        )
    tier = extra.get("service_tier", settings.options.get("service_tier"))
    for provider, url in _sellers(settings):
        listed = ListedRates(
            model=settings.model, provider=provider, url=url, at=at, tier=tier if isinstance(tier, str) else None
        )
        if listed.known():
            return listed
    return None


def lasting_rates(settings: BackendSettings) -> Rates | None:
    """The prices of a backend where they are the same at every moment, and for every call; else ``None``."""
    if settings.price is not None:
        return own_prices(settings.price)
    return FREE if settings.built_in == "simulated" else None


def least_window(alias: ModelSettings, at: datetime) -> int | None:
    """The least window that is known of the backends of an alias, since a call may go to each."""
    windows = [window_of(backend, at) for backend in alias.backends]
    return min((window for window in windows if window is not None), default=None)


def window_of(settings: BackendSettings, at: datetime) -> int | None:
    """The tokens of prompt and answer that a backend takes at once, as far as it is known at ``at`` (aware): its own ``context_window:``, else
    what the simulated model or the bundled list says. What was recorded was asked of its seller: the same prompts are asked again only
    if they are cut in the same way.
    """
    if settings.context_window is not None:
        return settings.context_window
    if settings.seller is not None:
        settings = _sold(settings, settings.seller)
    if settings.built_in == "simulated":
        given: Any = settings.options.get("context_window", fields(Options).context_window.default)
        return given if isinstance(given, int) else None
    for provider, url in _sellers(settings):
        listed = ListedRates(model=settings.model, provider=provider, url=url, at=at)
        try:
            return listed.window
        except LookupError:
            continue
    return None


def _sold(settings: BackendSettings, seller: Seller) -> BackendSettings:
    """The backend that a recording was made of, as far as its prices and its window go. Options of its own have stayed."""
    return evolve(
        settings,
        provider=seller.provider,
        factory=seller if seller.own else None,
        base_url=seller.base_url,
        price=seller.price,
        options={**settings.options, "service_tier": seller.service_tier},
        recording=None,
        seller=None,
    )


def check_price(settings: BackendSettings, wrong: Collection[str] = (), *, at: datetime) -> Iterator[str]:
    """Why a backend cannot be used where money is limited, and models without a price are refused. ``wrong`` are the fields that are
    not as they were meant: nothing is said that would follow from those.
    """
    if _OF_PRICES.isdisjoint(wrong) and rates(settings, at) is None:
        yield unpriced(settings)


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


FREE: Final = FlatPrices(fresh=0, read=0, written=0, answered=0, reasoned=0)
"""What costs nothing, and is known to."""
UNKNOWN: Final = evolve(FREE)
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
        """Whether the list has this model, with prices for both directions: one without would count as free. And prices of a kind that is not
        known here could come to anything.
        """
        try:
            listed = self._listed
        except LookupError:
            return False
        if listed.input_mtok is None or listed.output_mtok is None:
            return False
        # Those of a tier are put together anew for each question, and are worked out when they are needed.
        return bool(self._steps[1]) if self.tier is None else steps_of(listed) is not None

    @property
    def window(self) -> int | None:
        """The model's context window in tokens, ``None`` where the list has the model without one. Raises LookupError without it."""
        return self._entry()[1].context_window

    def input_cost(self, tokens: int) -> int:
        """See :class:`Rates`."""
        return self._flat(tokens).input_cost(tokens)

    def output_price(self, input_tokens: int) -> int:
        """See :class:`Rates`."""
        return self._flat(input_tokens).output_price(input_tokens)

    def cost(self, used: Measured) -> int:
        """See :class:`Rates`."""
        return self._flat(used.input_tokens).cost(used)

    def plain_cost(self, used: Measured) -> Decimal:
        """The same in USD, by the list's own arithmetic."""
        from genai_prices import Usage

        usage = Usage(
            input_tokens=used.input_tokens,
            output_tokens=used.output_tokens,
            cache_read_tokens=used.cache_read_tokens,
            cache_write_tokens=used.cache_write_tokens,
            output_reasoning_tokens=used.reasoning_tokens,
        )
        with localcontext(EXACT):
            return self._listed.calc_price(usage)["total_price"]

    def _flat(self, tokens: int) -> FlatPrices:
        """The prices of prompts of so many tokens."""
        starts, prices = self._steps
        return prices[bisect_left(starts, tokens) if starts else 0]

    @cached_property
    def _steps(self) -> _Steps:
        listed = self._listed
        known = _FLAT.get(id(listed))
        if known is not None and known[0] is listed:
            return known[1]
        starts = steps_of(listed)
        sizes = () if starts is None else (0, *starts)
        steps = starts or [], [listed_prices(self.plain_cost, size + 1) for size in sizes]
        if self.tier is None:
            if len(_FLAT) >= _MOST_FLAT:
                _FLAT.clear()
            _FLAT[id(listed)] = (listed, steps)
        return steps

    def _entry(self) -> tuple[Provider, ModelInfo]:
        """Raises LookupError where the list does not have the model."""
        # Loaded where it is first needed: an organism of simulated models never pays for it.
        from genai_prices import data_snapshot

        provider = self.provider if self.url is None else None
        return data_snapshot.get_snapshot().find_provider_model(self.model, None, provider, self.url)

    @cached_property
    def _listed(self) -> ModelPrice:
        """What the list says of the moment. Raises LookupError as above."""
        from genai_prices import Usage

        provider, model = self._entry()
        if self.tier is None:
            return model.get_prices(self.at)
        context = {"service_tier": self.tier}
        nothing = Usage(input_tokens=0, output_tokens=0)
        return model.calc_price(nothing, provider, genai_request_timestamp=self.at, price_context=context).model_price


def list_is_loaded() -> bool:
    """Whether the bundled list is there already."""
    return hasattr(sys.modules.get("genai_prices.data"), "providers")


def _sellers(settings: BackendSettings) -> tuple[tuple[str | None, str | None], ...]:
    """Whose prices to look for, as (provider, server): the server's own where it is known, else the provider's own for
    that name. The second is what a gateway in front of the provider costs, and too much rather than nothing for a local
    server. A provider of the user's own is found by the name of the model.
    """
    provider = settings.built_in
    return ((provider, None),) if settings.base_url is None else ((None, settings.base_url), (provider, None))
