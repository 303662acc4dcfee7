"""A kernel without a loop: what a pump would do with it is done by hand, one thing at a time, and checked after each.

:class:`World` plays the pump and all handlers. Nothing in it waits; what a handler does is what a test says.
"""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

from attrs import define, field

from organism.budget.claims import Charge, Claim
from organism.budget.waiting import Waiter
from organism.errors import BudgetExhaustedError, RoutingError
from organism.kernel import Kernel
from organism.kernel.answers import check_answer
from organism.kernel.calls import CallFor
from organism.kernel.comparable import comparable
from organism.kernel.fold import Fold
from organism.kernel.holds import Hold
from organism.kernel.hop import destination
from organism.kernel.outcome import final_of
from organism.primitives import BudgetEstimate, BudgetRequest
from organism.record.facts import (
    Answered,
    Buried,
    Cut,
    Dropped,
    Ended,
    Exhausted,
    Failed,
    Posted,
    Stopped,
    ThreadOpened,
)
from organism.settings import BudgetSettings, HandlerSettings, Limits, Settings
from organism.testing import differences
from organism.threads.frames import PLACE, Ask, Frame, Message, Thread, pending
from organism.threads.lineage import root_of
from organism.threads.outcomes import Failure

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from organism.budget.node import Node
    from organism.kernel.answers import Refusal
    from organism.message import Outgoing
    from organism.record.facts import Fact
    from organism.record.images import Ref

CRASH: Final = Failure("crashed", "ValueError: broken", retry=True)


def handler(name: str, *accepts: type, **keys: Any) -> HandlerSettings:
    """A handler as the kernel knows it; its code is what the test does."""
    return HandlerSettings(name=name, accepts=accepts, description="One of a test's.", **keys)


def organism_of(*handlers: HandlerSettings, **keys: Any) -> Settings:
    """The settings of an organism with these handlers."""
    return Settings(name="test", handlers={each.name: each for each in handlers}, **keys)


@define(eq=False)
class Delivery:
    """A delivery under way. ``placed``: it has its place; ``in_line``: it waits for one to come back to."""

    message: Message
    placed: bool = True
    in_line: bool = False
    asks: list[Ask] = field(factory=list)
    calls: list[Hold | Waiter] = field(factory=list)

    @property
    def cancelled(self) -> bool:
        """Whether it has been told to stop."""
        return self.message.dropped or self.message.thread.stopping is not None

    @property
    def waits(self) -> bool:
        """Whether it can do nothing by itself."""
        return self.in_line or bool(self.asks) or any(isinstance(call, Waiter) for call in self.calls)


def reported(hold: Hold, charge: Charge) -> tuple[str, ...]:
    """What stands for the prompt of a call: every other backend reports on it."""
    return ("tools", f"prompt {hold.id}", "prompt") if charge.input_tokens and hold.id % 2 else ()


def _call_for(delivery: Delivery, *, wait: bool = True, grace: bool = False, streamed: bool = False) -> CallFor:
    message = delivery.message
    return CallFor(
        thread=message.thread, message=message, alias="default", backend="b", attempt=1,
        grace=grace, wait=wait, streamed=streamed,
    )  # fmt: skip


class World:
    """A kernel, the deliveries under way, and the fold of what was recorded so far."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.now = 0.0
        self.facts: list[Fact] = []
        self.fold = Fold(settings)
        self.kernel = Kernel(settings, self._record)
        self.deliveries: dict[Message, Delivery] = {}
        self.roots: list[Thread] = []
        self.ended: list[Ended] = []
        self.kinds: dict[Ref, str] = {}
        """What brought each message that was taken."""
        self.lowered = False
        """Whether limits were set under way: then more may be used than a limit allows."""
        self.plain = 0
        """How many answers the quick look was enough for."""

    def _record(self, _root: str, fact: Fact) -> None:
        self.facts.append(fact)
        self.fold.apply(fact)

    # What the outside does

    def accept(
        self, to: str, payload: Any, budget: Mapping[str, Any] | None = None, id_: str = "", **labels: str
    ) -> Thread | None:
        """Sends a message in; ``None`` where it is refused."""
        limits = self.settings.budget if budget is None else BudgetSettings(limits=Limits(**budget))
        try:
            thread = self.kernel.accept(id_ or f"t{len(self.roots)}", to, payload, limits, labels, self.now)
        except (RoutingError, BudgetExhaustedError):
            return None
        self.roots.append(thread)
        self.carry_out()
        return thread

    def stop(self, thread: Thread, failure: Failure) -> None:
        """Cancels or stops a thread."""
        self.kernel.ends.stop(thread, failure, self.now)
        self.carry_out()

    def pass_time(self, seconds: float) -> None:
        """Lets time go on; what is due by it happens."""
        self.now += seconds
        for thread in list(self.kernel.state.threads.values()):
            while (due := self.kernel.times.due(thread)) is not None and due <= self.now:
                self.kernel.times.reach(thread, self.now)
        self.begin_again()

    def begin_again(self) -> None:
        """Messages whose next attempt is due may be taken."""
        for message, due in list(self.kernel.state.retries.items()):
            if due <= self.now:
                self.kernel.retries.begin(message)
        self.carry_out()

    def grant(self, delivery: Delivery, unit: str, amount: int, key: str = "") -> None:
        """The organism grants a thread more, as far as those above it bear that."""
        asked = BudgetRequest(unit=unit, amount=Decimal(amount), reason="more")
        self.kernel.grants.grant(delivery.message, asked, asked.amount, reason="yes", key=key, at=self.now)
        self.carry_out()

    def forecast(self, delivery: Delivery, unit: str, low: int, key: str = "") -> None:
        """A delivery says what it will need."""
        estimate = BudgetEstimate(unit=unit, low=Decimal(low), high=Decimal(2 * low))
        self.kernel.grants.forecast(delivery.message, estimate, self.now, key=key)
        self.carry_out()

    def limit(self, thread: Thread, **limits: Any) -> None:
        """Sets a thread's limits."""
        self.lowered = True
        self.kernel.calls.set_limits(thread, BudgetSettings(limits=Limits(**limits)), self.now)
        self.carry_out()

    # What the pump does

    def take(self) -> Delivery | None:
        """Takes the next message; its handler is called."""
        message = self.kernel.schedule.take()
        if message is None:
            return None
        assert message not in self.deliveries
        self.kinds[message.thread.id, message.seq] = message.kind
        delivery = self.deliveries[message] = Delivery(message)
        self.kernel.suspended(message)  # so that others may go on while this one decides
        return delivery

    def carry_out(self) -> None:
        """Does what the kernel has asked for."""
        kernel = self.kernel
        woken, kernel.state.woken = kernel.state.woken, []
        for ask in woken:
            assert ask.done
            delivery = self.deliveries.get(ask.message)
            if delivery is not None and ask in delivery.asks:
                delivery.asks.remove(ask)
                self._come_back(delivery)
        answered, kernel.calls.answered = kernel.calls.answered, []
        for waiter, verdict in answered:
            owner = self.deliveries[waiter.owner]
            owner.calls.remove(waiter)
            if isinstance(verdict, Hold):
                owner.calls.append(verdict)
            self._come_back(owner)
        kernel.ends.cancelled.clear()  # whoever is cancelled is found by `Delivery.cancelled`
        kernel.state.timed.clear()
        kernel.retries.waiting.clear()  # whose next attempt is due is found in `pass_time`
        self.ended += map(final_of, kernel.ended)
        kernel.ended.clear()

    def _wait(self, delivery: Delivery) -> None:
        if delivery.in_line:
            self.kernel.schedule.forget(delivery.message)
            delivery.in_line = False
        if delivery.placed:
            delivery.placed = False
            self.kernel.schedule.give_back(delivery.message)

    def _come_back(self, delivery: Delivery) -> None:
        if delivery.asks or delivery.calls or delivery.placed or delivery.in_line:
            return

        def returned() -> None:
            delivery.placed, delivery.in_line = True, False

        if self.kernel.schedule.ask_back(delivery.message, returned):
            delivery.placed = True
        else:
            delivery.in_line = True

    # What handlers do

    def answer(
        self, delivery: Delivery, *outgoing: Outgoing, state: Mapping[str, tuple[Any] | None] | None = None
    ) -> Failure | None:
        """A handler returns these."""
        self._finish(delivery)
        self._check_plain(delivery.message, outgoing)
        failure = self.kernel.answered(delivery.message, outgoing, state, self.now, placed=delivery.placed)
        self.carry_out()
        return failure

    def _check_plain(self, message: Message, outgoing: Sequence[Outgoing]) -> None:
        """The quick look at one answer finds nothing that the close one does not find as well."""
        plain = destination(self.kernel.state, message, outgoing[0]) if len(outgoing) == 1 else None
        if plain is not None and not self.kernel.is_void(message):
            self.plain += 1
            found = None if isinstance(plain, (Ask, Thread)) else plain  # then it is no new message
            assert check_answer(self.kernel.state, message, outgoing) == [(outgoing[0], found)]

    def fail(self, delivery: Delivery, failure: Failure = CRASH) -> None:
        """A handler raises."""
        self._finish(delivery)
        self.kernel.failed(delivery.message, failure, self.now, placed=delivery.placed)
        self.carry_out()

    def _finish(self, delivery: Delivery) -> None:
        while delivery.calls:
            self.give_up(delivery, delivery.calls[0])
        if delivery.in_line:
            self.kernel.schedule.forget(delivery.message)
            delivery.in_line = False
        del self.deliveries[delivery.message]

    def ask(self, delivery: Delivery, to: str, payload: Any) -> Ask | Refusal:
        """A handler asks, and goes on waiting unless it is refused."""
        ask = self.kernel.asks.ask(delivery.message, to, payload, self.now)
        if isinstance(ask, Ask):
            delivery.asks.append(ask)
            self._wait(delivery)
        self.carry_out()
        return ask

    def abandon(self, delivery: Delivery, ask: Ask) -> None:
        """A handler waits no more for an answer."""
        delivery.asks.remove(ask)
        self.kernel.asks.abandon(ask.message, (ask,), self.now)
        self.carry_out()
        self._come_back(delivery)

    def spawn(self, delivery: Delivery, to: str, payload: Any, **limits: Any) -> Thread | Refusal:
        """A handler opens a sub-thread that it does not wait for."""
        budget = BudgetSettings(limits=Limits(**limits))
        spawned = self.kernel.asks.spawn(delivery.message, to, payload, budget, self.now)
        self.carry_out()
        return spawned

    def call(
        self, delivery: Delivery, claim: Claim, *, wait: bool = True, grace: bool = False, streamed: bool = False
    ) -> Hold | Waiter | BudgetExhaustedError:
        """A handler calls a model: its worst case is held, waits, or is refused."""
        about = _call_for(delivery, wait=wait, grace=grace, streamed=streamed)
        verdict = self.kernel.calls.hold(claim, about, self.now)
        if not isinstance(verdict, BudgetExhaustedError):
            delivery.calls.append(verdict)
            self._wait(delivery)
        self.carry_out()
        return verdict

    def settle(self, delivery: Delivery, hold: Hold, charge: Charge, text: str = "") -> None:
        """A call has come back."""
        delivery.calls.remove(hold)
        self.kernel.calls.settle(hold, charge, self.now, digests=reported(hold, charge))
        if text:
            self.hear(delivery, text)
        self.carry_out()
        self._come_back(delivery)

    def give_up(self, delivery: Delivery, call: Hold | Waiter) -> None:
        """A call is cancelled: what it held is released, or it leaves the line."""
        delivery.calls.remove(call)
        if isinstance(call, Hold):
            self.kernel.calls.settle(call, Charge(), self.now)
        else:
            self.kernel.calls.leave_line(call)
        self.carry_out()
        self._come_back(delivery)

    def notice(self, delivery: Delivery) -> None:
        """An agent makes its next prompt, and is told there of its budget."""
        unheard = self.kernel.unheard(delivery.message)
        if unheard:
            self.kernel.noticed(delivery.message, unheard, self.now)
        self.carry_out()

    def hear(self, delivery: Delivery, text: str = "I see") -> None:
        """A model answers a prompt."""
        self.kernel.calls.completed(_call_for(delivery), text, self.now)
        self.carry_out()

    # Laws

    def check(self) -> None:
        """Raises AssertionError where a law is broken."""
        state = self.kernel.state
        differing = self.differing()
        assert not differing, "\n".join(differing)
        self._check_places()
        self._check_frames()
        for thread in state.threads.values():
            self._check_node(thread.node)
            assert not thread.ended
            assert thread.open > 0 or thread.kind == "shared" or not thread.handler
        self._check_node(state.root)
        assert not self.is_stuck(), "nobody can go on, and there are threads"

    def differing(self) -> list[str]:
        """Where the live state and the fold of the record differ."""
        return differences(comparable(self.kernel.state), comparable(self.fold.state))

    def _check_places(self) -> None:
        schedule, waiting = self.kernel.schedule, list(self._queued())
        assert schedule.queued == len(waiting)
        assert len(set(waiting)) == len(waiting)
        placed = [each.message for each in self.deliveries.values() if each.placed]
        assert schedule.running == len(placed) <= self.settings.max_handlers
        for name, slot in schedule._slots.items():
            kept = sum(each.holds == PLACE for each in waiting if each.to == name)
            assert slot.taken == sum(each.to == name for each in placed) + kept <= slot.limit

    def _queued(self) -> Iterator[Message]:
        for thread in self.kernel.state.threads.values():
            yield from pending(thread)
            yield from self.kernel.schedule.waiting_for_place(thread)

    def _check_frames(self) -> None:
        """A frame counts its queued and running deliveries and its open children; a thread its open top frames (R1)."""
        found: dict[Frame, int] = {}
        undone: dict[Thread, int] = {}
        for message in (*self._queued(), *self.kernel.state.retries, *self.deliveries):
            found[message.frame] = found.get(message.frame, 0) + 1
            root = root_of(message.thread)
            undone[root] = undone.get(root, 0) + 1
        assert all(thread.undone == undone.get(thread, 0) for thread in self.kernel.state.threads.values())
        todo = list(found)
        seen: set[Frame] = set()
        tops: dict[Thread, int] = {}
        while todo:
            frame = todo.pop()
            if frame in seen:
                continue
            seen.add(frame)
            if frame.top:
                tops[frame.thread] = tops.get(frame.thread, 0) + 1
            if frame.above is not None:
                found[frame.above] = found.get(frame.above, 0) + 1
                todo.append(frame.above)
        assert {frame: frame.open for frame in seen} == {frame: found[frame] for frame in seen}
        for thread in self.kernel.state.threads.values():
            assert thread.open == tops.get(thread, 0), thread.id

    def _check_node(self, node: Node) -> None:
        """R12, and that what a node holds is what its calls hold."""
        held = [0] * 6
        for hold in self.kernel.state.holds.values():
            if node in hold.path:
                held = [have + more for have, more in zip(held, hold.need, strict=True)]
        assert list(node.held) == held
        assert all(used >= 0 for used in node.used)
        if not self.lowered:
            for unit in range(6):
                over = node.used[unit] + node.held[unit] - node.caps.limit[unit]
                assert over <= node.overdraft[unit], (node.thread, unit)

    def is_stuck(self) -> bool:
        """Whether there are threads, nothing can be taken, and every delivery waits for another."""
        if not self.kernel.state.threads or self._can_take() or self.kernel.state.retries:
            return False
        return all(
            each.waits and not each.cancelled and not any(isinstance(call, Hold) for call in each.calls)
            for each in self.deliveries.values()
        )

    def _can_take(self) -> bool:
        schedule = self.kernel.schedule
        if schedule.running >= self.settings.max_handlers:
            return False
        busy = {(each.thread, each.to) for each in self.deliveries}
        for message in self._queued():
            slot = schedule._slots.get(message.to)
            free = slot is None or message.holds == PLACE or slot.taken < slot.limit
            if free and (message.thread, message.to) not in busy:
                return True
        return False

    # The end of all

    def drain(self) -> None:
        """Lets everything come to its end: who can go on answers nothing, what is out comes back."""
        for _ in range(10_000):
            if not self.kernel.state.threads:
                return
            for message in list(self.kernel.state.retries):
                self.kernel.retries.begin(message)
            self.take()
            for delivery in list(self.deliveries.values()):
                for call in list(delivery.calls):
                    if isinstance(call, Hold):
                        self.give_up(delivery, call)
                if delivery.message in self.deliveries and (delivery.cancelled or not delivery.waits):
                    self.answer(delivery)
            self.check()
        raise AssertionError("it does not come to an end")

    def check_end(self) -> None:
        """When nothing is left: every thread has ended once, every message was dealt with once, every sum agrees."""
        state, schedule = self.kernel.state, self.kernel.schedule
        assert not self.deliveries
        assert not state.retries
        assert not (
            state.threads or state.holds or state.streams or state.occupied or state.schedule.taken or len(state.line)
        )
        assert (schedule.queued, schedule.running, len(schedule._returning)) == (0, 0, 0)
        assert all(slot.taken == 0 and not slot.waiting for slot in schedule._slots.values())
        assert not (self.fold._index.messages or self.fold._index.frames)
        letters = [step.thread for step in self._steps() if isinstance(step, Posted) and step.kind == "dead"]
        opened = [*letters, *(thread.id for thread in self.roots)] + [
            step.thread for step in self._steps() if isinstance(step, ThreadOpened) and step.owner is not None
        ]
        assert sorted(opened) == sorted(record.thread for record in self.ended)
        assert [record.thread for record in self.ended] == [
            fact.thread for fact in self.facts if isinstance(fact, Ended)
        ]
        self._check_messages()
        self._check_sums()

    def _steps(self) -> Iterator[Any]:
        for fact in self.facts:
            yield from fact.steps

    def _check_messages(self) -> None:
        """Each message that was posted is handled, dropped or refused exactly once."""
        posted = [(step.thread, step.seq) for step in self._steps() if isinstance(step, Posted)]
        done = [*self._handled(), *self._dropped()]
        assert len(set(posted)) == len(posted)
        assert len(set(done)) == len(done), "a message was dealt with twice"
        assert set(posted) <= set(done), "a message was lost"
        # What an exhausted thread says at its end follows by counting, and is no step: its last word, or its failure.
        assert {self.kinds.get(ref, "failed") for ref in set(done) - set(posted)} <= {"last", "failed"}

    def _handled(self) -> list[Ref]:
        return [(fact.thread, fact.seq) for fact in self.facts if isinstance(fact, (Answered, Failed, Dropped))]

    def _dropped(self) -> Iterator[Ref]:
        for fact in self.facts:
            if isinstance(fact, (Exhausted, Stopped, Buried)):
                yield from fact.dropped
        for step in self._steps():
            if isinstance(step, Cut):
                yield from step.dropped

    def _check_sums(self) -> None:
        """R19: the organism's figures are those of its root threads, of all threads' own, and of its handlers."""
        root = self.kernel.state.root
        assert not any(root.held)
        roots = [record for record in self.ended if record.kind == "root"]
        assert root.used[5] == sum(record.usage.messages for record in roots)
        assert root.used[0] == sum(record.usage.tokens for record in roots)
        assert root.used[0] == sum(record.own.tokens for record in self.ended)
        assert root.used[5] == sum(record.own.messages for record in self.ended)
        by_handler = [0] * 6
        for (kind, _), tally in self.kernel.state.sums.totals.items():
            if kind == "handler":
                by_handler = [have + more for have, more in zip(by_handler, tally.amounts, strict=True)]
        assert by_handler == root.used
