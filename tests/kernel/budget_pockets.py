"""Nodes of budgets and charges as :mod:`tests.kernel.budget_books` keeps them, and sums of amounts."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

from attrs import define, field, frozen

from organism.record import facts
from organism.settings import Policy
from tests.budget.naive_budget import UNITS, Amounts, Purse, nothing

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from organism.settings import Limits

POOLS: Final = ("organism", "account")
Window = Any
"""What names a window: equal for all instants in it."""


def window_at(kind: str | None, at: float) -> Window:
    """Which window of this kind an instant lies in."""
    match kind:
        case "hour":
            return int(at // 3600)
        case "day":
            return int(at // 86400)
        case "month":
            day = datetime.fromtimestamp(at, UTC)
            return (day.year, day.month)
        case _:
            return kind


@define(eq=False, kw_only=True)
class Pocket(Purse):
    """A node. ``line`` are the nodes above it, ``slack`` is how far it may be beyond its limits, by an overdraft or a limit that was lowered."""

    scope: str
    policy: Policy
    line: tuple[Pocket, ...] = ()
    kind: str | None = None
    window: Window = None
    slack: Amounts = field(factory=nothing)
    times: set[Decimal] = field(factory=set[Decimal])
    ended: bool = False
    granted: dict[str, Decimal] = field(factory=dict[str, Decimal])

    @property
    def path(self) -> list[Purse]:
        return [self, *self.line]

    @property
    def nodes(self) -> tuple[Pocket, ...]:
        """The path."""
        return (self, *self.line)

    def anew(self) -> None:
        """A new window has begun."""
        self.used, self.own, self.held = nothing(), nothing(), nothing()
        self.overdraft, self.slack = nothing(), nothing()
        self.fired, self.runways = set(), set()


@frozen
class Entry:
    """One charge, or one message: when it counts, where, for whom; ``process`` made it."""

    at: float
    process: int
    nodes: tuple[Pocket, ...]
    amounts: Amounts
    handler: str
    model: str
    backend: str
    labels: Mapping[str, str]
    accounts: tuple[str, ...]
    tags: tuple[str, ...] = ()
    estimated: bool = False

    @property
    def counted_under(self) -> Iterator[tuple[str, str]]:
        """The totals that it is part of."""
        yield ("all", "")
        yield ("handler", self.handler)
        yield from (("label", f"{key}={value}") for key, value in self.labels.items())
        yield from (("account", account) for account in self.accounts)
        if self.model:
            yield from (("tag", tag) for tag in self.tags)
            yield from (("model", self.model), ("backend", self.backend))


@define(eq=False)
class Held:
    """What a call holds, and in which windows."""

    pocket: Pocket
    seq: int
    need: Amounts
    at: float
    windows: tuple[Window, ...]
    streamed: bool
    fact: facts.CallHeld

    def counting(self) -> list[Pocket]:
        """The nodes that it counts on: not those whose window is over."""
        return [each for each, window in zip(self.pocket.nodes, self.windows, strict=True) if each.window == window]


@define(eq=False)
class Opened:
    """A thread as its bookkeeper knows it."""

    pocket: Pocket
    chain: str
    labels: Mapping[str, str]
    accounts: tuple[str, ...]
    root: str


def is_reached(pocket: Pocket, unit: str, level: Decimal) -> bool:
    return any(level == known and pocket.used[unit] >= at for at, _, known in pocket.marks(unit))


def amounts_of(limits: Limits) -> dict[str, int]:
    """Limits of the spent units, money in 10^-12 USD."""
    found = {unit: getattr(limits, unit) for unit in UNITS}
    return {unit: inner(unit, limit) for unit, limit in found.items() if limit is not None}


def inner(unit: str, amount: Any) -> int:
    return int(amount * 10**12) if unit == "cost_usd" else int(amount)


def summed(amounts: Iterable[Amounts]) -> Amounts:
    """All of these together."""
    total = nothing()
    for each in amounts:
        add(total, each)
    return total


def add(to: Amounts, amounts: Amounts, sign: int = 1) -> None:
    for unit, amount in amounts.items():
        to[unit] += sign * amount
