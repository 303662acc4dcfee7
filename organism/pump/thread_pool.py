"""A pool of threads of the operating system for functions that block: handlers and tools that are a plain ``def``, and ``ctx.in_thread``.

The function runs in a thread. Whatever it asks of the organism is awaited in the task of its delivery, one thing after the other, so
that a plain handler is cancelled, timed and recorded like any other.
"""

from __future__ import annotations

import contextvars
import inspect
import logging
from collections import deque
from collections.abc import Coroutine
from functools import partial
from queue import Empty, SimpleQueue
from threading import Lock, Thread
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar, cast

import anyio

from organism.errors import NotRunningError, OrganismError
from organism.names import excerpt
from organism.pump import runtime

if TYPE_CHECKING:
    from collections.abc import Callable

    from organism.threads.frames import Message

T = TypeVar("T")

IDLE: Final = 10.0
"""Seconds without work after which a thread ends."""

_log: Final = logging.getLogger("organism.handlers")
_talk: Final[contextvars.ContextVar[Talk[Any]]] = contextvars.ContextVar("organism_talk")
"""Set in a thread of the pool: how its function asks the event loop for something."""


class ThreadPool:
    """Runs functions, ``most`` at once. One that waits for the event loop does not count. One whose delivery was given up does until it
    returns: a thread cannot be stopped from outside.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._work: SimpleQueue[Callable[[], None]] = SimpleQueue()
        self._lock = Lock()
        self._idle = 0
        """How many threads wait for work, less the work that waits for them."""
        self._waiting: deque[anyio.Event] = deque()
        """Deliveries that wait until a function may run."""
        self.working = 0
        """How many functions run now."""
        self.awaited = 0
        """How many of them a delivery waits for."""

    async def run(self, message: Message, function: Callable[..., T], *args: Any) -> T:
        """Runs ``function`` in a thread, and returns what it returns or raises what it raises. Where this is cancelled, the function runs on, and its
        result is dropped.
        """
        await self._begin()
        talk: Talk[T] = Talk(self, runtime.caller(), message)
        # A copy: the thread goes on with it after the delivery is over.
        variables = contextvars.copy_context()
        variables.run(_talk.set, talk)
        self._give(partial(talk.work, variables, partial(function, *args)))
        try:
            return await talk.hear()
        finally:
            talk.leave()

    async def _begin(self) -> None:
        while self.working >= self._most:
            event = anyio.Event()
            self._waiting.append(event)
            try:
                await event.wait()
            except BaseException:
                if event.is_set():
                    self._hand_on()
                else:
                    self._waiting.remove(event)
                raise
        self.goes_on()

    def ended(self, *, awaited: bool = True) -> None:
        """A function has returned, or waits for the event loop; ``awaited``: its delivery was not given up."""
        self.working -= 1
        self.awaited -= awaited
        self._hand_on()

    def goes_on(self) -> None:
        """A function begins, or goes on after it has waited for the event loop: then it counts again, whatever ``most`` is."""
        self.working += 1
        self.awaited += 1

    def given_up(self) -> None:
        """The delivery of a function that runs was given up."""
        self.awaited -= 1

    def _hand_on(self) -> None:
        if self._waiting and self.working < self._most:
            self._waiting.popleft().set()

    def _give(self, work: Callable[[], None]) -> None:
        with self._lock:
            if self._idle > 0:
                self._idle -= 1
                self._work.put(work)
                return
        try:
            # A daemon: a function that hangs must not keep the process alive.
            Thread(target=self._live, name="organism handler", daemon=True).start()
        except RuntimeError:  # the system has no thread left
            self.ended()
            raise
        self._work.put(work)

    def _live(self) -> None:
        while True:
            try:
                self._work.get(timeout=IDLE)()
            except Empty:
                with self._lock:
                    if self._idle > 0:
                        self._idle -= 1
                        return
                continue  # work came for it just now
            with self._lock:
                self._idle += 1


class Talk(Generic[T]):
    """Connects a function in its thread with the delivery that waits for it. :meth:`work` and :meth:`ask` run in the thread, all else on the loop."""

    def __init__(self, threads: ThreadPool, call: Callable[[Callable[[], object]], bool], message: Message) -> None:
        self._threads = threads
        self._call = call
        self._message = message
        self._asked: deque[_Asked] = deque()
        self._came: tuple[T | None, BaseException | None] | None = None
        self._news = anyio.Event()
        self._left = False

    # In the thread

    def work(self, variables: contextvars.Context, function: Callable[[], T]) -> None:
        """Runs the function with these context variables, and tells the loop what came of it."""
        came: tuple[T | None, BaseException | None]
        try:
            came = variables.run(function), None
        except BaseException as error:  # noqa: BLE001 - it is raised in the delivery
            came = None, error
        self._call(partial(self._end, came))

    def ask(self, work: Coroutine[Any, Any, Any]) -> Any:
        """Has a coroutine awaited in the delivery's task, and returns what it returns or raises what it raises."""
        asked = _Asked(work)
        if not self._call(partial(self._take, asked)):
            self._refuse(asked)  # the loop is over: nobody is left who would
        return asked.answer()

    # On the loop

    async def hear(self) -> T:
        """Awaits what the function asks for, until it returns."""
        while True:
            while self._asked:
                await self._carry_out(self._asked.popleft())
            if self._came is not None:
                break
            self._news = anyio.Event()
            await self._news.wait()
        result, error = self._came
        if error is not None:
            raise error
        # A decorated coroutine function may look plain, and return a coroutine.
        return await result if inspect.isawaitable(result) else result  # type: ignore[return-value]

    def leave(self) -> None:
        """The delivery does not wait any more: what the function asks from now on is refused."""
        self._left = True
        while self._asked:
            self._refuse(self._asked.popleft())
        if self._came is None:
            self._threads.given_up()
            where = f"'{self._message.to}' in thread {self._message.thread.id}"
            _log.warning(
                "%s was given up; its function still runs in its thread, and its answer will be dropped", where
            )

    def _take(self, asked: _Asked) -> None:
        if self._left:
            self._refuse(asked)
            return
        self._asked.append(asked)
        self._news.set()

    def _end(self, came: tuple[T | None, BaseException | None]) -> None:
        self._came = came
        self._threads.ended(awaited=not self._left)
        self._news.set()

    async def _carry_out(self, asked: _Asked) -> None:
        self._threads.ended()
        try:
            result = await asked.work
        except BaseException as error:
            if isinstance(error, Exception):
                asked.tell(None, error)
                return
            asked.tell(None, self._over())
            raise
        else:
            asked.tell(result, None)
        finally:
            self._threads.goes_on()

    def _refuse(self, asked: _Asked) -> None:
        asked.work.close()
        asked.tell(None, self._over())

    def _over(self) -> NotRunningError:
        return NotRunningError(f"the delivery of {self._message.id} is over; its thread can ask for nothing more")


class _Asked:
    """A coroutine that a thread waits for."""

    def __init__(self, work: Coroutine[Any, Any, Any]) -> None:
        self.work = work
        self._box: SimpleQueue[tuple[Any, BaseException | None]] = SimpleQueue()

    def tell(self, result: Any, error: BaseException | None) -> None:
        """Tells the thread what came of it."""
        self._box.put((result, error))

    def answer(self) -> Any:
        """Waits for it in the thread; returns what it returned, or raises what it raised."""
        result, error = self._box.get()
        if error is not None:
            raise error
        return result


def run_from_thread(work: Coroutine[Any, Any, T]) -> T:
    """Has ``work`` awaited for a function that runs in a thread of a :class:`ThreadPool`; returns what it returns, or raises what it raises.

    Raises OrganismError anywhere else: on the event loop it would block; and TypeError for what is no coroutine.
    """
    if not isinstance(cast("object", work), Coroutine):
        raise TypeError(f"ctx.run takes a coroutine, as ctx.ask(...) gives one, not {excerpt(repr(work), 80)}")
    talk: Talk[Any] | None = _talk.get(None)
    if talk is None:
        work.close()
        raise OrganismError(
            "ctx.run is for plain functions, in the thread that the organism gave them: in a coroutine, write 'await' instead"
        )
    result: T = talk.ask(work)
    return result
