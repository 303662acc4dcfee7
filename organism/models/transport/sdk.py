"""A backend whose requests an official SDK carries, whatever its format.

The SDK carries requests and nothing more. Its retries are off, because their waits (up to two minutes each) would be invisible to
budgets; its timeouts are off but for connecting, because the router owns the deadline of an attempt.
"""

from __future__ import annotations

from contextlib import aclosing, asynccontextmanager, contextmanager
from typing import TYPE_CHECKING, Any, ClassVar, Final

import httpx2
from attrs import evolve

from organism.models.formats import error_of, mapping
from organism.models.transport.body import sending
from organism.models.transport.connections import client_of
from organism.models.transport.errors import WireErrors, content_of
from organism.models.transport.headers import allowance_in
from organism.models.transport.options import beside_body
from organism.models.transport.sse import Pieces

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Generator

    from organism.models.contract import Request, Response
    from organism.models.transport.sse import Assembler
    from organism.settings import BackendSettings

_SECONDS_TO_CONNECT: Final = 10.0
"""A host that does not even take the connection costs nothing, and that is told apart from a slow answer by this."""
_NO_KEY: Final = "none"
"""What is sent to servers that want no key; without any an SDK insists on one, or looks for one in the environment."""


class SDKBackend:
    """One backend, bound to its server and its key. The key goes into the client and nowhere else.

    A format says in its own class how a request is written (:meth:`body`), how an answer is read (:meth:`assembler`), and the rest below.
    """

    sdk: ClassVar[Any]
    """The SDK's module, with the exceptions that it raises."""
    path: str
    """Where requests go, below the server's address."""
    reader: ClassVar[type[Any]]
    """The SDK's stream, which reads its ``events`` from an :class:`~organism.models.transport.sse.EventReader`."""
    streamed: ClassVar[dict[str, Any]] = {"stream": True}
    """What the body of a request for a stream has beside."""
    beside: ClassVar[dict[str, Any]] = {}
    """What the SDK is told with every request."""

    def __init__(self, make: Callable[..., Any], settings: BackendSettings, key: str | None, *, server: str) -> None:
        self._client = make(
            api_key=key or _NO_KEY,
            base_url=server,
            max_retries=0,
            timeout=httpx2.Timeout(None, connect=_SECONDS_TO_CONNECT),
            http_client=client_of(self.sdk.DefaultAsyncHttpxClient, most=settings.max_concurrent),
        )
        self._wire = WireErrors(key, self._client.base_url, settings.options)

    def body(self, request: Request) -> dict[str, Any]:
        """The body of a request. Raises BackendError where the format has no form for it."""
        raise NotImplementedError

    def assembler(self, request: Request) -> Assembler:
        """What makes a response of the documents in the answer."""
        raise NotImplementedError

    async def complete(self, request: Request) -> Response:
        """See :class:`~organism.models.contract.Backend`."""
        with self._failures(), sending(request):
            answer: httpx2.Response = await self._client.post(
                self.path, cast_to=httpx2.Response, body=self.body(request), options=self._options(request)
            )
            response = self.assembler(request).whole(content_of(answer.content, answer.headers))
            return evolve(response, allowance=allowance_in(answer.headers))

    @asynccontextmanager
    async def stream(self, request: Request) -> AsyncGenerator[Pieces]:
        """See :class:`~organism.models.contract.Backend`."""
        with self._failures(), sending(request):
            documents = await self._client.post(
                self.path,
                cast_to=object,
                body=self.body(request) | self.streamed,
                options=self._options(request),
                stream=True,
                stream_cls=self.reader,
            )
        # Without this block a stream that is left half-way goes on, and is billed, behind everybody's back.
        async with aclosing(Pieces(documents, self.assembler(request), self._failures)) as pieces:
            yield pieces

    def use_key(self, key: str) -> None:
        """See :class:`~organism.models.contract.TakesKeys`. Its connections stay."""
        self._wire.hiding.add(key)
        self._client.api_key = key

    async def aclose(self) -> None:
        """See :class:`~organism.models.contract.Backend`."""
        await self._client.close()

    def _options(self, request: Request) -> dict[str, Any]:
        return {**self.beside, **beside_body(request)}

    @contextmanager
    def _failures(self) -> Generator[None]:
        """As :meth:`~organism.models.transport.errors.WireErrors.told`, with those of the SDK."""
        sdk = self.sdk
        with self._wire.told():
            try:
                yield
            except sdk.APIConnectionError as error:
                raise self._wire.lost(error.__cause__ or error) from None
            except sdk.APIError as error:
                body = mapping(error.body)
                told = mapping(body.get("error")) or body
                status: int = getattr(error, "status_code", 0)
                if status >= 300:
                    raise self._wire.refusal(error.response, told.get("message")) from None
                # It came within a stream, whose own status is that of a success.
                said = error.body if isinstance(error.body, str) else error.message
                raise error_of(told, unknown="cut", otherwise=said) from None
