"""One handler call: its deadline, how it is cancelled, and the place it gives back while it waits. What it awaits is awaited elsewhere."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, Final, Protocol, final

from organism.durations import duration
from organism.threads.outcomes import Failure

if TYPE_CHECKING:
    import contextvars
    from collections.abc import Callable, Coroutine, Mapping

    import anyio

    from organism.kernel import Kernel
    from organism.pump.runtime import Event
    from organism.pump.timers import Timer, Timers
    from organism.settings import HandlerSettings
    from organism.threads.frames import Message

PATIENCE: Final = 5.0
"""Seconds that a handler may take to end when it is cancelled, be it to clean up; then it is left behind."""
TOO_LONG: Final = "did not finish within"
"""What a failure says of a handler that ran too long. One whose `ask` did fails with the code `timeout` as well."""


class Host(Protocol):
    """What a delivery needs of the pump that runs it."""

    kernel: Kernel
    handlers: Mapping[str, HandlerSettings]
    timers: Timers
    now: Callable[[], float]
    event: Callable[[], Event]
    """Makes what a task waits for, on the running event loop."""
    goes_on: Callable[[Delivery], None]
    """Has one stepped on that was laid aside."""

    def carry_out(self) -> None:
        """Does what the kernel has asked for."""
        ...

    def delivery_suspended(self, delivery: Delivery) -> None:
        """A handler waits for the first time."""
        ...

    def leave_behind(self, delivery: Delivery) -> None:
        """A handler does not end though it was cancelled."""
        ...


@final
class Delivery:
    """A message on its way through its handler. ``scope`` is the worker's; cancelling it stops this handler alone. ``None``: it is laid
    aside, and nobody steps it.
    """

    __slots__ = (
        "_host", "_laid", "_left", "_line", "_patience", "_timer", "_waits", "context", "coro", "cut", "deadline", "handler", "interrupted", "left", "message", "over",
        "passed_on", "placed", "result", "scope", "sound", "started", "suspended_once", "variables", "waited",
    )  # fmt: skip

    variables: contextvars.Context
    """What its handler's context variables are kept in."""

    def __init__(
        self, host: Host, message: Message, handler: HandlerSettings, scope: anyio.CancelScope, started: float
    ) -> None:
        self._host = host
        self.message = message
        self.handler = handler
        self.scope: anyio.CancelScope | None = scope
        self.coro: Coroutine[Any, Any, Any] | None = None
        """Its handler, while it is laid aside."""
        self._laid: object = None
        """What it is laid aside for."""
        self.started = started
        self.placed = True
        self.over = False
        self.passed_on = False
        """What it failed of is the failure of another handler."""
        self.sound = True
        """It left its worker's task as it found it."""
        self.cut = False
        """Its scope was cancelled."""
        self.left = False
        """It did not end when it was cancelled: whatever it does, the organism goes on without it."""
        self._patience: Timer | None = None
        """Until when it may take to end, once it was cancelled."""
        self.waited = 0
        """How often it was given that time."""
        self.interrupted: Failure | None = None
        """Why its scope was cancelled, where it was not from above."""
        self.suspended_once = False
        self.result: Any = ()
        """What it came to: a tuple of what its handler answered with, or a Failure."""
        self.context: Any = None
        """What its handler sees."""
        self._waits = 0
        self._line: Callable[[], object] | None = None
        """Called when it need not stand in line for a place any more."""
        self._timer: Timer | None = None
        timeout = handler.timeout
        self._left: float | None = timeout
        """Seconds of its own running that are left, as of the last time it began to run."""
        self.deadline: float | None = None if timeout is None else started + timeout
        """Until when it may run: what it answers later is not carried out (R25). ``None``: as long as it likes, or it waits."""

    def suspended(self) -> None:
        """Its handler waits for the first time: others may run meanwhile."""
        if self.suspended_once:
            return
        self.suspended_once = True
        self._host.delivery_suspended(self)
        self._watch()

    def interrupt(self, failure: Failure | None) -> None:
        """Cancels the handler; ``failure`` is what its caller hears, ``None`` when it was cancelled from above."""
        if not self.over:
            self.interrupted = self.interrupted or failure
            self.cut = True
            if self.scope is not None:
                self.scope.cancel()
            else:
                self.take_up()
            if self._patience is None:
                self.wait_for_end()

    def leap(self, seconds: float) -> None:
        """The clock has leapt so far: it has not run meanwhile. Its timers may come too early now, and are set again then."""
        self.started += seconds
        if self.deadline is not None:
            self.deadline += seconds
        if self._patience is not None:
            self._host.timers.cancel(self._patience)
            self._be_patient()

    def wait_for_end(self) -> None:
        """Gives it some time to end, once more."""
        self.waited += 1
        self._be_patient()

    def _be_patient(self) -> None:
        self._patience = self._host.timers.add(self._host.now() + PATIENCE, lambda: self._host.leave_behind(self))

    @property
    def in_our_hands(self) -> bool:
        """Whether it is in the middle of asking the world for something, and not in its handler's own code."""
        return self._waits > 0

    @property
    def waits(self) -> int:
        """How many things it asks the world for at the moment, in so many tasks of its handler."""
        return self._waits

    def _watch(self) -> None:
        """Sees that it hears of its deadline. What it waits for moves that only away: a timer that comes up too early is set again."""
        if self.deadline is not None and self._timer is None:
            self._timer = self._host.timers.add(self.deadline, self._time_out)

    def _time_out(self) -> None:
        self._timer = None
        if self.deadline is None or self._host.now() < self.deadline:
            self._watch()
        else:
            self.interrupt(self.timed_out())

    def timed_out(self) -> Failure:
        """What a caller hears of a handler that ran too long."""
        timeout = self.handler.timeout or 0.0
        return Failure("timeout", f"'{self.message.to}' {TOO_LONG} {duration(timeout)}", retry=True)

    def finished(self) -> None:
        """It will not run any more. Of one that has never waited there is nothing to be taken back: that it is ``over`` says all."""
        self.over = True
        if self._line is not None:
            self._leave_line()
        if self._timer is not None:
            self._host.timers.cancel(self._timer)
            self._timer = None
        if self._patience is not None:
            self._host.timers.cancel(self._patience)
            self._patience = None

    def begin_waiting(self) -> None:
        """Gives its place back, at the first of what it waits for."""
        self._waits += 1
        if self._waits > 1 or self.over:
            return
        if self._line is not None:
            self._leave_line()
        if self.deadline is not None:
            self._left = self.deadline - self._host.now()
            self.deadline = None
        if self.placed:
            self.placed = False
            self._host.kernel.schedule.give_back(self.message)
            inbox = self._host.kernel.state.inbox
            if inbox.questions:
                inbox.stir(self.message.thread)
            self._host.carry_out()

    def end_waiting(self) -> Event | None:
        """Takes a place again, after the last of what it waited for. Where none is free, it stands in line: what is set when it need not any more."""
        self._waits -= 1
        if self._waits or self.over or self.placed or self._takes_place():
            return None
        event = self._host.event()
        self._line = event.set
        return event

    def leave_line(self, event: Event) -> None:
        """It was cancelled while it stood in line. It runs on all the same, be it only to clean up: so it counts."""
        if self._line == event.set:
            self._line = None
            self._force_back()

    def lay_aside(self, coro: Coroutine[Any, Any, Any], laid: object) -> None:
        """Its handler waits for asks in no task: nobody steps it until they are done (see :mod:`organism.pump.aside`)."""
        self.coro, self.scope, self._laid = coro, None, laid
        self.begin_waiting()

    def answered(self, laid: object) -> None:
        """What it was laid aside for is done: it is stepped on, as soon as there is a place for it."""
        if self._laid is not laid:
            return  # it was cancelled since
        self._laid = None
        self._waits -= 1
        if self._waits or self._takes_place():
            self._host.goes_on(self)
        else:
            self._line = partial(self._host.goes_on, self)

    def take_up(self) -> None:
        """It is laid aside, and is to be cancelled. It runs on all the same, be it only to clean up: so it counts."""
        laid, line, self._laid, self._line = self._laid, self._line, None, None
        if laid is not None:
            self._waits -= 1
        elif line is None:
            return  # it goes on already
        if not self._waits:
            self._force_back()
        self._host.goes_on(self)

    def _takes_place(self) -> bool:
        """Whether there is a place for it, which it has now; otherwise it stands in line."""
        found = self._host.kernel.schedule.ask_back(self.message, self._come_back)
        if found:
            self._come_back()
        return found

    def _force_back(self) -> None:
        """It takes a place, free or not, and stands in line no more."""
        schedule = self._host.kernel.schedule
        schedule.forget(self.message)
        schedule.force_back(self.message)
        self._come_back()

    def _come_back(self) -> None:
        """It has a place again, and its own running counts."""
        self.placed = True
        line, self._line = self._line, None
        if line is not None:
            line()
        if self._left is not None:
            self.deadline = self._host.now() + self._left
            if self.suspended_once:  # else it is watched once it waits, if ever
                self._watch()

    def _leave_line(self) -> None:
        """It stands in line no more: it is over, or a task of its own waits for something again."""
        line, self._line = self._line, None
        if line is not None:
            self._host.kernel.schedule.forget(self.message)
            line()
