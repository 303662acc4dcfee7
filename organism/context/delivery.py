"""What a handler sees, for one delivery of the pump: who it is (sender, thread, frame) was fixed before the handler was called."""

from __future__ import annotations

import logging
import random
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from threading import get_ident
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, TypeVar, TypeVarTuple, overload

import anyio

from organism.config import budget_over
from organism.context.interface import Context
from organism.durations import duration
from organism.errors import ConfigurationError, HandlerFailedError, UnexpectedReplyError, check_seconds, pairs_of
from organism.kernel.answers import Refusal, refusal_error
from organism.kernel.failures import failed_by
from organism.kernel.grants import request_problem
from organism.kernel.idempotency import key_of
from organism.kernel.recall import CLOCK, Times, answers_of
from organism.names import ORGANISM, told
from organism.payloads.expected import as_expected, check_expect
from organism.payloads.primitives import BudgetGranted, BudgetRequest
from organism.pump.aside import Laid
from organism.pump.calling import Calling
from organism.pump.handles import ThreadHandle, end_of, handle_of_record
from organism.pump.keys import question
from organism.pump.memory import HandlerState, copied
from organism.pump.thread_budget import budget_view
from organism.pump.thread_pool import run_from_thread
from organism.pump.waiting import Waiting, stand_in_line
from organism.settings import BudgetSettings
from organism.threads.frames import Ask
from organism.threads.lineage import root_of
from organism.threads.outcomes import Failure

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Iterable, Iterator, Mapping, Sequence
    from typing import Unpack

    from typing_extensions import TypeForm

    from organism.budget.view import BudgetView
    from organism.errors import OrganismError
    from organism.pump.delivery import Delivery
    from organism.pump.pump import Pump
    from organism.threads.frames import Thread

P = TypeVar("P")
T = TypeVar("T")
Ts = TypeVarTuple("Ts")
_NO_BUDGET: Final = BudgetSettings()


class DeliveryContext(Calling, Context):
    """The context of one delivery. What is not said here is said of the :class:`~organism.context.interface.Context` that it is."""

    _options: Mapping[str, Any] | None = None
    _random: random.Random | None = None
    _times: Iterator[float] | None = None
    kept: HandlerState | None = None
    """Its handler's state, once that was looked at."""

    def __init__(self, pump: Pump, delivery: Delivery) -> None:
        self._delivery = delivery
        self._message = message = delivery.message
        self._pump = pump
        if message.past is not None and message.past.rerun:
            self._unasked = answers_of(message)

    @property
    def thread(self) -> str:
        """See :class:`~organism.context.interface.Context`."""
        return self._message.thread.id

    @property
    def conversation(self) -> str | None:
        """See :class:`~organism.context.interface.Context`."""
        conversation = root_of(self._message.thread).conversation
        return None if conversation is None else conversation.id

    @property
    def message_id(self) -> str:
        """See :class:`~organism.context.interface.Context`."""
        return self._message.id

    @property
    def idempotency_key(self) -> str:
        """See :class:`~organism.context.interface.Context`."""
        return key_of(self._message)

    @property
    def name(self) -> str:
        """See :class:`~organism.context.interface.Context`."""
        return self._message.to

    @property
    def may_have_begun(self) -> bool:
        """Whether an earlier process had accepted the message, and may have begun this delivery of it."""
        return self._message.old

    @property
    def sender(self) -> str:
        """See :class:`~organism.context.interface.Context`."""
        return self._message.sender

    @property
    def options(self) -> Mapping[str, Any]:
        """See :class:`~organism.context.interface.Context`."""
        if self._options is None:
            self._options = MappingProxyType(copied(dict(self._pump.handlers[self.name].options)))
        return self._options

    @property
    def labels(self) -> Mapping[str, str]:
        """See :class:`~organism.context.interface.Context`."""
        return MappingProxyType(dict(self._message.thread.labels))

    @property
    def budget(self) -> BudgetView:
        """See :class:`~organism.context.interface.Context`."""
        frame, thread = self._message.frame, self._message.thread
        return budget_view(self._pump.kernel.state, thread, self._pump.now, depth=frame.depth)

    @property
    def state(self) -> HandlerState:
        """See :class:`~organism.context.interface.Context`."""
        if self.kept is None:
            stored: Mapping[str, Any] = (self._message.thread.state or {}).get(self.name, {})
            self.kept = HandlerState(stored, self._delivery)
        return self.kept

    def changes(self) -> dict[str, tuple[Any] | None] | None:
        """What this delivery changed of its state; for the pump."""
        return None if self.kept is None else self.kept.changes() or None

    @property
    def random(self) -> random.Random:
        """See :class:`~organism.context.interface.Context`."""
        if self._random is None:
            self._random = random.Random(self.message_id)  # noqa: S311 - repeatable on purpose
        return self._random

    def now(self) -> datetime:
        """See :class:`~organism.context.interface.Context`."""
        if not self._pump.kernel.book.listening:
            return datetime.fromtimestamp(self._pump.now(), UTC)
        if self._times is None:
            known: Times | None = self.recall(CLOCK)
            self._times = iter(() if known is None else (*known.read,))
        at = next(self._times, None)
        if at is None:
            at = self._pump.now()
            dealings = self._message.have_dealings()
            if dealings.clock_reads is None:
                dealings.clock_reads = []
            dealings.clock_reads.append(at)
        return datetime.fromtimestamp(at, UTC)

    @property
    def log(self) -> logging.LoggerAdapter[logging.Logger]:
        """See :class:`~organism.context.interface.Context`."""
        return logging.LoggerAdapter(logging.getLogger(f"organism.handlers.{self.name}"), {"thread_id": self.thread})

    # Threads

    async def in_thread(self, function: Callable[[Unpack[Ts]], T], *args: *Ts) -> T:
        """See :class:`~organism.context.interface.Context`."""
        if self._delivery.over or get_ident() != self._pump.own_loop.thread:
            await self._turned_away()
        return await self._pump.thread_pool.run(self._message, function, *args)

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """See :class:`~organism.context.interface.Context`."""
        return run_from_thread(work)

    # Handlers

    @overload
    async def ask(self, to: str, payload: Any, *, expect: None = None, timeout: float | None = None) -> Any: ...
    @overload
    async def ask(self, to: str, payload: Any, *, expect: TypeForm[P], timeout: float | None = None) -> P: ...

    async def ask(
        self, to: str, payload: Any, *, expect: TypeForm[P] | None = None, timeout: float | None = None
    ) -> Any:
        """See :class:`~organism.context.interface.Context`."""
        if self._delivery.over or get_ident() != self._pump.own_loop.thread:
            await self._turned_away()
        if timeout is not None:
            check_seconds("timeout", timeout)
        if expect is not None:
            check_expect(expect)
        ask = self._asked(to, payload, timeout)
        if isinstance(ask, Refusal):
            self._pump.carry_out()
            await self._let_others()
            raise refusal_error(ask)
        try:
            await self._answers((ask,), timeout)
        finally:
            if not ask.done:
                self._give_up((ask,), to, timeout)
        return payload_of(ask.answer, expect)

    async def request_budget(self, unit: str, amount: float | str | Decimal, reason: str) -> bool:
        """See :class:`~organism.context.interface.Context`."""
        try:
            asked = Decimal(str(amount))
        except InvalidOperation:
            raise ConfigurationError([f"{told(amount)} is not an amount"]) from None
        problem = request_problem(unit, asked)
        if problem is not None:
            raise ConfigurationError([problem])
        try:
            answer = await self.ask(ORGANISM, BudgetRequest(unit=unit, amount=asked, reason=reason))
        except HandlerFailedError as error:
            if error.code == "cycle":  # who decides waits for this very delivery
                return False
            raise
        return isinstance(answer, BudgetGranted)

    @overload
    async def ask_all(self, asks: Iterable[tuple[str, Any]], *, expect: None = None) -> list[Any]: ...
    @overload
    async def ask_all(self, asks: Iterable[tuple[str, Any]], *, expect: TypeForm[P]) -> list[P | OrganismError]: ...

    async def ask_all(self, asks: Iterable[tuple[str, Any]], *, expect: TypeForm[P] | None = None) -> list[Any]:
        """See :class:`~organism.context.interface.Context`."""
        if self._delivery.over or get_ident() != self._pump.own_loop.thread:
            await self._turned_away()
        check_expect(expect)
        asked = [self._asked(to, payload, None) for to, payload in pairs_of("ask_all", asks)]
        accepted = [ask for ask in asked if isinstance(ask, Ask)]
        if len(accepted) < len(asked):
            self._pump.carry_out()
            await self._let_others()
        try:
            if accepted:
                await self._answers(accepted)
        finally:
            left = [ask for ask in accepted if not ask.done]
            if left:
                self._give_up(left)
        answers: list[Any] = []
        for ask in asked:
            try:
                answers.append(refusal_error(ask) if isinstance(ask, Refusal) else payload_of(ask.answer, expect))
            except (HandlerFailedError, UnexpectedReplyError) as error:
                answers.append(error)
        return answers

    def _asked(self, to: str, payload: Any, timeout: float | None) -> Ask | Refusal:
        """What is asked, now or before this delivery's process ended, or why it may not be."""
        kernel, message = self._pump.kernel, self._message
        if not self._keyed:  # where nothing is kept, it was never asked before
            return kernel.asks.ask(message, to, payload, self._pump.now())
        key = self._key("ask", question(to, payload))
        ask: Ask | None = self.recall(key)
        if isinstance(ask, Ask) and ask.done and ask.answer is None:
            # Nobody waited for it any more when the process ended.
            if timeout is None:
                ask = None  # its own task was cancelled the first time; whatever did that will do it again
            else:
                ask.answer = timed_out(to, timeout)
        if ask is not None:
            return ask
        return kernel.asks.ask(message, to, payload, self._pump.now(), key=key)

    def _answers(self, asks: Sequence[Ask], timeout: float | None = None) -> Awaitable[None]:
        """Waits for asks to be done, so many seconds at most: laid aside where the delivery can be, else in the task that asks."""
        if timeout is None and self._pump.aside.takes(self._delivery):
            laid = Laid(self._pump.aside, self._delivery, asks)
            if laid.left:
                return laid
        return self._in_task(asks, timeout)

    async def _in_task(self, asks: Sequence[Ask], timeout: float | None) -> None:
        """Waits for asks to be done, so many seconds at most, in the task that asks."""
        delivery, wakeups = self._delivery, self._pump.wakeups
        self._pump.carry_out()
        delivery.begin_waiting()
        try:
            if timeout is None:
                for ask in asks:
                    await wakeups.answer_to(ask)
            else:
                with anyio.move_on_after(timeout):
                    for ask in asks:
                        await wakeups.answer_to(ask)
        finally:
            event = delivery.end_waiting()
            if event is not None:
                await stand_in_line(delivery, event)

    def _give_up(self, asks: Sequence[Ask], to: str = "", timeout: float | None = None) -> None:
        """Asks (of ``to``) were not done in time, or whoever waits for them was cancelled."""
        for ask in asks:
            self._pump.wakeups.asking.pop(ask, None)
        self._pump.kernel.asks.abandon(self._message, asks, self._pump.now())
        self._pump.carry_out()
        cancelled = Failure("timeout", "the ask was cancelled", retry=True)
        for ask in asks:
            ask.answer = cancelled if timeout is None else timed_out(to, timeout)

    async def spawn(self, to: str, payload: Any, *, budget: Mapping[str, Any] | None = None) -> ThreadHandle:
        """See :class:`~organism.context.interface.Context`."""
        if self._delivery.over or get_ident() != self._pump.own_loop.thread:
            await self._turned_away()
        settings = self._limits_of(to, budget)
        key = self._key("spawn", question(to, payload, repr(settings)))
        return await self._spawn(to, payload, settings, key)

    def _limits_of(self, to: str, budget: Mapping[str, Any] | None) -> BudgetSettings:
        """The budget of a sub-thread: its handler's own, with what was given over it."""
        callee = self._pump.handlers.get(to) if to != self.name else None
        settings = callee.budget if callee is not None and callee.budget is not None else _NO_BUDGET
        return settings if budget is None else budget_over(settings, budget, self._pump.handlers)

    async def _spawn(self, to: str, payload: Any, settings: BudgetSettings, key: str) -> ThreadHandle:
        """The handle of a sub-thread that is opened, or was before. Raises what it is refused for."""
        pump = self._pump
        known = self.recall(key)
        if known is not None:
            handle: ThreadHandle = self._spawned_before(known)
            await anyio.lowlevel.checkpoint()
            return handle
        thread = pump.kernel.asks.spawn(self._message, to, payload, settings, pump.now(), key=key)
        if isinstance(thread, Refusal):
            pump.carry_out()
            await self._let_others()
            raise refusal_error(thread)
        handle = self._handle_of(thread)
        pump.carry_out()
        await anyio.lowlevel.checkpoint()
        return handle

    def _handle_of(self, thread: Thread) -> ThreadHandle:
        """A handle for the handler: its timeout stops, and its place is free, while it waits for the result."""
        return ThreadHandle(self._pump, thread, end_of(self._pump.handle(thread)), Waiting(self._delivery))

    def _spawned_before(self, id_: str) -> ThreadHandle:
        """The handle of a sub-thread that this delivery spawned before its process ended; it may have ended since."""
        live = self._pump.kernel.state.threads.get(id_)
        if live is not None:
            return self._handle_of(live)
        ended = (self._message.thread.have_below().records or {})[id_]
        return handle_of_record(self._pump, ended, owner=self._message.frame, waiting=Waiting(self._delivery))


def payload_of(answer: Any, expect: Any) -> Any:
    """The payload of an answer. Raises HandlerFailedError where it is a Failure, UnexpectedReplyError where it is no ``expect``."""
    if isinstance(answer, Failure):
        raise failed_by(answer)
    return as_expected(answer, expect)


def timed_out(to: str, timeout: float) -> Failure:
    """What an asker hears of an ask that was not answered in ``timeout`` seconds."""
    return Failure("timeout", f"'{to}' did not reply within {duration(timeout)}", retry=True)
