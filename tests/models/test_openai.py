"""The openai provider against a server of our own: real sockets, real HTTP, the official SDK."""

from __future__ import annotations

import gc
import json
import math
import random
import traceback
from collections.abc import Mapping, Sequence
from contextlib import asynccontextmanager, nullcontext
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import anyio
import pytest
from attrs import define, field, frozen

from organism.errors import BudgetExhaustedError, ModelError
from organism.models.completion import Call
from organism.models.contract import BackendError, Piece, Request
from organism.models.openai.backend import PROVIDER, OpenAIBackend, check
from organism.models.routing.ledger import Held
from organism.models.routing.router import Router
from organism.models.transport.headers import retry_after
from organism.settings import BackendSettings, ModelSettings
from tests.models.hostile import listening

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from contextlib import AbstractContextManager

    from anyio.abc import SocketStream

    from organism.budget.claims import Charge, Claim
    from organism.models.tokens.prompt import Prompt
    from organism.record.images import Missed

KEY = "sk-never-to-be-seen"
ANSWER = {
    "model": "m-1",
    "choices": [{"message": {"role": "assistant", "content": "Hello"}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 9, "completion_tokens": 2},
}


pytestmark = pytest.mark.sockets


@frozen
class Reply:
    """What the server answers: ``parts`` one after the other, then nothing for ``silence`` seconds, then the end."""

    parts: Sequence[bytes]
    status: int = 200
    headers: Mapping[str, str] = field(factory=dict[str, str])
    cut: bool = False
    silence: float = 0.0

    @classmethod
    def of(cls, body: object, **more: Any) -> Reply:
        return cls([body if isinstance(body, bytes) else json.dumps(body).encode()], **more)

    @classmethod
    def events(cls, *chunks: object, done: bool = True, **more: Any) -> Reply:
        parts = [b"data: " + json.dumps(chunk).encode() + b"\n\n" for chunk in chunks]
        return cls(
            [*parts, *([b"data: [DONE]\n\n"] if done else [])], headers={"content-type": "text/event-stream"}, **more
        )


@define
class Server:
    """Chat completions as a script has them; it keeps what it was asked."""

    replies: list[Reply]
    url: str = ""
    asked: list[tuple[str, dict[str, str], dict[str, Any]]] = field(factory=list)
    hung_up: anyio.Event = field(factory=anyio.Event)

    async def serve(self, stream: SocketStream) -> None:
        async with stream:
            head, body = b"", b""
            while b"\r\n\r\n" not in head:
                head += await stream.receive()
            head, _, body = head.partition(b"\r\n\r\n")
            first, *lines = head.decode().split("\r\n")
            headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines)}
            while len(body) < int(headers.get("content-length", 0)):
                body += await stream.receive()
            self.asked.append((first, headers, json.loads(body)))
            await self._reply(stream, self.replies.pop(0))

    async def _reply(self, stream: SocketStream, reply: Reply) -> None:
        headers = {"content-type": "application/json", "transfer-encoding": "chunked", "connection": "close"}
        lines = [
            f"HTTP/1.1 {reply.status} Whatever",
            *(f"{n}: {v}" for n, v in (headers | dict(reply.headers)).items()),
        ]
        try:
            await stream.send("\r\n".join([*lines, "", ""]).encode())
            for part in reply.parts:
                await stream.send(f"{len(part):x}\r\n".encode() + part + b"\r\n")
            if reply.silence:
                with anyio.move_on_after(reply.silence):
                    await stream.receive()
            if not reply.cut:
                await stream.send(b"0\r\n\r\n")
        except (anyio.EndOfStream, anyio.BrokenResourceError):
            self.hung_up.set()


@asynccontextmanager
async def serving(*replies: Reply) -> AsyncGenerator[Server]:
    server = Server(list(replies))
    async with listening(server.serve) as server.url:
        yield server


@asynccontextmanager
async def provider(server: Server, *, key: str | None = KEY, **more: Any) -> AsyncGenerator[OpenAIBackend]:
    backend = OpenAIBackend(BackendSettings(provider="openai", model="m", base_url=server.url, **more), key)
    try:
        yield backend
    finally:
        await backend.aclose()
        gc.collect()


def ask(**said: Any) -> Request:
    usual: dict[str, Any] = {"model": "m", "messages": ({"role": "user", "content": "hi"},), "max_output_tokens": 9}
    return Request(**usual | said)


async def refused(*replies: Reply) -> BackendError:
    async with serving(*replies) as server, provider(server) as backend:
        with pytest.raises(BackendError) as caught:
            await backend.complete(ask())
    assert KEY not in "".join(traceback.format_exception(caught.value))
    return caught.value


async def test_an_answer() -> None:
    async with serving(Reply.of(ANSWER)) as server, provider(server) as backend:
        response = await backend.complete(ask(temperature=0.5))
    assert (response.text, response.model, response.finish_reason) == ("Hello", "m-1", "stop")
    assert response.usage is not None
    assert (response.usage.input_tokens, response.usage.output_tokens) == (9, 2)
    (first, headers, body), *more = server.asked
    assert not more
    assert first.startswith("POST /v1/chat/completions ")
    assert headers["authorization"] == f"Bearer {KEY}"
    messages = [{"role": "user", "content": "hi"}]
    assert body == {"model": "m", "messages": messages, "max_tokens": 9, "temperature": 0.5}


@pytest.mark.parametrize("send_back", [True, False])
async def test_what_was_thought_of_a_call_comes_back_with_its_result(send_back: bool) -> None:
    options = {} if send_back else {"send_thoughts_back": False}
    call = {"id": "a", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    message = {"role": "assistant", "content": None, "reasoning_content": "hmm", "tool_calls": [call]}
    thought = {**ANSWER, "choices": [{"message": message, "finish_reason": "tool_calls"}]}
    delta = {**message, "tool_calls": [{**call, "index": 0}]}
    stream = Reply.events({"choices": [{"delta": delta, "finish_reason": "tool_calls"}]})
    async with (
        serving(Reply.of(thought), stream, Reply.of(ANSWER)) as server,
        provider(server, options=options) as backend,
    ):
        whole = await backend.complete(ask())
        async with backend.stream(ask()) as pieces:
            assert [piece.kind async for piece in pieces] == ["other"] * 3
        assert pieces.response is not None
        result = {"role": "tool", "tool_call_id": "a", "content": "found"}
        await backend.complete(ask(messages=(whole.message, result, pieces.response.message, result)))
    back = message if send_back else {name: part for name, part in message.items() if name != "reasoning_content"}
    assert server.asked[2][2]["messages"] == [back, result, back, result]
    assert "send_thoughts_back" not in server.asked[2][2]


async def test_options_reach_the_server_where_they_belong(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_ORG_ID", "org-of-somebody")
    monkeypatch.setenv("OPENAI_PROJECT_ID", "project-of-somebody")
    monkeypatch.setenv("OPENAI_ADMIN_KEY", "sk-admin")
    options = {
        "top_k": 5,
        "max_tokens_parameter": "max_completion_tokens",
        "extra_headers": {"X-Title": "nobody's"},
        "extra_query": {"version": "2"},
    }
    async with serving(Reply.of(ANSWER)) as server, provider(server, options=options, key=None) as backend:
        await backend.complete(ask(options=options, extra={"extra_headers": {"X-Title": "desk"}}))
    ((first, headers, body),) = server.asked
    assert first.startswith("POST /v1/chat/completions?version=2 ")
    assert headers["x-title"] == "desk"
    assert headers["authorization"] == "Bearer none"
    assert "somebody" not in str(headers)
    assert body == {
        "model": "m",
        "messages": [{"role": "user", "content": "hi"}],
        "max_completion_tokens": 9,
        "top_k": 5,
    }


def test_openais_own_server_gets_the_new_name_of_the_limit() -> None:
    backend = OpenAIBackend(BackendSettings(provider="openai", model="m"), KEY)
    assert (backend._limit, str(backend._client.base_url)) == ("max_completion_tokens", "https://api.openai.com/v1/")


async def test_a_status_is_told_with_what_the_server_said_and_never_tried_again() -> None:
    error = await refused(
        Reply.of({"error": {"message": "The model `m` does not exist", "code": "model_not_found"}}, status=404)
    )
    assert (error.kind, str(error)) == ("rejected", "404: The model `m` does not exist")
    error = await refused(Reply.of(b"<html>bad gateway</html>", status=502, headers={"content-type": "text/html"}))
    assert error.kind == "server"
    error = await refused(Reply.of({"error": {"message": "too long", "code": "context_length_exceeded"}}, status=400))
    assert error.kind == "context"


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({"detail": "no  such\n model"}, '404: {"detail": "no such\\n model"}'),
        ({"error": "Model is loading"}, '404: {"error": "Model is loading"}'),
        (b"<html>\nnot here</html>", "404: <html> not here</html>"),
        (f"unknown key {KEY} ".encode() * 99, "404: " + "unknown key [key] " * 11 + "un…"),
        (b"", "404: it said no more"),
    ],
)
@pytest.mark.by_turns
async def test_a_refusal_that_is_not_written_as_such_is_told_too(body: object, said: str) -> None:
    error = await refused(Reply.of(body, status=404))
    assert (error.kind, str(error)) == ("rejected", said)


@pytest.mark.parametrize("slash", ["/", "\\/"])
async def test_what_was_sent_beside_a_request_is_known_in_the_json_of_a_refusal(slash: str) -> None:
    said = '{"token": "ab/cdé"}'
    body = json.dumps({"detail": f"what is {said}?"}).replace("/", slash)
    async with (
        serving(Reply.of(body.encode(), status=404)) as server,
        provider(server, options={"extra_query": {"config": said}}) as backend,
    ):
        with pytest.raises(BackendError) as caught:
            await backend.complete(ask())
    assert str(caught.value) == '404: {"detail": "what is [key]?"}'


@pytest.mark.by_turns
async def test_a_prompt_that_is_too_long_is_known_however_that_is_said() -> None:
    assert (await refused(Reply.of({"detail": "maximum context length exceeded"}, status=422))).kind == "context"
    beside = "the request was sent on, and refused there. " * 20
    within = json.dumps({"error": {"message": "This endpoint's maximum context length is 8192 tokens"}})
    for body in (
        {"detail": f"{beside}The prompt is too long."},
        f"<html>{beside}The prompt is too long.</html>".encode(),
        {"error": {"type": "exceed_context_size_error", "message": "no"}},
        {"error": {"code": 400, "message": "Provider returned error", "metadata": {"raw": within}}},
    ):
        assert (await refused(Reply.of(body, status=400))).kind == "context", body


async def test_what_a_refusal_quotes_is_not_its_reason() -> None:
    wrong = {
        "type": "missing",
        "loc": ["body", "model"],
        "msg": "Field required",
        "input": "My context window is small",
    }
    assert (await refused(Reply.of({"detail": [wrong]}, status=422))).kind == "rejected"
    unknown = {"message": "no model with this name and context window", "code": "model_not_found"}
    assert (await refused(Reply.of({"error": unknown}, status=404))).kind == "rejected"


async def test_a_quota_that_is_used_up_is_known_by_the_type_too() -> None:
    spent = {"message": "You exceeded your quota", "type": "insufficient_quota"}
    assert (await refused(Reply.of({"error": spent}, status=429))).kind == "rejected"


@pytest.mark.parametrize("kind", ["application/json ; charset=utf-8", "Application/JSON", "text/plain", ""])
@pytest.mark.by_turns
async def test_an_answer_is_read_whatever_it_says_that_it_is(kind: str) -> None:
    async with (
        serving(Reply.of(ANSWER, headers={"content-type": kind})) as server,
        provider(server) as backend,
    ):
        assert (await backend.complete(ask())).text == "Hello"


async def test_rate_limits_say_how_long() -> None:
    error = await refused(Reply.of({}, status=429, headers={"retry-after": "7"}))
    assert (error.kind, error.retry_after) == ("rate_limited", 7.0)


@pytest.mark.parametrize("encoding", ["undefined", "zlib", "idna"])
@pytest.mark.by_turns
async def test_a_refusal_whose_text_cannot_be_read_is_known_by_its_status(encoding: str) -> None:
    headers = {"content-type": f"application/json; charset={encoding}", "retry-after": "7"}
    error = await refused(Reply.of(b"\xff" * 9, status=429, headers=headers))
    assert (error.kind, error.billed, error.retry_after) == ("rate_limited", False, 7.0)
    assert str(error) == "429: what it said cannot be read"


@pytest.mark.parametrize("status", [401, 403])
async def test_the_key_is_nowhere_to_be_seen(status: int) -> None:
    error = await refused(Reply.of({"error": {"message": f"Incorrect API key provided: {KEY}"}}, status=status))
    assert error.kind == "auth"
    assert str(error).startswith(f"{status}: ")


async def test_neither_in_an_answer_that_is_none() -> None:
    error = await refused(Reply.of({"error": f"no such key {KEY}"}))
    assert "[key]" in str(error)


def test_nor_in_its_representation() -> None:
    backend = OpenAIBackend(BackendSettings(provider="openai", model="m"), KEY)
    assert KEY not in repr(backend) + repr(backend._client)


@pytest.mark.parametrize(
    "body", [b"not json", b'"text"', b"[]", b"{}", b'{"choices": [', b'{"error": {"message": "oops"}}', b""]
)
@pytest.mark.by_turns
async def test_what_is_no_answer_is_broken(body: bytes) -> None:
    assert (await refused(Reply.of(body))).kind == "broken"


@pytest.mark.parametrize(
    ("usage", "seen"),
    [(None, None), ("lots", (None, None)), ({"prompt_tokens": "9", "completion_tokens": -2}, ("9", -2))],
)
@pytest.mark.by_turns
async def test_usage_is_handed_on_as_it_came(usage: object, seen: object) -> None:
    async with serving(Reply.of(ANSWER | {"usage": usage})) as server, provider(server) as backend:
        report = (await backend.complete(ask())).usage
    assert (report and (report.input_tokens, report.output_tokens)) == seen


async def test_text_that_no_encoding_can_carry_is_not_sent() -> None:
    async with serving() as server, provider(server) as backend:
        with pytest.raises(BackendError, match="cannot be written") as caught:
            await backend.complete(ask(messages=({"role": "user", "content": "\ud800"},)))
    assert not caught.value.billed
    assert not server.asked


async def test_a_connection_that_breaks_is_a_cut() -> None:
    error = await refused(Reply.of(b'{"choices": [', cut=True))
    assert error.kind == "cut"
    assert error.billed


async def test_a_host_that_is_not_there() -> None:
    async with serving() as server:
        pass
    async with provider(server) as backend:
        with pytest.raises(BackendError, match=r"no connection to http://127\.0\.0\.1") as caught:
            await backend.complete(ask())
    assert caught.value.kind == "connection"
    assert not caught.value.billed


def _chunk(delta: Mapping[str, Any], reason: str | None = None) -> dict[str, Any]:
    return {"model": "m-1", "choices": [{"index": 0, "delta": delta, "finish_reason": reason}]}


WORDS = [_chunk({"role": "assistant", "content": "Hel"}), _chunk({"content": "lo"}), _chunk({}, "stop")]
USAGE = {"choices": [], "usage": {"prompt_tokens": 9, "completion_tokens": 2}}


async def test_a_stream() -> None:
    async with serving(Reply.events(*WORDS, USAGE)) as server, provider(server) as backend:
        async with backend.stream(ask()) as stream:
            assert stream.response is None
            assert [piece.text async for piece in stream] == ["Hel", "lo"]
        assert stream.response is not None
        assert (stream.response.text, stream.response.finish_reason) == ("Hello", "stop")
        assert stream.response.usage == stream.usage
        assert stream.usage is not None
        assert stream.usage.input_tokens == 9
    body = server.asked[0][2]
    assert (body["stream"], body["stream_options"]) == (True, {"include_usage": True})


@pytest.mark.parametrize("cut", [1, 2, 64])
@pytest.mark.by_turns
async def test_a_stream_may_begin_with_a_mark_and_hold_events_that_say_nothing(cut: int) -> None:
    said = [f"data: {json.dumps(each)}\n\n" for each in (*WORDS, USAGE)]
    text = "".join(["\ufeff", said[0], "retry: 3000\n\n", ": here\n\n", "event: ping\ndata:\n\n", *said[1:]]).encode()
    parts = [text[place : place + cut] for place in range(0, len(text), cut)]
    async with (
        serving(Reply(parts, headers={"content-type": "text/event-stream"})) as server,
        provider(server) as backend,
        backend.stream(ask()) as stream,
    ):
        assert [piece.text async for piece in stream] == ["Hel", "lo"]
    assert stream.usage is not None


@pytest.mark.parametrize("cut", [1, 7, 4096])
@pytest.mark.by_turns
async def test_a_server_that_answers_whole_is_heard_as_a_stream_is(cut: int) -> None:
    call = {"id": "a", "type": "function", "function": {"name": "f", "arguments": '{"x": 1}'}}
    message = {"role": "assistant", "content": "H\u00e9", "tool_calls": [call]}
    said = {**ANSWER, "choices": [{"message": message, "finish_reason": "tool_calls"}]}
    text = b"\r\n" + json.dumps(said, ensure_ascii=False).encode()
    parts = [text[place : place + cut] for place in range(0, len(text), cut)]
    async with (
        serving(Reply(parts), Reply(parts)) as server,
        provider(server) as backend,
        backend.stream(ask()) as stream,
    ):
        pieces = [piece async for piece in stream]
        whole = await backend.complete(ask())
    assert pieces == [
        Piece(text="H\u00e9"),
        Piece(text="f", kind="other"),
        Piece(text='{"x": 1}', kind="other", tool="f", call=0),
    ]
    assert stream.response == whole
    assert stream.usage == whole.usage


async def test_a_document_in_the_place_of_a_stream_has_an_end_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("organism.models.transport.body.MOST", 1000)
    async with serving(Reply([b'{"choices": "', *[b"x" * 100] * 20])) as server, provider(server) as backend:
        with pytest.raises(BackendError, match="longer than 1,000 bytes") as caught:
            async with backend.stream(ask()) as stream:
                [piece async for piece in stream]
    assert caught.value.kind == "broken"
    assert len(caught.value.received) > 900


async def test_a_stream_that_breaks_says_why() -> None:
    async with serving(Reply.events(WORDS[0], {"error": "out of memory"})) as server, provider(server) as backend:
        with pytest.raises(BackendError, match="out of memory"):
            async with backend.stream(ask()) as stream:
                [piece async for piece in stream]


async def test_a_stream_that_is_left_hangs_up() -> None:
    async with serving(Reply.events(*WORDS, silence=5)) as server, provider(server) as backend:
        async with backend.stream(ask()) as stream:
            async for _ in stream:
                break
        with anyio.fail_after(5):
            await server.hung_up.wait()


async def test_a_stream_that_is_cancelled_hangs_up() -> None:
    async with serving(Reply.events(WORDS[0], silence=5)) as server, provider(server) as backend:
        with anyio.CancelScope() as scope:
            async with backend.stream(ask()) as stream:
                async for _ in stream:
                    scope.cancel()  # where it waits for the next piece
        assert scope.cancelled_caught
        with anyio.fail_after(5):
            await server.hung_up.wait()


@pytest.mark.parametrize(
    ("reply", "kind"),
    [
        (Reply.events(WORDS[0], cut=True, done=False), "cut"),
        (Reply.events(WORDS[0], done=False), "cut"),
        (Reply.events(WORDS[0], {"error": {"message": "overloaded"}}), "cut"),
        (Reply.events(WORDS[0], {"error": {"message": "overloaded", "code": 503}}), "cut"),
        (Reply.events({"error": {"message": "overloaded", "code": 503}}), "server"),
        (Reply.of({"error": {"message": "slow down"}}, status=429), "rate_limited"),
        (Reply([b"data: {not json}\n\n"], headers={"content-type": "text/event-stream"}), "broken"),
    ],
)
@pytest.mark.by_turns
async def test_a_stream_that_breaks(reply: Reply, kind: str) -> None:
    async with serving(reply) as server, provider(server) as backend:
        with pytest.raises(BackendError) as caught:
            async with backend.stream(ask()) as stream:
                [piece async for piece in stream]
    assert caught.value.kind == kind


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after": "2"}, 2.0),
        ({"retry-after": "0.5"}, 0.5),
        ({"retry-after-ms": "250", "retry-after": "9"}, 0.25),
        ({"retry-after-ms": "nan", "retry-after": "9"}, 9.0),
        ({"retry-after-ms": "-1", "retry-after": "-5"}, None),
        ({"retry-after": "1e400"}, math.inf),
        ({"retry-after": "Sun, 01 Nov 2026 12:00:30 GMT", "date": "Sun, 01 Nov 2026 12:00:00 GMT"}, 30.0),
        ({"retry-after": "Sun, 01 Nov 2026 12:00:00 GMT", "date": "Sun, 01 Nov 2026 12:00:30 GMT"}, 0.0),
        ({"retry-after": "Sun, 01 Nov 2026 12:00:30 GMT"}, None),
        ({"retry-after": "soon"}, None),
        (
            {"retry-after": "Sun, 01 Nov 2026 12:00:30 +99999999999999999999", "date": "Sun, 01 Nov 2026 12:00:00 GMT"},
            None,
        ),
        ({}, None),
    ],
)
def test_how_long_to_wait(headers: dict[str, str], seconds: float | None) -> None:
    assert retry_after(headers) == seconds


def test_options_are_checked() -> None:
    options: dict[str, Any] = {"n": 5, "max_tokens": 7, "max_tokens_parameter": 3, "extra_headers": "X: y", "top_k": 5}
    options["send_thoughts_back"] = "no"
    lines = check(BackendSettings(provider="openai", model="m", options=options))
    assert [line.split(":")[0] for line in lines] == [
        "options.max_tokens",
        "options.n",
        "options.extra_headers",
        "options.max_tokens_parameter",
        "options.send_thoughts_back",
    ]
    assert not check(BackendSettings(provider="openai", model="m"))
    assert PROVIDER.check is check


class Purse:
    """A ledger without limits."""

    strict = False
    needs_price = False
    counted = False
    level = None
    seconds_left = None

    def __init__(self) -> None:
        self.held: set[int] = set()
        self.charges: list[Charge] = []

    def out_of_time(self) -> BudgetExhaustedError:
        raise NotImplementedError

    def queued(self, at: object, refuse: object) -> AbstractContextManager[object]:
        del at, refuse
        return nullcontext()

    def keeping(self, at: object) -> AbstractContextManager[object]:
        del at
        return nullcontext()

    async def hold(self, claim: Claim, *, alias: str, backend: str, attempt: int, at: object) -> Held:
        del at
        assert backend.startswith("openai/m@127.0.0.1:"), alias
        self.held.add(attempt)
        return Held(id=attempt, output_tokens=claim.wish)

    def settle(
        self,
        held: Held,
        charge: Charge,
        missed: Missed | None = None,
        reported: Prompt | None = None,
        *,
        made: bool = True,
    ) -> tuple[()]:
        del missed, reported, made
        self.held.remove(held.id)
        self.charges.append(charge)
        return ()


@asynccontextmanager
async def routing(server: Server, **more: Any) -> AsyncGenerator[Router]:
    settings = BackendSettings(provider="openai", model="m", base_url=server.url, **more)
    alias = ModelSettings(name="default", backends=(settings,), backoff=(0.0, 0.0))
    router = Router(
        {"default": alias},
        backends=lambda settings: PROVIDER.make(settings, KEY),
        random=random.Random(7),
        clock=lambda: datetime(2026, 11, 1, tzinfo=UTC),
    )
    try:
        yield router
    finally:
        await router.aclose()
        gc.collect()


CALL = Call(messages=({"role": "user", "content": "hi"},))


async def test_through_the_router_with_every_kind_of_trouble_first() -> None:
    purse = Purse()
    trouble = [Reply.of({}, status=500), Reply.of({}, status=429), Reply.of(b"{", cut=True)]
    async with serving(*trouble, Reply.of(ANSWER)) as server, routing(server) as router:
        done = await router.complete(CALL, purse)
    assert (done.text, done.attempts, purse.held) == ("Hello", 4, set())
    assert [charge.estimated for charge in purse.charges] == [False, False, True, False]
    assert [charge.input_tokens > 0 for charge in purse.charges] == [False, False, True, True]
    assert done.backend == f"openai/m@{server.url[7:-3]}"


async def test_through_the_router_a_stream_and_a_slow_server() -> None:
    purse = Purse()
    slow = Reply.events(silence=5, done=False)
    async with serving(slow, Reply.events(*WORDS, USAGE)) as server, routing(server, timeout=0.5) as router:
        async with router.stream(CALL, purse) as stream:
            assert "".join([piece async for piece in stream]) == "Hello"
        assert (stream.completion.attempts, stream.completion.usage.output_tokens) == (2, 2)
    assert not purse.held


async def test_through_the_router_a_wrong_key_is_one_clear_line() -> None:
    said: dict[str, Any] = {"api_key_env": "MY_KEY", "place": "organism.yaml:3:5"}
    refusal = Reply.of({"error": {"message": KEY}}, status=401)
    async with serving(refusal) as server, routing(server, **said) as router:
        with pytest.raises(ModelError) as caught:
            await router.complete(CALL, Purse())
    (line,) = caught.value.causes
    assert line.endswith("(organism.yaml:3:5): attempt 1: 401: the key was refused; check the key (MY_KEY)")
    assert KEY not in "".join(traceback.format_exception(caught.value))
