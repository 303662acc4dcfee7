"""One call over the backends of its alias: where each attempt goes, what it waits for first, and what all of them came to.

What is waited for, in this order: the backoff of a backend that failed and a circuit that is open, a place among its
``max_concurrent``, its requests and tokens per minute, and then the budget. Nothing is held until the budget grants it (R18), and
nothing is waited for that is known to come after the deadline.
"""

from __future__ import annotations

import logging
import math
from functools import partial
from typing import TYPE_CHECKING, Final

import anyio
from attrs import define

from organism.errors import BudgetExhaustedError, ConfigurationError, ModelError
from organism.models.attempts import Attempt
from organism.models.completion import Completion
from organism.models.contract import Backend, BackendError, Response
from organism.models.failover import Turn
from organism.models.lengthy import Lengthy
from organism.models.needs import claim_of, weight_of
from organism.models.pacing import UNTAKEN, Taken, TooLateError
from organism.models.prices import UNKNOWN, Rates, counts_as_nothing, rates, unpriced
from organism.models.seats import Seat, one_line
from organism.quick import maker
from organism.usage import Usage, new_usage, usd

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence
    from contextlib import AbstractContextManager
    from datetime import datetime

    from organism.budget.claims import Charge, Crossing
    from organism.kernel.places import Places
    from organism.models.completion import Call
    from organism.models.failover import Way
    from organism.models.ledger import Ledger
    from organism.models.prompt import Prompt
    from organism.settings import ModelSettings

log: Final = logging.getLogger("organism.models")
_FULL: Final = (
    "all its places are taken by streams that stay open until this call is over, its own or of others that wait for it; "
    "leave a stream before what you call or ask next, or raise `max_concurrent`"
)
_UNTRIED: Final = (
    "its circuit is open, and the call that tries it waits for budget which is held by streams that stay open until this call is over, "
    "its own or of others that wait for it; leave a stream before what you call or ask next, or give more budget"
)


@define
class _Start:
    """An attempt that may be made: the backend, what was taken of its rate, and whether it is the probe of its circuit."""

    turn: Turn
    seat: Seat
    backend: Backend
    taken: Taken
    probe: bool


_new_start: Final = maker(_Start)
_new_attempt: Final = maker(Attempt)
_new_completion: Final = maker(Completion)


class Run:
    """One call over the backends of its alias, up to an answer or to the error that says what each attempt met.

    ``prompt_of`` gives what a backend gets to see of the prompt; ``instead_of`` is the alias that was asked for, where the call was
    downgraded.
    """

    def __init__(
        self,
        call: Call,
        alias: ModelSettings,
        seats: Sequence[Seat],
        way: Way,
        *,
        prompt_of: Callable[[Seat], Prompt],
        ledger: Ledger,
        clock: Callable[[], datetime],
        time: Callable[[], float],
        within: Callable[[float], AbstractContextManager[object]],
        heed: Callable[[], Awaitable[object]],
        instead_of: str = "",
    ) -> None:
        self.call = call
        self._prompt_of = prompt_of
        self.ledger = ledger
        self._alias = alias
        self._seats = seats
        self._way = way
        self._clock = clock
        self.time = time
        self.within = within
        self.heed = heed
        self._instead_of = instead_of
        self._causes: list[str] = []
        self._error: Exception | None = None
        self._charges: list[Charge] = []
        self._crossings: list[Crossing] = []
        self._attempts = 0
        self._holds = 0
        """One for each attempt, and for each that was not made after all."""
        self._untold: list[str] = []
        """Those of which no log tells yet."""
        self._reopened: dict[int, int] = {}
        """How often a circuit had been opened when the call began to wait for it."""

    def attempt(self) -> Trying:
        """The next attempt, held and not yet made. A BackendError that leaves the block ends the attempt and nothing else:
        it is settled, noted and swallowed, and the caller comes back for the next one. Entering raises ModelError when no attempt
        is left, and BudgetExhaustedError when its hold is refused.
        """
        return Trying(self)

    async def begin(self) -> Attempt:
        """The next attempt, held, at its place: whoever ends it gives the place back. Raises as :meth:`attempt` does."""
        while True:
            # The place first, then the hold: whoever waits for a place has nothing held that others could use.
            start = await self._start()
            if self._untold:
                self._tell()
            seat = start.seat
            try:
                attempt = await self._held(start)
            except BaseException:
                # Where its hold is refused it was no attempt, and gives back what it took.
                seat.circuit.left(probe=start.probe)
                seat.pace.give_back(start.taken, self.time())
                seat.slots.release()
                raise
            # While it waited, for its place or its hold, another call may have found one.
            if not self._obstacle(seat):
                self._attempts += 1
                return attempt
            attempt.left()

    def note(self, attempt: Attempt, error: BackendError) -> None:
        """Takes down why an attempt failed, and decides by it where the next one goes."""
        now = self.time()
        self._say(attempt.seat, f"attempt {attempt.number}: {attempt.seat.told(error)}")
        self._error = error
        self._way.failed(attempt.turn.backend, error, now)
        if error.kind == "rate_limited":
            attempt.seat.pace.refused(self._way.pause(error.retry_after), now)
        attempt.seat.circuit.failed(error.kind, now, probe=attempt.probe)

    def failure(self) -> ModelError:
        """The error that the caller gets, with a line for each attempt."""
        error = ModelError(self._alias.name, self._causes)
        error.__cause__ = self._error
        return error

    def charged(self, charge: Charge, crossings: Sequence[Crossing]) -> None:
        """Adds up what an attempt did cost."""
        self._charges.append(charge)
        self._crossings += crossings

    def completion(self, attempt: Attempt, response: Response, *, finish_reason: str | None = None) -> Completion:
        """What the caller gets, with the figures of all attempts."""
        usage = _sum(self._charges)
        return _new_completion(
            text=response.text,
            message=response.message,
            model=response.model or attempt.seat.settings.model,
            backend=attempt.seat.name,
            usage=usage,
            cost_usd=usage.cost_usd,
            tool_calls=response.tool_calls,
            finish_reason=finish_reason or response.finish_reason,
            latency=attempt.ended - attempt.started,
            attempts=self._attempts,
            warnings=tuple(self._crossings),
            clamped=attempt.held.clamped,
        )

    # Where it goes

    async def _start(self) -> _Start:
        """Waits until an attempt may be made, and takes its place. Raises ModelError when there is none to make."""
        while True:
            turn, seat, ready = self._turn()
            if ready is None:
                if not await self._come(turn, seat):
                    self._pass_over(turn, seat, _UNTRIED)
                continue
            if isinstance(ready, Lengthy):
                await self._made_by(ready)
                continue
            if seat.slots.value:
                await seat.slots.acquire()  # whoever is cancelled already hears of it here
            elif not await self._queue(seat, seat.slots.acquire):
                self._pass_over(turn, seat, _FULL)
                continue
            try:
                taken = UNTAKEN if seat.pace.unlimited else await self._paced(turn, seat)
                start = None if taken is None else self._tried(turn, seat, ready, taken)
            except BaseException:
                seat.slots.release()
                raise
            if start is not None:
                return start
            seat.slots.release()

    async def _made_by(self, work: Lengthy[Backend]) -> None:
        """Waits until a backend is made. Raises BudgetExhaustedError where the seconds of the budget are over before that."""
        left = self.ledger.seconds_left
        with anyio.CancelScope(deadline=math.inf if left is None else self.time() + left) as scope:
            await work.wait()
        if scope.cancelled_caught:
            raise self.ledger.out_of_time()

    async def _come(self, turn: Turn, seat: Seat) -> bool:
        """Waits until the turn has come, or another circuit has changed; ``False`` where it would wait for ever."""
        if turn.at < math.inf:
            await seat.bell.heard(min(turn.at, self._deadline()))
            return True
        return await self._queue(seat.circuit, partial(seat.bell.heard, self._deadline()))

    async def _queue(self, at: Places, come: Callable[[], Awaitable[object]]) -> bool:
        """Waits for a place to come; ``False`` where it would wait for ever, since those who have all of them wait for it."""
        with anyio.CancelScope() as scope, self.ledger.queued(at, scope.cancel):
            await come()
        return not scope.cancelled_caught

    def _tried(self, turn: Turn, seat: Seat, backend: Backend, taken: Taken) -> _Start | None:
        """The attempt, now that the rate of its backend allows it; ``None`` where it is not to be made any more."""
        if seat.circuit.state == "closed":  # so are most
            return _new_start(turn, seat, backend, taken, probe=False)
        now = self.time()
        if seat.circuit.passes_at(now) > now:  # it opened meanwhile, or another call is the probe
            seat.pace.give_back(taken, now)
            return None
        return _new_start(turn, seat, backend, taken, seat.circuit.begin(now))

    async def _paced(self, turn: Turn, seat: Seat) -> Taken | None:
        """Waits for what the backend may get in a minute; ``None`` where that comes after the deadline."""
        weight = weight_of(self.call, self._alias, seat, self._prompt_of(seat))
        try:
            return await seat.pace.turn(weight, deadline=self._deadline())
        except TooLateError as late:
            self._pass_over(turn, seat, f"its rate allows the call in {late.seconds:.3g} s only, after its deadline")
            return None

    def _turn(self) -> tuple[Turn, Seat, Backend | Lengthy[Backend] | None]:
        """The next turn at a backend that may be used, and the backend or what makes it; ``None`` instead where the turn has not come yet.
        Raises ModelError when there is none.
        """
        while True:
            now = self.time()
            turn = self._way.next(now, partial(self._passes_at, now))
            if turn is None:
                raise self.failure()
            seat = self._seats[turn.backend]
            try:
                obstacle = self._obstacle(seat)
                if not obstacle:
                    if turn.at <= now:
                        return turn, seat, seat.backend if seat.backend is not None else seat.begin() or seat.make()
                    obstacle = self._in_vain(turn, seat, now)
            except ConfigurationError as error:
                obstacle = one_line("; ".join(error.mistakes))
                self._error = error
            if not obstacle:
                return turn, seat, None
            self._pass_over(turn, seat, obstacle)

    def _passes_at(self, now: float, backend: int) -> float:
        return self._seats[backend].circuit.passes_at(now)

    def _obstacle(self, seat: Seat) -> str:
        """Why a backend is not to be touched by this call, if so."""
        if seat.excess and self.ledger.strict:
            return seat.closed
        if seat.rates is None and self.ledger.needs_price and self._rates(seat) is None:
            return unpriced(seat.settings)
        return ""

    def _in_vain(self, turn: Turn, seat: Seat, now: float) -> str:
        """Why it is of no use to wait for a turn: it comes after the deadline, or the circuit was tried and is open again."""
        deadline = self._deadline()
        if turn.at > deadline if turn.at < math.inf else now >= deadline:
            when = f"in {turn.at - now:.3g} s" if turn.at < math.inf else "once another call has tried it"
            why = "its circuit is open, and " if seat.circuit.state != "closed" else ""
            return f"{why}it may be asked {when} only, after the deadline of the call"
        if seat.circuit.state == "closed":
            return ""
        first = self._reopened.setdefault(turn.backend, seat.circuit.reopened)
        return "" if first == seat.circuit.reopened else "its circuit was tried meanwhile, and is open again"

    def _pass_over(self, turn: Turn, seat: Seat, why: str) -> None:
        self._say(seat, why)
        self._way.skip(turn.backend)

    def _deadline(self) -> float:
        """When the call must be over, by anyio's clock: that of the scopes that it is made in, or its budget's seconds."""
        left = self.ledger.seconds_left
        scopes = anyio.current_effective_deadline()
        # One that is cancelled already hears of it at the next wait.
        return min(math.inf if scopes == -math.inf else scopes, math.inf if left is None else self.time() + left)

    # What it holds

    async def _held(self, start: _Start) -> Attempt:
        seat = start.seat
        # The price of now, after all the waiting; one that nobody knows was refused above, or is to be ignored.
        price = self._rates(seat) or self._without_price(seat)
        counted = bool(self._charges) and any(charge.model_calls for charge in self._charges)
        prompt = self._prompt_of(seat)
        claim = claim_of(
            self.call,
            self._alias,
            seat,
            price,
            prompt=prompt,
            strict=self.ledger.strict,
            model_calls=0 if counted else 1,
        )
        number = self._holds + 1
        at = (seat, seat.circuit) if start.probe else (seat,)
        try:
            held = await self.ledger.hold(claim, alias=self._alias.name, backend=seat.name, attempt=number, at=at)
        except BudgetExhaustedError as refused:
            for cause in self._causes:
                refused.add_note(f"before: {cause}")
            raise
        self._holds = number
        return _new_attempt(
            run=self,
            turn=start.turn,
            seat=seat,
            backend=start.backend,
            number=self._attempts + 1,
            prompt=prompt,
            claim=claim,
            held=held,
            rates=price,
            started=self.time(),
            taken=start.taken,
            probe=start.probe,
        )

    def _without_price(self, seat: Seat) -> Rates:
        if not seat.said_unpriced:
            seat.said_unpriced = True
            log.warning("%s: %s", seat.place, counts_as_nothing(seat.settings))
        return UNKNOWN

    def _rates(self, seat: Seat) -> Rates | None:
        return seat.rates or rates(seat.settings, self._clock(), extra=self.call.extra)

    def _say(self, seat: Seat, what: str) -> None:
        instead = f" (instead of {self._instead_of})" if self._instead_of else ""
        cause = f"{self._alias.name}{instead} via {seat.name} ({seat.place}): {what}"
        self._causes.append(cause)
        self._untold.append(cause)

    def _tell(self) -> None:
        """Says what failed so far, where the call goes on; where it does not, its error says it."""
        for cause in self._untold:
            log.warning("%s", cause)
        self._untold.clear()


class Trying:
    """The block of one attempt, see :meth:`Run.attempt`."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._attempt: Attempt | None = None

    async def __aenter__(self) -> Attempt:
        self._attempt = attempt = await self._run.begin()
        return attempt

    async def __aexit__(self, kind: object, error: BaseException | None, traceback: object) -> bool:
        attempt = self._attempt
        assert attempt is not None  # noqa: S101 - it was entered
        try:
            return attempt.noted(error)
        finally:
            attempt.left()


def _sum(charges: Sequence[Charge]) -> Usage:
    if len(charges) == 1:
        return _usage_of(charges[0])
    given = sum(charge.input_tokens for charge in charges)
    answered = sum(charge.output_tokens for charge in charges)
    return Usage(
        input_tokens=given,
        output_tokens=answered,
        cache_read_tokens=sum(charge.cache_read_tokens for charge in charges),
        cache_write_tokens=sum(charge.cache_write_tokens for charge in charges),
        reasoning_tokens=sum(charge.reasoning_tokens for charge in charges),
        tokens=given + answered,
        cost_usd=usd(sum(charge.cost for charge in charges)),
        model_calls=sum(charge.model_calls for charge in charges),
        estimated=any(charge.estimated for charge in charges),
    )


def _usage_of(charge: Charge) -> Usage:
    return new_usage(
        input_tokens=charge.input_tokens,
        output_tokens=charge.output_tokens,
        cache_read_tokens=charge.cache_read_tokens,
        cache_write_tokens=charge.cache_write_tokens,
        reasoning_tokens=charge.reasoning_tokens,
        tokens=charge.input_tokens + charge.output_tokens,
        cost_usd=usd(charge.cost),
        model_calls=charge.model_calls,
        estimated=charge.estimated,
    )
