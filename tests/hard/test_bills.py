"""What a swarm spends is what its providers bill: through the SDKs, over servers that fail in every way, whatever agents do meanwhile.

A ledger of our own, by the record alone, sees to it after each fact that nothing was granted beyond a limit, and that each level was told.
"""

from __future__ import annotations

import random
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

import anyio
import pytest

from organism import BudgetExhaustedError, ConfigurationError, Context, HandlerFailedError, ModelError, Reply
from organism.errors import NotRunningError
from organism.primitives import BudgetDecision, BudgetRequest, BudgetWarning
from organism.record import facts
from organism.testing import running
from organism.usage import pico
from tests.hard.billing_world import Audited, Provider
from tests.hard.budget_world import Done, Task, agent, code, models, spend, spender
from tests.hard.time_of_day import NOON, set_clock

if TYPE_CHECKING:
    from organism import ThreadHandle, Usage
    from organism.record.metering import Metered

NAMES: Final = ("h0", "h1", "h2", "a0", "a1")
MODELS: Final = ("default", "default", "other", "cheap")
REFUSED: Final = (BudgetExhaustedError, HandlerFailedError, ModelError)


def prompt(dice: random.Random) -> Any:
    said = f"call {dice.random()} " + "a few words of it " * dice.choice((1, 5, 40))
    return [{"role": "system", "content": "The same for all. " * 40}, {"role": "user", "content": said}]


async def ask_a_model(caller: Any, dice: random.Random, *, streamed: bool) -> None:
    """One call by a context, or by a thread without handlers."""
    how = {"model": dice.choice(MODELS), "max_output_tokens": dice.choice((None, 20, 200)), "wait": dice.random() < 0.8}
    if not streamed:
        await caller.complete(prompt(dice), **how)
        return
    async with caller.stream(prompt(dice), **how) as stream:
        async for _ in stream:
            if dice.random() < 0.1:
                break


async def at_once(caller: Any, dice: random.Random, calls: int) -> None:
    async def one(own: random.Random) -> None:
        try:
            await ask_a_model(caller, own, streamed=own.random() < 0.3)
        except (*REFUSED, NotRunningError):
            return

    async with anyio.create_task_group() as group:
        for _ in range(calls):
            group.start_soon(one, random.Random(dice.random()))
        if dice.random() < 0.1:
            await anyio.sleep(0.1)
            group.cancel_scope.cancel()


async def restless(message: Task | BudgetWarning, ctx: Context) -> Any:
    """Calls models, peers and for more budget, in any order and at once."""
    if isinstance(message, BudgetWarning):
        return None
    dice = ctx.random
    for _ in range(dice.randint(1, 4)):
        try:
            await one_thing(ctx, dice)
        except REFUSED:
            if dice.random() < 0.2:
                raise
    return Reply(Done("done"))


async def one_thing(ctx: Context, dice: random.Random) -> None:
    kind = dice.random()
    if kind < 0.5:
        await at_once(ctx, dice, dice.choice((1, 4, 12)))
    elif kind < 0.7:
        await ctx.ask_all([(dice.choice(NAMES), Task("all")) for _ in range(dice.randint(1, 3))])
    elif kind < 0.85:
        handle = await ctx.spawn(dice.choice(NAMES), Task("go"), budget=dice.choice((None, {"tokens": 2000})))
        await meddle(handle, dice)
    else:
        await ctx.request_budget(dice.choice(("tokens", "cost_usd", "model_calls")), "0.5", "more")


async def meddle(handle: ThreadHandle, dice: random.Random) -> None:
    """Cancels a thread, raises or lowers its limits, or leaves it alone."""
    await anyio.sleep(dice.choice((0, 0.5, 3)))
    kind = dice.random()
    if handle.ended or kind > 0.6:
        return
    if kind < 0.1:
        handle.cancel()
    elif kind < 0.35:
        handle.add_budget(**dice.choice(({"tokens": 900}, {"cost_usd": "0.01"}, {"model_calls": 3})))
    else:
        handle.set_budget(
            **dice.choice(({"tokens": 300}, {"tokens": None}, {"model_calls": 1}, {"warn_at": [0.2, 0.6]}))
        )


async def moody(asked: BudgetRequest, ctx: Context) -> Reply[BudgetDecision]:
    """Grants, or does not."""
    granted = ctx.random.random() < 0.8
    return Reply(BudgetDecision(granted=granted, unit=asked.unit, amount=asked.amount, reason="so be it"))


def document(provider: Provider, dice: random.Random) -> dict[str, Any]:
    def limits(chance: float, scale: int) -> dict[str, Any]:
        found = {
            "tokens": dice.randint(500, 9000) * scale,
            "output_tokens": dice.randint(100, 3000) * scale,
            "cost_usd": f"0.0{scale:02}",
            "model_calls": dice.randint(2, 12) * scale,
        }
        return {unit: limit for unit, limit in found.items() if dice.random() < chance}

    def alias(number: int) -> dict[str, Any]:
        keys = {"timeout": dice.choice((5, 30)), "max_concurrent": dice.choice((2, 1000))}
        kinds = ("openai", "anthropic") if number % 2 else ("anthropic", "openai")
        backends = [provider.backend(kind, number, **keys) for kind in kinds[: dice.choice((1, 2))]]
        strategy = dice.choice(("failover", "round-robin", "least-loaded"))
        return {"backends": backends, "retries": dice.choice((0, 2)), "backoff": [0.1, 4], "strategy": strategy}

    models = {name: alias(number) for number, name in enumerate(("default", "other", "cheap"))}
    models["default"]["downgrade"] = {"at": "critical", "to": "cheap"}
    handlers: dict[str, Any] = {"boss": code(moody)}
    for name in NAMES:
        keys: dict[str, Any] = (
            {"budget": limits(0.4, 2), "per": dice.choice(("call", "thread"))} if dice.random() < 0.5 else {}
        )
        if name.startswith("a"):
            handlers[name] = agent(peers=NAMES, prompt="Act.", max_turns=4, **keys)
        else:
            handlers[name] = code(restless, peers=NAMES, **keys)
    shared: dict[str, dict[str, Any]] = {
        "ceiling": limits(0.5, 40),
        "accounts": {"tenant": limits(0.6, 15) | {"window": "hour"}},
    }
    shared["ceiling"]["window"] = dice.choice(("run", "hour", "day"))
    budget = {"messages": 20, "grants_by": "boss", **limits(0.4, 4), **dice.choice(({}, {"accounting": "strict"}))}
    return {"models": models, "handlers": handlers, "budget": budget, "conversation": limits(0.5, 6), **shared}


LEAST = 5
"""Requests in each of these worlds: else there was nothing to bill."""


@pytest.mark.by_turns
@pytest.mark.parametrize("seed", range(16))
async def test_what_is_spent_is_what_providers_bill(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    dice = random.Random(seed)
    set_clock(monkeypatch, NOON + dice.choice((0, 3590)))
    provider = Provider(monkeypatch, seed, ill=dice.choice((0, 0.2, 0.5)))
    metered: list[Metered] = []
    organism = Audited(name="test", seed=seed, **document(provider, dice))
    async with running(organism):
        organism.meter(metered.append)

        async def client(number: int) -> None:
            own = random.Random(seed * 1000 + number)
            await anyio.sleep(own.choice((0, 0, 5)))
            how: dict[str, Any] = {"conversation": f"c{number % 3}"} if own.random() < 0.3 else {}
            accounts = {} if how else {"tenant": own.choice(("acme", "other"))}
            try:
                handle = await organism.send(own.choice(NAMES), Task("go"), accounts=accounts, **how)
            except BudgetExhaustedError:
                return
            await meddle(handle, own)
            await handle.result()

        async def payer() -> None:
            own = random.Random(seed * 1000 + 999)
            for _ in range(own.choice((0, 4, 12))):
                await anyio.sleep(own.choice((0, 0.3, 5)))
                limits = organism.account_of(own.choice(("tenant:acme", "tenant:other", "ceiling")))
                with suppress(ConfigurationError):  # where that is not limited
                    limits.add_budget(**own.choice(({"tokens": 3000}, {"cost_usd": "0.01"}, {"model_calls": 2})))

        async with anyio.create_task_group() as group:
            group.start_soon(payer)
            for number in range(15):
                group.start_soon(client, number)
            async with organism.thread(budget={"tokens": 9000}) as thread:
                await at_once(thread, dice, 10)
        total, books = organism.books.total, organism.books
        now = organism.statistics()
        assert (now.threads, now.queued, now.running, now.held, now.waiting_for_budget) == (0, 0, 0, 0, 0)
        books.check(provider)
        assert vector(organism.usage()) == total
        for kind in ("handler", "model", "backend"):
            sums = [vector(each) for each in organism.usage(kind).values()]
            assert [sum(amounts) for amounts in zip(*sums, strict=True)][:5] == total[:5]
    for what in ("attempt", "call"):
        told = [vector(each.usage) for each in metered if each.what == what]
        assert [sum(amounts) for amounts in zip(*told, strict=True)][:5] == total[:5]
    for end in organism.watch.of(facts.Ended):
        add_up(end)
    assert len(provider.bills) >= LEAST


def vector(usage: Usage) -> list[int]:
    tokens, given, said = usage.tokens, usage.input_tokens, usage.output_tokens
    return [tokens, given, said, pico(usage.cost_usd), usage.model_calls, usage.messages]


def add_up(end: facts.Ended) -> None:
    """What a thread spent is its own, and that of the threads below it."""
    parts = [vector(end.own), *(vector(below.usage) for below in end.threads)]
    assert [sum(amounts) for amounts in zip(*parts, strict=True)] == vector(end.usage)


async def test_sums_are_compared_with_the_record_whichever_window_has_begun(monkeypatch: pytest.MonkeyPatch) -> None:
    """The ceiling has spent the second call alone by then; the sums have both, and sums that are wrong are found."""
    set_clock(monkeypatch, NOON + 3595)

    async def twice(task: Task, ctx: Context) -> None:
        await spend(ctx, 100)
        await anyio.sleep(10)
        await spend(ctx, 100)

    ceiling = {"tokens": 150, "window": "hour"}
    document: dict[str, Any] = {"handlers": {"worker": code(twice)}, "models": models(spender()), "ceiling": ceiling}
    async with running(**document) as organism:
        result = await (await organism.send("worker", Task("go"))).result()
        assert (result.outcome, organism.usage().tokens, organism.kernel.state.root.used[0]) == ("completed", 200, 100)
    with pytest.raises(AssertionError, match="sums by backend are"):
        async with running(**document) as organism:
            await (await organism.send("worker", Task("go"))).result()
            organism.kernel.state.sums.tally("backend", "nobody").amounts[0] += 1
