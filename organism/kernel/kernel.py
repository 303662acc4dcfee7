"""What can happen to an organism, one method for each event: it checks, changes the state, and writes the fact."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, final

from organism.budget.claims import MESSAGES
from organism.budget.crossings import has_crossed
from organism.budget.tree import bears_depth
from organism.errors import BudgetExhaustedError, HandlerFailedError, RoutingError
from organism.kernel.answers import (
    Payer,
    Refusal,
    bears_opening,
    check_answer,
    check_messages,
    refusal_error,
    too_many_messages,
)
from organism.kernel.asks import Asks, occupy
from organism.kernel.book import Book
from organism.kernel.calls import Calls
from organism.kernel.carrying import carry_out
from organism.kernel.conversations import begun, out_of_time, unheard
from organism.kernel.ends import Ends
from organism.kernel.failures import climb
from organism.kernel.grants import Grants
from organism.kernel.hop import hop, write_answered
from organism.kernel.imaging import image_of
from organism.kernel.loops import note_loops
from organism.kernel.notices import is_current
from organism.kernel.opening import open_thread
from organism.kernel.people import People
from organism.kernel.recall import note_clock, remember
from organism.kernel.retries import Retries
from organism.kernel.sendable import known_route, remember_route, wrong_to_send
from organism.kernel.state import State
from organism.kernel.times import Times
from organism.kernel.warnings import fire_rest, note_arrival, note_crossings, note_telling, post_notices, tell
from organism.kernel.windows import roll_hint
from organism.payloads.primitives import ALL as PRIMITIVES
from organism.record import facts
from organism.threads.lineage import root_of
from organism.threads.outcomes import Failure
from organism.threads.routing import Misdirected, check_address, routes

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from organism.budget.claims import Vector
    from organism.budget.tree import Lack
    from organism.kernel.answers import Planned
    from organism.kernel.conversations import Beginning
    from organism.message import Outgoing
    from organism.record.facts import Fact
    from organism.record.images import CutShort, Ordered
    from organism.settings import BudgetSettings, Settings
    from organism.threads.frames import Message, Thread
    from organism.threads.outcomes import Warned
    from organism.threads.routing import Route


@final
class Kernel:
    """The core of one organism. ``at`` is always the instant, in seconds since 1970 of a clock that never goes back.

    ``record`` gets every fact with the name of its chain (``None``: no fact is built). ``asks``, ``calls``, ``ends``, ``grants``, ``people``,
    ``retries`` and ``times`` have the rest of what can happen.

    What is to be done outside is collected, and the pump carries it out after each event:

    * ``ended`` - threads that ended
    * ``state.woken`` - asks that have their answer; ``calls.answered`` - calls that waited and were granted or refused
    * ``state.timed`` - threads whose running time is to be watched; ``retries.waiting`` - messages whose next attempt is to be timed
    * ``ends.cancelled`` - deliveries to be cancelled; ``ends.cut`` - threads without handlers whose calls are to be cancelled
    * ``retries.escalated`` - failures for which the organism is to stop
    """

    def __init__(self, settings: Settings, record: Callable[[str, Fact], None] | None = None) -> None:
        self.routes = routes(settings)
        self.state = State(settings, self.routes)
        self.ended: list[Thread] = []
        self.book = Book(self.state, record, self.ended.append)
        self.calls = Calls(self.state, self.book)
        self.ends = Ends(self.state, self.book, self.calls)
        self.asks = Asks(self.state, self.book, self.ends, self.calls.knots.contention)
        self.times = Times(self.state, self.book, self.ends)
        self.grants = Grants(self.state, self.book, self.calls, self.times)
        self.people = People(self.state, self.book, self)
        self.retries = Retries(self.state, self.book, self.ends, self.asks, self.unfit)
        self.schedule = self.state.schedule

    # From outside

    def accept(
        self,
        id_: str,
        to: object,
        payload: Any,
        budget: BudgetSettings,
        labels: Mapping[str, str],
        at: float,
        *,
        turn_of: Beginning | None = None,
        accounts: tuple[str, ...] = (),
    ) -> Thread:
        """Accepts a message from outside, in a new thread. ``turn_of``: the conversation whose turn the thread is, which is opened if it is
        not there yet; ``accounts``: those of a thread that is not a turn. Raises RoutingError or BudgetExhaustedError;
        then nothing has happened.
        """
        found = known_route(self.state, "", to, payload) or self._receiver(to, payload)
        late = self.times.refusal(at)
        if late is not None:
            raise late
        depth = budget.limits.depth
        if (depth is not None and depth < 1) or not bears_depth(self.state.root, 1):
            raise BudgetExhaustedError("depth", "thread", 0, 0, 0, 1)
        self.book.begin(at)
        conversation = None if turn_of is None else begun(self.state, turn_of)
        path = self.state.pools.above(accounts, self.state.now) if conversation is None else conversation.node.path
        missing = None if bears_opening(path, budget) else check_messages([Payer(path, budget)])
        late = None if conversation is None else out_of_time(conversation)
        if missing is not None or late is not None:
            if conversation is not None and not conversation.node.used[MESSAGES]:
                del self.state.conversations[conversation.id]  # it was begun just now
            self.book.give_up()
            raise late or self._refused_message(missing)
        thread = open_thread(
            self.state, id_, "root", found.name, budget, None, labels, conversation=conversation, accounts=accounts
        )
        posted = self.state.post_opening(thread, found, payload, "", "ingress", parent=None, above=None, depth=1)
        note_arrival(self.state, posted)
        self.book.write(facts.Accepted, thread)
        return thread

    def _receiver(self, to: object, payload: Any) -> Route:
        """Whom a message from outside is for; raises RoutingError."""
        found = check_address(self.routes, None, to, payload)
        if isinstance(found, Misdirected):
            raise RoutingError(found.text)
        wrong = wrong_to_send(self.state, payload)
        if wrong is not None:
            raise RoutingError(wrong)
        remember_route(self.state, "", found, payload)
        return found

    def _refused_message(self, missing: Lack | None) -> BudgetExhaustedError | HandlerFailedError:
        assert missing is not None  # noqa: S101 - called only where something is missing
        return refusal_error(too_many_messages(missing), hint=roll_hint(missing.node))

    def open_bare(
        self, id_: str, budget: BudgetSettings, labels: Mapping[str, str], at: float, *, accounts: tuple[str, ...] = ()
    ) -> Thread:
        """Opens a thread without a message, for calls that no handler makes. It ends by :meth:`organism.kernel.ends.Ends.close_bare`."""
        self.book.begin(at)
        thread = open_thread(self.state, id_, "root", "", budget, None, labels, accounts=accounts)
        self.book.write(facts.Accepted, thread)
        return thread

    def raise_quota(
        self, account: str | None, amounts: Vector, at: float, order: Ordered | None = None
    ) -> Callable[[], None]:
        """Raises the limits of an account (``kind:name``), or the ceiling, for the current window; those who wait are tried. Returns what undoes it,
        for the case that it cannot be written down.
        """
        self.book.begin(at)
        pools = self.state.pools
        node = pools.root if account is None else pools.account(account, at)
        pools.raise_limits(node, amounts, at)
        self.book.write_limits(node, amounts=amounts, counts_at=at, order=order)
        self.calls.limits_changed(node)

        def undo() -> None:
            there = pools.get(node.thread)
            pools.take_back(node.thread, amounts, at)
            if there is not None:
                self.calls.limits_changed(there)

        return undo

    # Deliveries

    def suspended(self, message: Message) -> None:
        """A delivery waits for something: its mailbox is taken until it is done."""
        occupy(self.state, message)

    def answered(
        self,
        message: Message,
        outgoing: Sequence[Outgoing],
        state: Mapping[str, tuple[Any] | None] | None,
        at: float,
        *,
        placed: bool = True,
        began: float | None = None,
    ) -> Failure | None:
        """A delivery finished: all that it answers is carried out, or nothing of it, and the failure is returned. ``state`` is what its handler
        changed of its state, ``placed`` whether it still has its place, ``began`` as in :meth:`failed`.
        """
        kernel, thread = self.state, message.thread
        if kernel.streams:
            self.calls.abandoned(thread, message, at)
        if message.dropped or (thread.ending is not None and thread.stopping is not None):
            self.dropped(message, at, placed=placed)
            return None
        if len(outgoing) == 1 and hop(kernel, self.book, message, outgoing[0], state, at, placed):
            return None
        plan = check_answer(kernel, message, outgoing) if outgoing else ()
        if isinstance(plan, Refusal):
            self.refused(message, plan, at, placed=placed, began=began)
            return plan.failure
        self.book.begin(at)
        if state:
            kernel.set_state(thread, message.to, state)
        looped = self._carry(message, plan) if plan else None
        if message.dealings is not None:
            note_clock(kernel, message)
            post_notices(kernel, message)
            self.asks.leave(message)
        kernel.finish(message, placed=placed)
        write_answered(self.book, message, state)
        if looped is not None:
            self.ends.stop(root_of(thread), looped, at)
        return None

    def _carry(self, message: Message, plan: Sequence[Planned]) -> Failure | None:
        """Carries out what was checked. Returns the failure with which the thread is to be stopped, where this is a loop."""
        state, thread = self.state, message.thread
        elsewhere = carry_out(state, message, plan)
        if has_crossed(thread.node):
            note_crossings(state, thread, message, at_once=False)
        for each in elsewhere:
            note_arrival(state, each, came_from=thread)
        return None if state.rings is None else note_loops(state, message)

    def refused(
        self, message: Message, refusal: Refusal, at: float, *, placed: bool = True, began: float | None = None
    ) -> None:
        """A delivery's answer was refused, so it failed. Where messages ran out, its thread is exhausted by that."""
        exhausted = self.ends.exhausted_by(message.thread, refusal)
        if exhausted is not None:
            self.ends.exhaust(exhausted, refusal.failure, at)
        self.failed(message, refusal.failure, at, placed=placed, lack=refusal.lack, began=began)

    def failed(
        self,
        message: Message,
        failure: Failure,
        at: float,
        *,
        placed: bool = True,
        lack: Lack | None = None,
        began: float | None = None,
    ) -> None:
        """A delivery raised, timed out or was refused its answer: it is tried again, or its caller hears of it (R9). ``began`` is the
        instant at which it began, ``lack`` the limit that refused its answer.
        """
        self.calls.abandoned(message.thread, message, at)
        if self.is_void(message):
            self.dropped(message, at, placed=placed)
            return
        attempt = self.retries.attempt(message, failure, at, began)
        if attempt.again_at is not None:
            self.retries.put_back(message, failure, attempt, at, placed=placed)
            return
        self.retries.tell(message, failure, at)
        self.book.begin(at)
        note_clock(self.state, message)
        if lack is not None and lack.unit >= 0:
            fire_rest(self.state, message.thread, message, lack.node, lack.unit, at_once=False)
        stops = self.retries.halt(message, failure)
        climb(self.state, message.frame, failure)
        self.asks.leave(message)
        queued = [] if stops is None else self.ends.queued_below(root_of(message.thread))
        self.state.finish(message, placed=placed)
        for each in queued:
            self.state.drop(each)
        self.retries.write(message, failure, attempt, stops, queued)

    def dropped(self, message: Message, at: float, *, placed: bool = True) -> None:
        """A delivery that was cancelled has stopped: nothing that it answers is carried out."""
        self.calls.abandoned(message.thread, message, at)
        self.book.begin(at)
        message.dropped = True
        self.asks.leave(message)
        self.state.finish(message, placed=placed)
        self.book.write(facts.Dropped, message.thread, seq=message.seq)

    def diverged(self, message: Message, keys: tuple[str, ...], at: float) -> None:
        """A delivery that was run again after a crash has not asked again for everything that it was answered before: these ``keys``."""
        self.book.begin(at)
        self.book.write(facts.Diverged, message.thread, seq=message.seq, handler=message.to, keys=keys)

    def compacted(self, message: Message, cut: CutShort, at: float, *, key: str) -> None:
        """An agent's history was cut short. It is recorded, so that a delivery that is run again after a crash cuts it in the same way."""
        self.book.begin(at)
        remember(message, key, cut)
        self.book.write(facts.Compacted, message.thread, seq=message.seq, handler=message.to, key=key, cut=cut)

    def snapshot(self, chain: str, at: float) -> None:
        """Writes a snapshot of a chain: whoever takes it up need not read the facts before."""
        whole = self.state.chain(chain)
        if whole is not None:
            self.book.begin(at)
            self.book.write(facts.Snapshot, whole, image=image_of(self.state, whole))

    def unfit(self, message: Message) -> Failure | None:
        """Why a message that an earlier process accepted cannot be handled: its handler is gone, or takes other payloads now."""
        if message.to not in self.routes:
            return Failure("routing", f"'{message.to}' is not a handler any more", undelivered=True)
        kind: type = message.payload.__class__
        if not message.old or kind in PRIMITIVES or kind in self.routes[message.to].accepts:
            return None
        return Failure("validation", f"'{message.to}' does not take {kind.__name__} any more", undelivered=True)

    def is_void(self, message: Message) -> bool:
        """Whether a delivery was cancelled: whatever it answers is not carried out."""
        return message.dropped or message.thread.stopping is not None

    def unheard(self, message: Message) -> tuple[Warned, ...]:
        """The warnings that an agent is to be told in its next prompt. Those of an earlier prompt that no model has answered are among
        them, also where a crash came in between.
        """
        if not self.routes[message.to].told:  # an earlier process may have left some
            return ()
        hears = message.thread
        warnings = message.warned
        waiting = (*(() if warnings is None else warnings.telling), *unheard(hears, message.to))
        still = [each for each in waiting if is_current(self.state.threads, hears, each)]
        if not still:  # as for most prompts
            return ()
        # A level that was armed again and has fired twice is told once, as it fired last.
        last = {(each.node, each.unit, each.level, each.threshold): each for each in still}
        return tuple(each for each in still if each.about is not None or each in last.values())

    def noticed(self, message: Message, heard: Sequence[Warned], at: float) -> None:
        """A prompt that tells an agent of these warnings is sent now. Some may have been told before: the prompt was too long and is sent again,
        or another delivery of the agent in its thread asks at the same time. Those are not recorded twice.
        """
        waiting = unheard(message.thread, message.to)
        first = [each for each in heard if each in waiting]
        if not first:
            return
        self.book.begin(at)
        tell(self.state, message.thread, message.to, first)
        note_telling(message, first)
        self.book.write(facts.Noticed, message.thread, seq=message.seq, handler=message.to)
