"""A backend around a backend: everything is passed on, and somebody looks on. What comes through has the form that it must have."""

from __future__ import annotations

from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from typing import TYPE_CHECKING

from organism.models.contract import BackendError, Piece, Response
from organism.models.validation import allowance_of, piece_of, provider_at_work, response_of, usage_of

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Generator

    from organism.models.contract import Backend, Request, Stream
    from organism.models.redaction import Hiding


class Observer:
    """Looks on while one attempt is made. What it is told is nothing to it, unless it says so."""

    @contextmanager
    def watching(self) -> Generator[None]:
        """A block in which the provider works. Raises what it raises as BackendError."""
        with provider_at_work():
            yield

    def opened(self, stream: Stream) -> None:
        """A stream is open."""

    def came(self, piece: Piece) -> None:
        """A piece of it came."""

    def answered(self, response: Response) -> None:
        """The whole answer came."""

    def left(self) -> None:
        """The reader of a stream is gone, before its end or after it."""


class ObservedBackend:
    """A backend around a backend."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend

    def observe(self, request: Request, *, streamed: bool) -> tuple[Request, Observer]:
        """Who looks on while this is asked, and what is asked then."""
        raise NotImplementedError

    async def complete(self, request: Request) -> Response:
        """See :class:`~organism.models.contract.Backend`."""
        asked, observer = self.observe(request, streamed=False)
        with observer.watching():
            response = response_of(await self._backend.complete(asked))
        observer.answered(response)
        return response

    @asynccontextmanager
    async def stream(self, request: Request) -> AsyncGenerator[Stream]:
        """See :class:`~organism.models.contract.Backend`."""
        asked, observer = self.observe(request, streamed=True)
        async with AsyncExitStack() as opened:
            with observer.watching():
                stream = await opened.enter_async_context(self._backend.stream(asked))
            observer.opened(stream)
            # What came is known before the connection is closed, which may take its time.
            opened.callback(observer.left)
            yield _ObservedStream(stream, observer)

    async def aclose(self) -> None:
        """See :class:`~organism.models.contract.Backend`."""
        await self._backend.aclose()


class _ObservedStream:
    def __init__(self, stream: Stream, observer: Observer) -> None:
        self.response: Response | None = None
        self.usage = usage_of(stream)
        self.allowance = allowance_of(stream)
        self._stream = stream
        self._observer = observer
        self._pieces: AsyncIterator[Piece] | None = None

    def __aiter__(self) -> _ObservedStream:
        return self

    async def __anext__(self) -> Piece:
        try:
            with self._observer.watching():
                if self._pieces is None:
                    self._pieces = aiter(self._stream)
                piece = piece_of(await anext(self._pieces, None))
                if piece is None and self._stream.response is None:
                    text = "the stream ended without a response"
                    raise BackendError("broken", text, usage=usage_of(self._stream))
                response = response_of(self._stream.response) if piece is None else None
        finally:
            self.usage = usage_of(self._stream)
        if piece is not None:
            self._observer.came(piece)
            return piece
        if response is not None and self.response is None:
            self.response = response
            self._observer.answered(response)
        raise StopAsyncIteration

    async def aclose(self) -> None:
        """Ends the iterator of the provider, where it can be ended."""
        close = getattr(self._pieces, "aclose", None)
        if close is not None:
            await close()


class DiscreetBackend(ObservedBackend, Observer):
    """A provider of somebody's own whose failures quote none of its secrets: whoever wrote it may not have thought of that."""

    def __init__(self, backend: Backend, hiding: Hiding) -> None:
        super().__init__(backend)
        self._hiding = hiding

    def observe(self, request: Request, *, streamed: bool) -> tuple[Request, Observer]:  # noqa: ARG002 - as any
        """See :class:`ObservedBackend`."""
        return request, self

    async def aclose(self) -> None:
        """See :class:`~organism.models.contract.Backend`."""
        with self.watching():
            await self._backend.aclose()

    @contextmanager
    def watching(self) -> Generator[None]:
        """What is raised here says nothing of them, and neither does what it came of: that is not kept."""
        try:
            with provider_at_work():
                yield
        except BackendError as error:
            error.args = (self._hiding.clean(str(error)),)
            error.__cause__ = error.__context__ = None
            raise error from None
