"""Windows of a ceiling: they tile time by the calendar in UTC; a ledger has their sums; a node rolls, or goes on with them."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any, get_args

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from organism.budget.claims import CALLS, COST, MESSAGES, NOTHING, TOKENS, VECTOR, Charge, Vector
from organism.budget.crossings import crossings
from organism.budget.node import Node, begin_with, fire, roll, unfired
from organism.budget.tree import note_details, put_back, take
from organism.budget.waiting import Line
from organism.budget.windows import HOUR, Used, Window, used_in, window_of
from organism.settings import WindowKind
from organism.usage import Spending
from tests.budget.budget_tree import granted, held, made, node, spend, waits, warning
from tests.compiled import slots_of

if TYPE_CHECKING:
    from organism.settings import Policy

KINDS = get_args(WindowKind)
CALENDAR: tuple[WindowKind, ...] = ("hour", "day", "month")
LAST = datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC).timestamp()
INSTANTS = st.floats(-2_000_000_000, 10_000_000_000, allow_nan=False)
BORDER = datetime(2026, 3, 1, tzinfo=UTC).timestamp()


def _at(text: str) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()


# Windows


@pytest.mark.parametrize(
    ("kind", "at", "begins", "ends"),
    [
        ("hour", "2026-02-28T23:59:59.999", "2026-02-28T23:00", "2026-03-01T00:00"),
        ("day", "2026-02-28T23:59:59.999", "2026-02-28", "2026-03-01"),
        ("month", "2026-02-28T23:59:59.999", "2026-02-01", "2026-03-01"),
        ("month", "2024-02-29T12:00", "2024-02-01", "2024-03-01"),
        ("month", "2026-12-31T23:59", "2026-12-01", "2027-01-01"),
        ("hour", "2026-03-01", "2026-03-01", "2026-03-01T01:00"),
        ("day", "2026-03-01", "2026-03-01", "2026-03-02"),
        ("month", "2026-03-01", "2026-03-01", "2026-04-01"),
        ("day", "1969-12-31T12:00", "1969-12-31", "1970-01-01"),
    ],
)
def test_a_window_is_of_the_calendar_in_utc(kind: WindowKind, at: str, begins: str, ends: str) -> None:
    assert window_of(kind, _at(at)) == Window(kind, _at(begins), _at(ends))


def test_the_last_month_of_all_has_an_end() -> None:
    assert window_of("month", LAST).ends == LAST + 1


@pytest.mark.parametrize("kind", ["run", "total"])
def test_a_run_and_the_total_never_roll(kind: WindowKind) -> None:
    window = window_of(kind, 0.0)
    assert window == Window(kind, -math.inf, math.inf) == window_of(kind, LAST)
    assert 1e300 in window
    assert -1e300 in window


@pytest.mark.parametrize("at", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("kind", CALENDAR)
def test_what_no_calendar_has_is_no_instant(kind: WindowKind, at: float) -> None:
    with pytest.raises((ValueError, OverflowError)):
        window_of(kind, at)


@given(st.sampled_from(KINDS), INSTANTS)
@example("hour", math.nextafter(BORDER, -math.inf))
@example("day", math.nextafter(BORDER, -math.inf))
@example("month", math.nextafter(BORDER, -math.inf))
@example("month", BORDER)
@example("day", -5e-324)
def test_a_window_contains_its_instants_and_no_others(kind: WindowKind, at: float) -> None:
    window = window_of(kind, at)
    assert at in window
    assert window.ends not in window
    assert window.begins <= at < window.ends


@given(st.sampled_from(CALENDAR), INSTANTS)
def test_windows_tile_time(kind: WindowKind, at: float) -> None:
    window = window_of(kind, at)
    assert window_of(kind, window.begins) == window
    assert window_of(kind, math.nextafter(window.ends, -math.inf)) == window
    assert window_of(kind, window.ends).begins == window.ends
    assert window_of(kind, math.nextafter(window.begins, -math.inf)).ends == window.begins


@given(INSTANTS)
def test_months_consist_of_days_and_days_of_hours(at: float) -> None:
    hour, day, month = (window_of(kind, at) for kind in CALENDAR)
    assert month.begins <= day.begins <= hour.begins < hour.ends <= day.ends <= month.ends
    assert hour.ends - hour.begins == HOUR
    assert day.ends - day.begins == 24 * HOUR
    assert (month.ends - month.begins) // (24 * HOUR) in {28, 29, 30, 31}


@given(INSTANTS)
def test_windows_are_those_of_the_standard_calendar(at: float) -> None:
    moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=math.floor(at))
    begins = moment.replace(minute=0, second=0)
    assert window_of("hour", at).begins == begins.timestamp()
    assert window_of("day", at).begins == begins.replace(hour=0).timestamp()
    assert window_of("month", at).begins == begins.replace(hour=0, day=1).timestamp()


# What a ledger has of them

AMOUNTS = st.tuples(*[st.integers(0, 10**6)] * 6)
SPENDINGS = st.lists(
    st.builds(
        Spending,
        hour=st.integers(490_000, 491_500),
        handler=st.just("writer"),
        model=st.just("default"),
        backend=st.just("simulated/sim-1"),
        labels=st.just({}),
        amounts=AMOUNTS,
        details=st.tuples(*[st.integers(0, 10**6)] * 3),
        estimated=st.booleans(),
    ),
    max_size=12,
)


def _spending(at: str, tokens: int, **more: Any) -> Spending:
    amounts = (tokens, tokens, 0, 0, 1, 0)
    return Spending(hour=int(_at(at)) // HOUR, handler="", model="m", backend="b", labels={}, amounts=amounts, **more)


def test_what_was_used_in_a_window_is_the_sum_of_its_hours() -> None:
    ledger = [
        _spending("2026-02-28T23:00", 1000),
        _spending("2026-03-01T00:00", 10, details=(1, 2, 3)),
        _spending("2026-03-01T23:00", 5, details=(10, 20, 30), estimated=True),
        _spending("2026-03-02T00:00", 300),
    ]
    day = window_of("day", _at("2026-03-01T12:34"))
    assert used_in(day, ledger) == Used((15, 15, 0, 0, 2, 0), (11, 22, 33), estimated=True)
    assert used_in(window_of("hour", _at("2026-03-01T00:10")), ledger).amounts[TOKENS] == 10
    assert not used_in(window_of("hour", _at("2026-03-01T00:10")), ledger).estimated
    assert used_in(window_of("month", _at("2026-03-01T12:34")), ledger).amounts[TOKENS] == 315
    assert used_in(window_of("total", 0.0), ledger).amounts[TOKENS] == 1315
    assert used_in(window_of("hour", _at("2026-03-01T05:00")), ledger) == Used(NOTHING, (0, 0, 0), estimated=False)


def test_a_run_begins_with_nothing_whatever_a_ledger_has() -> None:
    assert used_in(window_of("run", 0.0), [_spending("2026-03-01", 10)]) == Used()


@given(SPENDINGS, st.sampled_from(CALENDAR))
def test_each_row_of_a_ledger_is_in_one_window(ledger: list[Spending], kind: WindowKind) -> None:
    windows = {window_of(kind, each.hour * HOUR) for each in ledger}
    found = [used_in(window, ledger) for window in windows]
    total = used_in(window_of("total", 0.0), iter(ledger))
    assert total.amounts == tuple(sum(each.amounts[unit] for each in found) for unit in range(len(VECTOR)))
    assert total.details == tuple(sum(each.details[part] for each in found) for part in range(3))
    assert total.estimated == any(each.estimated for each in found)


# A node in its window

LIMITS = st.fixed_dictionaries(
    {},
    optional={
        "tokens": st.sampled_from([0, 1, 10, 1000]),
        "input_tokens": st.sampled_from([0, 7, 900]),
        "output_tokens": st.sampled_from([1, 333]),
        "cost_usd": st.sampled_from(["0", "0.000000000001", "0.0000000025"]),
        "model_calls": st.sampled_from([0, 1, 2, 30]),
        "messages": st.sampled_from([0, 3, 100]),
    },
)
POLICIES = st.sampled_from(
    [
        warning("0.75", "0.9", "0.95", runway="2"),
        warning("0.5", "4", "250", runway="0"),
        warning("0.1", "0.3333", "2", runway="0.5"),
        warning(runway="3"),
    ]
)
CHARGES = st.lists(
    st.builds(
        Charge,
        input_tokens=st.sampled_from([0, 1, 40, 600]),
        output_tokens=st.sampled_from([0, 1, 100]),
        cost=st.sampled_from([0, 1, 500]),
        model_calls=st.sampled_from([1, 1, 0]),
        cache_read_tokens=st.sampled_from([0, 9]),
        estimated=st.booleans(),
    ),
    max_size=8,
)


def _ceiling(policy: Policy, limits: dict[str, Any]) -> Node:
    return node(policy=policy, **limits)


def _charge(root: Node, charge: Charge, held: Vector = NOTHING) -> None:
    """Settles a call of a thread, as the kernel does, beside what another one holds."""
    below = Node("thread", made(), root.policy, thread="t", above=root.path)
    take(below.path, held)
    take(below.path, charge.amounts)
    put_back(below.path, charge.amounts, charge.amounts)
    note_details(below.path, charge)
    for each, unit, mark in crossings(below.path, charge.amounts):
        fire(each, unit, mark)
    put_back(below.path, held, NOTHING)


def _state(at: Node) -> dict[str, Any]:
    """Everything of a node but where it stands."""
    of_its_place = {"path", "caps", "policy", "scope", "thread", "crowd"}
    return {name: getattr(at, name) for name in slots_of(Node) if name not in of_its_place}


@given(POLICIES, LIMITS, CHARGES)
def test_a_node_that_has_rolled_is_as_a_new_one(policy: Policy, limits: dict[str, Any], charges: list[Charge]) -> None:
    root = _ceiling(policy, limits)
    for charge in charges:
        _charge(root, charge)
    take(root.path, (5, 4, 1, 0, 1, 0))
    roll(root)
    assert _state(root) == _state(_ceiling(policy, limits))
    for unit in range(len(VECTOR)):
        assert unfired(root, unit) == root.caps.marks[unit]
        assert root.crossed(unit) == ()
    assert crossings(root.path) == ()


@given(POLICIES, LIMITS, CHARGES, CHARGES)
def test_the_levels_of_a_new_window_fire_as_those_of_the_first(
    policy: Policy, limits: dict[str, Any], before: list[Charge], charges: list[Charge]
) -> None:
    rolled, fresh = _ceiling(policy, limits), _ceiling(policy, limits)
    for charge in before:
        _charge(rolled, charge)
    roll(rolled)
    for charge in charges:
        _charge(rolled, charge)
        _charge(fresh, charge)
    assert _state(rolled) == _state(fresh)


@example(warning(runway="2"), {"cost_usd": "0.000000000001"}, [Charge(cost=1)]).via("what another attempt cost")
@given(POLICIES, LIMITS, CHARGES)
def test_nothing_that_fired_for_what_was_used_fires_again_in_the_next_process(
    policy: Policy, limits: dict[str, Any], charges: list[Charge]
) -> None:
    lived, restarted = _ceiling(policy, limits), _ceiling(policy, limits)
    for charge in charges:
        _charge(lived, charge)
    used: Any = tuple(lived.used)
    details: Any = tuple(lived.details)
    begin_with(restarted, used, details, estimated=lived.estimated)
    assert (restarted.used, restarted.details, restarted.estimated) == (lived.used, lived.details, lived.estimated)
    assert restarted.own == [0, 0, 0, 0, 0, 0], "it was spent by threads that are gone"
    assert restarted.fired == lived.fired
    assert restarted.next_mark == lived.next_mark
    assert crossings(restarted.path) == ()
    assert restarted.runways & ~lived.runways == 0, "no runway is taken for said that was not"


@given(POLICIES, LIMITS, CHARGES, AMOUNTS)
def test_a_runway_that_is_surely_past_is_not_told_again(
    policy: Policy, limits: dict[str, Any], charges: list[Charge], held: Any
) -> None:
    """Calls that cost 1 of each unit: then the sum tells of every runway, also beside what was held for others."""
    little = Charge(input_tokens=1, output_tokens=1, cost=1, model_calls=1)
    lived, beside, restarted = (_ceiling(policy, limits) for _ in range(3))
    for _ in charges:
        _charge(lived, little)
        _charge(beside, little, held)
    begin_with(restarted, _vector(lived.used))
    exact = [unit for unit in range(len(VECTOR)) if unit not in {TOKENS, MESSAGES}]  # a call costs 2 tokens
    for unit in exact:
        assert restarted.runways >> unit & 1 == lived.runways >> unit & 1
    assert restarted.runways & ~beside.runways == 0


def _vector(amounts: list[int]) -> Vector:
    tokens, given_, output, cost, calls, messages = amounts
    return tokens, given_, output, cost, calls, messages


def test_beginning_with_what_was_used_marks_the_levels_that_it_has_reached() -> None:
    root = node(policy=warning("0.5", "0.75", "0.9", runway="2"), tokens=1000, model_calls=10, cost_usd="1")
    begin_with(root, (895, 845, 50, 499_999_999_999, 9, 3), (7, 0, 1), estimated=True)
    assert [root.crossed(unit) for unit in (TOKENS, COST, CALLS)] == [
        ("warning", "critical"), (), ("warning", "critical", "final", "runway"),
    ]  # fmt: skip
    assert root.figures(TOKENS) == (895, 0, 1000, 105)
    assert root.figures(COST)[0] == Decimal("0.499999999999")
    thread_ = node(root, policy=warning(), name="t")
    assert spend(thread_, input_tokens=1, cost=1, calls=0) == [("organism", "warning")]
    assert spend(thread_, input_tokens=3, calls=0) == []
    assert spend(thread_, input_tokens=1, calls=0) == [("organism", "final")]


def test_beginning_with_nothing_arms_everything() -> None:
    root = node(policy=warning("0.5", runway="3"), tokens=1, model_calls=1)
    begin_with(root, NOTHING)
    assert root.crossed(TOKENS) == root.crossed(CALLS) == ()


def test_a_roll_makes_room_for_those_who_wait() -> None:
    line, root = Line(), node(tokens=100)
    first, second = node(root, name="a"), node(root, name="b")
    held(line, first, 80)
    waiter = waits(line, second, 50)
    roll(root)
    assert granted(line.freed(root.path)) == [waiter]
    assert root.held[TOKENS] == 50
    assert root.crowd is None


def test_what_was_held_before_a_roll_is_settled_below_the_node_that_rolled() -> None:
    line, root = Line(), node(tokens=100)
    below = node(root, name="a", tokens=90)
    need = held(line, below, 80)
    roll(root)
    put_back((below,), need, Charge(output_tokens=60, model_calls=1).amounts)
    assert (below.used[TOKENS], below.held[TOKENS]) == (60, 0)
    assert (root.used[TOKENS], root.held[TOKENS]) == (0, 0)


def test_limits_of_a_ceiling_warn_in_each_window_anew() -> None:
    root = node(policy=warning("0.5"), tokens=10)
    below = node(root, policy=warning(), name="t")
    for _ in range(3):
        assert spend(below, input_tokens=6) == [("organism", "final")]
        assert spend(below, input_tokens=1) == []
        roll(root)
