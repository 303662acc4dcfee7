"""What the budget machine has found, in as few steps as it takes: late calls, windows and processes that are over."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from organism.budget.claims import TOKENS, Claim
from organism.budget.waiting import Waiter
from organism.kernel.holds import Hold
from organism.message import Send
from organism.settings import AgentSettings, BudgetSettings, Limits, Quota, Settings
from organism.threads.outcomes import Failure
from tests.hard.pump_world import Go, Said
from tests.kernel.budget_world import BudgetWorld
from tests.kernel.kernel_world import handler
from tests.kernel.test_budget_machine import charge_of

if TYPE_CHECKING:
    from tests.kernel.kernel_world import Delivery


def world_of(*, budget_of_a: BudgetSettings | None = None, patience: int = 16, **keys: Any) -> BudgetWorld:
    """A world in which "a" is code and "b" an agent, with these settings."""
    agent = AgentSettings(accepts=(Go,), replies=(Said,))
    made = (handler("a", Go, Said, peers=("b",), budget=budget_of_a), handler("b", Go, peers=("a",), agent=agent))
    keys.setdefault("budget", BudgetSettings(limits=Limits(tokens=1000), notify=("agent", "caller")))
    return BudgetWorld(Settings(name="test", handlers={each.name: each for each in made}, **keys), patience, 0.0)


def spend(world: BudgetWorld, delivery: Delivery, tokens: int, charged: str = "all") -> None:
    hold = world.call_model(delivery, Claim(input_tokens=0, wish=tokens, exact=True))
    assert isinstance(hold, Hold)
    world.settle(delivery, hold, charge_of(hold, charged))


def begun(world: BudgetWorld, to: str = "a", **how: Any) -> Delivery:
    assert world.open(to, Go(), **how) is not None
    delivery = world.take()
    assert delivery is not None
    return delivery


def left_out(world: BudgetWorld, tokens: int, **how: Any) -> Hold:
    """A call of "a", which "b" has called, that is out when all threads have ended."""
    world.answer(begun(world, to="b", **how), Send("a", Go()))
    called = world.take()
    assert called is not None
    hold = world.call_model(called, Claim(input_tokens=0, wish=tokens, exact=True))
    assert isinstance(hold, Hold)
    world.leave_out(called)
    world.answer(called)
    assert not world.kernel.state.threads
    return hold


def test_what_was_held_and_settled_in_an_old_window_is_not_held_after_a_restart() -> None:
    world = world_of(ceiling=Quota(limits=Limits(tokens=5000), window="hour"), accounts={"team": Quota(window="day")})
    delivery = begun(world, accounts=("team:a",))
    spend(world, delivery, 100)
    world.crash(90_000.0)
    assert not any(world.kernel.state.root.held)
    world.check()


def test_a_count_of_one_process_warns_again_in_the_next_one() -> None:
    world = world_of(ceiling=Quota(limits=Limits(tokens=600), window="run"))
    spend(world, begun(world), 590)
    fired = ("warning", "critical", "final")
    assert world.kernel.state.root.crossed(TOKENS)[:3] == fired
    world.crash(5.0)
    assert world.kernel.state.root.crossed(TOKENS) == ()
    again = world.take()
    assert again is not None
    world.answer(again)
    spend(world, begun(world), 590)
    assert world.kernel.state.root.crossed(TOKENS)[:3] == fired
    world.check()


def test_a_call_that_comes_back_when_its_caller_is_gone_tells_nobody() -> None:
    world = world_of(budget_of_a=BudgetSettings(limits=Limits(tokens=200)))
    hold = left_out(world, 180)
    world.settle_late(hold, charge_of(hold, "all"))
    world.check()
    world.check_end()


def test_the_time_of_a_thread_that_was_stopped_is_not_due() -> None:
    """It would be due for ever, and each time be written down."""
    world = world_of(budget=BudgetSettings(limits=Limits(seconds=10)))
    delivery = begun(world)
    world.stop(delivery.message.thread, Failure("cancelled", "from outside"))
    assert world.kernel.times.due(delivery.message.thread) is None
    world.pass_time(20.0)
    world.answer(delivery)
    world.check_end()


def test_a_snapshot_knows_whose_call_is_out_when_the_delivery_is_over() -> None:
    world = world_of()
    delivery = begun(world)
    hold = world.call_model(delivery, Claim(input_tokens=0, wish=100, exact=True))
    assert isinstance(hold, Hold)
    world.leave_out(delivery)
    world.answer(delivery, Send("b", Go()))
    world.snapshot(0)
    world.crash(5.0)
    assert world.kernel.state.sums.totals["handler", "a"].amounts[TOKENS] == 100
    world.check()


def test_a_call_of_a_sub_thread_that_comes_back_after_all_have_ended_crosses_no_level_of_theirs() -> None:
    """Their final figures are said; the record of such a crossing could not be read again."""
    world = world_of(budget_of_a=BudgetSettings(limits=Limits(tokens=2000)))
    left_out(world, 850)
    world.crash(5.0)
    assert world.kernel.state.sums.totals["handler", "a"].amounts[TOKENS] == 850
    world.check()
    world.check_end()


def test_a_call_of_a_sub_thread_whose_turn_is_over_as_well_is_its_conversations_behind_a_snapshot() -> None:
    world = world_of(budget_of_a=BudgetSettings(limits=Limits(tokens=2000)))
    left_out(world, 850, conversation="c", arm="blind")
    world.snapshot(0)
    world.crash(5.0)
    assert world.kernel.state.conversations["c"].node.used[TOKENS] == 850
    assert world.kernel.state.sums.totals["label", "arm=blind"].amounts[TOKENS] == 850
    world.check()
    world.check_end()


def test_what_a_sub_thread_called_for_is_its_own_behind_a_snapshot_too() -> None:
    world = world_of(budget_of_a=BudgetSettings(limits=Limits(tokens=200)))
    caller = begun(world, to="b")
    world.answer(caller, Send("a", Go()), Send("b", Go()))
    called = next(each for each in (world.take(), world.take()) if each is not None and each.message.to == "a")
    hold = world.call_model(called, Claim(input_tokens=0, wish=100, exact=True))
    assert isinstance(hold, Hold)
    world.leave_out(called)
    world.answer(called)
    world.snapshot(0)
    world.crash(5.0)
    root = world.kernel.state.threads["t0"].node
    assert (root.used[TOKENS], root.own[TOKENS]) == (100, 0)
    world.check()


def test_a_call_is_refused_at_once_when_its_delivery_opens_a_stream_beside_which_it_never_fits_though_another_may_yet_go() -> (
    None
):
    """Nobody is tied: the delivery may go on by the other call, and only the thread's own limit says what can never be."""
    world = world_of(
        budget=BudgetSettings(limits=Limits(tokens=3000), notify=()),
        accounts={"team": Quota(limits=Limits(output_tokens=2999))},
    )
    other = begun(world, to="b", accounts=("team:a",))
    assert isinstance(world.call_model(other, Claim(input_tokens=0, wish=2000, exact=True)), Hold)
    delivery = begun(world, accounts=("team:a",))
    stays, refused = (world.call_model(delivery, Claim(input_tokens=0, wish=wish, exact=True)) for wish in (1200, 2500))
    assert isinstance(stays, Waiter)
    assert isinstance(refused, Waiter)
    assert {stays.node.scope, refused.node.scope} == {"account"}
    stream = world.call_model(delivery, Claim(input_tokens=0, wish=400, exact=True), streamed=True)
    assert isinstance(stream, Hold)
    assert list(world.kernel.state.line) == [stays]
    assert delivery.calls == [stays, stream]
    world.check()
