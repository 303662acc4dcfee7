"""What has happened, in past tense and frozen. The journal holds nothing else; the state is a fold over it.

Every fact has ``at`` (seconds since the epoch of the organism's clock) and the ``thread`` it belongs to. Frames and messages are
named by (thread, seq). Steps are the parts of a finished delivery, in order: what it sent and answered, and what followed from that.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any, Final

from attrs import frozen

from organism.budget.claims import Six
from organism.quick import quick
from organism.record.fact import Fact
from organism.record.images import CutShort, Image, Ordered, Ref
from organism.record.model_calls import CallCompleted, CallFailed, CallHeld, CallRefused, CallSettled
from organism.record.steps import (
    CameLate,
    ClockRead,
    ConversationOpened,
    Cut,
    Handed,
    Left,
    Posted,
    Resolved,
    Step,
    ThreadOpened,
    Unhandled,
    WarningRaised,
    WarningTold,
)
from organism.settings import BudgetSettings
from organism.threads.restart import Attempt
from organism.usage import Estimate, Usage


@quick
@frozen(kw_only=True)
class Accepted(Fact):
    """A message from outside was accepted, in a new thread."""


@quick
@frozen(kw_only=True)
class Closed(Fact):
    """A thread that was opened without a message was closed."""


@quick
@frozen(kw_only=True)
class Answered(Fact):
    """A delivery finished. ``state`` holds the keys that it changed: ``(value,)``, or ``None`` for a key that was removed."""

    seq: int
    handler: str
    state: Mapping[str, tuple[Any] | None] | None = None


@quick
@frozen(kw_only=True)
class Failed(Fact):
    """A delivery failed, was refused, or gave an answer that cannot be carried out."""

    seq: int
    handler: str
    failure: Any


@quick
@frozen(kw_only=True)
class Retried(Fact):
    """An attempt at a message failed, and the next one begins at ``again_at``; nothing of the failed one is reused. ``began`` is how
    many seconds the thread had run, without pauses, when the attempt began.
    """

    seq: int
    handler: str
    failure: Any
    began: float
    again_at: float


@quick
@frozen(kw_only=True)
class Buried(Failed):
    """A delivery failed for good: its message is a dead letter, with all that is needed to send it again. ``attempts`` are all attempts
    at it; ``labels`` and ``accounts`` are those of its thread.
    """

    attempts: tuple[Attempt, ...]
    payload: Any
    sender: str
    kind: str
    labels: Mapping[str, str]
    accounts: tuple[str, ...] = ()
    conversation: str | None = None
    """The conversation whose turn it began, if it came from outside."""
    stops: Any = None
    """Why this stopped the whole thread, if it did; ``dropped`` are the messages that were queued there."""
    dropped: tuple[Ref, ...] = ()


@quick
@frozen(kw_only=True)
class Dropped(Fact):
    """A delivery that was cancelled has stopped; nothing of its answer is carried out."""

    seq: int


@quick
@frozen(kw_only=True)
class Asked(Fact):
    """A delivery asks another handler and waits. ``key`` identifies the question among what its delivery asked."""

    seq: int
    to: str
    key: str = ""


@quick
@frozen(kw_only=True)
class Spawned(Fact):
    """A delivery opened a sub-thread that it does not wait for. ``key`` is as in ``Asked``."""

    seq: int
    to: str
    key: str = ""


@quick
@frozen(kw_only=True)
class Abandoned(Fact):
    """Asks timed out, or whoever asked was cancelled: nobody waits for the replies any more. ``seq`` is that of the message that asked."""

    seq: int


@quick
@frozen(kw_only=True)
class Compacted(Fact):
    """An agent's history was cut short before its model was asked; the facts before this one still hold what was left out.

    ``seq`` is its delivery, ``key`` identifies this among what its delivery asked. ``cut`` says what was done, why, and with which
    figures.
    """

    seq: int
    handler: str
    key: str
    cut: CutShort


@quick
@frozen(kw_only=True)
class CrossedByTime(Fact):
    """Running time reached a level, or the limit. ``fired`` is how many levels have fired by now."""

    fired: int


@quick
@frozen(kw_only=True)
class Noticed(Fact):
    """An agent was told, in its prompt, of the warnings that waited for it; its ``steps`` say which."""

    seq: int
    handler: str


@quick
@frozen(kw_only=True)
class Exhausted(Fact):
    """Messages or time of a thread ran out, and what was queued is refused. ``last``: its root handler is told at the end. ``alone``: what is
    below it was cancelled, and only that handler still gets a delivery.
    """

    failure: Any
    last: bool
    dropped: tuple[Ref, ...]
    alone: bool | None = None


@quick
@frozen(kw_only=True)
class Stopped(Fact):
    """A thread was cancelled or stopped, with all below it; ``dropped`` are the messages that were queued."""

    failure: Any
    dropped: tuple[Ref, ...]


@quick
@frozen(kw_only=True)
class Paused(Fact):
    """A thread was paused, with all below it: nothing more of it is delivered, and its time stands still."""


@quick
@frozen(kw_only=True)
class Resumed(Fact):
    """A thread continues that was paused, that its process left unfinished, or whose machine slept (or had its clock set forward). The
    time since ``since`` does not count as running time; it is later than ``at`` where the clock of an earlier process was far ahead.

    ``crashed``: its process had ended; deliveries that were under way are run again.
    """

    since: float
    crashed: bool = False


@quick
@frozen(kw_only=True)
class StoodStill(Fact):
    """From now on all open work of a thread waits for people, and its time stands still."""


@quick
@frozen(kw_only=True)
class WentOn(Fact):
    """A thread that stood still continues. The time since ``since`` does not count as running time."""

    since: float


@quick
@frozen(kw_only=True)
class Diverged(Fact):
    """A delivery that was run again after a crash did not ask for everything that it had asked for before; ``keys`` are the requests that it
    did not repeat.
    """

    seq: int
    handler: str
    keys: tuple[str, ...]


@quick
@frozen(kw_only=True)
class Forked(Fact):
    """The chain began as a copy of another one's first ``entries`` facts."""

    origin: str
    entries: int


@quick
@frozen(kw_only=True)
class Snapshot(Fact):
    """The state that all facts before it add up to, so that opening the thread again need not read them."""

    image: Image


@quick
@frozen(kw_only=True)
class LimitsSet(Fact):
    """The limits of a running thread were changed, or those of a conversation; then ``thread`` names the conversation's chain. ``order`` is the
    order that did it, if it had an id.
    """

    budget: BudgetSettings
    order: Ordered | None = None


@quick
@frozen(kw_only=True)
class QuotaRaised(Fact):
    """The limits of an account, or the ceiling, were raised by ``amounts`` for the window that ``counts_at`` lies in. ``thread`` names the
    chain of that: ``account:kind:name``, or ``ceiling:``. ``order`` is as in ``LimitsSet``.
    """

    amounts: Six
    counts_at: float
    order: Ordered | None = None


@quick
@frozen(kw_only=True)
class Granted(Fact):
    """A handler asked for more budget and got it: the limit of the thread ``node`` rose by ``amount``, and ``budget`` is what that thread has
    now. ``by`` decided. ``seq`` is the organism's own delivery, and ``key`` identifies the grant within it.
    """

    seq: int
    node: str
    unit: str
    asked: Decimal
    amount: Decimal
    by: str
    reason: str
    budget: BudgetSettings
    key: str = ""


@quick
@frozen(kw_only=True)
class Forecast(Fact):
    """A handler told the organism how much more it expects its thread to use. ``seq`` is the organism's own delivery, ``key`` is as in
    ``Granted``.
    """

    seq: int
    estimate: Estimate
    key: str = ""


@quick
@frozen(kw_only=True)
class Ended(Fact):
    """A thread ended, exactly once. ``usage`` counts its sub-threads, ``own`` does not; ``threads`` are the ends of those sub-threads."""

    kind: str
    handler: str
    outcome: str
    unit: str | None
    replies: tuple[tuple[str, Any], ...]
    partial: str | None
    usage: Usage
    own: Usage
    warnings: tuple[Any, ...]
    labels: Mapping[str, str]
    error: str | None
    code: str | None
    threads: tuple[Ended, ...]
    conversation: str | None = None
    estimates: tuple[Estimate, ...] = ()
    """What its own handlers forecast, and what came; forecasts of sub-threads are in ``threads``."""
    scope: str | None = None
    """The kind of node whose limit ran out, as ``thread`` or ``account``."""
    account: str | None = None
    """Which account (``kind:name``), if it was an account's limit."""


FACTS: Final[tuple[type[Fact], ...]] = (
    Accepted, Closed, Answered, Failed, Retried, Buried, Dropped, Asked, Spawned, Abandoned, CallHeld, CallSettled,
    CallRefused, CallCompleted, CallFailed, Compacted, CrossedByTime, Noticed, Exhausted, Stopped, Paused, Resumed,
    StoodStill, WentOn, Diverged, Forked, Snapshot, LimitsSet, QuotaRaised, Granted, Forecast, Ended,
)  # fmt: skip
"""Every fact there is, in the order in which the schema and the documentation list them."""

__all__ = [
    "FACTS", "Abandoned", "Accepted", "Answered", "Asked", "Buried", "CallCompleted", "CallFailed", "CallHeld",
    "CallRefused", "CallSettled", "CameLate", "ClockRead", "Closed", "Compacted", "ConversationOpened",
    "CrossedByTime", "Cut", "Diverged", "Dropped", "Ended", "Exhausted", "Fact", "Failed", "Forecast", "Forked",
    "Granted", "Handed", "Left", "LimitsSet", "Noticed", "Paused", "Posted", "QuotaRaised", "Resolved", "Resumed", "Retried",
    "Snapshot", "Spawned", "Step", "StoodStill", "Stopped", "ThreadOpened", "Unhandled", "WarningRaised",
    "WarningTold", "WentOn",
]  # fmt: skip
