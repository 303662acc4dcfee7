"""A kernel over all nodes of budgets, with all ways out of calls, whose process may die: what is recorded is taken up by another."""

from __future__ import annotations

import itertools
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from attrs import evolve

from organism.budget.claims import VECTOR, Charge
from organism.budget.waiting import Waiter
from organism.errors import BudgetExhaustedError, RoutingError
from organism.kernel import Kernel, recovery
from organism.kernel.calls import CallFor
from organism.kernel.comparable import comparable
from organism.kernel.conversations import Beginning
from organism.kernel.fold import Fold
from organism.kernel.holds import Hold
from organism.record import facts
from organism.testing import differences
from organism.threads.frames import Ask, Message
from organism.threads.lineage import chain_of, root_of
from tests.budget.naive_budget import UNITS, Amounts, Purse, Wanting, nothing
from tests.durable.cut_world import KeptWorld
from tests.kernel.budget_books import Books
from tests.kernel.budget_pockets import summed
from tests.kernel.kernel_world import reported

if TYPE_CHECKING:
    from collections.abc import Iterator

    from organism.budget.claims import Claim
    from organism.budget.node import Node
    from organism.record.facts import Fact
    from organism.settings import BudgetSettings, Settings
    from organism.threads.frames import Thread
    from tests.kernel.kernel_world import Delivery

OF_POOLS: Final = (".fired", ".next_mark", ".runways", ".overdraft")
"""What a fold of the whole record knows of shared nodes, and a process that begins with the sums of a ledger does not."""


class BudgetWorld(KeptWorld):
    """A world beside its books. ``patience`` is how often a call may be passed over; it begins at the instant ``now``."""

    def __init__(self, settings: Settings, patience: int, now: float) -> None:
        self.books = Books(settings, patience, self._kept_by_streams)
        self.patience = patience
        self.numbers = itertools.count()
        self.wanting: dict[Waiter, Wanting] = {}
        self.late: list[Hold] = []
        """Calls whose delivery is over."""
        self.bare: dict[Thread, list[Hold | Waiter]] = {}
        """Threads without handlers, and their calls."""
        self.restarts = 0
        super().__init__(settings)
        self.now = now
        self.kernel.state.line._patience = patience
        recovery.begin(self.kernel, (), now)

    def _record(self, root: str, fact: Fact) -> None:
        super()._record(root, fact)
        self.books.apply(fact)

    def _kept_by_streams(self, owner: Message | Thread, purse: Purse) -> list[Amounts]:
        """What open streams in the owner's thread hold at a node that are its own, or of a delivery that waits for its branch."""
        if not isinstance(owner, Message):
            return self._streams_of(owner, {0}, purse)
        waiting = {owner.seq}
        for delivery in self.deliveries.values():
            frames: list[Any] = [ask.frame for ask in delivery.asks]
            step: Any = owner.frame
            while step is not None:
                if step in frames and delivery.message.thread is owner.thread:
                    waiting.add(delivery.message.seq)
                step = step.above
        return self._streams_of(owner.thread, waiting, purse)

    def _own_streams(self, owner: Message | Thread, purse: Purse) -> Amounts:
        thread, seq = (owner.thread, owner.seq) if isinstance(owner, Message) else (owner, 0)
        return summed(self._streams_of(thread, {seq}, purse))

    def _streams_of(self, thread: Thread, deliveries: set[int], purse: Purse) -> list[Amounts]:
        pocket = self.books.threads[thread.id].pocket
        streams = [each for each in self.books.holds.values() if each.streamed and each.pocket is pocket]
        return [each.need for each in streams if each.seq in deliveries and purse in each.counting()]

    # What the outside does

    def open(
        self,
        to: str,
        payload: Any,
        budget: BudgetSettings | None = None,
        *,
        accounts: tuple[str, ...] = (),
        conversation: str = "",
        **labels: str,
    ) -> Thread | None:
        """Sends a message in, in a thread under these accounts or as a turn; ``None`` where it is refused."""
        turn_of = None
        if conversation:
            turn_of = Beginning(id=conversation, budget=self.settings.conversation.budget, accounts=accounts)
        try:
            thread = self.kernel.accept(
                f"t{len(self.roots)}", to, payload, budget or self.settings.budget, labels, self.now,
                turn_of=turn_of, accounts=() if conversation else accounts,
            )  # fmt: skip
        except (RoutingError, BudgetExhaustedError) as refused:
            if isinstance(refused, BudgetExhaustedError) and refused.unit == "messages":
                self._check_refusal(refused, conversation, accounts)
            self.carry_out()
            return None
        self.roots.append(thread)
        self.carry_out()
        return thread

    def _check_refusal(self, refused: BudgetExhaustedError, conversation: str, accounts: tuple[str, ...]) -> None:
        """A message that was refused did not fit."""
        self.books.come_to(self.kernel.state.now)
        names = ["", *(f"account:{name}" for name in accounts), f"conversation:{conversation}"]
        known = [self.books.pockets[name] for name in names if name in self.books.pockets]
        full = [
            each for each in known if "messages" in each.limits and each.used["messages"] >= each.working("messages")
        ]
        assert refused.scope in {each.scope for each in full} or refused.limit == 0

    def limit_conversation(self, id_: str, budget: BudgetSettings) -> None:
        """Sets a conversation's limits."""
        self.kernel.calls.set_conversation_limits(self.kernel.state.conversations[id_], budget, self.now)
        self.carry_out()

    def set_limits(self, thread: Thread, **limits: Any) -> None:
        """Sets some of a thread's limits."""
        budget = evolve(thread.budget, limits=evolve(thread.budget.limits, **limits))
        self.kernel.calls.set_limits(thread, budget, self.now)
        self.carry_out()

    def snapshot(self, which: int) -> None:
        roots = [each for each in self.kernel.state.threads.values() if each.owner is None]
        chains = sorted(
            {chain_of(each) for each in roots} | {c.chain for c in self.kernel.state.conversations.values()}
        )
        if chains:
            self.check_whole(chains[which % len(chains)])
            self.kernel.snapshot(chains[which % len(chains)], self.now)
            self.carry_out()

    # What the pump does

    def carry_out(self) -> None:
        if self.kernel.book.rolled:
            self.kernel.calls.after_roll()
        if self.kernel.state.streams and self.kernel.state.line:
            self.kernel.calls.untie()
        answered, self.kernel.calls.answered = self.kernel.calls.answered, []
        for waiter, verdict in answered:
            if isinstance(waiter.owner, Message):
                self.kernel.calls.answered.append((waiter, verdict))
                continue
            calls = self.bare[waiter.owner]
            calls.remove(waiter)
            if isinstance(verdict, Hold):
                calls.append(verdict)
        cut, self.kernel.ends.cut = self.kernel.ends.cut, []
        super().carry_out()
        for thread in cut:
            self.close(thread)

    def take(self) -> Delivery | None:
        delivery = super().take()
        if delivery is None or not delivery.message.rerun:
            return delivery
        known = [each for each in (delivery.message.known or {}).values() if isinstance(each, Ask)]
        delivery.asks = [each for each in known if not each.done]
        if delivery.asks:
            self._wait(delivery)
        return delivery

    # What handlers do

    def call_model(
        self, delivery: Delivery, claim: Claim, *, wait: bool = True, grace: bool = False, streamed: bool = False,
        attempt: int = 1,
    ) -> Hold | Waiter | BudgetExhaustedError:  # fmt: skip
        """A handler calls a model."""
        key = self._key(delivery, "complete")
        message = delivery.message
        verdict = self._hold(
            message.thread, message, claim, key=key, wait=wait, grace=grace, streamed=streamed, attempt=attempt
        )
        if not isinstance(verdict, BudgetExhaustedError):
            delivery.calls.append(verdict)
            self._wait(delivery)
        self.carry_out()
        return verdict

    def _hold(
        self, thread: Thread, message: Message | None, claim: Claim, *, key: str, wait: bool, grace: bool, streamed: bool,
        attempt: int,
    ) -> Hold | Waiter | BudgetExhaustedError:  # fmt: skip
        """The books know before what the call is to hear."""
        number, books = next(self.numbers), self.books
        call = CallFor(
            thread=thread, message=message, alias="xyz"[number % 3], backend="pq"[number % 2], attempt=attempt,
            grace=grace, wait=wait, streamed=streamed, key=key, tags=(f"n{number}", "odd" if number % 2 else "even"),
        )  # fmt: skip
        pocket = books.threads[thread.id].pocket
        wanting = Wanting(number=number, claim=claim, purse=pocket, grace=grace, owner=call.owner)
        in_turn = self._is_in_turn(call)
        if in_turn:
            books.come_to(self.now)
        expected = books.judge(wanting) if in_turn else "out of turn"
        books.arriving = wanting
        verdict = self.kernel.calls.hold(claim, call, self.now)
        books.arriving = None
        self._compare(verdict, expected, wait=wait)
        if isinstance(verdict, Waiter):
            books.waiting.append(wanting)
            self.wanting[verdict] = wanting
            books._saw("waits")
        return verdict

    def _is_in_turn(self, call: CallFor) -> bool:
        """R4 and R17: who was cancelled calls no more, and grace is one call of the root frame's handler."""
        thread, message = call.thread, call.message
        if thread.stopping is not None or thread.ended or (message is not None and message.dropped):
            return False
        if message is None and thread.closing:
            return False
        return (
            not call.grace
            or call.attempt > 1
            or (not thread.graced and (message is None or message.to == thread.handler))
        )

    def _compare(self, verdict: Hold | Waiter | BudgetExhaustedError, expected: str, *, wait: bool) -> None:
        match verdict:
            case Hold():
                assert expected == "granted"
            case Waiter():
                assert expected == "waits" and wait
            case _ if expected == "waits":
                # Knots that several deliveries tie with their streams are no matter of the line.
                assert not wait or any(each.streamed for each in self.books.holds.values())
            case _:
                assert expected in {"refused", "out of turn"}

    def settle(self, delivery: Delivery, hold: Hold, charge: Charge, text: str = "") -> None:
        self.books.expected[hold.key] = charge
        super().settle(delivery, hold, charge, text)

    def give_up(self, delivery: Delivery, call: Hold | Waiter) -> None:
        if isinstance(call, Hold):
            self.books.expected[call.key] = Charge()
        else:
            self.books.waiting.remove(self.wanting.pop(call))
        super().give_up(delivery, call)

    # Threads without handlers

    def open_bare(self, budget: BudgetSettings, accounts: tuple[str, ...]) -> Thread:
        """A program opens a thread without a message."""
        thread = self.kernel.open_bare(f"t{len(self.roots)}", budget, {}, self.now, accounts=accounts)
        self.roots.append(thread)
        self.bare[thread] = []
        self.carry_out()
        return thread

    def call_bare(
        self, thread: Thread, claim: Claim, *, wait: bool = True, grace: bool = False, streamed: bool = False
    ) -> None:
        """A program calls a model in its thread."""
        verdict = self._hold(thread, None, claim, key="", wait=wait, grace=grace, streamed=streamed, attempt=1)
        if not isinstance(verdict, BudgetExhaustedError):
            self.bare[thread].append(verdict)
        self.carry_out()

    def settle_bare(self, thread: Thread, call: Hold | Waiter, charge: Charge) -> None:
        """Its call has come back, or is not waited for any more."""
        self.bare[thread].remove(call)
        if isinstance(call, Hold):
            self.books.expected[call.key] = charge
            self.kernel.calls.settle(call, charge, self.now, digests=reported(call, charge))
        else:
            self.books.waiting.remove(self.wanting.pop(call))
            self.kernel.calls.leave_line(call)
        self.carry_out()

    def close(self, thread: Thread) -> None:
        """The program is done with its thread; streams that it has left open are charged in full."""
        calls = self.bare.setdefault(thread, [])
        left = [each for each in calls if isinstance(each, Hold) and each.streamed]
        while others := [each for each in calls if each not in left]:
            self.settle_bare(thread, others[0], Charge())
        del self.bare[thread]
        self.kernel.ends.close_bare(thread, self.now)
        self.carry_out()

    def leave_out(self, delivery: Delivery) -> None:
        """What the delivery has called is not its matter any more: it is about to end before its calls."""
        while waiting := [each for each in delivery.calls if isinstance(each, Waiter)]:
            self.give_up(delivery, waiting[0])
        for call in list(delivery.calls):
            assert isinstance(call, Hold)
            if not call.streamed:  # nobody reads a stream any more: the kernel charges it in full
                self.late.append(call)
            delivery.calls.remove(call)

    def settle_late(self, hold: Hold, charge: Charge) -> None:
        """A call whose delivery is over has come back."""
        self.late.remove(hold)
        self.books.expected[hold.key] = charge
        self.kernel.calls.settle(hold, charge, self.now, digests=reported(hold, charge))
        self.carry_out()

    # Crashes

    def crash(self, down: float) -> None:
        """The process dies; after ``down`` seconds another takes up what was recorded, with sums from the books' own ledger."""
        since = max((fact.at for fact in self.facts), default=self.now)
        self.now += down
        self.restarts += 1
        written = list(self.written)
        self.deliveries.clear()
        self.late.clear()
        self.bare.clear()
        self.wanting.clear()
        self.keys.clear()
        self.kernel = Kernel(self.settings, self._record)
        self.kernel.state.line._patience = self.patience
        ledger = self.books.ledger()
        open_chains = list(self._open_chains())
        self.books.restart(self.now)
        recovery.begin(self.kernel, ledger, self.now)
        for chain in open_chains:
            record = [fact for root, fact in written if root == chain]
            snapshots = [place for place, fact in enumerate(record) if isinstance(fact, facts.Snapshot)]
            recovery.recover(self.kernel, chain, record[snapshots[-1] if snapshots else 0 :], self.now, since=since)
        pools = self.kernel.state.pools
        self.books.restarted(
            {name: _fired(node) for name, node in pools.items() if name in self.books.pockets},
            {name: _runways(node) for name, node in pools.items() if name in self.books.pockets},
        )
        assert not self.kernel.state.holds
        self.fold = Fold(self.settings)
        for fact in self.facts:
            self.fold.apply(fact)
        self.carry_out()

    def _open_chains(self) -> Iterator[str]:
        """What is to be taken up: conversations, and chains with a thread that has not ended or a call that is out."""
        books = self.books
        alive = {each.chain for each in books.threads.values() if not each.pocket.ended}
        held = {chain for chain, _ in books.holds}
        for chain in dict.fromkeys(root for root, _ in self.written):
            if chain in alive | held or chain.startswith("conversation:"):
                yield chain

    # Laws

    def check(self) -> None:
        super().check()
        self.books.come_to(self.kernel.state.now)
        self._check_figures()
        self._check_waiting()
        self._check_registries()

    def differing(self) -> list[str]:
        self.fold.state.come_to(self.kernel.state.now)
        lines = differences(comparable(self.kernel.state), comparable(self.fold.state))
        if not self.restarts:
            return lines
        return [line for line in lines if not self._is_forgotten(line)]

    def _is_forgotten(self, line: str) -> bool:
        place = line.partition(": ")[0]
        if not place.startswith((".root.", ".accounts.")):
            return False
        name = "" if place.startswith(".root.") else f"account:{place.split('.')[2]}"
        return place.endswith(OF_POOLS) or self.books.pockets[name].kind == "run"

    def _check_node(self, node: Node) -> None:
        """What a node stands at is what the books say: :meth:`_check_figures`."""

    def _nodes(self) -> Iterator[tuple[str, Node]]:
        state = self.kernel.state
        yield from state.pools.items()
        yield from ((each.chain, each.node) for each in state.conversations.values())
        yield from ((id_, each.node) for id_, each in state.threads.items())

    def _check_figures(self) -> None:
        """R12 and R19 on every node: it stands at what it was charged, and is within its limits."""
        books = self.books
        for name, node in self._nodes():
            pocket = books.pockets.get(name)
            if pocket is None:
                assert not any((*node.used, *node.held)), name
                continue
            assert _named(node.used) == pocket.used == books.spent(pocket), name
            assert _named(node.held) == pocket.held, name
            assert _named(node.own) == pocket.own or pocket.kind is not None
            assert {unit: node.caps.limit[VECTOR.index(unit)] for unit in pocket.limits} == pocket.limits
            assert [VECTOR[unit] for unit in node.caps.limited] == [unit for unit in UNITS if unit in pocket.limits]
            assert _fired(node) == pocket.fired, (name, _fired(node), pocket.fired)
            assert _runways(node) == pocket.runways, (name, _runways(node), pocket.runways)
            for unit in UNITS:
                assert pocket.used[unit] >= 0 and pocket.held[unit] >= 0
                held = [each.need[unit] for each in books.holds.values() if pocket in each.counting()]
                assert pocket.held[unit] == sum(held)
            for unit, limit in pocket.limits.items():
                assert pocket.used[unit] + pocket.held[unit] <= limit + pocket.slack[unit], (name, unit)
        live = {
            name: _named(tally.amounts) for name, tally in self.kernel.state.sums.totals.items() if any(tally.amounts)
        }
        assert live == {name: amounts for name, amounts in books.totals().items() if any(amounts.values())}

    def _check_waiting(self) -> None:
        """R14: nobody waits who could go, or never can."""
        naive = self.books.naive
        assert [each.note.tags[0] for each in self.kernel.state.line] == [f"n{each.number}" for each in naive.waiting]
        for waiter, wanting in zip(self.kernel.state.line, naive.waiting, strict=True):
            assert waiter.passed == wanting.passed
            # Streams of others may yet come back to be read; whether all those who wait may go on is seen at the end.
            assert not wanting.short(wanting.least, beside=lambda _: nothing()), "it waits for what will never be"
            beside = partial(self._own_streams, waiter.owner)
            for node, unit in wanting.short(wanting.least, beside=beside):
                assert node.held[unit] > beside(node)[unit], "only its own streams stand in the way"
            if not wanting.short(wanting.least):
                assert naive.bars(wanting), "it waits, and could go"
                assert not naive.in_vain(wanting), "it waits for one who waits for it"

    def _check_registries(self) -> None:
        """What has ended is nowhere any more (R5), and nothing is kept of a line in which nobody waits."""
        state, books = self.kernel.state, self.books
        alive = {id_ for id_, each in books.threads.items() if not each.pocket.ended}
        assert set(state.threads) == alive
        assert {hold.key for hold in state.holds.values()} == set(books.holds)
        assert {hold for streams in state.streams.values() for hold in streams} == {
            hold for hold in state.holds.values() if hold.streamed
        }
        assert all(each.thread.id in alive for each in (*state.occupied.values(), *state.schedule.taken))
        for _, node in self._nodes():
            assert (node.crowd is not None) == any(node in waiter.path for waiter in state.line)

    def is_stuck(self) -> bool:
        state = self.kernel.state
        paused = any(each.paused_at is not None and not each.waits_turn for each in state.threads.values())
        if paused or self.late or not state.threads or self._can_take():
            return False
        if any(not calls or any(isinstance(each, Hold) for each in calls) for calls in self.bare.values()):
            return False
        return all(
            each.waits and not each.cancelled and not any(isinstance(call, Hold) for call in each.calls)
            for each in self.deliveries.values()
        )

    # The end

    def drain(self) -> None:
        """Lets everything come to its end. A delivery that waits reads on in none of its streams meanwhile."""
        self.resume_all()
        for _ in range(5000):
            for hold in list(self.late):
                self.settle_late(hold, Charge())
            self._close_bare()
            if not self.kernel.state.threads:
                return
            before = len(self.facts)
            took = self.take()
            moved = took is not None
            for delivery in list(self.deliveries.values()):
                moved |= self._go_on(delivery)
            self.check()
            assert moved or len(self.facts) > before, "nobody can go on, and there are threads"
        raise AssertionError("it does not come to an end")

    def _close_bare(self) -> None:
        for thread, calls in list(self.bare.items()):
            waits = any(isinstance(each, Waiter) for each in calls)
            for call in list(calls):
                if isinstance(call, Hold) and not (call.streamed and waits):
                    self.settle_bare(thread, call, Charge())
            if not any(isinstance(each, Waiter) for each in calls):
                self.close(thread)

    def _go_on(self, delivery: Delivery) -> bool:
        moved = False
        for call in list(delivery.calls):
            waits = delivery.asks or any(isinstance(each, Waiter) for each in delivery.calls)
            if isinstance(call, Hold) and not (call.streamed and waits and not delivery.cancelled):
                self.give_up(delivery, call)
                moved = True
        if delivery.message in self.deliveries and (delivery.cancelled or not delivery.waits):
            self.answer(delivery)
            moved = True
        return moved

    def check_end(self) -> None:
        """When every thread has ended nothing is held, and nothing is left of any."""
        state, schedule = self.kernel.state, self.kernel.schedule
        assert not self.deliveries and not self.bare
        assert not (
            state.threads or state.holds or state.streams or state.occupied or state.schedule.taken or len(state.line)
        )
        assert (schedule.queued, schedule.running, len(schedule._returning)) == (0, 0, 0)
        assert all(slot.taken == 0 and not slot.waiting for slot in schedule._slots.values())
        assert not (self.fold._index.messages or self.fold._index.frames)
        assert not (state.line._owners or state.line._numbered or state.line._changed)
        assert all(not each.turns for each in state.conversations.values())
        for _, node in self._nodes():
            assert not any(node.held)
            assert node.crowd is None
        for pocket in self.books.pockets.values():
            assert not any(pocket.held.values())
        opened = sorted(self.books.threads)
        assert sorted(fact.thread for fact in self.facts if isinstance(fact, facts.Ended)) == opened
        roots = [each for each in self.books.threads if self.books.threads[each].root == each]
        assert set(roots) == {root_of(each).id for each in self.roots}


def _named(amounts: Any) -> Amounts:
    return dict(zip(UNITS, amounts, strict=True))


def _fired(node: Node) -> set[tuple[str, Any]]:
    return {(VECTOR[unit], level) for unit, levels in enumerate(node.fired) for level in levels}


def _runways(node: Node) -> set[str]:
    return {VECTOR[unit] for unit in range(len(VECTOR)) if node.runways >> unit & 1}
