"""What differs between trio and asyncio, where anyio does not hide it, and where anyio's way costs too much on the hot path.

Some functions look at private attributes of both libraries, since neither shows the innermost cancel scope of a task; tests fail
should those move.
"""

from __future__ import annotations

import asyncio
import contextvars
import math
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Protocol, cast

import anyio
import sniffio
import trio
import trio.lowlevel

from organism.errors import OrganismError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Iterator
    from contextlib import AbstractContextManager
    from types import TracebackType


def clock() -> Callable[[], float]:
    """The running loop's clock, without the cost of finding the loop at each reading."""
    if trio.lowlevel.in_trio_run():
        return trio.lowlevel.current_clock().current_time
    return asyncio.get_running_loop().time


def elapsed(*, precise: Callable[[], float], steady: Callable[[], float]) -> Callable[[], float]:
    """A clock that goes on as the running loop's does, with another origin: the very function that the loop reads, ``precise`` (as
    `time.perf_counter`) on trio and ``steady`` (as `time.monotonic`) on asyncio. That is fastest, and every message reads the clock,
    mostly several times. Of a loop with a clock of its own, as a virtual one, it is that clock.
    """
    if trio.lowlevel.in_trio_run():
        clock = trio.lowlevel.current_clock()
        return precise if type(clock).__name__ == "SystemClock" else clock.current_time  # trio does not show its class
    loop = asyncio.get_running_loop()
    return steady if type(loop).time is asyncio.BaseEventLoop.time else loop.time


def loop() -> object:
    """The running event loop, for comparison by identity; ``None`` where none runs in this thread."""
    if trio.lowlevel.in_trio_run():
        return trio.lowlevel.current_trio_token()
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


def at_home() -> Callable[[], bool]:
    """A function that tells whether the event loop that runs now is the one that runs in its caller's thread. Every message from outside asks,
    and so it finds the loop once.
    """
    here = loop()
    if not trio.lowlevel.in_trio_run():
        return lambda: loop() is here
    current = trio.lowlevel.current_trio_token

    def is_here() -> bool:
        try:
            return current() is here
        except RuntimeError:
            return False

    return is_here


def check_none_runs(what: str, way_out: str) -> None:
    """Raises OrganismError if an event loop runs in this thread: ``what`` is about to run one of its own."""
    if loop() is not None:
        raise OrganismError(f"{what} runs an event loop of its own, and one runs here already: {way_out}")


class Scope(Protocol):
    """A block that can be cancelled."""

    def __enter__(self) -> object: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None, /
    ) -> bool: ...

    def cancel(self) -> object:
        """Cancels it."""
        ...

    @property
    def cancelled_caught(self) -> bool:
        """Whether it was left since it was cancelled."""
        ...


def scope() -> Scope:
    """A cancel scope of the running loop itself, which is faster than anyio's wrapper."""
    # On asyncio this is the same as anyio.CancelScope(), which makes two objects to keep one.
    return trio.CancelScope() if trio.lowlevel.in_trio_run() else anyio.move_on_after(None)


def within() -> Callable[[float], AbstractContextManager[object]]:
    """A function that makes blocks that are cancelled after so many seconds; it finds the loop once, and not for each block."""
    if not trio.lowlevel.in_trio_run():
        return anyio.move_on_after
    time = clock()
    return lambda seconds: trio.CancelScope(deadline=time() + seconds)


def heed() -> Callable[[], Awaitable[object]]:
    """A function to be awaited that raises where the running task is cancelled; it finds the loop once, and not each time."""
    return (
        trio.lowlevel.checkpoint_if_cancelled if trio.lowlevel.in_trio_run() else anyio.lowlevel.checkpoint_if_cancelled
    )


async def seen_through(event: anyio.Event) -> None:
    """Waits for an event even if the task is cancelled meanwhile. On asyncio a shield does not stop `Task.cancel`: that is raised afterwards."""
    cancelled: BaseException | None = None
    with anyio.CancelScope(shield=True):
        while not event.is_set():
            try:
                await event.wait()
            except asyncio.CancelledError as error:
                cancelled = error
    if cancelled is not None:
        raise cancelled


def scopes() -> Iterator[object]:
    """The cancel scopes that the running task stands in, as :func:`scope_mark` gives them, the innermost first; also those of the task
    group that it was started in.
    """
    # A context variable could not tell: a task that is started inside a block, but in a group outside of it, would inherit the block's value,
    # and may outlive the block. Of tasks that asyncio's own groups start, anyio knows no scopes, and nobody can tell.
    inner: Any = scope_mark()
    above = "parent" if trio.lowlevel.in_trio_run() else "_parent_scope"
    while inner is not None:
        yield inner
        inner = getattr(inner, above)


def current_task() -> object:
    """The running task, for comparison by identity."""
    return trio.lowlevel.current_task() if trio.lowlevel.in_trio_run() else asyncio.current_task()


def caller() -> Callable[[Callable[[], object]], bool]:
    """A function by which other threads have something called on this event loop; ``False``: the loop is over, and nothing is called."""
    if trio.lowlevel.in_trio_run():
        token = trio.lowlevel.current_trio_token()

        def call_in_trio(work: Callable[[], object]) -> bool:
            try:
                token.run_sync_soon(work)
            except trio.RunFinishedError:
                return False
            return True

        return call_in_trio
    loop = asyncio.get_running_loop()
    # The callback runs in no task, and anyio finds the loop by the task: without this variable the callback could start no task.
    variables = contextvars.Context()
    variables.run(sniffio.current_async_library_cvar.set, "asyncio")

    def call(work: Callable[[], object]) -> bool:
        try:
            loop.call_soon_threadsafe(work, context=variables)
        except RuntimeError:
            return False
        return True

    return call


class Event(Protocol):
    """An event of trio or asyncio: tasks wait until it is set. Where a handler has stepped a wait of its own by hand and left it, trio may wake its
    worker's task too early, later on and in another delivery: so whatever is awaited there is awaited in a loop.
    """

    def set(self) -> object:
        """Lets all of them go on."""
        ...

    def is_set(self) -> bool:
        """Whether it was set."""
        ...

    async def wait(self) -> object:
        """Waits until it is set."""
        ...


def event() -> Event:
    """An event of the running loop itself: what anyio's does beside that takes longer than the waiting."""
    return trio.Event() if trio.lowlevel.in_trio_run() else asyncio.Event()


def scope_mark() -> object:
    """The innermost cancel scope of the running task, for comparison by identity.

    A handler that leaves a scope open leaves it in the task of its worker: the next delivery there would be cancelled with it.
    """
    if trio.lowlevel.in_trio_run():
        current: Any = trio.lowlevel.current_task()
        return current._cancel_status  # noqa: SLF001 - see above
    from anyio._backends import _asyncio

    backend: Any = _asyncio
    task: Any = asyncio.current_task()
    state = backend._task_states.get(task)  # noqa: SLF001 - see above
    return None if state is None else state.cancel_scope


def undisturbed() -> Callable[[], bool]:
    """A function that tells whether the running task still is as it is now: in the same cancel scope and, on asyncio, with no pending
    cancellation. It is asked after every delivery, and so finds its task only once.
    """
    mark: Any = scope_mark()
    if trio.lowlevel.in_trio_run():
        task: Any = trio.lowlevel.current_task()
        return lambda: task._cancel_status is mark  # noqa: SLF001 - as above
    return lambda: scope_mark() is mark and not cancellings()


def untouched() -> Callable[[], bool]:
    """A function that tells whether the running task still is as it is now: in the same cancel scope, and with no more references to it. A lock
    that is held, a limiter that is borrowed from, or whoever asked for the current task keeps a reference to it.

    As long as that is so, a handler that was begun in the task may be stepped on in another one, and others in this one meanwhile. On
    asyncio the answer is always no: `asyncio.timeout` keeps its task where this cannot see it.
    """
    if not trio.lowlevel.in_trio_run():
        return lambda: False
    task: Any = trio.lowlevel.current_task()
    mark, count = task._cancel_status, sys.getrefcount  # noqa: SLF001 - as above

    def is_home() -> bool:
        return task._cancel_status is mark and count(task) == known  # noqa: SLF001 - as above

    known = count(task)
    return is_home


async def leave_scopes(mark: object) -> None:
    """Closes the cancel scopes that the running task has entered since ``mark`` and not left, the innermost first; what still runs in
    them is cancelled.
    """
    while (inner := scope_mark()) is not mark:
        scope: Any = inner
        if trio.lowlevel.in_trio_run():
            scope = scope._scope  # noqa: SLF001 - as above
        scope.cancel()
        if trio.lowlevel.in_trio_run():
            await _leave_nursery(scope)
        scope.__exit__(None, None, None)


async def _leave_nursery(scope: Any) -> None:
    """Waits for the tasks of the nursery that a scope belongs to: in trio a task cannot end while a nursery of its own is open."""
    for nursery in trio.lowlevel.current_task().child_nurseries:
        if nursery.cancel_scope is scope:
            left: Any = nursery
            await left._nested_child_finished(None)  # noqa: SLF001 - what leaving the block of a nursery does


def is_cancelled() -> bool:
    """Whether a scope that the running task stands in is cancelled."""
    return anyio.current_effective_deadline() == -math.inf


class Abandoned(GeneratorExit):
    """The worker's own coroutine is closed, since its event loop is gone."""


def parted(error: BaseException) -> tuple[BaseException | None, BaseException | None]:
    """Splits an exception into (the handler's own, what its worker must pass on), either of which may be ``None``. The latter is a
    cancellation of the worker, and what ends the process; an exception group may hold both.

    The handler's own are also a cancellation where nobody has cancelled the worker, and SystemExit and GeneratorExit: a handler
    can end neither the process nor the worker by them.
    """
    passed: tuple[type[BaseException], ...] = (KeyboardInterrupt, Abandoned)
    if is_cancelled():
        passed = (*passed, anyio.get_cancelled_exc_class())
    if not isinstance(error, BaseExceptionGroup):
        return (None, error) if isinstance(error, passed) else (error, None)
    group = cast("BaseExceptionGroup[BaseException]", error)
    try:
        above, own = group.split(passed)
    except Exception:  # noqa: BLE001 - a handler may raise groups that are nested too deep, or of a kind of its own
        return group, None
    return own, above


def cancellings() -> int:
    """How many cancellations of the running task are pending on asyncio (`Task.cancelling`): a handler may leave one behind. Trio cancels by scopes
    alone, so there it is 0.
    """
    task = None if trio.lowlevel.in_trio_run() else asyncio.current_task()
    return 0 if task is None else task.cancelling()


async def swallow_cancelling() -> None:
    """Consumes a pending cancellation on asyncio that no scope above has asked for: a task that returned with it would count as cancelled,
    and cancel its task group.
    """
    if not cancellings() or is_cancelled():
        return
    with suppress(asyncio.CancelledError):
        await asyncio.sleep(0)


def spawn(main: Coroutine[Any, Any, None]) -> None:
    """Runs ``main`` in a task of the event loop itself, in nobody's scope or group."""
    if trio.lowlevel.in_trio_run():

        async def run() -> None:
            await main

        lowlevel: Any = trio.lowlevel
        lowlevel.spawn_system_task(run)
        return
    task = asyncio.get_running_loop().create_task(main)
    _beside.add(task)
    task.add_done_callback(_beside.discard)


_beside: set[Any] = set()
"""Strong references to such tasks: asyncio keeps only weak ones."""


def keep_for_ever(value: object) -> None:
    """Keeps something from ever being freed, even at the end of the process. A coroutine is closed when it is freed, and one that swallows
    every exception would run on then.
    """
    import ctypes

    ctypes.pythonapi.Py_IncRef(ctypes.py_object(value))


def foremost(crash: BaseException) -> BaseException:
    """The exception in a crash that ends the process (KeyboardInterrupt, SystemExit), if there is one; else the crash itself."""
    return next((each for each in _leaves(crash) if isinstance(each, (KeyboardInterrupt, SystemExit))), crash)


def _leaves(crash: BaseException) -> Iterator[BaseException]:
    group: Any = crash  # what isinstance makes of a group has no types inside
    if isinstance(crash, BaseExceptionGroup):
        for each in group.exceptions:
            yield from _leaves(each)
    else:
        yield crash
