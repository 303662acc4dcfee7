"""How a chain stands, by its facts alone: what of it is unfinished, and what it spent. A pure fold; nothing is decided here.

A journal keeps this beside each chain that it writes, so that it need not read one to know whether it is over.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final, cast

from organism import facts
from organism.budget.claims import MESSAGES
from organism.journal.writers import json_text
from organism.usage import Spending

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from organism.facts import Fact

CONVERSATION: Final = "conversation:"
"""How the ids of chains begin that hold a conversation: it lasts, and is over while none of its turns is open."""

Key = tuple[int, str, str, str, str]
"""What is spent together: (hour, handler, model, backend, labels as a canonical JSON object)."""
Sums = list[int]
"""The six amounts, the three details, and 1 where some of it is an estimate."""
_WIDTH: Final = 10


class Ledger:
    """Sums of what was spent, by :data:`Key`."""

    def __init__(self) -> None:
        self.sums: dict[Key, Sums] = {}

    def add(self, key: Key, amounts: Sequence[int]) -> None:
        """Adds to one sum."""
        known = self.sums.get(key)
        if known is None:
            self.sums[key] = list(amounts)
            return
        for place in range(_WIDTH - 1):
            known[place] += amounts[place]
        known[-1] |= amounts[-1]

    def count(self, key: Key) -> None:
        """Adds one message."""
        known = self.sums.get(key)
        if known is None:
            known = self.sums[key] = [0] * _WIDTH
        known[MESSAGES] += 1

    def take_in(self, other: Ledger) -> None:
        """Adds all the sums of another one."""
        for key, amounts in other.sums.items():
            self.add(key, amounts)

    def rows(self) -> tuple[Spending, ...]:
        """The sums as readers get them, the oldest hour first."""
        return tuple(spending(key, amounts) for key, amounts in sorted(self.sums.items()))

    def as_json(self) -> list[list[Any]]:
        """The sums as JSON; :meth:`from_json` reads them."""
        return [[*key, *amounts] for key, amounts in sorted(self.sums.items())]

    @staticmethod
    def from_json(rows: Iterable[Sequence[Any]]) -> Ledger:
        """The ledger of such rows; raises TypeError or ValueError for anything else."""
        made = Ledger()
        for hour, handler, model, backend, labels, *amounts in rows:
            if len(amounts) != _WIDTH:
                raise ValueError(f"a row of what was spent has {len(amounts)} sums, and not {_WIDTH}")
            made.add((hour, handler, model, backend, labels), amounts)
        return made


def spending(key: Key, amounts: Sequence[int]) -> Spending:
    """A sum as readers get it."""
    hour, handler, model, backend, labels = key
    return Spending(
        hour=hour, handler=handler, model=model, backend=backend, labels=json.loads(labels),
        amounts=cast("tuple[int, int, int, int, int, int]", tuple(amounts[:6])),
        details=cast("tuple[int, int, int]", tuple(amounts[6:9])), estimated=bool(amounts[9]),
    )  # fmt: skip


class Standing:
    """What the facts of one chain come to, up to the last that was applied.

    ``open`` are its open threads with their labels (as a canonical JSON object), ``holds`` the open holds with the labels of
    their threads, ``spent`` what it spent; ``threads`` are all that were opened in it, but for the root thread.
    """

    def __init__(self, root: str) -> None:
        self.root = root
        self.open: dict[str, str] = {}
        self.holds: dict[int, str] = {}
        self.spent = Ledger()
        self.threads: dict[str, None] = {}
        self._begun = False
        self._copied = 0

    @property
    def over(self) -> bool:
        """Whether nothing of it is unfinished: every thread ended and every hold settled. A chain begins unfinished."""
        if self.holds or not self._begun:
            return False
        return not self.open or (len(self.open) == 1 and self.root in self.open and self.root.startswith(CONVERSATION))

    def apply(self, fact: Fact) -> None:
        """Takes in the next fact."""
        if isinstance(fact, facts.Forked):
            self._fork(fact)
        elif isinstance(fact, facts.Snapshot):
            self._restore(fact)
        copied = self._copied > 0
        self._copied -= copied
        for step in fact.steps:
            if isinstance(step, facts.Posted):
                if step.charged and not copied:
                    labels = self.open.get(step.thread, "{}")
                    self.spent.count((int(fact.at // 3600), step.to, "", "", labels))
            elif isinstance(step, facts.ThreadOpened):
                self._opened(step.thread, step.labels)
        if not self._begun:
            # A chain that does not begin with a thread being opened is not over before that thread is.
            self._begun = True
            self.open = self.open or {fact.thread: "{}"}
        if not isinstance(fact, facts.Answered):
            self._rest(fact, copied=copied)

    def _rest(self, fact: Fact, *, copied: bool) -> None:
        match fact:
            case facts.CallHeld(hold=hold, thread=thread):
                self.holds[hold] = self.open.get(thread, "{}")
            case facts.CallSettled(hold=hold):
                labels = self.holds.pop(hold, None) or self.open.get(fact.thread, "{}")
                if not copied:
                    self._charge(fact, labels)
            case facts.Ended():
                for thread in _with_those_below(fact):
                    self.open.pop(thread, None)
            case _:
                pass

    def _opened(self, thread: str, labels: Mapping[str, str]) -> None:
        self.open[thread] = _labels(labels)
        self._begun = True
        if thread != self.root:
            self.threads[thread] = None

    def _charge(self, fact: facts.CallSettled, labels: str) -> None:
        charge = fact.charge
        details = (charge.cache_read_tokens, charge.cache_write_tokens, charge.reasoning_tokens)
        if any(charge.amounts) or any(details):
            key = (int(fact.held_at // 3600), fact.handler, fact.alias, fact.backend, labels)
            self.spent.add(key, (*charge.amounts, *details, int(charge.estimated)))

    def _restore(self, fact: facts.Snapshot) -> None:
        self._begun = True
        self.open = {each.thread: _labels(each.labels) for each in fact.image.threads}
        self.holds = {each.hold: self.open.get(each.thread, "{}") for each in fact.image.holds}
        self.threads |= dict.fromkeys(thread for thread in self.open if thread != self.root)

    def _fork(self, fact: facts.Forked) -> None:
        """What is copied was spent by the origin: it is not counted again, whether it stands before this fact or behind it."""
        if self._begun:
            self.spent = Ledger()
        else:
            self._copied = fact.entries + 1


def _labels(labels: Mapping[str, str]) -> str:
    return json_text(dict(labels)) if labels else "{}"


def _with_those_below(fact: facts.Ended) -> Iterator[str]:
    yield fact.thread
    for below in fact.threads:
        yield from _with_those_below(below)


__all__ = ["CONVERSATION", "Key", "Ledger", "Standing", "Sums", "spending"]
