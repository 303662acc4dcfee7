"""Limits and other amounts by unit, in words. Also `check` tells them, which is to begin at once: nothing heavy is imported here."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from organism.settings import UNITS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from organism.settings import Limits


def limits_text(limits: Limits) -> str:
    """The limits of a budget in a line."""
    return amounts_text({unit: getattr(limits, unit) for unit in UNITS}) or "none"


def amounts_text(amounts: Mapping[str, Any]) -> str:
    """Amounts by unit in a line, without those that there are not."""
    return ", ".join(f"{unit} {value:,}".removesuffix(".0") for unit, value in amounts.items() if value is not None)


__all__ = ["amounts_text", "limits_text"]
