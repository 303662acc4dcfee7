"""Providers that do what no provider may: the attempt is broken, charged, and holds nothing any more."""

from __future__ import annotations

from contextlib import asynccontextmanager
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import pytest
from attrs import evolve

from organism.errors import ModelError
from organism.models.contract import BackendError, Piece, Response, ToolCall
from tests.models.plain_prompts import prompt_of
from tests.models.router_world import Purse, Say, Script, World, answer, ask, usage

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from organism.models.contract import Request

FINE: Any = answer(Say("fine", usage(100, 10)))
REPORTED = (100, 10)
CALL: Any = ToolCall(id="1", name="look", arguments="{}")


def _estimate() -> int:
    return -(-prompt_of(ask().messages).size * 2 // 3)


class Odd(Script):
    """Gives what it was told to give, whatever that is, and then an answer."""

    def __init__(self, odd: Any, *, pieces: tuple[Any, ...] = ()) -> None:
        super().__init__()
        self.odd = [odd]
        self.pieces = pieces

    async def complete(self, request: Request) -> Response:
        if not self.odd:
            return await super().complete(request)
        odd = self.odd.pop()
        if isinstance(odd, Exception):
            raise odd
        return odd  # type: ignore[no-any-return]

    @asynccontextmanager
    async def stream(self, request: Request) -> AsyncGenerator[Any]:
        if not self.odd:
            async with super().stream(request) as stream:
                yield stream
            return
        yield OddStream(self.odd.pop(), self.pieces)


class OddStream:
    def __init__(self, response: Any, pieces: tuple[Any, ...]) -> None:
        self.usage: Any = usage(90, 1)
        self.response = response
        self._pieces = pieces

    async def __aiter__(self) -> AsyncGenerator[Any]:
        for piece in self._pieces:
            yield piece


NO_RESPONSES: list[tuple[Any, str, tuple[int, int] | None]] = [
    (None, "the provider gave None, not a Response", None),
    ("fine", "the provider gave a value of type str, not a Response", None),
    (evolve(FINE, text=None), "the provider gave a Response whose text is None", REPORTED),
    (evolve(FINE, text=b"fine"), "the provider gave a Response whose text is a value of type bytes", REPORTED),
    (evolve(FINE, text=None, usage=None), "the provider gave a Response whose text is None", None),
    (evolve(FINE, message=None), "the provider gave a Response whose message is None", REPORTED),
    (evolve(FINE, message={"content": object()}), "the provider gave a Response that cannot be kept: message", REPORTED),
    (evolve(FINE, message={1: "a", "b": 2}), "the provider gave a Response that cannot be kept: message", REPORTED),
    (evolve(FINE, tool_calls=None), "the provider gave a Response whose tool_calls is not a tuple of ToolCall", REPORTED),
    (evolve(FINE, tool_calls=(evolve(CALL, arguments={}),)), "the provider gave a Response whose tool_calls", REPORTED),
    (evolve(FINE, model=7), "the provider gave a Response whose model is a value of type int", REPORTED),
]  # fmt: skip


@pytest.mark.parametrize(("odd", "said", "charged"), NO_RESPONSES)
async def test_what_is_no_response_is_a_broken_attempt_that_is_settled(
    odd: Any, said: str, charged: tuple[int, int] | None, caplog: pytest.LogCaptureFixture
) -> None:
    purse = Purse()
    done = await World(Odd(odd)).router.complete(ask(), purse)
    assert (done.text, done.attempts) == ("fine", 2)
    assert not purse.held
    first = purse.charges[0]
    if charged is None:
        assert (first.input_tokens, first.estimated) == (_estimate(), True)
    else:
        assert (first.input_tokens, first.output_tokens, first.estimated) == (*charged, False)
    assert f"attempt 1: {said}" in caplog.text


async def test_what_came_of_a_broken_answer_is_charged_by_estimate() -> None:
    purse = Purse()
    await World(Odd(evolve(FINE, text="x" * 30, message=None, usage=None))).router.complete(ask(), purse)
    assert (purse.charges[0].output_tokens, purse.charges[0].estimated) == (20, True)


@pytest.mark.parametrize("report", [{"input_tokens": 5}, 7, "many"])
async def test_a_report_of_another_kind_is_none(report: Any) -> None:
    purse = Purse()
    done = await World(Odd(evolve(FINE, usage=report))).router.complete(ask(), purse)
    assert (done.attempts, done.usage.estimated) == (1, True)
    assert not purse.held


async def test_a_response_may_hold_mappings_of_any_kind() -> None:
    message = MappingProxyType({"role": "assistant", "content": [MappingProxyType({"type": "text", "text": "fine"})]})
    done = await World(Odd(evolve(FINE, message=message, tool_calls=(CALL,)))).router.complete(ask(), Purse())
    assert (done.attempts, done.message) == (1, message)


ERRORS: list[tuple[BackendError, str, bool]] = [
    (BackendError("odd", "no luck"), "'odd' is not a kind of failure: no luck", True),  # type: ignore[arg-type]
    (BackendError(None, "no luck"), "None is not a kind of failure: no luck", True),  # type: ignore[arg-type]
    (BackendError(["server"], "no luck"), "['server'] is not a kind of failure: no luck", True),  # type: ignore[arg-type]
    (BackendError("cut", "no luck", received=None), "no luck", True),  # type: ignore[arg-type]
    (BackendError("cut", "no luck", received=[1]), "no luck", True),  # type: ignore[arg-type]
    (BackendError("cut", "no luck", usage={"a": 1}), "no luck", True),  # type: ignore[arg-type]
    (BackendError("server", "no luck", retry_after="soon"), "no luck", False),  # type: ignore[arg-type]
]


@pytest.mark.parametrize(("error", "said", "billed"), ERRORS)
async def test_an_error_that_says_what_none_may_say_ends_the_attempt_alone(
    error: BackendError, said: str, billed: bool, caplog: pytest.LogCaptureFixture
) -> None:
    purse = Purse()
    done = await World(Odd(error)).router.complete(ask(), purse)
    assert (done.text, done.attempts) == ("fine", 2)
    assert not purse.held
    assert purse.charges[0].input_tokens == (_estimate() if billed else 0)
    assert f"attempt 1: {said}" in caplog.text


STREAMS: list[tuple[Any, tuple[Any, ...], str]] = [
    (FINE, ("one ",), "the stream gave a value of type str, not a Piece"),
    (FINE, (Piece(text=None),), "the stream gave a Piece whose text is None"),  # type: ignore[arg-type]
    (FINE, (Piece(text=b"x", kind="other"),), "the stream gave a Piece whose text is a value of type bytes"),  # type: ignore[arg-type]
    ("fine", (), "the provider gave a value of type str, not a Response"),
    (evolve(FINE, text=None), (), "the provider gave a Response whose text is None"),
]  # fmt: skip


@pytest.mark.parametrize(("response", "pieces", "said"), STREAMS)
async def test_a_stream_that_is_broken_before_its_first_text_is_tried_again(
    response: Any, pieces: tuple[Any, ...], said: str, caplog: pytest.LogCaptureFixture
) -> None:
    purse = Purse()
    async with World(Odd(response, pieces=pieces)).router.stream(ask(), purse) as stream:
        assert [piece async for piece in stream] == ["fine "]
    assert not purse.held
    assert len(purse.charges) == 2
    assert f"attempt 1: {said}" in caplog.text


@pytest.mark.parametrize("last", [None, 7])
async def test_a_stream_that_is_broken_after_its_first_text_fails_the_call(last: Any) -> None:
    purse = Purse()
    pieces = (Piece(text="one "), *(() if last is None else (last,)))
    async with World(Odd(None, pieces=pieces)).router.stream(ask(), purse) as stream:
        with pytest.raises(ModelError, match="the stream"):
            assert [piece async for piece in stream] == ["one "]
        assert stream.completion.finish_reason == "broken"
    assert not purse.held
    assert [(charge.input_tokens, charge.estimated) for charge in purse.charges] == [(90, False)]


class Unread(Script):
    @asynccontextmanager
    async def stream(self, request: Request) -> AsyncGenerator[Any]:
        self._next(request)
        yield None


async def test_a_stream_that_cannot_be_read_is_broken() -> None:
    purse = Purse()
    with pytest.raises(ModelError, match="TypeError"):
        async with World(Unread(), retries=0).router.stream(ask(), purse):
            raise AssertionError("it has no text")
    assert not purse.held
    assert len(purse.charges) == 1
