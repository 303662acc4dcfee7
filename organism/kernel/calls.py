"""Model calls and their budgets: hold before, settle after, refuse with a warning (R12 to R18)."""

from __future__ import annotations

from operator import gt
from typing import TYPE_CHECKING, Any

from attrs import frozen

from organism import facts
from organism.budget.caps import caps, figure
from organism.budget.claims import CALLS, MESSAGES, VECTOR, Charge, Claim, Crossing
from organism.budget.tree import Lack, Node, note_details, put_back, recap
from organism.budget.waiting import Granted, TooMuch, Waiter
from organism.errors import BudgetExhaustedError
from organism.frames import Failure, Message, Thread, root_of
from organism.kernel.answers import exhausted_error
from organism.kernel.conversations import SCOPE, apply_conversation_limits, turn_policy
from organism.kernel.holds import Hold
from organism.kernel.knots import Knots
from organism.kernel.marks import left_at, marks, nearest
from organism.kernel.outcome import amend
from organism.kernel.prompts import Prompt, prompted
from organism.kernel.recall import note_clock, remember
from organism.kernel.state import ALL, State
from organism.kernel.warnings import fire_rest, note_crossings
from organism.kernel.windows import held_at, path_of, roll_hint

if TYPE_CHECKING:
    from organism.frames import Conversation
    from organism.images import Kept
    from organism.kernel.book import Book
    from organism.settings import BudgetSettings
    from organism.usage import Tally


@frozen(eq=False, kw_only=True)
class CallFor:
    """Whose call it is and what it goes to. ``message`` is ``None`` for a thread without handlers."""

    thread: Thread
    message: Message | None
    alias: str
    backend: str
    attempt: int
    grace: bool = False
    wait: bool = True
    streamed: bool = False
    key: str = ""
    """What the call is called among those of its delivery; only while facts are recorded."""
    prompt: Prompt | None = None
    """What the model is asked; of the first attempt, and only while facts are recorded."""
    tags: tuple[str, ...] = ()
    call: int | None = None
    """The hold of its first attempt; of further ones."""

    @property
    def owner(self) -> Message | Thread:
        """Who waits while the call does, and holds its own streams meanwhile."""
        return self.message or self.thread


class Calls:
    """The calls of one organism. ``granted`` and ``refused`` collect the waiting calls whose turn has come."""

    def __init__(self, state: State, book: Book) -> None:
        self._state = state
        self._book = book
        self._knots = Knots(state)
        self.answered: list[tuple[Waiter, Hold | BudgetExhaustedError]] = []

    def hold(self, claim: Claim, call: CallFor, at: float) -> Hold | Waiter | BudgetExhaustedError:
        """Holds a call's worst case, lets it wait, or refuses it."""
        refused = self._out_of_turn(call)
        if refused is not None:
            return refused
        self._book.begin(at)
        path = call.thread.node.path
        verdict = self._state.line.arrive(claim, path, call.owner, grace=call.grace)
        if isinstance(verdict, Granted):
            return self._grant(call, verdict, path)
        if isinstance(verdict, TooMuch) or not call.wait:
            return self._refuse(call, verdict.lack)
        self._book.give_up()
        waiter = self._state.line.join(claim, path, verdict.lack, grace=call.grace, owner=call.owner, note=call)
        tied = self._knots.joined(waiter)
        if tied is None:
            return waiter
        self._leave(waiter)
        return self._refuse(call, tied)

    def _out_of_turn(self, call: CallFor) -> BudgetExhaustedError | None:
        """A thread that was stopped calls no more; grace is one call, and the root frame's handler has it."""
        thread, message = call.thread, call.message
        if thread.stopping is not None or thread.ended or (message is not None and message.dropped):
            return BudgetExhaustedError("model_calls", thread.node.scope, 0, 0, 0, 1, hint="the thread has ended")
        if message is None and thread.closing and thread.exhausted is not None:
            seconds = int(thread.node.caps.seconds or 0)
            return BudgetExhaustedError("seconds", thread.exhausted.scope or thread.node.scope, seconds, 0, seconds, 1)
        if not call.grace or call.attempt > 1:
            return None
        if message is not None and message.to != thread.handler:
            hint = f"grace belongs to '{thread.handler}', the handler of the thread's root frame"
        elif thread.graced:
            hint = "the thread has made its grace call"
        else:
            return None
        return self._error(Lack(thread.node, CALLS, 1, for_good=True), hint=hint)

    def _grant(self, call: CallFor, granted: Granted, path: tuple[Node, ...]) -> Hold:
        state, thread = self._state, call.thread
        root = root_of(thread)
        hold = Hold(
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
            held_at=held_at(path, state.now),
            chain=root.id if root.conversation is None else root.conversation.chain,
            tags=call.tags,
        )
        add_hold(state, hold)
        note_clock(state, call.message)
        if hold.streamed:
            state.line.opened(thread.node)
        if not self._book.listening:
            self._book.unheard(thread)
            return hold
        self._book.write(
            facts.CallHeld,
            thread,
            hold=hold.id,
            seq=0 if call.message is None else call.message.seq,
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
            nearest=nearest(hold.path, hold.need),
        )
        return hold

    def _refuse(self, call: CallFor, lack: Lack) -> BudgetExhaustedError:
        """Refuses a call; first the levels that it has not been told of are fired (R15)."""
        state, thread, message = self._state, call.thread, call.message
        self._book.begin(state.now)
        fire_rest(state, thread, message, lack.node, lack.unit)
        error = self._error(lack)
        self._book.write(
            facts.CallRefused,
            thread,
            seq=0 if message is None else message.seq,
            handler="" if message is None else message.to,
            unit=error.unit,
            scope=error.scope,
            need=error.need,
            alias=call.alias,
            backend=call.backend,
            attempt=call.attempt,
            call=call.call,
            nearest=left_at(lack.node, lack.unit),
            **self._marks(thread, call.tags),
        )
        return error

    def _error(self, lack: Lack, *, hint: str = "") -> BudgetExhaustedError:
        return exhausted_error(lack, hint or roll_hint(lack.node))

    def abandoned(self, thread: Thread, message: Message | None, at: float) -> None:
        """Charges in full what streams hold that a finished delivery (or a bare thread) has left open: nobody will say
        what they cost, and nothing stays held.
        """
        for hold in [each for each in self._state.streams.get(thread, ()) if each.message is message]:
            self.settle(hold, abandoned_charge(hold), at)

    def settle(self, hold: Hold, charge: Charge, at: float) -> tuple[Crossing, ...]:
        """Replaces a hold by what was spent, also after its thread has ended (R18); then those who wait are tried."""
        state, thread = self._state, hold.thread
        if hold.key not in state.holds:
            return ()  # its delivery left it behind, and it was charged then
        self._book.begin(at)
        apply_charge(state, hold, charge)
        crossed = note_crossings(state, thread, hold.message, charge.amounts, path=_crossing(state, hold))
        if self._book.listening:
            self._write_settled(hold, charge)
        else:
            self._book.unheard(thread)
        self._try_waiting(hold.path)
        return crossed

    def _write_settled(self, hold: Hold, charge: Charge) -> None:
        self._book.write(
            facts.CallSettled,
            hold.thread,
            hold=hold.id,
            seq=0 if hold.message is None else hold.message.seq,
            handler="" if hold.message is None else hold.message.to,
            alias=hold.alias,
            backend=hold.backend,
            held_at=hold.held_at,
            charge=charge,
            attempt=hold.attempt,
            **self._marks(hold.thread, hold.tags),
        )

    def _try_waiting(self, path: tuple[Node, ...]) -> None:
        # Until nobody's turn has come: what was granted may be a stream that another call of its delivery now waits for.
        while done := self._state.line.freed(path):
            for waiter, verdict in done:
                self._knots.left(waiter)
                call: CallFor = waiter.note
                if isinstance(verdict, Granted):
                    self._book.begin(self._state.now)
                    self.answered.append((waiter, self._grant(call, verdict, waiter.path)))
                else:
                    self.answered.append((waiter, self._refuse(call, verdict.lack)))

    def after_roll(self) -> None:
        """A new window has begun: those who wait for what was held in the old one are tried."""
        rolled, self._book.rolled = self._book.rolled, ()
        if rolled:
            self._try_waiting(rolled)

    def untie(self) -> None:
        """Refuses calls that wait for each other's streams, one after the other, until those who are left may go."""
        while (tied := self._knots.tied()) is not None:
            waiter, lack = tied
            self._leave(waiter)
            self.answered.append((waiter, self._refuse(waiter.note, lack)))
            self._try_waiting(waiter.path)

    def _leave(self, waiter: Waiter) -> None:
        self._state.line.leave(waiter)
        self._knots.left(waiter)

    def leave_line(self, waiter: Waiter) -> None:
        """A waiting call was cancelled."""
        self._leave(waiter)
        self._try_waiting(waiter.path)

    def await_result(self, delivery: Message, thread: Thread) -> None:
        """A delivery waits for a thread's result from now on, with whatever streams it has open."""
        delivery.awaits = [*(delivery.awaits or ()), thread]

    def await_no_more(self, delivery: Message, thread: Thread) -> None:
        """It has the result, or was cancelled."""
        left = list(delivery.awaits or ())
        left.remove(thread)
        delivery.awaits = left or None

    def completed(self, hold_for: CallFor, text: str, at: float, *, key: str = "", kept: Kept | None = None) -> None:
        """A model answered; its text is kept as what the thread can hand in, all of it for its delivery under ``key`` (R21)."""
        thread, message = hold_for.thread, hold_for.message
        handler = "" if message is None else message.to
        self._book.begin(at)
        note_text(thread, handler, text)
        if not self._book.listening:
            self._book.unheard(thread)
            return
        remember(message, key, (text, kept))
        seq = 0 if message is None else message.seq
        self._book.write(
            facts.CallCompleted,
            thread,
            seq=seq,
            handler=handler,
            text=text,
            key=key,
            kept=kept,
            alias=hold_for.alias,
            call=hold_for.call,
            **self._marks(thread, hold_for.tags),
        )

    def _marks(self, thread: Thread, tags: tuple[str, ...]) -> dict[str, Any]:
        """What facts say of whose costs they tell, while there are any."""
        return marks(thread, tags) if self._book.listening else {}

    def unanswered(self, call: CallFor, outcome: str, text: str, spent: Tally, at: float) -> None:
        """A call ended without an answer; nothing changes by that, since its attempts were settled. ``spent`` is what they did cost."""
        thread, message = call.thread, call.message
        if self._state.threads.get(thread.id) is not thread:
            return  # its end says it
        self._book.begin(at)
        self._book.write(
            facts.CallFailed,
            thread,
            seq=0 if message is None else message.seq,
            handler="" if message is None else message.to,
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

    def set_limits(self, thread: Thread, budget: BudgetSettings, at: float) -> None:
        """Gives a running thread other limits; those who wait are tried."""
        self._book.begin(at)
        apply_limits(thread, budget, at)
        self._book.write(facts.LimitsSet, thread, budget=budget)
        self._try_waiting((thread.node,))

    def set_conversation_limits(self, conversation: Conversation, budget: BudgetSettings, at: float) -> None:
        """Gives a conversation other limits; those who wait are tried."""
        self._book.begin(at)
        apply_conversation_limits(conversation, budget)
        pass_on_policy(conversation, at)
        self._book.write(facts.LimitsSet, conversation, budget=budget)
        self._try_waiting((conversation.node,))

    def freed(self, node: Node) -> None:
        """There may be more room at a node: those who wait are tried."""
        self._try_waiting((node,))


def _crossing(state: State, hold: Hold) -> tuple[Node, ...]:
    """The nodes whose levels a call may cross: those that it counts on, less threads that have ended, whose last figures are said."""
    path = path_of(hold)
    if not hold.thread.ended:
        return path
    return tuple(
        node for node in path if node.window is not None or node.scope == SCOPE or node.thread in state.threads
    )


def abandoned_charge(hold: Hold) -> Charge:
    """All that was held: nobody will say what the call did cost."""
    _, given, said, cost, calls, _ = hold.need
    return Charge(input_tokens=given, output_tokens=said, cost=cost, model_calls=calls, estimated=True)


def add_hold(state: State, hold: Hold) -> None:
    """Enters a hold whose amounts have been taken."""
    state.holds[hold.key] = hold
    root = root_of(hold.thread)
    counting = root.conversation or root
    counting.calls = max(counting.calls, hold.id)
    if hold.streamed:
        state.streams.setdefault(hold.thread, []).append(hold)
    if hold.grace:
        hold.thread.graced = True
        if hold.thread.exhausted is None:
            hold.thread.exhausted = Failure(
                "exhausted",
                "answered on what was kept back",
                unit=_short_of(hold.thread.node),
                scope=hold.thread.node.scope,
            )


def _short_of(node: Node) -> str:
    """The unit that is nearest to its working limit, as the reason of a grace call."""
    shares = [
        (node.used[unit] / node.caps.working[unit] if node.caps.working[unit] > 0 else 1.0, VECTOR[unit])
        for unit in range(MESSAGES)
        if node.remaining(unit) is not None
    ]
    return max(shares, default=(0.0, "tokens"))[1]


def apply_charge(state: State, hold: Hold, charge: Charge) -> None:
    """Settles on the whole path, and in the sums by handler, model, backend, account, label and tag."""
    del state.holds[hold.key]
    if hold.streamed:
        left = [each for each in state.streams.pop(hold.thread, ()) if each is not hold]
        if left:
            state.streams[hold.thread] = left
    path, amounts, details = path_of(hold), charge.amounts, charge.details
    put_back(path, hold.need, amounts)
    note_details(path, charge)
    if hold.thread.ended:
        amend(hold.thread)
    if amounts[CALLS] or amounts[0]:
        hold.thread.calls_like = amounts
    estimated, unpriced = charge.estimated, bool(charge.unpriced)
    for kind, name in _tallied(hold):
        state.tally(kind, name).add(amounts, details, estimated=estimated, unpriced=unpriced)


def _tallied(hold: Hold) -> list[tuple[str, str]]:
    handler = "" if hold.message is None else hold.message.to
    names = [ALL, ("handler", handler), ("model", hold.alias), ("backend", hold.backend)]
    thread = hold.thread
    if thread.accounts or hold.tags or thread.labels:
        names += [("account", account) for account in thread.accounts]
        names += [("tag", tag) for tag in hold.tags]
        names += [("label", f"{key}={value}") for key, value in thread.labels.items()]
    return names


def note_text(thread: Thread, handler: str, text: str) -> None:
    """Keeps the last text of the thread, the root frame's handler preferred."""
    if text and (thread.partial is None or handler == thread.handler or thread.partial[0] != thread.handler):
        thread.partial = (handler, text)


def apply_limits(thread: Thread, budget: BudgetSettings, at: float) -> None:
    """Changes a node's limits and policy, and arms its levels again where the new share is below them. Live sub-threads have of the
    policy what they do not say themselves.
    """
    node = thread.node
    before = node.policy
    thread.budget, node.policy = budget, turn_policy(node.path[1], budget)
    recap(node, caps(budget.limits, node.policy, keeps_back=True))
    passed = sum(thread.opened_at + mark[0] <= at for mark in node.caps.time_marks)
    thread.time_fired = min(thread.time_fired, passed)
    if node.policy != before:
        for below in (thread.subs or {}).values():
            apply_limits(below, below.budget, at)


def pass_on_policy(conversation: Conversation, at: float) -> None:
    """The turns of a conversation that live have of its policy what they do not say themselves."""
    for turn in conversation.turns:
        if turn_policy(conversation.node, turn.budget) != turn.node.policy:
            apply_limits(turn, turn.budget, at)


def overdrafts(hold: Hold, charge: Charge) -> list[str]:
    """Where this charge passed its hold and, with that, a limit: one line each (R12)."""
    if not any(map(gt, charge.amounts, hold.need)):
        return []
    return [
        f"{VECTOR[unit]} of the {node.scope} are overdrawn: {figure(unit, node.used[unit])} used, "
        f"limit {figure(unit, node.caps.limit[unit])}; a call to {hold.backend} was charged {figure(unit, spent)} "
        f"where {figure(unit, held)} were held"
        for node in hold.path
        for unit, (held, spent) in enumerate(zip(hold.need, charge.amounts, strict=True))
        if spent > held and node.used[unit] + node.held[unit] > node.caps.limit[unit]
    ]
