"""Who waits for whom, where only one way of looking at it tells: what is queued, and mailboxes that replies must come through."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from organism.budget.claims import TOKENS, Charge, Claim
from organism.budget.waiting import Waiter
from organism.errors import BudgetExhaustedError
from organism.kernel.answers import Refusal
from organism.kernel.holds import Hold
from organism.kernel.streams import held_by_streams
from organism.message import Send
from organism.settings import BudgetSettings, Limits, Quota
from organism.threads.dependence import is_awaited
from organism.threads.frames import Ask
from tests.hard.pump_world import Go, Said
from tests.kernel.kernel_world import Delivery, World, handler, organism_of
from tests.kernel.test_found_by_the_machine import begun
from tests.kernel.test_found_by_the_machine import world_of as hourly

if TYPE_CHECKING:
    from tests.kernel.budget_world import BudgetWorld

NAMES = ("a", "b", "c", "d")


def world_of(**keys: Any) -> World:
    made = (
        handler(name, Go, Said, peers=NAMES, budget=BudgetSettings() if name in keys.get("below", ()) else None)
        for name in NAMES
    )
    return World(organism_of(*made, budget=BudgetSettings(limits=Limits()), ceiling=Quota(limits=Limits(tokens=1000))))


def taken(world: World, to: str) -> Delivery:
    delivery = world.take()
    assert delivery is not None
    assert delivery.message.to == to
    return delivery


def test_a_call_waits_for_a_stream_while_something_is_queued_that_may_let_it_go() -> None:
    """Only once that has gone as well are they tied for good, and the youngest is refused."""
    world = world_of(below=("b",))
    world.accept("a", Go())
    streams = taken(world, "a")
    assert isinstance(world.call(streams, Claim(input_tokens=0, wish=500, exact=True), streamed=True), Hold)
    world.ask(streams, "b", Go())
    world.answer(taken(world, "b"), Send("c", Go()), Send("d", Go()))
    lacks = taken(world, "c")
    call = world.call(lacks, Claim(input_tokens=0, wish=600, exact=True))
    assert isinstance(call, Waiter), "d is queued, and nobody keeps it from being handled"
    world.check()
    world.answer(taken(world, "d"))
    world.kernel.calls.untie()
    refused = [verdict for _, verdict in world.kernel.calls.answered]
    assert [type(each) for each in refused] == [BudgetExhaustedError]
    world.carry_out()
    world.drain()
    world.check_end()


def test_a_call_is_refused_at_once_where_a_stream_of_who_waits_for_it_in_its_own_thread_is_in_the_way() -> None:
    """Whatever is queued: that stream will not end before the call has."""
    world = world_of()
    world.accept("a", Go())
    streams = taken(world, "a")
    assert isinstance(world.call(streams, Claim(input_tokens=0, wish=500, exact=True), streamed=True), Hold)
    world.ask(streams, "b", Go())
    asks = taken(world, "b")
    for to in ("c", "d"):
        world.ask(asks, to, Go())
    lacks = taken(world, "c")
    assert isinstance(world.call(lacks, Claim(input_tokens=0, wish=600, exact=True)), BudgetExhaustedError)
    world.drain()
    world.check_end()


def test_whoever_occupies_the_mailbox_that_a_reply_must_be_handed_up_through_cannot_ask_who_waits_for_it() -> None:
    world = world_of()
    world.accept("c", Go())
    world.answer(taken(world, "c"), Send("a", Go()), Send("d", Go()))
    waits = taken(world, "a")
    assert isinstance(world.ask(waits, "b", Go()), Ask)
    world.answer(taken(world, "d"), Send("b", Go()))
    # The reply of what b sends on comes to b, in the frame that a waits for.
    world.answer(taken(world, "b"), Send("c", Go()))
    occupies = taken(world, "b")
    refused = world.ask(occupies, "a", Go())
    assert isinstance(refused, Refusal)
    assert refused.failure.code == "cycle"
    world.drain()
    world.check_end()


def test_who_is_waited_for_is_known_by_asks_and_spawned_threads_alone() -> None:
    world = world_of()
    world.accept("a", Go())
    outer = taken(world, "a")
    assert not is_awaited(outer.message)
    ask = world.ask(outer, "b", Go())
    assert isinstance(ask, Ask)
    asked = taken(world, "b")
    assert is_awaited(asked.message)
    world.spawn(asked, "d", Go())
    spawned = taken(world, "d")
    world.abandon(outer, ask)
    assert is_awaited(spawned.message), "its thread was spawned"
    assert not is_awaited(asked.message), "nobody waits any more"


def test_what_a_call_waits_for_is_forgotten_when_it_is_cancelled() -> None:
    world = world_of()
    world.accept("a", Go())
    first = taken(world, "a")
    hold = world.call(first, Claim(input_tokens=0, wish=800, exact=True))
    assert isinstance(hold, Hold)
    world.accept("b", Go())
    world.ask(first, "b", Go())
    second = next(each for each in (world.take(), world.take()) if each and each.message.thread is first.message.thread)
    waiter = world.call(second, Claim(input_tokens=0, wish=300, exact=True))
    assert isinstance(waiter, Waiter)
    world.give_up(second, waiter)
    assert not world.kernel.state.line
    world.settle(first, hold, Charge(output_tokens=800, model_calls=1))
    assert world.kernel.state.root.used[TOKENS] == 800


def test_what_will_not_settle_before_a_call_is_what_the_streams_hold_that_wait_for_it() -> None:
    world = world_of()
    world.accept("a", Go())
    streams = taken(world, "a")
    message, state = streams.message, world.kernel.state
    assert held_by_streams(state.streams, message) == {}
    one = world.call(streams, Claim(input_tokens=7, wish=100, exact=True, input_cost=5), streamed=True)
    assert isinstance(one, Hold)
    assert isinstance(world.call(streams, Claim(input_tokens=1, wish=1, exact=True)), Hold)
    assert one.need == (107, 7, 100, 5, 1, 0)
    on_its_path = dict.fromkeys(message.thread.node.path, one.need)
    assert held_by_streams(state.streams, message) == on_its_path
    world.ask(streams, "b", Go())
    asked = taken(world, "b")
    assert held_by_streams(state.streams, asked.message) == on_its_path, "it is waited for"
    world.accept("c", Go())
    assert held_by_streams(state.streams, taken(world, "c").message) == {}


def test_who_waits_goes_on_when_a_new_window_begins() -> None:
    world = hourly(ceiling=Quota(limits=Limits(tokens=1000), window="hour"))
    first, second = begun(world), begun(world)
    assert isinstance(world.call_model(first, Claim(input_tokens=0, wish=800, exact=True)), Hold)
    waiter = world.call_model(second, Claim(input_tokens=0, wish=500, exact=True))
    assert isinstance(waiter, Waiter)
    world.pass_time(3599.0)
    world.forecast(first, "tokens", 1)
    assert second.calls == [waiter]
    world.pass_time(1.0)
    world.forecast(first, "tokens", 1)
    (call,) = second.calls
    assert isinstance(call, Hold)
    world.check()


HOURLY = Quota(limits=Limits(tokens=2000), window="hour")
SHARED = pytest.mark.parametrize(
    ("keys", "accounts"), [({"ceiling": HOURLY}, ()), ({"accounts": {"team": HOURLY}}, ("team:a",))]
)
UNLIMITED = BudgetSettings(limits=Limits())


def exactly(tokens: int) -> Claim:
    return Claim(input_tokens=0, wish=tokens, exact=True)


def rolled(keys: dict[str, Any], accounts: tuple[str, ...]) -> tuple[BudgetWorld, Delivery, Delivery]:
    """A delivery with a stream that holds all of an hour that is over now, and another one."""
    world = hourly(budget=UNLIMITED, **keys)
    streams, other = begun(world, accounts=accounts), begun(world, accounts=accounts)
    assert isinstance(world.call_model(streams, exactly(2000), streamed=True), Hold)
    world.pass_time(3600.0)
    return world, streams, other


@SHARED
def test_a_stream_of_an_old_window_is_not_in_the_way_where_a_new_one_has_begun(
    keys: dict[str, Any], accounts: tuple[str, ...]
) -> None:
    """What lacks is held by others, and will be settled."""
    world, streams, other = rolled(keys, accounts)
    settles = world.call_model(other, exactly(1500))
    assert isinstance(settles, Hold)
    waiter = world.call_model(streams, exactly(600))
    assert isinstance(waiter, Waiter)
    world.check()
    world.settle(other, settles, Charge(output_tokens=1400, model_calls=1))
    (_, call) = streams.calls
    assert isinstance(call, Hold)
    world.check()


@SHARED
def test_a_stream_of_the_window_that_is_is_in_the_way_beside_one_of_an_old_window(
    keys: dict[str, Any], accounts: tuple[str, ...]
) -> None:
    world, streams, other = rolled(keys, accounts)
    assert isinstance(world.call_model(streams, exactly(500), streamed=True), Hold)
    assert isinstance(world.call_model(other, exactly(1000)), Hold)
    assert isinstance(world.call_model(streams, exactly(1500)), Waiter)
    assert isinstance(world.call_model(streams, exactly(1501)), BudgetExhaustedError)
    world.check()


def test_a_stream_of_an_old_window_is_in_the_way_in_its_thread_still() -> None:
    world = hourly(budget=UNLIMITED, ceiling=HOURLY)
    streams = begun(world, budget=BudgetSettings(limits=Limits(tokens=3000)))
    assert isinstance(world.call_model(streams, exactly(2000), streamed=True), Hold)
    world.pass_time(3600.0)
    left = streams.message.thread.node.free(TOKENS)
    assert 0 < left < 1000
    refused = world.call_model(streams, exactly(left + 1))
    assert isinstance(refused, BudgetExhaustedError)
    assert refused.scope == "thread"
    assert isinstance(world.call_model(streams, exactly(left)), Hold)
    world.check()


def test_a_stream_of_an_old_window_ties_nobody_where_a_new_one_has_begun() -> None:
    """Neither who waits with it, nor who waits beside that one with a stream of its own."""
    world = hourly(budget=UNLIMITED, ceiling=HOURLY)
    streams, beside, other = begun(world), begun(world), begun(world)
    assert isinstance(world.call_model(streams, exactly(2000), streamed=True), Hold)
    world.pass_time(3600.0)
    assert isinstance(world.call_model(beside, exactly(100), streamed=True), Hold)
    settles = world.call_model(other, exactly(1500))
    assert isinstance(settles, Hold)
    for each in (beside, streams):
        assert isinstance(world.call_model(each, exactly(600)), Waiter)
    world.check()
    world.settle(other, settles, Charge(model_calls=1))
    assert [[type(call) for call in each.calls] for each in (beside, streams)] == [[Hold, Hold]] * 2
    world.check()


def test_streams_tie_those_who_wait_from_the_instant_on_at_which_their_window_begins() -> None:
    world = hourly(budget=UNLIMITED, ceiling=HOURLY)
    world.pass_time(3600.0)
    first, second = begun(world), begun(world)
    for each in (first, second):
        assert isinstance(world.call_model(each, exactly(800), streamed=True), Hold)
    assert isinstance(world.call_model(first, exactly(1000)), Waiter)
    assert isinstance(world.call_model(second, exactly(1000)), BudgetExhaustedError)
    world.check()


@pytest.mark.parametrize(("streamed", "goes"), [(500, True), (501, False)])
def test_a_call_that_is_barred_by_one_that_waits_for_its_stream_among_others_is_refused(
    streamed: int, goes: bool
) -> None:
    """It fits, and what it holds itself would leave the older one room; beside the older one's own stream it does not."""
    world = hourly(budget=UNLIMITED, ceiling=Quota(limits=Limits(tokens=3000)), patience=1)
    first, second, other = begun(world), begun(world), begun(world)
    for delivery, tokens in ((first, 400), (second, streamed)):
        assert isinstance(world.call_model(delivery, exactly(tokens), streamed=True), Hold)
    settles = world.call_model(other, exactly(100))
    assert isinstance(settles, Hold)
    assert isinstance(world.call_model(first, exactly(2100)), Waiter)
    assert isinstance(world.call_model(other, exactly(10)), Hold), "it goes before the older one, and the last to do so"
    verdict = world.call_model(second, exactly(200))
    assert isinstance(verdict, Waiter if goes else BudgetExhaustedError)
    world.drain()
    world.check_end()


@pytest.mark.parametrize(("needs", "goes"), [(1000, True), (1001, False)])
def test_a_call_that_a_stream_waits_for_is_refused_where_one_bars_it_that_waits_for_that_stream(
    needs: int, goes: bool
) -> None:
    """Also one that nobody waits for, and that has no stream itself."""
    world = hourly(
        budget=UNLIMITED, budget_of_a=BudgetSettings(), ceiling=Quota(limits=Limits(tokens=3000)), patience=1
    )
    other, bars, streams = begun(world), begun(world), begun(world, to="b")
    settles = world.call_model(other, exactly(100))
    assert isinstance(settles, Hold)
    assert isinstance(world.call_model(streams, exactly(2000), streamed=True), Hold)
    older = world.call_model(bars, exactly(needs))
    assert isinstance(older, Waiter)
    world.ask(streams, "a", Go())
    asked = world.take()
    assert asked is not None
    assert asked.message.thread is not streams.message.thread
    before = world.call_model(asked, exactly(10))
    assert isinstance(before, Hold), "it goes before the older one, and the last to do so"
    world.give_up(asked, before)
    verdict = world.call_model(asked, exactly(100))
    assert isinstance(verdict, Waiter if goes else BudgetExhaustedError)
    assert bars.calls == [older]
    world.settle(other, settles, Charge())
    assert not goes or [type(each) for each in bars.calls] == [Hold]
    world.drain()
    world.check_end()


@pytest.mark.parametrize(("needs", "goes"), [(500, True), (501, False)])
def test_a_call_that_fits_exactly_beside_the_streams_that_wait_for_it_will_go(needs: int, goes: bool) -> None:
    world = world_of(below=("b",))
    world.accept("a", Go())
    streams = taken(world, "a")
    assert isinstance(world.call(streams, Claim(input_tokens=0, wish=500, exact=True), streamed=True), Hold)
    world.accept("d", Go())
    other = taken(world, "d")
    settles = world.call(other, Claim(input_tokens=0, wish=100, exact=True))
    assert isinstance(settles, Hold)
    world.ask(streams, "b", Go())
    world.answer(taken(world, "b"), Send("c", Go()))
    lacks = taken(world, "c")
    call = world.call(lacks, Claim(input_tokens=0, wish=needs, exact=True))
    assert isinstance(call, Waiter if goes else BudgetExhaustedError)
    world.settle(other, settles, Charge(model_calls=1))
    assert not goes or [type(each) for each in lacks.calls] == [Hold]
    world.drain()
    world.check_end()


def test_a_stream_that_is_opened_while_a_call_of_its_thread_waits_may_keep_that_from_ever_going() -> None:
    """Once all else has settled it lacks what is held by one who waits for it."""
    world = world_of()
    world.accept("d", Go())
    other = taken(world, "d")
    settles = world.call(other, Claim(input_tokens=0, wish=500, exact=True))
    assert isinstance(settles, Hold)
    world.accept("a", Go())
    streams = taken(world, "a")
    world.ask(streams, "b", Go())
    lacks = taken(world, "b")
    assert isinstance(world.call(lacks, Claim(input_tokens=0, wish=600, exact=True)), Waiter)
    assert isinstance(world.call(streams, Claim(input_tokens=0, wish=500, exact=True), streamed=True), Hold)
    world.settle(other, settles, Charge(model_calls=1))
    assert not lacks.calls, "it is refused"
    assert not world.kernel.state.line
    world.drain()
    world.check_end()
