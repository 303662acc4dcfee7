"""Streamed completions as handlers read them, piece by piece."""

from __future__ import annotations

from typing import TYPE_CHECKING

from organism.models.completion import value_of
from organism.pump.waiting import Waiting

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from organism.models.completion import Completion
    from organism.models.routing.streams import CompletionStream
    from organism.pump.delivery import Delivery


class KeptStream:
    """A stream of an answer that is known already, from an earlier run or a hook: it is one piece."""

    def __init__(self, completion: Completion) -> None:
        self.completion = completion
        self._left = [completion.text] if completion.text else []

    def __aiter__(self) -> KeptStream:
        return self

    async def __anext__(self) -> str:
        if not self._left:
            raise StopAsyncIteration
        return self._left.pop()


class ContextStream:
    """The pieces of a streamed completion, as ``str``; while the next one is awaited the handler's timeout stands still.

    ``record`` writes the whole answer down once it was read, and before the handler or a hook can act on it.
    """

    def __init__(
        self,
        stream: CompletionStream | KeptStream,
        delivery: Delivery,
        record: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        self._stream = stream
        self._pieces = aiter(stream)
        self._delivery = delivery
        self._record = record
        self.returns: type | None = None
        self.after: Callable[[Completion], Awaitable[Completion]] | None = None
        """What is done with the whole answer once it was read."""
        self._completion: Completion | None = None

    def __aiter__(self) -> AsyncIterator[str]:
        return self

    async def __anext__(self) -> str:
        async with Waiting(self._delivery):
            piece: str | None = await anext(self._pieces, None)
            if piece is None:
                await self.recorded()
        if piece is not None:
            return piece
        if self.after is not None and self._completion is None:
            self._completion = await self.after(self._stream.completion)
        raise StopAsyncIteration

    async def recorded(self) -> None:
        """Writes the answer down, unless that was done."""
        record, self._record = self._record, None
        if record is not None:
            await record()

    @property
    def completion(self) -> Completion:
        """The whole answer. Raises NotRunningError before the end, and InvalidPayloadError where ``returns=`` asked for a payload
        and its text holds none.
        """
        return value_of(self._completion or self._stream.completion, self.returns)
