"""What threads have used so far, told by their facts: with what is below them, and with their running time."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING

from attrs import define, field

from organism.budget.caps import figure
from organism.budget.claims import MESSAGES, NOTHING, VECTOR
from organism.record import facts
from organism.settings import Limits
from organism.usage import Tally

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from organism.record.facts import Fact, Step
    from organism.usage import Usage

_MESSAGE: Sequence[int] = tuple(int(at == MESSAGES) for at in range(len(NOTHING)))
_NO_DETAILS = (0, 0, 0)


@define(eq=False)
class ThreadUsage:
    """What one thread has used. ``began`` is the instant at which it would have begun, had it never stood still; ``stands`` is since when
    it does, ``last`` when the last thing happened in it or below it.
    """

    thread: str
    above: ThreadUsage | None
    limits: Limits
    began: float
    last: float
    stands: float | None = None
    tally: Tally = field(factory=Tally)

    @property
    def path(self) -> Iterator[ThreadUsage]:
        """The thread and those it was opened in: what it spends is theirs as well."""
        yield self
        if self.above is not None:
            yield from self.above.path

    @property
    def seconds(self) -> float:
        """Its running time."""
        return max(0.0, (self.last if self.stands is None else self.stands) - self.began)

    def usage(self) -> Usage:
        """All of it, as users read it."""
        return self.tally.usage(seconds=self.seconds)

    def limited(self, unit: str) -> ThreadUsage:
        """The nearest thread that has a limit of this unit: itself, or one that called it; itself where none has."""
        return next((each for each in self.path if getattr(each.limits, unit) is not None), self)

    def used(self, unit: str) -> Decimal:
        """What it has used of a unit."""
        if unit == "seconds":
            return Decimal(str(round(self.seconds, 3)))
        index = VECTOR.index(unit)
        return Decimal(figure(index, self.tally.amounts[index]))

    def go_on(self, since: float, at: float) -> None:
        """What has passed since then is no running time of it."""
        self.began += max(0.0, at - max(since, self.began))
        self.stands = None


class UsageOfThreads:
    """Folds the facts of one chain into what its threads have used."""

    def __init__(self) -> None:
        self._threads: dict[str, ThreadUsage] = {}

    def of(self, thread: str) -> ThreadUsage | None:
        """What a thread has used; ``None`` for one that was opened before the first fact."""
        return self._threads.get(thread)

    def take(self, fact: Fact) -> None:
        """Takes in what has happened."""
        for step in fact.steps:
            self._step(step, fact.at)
        if isinstance(fact, facts.LimitsSet | facts.Granted):
            limited = self._threads.get(fact.node if isinstance(fact, facts.Granted) else fact.thread)
            if limited is not None:  # else it is the conversation
                limited.limits = fact.budget.limits
        found = self._threads.get(fact.thread)
        if found is None:
            return
        for each in found.path:
            each.last = max(each.last, fact.at)
        if isinstance(fact, facts.CallSettled):
            charge = fact.charge
            details = (charge.cache_read_tokens, charge.cache_write_tokens, charge.reasoning_tokens)
            for each in found.path:
                each.tally.add(charge.amounts, details, estimated=charge.estimated)
        self._stop_clock(found, fact)

    def _stop_clock(self, found: ThreadUsage, fact: Fact) -> None:
        """Running time stands still, or goes on, where that is what has happened."""
        match fact:
            case facts.StoodStill():
                found.stands = fact.at
            case facts.WentOn(since=since):
                found.go_on(since, fact.at)
            case facts.Paused():
                for each in self._within(found):
                    each.stands = fact.at if each.stands is None else each.stands
            case facts.Resumed(since=since):
                for each in self._within(found):
                    each.go_on(since if each.stands is None else min(since, each.stands), fact.at)
            case _:
                pass

    def _step(self, step: Step, at: float) -> None:
        match step:
            case facts.ThreadOpened(thread=thread, owner=owner):
                above = None if owner is None else self._threads.get(owner[0])
                self._threads[thread] = ThreadUsage(thread, above, step.budget.limits, at, at)
            case facts.Posted(charged=True) if step.thread in self._threads:
                for each in self._threads[step.thread].path:
                    each.tally.add(_MESSAGE, _NO_DETAILS)
            case _:
                pass

    def _within(self, spent: ThreadUsage) -> list[ThreadUsage]:
        return [each for each in self._threads.values() if spent in each.path]
