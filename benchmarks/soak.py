"""Ten thousand calls at once, in 200 threads on three levels, under 20 accounts and one ceiling; then the laws of budgets, counted anew.

    python benchmarks/soak.py [CALLS] [SEED]

Both ways of accounting run, each on a journal of its own, with a clock that jumps where nothing is ready. With ``estimate`` a call
truly costs its estimate times a lognormal factor (sigma 0.5, one in fifty three times that); with ``strict`` whatever the bound
allows. Five in a hundred calls report no usage, five are cut, and five are cancelled while they wait or are out.

It fails where a hold passed a limit, where a node came beyond its limit otherwise than by what was charged beyond holds (``strict``:
at all), where that was not said line by line or is not what the node reports, where something is still held or waits, or where
the sums by thread, handler, model, backend, account and journal differ. Prints a table, and
``RESULT {"strict": {...}, "estimate": {...}}``.
"""

from __future__ import annotations

import json
import logging
import random
import sys
import tempfile
import threading
import time
from collections import Counter
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import anyio
import anyio.to_thread
import trio.testing
from attrs import define, field

sys.path.append(str(Path(__file__).resolve().parent.parent))

from benchmarks.given import given
from organism import BudgetExhaustedError, Context, HandlerFailedError, ModelError, Organism, Reply, payload
from organism.budget.claims import VECTOR
from organism.journal import open_journal
from organism.models.contract import BackendError, RawUsage, Response
from organism.record.facts import CallHeld, CallRefused, CallSettled, Ended, ThreadOpened
from organism.usage import pico

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterator

    from organism import ThreadHandle, ThreadResult
    from organism.models.contract import Request
    from organism.record.facts import Fact
    from organism.usage import Usage

ROOTS: Final = 40
BELOW: Final = 2
"""Sub-threads of each root thread; each has one of its own: 40 + 80 + 80 threads."""
THREADS: Final = ROOTS * (1 + 2 * BELOW)
ACCOUNTS: Final = 20
WISH: Final = 60
TEXT: Final = "Say in some words what a hold is, and why it is taken before the call is made and not after it. " * 2


FOR_EVER: Final = 300.0
"""Seconds of the real clock, which does not jump while a disk is written to: what has not ended by then never will."""
WAYS: Final = ("answered", "refused", "failed", "cancelled")


@payload
class Work:
    """So many calls, here and in everything below."""

    calls: int


@payload
class Done:
    answered: int
    refused: int
    failed: int
    cancelled: int


class Provider:
    """A model that takes its time, costs what the dice say, and sometimes fails after it was paid."""

    def __init__(self, dice: random.Random, *, strict: bool) -> None:
        self._dice = dice
        self._strict = strict
        self.out = 0
        self.most_out = 0

    async def complete(self, request: Request) -> Response:
        dice, wish = self._dice, request.max_output_tokens
        self.out += 1
        self.most_out = max(self.most_out, self.out)
        try:
            await anyio.sleep(dice.uniform(0.5, 1.5))
        finally:
            self.out -= 1
        given = len(TEXT.encode()) * 2 / 3
        if self._strict:
            usage = (int(len(TEXT.encode()) * dice.uniform(0.1, 1)), int(wish * dice.random()))
        else:
            factor = dice.lognormvariate(0, 0.5) * (3 if dice.random() < 0.02 else 1)
            usage = (int(given * factor), int(wish * factor))
        what = dice.random()
        if what < 0.05:
            raise BackendError("cut", "the connection was lost", received="so far")
        reported = None if what < 0.1 else RawUsage(input_tokens=usage[0], output_tokens=usage[1])
        return Response(text="ok", message={"role": "assistant", "content": "ok"}, usage=reported)

    @asynccontextmanager
    async def stream(self, request: Request) -> AsyncGenerator[Any]:
        raise NotImplementedError(request)
        yield

    async def aclose(self) -> None:
        """Nothing is open."""


async def work(calls: int, ctx: Context, dice: random.Random, below: list[str]) -> Done:
    """Makes all calls at once, and asks those below meanwhile."""
    seen: Counter[str] = Counter()

    async def call() -> None:
        with anyio.CancelScope() as scope:
            if dice.random() < 0.05:
                scope.deadline = anyio.current_time() + dice.uniform(0.1, 1)
            seen[await _call(ctx)] += 1
        seen["cancelled"] += scope.cancelled_caught

    async def ask(to: str) -> None:
        try:
            done = await ctx.ask(to, Work(calls), expect=Done)
        except HandlerFailedError:
            seen["lost"] += 1
            return
        seen.update({name: getattr(done, name) for name in WAYS})

    async with anyio.create_task_group() as group:
        for to in below:
            group.start_soon(ask, to)
        for _ in range(calls):
            group.start_soon(call)
    return Done(**{name: seen[name] for name in WAYS})


async def _call(ctx: Context) -> str:
    try:
        await ctx.complete(TEXT, max_output_tokens=WISH)
    except BudgetExhaustedError:
        return "refused"
    except ModelError:
        return "failed"
    return "answered"


def handlers_of(dice: random.Random) -> dict[str, Any]:
    """Three levels; the lower two have budgets of their own, so that each call to them is a thread."""

    async def top(message: Work, ctx: Context) -> Reply[Done]:
        return Reply(await work(message.calls, ctx, dice, ["middle"] * BELOW))

    async def middle(message: Work, ctx: Context) -> Reply[Done]:
        return Reply(await work(message.calls, ctx, dice, ["leaf"]))

    async def leaf(message: Work, ctx: Context) -> Reply[Done]:
        return Reply(await work(message.calls, ctx, dice, []))

    shared = {"description": "Makes calls.", "timeout": None}
    return {
        "top": {"code": top, "peers": ["middle"], **shared},
        "middle": {"code": middle, "peers": ["leaf"], "budget": {"tokens": 0}, **shared},
        "leaf": {"code": leaf, "budget": {"tokens": 0}, **shared},
    }


@define
class Account:
    """What the facts say, counted without the code that decided it: by node, what is used, held, and was charged beyond holds."""

    held: Counter[str] = field(factory=Counter)
    used: Counter[str] = field(factory=Counter)
    beyond: Counter[str] = field(factory=Counter)
    furthest: dict[str, int] = field(factory=dict)
    out: dict[tuple[str, int], tuple[CallHeld, list[str]]] = field(factory=dict)
    paths: dict[str, list[str]] = field(factory=dict)
    limits: dict[str, int] = field(factory=dict)
    holds: int = 0
    refused: Counter[str] = field(factory=Counter)
    granted_beyond: list[str] = field(factory=list)
    overdrawn: int = 0
    """Lines that are to be said: one for each node that a charge put or left beyond its limit by more than was held for it."""
    most_waiting: int = 0
    ended: list[Ended] = field(factory=list)

    def tell(self, fact: Fact) -> None:
        """Takes in the next fact."""
        for step in fact.steps:
            if isinstance(step, ThreadOpened):
                self._open(step)
        match fact:
            case CallHeld(need=need):
                path = self.paths[fact.thread]
                self.out[fact.thread, fact.hold] = (fact, path)
                self.holds += 1
                for node in path:
                    self.held[node] += need[0]
                    if self._look(node) > 0:
                        self.granted_beyond.append(node)
            case CallSettled(charge=charge):
                held, path = self.out.pop((fact.thread, fact.hold))
                more = charge.amounts[0] - held.need[0]
                for node in path:
                    self.held[node] -= held.need[0]
                    self.used[node] += charge.amounts[0]
                    self.beyond[node] += max(0, more)
                    self.overdrawn += self._look(node) > 0 and more > 0
            case CallRefused():
                self.refused[fact.scope] += 1
            case Ended():
                self.ended.append(fact)
            case _:
                pass

    def _open(self, step: ThreadOpened) -> None:
        above = [*step.accounts, "ceiling"] if step.owner is None else self.paths[step.owner[0]]
        self.paths[step.thread] = [step.thread, *above]
        if step.budget.limits.tokens is not None:
            self.limits[step.thread] = step.budget.limits.tokens

    def _look(self, node: str) -> int:
        """How far a node is beyond its limit now, below 0 where there is room."""
        now = self.used[node] + self.held[node]
        self.furthest[node] = max(self.furthest.get(node, 0), now)
        return now - self.limits[node]


class Said(logging.Handler):
    """Counts the overdrafts that were said, line by line."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.lines = 0

    def emit(self, record: logging.LogRecord) -> None:
        self.lines += record.getMessage().count("are overdrawn")


def document(accounting: str, calls: int, provider: Provider, dice: random.Random, folder: Path) -> dict[str, Any]:
    """An organism in which about a third of the calls has no room, on each level for another reason."""
    size = len(TEXT.encode()) + 16
    each, share = (size + WISH, 0.45) if accounting == "strict" else (size * 2 // 3 + WISH, 0.9)
    spent = calls * each * share
    handlers = handlers_of(dice)
    own = int(spent * 0.9)
    grace = {"model_calls": 0, "share": 0, "tokens": 0}
    handlers["leaf"]["budget"] = {"tokens": own, "grace": grace}
    handlers["middle"]["budget"] = {"tokens": int(own * 1.8), "grace": grace}
    whole = int(spent * THREADS)
    backend = {"provider": lambda _: provider, "model": "m", "max_concurrent": 10**6, "overhead": 16}
    return {
        "name": "soak",
        "handlers": handlers,
        "models": {"default": {"retries": 0, "backends": [{**backend, "price": {"input": "1", "output": "2"}}]}},
        "budget": {"tokens": int(own * 5), "accounting": accounting, "messages": None, "grace": grace},
        "accounts": {
            name: {"tokens": int(whole / ACCOUNTS * part), "window": "total"}
            for name, part in {"tenant": 0.95, "tenant:t0": 0.6, "tenant:t1": 0.4}.items()
        },
        "ceiling": {"tokens": int(whole * (0.7 if accounting == "strict" else 0.9)), "window": "total"},
        "max_handlers": 10**6,
        "journal": f"sqlite:{folder / 'soak.db'}",
        "durability": "normal",
    }


async def soak(accounting: str, calls: int, seed: int, folder: Path) -> tuple[dict[str, Any], list[str]]:
    """One run: its figures, and the laws that it broke."""
    dice = random.Random(seed)
    provider = Provider(dice, strict=accounting == "strict")
    settings = document(accounting, calls, provider, dice, folder)
    organism = Organism(**settings)
    quotas, names = settings["accounts"], [f"tenant:t{number}" for number in range(ACCOUNTS)]
    shared = {name: quotas.get(name, quotas["tenant"])["tokens"] for name in names}
    seen, said = Account(limits={**shared, "ceiling": settings["ceiling"]["tokens"]}), Said()
    logging.getLogger("organism").addHandler(said)
    line = organism.kernel.state.line

    def tell(fact: Fact) -> None:
        seen.tell(fact)
        seen.most_waiting = max(seen.most_waiting, len(line))

    organism.subscribe(tell)
    begun, cpu = time.perf_counter(), time.process_time()
    async with organism:
        handles = [
            await organism.send("top", Work(calls), accounts={"tenant": f"t{number % ACCOUNTS}"})
            for number in range(ROOTS)
        ]
        results, in_time = await _results(handles)
        wrong = [*_laws(organism, seen, strict=accounting == "strict"), *_sums(organism, results)]
        if not in_time or organism.statistics().waiting_for_budget:
            wrong.append("somebody waited for ever")
        whole = organism.usage()
    took, cpu = time.perf_counter() - begun, time.process_time() - cpu
    logging.getLogger("organism").removeHandler(said)
    wrong += _journal(folder / "soak.db", whole)
    done: Counter[str] = Counter()
    for result in results:
        if isinstance(result.reply, Done):
            done.update({name: getattr(result.reply, name) for name in WAYS})
    if sum(done.values()) != calls * THREADS:
        wrong.append(f"{sum(done.values())} calls came back of {calls * THREADS}")
    if said.lines != seen.overdrawn:
        wrong.append(f"{said.lines} overdrafts were said, of {seen.overdrawn}")
    figures = {
        "calls": calls * THREADS, "granted": seen.holds, "waited": line._next, **done,  # noqa: SLF001 - how many ever joined it
        "out at once": provider.most_out, "waiting at once": seen.most_waiting, "refused by": dict(seen.refused),
        "beyond": _overshoot(seen), "said": said.lines, "s": round(took, 1), "cpu s": round(cpu, 1),
        "cpu us a call": round(cpu / (calls * THREADS) * 1e6),
    }  # fmt: skip
    return figures, wrong


async def _results(handles: list[ThreadHandle]) -> tuple[list[ThreadResult], bool]:
    """How all ended, and whether by themselves."""
    over = threading.Event()
    in_time = True

    async def watch() -> None:
        nonlocal in_time
        in_time = await anyio.to_thread.run_sync(over.wait, FOR_EVER, abandon_on_cancel=True)
        for handle in handles if not in_time else ():
            handle.cancel("it waits for ever")

    async with anyio.create_task_group() as group:
        group.start_soon(watch)
        results = [await handle.result() for handle in handles]
        over.set()
    return results, in_time


def _laws(organism: Organism, seen: Account, *, strict: bool) -> Iterator[str]:
    """What was broken of R12, by the facts alone."""
    state = organism.kernel.state
    shared = {name.removeprefix("account:") or "ceiling": node for name, node in state.pools.items()}
    if seen.granted_beyond:
        yield f"{len(seen.granted_beyond)} holds passed a limit, the first on {seen.granted_beyond[0]}"
    if seen.out or any(seen.held.values()) or state.holds:
        yield f"{len(seen.out)} calls are still held"
    if len(seen.ended) != THREADS:
        yield f"{len(seen.ended)} threads ended of {THREADS}"
    for node, limit in seen.limits.items():
        over = max(0, seen.furthest.get(node, 0) - limit)
        if over > (0 if strict else seen.beyond[node]):
            yield f"{node} came {over} beyond its limit of {limit}, of which {seen.beyond[node]} were charged beyond holds"
        if node in shared and shared[node].overdraft[0] != over:
            yield f"{node} reports an overdraft of {shared[node].overdraft[0]}, and came {over} beyond its limit"
    if strict and any(seen.beyond.values()):
        yield f"strict: {sum(seen.beyond.values())} tokens were charged beyond holds"


def _sums(organism: Organism, results: list[ThreadResult]) -> Iterator[str]:
    """Where sums differ (R19)."""
    whole: Any = organism.usage()
    sums: dict[str, list[Usage]] = {"thread": [result.usage for result in results]}
    for by in ("handler", "model", "backend", "account"):
        totals: Any = organism.usage(by)
        sums[by] = list(totals.values())
    for by, usages in sums.items():
        for unit in ("tokens", "input_tokens", "output_tokens", "cost_usd", "model_calls"):
            total = sum(getattr(usage, unit) for usage in usages)
            if total != getattr(whole, unit):
                yield f"{unit} by {by} are {total}, and {getattr(whole, unit)} in all"


def _overshoot(seen: Account) -> dict[str, int]:
    """The furthest that a node of each kind came beyond its limit."""
    found: dict[str, int] = {}
    for node, limit in seen.limits.items():
        kind = "ceiling" if node == "ceiling" else "account" if node.startswith("tenant:") else "thread"
        found[kind] = max(found.get(kind, 0), seen.furthest.get(node, 0) - limit, 0)
    return found


def _journal(path: Path, whole: Any) -> Iterator[str]:
    """Where the journal's sums are others."""
    journal = open_journal(f"sqlite:{path}", readonly=True)
    rows = [spent.amounts for spent in journal.spendings()]
    journal.close()
    for unit, amounts in zip(VECTOR, zip(*rows, strict=True), strict=True):
        spent = pico(whole.cost_usd) if unit == "cost_usd" else getattr(whole, unit)
        if spent != sum(amounts):
            yield f"{unit} in the journal are {sum(amounts)}, and {spent} in all"


def table(figures: dict[str, Any]) -> list[str]:
    """A line for each figure."""
    flat = {
        f"{name} {inner}" if inner else name: value
        for name, given in figures.items()
        for inner, value in (given.items() if isinstance(given, dict) else [("", given)])
    }
    return [f"{name:22}{value:>10}" for name, value in flat.items()]


def main() -> None:
    calls, seed = given(__doc__, 10_000, 1)
    figures: dict[str, Any] = {}
    wrong: list[str] = []
    for accounting in ("strict", "estimate"):
        with tempfile.TemporaryDirectory() as folder:
            jumping = {"clock": trio.testing.MockClock(autojump_threshold=0)}
            figures[accounting], broken = anyio.run(
                soak, accounting, calls // THREADS, seed, Path(folder), backend="trio", backend_options=jumping
            )
        print(f"\n{accounting}", *table(figures[accounting]), *broken, sep="\n  ", flush=True)
        wrong += broken
    print("RESULT " + json.dumps(figures))
    if wrong:
        sys.exit(1)


if __name__ == "__main__":
    main()
