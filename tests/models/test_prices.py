"""What tokens cost, and when nobody knows."""

from __future__ import annotations

import random
from datetime import UTC, datetime
from decimal import ROUND_DOWN, Context, Decimal, Inexact, Rounded, localcontext

import pytest
from attrs import evolve
from genai_prices.data import providers
from hypothesis import given
from hypothesis import strategies as st

from organism.models.prices import ListedRates, check_price, rates
from organism.models.routing.router import Router
from organism.models.tokens.usage import Measured
from organism.settings import BackendSettings, ModelSettings, Price
from tests.models.router_world import Purse, Say, Script, World, ask, usage

NOON = datetime(2026, 11, 1, 12, tzinfo=UTC)
OWN = BackendSettings(
    provider="openai",
    model="of-our-own",
    price=Price(input=Decimal(3), output=Decimal(15), cache_read=Decimal("0.30"), cache_write=Decimal("3.75")),
)
LISTED = BackendSettings(provider="openai", model="gpt-4o-mini")


def _coins(usd: Decimal) -> int:
    """The same in 10^-12 USD."""
    return int(usd * 10**12)


def test_own_prices_by_kind_of_token() -> None:
    own = rates(OWN, NOON)
    assert own is not None
    used = Measured(input_tokens=9600, output_tokens=100, cache_read_tokens=9000, cache_write_tokens=500)
    assert own.cost(used) == _coins(Decimal("0.0003") + Decimal("0.0027") + Decimal("0.001875") + Decimal("0.0015"))
    assert own.input_cost(1_000_000) == _coins(Decimal("3.75"))
    assert own.output_price(10) == 15_000_000


def test_caches_cost_what_input_costs_where_nothing_else_is_said() -> None:
    own = rates(evolve(OWN, price=Price(input=Decimal(2), output=Decimal(4))), NOON)
    assert own is not None
    used = Measured(input_tokens=10, output_tokens=0, cache_read_tokens=5, cache_write_tokens=2)
    assert own.cost(used) == _coins(Decimal(20) / 10**6)


def test_fractions_of_the_smallest_coin_are_rounded_up() -> None:
    own = rates(evolve(OWN, price=Price(input=Decimal("0.0000001"), output=Decimal("0.0000001"))), NOON)
    assert own is not None
    assert own.input_cost(1) == own.output_price(1) == 1
    assert own.cost(Measured(input_tokens=1, output_tokens=0)) == 1


ODD_CONTEXTS = [
    Context(prec=1),
    Context(prec=3, rounding=ROUND_DOWN),
    Context(prec=6, traps=[Inexact, Rounded]),
    Context(prec=28, Emax=3, Emin=-3),
]


@pytest.mark.parametrize("settings", [OWN, LISTED])
@pytest.mark.parametrize("context", ODD_CONTEXTS)
def test_what_tokens_cost_does_not_depend_on_the_decimals_of_the_caller(
    settings: BackendSettings, context: Context
) -> None:
    used = Measured(input_tokens=123_457, output_tokens=98_765, cache_read_tokens=1237, cache_write_tokens=331)

    def figures() -> tuple[int, ...]:
        known = rates(settings, NOON)
        assert known is not None
        return known.input_cost(123_457), known.output_price(123_457), known.cost(used)

    exact = figures()
    with localcontext(context):
        assert figures() == exact


def test_a_price_with_many_digits_is_not_rounded_before_it_is_multiplied() -> None:
    price = Price(input=Decimal("0." + "3" * 60), output=Decimal(1))
    own = rates(evolve(OWN, price=price), NOON)
    assert own is not None
    assert own.input_cost(10**9) == 333_333_333_333_334


def test_listed_prices() -> None:
    listed = rates(LISTED, NOON)
    assert listed is not None
    assert listed.input_cost(1000) == _coins(Decimal("0.00015"))
    assert listed.output_price(1000) == 600_000
    used = Measured(input_tokens=1000, output_tokens=100, cache_read_tokens=400)
    assert listed.cost(used) == _coins(Decimal("0.00009") + Decimal("0.00003") + Decimal("0.00006"))


def test_prices_by_size_of_the_prompt_and_for_writing_a_cache() -> None:
    listed = rates(BackendSettings(provider="anthropic", model="claude-sonnet-4-5"), NOON)
    assert listed is not None
    assert listed.output_price(200_000) == 15_000_000
    assert listed.output_price(200_001) == 22_500_000
    assert listed.input_cost(100_000) == _coins(Decimal("0.375"))
    assert listed.input_cost(300_000) == _coins(Decimal("2.25"))


def test_what_a_request_costs_by_itself_is_part_of_its_worst_case() -> None:
    listed = rates(BackendSettings(provider="perplexity", model="sonar"), NOON)
    assert listed is not None
    assert listed.input_cost(0) > 0


def test_a_service_tier_has_its_own_price_from_the_call_or_the_backend() -> None:
    model = BackendSettings(provider="openai", model="gpt-5.2")
    usual, fast = rates(model, NOON), rates(model, NOON, extra={"service_tier": "priority"})
    configured = rates(evolve(model, options={"service_tier": "priority"}), NOON)
    assert usual is not None
    assert fast is not None
    assert configured is not None
    assert usual.input_cost(1000) < fast.input_cost(1000) == configured.input_cost(1000)


def test_prices_are_those_of_the_moment() -> None:
    model = BackendSettings(provider="deepseek", model="deepseek-chat")
    by_hour = {
        r.input_cost(10**6)
        for hour in range(24)
        if (r := rates(model, datetime(2025, 3, 1, hour, tzinfo=UTC))) is not None
    }
    assert len(by_hour) == 2


@pytest.mark.parametrize(
    "settings",
    [
        BackendSettings(provider="openai", model="never-heard-of"),
        BackendSettings(provider="openai", model="llama3.2", base_url="http://localhost:11434/v1"),
        BackendSettings(provider="of_my.own:make", factory=object, model="mine"),
        BackendSettings(provider="openai", model="text-embedding-3-small"),
    ],
)
def test_nobody_knows(settings: BackendSettings) -> None:
    assert rates(settings, NOON) is None


def test_a_known_server_has_its_own_prices_and_an_unknown_one_those_of_the_name() -> None:
    known = rates(
        BackendSettings(provider="openai", model="openai/gpt-4o-mini", base_url="https://openrouter.ai/api/v1"), NOON
    )
    gateway = rates(evolve(LISTED, base_url="http://gateway.example/v1"), NOON)
    own_class = rates(BackendSettings(provider="m:make", factory=object, model="gpt-4o-mini"), NOON)
    listed = rates(LISTED, NOON)
    assert known is not None
    assert listed is not None
    assert gateway is not None
    assert own_class is not None
    assert known.output_price(1) == gateway.output_price(1) == own_class.output_price(1) == listed.output_price(1)


def test_the_simulated_model_is_free_and_known_to_be() -> None:
    simulated = BackendSettings(provider="simulated", model="sim-1")
    free = rates(simulated, NOON)
    assert free is not None
    assert free.input_cost(10**6) == free.output_price(1) == free.cost(Measured(input_tokens=1, output_tokens=1)) == 0
    priced = rates(evolve(simulated, price=OWN.price), NOON)
    assert priced is not None
    assert priced.output_price(1) > 0


def test_a_backend_without_a_price_is_told_with_the_ways_out() -> None:
    assert list(check_price(OWN, at=NOON)) == []
    (line,) = check_price(evolve(OWN, price=None), at=NOON)
    assert "'of-our-own'" in line
    assert "price:" in line
    assert "on_unpriced: ignore" in line


@given(
    st.sampled_from([OWN, LISTED, BackendSettings(provider="anthropic", model="claude-sonnet-4-5")]),
    st.integers(0, 10**6),
    st.integers(0, 10**6),
    st.integers(0, 10**5),
    st.integers(0, 10**5),
)
def test_what_was_held_for_is_never_exceeded_by_what_stays_within_it(
    settings: BackendSettings, read: int, written: int, fresh: int, answered: int
) -> None:
    price = rates(settings, NOON)
    assert price is not None
    used = Measured(
        input_tokens=read + written + fresh, output_tokens=answered, cache_read_tokens=read, cache_write_tokens=written
    )
    assert (
        0 <= price.cost(used) <= price.input_cost(used.input_tokens) + answered * price.output_price(used.input_tokens)
    )


# Reasoning, and prices that change


DEEP = BackendSettings(provider="perplexity", model="sonar-deep-research")
"""Its reasoning costs 3 USD a million, and its other output 8."""


def test_reasoning_has_its_own_price_where_the_list_has_one() -> None:
    listed = rates(DEEP, NOON)
    assert listed is not None
    plain = listed.cost(Measured(input_tokens=100, output_tokens=100))
    reasoned = listed.cost(Measured(input_tokens=100, output_tokens=100, reasoning_tokens=60))
    assert plain - reasoned == _coins(Decimal(60 * (8 - 3)) / 10**6)
    assert listed.output_price(100) == 8_000_000


def test_reasoning_is_output_where_the_list_has_no_price_of_its_own() -> None:
    listed = rates(LISTED, NOON)
    assert listed is not None
    plain = Measured(input_tokens=100, output_tokens=100)
    assert listed.cost(plain) == listed.cost(evolve(plain, reasoning_tokens=60))


def test_own_prices_may_have_one_for_reasoning() -> None:
    price = Price(input=Decimal(1), output=Decimal(2), reasoning=Decimal(5))
    own = rates(evolve(OWN, price=price), NOON)
    assert own is not None
    assert own.cost(Measured(input_tokens=0, output_tokens=10, reasoning_tokens=4)) == _coins(Decimal(32) / 10**6)
    assert own.output_price(0) == 5_000_000
    cheap = rates(evolve(OWN, price=evolve(price, reasoning=Decimal(1))), NOON)
    assert cheap is not None
    assert cheap.output_price(0) == 2_000_000


async def test_a_price_that_changes_in_mid_run_is_that_of_each_call() -> None:
    """The list has had another price for this model since 10 June 2025."""
    settings = BackendSettings(provider="openai", model="o3", overhead=0)
    now = datetime(2025, 6, 9, 23, 59, 50, tzinfo=UTC)
    script, purse = Script(Say("fine", usage(10**6, 10**6))), Purse()
    router = Router(
        {"default": ModelSettings(name="default", backends=(settings,))},
        backends=lambda _: script,
        random=random.Random(1),
        clock=lambda: now,
    )
    before = await router.complete(ask(), purse)
    now = datetime(2025, 6, 10, tzinfo=UTC)
    after = await router.complete(ask(), purse)
    assert (before.cost_usd, after.cost_usd) == (Decimal(50), Decimal(10))
    assert purse.claims[0].output_price > purse.claims[1].output_price


async def test_what_nobody_knows_the_price_of_is_said_once_and_marked(caplog: pytest.LogCaptureFixture) -> None:
    world, purse = World(Script(Say("fine", usage(100, 10)))), Purse()
    for _ in range(3):
        assert (await world.router.complete(ask(), purse)).cost_usd == 0
    assert [charge.unpriced for charge in purse.charges] == [True, True, True]
    (said,) = [record.getMessage() for record in caplog.records]
    assert said.startswith("models.default.backends[0]: no price is known for 'm-0'")


async def test_a_price_of_nothing_is_no_unknown_one(caplog: pytest.LogCaptureFixture) -> None:
    free = Price(input=Decimal(0), output=Decimal(0))
    world, purse = World(Script(Say("fine", usage(100, 10))), each=[{"price": free}]), Purse(needs_price=True)
    assert (await world.router.complete(ask(), purse)).cost_usd == 0
    assert (purse.charges[0].unpriced, caplog.records) == (None, [])


def test_whatever_of_a_prompt_a_cache_has_it_costs_no_more_than_was_held() -> None:
    """Over the whole list: for some sellers reading from a cache is dearer than not to."""
    dear: list[str] = []
    for provider in providers:
        for model in provider.models:
            listed = ListedRates(model=model.id, provider=provider.id, url=None, at=NOON)
            if not listed.known():
                continue
            held = listed.input_cost(1000) + 10 * listed.output_price(1000)
            for read, written in ((0, 0), (1000, 0), (0, 1000)):
                used = Measured(input_tokens=1000, output_tokens=10, cache_read_tokens=read, cache_write_tokens=written)
                if listed.cost(used) > held:
                    dear.append(f"{provider.id}/{model.id}")
    assert not dear
