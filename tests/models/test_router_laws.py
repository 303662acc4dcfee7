"""Laws of R18, for any script of failures and reports: nothing stays held, and what is charged is the sum of the attempts."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

import anyio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from organism.errors import BudgetExhaustedError, ModelError
from organism.models.contract import BackendError, RawUsage
from organism.models.tokens.usage import measured
from tests.models.router_world import Purse, Say, Script, World, ask

if TYPE_CHECKING:
    from organism.budget.claims import Claim

TIMEOUT = 10.0
KINDS = (
    "rate_limited",
    "server",
    "connection",
    "timeout",
    "cut",
    "rejected",
    "auth",
    "context",
    "broken",
    "declined",
    "unrecorded",
)
FIGURES = st.one_of(st.integers(0, 3000), st.sampled_from([None, -1, 10**9, 10**9 + 1, "7", 1.5, True]))
REPORTS = st.none() | st.builds(RawUsage, input_tokens=FIGURES, output_tokens=FIGURES, cache_read_tokens=FIGURES)
FAILURES = st.builds(
    BackendError,
    st.sampled_from(KINDS),
    st.just("no luck"),
    retry_after=st.sampled_from([None, 0.0, 2.0, 99.0]),
    usage=REPORTS,
    received=st.text(max_size=30),
) | st.builds(ValueError, st.just("a bug"))
STEPS = st.builds(
    Say,
    st.text("ab ", max_size=30),
    REPORTS,
    seconds=st.sampled_from([0.0, 1.0, TIMEOUT + 1]),
    error=st.none() | FAILURES,
    hidden=st.sampled_from(["", "thinking"]),
)
SCRIPTS = st.lists(st.lists(STEPS, min_size=1, max_size=4), min_size=1, max_size=3)


def _bills(step: Say, *, streamed: bool) -> bool:
    """Whether an attempt that went so may be billed: what a stream has sent was, whatever it is called that ended it."""
    late = step.seconds > TIMEOUT
    sent = streamed and bool(step.text.split() or step.hidden)
    return late or sent or not isinstance(step.error, BackendError) or step.error.billed


def _expected(step: Say, claim: Claim, *, streamed: bool) -> tuple[int, int | None]:
    """Input and output that the rules charge for it; ``None`` where the output is an estimate."""
    if not _bills(step, streamed=streamed):
        return 0, 0
    error = step.error if isinstance(step.error, BackendError) else None
    report = None if step.seconds > TIMEOUT else error.usage if error else None if step.error else step.usage
    used = measured(report)
    return (used.input_tokens, used.output_tokens) if used else (claim.input_tokens, None)


def _check(steps: list[Say], purse: Purse, *, cancelled: bool, streamed: bool) -> None:
    assert not purse.held
    assert len(purse.claims) == len(purse.charges)
    for step, claim, charge in zip(steps, purse.claims, purse.charges, strict=False):
        if cancelled and charge is purse.charges[-1]:
            continue
        given_, answered = _expected(step, claim, streamed=streamed)
        assert charge.input_tokens == given_
        if answered is None:
            assert charge.estimated
            assert 0 <= charge.output_tokens <= 50
        else:
            assert charge.output_tokens == answered
            assert not charge.estimated
    total: list[int] = [sum(amounts) for amounts in zip(*(charge.amounts for charge in purse.charges), strict=True)]
    assert purse.used == (total or [0] * 6)


@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture])
@given(
    scripts=SCRIPTS,
    retries=st.integers(0, 5),
    streamed=st.booleans(),
    tokens=st.sampled_from([10**12, 400, 150]),
    patience=st.sampled_from([10**6, 5.0]),
)
async def test_any_script(
    *,
    scripts: list[list[Say]],
    retries: int,
    streamed: bool,
    tokens: int,
    patience: float,
) -> None:
    order: list[Say] = []
    backends = [_Recording(order, steps) for steps in scripts]
    world = World(*backends, each=[{"timeout": TIMEOUT} for _ in scripts], retries=retries)
    purse = Purse(tokens=tokens)
    usage: Any = None
    with anyio.move_on_after(patience) as scope:
        with suppress(ModelError, BudgetExhaustedError):
            usage = await _call(world, purse, streamed=streamed)
    _check(order, purse, cancelled=scope.cancelled_caught, streamed=streamed)
    # One that declined has asked nobody: it is no attempt.
    declined = [step for step in order if isinstance(step.error, BackendError) and step.error.kind == "declined"]
    assert len(order) <= 1 + retries + len(declined)
    assert purse.used[4] == (1 if order else 0)
    assert all(backend.open_streams == backend.running == 0 for backend in backends)
    if usage is not None:
        assert [usage.tokens, usage.input_tokens, usage.output_tokens] == purse.used[:3]
        assert usage.estimated == any(charge.estimated for charge in purse.charges)


class _Recording(Script):
    """A script that writes down in one list what each attempt met, over all backends."""

    def __init__(self, order: list[Say], steps: list[Say]) -> None:
        super().__init__(*steps)
        self._order = order

    def _next(self, request: Any) -> Say:
        step = super()._next(request)
        self._order.append(step)
        return step


async def _call(world: World, purse: Purse, *, streamed: bool) -> Any:
    if not streamed:
        return (await world.router.complete(ask(), purse)).usage
    async with world.router.stream(ask(), purse) as stream:
        async for _ in stream:
            pass
    return stream.completion.usage
