"""How a thread ended: its outcome, by the failures that reached its root unhandled, and its final record (R5)."""

from __future__ import annotations

from decimal import Decimal
from itertools import chain
from operator import attrgetter
from typing import TYPE_CHECKING, Final

from attrs import evolve

from organism.budget.caps import figure
from organism.budget.claims import VECTOR
from organism.quick import maker
from organism.record.facts import Ended
from organism.threads.outcomes import Outlay
from organism.usage import usage_of

if TYPE_CHECKING:
    from organism.budget.node import Node
    from organism.threads.frames import Thread
    from organism.threads.outcomes import Failure, Warned
    from organism.usage import Usage

GRAVITY: Final = ("completed", "exhausted", "failed", "stopped", "cancelled")
"""Outcomes, from the mildest to the gravest. The thread's is the gravest of its unhandled failures."""


_new_record: Final = maker(Ended)
_WARNINGS: Final = attrgetter("warnings")


def outcome_of_code(code: str) -> str:
    """The outcome that an unhandled failure of this code makes."""
    return code if code in {"exhausted", "stopped", "cancelled"} else "failed"


def decisive(thread: Thread) -> tuple[str, Failure | None]:
    """The thread's outcome and the failure that made it."""
    worst: tuple[str, Failure | None] = ("completed", None)
    if thread.troubles is None and thread.ending is None:
        return worst
    unhandled = None if thread.troubles is None else thread.troubles.failures
    candidates = [each for each in (*(unhandled or ()), thread.exhausted, thread.stopping) if each is not None]
    for failure in candidates:
        outcome = outcome_of_code(failure.code)
        if GRAVITY.index(outcome) > GRAVITY.index(worst[0]):
            worst = (outcome, failure)
    return worst


def usage_with_subs(node: Node, seconds: float) -> Usage:
    """A node's figures, those of the sub-threads below it included."""
    return usage_of(node.used, node.details, seconds=seconds, estimated=node.estimated, unpriced=node.unpriced)


def _usage_without_subs(node: Node, seconds: float) -> Usage:
    return usage_of(
        node.own, node.details_own, seconds=seconds, estimated=node.estimated_own, unpriced=node.unpriced_own
    )


def record_of(thread: Thread, now: float) -> Ended:
    """The final record of a thread that ends now."""
    outcome, failure = decisive(thread)
    node = thread.node
    until = now if thread.paused_at is None else thread.paused_at  # while it is paused, no running time is counted
    seconds = max(0.0, until - thread.opened_at)
    outlay = thread.outlay or Outlay()
    partial = outlay.partial[1] if outlay.partial is not None and not thread.replies else None
    below = records_below(thread)
    limited = failure if outcome == "exhausted" else None
    usage = usage_with_subs(node, seconds)
    return _new_record(
        at=now,
        thread=thread.id,
        kind=thread.kind,
        handler=thread.handler,
        outcome=outcome,
        unit=None if limited is None else limited.unit,
        replies=tuple(thread.replies),
        partial=partial if outcome == "exhausted" else None,
        usage=usage,
        own=_usage_without_subs(node, seconds) if below or node.own != node.used else usage,
        warnings=_all_warnings(thread, below),
        labels=thread.labels,
        error=failure.text if failure is not None else None,
        code=failure.code if failure is not None else None,
        threads=below,
        conversation=None if thread.conversation is None else thread.conversation.id,
        estimates=()
        if outlay.estimates is None
        else tuple(evolve(each, end=used(thread, each.unit, seconds)) for each in outlay.estimates),
        scope=None if limited is None else limited.scope,
        account=None if limited is None else limited.account,
    )


def records_below(thread: Thread) -> tuple[Ended, ...]:
    """The final records of the sub-threads of a thread that have ended, in the order in which they did."""
    return () if thread.below is None else tuple((thread.below.records or {}).values())


def final_of(thread: Thread) -> Ended:
    """The final record of a thread that has ended. It is made when it is first asked for, since many callers only want the reply; its
    figures are those of the end all the same: see :func:`seal`.
    """
    if thread.final is None:
        assert thread.ended_at is not None  # noqa: S101 - asked of threads that have ended
        thread.final = record_of(thread, thread.ended_at)
    final: Ended = thread.final
    return final


def let_go(thread: Thread) -> bool:
    """Drops what a thread that has ended remembers and its final record does not say. ``False``: it refers to what it cannot drop and may be large.

    A result whose record is made later keeps the thread in memory until then.
    """
    if not (thread.conversation is None and thread.below is None and thread.owner is None):
        return False
    thread.state = thread.asked = None
    if thread.outlay is not None and thread.replies:
        thread.outlay.partial = None  # the text of a completion: only a thread without a reply hands it in
    return thread.outlay is None or thread.outlay.partial is None


def seal(thread: Thread) -> None:
    """Makes the final records of a thread and of those above it, as far as they have ended: to be called before their figures change."""
    above: Thread | None = thread
    while above is not None and above.ended:
        final_of(above)
        above = None if above.owner is None else above.owner.thread


def amend(thread: Thread) -> None:
    """Updates the records of an ended thread after a late settlement, in those of the threads above that still live (R18)."""
    while thread.ended and thread.owner is not None:
        records = thread.owner.thread.have_below().records or {}
        if thread.id in records:
            records[thread.id] = _amended(records[thread.id], thread)
        thread = thread.owner.thread


def _amended(record: Ended, thread: Thread) -> Ended:
    node, seconds = thread.node, record.usage.seconds
    return evolve(
        record,
        usage=usage_with_subs(node, seconds),
        own=_usage_without_subs(node, seconds),
        threads=records_below(thread),
    )


def used(thread: Thread, unit: str, seconds: float) -> Decimal:
    """What a thread, with those below it, has used of a unit by now; ``seconds`` is how long it has run."""
    if unit == "seconds":
        return Decimal(str(round(seconds, 3)))
    index = VECTOR.index(unit)
    return Decimal(figure(index, thread.node.used[index]))


def _all_warnings(thread: Thread, below: tuple[Ended, ...]) -> tuple[Warned, ...]:
    if thread.troubles is None and not below:
        return ()
    # A thread that waits for people again and again has its record made each time: of most below it there is nothing to take.
    every = [*(thread.warnings or ()), *chain.from_iterable(map(_WARNINGS, below))]
    return tuple(sorted(every, key=lambda warned: warned.seq))
