"""Budget warnings in words, one line each."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Any

from organism.cli.report import money
from organism.errors import titled
from organism.names import ACCOUNT

if TYPE_CHECKING:
    from organism.record.facts import WarningRaised


def warning_line(warning: WarningRaised, handler: str) -> str:
    """Who is near which limit, with the figures. ``handler`` is who works in the thread where nobody is told.

    ::

        budget warning: reader: tokens critical, 1,830 of 2,000 used, 50 held, 100 kept back, 20 left (about 1 call like the last), of the sub-thread [thread 3f.2]
        loop warning: reader: the same Query to library, 4 times [thread 3f.2]
    """
    if warning.about is not None:
        sender = warning.pending_for or warning.to
        told = f"{sender}: " if sender else ""
        return f"loop warning: {told}the same {warning.about}, {warning.used} times [thread {warning.thread}]"
    who = warning.pending_for or warning.to or handler or "thread"
    held = f", {figure_text(warning.unit, warning.held)} held" if warning.held else ""
    kept = _kept_back(warning)
    back = f", {figure_text(warning.unit, kept)} kept back" if kept else ""
    calls = warning.calls_left
    account = warning.node.removeprefix(ACCOUNT) if warning.scope == "account" else None
    whose = titled(warning.scope, account)
    about = f"about {calls} {'call' if calls == 1 else 'calls'}" if calls else "not one more call"
    room = "" if calls is None else f" ({about} like the last)"
    return (
        f"budget warning: {who}: {warning.unit} {warning.level}, "
        f"{figure_text(warning.unit, warning.used)} of {figure_text(warning.unit, warning.limit)} used{held}{back}, "
        f"{figure_text(warning.unit, warning.remaining)} left{room}, of the {whose} [thread {warning.thread}]"
    )


def _kept_back(warning: WarningRaised) -> Any:
    """What a last answer has to itself, so that the figures of a line add up; nothing where all that is left for work is used up: some of
    it may be, too.
    """
    return (
        warning.limit - warning.used - warning.held - warning.remaining
        if warning.unit != "seconds" and warning.remaining
        else 0
    )


def figure_text(unit: str, value: Any) -> str:
    """A figure with its unit where it has one of its own."""
    if unit == "cost_usd":
        return f"{money(Decimal(value))} USD"
    return f"{value:,.1f} s" if unit == "seconds" else f"{value:,}"
