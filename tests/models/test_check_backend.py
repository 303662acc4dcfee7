"""The contract of providers: ours keep it, and each promise that one breaks is told."""

from __future__ import annotations

from contextlib import aclosing, asynccontextmanager
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import anyio
import pytest
from attrs import evolve

from organism.models.contract import BackendError, Piece
from organism.models.recordings.recorder import Recording
from organism.models.simulation.backend import SimulatedModel
from organism.settings import BackendSettings
from organism.testing import Scenario, Stand, check_backend
from tests.models.check_worlds import KEY, chat_way, messages_way, over_http, scripted, scripted_backend
from tests.models.made import made

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable
    from contextlib import AbstractAsyncContextManager
    from pathlib import Path

    from organism.models.contract import Backend, Request, Response

ALL = tuple(Scenario)


@pytest.mark.sockets
@pytest.mark.parametrize(("provider", "way"), [("openai", chat_way), ("anthropic", messages_way)])
async def test_the_providers_of_real_models_keep_the_contract(provider: str, way: Any) -> None:
    assert await check_backend(over_http(provider, way)) == ALL


async def test_scripted_models_keep_it() -> None:
    assert await check_backend(scripted) == ALL


async def test_the_simulated_model_keeps_it() -> None:
    known = (Scenario.ANSWERS, Scenario.CALLS, Scenario.RETURNS)

    @asynccontextmanager
    async def world(scenario: Scenario) -> AsyncGenerator[Stand | None]:
        yield Stand(backend=SimulatedModel()) if scenario in known else None

    assert await check_backend(world) == known


@pytest.mark.real_clocks  # it waits for its file
async def test_a_backend_that_is_recorded_keeps_it_and_so_does_its_recording(tmp_path: Path) -> None:
    def file(scenario: Scenario) -> Path:
        return tmp_path / f"{scenario.name}.jsonl"

    @asynccontextmanager
    async def recorded_once(scenario: Scenario) -> AsyncGenerator[Stand]:
        model, backend = scripted_backend(scenario)
        recording = Recording(file(scenario), clock=lambda: datetime(2026, 11, 1, tzinfo=UTC))
        settings = BackendSettings(provider="scripted", model="model")
        yield Stand(backend=recording.of(backend, settings), asked=lambda: len(model.requests))

    @asynccontextmanager
    async def again(scenario: Scenario) -> AsyncGenerator[Stand | None]:
        settings = BackendSettings(provider="recorded", model="model", recording=file(scenario))
        hangs = scenario is Scenario.HANGING  # what was cancelled has no answer that could be recorded
        yield None if hangs else Stand(backend=made(settings))

    assert await check_backend(recorded_once) == ALL
    assert await check_backend(again) == tuple(each for each in ALL if each is not Scenario.HANGING)


# What is told of backends that do not


class Bent:
    """A backend that is bent in one place."""

    def __init__(self, inner: Backend, bend: Callable[[Response], Response] = lambda response: response) -> None:
        self.inner = inner
        self.bend = bend

    async def complete(self, request: Request) -> Response:
        return self.bend(await self.inner.complete(request))

    @asynccontextmanager
    async def stream(self, request: Request) -> AsyncGenerator[Any]:
        async with self.inner.stream(request) as stream:
            yield stream

    async def aclose(self) -> None:
        await self.inner.aclose()


async def _told(
    bent: Callable[[Backend], Backend],
    *only: Scenario,
    world: Callable[[Scenario], AbstractAsyncContextManager[Stand | None]] = scripted,
) -> list[str]:
    @asynccontextmanager
    async def bent_world(scenario: Scenario) -> AsyncGenerator[Stand | None]:
        async with world(scenario) as stand:
            yield evolve(stand, backend=bent(stand.backend)) if stand is not None and scenario in only else None

    with pytest.raises(AssertionError) as caught:
        await check_backend(bent_world)
    return str(caught.value).splitlines()


@pytest.mark.parametrize(
    ("bend", "scenario", "said"),
    [
        (lambda r: evolve(r, usage=None), Scenario.ANSWERS, "ANSWERS, complete: its usage cannot be charged: None"),
        (lambda r: evolve(r, text=""), Scenario.ANSWERS, "ANSWERS, complete: there is no text"),
        (lambda r: evolve(r, finish_reason="other"), Scenario.ANSWERS, "finish_reason is 'other', and not 'stop'"),
        (lambda r: evolve(r, message={"role": "user"}), Scenario.ANSWERS, "its message is not an assistant's"),
        (lambda r: evolve(r, message={"role": "assistant"}), Scenario.ANSWERS, "does not say what its text says"),
        (lambda r: r.text, Scenario.ANSWERS, "it raised BackendError 'broken': the provider gave a value of type str"),
        (lambda r: evolve(r, tool_calls=()), Scenario.CALLS, "CALLS, complete: it calls no tool"),
        (lambda r: evolve(r, message={"role": "assistant"}), Scenario.CALLS, "its message has calls with the ids []"),
        (lambda r: evolve(r, tool_calls=r.tool_calls * 2), Scenario.CALLS, "its calls have the ids ['call_0', 'call_0']"),
        (lambda r: evolve(r, text="{}", message={**r.message, "content": "{}"}), Scenario.RETURNS, "does not fit the schema"),
        (lambda r: evolve(r, finish_reason="stop"), Scenario.LENGTH, "finish_reason is 'stop', and not 'length'"),
    ],
)  # fmt: skip
async def test_what_is_wrong_with_an_answer_is_told(bend: Any, scenario: Scenario, said: str) -> None:
    lines = await _told(lambda inner: Bent(inner, bend), scenario)
    assert any(said in line for line in lines), lines


class Stubborn(Bent):
    """Tries again by itself, and waits for its turn."""

    async def complete(self, request: Request) -> Response:
        try:
            return await self.inner.complete(request)
        except BackendError:
            return await self.inner.complete(request)


class Loose(Bent):
    """Lets errors out as they come."""

    async def complete(self, request: Request) -> Response:
        try:
            return await self.inner.complete(request)
        except BackendError as error:
            raise ValueError(f"with {KEY}") from error

    @asynccontextmanager
    async def stream(self, request: Request) -> AsyncGenerator[Any]:
        raise BackendError("server", f"with {KEY}")
        yield request


class Twisted(Bent):
    """Its stream does not say what its response says."""

    @asynccontextmanager
    async def stream(self, request: Request) -> AsyncGenerator[Any]:
        async with self.inner.stream(request) as stream:
            yield _Twisted(stream)


class _Twisted:
    def __init__(self, inner: Any) -> None:
        self.inner = inner

    async def __aiter__(self) -> AsyncGenerator[Piece]:
        async with aclosing(aiter(self.inner)) as pieces:
            async for piece in pieces:
                yield evolve(piece, text=piece.text.upper())

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)


class Crossed(Bent):
    """Gives calls that run at once each other's answers."""

    running = 0

    async def complete(self, request: Request) -> Response:
        self.running += 1
        try:
            await anyio.sleep(0.001)
            crossed = self.running > 1
            return await self.inner.complete(
                evolve(request, messages=[{"role": "user", "content": "?"}]) if crossed else request
            )
        finally:
            self.running -= 1


class Once(Bent):
    closed = False

    async def aclose(self) -> None:
        if self.closed:
            raise RuntimeError("closed already")
        self.closed = True


async def test_retries_of_its_own_are_told() -> None:
    (line,) = await _told(Stubborn, Scenario.FAILING)
    assert line.startswith("FAILING, complete: it tried again by itself; that is the router's")


@pytest.mark.sockets
async def test_errors_of_the_wrong_kind_are_told() -> None:
    whole, stream = await _told(Loose, Scenario.RATE_LIMITED)
    assert whole.startswith("RATE_LIMITED, complete: it raised ValueError: with ")
    assert stream == f"RATE_LIMITED, stream: it raised BackendError 'server' (with {KEY}), and not 'rate_limited'"
    keyed = over_http("openai", chat_way)
    (line,) = [line for line in await _told(Loose, Scenario.FAILING, world=keyed) if "stream" in line]
    assert line == "FAILING, stream: its error shows the key"


async def test_an_answer_where_there_should_be_a_failure_is_told() -> None:
    model = scripted_backend(Scenario.ANSWERS)[1]
    lines = await _told(lambda _: model, Scenario.CUT)
    assert lines[0].startswith("CUT, complete: it answered 'This is about What is a fork?'")


async def test_streams_that_say_something_else_are_told() -> None:
    lines = await _told(Twisted, Scenario.ANSWERS)
    assert "its pieces of text come to 'THIS IS ABOUT WHAT IS A FORK?', its response has 'This is" in lines[0]


async def test_crossed_answers_are_told() -> None:
    (line,) = await _told(Crossed, Scenario.ANSWERS)
    assert line.startswith("ANSWERS, many at once: it raised ") or "alone" in line


async def test_what_goes_on_when_nobody_waits_is_told() -> None:
    @asynccontextmanager
    async def world(scenario: Scenario) -> AsyncGenerator[Stand]:
        async with scripted(scenario) as stand:
            yield evolve(stand, deserted=anyio.sleep_forever)

    lines = await _told(lambda inner: inner, Scenario.HANGING, world=world)
    assert len(lines) == 3
    assert all(line.endswith("the connection is still open: the provider goes on, and bills") for line in lines)


async def test_methods_that_are_missing_are_told() -> None:
    @asynccontextmanager
    async def world(scenario: Scenario) -> AsyncGenerator[Stand | None]:
        bare: Any = SimpleNamespace(complete=SimulatedModel().complete)
        yield Stand(backend=bare) if scenario is Scenario.ANSWERS else None

    with pytest.raises(AssertionError, match=r"^ANSWERS, its methods: it has no stream and no aclose$"):
        await check_backend(world)


async def test_closing_twice_is_once() -> None:
    (line,) = await _told(Once, Scenario.LENGTH)
    assert line == "LENGTH, closing again: it raised RuntimeError: closed already"
