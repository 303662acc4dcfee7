"""A thread without handlers: model calls within a budget, for programs that have an agent loop of their own."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import anyio

from organism.errors import NotRunningError
from organism.models.streams import CompletionStream
from organism.pump import runtime
from organism.pump.caller import Caller
from organism.pump.failures import failure_of
from organism.pump.ledger import CallLedger
from organism.pump.thread_budget import budget_view
from organism.pump.wakeups import PATIENCE
from organism.threads.outcomes import Failure

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from types import TracebackType

    from organism.budget.view import BudgetView
    from organism.models.completion import Call, Completion
    from organism.pump.handles import ThreadHandle
    from organism.pump.pump import Pump
    from organism.threads.frames import Thread


class BareThread(Caller[CompletionStream]):
    """A thread without handlers: model calls within its budget. ``handle`` has its result after its block."""

    def __init__(self, pump: Pump, thread: Thread, handle: ThreadHandle) -> None:
        self._pump = pump
        self._thread = thread
        self._calls: dict[runtime.Scope, object] = {}
        """The cancel scopes of the calls that are being made, and the tasks that make them."""
        self._left: anyio.Event | None = None
        self.handle = handle
        handle.when_over(self.cut)

    @property
    def id(self) -> str:
        """The thread's id."""
        return self._thread.id

    @property
    def budget(self) -> BudgetView:
        """The thread's budget, live, as ``ctx.budget``."""
        return budget_view(self._pump.kernel.state, self._thread, self._pump.now, depth=0)

    async def call_model(self, call: Call, *, grace: bool = False, wait: bool = True) -> Completion:
        """Makes one call whose request is ready. Raises NotRunningError where the thread has ended."""
        ledger = self._ledger(call, grace=grace, wait=wait, streamed=False)
        with self._calling(), ledger.watched():
            completion = await self._pump.router.complete(call, ledger)
            await ledger.completed(completion)
        return completion

    @asynccontextmanager
    async def _open(self, call: Call, *, grace: bool, wait: bool) -> AsyncGenerator[CompletionStream]:
        ledger = self._ledger(call, grace=grace, wait=wait, streamed=True)
        with self._calling(), ledger.watched():
            async with self._pump.router.stream(call, ledger) as stream:
                yield stream
            await ledger.completed(stream.as_it_came)

    def _calling(self) -> _Calling:
        """A block for one call. It is cancelled when the thread ends, and raises NotRunningError then."""
        return _Calling(self)

    def begun(self, scope: runtime.Scope) -> None:
        """A call is made in this scope."""
        self._calls[scope] = runtime.current_task()

    def over(self, scope: runtime.Scope) -> None:
        """The call in this scope is over."""
        del self._calls[scope]
        if self._left is not None:
            self._left.set()
        if self._thread.stopping is not None and not self._calls:
            self._pump.kernel.ends.close_bare(self._thread, self._pump.now())
            self._pump.carry_out()

    def cut(self) -> None:
        """Cancels the calls that are being made; each is charged what it came to."""
        for scope in tuple(self._calls):
            scope.cancel()

    async def leave(self) -> None:
        """Its block is left: calls of other tasks are cancelled, and settled before the thread ends."""
        here = runtime.current_task()
        with anyio.move_on_after(PATIENCE, shield=True):
            while any(task is not here for task in self._calls.values()):
                self._left = anyio.Event()
                self.cut()
                await self._left.wait()

    def _ledger(self, call: Call, *, grace: bool, wait: bool, streamed: bool) -> CallLedger:
        if self._thread.ended or self._left is not None:
            raise NotRunningError(f"thread {self.id} has ended")
        return CallLedger(self._pump, self._thread, None, call, grace=grace, wait=wait, streamed=streamed)


class _Calling:
    """See :meth:`BareThread._calling`. Written without a generator, which would take longer: every call enters one."""

    def __init__(self, thread: BareThread) -> None:
        self._thread = thread
        self._scope = runtime.scope()

    def __enter__(self) -> None:
        self._scope.__enter__()
        self._thread.begun(self._scope)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            self._thread.over(self._scope)
        finally:
            self._scope.__exit__(kind, error, traceback)
        if self._scope.cancelled_caught:
            raise NotRunningError(f"thread {self._thread.id} has ended, and its call with it")


@asynccontextmanager
async def bare(pump: Pump, thread: Thread, handle: ThreadHandle) -> AsyncGenerator[BareThread]:
    """A block with a thread that was opened without a message; the thread ends with it. An exception that leaves the block is its failure."""
    failure = None
    opened = BareThread(pump, thread, handle)
    pump.bare[thread] = opened.cut
    pump.carry_out()  # its time is watched from now on
    try:
        yield opened
    except Exception as error:
        failure = failure_of(error)
        raise
    except BaseException:
        pump.kernel.ends.stop(thread, Failure("cancelled", "its block was cancelled"), pump.now())
        raise
    finally:
        await opened.leave()
        del pump.bare[thread]
        pump.kernel.ends.close_bare(thread, pump.now(), failure)
        pump.carry_out()
