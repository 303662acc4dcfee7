"""Comma-separated values: lines of cells that any program for tables reads."""

from __future__ import annotations

import csv
import io
import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable


def separated(values: Iterable[Any]) -> str:
    """A line of cells: nothing for what is not known, 1 and 0 for true and false, JSON for lists and labels."""
    text = io.StringIO()
    csv.writer(text, lineterminator="").writerow([_cell(value) for value in values])
    return text.getvalue()


def _cell(value: Any) -> Any:
    if value is None:
        return ""
    if isinstance(value, bool):
        return int(value)
    return json.dumps(value, ensure_ascii=False) if isinstance(value, (list, dict)) else value


__all__ = ["separated"]
