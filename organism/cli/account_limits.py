"""How accounts stand, and the organism: what each has used of its limits in the window of this instant, and what is left."""

from __future__ import annotations

import math
import os
from datetime import UTC, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

from attrs import frozen

from organism import config
from organism.budget.caps import figure, raised
from organism.budget.claims import VECTOR
from organism.budget.windows import Window, raised_in, used_in, window_of
from organism.cli.journals import may_be_there
from organism.cli.tables import cell, figure_text, table
from organism.errors import ConfigurationError
from organism.kernel.pools import quota_of
from organism.names import ACCOUNT
from organism.settings import Quota
from organism.usage import Raised

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

    from organism.cli.streams import Streams
    from organism.settings import Limits
    from organism.usage import Spending

ALL: Final = "all"
"""What stands for the organism, in sums and in limits."""
_HEAD: Final = ("account", "unit", "used", "limit", "left", "window")
_UNKNOWN: Final = "?"
_FIGURES: Final = ("used", "limit", "left")


@frozen
class Row:
    """One limit of an account. What is ``used`` is ``None`` where only the process that runs counts it; ``left`` is below 0 where the
    limit was passed, or lowered.
    """

    unit: str
    limit: int | Decimal
    used: int | Decimal | None

    @property
    def left(self) -> int | Decimal | None:
        """What may still be spent in the window."""
        return None if self.used is None else self.limit - self.used


@frozen
class AccountLimits:
    """An account with its limits, and the window that they count over; ``None`` is the organism with its ceiling."""

    account: str | None
    window: Window
    rows: tuple[Row, ...]

    def as_json(self) -> dict[str, Any]:
        """The keys that an account has beside its usage; money as texts, the end of the window in ISO 8601."""
        ends = self.window.ends
        return {
            "window": self.window.kind,
            "ends": None if math.isinf(ends) else f"{datetime.fromtimestamp(ends, UTC):%Y-%m-%dT%H:%M:%SZ}",
            "limits": {
                each.unit: {
                    key: format(value, "f") if each.unit == "cost_usd" and value is not None else value
                    for key, value in zip(_FIGURES, (each.used, each.limit, each.left), strict=True)
                }
                for each in self.rows
            },
        }

    def as_cells(self) -> dict[str, Any]:
        """The same as columns, three for each unit that an account may be limited in; empty where it is not."""
        said = self.as_json()
        limits = said["limits"]
        figures = {f"{unit}_{key}": limits.get(unit, {}).get(key) for unit in VECTOR for key in _FIGURES}
        return {"window": said["window"] if limits else None, "ends": said["ends"], **figures}


NO_LIMITS: Final = AccountLimits(None, window_of("total", 0), ())
"""Those of an account that has none."""


def limits_of(file: Path, spendings: Iterable[Spending], streams: Streams) -> tuple[AccountLimits, ...]:
    """How the accounts stand that have spent something, or that the file names, by name, and the organism behind them; none without a file,
    and those alone that have limits.
    """
    if not may_be_there(file):
        return ()
    try:
        ceiling, quotas = config.quotas(file, environ=os.environ)
    except ConfigurationError as error:
        streams.note(f"note: limits are not shown, since they cannot be read: {error.mistakes[0]}")
        return ()
    rows = tuple(spendings)
    raised_ones = {row.tells.node.removeprefix(ACCOUNT) for row in rows if isinstance(row.tells, Raised)} - {""}
    names = {name for row in rows for name in row.accounts} | raised_ones | {name for name in quotas if ":" in name}
    now = datetime.now(UTC).timestamp()
    found = [_of(name, quota_of(quotas, name) or Quota(), rows, now) for name in sorted(names)]
    return tuple(each for each in (*found, _of(None, ceiling, rows, now)) if each.rows)


def _of(account: str | None, quota: Quota, rows: Sequence[Spending], now: float) -> AccountLimits:
    """How it stands, with what its limits were raised by in this window."""
    window = window_of(quota.window, now)
    limits = raised(quota.limits, raised_in(window, "" if account is None else f"{ACCOUNT}{account}", rows))
    own = rows if account is None else [row for row in rows if account in row.accounts]
    return AccountLimits(account, window, tuple(_rows(limits, window, own)))


def _rows(limits: Limits, window: Window, rows: Sequence[Spending]) -> Iterator[Row]:
    amounts = used_in(window, rows).amounts
    for unit, name in enumerate(VECTOR):
        limit: int | Decimal | None = getattr(limits, name)
        if limit is not None:
            yield Row(name, limit, None if window.kind == "run" else figure(unit, amounts[unit]))


def limits_table(limits: Iterable[AccountLimits]) -> list[str]:
    """The limits in a table, and what there is to be said of it."""
    lines: list[tuple[str, ...]] = [_HEAD]
    for each in limits:
        for row in each.rows:
            figures = (
                _UNKNOWN if value is None else figure_text(row.unit, value) for value in (row.used, row.limit, row.left)
            )
            lines.append((cell(each.account or ALL), row.unit, *figures, each.window.kind))
    found = table(lines, right=(2, 3, 4))
    if any(each.window.kind == "run" for each in limits):
        found.append(
            f"{_UNKNOWN} is not in the journal: a limit whose window is 'run' is counted by the process that runs"
        )
    return found
