"""How a chain stands, by its facts alone: what of it is unfinished, and what it spent. A pure fold; nothing is decided here.

A journal keeps this beside each chain that it writes, so that it need not read one to know whether it is over.
"""

from __future__ import annotations

import json
from itertools import islice
from operator import index
from typing import TYPE_CHECKING, Any, Final, cast

from attrs import fields

from organism.budget.claims import MESSAGES, NOTHING, VECTOR, six
from organism.journal.chain import json_text
from organism.journal.endings import TELLING
from organism.names import ACCOUNT, CONVERSATION, counted, node_of_limits, told
from organism.record import facts
from organism.usage import Raised, Reached, Spending

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from organism.journal.endings import Ending, Terms
    from organism.record.facts import Fact

NO_MARKS: Final = "{}"
"""What is counted under nothing."""

Key = tuple[int, str, str, str, str]
"""What is spent together: (hour, handler, model, backend, :func:`marks`)."""
Sums = list[int]
"""The six amounts, the three details, and a number of bits: :data:`ESTIMATED`, :data:`UNPRICED`."""
_WIDTH: Final = 10
_TIMES: Final = 0
"""Where it is counted how often limits were raised by the same amounts in an hour."""
_KEPT: Final = 1_000
"""Threads of a chain that are known when the oldest are forgotten."""
_ONCE: Final = (1, *(0,) * (_WIDTH - 1))
ESTIMATED: Final = 1
"""Some of it is an estimate."""
UNPRICED: Final = 2
"""Nobody knew the price of some of it, which counts as costing nothing."""


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

    def take_in(self, other: Ledger, *, times: int = 1) -> None:
        """Adds all the sums of another one so many times; ``-1`` takes them out."""
        for key, amounts in other.sums.items():
            self.add(key, amounts if times == 1 else [*(times * each for each in amounts[:-1]), amounts[-1]])

    def rows(self) -> tuple[Spending, ...]:
        """The sums as readers get them, the oldest hour first."""
        return tuple(spending(key, amounts) for key, amounts in sorted(self.sums.items()))

    def as_json(self) -> list[list[Any]]:
        """The sums as JSON; :meth:`from_json` reads them."""
        return [[*key, *amounts] for key, amounts in sorted(self.sums.items())]

    def as_rows(self) -> tuple[tuple[Any, ...], ...]:
        """The same as tuples, for whoever keeps them."""
        return tuple(map(tuple, self.as_json()))

    @staticmethod
    def from_json(rows: Iterable[Sequence[Any]]) -> Ledger:
        """The ledger of such rows; raises TypeError or ValueError for anything else."""
        made = Ledger()
        for hour, handler, model, backend, labels, *amounts in rows:
            if len(amounts) != _WIDTH:
                raise ValueError(f"a row of what was spent has {counted(len(amounts), 'sum')}, and not {_WIDTH}")
            made.add((hour, handler, model, backend, labels), amounts)
        return made


def marks(labels: Mapping[str, str], accounts: Sequence[str] = (), tags: Sequence[str] = ()) -> str:
    """What a sum is counted under, as canonical JSON: the object of its labels, or, where there are accounts or tags too, a list of
    that, the accounts and the tags. Journals of before have labels alone.
    """
    if accounts or tags:
        return json_text([dict(labels), list(accounts), sorted(tags)])
    return json_text(dict(labels)) if labels else NO_MARKS


def spending(key: Key, amounts: Sequence[int]) -> Spending:
    """A sum as readers get it. Raises TypeError or ValueError where it does not say what it should."""
    hour, handler, model, backend, under = key
    told: list[Any] = json.loads(under) if under.startswith("[") else []
    tells: Reached | Raised | None = None
    if len(told) == len(fields(Reached)):
        tells = Reached(*map(str, told))
    elif len(told) == len(fields(Raised)):
        tells = Raised(str(told[0]), six([index(each) * amounts[_TIMES] for each in told[1]]))
    if tells is not None:
        return Spending(hour=hour, handler="", model="", backend="", labels={}, amounts=six(NOTHING), tells=tells)
    labels, accounts, tags = _unmarked(under)
    return Spending(
        hour=hour, handler=handler, model=model, backend=backend, labels=labels, accounts=tuple(accounts), tags=tuple(tags),
        amounts=cast("tuple[int, int, int, int, int, int]", tuple(amounts[:6])),
        details=cast("tuple[int, int, int]", tuple(amounts[6:9])),
        estimated=bool(amounts[9] & ESTIMATED), unpriced=bool(amounts[9] & UNPRICED),
    )  # fmt: skip


def _unmarked(under: str) -> tuple[dict[str, str], list[str], list[str]]:
    """The labels, accounts and tags of :func:`marks`."""
    parts: list[Any] = json.loads(under) if under.startswith("[") else [json.loads(under), [], []]
    if [type(part) for part in parts] != [dict, list, list]:
        raise TypeError(f"{told(under)} says nothing of labels, accounts and tags")
    return parts[0], parts[1], parts[2]


_CHANGING: Final = frozenset({facts.CallHeld, facts.CallSettled, facts.Ended, facts.QuotaRaised})
"""Facts that change more than their steps do."""
_TELLING: Final = frozenset(TELLING)
_STEPS_ALONE: Final = frozenset(facts.FACTS) - _CHANGING - _TELLING - {facts.Forked, facts.Snapshot}
"""Facts of which the steps say all; most are of these."""


def begins_chain(fact: Fact) -> bool:
    """Whether a chain may begin with this fact. What a model answered to a call that a thread left behind comes when the thread has ended
    and the call is settled: where the chain was let go or removed by then, nobody would ever end the one that it began.
    """
    return fact.__class__ is not facts.CallCompleted


def last_snapshot(record: Sequence[Fact]) -> int:
    """The place of the last snapshot in a record; 0 where there is none."""
    return next((place for place in range(len(record) - 1, -1, -1) if isinstance(record[place], facts.Snapshot)), 0)


def opens_nothing(fact: Fact) -> str | None:
    """Why a chain cannot be sound that has this fact as its first; ``None`` where it may be."""
    if isinstance(fact, (facts.Forked, facts.Snapshot, facts.QuotaRaised)):
        return None
    if any(isinstance(step, (facts.ThreadOpened, facts.ConversationOpened)) for step in fact.steps):
        return None
    return (
        f"entry 1, {type(fact).__name__}: opens neither a thread nor a conversation; the entries before it are missing"
    )


class Standing:
    """What the facts of one chain come to, up to the last that was applied, whose ``number`` in the chain is told.

    ``open`` are its open threads with what they are counted under (:func:`marks`), ``holds`` the open holds with that of their
    threads, ``spent`` what it spent; ``threads`` are all that were opened in it, but for the root thread, each with the number of the
    fact that opened it, or 0 where that is not known. With the ``terms`` of its root threads up to there, ``endings`` are what those came
    to that ended since.
    """

    __slots__ = (
        "_accounts", "_begun", "_copied", "_lasts", "endings", "holds", "number", "open", "root", "spent", "terms", "threads",
    )  # fmt: skip

    def __init__(self, root: str, number: int = 0, terms: Terms | None = None) -> None:
        self.root = root
        self.number = number
        self.terms = terms
        self.endings: list[Ending] = []
        self.open: dict[str, str] = {}
        self.holds: dict[int, str] = {}
        self.spent = Ledger()
        self.threads: dict[str, int] = {}
        self._accounts: dict[str, tuple[str, ...]] = {}
        """Those that threads and the conversation are under, by their ids; of whoever is under any."""
        self._begun = False
        self._copied = 0
        self._lasts = root.startswith(CONVERSATION)
        """It is the chain of a conversation, which stays open between two turns."""

    @property
    def over(self) -> bool:
        """Whether nothing of it is unfinished: every thread ended and every hold settled. A chain begins unfinished."""
        if self.holds or not self._begun:
            return False
        return not self.open or (self._lasts and len(self.open) == 1 and self.root in self.open)

    @property
    def copies(self) -> bool:
        """Whether the next fact is copied from another chain, which is not to be seen in a snapshot among such facts."""
        return self._copied > 0

    def before(self, thread: str | None) -> int:
        """How many facts stand before all that is of this thread, as far as that is known."""
        opened = 0 if thread is None else self.threads.get(thread, 0)
        return max(0, opened - 1)

    def forget_the_oldest(self) -> None:
        """Forgets threads that were opened long ago, for a journal that can look them up: a conversation may have a million turns."""
        if len(self.threads) > 2 * _KEPT:
            self.threads = dict(islice(self.threads.items(), len(self.threads) - _KEPT, None))

    def opened(self, since: int) -> Iterator[str]:
        """The threads that were opened behind the first ``since`` of them, the last one first."""
        return islice(reversed(self.threads), len(self.threads) - since)

    def apply(self, fact: Fact) -> None:
        """Takes in the next fact."""
        self.number += 1
        kind = fact.__class__
        if kind in _STEPS_ALONE and self._begun and not self._copied:
            if fact.steps:
                self._take_steps(fact, copied=False)
            return
        if kind is facts.Forked or kind is facts.Snapshot:
            self._begin_with(fact)
        copied = self._copied > 0
        self._copied -= copied
        if fact.steps:
            self._take_steps(fact, copied=copied)
        if not self._begun and kind is not facts.QuotaRaised:
            # A chain that does not begin with a thread being opened is not over before that thread is.
            self._begun = True
            self.open = self.open or {fact.thread: NO_MARKS}
        if kind in _CHANGING:
            self._rest(fact, copied=copied)
        if kind in _TELLING and self.terms is not None:
            ending = self.terms.take(fact, self.number)
            if ending is not None:
                self.endings.append(ending)

    def _begin_with(self, fact: Fact) -> None:
        if isinstance(fact, facts.Forked):
            self._fork(fact)
        elif isinstance(fact, facts.Snapshot):
            self._restore(fact)

    def _take_steps(self, fact: Fact, *, copied: bool) -> None:
        hour = int(fact.at // 3600)
        for step in fact.steps:
            if isinstance(step, facts.Posted):
                if step.charged and not copied:
                    self.spent.count((hour, step.to, "", "", self.open.get(step.thread, NO_MARKS)))
            elif isinstance(step, facts.ThreadOpened):
                self._opened(step)
            elif isinstance(step, facts.ConversationOpened):
                if step.accounts:
                    self._accounts[self.root] = step.accounts
            elif isinstance(step, facts.WarningRaised) and not copied:
                self._reached(hour, step)

    def _rest(self, fact: Fact, *, copied: bool) -> None:
        match fact:
            case facts.QuotaRaised(counts_at=at, amounts=amounts):
                self._begun = True
                self.spent.add(
                    (int(at // 3600), "", "", "", json_text([node_of_limits(self.root), list(amounts)])), _ONCE
                )
            case facts.CallHeld(hold=hold, thread=thread):
                self.holds[hold] = self.open.get(thread, NO_MARKS)
            case facts.CallSettled(hold=hold):
                under = self.holds.pop(hold, None) or self.open.get(fact.thread, NO_MARKS)
                if not copied:
                    self._charge(fact, under)
            case facts.Ended():
                for thread in _with_those_below(fact):
                    self.open.pop(thread, None)
                    if thread != self.root:
                        self._accounts.pop(thread, None)
            case _:
                pass

    def _reached(self, hour: int, step: facts.WarningRaised) -> None:
        """A quota's level fires once in its window, in whatever process: its sums alone cannot tell of one that was never reached."""
        if step.unit in VECTOR and (not step.node or step.node.startswith(ACCOUNT)):
            told = [step.node, step.unit, step.level, str(step.threshold), str(step.limit)]
            self.spent.add((hour, "", "", "", json_text(told)), [0] * _WIDTH)

    def _opened(self, step: facts.ThreadOpened) -> None:
        self._enter(step.thread, step.labels, step.accounts, None if step.owner is None else step.owner[0])
        self._begun = True
        if step.thread != self.root:
            self.threads.setdefault(step.thread, self.number)

    def _enter(self, thread: str, labels: Mapping[str, str], accounts: tuple[str, ...], owner: str | None) -> None:
        """A thread is open. A sub-thread is under the accounts of the thread above it, a turn under those of its conversation."""
        if self._accounts:
            accounts = accounts or self._accounts.get(self.root if owner is None else owner, ())
        if accounts:
            self._accounts[thread] = accounts
        self.open[thread] = marks(labels, accounts)

    def _charge(self, fact: facts.CallSettled, under: str) -> None:
        charge = fact.charge
        if any(charge.amounts) or any(charge.details):
            if fact.tags:
                labels, accounts, _ = _unmarked(under)
                under = marks(labels, accounts, fact.tags)
            key = (int(fact.held_at // 3600), fact.handler, fact.alias, fact.backend, under)
            bits = (ESTIMATED if charge.estimated else 0) | (UNPRICED if charge.unpriced else 0)
            self.spent.add(key, (*charge.amounts, *charge.details, bits))

    def _restore(self, fact: facts.Snapshot) -> None:
        self._begun = True
        conversation = fact.image.conversation
        self.open, self._accounts = {}, {}
        if conversation is not None and conversation.accounts:
            self._accounts[self.root] = conversation.accounts
        for each in fact.image.threads:  # each stands behind the one above it
            self._enter(each.thread, each.labels, each.accounts, None if each.owner is None else each.owner[0])
        gone = marks(
            {}, self._accounts.get(self.root, ())
        )  # of a turn that has ended, its labels are not known any more
        self.holds = {
            each.hold: self.open.get(each.thread, self.open.get(each.under, gone)) for each in fact.image.holds
        }
        for thread in self.open:
            if thread != self.root:
                self.threads.setdefault(thread, 0)

    def _fork(self, fact: facts.Forked) -> None:
        """What is copied was spent by the origin: it is not counted again, whether it stands before this fact or behind it."""
        if self._begun:
            self.spent = Ledger()
        else:
            self._copied = fact.entries + 1


def _with_those_below(fact: facts.Ended) -> Iterator[str]:
    yield fact.thread
    for below in fact.threads:
        yield from _with_those_below(below)
