"""All nodes of budgets under whatever happens in whatever order: a ceiling with a window, accounts, conversations, threads and
sub-threads; handlers that ask, send, spawn and call; every way out of a call; limits that rise and sink; windows that roll; a
process that dies and is taken up again. The laws are R12, R14, R15 and R19, kept by books of the test's own.

A longer form: ``python benchmarks/machine.py MINUTES``.
"""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

from attrs import evolve
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from organism.budget.claims import Charge, Claim
from organism.budget.waiting import Waiter
from organism.kernel.holds import Hold
from organism.message import Forward, Reply, Send
from organism.payloads.primitives import BudgetRequest
from organism.primitives import BudgetExhausted, BudgetWarning, HandlerFailed
from organism.settings import AgentSettings, BudgetSettings, ConversationSettings, Grace, Limits, Quota, Settings
from organism.threads.outcomes import Failure
from tests.budget.naive_budget import UNITS
from tests.hard.pump_world import Go, Said
from tests.kernel.budget_world import BudgetWorld
from tests.kernel.kernel_world import Delivery, handler

if TYPE_CHECKING:
    from collections.abc import Mapping

    from organism.threads.frames import Thread

NAMES: Final = ("a", "b", "c", "d")
ACCOUNTS: Final[tuple[tuple[str, ...], ...]] = (
    (), ("team:a",), ("tenant:b",), ("team:a", "tenant:b"), ("team:a", "tenant:a"), ("tenant:b", "team:b"),
)  # fmt: skip
CONVERSATIONS: Final[Mapping[str, tuple[str, ...]]] = {"plain": (), "paid": ("team:a", "tenant:b")}
STARTS: Final = (0.0, datetime(2026, 12, 31, 23, 58, 20, tzinfo=UTC).timestamp(), 1_800_000_000.25)
LEVELS: Final = tuple(
    {unit: tuple(map(Decimal, text.split())) for unit in (*UNITS, "seconds")}
    for text in ("0.75 0.9", "0.5 300", "0.95")
)

PICK = st.integers(0, 11)
TO = st.sampled_from(NAMES)
PARTS = st.sampled_from([1, 2, 3, 4])
NOTIFY: st.SearchStrategy[Any] = st.sampled_from([("agent",), ("agent", "caller")])
WINDOWS = st.sampled_from(["run", "hour", "day", "month", "total"])


def limits(most: int) -> st.SearchStrategy[Limits]:
    """Limits of some units, up to so many tokens; now and then tight ones."""
    return st.builds(
        Limits,
        tokens=st.sampled_from([None, most, most, most // 3]),
        input_tokens=st.sampled_from([None, None, most]),
        output_tokens=st.sampled_from([None, None, most // 2]),
        cost_usd=st.sampled_from([None, None, Decimal(most) / 10**11]),
        model_calls=st.sampled_from([None, most // 100, most // 300]),
        messages=st.sampled_from([None, most // 50, most // 50]),
        depth=st.sampled_from([None, None, 5]),
    )


def quotas(most: int) -> st.SearchStrategy[Quota]:
    return st.builds(Quota, limits=limits(most).map(lambda each: evolve(each, depth=None)), window=WINDOWS)


@st.composite
def budgets(draw: st.DrawFn, most: int) -> BudgetSettings:
    return BudgetSettings(
        limits=draw(limits(most)),
        warn_at=draw(st.none() | st.sampled_from(LEVELS)),
        grace=draw(st.none() | st.just(Grace(share=Decimal("0.25"), tokens=100))),
        runway=draw(st.none() | st.just(Decimal(0))),
    )


@st.composite
def organisms(draw: st.DrawFn) -> Settings:
    agent = AgentSettings(accepts=(Go,), replies=(Said,))
    made = (
        handler("a", Go, Said, HandlerFailed, BudgetWarning, peers=NAMES),
        handler("b", Go, peers=NAMES, agent=agent, budget=draw(st.none() | budgets(1200))),
        handler("c", Go, Said, BudgetExhausted, peers=NAMES, per="thread", budget=draw(budgets(1500))),
        handler("d", Go, peers=NAMES, budget=draw(budgets(900)), concurrency=draw(st.none() | st.just(2))),
    )
    budget = evolve(
        draw(budgets(3000)),
        grants_by="a",
        grants_up_to=draw(st.none() | st.just({"tokens": Decimal(800), "model_calls": Decimal(3)})),
        notify=draw(NOTIFY),
    )
    return Settings(
        name="test",
        handlers={each.name: each for each in made},
        budget=evolve(budget, limits=evolve(budget.limits, seconds=draw(st.sampled_from([None, None, 300.0])))),
        conversation=ConversationSettings(budget=draw(budgets(4000))),
        ceiling=draw(quotas(9000)),
        accounts={name: draw(quotas(6000)) for name in ("team", "tenant", "tenant:b")},
        max_handlers=draw(st.sampled_from([3, 1000])),
    )


CLAIMS = st.builds(
    lambda given, wish, least, price: Claim(
        input_tokens=given, wish=wish, min_output=min(least, wish), exact=True,
        input_cost=3 * given * (price > 0), output_price=price,
    ),
    st.sampled_from([0, 1, 40, 120, 300]),
    st.sampled_from([1, 30, 100, 240, 700]),
    st.sampled_from([1, 20, 64]),
    st.sampled_from([0, 7]),
)  # fmt: skip


class BudgetMachine(RuleBasedStateMachine):
    """A kernel, its handlers and its outside, played by hand."""

    world: BudgetWorld
    safe_until = 10
    """Facts before the next crash: nobody waits after one, and nothing is held."""

    @initialize(organism=organisms(), patience=st.sampled_from([2, 3, 16]), start=st.sampled_from(STARTS), to=TO)
    def begin(self, organism: Settings, patience: int, start: float, to: str) -> None:
        self.world = BudgetWorld(organism, patience, start)
        for accounts in ACCOUNTS[3:5]:
            self.world.open(to, Go(), accounts=accounts)
        self.world.take()

    # Whom it concerns

    def _free(self, which: int) -> Delivery | None:
        """A delivery that can do something; the next one is taken where there is none."""
        found = [each for each in self.world.deliveries.values() if not each.waits]
        if not found:
            taken = self.world.take()
            return taken if taken is not None and not taken.waits else None
        return found[which % len(found)]

    def _caller(self, which: int) -> Delivery | None:
        """A delivery that may call, also beside calls that it has out."""
        found = [each for each in self.world.deliveries.values() if not each.in_line and len(each.calls) < 4]
        return found[which % len(found)] if found else self._free(which)

    def _out(self, which: int) -> tuple[Delivery, Hold] | None:
        found = [
            (each, call) for each in self.world.deliveries.values() for call in each.calls if isinstance(call, Hold)
        ]
        return found[which % len(found)] if found else None

    def _are_out(self, number: int) -> bool:
        """Whether so many calls are; some are left out, so that others come to wait for them."""
        return sum(isinstance(call, Hold) for each in self.world.deliveries.values() for call in each.calls) >= number

    def _thread(self, which: int) -> Thread | None:
        found = list(self.world.kernel.state.threads.values())
        return found[which % len(found)] if found else None

    # From outside

    @rule(to=TO, accounts=st.sampled_from(ACCOUNTS), budget=st.none() | budgets(2500), arm=st.sampled_from("xy"))
    def open_a_thread(self, to: str, accounts: tuple[str, ...], budget: BudgetSettings | None, arm: str) -> None:
        if len(self.world.kernel.state.threads) < 10:
            self.world.open(to, Go(), budget, accounts=accounts, arm=arm)

    @rule(to=TO, conversation=st.sampled_from(sorted(CONVERSATIONS)))
    def open_a_turn(self, to: str, conversation: str) -> None:
        if len(self.world.kernel.state.threads) < 10:
            self.world.open(to, Go(), accounts=CONVERSATIONS[conversation], conversation=conversation)

    @rule(budget=budgets(2500), accounts=st.sampled_from(ACCOUNTS))
    def open_a_thread_without_handlers(self, budget: BudgetSettings, accounts: tuple[str, ...]) -> None:
        if len(self.world.bare) < 3:
            self.world.open_bare(budget, accounts)

    @precondition(lambda self: self.world.bare)
    @rule(which=PICK, claim=CLAIMS, how=st.sampled_from(["", "grace", "streamed", "streamed"]), exact=st.booleans())
    def call_in_a_thread_without_handlers(self, which: int, claim: Claim, how: str, *, exact: bool) -> None:
        thread = list(self.world.bare)[which % len(self.world.bare)]
        claim = evolve(claim, exact=exact, wish=claim.wish * 2)
        self.world.call_bare(thread, claim, grace=how == "grace", streamed=how == "streamed")

    @precondition(lambda self: any(self.world.bare.values()))
    @rule(which=PICK, charged=st.sampled_from(["all", "less", "more", "cut", "nothing"]))
    def end_a_call_without_handlers(self, which: int, charged: str) -> None:
        found = [(thread, call) for thread, calls in self.world.bare.items() for call in calls]
        thread, call = found[which % len(found)]
        self.world.settle_bare(thread, call, charge_of(call, charged, 2) if isinstance(call, Hold) else Charge())

    @precondition(lambda self: self.world.bare)
    @rule(which=PICK)
    def close_a_thread_without_handlers(self, which: int) -> None:
        self.world.close(list(self.world.bare)[which % len(self.world.bare)])

    @rule(which=PICK, code=st.sampled_from(["cancelled", "stopped"]))
    def stop_a_thread(self, which: int, code: Any) -> None:
        thread = self._thread(which)
        if thread is not None and len(self.world.kernel.state.threads) > 2:
            self.world.stop(thread, Failure(code, "from outside"))

    @rule(which=PICK)
    def pause_or_resume(self, which: int) -> None:
        self.world.pause(which)

    @rule(which=PICK, unit=st.sampled_from(["tokens", "model_calls", "messages"]), more=st.sampled_from([1, 5, 400]))
    def raise_a_limit(self, which: int, unit: str, more: int) -> None:
        thread = self._thread(which)
        if thread is not None and (limit := getattr(thread.budget.limits, unit)) is not None:
            self.world.set_limits(thread, **{unit: limit + more})

    @rule(which=PICK, unit=st.sampled_from(["tokens", "model_calls", "messages", "seconds"]), part=PARTS)
    def lower_a_limit(self, which: int, unit: str, part: int) -> None:
        """Also one that was not there; also below what is used and held."""
        thread = self._thread(which)
        if thread is not None:
            limit = getattr(thread.budget.limits, unit)
            start: float = {"tokens": 800, "model_calls": 5, "messages": 20, "seconds": 300.0}[unit]
            least: Any = (start if limit is None else limit) * part
            self.world.set_limits(thread, **{unit: least / 5 if unit == "seconds" else least // 5})

    @rule(which=PICK, budget=budgets(4000))
    def limit_a_conversation(self, which: int, budget: BudgetSettings) -> None:
        """Higher, lower, or none any more; and other levels."""
        known = sorted(self.world.kernel.state.conversations)
        if known:
            before = self.world.kernel.state.conversations[known[which % len(known)]]
            self.world.limit_conversation(before.id, evolve(before.budget, limits=budget.limits))

    @rule(
        which=PICK,
        unit=st.sampled_from(["tokens", "model_calls", "messages", "cost_usd"]),
        amount=st.sampled_from([1, 3, 500]),
    )
    def grant(self, which: int, unit: str, amount: int) -> None:
        delivery = self._free(which)
        if delivery is None:
            return
        asked = BudgetRequest(
            unit=unit, amount=Decimal(amount) / (10**9 if unit == "cost_usd" else 1), reason="more to do"
        )
        key = self.world._key(delivery, "grant")
        self.world.kernel.grants.grant(delivery.message, asked, asked.amount, reason="", key=key, at=self.world.now)
        self.world.carry_out()

    # Handlers

    @rule()
    def take(self) -> None:
        self.world.take()

    @rule(which=PICK, to=TO)
    def ask(self, which: int, to: str) -> None:
        """Also beside what it asks already."""
        delivery = self._caller(which)
        if delivery is not None and len(delivery.asks) < 3:
            self.world.ask(delivery, to, Go())

    @rule(which=PICK)
    def abandon_an_ask(self, which: int) -> None:
        found = [(each, ask) for each in self.world.deliveries.values() for ask in each.asks]
        if found:
            self.world.abandon(*found[which % len(found)])

    @rule(which=PICK, to=st.lists(TO, min_size=1, max_size=3))
    def send(self, which: int, to: list[str]) -> None:
        delivery = self._free(which)
        if delivery is not None:
            self.world.answer(delivery, *(Send(each, Go()) for each in to))

    @rule(which=PICK, to=TO)
    def hand_on(self, which: int, to: str) -> None:
        delivery = self._free(which)
        if delivery is not None:
            self.world.answer(delivery, Forward(to, Go()))

    @rule(which=PICK)
    def reply(self, which: int) -> None:
        delivery = self._free(which)
        if delivery is not None:
            self.world.answer(delivery, Reply(Said()), state={"x": (which,)})

    @rule(which=PICK, code=st.sampled_from(["crashed", "timeout", "exhausted"]))
    def fail(self, which: int, code: Any) -> None:
        """Also while it waits."""
        found = list(self.world.deliveries.values())
        if found:
            self.world.fail(found[which % len(found)], Failure(code, "it failed"))

    @rule(which=PICK, to=TO, inner=limits(1000))
    def spawn(self, which: int, to: str, inner: Limits) -> None:
        delivery = self._free(which)
        if delivery is not None and len(self.world.kernel.state.threads) < 12:
            found = {unit: getattr(inner, unit) for unit in (*UNITS, "depth")}
            self.world.spawn(delivery, to, Go(), **found)

    @rule(which=PICK)
    def read_notices(self, which: int) -> None:
        found = [each for each in self.world.deliveries.values() if each.message.to == "b"]
        if found:
            self.world.notice(found[which % len(found)])

    # Calls

    @rule(which=PICK, claim=CLAIMS)
    def call(self, which: int, claim: Claim) -> None:
        self._call(which, claim)

    @rule(which=PICK, claim=CLAIMS)
    def call_at_once_or_not_at_all(self, which: int, claim: Claim) -> None:
        self._call(which, claim, wait=False)

    @rule(which=PICK, claim=CLAIMS)
    def call_for_what_there_is(self, which: int, claim: Claim) -> None:
        """Its output may be lowered."""
        self._call(which, evolve(claim, exact=False, wish=claim.wish * 3))

    @rule(
        which=PICK,
        unit=st.sampled_from(["tokens", "tokens", "input_tokens", "cost_usd"]),
        part=PARTS,
        streamed=st.sampled_from([False, False, True]),
    )
    def call_for_most(self, which: int, unit: str, part: int, *, streamed: bool) -> None:
        self._call_for_most(which, unit, part, streamed=streamed)

    @rule(which=PICK, parts=st.lists(PARTS, min_size=2, max_size=6))
    def many_call_at_once(self, which: int, parts: list[int]) -> None:
        """Most of them wait, and some for what others wait for."""
        self.world.take()
        for number, part in enumerate(parts):
            self._call_for_most(which + number, "tokens", part)

    def _call_for_most(self, which: int, unit: str, part: int, *, streamed: bool = False) -> None:
        """For so many quarters of all that is not spent."""
        delivery = self._caller(which)
        if delivery is None:
            return
        nodes = self.world.books.threads[delivery.message.thread.id].pocket.nodes
        left = [int(each.working(unit)) - each.used[unit] for each in nodes if unit in each.limits]
        amount = min([5000, *left]) * part // 4
        if amount > 1:
            of_unit = {"tokens": (0, amount, 0), "input_tokens": (amount, 1, 0), "cost_usd": (0, 1, amount)}
            given, wish, price = of_unit[unit]
            claim = Claim(input_tokens=given, wish=wish, exact=True, output_price=price)
            self.world.call_model(delivery, claim, streamed=streamed)

    @rule(which=PICK, claim=CLAIMS)
    def call_for_a_stream(self, which: int, claim: Claim) -> None:
        self._call(which, claim, streamed=True)

    @rule(which=PICK, claim=CLAIMS, exact=st.booleans())
    def call_on_grace(self, which: int, claim: Claim, *, exact: bool) -> None:
        self._call(which, evolve(claim, exact=exact), grace=True)

    @precondition(lambda self: self._are_out(1))
    @rule(which=PICK, claim=CLAIMS, charged=st.sampled_from(["nothing", "cut"]))
    def try_again(self, which: int, claim: Claim, charged: str) -> None:
        """An attempt has failed; a further one is no further call (R11, R18)."""
        out = self._out(which)
        if out is None:
            return
        delivery, hold = out
        self.world.settle(delivery, hold, charge_of(hold, charged))
        if delivery.message in self.world.deliveries and not delivery.in_line:
            self.world.call_model(delivery, evolve(claim, model_calls=0), attempt=2, grace=hold.grace)

    @rule(which=PICK, times=st.sampled_from([2, 5, 18]))
    def call_a_little_again_and_again(self, which: int, times: int) -> None:
        """What passes over those who need much."""
        delivery = self._free(which)
        for _ in range(times):
            if delivery is None or delivery.waits or delivery.cancelled:
                return
            verdict = self.world.call_model(delivery, Claim(input_tokens=0, wish=1, exact=True), wait=False)
            if not isinstance(verdict, Hold):
                return
            self.world.settle(delivery, verdict, Charge())

    def _call(self, which: int, claim: Claim, **how: bool) -> None:
        delivery = self._caller(which)
        if delivery is not None:
            self.world.call_model(delivery, claim, **how)

    # Ways out

    @precondition(lambda self: self._are_out(2))
    @rule(which=PICK)
    def settle_exactly(self, which: int) -> None:
        self._settle(which, "all")

    @precondition(lambda self: self._are_out(2))
    @rule(which=PICK)
    def settle_less(self, which: int) -> None:
        self._settle(which, "less")

    @precondition(lambda self: self._are_out(2))
    @rule(which=PICK, times=st.sampled_from([2, 30]))
    def settle_more(self, which: int, times: int) -> None:
        self._settle(which, "more", times)

    @precondition(lambda self: self._are_out(2))
    @rule(which=PICK)
    def release(self, which: int) -> None:
        """It cost nothing, as where a server has refused it."""
        self._settle(which, "nothing")

    @precondition(lambda self: self._are_out(2))
    @rule(which=PICK)
    def cut(self, which: int) -> None:
        """Nobody says what it cost: what went out and what came back is estimated."""
        self._settle(which, "cut")

    def _settle(self, which: int, charged: str, times: int = 1) -> None:
        out = self._out(which)
        if out is not None:
            self.world.settle(*out, charge_of(out[1], charged, times), text="said")

    @rule(which=PICK)
    def cancel_a_waiting_call(self, which: int) -> None:
        found = [
            (each, call) for each in self.world.deliveries.values() for call in each.calls if isinstance(call, Waiter)
        ]
        if found:
            self.world.give_up(*found[which % len(found)])

    @precondition(lambda self: self._are_out(1))
    @rule(which=PICK, fails=st.booleans())
    def end_before_a_call_does(self, which: int, *, fails: bool) -> None:
        """A delivery leaves streams open, and calls of its tasks."""
        out = self._out(which)
        if out is not None:
            self.world.leave_out(out[0])
            if fails:
                self.world.fail(out[0])
            else:
                self.world.answer(out[0])

    @precondition(lambda self: self.world.late)
    @rule(which=PICK, charged=st.sampled_from(["nothing", "cut", "all", "more"]))
    def settle_late(self, which: int, charged: str) -> None:
        hold = self.world.late[which % len(self.world.late)]
        self.world.settle_late(hold, charge_of(hold, charged, 2))

    # Time

    @rule(seconds=st.sampled_from([0.0, 1.0, 20.0, 90.5]))
    def pass_time(self, seconds: float) -> None:
        self.world.pass_time(seconds)

    @rule(kind=st.sampled_from(["hour", "day", "month"]), beyond=st.sampled_from([0.0, 0.5, 4000.0]))
    def roll_a_window(self, kind: str, beyond: float) -> None:
        """To the very end of a window, or beyond it; whatever is held then belongs to the old one."""
        self.world.pass_time(end_of_window(kind, self.world.now) + beyond - self.world.now)

    @rule(which=PICK)
    def snapshot(self, which: int) -> None:
        self.world.snapshot(which)

    @precondition(lambda self: len(self.world.facts) >= self.safe_until)
    @rule(down=st.sampled_from([0.0, 5.0, 3600.0, 90_000.0]))
    def crash_and_restore(self, down: float) -> None:
        self.world.crash(down)
        self.safe_until = len(self.world.facts) + 25

    # Laws

    @invariant()
    def the_laws_hold(self) -> None:
        if hasattr(self, "world"):
            self.world.check()

    def teardown(self) -> None:
        """Everything comes to its end; nothing stays held, and nothing is left of any thread."""
        if hasattr(self, "world") and sys.exception() is None:  # else one law is broken already
            self.world.drain()
            self.world.check()
            self.world.check_end()


def charge_of(hold: Hold, charged: str, times: int = 1) -> Charge:
    """What a call costs, by what was held for it."""
    _, given, output, cost, calls, _ = hold.need
    match charged:
        case "all":
            return Charge(input_tokens=given, output_tokens=output, cost=cost, model_calls=calls)
        case "less":
            return Charge(input_tokens=given // 2, output_tokens=output // 3, cost=cost // 3, model_calls=calls)
        case "more":
            return Charge(
                input_tokens=given * times, output_tokens=output * times + 1, cost=cost * times, model_calls=calls
            )
        case "cut":
            return Charge(
                input_tokens=given, output_tokens=output // 2, cost=cost // 2, model_calls=calls, estimated=True
            )
        case _:
            return Charge()


def end_of_window(kind: str, at: float) -> float:
    """Where the calendar's hour, day or month ends that an instant lies in."""
    if kind != "month":
        length = 3600 if kind == "hour" else 86400
        return (at // length + 1) * length
    day = datetime.fromtimestamp(at, UTC)
    following = day.replace(year=day.year + day.month // 12, month=day.month % 12 + 1, day=1)
    return following.replace(hour=0, minute=0, second=0, microsecond=0).timestamp()


CHECKS: Final = (HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much)
TestBudgetMachine = BudgetMachine.TestCase
TestBudgetMachine.settings = settings(max_examples=40, stateful_step_count=50, suppress_health_check=CHECKS)
