"""Levels (R15): what is kept back, where each level lies, what each is called, and that each fires once."""

from __future__ import annotations

from decimal import Decimal, localcontext
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import pytest

from organism.budget.caps import NO_LIMIT, caps, level_names
from organism.budget.claims import CALLS, COST, INPUT, MESSAGES, TOKENS, VECTOR
from organism.budget.crossings import crossing, crossings
from organism.budget.node import Node, fire, set_caps, unfired
from organism.budget.tree import charge_messages
from organism.budget.view import BudgetView, Gauge
from organism.settings import Grace, Limits, Policy
from tests.budget.budget_tree import PLAIN, made, node, spend, thread, warning

if TYPE_CHECKING:
    from organism.budget.caps import Mark

STANDARD = Policy()
LEVELS = warning("0.75", "0.9", "0.95")
CENT = 10**10
"""A cent in 10^-12 USD."""


def _at(unit: int, policy: Policy = STANDARD, **limits: Any) -> list[int]:
    return [mark.at for mark in made(policy, **limits).marks[unit]]


def _names(unit: int, policy: Policy, **limits: Any) -> list[str]:
    return [mark.level for mark in made(policy, **limits).marks[unit]]


@pytest.mark.parametrize(
    ("count", "names"),
    [
        (0, ""),
        (1, "final"),
        (2, "warning final"),
        (3, "warning critical final"),
        (5, "warning critical critical critical final"),
    ],
)
def test_the_last_is_final_the_first_warning_and_those_between_critical(count: int, names: str) -> None:
    assert level_names(count) == tuple(names.split())


@pytest.mark.parametrize(
    ("limit", "working", "levels"),
    [
        (300, 270, [203, 243, 257]),
        (1_000, 900, [675, 810, 855]),
        (1_005, 904, [679, 815, 860]),  # 100.5 are kept back: the levels lie between the tokens
        (5_000, 4_500, [3_375, 4_050, 4_275]),
        (100_000, 98_000, [73_500, 88_200, 93_100]),
    ],
)
def test_with_the_default_grace_every_level_fires_at_its_token_and_not_before(
    limit: int, working: int, levels: list[int]
) -> None:
    assert made(STANDARD, tokens=limit).working[TOKENS] == working
    for at, name in zip(levels, ("warning", "critical", "final"), strict=True):
        assert at <= working
        budget = thread(warning("0.75", "0.9", "0.95", grace=Grace()), tokens=limit)
        before = spend(budget, output_tokens=at - 1)
        assert ("t", name) not in before
        assert spend(budget, output_tokens=1) == [("t", name)]


def test_a_jump_fires_all_that_it_passes_in_order_and_nothing_twice() -> None:
    budget = thread(LEVELS, tokens=1_000)
    assert spend(budget, output_tokens=100) == []
    assert spend(budget, output_tokens=860) == [("t", "warning"), ("t", "critical"), ("t", "final")]
    assert spend(budget, output_tokens=0, calls=0) == []
    assert spend(budget, output_tokens=40) == []


def test_every_node_of_the_path_fires_its_own_the_nearest_first() -> None:
    top = node(policy=LEVELS, tokens=1_000)
    middle = node(top, policy=LEVELS, name="a", tokens=1_000)
    below = node(middle, policy=LEVELS, name="a.1", tokens=1_000)
    assert spend(middle, output_tokens=700) == []
    assert spend(below, output_tokens=100) == [("a", "warning"), ("organism", "warning")]
    assert spend(below, output_tokens=700) == [
        ("a.1", "warning"),
        ("a", "critical"),
        ("a", "final"),
        ("organism", "critical"),
        ("organism", "final"),
    ]


def test_money_is_exact_to_the_last_digit() -> None:
    budget = thread(warning("0.75", grace=Grace()), cost_usd="0.50")
    assert budget.caps.working[COST] == 45 * CENT
    assert spend(budget, cost=33_75 * CENT // 100 - 1) == []
    assert spend(budget, cost=1) == [("t", "final")]
    said = crossing(budget, COST, budget.caps.marks[COST][0])
    assert (said.used, said.limit, said.remaining) == (Decimal("0.3375"), Decimal("0.50"), Decimal("0.1125"))


def test_a_limit_finer_than_the_inner_unit_is_met_early_and_never_late() -> None:
    assert made(cost_usd="0.0000000000019").limit[COST] == 1
    assert made(cost_usd="123456789012.345678901234").limit[COST] == 123456789012345678901234
    assert made(cost_usd="10000000000000").limited == (COST,)


def test_the_precision_that_a_handler_gives_its_decimals_moves_no_limit() -> None:
    policy = warning("0.7654321", "1.2345678", grace=Grace(share=Decimal("0.12345678")))
    with localcontext(prec=2):
        found = made(policy, cost_usd="2.23456789", tokens=7_654_321)
        budget = thread(policy, cost_usd="2.23456789")
        assert spend(budget, cost=1_234_567_799_999) == []
        assert spend(budget, cost=1) == [("t", "warning")]
    assert found.limit[COST] == 2_234_567_890_000
    assert found.working[COST] == 1_958_695_333_609
    assert found.working[TOKENS] == 7_652_321
    assert [mark.at for mark in found.marks[COST]] == [1_234_567_800_000, 1_499_248_282_465]
    assert found.marks[TOKENS][1].at == 5_857_333


@pytest.mark.parametrize(
    ("limit", "working", "levels"),
    [(0, 0, []), (1, 1, [1, 1, 1]), (2, 1, [1, 1, 1]), (5, 4, [3, 4, 4]), (50, 49, [37, 45, 47])],
)
def test_one_model_call_is_kept_back_unless_there_is_but_one(limit: int, working: int, levels: list[int]) -> None:
    found = made(STANDARD, model_calls=limit)
    assert found.working[CALLS] == working
    assert [mark.at for mark in found.marks[CALLS]] == levels


def test_levels_that_one_call_reaches_together_fire_together() -> None:
    budget = thread(warning("0.75", "0.9", "0.95"), model_calls=4)
    assert [spend(budget) for _ in range(4)] == [[], [], [("t", "warning")], [("t", "critical"), ("t", "final")]]


def test_where_nothing_is_left_but_what_is_kept_back_there_are_no_levels() -> None:
    policy = warning("0.5", grace=Grace(model_calls=9, share=Decimal(1), tokens=9))
    found = made(policy, tokens=5, model_calls=5)
    assert found.working[TOKENS] == found.working[CALLS] == 0
    assert found.marks[TOKENS] == found.marks[CALLS] == ()


def test_the_organism_and_messages_keep_nothing_back() -> None:
    assert made(STANDARD, keeps_back=False, tokens=1_000, cost_usd=1, model_calls=9).working[:5:2] == (
        1_000,
        NO_LIMIT,
        9,
    )
    assert made(STANDARD, keeps_back=False, cost_usd=1).working[COST] == 100 * CENT
    assert made(STANDARD, messages=300).working[MESSAGES] == 300
    assert _at(MESSAGES, messages=300) == [225, 270, 285]


def test_a_figure_is_a_level_beside_the_shares() -> None:
    policy = warning("0.5", "1", "300", "850")
    found = made(policy, tokens=1_000).marks[TOKENS]
    assert [(mark.at, mark.level, mark.threshold) for mark in found] == [
        (1, "warning", Decimal(1)),
        (300, "critical", Decimal(300)),
        (500, "critical", Decimal("0.5")),
        (850, "final", Decimal(850)),
    ]
    assert _at(COST, policy, cost_usd=10) == [100 * CENT, 500 * CENT]


def test_a_figure_that_use_cannot_reach_is_left_out_and_the_last_below_it_is_final() -> None:
    policy = warning("0.5", "0.9", "950", grace=Grace())
    assert _names(TOKENS, policy, tokens=1_000) == ["warning", "final"]
    assert _names(TOKENS, policy, tokens=2_000) == ["warning", "critical", "final"]
    assert _names(TOKENS, policy) == []


def test_levels_may_differ_by_unit_and_one_that_is_written_twice_counts_once() -> None:
    levels = {"tokens": (Decimal("0.5"), Decimal("0.50")), "messages": (Decimal(200),)}
    found = made(Policy(warn_at=MappingProxyType(levels)), tokens=1_000, messages=300, model_calls=9)
    assert [mark.at for mark in found.marks[TOKENS]] == [450]
    assert [mark.at for mark in found.marks[MESSAGES]] == [200]
    assert found.marks[CALLS] == ()


def test_time_has_levels_too_in_seconds() -> None:
    found = made(warning("0.75", "0.9", "30", "60"), seconds=60.0, depth=7)
    assert found.time_marks == (
        (30.0, "warning", Decimal(30)),
        (45.0, "critical", Decimal("0.75")),
        (54.0, "final", Decimal("0.9")),
    )
    assert (found.seconds, found.depth) == (60.0, 7)
    assert made(LEVELS, seconds=0.0).time_marks == made(LEVELS).time_marks == ()


def test_nodes_of_the_same_settings_share_their_caps() -> None:
    assert made(STANDARD, tokens=1_000) is made(Policy(), tokens=1_000)
    assert made(STANDARD, tokens=1_000) is not made(STANDARD, tokens=1_001)


# Other limits while it runs


def _armed(budget: Node, unit: int = TOKENS) -> list[str]:
    return [str(mark.threshold) for mark in unfired(budget, unit)]


@pytest.mark.parametrize(
    ("limit", "armed"),
    [(1_010, []), (1_011, ["0.95"]), (1_066, ["0.95"]), (1_067, ["0.9", "0.95"]), (1_281, ["0.75", "0.9", "0.95"])],
)
def test_raising_a_limit_arms_exactly_the_levels_above_the_new_share(limit: int, armed: list[str]) -> None:
    budget = thread(LEVELS, tokens=1_000)
    spend(budget, output_tokens=960)
    assert _armed(budget) == []
    set_caps(budget, made(LEVELS, tokens=limit))
    assert _armed(budget) == armed
    fired = spend(budget, output_tokens=limit - 960)
    assert len(fired) == len(armed)
    assert _armed(budget) == []


def test_lowering_a_limit_lets_what_it_passes_fire_with_the_next_settlement() -> None:
    budget = thread(LEVELS, tokens=1_000)
    spend(budget, output_tokens=500)
    set_caps(budget, made(LEVELS, tokens=520))
    assert spend(budget, output_tokens=0) == [("t", "warning"), ("t", "critical"), ("t", "final")]


def test_lowering_a_limit_arms_nothing_that_has_fired() -> None:
    budget = thread(LEVELS, tokens=1_000)
    spend(budget, output_tokens=600)
    for mark in unfired(budget, TOKENS):  # as a first refusal does
        fire(budget, TOKENS, mark)
    set_caps(budget, made(LEVELS, tokens=900))
    assert _armed(budget) == []
    assert spend(budget, output_tokens=300) == []
    set_caps(budget, made(LEVELS, tokens=0))
    set_caps(budget, made(LEVELS, tokens=910))  # 0.95 of it is 864.5, and 900 are used
    assert _armed(budget) == []


def test_a_figure_that_was_reached_stays_so_whatever_the_limit_is_meanwhile() -> None:
    policy = warning("250")
    budget = thread(policy, tokens=1_000)
    assert spend(budget, output_tokens=300) == [("t", "final")]
    for limit in (100, 1_000, None, 2_000):
        set_caps(budget, made(policy, tokens=limit))
        assert _armed(budget) == []
    assert spend(budget, output_tokens=10) == []


def test_a_limit_taken_away_and_given_back_warns_anew() -> None:
    budget = thread(LEVELS, tokens=1_000)
    spend(budget, output_tokens=760)
    set_caps(budget, made(LEVELS))
    assert crossings(budget.path) == ()
    set_caps(budget, made(LEVELS, tokens=1_000))
    assert spend(budget, output_tokens=0) == [("t", "warning")]


# The runway


@pytest.mark.parametrize(
    ("runway", "charge", "said"),
    [("2", 300, False), ("2", 301, True), ("1.5", 360, False), ("1.5", 361, True), ("0", 899, False)],
)
def test_the_runway_is_short_when_what_is_left_bears_fewer_calls_like_the_last(
    runway: str, charge: int, *, said: bool
) -> None:
    budget = thread(warning(runway=runway), tokens=900)
    assert spend(budget, output_tokens=charge) == ([("t", "runway")] if said else [])


def test_the_runway_is_said_once_a_unit_until_the_limit_is_raised() -> None:
    policy = warning(runway="2")
    budget = thread(policy, tokens=1_000, model_calls=6)
    assert spend(budget, output_tokens=400) == [("t", "runway")]
    assert spend(budget, output_tokens=300) == []
    assert [spend(budget, output_tokens=1) for _ in range(3)] == [[], [], [("t", "runway")]]  # of calls: 1 is left
    assert budget.runways == 1 << TOKENS | 1 << CALLS
    set_caps(budget, made(policy, tokens=1_500, model_calls=6))
    assert budget.runways == 1 << CALLS
    assert spend(budget, output_tokens=400) == [("t", "runway")]


def test_what_others_hold_shortens_the_runway() -> None:
    budget = thread(warning(runway="2"), tokens=1_000)
    hold(budget, 500)
    assert spend(budget, output_tokens=200) == [("t", "runway")]


def test_a_call_that_cost_nothing_says_nothing_of_the_runway() -> None:
    budget = thread(warning(runway="2"), tokens=100, model_calls=2, messages=1)
    hold(budget, 100)
    assert spend(budget, calls=0) == []
    assert spend(budget, calls=1) == [("t", "runway")]  # a failed one counts as a call
    assert budget.runways == 1 << CALLS


def test_messages_and_what_cannot_be_spent_at_all_have_no_runway() -> None:
    policy = warning(runway="2")
    budget = thread(policy, messages=5, tokens=0)
    charge_messages(budget, 5)
    set_caps(budget, made(policy, messages=1, tokens=0))
    assert spend(budget, output_tokens=1) == []


def test_levels_come_before_the_runway_and_each_unit_for_itself() -> None:
    budget = thread(warning("0.5", runway="2"), tokens=1_000, input_tokens=600)
    spend(budget, input_tokens=400, output_tokens=200)
    assert budget.runways == 1 << TOKENS | 1 << INPUT
    budget = thread(warning("0.5", runway="2"), tokens=1_000, input_tokens=600)
    found = [(VECTOR[unit], mark.level) for _, unit, mark in _crossed(budget, 400, 200)]
    assert found == [("tokens", "final"), ("input_tokens", "final"), ("tokens", "runway"), ("input_tokens", "runway")]


def hold(budget: Node, tokens: int) -> None:
    """Others hold so many tokens."""
    budget.held = [tokens, 0, 0, 0, 0, 0]


def _crossed(budget: Node, given: int, output: int) -> tuple[tuple[Node, int, Mark], ...]:
    charge = (given + output, given, output, 0, 1, 0)
    budget.used = list(charge)
    return crossings(budget.path, charge)


# What is said


def test_a_crossing_says_whose_limit_it_is_and_what_is_left_of_it() -> None:
    budget = thread(STANDARD, tokens=1_000)
    hold(budget, 150)
    spend(budget, output_tokens=700)
    said = crossing(budget, TOKENS, budget.caps.marks[TOKENS][0])
    assert (said.unit, said.level, said.threshold) == ("tokens", "warning", Decimal("0.75"))
    assert (said.used, said.held, said.limit, said.remaining) == (700, 150, 1_000, 50)
    assert (said.scope, said.thread) == ("thread", "t")
    hold(budget, 900)
    assert crossing(budget, TOKENS, budget.caps.marks[TOKENS][0]).remaining == 0


def test_a_handler_sees_its_budget_live() -> None:
    budget = thread(warning("0.5", "0.9", runway="2", grace=Grace()), tokens=1_000, cost_usd="0.10")
    seen = BudgetView(
        budget,
        seconds=Gauge("seconds", lambda: (2.5, 10.0, ("warning",))),
        depth=Gauge("depth", lambda: (3, None, ())),
    )
    assert (seen.tokens.used, seen.tokens.held, seen.tokens.limit, seen.tokens.remaining) == (0, 0, 1_000, 900)
    assert (seen.messages.used, seen.messages.limit, seen.messages.remaining) == (0, None, None)
    hold(budget, 30)
    spend(budget, output_tokens=460, cost=CENT)
    assert (seen.tokens.used, seen.tokens.held, seen.tokens.remaining) == (460, 30, 410)
    assert (seen.cost_usd.used, seen.cost_usd.remaining) == (Decimal("0.01"), Decimal("0.08"))
    assert (seen.tokens.crossed, seen.cost_usd.crossed) == (("warning", "runway"), ())
    assert repr(seen.tokens) == "<tokens: 460 used, 30 held, limit 1000>"
    assert seen.model_calls.used == 1
    assert (seen.seconds.used, seen.seconds.held, seen.seconds.limit, seen.seconds.remaining) == (2.5, 0, 10.0, 7.5)
    assert (seen.seconds.crossed, repr(seen.seconds)) == (("warning",), "<seconds: 2.5 used, limit 10.0>")
    assert (seen.depth.used, seen.depth.limit, seen.depth.remaining, seen.depth.crossed) == (3, None, None, ())


def test_without_levels_nothing_is_ever_said() -> None:
    budget = thread(PLAIN, tokens=10, model_calls=1)
    assert spend(budget, output_tokens=10) == []
    assert crossings(budget.path) == ()


def test_a_limit_beyond_what_is_counted_is_a_limit() -> None:
    made = caps(Limits(tokens=10**30, cost_usd=Decimal(10**20)), Policy(), keeps_back=False)
    assert {VECTOR[unit] for unit in made.limited} == {"tokens", "cost_usd"}


def test_a_level_of_one_is_a_figure_and_below_one_a_share() -> None:
    assert _at(TOKENS, warning("1"), tokens=1_000) == [1]
    assert _at(TOKENS, warning("0.5", "1", "2"), tokens=1_000) == [1, 2, 500]
    assert _at(TOKENS, warning("0.999"), tokens=1_000) == [999]
    budget = thread(warning("1"), tokens=1_000)
    assert spend(budget, output_tokens=1) == [("t", "final")]
    assert [mark[0] for mark in made(warning("0.5", "1", "0.25"), seconds=10.0).time_marks] == [1.0, 2.5, 5.0]
