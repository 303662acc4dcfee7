"""Fifty handlers that crash, hang, flood, lie, block and are tried again as the dice say, and twenty honest threads beside them.

    python benchmarks/chaos.py [ROUNDS] [SEED]

An honest thread adds numbers: for each of them it asks an agent, whose model asks a calculator and then says the sum. That is a turn.
A round is that of twenty threads at once; first some are run in quiet, then as many while chaos goes on beside them.

It fails where an honest thread does not complete with the right sum, where the 99th percentile of its turns is more than twice the
quiet one, where the fold of the facts is not the live state, where anything of a round is left when its threads have ended,
or where more is kept after the last round than after the second. Prints ``RESULT {"quiet": {...}, "chaos": {...}}``, times in ms.
"""

from __future__ import annotations

import gc
import json
import logging
import random
import re
import sys
import time
from collections import Counter
from collections.abc import Callable
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import anyio
from attrs import define, field

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.given import given
from organism import BudgetExhaustedError, Context, HandlerFailedError, Organism, Reply, Send, payload
from organism.kernel.comparable import comparable
from organism.kernel.fold import Fold
from organism.models.tokens.prompt_cache import PromptCache
from organism.primitives import BudgetGranted
from organism.record.facts import Accepted
from organism.testing import Says, ScriptedModel, differences

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

    from organism import ThreadHandle
    from organism.models.contract import Request
    from organism.record.facts import Fact

BAD: Final = [f"bad-{number}" for number in range(50)]
HONEST: Final = 20
TURNS: Final = 5
"""Numbers that an honest thread adds in a round."""
LATENCY: Final = 0.1
"""Seconds of one model call; a turn has two."""
BLOCK: Final = 0.005
"""Seconds for which a handler keeps the event loop."""
EVERY: Final = 0.02
"""Seconds from one message to a bad handler to the next."""
AT_ONCE: Final = 40
"""Threads of bad handlers that live at once."""
THREAD_QUEUE: Final = 250
KEPT: Final = 8000
"""Objects that may be kept more after many rounds: the last thousand dead letters, and scopes whose deadlines the loop forgets late."""
LOOK: Final = 200
"""After so many messages from outside the fold is compared with the live state."""


@payload
class Stir:
    """Wakes a bad handler; where it is ``calm``, it only takes it."""

    calm: bool = False


@payload
class Word:
    text: str = ""


@payload
class Add:
    """What is to be added, as ``1 + 2``."""

    text: str


@payload
class Plus:
    """Two numbers."""

    a: int
    b: int


@payload
class Numbers:
    """What an honest thread adds."""

    numbers: list[int]


@payload
class Total:
    value: int


@define
class Chaos:
    """What bad handlers do. ``block`` keeps the event loop for so many seconds."""

    dice: random.Random
    block: Callable[[float], None]
    did: Counter[str] = field(factory=Counter[str])

    async def stir(self, message: Stir, ctx: Context) -> Any:
        """Does something bad."""
        if message.calm:
            return None
        act = self.dice.choice(
            [self._crash, self._hang, self._flood, self._lie, self._hold_up, self._ask, self._answer]
        )
        self.did[act.__name__.strip("_")] += 1
        return await act(ctx)

    def _peer(self, ctx: Context) -> str:
        number = BAD.index(ctx.name)
        return BAD[(number + self.dice.randint(1, 5)) % len(BAD)]

    async def _crash(self, _ctx: Context) -> None:
        errors = (ValueError("no"), SystemExit(1), ExceptionGroup("both", [KeyError("a"), OSError()]), GeneratorExit())
        raise self.dice.choice(errors)

    async def _hang(self, _ctx: Context) -> None:
        deaf = self.dice.random() < 0.3  # to being cancelled, for longer than its timeout
        with anyio.CancelScope(shield=deaf):
            await anyio.sleep(0.3 if deaf else 100)

    async def _flood(self, ctx: Context) -> list[Send[Stir]]:
        return [Send(self._peer(ctx), Stir(calm=self.dice.random() < 0.97)) for _ in range(self.dice.randint(10, 400))]

    async def _lie(self, ctx: Context) -> Any:
        lies: list[Any] = [
            Send("desk", Numbers([1])),
            Send("nobody", Stir()),
            Send(self._peer(ctx), Numbers([1])),
            Reply(BudgetGranted(unit="tokens", amount=Decimal(10**6), reason="I say so")),
            Reply("no payload"),
            [Reply(Word("one")), Reply(Word("two"))],
            [Send(self._peer(ctx), Stir(calm=True)), 42],
            Reply(Numbers([1])),
            Word,
            object(),
        ]
        return self.dice.choice(lies)

    async def _hold_up(self, _ctx: Context) -> None:
        self.block(BLOCK)

    async def _ask(self, ctx: Context) -> Reply[Word]:
        try:
            await ctx.ask(self._peer(ctx), Stir(), timeout=self.dice.choice([None, 0.1]))
        except (HandlerFailedError, BudgetExhaustedError) as error:
            return Reply(Word(str(error)[:100]))
        return Reply(Word("asked"))

    async def _answer(self, ctx: Context) -> Reply[Word]:
        return Reply(Word(ctx.name))

    def handlers(self) -> dict[str, Any]:
        """The entries of the bad handlers: some with budgets, few places or further attempts."""
        made: dict[str, Any] = {}
        for number, name in enumerate(BAD):
            peers = [BAD[(number + step) % len(BAD)] for step in range(1, 6)]
            keys: dict[str, Any] = {"budget": {"messages": 400}} if number % 3 == 0 else {}
            if number % 4 == 0:
                keys["concurrency"] = 2
            if number % 2:
                keys["on_failure"] = {"attempts": 3, "backoff": [0.01, 0.1], "within": 5}
            made[name] = {"code": self.stir, "peers": peers, "timeout": 0.2, **keys}
        return made

    async def drive(self, organism: Organism) -> None:
        """Wakes bad handlers until it is cancelled; then ends what it has begun."""
        alive: list[ThreadHandle] = []
        try:
            while True:
                alive = [each for each in alive if organism.thread_of(each.id) is not None]
                if len(alive) < AT_ONCE:
                    alive.append(await organism.send(self.dice.choice(BAD), Stir()))
                await anyio.sleep(EVERY)
        finally:
            for each in alive:
                each.cancel()
            with anyio.CancelScope(shield=True):
                for each in alive:
                    await each.result()


@define
class Honest:
    """The honest threads, and how long their turns took."""

    seed: int
    script: ScriptedModel = field(init=False)
    turns: list[float] = field(factory=list[float])
    wrong: list[str] = field(factory=list[str])

    def __attrs_post_init__(self) -> None:
        self.script = ScriptedModel(self.model)

    async def desk(self, message: Numbers, ctx: Context) -> Reply[Total]:
        """Adds numbers, one after the other."""
        total = 0
        for number in message.numbers:
            began = anyio.current_time()
            total = (await ctx.ask("adder", Add(f"{total} + {number}"), expect=Total)).value
            self.turns.append(anyio.current_time() - began)
        return Reply(Total(total))

    async def calculator(self, message: Plus, _ctx: Context) -> Reply[Total]:
        """Adds two numbers."""
        return Reply(Total(message.a + message.b))

    def model(self, request: Request) -> Says:
        """Asks the calculator, and says what it said."""
        last = request.messages[-1]
        if last["role"] == "tool":
            value = int(re.findall(r"\d+", str(last["content"]))[-1])
            return Says(calls=(("reply", {"value": value}),), seconds=LATENCY)
        a, b = re.findall(r"(\d+) \+ (\d+)", str(last["content"]))[-1]
        return Says(calls=(("calculator", Plus(int(a), int(b))),), seconds=LATENCY)

    def handlers(self) -> dict[str, Any]:
        """The entries of the desk, its agent and the calculator."""
        agent = {"accepts": Add, "replies": Total}
        return {
            "desk": {"code": self.desk, "peers": ["adder"], "timeout": None},
            "adder": {"agent": agent, "description": "Adds.", "peers": ["calculator"]},
            "calculator": self.calculator,
        }

    async def round(self, organism: Organism) -> None:
        """All honest threads once, side by side; in every round the same ones, so that what is remembered of prompts is not more."""
        dice = random.Random(self.seed)

        async def one() -> None:
            numbers = [dice.randint(1, 999) for _ in range(TURNS)]
            result = await (await organism.send("desk", Numbers(numbers))).result()
            if result.outcome != "completed" or result.reply != Total(sum(numbers)):
                self.wrong.append(f"an honest thread ended {result.outcome}: {result.error or result.reply}")

        async with anyio.create_task_group() as group:
            for _ in range(HONEST):
                group.start_soon(one)
        self.script.requests.clear()


@define
class Laws:
    """Folds the facts as they come, and compares; counts what happened."""

    organism: Organism
    fold: Fold = field(init=False)
    seen: Counter[str] = field(factory=Counter[str])
    broken: list[str] = field(factory=list[str])
    most_queued: int = 0
    most_under_way: int = 0

    def __attrs_post_init__(self) -> None:
        self.fold = Fold(self.organism.settings)
        self.organism._audience.hear(self.see)  # noqa: SLF001 - as it is recorded: subscribers hear of it later

    def see(self, fact: Fact) -> None:
        """Takes in the next fact."""
        self.seen[type(fact).__name__] += 1
        self.fold.apply(fact)
        state = self.organism.kernel.state
        thread = state.threads.get(fact.thread)
        self.most_queued = max(self.most_queued, state.schedule.queued)
        self.most_under_way = max(self.most_under_way, 0 if thread is None else thread.undone)
        if isinstance(fact, Accepted) and self.seen["Accepted"] % LOOK == 0:
            self.compare(f"after {sum(self.seen.values())} facts")

    def compare(self, when: str) -> None:
        """Compares now."""
        live, folded = comparable(self.organism.kernel.state), comparable(self.fold.state)
        self.broken += [f"{when}: {line}" for line in differences(live, folded)][:5]

    def left(self) -> list[str]:
        """What is there although every thread has ended."""
        lines: Any = self.fold.state.schedule
        lines._ready.clear()  # noqa: SLF001 - nobody takes turns in a fold: whoever has ended would stand there for ever
        lines._below.clear()  # noqa: SLF001 - as above
        there = self.organism.statistics()
        names = ("threads", "queued", "running", "held", "waiting_for_budget", "timers")
        return [f"{name}: {getattr(there, name)} are left" for name in names if getattr(there, name)]


def busy(seconds: float) -> None:
    """Keeps a processor, and everything else waiting."""
    until = time.perf_counter() + seconds
    while time.perf_counter() < until:
        pass


async def quiet(rounds: int, seed: int) -> tuple[list[float], list[str]]:
    """The turns of honest threads that nobody disturbs."""
    honest = Honest(seed)
    async with Organism(**document(honest, {})) as organism:
        await honest.round(organism)
        honest.turns.clear()  # the first loads what is loaded once
        for _ in range(rounds):
            await honest.round(organism)
    return honest.turns, honest.wrong


def document(honest: Honest, handlers: dict[str, Any]) -> dict[str, Any]:
    """The organism."""
    return {
        "name": "chaos",
        "handlers": {**honest.handlers(), **handlers},
        "models": honest.script.models(),
        "budget": {"messages": 3000, "warn_at": []},
        "thread_queue": THREAD_QUEUE,
    }


async def chaos(rounds: int, seed: int, block: Callable[[float], None]) -> tuple[dict[str, Any], list[str]]:
    """One run: its figures, and what was wrong."""
    turns_in_quiet, wrong = await quiet(max(1, rounds // 3), seed)
    honest, bad = Honest(seed), Chaos(random.Random(seed), block)
    kept: list[int] = []
    with unheard():
        organism = Organism(**document(honest, bad.handlers()))
        laws = Laws(organism)
        async with organism:
            for _ in range(rounds):
                async with anyio.create_task_group() as group:
                    group.start_soon(bad.drive, organism)
                    await honest.round(organism)
                    group.cancel_scope.cancel()
                await anyio.sleep(1)  # what was cancelled and will not hear of it is over by then
                wrong += [f"after round {len(kept) + 1}, {line}" for line in laws.left()]
                laws.compare(f"after round {len(kept) + 1}")
                kept.append(_objects())
    wrong += [*honest.wrong, *laws.broken, *_slower(turns_in_quiet, honest.turns)]
    if len(kept) > 2 and kept[-1] - kept[1] > KEPT:
        wrong.append(f"{kept[-1] - kept[1]} more objects are kept after the last round than after the second")
    figures = {
        "quiet": times(turns_in_quiet),
        "chaos": times(honest.turns),
        "did": dict(sorted(bad.did.items())),
        "facts": dict(sorted(laws.seen.items())),
        "most queued": laws.most_queued,
        "most under way in a thread": laws.most_under_way,
        "objects": kept,
    }
    return figures, wrong


def _objects() -> int:
    """How many objects there are, without prompts that are remembered: these have a bound of their own, far above a few rounds."""
    for each in gc.get_objects():
        if type(each) is PromptCache:
            each.__init__()  # type: ignore[misc]
    gc.collect()
    return len(gc.get_objects())


def _slower(before: list[float], after: list[float]) -> Iterator[str]:
    usual, now = times(before)["p99"], times(after)["p99"]
    if now > 2 * usual:
        yield f"the slowest turns took {now} ms, and {usual} in quiet"


def times(seconds: list[float]) -> dict[str, float]:
    """What turns took, in ms."""
    ranked = sorted(seconds)
    return {
        name: round(ranked[min(len(ranked) - 1, int(len(ranked) * share))] * 1000, 1)
        for name, share in {"p50": 0.5, "p99": 0.99, "most": 1.0}.items()
    }


@contextmanager
def unheard() -> Generator[None]:
    """Nothing is logged of what crashes: it would be most of the work."""
    log = logging.getLogger("organism")
    before = log.level
    log.setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        log.setLevel(before)


def main() -> None:
    rounds, seed = given(__doc__, 12, 1)
    figures, wrong = anyio.run(chaos, rounds, seed, busy, backend="trio")
    print(*(f"{name}: {json.dumps(value)}" for name, value in figures.items()), *wrong, sep="\n", flush=True)
    print("RESULT " + json.dumps({name: figures[name] for name in ("quiet", "chaos")}), flush=True)
    if wrong:
        sys.exit(1)


if __name__ == "__main__":
    main()
