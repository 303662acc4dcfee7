"""Figures in words: money, amounts by unit, limits. `check` shows them as well and has to start fast: nothing heavy is imported here."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

from organism.settings import UNITS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from organism.settings import Limits

_MILLIONTH: Final = Decimal("0.000001")


def limits_text(limits: Limits) -> str:
    """The limits of a budget in a line."""
    return amounts_text({unit: getattr(limits, unit) for unit in UNITS}) or "none"


def amounts_text(amounts: Mapping[str, Any]) -> str:
    """Amounts by unit in a line, without those that there are not."""
    return ", ".join(f"{unit} {value:,}".removesuffix(".0") for unit, value in amounts.items() if value is not None)


def figure_text(unit: str, value: Any) -> str:
    """A figure with its unit where it has one of its own."""
    if unit == "cost_usd":
        return f"{money(Decimal(value))} USD"
    return f"{value:,.1f} s" if unit == "seconds" else f"{value:,}"


def plain_amount(amount: Decimal | float) -> str:
    """A figure with its thousands apart, and no zeros behind its point."""
    return f"{Decimal(str(amount)).normalize():,f}"


def money(usd: Decimal) -> str:
    """USD to the millionth, without trailing zeros; never 0 for what is more than that."""
    if 0 < usd < _MILLIONTH:
        return "<0.000001"
    text = f"{usd:.6f}".rstrip("0")
    return text + "00" if text.endswith(".") else text
