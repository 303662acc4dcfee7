"""What the kernel keeps of messages that were sent before makes the next ones cheaper, and decides nothing else."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import pytest

from organism import Forward, Reply, Send
from organism.budget.caps import caps
from organism.budget.claims import MESSAGES
from organism.kernel.conversations import turn_policy
from organism.kernel.hop import destination
from organism.settings import BudgetSettings, Limits
from organism.threads.outcomes import Failure
from tests.hard.pump_world import Go, Odd, Said
from tests.kernel.kernel_world import World, handler, organism_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from organism.message import Outgoing


def bent(value: Any, **fields: Any) -> Any:
    """A value that was changed behind its constructor's back."""
    for name, field in fields.items():
        object.__setattr__(value, name, field)
    return value


def peers() -> World:
    """``a`` may address ``b``, and has sent it a message that was answered."""
    world = World(organism_of(handler("a", Go, Said, peers=("b",)), handler("b", Go), handler("c", Go)))
    world.accept("a", Go("x"))
    first = world.take()
    assert first is not None
    assert world.answer(first, Send("b", Go("fine"))) is None
    second = world.take()
    assert second is not None
    assert world.answer(second, Reply(Said("fine"))) is None
    return world


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (lambda: Send("b", bent(Go("x"), n="many")), "validation"),
        (lambda: Forward("b", object.__new__(Go)), "validation"),
        (lambda: Send("b", Odd()), "validation"),
        (lambda: Send("c", Go("x")), "routing"),
        (lambda: Reply(bent(Said("x"), text=5)), "validation"),
        (lambda: bent(object.__new__(Send)), "validation"),
    ],
)
def test_what_may_not_be_sent_is_refused_also_after_what_may(answer: Callable[[], Outgoing], code: str) -> None:
    world = peers()
    again = world.take()
    assert again is not None
    refused = world.answer(again, answer())
    assert refused is not None
    assert refused.code == code


def test_every_thread_has_what_its_own_budget_says_whatever_was_opened_before() -> None:
    settings = organism_of(handler("a", Go))
    world = World(settings)
    budgets = [BudgetSettings(limits=Limits(tokens=1000 * number, messages=5)) for number in range(1, 4)]
    for number in range(9):
        budget = budgets[number % 3]
        thread = world.kernel.accept(f"t{number}", "a", Go("x"), budget, {}, 0.0)
        policy = turn_policy(world.kernel.state.root, budget)
        assert (thread.node.policy, thread.node.caps) == (policy, caps(budget.limits, policy, keeps_back=True))


def test_messages_count_in_the_sums_of_everything_and_of_their_handlers_whenever_those_are_read() -> None:
    world = peers()
    state = world.kernel.state
    assert [state.sums.tally(*of).usage().messages for of in (("all", ""), ("handler", "a"), ("handler", "b"))] == [
        3,
        2,
        1,
    ]
    last = world.take()
    assert last is not None
    world.answer(last, Send("b", Go("more")))
    assert [state.sums.tally(*of).usage().messages for of in (("all", ""), ("handler", "a"), ("handler", "b"))] == [
        4,
        2,
        2,
    ]
    assert state.sums.totals["handler", "b"].usage().messages == 2


def quick(world: World, delivery: Any, answer: Outgoing) -> bool:
    """Whether one look is enough for an answer."""
    return destination(world.kernel.state, delivery.message, answer) is not None


def test_one_look_is_enough_for_an_answer_like_one_before() -> None:
    world = peers()
    before = world.plain
    again = world.take()
    assert again is not None
    assert quick(world, again, Send("b", Go("y")))
    assert quick(world, again, Reply(Said("y")))
    assert not quick(world, again, Forward("a", Go("y"))), "it never sent itself any"
    assert world.answer(again, Send("b", Go("y"))) is None
    assert world.plain == before + 1


@pytest.mark.parametrize(
    "answer",
    [
        lambda: Send("b", bent(Go("x"), n="many")),
        lambda: Send("c", Go("x")),
        lambda: Send(cast("str", type("Name", (str,), {})("b")), Go("x")),
        lambda: Send("b", Said("x")),
        lambda: Reply(Odd()),
        lambda: Reply(bent(Said("x"), text=5)),
        lambda: bent(object.__new__(Send)),
        lambda: cast("Outgoing", "b"),
    ],
)
def test_what_is_odd_is_looked_at_closely(answer: Callable[[], Outgoing]) -> None:
    world = peers()
    again = world.take()
    assert again is not None
    assert not quick(world, again, answer())


@pytest.mark.parametrize("limits", [Limits(messages=3), Limits(depth=1)], ids=["messages", "depth"])
def test_what_a_budget_does_not_bear_is_looked_at_closely(limits: Limits) -> None:
    world = peers()
    again = world.take()
    assert again is not None
    world.kernel.calls.set_limits(again.message.thread, BudgetSettings(limits=limits), world.now)
    assert not quick(world, again, Send("b", Go("y")))
    assert world.answer(again, Send("b", Go("y"))) is not None


def test_a_reply_that_comes_as_a_message_is_charged_like_one() -> None:
    world = peers()
    again = world.take()
    assert again is not None
    assert world.answer(again, Send("b", Go("y"))) is None
    asked = world.take()
    assert asked is not None
    assert quick(world, asked, Reply(Said("y")))
    spent = BudgetSettings(limits=Limits(messages=asked.message.thread.node.used[MESSAGES]))
    world.kernel.calls.set_limits(asked.message.thread, spent, world.now)
    assert not quick(world, asked, Reply(Said("y")))


def test_who_waits_for_somebody_is_looked_at_closely() -> None:
    """``b`` would be asked by what it waits for itself."""
    world = World(organism_of(handler("a", Go, Said, peers=("b",)), handler("b", Go, Said, peers=("a",))))
    world.accept("a", Go("x"))
    first = world.take()
    assert first is not None
    assert world.answer(first, Send("b", Go("fine"))) is None
    asks = world.take()
    assert asks is not None
    world.ask(asks, "a", Go("y"))
    asked = world.take()
    assert asked is not None
    assert not quick(world, asked, Send("b", Go("z")))
    refused = world.answer(asked, Send("b", Go("z")))
    assert refused is not None
    assert refused.code == "cycle"


def test_a_thread_that_is_over_is_looked_at_closely() -> None:
    world = peers()
    again = world.take()
    assert again is not None
    world.stop(again.message.thread, Failure("cancelled", "no more"))
    assert not quick(world, again, Send("b", Go("y")))
