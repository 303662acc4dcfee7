"""A thread without handlers: model calls within a budget, for programs that have an agent loop of their own."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import anyio

from organism.errors import NotRunningError
from organism.models.routing.streams import CompletionStream
from organism.pump import runtime
from organism.pump.caller import Caller
from organism.pump.failures import failure_of
from organism.pump.handles import end_of
from organism.pump.inside import check_waits_outside
from organism.pump.ledger import CallLedger
from organism.pump.thread_budget import budget_view
from organism.pump.wakeups import PATIENCE
from organism.threads.outcomes import Failure

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from types import TracebackType

    from organism.budget.view import BudgetView
    from organism.errors import BudgetExhaustedError
    from organism.models.completion import Call, Completion
    from organism.pump.handles import ThreadHandle
    from organism.pump.pump import Pump
    from organism.threads.frames import Thread


class BareThread(Caller[CompletionStream]):
    """A thread without handlers: model calls within its budget. ``handle`` has its result after its block."""

    def __init__(self, pump: Pump, thread: Thread, handle: ThreadHandle, calls: _OpenCalls) -> None:
        self._pump = pump
        self._thread = thread
        self._calls = calls
        self._handle = handle

    @property
    def handle(self) -> ThreadHandle:
        """The thread's handle."""
        return self._handle

    @property
    def id(self) -> str:
        """The thread's id."""
        return self._thread.id

    @property
    def budget(self) -> BudgetView:
        """The thread's budget, live, as ``ctx.budget``."""
        return budget_view(self._pump.kernel.state, self._thread, self._pump.now, depth=0)

    async def _call(self, call: Call, *, grace: bool, wait: bool) -> Completion:
        ledger = self._ledger(call, grace=grace, wait=wait, streamed=False)
        with _Calling(self._calls), ledger.watched():
            completion = await self._pump.router.complete(call, ledger)
            await ledger.completed(completion)
        return completion

    @asynccontextmanager
    async def _open(self, call: Call, *, grace: bool, wait: bool) -> AsyncGenerator[CompletionStream]:
        ledger = self._ledger(call, grace=grace, wait=wait, streamed=True)
        with _Calling(self._calls), ledger.watched():
            async with self._pump.router.stream(call, ledger) as stream:
                yield stream
            await ledger.completed(stream.as_it_came)

    def _ledger(self, call: Call, *, grace: bool, wait: bool, streamed: bool) -> CallLedger:
        self._calls.check()
        return CallLedger(self._pump, self._thread, None, call, grace=grace, wait=wait, streamed=streamed)


class _OpenCalls:
    """The calls of a thread without handlers: they are cut when it ends, or its block is left."""

    def __init__(self, pump: Pump, thread: Thread) -> None:
        self._pump = pump
        self._thread = thread
        self._calls: dict[runtime.Scope, object] = {}
        """The cancel scopes of the calls that are being made, and the tasks that make them."""
        self._left: anyio.Event | None = None

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

    def out_of_time(self) -> BudgetExhaustedError | None:
        """Why its calls are cut and no more are made, where it is that its time has run out."""
        thread = self._thread
        otherwise = self._left is not None or (thread.stopping is not None and thread.stopping is not thread.exhausted)
        return None if otherwise else self._pump.kernel.calls.time_is_up(thread)

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

    def check(self) -> None:
        """Raises NotRunningError where the thread has ended, BudgetExhaustedError where its time has run out, OrganismError in a handler."""
        self._pump.own_loop.check()
        check_waits_outside(self._pump.variables, "call models without its context in")
        if (late := self.out_of_time()) is not None:
            raise late
        if self._thread.ended or self._left is not None:
            raise self.ended("")

    def ended(self, what: str) -> NotRunningError:
        """The error of whoever makes a call, or made one, in a thread that has ended."""
        return NotRunningError(f"thread {self._thread.id} has ended{what}")


class _Calling:
    """A block for one call. It is cancelled when the thread ends, and raises NotRunningError then; and when the thread's time runs out, with
    BudgetExhaustedError. Written without a generator, which would take longer: every call enters one.
    """

    def __init__(self, calls: _OpenCalls) -> None:
        self._calls = calls
        self._scope = runtime.scope()

    def __enter__(self) -> None:
        self._scope.__enter__()
        self._calls.begun(self._scope)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            self._calls.over(self._scope)
        finally:
            self._scope.__exit__(kind, error, traceback)
        if self._scope.cancelled_caught:
            raise self._calls.out_of_time() or self._calls.ended(", and its call with it")


@asynccontextmanager
async def bare(pump: Pump, thread: Thread, handle: ThreadHandle) -> AsyncGenerator[BareThread]:
    """A block with a thread that was opened without a message; the thread ends with it. An exception that leaves the block is its failure."""
    failure = None
    calls = _OpenCalls(pump, thread)
    pump.bare[thread] = end_of(handle).last_words = calls.cut
    pump.carry_out()  # its time is watched from now on
    try:
        yield BareThread(pump, thread, handle, calls)
    except Exception as error:
        failure = failure_of(error)
        raise
    except BaseException:
        pump.kernel.ends.stop(thread, Failure("cancelled", "its block was cancelled"), pump.now())
        raise
    finally:
        try:
            await calls.leave()
        finally:  # on asyncio `Task.cancel` passes every shield
            del pump.bare[thread]
            pump.kernel.ends.close_bare(thread, pump.now(), failure)
            pump.carry_out()
