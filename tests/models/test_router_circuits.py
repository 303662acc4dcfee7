"""A backend that fails again and again is left alone for a while, and then tried by one call."""

from __future__ import annotations

import logging
import math

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from organism.errors import BudgetExhaustedError, ModelError
from organism.models.contract import BackendError, Piece
from organism.models.routing.circuit_breaker import FAILURES, LONGEST_OPEN_SECONDS, OPEN_SECONDS, Circuit
from tests.models.router_world import Purse, Say, Script, World, ask, fail


def _circuit() -> Circuit:
    return Circuit(name="b", changed=lambda: None)


def _opened(circuit: Circuit, at: float = 0.0) -> Circuit:
    for _ in range(FAILURES):
        circuit.failed("server", at, probe=False)
    return circuit


def test_so_many_failures_in_a_row_open_it_and_an_answer_between_does_not() -> None:
    circuit = _circuit()
    for kind in ("server", "timeout", "cut", "broken"):
        circuit.failed(kind, 0.0, probe=False)
    assert circuit.state == "closed"
    circuit.answered(probe=False)
    for _ in range(FAILURES - 1):
        circuit.failed("connection", 1.0, probe=False)
    assert (circuit.state, circuit.passes_at(1.0)) == ("closed", 1.0)
    circuit.failed("connection", 1.0, probe=False)
    assert (circuit.state, circuit.passes_at(1.0)) == ("open", 1.0 + OPEN_SECONDS)


@pytest.mark.parametrize("kind", ["rate_limited", "rejected", "auth", "context"])
def test_whoever_refuses_a_call_is_up(kind: str) -> None:
    circuit = _circuit()
    for _ in range(3 * FAILURES):
        circuit.failed(kind, 0.0, probe=False)  # type: ignore[arg-type]
    assert circuit.state == "closed"


def test_one_probe_and_its_answer_closes_it() -> None:
    circuit = _opened(_circuit())
    assert circuit.begin()
    assert (circuit.state, circuit.passes_at(OPEN_SECONDS)) == ("half-open", math.inf)
    circuit.answered(probe=False)  # an attempt of before, which says nothing of now
    assert circuit.state == "half-open"
    circuit.answered(probe=True)
    assert (circuit.state, circuit.passes_at(11.0)) == ("closed", 11.0)


def test_a_probe_that_is_given_up_leaves_the_place_to_the_next() -> None:
    circuit = _opened(_circuit())
    circuit.begin()
    circuit.left(probe=True)
    assert (circuit.state, circuit.passes_at(OPEN_SECONDS)) == ("half-open", OPEN_SECONDS)


def test_a_call_from_before_it_opened_that_is_given_up_makes_no_room_for_a_second_probe() -> None:
    circuit = _circuit()
    before = circuit.begin()
    for _ in range(FAILURES):
        circuit.failed("server", 0.0, probe=circuit.begin())
    assert circuit.begin()
    circuit.left(probe=before)
    assert circuit.passes_at(OPEN_SECONDS) == math.inf


def test_each_probe_that_fails_doubles_the_time_up_to_the_longest() -> None:
    circuit, now, waits = _opened(_circuit()), 0.0, []
    for _ in range(5):
        again = circuit.passes_at(now)
        waits.append(again - now)
        now = again
        circuit.begin()
        circuit.failed("timeout", now, probe=True)
    assert waits == [10, 20, 40, 60, 60]
    assert waits[-1] == LONGEST_OPEN_SECONDS


def test_a_stream_closes_it_with_its_first_text_and_opens_it_again_by_one_failure() -> None:
    circuit = _opened(_circuit())
    circuit.begin()
    circuit.spoke(probe=True)
    assert circuit.state == "closed"
    circuit.failed("cut", 12.0, probe=True)
    assert (circuit.state, circuit.passes_at(12.0)) == ("open", 12.0 + OPEN_SECONDS)


STEPS = st.lists(
    st.tuples(st.sampled_from(["answered", "server", "rate_limited", "left", "spoke"]), st.floats(0, 100)), max_size=60
)


@given(STEPS)
def test_there_is_never_more_than_one_probe_and_never_an_end_to_trying(steps: list[tuple[str, float]]) -> None:
    circuit, now, running = _circuit(), 0.0, list[bool]()
    for what, seconds in steps:
        now += seconds
        while circuit.passes_at(now) <= now and len(running) < 3:
            running.append(circuit.begin())
        assert sum(running) <= 1
        if circuit.state != "closed":
            # Either somebody finds out, or there is a time at which somebody may.
            assert any(running) or circuit.passes_at(now) <= now + LONGEST_OPEN_SECONDS
        if running:
            probe = running.pop(0)
            if what == "spoke":
                circuit.spoke(probe=probe)
            if what in {"answered", "left"}:
                getattr(circuit, what)(probe=probe)
            else:
                circuit.failed("server" if what == "spoke" else what, now, probe=probe)  # type: ignore[arg-type]


# Through the router


async def test_an_open_backend_is_passed_over_while_another_can() -> None:
    dead, alive = Script(fail("server")), Script(Say())
    world = World(dead, alive)
    for _ in range(FAILURES + 3):
        assert (await world.router.complete(ask(), Purse())).backend == "scripted/m-1"
    assert len(dead.requests) == FAILURES
    await anyio.sleep(OPEN_SECONDS)
    await world.router.complete(ask(), Purse())
    assert len(dead.requests) == FAILURES + 1
    await world.router.complete(ask(), Purse())
    assert len(dead.requests) == FAILURES + 1


async def test_it_is_used_again_when_it_answers(caplog: pytest.LogCaptureFixture) -> None:
    first, second = Script(*[fail("server")] * FAILURES, Say("back")), Script(Say())
    world = World(first, second)
    caplog.set_level(logging.INFO, "organism.models")
    for _ in range(FAILURES):
        await world.router.complete(ask(), Purse())
    await anyio.sleep(OPEN_SECONDS)
    texts = [(await world.router.complete(ask(), Purse())).text for _ in range(2)]
    assert texts == ["back", "back"]
    said = [record.getMessage() for record in caplog.records if "the circuit is" in record.getMessage()]
    name = "scripted/m-0 (models.default.backends[0])"
    assert said == [
        f"{name}: the circuit is open for 10 s, after 5 failures in a row",
        f"{name}: the circuit is half-open after 10 s; one call tries it",
        f"{name}: the circuit is closed, it answers again",
    ]


async def test_where_all_are_open_a_call_waits_for_the_first_that_half_opens() -> None:
    script = Script(*[fail("server")] * FAILURES, Say("back"))
    world = World(script, retries=0)
    for _ in range(FAILURES):
        with pytest.raises(ModelError):
            await world.router.complete(ask(), Purse())
    began, purse = anyio.current_time(), Purse()
    assert (await world.router.complete(ask(), purse)).text == "back"
    assert anyio.current_time() - began == pytest.approx(OPEN_SECONDS)
    assert not purse.held


async def test_of_many_that_wait_one_tries_and_the_others_go_once_it_was_answered() -> None:
    script = Script(*[fail("server")] * FAILURES, Say("back", seconds=3))
    world = World(script, retries=0)
    for _ in range(FAILURES):
        with pytest.raises(ModelError):
            await world.router.complete(ask(), Purse())
    began = anyio.current_time()

    async def call() -> None:
        await world.router.complete(ask(), Purse())

    async with anyio.create_task_group() as group:
        for _ in range(6):
            group.start_soon(call)
    times = [time - began for time in script.times[FAILURES:]]
    assert times == pytest.approx([10.0] + 5 * [13.0])


async def test_those_that_wait_fail_clearly_when_it_is_open_again() -> None:
    script = Script(fail("server", "500"))
    world = World(script, retries=0)
    for _ in range(FAILURES):
        with pytest.raises(ModelError):
            await world.router.complete(ask(), Purse())
    began, said = anyio.current_time(), list[str]()

    async def call() -> None:
        with pytest.raises(ModelError) as caught:
            await world.router.complete(ask(), Purse())
        said.append(str(caught.value))

    async with anyio.create_task_group() as group:
        for _ in range(4):
            group.start_soon(call)
    assert len(script.requests) == FAILURES + 1
    assert anyio.current_time() - began == pytest.approx(OPEN_SECONDS)
    assert sorted("its circuit was tried meanwhile, and is open again" in each for each in said) == [False] + 3 * [True]


async def test_a_call_with_retries_left_waits_for_an_open_circuit_once() -> None:
    script = Script(fail("server", "500"))
    began = anyio.current_time()
    with pytest.raises(ModelError, match="open again"):
        await World(script, retries=99, backoff=(0.0, 0.0)).router.complete(ask(), Purse())
    assert len(script.requests) == FAILURES + 1
    assert anyio.current_time() - began == pytest.approx(OPEN_SECONDS)


async def test_a_deadline_before_it_half_opens_is_told_at_once() -> None:
    script = Script(*[fail("server")] * FAILURES, Say())
    world = World(script, retries=0)
    for _ in range(FAILURES):
        with pytest.raises(ModelError):
            await world.router.complete(ask(), Purse())
    began = anyio.current_time()
    with anyio.move_on_after(4), pytest.raises(ModelError, match="circuit is open, and it may be asked in 10 s only"):
        await world.router.complete(ask(), Purse())
    with pytest.raises(ModelError, match="after the deadline of the call"):
        await world.router.complete(ask(), Purse(seconds_left=9.0))
    assert anyio.current_time() == began


async def test_a_probe_that_is_cancelled_or_refused_by_the_budget_bars_nobody() -> None:
    script = Script(*[fail("server")] * FAILURES, Say(seconds=5))
    world = World(script, retries=0)
    for _ in range(FAILURES):
        with pytest.raises(ModelError):
            await world.router.complete(ask(), Purse())
    await anyio.sleep(OPEN_SECONDS)
    with anyio.move_on_after(1):
        await world.router.complete(ask(), Purse())
    with pytest.raises(BudgetExhaustedError):
        await world.router.complete(ask(max_output_tokens=500), Purse(tokens=100))
    assert (await world.router.complete(ask(), Purse())).text == "fine"


class _Hearer:
    """Hears an answer while it is written, and makes nothing of it."""

    def came(self, piece: Piece) -> None: ...

    def withdrawn(self) -> None: ...


async def test_a_probe_that_sends_more_than_it_was_asked_for_has_answered() -> None:
    script = Script(*[fail("server")] * FAILURES, Say("word " * 100), Say())
    world = World(script, retries=0)
    for _ in range(FAILURES):
        with pytest.raises(ModelError):
            await world.router.complete(ask(), Purse())
    cut = await world.router.complete(ask(max_output_tokens=10), Purse(), hearer=_Hearer())
    assert cut.finish_reason == "budget"
    began = anyio.current_time()
    with anyio.fail_after(1):
        assert (await world.router.complete(ask(), Purse())).text == "fine"
    assert anyio.current_time() == began


async def test_no_sleep_after_the_last_attempt_and_none_past_the_deadline() -> None:
    script = Script(fail("server"))
    began = anyio.current_time()
    with pytest.raises(ModelError):
        await World(script, retries=1, backoff=(3.0, 3.0), dice=_Zero()).router.complete(ask(), Purse())
    assert anyio.current_time() - began == pytest.approx(3.0)
    began = anyio.current_time()
    with anyio.move_on_after(2), pytest.raises(ModelError, match="it may be asked in 3 s only"):
        await World(script, retries=1, backoff=(3.0, 3.0), dice=_Zero()).router.complete(ask(), Purse())
    assert anyio.current_time() == began


class _Zero:
    def random(self) -> float:
        return 0.0


async def test_a_stream_that_is_read_slowly_keeps_nobody_waiting_for_its_verdict() -> None:
    script = Script(*[fail("server")] * FAILURES, Say("one two three"))
    world = World(script, retries=0)
    for _ in range(FAILURES):
        with pytest.raises(ModelError):
            await world.router.complete(ask(), Purse())
    async with world.router.stream(ask(), Purse()) as stream:
        began = anyio.current_time()
        assert (await world.router.complete(ask(), Purse())).text == "one two three"
        assert anyio.current_time() == began
        assert len([piece async for piece in stream]) == 3


async def test_a_call_that_waited_for_a_place_while_the_circuit_opened_does_not_go_there() -> None:
    """Six at once, one place: the sixth finds the circuit open when its place is free, and goes elsewhere."""
    dead, alive = Script(Say(seconds=1, error=BackendError("server", "500"))), Script(Say())
    world = World(dead, alive, each=[{"max_concurrent": 1}, {}])
    async with anyio.create_task_group() as group:
        for _ in range(FAILURES + 3):
            group.start_soon(world.router.complete, ask(), Purse())
    assert len(dead.requests) == FAILURES
    assert len(alive.requests) == FAILURES + 3
