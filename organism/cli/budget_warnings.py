"""Budget warnings in words: one line for each limit that is near."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from organism.cli.tables import figure_text
from organism.cli.text import listed
from organism.errors import titled
from organism.names import ACCOUNT, counted
from organism.record.facts import WarningRaised

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from organism.record.facts import Step


def warning_lines(steps: Iterable[Step], handler_of: Callable[[str], str]) -> Iterator[str]:
    """The warnings among the steps of one fact: a refusal, or a large call, may reach several levels of a limit at once, which share
    a line. ``handler_of`` names who works in a thread, for those that nobody is told of.
    """
    alike: dict[tuple[object, ...], list[WarningRaised]] = {}
    for step in steps:
        if isinstance(step, WarningRaised):
            alike.setdefault(_all_but_level(step), []).append(step)
    for those in alike.values():
        yield _line(those[0], [each.level for each in those], handler_of(those[0].thread))


def _all_but_level(warning: WarningRaised) -> tuple[object, ...]:
    """What a line says of a warning beside its level."""
    figures = (warning.used, warning.held, warning.limit, warning.remaining, warning.calls_left)
    return (warning.thread, warning.node, warning.unit, *figures, warning.to, warning.pending_for, warning.about)


def _line(warning: WarningRaised, levels: Sequence[str], handler: str) -> str:
    """Who is near which limit, with the figures. ``handler`` is who works in the thread where nobody is told.

    ::

        budget warning: reader: tokens warning and critical, 1,830 of 2,000 used, 50 held, 100 kept back, 20 left (about 1 call like the last), of the sub-thread [thread 3f.2]
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
    if warning.scope == "sub-thread" and warning.node != warning.thread:
        whose = f"{whose} {warning.node}"  # there may be several above it
    about = f"about {counted(calls, 'call')}" if calls else "not one more call"
    room = "" if calls is None else f" ({about} like the last)"
    return (
        f"budget warning: {who}: {warning.unit} {listed(levels)}, "
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
