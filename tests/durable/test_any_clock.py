"""Any world: threads under accounts with windows of several lengths, calls that are out while windows end, processes that die anywhere,
and clocks that leap both ways. No window has more than its limit, no chain goes back, nothing stays held, and everybody gets on.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

import anyio
from attrs import define, field

from organism import BudgetExhaustedError, Context, Reply
from organism.pump.clock import MOST
from organism.record.facts import CallSettled
from organism.testing import Says, ScriptedModel
from tests.durable.mortal import Mortal, Scene, facts_of
from tests.hard.budget_world import INPUT, NO_GRACE, models, spend
from tests.hard.pump_world import Go, Said, code
from tests.hard.time_of_day import HOUR, NOON, TimeOfDay, ascending, set_clock

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

    from organism.models.contract import Request


SEEDS: Final = 12
LENGTHS: Final = {"hour": HOUR, "day": 24 * HOUR}
LIMITS: Final = {"": (2500, "hour"), "tenant": (1000, "hour"), "team": (3000, "day")}
"""Tokens and window by kind of account; the ceiling under the empty one."""
UNDER: Final[tuple[Mapping[str, str], ...]] = (
    {}, {"tenant": "a"}, {"tenant": "b"}, {"tenant": "a", "team": "x"}, {"tenant": "b", "team": "x"}, {"team": "x"},
)  # fmt: skip
LEAPS: Final = (0, 0, 30, 3600, 5000, 90_000, -30, -3600, -7200, -40_000)


async def _try(ctx: Context, tokens: int) -> bool:
    try:
        await spend(ctx, tokens)
    except BudgetExhaustedError:
        return False
    return True


async def _worker(message: Go, ctx: Context) -> Reply[Said]:
    dice = random.Random(message.text)
    for _ in range(dice.randint(1, 4)):
        kind = dice.random()
        if kind < 0.3:
            async with anyio.create_task_group() as group:
                for tokens in dice.choices([50, 200, 450, 900], k=3):
                    group.start_soon(_try, ctx, tokens)
        elif kind < 0.45:
            with anyio.move_on_after(dice.choice([1, 100, 4000])):
                await _try(ctx, dice.choice([100, 300, 700]))
        elif not await _try(ctx, dice.choice([50, 200, 450, 900])):
            await anyio.sleep(dice.choice([1, 1000, 3700]))
        await anyio.sleep(dice.choice([0, 5, 900]))
    return Reply(Said("done"))


@define
class World:
    """What one seed makes: who is sent, under whom and when."""

    seed: int
    day: TimeOfDay
    made: Scene
    dice: random.Random
    under: dict[str, Mapping[str, str]]
    waits: dict[str, float]
    refused: set[str] = field(factory=set[str])

    async def client(self, organism: Mortal) -> None:
        """Takes up what is left, and sends what has no end yet."""
        with anyio.fail_after(10**6):
            await organism.resume()
            async with anyio.create_task_group() as group:
                group.start_soon(self._leap)
                for name in self.under:
                    if name not in self.made.results and name not in self.refused:
                        group.start_soon(self._send, organism, name)
        state = organism.kernel.state
        assert not state.line
        for node in state.pools.values():
            assert not any(node.held), node.thread
            assert 0 <= node.used[0] <= node.caps.limit[0], node.thread

    async def _leap(self) -> None:
        for _ in range(4):
            await anyio.sleep(self.dice.choice([3, 500, 2500, 5000]))
            self.day.ahead += self.dice.choice(LEAPS)

    async def _send(self, organism: Mortal, name: str) -> None:
        await anyio.sleep(self.waits.pop(name, 0))
        try:
            handle = await organism.send("worker", Go(f"{self.seed} {name}"), id=name, accounts=self.under[name])
        except BudgetExhaustedError:
            self.refused.add(name)
        else:
            self.made.results[name] = await handle.result()

    def check(self) -> None:
        """No window of anybody has more than its limit."""
        spent: Counter[tuple[str, float]] = Counter()
        for root, facts in facts_of(self.made.path).items():
            assert ascending(facts), root
            for fact in facts:
                if isinstance(fact, CallSettled):
                    for kind, name in {"": "", **self.under[root]}.items():
                        length = LENGTHS[LIMITS[kind][1]]
                        spent[f"{kind}:{name}", fact.held_at // length] += fact.charge.amounts[0]
        for (name, window), amount in spent.items():
            assert amount <= LIMITS[name.partition(":")[0]][0], (name, window)


def _world(seed: int, path: Path, day: TimeOfDay) -> World:
    def says(request: Request) -> Says:
        drawn = random.Random(f"{seed} {request.max_output_tokens} {anyio.current_time()}")
        used = drawn.choice([0, request.max_output_tokens // 2, request.max_output_tokens])
        return Says(text="ok", usage=(INPUT, used), seconds=drawn.choice([0.1, 5, 600, 4000, 9000]))

    dice, model = random.Random(seed), ScriptedModel(says)
    quotas = {kind: {"tokens": tokens, "window": window} for kind, (tokens, window) in LIMITS.items()}
    document: dict[str, Any] = {
        "handlers": {"worker": code(_worker, timeout=None)},
        "models": models(model, retries=0, timeout=10**6),
        "ceiling": quotas.pop(""),
        "accounts": quotas,
        "budget": {"grace": NO_GRACE},
    }
    under: dict[str, Mapping[str, str]] = {f"t{number}": dice.choice(UNDER) for number in range(dice.randint(3, 10))}
    waits: dict[str, float] = {name: dice.choice([0, 0, 10, 3000, 8000]) for name in under}
    return World(seed, day, Scene(path / f"{seed}.db", model, document, []), dice, under, waits)


async def test_no_window_has_more_than_its_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, half: slice) -> None:
    for seed in range(SEEDS)[half]:
        furthest = 0.0
        day = set_clock(monkeypatch, NOON + random.Random(-seed).choice([0, 1800, 3590, 3599.5, 11 * HOUR + 3500]))
        world = _world(seed, tmp_path, day)
        for cut in (*world.dice.choices([3, 8, 20, 40], k=4), None):
            organism = await world.made.live(world.made.organism(cut), world.client)
            if not organism.died.is_set():
                break
            furthest = max(furthest, day.ahead)
            # One that was further ahead is not followed.
            day.ahead = max(day.ahead + world.dice.choice(LEAPS), furthest - MOST / 2)
        assert {*world.made.results, *world.refused} == set(world.under)
        world.check()
