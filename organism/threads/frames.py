"""Threads and frames: who called whom, and what is still open (R1, R3).

Plain state with pure questions about it. Only the kernel changes it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Literal, final

from attrs import define

from organism.names import CONVERSATION
from organism.threads.outcomes import DeliveryWarnings, Ending, Failure, LastCall, Memory, Outlay, Troubles, Warned
from organism.threads.restart import Past

if TYPE_CHECKING:
    from collections import deque
    from collections.abc import Iterator, Mapping, Sequence

    from organism.budget.node import Node
    from organism.settings import BudgetSettings
    from organism.threads.restart import Attempt
    from organism.threads.routing import Route

ThreadKind = Literal["root", "call", "shared", "spawn"]
"""``root``: opened by ingress. ``call``: one call to a handler with a budget of its own. ``shared``: all calls to one from a
thread (``per: thread``). ``spawn``: opened by ``ctx.spawn``; its replies leave to its handle."""


@define(weakref_slot=False)
class Dealings:
    """What a delivery waits for and was told before it answers. Most deliveries have none of it."""

    ask: Ask | None = None
    """What it waits for: usually one ask at a time."""
    more: dict[Ask, None] | None = None
    """Further asks that it waits for, in order."""
    awaits: dict[Thread, int] | None = None
    """The threads that it spawned and whose results it waits for, and in how many tasks each."""
    warned: DeliveryWarnings | None = None
    """The warnings that it was or is to be told."""
    known: dict[str, Any] | None = None
    """The answers that it got, by key (R21); kept while facts are recorded."""
    clock_reads: list[float] | None = None
    """Instants that it read from the clock and that are not recorded yet."""

    def have_warned(self) -> DeliveryWarnings:
        """Its warnings, of which it has none before there are any."""
        if self.warned is None:
            self.warned = DeliveryWarnings()
        return self.warned

    def begin_anew(self) -> None:
        """This attempt has failed: nothing of it is used by the next one (R9)."""
        self.wait_no_more()
        self.known = self.clock_reads = None
        if self.warned is not None:
            self.warned.begin_anew()

    def wait_for(self, ask: Ask) -> None:
        """It has asked, and waits for the answer."""
        if self.ask is None and self.more is None:
            self.ask = ask
        else:
            self.more = self.more or {}
            self.more[ask] = None

    def wait_no_more(self, ask: Ask | None = None) -> None:
        """It has the answer to this ask, or gave it up; ``None``: to all of them."""
        if ask is None:
            self.ask = self.more = None
        elif self.ask is ask:
            self.ask = None
        elif self.more is not None:
            self.more.pop(ask, None)
            self.more = self.more or None

    @property
    def asks(self) -> Sequence[Ask]:
        """What it waits for, in order."""
        first = () if self.ask is None else (self.ask,)
        return first if self.more is None else (*first, *self.more)


# What a message holds (Message.holds); 0 is nothing.
MAILBOX: Final = 1
"""Its handler's mailbox in its thread: it is the message that the handler works on there, or will next."""
IN_LINE: Final = 2
"""The mailbox, and it stands in line for a place of its handler (``concurrency``)."""
PLACE: Final = 3
"""The mailbox, and a place of its handler is reserved for it."""


@final
class Message:
    """A payload for ``to``, in a frame of a thread. Only the kernel makes messages; handlers see the payload.

    ``seq`` numbers the messages of a thread in the order of the record; ``id`` is thread and number. ``sender`` is the name of the
    handler that sent it, ``organism`` for primitives, empty from outside. ``route`` is what the kernel knows of ``to``. ``kind``:

    * ``ingress``, ``send``, ``ask``, ``spawn`` and ``forward`` open a frame; so does ``dead``, a dead letter
    * ``reply`` and ``failed`` go to a frame that is open; so does ``notice``, a warning, but for one about the running time of a thread
      whose handler is idle, which opens a frame
    * ``last`` opens one that takes the place of the last of an exhausted thread, and carries the refusal
    """

    __slots__ = (
        "behind", "dealings", "dropped", "frame", "holds", "kind", "past", "payload", "position", "route", "sender", "seq",
        "thread", "to",
    )  # fmt: skip

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
        # What follows changes while it waits and is delivered. Most messages need neither `past` nor `dealings`: both are made on demand.
        self.past: Past | None = None
        self.dealings: Dealings | None = None
        self.holds = 0  # MAILBOX, IN_LINE or PLACE
        self.behind: deque[Message] | None = None  # messages that wait for its mailbox; an empty deque takes 600 bytes
        self.dropped = False  # cancelled: whatever its delivery answers is not carried out
        self.position = 0  # of the fact that brought it; it is not delivered before that is durable

    @property
    def id(self) -> str:
        """``THREAD/SEQ``; unique, and opaque to users."""
        return f"{self.thread.id}/{self.seq}"

    @property
    def mailbox(self) -> str:
        """What its delivery occupies in its thread: its handler's mailbox. The organism itself and tools have none, since they work on any
        number of messages at once: their deliveries get the message's id.
        """
        return self.route.mailbox or self.id

    def be_known_as(self, key: str) -> None:
        """Sets its idempotency key. It was sent by a delivery that may be tried again, and is to have the same key in each attempt."""
        self.past = Past(idempotency=key)

    def have_dealings(self) -> Dealings:
        """Its dealings, made where there are none, to be written to."""
        if self.dealings is None:
            self.dealings = Dealings()
        return self.dealings

    # For readers off the hot path: empty where `past` or `dealings` is None.

    @property
    def tries(self) -> tuple[Attempt, ...]:
        """As :class:`Past` has them."""
        return () if self.past is None else self.past.tries

    @property
    def idempotency(self) -> str:
        """As :class:`Past` has it."""
        return "" if self.past is None else self.past.idempotency

    @property
    def old(self) -> bool:
        """As :class:`Past` has it."""
        return self.past is not None and self.past.old

    @property
    def rerun(self) -> bool:
        """As :class:`Past` has it."""
        return self.past is not None and self.past.rerun

    @property
    def asks(self) -> Sequence[Ask]:
        """As :class:`Dealings` has them."""
        return () if self.dealings is None else self.dealings.asks

    @property
    def awaits(self) -> Mapping[Thread, int] | None:
        """As :class:`Dealings` has them."""
        return None if self.dealings is None else self.dealings.awaits

    @property
    def warned(self) -> DeliveryWarnings | None:
        """As :class:`Dealings` has them."""
        return None if self.dealings is None else self.dealings.warned

    @property
    def known(self) -> Mapping[str, Any] | None:
        """As :class:`Dealings` has it."""
        return None if self.dealings is None else self.dealings.known


@final
class Frame:
    """One activation of a handler: what opened it, and how many of its deliveries and child frames are ``open`` (R1). At 0 it closes.

    ``parent`` is the frame it answers to (in another thread where this one is the first of a sub-thread); ``None`` where
    its replies leave the thread. ``above`` is the frame that counts it among its open children: its parent, unless a Forward
    handed it on. ``asker`` is set while somebody waits for its first reply.
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
        """It is the first frame of its thread, or a Forward has put it in the place of that."""
        self.open = 0
        self.answered = False


@final
class Ask:
    """A delivery that waits for the first reply of a frame, which ``first`` has opened. ``answer`` is the payload or the failure once ``done``."""

    __slots__ = ("answer", "done", "first", "frame", "message")

    def __init__(self, message: Message) -> None:
        self.message = message
        self.frame: Frame | None = None
        self.first: Message | None = None
        self.done = False
        self.answer: Any = None


@final
class Conversation:
    """What lasts over several threads, its turns: limits, state, and the last model calls, which the next turn goes on from (R6).

    ``turns`` are the threads that have not ended: the first one runs, the others wait. ``before`` is the id of the conversation that
    it continues, where that reached its message cap.
    """

    __slots__ = (
        "accounts", "asked", "before", "budget", "calls", "id", "node", "seconds", "state", "turns", "unheard",
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
        self.asked: dict[str, LastCall] | None = None
        self.calls = 0
        """How many holds there were so far, over all turns: the number of the last."""
        self.seconds = 0.0
        """Running time of the turns that have ended."""
        self.unheard: dict[str, list[Warned]] | None = None
        """Warnings about its limits that an agent's turn ended too early to hear: its next turn begins with them."""
        self.turns: list[Thread] = []  # mostly empty: an empty deque takes 760 bytes

    @property
    def chain(self) -> str:
        """The name of its chain in the journal."""
        return f"{CONVERSATION}{self.id}"


@define(weakref_slot=False)
class Below:
    """What a thread has below it: live sub-threads by id (``subs``), those of them that calls share, by handler (``shared``), and the final
    records of those that ended, by id.
    """

    subs: dict[str, Thread] | None = None
    shared: dict[str, Thread] | None = None
    records: dict[str, Any] | None = None

    def has_ended(self, id_: str, record: Any) -> None:
        """A sub-thread has ended, with this final record."""
        if self.subs is not None:
            self.subs.pop(id_, None)
        self.records = self.records or {}
        self.records[id_] = record


@final
class Thread:
    """One chain of handling: its budget, its frames by count, its mailboxes, and what it has come to so far."""

    __slots__ = (
        "accounts", "asked", "below", "budget", "busy", "calls", "conversation", "ended_at", "ending", "final", "handler",
        "head", "id", "in_ready", "kind", "labels", "letter", "more", "node", "open", "opened_at", "outlay", "owner",
        "paused_at", "replies", "seq", "state", "time_fired", "troubles", "undone", "waits_turn",
    )  # fmt: skip

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
        """The handler of its root frame, to which its grace call belongs."""
        self.node = node
        self.owner = owner
        """The frame whose delivery opened it; ``None`` for a root thread."""
        self.labels = labels
        self.conversation: Conversation | None = None
        """Whose turn it is, of a root thread."""
        self.accounts: tuple[str, ...] = () if owner is None else owner.thread.accounts
        """The accounts that it is under, ``kind:name`` each, the nearest first."""
        self.opened_at = at
        """When it was opened, moved on by all the time that it stood still: running time counts from here."""
        self.budget = budget
        """The settings that its node was made from; they change when its limits do."""
        self.seq = 0
        self.open = 0
        """Open top frames; at 0 the thread ends (a shared one with the thread that calls it)."""
        self.undone = 0
        """How many messages wait or are being handled, in a root thread and all below it; 0 in others."""
        self.head: Message | None = None
        self.more: deque[Message] | None = None
        self.in_ready = False
        self.paused_at: float | None = None
        """Since when nothing more of it is delivered; ``None`` while it goes on."""
        self.waits_turn = False
        """It stands still since an earlier turn of its conversation has not ended."""
        self.busy: dict[str, Message] | None = None
        """The message that has each mailbox that is taken: its delivery waits for something or for a place, or is tried again later."""
        self.replies: Sequence[tuple[str, Any]] = ()
        self.state: dict[str, Memory] | None = None
        self.calls = 0
        """How many holds there were so far, in a root thread and all below it: the number of the last."""
        self.asked: dict[str, LastCall] | None = None
        """The last model call of each handler; kept while facts are recorded."""
        # Most threads have no sub-threads, no trouble and no calls, and end since all is done: these are made on demand.
        self.below: Below | None = None
        self.troubles: Troubles | None = None
        self.outlay: Outlay | None = None
        self.ending: Ending | None = None
        self.time_fired, self.letter = 0, False
        """How many levels of its seconds have fired; and whether it handles a dead letter."""
        self.ended_at: float | None = None
        self.final: Any = None
        """Its final record, made when somebody first asks for it: see :func:`organism.kernel.outcome.final_of`."""

    @property
    def ended(self) -> bool:
        """Whether it has ended."""
        return self.ended_at is not None

    def have_below(self) -> Below:
        """What is below it, to be written to."""
        if self.below is None:
            self.below = Below()
        return self.below

    def have_troubles(self) -> Troubles:
        """Its troubles, to be written to."""
        if self.troubles is None:
            self.troubles = Troubles()
        return self.troubles

    def have_outlay(self) -> Outlay:
        """Its outlay, to be written to."""
        if self.outlay is None:
            self.outlay = Outlay()
        return self.outlay

    def have_ending(self) -> Ending:
        """Its ending, to be written to."""
        if self.ending is None:
            self.ending = Ending()
        return self.ending

    @property
    def subs(self) -> Mapping[str, Thread] | None:
        """As :class:`Below` has them."""
        return None if self.below is None else self.below.subs

    @property
    def warnings(self) -> Sequence[Warned] | None:
        """As :class:`Troubles` has them."""
        return None if self.troubles is None else self.troubles.warnings

    @property
    def pending(self) -> Mapping[str, Sequence[Warned]] | None:
        """As :class:`Troubles` has them."""
        return None if self.troubles is None else self.troubles.pending

    @property
    def exhausted(self) -> Failure | None:
        """As :class:`Ending` has it."""
        return None if self.ending is None else self.ending.exhausted

    @property
    def closing(self) -> bool:
        """As :class:`Ending` has it."""
        return self.ending is not None and self.ending.closing

    @property
    def graced(self) -> bool:
        """As :class:`Ending` has it."""
        return self.ending is not None and self.ending.graced

    @property
    def stopping(self) -> Failure | None:
        """As :class:`Ending` has it."""
        return None if self.ending is None else self.ending.stopping

    @property
    def is_ending(self) -> bool:
        """Whether it was stopped, or has run out and hands in what it has: nothing more is begun in it."""
        return self.ending is not None and (self.ending.closing or self.ending.stopping is not None)

    def reply(self, handler: str, payload: Any) -> None:
        """A reply has left it. The list is made with the first one: most threads have none for most of their time."""
        if isinstance(self.replies, list):
            self.replies.append((handler, payload))
        else:
            self.replies = [(handler, payload)]


def pending(thread: Thread) -> Iterator[Message]:
    """The queued messages of a thread, in no particular order; those being handled are not among them."""
    if thread.head is not None:
        yield thread.head
    yield from thread.more or ()
    for holder in (thread.busy or {}).values():
        yield from holder.behind or ()
