"""Budget warnings in words, one line each."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Any

from organism.cli.report import money

if TYPE_CHECKING:
    from organism.record.facts import WarningRaised


def warning_line(warning: WarningRaised, handler: str) -> str:
    """Who is near which limit, with the figures. ``handler`` is who works in the thread where nobody is told.

    ::

        budget warning: reader: tokens critical, 1,830 of 2,000 used, 50 held, 20 left (about 1 call), of the sub-thread [thread 3f.2]
        loop warning: reader: the same Query to library, 4 times [thread 3f.2]
    """
    if warning.about is not None:
        sender = warning.pending_for or warning.to
        told = f"{sender}: " if sender else ""
        return f"loop warning: {told}the same {warning.about}, {warning.used} times [thread {warning.thread}]"
    who = warning.pending_for or warning.to or handler or "thread"
    held = f", {figure_text(warning.unit, warning.held)} held" if warning.held else ""
    calls = warning.calls_left
    room = "" if calls is None else f" (about {calls} {'call' if calls == 1 else 'calls'} like the last)"
    return (
        f"budget warning: {who}: {warning.unit} {warning.level}, "
        f"{figure_text(warning.unit, warning.used)} of {figure_text(warning.unit, warning.limit)} used{held}, "
        f"{figure_text(warning.unit, warning.remaining)} left{room}, of the {warning.scope} [thread {warning.thread}]"
    )


def figure_text(unit: str, value: Any) -> str:
    """A figure with its unit where it has one of its own."""
    if unit == "cost_usd":
        return f"{money(Decimal(value))} USD"
    return f"{value:,.1f} s" if unit == "seconds" else f"{value:,}"
