"""The router: an alias in, an answer out, over whichever backend can give it. No call leaves it without a held budget.

Reading order: ``failover`` (whose turn it is), ``estimates`` and ``prices`` (what to hold), ``measured`` (what to charge),
``attempts`` (one attempt, and the run of them), ``streams``, and this front.
"""

from __future__ import annotations

from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Protocol
from urllib.parse import urlsplit

import anyio

from organism.errors import ModelError, NotRunningError
from organism.models.attempts import Run, claim_of
from organism.models.estimates import Estimates
from organism.models.failover import Way
from organism.models.prices import FREE, rates
from organism.models.prompt import prompt_of
from organism.models.seats import Seat
from organism.models.streams import reading
from organism.names import suggestion

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Mapping
    from datetime import datetime

    from organism.budget.claims import Claim
    from organism.models.completion import Call, Completion
    from organism.models.contract import Backend
    from organism.models.ledger import Ledger
    from organism.models.streams import CompletionStream
    from organism.settings import BackendSettings, ModelSettings


class Dice(Protocol):
    """What the router needs of a ``random.Random``."""

    def random(self) -> float:
        """A number from 0 to below 1."""
        ...


class Router:
    """Sends calls to the backends of their alias, in order of priority, and accounts for every attempt.

    ``backends`` makes the provider for a backend's settings, when it is first needed; it may raise ConfigurationError.
    ``random`` spreads the backoff, ``clock`` (aware) dates the prices. Waiting goes by anyio's clock.
    """

    def __init__(
        self,
        models: Mapping[str, ModelSettings],
        *,
        backends: Callable[[BackendSettings], Backend],
        random: Dice,
        clock: Callable[[], datetime],
    ) -> None:
        self._models = models
        self._make = backends
        self._random = random
        self._clock = clock
        self._closed = False
        self._made: dict[int, Backend] = {}
        self._estimates: dict[tuple[str, str | None, str], Estimates] = {}
        self._seats: dict[int, Seat] = {}
        self._order = {alias: self._seated(alias, model) for alias, model in models.items()}

    async def complete(self, call: Call, ledger: Ledger) -> Completion:
        """The answer to one call.

        Raises BudgetExhaustedError before a backend is touched that the budget cannot bear, and ModelError, with a line for
        each attempt, when no backend gave an answer. Whatever happens, nothing stays held.
        """
        run = self._run(call, ledger)
        while True:
            async with run.attempt() as attempt:
                return attempt.answered(await attempt.ask())

    @asynccontextmanager
    async def stream(self, call: Call, ledger: Ledger) -> AsyncGenerator[CompletionStream]:
        """The answer to one call as it comes. Entering waits for its first text, and raises like :meth:`complete`; leaving
        closes the connection, and charges what came. Until then it keeps its place among the backend's ``max_concurrent``.
        """
        stream, opened = await _open(self._run(call, ledger))
        async with opened:
            yield stream

    def claim(self, call: Call, *, strict: bool) -> Claim | None:
        """What the first attempt of a call would hold if it were made now; ``None`` where no backend would be asked.

        Nothing is held, made or waited for: it is for those who must know beforehand whether a call fits.
        """
        alias = self._models.get(call.model)
        prompt = prompt_of(call.messages, tools=call.tools, returns=call.returns)
        if alias is None or (strict and prompt.unbounded):
            return None
        for seat in self._order[call.model]:
            if not (strict and seat.closed):
                price = rates(seat.settings, self._clock(), extra=call.extra) or FREE
                return claim_of(call, alias, seat, price, prompt=prompt, strict=strict)
        return None

    async def aclose(self) -> None:
        """Closes every backend that was made, also where closing one fails. No call is taken afterwards."""
        self._closed = True
        async with AsyncExitStack() as stack:
            while self._made:
                stack.push_async_callback(self._made.popitem()[1].aclose)

    def _run(self, call: Call, ledger: Ledger) -> Run:
        if self._closed:
            raise NotRunningError("the router is closed; its organism has ended")
        alias = self._models.get(call.model)
        if alias is None:
            known = ", ".join(self._models) or "none"
            raise ModelError(
                call.model, [f"no such alias{suggestion(call.model, self._models)}; `models` has: {known}"]
            )
        prompt = prompt_of(call.messages, tools=call.tools, returns=call.returns)
        if ledger.strict and prompt.unbounded:
            cause = (
                f"{prompt.unbounded}: nothing bounds the tokens of such a part, and the budget's accounting is strict"
            )
            raise ModelError(call.model, [f"{cause}; send text, or say `accounting: estimate`"])
        seats = self._order[call.model]
        way = Way(len(seats), retries=alias.retries, backoff=alias.backoff, dice=self._random.random)
        return Run(call, alias, seats, way, prompt=prompt, ledger=ledger, clock=self._clock)

    def _seated(self, alias: str, model: ModelSettings) -> list[Seat]:
        seats = [
            self._seat(settings, settings.place or f"models.{alias}.backends[{index}]")
            for index, settings in enumerate(model.backends)
        ]
        return sorted(seats, key=lambda seat: seat.settings.priority)

    def _seat(self, settings: BackendSettings, place: str) -> Seat:
        """The one seat of these settings: aliases that share a backend share its limits."""
        if id(settings) not in self._seats:
            server = f"@{urlsplit(settings.base_url).netloc or settings.base_url}" if settings.base_url else ""
            # What was measured of a model holds for every alias and priority under which it is used.
            model = (settings.provider, settings.base_url, settings.model)
            self._seats[id(settings)] = Seat(
                settings=settings,
                name=f"{settings.provider}/{settings.model}{server}",
                place=place,
                make=partial(self._backend, settings),
                estimates=self._estimates.setdefault(model, Estimates()),
                slots=anyio.Semaphore(settings.max_concurrent, fast_acquire=True),
            )
        return self._seats[id(settings)]

    def _backend(self, settings: BackendSettings) -> Backend:
        """The provider, made once. ``id`` is a safe key: the settings live as long as the router."""
        if id(settings) not in self._made:
            self._made[id(settings)] = self._make(settings)
        return self._made[id(settings)]


async def _open(run: Run) -> tuple[CompletionStream, AsyncExitStack]:
    """The stream of the first attempt that gets to its first text, and what to leave when it has been read."""
    while True:
        async with AsyncExitStack() as opening:
            attempt = await opening.enter_async_context(run.attempt())
            stream = await opening.enter_async_context(reading(attempt))
            return stream, opening.pop_all()
