"""The fold: from facts back to the state. The same changes are made again, and nothing is decided (R20).

What facts do not say, a restart forgets on purpose: which deliveries run, which calls wait in line for budget, whose turn it is.
"""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final, assert_never

from organism.budget.caps import Mark
from organism.budget.claims import VECTOR
from organism.budget.node import fire
from organism.budget.tree import take
from organism.errors import JournalError
from organism.kernel.carrying import above_new
from organism.kernel.charges import add_hold, apply_charge, note_text
from organism.kernel.conversations import apply_conversation_limits, heard_before, open_conversation
from organism.kernel.grants import apply_grant, note_estimate
from organism.kernel.holds import Hold
from organism.kernel.index import Index, SenselessError
from organism.kernel.limits import apply_limits, pass_on_policy
from organism.kernel.opening import open_thread
from organism.kernel.prompts import note_prompt, note_report
from organism.kernel.recall import Done, note_counted, read_clock, remember
from organism.kernel.restoring import restore
from organism.kernel.retries import take_back
from organism.kernel.state import State
from organism.kernel.steps import warned_of
from organism.kernel.warnings import enter_warning, note_heard, note_telling, tell
from organism.kernel.windows import path_of
from organism.names import ACCOUNT, CONVERSATION, node_of_limits, told
from organism.record import facts
from organism.threads.lineage import chain_of, descendants, root_of
from organism.threads.restart import Attempt
from organism.threads.routing import routes

if TYPE_CHECKING:
    from collections.abc import Iterable

    from organism.budget.node import Node
    from organism.record.facts import Fact, Step
    from organism.record.images import Ref
    from organism.settings import Settings
    from organism.threads.frames import Ask, Conversation, Frame, Message, Thread
    from organism.threads.outcomes import Failure, Warned


_AMISS: Final = (LookupError, AttributeError, TypeError, ValueError, ArithmeticError, AssertionError)
"""What a change may raise where its fact does not fit the state: changes check nothing, since they were checked when they were made. A bug
in this package may raise the same.
"""


class Fold:
    """A state that is built from facts, one after the other."""

    def __init__(self, settings: Settings, state: State | None = None) -> None:
        self.state = State(settings, routes(settings)) if state is None else state
        self.state.index = self._index = Index()
        self.threads: set[str] = set()
        """The ids of all threads that were opened."""
        self.unsaid: dict[str, Thread] = {}
        """Threads that have ended by a fact, while their final record has not come yet: the record may be cut off right after the fact."""
        self._parted: dict[str, Thread] = {}
        """Threads that have ended while calls of theirs were open, by id."""
        self._warned: dict[Ref, Warned] = {}
        self._count = 0
        self._since = ""

    def apply(self, fact: Fact) -> None:
        """Makes the changes of one fact. Raises JournalError where it does not follow from those before it: the journal was edited or has lost a
        part, and its hashes were made anew. The state must not be used then.
        """
        self._count += 1
        try:
            self._apply(fact)
        except _AMISS as error:
            place = f"thread {told(fact.thread)}: entry {self._count}{self._since}, {type(fact).__name__}"
            if isinstance(error, SenselessError):
                raise JournalError(f"{place}: does not follow from the entries before it: {error}") from error
            why = "it does not follow from the entries before it, or this version of organism is wrong there"
            raise JournalError(f"{place}: cannot be applied ({told(error, 200)}): {why}") from error
        if isinstance(fact, facts.Snapshot) and self._count == 1:
            self._since = " from its last snapshot on"

    def _apply(self, fact: Fact) -> None:
        state = self.state
        state.come_to(fact.at)
        if isinstance(fact, facts.Ended):
            self.unsaid.pop(fact.thread, None)
            return  # the thread has ended by the fact before this one
        if isinstance(fact, facts.Snapshot):
            if not self.knows(fact.thread):
                self._parted |= restore(self.state, self._index, self._warned, fact.image)
                self.threads |= {each.thread for each in fact.image.threads} | {
                    each.thread for each in fact.image.holds
                }
            return
        message = self._message(fact)
        # An ask is a delivery's own: while it is carried out, steps may answer it only through its frame.
        self._before(fact, message)
        for step in fact.steps:
            self._step(step, message)
        self._after(fact, message)
        for thread in state.ended:
            self.unsaid[thread.id] = thread
            if any(thread.node.held) and any(hold.thread is thread for hold in state.holds.values()):
                self._parted[thread.id] = thread  # its open calls are still to be settled
        state.ended.clear()
        if state.rings is not None:
            state.rings.repeated.clear()
        state.woken.clear()
        state.timed.clear()
        state.inbox.stirred.clear()
        state.inbox.changed.clear()

    def knows(self, root: str) -> bool:
        """Whether facts of this chain have been folded."""
        if root.startswith(CONVERSATION):
            return root.removeprefix(CONVERSATION) in self.state.conversations
        return root in self.state.threads or root in self._parted

    def _message(self, fact: Fact) -> Message | None:
        seq = getattr(fact, "seq", 0)
        return self._index.messages.get((fact.thread, seq)) if seq else None

    def _thread(self, id_: str) -> Thread:
        found = self.state.threads.get(id_) or self._parted.get(id_)
        if found is None:
            raise SenselessError(f"it refers to thread {told(id_)}, which is not open")
        return found

    def _conversation(self, id_: str) -> Conversation:
        found = self.state.conversations.get(id_)
        if found is None:
            raise SenselessError(f"it refers to conversation {told(id_)}, which is not open")
        return found

    def _before(self, fact: Fact, message: Message | None) -> None:
        match fact:
            case facts.Answered(state=dict() as changes) if message is not None and changes:
                self.state.set_state(message.thread, message.to, changes)
            case facts.CallSettled(hold=id_, charge=charge, digests=digests, missed=missed):
                hold = self.state.holds.get((chain_of(self._thread(fact.thread)), id_))
                if hold is None:
                    raise SenselessError(f"it settles call {id_}, which is not open")
                apply_charge(self.state, hold, charge, charge.amounts)
                note_report(hold, digests, charge.input_tokens)
                note_counted(hold, charge, missed)
            case facts.Noticed() if message is not None:
                note_telling(message, [self._told(each) for each in fact.steps if isinstance(each, facts.WarningTold)])
            case facts.Stopped(failure=failure):
                self._halt(self._thread(fact.thread), failure)
            case facts.Buried(stops=failure) if failure is not None:
                self._halt(root_of(self._thread(fact.thread)), failure)
            case facts.Exhausted(failure=failure, last=last, alone=alone):
                self.state.run_out(self._thread(fact.thread), failure, last=last, alone=bool(alone))
            case _:
                pass

    def _after(self, fact: Fact, message: Message | None) -> None:
        match fact:
            case facts.Answered() | facts.Failed() | facts.Dropped() if message is not None:
                if message.dealings is not None:
                    message.dealings.wait_no_more()
                root = root_of(message.thread)
                self.state.drop(message)
                if isinstance(fact, facts.Buried) and fact.stops is not None:
                    self._cancel(root)
                    self._drop(fact.dropped)
            case facts.Retried(at=at, began=began, failure=failure, again_at=due) if message is not None:
                attempt = Attempt(at=at, began=began, code=failure.code, text=failure.text, again_at=due)
                take_back(self.state, message, (*message.tries, attempt))
            case facts.CallHeld():
                self._hold(fact, message)
            case facts.CallCompleted(handler=handler, text=text, key=key, kept=kept):
                note_text(self._thread(fact.thread), handler, text)
                remember(message, key, (text, kept))
                note_heard(message)
            case facts.Asked(key=key):
                remember(message, key, self._asked(fact))
            case facts.Spawned(key=key):
                remember(message, key, _spawned(fact))
            case facts.Compacted(key=key, cut=cut):
                remember(message, key, cut)
            case _:
                self._after_of_thread(fact)
                self._after_of_budget(fact, message)

    def _after_of_budget(self, fact: Fact, message: Message | None) -> None:
        match fact:
            case facts.LimitsSet(budget=budget) if fact.thread.startswith(CONVERSATION):
                conversation = self._conversation(fact.thread.removeprefix(CONVERSATION))
                apply_conversation_limits(conversation, budget)
                pass_on_policy(conversation, fact.at)
            case facts.LimitsSet(budget=budget):
                apply_limits(self._thread(fact.thread), budget, fact.at)
            case facts.QuotaRaised(amounts=amounts, counts_at=at):
                self.state.pools.raise_limits(self._node(node_of_limits(fact.thread)), amounts, at)
            case facts.Granted(node=node, unit=unit, amount=amount, budget=budget, key=key, reason=reason):
                apply_grant(self._thread(node), unit, amount, budget, fact.at)
                remember(message, key, Done(amount, reason))
            case facts.Forecast(estimate=estimate, key=key):
                note_estimate(self._thread(fact.thread), estimate)
                remember(message, key, Done(Decimal(0)))
            case _:
                pass

    def _after_of_thread(self, fact: Fact) -> None:
        match fact:
            case facts.CrossedByTime(fired=fired):
                self._thread(fact.thread).time_fired = fired
            case facts.Exhausted(dropped=dropped, failure=failure):
                if failure.unit == "seconds":
                    self._cancel(self._thread(fact.thread))
                self._drop(dropped)
            case facts.Stopped(dropped=dropped):
                self._cancel(self._thread(fact.thread))
                self._drop(dropped)
            case facts.Closed():
                self.state.end(self._thread(fact.thread))
            case facts.Paused():
                self.state.pause(self._thread(fact.thread))
            case facts.Resumed(since=since):
                self.state.resume(self._thread(fact.thread), since)
            case facts.StoodStill():
                self.state.stand(self._thread(fact.thread))
            case facts.WentOn():
                self.state.go_on(self._thread(fact.thread))
            case _:
                pass

    def _halt(self, thread: Thread, failure: Failure) -> None:
        for each in list(descendants(thread)):
            each.have_ending().stopping = failure

    def _cancel(self, thread: Thread) -> None:
        """Marks all open messages of a thread that was stopped, or whose time ran out, and of those below it as cancelled."""
        for each in descendants(thread):
            for message in self.state.queued_in(each):  # a fold knows of none that it is being handled
                message.dropped = True

    def _drop(self, refs: Iterable[Ref]) -> None:
        for ref in refs:
            self.state.drop(self._index.messages[ref])

    def _asked(self, fact: Fact) -> Ask | None:
        # The first posted message is the question; warnings may follow it.
        step = next((step for step in fact.steps if isinstance(step, facts.Posted)), None)
        if step is None:
            raise SenselessError("it asks, and posts no message")
        return self._index.frames[step.frame].asker

    def _hold(self, fact: facts.CallHeld, message: Message | None) -> None:
        thread = self._thread(fact.thread)
        hold = Hold(
            id=fact.hold, thread=thread, message=message, path=thread.node.path, need=fact.need, output=fact.output,
            clamped=False, alias=fact.alias, backend=fact.backend, attempt=fact.attempt, grace=fact.grace,
            streamed=fact.streamed, held_at=fact.at, chain=chain_of(thread), tags=fact.tags,
            asked=fact.key,
        )  # fmt: skip
        take(path_of(hold), fact.need)
        add_hold(self.state, hold, why=fact.why)
        if fact.prompt is not None:
            note_prompt(hold, fact.key, fact.prompt)

    def _step(self, step: Step, message: Message | None) -> None:
        match step:
            case facts.ThreadOpened():
                self._open(step)
            case facts.ConversationOpened(
                conversation=id_, budget=budget, before=before, state=kept, accounts=accounts
            ):
                open_conversation(self.state, id_, budget, before=before, remembered=kept, accounts=accounts)
            case facts.Posted():
                self._post(step, message)
            case facts.WarningRaised():
                self._warn(step)
            case facts.WarningTold(thread=id_, to=to):
                tell(self.state, self._thread(id_), to, [self._told(step)])
            case facts.Unhandled(thread=id_, failure=failure, at_root=at_root):
                self.state.not_handled(self._thread(id_), failure, at_root=at_root)
            case facts.Left(payload=payload):
                self.state.leave(_of(message), payload)
            case facts.CameLate():
                pass
            case facts.ClockRead(message=ref, times=times):
                read_clock(self.state, self._index.messages[ref], times)
            case _:
                self._step_of_frame(step)

    def _told(self, step: facts.WarningTold) -> Warned:
        hears = self._thread(step.thread)
        return self._warned.get((root_of(hears).id, step.seq)) or heard_before(hears, step.to, step.seq)

    def _open(self, step: facts.ThreadOpened) -> None:
        if step.thread in self.state.threads:
            raise SenselessError(f"it opens thread {told(step.thread)}, which is open already")
        self.threads.add(step.thread)
        kind: Any = step.kind
        open_thread(
            self.state,
            step.thread,
            kind,
            step.handler,
            step.budget,
            None if step.owner is None else self._index.frames[step.owner],
            step.labels,
            conversation=None if step.conversation is None else self._conversation(step.conversation),
            accounts=step.accounts,
        )

    def _step_of_frame(self, step: facts.Resolved | facts.Handed | facts.Cut) -> None:
        match step:
            case facts.Resolved(ask=ref, answer=answer):
                self.state.resolve(self._ask(ref), answer)
            case facts.Handed(frame=ref, to=to):
                self.state.hand_over(self._index.frames[ref], None if to is None else self._index.frames[to])
            case facts.Cut(ask=ref, dropped=dropped):
                ask = self._ask(ref)
                below = [] if ask.frame is None else list(self._index.below(ask.frame))
                self.state.cut(ask, [self._index.messages[each] for each in dropped])
                for each in below:
                    each.dropped = True  # queued ones are gone, those under way were cancelled
            case _:
                assert_never(step)

    def _post(self, step: facts.Posted, message: Message | None) -> None:
        if step.kind == "last":
            return  # it takes the place of a frame that closes, and is posted as that does
        if not step.opens:
            if step.kind == "reply":
                _of(message).answered = True
            frame = self._index.frames[step.frame]
            self.state.post(
                frame, step.payload, step.sender, step.kind, charged=step.charged, idempotency=step.idempotency or ""
            )
            return
        parent = None if step.parent is None else self._index.frames[step.parent]
        asked = _of(message).asker if step.kind == "forward" else None
        thread = self._thread(step.thread)
        self.state.post_opening(
            thread, self.state.routes[step.to], step.payload, step.sender, step.kind, parent=parent,
            above=parent if message is None else above_new(parent, message.frame, thread), depth=step.depth,
            asker=message if step.kind == "ask" else None, asked=asked if asked is not None and not asked.done else None,
            charged=step.charged, idempotency=step.idempotency or "",
        )  # fmt: skip

    def _ask(self, ref: Ref) -> Ask:
        ask = self._index.frames[ref].asker
        if ask is None:
            raise SenselessError(f"it answers message {ref[1]} of thread {told(ref[0])}, which nobody asked")
        return ask

    def _node(self, name: str) -> Node:
        """The node of this name: a thread's id, a conversation's chain, or an account's name; the organism's for an empty one."""
        if name.startswith(CONVERSATION):
            return self._conversation(name.removeprefix(CONVERSATION)).node
        if name.startswith(ACCOUNT):
            return self.state.pools.account(name.removeprefix(ACCOUNT), self.state.now)
        return self._thread(name).node if name else self.state.root

    def _warn(self, step: facts.WarningRaised) -> None:
        thread = self._thread(step.thread)
        node = self._node(step.node)
        warned = warned_of(step)
        self._warned[root_of(thread).id, step.seq] = warned
        if step.unit in VECTOR:
            unit = VECTOR.index(step.unit)
            if node.window is None or self.state.now in node.window:
                fire(node, unit, _mark(step))
        told_after = None if step.told_after is None else self._index.messages.get(step.told_after)
        enter_warning(self.state, thread, warned, step.pending_for, step.pending_caller, told_after, digest=step.digest)


def _of(message: Message | None) -> Frame:
    if message is None:
        raise SenselessError("it holds an answer of a message that is not open")
    return message.frame


def _spawned(fact: Fact) -> str:
    opened = next((step.thread for step in fact.steps if isinstance(step, facts.ThreadOpened)), None)
    if opened is None:
        raise SenselessError("it spawns, and opens no thread")
    return opened


def _mark(step: facts.WarningRaised) -> Mark:
    return Mark(0, step.level, step.threshold)
