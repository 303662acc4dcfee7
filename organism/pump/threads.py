"""Threads for what waits without awaiting: handlers and tools that are a plain ``def``, and what others give to ``ctx.in_thread``.

The function runs in a thread; whatever it asks of the organism is awaited in the task of its delivery, one thing after the other,
so that a plain handler is cancelled, timed and recorded like any other.
"""

from __future__ import annotations

import contextvars
import inspect
import logging
from collections import deque
from functools import partial
from queue import Empty, SimpleQueue
from threading import Lock, Thread
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar

import anyio

from organism.errors import NotRunningError, OrganismError
from organism.pump import runtime

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from organism.threads.frames import Message

T = TypeVar("T")

IDLE: Final = 10.0
"""Seconds after which a thread without work ends."""

_log: Final = logging.getLogger("organism.handlers")
_talk: Final[contextvars.ContextVar[Talk[Any]]] = contextvars.ContextVar("organism_talk")
"""How the running thread asks the loop for something."""


class Threads:
    """Runs functions, ``most`` at once. One that waits for the loop does not count; one whose delivery was given up does, until it returns: no
    thread can be stopped from outside.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._work: SimpleQueue[Callable[[], None]] = SimpleQueue()
        self._lock = Lock()
        self._idle = 0
        """Threads that wait for work, less the work that waits for them."""
        self._waiting: deque[anyio.Event] = deque()
        self.working = 0
        """Functions that run now."""
        self.awaited = 0
        """Those of them that a delivery waits for."""

    async def run(self, message: Message, function: Callable[..., T], *args: Any) -> T:
        """What ``function`` gives; raises what it raises. Cancelled, it is left to itself, and its answer is dropped."""
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
        """A function works no more, or waits for the loop; ``awaited``: its delivery was not given up."""
        self.working -= 1
        self.awaited -= awaited
        self._hand_on()

    def goes_on(self) -> None:
        """One works, or works again after it has waited for the loop: it gets its place then, free or not."""
        self.working += 1
        self.awaited += 1

    def given_up(self) -> None:
        """Nobody waits for one that works."""
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
            # A daemon: what hangs must not keep the process.
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
                continue  # some work came for it just now
            with self._lock:
                self._idle += 1


class Talk(Generic[T]):
    """Between a function in its thread and the delivery that waits for it. All but :meth:`work` and :meth:`ask` runs on the loop."""

    def __init__(self, threads: Threads, call: Callable[[Callable[[], object]], None], message: Message) -> None:
        self._threads = threads
        self._call = call
        self._message = message
        self._asked: deque[_Asked] = deque()
        self._came: tuple[T | None, BaseException | None] | None = None
        self._news = anyio.Event()
        self._left = False

    # In the thread

    def work(self, variables: contextvars.Context, function: Callable[[], T]) -> None:
        """Runs the function with these context variables, and tells what came of it."""
        came: tuple[T | None, BaseException | None]
        try:
            came = variables.run(function), None
        except BaseException as error:  # noqa: BLE001 - it is raised in the delivery
            came = None, error
        self._call(partial(self._end, came))

    def ask(self, work: Coroutine[Any, Any, Any]) -> Any:
        """Has a coroutine awaited in the delivery, and gives what it gives."""
        asked = _Asked(work)
        self._call(partial(self._take, asked))
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
        # What is decorated may be plain and give a coroutine.
        return await result if inspect.isawaitable(result) else result  # type: ignore[return-value]

    def leave(self) -> None:
        """The delivery waits no more: what is asked now is refused."""
        self._left = True
        while self._asked:
            self._refuse(self._asked.popleft())
        if self._came is None:
            self._threads.given_up()
            where = f"'{self._message.to}' in thread {self._message.thread.id}"
            _log.warning("%s was given up; its function runs on in its thread, and its answer will be dropped", where)

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
        """What came of it."""
        self._box.put((result, error))

    def answer(self) -> Any:
        """Waits for it, in the thread; raises what it raised."""
        result, error = self._box.get()
        if error is not None:
            raise error
        return result


def run_from_thread(work: Coroutine[Any, Any, T]) -> T:
    """Awaits ``work`` for a function that runs in a thread of :class:`Threads`, and gives what it gives.

    Raises OrganismError anywhere else: on the loop nothing could go on while it waited.
    """
    talk: Talk[Any] | None = _talk.get(None)
    if talk is None:
        work.close()
        raise OrganismError(
            "ctx.run is for plain functions, in the thread that the organism gave them: in a coroutine, write 'await' instead"
        )
    result: T = talk.ask(work)
    return result
