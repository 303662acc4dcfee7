"""Kernels whose record is cut somewhere and taken up again by a fresh one, as after a crash."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from organism.journal import MemoryJournal
from organism.kernel import recovery
from organism.kernel.calls import CallFor
from organism.record import facts
from organism.settings import BudgetSettings, Limits
from organism.threads.frames import Ask, Message, Thread
from tests.kernel.kernel_world import Delivery, World
from tests.kernel.whole_states import restored, unlike

if TYPE_CHECKING:
    from collections.abc import Mapping

    from organism.budget.claims import Charge
    from organism.kernel.answers import Refusal
    from organism.kernel.holds import Hold
    from organism.message import Outgoing
    from organism.record.facts import Fact
    from organism.settings import Settings
    from organism.threads.outcomes import Failure

Written = tuple[str, "Fact"]
"""A fact with the id of its root thread, as a journal gets it."""
SETTLING: Final = (facts.Ended, facts.Resumed, facts.CallSettled, facts.Dropped, facts.Stopped, facts.Closed)
"""All that taking a thread up may write down."""

CEILING: Final = (".root.fired", ".root.next_mark", ".root.runways", ".root.overdraft")


class KeptWorld(World):
    """A world that keeps what a journal would be given, and names what its deliveries ask, as handlers' contexts do."""

    def __init__(self, settings: Settings) -> None:
        self.written: list[Written] = []
        self.keys: dict[Message, int] = {}
        super().__init__(settings)

    def _record(self, root: str, fact: Fact) -> None:
        self.written.append((root, fact))
        super()._record(root, fact)

    def _key(self, delivery: Delivery, kind: str) -> str:
        number = self.keys[delivery.message] = self.keys.get(delivery.message, len(delivery.message.known or ())) + 1
        return f"{kind}:{number}"

    def ask(self, delivery: Delivery, to: str, payload: Any) -> Ask | Refusal:
        ask = self.kernel.asks.ask(delivery.message, to, payload, self.now, key=self._key(delivery, "ask"))
        if isinstance(ask, Ask):
            delivery.asks.append(ask)
            self._wait(delivery)
        self.carry_out()
        return ask

    def spawn(self, delivery: Delivery, to: str, payload: Any, **limits: Any) -> Thread | Refusal:
        budget = limited(**limits)
        key = self._key(delivery, "spawn")
        spawned = self.kernel.asks.spawn(delivery.message, to, payload, budget, self.now, key=key)
        self.carry_out()
        return spawned

    def grant(self, delivery: Delivery, unit: str, amount: int, key: str = "") -> None:
        super().grant(delivery, unit, amount, key or self._key(delivery, "grant"))

    def forecast(self, delivery: Delivery, unit: str, low: int, key: str = "") -> None:
        super().forecast(delivery, unit, low, key or self._key(delivery, "forecast"))

    def settle(self, delivery: Delivery, hold: Hold, charge: Charge, text: str = "") -> None:
        super().settle(delivery, hold, charge)
        if text and delivery.message in self.deliveries:
            message = delivery.message
            call = CallFor(thread=message.thread, message=message, alias="", backend="", attempt=0)
            self.kernel.calls.completed(call, text, self.now, key=self._key(delivery, "complete"))
            self.carry_out()

    def snapshot(self, which: int) -> None:
        """Writes down what one of the live root threads has come to."""
        roots = [each for each in self.kernel.state.threads.values() if each.owner is None]
        if roots:
            self.check_whole(roots[which % len(roots)].id)
            self.kernel.snapshot(roots[which % len(roots)].id, self.now)
            self.carry_out()

    def check_whole(self, chain: str) -> None:
        """Raises AssertionError where what is live of a chain, what its record folds to and what its image is restored to differ."""
        live, folded = self.kernel.state, self.fold.state
        differing = [*unlike(live, folded, [chain]), *unlike(folded, restored(live, chain), [chain])]
        assert not differing, "\n".join(differing)

    def pause(self, which: int) -> None:
        """Pauses one of the live root threads, or lets it go on."""
        roots = [each for each in self.kernel.state.threads.values() if each.owner is None]
        if roots:
            root = roots[which % len(roots)]
            (self.kernel.ends.pause if root.paused_at is None else self.kernel.ends.resume)(root, self.now)
            self.carry_out()

    def resume_all(self) -> None:
        for thread in list(self.kernel.state.threads.values()):
            if thread.owner is None:
                self.kernel.ends.resume(thread, self.now)
        self.carry_out()

    def pass_time(self, seconds: float) -> None:
        self.now += seconds
        for thread in list(self.kernel.state.threads.values()):
            while thread.paused_at is None and (due := self.kernel.times.due(thread)) is not None and due <= self.now:
                self.kernel.times.reach(thread, self.now)
        self.begin_again()

    def is_stuck(self) -> bool:
        paused = any(each.paused_at is not None for each in self.kernel.state.threads.values())
        return not paused and super().is_stuck()

    def drain(self) -> None:
        self.resume_all()
        super().drain()


class Recovered(KeptWorld):
    """What a fresh kernel makes of the first ``cut`` facts of another world, ``down`` seconds after the last of them."""

    def __init__(self, before: KeptWorld, cut: int, *, down: float = 1000.0, forgetful: int = 0) -> None:
        super().__init__(before.settings)
        self.forgetful = forgetful
        """Deliveries that are run again do not ask for all that they asked before, where it is above 0."""
        self.kinds = dict(before.kinds)
        self.lowered = before.lowered
        kept = before.written[:cut]
        journal = MemoryJournal()
        journal.write(kept)
        for root, fact in kept:
            self.written.append((root, fact))
            self.facts.append(fact)
            self.fold.apply(fact)
            if isinstance(fact, facts.Ended):
                self.ended.append(fact)
        accepted = {fact.thread for fact in self.facts if isinstance(fact, facts.Accepted)}
        self.roots = [each for each in before.roots if each.id in accepted]
        since = max((fact.at for fact in self.facts), default=0.0)
        self.ran = {id_: _ran(thread, since) for id_, thread in self.fold.state.threads.items()}
        """How long each thread had run."""
        self.paused = {id_ for id_, thread in self.fold.state.threads.items() if thread.paused_at is not None}
        self.now = since + down
        recovery.begin(self.kernel, journal.spendings(), self.now)
        self.live: list[str] = []
        """The roots that are taken up."""
        for chain in journal.chains(open=True):
            taken = recovery.recover(self.kernel, chain.root, journal.recall(chain.root), self.now, since=since)
            self.live += [thread.id for thread in taken]
        self.settled = self.facts[cut:]
        """What taking them up has written down."""
        self.carry_out()

    def running_times(self) -> dict[str, float]:
        """How long each live thread has run."""
        return {id_: _ran(thread, self.now) for id_, thread in self.kernel.state.threads.items()}

    def take(self) -> Delivery | None:
        delivery = super().take()
        if delivery is None or not delivery.message.rerun or (self.forgetful and delivery.message.seq % self.forgetful):
            return delivery
        delivery.asks = [each for each in (delivery.message.known or {}).values() if isinstance(each, Ask)]
        delivery.asks = [each for each in delivery.asks if not each.done]
        if delivery.asks:
            self._wait(delivery)
        return delivery

    def answer(
        self, delivery: Delivery, *outgoing: Outgoing, state: Mapping[str, tuple[Any] | None] | None = None
    ) -> Failure | None:
        self._note_unasked(delivery)
        return super().answer(delivery, *outgoing, state=state)

    def differing(self) -> list[str]:
        # What no sum tells of the ceiling: levels that fired by a refusal, before they were reached, and how far calls passed
        # what they held while there was room.
        return [line for line in super().differing() if not line.startswith(CEILING)]

    def _note_unasked(self, delivery: Delivery) -> None:
        message = delivery.message
        if message.rerun and self.forgetful and message.seq % self.forgetful:
            self.kernel.diverged(message, tuple(message.known or ()), self.now)


def _ran(thread: Thread, now: float) -> float:
    return (now if thread.paused_at is None else thread.paused_at) - thread.opened_at


def limited(**limits: Any) -> BudgetSettings:
    """A budget of nothing but limits."""
    return BudgetSettings(limits=Limits(**limits))
