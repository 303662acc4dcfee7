"""The state of an organism and the changes it can undergo. No change checks anything: the caller has decided.

The same changes are made live and when facts are folded, so that both come to the same state. While ``steps`` is a list, each
change appends a step to it. What follows from a change by counting alone (a frame closes, a thread ends) is not written as a step: the
fold counts too, and comes to the same.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, Final, final

from organism.budget.tree import charge_messages
from organism.budget.waiting import Line
from organism.kernel.conversations import end_turn, pass_up
from organism.kernel.failures import climb
from organism.kernel.inbox import Inbox
from organism.kernel.notices import exhausted_payload
from organism.kernel.outcome import final_of
from organism.kernel.pools import Pools
from organism.kernel.rings import Rings
from organism.kernel.steps import posted, ref, ref_of
from organism.kernel.streams import held_by_streams
from organism.kernel.sums import Sums
from organism.names import CONVERSATION, ORGANISM
from organism.record import facts
from organism.settings import Policy
from organism.threads.dependence import at_work, leaving, unanswered
from organism.threads.frames import Ask, Conversation, Frame, Message, Thread, pending
from organism.threads.lineage import descendants, root_of
from organism.threads.outcomes import Failure, Memory
from organism.threads.scheduling import Schedule

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from organism.budget.caps import Caps
    from organism.budget.node import Node
    from organism.kernel.holds import Hold
    from organism.kernel.index import Index
    from organism.payloads.construction import Check
    from organism.record.images import Ref
    from organism.settings import BudgetSettings, Settings
    from organism.threads.routing import Route, Routes

NO_REPLY: Final = Failure("no_reply", "the callee finished without a reply")


@final
class State:
    """Everything that lasts between two facts."""

    def __init__(self, settings: Settings, routes: Routes) -> None:
        above = Policy()
        policy = settings.budget.policy(above)
        self.settings = settings
        self.routes = routes
        self.now = 0.0
        self.pools = Pools(settings, policy)
        """The nodes that many threads share: the organism's own, and by name those of accounts that threads were under."""
        self.root = self.pools.root
        self.threads: dict[str, Thread] = {}
        self.conversations: dict[str, Conversation] = {}
        self.holds: dict[Ref, Hold] = {}
        """What is held, by root thread and number."""
        self.streams: dict[Thread, list[Hold]] = {}
        self.line = Line(partial(held_by_streams, self.streams))
        limited = {name: route.concurrency for name, route in routes.items() if route.concurrency is not None}
        self.schedule = Schedule(
            limited,
            places=settings.max_handlers,
            depth_first=settings.scheduling == "depth-first",
            early=[name for name, route in routes.items() if route.early],
        )
        self.sums = Sums()
        self.plain: dict[type, Check] = {}
        """The checks of payload classes that any handler may send and that hold no other payloads. Filled as they are first sent."""
        self.terms: dict[int, tuple[BudgetSettings, Policy, Policy, Caps]] = {}
        """A cache of policies and caps: (budget, policy above, own policy, caps) by the identity of the budget."""
        self.met: dict[tuple[str, str, type], tuple[Route, Check]] = {}
        """A cache of addresses that were checked: by sender, receiver and class, where the class is in ``plain``."""
        self.occupied: dict[tuple[Thread, str], Message] = {}
        """The suspended delivery of each mailbox."""
        self.inbox = Inbox()
        """What waits for people."""
        self.retries: dict[Message, float] = {}
        """The messages that wait for their next attempt, and when it is due. They hold their mailboxes, and take no place."""
        self.rings = None if settings.loops is None else Rings(settings.loops)
        self.steps: list[facts.Step] | None = None
        self.index: Index | None = None
        self.cutting = False  # a branch is being dropped that nobody waits for any more
        self.ended: list[Thread] = []
        self.woken: list[Ask] = []
        self.timed: list[Thread] = []

    def come_to(self, at: float) -> tuple[Node, ...]:
        """Sets the instant. Returns the shared nodes for which a new window has begun by that."""
        self.now = at
        if min(at, self.pools.until) < self.pools.rolls_at:
            return ()
        needed = {node for thread in self.threads.values() for node in thread.node.path}
        needed.update(node for conversation in self.conversations.values() for node in conversation.node.path)
        return self.pools.roll_over(at, needed)

    # Threads

    @property
    def roots(self) -> list[Thread]:
        """The root threads that live."""
        return [thread for thread in self.threads.values() if thread.owner is None]

    def chain(self, name: str) -> Thread | Conversation | None:
        """The live root thread or conversation that a chain of the journal is of; ``None`` where it does not live."""
        if name.startswith(CONVERSATION):
            return self.conversations.get(name.removeprefix(CONVERSATION))
        return self.threads.get(name)

    def open_messages(self, thread: Thread) -> list[Message]:
        """The messages of a thread that are queued or being handled, in the order in which they were posted. What is handled is
        known only while facts are recorded.
        """
        running = (message for message in self.schedule.taken if message.thread is thread)
        every = (*self.queued_in(thread), *running)
        return sorted(every, key=lambda message: message.seq)

    def queued_in(self, thread: Thread) -> list[Message]:
        """The messages of one thread that wait for their delivery, for their next attempt or for a person."""
        # What is tried again later keeps its mailbox meanwhile.
        later = (each for each in (thread.busy or {}).values() if each in self.retries) if self.retries else ()
        return [*pending(thread), *self.schedule.waiting_for_place(thread), *self.inbox.of(thread), *later]

    def at_work(self, thread: Thread) -> list[Message]:
        """The suspended deliveries of one thread."""
        return at_work(thread, self.occupied)

    def pause(self, root: Thread) -> None:
        """Nothing more of a root thread is delivered, and its running time stands still."""
        for thread in descendants(root):
            self.go_on(thread)
            thread.paused_at = self.now
            self.schedule.pause(thread)

    def resume(self, root: Thread, since: float) -> None:
        """A root thread goes on. The time since the instant ``since``, or since a thread below was opened, is not counted as running time."""
        for thread in descendants(root):
            thread.paused_at = None
            stood = min(since, self.inbox.resting.pop(thread, since))
            thread.opened_at += self.now - max(stood, thread.opened_at)  # the clock may have been set back
            self.timed.append(thread)
            self.schedule.resume(thread)
            self.inbox.set_back(thread, self.now)
            self.inbox.stir(thread)

    def stand(self, thread: Thread) -> None:
        """All open work of a thread waits for people."""
        self.inbox.resting[thread] = self.now

    def go_on(self, thread: Thread) -> None:
        """A thread that stood still, if it did, goes on; the time in between is not counted as running time."""
        since = self.inbox.resting.pop(thread, None)
        if since is not None:
            thread.opened_at += self.now - since

    def run_out(self, thread: Thread, failure: Failure, *, last: bool, alone: bool) -> None:
        """Nothing more is delivered in a thread and below it but last messages: one to the thread's own handler if ``last``, and none
        to the handlers of threads below if ``alone``.
        """
        for each in list(descendants(thread)):
            ending = each.have_ending()
            # When time runs out what runs is cancelled, so nobody below goes on either. What a call on grace was made for is no longer why.
            if (each is thread or failure.unit == "seconds") if ending.exhausted is None else not ending.closing:
                ending.exhausted = failure
            ending.closing = True
            if alone:
                ending.last_due = False
        thread.have_ending().last_due = last

    def end(self, thread: Thread) -> None:
        """Ends a thread: its node and everything else of it leave the live registries."""
        if thread.below is not None and thread.below.shared is not None:
            for shared in list(thread.below.shared.values()):
                if not shared.ended:
                    self.end(shared)
        if self.inbox.resting:
            self.go_on(thread)
        thread.ended_at = self.now
        del self.threads[thread.id]
        if self.rings is not None:
            self.rings.end(thread)
        if thread.owner is not None:
            if thread.troubles is not None:
                pass_up(thread)
            thread.owner.thread.have_below().has_ended(thread.id, final_of(thread))
        self.ended.append(thread)
        if thread.conversation is not None:
            end_turn(self, thread, thread.conversation)

    # Messages and frames

    def post(
        self, frame: Frame, payload: Any, sender: str, kind: str, *, charged: bool = True, idempotency: str = ""
    ) -> None:
        """Puts a message for its handler into a frame that is open."""
        thread = frame.thread
        thread.seq = seq = thread.seq + 1
        message = Message(thread, seq, frame.route, payload, sender, frame, kind)
        if idempotency:
            message.be_known_as(idempotency)
        frame.open += 1
        self._enter(message, charged)
        if self.steps is not None:
            self.steps.append(posted(message, charged=charged))

    def post_opening(
        self,
        thread: Thread,
        route: Route,
        payload: Any,
        sender: str,
        kind: str,
        *,
        parent: Frame | None,
        above: Frame | None,
        depth: int,
        asker: Message | None = None,
        asked: Ask | None = None,
        charged: bool = True,
        idempotency: str = "",
    ) -> Message:
        """Puts a message into a new frame, that answers to ``parent`` and is counted by ``above``. ``asker`` is the delivery
        that waits for its reply, ``asked`` an ask that waits already.
        """
        thread.seq = seq = thread.seq + 1
        ask = asked if asker is None else Ask(asker)
        frame = Frame(thread, seq, route, parent, depth, ask, above)
        message = Message(thread, seq, route, payload, sender, frame, kind)
        if idempotency:
            message.be_known_as(idempotency)
        if kind == "dead":
            thread.letter = True
        frame.open = 1
        if frame.top:
            thread.open += 1
        if above is not None:
            above.open += 1
        if ask is not None:
            ask.frame, ask.first = frame, message
            if asker is not None:
                asker.have_dealings().wait_for(ask)
        if self.index is not None:
            self.index.opened(frame)
        self._enter(message, charged)
        if self.steps is not None:
            self.steps.append(posted(message, charged=charged, opens=True))
        return message

    def count_up(self, frame: Frame) -> None:
        """A frame was opened: its thread and the frame above count it."""
        if frame.top:
            frame.thread.open += 1
        if frame.above is not None:
            frame.above.open += 1

    def _enter(self, message: Message, charged: bool) -> None:  # noqa: FBT001 - every message comes by
        thread = message.thread
        if charged:
            if self.rings is not None:
                self.rings.add(message)
            charge_messages(message.thread.node, 1)
            self.sums.count(message)
        if self.index is not None:
            self.index.posted(message)
        if thread.owner is None and not message.route.answers:  # the common case of queue(), inline
            thread.undone += 1
            self.schedule.put(message)
        else:
            self.queue(message, self.now)

    def queue(self, message: Message, at: float) -> None:
        """Puts a message into the ready queue, or, if it is for a person, into the inbox, where it waits since the instant ``at``."""
        thread = message.thread
        root = thread if thread.owner is None else root_of(thread)
        root.undone += 1
        if self.inbox.watched:
            self.inbox.stir(thread)
        if not message.route.answers:
            self.schedule.put(message)
            return
        if self.schedule.gate is not None and self.index is None:
            message.position = self.schedule.gate.next
        self.inbox.put(message, at)

    def resolve(self, ask: Ask, answer: Any) -> None:
        """Gives an ask its answer, a payload or a Failure: this is the frame's one reply."""
        ask.done = True
        ask.answer = answer
        ask.message.have_dealings().wait_no_more(ask)
        if ask.frame is not None:
            ask.frame.answered = True
        if self.steps is not None and ask.frame is not None:
            self.steps.append(facts.Resolved(ask=ref(ask.frame), answer=answer))
        ask.frame = ask.first = None  # breaks a reference cycle, so that memory is freed at once
        self.woken.append(ask)

    def leave(self, frame: Frame, payload: Any) -> None:
        """A reply leaves the thread; from a called sub-thread that answers for its caller, the caller's thread as well."""
        frame.answered = True
        for thread in leaving(frame.thread):
            thread.reply(frame.handler, payload)
        if self.steps is not None:
            self.steps.append(facts.Left(thread=frame.thread.id, sender=frame.handler, payload=payload))

    def come_late(self, frame: Frame, payload: Any) -> None:
        """Records a reply that nobody waits for any more; it changes nothing else."""
        if self.steps is not None:
            self.steps.append(facts.CameLate(frame=ref(frame), payload=payload))

    def hand_over(self, frame: Frame, to: Frame | None) -> None:
        """``frame`` will not answer: ``to`` does in its place (Forward); ``None``: a failure was its answer."""
        if to is not None:
            to.answered = frame.answered
            frame.asker = None
        frame.answered = True
        if self.steps is not None:
            self.steps.append(facts.Handed(frame=ref(frame), to=ref(to)))

    def not_handled(self, thread: Thread, failure: Failure, *, at_root: bool) -> None:
        """A failure reached the root of a thread, and counts for its outcome. ``at_root``: there is no caller to tell."""
        for each in leaving(thread) if at_root else (thread,):
            each.have_troubles().fail(failure)
        if self.steps is not None:
            self.steps.append(facts.Unhandled(thread=thread.id, failure=failure, at_root=at_root))

    def cut(self, ask: Ask, dropped: Iterable[Message]) -> None:
        """An ask is not waited for any more: the queued messages of its branch, ``dropped``, are dropped with it."""
        ask.done = True
        ask.message.have_dealings().wait_no_more(ask)
        gone = tuple(dropped)
        if ask.frame is not None:
            ask.frame.answered = True
            if self.steps is not None:
                self.steps.append(facts.Cut(ask=ref(ask.frame), dropped=tuple(map(ref_of, gone))))
            ask.frame = ask.first = None
        self.cutting = True  # nobody is left in the branch who would hear of it
        for message in gone:
            self.drop(message)
        self.cutting = False

    def set_state(self, thread: Thread, handler: str, changes: Mapping[str, tuple[Any] | None]) -> None:
        """Writes what a finished delivery changed of its handler's state: ``(value,)``, or ``None`` for a key that went."""
        if thread.state is None:
            thread.state = {}
        memory = thread.state.get(handler)
        if memory is None:
            memory = thread.state[handler] = Memory({})
        memory.change(changes)

    def finish(self, message: Message, *, placed: bool) -> None:
        """A delivery is over: its mailbox goes to the next message, its frame counts down. ``placed``: it still has its place."""
        self.let_go(message, placed=placed)
        self._forget(message)

    def let_go(self, message: Message, *, placed: bool) -> None:
        """The mailbox of a delivery that is over goes to the next message. ``placed`` as for :meth:`finish`."""
        if message.holds:
            self.occupied.pop((message.thread, message.mailbox), None)
        if self.schedule.taken:
            self.schedule.taken.pop(message, None)
        if self.inbox.questions:
            self.inbox.drop(message)
        self.schedule.done(message, placed=placed)

    def drop(self, message: Message) -> None:
        """Drops a queued message, wherever it waits; its frame counts down."""
        message.dropped = True
        self.inbox.stir(message.thread)
        if self.occupied.get((message.thread, message.mailbox)) is message:
            del self.occupied[message.thread, message.mailbox]
        if self.retries.pop(message, None) is not None:
            self.schedule.let_go(message)
        elif not self.inbox.drop(message):
            self.schedule.drop(message)
        self._forget(message)

    def _forget(self, message: Message) -> None:
        if self.index is not None:
            self.index.forget(message)
        if message.dealings is not None:
            message.dealings.known = None
        thread, frame = message.thread, message.frame
        root = thread if thread.owner is None else root_of(thread)
        root.undone -= 1
        if frame.open > 1:
            frame.open -= 1
        else:
            self._count_down(frame)

    def _count_down(self, frame: Frame | None) -> None:
        while frame is not None:
            frame.open -= 1
            if frame.open:
                return
            thread = frame.thread
            ending = thread.ending
            last = ending is not None and ending.last_due and frame.top and thread.open == 1 and not self.cutting
            if last and self._last_word(thread, frame):
                return
            if (frame.asker is not None and not frame.asker.done) or (ending is not None and ending.closing):
                self._close_unanswered(frame)
            if self.index is not None:
                self.index.closed(frame)
            if frame.top:
                thread.open -= 1
                if thread.open == 0 and thread.kind != "shared":
                    self.end(thread)
            frame = frame.above

    def _close_unanswered(self, frame: Frame) -> None:
        """Whoever waits for a frame that closes hears that nothing comes. Steps say so: who takes a failure may have changed when it is folded."""
        thread, ask = frame.thread, frame.asker
        exhausted = thread.exhausted if thread.closing and not self.cutting else None
        if exhausted is not None and frame.top and frame.parent is not None and not frame.answered:
            climb(self, frame, exhausted)
        elif ask is not None and not ask.done:
            steps, cancelled = self.steps, ask.message.dropped or ask.message.thread.stopping is not None
            self.steps = None if cancelled or self.cutting else steps  # nobody hears it then
            self.resolve(ask, NO_REPLY)
            self.steps = steps

    def _last_word(self, thread: Thread, frame: Frame) -> bool:
        """An exhausted thread that is about to end gets its last delivery, where that is due (R17). ``False``: there is none, and it ends."""
        thread.have_ending().last_due = False
        has_answered = bool(thread.replies) if frame.parent is None else frame.answered
        if thread.stopping is not None or has_answered or thread.exhausted is None:
            return False
        payload = exhausted_payload(thread.node, thread.exhausted)
        self.post_opening(
            thread, self.routes[thread.handler], payload, ORGANISM, "last",
            parent=frame.parent, above=frame.above, depth=frame.depth, asked=unanswered(frame), charged=False,
        )  # fmt: skip
        frame.asker = None
        # The new frame was counted while the old one was open: count the old one down.
        if self.index is not None:
            self.index.closed(frame)
        thread.open -= 1
        if frame.above is not None:
            frame.above.open -= 1
        return True
