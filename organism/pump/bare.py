"""A thread without handlers: only the governed router, for programs that have an agent loop of their own."""

from __future__ import annotations

from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING, Any

import anyio

from organism.budget.view import BudgetView
from organism.errors import NotRunningError
from organism.frames import Failure
from organism.models.calls import asked_for, value_of
from organism.pump.delivery import failure_of
from organism.pump.ledger import CallLedger

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Generator, Mapping, Sequence

    from organism.frames import Thread
    from organism.models.completion import Completion
    from organism.models.streams import CompletionStream
    from organism.pump.handles import ThreadHandle
    from organism.pump.pump import Pump


class BareThread:
    """A thread's budget and the models, without messages. ``handle`` gives its result once its block was left."""

    def __init__(self, pump: Pump, thread: Thread, handle: ThreadHandle) -> None:
        self._pump = pump
        self._thread = thread
        self._calls: set[anyio.CancelScope] = set()
        self.handle = handle
        handle.when_over(self._cut)

    @property
    def id(self) -> str:
        """The thread's id."""
        return self._thread.id

    @property
    def budget(self) -> BudgetView:
        """The thread's budget, live, as ``ctx.budget``."""
        return BudgetView(self._thread.node)

    async def complete(
        self,
        messages: str | Sequence[Mapping[str, Any]],
        *,
        model: str = "default",
        max_output_tokens: int | None = None,
        min_output_tokens: int | None = None,
        temperature: float | None = None,
        seed: int | None = None,
        tools: Sequence[Any] = (),
        returns: type | None = None,
        wait: bool = True,
        grace: bool = False,
        extra: Mapping[str, Any] | None = None,
    ) -> Completion:
        """As ``ctx.complete``."""
        call = asked_for(
            messages,
            model=model,
            max_output_tokens=max_output_tokens,
            min_output_tokens=min_output_tokens,
            temperature=temperature,
            seed=seed,
            tools=tools,
            returns=returns,
            extra=extra,
        )
        ledger = self._ledger(grace=grace, wait=wait, streamed=False)
        with self._calling():
            completion = await self._pump.router.complete(call, ledger)
            await ledger.completed(completion)
        return value_of(completion, returns)

    @asynccontextmanager
    async def stream(
        self,
        messages: str | Sequence[Mapping[str, Any]],
        *,
        model: str = "default",
        max_output_tokens: int | None = None,
        min_output_tokens: int | None = None,
        temperature: float | None = None,
        seed: int | None = None,
        wait: bool = True,
        grace: bool = False,
        extra: Mapping[str, Any] | None = None,
    ) -> AsyncGenerator[CompletionStream]:
        """As ``ctx.stream``."""
        call = asked_for(
            messages,
            model=model,
            max_output_tokens=max_output_tokens,
            min_output_tokens=min_output_tokens,
            temperature=temperature,
            seed=seed,
            tools=(),
            returns=None,
            extra=extra,
        )
        ledger = self._ledger(grace=grace, wait=wait, streamed=True)
        with self._calling():
            async with self._pump.router.stream(call, ledger) as stream:
                yield stream
            await ledger.completed(stream.completion)

    @contextmanager
    def _calling(self) -> Generator[None]:
        """A call, which ends when the thread does. Raises NotRunningError then."""
        with anyio.CancelScope() as scope:
            self._calls.add(scope)
            try:
                yield
            finally:
                self._calls.discard(scope)
        if scope.cancelled_caught:
            raise NotRunningError(f"thread {self.id} has ended, and its call with it")

    def _cut(self) -> None:
        for scope in tuple(self._calls):
            scope.cancel()

    def _ledger(self, *, grace: bool, wait: bool, streamed: bool) -> CallLedger:
        if self._thread.ended:
            raise NotRunningError(f"thread {self.id} has ended")
        return CallLedger(self._pump, self._thread, None, grace=grace, wait=wait, streamed=streamed)


@asynccontextmanager
async def bare(pump: Pump, thread: Thread, handle: ThreadHandle) -> AsyncGenerator[BareThread]:
    """A thread that was opened without a message, until its block is left; what leaves it is what went wrong in the thread."""
    failure = None
    try:
        yield BareThread(pump, thread, handle)
    except Exception as error:
        failure = failure_of(error)
        raise
    except BaseException:
        pump.kernel.ends.stop(thread, Failure("cancelled", "its block was cancelled"), pump.now())
        raise
    finally:
        pump.kernel.ends.close_bare(thread, pump.now(), failure)
        pump.carry_out()
