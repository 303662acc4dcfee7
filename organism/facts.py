"""What has happened, in past tense and frozen. The journal holds nothing else; the state is a fold over it.

Every fact has ``at`` (seconds since the epoch of the organism's clock) and the ``thread`` it belongs to. Frames and messages are
named by (thread, seq). Steps are the parts of a finished delivery: what it sent, answered and left behind, in order.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from attrs import field, frozen

from organism.budget.claims import Charge, Vector
from organism.images import Image, Kept, Prompted, Ref
from organism.settings import BudgetSettings
from organism.usage import Usage


@frozen(kw_only=True)
class ThreadOpened:
    """A step: a thread was opened. ``owner`` is the frame that did it; ``None`` for a root thread."""

    thread: str
    kind: str
    handler: str
    budget: BudgetSettings
    owner: Ref | None
    labels: Mapping[str, str]
    conversation: str | None = None
    """Whose turn it is, of a root thread."""


@frozen(kw_only=True)
class ConversationOpened:
    """A step: a conversation began, with what its handlers remember where it goes on from another one (``before``)."""

    conversation: str
    budget: BudgetSettings
    before: str | None
    state: Mapping[str, Mapping[str, Any]]


@frozen(kw_only=True)
class Posted:
    """A step: a message was put in its mailbox. ``opens``: it opened a frame, below ``parent``; else it went to ``frame``."""

    thread: str
    seq: int
    to: str
    payload: Any
    sender: str
    kind: str
    frame: Ref
    opens: bool
    parent: Ref | None = None
    depth: int = 0
    charged: bool = True


@frozen(kw_only=True)
class Resolved:
    """A step: an ask got its answer, a payload or a :class:`organism.frames.Failure`."""

    ask: Ref
    answer: Any


@frozen(kw_only=True)
class Left:
    """A step: a reply left the thread (from its root frame)."""

    thread: str
    sender: str
    payload: Any


@frozen(kw_only=True)
class CameLate:
    """A step: a reply of a frame that had answered already; it was dropped and changed nothing."""

    frame: Ref
    payload: Any


@frozen(kw_only=True)
class Handed:
    """A step: a frame is done with answering: it forwarded its message, or failed."""

    frame: Ref
    to: Ref | None = None
    """The frame that answers in its place."""


@frozen(kw_only=True)
class Cut:
    """A step: an ask is not waited for any more; ``dropped`` are the queued messages of its branch that went with it."""

    ask: Ref
    dropped: tuple[Ref, ...]


@frozen(kw_only=True)
class Unhandled:
    """A step: a failure reached the root of a thread."""

    thread: str
    failure: Any
    at_root: bool


@frozen(kw_only=True)
class WarningRaised:
    """A step: a level was first reached. ``node`` is the thread whose budget it is, empty for the organism's.

    ``pending_for`` is the agent that is to be told in its next prompt, ``pending_caller`` its caller (thread, handler) where
    that is one that is to be told so; ``told_after`` is the delivery at whose end its handler gets it as a message.
    """

    thread: str
    seq: int
    node: str
    unit: str
    level: str
    threshold: Decimal
    used: Any
    held: Any
    limit: Any
    remaining: Any
    scope: str
    calls_left: int | None
    to: str | None
    pending_for: str | None = None
    pending_caller: tuple[str, str] | None = None
    told_after: Ref | None = None


@frozen(kw_only=True)
class WarningTold:
    """A step: a handler was told of a warning that had waited for its next prompt."""

    thread: str
    seq: int
    to: str


@frozen(kw_only=True)
class ClockRead:
    """A step: what a delivery read from the clock before it asked for this; run again, it reads the same (R21)."""

    message: Ref
    times: tuple[float, ...]


Step = (
    ThreadOpened
    | ConversationOpened
    | Posted
    | Resolved
    | Left
    | CameLate
    | Handed
    | Cut
    | Unhandled
    | WarningRaised
    | WarningTold
    | ClockRead
)


@frozen(kw_only=True)
class Fact:
    """What all facts have. ``steps`` are the changes it consists of."""

    at: float
    thread: str
    steps: tuple[Step, ...] = field(default=(), repr=False)


@frozen(kw_only=True)
class Accepted(Fact):
    """A message from outside was taken in, in a new thread."""


@frozen(kw_only=True)
class Closed(Fact):
    """A thread that was opened without a message was closed."""


@frozen(kw_only=True)
class Answered(Fact):
    """A delivery finished; ``state`` holds what it changed: ``(value,)``, or ``None`` for a key that was removed."""

    seq: int
    handler: str
    state: Mapping[str, tuple[Any] | None] | None = None


@frozen(kw_only=True)
class Failed(Fact):
    """A delivery failed, was refused, or answered what cannot be carried out."""

    seq: int
    handler: str
    failure: Any


@frozen(kw_only=True)
class Dropped(Fact):
    """A delivery that was cancelled has stopped; nothing of its answer is carried out."""

    seq: int


@frozen(kw_only=True)
class Asked(Fact):
    """A delivery asks another handler and waits. ``key`` names the question among those of its delivery (R21)."""

    seq: int
    to: str
    key: str = ""


@frozen(kw_only=True)
class Spawned(Fact):
    """A delivery opened a sub-thread that it does not wait for. ``key`` as in :class:`Asked`."""

    seq: int
    to: str
    key: str = ""


@frozen(kw_only=True)
class Abandoned(Fact):
    """An ask is no longer waited for."""

    seq: int


@frozen(kw_only=True)
class CallHeld(Fact):
    """A model call's worst case is held. ``seq`` is its delivery, 0 for a thread without handlers.

    ``key`` names the call among those of its delivery (R21). ``prompt`` is what the model is asked, at the first attempt of a
    call: further ones ask the same.
    """

    hold: int
    seq: int
    need: Vector
    output: int
    alias: str
    backend: str
    attempt: int
    grace: bool
    streamed: bool
    key: str = ""
    prompt: Prompted | None = None


@frozen(kw_only=True)
class CallSettled(Fact):
    """What was held has become what was spent; a charge of nothing releases it. ``held_at`` is when it was held, since windows
    count it there.
    """

    hold: int
    seq: int
    handler: str
    alias: str
    backend: str
    held_at: float
    charge: Charge


@frozen(kw_only=True)
class CallRefused(Fact):
    """A limit refused a call before any backend was touched."""

    seq: int
    handler: str
    unit: str
    scope: str
    need: Any


@frozen(kw_only=True)
class CallCompleted(Fact):
    """A model answered; the text is what a thread hands in as ``partial`` when nothing better comes.

    ``key`` names the call among those of its delivery (R21), ``kept`` is the rest of the answer: a delivery that is run again
    after a crash gets it without paying.
    """

    seq: int
    handler: str
    text: str
    key: str = ""
    kept: Kept | None = None


@frozen(kw_only=True)
class CrossedByTime(Fact):
    """Running time reached a level, or the limit; ``fired`` levels have."""

    fired: int


@frozen(kw_only=True)
class Noticed(Fact):
    """An agent was told, in its prompt, of the warnings that waited for it."""

    seq: int
    handler: str


@frozen(kw_only=True)
class Exhausted(Fact):
    """Messages or time of a thread ran out: what is queued was refused; ``last``: its root handler is told at the end."""

    failure: Any
    last: bool
    dropped: tuple[Ref, ...]


@frozen(kw_only=True)
class Stopped(Fact):
    """A thread was cancelled or stopped, with all below it; ``dropped`` are the messages that were queued."""

    failure: Any
    dropped: tuple[Ref, ...]


@frozen(kw_only=True)
class Paused(Fact):
    """A thread was paused, with all below it: nothing more of it is delivered, and its time stands still."""


@frozen(kw_only=True)
class Resumed(Fact):
    """A thread goes on that was paused, or that its process left unfinished. What passed after ``since`` does not count as running
    time.

    ``crashed``: its process had ended; deliveries that were under way are run again.
    """

    since: float
    crashed: bool = False


@frozen(kw_only=True)
class Diverged(Fact):
    """A delivery that was run again after a crash did not ask for what it had asked for before; ``keys`` are what it left."""

    seq: int
    handler: str
    keys: tuple[str, ...]


@frozen(kw_only=True)
class Forked(Fact):
    """The chain began as a copy of another one's first ``entries`` facts."""

    origin: str
    entries: int


@frozen(kw_only=True)
class Snapshot(Fact):
    """All that the facts before it came to, so that opening the thread again need not read them."""

    image: Image


@frozen(kw_only=True)
class LimitsSet(Fact):
    """A thread's limits were changed while it runs."""

    budget: BudgetSettings


@frozen(kw_only=True)
class Ended(Fact):
    """A thread ended, exactly once. ``usage`` counts its sub-threads, ``own`` does not; ``threads`` are theirs."""

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
