"""The model calls of a journal, a row each: for people, as JSON lines, or as comma-separated values."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final, Literal

from organism.cli.amounts import money
from organism.cli.reading import meant
from organism.cli.tables import counted, csv_line, table
from organism.cli.text import cut, one_line
from organism.journal.codec import decode_entry
from organism.record.calls import COLUMNS, call_rows

if TYPE_CHECKING:
    from collections.abc import Iterator

    from organism.cli.streams import Streams
    from organism.journal import Journal
    from organism.record.calls import CallRow

_HEAD: Final = ("thread", "handler", "model", "outcome", "need", "tokens", "cost USD", "nearest limit", "was told")
_WIDE: Final = 20


def tell_calls(journal: Journal, thread: str | None, form: Literal["table", "json", "csv"], streams: Streams) -> None:
    """Prints the calls of a thread with those below it, or of all. Raises ConfigurationError where that thread is not there."""
    rows = _rows(journal, thread)
    if form == "json":
        for row in rows:
            streams.result(json.dumps(row.as_json()))
    elif form == "csv":
        streams.result(csv_line(COLUMNS))
        for row in rows:
            streams.result(csv_line(row.as_json().values()))
    else:
        lines = [_line(row) for row in rows]
        streams.result("\n".join(table([_HEAD, *lines], right=(4, 5, 6))) if lines else "no calls of models")


def _rows(journal: Journal, thread: str | None) -> Iterator[CallRow]:
    """Chain by chain, the oldest first."""
    found = None if thread is None else meant(journal, thread)
    for chain in journal.chains() if found is None else (found.chain,):
        facts = ((each["n"], decode_entry(each)) for each in journal.documents(chain.root))
        for row in call_rows(facts):
            if found is None or found.thread in {chain.root, row.thread} or row.thread.startswith(f"{found.thread}."):
                yield row


def _line(row: CallRow) -> tuple[str, ...]:
    about = "~" if row.estimated else ""
    near = (
        "-"
        if row.nearest_unit is None
        else f"{row.nearest_remaining:,} of {row.nearest_limit:,} {row.nearest_unit} ({row.nearest_scope})"
    )
    told = "-" if row.told_level is None else f"{row.told_level}, {row.told_unit}, {_ago(row.told_calls_ago or 0)}"
    return (
        _short(row.thread), _short(row.handler or "-"), _short(row.model or "-"), row.outcome,
        "-" if row.need_tokens is None else f"{row.need_tokens:,}", f"{about}{row.tokens:,}",
        "?" if row.cost_usd is None else money(row.cost_usd), near, told,
    )  # fmt: skip


def _ago(calls: int) -> str:
    return f"{counted(calls, 'call')} ago" if calls else "before this call"


def _short(name: str) -> str:
    return cut(one_line(name), _WIDE)
