"""Prices as whole numbers: the same to the last coin as the list's own arithmetic."""

from __future__ import annotations

import math
import random
from datetime import UTC, datetime
from decimal import Context, Decimal
from fractions import Fraction
from types import SimpleNamespace
from typing import TYPE_CHECKING

from genai_prices.data import providers
from genai_prices.types import ModelInfo
from hypothesis import given
from hypothesis import strategies as st

from organism.models.flat_prices import own_prices
from organism.models.prices import ListedRates, rates
from organism.models.tokens.usage import Measured
from organism.settings import BackendSettings, Price
from organism.usage import pico, usd

if TYPE_CHECKING:
    import pytest

NOON = datetime(2026, 11, 1, 12, tzinfo=UTC)
TOKENS = st.integers(0, 10**6)
USD = st.decimals(0, 1000, places=7)


def test_every_model_of_the_list_costs_what_the_list_says() -> None:
    """In prompts of every size: some prices rise with it."""
    dice, asked = random.Random(7), 0
    for provider in providers:
        for model in provider.models:
            listed = ListedRates(model=model.id, provider=provider.id, url=None, at=NOON)
            if not listed.known():
                continue
            for size in (1000, 10**6):
                given_, said = dice.randrange(1, size), dice.randrange(size)
                kinds = [
                    Measured(
                        input_tokens=given_,
                        output_tokens=said,
                        cache_read_tokens=read,
                        cache_write_tokens=written,
                        reasoning_tokens=dice.randrange(said + 1),
                    )
                    for read, written in ((0, 0), (given_, 0), (0, given_), (given_ // 2, given_ // 3))
                ]
                for used in kinds:
                    assert listed.cost(used) == pico(listed.plain_cost(used)), f"{provider.id}/{model.id}: {used}"
                prompts = [
                    Measured(input_tokens=given_, output_tokens=0, cache_read_tokens=read, cache_write_tokens=written)
                    for read, written in ((0, 0), (given_, 0), (0, given_))
                ]
                assert listed.input_cost(given_) == pico(max(map(listed.plain_cost, prompts)))
            asked += 1
    assert asked > 1000


def test_a_token_of_output_costs_what_the_list_says() -> None:
    """Also where that depends on the size of the prompt."""
    for name, provider, size in (
        ("gpt-4o-mini", "openai", 10),
        ("gemini-2.5-pro", "google", 10),
        ("gemini-2.5-pro", "google", 300_000),
    ):
        listed = ListedRates(model=name, provider=provider, url=None, at=NOON)
        said = [
            pico(listed.plain_cost(Measured(input_tokens=size, output_tokens=10**6, reasoning_tokens=reasoned)))
            - pico(listed.plain_cost(Measured(input_tokens=size, output_tokens=0)))
            for reasoned in (0, 10**6)
        ]
        assert listed.output_price(size) == math.ceil(Fraction(max(said), 10**6))


def test_prices_of_a_kind_that_nobody_knows_are_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """A later list may have them. What they come to cannot be held, so the model counts as one without a price."""
    settings = BackendSettings(provider="openai", model="gpt-4o-mini")
    assert rates(settings, NOON) is not None
    entry = SimpleNamespace(input_mtok=Decimal(1), output_mtok="more by night")
    monkeypatch.setattr(ModelInfo, "get_prices", lambda *_: entry)
    assert rates(settings, NOON) is None


@given(st.tuples(USD, USD), st.tuples(*[st.none() | USD] * 3), st.tuples(*[TOKENS] * 5))
def test_own_prices_are_exact(
    both: tuple[Decimal, Decimal], kinds: tuple[Decimal | None, ...], used: tuple[int, ...]
) -> None:
    given_, said = both
    read, written, reasoned = kinds
    flat = own_prices(Price(input=given_, output=said, cache_read=read, cache_write=written, reasoning=reasoned))
    fresh, reads, writes, plain, thought = used
    total = (
        fresh * Fraction(given_)
        + reads * Fraction(given_ if read is None else read)
        + writes * Fraction(given_ if written is None else written)
        + plain * Fraction(said)
        + thought * Fraction(said if reasoned is None else reasoned)
    )
    measured = Measured(
        input_tokens=fresh + reads + writes,
        output_tokens=plain + thought,
        cache_read_tokens=reads,
        cache_write_tokens=writes,
        reasoning_tokens=thought,
    )
    assert flat.cost(measured) == math.ceil(total * 10**6)
    dearest = max(given_, given_ if read is None else read, given_ if written is None else written)
    assert flat.input_cost(fresh) == math.ceil(fresh * Fraction(dearest) * 10**6)
    assert flat.output_price(0) == math.ceil(Fraction(max(said, said if reasoned is None else reasoned)) * 10**6)


@given(st.integers(0, 10**30))
def test_money_is_shown_exactly_and_in_as_few_digits_as_there_are(amount: int) -> None:
    digits = Context(prec=100)
    plain = digits.divide(Decimal(amount), Decimal(10**12)).normalize(digits)
    whole = plain == plain.to_integral()
    assert str(usd(amount)) == str(plain.quantize(Decimal(1), context=digits) if whole else plain)
