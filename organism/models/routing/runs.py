"""One call over the backends of its alias: where each attempt goes, what it waits for first, and what all of them came to.

What is waited for, in this order: the backoff of a backend that failed and a circuit that is open, a place among its
``max_concurrent``, its requests and tokens per minute, and then the budget. Nothing is held until the budget grants it (R18), and
nothing is waited for that is known to come after the deadline.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Final

import anyio
from attrs import define, field

from organism.budget.claims import Charge, Crossing
from organism.errors import BudgetExhaustedError, ConfigurationError, ModelError
from organism.models.background import BackgroundWork
from organism.models.completion import Call, Completion
from organism.models.contract import Backend, BackendError, Response
from organism.models.prices import UNKNOWN, Rates, counts_as_nothing, rates, unpriced
from organism.models.routing.attempts import Attempt, Clocks
from organism.models.routing.deployments import Deployment, one_line
from organism.models.routing.failover import Turn, Way
from organism.models.routing.ledger import Ledger, claim_of, weight_of
from organism.models.routing.rate_limits import UNTAKEN, Taken, TooLateError
from organism.models.tokens.prompt import Prompt
from organism.names import OF_CALLERS
from organism.quick import maker
from organism.settings import ModelSettings
from organism.usage import new_usage, usd

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from organism.kernel.places import Places
    from organism.usage import Usage

log: Final = logging.getLogger("organism.models")
_REFUSED: Final = frozenset({"auth", "rejected"})
"""How a key is refused: some servers answer 400 to a wrong one."""
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
    deployment: Deployment
    backend: Backend
    taken: Taken
    probe: bool


_new_start: Final = maker(_Start)
_new_attempt: Final = maker(Attempt)
_new_completion: Final = maker(Completion)


@define(kw_only=True, eq=False)
class Run:
    """One call over the backends of its alias, up to an answer or to the error that says what each attempt met."""

    call: Call
    ledger: Ledger
    clocks: Clocks
    _alias: ModelSettings = field(alias="alias")
    _deployments: Sequence[Deployment] = field(alias="deployments")
    _way: Way = field(alias="way")
    _prompt_of: Callable[[Deployment], Prompt] = field(alias="prompt_of")
    """What a backend gets to see of the prompt."""
    _instead_of: str = field(alias="instead_of")
    """The alias that was asked for, where the call was downgraded."""
    _causes: list[str] = field(factory=list[str], init=False)
    _error: Exception | None = field(default=None, init=False)
    _charges: list[Charge] = field(factory=list["Charge"], init=False)
    _crossings: list[Crossing] = field(factory=list["Crossing"], init=False)
    _attempts: int = field(default=0, init=False)
    _holds: int = field(default=0, init=False)
    """One for each attempt, and for each that was not made after all."""
    _renewed: frozenset[int] = field(default=frozenset(), init=False)
    """The backends that were given another key, and are asked again."""
    _untold: list[str] = field(factory=list[str], init=False)
    """Those of which no log tells yet."""
    _reopened: dict[int, int] = field(factory=dict[int, int], init=False)
    """How often a circuit had been opened when the call began to wait for it."""

    async def begin(self) -> Attempt:
        """The next attempt, held and not yet made, at its place: whoever ends it gives the place back. Raises ModelError when no attempt
        is left, and BudgetExhaustedError when its hold is refused.
        """
        while True:
            # The place first, then the hold: whoever waits for a place has nothing held that others could use.
            start = await self._start()
            if self._untold:
                self._tell()
            deployment = start.deployment
            try:
                attempt = await self._held(start)
            except BaseException:
                # Where its hold is refused it was no attempt, and gives back what it took.
                deployment.circuit.left(probe=start.probe)
                deployment.pace.give_back(start.taken, self.clocks.time())
                deployment.slots.release()
                raise
            # While it waited, for its place or its hold, another call may have found one.
            if not self._obstacle(deployment):
                self._attempts += 1
                return attempt
            attempt.left()

    def note(self, attempt: Attempt, error: BackendError) -> None:
        """Takes down why an attempt failed, and decides by it where the next one goes."""
        now, deployment, backend = self.clocks.time(), attempt.deployment, attempt.turn.backend
        # Once a call: a file may hold another key each time.
        renewed = error.kind in _REFUSED and backend not in self._renewed and deployment.has_other_key(attempt.renewals)
        self._say(deployment, f"attempt {attempt.number}: {deployment.told(error, renewed=renewed)}")
        self._error = error
        if renewed:
            self._renewed = self._renewed | {backend}
        else:
            self._way.failed(backend, error, now)
            if error.kind == "auth" and deployment.said_refused != deployment.renewals:
                # It fails each call until somebody acts, and callers may bear that, or another backend answers: once for each key.
                deployment.said_refused = deployment.renewals
                told = deployment.told(error)
                log.error("%s (%s): %s", deployment.name, deployment.place, told, extra={OF_CALLERS: True})
        if error.kind == "rate_limited":
            deployment.pace.refused(self._way.pause(error.retry_after), now)
        deployment.circuit.failed(error.kind, now, probe=attempt.probe)

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
        usage = _usage_of(self._charges)
        return _new_completion(
            text=response.text,
            message=response.message,
            model=response.model or attempt.deployment.settings.model,
            backend=attempt.deployment.name,
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
            turn, deployment, ready = self._turn()
            if ready is None:
                if not await self._come(turn, deployment):
                    self._pass_over(turn, deployment, _UNTRIED)
                continue
            if isinstance(ready, BackgroundWork):
                await self._made_by(ready)
                continue
            if deployment.slots.value:
                await deployment.slots.acquire()  # whoever is cancelled already hears of it here
            elif not await self._queue(deployment, deployment.slots.acquire):
                self._pass_over(turn, deployment, _FULL)
                continue
            try:
                taken = UNTAKEN if deployment.pace.unlimited else await self._paced(turn, deployment)
                start = None if taken is None else self._tried(turn, deployment, ready, taken)
            except BaseException:
                deployment.slots.release()
                raise
            if start is not None:
                return start
            deployment.slots.release()

    async def _made_by(self, work: BackgroundWork[Backend]) -> None:
        """Waits until a backend is made. Raises BudgetExhaustedError where the seconds of the budget are over before that."""
        left = self.ledger.seconds_left
        with anyio.CancelScope(deadline=math.inf if left is None else self.clocks.time() + left) as scope:
            await work.wait()
        if scope.cancelled_caught:
            raise self.ledger.out_of_time()

    async def _come(self, turn: Turn, deployment: Deployment) -> bool:
        """Waits until the turn has come, or another circuit has changed; ``False`` where it would wait for ever."""
        if turn.at < math.inf:
            await deployment.bell.heard(min(turn.at, self._deadline()))
            return True
        return await self._queue(deployment.circuit, partial(deployment.bell.heard, self._deadline()))

    async def _queue(self, at: Places, come: Callable[[], Awaitable[object]]) -> bool:
        """Waits for a place to come; ``False`` where it would wait for ever, since those who have all of them wait for it."""
        with anyio.CancelScope() as scope, self.ledger.queued(at, scope.cancel):
            await come()
        return not scope.cancelled_caught

    def _tried(self, turn: Turn, deployment: Deployment, backend: Backend, taken: Taken) -> _Start | None:
        """The attempt, now that the rate of its backend allows it; ``None`` where it is not to be made any more."""
        if deployment.circuit.state == "closed":  # so are most
            return _new_start(turn, deployment, backend, taken, probe=False)
        now = self.clocks.time()
        if deployment.circuit.passes_at(now) > now:  # it opened meanwhile, or another call is the probe
            deployment.pace.give_back(taken, now)
            return None
        return _new_start(turn, deployment, backend, taken, deployment.circuit.begin())

    async def _paced(self, turn: Turn, deployment: Deployment) -> Taken | None:
        """Waits for what the backend may get in a minute; ``None`` where that comes after the deadline."""
        weight = weight_of(self.call, self._alias, deployment, self._prompt_of(deployment))
        try:
            return await deployment.pace.turn(weight, deadline=self._deadline())
        except TooLateError as late:
            self._pass_over(
                turn, deployment, f"its rate allows the call in {late.seconds:.3g} s only, after its deadline"
            )
            return None

    def _turn(self) -> tuple[Turn, Deployment, Backend | BackgroundWork[Backend] | None]:
        """The next turn at a backend that may be used, and the backend or what makes it; ``None`` instead where the turn has not come yet.
        Raises ModelError when there is none.
        """
        while True:
            now = self.clocks.time()
            turn = self._way.next(now, partial(self._passes_at, now))
            if turn is None:
                raise self.failure()
            deployment = self._deployments[turn.backend]
            try:
                obstacle = self._obstacle(deployment)
                if not obstacle:
                    if turn.at <= now:
                        return (
                            turn,
                            deployment,
                            deployment.backend
                            if deployment.backend is not None
                            else deployment.begin() or deployment.make(),
                        )
                    obstacle = self._in_vain(turn, deployment, now)
            except ConfigurationError as error:
                obstacle = one_line("; ".join(error.mistakes))
                self._error = error
            if not obstacle:
                return turn, deployment, None
            self._pass_over(turn, deployment, obstacle)

    def _passes_at(self, now: float, backend: int) -> float:
        return self._deployments[backend].circuit.passes_at(now)

    def _obstacle(self, deployment: Deployment) -> str:
        """Why a backend is not to be touched by this call, if so."""
        if deployment.excess and self.ledger.strict:
            return deployment.closed
        if deployment.rates is None and self.ledger.needs_price and self._rates(deployment) is None:
            return unpriced(deployment.settings)
        return ""

    def _in_vain(self, turn: Turn, deployment: Deployment, now: float) -> str:
        """Why it is of no use to wait for a turn: it comes after the deadline, or the circuit was tried and is open again."""
        deadline = self._deadline()
        if turn.at > deadline if turn.at < math.inf else now >= deadline:
            when = f"in {turn.at - now:.3g} s" if turn.at < math.inf else "once another call has tried it"
            why = "its circuit is open, and " if deployment.circuit.state != "closed" else ""
            return f"{why}it may be asked {when} only, after the deadline of the call"
        if deployment.circuit.state == "closed":
            return ""
        first = self._reopened.setdefault(turn.backend, deployment.circuit.reopened)
        return "" if first == deployment.circuit.reopened else "its circuit was tried meanwhile, and is open again"

    def _pass_over(self, turn: Turn, deployment: Deployment, why: str) -> None:
        self._say(deployment, why)
        self._way.skip(turn.backend)

    def _deadline(self) -> float:
        """When the call must be over, by anyio's clock: that of the scopes that it is made in, or its budget's seconds."""
        left = self.ledger.seconds_left
        scopes = anyio.current_effective_deadline()
        # One that is cancelled already hears of it at the next wait.
        return min(math.inf if scopes == -math.inf else scopes, math.inf if left is None else self.clocks.time() + left)

    # What it holds

    async def _held(self, start: _Start) -> Attempt:
        deployment = start.deployment
        # The price of now, after all the waiting; one that nobody knows was refused above, or is to be ignored.
        price = self._rates(deployment) or self._without_price(deployment)
        counted = self.ledger.counted or any(charge.model_calls for charge in self._charges)
        prompt = self._prompt_of(deployment)
        claim = claim_of(
            self.call,
            self._alias,
            deployment,
            price,
            prompt=prompt,
            strict=self.ledger.strict,
            model_calls=0 if counted else 1,
        )
        number = self._holds + 1
        at = (deployment, deployment.circuit) if start.probe else (deployment,)
        try:
            held = await self.ledger.hold(claim, alias=self._alias.name, backend=deployment.name, attempt=number, at=at)
        except BudgetExhaustedError as refused:
            for cause in self._causes:
                refused.add_note(f"before: {cause}")
            raise
        self._holds = number
        return _new_attempt(
            run=self,
            turn=start.turn,
            deployment=deployment,
            backend=start.backend,
            number=self._attempts + 1,
            prompt=prompt,
            claim=claim,
            held=held,
            rates=price,
            started=self.clocks.time(),
            taken=start.taken,
            probe=start.probe,
            renewals=deployment.renewals,
        )

    def _without_price(self, deployment: Deployment) -> Rates:
        if not deployment.said_unpriced:
            deployment.said_unpriced = True
            log.warning("%s: %s", deployment.place, counts_as_nothing(deployment.settings))
        return UNKNOWN

    def _rates(self, deployment: Deployment) -> Rates | None:
        return deployment.rates or rates(deployment.settings, self.clocks.now(), extra=self.call.extra)

    def _say(self, deployment: Deployment, what: str) -> None:
        instead = f" (instead of {self._instead_of})" if self._instead_of else ""
        cause = f"{self._alias.name}{instead} via {deployment.name} ({deployment.place}): {what}"
        self._causes.append(cause)
        self._untold.append(cause)

    def _tell(self) -> None:
        """Says what failed so far, where the call goes on; where it does not, its error says it."""
        for cause in self._untold:
            log.warning("%s", cause)
        self._untold.clear()


def _usage_of(charges: Sequence[Charge]) -> Usage:
    given, answered, read, written, reasoned, cost, calls, estimated, unpriced = (
        _figures(charges[0]) if len(charges) == 1 else map(sum, zip(*map(_figures, charges), strict=True))
    )
    return new_usage(
        input_tokens=given,
        output_tokens=answered,
        cache_read_tokens=read,
        cache_write_tokens=written,
        reasoning_tokens=reasoned,
        tokens=given + answered,
        cost_usd=usd(cost),
        model_calls=calls,
        estimated=bool(estimated),
        unpriced=bool(unpriced) or None,
    )


def _figures(charge: Charge) -> tuple[int, ...]:
    return (
        charge.input_tokens, charge.output_tokens, charge.cache_read_tokens, charge.cache_write_tokens, charge.reasoning_tokens,
        charge.cost, charge.model_calls, charge.estimated, bool(charge.unpriced),
    )  # fmt: skip
