"""Figures in words (money, amounts by unit, sizes, instants) and rows in columns, for people; comma-separated values, for programs.

``check`` shows them as well and has to start fast: nothing heavy is imported here.
"""

from __future__ import annotations

import csv
import io
import json
from datetime import UTC, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final, Literal

from organism.cli.text import cut, one_line, padded, width_of
from organism.settings import UNITS

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from organism.settings import BackendSettings, Limits
    from organism.usage import Usage

_WIDEST: Final = 60
_MILLIONTH: Final = Decimal("0.000001")


def limits_text(limits: Limits) -> str:
    """The limits of a budget in a line."""
    return amounts_text({unit: getattr(limits, unit) for unit in UNITS}) or "none"


def amounts_text(amounts: Mapping[str, Any]) -> str:
    """Amounts by unit in a line, without those that there are not."""
    return ", ".join(f"{unit} {value:,}".removesuffix(".0") for unit, value in amounts.items() if value is not None)


def amount_text(unit: str, value: Decimal | int) -> str:
    """A figure that stands beside the name of its unit."""
    return money(Decimal(value)) if unit == "cost_usd" else f"{value:,}"


def figure_text(unit: str, value: Any) -> str:
    """A figure with its unit where it has one of its own."""
    if unit == "seconds":
        return f"{value:,.1f} s"
    return amount_text(unit, value) + (" USD" if unit == "cost_usd" else "")


def named(backend: BackendSettings) -> str:
    """What a backend asks, and where, if that is not its provider's usual place."""
    where = f" at {backend.base_url}" if backend.base_url else ""
    return one_line(f"{backend.provider}/{backend.model}{where}")


def plain_amount(amount: Decimal | float) -> str:
    """A figure with its thousands apart, and no zeros behind its point."""
    return f"{Decimal(str(amount)).normalize():,f}"


def money(usd: Decimal) -> str:
    """USD to the millionth, without trailing zeros; never 0 for what is more than that."""
    if 0 < usd < _MILLIONTH:
        return "<0.000001"
    text = f"{usd:.6f}".rstrip("0")
    return text + "00" if text.endswith(".") else text


def cost_of(usage: Usage) -> str:
    """What was spent in USD; a ``?`` behind it says that it leaves out what has no known price."""
    return f"{money(usage.cost_usd)}{'?' if usage.unpriced else ''}"


SPENT: Final = ("calls", "tokens in", "out", "cost USD", "messages")
"""The columns of :func:`spent_cells`."""


def spent_cells(used: Usage) -> tuple[str, ...]:
    """What was spent, as it stands in a table: ``~`` before what is partly an estimate."""
    about = "~" if used.estimated else ""
    tokens = (f"{about}{count:,}" for count in (used.input_tokens, used.output_tokens))
    return (f"{used.model_calls:,}", *tokens, cost_of(used), f"{used.messages:,}")


def outcome_text(outcome: str, unit: str | None) -> str:
    """How a thread ended, and of which unit it had no more, if so."""
    return f"{outcome} ({unit})" if unit else outcome


_SIZES: Final = ("B", "kB", "MB", "GB", "TB")


def table(rows: Sequence[Sequence[str]], *, right: Collection[int] = ()) -> list[str]:
    """The lines of a table whose first row is its head; columns of these numbers have their blanks at the left."""
    widths = [max(width_of(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = [
        "  ".join(
            padded(cell, width, right=column in right)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in rows
    ]
    return [lines[0].rstrip(), "-" * width_of(lines[0]), *(line.rstrip() for line in lines[1:])]


def cell(text: str, widest: int = _WIDEST) -> str:
    """A text as it stands in a table: in one line, its end cut off where it is long."""
    return cut(one_line(text), widest)


def csv_line(values: Iterable[Any]) -> str:
    """A line of comma-separated cells: nothing for ``None``, 1 and 0 for true and false, JSON for lists and labels."""
    text = io.StringIO()
    csv.writer(text, lineterminator="").writerow([_cell(value) for value in values])
    return text.getvalue()


def _cell(value: Any) -> Any:
    if value is None:
        return ""
    if isinstance(value, bool):
        return int(value)
    return json.dumps(value, ensure_ascii=False) if isinstance(value, (list, dict)) else value


def instant(at: float, to_the: Literal["seconds", "milliseconds"] = "seconds") -> str:
    """Seconds since 1970 as a date and a time of day, UTC; as they are where no calendar has them."""
    try:
        return datetime.fromtimestamp(at, UTC).replace(tzinfo=None).isoformat(" ", to_the)
    except (ValueError, OverflowError, OSError):
        return f"{at:g} s"


def size(count: int) -> str:
    """Bytes, in the largest unit of which there is one at least."""
    number = float(count)
    for unit in _SIZES[:-1]:
        if number < 1000:
            return f"{number:.1f} {unit}" if unit != "B" else f"{count} B"
        number /= 1000
    return f"{number:.1f} {_SIZES[-1]}"
