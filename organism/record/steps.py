"""The parts of a finished change, in order: what it sent, answered and left behind. Facts have them in ``steps``.

Frames and messages are named by (thread, seq).
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from attrs import frozen

from organism.quick import quick
from organism.record.images import Ref
from organism.settings import BudgetSettings


@quick
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
    accounts: tuple[str, ...] = ()
    """Whose quotas it is under, of a root thread that is no turn of a conversation: ``kind:name`` each."""


@quick
@frozen(kw_only=True)
class ConversationOpened:
    """A step: a conversation began, with what its handlers remember where it goes on from another one (``before``)."""

    conversation: str
    budget: BudgetSettings
    before: str | None
    state: Mapping[str, Mapping[str, Any]]
    accounts: tuple[str, ...] = ()


@quick
@frozen(kw_only=True)
class Posted:
    """A step: a message was put in its mailbox. ``opens``: it opened a frame, below ``parent``; else it went to ``frame``.

    ``answers``: a person is asked, and these are the names of the payloads that they may answer with.
    """

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
    answers: tuple[str, ...] = ()
    idempotency: str | None = None
    """By what services know it again that must not do a thing twice, where that is not its id."""


@quick
@frozen(kw_only=True)
class Resolved:
    """A step: an ask got its answer, a payload or a :class:`organism.threads.frames.Failure`."""

    ask: Ref
    answer: Any


@quick
@frozen(kw_only=True)
class Left:
    """A step: a reply left the thread (from its root frame)."""

    thread: str
    sender: str
    payload: Any


@quick
@frozen(kw_only=True)
class CameLate:
    """A step: a reply of a frame that had answered already; it was dropped and changed nothing."""

    frame: Ref
    payload: Any


@quick
@frozen(kw_only=True)
class Handed:
    """A step: a frame is done with answering: it forwarded its message, or failed."""

    frame: Ref
    to: Ref | None = None
    """The frame that answers in its place."""


@quick
@frozen(kw_only=True)
class Cut:
    """A step: an ask is not waited for any more; ``dropped`` are the queued messages of its branch that went with it."""

    ask: Ref
    dropped: tuple[Ref, ...]


@quick
@frozen(kw_only=True)
class Unhandled:
    """A step: a failure reached the root of a thread."""

    thread: str
    failure: Any
    at_root: bool


@quick
@frozen(kw_only=True)
class WarningRaised:
    """A step: a level was first reached. ``node`` is the thread whose budget it is, ``conversation:`` or ``account:``
    and its name for one of those, empty for the organism's.

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
    about: str | None = None
    digest: str | None = None
    """The message that was repeated, where it is a loop that is warned of."""


@quick
@frozen(kw_only=True)
class WarningTold:
    """A step: a handler was told of a warning that had waited for its next prompt."""

    thread: str
    seq: int
    to: str


@quick
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
