"""Threads and frames: who called whom, and what is still open (R1, R3).

Plain state with pure questions about it. Only the kernel changes it.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any, Final, Literal, cast, final

from attrs import define, frozen

from organism.names import CONVERSATION
from organism.payloads.primitives import FailureCode

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from decimal import Decimal

    from organism.budget.tree import Node
    from organism.restart import Attempt
    from organism.routing import Route
    from organism.settings import BudgetSettings
    from organism.usage import Estimate

ThreadKind = Literal["root", "call", "shared", "spawn"]
"""``root``: opened by ingress. ``call``: one call to a handler with a budget of its own. ``shared``: all calls to one from a
thread (``per: thread``). ``spawn``: opened by ``ctx.spawn``; its replies leave to its handle."""


@final
@frozen
class Failure:
    """Why a branch has no answer. ``code`` as in ``HandlerFailed``; ``unit`` and ``scope`` are set where it is ``exhausted``."""

    code: FailureCode
    text: str
    retry: bool = False
    unit: str | None = None
    scope: str | None = None


class Message:
    """A payload for ``to``, in a frame of a thread. Only the kernel makes messages; handlers see the payload.

    ``seq`` numbers the messages of a thread in the order of the record; ``id`` is the two together. ``sender`` is the name
    of the handler that sent it, ``organism`` for primitives, empty from outside. ``kind`` says what brought it: ``send``,
    ``ask``, ``spawn``, ``forward`` and ``ingress`` open a frame, ``reply``, ``failed`` and ``notice`` go to one that is open,
    ``last`` carries the refusal that ends an exhausted thread. ``route`` is what the kernel knows of ``to``.
    """

    __slots__ = (
        "asks",
        "awaits",
        "clock_reads",
        "dropped",
        "first",
        "frame",
        "graced",
        "holds_mailbox",
        "holds_place",
        "idempotency",
        "kind",
        "known",
        "mailbox",
        "old",
        "payload",
        "position",
        "rerun",
        "route",
        "sender",
        "seq",
        "thread",
        "to",
        "told",
        "tries",
    )

    def __init__(
        self, thread: Thread, seq: int, route: Route, payload: Any, sender: str, frame: Frame, kind: str
    ) -> None:
        self.thread = thread
        self.seq = seq
        self.route = route
        self.to = route.name
        self.payload = payload
        self.sender = sender
        self.frame = frame
        self.kind = kind
        self.mailbox = route.mailbox or self.id
        """What its delivery occupies in its thread: its handler's mailbox. The organism itself and tools work on any number at once."""
        # What follows changes while it is delivered.
        self.asks: dict[Ask, None] | None = None  # what its delivery waits for, in order
        self.awaits: list[Thread] | None = None  # the threads that it spawned and whose results it waits for
        self.told: list[Warned] | None = None  # warnings that its handler gets as a message once it is done
        self.holds_mailbox = False  # it is the one that its handler works on, or will next, in its thread
        self.holds_place = False  # a place of its handler is kept for it
        self.dropped = False  # cancelled: whatever its delivery answers is not carried out
        self.graced = False  # it made the grace call of its thread
        self.known: dict[str, Any] | None = (
            None  # what its delivery was answered, by key (R21); kept while facts are recorded
        )
        self.clock_reads: list[float] | None = None  # what it read from the clock and no record tells of yet
        self.rerun = False  # its process ended while it was delivered: it asks again for what it knows
        self.old = False  # it was in its mailbox when its process ended: its handler may be another one by now
        self.tries: tuple[Attempt, ...] = ()  # what failed before, where its handler tries it again
        self.idempotency = (
            ""  # by what services know it again, where that is not its id: it comes of what may be tried again
        )
        self.position = 0  # of the record that brought it; it is not delivered before that is durable

    @property
    def id(self) -> str:
        """``THREAD/SEQ``; unique, and opaque to users."""
        return f"{self.thread.id}/{self.seq}"


class Frame:
    """One call: what opened it, and how many of its deliveries and child frames are open (R1).

    ``parent`` is the frame it answers to (in another thread where this one is the first of a sub-thread); ``None`` where
    its replies leave the thread. ``above`` is the frame that counts it among its open children, its parent unless
    it was handed on. ``asker`` is set while somebody waits for its first reply.
    """

    __slots__ = ("above", "answered", "asker", "depth", "handler", "open", "parent", "route", "seq", "thread", "top")

    def __init__(
        self,
        thread: Thread,
        seq: int,
        route: Route,
        parent: Frame | None,
        depth: int,
        asker: Ask | None,
        above: Frame | None,
    ) -> None:
        self.thread = thread
        self.seq = seq
        self.route = route
        self.handler = route.name
        self.parent = parent
        self.above = above
        self.depth = depth
        self.asker = asker
        self.top = parent is None or parent.thread is not thread
        """It is the first of its thread, or stands in the place of that."""
        self.open = 0
        self.answered = False


class Ask:
    """A delivery that waits for the first reply of a frame. ``answer`` is the payload or the failure once ``done``."""

    __slots__ = ("answer", "done", "frame", "message")

    def __init__(self, message: Message) -> None:
        self.message = message
        self.frame: Frame | None = None
        self.done = False
        self.answer: Any = None


@define
class Warned:
    """A crossing as results show it. ``to`` is the handler that was told (the first), ``None`` while nobody was; ``node``
    is the thread whose budget it is, empty for the organism's.
    """

    seq: int
    unit: str
    level: str
    threshold: Any
    used: Any
    limit: Any
    held: Any
    remaining: Any
    scope: str
    calls_left: int | None = None
    to: str | None = None
    node: str = ""
    about: str | None = None
    """What is repeated, of a loop: its class and its receiver."""


class Memory(dict[str, Any]):
    """What one handler remembers in one thread or conversation, by key (R7). ``changed`` counts the deliveries that have changed it;
    ``reading`` is what its handler has made of it: no part of it, and made again where there is none.
    """

    __slots__ = ("changed", "reading")

    def __init__(self, values: Mapping[str, Any]) -> None:
        super().__init__(values)
        self.changed = 0
        self.reading: tuple[int, object] | None = None

    def change(self, changes: Mapping[str, tuple[Any] | None]) -> None:
        """Takes in what a delivery changed: ``(value,)``, or ``None`` for a key that went."""
        self.changed += 1
        for key, value in changes.items():
            if value is None:
                self.pop(key, None)
            else:
                self[key] = value[0]


class Conversation:
    """What lasts over several threads, its turns: limits, state, and the prompts that the next ones are told by (R6).

    ``turns`` are those that have not ended: the first one runs, the others wait. ``before`` is the conversation that it goes on from.
    """

    __slots__ = (
        "accounts", "before", "budget", "calls", "id", "node", "prompts", "seconds", "state", "turns", "unheard",
    )  # fmt: skip

    def __init__(
        self, id_: str, node: Node, budget: BudgetSettings, before: str | None, accounts: tuple[str, ...]
    ) -> None:
        self.id = id_
        self.accounts = accounts
        self.node = node
        self.budget = budget
        self.before = before
        self.state: dict[str, Memory] | None = None
        self.prompts: dict[str, tuple[int, Any]] | None = None
        self.calls = 0
        """Holds so far, over all turns: they number its calls."""
        self.seconds = 0.0
        """Running time of the turns that have ended."""
        self.unheard: dict[str, list[Warned]] | None = None
        """Warnings about its limits that an agent's turn ended too early to hear: its next turn begins with them."""
        self.turns: deque[Thread] = deque()

    @property
    def chain(self) -> str:
        """The name of its chain in the journal."""
        return f"{CONVERSATION}{self.id}"


class Thread:
    """One chain of handling: its budget, its frames by count, its mailboxes, and what it has come to so far."""

    __slots__ = (
        "accounts",
        "budget",
        "busy",
        "calls",
        "calls_like",
        "closing",
        "conversation",
        "ended",
        "estimates",
        "exhausted",
        "failures",
        "graced",
        "granted",
        "handler",
        "head",
        "id",
        "in_ready",
        "kind",
        "labels",
        "last_due",
        "letter",
        "more",
        "node",
        "open",
        "opened_at",
        "owner",
        "partial",
        "paused_at",
        "pending",
        "prompts",
        "records",
        "replies",
        "seq",
        "shared",
        "state",
        "stopping",
        "subs",
        "time_fired",
        "undone",
        "waits_turn",
        "warnings",
    )

    def __init__(
        self,
        id_: str,
        kind: ThreadKind,
        handler: str,
        node: Node,
        owner: Frame | None,
        labels: Mapping[str, str],
        at: float,
        budget: BudgetSettings,
    ) -> None:
        self.id = id_
        self.kind: ThreadKind = kind
        self.handler = handler
        """The handler of its root frame, which has its grace."""
        self.node = node
        self.owner = owner
        """The frame whose delivery opened it; ``None`` for a root thread."""
        self.labels = labels
        self.conversation: Conversation | None = None
        """Whose turn it is, of a root thread."""
        self.accounts: tuple[str, ...] = () if owner is None else owner.thread.accounts
        """Whose quotas it is under, ``kind:name`` each, in order."""
        self.opened_at = at
        """When it would have been opened, had it never stood still: running time counts from here."""
        self.budget = budget
        """What its node was made from; it changes when its limits do."""
        self.seq = 0
        self.open = 0
        """Open top frames; at 0 the thread ends (a shared one with the thread that calls it)."""
        self.undone = 0
        """Messages that wait or are being handled, of a root thread with all below it."""
        self.subs: dict[str, Thread] | None = None
        self.shared: dict[str, Thread] | None = None
        self.records: list[Any] | None = None
        # mailboxes
        self.head: Message | None = None
        self.more: deque[Message] | None = None
        self.in_ready = False
        self.paused_at: float | None = None
        """Since when nothing more of it is delivered; ``None`` while it goes on."""
        self.waits_turn = False
        """It stands still since an earlier turn of its conversation has not ended."""
        self.busy: dict[str, deque[Message] | None] | None = None
        """What waits for each handler that is at work and waits; ``None``: nothing does. An empty deque takes 600 bytes."""
        self._begin()

    def _begin(self) -> None:
        """It has come to nothing yet."""
        self.replies: list[tuple[str, Any]] = NONE
        self.failures: list[Failure] | None = None
        self.warnings: list[Warned] | None = None
        self.pending: dict[str, list[Warned]] | None = None
        """Warnings that an agent is yet to be told in its next prompt, by handler."""
        self.state: dict[str, Memory] | None = None
        self.partial: tuple[str, str] | None = None
        """(handler, text) of the last completion, the root frame's handler preferred."""
        self.calls = 0
        """Holds so far, of a root thread with all below it: they number its calls."""
        self.calls_like: tuple[int, ...] | None = None
        """What the last call was charged: how many like it are left is told in warnings."""
        self.prompts: dict[str, tuple[int, Any]] | None = None
        """The last call of each handler, and what it asked; kept while facts are recorded."""
        self.granted: dict[str, Decimal] | None = None
        """What was granted so far by unit, of a root thread with all below it."""
        self.estimates: list[Estimate] | None = None
        self.exhausted: Failure | None = None
        """The refusal that its last delivery carries, or on whose grace it answered."""
        self.closing = False
        """Messages or time ran out: nothing more is delivered but the last."""
        self.last_due = False
        self.graced = False
        self.stopping: Failure | None = None
        self.time_fired, self.ended, self.letter = 0, False, False  # a letter tells of a message that failed for good

    def reply(self, handler: str, payload: Any) -> None:
        """A reply has left it. Most threads have one at most, and none for most of their time: no list is kept for that."""
        if self.replies:
            self.replies.append((handler, payload))
        else:
            self.replies = [(handler, payload)]


NONE: Final = cast("list[tuple[str, Any]]", ())
"""The replies of a thread without any. Nobody can write into it."""


def is_below(frame: Frame | None, above: Frame) -> bool:
    """Whether ``frame`` is ``above`` or was opened on its behalf, across sub-threads."""
    while frame is not None:
        if frame is above:
            return True
        frame = frame.above
    return False


def is_awaited(message: Message) -> bool:
    """Whether a delivery waits for what comes of a message, or has spawned the thread that it belongs to."""
    frame: Frame | None = message.frame
    while frame is not None:
        if (frame.asker is not None and not frame.asker.done) or frame.thread.kind == "spawn":
            return True
        frame = frame.above
    return False


def above_new(parent: Frame | None, sender: Frame, thread: Thread) -> Frame | None:
    """The frame that counts a new one in ``thread`` among its children: the one that opened it; where the new one replaces
    that, whoever counted it. One in another thread is counted by the frame that opened it, also where it answers for that:
    the budget of a thread holds until all that was opened in it has ended.
    """
    return sender if parent is sender or sender.thread is not thread else sender.above


def pending(thread: Thread) -> Iterator[Message]:
    """The queued messages of a thread, in no particular order; those being handled are not among them."""
    if thread.head is not None:
        yield thread.head
    yield from thread.more or ()
    for queue in (thread.busy or {}).values():
        yield from queue or ()


def descendants(thread: Thread) -> Iterator[Thread]:
    """The thread and its live sub-threads, all the way down."""
    yield thread
    for sub in (thread.subs or {}).values():
        yield from descendants(sub)


def root_of(thread: Thread) -> Thread:
    """The root thread that a thread belongs to."""
    while thread.owner is not None:
        thread = thread.owner.thread
    return thread


def chain_of(thread: Thread) -> str:
    """The chain that a thread is recorded in: that of its conversation, or of its root thread."""
    root = root_of(thread)
    return root.id if root.conversation is None else root.conversation.chain
