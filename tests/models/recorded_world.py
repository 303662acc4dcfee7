"""Calls made of real texts, and models that report what real tokenizers counted for them.

``benchmarks/data/texts.jsonl`` has a text, a tool, a schema or a tool call with its result in each line, and what each of
:data:`FAMILIES` counts for it. Between messages tokenizers see special tokens, so the count of a prompt is the sum of
those of its parts and of what the family puts around them; how they were counted stands beside the file.
"""

from __future__ import annotations

import json
import random
from collections import defaultdict
from decimal import Decimal
from functools import cache
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import anyio
from attrs import Factory, define, field, frozen

from organism.models.completion import Call
from organism.models.contract import Message, RawUsage, Request, Response, ToolSpec
from organism.models.routing.router import Router
from organism.settings import BackendSettings, ModelSettings, Price
from tests.models.router_world import NOON, Purse

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from contextlib import AbstractAsyncContextManager

    from organism.models.contract import Stream

DATA: Final = Path(__file__).resolve().parents[2] / "benchmarks" / "data" / "texts.jsonl"
KINDS: Final = ("prose", "code", "json", "japanese", "mixed", "tools", "languages", "blobs")
"""Of texts, but for ``tools``: a short prompt with many of them, and often with a schema for the answer."""
WARMED_UP: Final = 10
"""Calls of a model that say nothing yet of how well it is known."""


@frozen
class Family:
    """What a family adds, in tokens: around a request, a message, a list of tools, a tool and a schema."""

    name: str
    column: int
    request: int
    message: int
    offering: int
    tool: int
    schema: int
    overhead: int = 16
    """What a careful configuration says of it, for `strict`."""


FAMILIES: Final = (
    Family("o200k", 0, 3, 4, 12, 3, 16),
    Family("cl100k", 1, 3, 4, 12, 3, 16),
    Family("claude", 2, 5, 4, 346, 4, 16, overhead=362),
    Family("llama", 3, 2, 5, 12, 4, 16),
    Family("mistral", 4, 2, 5, 12, 4, 16),
)
"""``claude`` puts a prompt of 346 tokens before any tools, as its documentation says."""


@frozen
class Part:
    """A message with its tokens by family."""

    message: Message
    tokens: tuple[int, ...]


@frozen
class Corpus:
    """All that was recorded."""

    texts: dict[str, list[Part]] = Factory(lambda: defaultdict(list))
    tools: list[tuple[ToolSpec, tuple[int, ...]]] = Factory(list)
    schemas: list[tuple[dict[str, Any], tuple[int, ...]]] = Factory(list)
    exchanges: list[tuple[Part, Part]] = Factory(list)


@cache
def corpus() -> Corpus:
    found = Corpus()
    for line in DATA.read_text("utf-8").splitlines():
        row = json.loads(line)
        tokens = tuple(row["tokens"])
        if "text" in row:
            found.texts[row["kind"]].append(Part({"role": "user", "content": row["text"]}, tokens))
        elif "tool" in row:
            found.tools.append((ToolSpec(**row["tool"]), tokens))
        elif "schema" in row:
            found.schemas.append((row["schema"], tokens))
        else:
            found.exchanges.append((Part(row["call"], tokens), Part(row["result"], tuple(row["result_tokens"]))))
    return found


@define
class Talk:
    """A prompt in the making; its kind is that of its newest text."""

    kind: str
    parts: list[Part]
    tools: list[tuple[ToolSpec, tuple[int, ...]]] = field(factory=list)
    schema: tuple[dict[str, Any], tuple[int, ...]] | None = None

    def call(self) -> Call:
        return Call(
            messages=tuple(part.message for part in self.parts),
            tools=tuple(tool for tool, _ in self.tools),
            returns=self.schema and self.schema[0],
        )

    def tokens(self, family: Family) -> int:
        """What the family counts for all of it."""
        column = family.column
        total = family.request + sum(family.message + part.tokens[column] for part in self.parts)
        if self.tools:
            total += family.offering + sum(family.tool + tokens[column] for _, tokens in self.tools)
        return total if self.schema is None else total + family.schema + self.schema[1][column]


class Talks:
    """What an organism asks: new prompts, and old ones with more behind them. ``dice`` decides."""

    def __init__(self, dice: random.Random) -> None:
        self._dice = dice
        self._agents = [self._agent() for _ in range(3)]
        self._open: list[Talk] = []

    def new(self, kind: str) -> Talk:
        """A prompt about something else: one or two texts, or a short one with many tools, at times of a known agent."""
        dice, has = self._dice, corpus()
        if kind == "tools":
            short = [part for part in has.texts["prose"] + has.texts["japanese"] if len(part.message["content"]) < 300]
            schema = dice.choice(has.schemas) if dice.random() < 0.4 else None
            return self._kept(Talk(kind, [dice.choice(short)], dice.sample(has.tools, dice.randint(3, 20)), schema))
        texts = dice.sample(has.texts[kind], dice.choice((1, 1, 2)))
        if dice.random() < 0.3:
            system, tools = dice.choice(self._agents)
            return self._kept(Talk(kind, [system, *texts], tools))
        return self._kept(Talk(kind, texts))

    def more(self) -> Talk:
        """A prompt of before with an answer or a tool's result behind it, and often a new text."""
        dice, has = self._dice, corpus()
        if not self._open:
            return self.new(dice.choice(KINDS))
        talk = dice.choice(self._open)
        if talk.tools and dice.random() < 0.7:
            talk.parts += dice.choice(has.exchanges)
            return talk
        kind = talk.kind if talk.kind in has.texts else "prose"
        answer = dice.choice(has.texts[kind])
        talk.parts.append(Part({"role": "assistant", "content": answer.message["content"]}, answer.tokens))
        talk.kind = dice.choice((kind, kind, dice.choice(sorted(has.texts))))
        talk.parts.append(dice.choice(has.texts[talk.kind]))
        return talk

    def _agent(self) -> tuple[Part, list[tuple[ToolSpec, tuple[int, ...]]]]:
        said = self._dice.choice(corpus().texts["prose"])
        system = Part({"role": "system", "content": said.message["content"]}, said.tokens)
        return system, self._dice.sample(corpus().tools, self._dice.randint(0, 6))

    def _kept(self, talk: Talk) -> Talk:
        self._open = [*self._open[-7:], talk]
        return talk


@frozen
class History:
    """The calls that one process makes of a model that it does not know yet.

    A day of everything; or, where ``before`` and ``then`` are there, ten calls about one kind of text and six about another:
    what was learned misleads.
    """

    seed: str
    before: str = ""
    then: str = ""

    def talks(self) -> Iterator[Talk]:
        dice = random.Random(self.seed)
        talks = Talks(dice)
        if self.before:
            yield from (talks.new(self.before) for _ in range(WARMED_UP))
            yield from (talks.new(self.then) for _ in range(6))
        else:
            for _ in range(60):
                yield talks.new(dice.choice(KINDS)) if dice.random() < 0.4 else talks.more()


@frozen(kw_only=True)
class Row:
    """One call: what was held for its input, the bound of `strict`, and what was reported."""

    family: str
    kind: str
    after: str
    """The kind of all the calls before it; empty where they were of every kind."""
    number: int
    estimate: int
    bound: int
    real: int

    @property
    def error(self) -> float:
        """The estimate's distance from the truth, as a share of it; below zero where it was too low."""
        return self.estimate / self.real - 1


class Reporting:
    """A backend that reports what it is told to."""

    def __init__(self) -> None:
        self.next = 0

    async def complete(self, _request: Request) -> Response:
        usage = RawUsage(input_tokens=self.next, output_tokens=1)
        return Response(text="ok", message={"role": "assistant", "content": "ok"}, usage=usage)

    def stream(self, _request: Request) -> AbstractAsyncContextManager[Stream]:
        raise NotImplementedError

    async def aclose(self) -> None:
        pass


def router_over(backend: Reporting, overhead: int) -> Router:
    price = Price(input=Decimal(1), output=Decimal(1))
    settings = BackendSettings(provider="recorded", factory=object, model="m", overhead=overhead, price=price)
    alias = ModelSettings(name="default", backends=(settings,), max_output_tokens=10)
    return Router({"default": alias}, backends=lambda _: backend, random=random.Random(1), clock=lambda: NOON)


async def rows(family: Family, history: History) -> list[Row]:
    """Every call of one process, made through the router: each teaches it something."""
    backend = Reporting()
    usual, careful = router_over(backend, 16), router_over(backend, family.overhead)
    purse, found = Purse(), list[Row]()
    for number, talk in enumerate(history.talks(), 1):
        call, backend.next = talk.call(), talk.tokens(family)
        bound = careful.claim(call, strict=True)
        assert bound is not None
        await usual.complete(call, purse)
        found.append(
            Row(
                family=family.name,
                kind=talk.kind,
                after=history.before if number > WARMED_UP else "",
                number=number,
                estimate=purse.claims[-1].input_tokens,
                bound=bound.input_tokens,
                real=backend.next,
            )
        )
    return found


async def _all(family: Family, histories: Sequence[History]) -> list[Row]:
    return [row for history in histories for row in await rows(family, history)]


def recorded(family: Family, *, seed: int, days: int, switches: int, alike: bool = False) -> list[Row]:
    """The calls of many processes after their first ten: days of everything, and every change from one kind to another (or,
    where all are ``alike``, to the same) ``switches`` times.
    """
    histories = [History(f"{seed} day {day}") for day in range(days)]
    for turn, before, then in product(range(switches), KINDS, KINDS):
        if before == then or not alike:
            histories.append(History(f"{seed} {before} {then} {turn}", before, then))
    return [row for row in anyio.run(_all, family, histories) if row.number > WARMED_UP]
