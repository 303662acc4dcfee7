"""Requests and tokens per minute: what goes through, in what order, and what the provider says of it."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import anyio
import anyio.lowlevel
import pytest
from attrs import evolve
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from organism.errors import ModelError
from organism.models.contract import Allowance, BackendError, Request, Response
from organism.models.routing.rate_limits import BURST, Bucket, Pace
from organism.models.tokens.estimates import Estimates
from organism.models.transport.headers import allowance_in
from tests.models.plain_prompts import prompt_of
from tests.models.router_world import Purse, Say, Script, World, ask, fail, usage

MINUTE = 60.0


# Laws


@given(st.integers(1, 600), st.lists(st.floats(0, 30), min_size=1, max_size=200))
def test_in_any_minute_no_more_requests_than_the_figure_and_a_tenth(per_minute: int, pauses: list[float]) -> None:
    """Callers come when they like, wait as long as they are told, and go."""
    bucket, now, went = Bucket(per_minute), 0.0, list[float]()
    for pause in pauses:
        now += pause
        now += bucket.wait(1, now)
        bucket.take(1, now)
        went.append(now)
    most = per_minute + max(1, per_minute * BURST)
    for index, first in enumerate(went):
        assert sum(first <= time <= first + MINUTE - 1e-3 for time in went[index:]) <= most


@given(
    st.integers(1, 100_000),
    st.lists(st.tuples(st.floats(0, 20), st.floats(0, 3), st.floats(0, 1)), min_size=1, max_size=100),
)
def test_in_any_minute_no_more_tokens_than_the_figure_a_tenth_and_the_last_call(
    per_minute: int, calls: list[tuple[float, float, float]]
) -> None:
    """Weights up to three minutes' worth; what a call did not use is given back before the next one comes."""
    bucket, now, went = Bucket(per_minute), 0.0, list[tuple[float, float]]()
    for pause, share, used in calls:
        weight = share * per_minute
        now += pause
        now += bucket.wait(weight, now)
        bucket.take(weight, now)
        bucket.give(weight * (1 - used), now)
        went.append((now, weight * used))
    for index, (first, _) in enumerate(went):
        within = [weight for time, weight in went[index:] if time <= first + MINUTE - 1e-3]
        # The last one may weigh more than a bucket holds: it is what is owed by those that come after.
        assert sum(within[:-1]) <= per_minute + max(1, per_minute * BURST) + 1e-3


@given(st.integers(1, 1000), st.lists(st.floats(0, 10), max_size=50))
def test_what_is_waited_for_is_there(per_minute: int, weights: list[float]) -> None:
    bucket, now = Bucket(per_minute), 1e6
    for weight in weights:
        now += bucket.wait(weight, now)
        assert bucket.wait(weight, now) == 0
        bucket.take(weight, now)


@given(st.integers(1, 1000), st.lists(st.tuples(st.integers(0, 50), st.integers(0, 50)), max_size=30))
def test_a_provider_that_says_how_little_is_left_is_believed(per_minute: int, said: list[tuple[int, int]]) -> None:
    """It only ever makes calls wait longer, and what went since is taken off what it said."""
    pace = Pace(requests_per_minute=per_minute)
    for left, since in said:
        taken = pace.take(0, 0.0)
        for _ in range(since):
            pace.take(0, 0.0)
        before = pace.wait(0, 0.0)
        pace.hear(taken, Allowance(requests=left), 0.0)
        after = pace.wait(0, 0.0)
        assert after >= before - 1e-6
        if left <= since:
            assert after >= (1 + since - left) * MINUTE / per_minute - 1e-6


@pytest.mark.parametrize(
    ("headers", "left"),
    [
        ({"x-ratelimit-remaining-requests": "59", "x-ratelimit-remaining-tokens": "149984"}, (59, 149984)),
        ({"anthropic-ratelimit-requests-remaining": "0", "anthropic-ratelimit-tokens-remaining": "1000"}, (0, 1000)),
        ({"x-ratelimit-remaining-tokens": " 7 "}, (None, 7)),
        ({"x-ratelimit-remaining-requests": "-1", "x-ratelimit-remaining-tokens": "many"}, None),
        ({"x-ratelimit-remaining-requests": "9" * 5000}, None),
        ({}, None),
    ],
)
def test_headers_of_both_protocols(headers: dict[str, str], left: Any) -> None:
    found = allowance_in(headers)
    assert (None if found is None else (found.requests, found.tokens)) == left


# Through the router


def prompt_input(text: str) -> int:
    """What a question is estimated at by a model of which nothing is known."""
    return Estimates().input_tokens(prompt_of(ask(text).messages))


async def _all(world: World, *calls: Any, purse: Purse | None = None) -> list[float]:
    """Makes calls at once; when each of them reached its backend, in that order."""
    began = anyio.current_time()

    async def one(call: Any) -> None:
        await world.router.complete(call, purse or Purse())

    async with anyio.create_task_group() as group:
        for call in calls:
            group.start_soon(one, call)
            for _ in range(10):  # as far as it can go
                await anyio.lowlevel.checkpoint()
    return [time - began for time in world.scripts[0].times]


async def test_calls_wait_for_their_turn_first_come_first_served() -> None:
    script = Script(Say())
    world = World(script, each=[{"requests_per_minute": 20}])
    times = await _all(world, *[ask(f"Number {number}.") for number in range(8)])
    assert times[:2] == [0.0, 0.0]
    assert [later - sooner for sooner, later in pairwise(times[1:])] == pytest.approx([3.0] * 6)
    said = [request.messages[-1]["content"] for request in script.requests]
    assert said == [f"Number {number}." for number in range(8)]


async def test_a_heavy_call_is_not_overtaken_by_light_ones() -> None:
    script = Script(Say())
    world = World(script, each=[{"tokens_per_minute": 6000}])
    calls = [ask("a", max_output_tokens=500), ask("heavy", max_output_tokens=500), *[ask("b", max_output_tokens=1)] * 3]
    await _all(world, *calls)
    assert [request.messages[-1]["content"] for request in script.requests] == ["a", "heavy", "b", "b", "b"]


async def test_who_waits_holds_nothing_of_the_budget() -> None:
    purse = Purse()
    world = World(Script(Say(seconds=1)), each=[{"requests_per_minute": 6}])
    times = await _all(world, *[ask() for _ in range(4)], purse=purse)
    assert times == pytest.approx([0.0, 10.0, 20.0, 30.0])
    assert purse.most_held == 1


async def test_tokens_that_were_not_used_are_given_back() -> None:
    """Each may come to a whole bucket, and uses a hundredth of it: they follow each other at once."""
    world = World(Script(Say(usage=usage(4, 1))), each=[{"tokens_per_minute": 6000}])
    began = anyio.current_time()
    for _ in range(20):
        await world.router.complete(ask("a", max_output_tokens=500), Purse())
    assert anyio.current_time() - began < 1


async def test_tokens_that_were_used_beyond_the_estimate_are_owed() -> None:
    world = World(Script(Say(usage=usage(3600, 0))), each=[{"tokens_per_minute": 6000}])
    began = anyio.current_time()
    await world.router.complete(ask("a", max_output_tokens=1), Purse())
    await world.router.complete(ask("a", max_output_tokens=1), Purse())
    assert anyio.current_time() - began == pytest.approx(36.0, abs=1)  # 30 for what is owed, 6 to be full


async def test_who_is_cancelled_or_refused_by_the_budget_takes_nothing() -> None:
    script = Script(Say())
    world = World(script, each=[{"requests_per_minute": 10}])
    await world.router.complete(ask(), Purse())
    async with anyio.create_task_group() as group:
        group.start_soon(world.router.complete, ask(), Purse())
        await anyio.sleep(5.99)
        group.cancel_scope.cancel()
    began = anyio.current_time()
    for _ in range(50):
        with pytest.raises(ZeroDivisionError):
            await world.router.complete(ask(), _Broke())
    await world.router.complete(ask(), Purse())
    assert anyio.current_time() - began == pytest.approx(0.01)


class _Broke(Purse):
    async def hold(self, *_: Any, **__: Any) -> Any:
        raise ZeroDivisionError


async def test_a_turn_after_the_deadline_is_told_at_once_and_elsewhere_is_tried() -> None:
    first, second = Script(Say("first")), Script(Say("second"))
    world = World(first, second, each=[{"requests_per_minute": 1}, {}])
    await world.router.complete(ask(), Purse())
    began = anyio.current_time()
    assert (await world.router.complete(ask(), Purse(seconds_left=20.0))).text == "second"
    alone = World(Script(Say()), each=[{"requests_per_minute": 1}])
    await alone.router.complete(ask(), Purse())
    with anyio.move_on_after(30), pytest.raises(ModelError, match="its rate allows the call in 60 s only"):
        await alone.router.complete(ask(), Purse())
    assert anyio.current_time() == began


class _Telling(Script):
    """A backend that says with each answer what is left."""

    left: Any = None

    async def complete(self, request: Request) -> Response:
        return evolve(await super().complete(request), allowance=self.left)


async def test_an_answers_allowance_corrects_the_bucket() -> None:
    script = _Telling(Say())
    world = World(script, each=[{"requests_per_minute": 600}])
    script.left = Allowance(requests=0)
    for _ in range(3):
        await world.router.complete(ask(), Purse())
    assert [later - sooner for sooner, later in pairwise(script.times)] == pytest.approx([0.1, 0.1])
    script.left = "nonsense"
    await world.router.complete(ask(), Purse())


async def test_a_429_with_retry_after_holds_the_others_back_too() -> None:
    script = Script(fail("rate_limited", retry_after=7.0), Say())
    world = World(script, each=[{"requests_per_minute": 600}])
    times = await _all(world, ask("a"), ask("b"))
    assert times == pytest.approx([0.0, 7.0, 7.0])


async def test_what_a_429_says_is_left_is_heard() -> None:
    error = BackendError("rate_limited", "429", retry_after=0.0, allowance=Allowance(tokens=0))
    script = Script(Say(error=error), Say())
    world = World(script, each=[{"tokens_per_minute": 600}])
    await world.router.complete(ask("a", max_output_tokens=19), Purse())
    weight = script.requests[0].max_output_tokens + prompt_input("a")
    assert script.times[1] - script.times[0] == pytest.approx(weight / 10)


@settings(max_examples=40, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture])
@given(
    st.lists(st.tuples(st.floats(0, 300), st.none() | st.floats(0, 60)), min_size=1, max_size=20),
    st.integers(1, 100) | st.none(),
)
async def test_whoever_comes_first_goes_first_whatever_it_weighs_and_whoever_leaves(
    comers: list[tuple[float, float | None]], requests: int | None
) -> None:
    """Each comes a moment after the one before; some give up after a while. All the others go, in that order."""
    pace, went = Pace(requests_per_minute=requests, tokens_per_minute=200), list[int]()

    async def come(number: int, weight: float, patience: float | None) -> None:
        await anyio.sleep(number / 1000)
        with anyio.move_on_after(patience):
            await pace.turn(weight, deadline=float("inf"))
            went.append(number)

    async with anyio.create_task_group() as group:
        for number, (weight, patience) in enumerate(comers):
            group.start_soon(come, number, weight, patience)
    assert went == sorted(went)
    assert {number for number, (_, patience) in enumerate(comers) if patience is None} <= set(went)
