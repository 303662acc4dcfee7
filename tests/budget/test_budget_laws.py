"""Laws of budgets (R12 to R15, R19), whatever happens in whatever order: a tree of nodes and a line of waiting calls are driven
as the kernel drives them, beside a naive model of the same rules, and the laws themselves are checked after every step.
"""

from __future__ import annotations

from collections import Counter
from decimal import Decimal
from fractions import Fraction
from types import MappingProxyType
from typing import Any

from attrs import define
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from organism.budget.caps import caps
from organism.budget.claims import CALLS, MESSAGES, NOTHING, VECTOR, Charge, Claim, Vector
from organism.budget.crossings import crossings
from organism.budget.node import Node, fire, set_caps, unfired
from organism.budget.tree import charge_messages, put_back
from organism.budget.verdicts import Granted, MustWait, TooMuch
from organism.budget.waiting import Line, Waiter
from organism.settings import Grace, Limits, Policy
from tests.budget.naive_budget import UNITS, Amounts, Naive, Purse, Wanting, nothing

PATIENCE = 2
COST_OF_INPUT = 3
PICK = st.integers(0, 11)
AMPLE = st.fixed_dictionaries(
    {},
    optional={
        "tokens": st.sampled_from([1000, 1005, 5000]),
        "input_tokens": st.sampled_from([900, 3000]),
        "output_tokens": st.sampled_from([333, 2000]),
        "cost_usd": st.sampled_from(["0.0000000025", "0.00000001"]),
        "model_calls": st.sampled_from([3, 5, 30]),
        "messages": st.sampled_from([4, 9]),
    },
)
TIGHT = st.fixed_dictionaries(
    {},
    optional={
        "tokens": st.sampled_from([0, 7, 300]),
        "input_tokens": st.sampled_from([0, 150]),
        "output_tokens": st.sampled_from([1, 100]),
        "cost_usd": st.sampled_from(["0", "0.000000001"]),
        "model_calls": st.sampled_from([0, 1, 2]),
        "messages": st.sampled_from([0, 1]),
    },
)
LIMITS = st.sampled_from([*"aaaaaaaat"]).flatmap(lambda kind: TIGHT if kind == "t" else AMPLE)
CLAIMS = st.builds(
    lambda given, wish, exact, least, price, calls: Claim(
        input_tokens=given,
        wish=wish,
        exact=exact,
        min_output=min(least, wish),
        input_cost=given * COST_OF_INPUT * (price > 0),
        output_price=price,
        model_calls=calls,
    ),
    st.sampled_from([0, 1, 40, 120, 260, 500]),
    st.sampled_from([1, 30, 100, 240, 700]),
    st.booleans(),
    st.sampled_from([1, 20, 64]),
    st.sampled_from([0, 0, 7]),
    st.sampled_from([1, 1, 0]),
)
GRACES = st.sampled_from(
    [
        Grace(),
        Grace(model_calls=0, share=Decimal(0), tokens=0),
        Grace(model_calls=2, share=Decimal("0.25"), tokens=50),
        Grace(share=Decimal("0.333")),
    ]
)
LEVELS = st.sampled_from(["0.75 0.9 0.95", "", "0.5", "0.1 0.5 4 250", "0.3333 0.95"])
LEVELS_OF_UNITS = st.fixed_dictionaries(dict.fromkeys(UNITS, LEVELS)).map(
    lambda levels: {unit: tuple(Decimal(each) for each in text.split()) for unit, text in levels.items()}
)


@define(eq=False)
class Hold:
    """A granted call: where, what was held for it, and whose open stream it is."""

    node: Node
    need: Vector
    owner: Any
    streamed: bool


class Budgets(RuleBasedStateMachine):
    """organism > threads > sub-threads, a line, and their naive doubles."""

    def __init__(self) -> None:
        super().__init__()
        self.naive = Naive(PATIENCE)
        self.line = Line(self._stuck, patience=PATIENCE)
        self.purses: dict[Node, Purse] = {}
        self.closed: set[Node] = set()
        self.holds: list[Hold] = []
        self.waiters: dict[int, Waiter] = {}
        self.lowered: dict[tuple[Node, int], int] = {}
        self.fired: Counter[tuple[Node, int, Decimal]] = Counter()

    # The tree

    @initialize(limits=LIMITS, levels=LEVELS_OF_UNITS, grace=GRACES, runway=st.sampled_from(["0", "2", "1.5"]))
    def open_organism(self, limits: dict[str, Any], levels: Any, grace: Grace, runway: str) -> None:
        self.policy = Policy(warn_at=MappingProxyType(levels), grace=grace, runway=Decimal(runway))
        self._open(None, limits)
        for number, scope in ((0, "conversation"), (1, "thread"), (0, "thread")):
            self._open(self._nodes()[number], {"tokens": 1000}, scope)

    @rule(above=PICK, limits=LIMITS)
    def open_thread(self, above: int, limits: dict[str, Any]) -> None:
        if len(self._nodes()) < 6:
            self._open(self._pick(above, below_root=False), limits)

    def _open(self, above: Node | None, limits: dict[str, Any], scope: str = "thread") -> None:
        number = len(self.purses)
        made = caps(_limits(limits), self.policy, keeps_back=above is not None)
        node = Node(
            scope if above else "organism", made, self.policy, thread=str(number), above=above.path if above else ()
        )
        grace = self.policy.grace
        self.purses[node] = Purse(
            name=str(number),
            limits=_whole(limits),
            share=grace.share,
            most_tokens=grace.tokens,
            calls=grace.model_calls,
            keeps_back=above is not None,
            levels=self.policy.warn_at,
            runway=self.policy.runway,
            above=self.purses[above] if above else None,
            lasting=node.scope == "conversation",
        )

    @precondition(lambda self: len(self._nodes()) > 2)
    @rule(which=PICK)
    def end_thread(self, which: int) -> None:
        """Nothing new begins there; what is held is settled later, and still charged (R18)."""
        node = self._pick(which)
        if all(node not in each.path or each is node for each in self._nodes()) and not node.crowd:
            self.closed.add(node)

    @rule(which=PICK, limits=LIMITS)
    def set_limits(self, which: int, limits: dict[str, Any]) -> None:
        node = self._pick(which, below_root=False)
        before = node.caps
        set_caps(node, caps(_limits(limits), self.policy, keeps_back=node.path[1:] != ()))
        self.naive.recap(self.purses[node], _whole(limits))
        for unit, (old, new) in enumerate(zip(before.working, node.caps.working, strict=True)):
            # A lower limit that keeps less back may leave the working limit where it was (3 calls less 2, and 1 less none).
            if node.caps.limit[unit] < before.limit[unit]:
                beyond = node.used[unit] + node.held[unit] - node.caps.limit[unit]
                self.lowered[node, unit] = max(beyond, self.lowered.get((node, unit), 0))
            if new > old:
                left = unfired(node, unit)
                assert {mark.threshold for mark in node.caps.marks[unit] if mark.at > node.used[unit]} <= {
                    mark.threshold for mark in left
                }
                for key in [key for key in self.fired if key[:2] == (node, unit)]:
                    if key[2] not in node.fired[unit]:
                        del self.fired[key]
        self._try_waiting((node,))

    @rule(which=PICK, count=st.integers(1, 3))
    def send(self, which: int, count: int) -> None:
        node = self._pick(which)
        if all(each.free(MESSAGES) >= count for each in node.path):
            charge_messages(node, count)
            purse = self.purses[node]
            purse.own["messages"] += count
            for each in purse.path:
                each.used["messages"] += count
            self._cross(node, NOTHING, self.naive.crossed(purse, nothing()))

    # Calls

    @rule(
        which=PICK,
        claim=CLAIMS,
        how=st.sampled_from(["waits", "waits", "at once", "grace"]),
        owner=st.sampled_from([0, 0, 1]),
        streamed=st.sampled_from([False, False, True]),
    )
    def call(self, which: int, claim: Claim, how: str, owner: int, *, streamed: bool) -> None:
        self._call(self._pick(which), claim, how, owner, streamed=streamed)

    @rule(
        which=PICK,
        part=st.sampled_from([Fraction(1, 3), Fraction(1, 2), Fraction(9, 10), Fraction(1)]),
        unit=st.sampled_from([0, 0, 0, 1, 2, 3]),
        grace=st.sampled_from([False, False, False, True]),
        owner=st.sampled_from([0, 1, 2]),
        streamed=st.sampled_from([False, True]),
    )
    def call_for_a_part(
        self, which: int, part: Fraction, unit: int, owner: int, *, grace: bool, streamed: bool
    ) -> None:
        """A call that may have so much of what is not spent: it waits wherever others hold too much of that."""
        node = self._pick(which)
        caps_ = [_caps_at(each, node, grace=grace) for each in node.path]
        rest = min(cap[unit] - each.used[unit] for cap, each in zip(caps_, node.path, strict=True))
        amount = int(min(rest, 10**5) * part)
        if amount > 1:
            given, wish, price = ((1, amount - 1, 0), (amount, 1, 0), (0, amount, 0), (0, 1, amount))[unit]
            claim = Claim(input_tokens=given, wish=wish, exact=True, output_price=price)
            self._call(node, claim, "grace" if grace else "waits", owner, streamed=streamed)

    @rule(which=PICK, owner=st.sampled_from([0, 1]), calls=st.sampled_from([1, 0]))
    def call_a_little(self, which: int, owner: int, calls: int) -> None:
        """What passes over those who need much."""
        claim = Claim(input_tokens=1, wish=20, exact=True, input_cost=COST_OF_INPUT, output_price=1, model_calls=calls)
        self._call(self._pick(which), claim, "waits", owner, streamed=False)

    def _call(self, node: Node, claim: Claim, how: str, delivery: int, *, streamed: bool) -> None:
        owner = (node, delivery)
        grace = how == "grace"
        wanting = Wanting(number=self._next_number(), claim=claim, purse=self.purses[node], grace=grace, owner=owner)
        never = self.naive.never(wanting)
        expected = self.naive.arrive(wanting)
        before = [list(each.held) for each in node.path]
        verdict = self.line.arrive(claim, node.path, owner, grace=grace)
        match verdict:
            case Granted():
                assert expected == "granted"
                self._granted(node, claim, verdict, owner, grace=grace, streamed=streamed)
            case TooMuch(lack=lack):
                assert expected == "refused"
                assert not never or (self.purses[lack.node], VECTOR[lack.unit]) in never
                self._refuse(verdict)
            case MustWait(lack=lack) if how == "at once":
                assert expected == "waits"
                assert [list(each.held) for each in node.path] == before
                self._refuse(verdict)
            case MustWait(lack=lack):
                assert expected == "waits"
                assert lack.node in node.path
                assert lack.unit in lack.node.caps.limited
                waiter = self.line.join(claim, node.path, lack, grace=grace, owner=owner, note=streamed)
                assert waiter.number == wanting.number
                assert [list(each.held) for each in node.path] == before
                self.waiters[waiter.number] = waiter
                self.naive.waiting.append(wanting)

    def _granted(self, node: Node, claim: Claim, granted: Granted, owner: Any, *, grace: bool, streamed: bool) -> None:
        assert granted.need == claim.need(granted.output)
        assert granted.clamped == (granted.output < claim.wish)
        assert granted.output == claim.wish or not claim.exact
        assert granted.output >= min(claim.min_output, claim.wish)
        for each in node.path:  # R12: what was held just now fits, wherever it is measured
            cap = _caps_at(each, node, grace=grace)
            for unit, amount in enumerate(granted.need):
                assert not amount or each.used[unit] + each.held[unit] <= cap[unit]
        self.holds.append(Hold(node, granted.need, owner, streamed))
        if streamed:
            self._opened(owner, granted.need)

    def _refuse(self, verdict: TooMuch | MustWait) -> None:
        """Nobody is refused unwarned: what has not fired of that unit does so now."""
        node, unit = verdict.lack.node, verdict.lack.unit
        rest = unfired(node, unit)
        for mark in rest:
            self._fire(node, unit, mark)
        assert [mark.level for mark in rest] == self.naive.fire_rest(self.purses[node], VECTOR[unit])
        assert not unfired(node, unit)

    @precondition(lambda self: self.holds)
    @rule(which=PICK, charged=st.sampled_from(["nothing", "less", "nothing", "less", "all", "only the call", "more"]))
    def settle(self, which: int, charged: str) -> None:
        hold = self.holds.pop(which % len(self.holds))
        self._settle(hold, _charge(hold.need, charged))

    def _settle(self, hold: Hold, charge: Charge) -> None:
        amounts = charge.amounts
        if hold.streamed:
            self.naive.streams[hold.owner].remove(_named(hold.need))
        put_back(hold.node.path, hold.need, amounts)
        crossed = self.naive.settle(self.purses[hold.node], _named(hold.need), _named(amounts))
        self._cross(hold.node, amounts, crossed)
        self._try_waiting(hold.node.path)

    def _cross(self, node: Node, charge: Vector, expected: list[tuple[str, str, str]]) -> None:
        found = crossings(node.path, charge)
        assert [(each.thread, VECTOR[unit], mark.level) for each, unit, mark in found] == expected
        for each, unit, mark in found:
            self._fire(each, unit, mark)
        assert crossings(node.path) == ()

    def _fire(self, node: Node, unit: int, mark: Any) -> None:
        fire(node, unit, mark)
        key = (node, unit, Decimal(-1) if mark.level == "runway" else mark.threshold)
        self.fired[key] += 1
        assert self.fired[key] == 1, "a level fired twice"

    def _try_waiting(self, path: tuple[Node, ...]) -> None:
        granted: list[tuple[int, Amounts]] = []
        refused: set[int] = set()
        expected_granted: list[tuple[int, Amounts]] = []
        expected_refused: set[int] = set()
        again = True
        while again:
            done = self.line.freed(path)
            more, fewer = self.naive.freed()
            expected_granted += more
            expected_refused |= fewer
            for waiter, verdict in done:
                del self.waiters[waiter.number]
                if isinstance(verdict, Granted):
                    granted.append((waiter.number, _named(verdict.need)))
                    self._granted_later(waiter, verdict)
                else:
                    refused.add(waiter.number)
                    self._refuse(verdict)
            again = bool(done or more or fewer)
        assert granted == expected_granted
        assert refused == expected_refused

    def _granted_later(self, waiter: Waiter, verdict: Granted) -> None:
        # Others were granted with it: what each found free is compared with the naive double's, and the sums with the limits.
        self.holds.append(Hold(waiter.path[0], verdict.need, waiter.owner, waiter.note))
        if waiter.note:
            self._opened(waiter.owner, verdict.need)

    def _opened(self, owner: Any, need: Vector) -> None:
        self.naive.streams.setdefault(owner, []).append(_named(need))
        self.line.opened(owner)

    @precondition(lambda self: self.waiters)
    @rule(which=PICK)
    def give_up(self, which: int) -> None:
        waiter = self.waiters.pop(sorted(self.waiters)[which % len(self.waiters)])
        self.naive.waiting = [each for each in self.naive.waiting if each.number != waiter.number]
        self.line.leave(waiter)
        self.line.leave(waiter)  # whoever comes late finds it gone
        self._try_waiting(waiter.path)

    # Laws

    @invariant()
    def the_two_agree(self) -> None:
        for node, purse in self.purses.items():
            assert _named(node.used) == purse.used
            assert _named(node.held) == purse.held
            assert _named(node.own) == purse.own
            assert _named(node.overdraft) == purse.overdraft
            for unit, name in enumerate(VECTOR):
                left = {mark.threshold for mark in unfired(node, unit)}
                assert left == {level for _, _, level in purse.marks(name) if (name, level) not in purse.fired}
                assert (node.runways >> unit & 1 == 1) == (name in purse.runways)
        assert {each.number: each.passed for each in self.line} == {
            each.number: each.passed for each in self.naive.waiting
        }

    @invariant()
    def nothing_is_held_or_spent_beyond_a_limit(self) -> None:
        """R12."""
        for node in self.purses:
            taken = [hold.need for hold in self.holds if node in hold.node.path]
            assert (
                list(node.held) == [sum(amounts) for amounts in zip(*taken, strict=True)]
                if taken
                else not any(node.held)
            )
            for unit in range(len(VECTOR)):
                assert node.used[unit] >= 0
                beyond = node.used[unit] + node.held[unit] - node.caps.limit[unit]
                assert beyond <= max(node.overdraft[unit], self.lowered.get((node, unit), 0))
                remaining = node.remaining(unit)
                assert remaining is None if unit not in node.caps.limited else remaining == max(0, node.free(unit))

    @invariant()
    def nobody_waits_who_could_go_or_never_can(self) -> None:
        """R14."""
        for waiter in self.line:
            least = waiter.claim.need(waiter.claim.wish if waiter.claim.exact else waiter.claim.min_output)
            places = [
                (node, unit, _caps_at(node, waiter.path[0], grace=waiter.grace))
                for node in waiter.path
                for unit in range(len(VECTOR))
            ]
            assert all(node.used[unit] + least[unit] <= cap[unit] for node, unit, cap in places if least[unit])
            assert any(any(node.held) for node in waiter.path), "nothing is held, and yet it waits"
            if all(node.used[unit] + node.held[unit] + least[unit] <= cap[unit] for node, unit, cap in places):
                assert any(
                    older.number < waiter.number and older.passed >= PATIENCE and set(older.path) & set(waiter.path)
                    for older in self.line
                )

    @invariant()
    def a_parent_has_spent_what_it_and_its_children_have(self) -> None:
        """R19."""
        for node in self.purses:
            children = [each for each in self.purses if each.path[1:2] == (node,)]
            assert node.used == [own + sum(c.used[unit] for c in children) for unit, own in enumerate(node.own)]

    @invariant()
    def a_crowd_is_kept_only_where_somebody_waits(self) -> None:
        for node in self.purses:
            assert (node.crowd is not None) == any(node in waiter.path for waiter in self.line)

    def teardown(self) -> None:
        """When everything has settled nothing is held, and nobody is left in the line."""
        while self.holds:
            hold = self.holds.pop(0)
            self._settle(hold, _charge(hold.need, "less"))
        assert len(self.line) == 0
        assert not self.line._owners
        assert not self.line._numbered
        assert not self.line._changed
        assert all(not any(node.held) for node in self.purses)
        assert all(node.crowd is None for node in self.purses)

    # Helpers

    def _nodes(self) -> list[Node]:
        return [node for node in self.purses if node not in self.closed]

    def _pick(self, number: int, *, below_root: bool = True) -> Node:
        nodes = self._nodes()[1:] if below_root else self._nodes()
        return nodes[number % len(nodes)]

    def _next_number(self) -> int:
        return self.line._next

    def _stuck(self, owner: Any) -> dict[Node, Vector]:
        if not self.naive.streams.get(owner):
            return {}
        node, _ = owner
        return {each: tuple(self.naive.stuck(owner, self.purses[each]).values()) for each in node.path}


def _caps_at(at: Node, caller: Node, *, grace: bool) -> Vector:
    """What a call of ``caller`` is held against at a node of its path: on grace the limit of its own, and of the conversation it is a turn of."""
    own = at is caller or (at.scope == "conversation" and caller.path[1] is at)
    return at.caps.limit if grace and own else at.caps.working


def _limits(limits: dict[str, Any]) -> Limits:
    read: dict[str, Any] = {**limits, "cost_usd": Decimal(limits["cost_usd"])} if "cost_usd" in limits else limits
    return Limits(**read)


def _whole(limits: dict[str, Any]) -> dict[str, int]:
    return {unit: int(Decimal(limit) * 10**12) if unit == "cost_usd" else limit for unit, limit in limits.items()}


def _named(amounts: Any) -> Amounts:
    return dict(zip(UNITS, amounts, strict=True))


def _charge(need: Vector, charged: str) -> Charge:
    _, given, output, cost, calls, _ = need
    match charged:
        case "all":
            return Charge(input_tokens=given, output_tokens=output, cost=cost, model_calls=calls)
        case "less":
            return Charge(input_tokens=given, output_tokens=output // 3, cost=cost // 2, model_calls=calls)
        case "more":
            return Charge(input_tokens=given * 2, output_tokens=output * 3, cost=cost * 3, model_calls=calls)
        case "only the call":
            return Charge(model_calls=calls)
        case _:
            return Charge()


def test_a_limit_that_is_lowered_while_the_working_limit_stays_leaves_what_is_held_beyond_it() -> None:
    """Once found by chance: the laws took a limit for lowered only where its working limit sank."""
    state = Budgets()
    levels = MappingProxyType(dict.fromkeys(UNITS, ()))
    keeps_two = Grace(model_calls=2, share=Decimal(0), tokens=0)
    state.open_organism(limits={}, levels=levels, grace=keeps_two, runway="0")
    for _ in range(3):
        state.call_a_little(which=0, owner=0, calls=1)
    thread = state._nodes()[1]
    for limit, beyond in ((3, 0), (1, 2)):
        state.set_limits(which=1, limits={"model_calls": limit})
        assert thread.caps.working[CALLS] == 1
        assert thread.used[CALLS] + thread.held[CALLS] - thread.caps.limit[CALLS] == beyond
        state.the_two_agree()
        state.nothing_is_held_or_spent_beyond_a_limit()
    state.call_a_little(which=0, owner=0, calls=1)
    assert thread.held[CALLS] == 3, "nothing more is granted"
    state.teardown()


TestBudgets = Budgets.TestCase
TestBudgets.settings = settings(max_examples=40, stateful_step_count=60)
