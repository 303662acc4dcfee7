"""The budget of one model call: the router's :class:`organism.models.routing.ledger.Ledger`, on the kernel's books."""

from __future__ import annotations

import logging
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from organism.budget.levels import level_of
from organism.errors import BudgetExhaustedError
from organism.kernel.calls import CallFor
from organism.kernel.charges import overdrafts
from organism.kernel.holds import Hold
from organism.kernel.recall import is_counted
from organism.models.routing.ledger import Held
from organism.models.tokens.prefixes import digests_of
from organism.pump.keys import kept_of
from organism.pump.thread_budget import is_strict, needs_price, out_of_time, seconds_left
from organism.quick import maker
from organism.usage import Tally

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Sequence
    from contextlib import AbstractContextManager

    from organism.budget.claims import Charge, Claim, Crossing
    from organism.kernel.places import Places
    from organism.kernel.prompts import Prompt
    from organism.models.completion import Call, Completion
    from organism.models.tokens.prompt import Prompt as Estimated
    from organism.pump.pump import Pump
    from organism.record.images import Missed
    from organism.settings import Level
    from organism.threads.frames import Message, Thread
    from organism.threads.outcomes import Warned

_log: Final = logging.getLogger("organism.budget")
_new_call_for: Final = maker(CallFor)
_new_held: Final = maker(Held)
_TEXT: Final = 1000
"""Characters that are kept of why no backend answered."""


class CallLedger:
    """Holds and settles for one call (``asked``) and its attempts, of a delivery (``message``) or of a thread without handlers.

    ``tells`` are the warnings in its prompt, which count as told once the first attempt is granted. ``prompt`` is what the
    model is asked, where that is recorded.
    """

    def __init__(
        self,
        pump: Pump,
        thread: Thread,
        message: Message | None,
        asked: Call,
        *,
        grace: bool,
        wait: bool,
        streamed: bool,
        tells: Sequence[Warned] = (),
        prompt: Prompt | None = None,
    ) -> None:
        self._pump = pump
        self._thread = thread
        self._message = message
        self._asked = asked
        self._grace = grace
        self._wait = wait
        self._streamed = streamed
        self._tells = tells
        self._prompt = prompt
        self._alias = asked.model
        """The model alias that is really called: another one than was asked for where the call was downgraded."""
        self._latest: CallFor | None = None
        """The attempt that was last held for."""
        self._holds: dict[int, Hold] = {}
        self._first: int | None = None
        """The hold of its first attempt."""
        self._attempts = 0
        """How many were made and are over."""
        self._spent: Tally | None = None
        """What its attempts cost, while facts are recorded."""
        self._over = False

    @property
    def strict(self) -> bool:
        """See :class:`organism.models.routing.ledger.Ledger`."""
        return is_strict(self._thread.node)

    @property
    def needs_price(self) -> bool:
        """See :class:`organism.models.routing.ledger.Ledger`."""
        return needs_price(self._thread.node)

    @property
    def counted(self) -> bool:
        """See :class:`organism.models.routing.ledger.Ledger`."""
        return self._prompt is not None and is_counted(self._message, self._prompt.key)

    @property
    def level(self) -> Level | None:
        """See :class:`organism.models.routing.ledger.Ledger`."""
        return level_of(self._thread.node.path)

    @property
    def seconds_left(self) -> float | None:
        """The least that the thread and those above it have left."""
        return seconds_left(self._pump.kernel, self._pump.deadlines, self._thread, self._pump.now())

    def out_of_time(self) -> BudgetExhaustedError:
        """See :class:`organism.models.routing.ledger.Ledger`."""
        late = self._pump.kernel.calls.time_is_up(self._thread)
        return late or out_of_time(self._pump.kernel, self._pump.deadlines, self._thread, self._pump.now())

    @contextmanager
    def queued(self, at: Places, refuse: Callable[[], object]) -> Generator[None]:
        """See :class:`organism.models.routing.ledger.Ledger`."""
        pump = self._pump
        try:
            with pump.kernel.calls.knots.queued(self._message or self._thread, at, refuse, pump.scopes()):
                pump.carry_out()  # this one may have deadlocked calls that wait already, and nothing else need ever happen
                yield
        except BaseException:
            pump.carry_out()  # the same goes for giving up
            raise

    def keeping(self, at: Places) -> AbstractContextManager[object]:
        """See :class:`organism.models.routing.ledger.Ledger`."""
        return self._pump.kernel.calls.knots.keeping(self._message or self._thread, at, self._pump.scopes())

    async def hold(self, claim: Claim, *, alias: str, backend: str, attempt: int, at: tuple[Places, ...]) -> Held:
        """See :class:`organism.models.routing.ledger.Ledger`."""
        self._alias = alias
        call = self._latest = self._call(alias, backend, attempt, at)
        verdict = self._pump.kernel.calls.hold(claim, call, self._pump.look(), self._pump.scopes())
        if not isinstance(verdict, (Hold, BudgetExhaustedError)):
            self._pump.deadlines.watch_windows()
            verdict = await self._pump.wakeups.turn_of(verdict)
        if self._pump.kernel.calls.answered or isinstance(verdict, BudgetExhaustedError):
            self._pump.carry_out()
        if isinstance(verdict, BudgetExhaustedError):
            raise verdict
        if self._pump.writer is not None:
            try:
                await self._pump.settled(self._thread)  # the hold is durable before the backend is touched (R20)
            except BaseException:
                self._pump.wakeups.give_up(verdict)
                raise
        if self._tells and self._message is not None:
            self._pump.kernel.noticed(self._message, self._tells, self._pump.now())
            self._tells = ()
        self._holds[verdict.id] = verdict
        if self._first is None:
            self._first = verdict.id
        return _new_held(id=verdict.id, output_tokens=verdict.output, clamped=verdict.clamped)

    def settle(
        self,
        held: Held,
        charge: Charge,
        missed: Missed | None = None,
        reported: Estimated | None = None,
        *,
        made: bool = True,
    ) -> tuple[Crossing, ...]:
        """See :class:`organism.models.routing.ledger.Ledger`."""
        hold = self._holds.pop(held.id)
        self._attempts += made
        digests: tuple[str, ...] = ()
        if self._pump.kernel.book.listening:
            digests = () if reported is None else digests_of(reported)
            self._spent = self._spent or Tally()
            self._spent.add(charge.amounts, charge.details, estimated=charge.estimated, unpriced=bool(charge.unpriced))
        crossed = self._pump.kernel.calls.settle(hold, charge, self._pump.now(), missed, digests)
        for line in overdrafts(hold, charge):
            _log.error("thread %s: %s", self._thread.id, line)
        self._pump.carry_out()
        return crossed

    async def completed(self, completion: Completion) -> None:
        """The call has its answer: records it. It is durable before whoever asked may act on it."""
        pump, kept, call = self._pump, None, self._latest
        if pump.kernel.book.listening or call is None:
            kept = kept_of(completion, unpriced=self._spent is not None and self._spent.unpriced)
            call = self._call(self._alias, completion.backend, 0)
        key = "" if self._prompt is None else self._prompt.key
        pump.kernel.calls.completed(call, completion.text, pump.now(), key=key, kept=kept)
        self._over = True
        if pump.writer is not None and (self._message is None or not pump.goes_ahead(self._message)):
            await pump.settled(self._thread)

    def watched(self) -> _Watched:
        """A block around the call: where it is left by an exception, the record says that no answer came."""
        return _Watched(self)

    def left_by(self, error: BaseException) -> None:
        """Records that the call is over without an answer, since this was raised."""
        if isinstance(error, BudgetExhaustedError):
            if self._first is not None:  # else the refusal says all there is
                self._unanswered("refused", str(error)[:_TEXT])
        elif isinstance(error, Exception):
            self._unanswered("failed", str(error)[:_TEXT])
        else:
            self._unanswered("cut", "whoever asked no longer waits for an answer")

    def _unanswered(self, outcome: str, text: str) -> None:
        if not self._over and self._pump.kernel.book.listening:
            call = self._call(self._alias, "", self._attempts)
            self._pump.kernel.calls.unanswered(call, outcome, text, self._spent or Tally(), self._pump.now())

    def _call(self, alias: str, backend: str, attempt: int, at: tuple[Places, ...] = ()) -> CallFor:
        return _new_call_for(
            thread=self._thread,
            message=self._message,
            alias=alias,
            backend=backend,
            attempt=attempt,
            grace=self._grace,
            wait=self._wait,
            streamed=self._streamed,
            key="" if self._prompt is None else self._prompt.key,
            prompt=self._prompt if attempt == 1 else None,
            tags=self._asked.tags,
            call=self._first,
            at=at,
        )


class _Watched:
    """See :meth:`CallLedger.watched`. Written without a generator, which would take longer."""

    __slots__ = ("_ledger",)

    def __init__(self, ledger: CallLedger) -> None:
        self._ledger = ledger

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        if error is not None:
            self._ledger.left_by(error)
