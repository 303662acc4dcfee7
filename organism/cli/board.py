"""What goes on right now, folded from the facts as they come: threads, who works in them, how much is used of what.

Plain state without a terminal; ``live`` draws it. Threads leave the board when they end, so that it is as small as what runs.
"""

from __future__ import annotations

from collections import Counter
from decimal import Decimal
from typing import TYPE_CHECKING, Final

from attrs import define, field, frozen

from organism.budget.caps import NO_LIMIT, caps, figure
from organism.budget.claims import MESSAGES, VECTOR, Vector
from organism.record import facts
from organism.settings import BudgetSettings, Policy

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from organism.pump.ears import Spoken
    from organism.record.facts import Fact, Step
    from organism.record.images import Ref

REMEMBERED: Final = 4000
"""Characters that are kept of what an agent is writing: more than a terminal shows."""


@frozen
class Share:
    """How much of one limit is used and held, in its unit. ``limit`` is what it may spend, grace included."""

    unit: str
    used: int | Decimal
    held: int | Decimal
    limit: int | Decimal

    @property
    def part(self) -> float:
        """What is used of the limit, from 0 on; above 1 it was overdrawn."""
        return float(self.used / self.limit) if self.limit else 1.0

    @property
    def taken(self) -> float:
        """What is used of it, or held."""
        return float((self.used + self.held) / self.limit) if self.limit else 1.0


@define(eq=False)
class Line:
    """One live thread. ``depth`` is how far it is below its root thread; ``level`` the last budget level that was reached."""

    thread: str
    handler: str
    above: Line | None
    limits: Vector
    since: float
    used: list[int] = field(factory=lambda: [0] * len(VECTOR))
    held: list[int] = field(factory=lambda: [0] * len(VECTOR))
    level: str = ""
    at_work: dict[int, str] = field(factory=dict[int, str])
    """The handler of every message that is queued or being handled, by the message's number."""
    calls: dict[int, tuple[str, Vector]] = field(factory=dict[int, tuple[str, Vector]])
    """The backend and what is held of every model call that is out, by the number of its hold."""

    @property
    def depth(self) -> int:
        """0 for a root thread."""
        return 0 if self.above is None else self.above.depth + 1

    @property
    def path(self) -> Iterator[Line]:
        """The thread and those it was opened in: what it spends is theirs as well."""
        yield self
        if self.above is not None:
            yield from self.above.path

    def shares(self) -> list[Share]:
        """Every limit of the thread, the one that is nearest to its end first."""
        found = [
            Share(unit, figure(at, self.used[at]), figure(at, self.held[at]), figure(at, self.limits[at]))
            for at, unit in enumerate(VECTOR)
            if self.limits[at] < NO_LIMIT
        ]
        return sorted(found, key=lambda share: -share.taken)

    def working(self) -> list[tuple[str, int]]:
        """(handler, how many of its messages are queued or being handled), in the order they came."""
        return list(Counter(self.at_work.values()).items())


@frozen
class Saying:
    """What an agent is writing in a thread: the end of it, as far as it has come."""

    thread: str
    handler: str
    text: str


class Board:
    """All live threads, what is being written in them, and how many ended how."""

    def __init__(self) -> None:
        self._lines: dict[str, Line] = {}
        self._sayings: dict[Ref, Saying] = {}
        self.ended: Counter[str] = Counter()
        """Root threads that ended, by outcome."""

    def lines(self) -> list[Line]:
        """The live threads, each before its sub-threads."""
        below: dict[Line | None, list[Line]] = {}
        for line in self._lines.values():
            below.setdefault(line.above, []).append(line)

        def ordered(above: Line | None) -> Iterator[Line]:
            for line in below.get(above, ()):
                yield line
                yield from ordered(line)

        return list(ordered(None))

    def handler_of(self, thread: str) -> str:
        """The handler that a live thread was opened for; empty where there is none."""
        line = self._lines.get(thread)
        return "" if line is None else line.handler

    def hear(self, spoken: Spoken) -> None:
        """Takes in what an agent is writing."""
        at = (spoken.thread, spoken.seq)
        if spoken.anew:
            self._sayings.pop(at, None)
        if spoken.text and spoken.thread in self._lines:
            before = self._sayings.get(at)
            text = spoken.text if before is None else before.text + spoken.text
            self._sayings[at] = Saying(spoken.thread, spoken.handler, text[-REMEMBERED:])

    def sayings(self) -> list[Saying]:
        """What agents are writing right now, in the order of their threads."""
        order = {line.thread: number for number, line in enumerate(self.lines())}
        return sorted(self._sayings.values(), key=lambda saying: order[saying.thread])

    def apply(self, fact: Fact) -> None:
        """Takes in what has happened."""
        for step in fact.steps:
            self._step(step, fact.at)
        line = self._lines.get(fact.thread)
        match fact:
            case facts.Ended():
                self._end(fact)
            case facts.Answered() | facts.Failed() | facts.Dropped():
                self._done([(fact.thread, fact.seq), *getattr(fact, "dropped", ())])
            case facts.Stopped() | facts.Exhausted():
                self._done(fact.dropped)
            case facts.CallHeld() if line is not None:
                line.calls[fact.hold] = (fact.backend, fact.need)
                for each in line.path:
                    each.held = [have + more for have, more in zip(each.held, fact.need, strict=True)]
            case facts.CallSettled() if line is not None and fact.hold in line.calls:
                self._settle(line, fact)
            case facts.LimitsSet() if line is not None:
                line.limits = _limits(fact.budget)
            case facts.Granted() if fact.node in self._lines:
                self._lines[fact.node].limits = _limits(fact.budget)
            case _:
                pass

    def _step(self, step: Step, at: float) -> None:
        match step:
            case facts.ThreadOpened():
                above = None if step.owner is None else self._lines.get(step.owner[0])
                self._lines[step.thread] = Line(step.thread, step.handler, above, _limits(step.budget), at)
            case facts.Posted() if step.thread in self._lines:
                line = self._lines[step.thread]
                line.at_work[step.seq] = step.to
                if step.charged:
                    for each in line.path:
                        each.used[MESSAGES] += 1
            case facts.WarningRaised() if step.thread in self._lines:
                self._lines[step.thread].level = step.level
            case facts.Cut():
                self._done(step.dropped)
            case _:
                pass

    def _done(self, messages: Sequence[Ref]) -> None:
        for thread, seq in messages:
            self._sayings.pop((thread, seq), None)
            if thread in self._lines:
                self._lines[thread].at_work.pop(seq, None)

    def _settle(self, line: Line, fact: facts.CallSettled) -> None:
        _, need = line.calls.pop(fact.hold)
        charged = fact.charge.amounts
        for each in line.path:
            each.held = [have - less for have, less in zip(each.held, need, strict=True)]
            each.used = [have + more for have, more in zip(each.used, charged, strict=True)]

    def _end(self, fact: facts.Ended) -> None:
        line = self._lines.pop(fact.thread, None)
        self._sayings = {at: saying for at, saying in self._sayings.items() if saying.thread != fact.thread}
        if line is not None and line.above is None:
            self.ended[fact.outcome] += 1


def _limits(budget: BudgetSettings) -> Vector:
    return caps(budget.limits, Policy(), keeps_back=False).limit
