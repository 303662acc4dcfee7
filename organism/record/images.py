"""What a thread is at one instant, frozen: what a snapshot holds, and what a delivery has been answered already.

A snapshot is a shortcut through the record and nothing else: restoring it gives the state that folding the facts before it gives.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any, Final

from attrs import frozen

from organism.budget.claims import Crossing, Six
from organism.settings import NOTHING, BudgetSettings
from organism.threads.outcomes import Failure, Warned
from organism.threads.restart import Attempt
from organism.usage import Estimate, Usage

Ref = tuple[str, int]
"""(thread, seq) of a message, a frame (that of the message that opened it) or an ask (the same)."""


_OF_STREAMS: Final = {"left": "cut", "broken": "failed"}
"""By the finish reason."""


@frozen(kw_only=True)
class Prompted:
    """What a model was asked, told by what the same handler of the thread asked before: so n turns take O(n) bytes.

    The messages are the first ``kept`` ones of the call whose hold is
    ``after``, then ``messages``; ``asked`` is the rest of the request (tools, temperature, and so on), ``None`` where it is
    the same as in that call.
    """

    after: int | None
    kept: int
    messages: tuple[Any, ...]
    asked: Mapping[str, Any] | None


@frozen(kw_only=True)
class Kept:
    """What a model answered besides its text. ``message`` is the assistant message, ``None`` for one of the text alone;
    ``tool_calls`` are (id, name, arguments).
    """

    model: str
    backend: str
    usage: Usage
    message: Any | None = None
    tool_calls: tuple[tuple[str, str, str], ...] = ()
    finish_reason: str = "stop"
    latency: float = 0.0
    attempts: int = 1
    clamped: bool = False
    unpriced: bool | None = None
    warnings: tuple[Crossing, ...] | None = None
    """The levels that the call crossed; ``None`` for none, as in records of before."""

    @property
    def outcome(self) -> str:
        """How the call ended: ``ok``; of a stream that was not read to its end ``cut``, where it was left, or ``failed``."""
        return _OF_STREAMS.get(self.finish_reason, "ok")


@frozen(kw_only=True)
class CutShort:
    """How an agent's history was cut short.

    ``how``: a ``model`` summed it up, a ``recap`` of extracts stands for it, results were ``cut`` in their length, or old ones were
    left out of prompts (``prune``). ``why``: the prompt was beyond the ``mark`` or the hard ``limit``, the provider refused it
    (``context``), or a turn was ``over``. Sizes are estimated ``tokens`` of the prompt and its ``messages``, before and after.
    ``replaced`` are the first of the agent's messages that were replaced and the one behind the last, by their numbers in its
    state; ``digest`` is of these. ``longest`` is to how many characters results were cut, 0 where none were. ``asked``: a model was
    asked for a summary; ``text`` is why none came of it.
    """

    how: str
    why: str
    tokens_before: int
    tokens_after: int
    messages_before: int
    messages_after: int
    replaced: tuple[int, int]
    digest: str
    window: int | None = None
    mark: int | None = None
    """The tokens beyond which prompts are cut short, where the window is known."""
    longest: int = 0
    asked: bool = False
    text: str = ""


@frozen(kw_only=True)
class Missed:
    """Why an attempt at a backend gave no answer. ``kind`` is one of those of :class:`organism.models.contract.BackendError`, ``text``
    what the backend said, on a line.
    """

    kind: str
    text: str


@frozen(kw_only=True)
class Nearest:
    """What is left of a unit where a limit is nearest: on the node of the path with the least share of its working limit left."""

    scope: str
    unit: str
    remaining: Any
    limit: Any


@frozen(kw_only=True)
class Report:
    """What a ``backend`` reported as the input of a handler's first call or of its last one; whoever asks it on in another process holds no
    more for that than it did cost. ``digests`` are as in ``CallSettled``.
    """

    handler: str
    backend: str
    digests: tuple[str, ...]
    tokens: int


@frozen(kw_only=True)
class LastPrompt:
    """The prompt of a handler's last call: the next one is told by it also where its messages stand before a snapshot. They are ``count``,
    and ``key``, as in ``CallHeld``, has the digest of them, or of all but the last.
    """

    handler: str
    hold: int
    key: str
    count: int


@frozen(kw_only=True)
class NodeImage:
    """The figures of a budget node; its limits follow from the settings of its thread."""

    used: Six
    own: Six
    held: Six
    overdraft: Six
    details: tuple[int, int, int]
    details_own: tuple[int, int, int]
    estimated: bool
    fired: tuple[tuple[Decimal, ...], ...]
    runways: int
    estimated_own: bool | None = None
    """Without what its sub-threads spent; ``None`` for no."""


@frozen(kw_only=True)
class RingImage:
    """The last messages of a root thread, as digests, and the routes that were warned of, each with its warning's number."""

    recent: tuple[str, ...]
    warned: Mapping[str, int]


@frozen(kw_only=True)
class ThreadImage:
    """A thread. ``owner`` is the frame that opened it; ``pending`` has the warnings that agents are yet to be told.

    ``records`` are the ended threads below it, as the facts that ended them.
    """

    thread: str
    kind: str
    handler: str
    budget: BudgetSettings
    owner: Ref | None
    labels: Mapping[str, str]
    opened_at: float
    paused_at: float | None
    waits_turn: bool
    seq: int
    calls: int
    node: NodeImage
    records: tuple[Any, ...]
    replies: tuple[tuple[str, Any], ...]
    failures: tuple[Failure, ...]
    warnings: tuple[Warned, ...]
    pending: Mapping[str, tuple[Warned, ...]]
    state: Mapping[str, Mapping[str, Any]]
    partial: tuple[str, str] | None
    calls_like: tuple[int, ...] | None
    exhausted: Failure | None
    stopping: Failure | None
    closing: bool
    last_due: bool
    graced: bool
    time_fired: int
    stands_since: float | None = None
    """Since when all its open work waits for people."""
    ring: RingImage | None = None
    accounts: tuple[str, ...] = ()
    granted: tuple[tuple[str, Decimal], ...] = ()
    estimates: tuple[Estimate, ...] = ()
    letter: bool | None = None
    """It was opened by a dead letter; ``None`` for no."""
    reports: tuple[Report, ...] = ()
    prompts: tuple[LastPrompt, ...] = ()


@frozen(kw_only=True)
class FrameImage:
    """A frame. ``open``: something of it is unfinished; others are there since a thread was opened by them. ``asker`` is the
    delivery that asked it, and ``waits`` for its reply still.
    """

    frame: Ref
    handler: str
    parent: Ref | None
    above: Ref | None
    depth: int
    top: bool
    open: bool
    answered: bool
    asker: Ref | None
    waits: bool


@frozen(kw_only=True)
class Recalled:
    """What a delivery that is under way was answered already, under ``key`` (R21): the frame of an ask that waits, or the
    ``answer`` of one that is over; a spawned ``thread``; a completion (``text`` and ``kept``); what the clock said (``times``);
    what the organism did once (``done``: how much, and ``text``); how its history was ``cut`` short.
    """

    key: str
    frame: Ref | None = None
    answer: Any = None
    thread: str | None = None
    text: str | None = None
    kept: Kept | None = None
    times: tuple[float, ...] = ()
    done: Decimal | None = None
    cut: CutShort | None = None


@frozen(kw_only=True)
class MessageImage:
    """A message that is queued or being handled. ``told`` are the warnings that its handler gets when it is done, ``telling`` those of a
    prompt that no model has answered yet.
    """

    message: Ref
    to: str
    payload: Any
    sender: str
    kind: str
    frame: Ref
    dropped: bool
    told: tuple[Warned, ...]
    recalled: tuple[Recalled, ...]
    asked_at: float | None = None
    """Since when it waits for a person."""
    tries: tuple[Attempt, ...] = ()
    """The attempts at it that failed; the last says when the next one is due."""
    idempotency: str | None = None
    telling: tuple[Warned, ...] = ()
    graced: bool | None = None
    """Journals of before may have it; nothing follows from it."""


@frozen(kw_only=True)
class HoldImage:
    """What a pending model call may cost at most. ``under`` is the nearest thread above ``thread`` that lives, or that itself."""

    hold: int
    thread: str
    under: str
    seq: int
    need: Six
    output: int
    alias: str
    backend: str
    attempt: int
    grace: bool
    streamed: bool
    held_at: float
    tags: tuple[str, ...] = ()
    handler: str = ""
    """Whose call it is, where the delivery that made it is over."""
    labels: Mapping[str, str] | None = None
    """Those of its thread, where nothing above that lives: what it costs counts under them."""


@frozen(kw_only=True)
class ConversationImage:
    """A conversation; ``turns`` are the threads that have not ended, in their order."""

    conversation: str
    budget: BudgetSettings
    before: str | None
    node: NodeImage
    state: Mapping[str, Mapping[str, Any]]
    calls: int
    seconds: float
    turns: tuple[str, ...]
    unheard: Mapping[str, tuple[Warned, ...]] = NOTHING
    accounts: tuple[str, ...] = ()
    reports: tuple[Report, ...] = ()
    prompts: tuple[LastPrompt, ...] = ()


@frozen(kw_only=True)
class Image:
    """A root thread with all below it, or a conversation with its turns, in the order in which things came to be."""

    threads: tuple[ThreadImage, ...]
    frames: tuple[FrameImage, ...]
    messages: tuple[MessageImage, ...]
    holds: tuple[HoldImage, ...]
    conversation: ConversationImage | None = None
