"""Holding and settling (R10 to R13, R17 to R19): on the whole path or not at all, and what a wish for output comes to."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from organism.budget.claims import CALLS, COST, INPUT, MESSAGES, OUTPUT, TOKENS, VECTOR, Charge, Claim
from organism.budget.crossings import crossings
from organism.budget.node import Node, fire, set_caps
from organism.budget.tree import (
    Lack,
    bears_depth,
    bears_one,
    charge_messages,
    lack,
    lack_of_one,
    note_details,
    output_of,
    output_room,
    put_back,
)
from organism.budget.verdicts import Granted, MustWait, TooMuch, decide
from organism.budget.waiting import Line
from organism.settings import Grace
from tests.budget.budget_tree import PLAIN, arrive, held, made, node, spend, thread, tokens, warning, wish

GRACE = warning(grace=Grace())


# On the whole path


def test_a_hold_takes_on_the_whole_path_and_settling_gives_all_of_it_back() -> None:
    top = node(tokens=1_000, cost_usd=1)
    middle = node(top, tokens=500)
    below = node(middle, name="t.1", model_calls=3)
    claim = Claim(input_tokens=100, wish=50, exact=True, input_cost=7, output_price=2)
    need = held(Line(), below, claim)
    assert need == (150, 100, 50, 107, 1, 0)
    assert all(tuple(each.held) == need for each in below.path)
    put_back(below.path, need, Charge(input_tokens=90, output_tokens=10, cost=27, model_calls=1).amounts)
    assert all(not any(each.held) and each.used == [100, 90, 10, 27, 1, 0] for each in below.path)
    assert (below.own, middle.own, top.own) == ([100, 90, 10, 27, 1, 0], [0] * 6, [0] * 6)


def test_what_one_node_of_the_path_cannot_bear_is_taken_nowhere() -> None:
    top = node(tokens=100)
    below = node(node(top, tokens=1_000), tokens=1_000)
    verdict = arrive(Line(), below, tokens(101))
    assert verdict == TooMuch(Lack(top, TOKENS, 101, for_good=True))
    assert all(not any(each.held) for each in below.path)


@pytest.mark.parametrize("unit", VECTOR[:5])
def test_each_unit_is_a_limit_that_may_be_met_and_not_passed(unit: str) -> None:
    claim = Claim(input_tokens=10, wish=20, exact=True, input_cost=100, output_price=10)
    needed = dict(zip(VECTOR, claim.need(20), strict=True))
    enough: dict[str, Any] = {unit: "0.000000000300" if unit == "cost_usd" else needed[unit]}
    assert held(Line(), thread(**enough), claim) == claim.need(20)
    less: dict[str, Any] = {unit: "0.000000000299" if unit == "cost_usd" else needed[unit] - 1}
    verdict = arrive(Line(), thread(**less), claim)
    assert isinstance(verdict, TooMuch)
    assert (VECTOR[verdict.lack.unit], verdict.lack.need) == (unit, needed[unit])


def test_of_many_calls_at_once_only_those_that_fit_are_granted() -> None:
    """Hard case 1."""
    line, budget = Line(), thread(tokens=1_000)
    verdicts = [arrive(line, budget, tokens(400)) for _ in range(50)]
    assert [isinstance(verdict, Granted) for verdict in verdicts] == [True, True] + [False] * 48
    assert all(isinstance(verdict, MustWait) for verdict in verdicts[2:])
    assert budget.held[TOKENS] == 800


def test_the_place_that_lacks_for_good_is_named_before_one_that_lacks_for_now() -> None:
    top = node(tokens=500)
    below = node(top, tokens=900)
    held(Line(), below, 450)
    assert lack(below.path, tokens(480).need(480)) == Lack(below, TOKENS, 480, for_good=False)
    assert lack(below.path, tokens(501).need(501)) == Lack(top, TOKENS, 501, for_good=True)
    assert lack(below.path, tokens(50).need(50)) is None


def test_what_is_kept_back_is_lacking_but_for_grace() -> None:
    budget = thread(warning(grace=Grace(share=Decimal("0.1"), tokens=2000)), tokens=1_000)
    need = tokens(950).need(950)
    assert lack(budget.path, need) == Lack(budget, TOKENS, 950, for_good=True)
    assert lack(budget.path, need, grace=True) is None


# What was charged


def test_what_was_charged_beyond_the_hold_counts_in_full_and_nothing_more_is_granted() -> None:
    """Hard case 2."""
    policy = warning("0.75", "0.9", "0.95")
    budget = thread(policy, tokens=1_000)
    line = Line()
    need = held(line, budget, 400)
    other = held(line, budget, 300)
    charge = Charge(output_tokens=1_200, model_calls=1).amounts
    put_back(budget.path, need, charge)
    assert (budget.used[TOKENS], budget.held[TOKENS], budget.overdraft[TOKENS]) == (1_200, 300, 500)
    found = crossings(budget.path, charge)
    assert [mark.level for _, _, mark in found] == ["warning", "critical", "final"]
    for each in found:
        fire(*each)
    put_back(budget.path, other, Charge(output_tokens=300, model_calls=1).amounts)
    assert (budget.used[TOKENS], budget.overdraft[TOKENS]) == (1_500, 500)  # that one kept to its hold
    assert crossings(budget.path, charge) == ()
    assert isinstance(arrive(line, budget, tokens(1)), TooMuch)


def test_beyond_the_hold_but_within_the_limit_is_no_overdraft() -> None:
    budget = thread(tokens=1_000)
    put_back(budget.path, held(Line(), budget, 400), Charge(output_tokens=1_000, model_calls=1).amounts)
    assert not any(budget.overdraft)


def test_what_is_overdrawn_bears_not_even_a_call_that_is_free() -> None:
    line, budget = Line(), thread(tokens=1_000, cost_usd="0.000000000100")
    spend(budget, cost=100)
    free = held(line, budget, 10)
    put_back(budget.path, free, Charge(output_tokens=10, cost=1, model_calls=1).amounts)
    verdict = arrive(line, budget, tokens(10))
    assert verdict == TooMuch(Lack(budget, COST, 0, for_good=True))


def test_a_further_attempt_asks_for_no_further_call() -> None:
    line, budget = Line(), thread(tokens=1_000, model_calls=1)
    spend(budget, output_tokens=10)
    assert isinstance(arrive(line, budget, tokens(10)), TooMuch)
    held(line, budget, tokens(10, model_calls=0))
    set_caps(budget, made(tokens=1_000, model_calls=0))  # a running call finishes, the next is refused
    held(line, budget, tokens(10, model_calls=0))
    assert isinstance(arrive(line, budget, tokens(10)), TooMuch)


def test_messages_that_ran_out_do_not_stop_the_call_that_hands_in() -> None:
    budget = thread(tokens=1_000, messages=3)
    charge_messages(budget, 3)
    set_caps(budget, made(tokens=1_000, messages=1))
    assert held(Line(), budget, 10)[MESSAGES] == 0


BOUNDS = st.fixed_dictionaries(
    {}, optional={"messages": st.integers(0, 3), "depth": st.integers(1, 3), "tokens": st.just(100)}
)


@given(path=st.lists(BOUNDS, min_size=1, max_size=3), sent=st.integers(0, 3), depth=st.integers(0, 4))
def test_one_look_finds_whether_a_message_is_borne(path: list[dict[str, Any]], sent: int, depth: int) -> None:
    at: Node | None = None
    for bounds in path:
        at = node(**bounds) if at is None else node(at, **bounds)
    assert at is not None
    charge_messages(at, sent)
    assert bears_one(at, depth) == (lack_of_one(at) is None and bears_depth(at, depth))


def test_a_parent_has_spent_what_it_and_its_children_have() -> None:
    top = node()
    middle = node(top)
    left, right = node(middle), node(middle)
    for each, amount in ((middle, 5), (left, 10), (right, 20)):
        spend(each, output_tokens=amount)
        charge_messages(each, amount)
    assert [each.used[TOKENS] for each in (top, middle, left, right)] == [35, 35, 10, 20]
    assert [each.own[TOKENS] for each in (top, middle, left, right)] == [0, 5, 10, 20]
    assert [each.used[MESSAGES] for each in (top, middle, left, right)] == [35, 35, 10, 20]
    assert [each.own[MESSAGES] for each in (top, middle, left, right)] == [0, 5, 10, 20]


def test_what_is_only_shown_is_summed_as_well() -> None:
    middle = node(node())
    below = node(middle)
    note_details(below.path, Charge(cache_read_tokens=3, cache_write_tokens=2, reasoning_tokens=1, estimated=True))
    note_details(middle.path, Charge(cache_read_tokens=10))
    assert (below.details, below.details_own, below.estimated) == ((3, 2, 1), (3, 2, 1), True)
    assert (middle.details, middle.details_own, middle.estimated) == ((13, 2, 1), (10, 0, 0), True)
    other = node(middle)
    note_details(other.path, Charge())
    assert (other.details, other.estimated) == ((0, 0, 0), False)


# Grace


def test_grace_reaches_into_what_its_own_thread_keeps_back_and_no_further() -> None:
    top = node(policy=GRACE)
    budget = node(top, policy=GRACE, tokens=1_000, model_calls=2)
    line = Line()
    assert isinstance(arrive(line, budget, tokens(901)), TooMuch)
    spend(budget, output_tokens=900)
    assert isinstance(arrive(line, budget, tokens(1)), TooMuch)
    assert isinstance(arrive(line, budget, tokens(101), grace=True), TooMuch)
    assert held(line, budget, 100, grace=True) == (100, 0, 100, 0, 1, 0)
    assert budget.remaining(TOKENS) == budget.remaining(CALLS) == 0


def test_above_its_own_thread_grace_is_a_call_like_any() -> None:
    above = node(node(), policy=GRACE, tokens=1_000)
    below = node(above, policy=GRACE, tokens=1_000)
    spend(above, output_tokens=880)
    verdict = arrive(Line(), below, tokens(21), grace=True)
    assert verdict == TooMuch(Lack(above, TOKENS, 21, for_good=True))
    held(Line(), below, 20, grace=True)


# What a wish comes to


def _output(budget: Node, claim: Claim, *, grace: bool = False) -> int:
    return output_of(claim, output_room(budget.path, claim, grace=grace), grace=grace)


@pytest.mark.parametrize(
    ("claim", "output"),
    [
        (tokens(5_000), 5_000),  # an argument is honoured, or refused
        (wish(400), 400),
        (wish(500), 500),
        (wish(501), 500),
        (wish(4_096), 500),
        (wish(4_096, given=200), 400),
        (wish(4_096, given=872), 64),
        (wish(4_096, given=960), 64),  # that does not fit: it waits, or is refused
        (wish(4_096, given=2_000), 64),
        (wish(30, given=990), 30),  # no more than was wished for, whatever the least is
        (wish(4_096, given=960, least=10), 20),
        (wish(4_096, least=800), 800),
    ],
)
def test_a_wish_is_lowered_to_half_of_what_is_free_and_never_below_the_least(claim: Claim, output: int) -> None:
    assert _output(thread(tokens=1_000), claim) == output


@pytest.mark.parametrize(
    ("limits", "output"),
    [
        ({"tokens": 1_000}, 450),
        ({"output_tokens": 1_000}, 500),
        ({"tokens": 1_000, "output_tokens": 300}, 150),
        ({"input_tokens": 100}, 4_096),
        ({"cost_usd": "0.000000001000"}, 450),  # (1000 - 100 for the input) / 1 for a token
        ({}, 4_096),
    ],
)
def test_the_tightest_unit_says_what_is_free(limits: dict[str, Any], output: int) -> None:
    claim = wish(4_096, given=100, input_cost=100, output_price=1)
    assert _output(thread(**limits), claim) == output


def test_the_tightest_node_says_what_is_free() -> None:
    top = node(tokens=600)
    budget = node(top, tokens=5_000)
    held(Line(), node(top), 200)
    assert _output(budget, wish(4_096)) == 200


def test_a_grace_call_shares_with_nobody_and_may_take_all() -> None:
    budget = thread(GRACE, tokens=1_000)
    assert _output(budget, wish(4_096, given=100)) == 400
    assert _output(budget, wish(4_096, given=100), grace=True) == 900


def test_five_calls_at_once_share_what_is_free() -> None:
    """Hard case 33."""
    line, budget = Line(), thread(tokens=10_000)
    outputs = [held(line, budget, wish(9_000, given=100))[OUTPUT] for _ in range(5)]
    assert outputs == [4_950, 2_425, 1_162, 531, 216]
    assert budget.held[TOKENS] == sum(outputs) + 500 < 10_000


def test_a_lowered_wish_says_so() -> None:
    budget = thread(tokens=1_000)
    assert decide(wish(500), budget.path) == Granted((500, 0, 500, 0, 1, 0), 500, clamped=False)
    assert decide(wish(501), budget.path) == Granted((500, 0, 500, 0, 1, 0), 500, clamped=True)
    assert decide(tokens(1_000), budget.path) == Granted((1_000, 0, 1_000, 0, 1, 0), 1_000, clamped=False)
    assert not any(budget.held)


@pytest.mark.parametrize(
    "limits",
    [{"input_tokens": 99}, {"model_calls": 0}, {"tokens": 90}, {"cost_usd": "0.000000000099"}],
)
def test_there_is_no_room_for_output_where_the_input_does_not_fit(limits: dict[str, Any]) -> None:
    claim = wish(50, given=100, least=0, input_cost=100)
    assert output_room(thread(**limits).path, claim, grace=False) < 0


def test_the_room_for_output_is_what_is_left_beside_the_input() -> None:
    budget = thread(GRACE, tokens=1_000, input_tokens=5_000, model_calls=9)
    assert output_room(budget.path, wish(50, given=100), grace=False) == 800
    assert output_room(budget.path, wish(50, given=100), grace=True) == 900
    assert output_room(thread(PLAIN, tokens=100).path, wish(50, given=100), grace=False) == 0


def test_without_a_limit_everything_fits() -> None:
    line, budget = Line(), thread()
    for _ in range(3):
        held(line, budget, Claim(input_tokens=10**9, wish=10**9, input_cost=10**20, output_price=10**12))
    assert budget.remaining(INPUT) is None
    assert budget.figures(OUTPUT) == (0, 3 * 10**9, None, None)
