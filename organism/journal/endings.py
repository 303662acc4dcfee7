"""What root threads came to, in short: a journal keeps it beside their chains, so that who lists them, or sums them up, reads no entries.

All of it follows from the entries: :class:`Terms` is a fold over a few kinds of them, and where nothing is kept of a chain, these are read.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from decimal import Decimal
from itertools import chain
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Final

from attrs import fields, frozen

from organism.journal.chain import json_text, utf8
from organism.journal.values import MARK, amount_of, is_instant
from organism.quick import maker
from organism.record import facts
from organism.settings import Limits
from organism.usage import Usage, new_usage

if TYPE_CHECKING:
    from collections.abc import Sequence

    from organism.record.facts import Fact

TELLING: Final = (facts.Forked, facts.Accepted, facts.LimitsSet, facts.Granted, facts.Ended)
"""The facts that :class:`Terms` looks at."""


@frozen
class Ending:
    """How a root thread ended, without what may be large: ``entry`` is the number of its :class:`organism.record.facts.Ended`, which has the
    rest. ``began`` and ``ended`` are instants, ``limits`` its last ones as JSON, without those that it did not have; ``origin`` is the
    thread that it was forked from. ``warnings`` are the unit and the level of each; ``replies`` and ``sub_threads`` how many there were.
    """

    id: str
    entry: int
    began: float
    ended: float
    handler: str
    outcome: str
    unit: str | None
    scope: str | None
    account: str | None
    code: str | None
    error: str | None
    conversation: str | None
    origin: str | None
    labels: Mapping[str, str]
    accounts: tuple[str, ...]
    limits: Mapping[str, Any]
    usage: Usage
    warnings: tuple[str, ...]
    replies: int
    sub_threads: int

    def as_list(self) -> list[Any]:
        """The fields as JSON values; :meth:`of_list` reads them."""
        values: list[Any] = list(_VALUES(self))
        for place in _MAPPINGS:
            values[place] = dict(values[place])
        for place in _LISTS:
            values[place] = list(values[place])
        values[_USAGE] = usage = [*_USED(self.usage), *([True] if self.usage.unpriced else [])]
        for place in _NOT_WHOLE:
            usage[place] = _number(usage[place])
        return values

    def as_bytes(self) -> bytes:
        """The same as text; :meth:`of_bytes` reads it."""
        return utf8(json_text(self.as_list()))

    @staticmethod
    def of_bytes(body: object) -> Ending:
        """What :meth:`as_bytes` gave; raises ValueError or RecursionError for anything else."""
        if not isinstance(body, bytes):
            raise ValueError("it is no text")  # noqa: TRY004 - to its readers it is as damaged as any
        return Ending.of_list(json.loads(body))

    @staticmethod
    def of_list(read: object) -> Ending:
        """What :meth:`as_list` gave; raises ValueError for anything else."""
        values = _checked(read, _FORM)
        usage = values[_USAGE]
        unpriced = len(usage) == len(_FIGURES) + 1 and usage[-1] is True  # it stands there only where it is so
        usage = _checked(usage[:-1] if unpriced else usage, _FORM_OF_USAGE)
        cost = amount_of(usage[_COST])
        if cost is None or not (is_instant(values[_BEGAN]) and is_instant(values[_BEGAN + 1])):
            raise ValueError("its instants, or what it cost, cannot be read")
        usage[_COST] = cost
        texts = [*values[_LABELS].values(), *chain.from_iterable(values[place] for place in _LISTS)]
        if not all(isinstance(text, str) for text in texts):
            raise ValueError("a text of it is none")
        values[_USAGE] = new_usage(**dict(zip(_FIGURES, usage, strict=True)), unpriced=unpriced or None)
        for place in _LISTS:
            values[place] = tuple(values[place])
        return _new_ending(*values)


_new_ending: Final = maker(Ending)
_NAMES: Final = tuple(field.name for field in fields(Ending))
_UNITS: Final = tuple(field.name for field in fields(Limits))
_FIGURES: Final = tuple(field.name for field in fields(Usage) if field.name != "unpriced")
_VALUES, _USED, _LIMITED = attrgetter(*_NAMES), attrgetter(*_FIGURES), attrgetter(*_UNITS)
_COST: Final = _FIGURES.index("cost_usd")
_NOT_WHOLE: Final = (_COST, _FIGURES.index("seconds"))
_BEGAN, _USAGE, _LABELS = map(_NAMES.index, ("began", "usage", "labels"))
_MAPPINGS: Final = tuple(map(_NAMES.index, ("labels", "limits")))
_LISTS: Final = tuple(map(_NAMES.index, ("accounts", "warnings")))
_WHOLE: Final = frozenset({int})
_REAL: Final = frozenset({int, float})
_TEXT: Final = frozenset({str})
_ANY_TEXT: Final = frozenset({str, type(None)})
_OBJECT: Final = frozenset({dict})
_LIST: Final = frozenset({list})
Form = tuple[frozenset[Any], ...]
_FORM: Final[Form] = (
    _TEXT, _WHOLE, _REAL, _REAL, _TEXT, _TEXT, *(_ANY_TEXT,) * 7, _OBJECT, _LIST, _OBJECT, _LIST, _LIST, _WHOLE, _WHOLE,
)  # fmt: skip
_FORM_OF_USAGE: Final[Form] = (*(_WHOLE,) * 6, _TEXT, _WHOLE, _WHOLE, _REAL, frozenset({bool}))


def _checked(read: Any, form: Form) -> list[Any]:
    """A list whose places hold what they should."""
    if read.__class__ is not list or len(read) != len(form):
        raise ValueError(f"it is no list of {len(form)} values")
    values: list[Any] = read
    for value, types in zip(values, form, strict=True):
        if type(value) not in types:
            raise ValueError(f"a value of it is of the type {type(value).__name__}")
    return values


def _number(value: Any) -> Any:
    """A figure as JSON, as entries have it too."""
    if isinstance(value, Decimal):
        return str(value)
    return {f"{MARK}float": str(value)} if isinstance(value, float) and not math.isfinite(value) else value


def limits_as_json(limits: Limits) -> dict[str, Any]:
    """The limits that there are, as the entries have them."""
    known = zip(_UNITS, _LIMITED(limits), strict=True)
    return {name: value if value.__class__ is int else _number(value) for name, value in known if value is not None}


class Terms:
    """What is said of root threads before they end: where their chain comes from, and of each that is open when it began, its limits and its
    accounts.
    """

    __slots__ = ("origin", "shared", "threads")

    def __init__(self) -> None:
        self.origin: str | None = None
        self.shared: tuple[str, ...] = ()
        """The accounts of the conversation, which all its turns are under."""
        self.threads: dict[str, tuple[float, Mapping[str, Any], tuple[str, ...]]] = {}
        """Those that are open: when each began, its limits as JSON, and its own accounts."""

    def as_bytes(self) -> bytes:
        """It as JSON, for whoever goes on from here; :meth:`of_bytes` reads it."""
        return utf8(json_text([self.origin, list(self.shared), self.threads])) if self else b""

    @staticmethod
    def of_bytes(body: bytes) -> Terms:
        """What :meth:`as_bytes` gave; raises ValueError or RecursionError for anything else."""
        made = Terms()
        if body:
            made.origin, shared, threads = json.loads(body)
            made.shared = tuple(shared)
            made.threads = {id_: (began, limits, tuple(accounts)) for id_, (began, limits, accounts) in threads.items()}
        return made

    def __bool__(self) -> bool:
        return bool(self.threads or self.origin is not None or self.shared)

    def accounts_of(self, thread: str) -> tuple[str, ...]:
        """The accounts that an open root thread is under."""
        return self.threads[thread][2] or self.shared

    def take(self, fact: Fact, number: int) -> Ending | None:
        """Takes in the next fact of :data:`TELLING`, with its number in the chain; gives how a root thread ended, where it says so."""
        match fact:
            case facts.Accepted(thread=thread):
                self._accept(fact, thread)
            case facts.LimitsSet(thread=node, budget=budget) | facts.Granted(node=node, budget=budget):
                if node in self.threads:
                    began, _, accounts = self.threads[node]
                    self.threads[node] = (began, limits_as_json(budget.limits), accounts)
            case facts.Forked(origin=origin):
                self.origin = origin
            case facts.Ended(thread=thread):
                return self._end(fact, number) if thread in self.threads else None
            case _:
                pass
        return None

    def _accept(self, fact: facts.Accepted, thread: str) -> None:
        limits: Mapping[str, Any] = {}
        accounts: tuple[str, ...] = ()
        for step in fact.steps:
            if isinstance(step, facts.ThreadOpened) and step.thread == thread:
                limits, accounts = limits_as_json(step.budget.limits), step.accounts
            elif isinstance(step, facts.ConversationOpened):
                self.shared = step.accounts
        self.threads.setdefault(thread, (fact.at, limits, accounts))

    def _end(self, fact: facts.Ended, number: int) -> Ending:
        accounts = self.accounts_of(fact.thread)
        began, limits, _ = self.threads.pop(fact.thread)
        return _new_ending(
            fact.thread, number, began, fact.at, fact.handler, fact.outcome, fact.unit, fact.scope, fact.account, fact.code, fact.error,
            fact.conversation, self.origin, fact.labels, accounts, limits, fact.usage,
            tuple(f"{each.unit} {each.level}" for each in fact.warnings), len(fact.replies), _below(fact.threads),
        )  # fmt: skip


def _below(records: Sequence[facts.Ended]) -> int:
    """How many threads there were, with those below them."""
    return sum(1 + _below(each.threads) for each in records)
