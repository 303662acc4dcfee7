"""One handler call: stepping it in place, its deadline, and the place it gives back while it waits."""

from __future__ import annotations

import types
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Protocol, cast, get_args

import anyio

from organism.errors import BudgetExhaustedError, HandlerFailedError, ModelError, Refused
from organism.likeness import without_secrets
from organism.names import class_name
from organism.outcomes import Failure
from organism.payloads.primitives import FailureCode
from organism.pump.runtime import Abandoned, checkpoint, keep_for_ever
from organism.settings import UNITS

PATIENCE: Final = 5.0
"""Seconds that a handler may take to end when it is cancelled, be it to clean up; then it is left behind."""
CANCELLED: Final = object()
"""What a handler is said to wait for whose task is cancelled."""
_LONGEST: Final = 10_000
"""Characters of an exception's text that callers are told."""
_NAME: Final = 200

if TYPE_CHECKING:
    import contextvars
    from collections.abc import Callable, Coroutine, Generator, Mapping
    from types import TracebackType

    from organism.frames import Message
    from organism.kernel import Kernel
    from organism.message import Outgoing
    from organism.pump.timers import Timer, Timers
    from organism.settings import HandlerSettings


async def step(coro: Coroutine[Any, Any, Any], context: contextvars.Context, suspended: Callable[[], None]) -> Any:
    """Runs a coroutine in this task and in the context of its handler; says once when it first waits.

    If it finishes without waiting, no task was spawned for it and nothing else has run in between.
    """
    try:
        waits_for = context.run(coro.send, None)
    except StopIteration as finished:
        return finished.value
    return await go_on(coro, context, suspended, waits_for)


class LeftBehind(BaseException):
    """A handler that did not end when it was cancelled is not stepped any more."""


async def raised(error: BaseException) -> None:
    """What a handler that has raised still comes to: whoever awaits it gets the exception."""
    raise error


@types.coroutine
def go_on(
    coro: Coroutine[Any, Any, Any],
    context: contextvars.Context,
    suspended: Callable[[], None],
    waits_for: Any,
    delivery: Delivery | None = None,
) -> Generator[Any, Any, Any]:
    """The rest of a handler's coroutine that was stepped once, and waits for something; says so at once. Raises LeftBehind in place of
    stepping the handler once its ``delivery`` is; what it has asked for is seen through, so that nothing is held.

    One that was laid aside and is to be cancelled waits for ``CANCELLED``.
    """
    suspended()
    while True:
        try:
            if waits_for is CANCELLED:
                yield from checkpoint().__await__()
            value = None if waits_for is CANCELLED else (yield waits_for)
        except GeneratorExit as error:  # of the worker, not of the handler
            context.run(coro.close)
            raise Abandoned from error
        except BaseException as error:  # noqa: BLE001 - whatever it is, it is the handler's to handle
            go_on = partial(coro.throw, error)
        else:
            go_on = partial(coro.send, value)
        if delivery is not None and delivery.left and not delivery.in_our_hands:
            keep_for_ever(coro)
            raise LeftBehind
        try:
            waits_for = context.run(go_on)
        except StopIteration as finished:
            return finished.value


class Host(Protocol):
    """What a delivery needs of the pump that runs it."""

    kernel: Kernel
    handlers: Mapping[str, HandlerSettings]
    timers: Timers
    now: Callable[[], float]
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


class Delivery:
    """A message on its way through its handler. ``scope`` is the worker's; cancelling it stops this handler alone. ``None``: it is laid
    aside, and nobody steps it.
    """

    __slots__ = (
        "_deadline", "_host", "_laid", "_left", "_line", "_patience", "_timer", "_waits", "context", "coro", "cut", "handler", "interrupted", "left", "message", "over",
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
        self.result: tuple[Outgoing, ...] | Failure = ()
        self.context: Any = None
        """What its handler sees."""
        self._waits = 0
        self._line: Callable[[], None] | None = None
        """Called when it need not stand in line for a place any more."""
        self._timer: Timer | None = None
        timeout = handler.timeout
        self._left: float | None = timeout
        """Seconds of its own running that are left, as of the last time it began to run."""
        self._deadline: float | None = None if timeout is None else started + timeout

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

    def wait_for_end(self) -> None:
        """Gives it some time to end, once more."""
        self.waited += 1
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
        if self._deadline is not None and self._timer is None:
            self._timer = self._host.timers.add(self._deadline, self._time_out)

    def _time_out(self) -> None:
        self._timer = None
        if self._deadline is None or self._host.now() < self._deadline:
            self._watch()
        else:
            self.interrupt(self.timed_out())

    def timed_out(self) -> Failure:
        """What a caller hears of a handler that ran too long."""
        timeout = self.handler.timeout
        return Failure("timeout", f"'{self.message.to}' did not finish within {timeout:g} s", retry=True)

    def too_late(self, now: float) -> bool:
        """Whether it finished after its deadline; then its answer is not carried out (R25)."""
        return self._deadline is not None and self._waits == 0 and now > self._deadline

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

    def waiting(self) -> Waiting:
        """A block in which the delivery waits for others: it keeps no place, and its timeout stands still (R3, R8)."""
        return Waiting(self)

    def begin_waiting(self) -> None:
        """Gives its place back, at the first of what it waits for."""
        self._waits += 1
        if self._waits > 1 or self.over:
            return
        self._leave_line()
        if self._deadline is not None:
            self._left = self._deadline - self._host.now()
            self._deadline = None
        if self.placed:
            self.placed = False
            self._host.kernel.schedule.give_back(self.message)
            self._host.kernel.state.inbox.stir(self.message.thread)
            self._host.carry_out()

    async def end_waiting(self) -> None:
        """Takes a place again, after the last of what it waited for; waits for one if none is free."""
        self._waits -= 1
        if self._waits or self.over or self.placed:
            return
        if self._takes_place():
            return
        event = anyio.Event()
        line = self._line = event.set
        try:
            await event.wait()
        except BaseException:
            if self._line is line:
                # Cancelled while it stood in line. It runs on all the same, be it only to clean up: so it counts.
                self._line = None
                self._force_back()
            raise

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
            self._go_on()
        else:
            self._line = self._go_on

    def _go_on(self) -> None:
        self._host.goes_on(self)

    def take_up(self) -> None:
        """It is laid aside, and is to be cancelled. It runs on all the same, be it only to clean up: so it counts."""
        laid, line, self._laid, self._line = self._laid, self._line, None, None
        if laid is not None:
            self._waits -= 1
        elif line is None:
            return  # it goes on already
        if not self._waits:
            self._force_back()
        self._go_on()

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
            self._deadline = self._host.now() + self._left
            if self.suspended_once:  # else it is watched once it waits, if ever
                self._watch()

    def _leave_line(self) -> None:
        """It stands in line no more: it is over, or a task of its own waits for something again."""
        line, self._line = self._line, None
        if line is not None:
            self._host.kernel.schedule.forget(self.message)
            line()


class Waiting:
    """An async context manager; see :meth:`Delivery.waiting`."""

    __slots__ = ("_delivery",)

    def __init__(self, delivery: Delivery) -> None:
        self._delivery = delivery

    @property
    def message(self) -> Message:
        """What is delivered."""
        return self._delivery.message

    async def __aenter__(self) -> None:
        self._delivery.begin_waiting()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._delivery.end_waiting()


def failure_of(error: BaseException) -> Failure:
    """What a caller hears of an exception that left a handler (R2, R3, R17); a fixed word for one that raises when it is asked."""
    try:
        return _failure_of(error)
    except Exception:  # noqa: BLE001 - it is the handler's, and whatever it says of itself is its own code
        return Failure("crashed", f"{class_name(error)}, which cannot be told", retry=True)


def _failure_of(error: BaseException) -> Failure:  # noqa: PLR0911 - a case for each kind
    error = _leading(error)
    match error:
        case Refused():
            return Failure("refused", _said(error))
        case BudgetExhaustedError():
            return Failure("exhausted", _said(error), unit=_unit(error.unit), scope=_scope(error.scope))
        case HandlerFailedError():
            code = next((each for each in get_args(FailureCode) if each == error.code), None)
            if code is None:  # the handler made it up: what callers may hear is a closed list
                return Failure("crashed", _speakable(f"{error.code}: {error.text}"), bool(error.retry))
            return Failure(code, _speakable(error.text), bool(error.retry), _unit(error.unit), _scope(error.scope))
        case ModelError():  # it says all there is, and is no fault of the handler's code
            return Failure("crashed", _said(error), retry=True)
        case SystemExit() | GeneratorExit():
            said = f"{class_name(error)}: {_said(error)}".removesuffix(": ")
            return Failure("crashed", f"{said} left the handler, which ends this delivery and no more", retry=True)
        case _:
            said = _said(error)
            return Failure("crashed", f"{class_name(error)}: {said}" if said else class_name(error), retry=True)


def _said(error: BaseException) -> str:
    """An exception's text; none where it cannot even tell that."""
    try:
        return _speakable(str(error))
    except Exception:  # noqa: BLE001 - it is the handler's; its kind is told, and the log has the rest
        return ""


def _speakable(text: object) -> str:
    """A text as payloads can hold it: half characters are escaped, since callers are told it in one. It is cut where it is long,
    and keys are left out: exceptions quote what they failed of.
    """
    said = str.__str__(str(text))
    if len(said) > _LONGEST:
        said = f"{said[:_LONGEST]}... ({len(said):,} characters)"
    return without_secrets(said.encode("utf-8", "backslashreplace").decode("utf-8"))


def _unit(given: object) -> str | None:
    """The unit that an exception names, where it is one: handlers may write anything there."""
    return next((each for each in UNITS if each == given), None) if type(given) is str else None


def _scope(given: object) -> str | None:
    return given[:_NAME] if type(given) is str else None


def _leading(error: BaseException) -> BaseException:
    """Of a group of exceptions, the one that says most: the first that is not a plain crash."""
    if not isinstance(error, BaseExceptionGroup):
        return error
    group = cast("BaseExceptionGroup[BaseException]", error)
    leaves = [_leading(each) for each in group.exceptions]
    told = (each for each in leaves if isinstance(each, (Refused, BudgetExhaustedError, HandlerFailedError)))
    return next(told, leaves[0])
