"""Generated programs on the kernel: whatever handlers, budgets and the outside do, in any order, the laws hold after each
step: the fold of the record is the live state, nothing is lost, nobody waits for ever, every thread ends exactly once.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from organism.budget.claims import Charge, Claim
from organism.frames import Failure
from organism.kernel.state import Hold
from organism.message import Forward, Reply, Send
from organism.primitives import BudgetExhausted, BudgetWarning, HandlerFailed
from organism.settings import BudgetSettings, Ceiling, Grace, Limits
from tests.hard.pump_world import Go, Odd, Said
from tests.kernel.kernel_world import Delivery, World, handler, organism_of

NAMES = ("a", "b", "c", "d")
MORE = (Said, HandlerFailed, BudgetWarning, BudgetExhausted)
CODES = ("crashed", "timeout", "refused", "exhausted", "cancelled", "stopped", "routing")
LEVELS = {unit: (Decimal("0.5"), Decimal("0.9")) for unit in ("tokens", "model_calls", "messages", "seconds")}


def limits(**most: int) -> st.SearchStrategy[Limits]:
    """Limits of some units, from 0 up."""
    return st.builds(Limits, **{unit: st.none() | st.integers(0, top) for unit, top in most.items()})


BUDGETS = st.builds(
    BudgetSettings,
    limits=limits(messages=12, depth=6, tokens=300, model_calls=4, seconds=20),
    warn_at=st.none() | st.just(LEVELS),
    grace=st.none() | st.builds(Grace, tokens=st.sampled_from([0, 20])),
)
ROOTS = st.builds(
    BudgetSettings,
    limits=limits(messages=40, depth=10, tokens=1000, model_calls=12, seconds=60),
    warn_at=st.just(LEVELS),
    runway=st.just(Decimal(0)) | st.just(Decimal(2)),
    notify=st.sampled_from([("agent",), ("agent", "caller")]),
)
HANDLERS = st.fixed_dictionaries(
    {
        "accepts": st.lists(st.sampled_from(MORE), unique=True),
        "budget": st.none() | st.none() | BUDGETS,
        "per": st.sampled_from(["call", "thread"]),
        "concurrency": st.none() | st.integers(1, 2),
    }
)
WORLDS = st.fixed_dictionaries(
    {
        "budget": ROOTS,
        "ceiling": st.builds(Ceiling, limits=limits(messages=80, tokens=2000)),
        "max_handlers": st.integers(1, 5) | st.just(1000),
        "scheduling": st.sampled_from(["breadth-first", "depth-first"]),
    }
)
PAYLOADS = st.sampled_from([Go("x"), Go("x"), Go("x"), Said("y"), Odd("z")])
TO = st.sampled_from(NAMES)
OUTGOING = st.one_of(st.builds(Reply, PAYLOADS), st.builds(Send, TO, PAYLOADS), st.builds(Forward, TO, PAYLOADS))
WHICH = st.integers(0, 30)
STATES = st.none() | st.dictionaries(st.sampled_from("xy"), st.none() | st.tuples(st.integers(0, 3)), min_size=1)


class KernelMachine(RuleBasedStateMachine):
    """The rules are what may happen; :class:`World` knows what follows from them."""

    world: World

    @initialize(handlers=st.tuples(*[HANDLERS] * len(NAMES)), keys=WORLDS, peers=st.booleans())
    def begin(self, handlers: tuple[dict[str, Any], ...], keys: dict[str, Any], peers: bool) -> None:  # noqa: FBT001
        made = []
        for index, (name, given) in enumerate(zip(NAMES, handlers, strict=True)):
            accepts = (Go, *given.pop("accepts"))
            others = NAMES if peers else NAMES[index:]
            made.append(handler(name, *accepts, peers=others, **given))
        self.world = World(organism_of(*made, **keys))

    def pick(self, which: int, found: list[Any]) -> Any:
        return found[which % len(found)] if found else None

    def acting(self, which: int) -> Delivery | None:
        """A delivery that can do something by itself."""
        return self.pick(which, [each for each in self.world.deliveries.values() if not each.waits])

    @rule(to=TO, budget=st.none() | st.fixed_dictionaries({"messages": st.integers(0, 9), "tokens": st.integers(0, 500)}))
    def accept(self, to: str, budget: dict[str, int] | None) -> None:
        if len(self.world.kernel.state.threads) < 12:
            self.world.accept(to, Go("x"), budget, arm="blind")

    @rule()
    def take(self) -> None:
        self.world.take()

    @rule(which=WHICH, outgoing=st.lists(OUTGOING, max_size=4), state=STATES)
    def answer(self, which: int, outgoing: list[Any], state: Any) -> None:
        delivery = self.acting(which)
        if delivery is not None:
            self.world.answer(delivery, *outgoing, state=state)

    @rule(which=WHICH)
    def answer_at_once(self, which: int) -> None:
        """Also one that still asks or calls, in tasks that it leaves behind."""
        delivery = self.pick(which, list(self.world.deliveries.values()))
        if delivery is not None:
            self.world.answer(delivery, Reply(Go("early")))

    @rule(which=WHICH, code=st.sampled_from(CODES))
    def fail(self, which: int, code: str) -> None:
        delivery = self.pick(which, list(self.world.deliveries.values()))
        if delivery is not None:
            self.world.fail(delivery, Failure(code, f"it {code}"))

    @rule(which=WHICH, to=TO, payload=PAYLOADS)
    def ask(self, which: int, to: str, payload: Any) -> None:
        """Also while it asks already, in a sibling task; also when it was cancelled, under a shield."""
        delivery = self.pick(which, [each for each in self.world.deliveries.values() if not each.in_line])
        if delivery is not None and len(delivery.asks) < 4:
            self.world.ask(delivery, to, payload)

    @rule(which=WHICH, number=WHICH)
    def abandon(self, which: int, number: int) -> None:
        delivery = self.pick(which, [each for each in self.world.deliveries.values() if each.asks])
        if delivery is not None:
            self.world.abandon(delivery, self.pick(number, delivery.asks))

    @rule(which=WHICH, to=TO, messages=st.none() | st.integers(0, 8))
    def spawn(self, which: int, to: str, messages: int | None) -> None:
        delivery = self.acting(which)
        if delivery is not None:
            self.world.spawn(delivery, to, Go("x"), messages=messages)

    @rule(
        which=WHICH,
        tokens=st.integers(1, 200),
        wish=st.integers(1, 200),
        exact=st.booleans(),
        how=st.sampled_from(["wait", "no wait", "grace"]),
    )
    def call(self, which: int, tokens: int, wish: int, exact: bool, how: str) -> None:  # noqa: FBT001
        delivery = self.pick(which, [each for each in self.world.deliveries.values() if not each.in_line])
        if delivery is not None and len(delivery.calls) < 3:
            claim = Claim(input_tokens=tokens, wish=wish, exact=exact, min_output=min(wish, 10))
            self.world.call(delivery, claim, wait=how != "no wait", grace=how == "grace")

    @rule(which=WHICH, number=WHICH, given=st.integers(0, 400), got=st.integers(0, 400))
    def settle(self, which: int, number: int, given: int, got: int) -> None:
        calling = [each for each in self.world.deliveries.values() if any(isinstance(one, Hold) for one in each.calls)]
        delivery = self.pick(which, calling)
        if delivery is not None:
            hold = self.pick(number, [one for one in delivery.calls if isinstance(one, Hold)])
            self.world.settle(delivery, hold, Charge(input_tokens=given, output_tokens=got, model_calls=1))

    @rule(which=WHICH, number=WHICH)
    def give_up_a_call(self, which: int, number: int) -> None:
        delivery = self.pick(which, [each for each in self.world.deliveries.values() if each.calls])
        if delivery is not None:
            self.world.give_up(delivery, self.pick(number, delivery.calls))

    @precondition(lambda self: len(self.world.kernel.state.threads) > 1)
    @rule(which=WHICH, code=st.sampled_from(["cancelled", "stopped"]))
    def stop(self, which: int, code: str) -> None:
        self.world.stop(self.pick(which, list(self.world.kernel.state.threads.values())), Failure(code, "from outside"))

    @rule(seconds=st.integers(1, 15))
    def pass_time(self, seconds: int) -> None:
        self.world.pass_time(float(seconds))

    @precondition(lambda self: len(self.world.kernel.state.threads) > 1)
    @rule(which=WHICH, messages=st.integers(0, 60), tokens=st.integers(0, 2000))
    def limit(self, which: int, messages: int, tokens: int) -> None:
        thread = self.pick(which, list(self.world.kernel.state.threads.values()))
        self.world.limit(thread, messages=messages, tokens=tokens)

    @invariant()
    def laws(self) -> None:
        if hasattr(self, "world"):
            self.world.check()

    def teardown(self) -> None:
        if hasattr(self, "world"):
            self.world.drain()
            self.world.check_end()


KernelMachine.TestCase.settings = settings(
    max_examples=60,
    stateful_step_count=40,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
TestKernelLaws = KernelMachine.TestCase
