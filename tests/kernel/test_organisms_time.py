"""The organism's own running time: what is left of it, what becomes due, and what it refuses once it has run out."""

from __future__ import annotations

from decimal import Decimal

import pytest

from organism.errors import BudgetExhaustedError
from organism.message import Send
from organism.settings import BudgetSettings, Limits, OnFailure, Quota
from tests.hard.pump_world import Go, Odd
from tests.kernel.kernel_world import Delivery, World, handler, organism_of


def world_of(seconds: float | None = 10.0) -> World:
    warn_at = {"seconds": (Decimal("0.5"), Decimal("0.8"))}
    return World(
        organism_of(
            handler("a", Go),
            ceiling=Quota(limits=Limits(seconds=seconds)),
            budget=BudgetSettings(limits=Limits(tokens=1000), warn_at=warn_at),
        )
    )


def test_time_counts_from_the_start_on() -> None:
    times = world_of().kernel.times
    assert times.left(1.0) == 9.0
    assert times.ceiling_due() == 5.0
    times.start(100.0)
    assert times.left(103.0) == 7.0
    assert times.ceiling_due() == 105.0


def test_without_a_limit_nothing_is_due_and_nothing_is_refused() -> None:
    times = world_of(None).kernel.times
    times.start(100.0)
    assert (times.left(1e9), times.ceiling_due(), times.refusal(1e9)) == (None, None, None)


def test_nothing_is_taken_in_once_the_time_has_run_out() -> None:
    world = world_of()
    world.kernel.times.start(100.0)
    assert world.kernel.times.refusal(109.999) is None
    world.now = 110.0
    refused = world.kernel.times.refusal(110.0)
    assert refused is not None
    assert (refused.unit, refused.scope, refused.used, refused.held, refused.limit, refused.need) == (
        "seconds", "organism", 10, 0, 10, 1,
    )  # fmt: skip
    with pytest.raises(BudgetExhaustedError, match="seconds"):
        world.kernel.accept("t", "a", Go(), BudgetSettings(), {}, world.now)
    late = world.kernel.times.refusal(117.9)
    assert late is not None
    assert late.used == 17.9


def test_every_thread_hears_each_level_once_and_ends_when_the_time_is_over() -> None:
    world = world_of()
    threads = [world.accept("a", Go()), world.accept("a", Go())]
    delivery = world.take()
    assert delivery is not None
    for at in (5.0, 8.0):
        assert world.kernel.times.ceiling_due() == at
        world.now = at
        world.kernel.times.reach_ceiling(at)
        world.check()
    assert world.kernel.times.ceiling_due() == 10.0
    for thread in threads:
        assert thread is not None
        said = [(each.unit, each.level, each.used, each.remaining, each.scope) for each in thread.warnings or ()]
        assert said == [
            ("seconds", "warning", 5.0, 5.0, "organism"), ("seconds", "final", 8.0, 2.0, "organism"),
        ]  # fmt: skip
        assert not thread.closing
    world.now = 10.0
    world.kernel.times.reach_ceiling(10.0)
    assert delivery.cancelled
    world.carry_out()
    world.drain()
    assert {record.outcome for record in world.ended} == {"exhausted"}
    assert {record.unit for record in world.ended} == {"seconds"}


def crowded(limit: int) -> tuple[World, Delivery]:
    world = World(organism_of(handler("a", Go, peers=("b",)), handler("b", Go), thread_queue=limit))
    world.accept("a", Go())
    delivery = world.take()
    assert delivery is not None
    return world, delivery


def test_a_delivery_may_send_as_many_as_fit_beside_what_is_under_way_when_it_is_over() -> None:
    world, delivery = crowded(3)
    assert world.answer(delivery, *(Send("b", Go(str(n))) for n in range(3))) is None
    world, delivery = crowded(3)
    failure = world.answer(delivery, *(Send("b", Go(str(n))) for n in range(4)))
    assert failure is not None
    assert "thread_queue" in failure.text
    world.drain()


def test_in_a_thread_that_has_run_out_nothing_is_tried_again() -> None:
    again = OnFailure(attempts=3, backoff=(1.0, 1.0))
    world = World(
        organism_of(
            handler("a", Go, peers=("b", "c")), handler("b", Go, peers=("c",)), handler("c", Go, on_failure=again),
            budget=BudgetSettings(limits=Limits(messages=3)),
        )
    )  # fmt: skip
    world.accept("a", Go())
    first = world.take()
    assert first is not None
    world.answer(first, Send("b", Go()), Send("c", Go()))
    second, third = world.take(), world.take()
    assert second is not None
    assert third is not None
    world.answer(second, Send("c", Go()))
    assert third.message.thread.closing
    world.fail(third)
    assert not world.kernel.state.retries
    world.drain()
    assert [record.outcome for record in world.ended] == ["exhausted"] or world.ended[0].outcome == "failed"


def test_what_none_takes_is_refused() -> None:
    world = world_of()
    assert world.accept("a", Odd()) is None
