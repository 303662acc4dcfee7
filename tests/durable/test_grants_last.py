"""Grants and forecasts over the end of a process: what was granted stays granted, and is granted once."""

from __future__ import annotations

import json
from collections import Counter
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import anyio

from organism import Context, Reply
from organism.journal.codec import content, decode
from organism.kernel.comparable import comparable
from organism.kernel.imaging import image_of
from organism.kernel.index import Index
from organism.kernel.restoring import restore
from organism.kernel.state import State
from organism.primitives import BudgetDecision, BudgetEstimate, BudgetRequest
from organism.record.facts import Fact, Forecast, Granted
from organism.testing import differences, running
from organism.threads.routing import routes
from tests.durable.mortal import Scene, check_whole, every
from tests.hard.budget_world import NO_GRACE, models, spend, spender
from tests.hard.pump_world import Go, Said, code

if TYPE_CHECKING:
    from pathlib import Path


async def worker(message: Go, ctx: Context) -> Reply[Said]:
    """Forecasts, spends what it has, asks for more twice, and spends that."""
    await ctx.ask("organism", BudgetEstimate(unit="tokens", low=Decimal(100), high=Decimal(600)))
    await spend(ctx, 200)
    told = [await ctx.request_budget("tokens", 150, text) for text in ("first", "then", "last")]
    await spend(ctx, 280)
    return Reply(Said(f"{told} {ctx.budget.tokens.limit}"))


async def boss(asked: BudgetRequest, ctx: Context) -> Reply[BudgetDecision]:
    """Takes its time."""
    await anyio.sleep(1)
    return Reply(BudgetDecision(granted=True, unit=asked.unit, amount=asked.amount, reason="yes"))


DOCUMENT: dict[str, Any] = {
    "handlers": {"worker": code(worker), "boss": code(boss)},
    "budget": {"tokens": 420, "grace": NO_GRACE, "grants_by": "boss", "grants_up_to": {"tokens": 300}},
}


def scene(path: Path) -> Scene:
    model = spender(seconds=1.0)
    return Scene(path / "j.db", model, {**DOCUMENT, "models": models(model, retries=0)}, [("t", "worker", Go("x"), {})])


async def test_wherever_the_process_ends_a_grant_is_made_once(tmp_path: Path, half: slice) -> None:
    (tmp_path / "whole").mkdir()
    whole = scene(tmp_path / "whole")
    await whole.play()
    facts = whole.results["t"]
    assert facts.reply == Said("[True, True, False] 720")
    seen: Counter[str] = Counter()
    cuts = range(1, len(every(whole.path, Fact)))[half]
    for cut in cuts:
        (tmp_path / f"{cut}").mkdir()
        made = scene(tmp_path / f"{cut}")
        await made.play(cut)
        organism = await made.resume()
        result = made.results["t"]
        assert [fact.amount for fact in every(made.path, Granted)] == [150, 150], cut
        assert len(every(made.path, Forecast)) == 1, cut
        # What a call that was cut off is charged may use up what was to be spent then.
        seen[str(result.reply)] += 1
        assert result.reply == Said("[True, True, False] 720") or result.outcome == "exhausted"
        (row,) = result.estimates
        assert row.used == 0
        assert row.end == result.usage.tokens, cut
        check_whole(organism, made.path)
    assert seen[str(Said("[True, True, False] 720"))] > len(cuts) / 2


async def asker(message: Go, ctx: Context) -> Reply[Said]:
    """Asks for more with the last of its messages."""
    return Reply(Said(str(await ctx.request_budget("tokens", 150, "more"))))


async def test_what_was_asked_with_the_last_message_is_decided_wherever_the_process_ends(tmp_path: Path) -> None:
    document = {**DOCUMENT, "handlers": {"worker": code(asker), "boss": code(boss)}, "models": models(spender())}
    document["budget"] = {**DOCUMENT["budget"], "messages": 3}

    def made(name: str) -> Scene:
        (tmp_path / name).mkdir()
        return Scene(tmp_path / name / "j.db", spender(), document, [("t", "worker", Go("x"), {})])

    whole = made("whole")
    await whole.play()
    for cut in range(1, len(every(whole.path, Fact))):
        cut_off = made(str(cut))
        await cut_off.play(cut)
        organism = await cut_off.resume()
        assert cut_off.results["t"].reply == Said("True"), cut
        check_whole(organism, cut_off.path)


async def test_an_image_holds_what_was_granted_and_forecast() -> None:
    """Also what a delivery of the organism's was told that is not done yet."""

    async with running(models=models(spender(seconds=5)), **DOCUMENT) as organism:
        state = organism.kernel.state
        handle = await organism.send("worker", Go("x"), id="t")
        await anyio.sleep(9)
        thread = state.threads["t"]
        assert thread.have_outlay().granted == {"tokens": Decimal(300)}
        assert len(thread.have_outlay().estimates or ()) == 1
        fact = organism.watch.of(Granted)[0]
        fresh = State(organism.settings, routes(organism.settings))
        fresh.index, fresh.now = Index(), state.now
        restore(fresh, fresh.index, {}, image_of(state, thread))
        assert differences(comparable(state)["threads"]["t"], comparable(fresh)["threads"]["t"]) == []
        assert fresh.threads["t"].outlay == thread.outlay
        await handle.result()
    assert decode(_document(fact), None) == fact


def _document(fact: Granted) -> Any:
    return json.loads(content(fact, "t"))
