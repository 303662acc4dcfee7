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
    """What a model was asked, as the difference to an earlier call of the same handler in the thread: so n turns take O(n) bytes.

    The prompt is the first ``kept`` messages of the call whose hold is ``after``, then ``messages``. ``asked`` is the rest of the
    request (tools, temperature, and so on), ``None`` if it is the same as in that call.
    """

    after: int | None
    kept: int
    messages: tuple[Any, ...]
    asked: Mapping[str, Any] | None


@frozen(kw_only=True)
class Kept:
    """What a model answered besides its text. ``message`` is the assistant message, ``None`` if that is the text alone;
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
    """The levels that the call crossed; ``None`` for none, and in older records."""

    @property
    def outcome(self) -> str:
        """How the call ended: ``ok``, or for a stream that was not read to its end ``cut`` (it was left) or ``failed`` (it broke)."""
        return _OF_STREAMS.get(self.finish_reason, "ok")


@frozen(kw_only=True)
class CutShort:
    """How an agent's history was cut short.

    ``how``: by a ``model``'s summary, a ``recap`` of extracts, results that were ``cut`` in their length, or old results that are
    left out of prompts (``prune``). ``why``: the prompt was beyond the ``mark`` or the hard ``limit``, or was refused by the provider
    as too long (``context``), or the work is done (``over``), or results are ``old``. Sizes are estimated ``tokens`` of the prompt and
    its ``messages``, before and after. ``replaced`` are the numbers, in the agent's state, of the first message that was replaced and
    of the one behind the last; ``digest`` is that of the replaced messages. ``longest`` is to how many characters results were cut,
    0 if none were. ``asked``: a model was asked for a summary; ``text`` is why none came.
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
    """The tokens beyond which prompts are cut short, if the window is known."""
    longest: int = 0
    asked: bool = False
    text: str = ""


@frozen(kw_only=True)
class Missed:
    """Why an attempt at a backend gave no answer. ``kind`` is that of the ``BackendError``, such as ``timeout``; ``text`` is what the backend
    said, in one line.
    """

    kind: str
    text: str


@frozen(kw_only=True)
class Nearest:
    """The nearest limit: what remains of which unit, on the node of the path that has the least share of its working limit left."""

    scope: str
    unit: str
    remaining: Any
    limit: Any


@frozen(kw_only=True)
class Report:
    """The input ``tokens`` that a ``backend`` reported for a handler's first call or its last one: another process that sends the same prompt
    on holds no more for it than it cost. ``digests`` are as in ``CallSettled``.
    """

    handler: str
    backend: str
    digests: tuple[str, ...]
    tokens: int


@frozen(kw_only=True)
class LastPrompt:
    """The prompt of a handler's last call, of which the next ``Prompted`` is the difference even if its messages are recorded before the
    snapshot. It has ``count`` messages; ``key``, as in ``CallHeld``, holds their digest, or that of all but the last.
    """

    handler: str
    hold: int
    key: str
    count: int


@frozen(kw_only=True)
class Ordered:
    """An order to raise limits that may be given again: its ``id``, and what it adds, by unit, in plain digits."""

    id: str
    units: Mapping[str, str]


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
    """The same without what its sub-threads spent; ``None`` for no."""
    unpriced: bool | None = None
    """Whether nobody knew the price of some of what was spent; ``None`` for no."""
    unpriced_own: bool | None = None
    """The same without what its sub-threads spent."""


@frozen(kw_only=True)
class RingImage:
    """What the detection of loops remembers: the last messages of a root thread as digests, and each digest that was warned of with its
    warning's number.
    """

    recent: tuple[str, ...]
    warned: Mapping[str, int]


@frozen(kw_only=True)
class ThreadImage:
    """A thread. ``owner`` is the frame that opened it; ``pending`` are the warnings that agents have not been told yet.

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
    """A frame. ``open``: something of it is unfinished; one that is not is kept because it opened a thread. ``asker`` is the delivery
    that asked it; ``waits``: that delivery still waits for its reply.
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
    """What a delivery under way was already answered, under the ``key`` of its request: the ``frame`` of an ask that waits, or the
    ``answer`` of one that is over; a spawned ``thread``; a completion (``text`` and ``kept``); what the clock said (``times``);
    what the organism did for it once (``done``: how much, and ``text``); how its history was ``cut`` short.
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
    """A message that is queued or being handled. ``told`` are the warnings that its handler gets as messages when it is done, ``telling``
    those in a prompt that no model has answered yet, ``heard`` those in one of this attempt that a model has answered.
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
    heard: tuple[Warned, ...] = ()
    graced: bool | None = None
    """Only in older journals; nothing follows from it."""


@frozen(kw_only=True)
class HoldImage:
    """A hold: the most that a model call under way may cost. ``under`` is ``thread``, or the nearest thread above it that has not ended."""

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
    """Whose call it is, if the delivery that made it is over."""
    labels: Mapping[str, str] | None = None
    """Those of its thread, if nothing above that lives: what it costs counts under them."""
    asked: str | None = None
    """The key of the call, among those of its delivery."""


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
    """A root thread with all below it, or a conversation with its turns; each list is in the order of creation."""

    threads: tuple[ThreadImage, ...]
    frames: tuple[FrameImage, ...]
    messages: tuple[MessageImage, ...]
    holds: tuple[HoldImage, ...]
    conversation: ConversationImage | None = None
