"""What a delivery opens while it runs, and may wait for: asks and spawned threads (R2, R3)."""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING, Any

from organism.budget.crossings import has_crossed
from organism.budget.tree import lack_of_one
from organism.kernel.answers import Refusal, Target, check_messages, check_target, payer_of, too_many_messages
from organism.kernel.back_pressure import too_crowded
from organism.kernel.branches import branches, opened_for
from organism.kernel.carrying import open_at
from organism.kernel.idempotency import is_keyed, key_of_sent
from organism.kernel.loops import note_loops
from organism.kernel.recall import note_clock, remember
from organism.kernel.warnings import fire_rest, note_arrival, note_crossings
from organism.names import ORGANISM
from organism.record import facts
from organism.threads.dependence import unanswered
from organism.threads.lineage import root_of
from organism.threads.outcomes import Failure

if TYPE_CHECKING:
    from collections.abc import Sequence

    from organism.kernel.book import Book
    from organism.kernel.contention import Contention
    from organism.kernel.ends import Ends
    from organism.kernel.state import State
    from organism.settings import BudgetSettings
    from organism.threads.frames import Ask, Message, Thread


class Asks:
    """Asks and spawns of one organism. ``ends`` exhausts threads whose messages run out by them; ``contention`` is told who waits."""

    def __init__(self, state: State, book: Book, ends: Ends, contention: Contention) -> None:
        self._state = state
        self._book = book
        self._ends = ends
        self._contention = contention

    def ask(self, message: Message, to: object, payload: Any, at: float, *, key: str = "") -> Ask | Refusal:
        """A delivery asks ``to`` and waits for the first reply. ``key`` names the question among its own (R21)."""
        occupy(self._state, message)
        target = self.check(message, to, payload, asks=True)
        if isinstance(target, Refusal):
            self._refuse_inside(message, target, at)
            return target
        self._book.begin(at)
        note_clock(self._state, message)
        known_as = self._known_as(message, key)
        posted = open_at(self._state, target, message, "ask", parent=message.frame, asker=message, idempotency=known_as)
        if has_crossed(message.thread.node):
            note_crossings(self._state, message.thread, _whose(message))
        if posted.thread is not message.thread:
            note_arrival(self._state, posted, came_from=message.thread)
        ask = posted.frame.asker
        assert ask is not None  # noqa: S101 - opened with an asker
        if self._state.streams:
            self._contention.review(message)
        looped = None if self._state.rings is None else note_loops(self._state, message)
        remember(message, key, ask)
        if self._book.listening:
            self._book.write(facts.Asked, message.thread, seq=message.seq, to=target.to, key=key)
        else:
            self._book.unheard(message.thread)
        if looped is not None:
            self._ends.stop(root_of(message.thread), looped, at)
        return ask

    def spawn(
        self, message: Message, to: object, payload: Any, budget: BudgetSettings, at: float, *, key: str = ""
    ) -> Thread | Refusal:
        """A delivery opens a sub-thread that it does not wait for. ``key`` as for :meth:`ask`."""
        target = self.check(message, to, payload, budget=budget)
        if isinstance(target, Refusal):
            self._refuse_inside(message, target, at)
            return target
        self._book.begin(at)
        note_clock(self._state, message)
        known_as = self._known_as(message, key)
        posted = open_at(self._state, target, message, "spawn", parent=None, idempotency=known_as)
        note_crossings(self._state, message.thread, message)
        note_arrival(self._state, posted, came_from=message.thread)
        looped = note_loops(self._state, message)
        remember(message, key, posted.thread.id)
        self._book.write(facts.Spawned, message.thread, seq=message.seq, to=target.to, key=key)
        if looped is not None:
            self._ends.stop(root_of(message.thread), looped, at)
        return posted.thread

    def _known_as(self, message: Message, key: str) -> str:
        """The idempotency key of what it sends: without the attempt's number, which ends ``key``, since it is the same in each attempt."""
        return key_of_sent(message, key.partition("@")[0]) if is_keyed(message) else ""

    def check(
        self, message: Message, to: object, payload: Any, *, budget: BudgetSettings | None = None, asks: bool = False
    ) -> Target | Refusal:
        """Where a message of a delivery to ``to`` would go, or why it may not be sent; it changes nothing. The keywords are as for
        :func:`~organism.kernel.answers.check_target`.
        """
        depth = message.frame.depth + 1
        target = check_target(self._state, message, to, payload, depth=depth, budget=budget, asks=asks)
        if isinstance(target, Refusal):
            return target
        node = target.thread.node
        missing = lack_of_one(node) if target.opens is None else check_messages([payer_of(target)])
        if missing is not None:
            return too_many_messages(missing)
        crowded = too_crowded(self._state, message, more=1)
        return target if crowded is None else Refusal(crowded)

    def _refuse_inside(self, message: Message, refusal: Refusal, at: float) -> None:
        """An ask or spawn was refused by a limit, and its delivery goes on: raises the warnings that are due, and records the refusal."""
        if refusal.lack is None:
            return
        lack = refusal.lack
        self._book.begin(at)
        if lack.unit >= 0:
            fire_rest(self._state, message.thread, message, lack.node, lack.unit)
        self._book.write(
            facts.CallRefused,
            message.thread,
            seq=message.seq,
            handler=message.to,
            unit=refusal.failure.unit or "",
            scope=refusal.failure.scope or "",
            account=refusal.failure.account,
            need=lack.need,
        )
        exhausted = self._ends.exhausted_by(message.thread, refusal)
        if exhausted is not None:
            self._ends.exhaust(exhausted, refusal.failure, at)

    def leave(self, message: Message) -> None:
        """Cancels the branches of whatever a finished delivery still asks.

        A task that outlives the delivery may still wait for one: it gets a failure.
        """
        dealings = message.dealings
        if dealings is None:
            return
        asks = dealings.asks
        self._cut(message, asks)
        for ask in asks:
            ask.answer = Failure("cancelled", "the delivery that asked is over")
            self._state.woken.append(ask)
        dealings.wait_no_more()

    def abandon(self, message: Message, asks: Sequence[Ask], at: float) -> None:
        """A delivery no longer waits for these asks, since they timed out or its task was cancelled: their branches are cancelled."""
        if all(ask.frame is None for ask in asks):
            return
        self._book.begin(at)
        self._cut(message, asks)
        self._book.write(facts.Abandoned, message.thread, seq=message.seq)

    def _cut(self, asker: Message, asks: Sequence[Ask]) -> None:
        """Cancels the branches of asks of one delivery: what is queued is dropped, what runs is cancelled, and threads that were opened there
        end as cancelled.
        """
        queued, running = branches(self._state, asks)
        for message in running:
            self._ends.cancel_running(message)
        if not asker.dropped:  # else it is cancelled itself, and so is what is below it, with the reason for that
            for thread in opened_for(asker, chain(running, *queued.values())):
                given_up = Failure("cancelled", f"'{asker.to}' no longer waits for it")
                self._state.not_handled(thread, given_up, at_root=False)
        for ask, dropped in queued.items():
            self._state.cut(ask, dropped)


def _whose(message: Message) -> Message:
    """The delivery that is warned of what an ask crosses. The organism asks on behalf of whoever asked it: that one is warned."""
    asker = unanswered(message.frame) if message.to == ORGANISM else None
    return message if asker is None else asker.message


def occupy(state: State, message: Message) -> None:
    """A delivery waits for something: its mailbox is taken until it is done."""
    place = message.thread, message.mailbox
    if place not in state.occupied:
        state.schedule.occupy(message)
        state.occupied[place] = message
    if state.inbox.watched:
        state.inbox.stir(message.thread)


def note_at_work(state: State, message: Message) -> None:
    """A delivery that a replay plays again waits, which the record does not say. No message waits for its mailbox there."""
    thread = message.thread
    if thread.busy is None:
        thread.busy = {}
    thread.busy.setdefault(message.mailbox, message)
    state.occupied[thread, message.mailbox] = message
