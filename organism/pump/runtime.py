"""What differs between trio and asyncio, where anyio does not hide it."""

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
    """What goes on as the running loop's clock does, from an instant of its own: what that reads itself, ``precise`` (as
    `time.perf_counter`) on trio and ``steady`` (as `time.monotonic`) on asyncio, so that nothing stands between it and its reader. Every message
    reads it, and most several times. A loop with another clock, be it a virtual one, is asked.
    """
    if trio.lowlevel.in_trio_run():
        clock = trio.lowlevel.current_clock()
        return precise if type(clock).__name__ == "SystemClock" else clock.current_time  # trio does not show its class
    loop = asyncio.get_running_loop()
    return steady if type(loop).time is asyncio.BaseEventLoop.time else loop.time


def loop() -> object:
    """The running event loop, to be told from others; ``None`` where none runs in this thread."""
    if trio.lowlevel.in_trio_run():
        return trio.lowlevel.current_trio_token()
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


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
    """A cancel scope of the running loop's own: anyio's is one more around it."""
    # As anyio.CancelScope(), which makes two of them to keep one.
    return trio.CancelScope() if trio.lowlevel.in_trio_run() else anyio.move_on_after(None)


def within() -> Callable[[float], AbstractContextManager[object]]:
    """What makes a block that is cancelled after so many seconds, without the cost of finding the loop for each."""
    if not trio.lowlevel.in_trio_run():
        return anyio.move_on_after
    time = clock()
    return lambda seconds: trio.CancelScope(deadline=time() + seconds)


def heed() -> Callable[[], Awaitable[object]]:
    """What raises where the running task is cancelled, without the cost of finding the loop each time."""
    return (
        trio.lowlevel.checkpoint_if_cancelled if trio.lowlevel.in_trio_run() else anyio.lowlevel.checkpoint_if_cancelled
    )


async def seen_through(event: anyio.Event) -> None:
    """Waits for an event, whoever is cancelled meanwhile. On asyncio what a shield does not keep away, `Task.cancel`, is raised afterwards."""
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
    """The cancel scopes that the running task stands in, as :func:`scope_mark` tells them, the innermost first: those that were entered
    before it was started in a group are among them.
    """
    # A context variable would not tell them: what is started inside a block, but in a group outside of it, has a copy of those of the block,
    # which may be left before it. Tasks that asyncio's own groups start have no scopes that anyio knows of: where they stand, nobody can tell.
    inner: Any = scope_mark()
    above = "parent" if trio.lowlevel.in_trio_run() else "_parent_scope"
    while inner is not None:
        yield inner
        inner = getattr(inner, above)


def current_task() -> object:
    """The running task, to be told from others."""
    return trio.lowlevel.current_task() if trio.lowlevel.in_trio_run() else asyncio.current_task()


def caller() -> Callable[[Callable[[], object]], None]:
    """What other threads call to have something called on this event loop; once the loop is over, it does nothing."""
    if trio.lowlevel.in_trio_run():
        token = trio.lowlevel.current_trio_token()

        def call_in_trio(work: Callable[[], object]) -> None:
            with suppress(trio.RunFinishedError):
                token.run_sync_soon(work)

        return call_in_trio
    loop = asyncio.get_running_loop()
    # What is called back there runs in no task, by which alone anyio would know the loop: it could start no task of ours.
    variables = contextvars.Context()
    variables.run(sniffio.current_async_library_cvar.set, "asyncio")

    def call(work: Callable[[], object]) -> None:
        with suppress(RuntimeError):
            loop.call_soon_threadsafe(work, context=variables)

    return call


class Event(Protocol):
    """Something that tasks wait for until it is set."""

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
    """An event of the running loop's own: what anyio's does beside that takes longer than the waiting."""
    return trio.Event() if trio.lowlevel.in_trio_run() else asyncio.Event()


def scope_mark() -> object:
    """What tells the innermost cancel scope of the running task from any other.

    A handler that leaves a scope open leaves it on the worker that ran it: the next delivery there would be cancelled
    with it. Neither library shows the innermost scope, so this looks where they keep it; tests fail should that move.
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
    """Tells whether the running task stands as it does now: in the same cancel scope, and on asyncio with no cancelling to be undone.

    It is asked after every delivery: so it knows its task.
    """
    mark: Any = scope_mark()
    if trio.lowlevel.in_trio_run():
        task: Any = trio.lowlevel.current_task()
        return lambda: task._cancel_status is mark  # noqa: SLF001 - as above
    return lambda: scope_mark() is mark and not cancellings()


def home() -> Callable[[], bool]:
    """Tells whether the running task is as it is now: in the same cancel scope, and with nothing that knows it but what does now. A lock
    that is held or a limiter that is borrowed from knows its task, and so does whoever has asked for it.

    Where it is so, a handler that was stepped in the task may be stepped on in another, and others in this one meanwhile. On
    asyncio it never is: `asyncio.timeout` knows its task, and keeps that where nobody sees it.
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
    """Closes the cancel scopes that the running task entered since it was at ``mark`` and did not leave, the innermost first;
    what still runs in them is cancelled.
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
    """Waits for the tasks of the nursery that a scope belongs to: trio lets no task end inside a nursery of its own."""
    for nursery in trio.lowlevel.current_task().child_nurseries:
        if nursery.cancel_scope is scope:
            left: Any = nursery
            await left._nested_child_finished(None)  # noqa: SLF001 - what leaving the block of a nursery does


def is_cancelled() -> bool:
    """Whether a scope that the running task stands in is cancelled."""
    return anyio.current_effective_deadline() == -math.inf


class Abandoned(GeneratorExit):
    """The worker itself is closed, since its event loop is gone."""


def parted(error: BaseException) -> tuple[BaseException | None, BaseException | None]:
    """What of an exception is a handler's own, and what its worker must pass on: being cancelled, and what ends a process.

    A task group brings both in one. A cancelling is the handler's own where nobody has cancelled the worker; and so is what it
    raises to leave its process or a generator, neither of which it can.
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
    """How many cancellings of the running task are still to be undone, on asyncio: one that a handler leaves there is not
    the worker's own. Trio knows no cancelling but by scopes.
    """
    task = None if trio.lowlevel.in_trio_run() else asyncio.current_task()
    return 0 if task is None else task.cancelling()


async def swallow_cancelling() -> None:
    """Takes a cancelling that nobody above has asked for and that has not come yet: on asyncio a task that returns with one is cancelled
    all the same, and its task group with it.
    """
    if not cancellings() or is_cancelled():
        return
    with suppress(asyncio.CancelledError):
        await asyncio.sleep(0)


def spawn(main: Coroutine[Any, Any, None]) -> None:
    """Runs ``main`` beside whatever the event loop runs, in nobody's scope."""
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
"""asyncio keeps only weak references to its tasks."""


def keep_for_ever(value: object) -> None:
    """Keeps something from ever being freed, at the end of the process too. A coroutine that is freed is closed, and one that
    swallows everything would run on in that.
    """
    import ctypes

    ctypes.pythonapi.Py_IncRef(ctypes.py_object(value))


def foremost(crash: BaseException) -> BaseException:
    """What of a crash ends the process, if it holds such a thing; else all of it."""
    return next((each for each in _leaves(crash) if isinstance(each, (KeyboardInterrupt, SystemExit))), crash)


def _leaves(crash: BaseException) -> Iterator[BaseException]:
    group: Any = crash  # what isinstance makes of a group has no types inside
    if isinstance(crash, BaseExceptionGroup):
        for each in group.exceptions:
            yield from _leaves(each)
    else:
        yield crash
