"""An answer as it comes, and what it costs whatever becomes of it."""

from __future__ import annotations

import gc
from contextlib import AsyncExitStack
from decimal import Decimal
from typing import Any, Self

import anyio
import anyio.lowlevel
import pytest

from organism.budget.claims import Charge
from organism.errors import BudgetExhaustedError, ModelError, NotRunningError
from organism.models.contract import BackendError
from organism.settings import Price
from tests.models.plain_prompts import prompt_of
from tests.models.router_world import Purse, Say, Script, World, ask, fail, usage


def _estimate() -> int:
    return -(-prompt_of(ask().messages).size * 2 // 3)


async def test_pieces_then_the_completion() -> None:
    script, purse = Script(Say("one two three", usage(100, 10), seconds=2)), Purse(tokens=200)
    world = World(script, each=[{"price": Price(input=Decimal(3), output=Decimal(15))}])
    async with world.router.stream(ask(), purse) as stream:
        assert len(purse.held) == 1
        with pytest.raises(NotRunningError, match="not at its end"):
            _ = stream.completion
        assert [piece async for piece in stream] == ["one ", "two ", "three "]
        assert not purse.held
        assert [piece async for piece in stream] == []
        done = stream.completion
    assert (done.text, done.usage.tokens, done.cost_usd) == ("one two three", 110, Decimal("0.00045"))
    assert done.latency == pytest.approx(2)
    assert [crossing.level for crossing in done.warnings] == ["final"]
    assert purse.charges == [Charge(input_tokens=100, output_tokens=10, cost=450_000_000, model_calls=1)]
    assert script.open_streams == 0
    assert stream.completion is done


async def test_leaving_early_closes_it_and_charges_what_came() -> None:
    script, purse = Script(Say("one two three four")), Purse()
    async with World(script).router.stream(ask(), purse) as stream:
        async for _ in stream:
            break
    assert script.open_streams == 0
    assert purse.charges == [
        Charge(input_tokens=_estimate(), output_tokens=3, model_calls=1, estimated=True, unpriced=True)
    ]
    assert not purse.held
    assert (stream.completion.text, stream.completion.finish_reason) == ("one ", "left")
    assert stream.completion.usage.estimated
    gc.collect()


async def test_leaving_early_charges_what_was_reported_by_then() -> None:
    purse = Purse()
    async with World(Script(Say("one two", early=usage(90, 1)))).router.stream(ask(), purse):
        pass
    assert purse.charges == [Charge(input_tokens=90, output_tokens=1, model_calls=1, unpriced=True)]


async def test_an_exception_in_the_block_settles_and_goes_through() -> None:
    purse, script = Purse(), Script(Say("one two"))
    with pytest.raises(ZeroDivisionError):
        async with World(script).router.stream(ask(), purse) as stream:
            async for _ in stream:
                _ = 1 / 0
    assert purse.charges[0].estimated
    assert not purse.held
    assert script.open_streams == 0


async def test_a_backend_error_of_the_block_is_the_blocks_own() -> None:
    purse, script = Purse(), Script(Say("one two"))
    with pytest.raises(BackendError, match="not ours"):
        async with World(script).router.stream(ask(), purse):
            raise BackendError("server", "not ours")
    assert len(script.requests) == 1
    assert len(purse.charges) == 1


async def test_what_breaks_before_its_first_text_is_tried_elsewhere() -> None:
    first, second = Script(Say("", error=BackendError("cut", "gone"), hidden="x" * 30)), Script(Say("one two"))
    purse = Purse()
    async with World(first, second).router.stream(ask(), purse) as stream:
        assert "".join([piece async for piece in stream]) == "one two "
    assert (stream.completion.attempts, stream.completion.backend) == (2, "scripted/m-1")
    assert purse.charges[0] == Charge(
        input_tokens=_estimate(), output_tokens=20, model_calls=1, estimated=True, unpriced=True
    )
    assert purse.charges[1].model_calls == 0


async def test_every_way_of_not_beginning_ends_in_a_line_each() -> None:
    steps = fail("server", "500"), Say("", seconds=99), Say("", error=KeyError("x")), fail("auth", "401")
    world = World(Script(*steps), each=[{"timeout": 5.0}])
    purse = Purse()
    world.scripts[0].steps = [Say("", error=step.error, seconds=step.seconds) for step in steps]
    with pytest.raises(ModelError) as caught:
        async with world.router.stream(ask(), purse):
            pytest.fail("it never began")
    assert [cause.split("attempt ")[1][:11] for cause in caught.value.causes] == [
        "1: 500; a s",
        "2: no answe",
        "3: KeyError",
        "4: 401; che",
    ]
    assert not purse.held
    assert world.scripts[0].open_streams == 0


async def test_what_breaks_later_is_not_tried_again() -> None:
    purse, script = Purse(), Script(Say("one two three", error=BackendError("cut", "gone")))
    texts = []
    with pytest.raises(ModelError, match="attempt 1: gone"):
        async with World(script).router.stream(ask(), purse) as stream:
            async for piece in stream:
                texts.append(piece)  # noqa: PERF401 - what came before the break is what is looked at
    assert texts == ["one ", "two ", "three "]
    assert len(script.requests) == 1
    assert purse.charges == [
        Charge(input_tokens=_estimate(), output_tokens=10, model_calls=1, estimated=True, unpriced=True)
    ]
    assert script.open_streams == 0


async def test_a_break_can_be_caught_in_the_block() -> None:
    purse = Purse()
    async with World(Script(Say("one", error=BackendError("cut", "gone")))).router.stream(ask(), purse) as stream:
        with pytest.raises(ModelError):
            [piece async for piece in stream]
        assert [piece async for piece in stream] == []
        assert (stream.completion.text, stream.completion.finish_reason) == ("one ", "broken")
    assert len(purse.charges) == 1


async def test_only_waiting_for_the_backend_counts_for_its_timeout() -> None:
    purse = Purse()
    world = World(Script(Say("one two", seconds=4)), each=[{"timeout": 5.0}])
    async with world.router.stream(ask(), purse) as stream:
        async for _ in stream:
            await anyio.sleep(100)
    assert stream.completion.text == "one two"


async def test_a_stream_that_stops_coming_times_out_where_it_is_read() -> None:
    purse, script = Purse(), Script(Say("one two", seconds=99))
    started = anyio.current_time()
    async with World(script, each=[{"timeout": 5.0}]).router.stream(ask(), purse) as stream:
        with pytest.raises(ModelError, match="no answer within 5 s"):
            [piece async for piece in stream]
        await anyio.lowlevel.checkpoint()
    assert anyio.current_time() - started == pytest.approx(5)
    assert purse.charges[0].estimated
    assert not purse.held


async def test_the_timeout_is_of_the_attempt_and_not_of_each_piece() -> None:
    purse = Purse()
    texts: list[str] = []
    async with World(Script(Say("one two three", pace=2)), each=[{"timeout": 5.0}]).router.stream(
        ask(), purse
    ) as stream:
        with pytest.raises(ModelError, match="no answer within 5 s"):
            while True:
                texts.append(await anext(stream))
    assert texts == ["one ", "two "]


async def test_a_stream_that_does_not_open_in_time() -> None:
    class Deaf(Script):
        def stream(self, _: Any) -> Any:
            return _never()

    purse = Purse()
    with pytest.raises(ModelError, match="no answer within 5 s"):
        async with World(Deaf(), each=[{"timeout": 5.0}], retries=0).router.stream(ask(), purse):
            pytest.fail("it never opened")
    assert purse.charges == [Charge(input_tokens=_estimate(), model_calls=1, estimated=True, unpriced=True)]


class _never:  # noqa: N801 - a function as its caller sees it
    async def __aenter__(self) -> None:
        await anyio.sleep_forever()

    async def __aexit__(self, *_: object) -> None:
        pytest.fail("what was not entered is not left")


@pytest.mark.parametrize("seconds", [0.0, 3.0])
async def test_cancelling_settles_and_closes(seconds: float) -> None:
    purse, script = Purse(), Script(Say("one two", seconds=50))
    with anyio.CancelScope() as scope:
        async with World(script).router.stream(ask(), purse) as stream:
            await anyio.sleep(seconds)
            scope.cancel()
            async for _ in stream:
                pass
    assert scope.cancelled_caught
    assert not purse.held
    assert purse.charges[0].estimated
    assert script.open_streams == 0


async def test_a_stream_keeps_its_place_until_it_is_left() -> None:
    script = Script(Say("one two"))
    world = World(script, each=[{"max_concurrent": 1}])
    async with world.router.stream(ask(), Purse()):
        with anyio.move_on_after(10) as scope:
            async with anyio.create_task_group() as beside:
                beside.start_soon(world.router.complete, ask(), Purse())
        assert scope.cancelled_caught
    await world.router.complete(ask(), Purse())


async def test_output_that_is_never_shown_is_not_shown() -> None:
    purse = Purse()
    world = World(Script(Say("", usage(100, 30), hidden="thinking")))
    async with world.router.stream(ask(), purse) as stream:
        assert stream.completion.usage.output_tokens == 30
        assert [piece async for piece in stream] == []


async def test_a_refused_stream_touches_no_backend() -> None:
    script = Script()
    with pytest.raises(BudgetExhaustedError):
        async with World(script).router.stream(ask(), Purse(tokens=3)):
            pytest.fail("it was refused")
    assert not script.requests


async def test_a_stream_that_forgets_its_response_is_broken() -> None:
    class Forgetful(Script):
        def stream(self, _: Any) -> Any:
            return _Mute()

    purse = Purse()
    with pytest.raises(ModelError, match="the stream ended without a response"):
        async with World(Forgetful(), retries=0).router.stream(ask(), purse):
            pytest.fail("it never began")
    assert not purse.held


class _Mute:
    response = None
    usage = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        pass

    def __aiter__(self) -> _Mute:
        return self

    async def __anext__(self) -> None:
        raise StopAsyncIteration


@pytest.mark.parametrize("places", [1, 2])
async def test_a_call_inside_of_streams_that_have_all_places_waits_for_none_of_them(places: int) -> None:
    """It would wait for itself."""
    world, purse = World(Script(), each=[{"max_concurrent": places}]), Purse()
    async with AsyncExitStack() as streams:
        for _ in range(places):
            await streams.enter_async_context(world.router.stream(ask(), purse))
        with pytest.raises(ModelError, match="its places are taken by streams that stay open until this call is over"):
            await world.router.complete(ask(), purse)
        with pytest.raises(ModelError, match="its places are taken"):
            async with world.router.stream(ask(), purse):
                pass
    assert (await world.router.complete(ask(), purse)).text == "fine"


async def test_a_call_inside_of_streams_that_have_all_places_goes_to_the_next_backend() -> None:
    first, second = Script(), Script()
    world, purse = World(first, second, each=[{"max_concurrent": 1}, {}]), Purse()
    async with world.router.stream(ask(), purse):
        assert (await world.router.complete(ask(), purse)).model == "m-1"


async def test_a_call_beside_a_stream_that_has_the_only_place_waits_for_it() -> None:
    world, purse = World(Script(Say("a b", pace=1)), each=[{"max_concurrent": 1}]), Purse()
    said: list[str] = []

    async def beside() -> None:
        said.append((await world.router.complete(ask(), purse)).text)

    async with anyio.create_task_group() as group:
        async with world.router.stream(ask(), purse) as stream:
            group.start_soon(beside)
            async for piece in stream:
                said.append(piece)  # noqa: PERF401 - they come one by one
    assert said == ["a ", "b ", "a b"]


@pytest.mark.parametrize(("most", "output"), [(100, 1 + 7), (5, 5)])  # "two three " is 10 bytes: 10 / 1.5
async def test_leaving_early_charges_what_was_reported_and_what_came_after_that(most: int, output: int) -> None:
    purse = Purse()
    world = World(Script(Say("one two three four", early=usage(90, 1))))
    async with world.router.stream(ask(max_output_tokens=most), purse) as stream:
        assert [await anext(stream) for _ in range(3)] == ["one ", "two ", "three "]
    assert purse.charges == [
        Charge(input_tokens=90, output_tokens=output, model_calls=1, estimated=True, unpriced=True)
    ]


async def test_a_provider_whose_stream_does_not_end_is_closed_to_strict_calls_by_what_came() -> None:
    purse = Purse()
    world = World(Script(Say("word " * 100)), each=[{"overhead": 16}])
    async with world.router.stream(ask(max_output_tokens=10), purse) as stream:
        assert len([piece async for piece in stream]) < 100
    (charge,) = purse.charges
    assert charge.output_tokens > 10
    with pytest.raises(ModelError, match=f"raise its `overhead` to {charge.output_tokens - 10 + 16} or more"):
        await world.router.complete(ask(), Purse(strict=True))
