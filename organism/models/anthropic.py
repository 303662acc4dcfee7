"""The ``anthropic`` provider: any server that speaks Messages, through the official SDK.

The SDK carries requests and nothing more. Its retries are off, because their waits would be invisible to budgets; its
timeouts are off but for connecting, because the router owns the deadline of an attempt; so are its traces.
"""

from __future__ import annotations

import logging
from contextlib import aclosing, asynccontextmanager, contextmanager, suppress
from typing import TYPE_CHECKING, Any, Final, cast

import anthropic
import httpx2
from attrs import evolve

from organism.models.allowances import allowance_in
from organism.models.blocks import Gathering, error_of, response_of
from organism.models.bounded import MOST, bound_stream
from organism.models.chat import mapping
from organism.models.connections import client_of
from organism.models.contract import BackendError, BackendFactory, Response
from organism.models.endings import Body, asking
from organism.models.event_streams import Events, Pieces
from organism.models.messages import OWNED, answer_tool, body_of
from organism.models.refusals import heard_in
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

    from anthropic._streaming import ServerSentEvent

    from organism.models.contract import Request
    from organism.settings import BackendSettings

log: Final = logging.getLogger("organism.models")

_SERVER: Final = "https://api.anthropic.com"
_PATH: Final = "/v1/messages"
_BESIDE: Final = frozenset({"extra_headers", "extra_query"})
"""Options that are not part of the body."""


class _Client(anthropic.AsyncAnthropic):
    """The SDK's client, without the headers that it takes from the environment: they may be meant for another server."""

    def __init__(self, key: str, server: str, http: httpx2.AsyncClient) -> None:
        super().__init__(
            api_key=key,
            base_url=server,
            max_retries=0,
            timeout=httpx2.Timeout(None, connect=SECONDS_TO_CONNECT),
            http_client=http,
            open_telemetry=False,
        )
        self._custom_headers = {}


class AnthropicBackend:
    """One backend, bound to its server and its key. The key goes into the client and nowhere else."""

    def __init__(self, settings: BackendSettings, key: str | None) -> None:
        self._model = settings.model
        self._prompt_cache = settings.prompt_cache
        self._seed_said = False
        http = client_of(anthropic.DefaultAsyncHttpxClient, most=settings.max_concurrent)
        # The path of this protocol has its version in it; addresses of the other protocol end with theirs.
        server = (settings.base_url or _SERVER).rstrip("/").removesuffix("/v1")
        self._client = _Client(key or NO_KEY, server, http)
        self._wired = Wired(key, self._client.base_url, settings.options)

    async def complete(self, request: Request) -> Response:
        """See :class:`~organism.models.contract.Backend`."""
        body, options = self._prepared(request)
        with self._failures(), asking(request):
            answer = await self._client.post(_PATH, cast_to=httpx2.Response, body=body, options=options)
            response = response_of(content_of(answer.content, answer.headers), answer=answer_tool(request))
            return evolve(response, allowance=allowance_in(answer.headers))

    @asynccontextmanager
    async def stream(self, request: Request) -> AsyncGenerator[Pieces]:
        """See :class:`~organism.models.contract.Backend`."""
        body, options = self._prepared(request)
        with self._failures(), asking(request):
            events = await self._client.post(
                _PATH,
                cast_to=object,
                body=body | {"stream": True},
                options=options,
                stream=True,
                stream_cls=_Events,
            )
        bound_stream(events.response, request.max_output_tokens)
        # Without this block a stream that is left half-way goes on, and is billed, behind everybody's back.
        async with aclosing(Pieces(events, Gathering(answer_tool(request)), self._failures)) as pieces:
            yield pieces

    async def aclose(self) -> None:
        """See :class:`~organism.models.contract.Backend`."""
        await self._client.close()

    def _prepared(self, request: Request) -> tuple[dict[str, Any], anthropic.RequestOptions]:
        """The body, and what goes beside it."""
        beside = cast("anthropic.RequestOptions", beside_body(request))
        if request.seed is not None and not self._seed_said:
            self._seed_said = True
            log.warning(
                "anthropic/%s: a seed is not sent; this protocol has none, and answers will differ", self._model
            )
        inside = without(request, _BESIDE)
        return body_of(inside, prompt_cache=self._prompt_cache), beside

    @contextmanager
    def _failures(self) -> Generator[None]:
        """As :meth:`organism.models.wire.Wired.failures`, with those of the SDK."""
        with self._wired.failures():
            try:
                yield
            except anthropic.APIStatusError as error:
                raise self._refusal(error) from None
            except anthropic.APIConnectionError as error:
                late = isinstance(error, anthropic.APITimeoutError)
                raise self._wired.lost(error.__cause__ or error, late=late) from None

    def _refusal(self, error: anthropic.APIStatusError) -> BackendError:
        """The error of a status, or of an event within a stream, whose status is that of a success."""
        status = error.status_code if error.status_code >= 300 else 0
        otherwise = self._wired.said_in(error.response) if status else error.body
        codes, heard = heard_in(error.response.text) if status else ("", "")
        found = error_of(
            mapping(mapping(error.body).get("error")),
            status=status,
            unknown="cut",
            otherwise=otherwise if isinstance(otherwise, str) else "",
            codes=codes,
            heard=heard,
        )
        text = "401: the key was refused" if status == 401 else self._wired.clean(str(found))
        headers = error.response.headers
        return BackendError(found.kind, text, retry_after=retry_after(headers), allowance=allowance_in(headers))


class _Events(anthropic.AsyncStream[object]):
    """The events of a stream."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        body = Body(self.response, MOST)
        self.events = Events(self._decoder.aiter_bytes(body), body, is_last=_is_last)

    def _iter_events(self) -> AsyncIterator[ServerSentEvent]:
        return self.events


def _is_last(event: ServerSentEvent) -> bool:
    # By what it is, not by its name: most events hold no such word, and are not read twice.
    with suppress(ValueError, RecursionError):
        return '"message_stop"' in event.data and mapping(event.json()).get("type") == "message_stop"
    return False  # the SDK says what is wrong with it


def check(settings: BackendSettings) -> Sequence[str]:
    """What is wrong with the options, one line each."""
    wrong = said_by_the_router(settings.options, OWNED)
    if "seed" in settings.options:
        wrong.append("options.seed: this protocol has no seed; leave it out")
    return wrong + no_mappings(settings.options, "extra_headers", "extra_query", "thinking", "output_config")


PROVIDER: Final = BackendFactory(make=AnthropicBackend, key_env="ANTHROPIC_API_KEY", needs_key=True, check=check)
"""See :mod:`organism.models.providers`."""
