"""Model calls and their budgets: hold before, settle after, refuse with a warning (R12 to R18)."""

from __future__ import annotations

from operator import add, sub
from typing import TYPE_CHECKING, Any, Final

from attrs import define

from organism.budget.claims import CALLS, NOTHING, VECTOR, Charge, Claim, Crossing
from organism.budget.tree import NOWHERE, Lack
from organism.budget.verdicts import Granted, TooMuch
from organism.errors import BudgetExhaustedError, out_of_seconds
from organism.kernel.answers import exhausted_error
from organism.kernel.charges import abandoned_charge, add_hold, apply_charge, graced, note_text
from organism.kernel.conversations import SCOPE, apply_conversation_limits
from organism.kernel.holds import Hold
from organism.kernel.knots import Knots
from organism.kernel.limits import apply_limits, pass_on_policy
from organism.kernel.marks import left_at, marks, nearest
from organism.kernel.places import Places, Queued
from organism.kernel.prompts import Prompt, note_report, prompted
from organism.kernel.recall import is_counted, note_clock, note_counted, remember
from organism.kernel.streams import owners_kept_by
from organism.kernel.warnings import fire_rest, note_crossings, note_heard
from organism.kernel.windows import roll_hint
from organism.quick import maker
from organism.record import facts
from organism.threads.frames import Message, Thread
from organism.threads.lineage import root_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from organism.budget.claims import Vector
    from organism.budget.node import Node
    from organism.budget.verdicts import Verdict
    from organism.budget.waiting import Waiter
    from organism.kernel.book import Book
    from organism.kernel.state import State
    from organism.record.images import Kept, Missed, Ordered
    from organism.settings import BudgetSettings
    from organism.threads.frames import Conversation
    from organism.usage import Tally


@define(eq=False, kw_only=True)
class CallFor:
    """An attempt that asks for a hold: whose it is and what it goes to. ``message`` is ``None`` for a thread without handlers. Not frozen, for
    the same reason as :class:`~organism.kernel.holds.Hold`.
    """

    thread: Thread
    message: Message | None
    alias: str
    backend: str
    attempt: int
    grace: bool = False
    wait: bool = True
    streamed: bool = False
    key: str = ""
    """The key of the call among those of its delivery; only while facts are recorded."""
    prompt: Prompt | None = None
    """What the model is asked; of the first attempt, and only while facts are recorded."""
    tags: tuple[str, ...] = ()
    call: int | None = None
    """Of a further attempt, the hold of the first."""
    at: tuple[Places, ...] = ()
    """The places that it occupies while it waits for budget."""

    @property
    def seq(self) -> int:
        """The number of its delivery's message; 0 for a thread without handlers."""
        return 0 if self.message is None else self.message.seq

    @property
    def handler(self) -> str:
        """Whose call it is; empty for a thread without handlers."""
        return "" if self.message is None else self.message.to

    @property
    def owner(self) -> Message | Thread:
        """Who waits while the call does, and holds its own streams meanwhile."""
        return self.message or self.thread


_new_hold: Final = maker(Hold)


class Calls:
    """The calls of one organism. ``answered`` collects the waiting calls whose turn has come: the hold of each, or why it is refused."""

    def __init__(self, state: State, book: Book) -> None:
        self._state = state
        self._book = book
        self.knots = Knots(state)
        self.answered: list[tuple[Waiter, Hold | BudgetExhaustedError]] = []

    def hold(
        self, claim: Claim, call: CallFor, at: float, scopes: Iterable[object] = ()
    ) -> Hold | Waiter | BudgetExhaustedError:
        """Holds a call's worst case, lets it wait, or refuses it. ``scopes`` are those that its task stands in, as for :class:`Knots`."""
        refused = self._out_of_turn(call)
        if refused is not None:
            return refused
        self._book.begin(at)
        path = call.thread.node.path
        verdict = self._state.line.arrive(claim, path, call.owner, grace=call.grace)
        if isinstance(verdict, Granted):
            hold = self._grant(call, verdict, path)
            if hold.streamed:  # calls of its thread that wait may be deadlocked by it, and are refused then
                self._try_waiting(path[:1])
            return hold
        if isinstance(verdict, TooMuch) or not call.wait:
            return self._refuse(call, verdict.lack)
        self._book.give_up()
        waiter = self._state.line.join(claim, path, verdict.lack, grace=call.grace, owner=call.owner, note=call)
        tied = self.knots.joined(waiter, scopes)
        if tied is None:
            return waiter
        self._leave(waiter)
        return self._refuse(call, tied)

    def _out_of_turn(self, call: CallFor) -> BudgetExhaustedError | None:
        """The refusal of a call that may not be made at all: its thread was stopped or is out of time, or it may not be on grace."""
        thread, message = call.thread, call.message
        if thread.stopping is not None or thread.ended or (message is not None and message.dropped):
            return BudgetExhaustedError("model_calls", thread.node.scope, 0, 0, 0, 1, hint="the thread has ended")
        if message is None and (late := self.time_is_up(thread)) is not None:
            return late
        begins = call.grace and call.attempt == 1 and not is_counted(message, call.key)
        return no_grace(thread, message) if begins else None

    def time_is_up(self, thread: Thread) -> BudgetExhaustedError | None:
        """The refusal of every call of a thread without handlers whose seconds have run out, its own or those above it; else ``None``."""
        why = thread.exhausted
        if thread.handler or why is None or not thread.closing:
            return None
        node = next(each for each in thread.node.path if each.scope == why.scope)
        return out_of_seconds(node.scope, node.caps.seconds or 0, node.caps.seconds or 0)

    def _grant(
        self, call: CallFor, granted: Granted, path: tuple[Node, ...], later: Mapping[Node, Vector] = NOWHERE
    ) -> Hold:
        """Registers a hold whose amounts were taken. ``later`` is what was taken with it for calls that are granted after it, by node."""
        state, thread = self._state, call.thread
        root = root_of(thread)
        hold = _new_hold(
            id=(root.conversation or root).calls + 1,
            thread=thread,
            message=call.message,
            path=path,
            need=granted.need,
            output=granted.output,
            clamped=granted.clamped,
            alias=call.alias,
            backend=call.backend,
            attempt=call.attempt,
            grace=call.grace,
            streamed=call.streamed,
            held_at=state.now,
            chain=root.id if root.conversation is None else root.conversation.chain,
            tags=call.tags,
            asked=call.key,
        )
        why = thread.outlay.refused if call.grace and thread.outlay is not None else None
        add_hold(state, hold, why=why)
        note_clock(state, call.message)
        if hold.streamed:
            for owner in owners_kept_by(hold, state.line.owners):
                state.line.opened(owner)
            self.knots.contention.opened(hold)
        if not self._book.listening:
            self._book.unheard(thread)
            return hold
        self._book.write(
            facts.CallHeld,
            thread,
            hold=hold.id,
            seq=hold.seq,
            need=hold.need,
            output=hold.output,
            alias=hold.alias,
            backend=hold.backend,
            attempt=hold.attempt,
            grace=hold.grace,
            streamed=hold.streamed,
            key=call.key,
            prompt=None if call.prompt is None else prompted(hold, call.prompt),
            tags=hold.tags,
            call=call.call,
            clamped=hold.clamped or None,
            nearest=nearest(hold.path, hold.need, later),
            why=why,
        )
        return hold

    def _refuse(self, call: CallFor, lack: Lack) -> BudgetExhaustedError:
        """Refuses a call; first the levels that it has not been told of are fired (R15)."""
        state, thread, message = self._state, call.thread, call.message
        self._book.begin(state.now)
        fire_rest(state, thread, message, lack.node, lack.unit)
        error = exhausted_error(lack, roll_hint(lack.node))
        thread.have_outlay().refused = graced(lack.node, lack.unit, hint=roll_hint(lack.node))
        self._book.write(
            facts.CallRefused,
            thread,
            seq=call.seq,
            handler=call.handler,
            unit=error.unit,
            scope=error.scope,
            account=error.account,
            need=error.need,
            alias=call.alias,
            backend=call.backend,
            attempt=call.attempt,
            call=call.call,
            nearest=left_at(lack.node, lack.unit),
            **self._marks(thread, call.tags),
        )
        return error

    def abandoned(self, thread: Thread, message: Message | None, at: float) -> None:
        """Charges in full what is held by streams that a finished delivery (or a thread without handlers) has left open: nobody will say what they
        cost.
        """
        for hold in [each for each in self._state.streams.get(thread, ()) if each.message is message]:
            self.settle(hold, abandoned_charge(hold), at)

    def settle(
        self, hold: Hold, charge: Charge, at: float, missed: Missed | None = None, digests: tuple[str, ...] = ()
    ) -> tuple[Crossing, ...]:
        """Replaces a hold by what was spent, also after its thread has ended (R18); then those who wait are tried. ``missed`` is why
        the attempt failed, ``digests`` stand for the prompt whose input was reported.
        """
        state, thread = self._state, hold.thread
        if (hold.chain, hold.id) not in state.holds:
            return ()  # its delivery ended before it, and it was charged then
        self._book.begin(at)
        amounts = charge.amounts
        path = apply_charge(state, hold, charge, amounts)
        if hold.streamed:
            for owner in owners_kept_by(hold, state.line.owners):
                state.line.closed(owner)
            self.knots.contention.closed(hold)
        if thread.ended:
            path = _crossing(state, path)
        crossed = note_crossings(state, thread, hold.message, amounts, path=path)
        if self._book.listening:
            note_report(hold, digests, charge.input_tokens)
            note_counted(hold, charge, missed)
            self._write_settled(hold, charge, missed, digests)
        else:
            self._book.unheard(thread)
        if state.line:
            self._try_waiting(hold.path)
        return crossed

    def _write_settled(self, hold: Hold, charge: Charge, missed: Missed | None, digests: tuple[str, ...]) -> None:
        self._book.write(
            facts.CallSettled,
            hold.thread,
            hold=hold.id,
            seq=hold.seq,
            handler=hold.handler,
            alias=hold.alias,
            backend=hold.backend,
            held_at=hold.held_at,
            charge=charge,
            attempt=hold.attempt,
            missed=missed,
            digests=digests,
            **self._marks(hold.thread, hold.tags),
        )

    def _try_waiting(self, path: tuple[Node, ...]) -> None:
        self.knots.contention.touched(path)
        # Until nothing more is decided: what was granted may be a stream that another call of its delivery now waits for.
        while done := self._state.line.freed(path):
            later = _taken(done)
            for waiter, verdict in done:
                self.knots.left(waiter)
                call: CallFor = waiter.note
                if isinstance(verdict, Granted):
                    self._book.begin(self._state.now)
                    for node in waiter.path:
                        later[node] = tuple(map(sub, later[node], verdict.need))
                    self.answered.append((waiter, self._grant(call, verdict, waiter.path, later)))
                else:
                    self.answered.append((waiter, self._refuse(call, verdict.lack)))

    def come_to(self, at: float) -> None:
        """Sets the instant: windows that are over roll, though nothing else happens."""
        self._book.begin(at)
        self._book.give_up()

    def after_roll(self) -> None:
        """Tries calls in line, after a new window has begun."""
        rolled = tuple(self._book.rolled)
        self._book.rolled.clear()
        if rolled:
            self._try_waiting(rolled)

    def untie(self) -> None:
        """Refuses deadlocked calls (see :mod:`organism.kernel.knots`), one after the other, until those that are left may go."""
        while (tied := self.knots.tied()) is not None:
            if isinstance(tied, Queued):
                self.knots.left(tied)
                tied.refuse()
                continue
            waiter, lack = tied
            self._leave(waiter)
            self.answered.append((waiter, self._refuse(waiter.note, lack)))
            self._try_waiting(waiter.path)

    def _leave(self, waiter: Waiter) -> None:
        self._state.line.leave(waiter)
        self.knots.left(waiter)

    def leave_line(self, waiter: Waiter) -> None:
        """A waiting call was cancelled."""
        self._leave(waiter)
        self._try_waiting(waiter.path)

    def await_result(self, delivery: Message, thread: Thread, scopes: Iterable[object]) -> None:
        """A delivery waits for a thread's result from now on, perhaps with streams open."""
        dealings = delivery.have_dealings()
        if dealings.awaits is None:
            dealings.awaits = {}
        dealings.awaits[thread] = dealings.awaits.get(thread, 0) + 1
        self.knots.awaits(delivery, thread, scopes)
        self.knots.contention.review(delivery)

    def await_no_more(self, delivery: Message, thread: Thread, scopes: Iterable[object]) -> None:
        """A delivery has the result that it waited for, or has given up."""
        dealings = delivery.have_dealings()
        awaits = dealings.awaits or {}
        awaits[thread] -= 1
        if not awaits[thread]:
            del awaits[thread]
        dealings.awaits = awaits or None
        self.knots.awaits_no_more(delivery, thread, scopes)

    def completed(self, call: CallFor, text: str, at: float, *, key: str = "", kept: Kept | None = None) -> None:
        """A model answered. Its text is kept as what the thread can hand in, and the whole answer under ``key``, for its delivery (R21)."""
        thread = call.thread
        self._book.begin(at)
        note_text(thread, call.handler, text)
        note_heard(call.message)
        if not self._book.listening:
            self._book.unheard(thread)
            return
        remember(call.message, key, (text, kept))
        self._book.write(
            facts.CallCompleted,
            thread,
            seq=call.seq,
            handler=call.handler,
            text=text,
            key=key,
            kept=kept,
            alias=call.alias,
            call=call.call,
            **self._marks(thread, call.tags),
        )

    def _marks(self, thread: Thread, tags: tuple[str, ...]) -> dict[str, Any]:
        """What the fact's costs are counted under; empty where no facts are wanted."""
        return marks(thread, tags) if self._book.listening else {}

    def unanswered(self, call: CallFor, outcome: str, text: str, spent: Tally, at: float) -> None:
        """Records that a call ended without an answer; nothing else changes, since its attempts were settled. ``spent`` is what these cost."""
        thread = call.thread
        if self._state.threads.get(thread.id) is not thread:
            return  # the thread has ended, and its record says why
        self._book.begin(at)
        self._book.write(
            facts.CallFailed,
            thread,
            seq=call.seq,
            handler=call.handler,
            alias=call.alias,
            outcome=outcome,
            text=text,
            attempts=call.attempt,
            usage=spent.usage(),
            unpriced=spent.unpriced or None,
            key=call.key,
            call=call.call,
            **self._marks(thread, call.tags),
        )

    def set_limits(self, thread: Thread, budget: BudgetSettings, at: float, order: Ordered | None = None) -> None:
        """Gives a running thread other limits, by this ``order`` where it has an id; those who wait are tried."""
        self._book.begin(at)
        apply_limits(thread, budget, at)
        self._book.write(facts.LimitsSet, thread, budget=budget, order=order)
        self.limits_changed(thread.node)

    def set_conversation_limits(
        self, conversation: Conversation, budget: BudgetSettings, at: float, order: Ordered | None = None
    ) -> None:
        """The same for a conversation."""
        self._book.begin(at)
        apply_conversation_limits(conversation, budget)
        pass_on_policy(conversation, at)
        self._book.write(facts.LimitsSet, conversation, budget=budget, order=order)
        self.limits_changed(conversation.node)

    def limits_changed(self, node: Node) -> None:
        """The limits of a node are others than before: those who wait are tried."""
        self.knots.contention.limits_changed()
        self._try_waiting((node,))

    def freed(self, node: Node) -> None:
        """There may be more room at a node: those who wait are tried."""
        self._try_waiting((node,))


def no_grace(thread: Thread, message: Message | None) -> BudgetExhaustedError | None:
    """The refusal of a call on grace by a handler that has none, or none any more; else ``None``. Its figures are those of such calls."""
    if message is not None and message.to != thread.handler:
        most, hint = 0, f"grace belongs to '{thread.handler}', the handler of the thread's root frame"
    elif thread.graced:
        most, hint = 1, "the thread has made its grace call"
    else:
        return None
    return BudgetExhaustedError(VECTOR[CALLS], thread.node.scope, most, 0, most, 1, hint=hint)


def _taken(done: Iterable[tuple[Waiter, Verdict]]) -> dict[Node, Vector]:
    """What was taken for calls that are granted together, by node."""
    found: dict[Node, Vector] = {}
    for waiter, verdict in done:
        if isinstance(verdict, Granted):
            for node in waiter.path:
                found[node] = tuple(map(add, found.get(node, NOTHING), verdict.need))
    return found


def _crossing(state: State, path: tuple[Node, ...]) -> tuple[Node, ...]:
    """The nodes of a path whose levels a call may still cross that is settled after its thread has ended: not those of threads whose final
    records have been made.
    """
    return tuple(
        node for node in path if node.window is not None or node.scope == SCOPE or node.thread in state.threads
    )
