"""A test of providers: :func:`check_backend` plays each way in which a server may answer or fail, and checks that the contract holds."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from enum import Enum
from functools import partial
from typing import Any, Final, cast

import anyio
from attrs import define, evolve, field, frozen

from organism.models.contract import Backend, BackendError, Failure, Message, Piece, Request, Response, Stream, ToolSpec
from organism.models.tokens.usage import measured
from organism.models.validation import response_of, usage_of
from organism.names import told


class Scenario(Enum):
    """What the server behind a backend does, the same with every request that it gets."""

    ANSWERS = "answers every question with a text of several words, and reports its usage"
    CALLS = "calls the tool that it is offered; given a result of the tool, it answers with a text"
    RETURNS = "answers in JSON that satisfies the schema in the request's `returns`"
    LENGTH = "is stopped by the limit of output tokens, in the middle of a text"
    RATE_LIMITED = "refuses because of its rate limit (429), and says to retry after 2 seconds"
    FAILING = "fails (500)"
    WRONG_KEY = "refuses the key (401)"
    REJECTING = "refuses the request as invalid (400)"
    TOO_LONG = "refuses a prompt that is longer than the model's window"
    UNREACHABLE = "cannot be connected to"
    GARBLED = "answers with something that does not follow its protocol"
    CUT = "breaks the connection: before the answer, or after the first piece of a stream"
    HANGING = "accepts the request and sends nothing, or nothing after the first piece of a stream"


FAILURES: Final[Mapping[Scenario, tuple[Failure, ...]]] = {
    Scenario.RATE_LIMITED: ("rate_limited",),
    Scenario.FAILING: ("server",),
    Scenario.WRONG_KEY: ("auth",),
    Scenario.REJECTING: ("rejected",),
    Scenario.TOO_LONG: ("context",),
    Scenario.UNREACHABLE: ("connection",),
    Scenario.GARBLED: ("broken", "cut"),
    Scenario.CUT: ("cut",),
}
"""The kinds of BackendError that each scenario may raise. A stream of gibberish may be taken for one that broke off."""

QUESTION: Final[Message] = {"role": "user", "content": "What is a fork?"}
TOOL: Final = ToolSpec(
    name="look",
    description="Looks a word up.",
    parameters={"type": "object", "properties": {"word": {"type": "string"}}, "required": ["word"]},
)
SCHEMA: Final[Mapping[str, Any]] = {
    "title": "Meaning",
    "type": "object",
    "properties": {"text": {"type": "string"}},
    "required": ["text"],
}
_METHODS: Final = ("complete", "stream", "aclose")
_AT_ONCE: Final = 8
_A_MOMENT: Final = 0.02
"""Seconds after which a call is cancelled that would wait for ever."""
_PATIENCE: Final = 10.0
"""Seconds in which anything at all must be over."""


@frozen(kw_only=True)
class Stand:
    """A backend in front of a server that plays a scenario. ``asked``: how many requests the server got; ``deserted``: returns once nobody
    waits for an answer of the server, or reads one. Both are ``None`` if nobody can tell. ``key`` is the key that the backend was given.
    """

    backend: Backend
    model: str = "model"
    asked: Callable[[], int] | None = None
    deserted: Callable[[], Awaitable[object]] | None = None
    key: str = ""


World = Callable[[Scenario], AbstractAsyncContextManager[Stand | None]]
"""Starts a server that plays a scenario, with a fresh backend in front of it, and stops it; ``None``: this scenario cannot be played."""


async def check_backend(world: World) -> tuple[Scenario, ...]:
    """Checks that a backend keeps its contract (:class:`~organism.models.contract.Backend`) in every scenario that ``world`` can play.

    Returns the scenarios that were played. Raises AssertionError with a line for each promise that is not kept.
    """
    played: list[Scenario] = []
    broken: list[str] = []
    for scenario in Scenario:
        async with world(scenario) as stand:
            if stand is not None:
                played.append(scenario)
                broken += await _Check(scenario, stand).run()
    if broken:
        raise AssertionError("\n".join(broken))
    return tuple(played)


class _BrokenError(Exception):
    """A promise that is not kept; the rest of the step cannot be looked at."""


@define(eq=False)
class _Check:
    scenario: Scenario
    stand: Stand
    broken: list[str] = field(factory=list[str])

    async def run(self) -> list[str]:
        """One line for each promise that is not kept."""
        missing = [name for name in _METHODS if not callable(getattr(self.stand.backend, name, None))]
        if missing:
            self._wrong("its methods", f"it has no {' and no '.join(missing)}")
            return self.broken
        plays: Mapping[Scenario, Callable[[], Awaitable[None]]] = {
            Scenario.ANSWERS: self._answers,
            Scenario.CALLS: self._calls,
            Scenario.RETURNS: self._returns,
            Scenario.LENGTH: self._length,
            Scenario.HANGING: self._hanging,
        }
        await plays.get(self.scenario, self._fails)()
        for name in ("closing", "closing again"):
            await self._step(name, self.stand.backend.aclose)
        return self.broken

    async def _step(self, name: str, act: Callable[[], Awaitable[object]]) -> None:
        """Looks at one promise, or several that hang together."""
        try:
            with anyio.fail_after(_PATIENCE):
                await act()
        except _BrokenError as error:
            self._wrong(name, str(error))
        except TimeoutError:
            self._wrong(name, f"it was not over after {_PATIENCE:g} s")
        except BackendError as error:
            self._wrong(name, f"it raised BackendError {error.kind!r}: {error}")
        except Exception as error:  # noqa: BLE001 - whatever it is, it is what the backend must not do
            self._wrong(name, f"it raised {type(error).__name__}: {error}")

    def _wrong(self, name: str, what: str) -> None:
        self.broken.append(f"{self.scenario.name}, {name}: {what}")

    # What is asked

    def _request(self, *messages: Message, **more: Any) -> Request:
        return Request(model=self.stand.model, messages=messages or (QUESTION,), max_output_tokens=200, **more)

    async def _complete(self, request: Request) -> Response:
        return _sound(await self.stand.backend.complete(request))

    async def _streamed(self, request: Request) -> Response:
        """The response of a stream that was read to its end."""
        said: list[str] = []
        async with self.stand.backend.stream(request) as stream:
            if stream.response is not None:
                raise _BrokenError("`response` is there before the stream was read")
            async with _iterating(stream) as pieces:
                async for piece in pieces:
                    if not isinstance(cast("object", piece), Piece):
                        raise _BrokenError(f"it gave a {type(piece).__name__}, not a Piece")
                    said += [piece.text] if piece.kind == "text" else []
            if stream.response is None:
                raise _BrokenError("`response` is not there after the last piece")
            response = _sound(stream.response)
            if usage_of(stream) != response.usage:
                raise _BrokenError("`usage` of the stream is not that of its response")
        if "".join(said) != response.text:
            raise _BrokenError(
                f"its pieces of text come to {told(''.join(said))}, its response has {told(response.text)}"
            )
        return response

    async def _both(self, what: str, request: Request, look: Callable[[Response], Awaitable[None]]) -> None:
        """The same request, whole and as a stream; ``look`` raises _BrokenError."""

        async def seen(ask: Callable[[Request], Awaitable[Response]]) -> None:
            await look(await ask(request))

        await self._step(f"complete{what}", partial(seen, self._complete))
        await self._step(f"stream{what}", partial(seen, self._streamed))

    # The ways to answer

    async def _answers(self) -> None:
        async def look(response: Response) -> None:
            _expect(response.text.strip() != "", "there is no text")
            _expect(response.finish_reason == "stop", f"finish_reason is {response.finish_reason!r}, and not 'stop'")
            _expect(not response.tool_calls, "it calls tools that nobody offered")
            follow = self._request(QUESTION, response.message, {"role": "user", "content": "And a spoon?"})
            _expect(bool((await self._complete(follow)).text), "it does not take its own message as history")

        await self._both("", self._request(), look)
        system = self._request({"role": "system", "content": "Be brief."}, QUESTION, temperature=0.0, seed=7)
        await self._both(" with a system prompt, temperature and seed", system, look)
        await self._step("many at once", self._at_once)
        await self._step("leaving a stream", self._leave)

    async def _at_once(self) -> None:
        """Calls beside each other get the answers that they get alone."""
        requests = [self._request({"role": "user", "content": f"What is {number}?"}) for number in range(_AT_ONCE)]
        alone = [(await self._complete(request)).text for request in requests]
        found: dict[int, str] = {}

        async def ask(number: int) -> None:
            act = self._streamed if number % 2 else self._complete
            found[number] = (await act(requests[number])).text

        async with anyio.create_task_group() as tasks:
            for number in range(_AT_ONCE):
                tasks.start_soon(ask, number)
        for number, text in enumerate(alone):
            _expect(found[number] == text, f"call {number} got {told(found[number])}, and alone {told(text)}")

    async def _leave(self) -> None:
        async with self.stand.backend.stream(self._request()) as stream, _iterating(stream) as pieces:
            await anext(pieces, None)
        await self._deserted()

    async def _calls(self) -> None:
        request = self._request(tools=(TOOL,), tool_choice="required")

        async def look(response: Response) -> None:
            _expect(bool(response.tool_calls), "it calls no tool")
            _expect(response.finish_reason == "tool_calls", f"finish_reason is {response.finish_reason!r}")
            ids = [call.id for call in response.tool_calls]
            _expect(all(ids) and len(set(ids)) == len(ids), f"its calls have the ids {ids}")
            for call in response.tool_calls:
                _expect(call.name == TOOL.name, f"it calls '{call.name}', which nobody offered")
                _expect(
                    isinstance(json.loads(call.arguments), dict), f"arguments are {told(call.arguments)}, not an object"
                )
            kept = [call["id"] for call in response.message.get("tool_calls", ())]
            _expect(kept == ids, f"its message has calls with the ids {kept}, its tool_calls have {ids}")
            results = [{"role": "tool", "tool_call_id": id_, "content": "A tool to eat with."} for id_ in ids]
            after = evolve(request, messages=(QUESTION, response.message, *results), tool_choice="auto")
            _expect(bool((await self._complete(after)).text), "it does not answer to the result of its call")

        await self._both("", request, look)

    async def _returns(self) -> None:
        async def look(response: Response) -> None:
            found: object = json.loads(response.text)
            _expect(isinstance(found, dict) and "text" in found, f"{told(response.text)} does not fit the schema")
            _expect(not response.tool_calls, "how the answer was handed in shows as a call")

        await self._both("", self._request(returns=SCHEMA), look)

    async def _length(self) -> None:
        async def look(response: Response) -> None:
            _expect(
                response.finish_reason == "length", f"finish_reason is {response.finish_reason!r}, and not 'length'"
            )

        await self._both("", self._request(), look)

    # The ways to fail

    async def _fails(self) -> None:
        for name, act in (("complete", self._complete), ("stream", self._streamed)):
            before = self.stand.asked() if self.stand.asked is not None else 0
            await self._step(name, partial(self._failure, act))
            if self.stand.asked is not None and self.stand.asked() - before > 1:
                self._wrong(name, "it tried again by itself; that is the router's, which holds budget for each attempt")

    async def _failure(self, act: Callable[[Request], Awaitable[Response]]) -> None:
        wanted = FAILURES[self.scenario]
        try:
            response = await act(self._request())
        except BackendError as error:
            kinds = " or ".join(map(repr, wanted))
            _expect(error.kind in wanted, f"it raised BackendError {error.kind!r} ({error}), and not {kinds}")
            _expect(bool(str(error)), "its error says nothing")
            _expect(not self.stand.key or self.stand.key not in str(error), "its error shows the key")
            if error.kind == "rate_limited":
                _expect(error.retry_after == 2, f"retry_after is {error.retry_after}, and not 2")
        else:
            raise _BrokenError(f"it answered {told(response.text)}")
        await self._deserted()

    async def _hanging(self) -> None:
        async def cancelled(act: Callable[[Request], Awaitable[Response]]) -> None:
            with anyio.move_on_after(_A_MOMENT) as scope:
                await act(self._request())
            _expect(scope.cancelled_caught, "it did not wait")
            await self._deserted()

        await self._step("cancelling complete", partial(cancelled, self._complete))
        await self._step("cancelling a stream", partial(cancelled, self._streamed))
        await self._step("leaving a stream", self._leave)

    async def _deserted(self) -> None:
        if self.stand.deserted is None:
            return
        with anyio.move_on_after(_PATIENCE / 2) as scope:
            await self.stand.deserted()
        _expect(not scope.cancelled_caught, "the connection is still open: the provider goes on, and bills")


@asynccontextmanager
async def _iterating(stream: Stream) -> AsyncGenerator[AsyncIterator[Piece]]:
    """The pieces of a stream, closed as the router closes them."""
    pieces = aiter(stream)
    try:
        yield pieces
    finally:
        close = getattr(pieces, "aclose", None)
        if close is not None:
            await close()


def _expect(so: bool, otherwise: str) -> None:  # noqa: FBT001 - an assertion that is kept in any mode
    if not so:
        raise _BrokenError(otherwise)


def _sound(response: Response) -> Response:
    """The response, where it is one, with usage that can be charged."""
    sound = response_of(response)
    _expect(sound.message.get("role") == "assistant", "its message is not an assistant's")
    _expect(sound.message.get("content") == sound.text or not sound.text, "its message does not say what its text says")
    _expect(measured(sound.usage) is not None, f"its usage cannot be charged: {sound.usage}")
    return sound
