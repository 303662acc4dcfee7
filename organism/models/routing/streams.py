"""A stream as its reader has it: pieces of text as they come, then the completion; charged whatever becomes of it."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final, Protocol

import anyio
from attrs import evolve

from organism.errors import NotRunningError
from organism.models.completion import value_of
from organism.models.contract import BackendError, Piece, Response
from organism.models.surrogates import Halves
from organism.models.validation import piece_of, provider_at_work, response_of, usage_of

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable

    from organism.models.completion import Completion
    from organism.models.contract import Stream
    from organism.models.routing.attempts import Attempt

_TEXT: Final = "text"
"""The text of an answer, among what comes in pieces."""


class Hearer(Protocol):
    """Hears an answer while it is written. It must neither wait nor raise."""

    def came(self, piece: Piece) -> None:
        """A piece of it came."""
        ...

    def withdrawn(self) -> None:
        """What came was of an attempt that failed: the answer begins anew, or there is none."""
        ...


@asynccontextmanager
async def reading(attempt: Attempt) -> AsyncGenerator[CompletionStream]:
    """The stream of an attempt, at its first text. Entering raises BackendError; leaving settles, then closes."""
    async with attempt.open() as raw:
        stream = CompletionStream(attempt, raw)
        attempt.hear(raw)
        await stream.prime()
        try:
            with attempt.run.ledger.keeping(attempt.deployment):
                yield stream
        finally:
            stream.leave()
            await stream.aclose()


async def overheard(attempt: Attempt, hearer: Hearer) -> Completion:
    """The whole answer, asked for as a stream that ``hearer`` hears of. Raises BackendError.

    What it brings beyond what is held cuts it, as any stream: then its ``finish_reason`` is ``budget``.
    """
    try:
        async with attempt.open() as raw:
            stream = CompletionStream(attempt, raw, hear=hearer.came)
            attempt.hear(raw)
            try:
                return await stream.whole()
            finally:
                await stream.aclose()
    except BackendError:
        hearer.withdrawn()
        raise


class CompletionStream:
    """Iterate it for the text, piece by piece (str). After the last one, or after leaving it early, ``completion`` is set.

    It can be read by one task, once. Iterating raises ModelError where the stream is cut or takes longer than the
    backend's timeout: what was already read cannot be taken back, so nothing is tried again.
    """

    def __init__(self, attempt: Attempt, stream: Stream, *, hear: Callable[[Piece], object] | None = None) -> None:
        self._attempt = attempt
        self._stream = stream
        with provider_at_work():
            self._pieces = aiter(stream)
        self._seconds = attempt.deployment.settings.timeout - (anyio.current_time() - attempt.started)
        self._text: list[str] = []
        self._halves = Halves()
        self._first: str | None = None
        self._completion: Completion | None = None
        self._hear = hear
        self.returns: type | None = None

    @property
    def completion(self) -> Completion:
        """The whole answer, and what it cost. Raises NotRunningError before the end, and InvalidPayloadError where ``returns=``
        asked for a payload and its text holds none.

        Of a stream that was left early, that broke, or that brought more than its budget bears, it has the text that came,
        and the ``finish_reason`` is ``left``, ``broken`` or ``budget``.
        """
        return value_of(self.as_it_came, self.returns)

    @property
    def as_it_came(self) -> Completion:
        """The completion, whether its text is what was asked for or not. Raises NotRunningError before the end."""
        if self._completion is None:
            raise NotRunningError("the stream is not at its end: read it, or leave its block, before its completion")
        return self._completion

    def __aiter__(self) -> CompletionStream:
        return self

    async def __anext__(self) -> str:
        if self._first is not None:
            first, self._first = self._first, None
            return first
        if self._attempt.charge is not None:
            raise StopAsyncIteration
        try:
            text = await self._next_text()
        except BackendError as error:
            self._attempt.failed(error)
            self._completion = self._so_far("broken")
            raise self._attempt.run.failure() from error
        if text is None:
            raise StopAsyncIteration
        return text

    async def whole(self) -> Completion:
        """Reads it to its end. Raises BackendError where it breaks: nobody was given what came of it for good, so that it can be
        tried elsewhere.
        """
        while self._completion is None:
            await self._next_text()
        return self._completion

    async def prime(self) -> None:
        """Waits for the first piece of text, so that a stream that breaks before it can be tried elsewhere.

        Raises BackendError.
        """
        self._first = await self._next_text()
        self._attempt.spoke()

    def leave(self) -> None:
        """Settles a stream that was not read to its end: what came was paid for."""
        if self._attempt.charge is not None:
            return
        self._attempt.report(usage_of(self._stream))
        self._attempt.abandoned()
        self._completion = self._so_far("left")

    async def aclose(self) -> None:
        """Ends the provider's iterator where it is a generator: one that is dropped half-way closes at some later time."""
        close = getattr(self._pieces, "aclose", None)
        if close is not None:
            await self._attempt.close(close)

    def _so_far(self, reason: str) -> Completion:
        text = "".join(self._text) + self._halves.rest(_TEXT)
        response = Response(text=text, message={"role": "assistant", "content": text})
        return self._attempt.run.completion(self._attempt, response, finish_reason=reason)

    async def _next_text(self) -> str | None:
        """The next piece that is text, or ``None`` at the end, when the answer is settled."""
        while (piece := await self._next_piece()) is not None:
            self._attempt.receive(piece.text)
            said = self._said(piece)
            if self._attempt.overflows:
                await self._cut()
                return said
            if said:
                return said
        with provider_at_work():
            if self._stream.response is None:
                raise BackendError("broken", "the stream ended without a response", usage=usage_of(self._stream))
            response = response_of(self._stream.response)
        self._completion = self._attempt.answered(response)
        return self._said(Piece(text=self._halves.rest(_TEXT)))

    def _said(self, piece: Piece) -> str | None:
        """What a piece adds to the text, which is told whoever hears it written; ``None`` where that is nothing."""
        key = _TEXT if piece.kind == "text" else (piece.tool, piece.call)
        whole = self._halves.add(key, piece.text)
        if self._hear is not None and whole:
            self._hear(piece if whole == piece.text else evolve(piece, text=whole))
        if key is not _TEXT or not whole:
            return None
        self._text.append(whole)
        return whole

    async def _cut(self) -> None:
        """Ends a stream that brings more than is held: settled first, then closed at once, so that the server stops."""
        self._attempt.cut()
        self._completion = self._so_far("budget")
        await self.aclose()

    async def _next_piece(self) -> Piece | None:
        began = anyio.current_time()
        try:
            with anyio.move_on_after(self._seconds), provider_at_work():
                return piece_of(await anext(self._pieces, None))
            raise self._attempt.timed_out()
        finally:
            self._seconds -= anyio.current_time() - began
            self._attempt.report(usage_of(self._stream))
