"""What is written down of calls and forecasts, read as those read it who study costs: figures, instants and reasons."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from organism.budget.caps import caps
from organism.budget.claims import CALLS, MESSAGES, TOKENS, Charge, Claim
from organism.budget.crowd import Ranking
from organism.budget.node import Node, begin_with
from organism.budget.tree import Lack
from organism.errors import BudgetExhaustedError, JournalError
from organism.kernel.answers import closed
from organism.kernel.calls import CallFor
from organism.kernel.conversations import Beginning
from organism.kernel.grants import Room
from organism.kernel.holds import Hold
from organism.kernel.prompts import Prompt
from organism.kernel.recall import Done
from organism.payloads.primitives import BudgetRequest
from organism.record import facts
from organism.settings import AgentSettings, BudgetSettings, ConversationSettings, Grace, Limits, Policy, Quota
from organism.threads.outcomes import Failure
from organism.usage import Tally
from tests.hard.pump_world import Go, Said
from tests.kernel.kernel_world import World, handler, organism_of
from tests.kernel.test_found_by_the_machine import spend
from tests.kernel.test_found_by_the_machine import world_of as budget_world

AGENT = AgentSettings(accepts=(Go,), replies=(Said,))


def world_of(**limits: Any) -> World:
    return World(organism_of(handler("a", Go, agent=AGENT), budget=BudgetSettings(limits=Limits(**limits))))


def call_of(message: Any, **keys: Any) -> CallFor:
    return CallFor(thread=message.thread, message=message, alias="fast", backend="there", attempt=1, **keys)


def test_a_call_without_an_answer_is_written_down_with_its_instant_and_whose_it_was() -> None:
    world = world_of(tokens=1000)
    world.accept("a", Go())
    delivery = world.take()
    assert delivery is not None
    world.now = 7.5
    spent = Tally()
    spent.add((30, 20, 10, 5, 1, 0), (1, 2, 3), estimated=True)
    world.kernel.calls.unanswered(call_of(delivery.message, key="complete:1"), "failed", "down", spent, world.now)
    fact = world.facts[-1]
    assert isinstance(fact, facts.CallFailed)
    assert (fact.at, fact.seq, fact.handler, fact.alias, fact.outcome, fact.text) == (
        7.5,
        1,
        "a",
        "fast",
        "failed",
        "down",
    )
    assert (fact.attempts, fact.key, fact.usage.tokens, fact.usage.estimated) == (1, "complete:1", 30, True)
    assert fact.unpriced is None
    spent.add((1, 1, 0, 0, 0, 0), (0, 0, 0), unpriced=True)
    world.kernel.calls.unanswered(call_of(delivery.message), "failed", "down", spent, world.now)
    again = world.facts[-1]
    assert isinstance(again, facts.CallFailed)
    assert (again.unpriced, again.usage.tokens) == (True, 31)


def test_a_call_without_an_answer_of_a_thread_without_handlers_is_nobodys() -> None:
    world = world_of()
    thread = world.kernel.open_bare("t", BudgetSettings(), {}, 1.0)
    call = CallFor(thread=thread, message=None, alias="fast", backend="there", attempt=2)
    world.kernel.calls.unanswered(call, "failed", "down", Tally(), 2.0)
    fact = world.facts[-1]
    assert isinstance(fact, facts.CallFailed)
    assert (fact.seq, fact.handler, fact.attempts) == (0, "", 2)
    world.kernel.ends.close_bare(thread, 3.0)
    before = len(world.facts)
    world.kernel.calls.unanswered(call, "failed", "down", Tally(), 4.0)
    assert len(world.facts) == before, "its end says it"


def test_a_grace_call_is_for_the_unit_that_is_nearest_to_its_end() -> None:
    world = world_of(tokens=1000, model_calls=2)
    world.accept("a", Go())
    delivery = world.take()
    assert delivery is not None
    node = delivery.message.thread.node
    assert (node.caps.working[TOKENS], node.caps.working[CALLS]) == (900, 1)
    hold = world.kernel.calls.hold(
        Claim(input_tokens=450, wish=0, exact=True, model_calls=0), call_of(delivery.message), 0.0
    )
    assert isinstance(hold, Hold)
    world.kernel.calls.settle(hold, Charge(input_tokens=450), 0.0)
    last = world.kernel.calls.hold(
        Claim(input_tokens=1, wish=1, exact=True), call_of(delivery.message, grace=True), 0.0
    )
    assert isinstance(last, Hold)
    exhausted = delivery.message.thread.exhausted
    assert exhausted is not None
    assert (exhausted.unit, exhausted.scope) == ("tokens", "thread")


def test_a_prompt_is_told_by_the_one_before_it() -> None:
    world = world_of()
    world.accept("a", Go())
    delivery = world.take()
    assert delivery is not None

    def asked(*messages: str, **rest: Any) -> Any:
        prompt = Prompt(key="complete:1", messages=messages, asked=rest)
        hold = world.kernel.calls.hold(
            Claim(input_tokens=1, wish=1, exact=True), call_of(delivery.message, prompt=prompt), world.now
        )
        assert isinstance(hold, Hold)
        fact = world.facts[-1]
        assert isinstance(fact, facts.CallHeld)
        said = fact.prompt
        assert said is not None
        return said.after, said.kept, said.messages, said.asked

    assert asked("one", "two", seed=1) == (None, 0, ("one", "two"), {"seed": 1})
    assert asked("one", "two", "three", seed=1) == (1, 2, ("three",), None)
    assert asked("one", "other", "three", seed=2) == (2, 1, ("other", "three"), {"seed": 2})
    assert asked("one", seed=2) == (3, 1, (), None)


def test_what_fits_into_a_room_is_all_up_to_its_size() -> None:
    ranking = Ranking()
    for number, need in enumerate((5, 7, 6, 5)):
        ranking.add(need, number)
    assert (ranking.within(4), ranking.within(5), ranking.within(6), ranking.within(7)) == (0, 2, 3, 4)
    assert (ranking.above(4), ranking.above(5), ranking.above(6), ranking.above(7)) == ([0, 3, 2, 1], [2, 1], [1], [])
    assert ranking.most == 7
    assert list(ranking.first(2)) == [0, 3]


@pytest.mark.parametrize("unit", range(5))
def test_a_runway_has_fired_before_where_what_is_left_would_not_bear_two_of_the_cheapest_calls(unit: int) -> None:
    limits = Limits(tokens=10, input_tokens=10, output_tokens=10, cost_usd=Decimal(10) / 10**12, model_calls=10)
    policy = Policy()

    def begun(used: int) -> int:
        node = Node("organism", caps(limits, policy, keeps_back=False), policy)
        amounts = [0, 0, 0, 0, 0, 0]
        amounts[unit] = used
        begin_with(node, tuple(amounts), (1, 2, 3))
        assert node.caps.working[unit] == 10
        return node.runways

    assert begun(8) == 0
    assert begun(9) == 1 << unit
    assert begun(12) == 1 << unit


def test_a_turn_that_came_in_at_a_level_of_its_conversation_is_told_when_it_begins() -> None:
    world = World(
        organism_of(
            handler("b", Go, agent=AGENT),
            budget=BudgetSettings(limits=Limits(messages=50)),
            conversation=ConversationSettings(
                budget=BudgetSettings(limits=Limits(messages=4), warn_at={"messages": (Decimal("0.5"),)})
            ),
        )
    )
    turns = Beginning(id="c", budget=world.settings.conversation.budget)
    for id_ in ("t0", "t1"):
        world.roots.append(world.kernel.accept(id_, "b", Go(), world.settings.budget, {}, world.now, turn_of=turns))
    first = world.take()
    assert first is not None
    assert world.take() is None
    world.check()
    world.answer(first)
    second = world.take()
    assert second is not None
    said = [(each.unit, each.scope, each.used) for each in world.kernel.unheard(second.message)]
    assert said == [("messages", "conversation", 2)]
    world.notice(second)
    assert world.kernel.unheard(second.message)  # until a model has answered
    world.hear(second)
    assert not world.kernel.unheard(second.message)
    world.check()


def test_a_call_that_is_out_when_its_turn_has_ended_is_its_accounts_and_its_conversations_after_a_restart() -> None:
    world = budget_world(
        accounts={"team": Quota(window="total")}, ceiling=Quota(window="total"),
        conversation=ConversationSettings(budget=BudgetSettings(limits=Limits(tokens=5000), grace=Grace(tokens=0))),
    )  # fmt: skip
    world.open("a", Go(), accounts=("team:x",), conversation="c")
    delivery = world.take()
    assert delivery is not None
    spend(world, delivery, 10)
    hold = world.call_model(delivery, Claim(input_tokens=0, wish=100, exact=True))
    assert isinstance(hold, Hold)
    world.leave_out(delivery)
    world.answer(delivery)
    assert not world.kernel.state.threads
    world.snapshot(0)
    world.crash(5.0)
    assert world.kernel.state.conversations["c"].node.used[TOKENS] == 110
    assert world.kernel.state.sums.totals["account", "team:x"].amounts[TOKENS] == 110
    world.check()
    world.check_end()


def test_code_has_been_told_of_the_levels_that_fire_when_it_is_refused() -> None:
    world = World(organism_of(handler("a", Go), budget=BudgetSettings(limits=Limits(tokens=1000))))
    world.accept("a", Go())
    delivery = world.take()
    assert delivery is not None
    refused = world.call(delivery, Claim(input_tokens=0, wish=2000, exact=True))
    assert isinstance(refused, BudgetExhaustedError)
    said = [(each.unit, each.level, each.to) for each in delivery.message.thread.warnings or ()]
    assert said == [("tokens", "warning", "a"), ("tokens", "critical", "a"), ("tokens", "final", "a")]
    world.check()


def test_a_thread_without_any_time_has_none_left() -> None:
    world = world_of(seconds=0.0)
    world.accept("a", Go())
    delivery = world.take()
    assert delivery is not None
    assert world.kernel.grants.left(delivery.message, world.now)["seconds"] == 0


def test_a_grant_that_is_less_than_was_asked_for_says_what_was_in_the_way() -> None:
    budget = BudgetSettings(limits=Limits(tokens=1000), grants_by="boss", grants_up_to={"tokens": Decimal(200)})
    world = World(organism_of(handler("a", Go), handler("boss", Go), budget=budget))

    def granted(amount: int, asked: int) -> Any:
        world.accept("a", Go())
        delivery = world.take()
        assert delivery is not None
        request = BudgetRequest(unit="tokens", amount=Decimal(asked), reason="more")
        return world.kernel.grants.grant(delivery.message, request, Decimal(amount), reason="yes", key="", at=world.now)

    up_to = "200 more tokens may be granted to this thread ('grants_up_to')"
    assert granted(300, 300) == Done(Decimal(200), f"yes; 200 of the 300 tokens that were asked for; {up_to}")
    assert granted(200, 300) == Done(Decimal(200), f"yes; 200 of the 300 tokens that were asked for; {up_to}")
    assert granted(150, 300) == Done(Decimal(150), "yes; 150 of the 300 tokens that were asked for")
    assert granted(200, 200) == Done(Decimal(200), "yes")
    assert granted(0, 200) == "less than one was granted"
    delivery = next(iter(world.deliveries.values()))
    request = BudgetRequest(unit="tokens", amount=Decimal(5), reason="more")
    nothing = world.kernel.grants.grant(delivery.message, request, Decimal(5), reason="", key="", at=world.now)
    assert nothing == "0 more tokens may be granted to this thread ('grants_up_to')"
    world.check()


@pytest.mark.parametrize("end", ["stopped", "exhausted", "dropped"])
def test_a_thread_at_its_end_is_granted_nothing(end: str) -> None:
    world = World(
        organism_of(
            handler("a", Go), handler("boss", Go), budget=BudgetSettings(limits=Limits(tokens=1000), grants_by="boss")
        )
    )
    thread = world.accept("a", Go())
    delivery = world.take()
    assert delivery is not None
    assert thread is not None
    request = BudgetRequest(unit="tokens", amount=Decimal(100), reason="more")
    assert world.kernel.grants.room(delivery.message, request, world.now) == Room(thread, "boss", None, "")
    match end:
        case "stopped":
            world.kernel.ends.stop(thread, Failure("cancelled", "enough"), world.now)
        case "exhausted":
            world.kernel.ends.exhaust(thread, Failure("exhausted", "no time is left", unit="seconds"), world.now)
        case _:
            delivery.message.dropped = True
    facts_before = len(world.facts)
    said = "the thread is at its end and hands in what it has"
    assert world.kernel.grants.room(delivery.message, request, world.now) == said
    given = world.kernel.grants.grant(delivery.message, request, Decimal(100), reason="", key="", at=world.now)
    assert (given, len(world.facts)) == (said, facts_before)


def test_a_record_that_answers_a_message_which_it_never_posted_is_named_as_that() -> None:
    world = world_of()
    world.accept("a", Go())
    answered = facts.Answered(
        at=1.0, thread="t0", seq=9, handler="a", steps=(facts.Left(thread="t0", sender="a", payload=Said("x")),)
    )
    said = "entry 2, Answered: does not follow from the entries before it: it holds an answer of a message that is not open"
    with pytest.raises(JournalError, match=said):
        world.fold.apply(answered)


def test_what_a_thread_that_has_run_out_of_messages_needs_is_one_of_them() -> None:
    world = world_of(messages=10)
    thread = world.accept("a", Go())
    assert thread is not None
    assert closed(thread) is None
    world.take()
    world.kernel.ends.exhaust(thread, Failure("exhausted", "none is left", unit="messages", scope="thread"), world.now)
    refusal = closed(thread)
    assert refusal is not None
    assert refusal.lack == Lack(thread.node, MESSAGES, 1, for_good=True)


def test_when_an_attempt_began_is_written_down_in_microseconds() -> None:
    world = world_of()
    world.accept("a", Go())
    delivery = world.take()
    assert delivery is not None
    attempt = world.kernel.retries.attempt(delivery.message, Failure("crashed", "x", retry=True), 1.0, 1 / 3)
    assert (attempt.began, attempt.at) == (0.333333, 1.0)
