"""One call on its way: each attempt waits for its turn and its place, holds, asks, and settles on every way out (R18)."""

from __future__ import annotations

import logging
import math
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Final

import anyio
import anyio.lowlevel
from attrs import define, field

from organism.budget.claims import Charge, Claim
from organism.errors import BudgetExhaustedError, ConfigurationError, ModelError
from organism.models.checked import provider_at_work, provider_closing, response_of, usage_of
from organism.models.completion import Completion
from organism.models.contract import Backend, BackendError, RawUsage, Request, Response
from organism.models.estimates import Text, bound
from organism.models.failover import Turn
from organism.models.ledger import Held
from organism.models.measured import Measured, measured
from organism.models.prices import UNKNOWN, Rates, counts_as_nothing, rates, unpriced
from organism.models.seats import Seat, one_line
from organism.usage import Usage, usd

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
    from datetime import datetime

    from organism.budget.claims import Crossing
    from organism.models.completion import Call
    from organism.models.contract import Stream
    from organism.models.failover import Way
    from organism.models.ledger import Ledger
    from organism.models.prompt import Prompt
    from organism.settings import ModelSettings

log: Final = logging.getLogger("organism.models")


@define(kw_only=True, eq=False)
class Attempt:
    """One attempt whose claim is held. :meth:`settle` ends it, once; the run settles what nobody else did."""

    run: Run
    turn: Turn
    seat: Seat
    backend: Backend
    number: int
    claim: Claim
    held: Held
    rates: Rates
    started: float
    received: list[str] = field(factory=list[str])
    reported: RawUsage | None = None
    touched: bool = False
    charge: Charge | None = None

    @property
    def request(self) -> Request:
        """What the backend is asked."""
        call = self.run.call
        return Request(
            model=self.seat.settings.model,
            messages=call.messages,
            max_output_tokens=self.held.output_tokens,
            tools=call.tools,
            tool_choice=call.tool_choice,
            returns=call.returns,
            temperature=call.temperature,
            seed=call.seed,
            reasoning_effort=call.reasoning_effort,
            options=self.seat.settings.options,
            extra=call.extra,
        )

    async def ask(self) -> Response:
        """The whole answer. Raises BackendError, also for what a provider does that no provider should."""
        with anyio.move_on_after(self.seat.settings.timeout):
            await self._about_to_touch()
            with provider_at_work():
                return response_of(await self.backend.complete(self.request))
        raise self.timed_out()

    @asynccontextmanager
    async def open(self) -> AsyncGenerator[Stream]:
        """The open stream; opening raises BackendError. How the provider closes it makes no difference to who reads it."""
        with anyio.move_on_after(self.seat.settings.timeout) as scope:
            await self._about_to_touch()
            with provider_at_work():
                opened = self.backend.stream(self.request)
                stream = await opened.__aenter__()
            # From here on the deadline is watched piece by piece: time that the reader takes is not the backend's.
            scope.deadline = math.inf
            try:
                yield stream
            except BaseException as error:
                await self.close(partial(opened.__aexit__, type(error), error, error.__traceback__))
                raise
            else:
                await self.close(partial(opened.__aexit__, None, None, None))
        if scope.cancelled_caught:
            raise self.timed_out()

    async def close(self, closing: Callable[[], Awaitable[object]]) -> None:
        """Closes something of the provider's, within its ``timeout``; what it raises is logged, for all is settled by then."""
        with anyio.move_on_after(self.seat.settings.timeout), provider_closing(self.seat.name):
            await closing()

    async def _about_to_touch(self) -> None:
        # Whoever was cancelled while waiting for the hold leaves here, before anything can be billed.
        await anyio.lowlevel.checkpoint_if_cancelled()
        self.touched = True

    def timed_out(self) -> BackendError:
        """The error of an attempt that took longer than the backend's ``timeout``."""
        return BackendError("timeout", f"no answer within {self.seat.settings.timeout:g} s")

    def answered(self, response: Response) -> Completion:
        """Settles a whole answer, and makes of it what the caller gets."""
        self.received = [response.text, *(f"{call.name}{call.arguments}" for call in response.tool_calls)]
        self.settle(usage_of(response))
        return self.run.completion(self, response)

    def failed(self, error: BackendError) -> None:
        """Settles a failure: nothing where the provider says that it bills nothing, and has sent nothing yet."""
        if self.touched and (error.billed or self.received):
            self.received = [error.received or "".join(self.received)]
            self.settle(usage_of(error) or self.reported)
        else:
            self.release()
        self.run.note(self, error)

    def abandoned(self) -> None:
        """Settles what was left without an answer: cancelled, or its stream not read to the end."""
        if self.touched:
            self.settle(self.reported)
        else:
            self.release()

    def settle(self, report: RawUsage | None) -> None:
        """Charges what was reported, or else the estimate of the input and of the output that came."""
        used = measured(report)
        estimated = used is None
        if used is None:
            used = self._guess()
        else:
            self._learn(used)
        self._charge(
            Charge(
                input_tokens=used.input_tokens,
                output_tokens=used.output_tokens,
                cost=self._cost(used),
                model_calls=self.claim.model_calls,
                cache_read_tokens=used.cache_read_tokens,
                cache_write_tokens=used.cache_write_tokens,
                reasoning_tokens=used.reasoning_tokens,
                estimated=estimated,
                unpriced=self.rates is UNKNOWN or None,
            )
        )

    def release(self) -> None:
        """Charges no tokens: nothing was billed. The call itself counts where its backend was touched."""
        self._charge(Charge(model_calls=self.claim.model_calls if self.touched else 0))

    def _learn(self, used: Measured) -> None:
        """Takes in a report: for estimates, and to see whether strict calls could rely on this backend."""
        prompt = self.run.prompt
        self.seat.estimates.learn(prompt, used.input_tokens)
        # Whoever is charged beyond the bound, under whatever accounting: the next strict call would be, too.
        most = math.inf if prompt.unbounded else bound_of(self.run.call, self.seat, prompt)
        excess = max(0, used.input_tokens - most) + max(0, used.output_tokens - self.held.output_tokens)
        if excess:
            self.seat.close(int(excess))

    def _guess(self) -> Measured:
        came = "".join(self.received).encode("utf-8", "surrogatepass")
        # The provider was told to stop at what was held, so what is only guessed never goes beyond that.
        output = min(self.seat.estimates.tokens([Text(came)]), self.held.output_tokens)
        return Measured(input_tokens=self.claim.input_tokens, output_tokens=output)

    def _cost(self, used: Measured) -> int:
        try:
            return self.rates.cost(used)
        except Exception:
            # A list of prices that fails must not leave a hold: it is charged at the prices that were held.
            log.exception("no cost of %s can be had of the list of prices", self.seat.name)
            given = -(-self.claim.input_cost * used.input_tokens // max(1, self.claim.input_tokens))
            return given + self.claim.output_price * used.output_tokens

    def _charge(self, charge: Charge) -> None:
        self.charge = charge
        self.run.charged(charge, self.run.ledger.settle(self.held, charge))


class Run:
    """One call over the backends of its alias, up to an answer or to the error that says what each attempt met."""

    def __init__(
        self,
        call: Call,
        alias: ModelSettings,
        seats: Sequence[Seat],
        way: Way,
        *,
        prompt: Prompt,
        ledger: Ledger,
        clock: Callable[[], datetime],
    ) -> None:
        self.call = call
        self.prompt = prompt
        self.ledger = ledger
        self._alias = alias
        self._seats = seats
        self._way = way
        self._clock = clock
        self._causes: list[str] = []
        self._error: Exception | None = None
        self._charges: list[Charge] = []
        self._crossings: list[Crossing] = []
        self._attempts = 0

    @asynccontextmanager
    async def attempt(self) -> AsyncGenerator[Attempt]:
        """The next attempt, held and not yet made. A BackendError that leaves the block ends the attempt and nothing else:
        it is settled, noted and swallowed, and the caller comes back for the next one. Raises ModelError when no attempt is
        left, and BudgetExhaustedError when its hold is refused.
        """
        turn, seat, backend = self._turn()
        if (wait := turn.at - anyio.current_time()) > 0:
            await anyio.sleep(wait)
        # The place first, then the hold: whoever waits for a place has nothing held that others could use.
        async with seat.slots:
            attempt = await self._held(turn, seat, backend)
            try:
                yield attempt
            except BackendError as error:
                if attempt.charge is not None:
                    raise
                attempt.failed(error)
            finally:
                if attempt.charge is None:
                    attempt.abandoned()

    def note(self, attempt: Attempt, error: BackendError) -> None:
        """Takes down why an attempt failed, and decides by it where the next one goes."""
        self._say(attempt.seat, f"attempt {attempt.number}: {attempt.seat.told(error)}")
        self._error = error
        self._way.failed(attempt.turn.backend, error, anyio.current_time())

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
        return Completion(
            text=response.text,
            message=response.message,
            model=response.model or attempt.seat.settings.model,
            backend=attempt.seat.name,
            usage=usage,
            cost_usd=usage.cost_usd,
            tool_calls=response.tool_calls,
            finish_reason=finish_reason or response.finish_reason,
            latency=anyio.current_time() - attempt.started,
            attempts=self._attempts,
            warnings=tuple(self._crossings),
            clamped=attempt.held.clamped,
        )

    def _turn(self) -> tuple[Turn, Seat, Backend]:
        """The next turn at a backend that may be used. Raises ModelError when there is none."""
        while turn := self._way.next(anyio.current_time()):
            seat = self._seats[turn.backend]
            try:
                obstacle = self._obstacle(seat)
                if not obstacle:
                    return turn, seat, seat.make()
            except ConfigurationError as error:
                obstacle = one_line("; ".join(error.mistakes))
                self._error = error
            self._say(seat, obstacle)
            self._way.skip(turn.backend)
        raise self.failure()

    def _obstacle(self, seat: Seat) -> str:
        """Why a backend is not to be touched by this call, if so."""
        if self.ledger.strict and seat.closed:
            return seat.closed
        if self.ledger.needs_price and self._rates(seat) is None:
            return unpriced(seat.settings)
        return ""

    async def _held(self, turn: Turn, seat: Seat, backend: Backend) -> Attempt:
        # The price of now, after all the waiting; one that nobody knows was refused above, or is to be ignored.
        price = self._rates(seat) or self._without_price(seat)
        counted = any(charge.model_calls for charge in self._charges)
        claim = claim_of(
            self.call,
            self._alias,
            seat,
            price,
            prompt=self.prompt,
            strict=self.ledger.strict,
            model_calls=0 if counted else 1,
        )
        number = self._attempts + 1
        try:
            held = await self.ledger.hold(claim, alias=self._alias.name, backend=seat.name, attempt=number)
        except BudgetExhaustedError as refused:
            for cause in self._causes:
                refused.add_note(f"before: {cause}")
            raise
        self._attempts = number
        return Attempt(
            run=self,
            turn=turn,
            seat=seat,
            backend=backend,
            number=number,
            claim=claim,
            held=held,
            rates=price,
            started=anyio.current_time(),
        )

    def _without_price(self, seat: Seat) -> Rates:
        if not seat.said_unpriced:
            seat.said_unpriced = True
            log.warning("%s: %s", seat.place, counts_as_nothing(seat.settings))
        return UNKNOWN

    def _rates(self, seat: Seat) -> Rates | None:
        return rates(seat.settings, self._clock(), extra=self.call.extra)

    def _say(self, seat: Seat, what: str) -> None:
        cause = f"{self._alias.name} via {seat.name} ({seat.place}): {what}"
        self._causes.append(cause)
        log.warning("%s", cause)


def bound_of(call: Call, seat: Seat, prompt: Prompt) -> int:
    """The most input that a backend may charge for a prompt (R13): more of it closes the backend to strict calls."""
    return bound(prompt, sent_along=(seat.settings.options, call.extra)) + seat.settings.overhead


def claim_of(
    call: Call, alias: ModelSettings, seat: Seat, price: Rates, *, prompt: Prompt, strict: bool, model_calls: int = 1
) -> Claim:
    """The need of one attempt at a backend (R13)."""
    wish = next(w for w in (call.max_output_tokens, call.wish, alias.max_output_tokens) if w is not None)
    if strict:
        given = bound_of(call, seat, prompt)
    else:
        given = seat.estimates.input_tokens(prompt, overhead=seat.settings.overhead)
    return Claim(
        input_tokens=given,
        wish=wish,
        exact=call.max_output_tokens is not None,
        min_output=min(call.min_output_tokens, wish),
        input_cost=price.input_cost(given),
        output_price=price.output_price(given),
        model_calls=model_calls,
    )


def _sum(charges: Sequence[Charge]) -> Usage:
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
