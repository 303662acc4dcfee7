"""The ``openai`` provider: any server that speaks chat completions, through the official SDK.

The SDK carries requests and nothing more. Its retries are off, because their waits (up to two minutes each) would be
invisible to budgets; its timeouts are off but for connecting, because the router owns the deadline of an attempt.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import TYPE_CHECKING, Any, Final, cast

import anyio
import httpx2
import openai
from attrs import evolve

from organism.models.allowances import allowance_in
from organism.models.chat import OWNED, Gathering, body_of, error_of, kind_of, mapping, response_of, usage_of
from organism.models.connections import client_of
from organism.models.contract import BackendError, BackendFactory, Piece, RawUsage, Response
from organism.models.endings import Body, run_out
from organism.models.wire import (
    NO_KEY,
    SECONDS_FOR_LEFTOVERS,
    SECONDS_TO_CONNECT,
    Wired,
    beside_body,
    content_of,
    retry_after,
    without,
)

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Callable, Generator, Sequence
    from contextlib import AbstractContextManager

    from openai._streaming import ServerSentEvent

    from organism.models.contract import Request
    from organism.settings import BackendSettings

_SERVER: Final = "https://api.openai.com/v1"
_BESIDE: Final = frozenset({"max_tokens_parameter", "extra_headers", "extra_query"})
"""Options that are not part of the body."""


class OpenAIBackend:
    """One backend, bound to its server and its key. The key goes into the client and nowhere else."""

    def __init__(self, settings: BackendSettings, key: str | None) -> None:
        # Only OpenAI's own server is sure to know the new name; most others know the old one only.
        usual = "max_completion_tokens" if settings.base_url is None else "max_tokens"
        self._limit = str(settings.options.get("max_tokens_parameter", usual))
        http = client_of(openai.DefaultAsyncHttpxClient, most=settings.max_concurrent)
        self._client = openai.AsyncOpenAI(
            api_key=key or NO_KEY,
            base_url=settings.base_url or _SERVER,
            max_retries=0,
            timeout=httpx2.Timeout(None, connect=SECONDS_TO_CONNECT),
            http_client=http,
        )
        # The SDK takes these from the environment by itself; another company's server must not get to see them.
        self._client.organization = None
        self._client.project = None
        self._wired = Wired(key, self._client.base_url, settings.options)

    async def complete(self, request: Request) -> Response:
        """See :class:`~organism.models.contract.Backend`."""
        body, options = self._prepared(request)
        with self._failures():
            answer = await self._client.post("/chat/completions", cast_to=httpx2.Response, body=body, options=options)
            return evolve(response_of(content_of(answer)), allowance=allowance_in(answer.headers))

    @asynccontextmanager
    async def stream(self, request: Request) -> AsyncGenerator[_Stream]:
        """See :class:`~organism.models.contract.Backend`."""
        body, options = self._prepared(request)
        body |= {"stream": True, "stream_options": {"include_usage": True}}
        with self._failures():
            chunks = await self._client.post(
                "/chat/completions",
                cast_to=object,
                body=body,
                options=options,
                stream=True,
                stream_cls=_Chunks,
            )
        # Without this block a stream that is left half-way goes on, and is billed, behind everybody's back.
        async with chunks:
            yield _Stream(chunks, self._failures)

    async def aclose(self) -> None:
        """See :class:`~organism.models.contract.Backend`."""
        await self._client.close()

    def _prepared(self, request: Request) -> tuple[dict[str, Any], openai.RequestOptions]:
        """The body, and what goes beside it."""
        beside = cast("openai.RequestOptions", {"security": {"bearer_auth": True}, **beside_body(request)})
        inside = without(request, _BESIDE)
        return body_of(inside, limit=self._limit), beside

    @contextmanager
    def _failures(self) -> Generator[None]:
        """As :meth:`Wired.failures`, with those of the SDK."""
        with self._wired.failures():
            try:
                yield
            except openai.APIStatusError as error:
                raise self._refusal(error) from None
            except openai.APIConnectionError as error:
                raise self._wired.lost(
                    error.__cause__ or error, late=isinstance(error, openai.APITimeoutError)
                ) from None
            except openai.APIError as error:  # one that came as a chunk of a stream
                raise error_of(mapping(error.body), self._wired.clean(error.message), unknown="cut") from None

    def _refusal(self, error: openai.APIStatusError) -> BackendError:
        said = str(mapping(error.body).get("message") or error.message)
        kind = kind_of(error.status_code, error.code or "", said)
        # OpenAI quotes most of a wrong key in its answer to it.
        text = "the key was refused" if error.status_code == 401 else self._wired.clean(said)
        headers = error.response.headers
        return BackendError(
            kind, f"{error.status_code}: {text}", retry_after=retry_after(headers), allowance=allowance_in(headers)
        )


class _Chunks(openai.AsyncStream[object]):
    """The chunks of a stream. ``late`` is what was reported behind its end, where the SDK reads no more."""

    late: RawUsage | None = None
    _events: AsyncIterator[ServerSentEvent] | None = None

    def _iter_events(self) -> AsyncIterator[ServerSentEvent]:
        self._events = self._decoder.aiter_bytes(Body(self.response))
        return _Events(self._events, self)

    async def close(self) -> None:
        await super().close()
        await run_out(self, *([self._events] if self._events else []))


class _Events:
    """The events of a stream up to its end, and what comes behind it. No generator: trio tells of those that are left half-way."""

    def __init__(self, events: AsyncIterator[ServerSentEvent], chunks: _Chunks) -> None:
        self._events = events
        self._chunks = chunks

    def __aiter__(self) -> _Events:
        return self

    async def __anext__(self) -> ServerSentEvent:
        event = await anext(self._events)
        if not event.data.startswith("[DONE]"):
            return event
        with suppress(openai.APIError, httpx2.HTTPError, ValueError), anyio.move_on_after(SECONDS_FOR_LEFTOVERS):
            async for late in self._events:
                self._chunks.late = self._chunks.late or _report_in(late)
        raise StopAsyncIteration


def _report_in(event: ServerSentEvent) -> RawUsage | None:
    try:
        return usage_of(mapping(event.json()))
    except (ValueError, RecursionError):
        return None


class _Stream:
    """A stream of chunks. An iterator of its own: a generator would stay open where reading stops half-way."""

    def __init__(self, chunks: _Chunks, failures: Callable[[], AbstractContextManager[None]]) -> None:
        self.response: Response | None = None
        self.usage: RawUsage | None = None
        self.allowance = allowance_in(chunks.response.headers)
        self._chunks = chunks
        self._failures = failures
        self._gathering = Gathering()
        self._begun = False
        self._pieces: deque[Piece] = deque()

    def __aiter__(self) -> _Stream:
        return self

    async def __anext__(self) -> Piece:
        while not self._pieces:
            try:
                with self._failures():
                    chunk = await self._chunks.__anext__()
            except StopAsyncIteration:
                self.usage = self._gathering.usage = self._gathering.usage or self._chunks.late
                self.response = self.response or self._gathering.response()
                raise
            except BackendError as error:
                if error.billed or not self._begun:
                    raise
                # Whatever status a server gives its failure then, what it has sent it will bill.
                raise BackendError("cut", str(error)) from None
            self._begun = True
            self._pieces += self._gathering.add(chunk)
            self.usage = self._gathering.usage
        return self._pieces.popleft()

    async def aclose(self) -> None:
        """Closes the connection, and with it what the server still wants to send."""
        await self._chunks.close()


def check(settings: BackendSettings) -> Sequence[str]:
    """What is wrong with the options, one line each."""
    wrong = [
        f"options.{name}: the router says this itself; `max_output_tokens` of the alias or the call sets the length"
        for name in sorted(OWNED.intersection(settings.options))
    ]
    if not isinstance(settings.options.get("max_tokens_parameter", ""), str):
        wrong.append("options.max_tokens_parameter: must be the name of a parameter, such as max_completion_tokens")
    return wrong + [
        f"options.{name}: must be a mapping of names to values"
        for name in ("extra_headers", "extra_query")
        if not isinstance(settings.options.get(name, {}), Mapping)
    ]


PROVIDER: Final = BackendFactory(make=OpenAIBackend, key_env="OPENAI_API_KEY", needs_key=True, check=check)
"""See :mod:`organism.models.providers`."""
