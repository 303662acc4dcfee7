"""What was spent: the figures of a call, and the sums of a thread."""

from __future__ import annotations

import math
from collections.abc import Mapping
from decimal import Context, Decimal, InvalidOperation
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

from attrs import asdict, frozen

from organism.names import told
from organism.quick import maker, quick

if TYPE_CHECKING:
    from collections.abc import Sequence

PICO_PER_USD = 10**12
"""Money is an integer of 10^-12 USD inside the organism, so that sums are exact; Decimal outside."""
_PLACES = -12
_NOTHING: Final = Decimal(0)
EXACT: Final = Context(prec=100)
"""Digits enough for all that may be limited and for what a list of prices may compute, whatever context the handler has set in whose task this is asked."""


def pico(usd: Decimal) -> int:
    """USD as an integer of 10^-12 USD, rounded up: a limit may only be met early, never late."""
    return math.ceil(EXACT.multiply(usd, Decimal(PICO_PER_USD)))


def added(one: Decimal, other: Decimal) -> Decimal:
    """The sum of two amounts, exactly."""
    return EXACT.add(one, other)


def difference(one: Decimal, other: Decimal) -> Decimal:
    """The difference of two amounts, exactly."""
    return EXACT.subtract(one, other)


def adds(amount: object) -> bool:
    """Whether an amount is above 0. What is no number at all is taken for one: whoever reads it says what it is."""
    try:
        return not isinstance(amount, int | float | Decimal | str) or Decimal(amount) > 0
    except InvalidOperation:  # no figure, or no number
        return True


def written(value: Decimal) -> str:
    """A figure in plain digits, without trailing zeros."""
    return format(value.normalize(EXACT), "f")


@lru_cache(maxsize=256)
def usd(amount: int) -> Decimal:
    """The Decimal of an integer of 10^-12 USD, without trailing zeros or exponent. What a call costs is told of it, of its thread and of others."""
    if not amount:
        return _NOTHING
    whole, rest = divmod(amount, PICO_PER_USD)
    if not rest:
        return Decimal(whole)
    return Decimal(amount).scaleb(_PLACES, EXACT).normalize(EXACT)


@quick
@frozen(kw_only=True)
class Usage:
    """What was spent, for a thread including its sub-threads. ``input_tokens`` includes cached input; ``tokens`` is input plus output;
    ``cost_usd`` is an exact Decimal in USD; ``seconds`` is running time; ``estimated``: at least one figure is an estimate; ``unpriced``:
    ``cost_usd`` leaves out calls whose price nobody knew (``None``: it does not).
    """

    input_tokens: int = 0
    output_tokens: int = 0
    cache_read_tokens: int = 0
    cache_write_tokens: int = 0
    reasoning_tokens: int = 0
    tokens: int = 0
    cost_usd: Decimal = Decimal(0)
    model_calls: int = 0
    messages: int = 0
    seconds: float = 0.0
    estimated: bool = False
    unpriced: bool | None = None

    def as_json(self) -> dict[str, Any]:
        """A JSON object of the fields; money as a string."""
        said = {
            "cost_usd": format(self.cost_usd, "f"),
            "seconds": round(self.seconds, 6),
            "unpriced": bool(self.unpriced),
        }
        return asdict(self) | said


new_usage: Final = maker(Usage)


class Tally:
    """A running sum of own figures, as for one handler, model or backend. ``amounts`` is indexed as the budgets' vectors.

    ``unpriced``: nobody knew the price of some of it, which counts as costing nothing.
    """

    __slots__ = ("amounts", "details", "estimated", "unpriced")

    def __init__(self) -> None:
        self.amounts = [0, 0, 0, 0, 0, 0]
        self.details = [0, 0, 0]
        self.estimated = False
        self.unpriced = False

    def add(
        self, amounts: Sequence[int], details: Sequence[int], *, estimated: bool = False, unpriced: bool = False
    ) -> None:
        """Adds what was spent."""
        mine = self.amounts  # written out: every settlement comes here once for each sum that it counts in
        tokens, given, said, cost, calls, messages = amounts
        mine[0] += tokens
        mine[1] += given
        mine[2] += said
        mine[3] += cost
        mine[4] += calls
        mine[5] += messages
        if any(details):
            self.details = [have + more for have, more in zip(self.details, details, strict=True)]
        if estimated:
            self.estimated = True
        if unpriced:
            self.unpriced = True

    def take_in(self, other: Tally) -> None:
        """Adds another sum."""
        self.add(other.amounts, other.details, estimated=other.estimated, unpriced=other.unpriced)

    def usage(self, seconds: float = 0.0) -> Usage:
        """The sum as users see it."""
        return usage_of(self.amounts, self.details, seconds=seconds, estimated=self.estimated, unpriced=self.unpriced)


KINDS: Final = ("handler", "model", "backend", "account", "tag", "label")
"""What sums are kept by. What has several accounts, tags or labels counts under each."""
_LABEL: Final = "label:"


def sums_by(totals: Mapping[tuple[str, str], Tally], by: str) -> dict[str, Usage]:
    """The sums of one of :data:`KINDS` by name; those of ``label`` by ``KEY=VALUE``, of ``label:KEY`` by value. Raises ValueError."""
    if by not in KINDS and not by.startswith(_LABEL):
        raise ValueError(
            f"there are sums by {', '.join(KINDS)} and label:KEY, not by {told(by)}; 'organism usage' also has those by thread, conversation and day"
        )
    sought, _, key = by.partition(":")
    start = f"{key}=" if key else ""
    return {
        name.removeprefix(start): tally.usage()
        for (kind, name), tally in totals.items()
        if kind == sought and name.startswith(start)
    }


def usage_of(
    amounts: Sequence[int], details: Sequence[int], *, seconds: float, estimated: bool, unpriced: bool = False
) -> Usage:
    """Usage from vectors: (tokens, input, output, cost, calls, messages) and (cache reads, cache writes, reasoning)."""
    tokens, input_tokens, output_tokens, cost, calls, messages = amounts
    reads, writes, reasoning = details
    return new_usage(
        input_tokens=input_tokens,
        output_tokens=output_tokens,
        cache_read_tokens=reads,
        cache_write_tokens=writes,
        reasoning_tokens=reasoning,
        tokens=tokens,
        cost_usd=usd(cost),
        model_calls=calls,
        messages=messages,
        seconds=seconds,
        estimated=estimated,
        unpriced=unpriced or None,
    )


@quick
@frozen(kw_only=True)
class Estimate:
    """A handler's own forecast: its thread, which had used ``used`` of ``unit`` by then, would use ``low`` to ``high`` more. ``end`` is what it
    had used when it ended, sub-threads included; ``None`` while it runs.
    """

    handler: str
    unit: str
    low: Decimal
    high: Decimal
    used: Decimal
    end: Decimal | None = None

    @property
    def came(self) -> Decimal | None:
        """What was used after the forecast; ``None`` while the thread runs."""
        return None if self.end is None else self.end - self.used

    @property
    def hit(self) -> bool | None:
        """Whether that lies within the forecast; ``None`` while the thread runs."""
        return None if self.came is None else self.low <= self.came <= self.high

    def as_json(self) -> dict[str, Any]:
        """A JSON object of the fields, with what came; figures as strings."""
        figures = {name: getattr(self, name) for name in ("low", "high", "used", "end", "came")}
        said = {name: None if value is None else format(value, "f") for name, value in figures.items()}
        return {"handler": self.handler, "unit": self.unit, **said, "hit": self.hit}


@quick
@frozen
class Reached:
    """A level of a quota that was reached, or said since a call was refused: ``node`` is the empty text for the organism's ceiling,
    ``account:kind:name`` for an account's; ``level``, ``threshold`` and ``limit`` are as the warning had them.
    """

    node: str
    unit: str
    level: str
    threshold: str
    limit: str


@quick
@frozen
class Raised:
    """How much more a quota's limits allow in the window of an hour; ``node`` as :class:`Reached` has it, ``amounts`` as budgets' vectors."""

    node: str
    amounts: tuple[int, int, int, int, int, int]


@quick
@frozen(kw_only=True)
class Spending:
    """What one handler spent within one hour (whole hours since 1970, UTC) at one backend of one model alias, in threads with
    these labels, by calls with these ``tags`` (in the order of the alphabet). Messages have neither model nor backend nor tags; a
    thread without handlers has no handler. ``unpriced``: nobody knew the price of some of it, which counts as costing nothing.
    """

    hour: int
    handler: str
    model: str
    backend: str
    labels: Mapping[str, str]
    amounts: tuple[int, int, int, int, int, int]
    details: tuple[int, int, int] = (0, 0, 0)
    estimated: bool = False
    accounts: tuple[str, ...] = ()
    """The accounts whose quotas the threads were under, ``kind:name`` each."""
    tags: tuple[str, ...] = ()
    unpriced: bool = False
    tells: Reached | Raised | None = None
    """What such a row says instead of a sum: a level of a quota that was reached in that hour, or how its limits were raised then."""
