"""Answers that come as server-sent events, whatever their dialect: the events up to the last one, and the pieces in them.

What reads here is iterators of its own: generators would stay open where reading stops half-way, and trio tells of those.
"""

from __future__ import annotations

from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

import anyio
import httpx2

from organism.models.allowances import allowance_in
from organism.models.contract import BackendError, Piece, RawUsage, Response
from organism.models.endings import run_out
from organism.models.wire import SECONDS_FOR_LEFTOVERS, content_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from contextlib import AbstractContextManager

    from organism.models.endings import Body


class Event(Protocol):
    """An event, as its SDK has it."""

    @property
    def data(self) -> str:
        """What it says."""
        ...


E_co = TypeVar("E_co", bound=Event, covariant=True)


class Events(Generic[E_co]):
    """The events that were ``sent`` before the last one, less those that say nothing, as of a server that says only how long to wait before
    one connects again. What comes behind the last one is read, so that the connection can serve the next call.

    ``late`` is the usage that was reported there, where SDKs read no more.
    """

    def __init__(
        self,
        sent: AsyncIterator[E_co],
        body: Body,
        *,
        is_last: Callable[[E_co], bool],
        report_in: Callable[[E_co], RawUsage | None] | None = None,
    ) -> None:
        self.late: RawUsage | None = None
        self._sent = sent
        self._body = body
        self._is_last = is_last
        self._report_in = report_in

    def __aiter__(self) -> Events[E_co]:
        return self

    async def __anext__(self) -> E_co:
        while not (event := await anext(self._sent)).data.strip():
            pass
        if not self._is_last(event):
            return event
        with suppress(httpx2.HTTPError, ValueError), anyio.move_on_after(SECONDS_FOR_LEFTOVERS):
            async for late in self._sent:
                self.late = self.late or (self._report_in(late) if self._report_in else None)
        raise StopAsyncIteration

    @property
    def document(self) -> bytes | None:
        """What the server sent in the place of events, at its end."""
        return None if self._body.document is None else bytes(self._body.document)

    async def run_out(self) -> None:
        """Ends what reads the bytes; their connection is closed."""
        await run_out(self._sent)


class Opened(Protocol):
    """The documents of a stream, as an SDK reads them from its events."""

    response: httpx2.Response

    @property
    def events(self) -> Events[Event]:
        """What it reads."""
        ...

    def __aiter__(self) -> AsyncIterator[object]: ...

    async def __anext__(self) -> object: ...

    async def close(self) -> None:
        """Closes the connection."""
        ...


class Gathering(Protocol):
    """The documents of a stream on their way to a response, in one dialect."""

    usage: RawUsage | None

    def add(self, document: object, /) -> list[Piece]:
        """Takes a document in; the pieces that it brought."""
        ...

    def whole(self, document: object, /) -> Response:
        """The response in a document that has all of it. Raises BackendError where it is none."""
        ...

    def response(self) -> Response:
        """The response at the end. Raises BackendError (``cut``) where the end came too early."""
        ...


class Pieces:
    """See :class:`~organism.models.contract.Stream`. ``failures`` tells what breaks while it is read as BackendError."""

    def __init__(
        self, opened: Opened, gathering: Gathering, failures: Callable[[], AbstractContextManager[None]]
    ) -> None:
        self.response: Response | None = None
        self.usage: RawUsage | None = None
        self.allowance = allowance_in(opened.response.headers)
        self._opened = opened
        self._gathering = gathering
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
                self.usage = self._gathering.usage = self._gathering.usage or self._opened.events.late
                self.response = self.response or self._gathering.response()
                raise
            except BackendError as error:
                if error.billed or not self._begun:
                    raise
                # Whatever status a server gives its failure then, what it has sent it will bill.
                raise BackendError("cut", str(error)) from None
            self._begun = True
            self._came += self._gathering.add(document)
            self.usage = self._gathering.usage
        return self._came.popleft()

    def _answered(self, document: bytes) -> None:
        """Takes in an answer that came whole, where a stream was asked for."""
        with self._failures():
            response = self._gathering.whole(content_of(document, self._opened.response.headers))
        self.response = response
        self.usage = self._gathering.usage = response.usage
        self._came += [Piece(text=response.text)] if response.text else []
        for place, call in enumerate(response.tool_calls):
            self._came.append(Piece(text=call.name, kind="other"))
            self._came.append(Piece(text=call.arguments, kind="other", tool=call.name, call=place))

    async def aclose(self) -> None:
        """Closes the connection, and with it what the server still wants to send."""
        await self._opened.close()
        await run_out(self._opened)
        await self._opened.events.run_out()
