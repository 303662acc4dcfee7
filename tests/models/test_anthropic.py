"""The anthropic provider against a server of our own: real sockets, real HTTP, the official SDK."""

from __future__ import annotations

import gc
import logging
import traceback
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import anyio
import pytest

from organism import ModelError
from organism.models.anthropic.backend import PROVIDER, AnthropicBackend, check
from organism.models.contract import BackendError, Request, ToolSpec
from organism.models.reasoning import THINKING
from organism.models.transport.headers import retry_after
from organism.payloads import payload
from organism.record.facts import CallSettled
from organism.settings import BackendSettings
from organism.testing import running
from tests.models.anthropic_server import (
    HELLO,
    OVER,
    Asked,
    answer,
    before_messages,
    call,
    echo,
    events,
    failure,
    keeping,
    started,
    stopped,
    streams,
    thought,
    words,
)
from tests.models.hostile import END, models, says, serving, whole
from tests.models.hostile import answer as chat_answer

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from tests.models.hostile import Hostile, Way

KEY = "sk-ant-never-to-be-seen"
SEARCH = ToolSpec(name="search", description="Searches.", parameters={"type": "object"})


pytestmark = pytest.mark.sockets


@payload
class Verdict:
    """A verdict."""

    text: str
    marks: dict[str, int]
    doubt: str | None = None


@asynccontextmanager
async def provider(
    *ways: Way, key: str | None = KEY, **more_of_it: Any
) -> AsyncGenerator[tuple[AnthropicBackend, list[Asked], Hostile]]:
    """The provider before a server; no connection is left open."""
    asked: list[Asked] = []
    async with serving(*(keeping(asked, way) for way in ways)) as server:
        settings = BackendSettings(provider="anthropic", model="m", **{"base_url": server.url, **more_of_it})
        backend = AnthropicBackend(settings, key)
        try:
            yield backend, asked, server
        finally:
            await backend.aclose()
        await server.deserted()
        gc.collect()


def ask(**said: Any) -> Request:
    usual: dict[str, Any] = {"model": "m", "messages": ({"role": "user", "content": "hi"},), "max_output_tokens": 9}
    return Request(**usual | said)


async def refused(way: Way) -> BackendError:
    async with provider(way) as (backend, _, server):
        with pytest.raises(BackendError) as caught:
            await backend.complete(ask())
        assert server.asked == 1, "never tried again"
    assert KEY not in "".join(traceback.format_exception(caught.value))
    return caught.value


async def test_an_answer() -> None:
    async with provider(says(whole(answer()))) as (backend, asked, _):
        response = await backend.complete(ask())
    assert (response.text, response.finish_reason, response.model) == ("Hello", "stop", "m-1")
    (found,) = asked
    assert found.line == "POST /v1/messages HTTP/1.1"
    assert found.headers["authorization"] == f"Bearer {KEY}"
    assert found.headers["anthropic-version"]
    assert found.body == {
        "model": "m",
        "max_tokens": 9,
        "messages": [{"role": "user", "content": [{"type": "text", "text": "hi"}]}],
    }


async def test_tools_thinking_and_what_comes_back_of_them() -> None:
    thinks = {"type": "thinking", "thinking": "hmm", "signature": "sig"}
    calls = {"type": "tool_use", "id": "toolu_1", "name": "search", "input": {"q": 1}}
    ways = [says(whole(answer(thinks, calls, stop="tool_use"))), says(whole(answer("Found.")))]
    said: dict[str, Any] = {"tools": (SEARCH,), "reasoning_effort": "high", "max_output_tokens": 4096}
    async with provider(*ways) as (backend, asked, _):
        first = await backend.complete(ask(**said))
        assert first.tool_calls[0].arguments == '{"q": 1}'
        result = {"role": "tool", "tool_call_id": "toolu_1", "content": "much"}
        second = await backend.complete(ask(**said, messages=(*ask().messages, first.message, result)))
    assert second.text == "Found."
    assert asked[1].body["messages"][1:] == [
        {"role": "assistant", "content": [thinks, calls]},
        {
            "role": "user",
            "content": [
                {"type": "tool_result", "tool_use_id": "toolu_1", "content": [{"type": "text", "text": "much"}]}
            ],
        },
    ]
    assert asked[1].body["thinking"] == {"type": "enabled", "budget_tokens": 3276}


async def test_prompts_are_kept_by_the_provider_unless_the_backend_says_otherwise() -> None:
    said: Any = {"messages": ({"role": "system", "content": "Be brief."}, *ask().messages), "tools": (SEARCH,)}
    for prompt_cache in (True, False):
        async with provider(says(whole(answer())), prompt_cache=prompt_cache) as (backend, asked, _):
            await backend.complete(ask(**said))
        body = asked[0].body
        assert ["cache_control" in body["system"][-1], "cache_control" in body["tools"][-1]] == [prompt_cache] * 2


async def test_nothing_of_the_environment_is_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANTHROPIC_API_KEY", "sk-somebody")
    monkeypatch.setenv("ANTHROPIC_AUTH_TOKEN", "token-of-somebody")
    monkeypatch.setenv("ANTHROPIC_CUSTOM_HEADERS", "X-Somebody: somebody\nauthorization: somebody")
    monkeypatch.setenv("ANTHROPIC_BASE_URL", "http://somebody.example")
    options = {"top_k": 5, "extra_headers": {"anthropic-beta": "old"}, "extra_query": {"version": "2"}}
    async with provider(says(whole(answer())), options=options, key=None) as (backend, asked, _):
        await backend.complete(ask(options=options, extra={"extra_headers": {"anthropic-beta": "new"}}))
    (found,) = asked
    assert found.line.startswith("POST /v1/messages?version=2 ")
    assert (found.headers["anthropic-beta"], found.headers["authorization"]) == ("new", "Bearer none")
    assert "somebody" not in str(found)
    assert (found.body["top_k"], "extra_headers" in found.body) == (5, False)
    backend = AnthropicBackend(BackendSettings(provider="anthropic", model="m"), KEY)
    assert str(backend._client.base_url) == "https://api.anthropic.com"
    await backend.aclose()


@pytest.mark.parametrize("end", ["", "/", "/v1", "/v1/"])
async def test_an_address_may_end_as_that_of_the_other_protocol(end: str) -> None:
    asked: list[Asked] = []
    async with serving(keeping(asked, says(whole(answer())))) as server:
        url = server.url.removesuffix("/v1") + end
        backend = AnthropicBackend(BackendSettings(provider="anthropic", model="m", base_url=url), KEY)
        assert (await backend.complete(ask())).text == "Hello"
        await backend.aclose()
    assert asked[0].line == "POST /v1/messages HTTP/1.1"


async def test_a_seed_is_not_sent_and_that_is_said_once(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING, "organism.models")
    async with provider(says(whole(answer()))) as (backend, asked, _):
        for _ in range(2):
            await backend.complete(ask(seed=7))
    assert "seed" not in str(asked)
    assert [record.getMessage() for record in caplog.records] == [
        "anthropic/m: a seed is not sent; this protocol has none, and answers will differ"
    ]


@pytest.mark.parametrize(
    ("status", "body", "kind", "said"),
    [
        (404, failure("not_found_error", "model: m"), "rejected", "404: model: m"),
        (400, failure("invalid_request_error", "prompt is too long: 9 > 8"), "context", "400: prompt is too long: 9 > 8"),
        (401, failure("authentication_error", f"invalid key {KEY}"), "auth", "401: the key was refused"),
        (403, failure("permission_error", f"not for {KEY}"), "auth", "403: not for [key]"),
        (500, failure("api_error"), "server", "500: no luck"),
        (529, failure("overloaded_error", "Overloaded"), "server", "529: Overloaded"),
        (502, b"<html>bad gateway</html>", "server", "502: <html>bad gateway</html>"),
        (404, {"detail": f"not for {KEY}"}, "rejected", '404: {"detail": "not for [key]"}'),
        (302, b"", "rejected", "302: it said no more"),
        (413, b"", "context", "413: it said no more"),
    ],
)  # fmt: skip
@pytest.mark.by_turns
async def test_a_status_is_told_with_what_the_server_said(status: int, body: object, kind: str, said: str) -> None:
    error = await refused(says(whole(body, status)))
    assert (error.kind, str(error), error.billed) == (kind, said, False)


async def test_rate_limits_say_how_long() -> None:
    error = await refused(says(whole(failure("rate_limit_error"), 429, retry_after=7)))
    assert (error.kind, error.retry_after) == ("rate_limited", 7.0)


def test_the_key_is_not_in_its_representation() -> None:
    backend = AnthropicBackend(BackendSettings(provider="anthropic", model="m"), KEY)
    assert KEY not in repr(backend) + repr(backend._client)


async def test_text_that_no_encoding_can_carry_is_not_sent() -> None:
    async with provider(echo) as (backend, _, server):
        with pytest.raises(BackendError, match="cannot be written") as caught:
            await backend.complete(ask(messages=({"role": "user", "content": "\ud800"},)))
        assert (caught.value.billed, server.asked) == (False, 0)


async def test_a_host_that_is_not_there() -> None:
    async with serving(echo) as gone:
        pass
    backend = AnthropicBackend(BackendSettings(provider="anthropic", model="m", base_url=gone.url), KEY)
    with pytest.raises(BackendError, match=r"no connection to http://127\.0\.0\.1") as caught:
        await backend.complete(ask())
    await backend.aclose()
    assert (caught.value.kind, caught.value.billed) == ("connection", False)


async def test_a_stream() -> None:
    async with provider(streams(*HELLO)) as (backend, asked, _):
        async with backend.stream(ask()) as stream:
            assert stream.response is None
            assert [piece.text async for piece in stream] == ["Hel", "lo"]
            assert await anext(aiter(stream), None) is None
        assert stream.response is not None
        assert (stream.response.text, stream.response.finish_reason) == ("Hello", "stop")
        assert stream.response.usage == stream.usage
        assert stream.usage is not None
        assert (stream.usage.input_tokens, stream.usage.output_tokens) == (9, 2)
    assert asked[0].body["stream"] is True


async def test_streams_one_after_the_other_share_a_connection() -> None:
    async with provider(echo) as (backend, _, server):
        for number in range(3):
            async with backend.stream(ask(messages=({"role": "user", "content": f"{number}"},))) as stream:
                assert [piece.text async for piece in stream] == [f"{number}"]
        assert server.connections == 1


async def test_a_stream_with_thinking_and_calls() -> None:
    said = [started(), *thought(0, "hmm", "sig"), *call(1, "search", '{"q"', ": 1}"), stopped("tool_use"), OVER]
    async with provider(streams(*said)) as (backend, _, _server):
        async with backend.stream(ask(tools=(SEARCH,))) as stream:
            assert [piece.kind async for piece in stream] == ["other"] * 3
    assert stream.response is not None
    assert stream.response.tool_calls[0].arguments == '{"q": 1}'
    assert stream.response.message[THINKING][0]["signature"] == "sig"


async def test_a_stream_that_is_left_hangs_up() -> None:
    async with provider(streams(*HELLO[:4], hang=True)) as (backend, _, server):
        async with backend.stream(ask()) as stream:
            async for _ in stream:
                break
        await server.deserted()


async def test_a_stream_that_is_cancelled_hangs_up() -> None:
    async with provider(streams(*HELLO[:3], hang=True)) as (backend, _, server):
        with anyio.CancelScope() as scope:
            async with backend.stream(ask()) as stream:
                async for _ in stream:
                    scope.cancel()  # where it waits for the next piece
        assert scope.cancelled_caught
        await server.deserted()


@pytest.mark.parametrize(
    ("way", "kind"),
    [
        (streams(*HELLO[:3], cut=True), "cut"),
        (streams(*HELLO[:3]), "cut"),
        (streams(*HELLO[:3], failure("overloaded_error")), "cut"),
        (streams(*HELLO[:3], failure("odd_error")), "cut"),
        (streams(failure("overloaded_error")), "server"),
        (streams(failure("rate_limit_error")), "rate_limited"),
        (streams(failure("invalid_request_error", "prompt is too long")), "context"),
        (says(whole(failure("rate_limit_error"), 429)), "rate_limited"),
        (says(events() + b"18\r\nevent: ping2\ndata: {no\n\n\r\n" + END), "broken"),
    ],
)
@pytest.mark.by_turns
async def test_a_stream_that_breaks(way: Way, kind: str) -> None:
    async with provider(way) as (backend, _, _server):
        with pytest.raises(BackendError) as caught:
            async with backend.stream(ask()) as stream:
                [piece async for piece in stream]
    assert caught.value.kind == kind


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after": "2"}, 2.0),
        ({"retry-after-ms": "250", "retry-after": "9"}, 0.25),
        ({"retry-after": "Sun, 01 Nov 2026 12:00:30 GMT", "date": "Sun, 01 Nov 2026 12:00:00 GMT"}, 30.0),
        ({"retry-after": "Sun, 01 Nov 2026 12:00:00 GMT", "date": "Sun, 01 Nov 2026 12:00:30 GMT"}, 0.0),
        ({"retry-after": "Sun, 01 Nov 2026 12:00:30 GMT"}, None),
        ({"retry-after": "soon"}, None),
        ({}, None),
    ],
)
def test_how_long_to_wait(headers: dict[str, str], seconds: float | None) -> None:
    assert retry_after(headers) == seconds


def test_options_are_checked() -> None:
    options = {"max_tokens": 7, "system": "x", "seed": 3, "extra_headers": "X: y", "thinking": "much", "top_k": 5}
    lines = check(BackendSettings(provider="anthropic", model="m", options=options))
    assert [line.split(":")[0] for line in lines] == [
        "options.max_tokens",
        "options.system",
        "options.extra_headers",
        "options.thinking",
        "options.seed",
    ]
    assert not check(BackendSettings(provider="anthropic", model="m"))
    assert (PROVIDER.check, PROVIDER.key_env, PROVIDER.needs_key) == (check, "ANTHROPIC_API_KEY", True)


# Through an organism


async def test_cached_input_is_input_that_costs_less() -> None:
    """Hard case 14, over HTTP, whole and streamed."""
    usage = {"input_tokens": 100, "cache_read_input_tokens": 9000, "cache_creation_input_tokens": 500}
    after: dict[str, Any] = {"output_tokens": 20, "output_tokens_details": {"thinking_tokens": 12}}
    stream = (started(**usage, output_tokens=1), *words("Hello"), stopped(**after), OVER)
    price = {"input": 3, "output": 15, "cache_read": "0.30", "cache_write": "3.75"}
    ways = [says(whole(answer(usage=usage | after))), streams(*stream)]
    async with before_messages(ways, backend={"price": price}) as (organism, _):
        async with organism.thread() as thread:
            done = await thread.complete("hi")
            async with thread.stream("hi") as pieces:
                assert "".join([piece async for piece in pieces]) == "Hello"
        for found in (done.usage, pieces.completion.usage):
            assert (found.input_tokens, found.output_tokens, found.tokens) == (9600, 20, 9620)
            assert (found.cache_read_tokens, found.cache_write_tokens, found.reasoning_tokens) == (9000, 500, 12)
            assert found.cost_usd * 10**6 == 100 * 3 + 9000 * 3 // 10 + 500 * 15 // 4 + 20 * 15
        assert [fact.charge.estimated for fact in organism.watch.of(CallSettled)] == [False, False]


async def test_an_answer_of_a_payload() -> None:
    handed = {"type": "tool_use", "id": "t", "name": "answer", "input": {"text": "good", "marks": {"a": 1}}}
    asked: list[Asked] = []
    ways = [keeping(asked, says(whole(answer(handed, stop="tool_use"))))]
    async with before_messages(ways) as (organism, _):
        async with organism.thread() as thread:
            done = await thread.complete("judge", returns=Verdict)
    assert (done.value, done.tool_calls, done.finish_reason) == (Verdict(text="good", marks={"a": 1}), (), "stop")
    assert asked[0].body["tool_choice"]["name"] == "answer"
    assert asked[0].body["tools"][0]["input_schema"]["required"] == ["text", "marks"]


async def test_a_wrong_key_is_one_clear_line() -> None:
    ways = [says(whole(failure("authentication_error", KEY), 401))]
    async with before_messages(ways) as (organism, _):
        async with organism.thread() as thread:
            with pytest.raises(ModelError) as caught:
                await thread.complete("hi")
    (line,) = caught.value.causes
    assert "attempt 1: 401: the key was refused; check the key (" in line
    assert KEY not in "".join(traceback.format_exception(caught.value))


async def test_another_protocol_goes_on_where_this_one_fails() -> None:
    """An alias of both: what one has thought is nothing to the other."""
    kept: dict[str, Any] = {
        "role": "assistant",
        "content": "so",
        THINKING: [{"type": "thinking", "thinking": "x", "signature": "s"}],
    }
    seen: list[Asked] = []
    other = keeping(seen, says(whole(chat_answer("other"))))
    async with serving(says(whole(failure("overloaded_error"), 529))) as first, serving(other) as second:
        made = models(first, second, retries=1)
        made["default"]["backends"][0]["provider"] = "anthropic"
        async with running(models=made) as organism:
            async with organism.thread() as thread:
                messages = [{"role": "user", "content": "hi"}, kept, {"role": "user", "content": "and?"}]
                done = await thread.complete(messages)
        assert (done.text, done.attempts) == ("other", 2)
        assert seen[0].body["messages"][1] == {"role": "assistant", "content": "so"}
        gc.collect()


async def test_hundreds_of_streams_that_are_cancelled_leave_no_connection() -> None:
    """A thousand, half of them on each loop."""
    async with provider(streams(*HELLO[:3], hang=True), max_concurrent=50) as (backend, _, server):

        async def one() -> None:
            async with backend.stream(ask()) as stream:
                async for _ in stream:
                    with anyio.CancelScope() as scope:
                        scope.cancel()
                        await anext(aiter(stream), None)
                    break

        for _ in range(10):
            async with anyio.create_task_group() as group:
                for _ in range(50):
                    group.start_soon(one)
            await server.deserted()
        assert server.asked == 500
