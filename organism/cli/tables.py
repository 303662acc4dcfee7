"""Rows in columns, instants and sizes, for people; rows as comma-separated values, for programs."""

from __future__ import annotations

import csv
import io
import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, Literal

from organism.cli.text import padded, width_of

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

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


def counted(number: int, noun: str) -> str:
    """``1 thread``, ``1,200 threads``; nouns in ``y`` change."""
    if number == 1:
        return f"1 {noun}"
    return f"{number:,} {noun[:-1]}ies" if noun.endswith("y") else f"{number:,} {noun}s"
