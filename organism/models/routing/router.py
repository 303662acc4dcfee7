"""The front of the router: see :mod:`organism.models.routing`."""

from __future__ import annotations

import logging
from collections import Counter
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Final, Protocol

import anyio
import anyio.lowlevel

from organism.errors import ModelError, NotRunningError
from organism.models.contract import BackendError
from organism.models.prices import FREE, Rates, lasting_rates, least_window, rates
from organism.models.reasoning import heard_by, keeper_of
from organism.models.routing.attempts import Clocks
from organism.models.routing.circuit_breaker import Circuit
from organism.models.routing.deployments import Deployment
from organism.models.routing.failover import Way, downgraded, order_of
from organism.models.routing.ledger import claim_of
from organism.models.routing.rate_limits import Bell
from organism.models.routing.runs import Run
from organism.models.routing.shared import SharedLimits
from organism.models.routing.streams import overheard, reading
from organism.models.tokens.estimates import Estimates, Learned
from organism.models.tokens.prompt_cache import PromptCache
from organism.names import suggestion

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
    from contextlib import AbstractContextManager
    from datetime import datetime

    from organism.budget.claims import Claim
    from organism.models.background import BackgroundWork
    from organism.models.completion import Call, Completion
    from organism.models.contract import Backend
    from organism.models.routing.ledger import Ledger
    from organism.models.routing.streams import CompletionStream, Hearer
    from organism.models.tokens.prompt import Prompt
    from organism.record.images import Report
    from organism.settings import BackendSettings, Level, ModelSettings


log: Final = logging.getLogger("organism.models")
_CLOSED: Final = "the router is closed; its organism has ended"


class Dice(Protocol):
    """What the router needs of a ``random.Random``."""

    def random(self) -> float:
        """A number from 0 to below 1."""
        ...


class Router:
    """Sends calls to the backends of their alias, in order of priority, and accounts for every attempt.

    ``backends`` makes the provider for a backend's settings, when it is first needed; it may raise ConfigurationError. Where that takes
    long, ``begin`` has it done in a thread before, and returns what to wait for. ``renew`` gives it the key that its file holds by now, if
    that is another one.
    ``random`` spreads the backoff, ``clock`` (aware) dates the prices. Waiting goes by anyio's clock, which ``time`` reads;
    ``within`` makes blocks that are cancelled after so many seconds of it, and ``heed`` raises where the task is cancelled already.
    ``limits`` are rates and places that it keeps together with other routers.
    """

    def __init__(
        self,
        models: Mapping[str, ModelSettings],
        *,
        backends: Callable[[BackendSettings], Backend],
        begin: Callable[[BackendSettings], BackgroundWork[Backend] | None] = lambda _: None,
        renew: Callable[[BackendSettings], bool] = lambda _: False,
        random: Dice,
        clock: Callable[[], datetime],
        time: Callable[[], float] = anyio.current_time,
        within: Callable[[float], AbstractContextManager[object]] = anyio.move_on_after,
        heed: Callable[[], Awaitable[object]] = anyio.lowlevel.checkpoint_if_cancelled,
        learned: Learned | None = None,
        limits: SharedLimits | None = None,
    ) -> None:
        self._models = models
        self._make, self._begin, self._renew = backends, begin, renew
        self._random = random
        self._clocks = Clocks(now=clock, time=time, within=within, heed=heed)
        self._closed = False
        self._estimates: Learned = {} if learned is None else learned
        self._limits = SharedLimits() if limits is None else limits
        self._deployments: dict[int, Deployment] = {}
        self._prompts = PromptCache()
        self._windows: dict[str, int | None] = {}
        self._bell = Bell()
        self._turns: Counter[str] = Counter()
        """The calls that each alias has taken whose backends take turns."""
        self._order = {alias: self._deployed(alias, model) for alias, model in models.items()}

    async def complete(self, call: Call, ledger: Ledger, *, hearer: Hearer | None = None) -> Completion:
        """The answer to one call; with a ``hearer`` it is asked for as a stream, which that one hears of.

        Raises BudgetExhaustedError before a backend is touched that the budget cannot bear, and ModelError, with a line for
        each attempt, when no backend gave an answer. Whatever happens, nothing stays held.
        """
        run = self._run(call, ledger)
        while True:
            attempt = await run.begin()
            try:
                if hearer is not None:
                    return await overheard(attempt, hearer)
                return attempt.answered(await attempt.ask())
            except BackendError as error:
                if not attempt.noted(error):
                    raise
            finally:
                attempt.left()

    @asynccontextmanager
    async def stream(self, call: Call, ledger: Ledger) -> AsyncGenerator[CompletionStream]:
        """The answer to one call as it comes. Entering waits for its first text, and raises like :meth:`complete`; leaving
        closes the connection, and charges what came. Until then it keeps its place among the backend's ``max_concurrent``.
        """
        stream, opened = await _open(self._run(call, ledger))
        async with opened:
            yield stream

    def claim(
        self, call: Call, *, strict: bool, needs_price: bool = False, level: Callable[[], Level | None] = lambda: None
    ) -> Claim | None:
        """What the first attempt of a call would hold if it were made now; ``None`` where no backend would be asked. ``level`` gives
        the highest that its budget has reached; the rest is as :class:`organism.models.routing.ledger.Ledger` has it.

        Nothing is held, made or waited for: it is for those who must know beforehand whether a call fits.
        """
        alias = downgraded(self._models, call.model, level)
        prompt = self._prompts.of(call.messages, tools=call.tools, returns=call.returns)
        if alias is None or (strict and prompt.unbounded):
            return None
        deployments, at, now = self._order[alias.name], self._clocks.now(), self._clocks.time()
        able: list[tuple[Deployment, Rates]] = []
        for deployment in [deployments[index] for index in self._order_of(alias, deployments)]:
            price = deployment.rates or rates(deployment.settings, at, extra=call.extra)
            if not (strict and deployment.closed) and not (needs_price and price is None):
                able.append((deployment, price or FREE))
        if not able:
            return None
        deployment, price = min(able, key=lambda each: each[0].circuit.passes_at(now))
        return claim_of(call, alias, deployment, price, prompt=self._prompt_of(call, prompt, deployment), strict=strict)

    def window(self, alias: str, *, level: Callable[[], Level | None] = lambda: None) -> int | None:
        """The tokens of prompt and answer that an alias takes at once, at this level of its budget: the least that is known of its
        backends; ``None`` where nothing is known of any.
        """
        model = downgraded(self._models, alias, level)
        if model is None:
            return None
        if model.name not in self._windows:
            self._windows[model.name] = least_window(model, self._clocks.now())
        return self._windows[model.name]

    def recall(self, report: Report) -> None:
        """Takes in what a backend reported in another process. Where several models go by its name, nobody knows which of them it was."""
        named = {deployment.estimates for deployment in self._deployments.values() if deployment.name == report.backend}
        if len(named) == 1:
            named.pop().recall(report.digests, report.tokens)

    async def aclose(self) -> None:
        """Closes every backend that was made, also where closing one fails. No call is taken afterwards."""
        self._closed = True
        async with AsyncExitStack() as stack:
            for deployment in self._deployments.values():
                made, deployment.backend = deployment.backend, None
                if made is not None:
                    stack.push_async_callback(made.aclose)

    def _run(self, call: Call, ledger: Ledger) -> Run:
        if self._closed:
            raise NotRunningError(_CLOSED)
        alias = downgraded(self._models, call.model, lambda: ledger.level)
        if alias is None:
            known = ", ".join(self._models) or "none"
            raise ModelError(
                call.model, [f"no such alias{suggestion(call.model, self._models)}; `models` has: {known}"]
            )
        prompt = self._prompts.of(call.messages, tools=call.tools, returns=call.returns)
        if prompt.unbounded and ledger.strict:
            cause = (
                f"{prompt.unbounded}: nothing bounds the tokens of such a part, and the budget's accounting is strict"
            )
            raise ModelError(call.model, [f"{cause}; send text, or say `accounting: estimate`"])
        deployments = self._order[alias.name]
        order = self._order_of(alias, deployments)
        if alias.strategy == "round-robin":
            self._turns[alias.name] += 1
        way = Way(order, retries=alias.retries, backoff=alias.backoff, dice=self._random.random)
        instead_of = call.model if alias.name != call.model else ""
        if instead_of:
            log.info("%s: the budget has reached %s, '%s' is asked", instead_of, ledger.level, alias.name)
        return Run(
            call=call, ledger=ledger, clocks=self._clocks, alias=alias, deployments=deployments, way=way,
            prompt_of=partial(self._prompt_of, call, prompt), instead_of=instead_of,
        )  # fmt: skip

    def _prompt_of(self, call: Call, prompt: Prompt, deployment: Deployment) -> Prompt:
        """The prompt of a call as this backend gets to see it, without what is kept for others."""
        keeper = keeper_of(deployment.settings) if prompt.kept_for else None
        if keeper is None or prompt.kept_for <= {keeper}:
            return prompt
        heard = tuple(heard_by(message, keeper) for message in call.messages)
        return self._prompts.of(heard, tools=call.tools, returns=call.returns)

    def _order_of(self, alias: ModelSettings, deployments: Sequence[Deployment]) -> Sequence[int]:
        """In what order a call tries the backends; the next one may find another."""
        if alias.strategy == "failover":
            return range(len(deployments))
        turn = self._turns[alias.name]
        return order_of(
            [(deployment.settings.priority, deployment.load) for deployment in deployments], alias.strategy, turn=turn
        )

    def _deployed(self, alias: str, model: ModelSettings) -> list[Deployment]:
        deployments = [
            self._deployment(settings, f"models.{alias}.backends[{index}]")
            for index, settings in enumerate(model.backends)
        ]
        return sorted(deployments, key=lambda deployment: deployment.settings.priority)

    def _deployment(self, settings: BackendSettings, below: str) -> Deployment:
        """The one deployment of these settings, ``below`` is where they stand: aliases that share a backend share its limits. ``id`` is a safe
        key: the settings live as long as the router.
        """
        if id(settings) not in self._deployments:
            slots, pace = self._limits.of(settings, below)
            place = settings.place or below
            # What was measured of a model holds for every alias and priority under which it is used.
            model = (settings.provider, settings.base_url, settings.model)
            self._deployments[id(settings)] = Deployment(
                settings=settings,
                name=settings.name,
                place=place,
                make=partial(self._backend, settings),
                begin=partial(self._begin, settings),
                renew=partial(self._renew, settings),
                estimates=self._estimates.setdefault(model, Estimates()),
                slots=slots,
                pace=pace,
                circuit=Circuit(name=f"{settings.name} ({place})", changed=self._bell.ring),
                bell=self._bell,
                rates=lasting_rates(settings),
            )
        return self._deployments[id(settings)]

    def _backend(self, settings: BackendSettings) -> Backend:
        """The provider, made once."""
        if self._closed:
            raise NotRunningError(_CLOSED)
        deployment = self._deployments[id(settings)]
        deployment.backend = self._make(settings)
        return deployment.backend


async def _open(run: Run) -> tuple[CompletionStream, AsyncExitStack]:
    """The stream of the first attempt that gets to its first text, and what to leave when it has been read."""
    while True:
        attempt = await run.begin()
        async with AsyncExitStack() as opening:
            opening.push(attempt.leave)
            stream = await opening.enter_async_context(reading(attempt))
            return stream, opening.pop_all()
