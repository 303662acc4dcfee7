"""One attempt at one backend: it asks what was held for it, and settles on every way out (R18)."""

from __future__ import annotations

import logging
import math
from collections.abc import Awaitable, Callable
from contextlib import AbstractContextManager, asynccontextmanager
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Final, Protocol

import anyio
from attrs import define, evolve, field, frozen

from organism.budget.claims import Charge, Claim
from organism.models.contract import Backend, BackendError, RawUsage, Request, Response
from organism.models.prices import UNKNOWN, Rates
from organism.models.routing.deployments import Deployment, one_line
from organism.models.routing.failover import Turn
from organism.models.routing.ledger import Held, bound_of
from organism.models.routing.rate_limits import Taken
from organism.models.tokens.profiles import Text
from organism.models.tokens.prompt import Prompt
from organism.models.tokens.usage import Measured, Output, measured
from organism.models.validation import allowance_of, provider_at_work, provider_closing, response_of, usage_of
from organism.names import counted
from organism.quick import maker
from organism.record.images import Missed

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Sequence

    from organism.budget.claims import Crossing
    from organism.errors import ModelError
    from organism.models.completion import Call, Completion
    from organism.models.contract import Stream
    from organism.models.routing.ledger import Ledger

log: Final = logging.getLogger("organism.models")
_new_request: Final = maker(Request)
_new_charge: Final = maker(Charge)


@frozen(kw_only=True)
class Clocks:
    """What time goes by: ``now`` (aware) dates the prices, and ``time`` is the clock of all waiting. ``within`` makes a block that is cancelled
    after so many seconds of it; ``heed`` raises where the task is cancelled already.
    """

    now: Callable[[], datetime]
    time: Callable[[], float]
    within: Callable[[float], AbstractContextManager[object]]
    heed: Callable[[], Awaitable[object]]


class Whole(Protocol):
    """The call that an attempt is one of, see :class:`organism.models.routing.runs.Run`."""

    call: Call
    ledger: Ledger
    clocks: Clocks

    def note(self, attempt: Attempt, error: BackendError) -> None:
        """Takes down why the attempt failed."""
        ...

    def failure(self) -> ModelError:
        """The error that the caller gets."""
        ...

    def charged(self, charge: Charge, crossings: Sequence[Crossing]) -> None:
        """Adds up what the attempt did cost."""
        ...

    def completion(self, attempt: Attempt, response: Response, *, finish_reason: str | None = None) -> Completion:
        """What the caller gets."""
        ...


@define
class Unsent:
    """Whether an attempt was given up before anything of it was sent, as its request's provider says: nothing can be billed. Apart from the
    attempt, since whoever keeps the request would keep the whole call.
    """

    noted: bool = False

    def note(self) -> None:
        """Nothing was sent."""
        self.noted = True


@define(kw_only=True, eq=False)
class Attempt:
    """One attempt whose claim is held. :meth:`settle` ends it, once; the run settles what nobody else did.

    ``taken`` is what it took of the backend's rate; ``probe``: it tries a circuit that was open.
    """

    run: Whole
    turn: Turn
    deployment: Deployment
    backend: Backend
    number: int
    prompt: Prompt
    """As the backend gets to see it."""
    claim: Claim
    held: Held
    rates: Rates
    started: float
    taken: Taken
    probe: bool = False
    renewals: int = 0
    """How often its backend had been given another key."""
    output: Output = field(factory=Output)
    """The tokens that a stream has brought."""
    received: list[str] = field(factory=list[str])
    """The output that came."""
    reported: RawUsage | None = None
    covered: int = 0
    """How many pieces of the output had come when it was reported."""
    ended: float = 0.0
    """When it was settled."""
    touched: bool = False
    unsent: Unsent = field(factory=Unsent)
    charge: Charge | None = None
    learned: bool = False
    """Its prompt is known by what was reported for it."""
    missed: Missed | None = None
    """Why it failed, where its backend said so."""

    @property
    def request(self) -> Request:
        """What the backend is asked."""
        call = self.run.call
        return _new_request(
            model=self.deployment.settings.model,
            messages=call.messages,
            max_output_tokens=self.held.output_tokens,
            tools=call.tools,
            tool_choice=call.tool_choice,
            returns=call.returns,
            temperature=call.temperature,
            seed=call.seed,
            reasoning_effort=call.reasoning_effort,
            options=self.deployment.settings.options,
            extra=call.extra,
            came=self.received.append,
            unsent=self.unsent.note,
        )

    async def ask(self) -> Response:
        """The whole answer. Raises BackendError, also for what a provider does that no provider should."""
        with self.run.clocks.within(self.deployment.settings.timeout):
            await self._about_to_touch()
            with provider_at_work():
                return response_of(await self.backend.complete(self.request))
        raise self.timed_out()

    @asynccontextmanager
    async def open(self) -> AsyncGenerator[Stream]:
        """The open stream; opening raises BackendError. How the provider closes it makes no difference to who reads it."""
        with anyio.move_on_after(self.deployment.settings.timeout) as scope:
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
        with anyio.move_on_after(self.deployment.settings.timeout), provider_closing(self.deployment.name):
            await closing()

    async def _about_to_touch(self) -> None:
        # Whoever was cancelled while waiting for the hold leaves here, before anything can be billed.
        await self.run.clocks.heed()
        self.touched = True

    def timed_out(self) -> BackendError:
        """The error of an attempt that took longer than the backend's ``timeout``."""
        seconds = f"{self.deployment.settings.timeout:g} s"
        if self.unsent.noted:
            return BackendError("connection", f"no connection within {seconds}")
        return BackendError("timeout", f"no answer within {seconds}")

    def answered(self, response: Response) -> Completion:
        """Settles a whole answer, and makes of it what the caller gets."""
        self.settle(usage_of(response), response)
        self.hear(response)
        self.deployment.circuit.answered(probe=self.probe)
        return self.run.completion(self, response)

    def hear(self, told: object) -> None:
        """Takes in what the provider said with its answer, or with a failure, of its rate limits."""
        allowance = allowance_of(told)
        if allowance is not None:
            self.deployment.pace.hear(self.taken, allowance, self.run.clocks.time())

    def spoke(self) -> None:
        """The first text of a stream has come."""
        self.deployment.circuit.spoke(probe=self.probe)

    def report(self, report: RawUsage | None) -> None:
        """What a stream reports, with its latest piece. One that says the same of its output as before was made when there was less."""
        if report is self.reported:
            return
        told, before = measured(report), measured(self.reported)
        if told is None or before is None or told.output_tokens > before.output_tokens:
            self.covered = len(self.received) + 1
        self.reported = report

    def receive(self, text: str) -> None:
        """A piece of a stream has come."""
        self.received.append(text)
        self.output.add(text)

    @property
    def overflows(self) -> bool:
        """Whether a stream has surely brought more output than the backend was told, and than is held."""
        return max(self.output.tokens, self._reported_output) > self.held.output_tokens

    @property
    def _reported_output(self) -> int:
        used = measured(self.reported)
        return 0 if used is None else used.output_tokens

    def cut(self) -> None:
        """Settles a stream that overflows: what came is charged, although it is more than was held."""
        held = self.held.output_tokens
        log.warning(
            "%s: it sends more output than it was asked for, %s; the stream is closed",
            self.deployment.name,
            counted(held, "token"),
        )
        if self._reported_output > held:
            self.settle(self.reported)
        else:
            used = measured(self.reported) or self._guess()
            self._charge_for(evolve(used, output_tokens=self.output.tokens), estimated=True)
            self.deployment.close(self.output.tokens - held)
        self.deployment.circuit.answered(probe=self.probe)

    def failed(self, error: BackendError) -> None:
        """Settles a failure: nothing where the provider says that it bills nothing, and has sent nothing yet."""
        self.missed = Missed(kind=error.kind, text=one_line(str(error)))
        report = usage_of(error)
        if not self.touched or not (error.billed or self.received):
            self.release()
        elif report is None or report is self.reported:
            self.received = [error.received] if error.received else self.received
            self._settle_part()
        else:
            self.settle(report)
        self.hear(error)
        self.run.note(self, error)

    def _settle_part(self) -> None:
        """Charges what was reported before the end, and the estimate of what came after that."""
        used, late = measured(self.reported), "".join(self.received[self.covered :])
        if used is None or not late:
            self.settle(self.reported)
            return
        self._learn(used)
        most = max(used.output_tokens, self.held.output_tokens)
        output = min(used.output_tokens + self._tokens_of(late), most)
        self._charge_for(evolve(used, output_tokens=output), estimated=True)

    def noted(self, error: BaseException | None) -> bool:
        """Whether what leaves the attempt is its failure, which is noted, and the call goes on."""
        if self.charge is not None or not isinstance(error, BackendError):
            return False
        self.failed(error)
        return True

    def leave(self, _kind: object, error: BaseException | None, _traceback: object) -> bool:
        """It is over, by this error or without one; whether the error is its failure, which is noted, and the call goes on."""
        try:
            return self.noted(error)
        finally:
            self.left()

    def left(self) -> None:
        """It is over: what nobody has settled is, and its place is given back."""
        try:
            if self.charge is None:
                self.abandoned()
        finally:
            self.deployment.slots.release()

    def abandoned(self) -> None:
        """Settles what was left without an answer: cancelled, or its stream not read to the end."""
        if self.touched and not self.unsent.noted:
            self._settle_part()
        else:
            self.release()
        self.deployment.circuit.left(probe=self.probe)

    def settle(self, report: RawUsage | None, response: Response | None = None) -> None:
        """Charges what was reported, or else the estimate of the input and of the output that came: all of it in a ``response``."""
        used = measured(report)
        if used is None:
            if response is not None:
                calls = (f"{call.name}{call.arguments}" for call in response.tool_calls)
                said = [response.text, *calls, response.thought]
                # Of a stream the pieces tell of all that was thought, too.
                self.received = max(self.received, said, key=lambda parts: sum(map(len, parts)))
            self._charge_for(self._guess(), estimated=True)
        else:
            self._learn(used)
            self._charge_for(used, estimated=False)

    def _charge_for(self, used: Measured, *, estimated: bool) -> None:
        self._charge(
            _new_charge(
                input_tokens=used.input_tokens,
                output_tokens=used.output_tokens,
                cost=self.rates.cost(used),
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
        prompt = self.prompt
        self.learned = self.deployment.estimates.learn(prompt, used.input_tokens)
        # Whoever is charged beyond the bound, under whatever accounting: the next strict call would be, too.
        most = math.inf if prompt.unbounded else bound_of(self.run.call, self.deployment, prompt)
        excess = max(0, used.input_tokens - most) + max(0, used.output_tokens - self.held.output_tokens)
        if excess:
            self.deployment.close(int(excess))

    def _guess(self) -> Measured:
        # The provider was told to stop at what was held, so what is only guessed never goes beyond that.
        output = min(self._tokens_of("".join(self.received)), self.held.output_tokens)
        return Measured(input_tokens=self.claim.input_tokens, output_tokens=output)

    def _tokens_of(self, text: str) -> int:
        return self.deployment.estimates.tokens([Text(text.encode("utf-8", "surrogatepass"))])

    def _charge(self, charge: Charge) -> None:
        self.charge = charge
        pace, now = self.deployment.pace, self.run.clocks.time()
        self.ended = now
        if self.touched:
            pace.correct(self.taken, charge.input_tokens + charge.output_tokens, now)
        else:
            pace.give_back(self.taken, now)
        reported = self.prompt if self.learned else None
        self.run.charged(charge, self.run.ledger.settle(self.held, charge, self.missed, reported, made=self.touched))
