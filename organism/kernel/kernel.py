"""What can happen to an organism: one method for each. It checks, changes the state, and writes the fact."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from organism import facts
from organism.budget.caps import figure
from organism.budget.claims import MESSAGES, VECTOR
from organism.errors import BudgetExhaustedError, HandlerFailedError, RoutingError
from organism.frames import Ask, Failure, Thread, descendants, is_below, pending, root_of
from organism.kernel.answers import (
    Goal,
    Refusal,
    Target,
    carry_out,
    check_answer,
    check_messages,
    check_target,
    goal_of,
    open_at,
    too_many_messages,
)
from organism.kernel.book import Book
from organism.kernel.calls import Calls
from organism.kernel.conversations import SCOPE as CONVERSATION_SCOPE
from organism.kernel.conversations import begun, out_of_time
from organism.kernel.failures import climb
from organism.kernel.imaging import image_of
from organism.kernel.recall import note_clock, remember
from organism.kernel.state import State
from organism.kernel.steps import ref_of
from organism.kernel.times import Times
from organism.kernel.warnings import fire_rest, note_arrival, note_crossings, post_notices, tell
from organism.kernel.windows import roll_hint
from organism.payloads.primitives import ALL as PRIMITIVES
from organism.routing import Misdirected, check_address, routes

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from organism.budget.tree import Lack
    from organism.facts import Ended, Fact
    from organism.frames import Message, Warned
    from organism.kernel.conversations import Beginning
    from organism.message import Outgoing
    from organism.settings import BudgetSettings, Settings


class Kernel:
    """The core of one organism. ``at`` is always the instant, in seconds of a clock that never goes back.

    ``record`` gets every fact with the id of its root thread (``None``: none is built). The pump carries out what these collect: ``cancelled`` (deliveries
    to be cancelled), ``state.woken`` (asks that have their answer), ``calls.answered`` (waiting calls whose turn has come),
    ``ended`` (threads that ended), ``state.timed`` (threads whose time is to be watched).
    """

    def __init__(self, settings: Settings, record: Callable[[str, Fact], None] | None = None) -> None:
        self.routes = routes(settings)
        self.state = State(settings, self.routes)
        self.ended: list[tuple[Thread, Ended]] = []
        self.cancelled: list[Message] = []
        self.book = Book(self.state, record, lambda thread, end: self.ended.append((thread, end)))
        self.calls = Calls(self.state, self.book)
        self.times = Times(
            self.state, self.book, lambda thread, failure, at: self.exhaust(thread, failure, at, cancel=True)
        )
        self.schedule = self.state.schedule

    # From outside

    def accept(
        self,
        id_: str,
        to: str,
        payload: Any,
        budget: BudgetSettings,
        labels: Mapping[str, str],
        at: float,
        *,
        turn_of: Beginning | None = None,
    ) -> Thread:
        """Takes a message in, in a new thread; ``turn_of`` is the conversation whose turn that is, with what it begins with where
        it is not there yet. Raises RoutingError or BudgetExhaustedError; then nothing happened.
        """
        found = check_address(self.routes, None, to, payload)
        if isinstance(found, Misdirected):
            raise RoutingError(found.text)
        late = self.times.refusal(at)
        if late is not None:
            raise late
        depths = [limit for limit in (budget.limits.depth, self.state.root.caps.depth) if limit is not None]
        if min(depths, default=1) < 1:
            raise BudgetExhaustedError("depth", "thread", 0, 0, min(depths), 1)
        self.book.begin(at)
        conversation = None if turn_of is None else begun(self.state, turn_of)
        node = self.state.root if conversation is None else conversation.node
        missing = check_messages([Goal(node, budget)])
        late = None if conversation is None else out_of_time(conversation)
        if missing is not None or late is not None:
            if conversation is not None and not conversation.node.used[MESSAGES]:
                del self.state.conversations[conversation.id]  # it was begun just now
            raise late or self._refused_message(missing)
        thread = self.state.open_thread(id_, "root", to, budget, None, labels, conversation=conversation)
        posted = self.state.post_opening(thread, to, payload, "", "ingress", parent=None, above=None, depth=1)
        note_arrival(self.state, posted)
        self.book.write(facts.Accepted, thread)
        return thread

    def _refused_message(self, missing: Lack | None) -> BudgetExhaustedError | HandlerFailedError:
        assert missing is not None  # noqa: S101 - asked where something is
        return refusal_error(too_many_messages(missing), hint=roll_hint(self.state, missing.node))

    def open_bare(self, id_: str, budget: BudgetSettings, labels: Mapping[str, str], at: float) -> Thread:
        """Opens a thread without a message, for calls that no handler makes. It ends by :meth:`close_bare`."""
        self.book.begin(at)
        thread = self.state.open_thread(id_, "root", "", budget, None, labels)
        self.book.write(facts.Accepted, thread)
        return thread

    def close_bare(self, thread: Thread, at: float, failure: Failure | None = None) -> None:
        """Ends a thread that was opened without a message. ``failure`` is what went wrong in it."""
        if thread.ended:
            return
        self.calls.abandoned(thread, None, at)
        self.book.begin(at)
        if failure is not None:
            self.state.not_handled(thread, failure, at_root=True)
        self.state.end(thread)
        self.book.write(facts.Closed, thread)

    # Deliveries

    def take(self) -> Message | None:
        """The next delivery, which now has a place; ``None`` where nothing is ready, or no place is free."""
        message = self.schedule.take()
        if message is not None and self.book.listening:
            self.state.taken[message] = None
        return message

    def suspended(self, message: Message) -> None:
        """A delivery waits for something: its mailbox is taken until it is done."""
        self.schedule.occupy(message)
        self.state.occupied[message.thread, message.to] = message

    def answered(
        self,
        message: Message,
        outgoing: Sequence[Outgoing],
        state: Mapping[str, tuple[Any] | None] | None,
        at: float,
        *,
        placed: bool = True,
    ) -> Failure | None:
        """A delivery finished. All it answers is carried out, or nothing of it; then the failure is returned."""
        self.calls.abandoned(message.thread, message, at)
        if self.is_void(message):
            self.dropped(message, at, placed=placed)
            return None
        plan = check_answer(self.state, message, outgoing) if outgoing else []
        if isinstance(plan, Refusal):
            self.refused(message, plan, at, placed=placed)
            return plan.failure
        self.book.begin(at)
        if state:
            self.state.set_state(message.thread, message.to, state)
        if plan:
            posted = carry_out(self.state, message, plan)
            note_crossings(self.state, message.thread, message, at_once=False)
            for each in posted:
                note_arrival(self.state, each, came_from=message.thread)
        post_notices(self.state, message)
        self._leave_asks(message)
        self.state.finish(message, placed=placed)
        self.book.write(facts.Answered, message.thread, seq=message.seq, handler=message.to, state=state or None)
        return None

    def refused(self, message: Message, refusal: Refusal, at: float, *, placed: bool = True) -> None:
        """A delivery answered what may not be: it failed. Where messages ran out, its thread hands in its last answer."""
        exhausted = self._exhausted_by(message.thread, refusal)
        if exhausted is not None:
            self.exhaust(exhausted, refusal.failure, at)
        self.failed(message, refusal.failure, at, placed=placed, lack=refusal.lack)

    def failed(
        self, message: Message, failure: Failure, at: float, *, placed: bool = True, lack: Lack | None = None
    ) -> None:
        """A delivery raised, timed out or answered badly: its caller hears it."""
        self.calls.abandoned(message.thread, message, at)
        if self.is_void(message):
            self.dropped(message, at, placed=placed)
            return
        self.book.begin(at)
        if lack is not None and lack.unit >= 0:
            fire_rest(self.state, message.thread, message, lack.node, lack.unit, at_once=False)
        message.told = None
        climb(self.state, message.frame, failure)
        self._leave_asks(message)
        self.state.finish(message, placed=placed)
        self.book.write(facts.Failed, message.thread, seq=message.seq, handler=message.to, failure=failure)

    def dropped(self, message: Message, at: float, *, placed: bool = True) -> None:
        """A delivery that was cancelled has stopped."""
        self.calls.abandoned(message.thread, message, at)
        self.book.begin(at)
        message.dropped = True
        self._leave_asks(message)
        self.state.finish(message, placed=placed)
        self.book.write(facts.Dropped, message.thread, seq=message.seq)

    def diverged(self, message: Message, keys: tuple[str, ...], at: float) -> None:
        """A delivery that was run again after a crash has not asked for all that it was answered before."""
        self.book.begin(at)
        self.book.write(facts.Diverged, message.thread, seq=message.seq, handler=message.to, keys=keys)

    def snapshot(self, chain: str, at: float) -> None:
        """Writes down all that a chain has come to, so that taking it up need not read what came before."""
        whole = self.state.chain(chain)
        if whole is not None:
            self.book.begin(at)
            self.book.write(facts.Snapshot, whole, image=image_of(self.state, whole))

    def unfit(self, message: Message) -> Failure | None:
        """Why a message that an earlier process left cannot be handled: its handler is gone, or takes other payloads now."""
        if message.to not in self.routes:
            return Failure("routing", f"'{message.to}' is no handler any more")
        kind: type = message.payload.__class__
        if not message.old or kind in PRIMITIVES or kind in self.routes[message.to].accepts:
            return None
        return Failure("validation", f"'{message.to}' does not take {kind.__name__} any more")

    def is_void(self, message: Message) -> bool:
        """Whether a delivery was cancelled: whatever it answers is not carried out."""
        return message.dropped or message.thread.stopping is not None

    def _leave_asks(self, message: Message) -> None:
        """What a finished delivery still asked is not waited for any more; its branches are cancelled.

        A task that outlives the delivery may wait for it all the same: it is told.
        """
        for ask in tuple(message.asks or ()):
            self._cut(ask)
            ask.answer = Failure("cancelled", "the delivery that asked is over")
            self.state.woken.append(ask)
        message.asks = None

    def unheard(self, message: Message) -> tuple[Warned, ...]:
        """The warnings that an agent is to be told in its next prompt."""
        return tuple((message.thread.pending or {}).get(message.to, ()))

    def noticed(self, message: Message, heard: Sequence[Warned], at: float) -> None:
        """A prompt that tells an agent of these warnings leaves now."""
        self.book.begin(at)
        tell(self.state, message.thread, message.to, heard)
        self.book.write(facts.Noticed, message.thread, seq=message.seq, handler=message.to)

    # Asking and spawning

    def ask(self, message: Message, to: str, payload: Any, at: float, *, key: str = "") -> Ask | Refusal:
        """A delivery asks ``to`` and waits for the first reply. ``key`` names the question among its own (R21)."""
        self.suspended(message)
        target = check_target(self.state, message, to, payload, depth=message.frame.depth + 1, asks=True)
        refusal = self._check_cost(target)
        if refusal is not None:
            self._refuse_inside(message, refusal, at)
            return refusal
        assert isinstance(target, Target)  # noqa: S101 - _check_cost has returned the refusals
        self.book.begin(at)
        note_clock(self.state, message)
        posted = open_at(self.state, target, message, "ask", parent=message.frame, asker=message)
        note_crossings(self.state, message.thread, message)
        note_arrival(self.state, posted, came_from=message.thread)
        ask = posted.frame.asker
        assert ask is not None  # noqa: S101 - opened with an asker
        remember(message, key, ask)
        self.book.write(facts.Asked, message.thread, seq=message.seq, to=to, key=key)
        return ask

    def spawn(
        self, message: Message, to: str, payload: Any, budget: BudgetSettings, at: float, *, key: str = ""
    ) -> Thread | Refusal:
        """A delivery opens a sub-thread that it does not wait for. ``key`` as for :meth:`ask`."""
        target = check_target(self.state, message, to, payload, depth=message.frame.depth + 1, budget=budget)
        refusal = self._check_cost(target)
        if refusal is not None:
            self._refuse_inside(message, refusal, at)
            return refusal
        assert isinstance(target, Target)  # noqa: S101 - _check_cost has returned the refusals
        self.book.begin(at)
        note_clock(self.state, message)
        posted = open_at(self.state, target, message, "spawn", parent=None)
        note_crossings(self.state, message.thread, message)
        note_arrival(self.state, posted, came_from=message.thread)
        remember(message, key, posted.thread.id)
        self.book.write(facts.Spawned, message.thread, seq=message.seq, to=to, key=key)
        return posted.thread

    def _check_cost(self, target: Target | Refusal) -> Refusal | None:
        if isinstance(target, Refusal):
            return target
        missing = check_messages([goal_of(target)])
        return None if missing is None else too_many_messages(missing)

    def _refuse_inside(self, message: Message, refusal: Refusal, at: float) -> None:
        """An ask or spawn was refused while its delivery goes on."""
        if refusal.lack is None:
            return
        lack = refusal.lack
        self.book.begin(at)
        if lack.unit >= 0:
            fire_rest(self.state, message.thread, message, lack.node, lack.unit)
        self.book.write(
            facts.CallRefused,
            message.thread,
            seq=message.seq,
            handler=message.to,
            unit=refusal.failure.unit or "",
            scope=refusal.failure.scope or "",
            need=lack.need,
        )
        exhausted = self._exhausted_by(message.thread, refusal)
        if exhausted is not None:
            self.exhaust(exhausted, refusal.failure, at)

    def abandon(self, ask: Ask, at: float) -> None:
        """An ask is no longer waited for (it timed out, or its asker's task was cancelled): its branch is cancelled."""
        if ask.done or ask.frame is None:
            return
        self.book.begin(at)
        self._cut(ask)
        self.book.write(facts.Abandoned, ask.message.thread, seq=ask.message.seq)

    def _cut(self, ask: Ask) -> None:
        """Cancels the branch of an ask: what is queued is dropped, what runs is cancelled."""
        frame = ask.frame
        if ask.done or frame is None:
            return
        threads = list(descendants(ask.message.thread))
        queued = [message for thread in threads for message in self._queued(thread) if is_below(message.frame, frame)]
        for message in self.state.occupied.values():
            if is_below(message.frame, frame) and message is not ask.message:
                self._cancel_running(message)
        self.state.cut(ask, queued)

    def _queued(self, thread: Thread) -> list[Message]:
        return [*pending(thread), *self.schedule.waiting_for_place(thread)]

    def _cancel_running(self, message: Message) -> None:
        message.dropped = True
        self.cancelled.append(message)

    # Ends

    def stop(self, thread: Thread, failure: Failure, at: float) -> None:
        """Cancels (``cancelled``) or stops (``stopped``) a thread with all below it. It ends when what runs has settled."""
        if thread.ended or thread.stopping is not None:
            return
        self.book.begin(at)
        every = list(descendants(thread))
        queued = [message for each in every for message in self._queued(each)]
        for each in every:
            each.stopping = failure
        for message in tuple(self.state.occupied.values()):
            if message.thread.stopping is failure:
                self._cancel_running(message)
        for message in queued:
            self.state.drop(message)
        self.book.write(facts.Stopped, thread, failure=failure, dropped=tuple(ref_of(each) for each in queued))
        if not thread.handler:  # opened without a message: no delivery brings its end
            self.close_bare(thread, at)

    def pause(self, thread: Thread, at: float) -> None:
        """Pauses a root thread with all below it: what runs finishes, nothing more is delivered, and its time stands still."""
        if thread.ended or thread.paused_at is not None:
            return
        self.book.begin(at)
        self.state.pause(thread)
        self.book.write(facts.Paused, thread)

    def resume(self, thread: Thread, at: float) -> None:
        """A paused root thread goes on."""
        since = thread.paused_at
        if thread.ended or since is None or thread.waits_turn:
            return
        self.book.begin(at)
        self.state.resume(thread, since)
        self.book.write(facts.Resumed, thread, since=since)

    def _exhausted_by(self, thread: Thread, refusal: Refusal) -> Thread | None:
        """The thread that has run out of messages by this refusal."""
        lack = refusal.lack
        if lack is None or lack.unit != MESSAGES:
            return None
        whole = lack.node is self.state.root or lack.node.scope == CONVERSATION_SCOPE
        found = root_of(thread) if whole else self.state.threads.get(lack.node.thread)
        return None if found is None or found.closing or found.stopping is not None else found

    def exhaust(self, thread: Thread, failure: Failure, at: float, *, cancel: bool = False) -> None:
        """Messages or time ran out (R17): what is queued is refused to its senders; at the end the root's handler is told.

        ``cancel``: what runs is cancelled as well (time).
        """
        if thread.ended or thread.closing or thread.stopping is not None:
            return
        self.book.begin(at)
        every = list(descendants(thread))
        last = thread.handler in self.routes and self.routes[thread.handler].takes_exhaustion
        self.state.run_out(thread, failure, last=last)
        queued = [message for each in every for message in self._queued(each)]
        if cancel:
            for message in tuple(self.state.occupied.values()):
                if message.thread in every:
                    self._cancel_running(message)
        for message in queued:
            if message.frame.seq == message.seq:
                climb(self.state, message.frame, failure)
        refs = tuple(ref_of(each) for each in queued)
        for message in queued:
            self.state.drop(message)
        self.book.write(facts.Exhausted, thread, failure=failure, last=last, dropped=refs)


def refusal_error(refusal: Refusal, *, hint: str = "") -> BudgetExhaustedError | HandlerFailedError:
    """The exception of a refusal, as whoever asked gets it."""
    lack, failure = refusal.lack, refusal.failure
    if lack is None or failure.code != "exhausted":
        return HandlerFailedError(
            failure.code, failure.text, retry=failure.retry, unit=failure.unit, scope=failure.scope
        )
    node, unit = lack.node, lack.unit
    if unit < 0:
        return BudgetExhaustedError("depth", node.scope, lack.need - 1, 0, node.caps.depth or 0, lack.need)
    return BudgetExhaustedError(
        VECTOR[unit],
        node.scope,
        figure(unit, node.used[unit]),
        figure(unit, node.held[unit]),
        figure(unit, node.caps.limit[unit]),
        figure(unit, lack.need),
        hint=hint,
    )


__all__ = ["Kernel", "refusal_error"]
