"""The ``openai`` provider: any server that speaks chat completions, through the official SDK.

The SDK carries requests and nothing more. Its retries are off, because their waits (up to two minutes each) would be
invisible to budgets; its timeouts are off but for connecting, because the router owns the deadline of an attempt.
"""

from __future__ import annotations

from contextlib import aclosing, asynccontextmanager, contextmanager
from typing import TYPE_CHECKING, Any, Final, cast

import httpx2
import openai
from attrs import evolve

from organism.models.allowances import allowance_in
from organism.models.bounded import MOST, bound_stream
from organism.models.chat import (
    OWNED,
    USUAL,
    Gathering,
    body_of,
    error_of,
    keeps_for,
    mapping,
    response_of,
    usage_of,
)
from organism.models.connections import client_of
from organism.models.contract import BackendError, BackendFactory, RawUsage, Response
from organism.models.endings import Body, asking
from organism.models.event_streams import Events, Pieces
from organism.models.refusals import heard_in, kind_of
from organism.models.wire import (
    NO_KEY,
    SECONDS_TO_CONNECT,
    Wired,
    beside_body,
    content_of,
    no_mappings,
    retry_after,
    said_by_the_router,
    without,
)

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Generator, Sequence

    from openai._streaming import ServerSentEvent

    from organism.models.contract import Request
    from organism.settings import BackendSettings

_BESIDE: Final = frozenset({"max_tokens_parameter", "send_thoughts_back", "extra_headers", "extra_query"})
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
            base_url=settings.base_url or USUAL,
            max_retries=0,
            timeout=httpx2.Timeout(None, connect=SECONDS_TO_CONNECT),
            http_client=http,
        )
        # The SDK takes these from the environment by itself; another company's server must not get to see them.
        self._client.organization = None
        self._client.project = None
        self._wired = Wired(key, self._client.base_url, settings.options)
        self._server = keeps_for(settings)

    async def complete(self, request: Request) -> Response:
        """See :class:`~organism.models.contract.Backend`."""
        body, options = self._prepared(request)
        with self._failures(), asking(request):
            answer = await self._client.post("/chat/completions", cast_to=httpx2.Response, body=body, options=options)
            response = response_of(content_of(answer.content, answer.headers), server=self._server)
            return evolve(response, allowance=allowance_in(answer.headers))

    @asynccontextmanager
    async def stream(self, request: Request) -> AsyncGenerator[Pieces]:
        """See :class:`~organism.models.contract.Backend`."""
        body, options = self._prepared(request)
        body |= {"stream": True, "stream_options": {"include_usage": True}}
        with self._failures(), asking(request):
            chunks = await self._client.post(
                "/chat/completions",
                cast_to=object,
                body=body,
                options=options,
                stream=True,
                stream_cls=_Chunks,
            )
        bound_stream(chunks.response, request.max_output_tokens)
        # Without this block a stream that is left half-way goes on, and is billed, behind everybody's back.
        async with aclosing(Pieces(chunks, Gathering(self._server), self._failures)) as pieces:
            yield pieces

    async def aclose(self) -> None:
        """See :class:`~organism.models.contract.Backend`."""
        await self._client.close()

    def _prepared(self, request: Request) -> tuple[dict[str, Any], openai.RequestOptions]:
        """The body, and what goes beside it."""
        beside = cast("openai.RequestOptions", {"security": {"bearer_auth": True}, **beside_body(request)})
        inside = without(request, _BESIDE)
        return body_of(inside, limit=self._limit, server=self._server), beside

    @contextmanager
    def _failures(self) -> Generator[None]:
        """As :meth:`organism.models.wire.Wired.failures`, with those of the SDK."""
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
                said = error.body if isinstance(error.body, str) else error.message
                raise error_of(mapping(error.body), said, unknown="cut") from None

    def _refusal(self, error: openai.APIStatusError) -> BackendError:
        message = mapping(error.body).get("message")
        said = message if isinstance(message, str) and message else self._wired.said_in(error.response)
        kind = kind_of(error.status_code, *heard_in(error.response.text))
        # OpenAI quotes most of a wrong key in its answer to it.
        text = "the key was refused" if error.status_code == 401 else self._wired.clean(said)
        headers = error.response.headers
        return BackendError(
            kind, f"{error.status_code}: {text}", retry_after=retry_after(headers), allowance=allowance_in(headers)
        )


class _Chunks(openai.AsyncStream[object]):
    """The chunks of a stream."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        body = Body(self.response, MOST)
        self.events = Events(self._decoder.aiter_bytes(body), body, is_last=_is_last, report_in=_report_in)

    def _iter_events(self) -> AsyncIterator[ServerSentEvent]:
        return self.events


def _is_last(event: ServerSentEvent) -> bool:
    return event.data.startswith("[DONE]")


def _report_in(event: ServerSentEvent) -> RawUsage | None:
    try:
        return usage_of(mapping(event.json()))
    except (ValueError, RecursionError):
        return None


def check(settings: BackendSettings) -> Sequence[str]:
    """What is wrong with the options, one line each."""
    wrong = said_by_the_router(settings.options, OWNED)
    if not isinstance(settings.options.get("max_tokens_parameter", ""), str):
        wrong.append("options.max_tokens_parameter: must be the name of a parameter, such as max_completion_tokens")
    if not isinstance(settings.options.get("send_thoughts_back", True), bool):
        wrong.append("options.send_thoughts_back: must be true or false")
    return wrong + no_mappings(settings.options, "extra_headers", "extra_query")


PROVIDER: Final = BackendFactory(make=OpenAIBackend, key_env="OPENAI_API_KEY", needs_key=True, check=check)
"""See :mod:`organism.models.providers`."""
