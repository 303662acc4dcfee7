"""The ready queue: which message is delivered next.

* Fair turns: a thread stands in the queue at most once, its other messages wait in the thread. All threads below one root stand there
  as one entry: opening sub-threads gives nobody more turns.
* Mailboxes: in one thread one handler handles one message at a time. A handler is marked busy there only once its delivery is suspended:
  one that finishes without waiting needs no mailbox.
* Places: at most ``max_handlers`` deliveries run at once, and at most ``concurrency`` of one handler. One that waits for something
  gives its place back; it returns when one is free.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from typing import TYPE_CHECKING, Final, Protocol, final

from organism.threads.dependence import is_awaited
from organism.threads.frames import IN_LINE, MAILBOX, PLACE, pending
from organism.threads.lineage import root_of
from organism.threads.round_robin import RoundRobin

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

    from organism.threads.frames import Message, Thread

IN_A_ROW: Final = 64
"""Messages that are taken depth-first before the thread that has waited longest gets a turn."""


@final
class Slot:
    """The places of one handler with a ``concurrency``: how many there are and are taken, and the messages that wait for one."""

    __slots__ = ("limit", "taken", "waiting")

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.taken = 0
        self.waiting: RoundRobin[Thread, Message] = RoundRobin()
        """By root thread, which take turns."""


@final
class _Below:
    """The ready sub-threads of one root: one entry of the ready queue."""

    __slots__ = ("line", "root")

    def __init__(self, root: Thread, first: Thread) -> None:
        self.root = root
        self.line: deque[Thread] = deque((first,))


class Gate(Protocol):
    """How far the journal has been written. Positions count the facts; ``next`` is that of the fact being made."""

    next: int
    durable: int
    """The position of the last fact that is on the disk."""

    @property
    def crowded(self) -> bool:
        """Whether so much waits to be written that no message may be delivered ahead of its own fact."""
        ...


@final
class Schedule:
    """The ready queue. ``concurrency`` has the limits of single handlers, ``places`` is that of the organism (``max_handlers``).

    With a ``gate``, a message is delivered once the fact that brought it is durable. Handlers in ``early`` may get it before:
    they touch the world through their context only, and what they ask for there waits (R20).
    """

    def __init__(
        self,
        concurrency: Mapping[str, int],
        *,
        places: int,
        depth_first: bool = False,
        early: Collection[str] = (),
    ) -> None:
        self.gate: Gate | None = None
        self._early = frozenset(early)
        self._limbo: deque[tuple[int, Thread]] = deque()
        self._slots = {name: Slot(limit) for name, limit in concurrency.items()}
        self._places = places
        self._depth_first = depth_first
        self._in_a_row = 0
        self._ready: deque[Thread | _Below] = deque()
        self._below: dict[Thread, _Below] = {}
        """The ready sub-threads, by root."""
        self._returning: dict[str, OrderedDict[Message, tuple[int, Callable[[], None]]]] = {}
        """The deliveries that return from a wait: a line for each handler with a ``concurrency``, and one (empty name) for all others. Each with
        its number in the order of all of them, and what is called once it has a place.
        """
        self._returned = 0
        """The number of the last one that stood in such a line."""
        self.queued = 0
        """How many messages wait to be taken."""
        self.running = 0
        """How many deliveries have a place."""
        self.taken: dict[Message, None] = {}
        """The messages being handled; kept only while ``lists`` is set."""
        self.lists = False
        self.draining = False
        """Nothing is begun any more but what running deliveries wait for."""

    @property
    def at_rest(self) -> bool:
        """Whether no delivery has a place and no message is about to be taken. Deliveries that wait may still go on later."""
        return not (self.running or self._limbo or self._ready)

    def put(self, message: Message) -> None:
        """Queues a message behind those of its thread."""
        thread = message.thread
        self.queued += 1
        if self.gate is not None:
            message.position = self.gate.next
        if thread.head is None:  # then there are no more either
            thread.head = message
        elif thread.more is None:
            thread.more = deque((message,))
        else:
            thread.more.append(message)
        if thread.in_ready:
            return
        if thread.owner is None and not self._depth_first:  # the common case of _make_ready, inline
            thread.in_ready = True
            self._ready.append(thread)
        else:
            self._make_ready(thread)

    def has_work(self) -> bool:
        """Whether :meth:`take` might give a message."""
        return bool(self._ready) and self.running < self._places

    def take(self) -> Message | None:
        """The next message to handle, which now has a place; ``None`` where there is none, or no place."""
        ready = self._ready
        while ready and self.running < self._places:
            turn = self._deepest() if self._depth_first else ready.popleft()
            thread = self._first_of(turn) if type(turn) is _Below else turn
            thread.in_ready = False
            message = thread.head
            if message is None or thread.paused_at is not None:
                continue
            if self.draining:
                message = self._put_awaited_first(thread)
                if message is None:
                    self.pause(thread)  # places reserved for its messages go to deliveries that were begun
                    continue
            if self.gate is not None and message.position > self.gate.durable and not self._goes_ahead(message):
                thread.in_ready = True
                self._limbo.append((message.position, thread))
                continue
            if thread.more:
                thread.head = thread.more.popleft()
                self._make_ready(thread)
            else:
                thread.head = None
            if (thread.busy is None and not self._slots) or self._admit(message):
                self.queued -= 1
                self.running += 1
                if self.lists:
                    self.taken[message] = None
                return message
        return None

    def _put_awaited_first(self, thread: Thread) -> Message | None:
        """Puts first the first message of a thread that a delivery waits for, or that precedes such a one in its mailbox (the messages of a
        mailbox stay in order), and returns it; ``None`` where there is none.
        """
        awaited = {each.mailbox for each in pending(thread) if is_awaited(each)}
        queue = [each for each in (thread.head, *(thread.more or ())) if each is not None]
        message = next((each for each in queue if each.mailbox in awaited), None)
        if message is not None:
            queue.remove(message)
            thread.head, thread.more = message, deque(queue)
        return message

    def _deepest(self) -> Thread | _Below:
        """The entry that became ready last; every so often the one that has waited longest, which a flood would starve otherwise."""
        self._in_a_row += 1
        if self._in_a_row < IN_A_ROW:
            return self._ready.popleft()
        self._in_a_row = 0
        return self._ready.pop()

    def _first_of(self, below: _Below) -> Thread:
        """The sub-thread of a root whose turn it is; the others stand in the queue again."""
        thread = below.line.popleft()
        if below.line:
            self._stand(below)
        else:
            del self._below[below.root]
        return thread

    def _goes_ahead(self, message: Message) -> bool:
        return message.to in self._early and self.gate is not None and not self.gate.crowded

    def release(self) -> None:
        """More is durable: threads that waited for that are ready."""
        while self.gate is not None and self._limbo and self._limbo[0][0] <= self.gate.durable:
            _, thread = self._limbo.popleft()
            thread.in_ready = False
            self._make_ready(thread)

    def pause(self, thread: Thread) -> None:
        """Takes nothing more from a thread that was paused; places reserved for its messages go to others."""
        for message in (thread.head, *(thread.more or ())):
            if message is not None and message.holds == PLACE:
                message.holds = MAILBOX
                slot = self._slots[message.to]
                slot.taken -= 1
                self._hand_on(slot)

    def resume(self, thread: Thread) -> None:
        """Takes from a thread again."""
        if thread.head is not None:
            self._make_ready(thread)
        for name in dict.fromkeys(message.to for message in self.waiting_for_place(thread)):
            self._hand_on(self._slots[name])

    def _admit(self, message: Message) -> bool:
        """Whether the message may be handled now; otherwise it waits in its handler's mailbox or for a place there."""
        if not message.holds:
            busy = message.thread.busy
            holder = None if busy is None else busy.get(message.mailbox)
            if holder is not None:
                if holder.behind is None:
                    holder.behind = deque((message,))
                else:
                    holder.behind.append(message)
                return False
        slot = self._slots.get(message.to)
        if slot is None:
            return True
        if message.holds == PLACE:  # it was reserved, and is its delivery's from now on
            return True
        if slot.taken < slot.limit:
            slot.taken += 1
            return True
        self.occupy(message)
        slot.waiting.put(root_of(message.thread), message)
        message.holds = IN_LINE
        return False

    def occupy(self, message: Message) -> None:
        """Gives a message its mailbox in its thread: its delivery is suspended, or waits for a place."""
        thread = message.thread
        if thread.busy is None:
            thread.busy = {}
        message.holds = MAILBOX
        thread.busy.setdefault(message.mailbox, message)

    def done(self, message: Message, *, placed: bool) -> None:
        """Ends a delivery: its mailbox goes to the next message, and its place, where it still has it (``placed``), to another."""
        if message.holds:
            self._pass_mailbox(message)
        if placed:
            if self._slots or self._returning:
                self.give_back(message)
            else:
                self.running -= 1

    def hold_back(self, message: Message, *, placed: bool) -> None:
        """Ends a delivery whose message is tried again later: it gives its place back (``placed``: it still has it) and keeps its
        mailbox. Other messages for its handler there wait behind it.
        """
        self.occupy(message)
        if placed:
            self.give_back(message)

    def bring_back(self, message: Message) -> None:
        """A message that was held back is to be delivered again."""
        self.queued += 1
        self._put_first(message)

    def let_go(self, message: Message) -> None:
        """A message that was held back is dropped: its mailbox goes to the next."""
        self._pass_mailbox(message)

    def _pass_mailbox(self, message: Message) -> None:
        busy, behind = message.thread.busy, message.behind
        if busy is None:
            return
        if not behind:
            del busy[message.mailbox]
            message.thread.busy = busy or None
            return
        follower = behind.popleft()
        message.behind, follower.behind = None, behind or None
        follower.holds = MAILBOX
        busy[follower.mailbox] = follower
        self._put_first(follower)

    def _put_first(self, message: Message) -> None:
        thread = message.thread
        if thread.head is not None:
            if thread.more is None:
                thread.more = deque()
            thread.more.appendleft(thread.head)
        thread.head = message
        self._make_ready(thread)

    def give_back(self, message: Message) -> None:
        """Gives a delivery's place back."""
        self.running -= 1
        slot = self._slots.get(message.to) if self._slots else None
        if slot is not None:
            slot.taken -= 1
        if slot is not None or self._returning:
            self._hand_on(slot)

    def _hand_on(self, slot: Slot | None) -> None:
        """Gives a place that was freed to the next: first to deliveries that return from a wait."""
        if self._returning:
            self._let_return()
        if slot is None or slot.taken >= slot.limit:
            return
        # It is reserved for the message whose turn it is: others may be ready before that.
        message = slot.waiting.next(_may_go)
        if message is not None:
            message.holds = PLACE
            slot.taken += 1
            self._put_first(message)

    def ask_back(self, message: Message, returned: Callable[[], None]) -> bool:
        """Takes a place for a delivery that has waited. ``False``: none is free, and ``returned`` is called once it has one."""
        if not self._slots and self.running < self._places:  # the common case
            self.running += 1
            return True
        if self._replace(message):
            return True
        self._returned += 1
        line = self._returning.setdefault(self._line_of(message), OrderedDict())
        line[message] = self._returned, returned
        return False

    def force_back(self, message: Message) -> None:
        """Takes a place for a delivery whether one is free or not: it runs already."""
        self.running += 1
        slot = self._slots.get(message.to)
        if slot is not None:
            slot.taken += 1

    def forget(self, message: Message) -> None:
        """Takes a delivery out of the line of those that return from a wait."""
        name = self._line_of(message)
        line = self._returning.get(name)
        if line is not None and line.pop(message, None) is not None and not line:
            del self._returning[name]

    def _line_of(self, message: Message) -> str:
        return message.to if message.to in self._slots else ""

    def _replace(self, message: Message) -> bool:
        slot = self._slots.get(message.to)
        if self.running >= self._places or (slot is not None and slot.taken >= slot.limit):
            return False
        self.force_back(message)
        return True

    def _let_return(self) -> None:
        """Gives a place to the delivery that has waited longest of those that can use it; the others keep their order."""
        if self.running >= self._places:
            return
        longest: tuple[int, Message, Callable[[], None]] | None = None
        for name, line in self._returning.items():
            slot = self._slots.get(name)
            if slot is None or slot.taken < slot.limit:
                message, (number, returned) = next(iter(line.items()))
                if longest is None or number < longest[0]:
                    longest = number, message, returned
        if longest is not None:
            _, message, returned = longest
            self.forget(message)
            self.force_back(message)
            returned()

    def drop(self, message: Message) -> None:
        """Takes a queued message out of its thread, its mailbox or the line for a place."""
        thread = message.thread
        self.queued -= 1
        if thread.head is message:
            thread.head = thread.more.popleft() if thread.more else None
        elif thread.more and message in thread.more:
            thread.more.remove(message)
        else:
            self._drop_from_mailbox(message)
            return
        if message.holds:
            self._pass_mailbox(message)
        slot = self._slots.get(message.to)
        if slot is not None and message.holds == PLACE:
            message.holds = MAILBOX
            slot.taken -= 1
            self._hand_on(slot)

    def _drop_from_mailbox(self, message: Message) -> None:
        slot = self._slots.get(message.to)
        if slot is not None and slot.waiting.remove(root_of(message.thread), message):
            message.holds = MAILBOX
            self._pass_mailbox(message)
            return
        holder = (message.thread.busy or {}).get(message.mailbox)
        if holder is not None and holder.behind is not None and message in holder.behind:
            holder.behind.remove(message)

    def waiting_for_place(self, thread: Thread) -> list[Message]:
        """The messages of a thread that were taken from its queue and wait for a place of their handler."""
        return [each for each in (thread.busy or {}).values() if each.holds == IN_LINE]

    def _make_ready(self, thread: Thread) -> None:
        if thread.in_ready:
            return
        thread.in_ready = True
        if thread.owner is None:
            self._stand(thread)
            return
        root = root_of(thread)
        below = self._below.get(root)
        if below is None:
            below = self._below[root] = _Below(root, thread)
            self._stand(below)
        elif self._depth_first:
            below.line.appendleft(thread)
        else:
            below.line.append(thread)

    def _stand(self, turn: Thread | _Below) -> None:
        if self._depth_first:
            self._ready.appendleft(turn)
        else:
            self._ready.append(turn)


def _may_go(message: Message) -> bool:
    return message.thread.paused_at is None
