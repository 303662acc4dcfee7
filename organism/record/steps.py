"""The parts of a finished change, in order: what it sent and answered, and what followed from that. Facts have them in ``steps``.

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
    """The conversation whose turn a root thread is."""
    accounts: tuple[str, ...] = ()
    """The accounts that pay for a root thread that is no turn of a conversation: ``kind:name`` each."""


@quick
@frozen(kw_only=True)
class ConversationOpened:
    """A step: a conversation began. ``before`` is the conversation that it continues, ``state`` what its handlers remember from that."""

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
    """Its idempotency key, if that is not its id."""


@quick
@frozen(kw_only=True)
class Resolved:
    """A step: an ask got its answer, a payload or a failure."""

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
    """A step: a frame that had answered already replied again; the reply was dropped and changed nothing."""

    frame: Ref
    payload: Any


@quick
@frozen(kw_only=True)
class Handed:
    """A step: a frame will not answer any more: it forwarded its message, or failed."""

    frame: Ref
    to: Ref | None = None
    """The frame that answers in its place."""


@quick
@frozen(kw_only=True)
class Cut:
    """A step: nobody waits for an ask any more; ``dropped`` are the queued messages of its branch, which are dropped with it."""

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
    """A step: a level was first reached. ``node`` is whose budget it is: a thread's id, ``conversation:`` or ``account:`` with a name,
    or empty for the organism.

    ``pending_for`` is the agent to be told in its next prompt, ``pending_caller`` its caller (thread, handler), if that is an agent
    to be told in the same way; ``told_after`` is the delivery at whose end its handler gets the warning as a message.
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
    """The repeated message, if the warning is of a loop."""


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
    """A step: what a delivery read from the clock before it asked for this. When it is run again after a crash, it reads the same."""

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
