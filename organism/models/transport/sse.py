"""Answers that come as server-sent events, whatever their format: the events up to the last one, and the pieces in them.

What reads here is iterators of its own: generators would stay open where reading stops half-way, and trio tells of those.
"""

from __future__ import annotations

from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, Protocol

import anyio
import httpx2

from organism.models.contract import BackendError, RawUsage, Response
from organism.models.formats import pieces_of
from organism.models.transport.body import EventBytes, run_out
from organism.models.transport.errors import content_of
from organism.models.transport.headers import allowance_in

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from contextlib import AbstractContextManager

    from organism.models.contract import Piece

_SECONDS_FOR_LEFTOVERS: Final = 0.2
"""What comes behind the end of a stream is waited for as long, so that its connection can serve the next call."""


class EventReader:
    """What an SDK's stream reads instead of its own: the events of a response up to the last one, less those that say nothing, as of a
    server that says only how long to wait before one connects again. ``parse`` makes events of bytes. What comes behind the last one is
    read, so that the connection can serve the next call; ``late`` is the usage that was reported there.
    """

    def __init__(
        self,
        response: httpx2.Response,
        parse: Callable[[EventBytes], AsyncIterator[Any]],
        *,
        is_last: Callable[[Any], bool],
        report_in: Callable[[Any], RawUsage | None] = lambda _: None,
    ) -> None:
        self.late: RawUsage | None = None
        self._body = EventBytes(response)
        self._sent = parse(self._body)
        self._is_last = is_last
        self._report_in = report_in

    def __aiter__(self) -> EventReader:
        return self

    async def __anext__(self) -> Any:
        while not (event := await anext(self._sent)).data.strip():
            pass
        if not self._is_last(event):
            return event
        with suppress(httpx2.HTTPError, ValueError), anyio.move_on_after(_SECONDS_FOR_LEFTOVERS):
            async for late in self._sent:
                self.late = self.late or self._report_in(late)
        raise StopAsyncIteration

    @property
    def document(self) -> bytes | None:
        """What the server sent in the place of events, at its end."""
        return None if self._body.document is None else bytes(self._body.document)

    async def run_out(self) -> None:
        """Ends what reads the bytes; their connection is closed."""
        await run_out(self._sent)


class Assembler(Protocol):
    """The documents of an answer on their way to a response, in one format."""

    usage: RawUsage | None

    def add(self, document: object, /) -> list[Piece]:
        """Takes a document of a stream in; the pieces that it brought."""
        ...

    def whole(self, document: object, /) -> Response:
        """The response in a document that has all of it. Raises BackendError where it is none."""
        ...

    def response(self) -> Response:
        """The response at the end of a stream. Raises BackendError (``cut``) where the end came too early."""
        ...


class Pieces:
    """See :class:`~organism.models.contract.Stream`. ``opened`` is an SDK's stream of documents, whose ``events`` are an
    :class:`EventReader`; ``failures`` tells what breaks while it is read as BackendError.
    """

    def __init__(self, opened: Any, assembler: Assembler, failures: Callable[[], AbstractContextManager[None]]) -> None:
        self.response: Response | None = None
        self.usage: RawUsage | None = None
        self.allowance = allowance_in(opened.response.headers)
        self._opened = opened
        self._assembler = assembler
        self._failures = failures
        self._begun = False
        self._came: deque[Piece] = deque()

    def __aiter__(self) -> Pieces:
        return self

    async def __anext__(self) -> Piece:
        while not self._came:
            try:
                with self._failures():
                    document = await anext(self._opened)
            except StopAsyncIteration:
                if self.response is None and (document := self._opened.events.document) is not None:
                    self._answered(document)
                    continue
                self.usage = self._assembler.usage = self._assembler.usage or self._opened.events.late
                self.response = self.response or self._assembler.response()
                raise
            except BackendError as error:
                if error.billed or not self._begun:
                    raise
                # Whatever status a server gives its failure then, what it has sent it will bill.
                raise BackendError("cut", str(error)) from None
            self._begun = True
            self._came += self._assembler.add(document)
            self.usage = self._assembler.usage
        return self._came.popleft()

    def _answered(self, document: bytes) -> None:
        """Takes in an answer that came whole, where a stream was asked for."""
        with self._failures():
            response = self._assembler.whole(content_of(document, self._opened.response.headers))
        self.response = response
        self.usage = self._assembler.usage = response.usage
        self._came += pieces_of(response)

    async def aclose(self) -> None:
        """Closes the connection, and with it what the server still wants to send."""
        await self._opened.close()
        await run_out(self._opened)
        await self._opened.events.run_out()
