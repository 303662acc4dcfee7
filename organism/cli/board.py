"""What goes on right now: threads, who works in them, how much is used of what, and what agents are writing.

Threads are read from the organism itself whenever somebody looks, so that those stand there too that an earlier process left; what is
not to be seen there is taken in as it comes. Plain data without a terminal; ``live`` draws it.
"""

from __future__ import annotations

from collections import Counter
from decimal import Decimal
from operator import attrgetter
from typing import TYPE_CHECKING, Final

from attrs import frozen

from organism.budget.caps import NO_LIMIT, figure
from organism.budget.claims import VECTOR
from organism.kernel.times import running_time
from organism.record import facts
from organism.threads.lineage import descendants

if TYPE_CHECKING:
    from collections.abc import Iterable

    from organism.kernel import Kernel
    from organism.kernel.holds import Hold
    from organism.pump.text_listeners import TextDelta
    from organism.record.facts import Fact
    from organism.record.images import Ref
    from organism.threads.frames import Message, Thread

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


@frozen(eq=False)
class Line:
    """One live thread. ``depth`` is how far it is below its root thread, ``level`` the last budget level that was reached, ``seconds`` its
    running time. ``working`` are (handler, how many of its messages are queued or being handled), in the order they came, and
    ``backends`` those that its model calls are out to.
    """

    thread: str
    handler: str
    depth: int
    level: str
    seconds: float
    shares: tuple[Share, ...]
    """Every limit, the one that is nearest to its end first."""
    working: tuple[tuple[str, int], ...]
    backends: tuple[str, ...]


@frozen
class Saying:
    """What an agent is writing in a thread: the end of it, as far as it has come."""

    thread: str
    handler: str
    text: str


class Board:
    """All live threads of an organism, what is being written in them, and how many ended how."""

    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel
        self._handlers: dict[str, str] = {}
        """Whom threads were opened for whose end was not told yet: there may be warnings to tell of one that is over."""
        self._levels: dict[str, str] = {}
        self._sayings: dict[Ref, Saying] = {}
        self.ended: Counter[str] = Counter()
        """Root threads that ended, by outcome."""

    @property
    def running(self) -> int:
        """How many root threads live."""
        return len(self._kernel.state.roots)

    @property
    def calls(self) -> int:
        """How many model calls are out."""
        return len(self._kernel.state.holds)

    def threads(self) -> list[Thread]:
        """The live threads, each before its sub-threads."""
        return [each for root in self._kernel.state.roots for each in descendants(root)]

    def lines(self, threads: Iterable[Thread], now: float) -> list[Line]:
        """What is said of these threads at this instant, which is in seconds since 1970."""
        wanted = {thread: _depth(thread) for thread in threads}
        state = self._kernel.state
        at_work: dict[Thread, list[Message]] = {thread: state.queued_in(thread) for thread in wanted}
        calls: dict[Thread, list[Hold]] = {thread: [] for thread in wanted}
        for message in state.schedule.taken:
            if message.thread in wanted:
                at_work[message.thread].append(message)
        for hold in state.holds.values():
            if hold.thread in wanted:
                calls[hold.thread].append(hold)
        return [
            Line(
                thread=thread.id,
                handler=thread.handler,
                depth=depth,
                level=self._levels.get(thread.id, ""),
                seconds=running_time(state, thread, now),
                shares=_shares(thread),
                working=tuple(Counter(each.to for each in sorted(at_work[thread], key=attrgetter("seq"))).items()),
                backends=tuple(sorted({hold.backend for hold in calls[thread]})),
            )
            for thread, depth in wanted.items()
        ]

    def working(self) -> list[str]:
        """The handlers that have work right now."""
        lines = self.lines(self.threads(), 0.0)
        return list(dict.fromkeys(handler for line in lines for handler, _ in line.working))

    def handler_of(self, thread: str) -> str:
        """The handler that a live thread was opened for, or one whose end was not told yet; empty where there is none."""
        live = self._kernel.state.threads.get(thread)
        return self._handlers.get(thread, "") if live is None else live.handler

    def hear(self, spoken: TextDelta) -> None:
        """Takes in what an agent is writing."""
        at = (spoken.thread, spoken.seq)
        if spoken.anew:
            self._sayings.pop(at, None)
        if spoken.text and spoken.thread in self._kernel.state.threads:
            before = self._sayings.get(at)
            text = spoken.text if before is None else before.text + spoken.text
            self._sayings[at] = Saying(spoken.thread, spoken.handler, text[-REMEMBERED:])

    def sayings(self) -> list[Saying]:
        """What agents are writing right now, in the order of their threads."""
        if not self._sayings:
            return []
        order = {thread.id: number for number, thread in enumerate(self.threads())}
        return sorted(
            (each for each in self._sayings.values() if each.thread in order), key=lambda saying: order[saying.thread]
        )

    def apply(self, fact: Fact) -> None:
        """Takes in what has happened."""
        for step in fact.steps:
            match step:
                case facts.ThreadOpened():
                    self._handlers[step.thread] = step.handler
                case facts.WarningRaised():
                    self._levels[step.thread] = step.level
                case facts.Cut():
                    self._done(step.dropped)
                case _:
                    pass
        match fact:
            case facts.Ended():
                self._end(fact)
            case facts.Answered() | facts.Failed() | facts.Dropped():
                self._done([(fact.thread, fact.seq), *getattr(fact, "dropped", ())])
            case facts.Stopped() | facts.Exhausted():
                self._done(fact.dropped)
            case _:
                pass

    def _done(self, messages: Iterable[Ref]) -> None:
        for ref in messages:
            self._sayings.pop(ref, None)

    def _end(self, fact: facts.Ended) -> None:
        self._handlers.pop(fact.thread, None)
        self._levels.pop(fact.thread, None)
        self._sayings = {at: saying for at, saying in self._sayings.items() if saying.thread != fact.thread}
        if fact.kind == "root":
            self.ended[fact.outcome] += 1


def _depth(thread: Thread) -> int:
    depth = 0
    while thread.owner is not None:
        thread, depth = thread.owner.thread, depth + 1
    return depth


def _shares(thread: Thread) -> tuple[Share, ...]:
    node = thread.node
    found = [
        Share(unit, figure(at, node.used[at]), figure(at, node.held[at]), figure(at, node.caps.limit[at]))
        for at, unit in enumerate(VECTOR)
        if node.caps.limit[at] < NO_LIMIT
    ]
    return tuple(sorted(found, key=lambda share: -share.taken))
