"""What comes late: answers after a failure, warnings that outlive the thread they were made in, and threads opened while all stands still."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from organism.agentsettings import Notices
from organism.budget.caps import caps
from organism.budget.claims import MESSAGES, Charge, Claim
from organism.budget.node import Node
from organism.errors import BudgetExhaustedError
from organism.kernel.conversations import Beginning
from organism.kernel.holds import Hold
from organism.kernel.notices import exhausted_payload, live
from organism.message import Reply, Send
from organism.primitives import BudgetWarning, HandlerFailed
from organism.record import facts
from organism.settings import AgentSettings, BudgetSettings, HumanSettings, Limits, OnFailure, Policy, Quota
from organism.threads.frames import Thread
from organism.threads.outcomes import DeliveryWarnings, Failure
from tests.durable.cut_world import KeptWorld, Recovered
from tests.hard.pump_world import Go, Said
from tests.kernel.kernel_world import Delivery, World, handler, organism_of

NAMES = ("a", "b", "c", "d")
AGENT = AgentSettings(accepts=(Go,), replies=(Said,))


def taken(world: World, to: str) -> Delivery:
    delivery = world.take()
    assert delivery is not None
    assert delivery.message.to == to
    return delivery


def spend(world: World, delivery: Delivery, tokens: int) -> None:
    hold = world.call(delivery, Claim(input_tokens=0, wish=tokens, exact=True))
    assert isinstance(hold, Hold)
    world.settle(delivery, hold, Charge(output_tokens=tokens, model_calls=1))


def late(world: World) -> list[facts.CameLate]:
    return [step for fact in world.facts for step in fact.steps if isinstance(step, facts.CameLate)]


def test_a_frame_that_has_failed_replies_too_late() -> None:
    world = World(organism_of(*(handler(name, Go, Said, HandlerFailed, peers=NAMES) for name in NAMES)))
    world.accept("a", Go())
    world.answer(taken(world, "a"), Send("b", Go()))
    world.answer(taken(world, "b"), Send("c", Go()), Send("d", Go()))
    world.answer(taken(world, "c"), Reply(Said("one")))
    world.answer(taken(world, "d"), Reply(Said("two")))
    world.fail(taken(world, "b"))
    second = next(each for each in (world.take(), world.take()) if each is not None and each.message.to == "b")
    (heard,) = (each for each in world.deliveries.values() if each.message.to == "a")
    assert isinstance(heard.message.payload, HandlerFailed)
    assert not late(world)
    world.answer(second, Reply(Said("too late")))
    assert [step.payload for step in late(world)] == [Said("too late")]
    world.drain()
    world.check_end()
    posted = [step for fact in world.facts for step in fact.steps if isinstance(step, facts.Posted) and step.to == "a"]
    assert [step.kind for step in posted] == ["ingress", "failed"]


def test_a_thread_that_is_opened_while_all_stands_still_stands_still_as_well() -> None:
    below = BudgetSettings(limits=Limits(tokens=100))
    world = World(organism_of(handler("a", Go, peers=("b",)), handler("b", Go, budget=below)))
    root = world.accept("a", Go())
    assert root is not None
    running = taken(world, "a")
    world.now = 3.0
    world.kernel.ends.pause(root, world.now)
    opened = world.spawn(running, "b", Go())
    assert isinstance(opened, Thread)
    assert opened.paused_at == 3.0
    assert world.take() is None
    world.check()
    world.now = 8.0
    world.kernel.ends.resume(root, world.now)
    stands: Any = opened.paused_at
    assert stands is None
    assert opened.opened_at == 8.0
    taken(world, "b")
    world.drain()
    world.check_end()


def test_a_warning_of_a_conversation_that_a_sub_thread_did_not_hear_waits_for_the_next_one() -> None:
    levels = {"tokens": (Decimal("0.5"),)}
    below = BudgetSettings(limits=Limits(tokens=5000), runway=Decimal(0))
    world = World(
        organism_of(
            handler("a", Go, peers=("b", "c")), handler("b", Go, budget=below, agent=AGENT), handler("c", Go, peers=("b",)),
            budget=BudgetSettings(limits=Limits(tokens=9000), runway=Decimal(0)),
        )
    )  # fmt: skip
    turns = Beginning(id="c", budget=BudgetSettings(limits=Limits(tokens=1000), warn_at=levels, runway=Decimal(0)))
    world.roots.append(world.kernel.accept("t0", "a", Go(), world.settings.budget, {}, world.now, turn_of=turns))
    world.answer(taken(world, "a"), Send("b", Go()), Send("c", Go()))
    crossing = taken(world, "b")
    spend(world, crossing, 600)
    world.check()
    assert [each.unit for each in world.kernel.unheard(crossing.message)] == ["tokens"]
    world.answer(crossing)
    assert crossing.message.thread.ended
    world.answer(taken(world, "c"), Send("b", Go()))
    again = taken(world, "b")
    assert again.message.thread is not crossing.message.thread
    assert [(each.scope, each.used) for each in world.kernel.unheard(again.message)] == [("conversation", 600)]
    world.notice(again)
    assert world.kernel.unheard(again.message)  # until a model has answered
    world.hear(again)
    assert not world.kernel.unheard(again.message)
    world.check()
    world.drain()
    assert not world.kernel.state.conversations["c"].unheard


def test_how_many_calls_are_left_is_told_of_the_thread_whose_call_it_was() -> None:
    budget = BudgetSettings(limits=Limits(tokens=10_000), runway=Decimal(0))
    world = World(organism_of(handler("b", Go, agent=AGENT), budget=budget))
    hearing, other = world.accept("b", Go()), world.accept("b", Go())
    assert hearing is not None
    assert other is not None
    first = taken(world, "b")
    spend(world, first, 7000)
    (warned,) = hearing.warnings or []
    assert (warned.used, warned.calls_left) == (7000, 0)
    spend(world, first, 500)
    threads = world.kernel.state.threads

    def said(hears: Thread) -> tuple[Any, ...]:
        now = live(threads, hears, warned)
        return now.used, now.remaining, now.calls_left

    assert said(hearing) == (7500, 1500, 3)
    hearing.have_troubles().warnings = []
    assert said(hearing) == (7500, 1500, 0)
    assert live({}, other, warned) is warned, "it is not a limit of this thread's"


def test_an_agent_that_is_kept_from_all_of_it_is_told_nothing_of_what_it_calls_either() -> None:
    for deliver in (True, False):
        agent = AgentSettings(accepts=(Go,), replies=(Said,), notices=Notices(deliver=deliver))
        world = World(
            organism_of(
                handler("a", Go, agent=agent, peers=("b",)), handler("b", Go),
                budget=BudgetSettings(limits=Limits(tokens=1000), runway=Decimal(0), notify=("agent", "caller")),
            )
        )  # fmt: skip
        world.accept("a", Go())
        caller = taken(world, "a")
        world.ask(caller, "b", Go())
        spend(world, taken(world, "b"), 700)
        assert [each.used for each in world.kernel.unheard(caller.message)] == [700] * deliver
        assert bool(caller.message.thread.pending) is deliver
        world.check()


def test_a_stream_that_a_delivery_leaves_open_is_charged_in_full_when_it_is_over() -> None:
    world = World(organism_of(handler("a", Go), budget=BudgetSettings(limits=Limits(tokens=1000))))
    world.accept("a", Go())
    delivery = taken(world, "a")
    hold = world.call(delivery, Claim(input_tokens=5, wish=200, exact=True), streamed=True)
    assert isinstance(hold, Hold)
    delivery.calls.remove(hold)
    world.answer(delivery)
    assert not world.kernel.state.holds
    (record,) = world.ended
    assert (record.usage.tokens, record.usage.estimated) == (205, True)


def test_a_thread_stands_still_once_and_not_while_it_is_paused() -> None:
    person = handler("h", Go, human=HumanSettings(replies=(Said,)))
    world = World(organism_of(handler("a", Go, peers=("h",)), person))
    thread = world.accept("a", Go())
    assert thread is not None
    world.answer(taken(world, "a"), Send("h", Go()))
    people, state = world.kernel.people, world.kernel.state

    def stood() -> int:
        return sum(isinstance(fact, facts.StoodStill) for fact in world.facts)

    world.now = 2.0
    people.stand(thread, 2.0)
    people.stand(thread, 5.0)
    assert (stood(), state.inbox.resting[thread]) == (1, 2.0)
    assert world.differing() == []
    world.kernel.ends.pause(thread, 6.0)
    people.stand(thread, 7.0)
    assert (stood(), thread in state.inbox.resting) == (1, False)
    world.kernel.ends.resume(thread, 8.0)
    (question,) = state.inbox.questions
    people.answer(question, Said(), 9.0)
    assert thread.ended
    people.stand(thread, 10.0)
    assert (stood(), thread in state.inbox.resting) == (1, False)


def test_a_frame_whose_reply_has_left_has_answered() -> None:
    """What fails in it later is no answer in its place."""
    world = World(organism_of(handler("a", Go, Said, peers=("b",)), handler("b", Go)))
    world.accept("a", Go())
    first = taken(world, "a")
    world.answer(first, Reply(Said("out")), Send("b", Go()))
    assert first.message.frame.answered
    world.answer(taken(world, "b"), Reply(Said("back")))
    again = taken(world, "a")
    assert again.message.frame is first.message.frame
    world.fail(again)
    assert not [step for fact in world.facts for step in fact.steps if isinstance(step, facts.Handed)]
    (record,) = world.ended
    assert (record.outcome, len(record.replies)) == ("failed", 1)


def test_what_waits_for_its_next_attempt_takes_no_place_in_the_process_that_takes_it_up() -> None:
    again = OnFailure(attempts=3, backoff=(2.0, 2.0))
    world = KeptWorld(organism_of(handler("a", Go, on_failure=again, concurrency=1), ceiling=Quota(window="total")))
    world.accept("a", Go())
    world.fail(taken(world, "a"))
    for snapped in (False, True):
        if snapped:
            world.snapshot(0)
        taken_up = Recovered(world, len(world.written), down=1.0)
        schedule = taken_up.kernel.schedule
        assert (schedule.running, schedule.queued, len(taken_up.kernel.state.retries)) == (0, 0, 1)
        assert taken_up.take() is None
        taken_up.pass_time(5.0)
        taken_up.check()
        taken_up.answer(taken(taken_up, "a"))
        taken_up.check_end()


def test_what_a_call_did_cost_that_comes_back_after_its_sub_thread_has_ended_is_in_the_record_of_that() -> None:
    below = BudgetSettings(limits=Limits(tokens=500))
    world = World(organism_of(handler("a", Go, peers=("b",)), handler("b", Go, budget=below)))
    root = world.accept("a", Go())
    assert root is not None
    caller = taken(world, "a")
    world.ask(caller, "b", Go())
    called = taken(world, "b")
    hold = world.call(called, Claim(input_tokens=5, wish=100, exact=True))
    assert isinstance(hold, Hold)
    called.calls.remove(hold)
    world.answer(called)
    assert [record.usage.tokens for record in (root.have_below().records or {}).values()] == [0]
    world.kernel.calls.settle(hold, Charge(input_tokens=5, output_tokens=60, model_calls=1), world.now)
    (record,) = (root.have_below().records or {}).values()
    assert (record.usage.tokens, record.own.tokens, record.usage.model_calls) == (65, 65, 1)
    world.check()
    world.drain()
    assert world.ended[-1].threads == (record,)


def test_the_inbox_knows_in_which_threads_a_person_is_asked() -> None:
    person = handler("h", Go, human=HumanSettings(replies=(Said,)))
    world = World(organism_of(handler("a", Go, peers=("h",)), person))
    root, other = world.accept("a", Go()), world.accept("a", Go())
    assert root is not None
    assert other is not None
    inbox = world.kernel.state.inbox
    first = taken(world, "a")
    world.answer(first, Send("h", Go("1")), Send("h", Go("2")))
    questions = inbox.of(root)
    assert [message.payload.text for message in questions] == ["1", "2"]
    assert (root in inbox.watched, other in inbox.watched) == (True, False)
    world.kernel.people.answer(questions[0], Said(), world.now)
    assert root in inbox.watched
    world.kernel.people.refuse(questions[1], "no", world.now)
    assert root not in inbox.watched
    assert root.ended


@pytest.mark.parametrize(("own", "above"), [(0, 5), (5, 0), (None, 0), (0, None)])
def test_a_message_that_may_go_no_step_is_not_taken_in(own: int | None, above: int | None) -> None:
    settings = organism_of(handler("a", Go), ceiling=Quota(limits=Limits(depth=above)))
    kernel = World(settings).kernel
    with pytest.raises(BudgetExhaustedError, match="depth") as refused:
        kernel.accept("t", "a", Go(), BudgetSettings(limits=Limits(depth=own)), {}, 0.0)
    assert (refused.value.unit, refused.value.limit, refused.value.need) == ("depth", 0, 1)
    assert not kernel.state.threads


def test_who_gets_a_message_that_reached_a_level_of_its_sub_thread_is_told_of_it() -> None:
    below = BudgetSettings(limits=Limits(messages=2), warn_at={"messages": (Decimal("0.5"),)})
    for spawned in (False, True):
        world = World(organism_of(handler("a", Go, peers=("b",)), handler("b", Go, budget=below, agent=AGENT)))
        world.accept("a", Go())
        caller = taken(world, "a")
        if spawned:
            world.ask(caller, "b", Go())
        else:
            world.answer(caller, Send("b", Go()))
        called = taken(world, "b")
        said = [(each.unit, each.used, each.limit, each.scope) for each in world.kernel.unheard(called.message)]
        assert said == [("messages", 1, 2, "sub-thread")]
        world.check()


def test_what_the_handler_of_an_exhausted_thread_is_told_has_the_figures_of_whose_limit_it_was() -> None:
    world = World(organism_of(handler("a", Go), budget=BudgetSettings(limits=Limits(tokens=1000, seconds=9.5))))
    thread = world.accept("a", Go())
    assert thread is not None
    delivery = taken(world, "a")
    spend(world, delivery, 400)

    def told(unit: str | None, scope: str | None) -> tuple[Any, ...]:
        said = exhausted_payload(thread.node, Failure("exhausted", "why", unit=unit, scope=scope))
        return said.unit, said.used, said.limit, said.scope, said.grace, said.text

    assert told("tokens", "thread") == ("tokens", 400, 1000, "thread", True, "why")
    assert told("messages", None) == ("messages", 1, thread.node.caps.limit[MESSAGES], "thread", True, "why")
    assert told(None, None) == ("tokens", 400, 1000, "thread", True, "why")
    assert told("seconds", "thread") == ("seconds", Decimal("9.5"), Decimal("9.5"), "thread", True, "why")
    assert told("seconds", "organism") == ("seconds", 0, 0, "organism", True, "why")
    assert told("depth", "thread") == ("depth", 0, 0, "thread", True, "why")


def test_of_several_accounts_the_figures_are_of_the_one_whose_limit_it_was() -> None:
    policy = Policy()
    free = caps(Limits(), policy, keeps_back=False)
    tenant = Node("account", free, policy, thread="account:tenant:acme")
    team = Node("account", free, policy, thread="account:team:x")
    tenant.used, team.used = [1] * 6, [2] * 6
    node = Node("thread", free, policy, thread="t", above=(tenant, team))

    def told(account: str | None) -> Any:
        return exhausted_payload(
            node, Failure("exhausted", "why", unit="tokens", scope="account", account=account)
        ).used

    assert (told("tenant:acme"), told("team:x")) == (1, 2)
    assert told(None) == 1  # as journals of before have it


def test_a_delivery_that_was_cancelled_and_has_stopped_is_dropped() -> None:
    world = World(organism_of(handler("a", Go)))
    world.accept("a", Go())
    delivery = taken(world, "a")
    del world.deliveries[delivery.message]
    world.kernel.dropped(delivery.message, 1.0)
    world.carry_out()
    assert delivery.message.dropped
    assert world.kernel.is_void(delivery.message)
    assert [record.outcome for record in world.ended] == ["completed"]


def test_who_waits_for_others_has_its_mailbox_at_once_in_the_process_that_takes_it_up() -> None:
    made = (handler(name, Go, Said, peers=NAMES) for name in NAMES)
    world = KeptWorld(organism_of(*made, ceiling=Quota(window="total")))
    world.accept("a", Go())
    world.answer(taken(world, "a"), Send("b", Go("1")), Send("b", Go("2")))
    waits = taken(world, "b")
    world.ask(waits, "c", Go())
    taken_up = Recovered(world, len(world.written))
    occupied = taken_up.kernel.state.occupied
    assert {(thread.id, to): message.seq for (thread, to), message in occupied.items()} == {
        ("t0", "b"): waits.message.seq
    }
    taken_up.drain()
    taken_up.check_end()


def test_warnings_that_no_turn_heard_are_kept_under_numbers_that_no_turn_has() -> None:
    levels = {"tokens": (Decimal("0.5"), Decimal("0.6"))}
    world = World(organism_of(handler("b", Go, agent=AGENT), budget=BudgetSettings(runway=Decimal(0))))
    turns = Beginning(id="c", budget=BudgetSettings(limits=Limits(tokens=1000), warn_at=levels, runway=Decimal(0)))
    for number, spends in enumerate([(550, 100), ()]):
        thread = world.kernel.accept(f"t{number}", "b", Go(), world.settings.budget, {}, world.now, turn_of=turns)
        world.roots.append(thread)
        world.carry_out()
        delivery = taken(world, "b")
        for tokens in spends:
            spend(world, delivery, tokens)
        assert len(world.kernel.unheard(delivery.message)) == 2
        world.answer(delivery)
        kept = world.kernel.state.conversations["c"].unheard or {}
        assert [each.seq for each in kept["b"]] == [-1, -2]


def test_what_a_handler_is_yet_to_be_told_of_is_in_the_image_of_its_thread() -> None:
    limits = BudgetSettings(limits=Limits(tokens=1000), runway=Decimal(0))
    world = KeptWorld(organism_of(handler("a", Go, BudgetWarning), budget=limits))
    world.accept("a", Go())
    delivery = taken(world, "a")
    spend(world, delivery, 700)
    world.check_whole("t0")
    assert [each.level for each in (delivery.message.warned or DeliveryWarnings()).told] == ["warning"]
