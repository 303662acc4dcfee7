"""A provider of somebody's own whose failures quote no key: whoever wrote it may not have thought of that."""

from __future__ import annotations

from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from typing import TYPE_CHECKING

from organism.models.checked import PassedOn, provider_at_work, usage_of
from organism.models.contract import BackendError

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Generator

    from organism.models.contract import Backend, Piece, Request, Response, Stream
    from organism.models.hiding import Hiding


class Discreet:
    """A backend around a backend: it passes everything on, and failures without the secrets that the backend was given."""

    def __init__(self, backend: Backend, hiding: Hiding) -> None:
        self._backend = backend
        self._hiding = hiding

    async def complete(self, request: Request) -> Response:
        """See :class:`~organism.models.contract.Backend`."""
        with self.failures():
            return await self._backend.complete(request)

    @asynccontextmanager
    async def stream(self, request: Request) -> AsyncGenerator[Stream]:
        """See :class:`~organism.models.contract.Backend`."""
        async with AsyncExitStack() as opened:
            with self.failures():
                stream = await opened.enter_async_context(self._backend.stream(request))
            yield _DiscreetStream(stream, self)

    async def aclose(self) -> None:
        """See :class:`~organism.models.contract.Backend`."""
        with self.failures():
            await self._backend.aclose()

    @contextmanager
    def failures(self) -> Generator[None]:
        """What is raised here says nothing of them, and neither does what it came of: that is not kept."""
        try:
            with provider_at_work():
                yield
        except BackendError as error:
            error.args = (self._hiding.clean(str(error)),)
            error.__cause__ = error.__context__ = None
            raise error from None


class _DiscreetStream(PassedOn):
    def __init__(self, stream: Stream, discreet: Discreet) -> None:
        super().__init__(stream)
        self._discreet = discreet

    async def __anext__(self) -> Piece:
        try:
            with self._discreet.failures():
                piece = await self._next()
        finally:
            self.response, self.usage = self._stream.response, usage_of(self._stream)
        if piece is None:
            raise StopAsyncIteration
        return piece
