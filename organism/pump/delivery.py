"""One handler call: its deadline, how it is cancelled, and the place that it gives back while it waits.

A state machine without ``await``: whoever steps or awaits its handler calls its methods (:mod:`organism.pump.stepper`,
:mod:`organism.pump.workers`, :mod:`organism.pump.waiting`).
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, Final, Protocol, final

from organism.durations import duration
from organism.threads.outcomes import Failure

if TYPE_CHECKING:
    import contextvars
    from collections.abc import Callable, Coroutine

    import anyio

    from organism.kernel import Kernel
    from organism.pump.runtime import Event
    from organism.pump.timers import Timer, Timers
    from organism.settings import HandlerSettings
    from organism.threads.frames import Message

PATIENCE: Final = 5.0
"""Seconds in which a cancelled handler must end, also if it cleans up; then it is left behind."""
TOO_LONG: Final = "did not finish within"
"""What a failure says of a handler that ran too long. It tells it from one whose `ask` timed out, which has the code `timeout` as well."""


class Host(Protocol):
    """What a delivery needs of the pump that runs it."""

    kernel: Kernel
    timers: Timers
    now: Callable[[], float]
    event: Callable[[], Event]
    """Makes an event of the running event loop."""
    goes_on: Callable[[Delivery], None]
    """Queues a delivery that was laid aside to be stepped on."""

    def carry_out(self) -> None:
        """Does what the kernel has asked for."""
        ...

    def delivery_suspended(self, delivery: Delivery) -> None:
        """A handler waits for the first time."""
        ...

    def leave_behind(self, delivery: Delivery) -> None:
        """A handler has not ended in time though it was cancelled."""
        ...


@final
class Delivery:
    """A message on its way through its handler. ``scope`` is the cancel scope of its worker, in which nothing else runs; ``None`` while it
    is laid aside and nobody steps it.
    """

    __slots__ = (
        "_host", "_laid", "_line", "_patience", "_seconds_left", "_timer", "_waits", "context", "coro", "cut", "deadline", "handler", "interrupted",
        "left_behind", "message", "over", "passed_on", "placed", "result", "scope", "sound", "started", "suspended_once", "variables", "waited",
    )  # fmt: skip

    variables: contextvars.Context
    """The context variables of its handler."""

    def __init__(
        self, host: Host, message: Message, handler: HandlerSettings, scope: anyio.CancelScope, started: float
    ) -> None:
        self._host = host
        self.message = message
        self.handler = handler
        self.scope: anyio.CancelScope | None = scope
        self.coro: Coroutine[Any, Any, Any] | None = None
        """The coroutine of its handler, while it is laid aside."""
        self._laid: object = None
        """What it is laid aside for."""
        self.started = started
        self.placed = True
        """It has a place (``concurrency``, ``max_handlers``)."""
        self.over = False
        self.passed_on = False
        """It failed of the failure of another handler, which it asked."""
        self.sound = True
        """It left its worker's task as it found it."""
        self.cut = False
        """It was cancelled."""
        self.left_behind = False
        """It was left behind: it did not end when it was cancelled, and whatever it does now does not count."""
        self._patience: Timer | None = None
        """When it is left behind, once it was cancelled."""
        self.waited = 0
        """How often it was given :data:`PATIENCE` to end."""
        self.interrupted: Failure | None = None
        """Why it was cancelled, as its caller hears it; ``None`` where it was cancelled from above."""
        self.suspended_once = False
        """Its handler has waited in the event loop."""
        self.result: Any = ()
        """What it came to: a tuple of what its handler answered with, or a Failure."""
        self.context: Any = None
        """The context object that its handler sees."""
        self._waits = 0
        self._line: Callable[[], object] | None = None
        """Set while it stands in line for a place: called when it has one, or needs none any more."""
        self._timer: Timer | None = None
        timeout = handler.timeout
        self._seconds_left: float | None = timeout
        """Seconds of its ``timeout`` that were left when it last began to wait; ``None``: it has no timeout."""
        self.deadline: float | None = None if timeout is None else started + timeout
        """The instant until which it may run: later answers are not carried out (R25). ``None`` while it waits, or without a timeout."""

    def suspended(self) -> None:
        """Its handler waits in the event loop: the first time, its worker's work goes to another."""
        if self.suspended_once:
            return
        self.suspended_once = True
        self._host.delivery_suspended(self)
        self._watch()

    def interrupt(self, failure: Failure | None) -> None:
        """Cancels the handler. ``failure`` is what its caller hears; ``None``: it is cancelled from above, and nobody is told."""
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
        """The clock has leapt by so many seconds, in which it has not run. Its deadline's timer may come too early by that, and is set again then."""
        self.started += seconds
        if self.deadline is not None:
            self.deadline += seconds
        if self._patience is not None:
            self._host.timers.cancel(self._patience)
            self._be_patient()

    def wait_for_end(self) -> None:
        """Gives it :data:`PATIENCE` to end, once more."""
        self.waited += 1
        self._be_patient()

    def _be_patient(self) -> None:
        self._patience = self._host.timers.add(self._host.now() + PATIENCE, lambda: self._host.leave_behind(self))

    @property
    def waits(self) -> int:
        """How many things that it asked the organism for it waits for at the moment, each in a task of its handler. At 0 its own code runs, or
        waits for something else.
        """
        return self._waits

    def _watch(self) -> None:
        """Sets the timer of its deadline. Waiting only moves the deadline away: a timer that comes too early is set again."""
        if self.deadline is not None and self._timer is None:
            self._timer = self._host.timers.add(self.deadline, self._time_out)

    def _time_out(self) -> None:
        self._timer = None
        if self.deadline is None or self._host.now() < self.deadline:
            self._watch()
        else:
            self.interrupt(self.timed_out())

    def timed_out(self) -> Failure:
        """The failure of a handler that ran longer than its timeout."""
        timeout = self.handler.timeout or 0.0
        return Failure("timeout", f"'{self.message.to}' {TOO_LONG} {duration(timeout)}", retry=True)

    def finished(self) -> None:
        """It will not run any more: leaves the line and cancels its timers. The stepper only sets ``over`` where it has never waited."""
        self.over = True
        if self._line is not None:
            self._leave(self._line)
        if self._timer is not None:
            self._host.timers.cancel(self._timer)
            self._timer = None
        if self._patience is not None:
            self._host.timers.cancel(self._patience)
            self._patience = None

    def begin_waiting(self) -> None:
        """It waits for something more. With the first, it gives its place back and its timeout stands still."""
        self._waits += 1
        if self._waits > 1 or self.over:
            return
        if self._line is not None:
            self._leave(self._line)
        if self.deadline is not None:
            self._seconds_left = self.deadline - self._host.now()
            self.deadline = None
        if self.placed:
            self.placed = False
            self._host.kernel.schedule.give_back(self.message)
            inbox = self._host.kernel.state.inbox
            if inbox.watched:
                inbox.stir(self.message.thread)
            self._host.carry_out()

    def end_waiting(self) -> Event | None:
        """It waits for one thing less. With the last, it takes a place again; where none is free it stands in line, and gets the event that is set
        when it has one.
        """
        self._waits -= 1
        if self._waits or self.over or self.placed or self._takes_place():
            return None
        event = self._host.event()
        self._line = event.set
        return event

    def leave_line(self, event: Event) -> None:
        """It was cancelled while it stood in line: it takes a place whether one is free or not, since it runs on, if only to clean up."""
        if self._line == event.set:
            self._line = None
            self._force_back()

    def lay_aside(self, coro: Coroutine[Any, Any, Any], laid: object) -> None:
        """Its handler waits for asks without a task: nobody steps it until they are done (see :mod:`organism.pump.aside`)."""
        self.coro, self.scope, self._laid = coro, None, laid
        self.begin_waiting()

    def answered(self, laid: object) -> None:
        """What it was laid aside for is done: it is stepped on as soon as there is a place for it."""
        if self._laid is not laid:
            return  # it was cancelled since
        self._laid = None
        self._waits -= 1
        if self._waits or self._takes_place():
            self._host.goes_on(self)
        else:
            self._line = partial(self._host.goes_on, self)

    def take_up(self) -> None:
        """It is laid aside and is to be cancelled: it takes a place whether one is free or not, and is stepped on, if only to clean up."""
        laid, line, self._laid, self._line = self._laid, self._line, None, None
        if laid is not None:
            self._waits -= 1
        elif line is None:
            return  # it is about to be stepped on already
        if not self._waits:
            self._force_back()
        self._host.goes_on(self)

    def _takes_place(self) -> bool:
        """Takes a place; ``False``: none is free, and it stands in line."""
        found = self._host.kernel.schedule.ask_back(self.message, self._come_back)
        if found:
            self._come_back()
        return found

    def _force_back(self) -> None:
        """Takes a place whether one is free or not, and leaves the line."""
        schedule = self._host.kernel.schedule
        schedule.forget(self.message)
        schedule.force_back(self.message)
        self._come_back()

    def _come_back(self) -> None:
        """It has a place again, and its timeout runs on."""
        self.placed = True
        line, self._line = self._line, None
        if line is not None:
            line()
        if self._seconds_left is not None:
            self.deadline = self._host.now() + self._seconds_left
            if self.suspended_once:  # else the timer is set when it first waits in the event loop, if ever
                self._watch()

    def _leave(self, line: Callable[[], object]) -> None:
        """Leaves the line: it is over, or a task of its own waits for something again."""
        self._line = None
        self._host.kernel.schedule.forget(self.message)
        line()
