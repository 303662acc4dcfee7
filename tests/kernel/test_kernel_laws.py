"""Generated programs on the kernel: whatever handlers, budgets and the outside do, in any order, the laws hold after each
step: the fold of the record is the live state, nothing is lost, nobody waits for ever, every thread ends exactly once.
"""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from organism.budget.claims import Charge, Claim
from organism.kernel.holds import Hold
from organism.message import Forward, Outgoing, Reply, Send
from organism.primitives import BudgetExhausted, BudgetWarning, DeadLetter, HandlerFailed
from organism.settings import AgentSettings, BudgetSettings, Grace, Limits, Loops, OnFailure, Quota
from organism.threads.outcomes import Failure
from tests.hard.pump_world import Go, Odd, Said
from tests.kernel.kernel_world import Delivery, World, handler, organism_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from organism.settings import Settings

NAMES: Final = ("a", "b", "c", "d")
CODES: Final = ("crashed", "timeout", "refused", "exhausted", "cancelled", "stopped", "routing")
LEVELS: Final = {unit: (Decimal("0.5"), Decimal("0.9")) for unit in ("tokens", "model_calls", "messages", "seconds")}

Dice = tuple[int, int, int, int]
"""What decides a step: which move, and three choices within it."""


def limits(**most: int) -> st.SearchStrategy[Limits]:
    """Limits of some units; none, rather generous, or anything from 0 up."""
    return st.builds(Limits, **{unit: st.none() | st.just(top) | st.integers(0, top) for unit, top in most.items()})


INNER = st.builds(
    BudgetSettings,
    limits=limits(messages=12, depth=6, tokens=600, model_calls=4, seconds=40),
    warn_at=st.none() | st.just(LEVELS),
    grace=st.none() | st.builds(Grace, tokens=st.sampled_from([0, 20])),
)
OUTER = st.builds(
    BudgetSettings,
    limits=limits(messages=60, depth=10, tokens=2000, model_calls=20, seconds=100),
    warn_at=st.just(LEVELS),
    runway=st.sampled_from([Decimal(0), Decimal(2)]),
    notify=st.sampled_from([("agent",), ("agent", "caller")]),
    grants_by=st.just("boss"),
    grants_up_to=st.none() | st.just({"tokens": Decimal(900), "messages": Decimal(20)}),
)
HANDLER = st.fixed_dictionaries(
    {
        "accepts": st.lists(st.sampled_from([HandlerFailed, BudgetWarning, BudgetExhausted]), unique=True),
        "says": st.booleans(),
        "budget": st.none() | st.none() | INNER,
        "per": st.sampled_from(["call", "thread"]),
        "concurrency": st.none() | st.none() | st.integers(1, 2),
        "on_failure": st.just(OnFailure())
        | st.builds(
            OnFailure,
            do=st.sampled_from(["reply", "reply", "stop"]),
            attempts=st.integers(1, 3),
            within=st.just(30.0),
            backoff=st.just((1.0, 4.0)),
            retry_on=st.sampled_from([("crashed", "timeout"), ("crashed", "timeout", "validation", "routing")]),
        ),
        "agent": st.none() | st.none() | st.just(AgentSettings(accepts=(Go,), replies=(Said,))),
    }
)


@st.composite
def organisms(draw: st.DrawFn) -> Settings:
    """An organism of four handlers; the first ones know more of the others than the last, or all know all."""
    ring = draw(st.booleans())
    made = []
    for index, name in enumerate(NAMES):
        keys: dict[str, Any] = draw(HANDLER)
        accepts = (Go, DeadLetter, *((Said,) if keys.pop("says") else ()), *keys.pop("accepts"))
        made.append(handler(name, *accepts, peers=NAMES if ring else NAMES[index:], **keys))
    return organism_of(
        *made,
        budget=draw(OUTER),
        ceiling=Quota(limits=draw(limits(messages=150, tokens=5000))),
        dead_letters=draw(st.sampled_from([None, NAMES[-1]])),
        max_handlers=draw(st.integers(1, 5) | st.just(1000)),
        thread_queue=draw(st.integers(1, 8) | st.just(1000)),
        scheduling=draw(st.sampled_from(["breadth-first", "depth-first"])),
        loops=draw(st.sampled_from([None, None, Loops(repeats=2, within=2), Loops(repeats=2, within=9), Loops()])),
    )


class Program:
    """What is done with a world, step by step, as the dice say; a move that nobody can make gives way to another."""

    def __init__(self, organism: Settings) -> None:
        self.world = World(organism)
        self.sent = 0

    def step(self, dice: Dice) -> None:
        """Makes one move and checks the laws."""
        move, *rest = dice
        first = MOVES[move % len(MOVES)]
        for name in (first, "take", "answer", "accept"):
            if getattr(self, name)(*rest):
                break
        self.world.check()

    def picked(self, which: int, may: Callable[[Delivery], bool]) -> Delivery | None:
        """One of the deliveries that may."""
        found = [each for each in self.world.deliveries.values() if may(each)]
        return found[which % len(found)] if found else None

    def accept(self, a: int, b: int, c: int) -> bool:
        """A message comes in."""
        if len(self.world.kernel.state.threads) > 8 or self.sent > 12:
            return False
        self.sent += 1
        budget = {"messages": b % 12, "tokens": 50 * (c % 12)} if a % 4 == 0 else None
        return self.world.accept(NAMES[b % 4], Go(), budget, arm="xy"[a % 2]) is not None

    def take(self, *_: int) -> bool:
        """A handler is called."""
        return self.world.take() is not None

    def answer(self, a: int, b: int, c: int) -> bool:
        """A handler answers."""
        delivery = self.picked(a, lambda each: not each.waits)
        if delivery is None:
            return False
        state = {"x": (c,), "y": None} if a % 3 == 0 else None
        self.world.answer(delivery, *_outgoing(b, c), state=state)
        return True

    def answer_early(self, a: int, b: int, c: int) -> bool:
        """A handler answers while tasks that it leaves behind still ask or call."""
        delivery = self.picked(a, lambda each: each.waits)
        if delivery is None:
            return False
        self.world.answer(delivery, *_outgoing(b, c))
        return True

    def fail(self, a: int, b: int, _c: int) -> bool:
        """A handler fails."""
        delivery = self.picked(a, lambda _: True)
        if delivery is None:
            return False
        self.world.fail(delivery, Failure(CODES[b % len(CODES)], "it failed"))
        return True

    def ask(self, a: int, b: int, c: int) -> bool:
        """A handler asks, also in sibling tasks, and under a shield when it was cancelled."""
        delivery = self.picked(a, lambda each: not each.in_line and len(each.asks) < 3)
        if delivery is None:
            return False
        self.world.ask(delivery, NAMES[b % 4], Odd() if c % 17 == 0 else Go())
        return True

    def abandon(self, a: int, b: int, _c: int) -> bool:
        """An ask times out."""
        delivery = self.picked(a, lambda each: bool(each.asks))
        if delivery is None:
            return False
        self.world.abandon(delivery, delivery.asks[b % len(delivery.asks)])
        return True

    def spawn(self, a: int, b: int, c: int) -> bool:
        """A handler spawns."""
        delivery = self.picked(a, lambda each: not each.waits)
        if delivery is None:
            return False
        self.world.spawn(delivery, NAMES[b % 4], Go(), messages=c % 9 if c % 2 else None)
        return True

    def call(self, a: int, b: int, c: int) -> bool:
        """A handler calls a model."""
        delivery = self.picked(a, lambda each: not each.in_line and len(each.calls) < 3)
        if delivery is None:
            return False
        claim = Claim(input_tokens=1 + b * 5 % 200, wish=1 + c * 7 % 200, exact=b % 2 == 0, min_output=1 + c % 10)
        self.world.call(delivery, claim, wait=c % 4 > 0, grace=b % 7 == 0, streamed=a % 5 == 0)
        return True

    def notice(self, a: int, _b: int, _c: int) -> bool:
        """An agent reads what waits for it."""
        delivery = self.picked(a, lambda each: self.world.kernel.routes[each.message.to].agent)
        if delivery is None:
            return False
        self.world.notice(delivery)
        return True

    def settle(self, a: int, b: int, c: int) -> bool:
        """A model answers."""
        delivery = self.picked(a, lambda each: any(isinstance(call, Hold) for call in each.calls))
        if delivery is None:
            return False
        holds = [call for call in delivery.calls if isinstance(call, Hold)]
        charge = Charge(input_tokens=b * 9 % 300, output_tokens=c * 5 % 300, model_calls=1)
        self.world.settle(delivery, holds[c % len(holds)], charge, text=f"{b}" if b % 3 else "")
        return True

    def give_up(self, a: int, b: int, _c: int) -> bool:
        """A call is cancelled, or one that waits leaves the line."""
        delivery = self.picked(a, lambda each: bool(each.calls))
        if delivery is None:
            return False
        self.world.give_up(delivery, delivery.calls[b % len(delivery.calls)])
        return True

    def stop(self, a: int, b: int, _c: int) -> bool:
        """A thread is cancelled or stopped."""
        threads = list(self.world.kernel.state.threads.values())
        if len(threads) < 3:
            return False
        self.world.stop(threads[a % len(threads)], Failure("cancelled" if b % 2 else "stopped", "from outside"))
        return True

    def limit(self, a: int, b: int, c: int) -> bool:
        """A thread is given other limits."""
        threads = list(self.world.kernel.state.threads.values())
        if len(threads) < 3:
            return False
        self.world.limit(threads[a % len(threads)], messages=b % 60, tokens=c * 20)
        return True

    def grant(self, a: int, b: int, c: int) -> bool:
        """A handler is granted more, or says what it will need."""
        delivery = self.picked(a, lambda _: True)
        if delivery is None:
            return False
        unit = ("tokens", "tokens", "messages", "model_calls", "seconds")[b % 5]
        (self.world.forecast if c % 4 == 0 else self.world.grant)(delivery, unit, 1 + c * 3)
        return True

    def pass_time(self, a: int, _b: int, _c: int) -> bool:
        """Time goes on."""
        self.world.pass_time(1.0 + a % 5)
        return True


MOVES: Final = (
    *["take"] * 6,
    *["answer"] * 6,
    *["ask"] * 5,
    *["call"] * 3,
    *["settle"] * 3,
    *["accept"] * 2,
    *["spawn"] * 2,
    *["fail"] * 2,
    *["abandon", "give_up", "notice", "answer_early", "stop", "limit", "grant", "grant", "pass_time"],
)


def _outgoing(b: int, c: int) -> Sequence[Outgoing]:
    """From no answer up to three; mostly one that its receiver may take."""
    made: list[Outgoing] = []
    for number in range((0, 1, 1, 1, 2, 3)[b % 6]):
        roll = b * 7 + c * 3 + number * 5
        payload: Any = Odd() if roll % 23 == 0 else Said() if roll % 2 else Go()
        to = NAMES[(c + number) % 4]
        made.append((Reply(payload), Send(to, Go()), Send(to, payload), Forward(to, Go()))[roll % 4])
    return made


@settings(
    max_examples=100,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
@given(organism=organisms(), dice=st.lists(st.tuples(*[st.integers(0, 99)] * 4), min_size=30, max_size=80))
def test_the_laws_hold_after_every_step_of_every_program(organism: Settings, dice: list[Dice]) -> None:
    program = Program(organism)
    for each in dice:
        program.step(each)
    program.world.drain()
    program.world.check_end()
