"""The laws of budgets, watched over organisms that do whatever handlers can do, with models that do whatever models do."""

from __future__ import annotations

import random
from collections import Counter
from typing import TYPE_CHECKING, Any

import anyio
import pytest

from organism import BudgetExhaustedError, Context, Forward, HandlerFailedError, ModelError, Reply, Send
from organism.budget.claims import MESSAGES, VECTOR
from organism.models.contract import BackendError, RawUsage
from organism.primitives import BudgetExhausted, BudgetWarning, HandlerFailed  # noqa: TC001 - annotations are read
from organism.record.facts import CallHeld, Ended, WarningRaised
from organism.testing import Says, ScriptedModel, running
from tests.hard.budget_world import PROMPT, Done, Task, agent, code, models

if TYPE_CHECKING:
    from organism import Organism
    from organism.budget.node import Node
    from organism.record.facts import Fact

CODE = ("h0", "h1", "h2", "h3")
AGENTS = ("a0", "a1")
NAMES = (*CODE, *AGENTS)


class Laws:
    """Looks at the live budgets after every fact. Charges never pass holds here, so nothing may ever pass a limit."""

    def __init__(self, organism: Organism) -> None:
        self._state = organism.kernel.state
        self.nodes: dict[str, Node] = {"": self._state.root}
        self.fired: Counter[tuple[Any, ...]] = Counter()
        self.broken: list[str] = []
        organism._audience.hear(self._see)  # as it is recorded: subscribers hear of it later

    def _see(self, fact: Fact) -> None:
        for thread in self._state.threads.values():
            self.nodes.setdefault(thread.id, thread.node)
        for step in fact.steps:
            if isinstance(step, WarningRaised):
                self.fired[step.node, step.unit, step.level, step.threshold, step.limit] += 1
        for name, node in self.nodes.items():
            self._look(name, node)
        if isinstance(fact, CallHeld) and (fact.thread.partition(".")[0], fact.hold) in self._state.holds:
            hold = self._state.holds[fact.thread.partition(".")[0], fact.hold]
            for node in hold.path:
                caps = node.caps.limit if hold.grace and node is hold.path[0] else node.caps.working
                if any(node.used[unit] + node.held[unit] > caps[unit] for unit in range(MESSAGES)):
                    # Only a grace call may have gone beyond the working limit before.
                    own_grace = any(each.grace and each.path[0] is node for each in self._state.holds.values())
                    graced = any(thread.node is node and thread.graced for thread in self._state.threads.values())
                    if not (own_grace or graced):
                        self.broken.append(f"hold {fact.hold} passes a working limit of {node.scope} {node.thread}")

    def _look(self, name: str, node: Node) -> None:
        for unit in range(len(VECTOR)):
            used, held = node.used[unit], node.held[unit]
            if used < 0 or held < 0 or used + held > node.caps.limit[unit] or node.own[unit] > used:
                self.broken.append(f"{VECTOR[unit]} of {node.scope} {name}: {used} used, {held} held")

    def check(self) -> None:
        for name, node in self.nodes.items():
            if any(node.held):
                self.broken.append(f"{name} still holds {node.held}")
            for unit, marks in enumerate(node.caps.marks):
                crossed = node.crossed(unit)
                reached = [mark.level for mark in marks if node.used[unit] >= mark.at]
                if list(crossed[: len(reached)]) != reached:
                    self.broken.append(f"{VECTOR[unit]} of {name}: reached {reached}, fired {crossed}")
        self.broken += [f"fired twice: {key}" for key, times in self.fired.items() if times > 1]
        assert self.broken == []


def fickle(seed: int) -> ScriptedModel:
    """A model that answers, reports nonsense, fails and hangs, but never charges more than was held."""
    dice = random.Random(seed)

    def script(request: Any) -> Says:
        kind = dice.random()
        seconds = dice.choice((0.0, 0.0, 0.1, 1.0, 7.0))
        if kind < 0.15:
            failure: Any = dice.choice(("server", "cut", "rate_limited", "rejected", "connection"))
            return Says(
                error=BackendError(failure, "no", received="ab" if dice.random() < 0.5 else ""), seconds=seconds
            )
        if kind < 0.25:
            return Says(text="ok", usage=RawUsage(input_tokens=dice.choice((None, -1, "7"))), seconds=seconds)
        if kind < 0.3:
            return Says(text="late", seconds=99)
        return Says(
            text="a few words",
            calls=_calls(request, dice),
            usage=(10, dice.randint(0, request.max_output_tokens)),
            seconds=seconds,
        )

    return ScriptedModel(script)


def _calls(request: Any, dice: random.Random) -> tuple[tuple[str, Any], ...]:
    """An agent's turn: it replies, asks peers, or calls what is not there."""
    tools = [tool.name for tool in request.tools]
    if not tools or dice.random() < 0.1:
        return ()
    if dice.random() < 0.4:
        return (("reply", Done("replied")),)
    return tuple((dice.choice((*tools, "nobody")), Task("please")) for _ in range(dice.randint(1, 3)))


async def restless(message: Task | Done | HandlerFailed | BudgetWarning | BudgetExhausted, ctx: Context) -> Any:
    """Does a few things at random, catches what it feels like, and answers somehow."""
    dice = ctx.random
    for _ in range(dice.randint(0, 3)):
        try:
            await _one_thing(ctx, dice)
        except (BudgetExhaustedError, HandlerFailedError, ModelError):
            if dice.random() < 0.3:
                raise
    kind = dice.random()
    peer = dice.choice(NAMES)
    if kind < 0.4:
        return Reply(Done("done"))
    if kind < 0.6:
        return [Send(peer, Task("on")), *([Send(dice.choice(NAMES), Task("too"))] if kind < 0.5 else [])]
    if kind < 0.7:
        return Forward(peer, Task("over"))
    if kind < 0.75:
        raise ValueError("as it happens")
    return None


async def _one_thing(ctx: Context, dice: random.Random) -> None:
    things = (_complete, _complete, _complete, _stream, _together, _ask, _ask, _spawn, _sleep)
    await dice.choice(things)(ctx, dice)


async def _complete(ctx: Context, dice: random.Random) -> None:
    wish = dice.choice((None, 30, 100, 400, 900))
    await ctx.complete(PROMPT, max_output_tokens=wish, wait=dice.random() < 0.8, grace=dice.random() < 0.1)


async def _stream(ctx: Context, dice: random.Random) -> None:
    async with ctx.stream(PROMPT, max_output_tokens=dice.choice((50, 300))) as stream:
        async for _ in stream:
            if dice.random() < 0.3:
                break
            if dice.random() < 0.4:
                await dice.choice((_complete, _together, _ask, _spawn))(ctx, dice)


async def _together(ctx: Context, dice: random.Random) -> None:
    async with anyio.create_task_group() as group:
        for _ in range(3):
            group.start_soon(_quietly, ctx, dice.choice((50, 200, 500)))


async def _ask(ctx: Context, dice: random.Random) -> None:
    await ctx.ask_all([(dice.choice(NAMES), Task("do")) for _ in range(dice.randint(1, 3))])


async def _spawn(ctx: Context, dice: random.Random) -> None:
    handle = await ctx.spawn(dice.choice(NAMES), Task("go"), budget=dice.choice((None, {"tokens": 800})))
    kind = dice.random()
    if kind < 0.2:
        handle.cancel()
    elif kind < 0.4:
        handle.add_budget(tokens=100, messages=1)
    elif kind < 0.7:
        await handle.result()


async def _sleep(ctx: Context, dice: random.Random) -> None:
    await anyio.sleep(dice.choice((0, 0.5, 3)))


async def _quietly(ctx: Context, tokens: int) -> None:
    try:
        await ctx.complete(PROMPT, max_output_tokens=tokens)
    except (BudgetExhaustedError, ModelError):
        return


def _document(seed: int) -> dict[str, Any]:
    dice = random.Random(seed)

    def limits(chance: float, *, scale: int = 1) -> dict[str, Any]:
        found = {
            "tokens": dice.randint(0, 8000 * scale),
            "output_tokens": dice.randint(0, 6000 * scale),
            "cost_usd": f"0.{scale:03}",
            "model_calls": dice.randint(0, 12 * scale),
            "messages": dice.randint(0, 20 * scale),
            "seconds": dice.choice((2, 20, 60)),
            "depth": dice.randint(1, 9),
        }
        chosen = {unit: limit for unit, limit in found.items() if dice.random() < chance}
        if dice.random() < 0.3:
            chosen["warn_at"] = dice.choice(([], [0.5], [0.2, 0.9], [3, 0.6]))
        if dice.random() < 0.3:
            chosen["notify"] = ["agent", "caller"]
        if dice.random() < 0.3:
            chosen["runway"] = 0
        return chosen

    handlers: dict[str, Any] = {}
    for name in NAMES:
        keys: dict[str, Any] = {}
        if dice.random() < 0.5:
            keys = {"budget": limits(0.4), "per": dice.choice(("call", "thread"))}
        if dice.random() < 0.3:
            keys["concurrency"] = dice.randint(1, 3)
        if name in AGENTS:
            handlers[name] = agent(peers=NAMES, prompt="Act.", max_turns=5, **keys)
        else:
            handlers[name] = code(restless, peers=NAMES, timeout=dice.choice((None, 5, 30)), **keys)
    budget = limits(0.3, scale=5)
    budget["messages"] = dice.randint(5, 60)
    ceiling = {unit: limit for unit, limit in limits(0.2, scale=15).items() if unit in VECTOR}
    return {"handlers": handlers, "budget": budget, "ceiling": ceiling, "max_handlers": dice.choice((2, 1000))}


@pytest.mark.parametrize("pair", range(30))
async def test_whatever_handlers_do_the_laws_hold(pair: int, half: slice) -> None:
    seed = range(2 * pair, 2 * pair + 2)[half][0]
    model = fickle(seed)
    settings = models(model, retries=1, timeout=30, price={"input": "1", "output": "2"})
    async with running(seed=seed, models=settings, **_document(seed)) as organism:
        laws = Laws(organism)
        handles = []
        for number in range(4):
            try:
                handles.append(await organism.send(NAMES[-number], Task("begin")))
            except BudgetExhaustedError:
                continue
        with anyio.fail_after(100_000):
            results = [await handle.result() for handle in handles]
        now = organism.statistics()
        assert (now.threads, now.queued, now.running, now.held, now.waiting_for_budget) == (0, 0, 0, 0, 0)
        laws.check()
    ends = organism.watch.of(Ended)
    assert len({end.thread for end in ends}) == len(ends)
    assert {result.thread for result in results} <= {end.thread for end in ends}
