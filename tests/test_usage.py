"""Money, inside and outside."""

from __future__ import annotations

from decimal import Decimal, localcontext

from hypothesis import given
from hypothesis import strategies as st

from organism.usage import pico, usd


@given(st.integers(0, 10**27))
def test_money_goes_in_and_out_whatever_context_is_set(amount: int) -> None:
    with localcontext() as context:
        context.prec = 3
        assert pico(usd(amount)) == amount


def test_money_is_rounded_up_and_shown_plainly() -> None:
    assert pico(Decimal("1E-13")) == 1
    assert str(usd(10**13)) == "10"
    assert str(usd(1_500_000_000_000)) == "1.5"
