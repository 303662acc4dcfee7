"""Which of several backends a call begins with."""

from __future__ import annotations

import anyio
from hypothesis import given
from hypothesis import strategies as st

from organism.models.routing.failover import order_of
from tests.models.router_world import Purse, Say, Script, World, ask, fail


@given(
    st.lists(st.tuples(st.integers(0, 3), st.floats(0, 5)), min_size=1, max_size=6).map(
        lambda loads: sorted(loads, key=lambda each: each[0])
    ),
    st.sampled_from(["failover", "round-robin", "least-loaded"]),
    st.integers(0, 50),
)
def test_every_backend_once_and_the_priority_first(loads: list[tuple[int, float]], strategy: str, turn: int) -> None:
    order = order_of(loads, strategy, turn=turn)  # type: ignore[arg-type]
    assert sorted(order) == list(range(len(loads)))
    assert [loads[index][0] for index in order] == [priority for priority, _ in loads]


async def test_round_robin_begins_with_the_next_and_fails_over_like_any_other() -> None:
    scripts = [Script(Say()), Script(fail("server")), Script(Say())]
    world = World(*scripts, each=[{"priority": 1}] * 3, strategy="round-robin")
    asked = [(await world.router.complete(ask(), Purse())).backend[-1] for _ in range(6)]
    assert asked == ["0", "2", "2", "0", "2", "2"]
    assert len(scripts[1].requests) == 2


async def test_round_robin_leaves_those_of_another_priority_to_failing_over() -> None:
    scripts = [Script(Say()), Script(Say()), Script(Say())]
    world = World(*scripts, each=[{"priority": 1}, {"priority": 1}, {"priority": 2}], strategy="round-robin")
    for _ in range(4):
        await world.router.complete(ask(), Purse())
    assert [len(script.requests) for script in scripts] == [2, 2, 0]


async def test_the_least_loaded_counts_what_waits_and_how_many_it_may_take() -> None:
    """Two places here and six there: eight calls at once fill both, none waits."""
    scripts = [Script(Say(seconds=5)), Script(Say(seconds=5))]
    each = [{"priority": 1, "max_concurrent": 2}, {"priority": 1, "max_concurrent": 6}]
    world = World(*scripts, each=each, strategy="least-loaded")
    async with anyio.create_task_group() as group:
        for _ in range(8):
            group.start_soon(world.router.complete, ask(), Purse())
    assert [len(script.requests) for script in scripts] == [2, 6]
    assert anyio.current_time() - min(scripts[0].times) <= 5.001


async def test_without_a_word_the_first_takes_all() -> None:
    scripts = [Script(Say()), Script(Say())]
    world = World(*scripts, each=[{"priority": 1}] * 2)
    for _ in range(3):
        await world.router.complete(ask(), Purse())
    assert [len(script.requests) for script in scripts] == [3, 0]
