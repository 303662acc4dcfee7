"""Waiting (R14): oldest first, nobody passed over for ever, nobody waiting in vain, and no search among those who must wait."""

from __future__ import annotations

import gc
import sys
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest

from organism.budget.claims import TOKENS, Charge, Claim, Vector
from organism.budget.node import set_caps
from organism.budget.tree import Lack
from organism.budget.verdicts import Granted, MustWait, TooMuch
from organism.budget.waiting import PATIENCE, Line
from organism.settings import Grace
from tests.budget.budget_tree import (
    arrive,
    granted,
    held,
    made,
    node,
    refused,
    settle,
    spend,
    thread,
    tokens,
    waits,
    warning,
    wish,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from organism.budget.node import Node


# Who waits, and who goes


def test_a_call_that_fits_once_what_is_held_has_settled_waits_and_takes_nothing() -> None:
    line, budget = Line(), thread(tokens=1_000)
    first = held(line, budget, 700)
    waiter = waits(line, budget, 400)
    assert (len(line), list(line), budget.held[TOKENS]) == (1, [waiter], 700)
    assert settle(line, budget, first) == [(waiter, Granted((400, 0, 400, 0, 1, 0), 400, clamped=False))]
    assert (len(line), budget.held[TOKENS], budget.crowd) == (0, 400, None)


def test_a_call_that_can_never_fit_does_not_wait() -> None:
    line, budget = Line(), thread(tokens=1_000)
    held(line, budget, 700)
    assert arrive(line, budget, tokens(1_001)) == TooMuch(Lack(budget, TOKENS, 1_001, for_good=True))
    spend(budget, output_tokens=200)
    assert arrive(line, budget, tokens(801)) == TooMuch(Lack(budget, TOKENS, 801, for_good=True))


def test_the_oldest_goes_first_and_a_younger_one_where_the_oldest_does_not_fit() -> None:
    line, budget = Line(), thread(tokens=1_000)
    first, second = held(line, budget, 500), held(line, budget, 500)
    large, small, smaller, youngest = (waits(line, budget, amount) for amount in (900, 300, 300, 950))
    assert granted(settle(line, budget, first)) == [small]
    assert (large.passed, smaller.passed, youngest.passed) == (1, 0, 0)
    assert granted(settle(line, budget, second)) == [smaller]
    assert (large.passed, youngest.passed) == (2, 0)
    assert granted(settle(line, budget, small.least)) == []
    assert granted(settle(line, budget, smaller.least)) == [large]
    assert granted(settle(line, budget, large.least)) == [youngest]


def test_one_release_lets_all_go_that_fit_together() -> None:
    line, budget = Line(), thread(tokens=1_000)
    first = held(line, budget, 1_000)
    waiting = [waits(line, budget, 300) for _ in range(5)]
    assert granted(settle(line, budget, first)) == waiting[:3]
    assert list(line) == waiting[3:]


def test_a_wish_is_lowered_anew_when_its_turn_comes() -> None:
    line, budget = Line(), thread(tokens=1_000)
    first = held(line, budget, 1_000)
    waits(line, budget, wish(900))
    waits(line, budget, wish(900))
    done = settle(line, budget, first)
    assert [verdict.output for _, verdict in done if isinstance(verdict, Granted)] == [500, 250]


def test_who_waits_is_refused_as_soon_as_it_can_never_fit() -> None:
    line, budget = Line(), thread(tokens=1_000)
    first, second = held(line, budget, 400), held(line, budget, 400)
    waiter, lesser = waits(line, budget, 700), waits(line, budget, 600)
    done = settle(line, budget, first, Charge(output_tokens=400, model_calls=1))
    assert done == [(waiter, TooMuch(Lack(budget, TOKENS, 700, for_good=True)))]
    assert granted(settle(line, budget, second)) == [lesser]


def test_what_is_spent_elsewhere_on_its_path_refuses_a_call_that_waits_for_its_own_thread() -> None:
    line, top = Line(), node(tokens=1_000)
    here, there = node(top, tokens=500), node(top)
    held(line, here, 300)
    other = held(line, there, 600)
    waiter = waits(line, here, 450)
    done = settle(line, there, other, Charge(output_tokens=600, model_calls=1))
    assert done == [(waiter, TooMuch(Lack(top, TOKENS, 450, for_good=True)))]


def test_a_lowered_limit_refuses_also_those_who_wait_for_something_else() -> None:
    line, top = Line(), node(tokens=1_000)
    budget = node(top, tokens=900)
    held(line, node(top), 800)
    waiter, lesser = waits(line, budget, 500), waits(line, budget, 300)
    set_caps(budget, made(tokens=400))
    assert line.freed((budget,)) == [(waiter, TooMuch(Lack(budget, TOKENS, 500, for_good=True)))]
    assert list(line) == [lesser]


@pytest.mark.parametrize("limit", [1_200, None])
def test_a_raised_limit_lets_them_go(limit: int | None) -> None:
    line, budget = Line(), thread(tokens=1_000)
    held(line, budget, 900)
    waiter = waits(line, budget, 300)
    set_caps(budget, made(tokens=limit))
    assert granted(line.freed((budget,))) == [waiter]


def test_a_limit_in_another_unit_binds_those_who_wait_already() -> None:
    line, top = Line(), node(tokens=1_000)
    budget = node(top)
    first = held(line, node(top), 900)
    dear = waits(line, budget, Claim(input_tokens=0, wish=300, exact=True, output_price=2))
    cheap = waits(line, budget, 300)
    set_caps(budget, made(cost_usd="0.000000000599"))
    assert refused(line.freed((budget,))) == [dear]
    assert granted(settle(line, top, first)) == [cheap]


def test_a_call_that_lacks_one_thing_after_the_other_waits_for_each() -> None:
    line, top = Line(), node(tokens=1_000)
    here, there = node(top, tokens=500, model_calls=2), node(top)
    own, other = held(line, here, 300), held(line, there, 600)
    calls = held(line, here, 1)
    waiter = waits(line, here, 400)
    assert waiter.node is here
    assert settle(line, here, own) == []
    assert waiter.node is top
    assert settle(line, there, other) == [(waiter, Granted((400, 0, 400, 0, 1, 0), 400, clamped=False))]
    assert settle(line, here, calls) == []


def test_whoever_gives_up_takes_nothing_and_is_gone() -> None:
    line, budget = Line(), thread(tokens=1_000)
    first = held(line, budget, 700)
    waiter, next_ = waits(line, budget, 400), waits(line, budget, 500)
    line.leave(waiter)
    line.leave(waiter)
    assert granted(settle(line, budget, first)) == [next_]
    line.leave(next_)
    assert (len(line), budget.crowd) == (0, None)


def test_a_grace_call_waits_for_its_own_limit_and_for_the_working_limit_above() -> None:
    policy = warning(grace=Grace())
    line, above = Line(), node(node(), policy=policy, tokens=1_000)
    below = node(above, policy=policy, tokens=500)
    first, second = held(line, below, 300), held(line, above, 550)
    waiter = waits(line, below, 480, grace=True)
    assert settle(line, below, first) == []  # 950 would pass the working limit above
    assert settle(line, above, second, Charge(output_tokens=420, model_calls=1)) == [
        (waiter, Granted((480, 0, 480, 0, 1, 0), 480, clamped=False))
    ]
    third = held(line, above, 0)
    other = waits(line, below, 480, grace=True)  # 900 is the working limit above, and 420 are used
    assert refused(settle(line, above, third, Charge(output_tokens=1, model_calls=1))) == [other]


# Patience


def _pass_over(line: Line, budget: Node, times: int) -> None:
    """Grants so many small calls on arrival, one after the other."""
    for _ in range(times):
        assert settle(line, budget, held(line, budget, 50)) == []


def test_one_that_was_passed_over_often_enough_bars_younger_ones() -> None:
    line, budget = Line(), thread(tokens=1_000)
    first = held(line, budget, 600)
    waiter = waits(line, budget, 700)
    _pass_over(line, budget, PATIENCE)
    assert waiter.passed == PATIENCE == 16
    verdict = arrive(line, budget, tokens(50))
    assert verdict == MustWait(Lack(budget, TOKENS, 50, for_good=False))
    younger = waits(line, budget, 50)
    assert granted(settle(line, budget, first)) == [waiter, younger]


def test_who_goes_from_the_line_passes_older_ones_over_as_well() -> None:
    line, budget = Line(patience=3), thread(tokens=1_000)
    keeps = held(line, budget, 500)
    first = held(line, budget, 500)
    large = waits(line, budget, 900)
    small = [waits(line, budget, 100) for _ in range(4)]
    assert granted(settle(line, budget, first)) == small[:3]
    assert (large.passed, list(line)) == (3, [large, small[3]])
    assert settle(line, budget, tokens(100).need(100)) == []
    for _ in range(2):
        settle(line, budget, tokens(100).need(100))
    assert granted(settle(line, budget, keeps)) == [large, small[3]]


def test_a_bar_holds_where_it_lacks_and_nowhere_else() -> None:
    line, top = Line(patience=1), node(tokens=1_000)
    here, there = node(top, tokens=500), node(top)
    own = held(line, here, 300)
    waiter = waits(line, here, 400)
    _pass_over(line, there, 3)
    assert waiter.passed == 0  # they took nothing of what it lacks
    _pass_over(line, here, 1)
    assert isinstance(arrive(line, here, tokens(50)), MustWait)
    held(line, there, 650)
    assert isinstance(arrive(line, there, tokens(50)), MustWait)  # now it lacks above, too
    assert settle(line, here, own) == []
    assert isinstance(arrive(line, there, tokens(50)), MustWait)


def test_when_it_gives_up_those_whom_it_barred_go_on() -> None:
    line, budget = Line(patience=1), thread(tokens=1_000)
    held(line, budget, 600)
    waiter = waits(line, budget, 700)
    _pass_over(line, budget, 1)
    younger = [waits(line, budget, 100) for _ in range(5)]
    line.leave(waiter)
    assert granted(line.freed(waiter.path)) == younger[:4]


def test_one_that_was_barred_elsewhere_than_it_first_stood_goes_when_the_bar_is_lifted() -> None:
    line, top = Line(patience=1), node(tokens=1_000)
    here, there = node(top, tokens=200), node(top)
    own, other = held(line, here, 150), held(line, there, 700)
    barring = waits(line, there, 900)
    _pass_over(line, there, 1)
    younger = waits(line, here, 100)
    assert younger.node is here
    assert settle(line, here, own) == []
    assert younger.node is top
    line.leave(barring)
    assert granted(line.freed(barring.path)) == [younger]
    assert settle(line, there, other) == []


def test_when_it_is_refused_those_whom_it_barred_go_on_also_where_nothing_was_freed() -> None:
    line, top = Line(patience=1), node(tokens=1_000)
    here, there = node(top, tokens=500), node(top)
    held(line, here, 200)
    other = held(line, there, 500)
    barring = waits(line, here, 490)
    _pass_over(line, here, 1)
    younger = waits(line, here, 100)
    done = settle(line, there, other, Charge(output_tokens=520, model_calls=1))
    assert (refused(done), granted(done)) == ([barring], [younger])


def test_one_that_needs_no_further_call_bars_nobody_for_the_lack_of_calls() -> None:
    line, top = Line(patience=1), node(model_calls=9)
    here, there = node(top, tokens=1_000), node(top)
    held(line, here, 600)
    waits(line, here, tokens(700, model_calls=0))
    _pass_over(line, here, 1)
    set_caps(top, made(model_calls=0))
    held(line, there, tokens(50, model_calls=0))
    assert isinstance(arrive(line, here, tokens(50, model_calls=0)), MustWait)


def test_a_further_attempt_that_was_barred_for_the_lack_of_calls_goes_when_the_bar_is_lifted() -> None:
    line, budget = Line(patience=1), thread(tokens=1_000, model_calls=3)
    first, second = held(line, budget, 10), held(line, budget, 10)
    held(line, budget, tokens(900, model_calls=0))
    barring = waits(line, budget, tokens(50, model_calls=2))
    settle(line, budget, held(line, budget, tokens(10, model_calls=0)))
    barred = waits(line, budget, tokens(20, model_calls=0))
    set_caps(budget, made(tokens=1_000, model_calls=1))
    done = line.freed((budget,))
    assert (refused(done), granted(done)) == ([barring], [barred])
    assert settle(line, budget, first) == settle(line, budget, second) == []


def test_a_grace_call_bars_where_it_lacks_of_the_working_limit_above() -> None:
    policy = warning(grace=Grace())
    line, above = Line(patience=1), node(node(), policy=policy, tokens=1_000)
    below = node(above, policy=policy, tokens=500)
    held(line, above, 450)
    waits(line, below, 480, grace=True)
    _pass_over(line, above, 1)
    assert isinstance(arrive(line, above, tokens(50)), MustWait)


# What its own streams hold


def _streams(budget: Node, *, patience: int = PATIENCE, **held_by: int) -> tuple[dict[str, int], Line]:
    """A line that knows what each owner's open streams hold in a thread, in tokens."""

    def stuck(owner: str) -> dict[Node, Vector]:
        return dict.fromkeys(budget.path, tokens(1).need(held_by[owner])) if held_by.get(owner) else {}

    return held_by, Line(stuck, patience=patience)


def _stream(open_: dict[str, int], line: Line, at: Node, amount: int, owner: str) -> Vector:
    need = held(line, at, amount, owner=owner)
    open_[owner] = open_.get(owner, 0) + amount
    line.opened(owner)
    return need


def _close(open_: dict[str, int], line: Line, at: Node, need: Vector, owner: str) -> Any:
    open_[owner] -= need[TOKENS]
    return settle(line, at, need)


def test_a_call_does_not_wait_for_its_own_stream() -> None:
    """Hard case 38."""
    budget = thread(tokens=1_000)
    open_, line = _streams(budget)
    need = _stream(open_, line, budget, 600, "a")
    assert arrive(line, budget, tokens(500), owner="a") == TooMuch(Lack(budget, TOKENS, 500, for_good=True))
    waiter = waits(line, budget, 500, owner="b")
    held(line, budget, 400, owner="a")
    assert granted(_close(open_, line, budget, need, "a")) == [waiter]


def test_it_waits_for_others_as_long_as_that_can_help() -> None:
    budget = thread(tokens=1_000)
    open_, line = _streams(budget)
    _stream(open_, line, budget, 400, "a")
    other = held(line, budget, 300, owner="b")
    waiter = waits(line, budget, 500, owner="a")
    assert granted(settle(line, budget, other)) == [waiter]


def test_it_is_refused_when_what_others_spend_leaves_too_little_beside_its_own_stream() -> None:
    budget = thread(tokens=1_000)
    open_, line = _streams(budget)
    _stream(open_, line, budget, 400, "a")
    other = held(line, budget, 300, owner="b")
    waiter, same = waits(line, budget, 500, owner="a"), waits(line, budget, 500, owner="c")
    done = settle(line, budget, other, Charge(output_tokens=101, model_calls=1))
    assert (refused(done), list(line)) == ([waiter], [same])


def test_a_stream_that_opens_while_it_waits_may_be_what_it_waits_for_in_the_end() -> None:
    budget = thread(tokens=1_000)
    open_, line = _streams(budget)
    other = held(line, budget, 600, owner="b")
    waiter = waits(line, budget, 700, owner="a")
    _stream(open_, line, budget, 350, "a")
    assert settle(line, budget, other) == [(waiter, TooMuch(Lack(budget, TOKENS, 700, for_good=True)))]


def test_so_may_one_that_opens_by_the_same_release() -> None:
    budget = thread(tokens=1_000)
    open_, line = _streams(budget)
    other = held(line, budget, 600, owner="b")
    opening = waits(line, budget, 500, owner="a")
    waiter = waits(line, budget, 600, owner="a")
    assert granted(settle(line, budget, other)) == [opening]
    open_["a"] = 500
    line.opened("a")
    assert refused(line.freed(budget.path)) == [waiter]
    assert line.freed(budget.path) == []


def test_a_stream_that_has_closed_is_not_in_the_way() -> None:
    budget = thread(tokens=1_000)
    open_, line = _streams(budget)
    need = _stream(open_, line, budget, 300, "a")
    other = held(line, budget, 500, owner="b")
    waiter = waits(line, budget, 600, owner="a")
    assert _close(open_, line, budget, need, "a") == []
    assert granted(settle(line, budget, other)) == [waiter]


def test_it_is_refused_where_it_is_barred_by_one_that_waits_for_its_own_stream() -> None:
    budget = thread(tokens=1_000)
    open_, line = _streams(budget, patience=1)
    _stream(open_, line, budget, 500, "a")
    other = held(line, budget, 100, owner="b")
    barring = waits(line, budget, 450, owner="c")
    _pass_over(line, budget, 1)
    waiter = waits(line, budget, 50, owner="a")  # the older one may still go once the other call has settled
    assert granted(settle(line, budget, other)) == [barring, waiter]
    other = held(line, budget, 0, owner="b")
    barring = waits(line, budget, 600, owner="c")
    settle(line, budget, barring.claim.need(450))
    _pass_over(line, budget, 1)
    assert arrive(line, budget, tokens(50), owner="a") == TooMuch(Lack(budget, TOKENS, 50, for_good=True))
    assert isinstance(arrive(line, budget, tokens(50), owner="b"), MustWait)


def test_a_stream_counts_only_at_the_nodes_that_its_owner_holds_it_on() -> None:
    """At the one above a new window has begun since."""
    top = node(tokens=1_000)
    budget = node(top)
    own: dict[str, dict[Node, Vector]] = {"a": {budget: tokens(1).need(1_000)}}
    line = Line(lambda owner: own.get(owner, {}), patience=1)
    other = held(line, budget, 900, owner="b")
    waiter = waits(line, budget, 600, owner="a")
    assert granted(settle(line, budget, other, Charge())) == [waiter]
    older = waits(line, budget, 450, owner="c")
    _pass_over(line, budget, 1)
    barred = waits(line, budget, 50, owner="a")
    assert granted(settle(line, budget, waiter.claim.need(600), Charge())) == [older, barred]


# At what cost


def _steps(run: Callable[[], object]) -> int:
    """How many lines of Python it takes."""
    count: Counter[str] = Counter()

    def trace(_frame: object, event: str, _arg: object) -> Any:
        count[event] += 1
        return trace

    before = sys.gettrace()
    gc.disable()  # what others left behind is none of its steps
    sys.settrace(trace)
    try:
        run()
    finally:
        sys.settrace(before)
        gc.enable()
    return count["line"]


def _crowd(many: int) -> tuple[Line, Node]:
    """So many that wait for a large hold, each in a thread of its own, each for a little more than the last."""
    line, top = Line(), node(tokens=1_000_000)
    held(line, node(top), 600_000)
    for number in range(many):
        waits(line, node(top, tokens=900_000), 500_000 + number)
    return line, top


@pytest.mark.parametrize("case", ["a release that helps nobody", "an arrival", "a refusal", "a give-up"])
def test_what_a_thousand_who_wait_cost_no_more_than_ten_do(case: str) -> None:
    def steps(many: int) -> int:
        line, top = _crowd(many)
        budget = node(top, tokens=900_000)
        need = held(line, budget, 10)
        small = waits(line, budget, 450_000)

        def run() -> None:
            match case:
                case "a release that helps nobody":
                    assert settle(line, budget, need) == []
                case "an arrival":
                    assert isinstance(arrive(line, budget, tokens(410_000)), MustWait)
                case "a refusal":
                    assert refused(settle(line, budget, need, Charge(output_tokens=450_001, model_calls=1))) == [small]
                case _:
                    line.leave(small)
                    assert line.freed(small.path) == []

        return _steps(run)

    assert steps(1_000) == steps(10)


def test_nor_where_each_release_lets_the_oldest_go() -> None:
    def steps(many: int) -> int:
        line, budget = Line(), thread(tokens=1_000)
        need = held(line, budget, 1_000)
        for _ in range(many):
            waits(line, budget, 1_000)
        return _steps(lambda: settle(line, budget, need))

    assert steps(1_000) == steps(100)


def test_nor_where_the_oldest_bars_all_others() -> None:
    def steps(many: int) -> int:
        line, budget = Line(patience=1), thread(tokens=1_000)
        need, other = held(line, budget, 900), held(line, budget, 40)
        waits(line, budget, 970)
        settle(line, budget, held(line, budget, 50))
        for _ in range(many):
            waits(line, budget, 30)
        found = _steps(lambda: settle(line, budget, need))
        assert len(line) == many + 1
        assert len(granted(settle(line, budget, other))) == 2
        return found

    assert steps(1_000) == steps(100)


@pytest.mark.parametrize("owners", ["one", "each"])
def test_nor_where_those_who_wait_have_streams_open(owners: str) -> None:
    def steps(many: int) -> int:
        budget = thread(tokens=1_000_000)
        open_, line = _streams(budget)
        names = [f"{number}" if owners == "each" else "a" for number in range(many)]
        for name in names:
            _stream(open_, line, budget, 10, name)
        held(line, budget, 600_000, owner="b")
        need = held(line, budget, 10, owner="b")
        for name in names:
            waits(line, budget, 500_000, owner=name)
        return _steps(lambda: settle(line, budget, need))

    assert steps(300) == steps(10)


def test_who_has_lost_patience_bars_only_where_it_lacks() -> None:
    """Elsewhere on its path a younger call passes, also where one that is younger still bars."""
    line, top = Line(patience=1), node(tokens=1_000)
    first, second, third = (
        node(top, name=name, tokens=most) for name, most in zip("abc", (100, 900, 100), strict=True)
    )
    held(line, first, 80)
    full = held(line, third, 80)
    lacks_below = waits(line, first, 50)
    between = waits(line, third, 50)
    held(line, second, 700)
    lacks_above = waits(line, second, 500)
    held(line, first, 10)
    assert (lacks_below.passed, between.passed, lacks_above.passed) == (1, 0, 1)
    assert granted(settle(line, third, full)) == [between]


def test_one_that_just_fits_beside_an_own_stream_is_waited_for() -> None:
    """It goes once all else has settled: who holds the stream waits, and is not refused."""
    for of_the_older in (600, 601):
        budget = thread(tokens=1_000)
        _, line = _streams(budget, patience=1, o=400)
        held(line, budget, 400, owner="o")
        held(line, budget, 300)
        older = waits(line, budget, of_the_older)
        held(line, budget, 10)
        assert older.passed == 1
        verdict = arrive(line, budget, tokens(100), owner="o")
        assert isinstance(verdict, MustWait if of_the_older == 600 else TooMuch)
