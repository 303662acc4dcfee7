"""A world for the router: backends that do what a script says, and a purse that does real sums."""

from __future__ import annotations

import random
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from decimal import Decimal
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import anyio
import anyio.lowlevel
from attrs import define, field, frozen

from organism.budget.claims import TOKENS, Charge, Claim, Crossing
from organism.errors import BudgetExhaustedError
from organism.kernel.knots import Knots
from organism.models.completion import Call
from organism.models.contract import BackendError, Piece, RawUsage, Request, Response
from organism.models.routing.ledger import Held
from organism.models.routing.router import Router
from organism.pump.runtime import scopes
from organism.settings import BackendSettings, ModelSettings

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Iterable
    from contextlib import AbstractContextManager

    from organism.kernel.places import Places
    from organism.models.contract import Failure
    from organism.models.tokens.prompt import Prompt
    from organism.record.images import Missed

NOON = datetime(2026, 11, 1, 12, tzinfo=UTC)


def usage(given: Any, answered: Any, **details: Any) -> RawUsage:
    return RawUsage(input_tokens=given, output_tokens=answered, **details)


@frozen
class Say:
    """An answer, whole or word by word: after ``seconds`` of nothing, then ``error`` where there is one."""

    text: str = "fine"
    usage: RawUsage | None = field(default=usage(100, 10))
    seconds: float = 0.0
    error: BaseException | None = None
    hidden: str = ""
    pace: float = 0.0
    """Seconds before each word of a stream."""
    came: str = ""
    """What has come of a whole answer in these seconds, should nobody wait for the rest."""
    early: RawUsage | None = None
    """Usage that is reported from the first piece on."""


def fail(kind: Failure, text: str = "no luck", **more: Any) -> Say:
    return Say(error=BackendError(kind, text, **more))


class Script:
    """A backend that does what it is told, one step an attempt; the last step again when they run out."""

    def __init__(self, *steps: Say) -> None:
        self.steps = list(steps) or [Say()]
        self.requests: list[Request] = []
        self.times: list[float] = []
        self.running = 0
        self.most_running = 0
        self.open_streams = 0
        self.closed = False

    def _next(self, request: Request) -> Say:
        self.requests.append(request)
        self.times.append(anyio.current_time())
        return self.steps.pop(0) if len(self.steps) > 1 else self.steps[0]

    async def complete(self, request: Request) -> Response:
        step = self._next(request)
        self.running += 1
        self.most_running = max(self.running, self.most_running)
        try:
            await anyio.sleep(step.seconds)
        except anyio.get_cancelled_exc_class():
            request.came(step.came)
            raise
        finally:
            self.running -= 1
        if step.error is not None:
            raise step.error
        return answer(step)

    @asynccontextmanager
    async def stream(self, request: Request) -> AsyncGenerator[ScriptedStream]:
        step = self._next(request)
        self.open_streams += 1
        try:
            yield ScriptedStream(step)
        finally:
            self.open_streams -= 1

    async def aclose(self) -> None:
        self.closed = True


def answer(step: Say) -> Response:
    return Response(text=step.text, message={"role": "assistant", "content": step.text}, usage=step.usage)


class ScriptedStream:
    def __init__(self, step: Say) -> None:
        self.response: Response | None = None
        self.usage: RawUsage | None = step.early
        self._step = step

    async def __aiter__(self) -> AsyncGenerator[Piece]:
        if self._step.hidden:
            yield Piece(text=self._step.hidden, kind="other")
        for word in self._step.text.split():
            await anyio.sleep(self._step.pace)
            yield Piece(text=word + " ")
        await anyio.sleep(self._step.seconds)
        if self._step.error is not None:
            raise self._step.error
        self.response = answer(self._step)


@define
class Purse:
    """A ledger of one node: it refuses what passes ``tokens``, and fires a level when half of them are used."""

    tokens: int = 10**9
    strict: bool = False
    level: Any = None
    seconds_left: float | None = None
    needs_price: bool = False
    counted: bool = False
    used: list[int] = field(factory=lambda: [0] * 6)
    held: dict[int, tuple[int, ...]] = field(factory=dict)
    claims: list[Claim] = field(factory=list)
    charges: list[Charge] = field(factory=list)
    seen: list[tuple[str, str, int]] = field(factory=list)
    most_held: int = 0
    thread: Any = field(factory=object)
    knots: Knots = field(factory=lambda: _knots())  # noqa: PLW0108 - it stands below

    def out_of_time(self) -> BudgetExhaustedError:
        return BudgetExhaustedError("seconds", "thread", 0, 0, 0, 1)

    def queued(self, at: Places, refuse: Callable[[], object]) -> AbstractContextManager[object]:
        return self.knots.queued(self.thread, at, refuse, scopes())

    def keeping(self, at: Places) -> AbstractContextManager[object]:
        return self.knots.keeping(self.thread, at, scopes())

    async def hold(self, claim: Claim, *, alias: str, backend: str, attempt: int, at: tuple[Places, ...]) -> Held:
        del at
        await anyio.lowlevel.checkpoint()
        taken = self.used[TOKENS] + sum(need[TOKENS] for need in self.held.values())
        output = claim.wish
        if not claim.exact:
            free = self.tokens - taken - claim.input_tokens
            output = max(claim.min_output, min(claim.wish, free // 2))
        need = claim.need(output)
        if taken + need[TOKENS] > self.tokens:
            raise BudgetExhaustedError("tokens", "thread", self.used[TOKENS], taken, self.tokens, need[TOKENS])
        self.claims.append(claim)
        self.seen.append((alias, backend, attempt))
        held = Held(id=len(self.claims), output_tokens=output, clamped=output < claim.wish)
        self.held[held.id] = need
        self.most_held = max(self.most_held, len(self.held))
        return held

    def settle(
        self,
        held: Held,
        charge: Charge,
        missed: Missed | None = None,
        reported: Prompt | None = None,
        *,
        made: bool = True,
    ) -> tuple[Crossing, ...]:
        del missed, reported, made
        del self.held[held.id]
        self.charges.append(charge)
        before = self.used[TOKENS]
        self.used = [used + amount for used, amount in zip(self.used, charge.amounts, strict=True)]
        half = self.tokens // 2
        if not before < half <= self.used[TOKENS]:
            return ()
        return (
            Crossing(
                unit="tokens",
                level="final",
                threshold=Decimal("0.5"),
                used=self.used[TOKENS],
                held=0,
                limit=self.tokens,
                remaining=self.tokens - self.used[TOKENS],
                scope="thread",
            ),
        )


def _knots() -> Knots:
    state: Any = SimpleNamespace(streams={}, occupied={})
    return Knots(state)


def _settings(number: int, **more: Any) -> BackendSettings:
    usual: dict[str, Any] = {
        "provider": "scripted",
        "factory": object,
        "model": f"m-{number}",
        "priority": number + 1,
        "overhead": 0,
    }
    return BackendSettings(**usual | more)


class World:
    """A router over scripted backends: one alias ``default``, each script one backend, in this order of priority."""

    def __init__(
        self,
        *scripts: Script,
        each: Iterable[dict[str, Any]] = (),
        retries: int = 3,
        backoff: tuple[float, float] = (1.0, 30.0),
        dice: Any = None,
        strategy: Any = "failover",
    ) -> None:
        self.scripts = scripts
        said = list(each) or [{} for _ in scripts]
        self.settings = tuple(_settings(number, **more) for number, more in enumerate(said))
        alias = ModelSettings(
            name="default",
            backends=self.settings,
            retries=retries,
            backoff=backoff,
            max_output_tokens=50,
            strategy=strategy,
        )
        self.made: list[str] = []
        self.router = Router(
            {"default": alias},
            backends=self._make,
            random=dice or random.Random(7),
            clock=lambda: NOON,
        )

    def _make(self, settings: BackendSettings) -> Script:
        self.made.append(settings.model)
        return self.scripts[self.settings.index(settings)]


def ask(text: str = "Say something.", **more: Any) -> Call:
    return Call(messages=({"role": "user", "content": text},), **more)
