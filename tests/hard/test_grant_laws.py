"""The laws of budgets, watched while handlers ask for more again and again, of deciders that decide whatever they like (R12)."""

from __future__ import annotations

import random
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import anyio
import pytest

from organism import BudgetExhaustedError, Context, HandlerFailedError, ModelError, Refused, Reply
from organism.budget.caps import NO_LIMIT
from organism.budget.claims import VECTOR
from organism.primitives import BudgetDecision, BudgetEstimate, BudgetQuery, BudgetRequest
from organism.record.facts import Granted
from organism.testing import running
from tests.hard.budget_world import PROMPT, Done, Task, code, models
from tests.hard.test_budget_laws import Laws, fickle

if TYPE_CHECKING:
    from organism import Organism
    from organism.record.facts import Fact

NAMES = ("h0", "h1", "h2")
UNITS = (*("tokens",) * 6, "messages", "messages", *VECTOR, "seconds", "depth", "nonsense")


class GrantLaws(Laws):
    """Beside the laws of all budgets: no grant goes beyond what is asked for, what may be granted, and what those above bear."""

    def __init__(self, organism: Organism, up_to: dict[str, Any] | None) -> None:
        self.up_to = up_to
        self.sums: dict[tuple[str, str], Decimal] = {}
        self.grants = 0
        super().__init__(organism)

    def _see(self, fact: Fact) -> None:
        super()._see(fact)
        if not isinstance(fact, Granted):
            return
        self.grants += 1
        key = (fact.node.partition(".")[0], fact.unit)
        self.sums[key] = self.sums.get(key, Decimal(0)) + fact.amount
        if not 0 < fact.amount <= fact.asked:
            self.broken.append(f"{fact.amount} of {fact.asked} was granted")
        if self.up_to is not None and self.sums[key] > Decimal(str(self.up_to.get(fact.unit, 0))):
            self.broken.append(f"{self.sums[key]} {fact.unit} were granted in all")
        if fact.unit in VECTOR:
            self._headroom(self.nodes[fact.node], VECTOR.index(fact.unit), fact)

    def _headroom(self, node: Any, unit: int, fact: Granted) -> None:
        for above in node.path[1:]:
            if above.caps.limit[unit] < NO_LIMIT and node.free(unit, grace=True) > above.free(unit):
                self.broken.append(f"{fact.amount} {fact.unit} were granted beyond what a {above.scope} bears")


async def restless(task: Task, ctx: Context) -> Any:
    """Spends, asks for more, asks others, forecasts, in any order and at once."""
    dice = ctx.random
    async with anyio.create_task_group() as group:
        for _ in range(dice.randint(3, 9)):
            group.start_soon(quietly, ctx, dice.randint(0, 9), dice.random())
    return Reply(Done("done"))


async def quietly(ctx: Context, what: int, how: float) -> None:
    """One thing, however it ends."""
    try:
        await _one(ctx, what, how)
    except (BudgetExhaustedError, HandlerFailedError, ModelError):
        return


async def _one(ctx: Context, what: int, how: float) -> None:
    if what < 3:
        await ctx.complete(PROMPT, max_output_tokens=int(how * 900) + 1)
    elif what < 7:
        unit = UNITS[int(how * len(UNITS))]
        amount = Decimal(int(how * 10_000) % 997) / (100 if unit == "cost_usd" else 1)
        await ctx.ask("organism", BudgetRequest(unit=unit, amount=amount, reason="more"))
    elif what < 9:
        await ctx.ask(NAMES[int(how * 3)], Task("go"))
    else:
        await ctx.ask("organism", BudgetQuery() if how < 0.5 else BudgetEstimate("tokens", Decimal(1), Decimal(900)))


async def moody(asked: BudgetRequest, ctx: Context) -> Any:
    """Decides, or does anything else; some decisions cost."""
    kind = ctx.random.random()
    await anyio.sleep(ctx.random.choice((0, 0, 1, 7)))
    if kind < 0.2:
        await ctx.complete(PROMPT, max_output_tokens=50)
    if kind < 0.1:
        raise Refused("not now")
    if kind < 0.15:
        raise ValueError("as it happens")
    if kind < 0.2:
        return None
    amount = asked.amount * ctx.random.choice((Decimal("0.5"), 1, 1, 2))
    return Reply(BudgetDecision(granted=kind < 0.9, unit=asked.unit, amount=amount, reason="so be it"))


def _document(dice: random.Random) -> tuple[dict[str, Any], dict[str, Any] | None]:
    def limits(scale: int, chance: float = 0.6) -> dict[str, Any]:
        found = {
            "tokens": dice.randint(0, 3000 * scale),
            "output_tokens": dice.randint(0, 2000 * scale),
            "cost_usd": f"0.00{scale:02}",
            "model_calls": dice.randint(0, 6 * scale),
            "messages": dice.randint(20, 60) * scale,
            "seconds": dice.choice((5, 20, 60)) * scale,
        }
        return {unit: limit for unit, limit in found.items() if dice.random() < chance}

    up_to = dice.choice((None, {"tokens": 700, "messages": 200, "cost_usd": "0.001", "seconds": 9}))
    handlers: dict[str, Any] = {"boss": code(moody)}
    for name in NAMES:
        keys: dict[str, Any] = (
            {"budget": limits(1), "per": dice.choice(("call", "thread"))} if dice.random() < 0.6 else {}
        )
        handlers[name] = code(restless, peers=NAMES, **keys)
    budget = {**limits(3), "grants_by": "boss", "depth": 7, **({} if up_to is None else {"grants_up_to": up_to})}
    ceiling = {unit: limit for unit, limit in limits(8).items() if unit in VECTOR}
    return {"handlers": handlers, "budget": budget, "ceiling": ceiling}, up_to


@pytest.mark.parametrize("pair", range(20))
async def test_whatever_is_granted_the_laws_hold(pair: int, half: slice) -> None:
    seed = range(2 * pair, 2 * pair + 2)[half][0]
    document, up_to = _document(random.Random(seed))
    settings = models(fickle(seed), retries=1, timeout=30, price={"input": "1", "output": "2"})
    async with running(seed=seed, models=settings, **document) as organism:
        laws = GrantLaws(organism, up_to)
        handles = []
        for name in NAMES:
            try:
                handles.append(await organism.send(name, Task("begin")))
            except BudgetExhaustedError:
                continue
        with anyio.fail_after(100_000):
            for handle in handles:
                await handle.result()
        now = organism.statistics()
        assert (now.threads, now.queued, now.running, now.held, now.waiting_for_budget) == (0, 0, 0, 0, 0)
        laws.check()
    seen.append(laws.grants)


seen: list[int] = []
"""How much was granted in each of them."""


def test_something_was_granted_in_many_of_them() -> None:
    assert not seen or sum(map(bool, seen)) > len(seen) / 3
