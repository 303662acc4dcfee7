"""``organism threads``: the root threads of a journal, one line each."""

from __future__ import annotations

import heapq
import json as jsons
import math
from datetime import UTC, datetime
from operator import itemgetter
from typing import TYPE_CHECKING, Annotated, Any, Final

from attrs import fields
from cyclopts import Parameter

from organism.cli.arguments import Given, moment
from organism.cli.journals import HERE, Damage, InJournal
from organism.cli.tables import cell, cost_of, csv_line, instant, outcome_text, table
from organism.cli.text import one_line
from organism.errors import ConfigurationError
from organism.names import counted, suggestion
from organism.settings import UNITS
from organism.usage import Usage
from organism.works.rows import rows_in, whole

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from organism.journal import Journal
    from organism.results import ThreadResult
    from organism.works.rows import ThreadRow

_HEAD: Final = ("thread", "outcome", "began (UTC)", "handler", "tokens", "cost USD", "labels")
_SOME: Final = {"accounts": "accounts", "conversation": "conversation", "origin": "forked from"}
_OUTCOMES: Final = ("completed", "exhausted", "failed", "stopped", "cancelled", "paused", "running", "unfinished")

COLUMNS: Final = (
    "thread", "conversation", "forked_from", "handler", "outcome", "unit", "scope", "account", "code", "error",
    "began_at", "ended_at",
    *(f"{unit}_limit" for unit in UNITS), *(field.name for field in fields(Usage)),
    "warnings", "replies", "sub_threads", "labels", "accounts",
)  # fmt: skip
"""What ``--csv`` says of a thread."""


def threads(
    *,
    label: Annotated[
        tuple[str, ...],
        Parameter(
            allow_leading_hyphen=True,
            metavar="KEY[=VALUE]",
            help="Only threads with this label; if repeated, with all of these.",
        ),
    ] = (),
    outcome: Annotated[
        tuple[str, ...],
        Parameter(
            metavar="WORD",
            help=f"Only threads that are {', '.join(_OUTCOMES[:-1])} or {_OUTCOMES[-1]}; if repeated, any of these.",
        ),
    ] = (),
    since: Annotated[
        str | None,
        Parameter(
            allow_leading_hyphen=True,
            metavar="DATE",
            help="Only threads that began since then: 2026-11-01, with a time (UTC), or an age: 30d, 12h.",
        ),
    ] = None,
    limit: Annotated[
        int | None, Parameter(allow_leading_hyphen=True, metavar="N", help="Only the N of them that began last.")
    ] = None,
    json: Annotated[bool, Parameter(help="JSON lines: one object per thread.")] = False,
    csv: Annotated[bool, Parameter(help="Comma-separated values, with a header line.")] = False,
    where: InJournal = HERE,
    streams: Given,
) -> int:
    """Lists the root threads of a journal, the oldest first.

    A thread that has not ended is 'running' while a process works on the journal, else 'unfinished'; or it is 'paused'. If a
    thread is damaged, lists the others and exits with 5.

    Example: organism threads --outcome failed --label arm=a
    """
    if csv and json:
        raise ConfigurationError(["organism threads: --json and --csv cannot go together"])
    if limit is not None and limit < 1:
        raise ConfigurationError([f"--limit {limit}: must be a number of threads, 1 or more"])
    listed = _Listed(_wanted(label, outcome), limit)
    first = -math.inf if since is None else moment("--since", since, now=datetime.now(UTC))
    damage = Damage()
    with where.opened() as found:
        listed.take_in(rows_in(found, damage, owned=where.is_owned, since=first))
        for text in _texts(listed.rows(), found, damage, json=json, csv=csv):
            streams.result(text)
    if not listed and not json and not csv:
        if listed.seen:
            began = " that began since then" if since is not None else ""
            streams.note(f"no thread matches; the journal holds {counted(listed.seen, 'thread')}{began}")
        elif since is not None and not damage:
            streams.note("the journal holds no threads that began since then")
        elif not damage:
            streams.note("the journal holds no threads")
    return damage.told(streams)


class _Listed:
    """The threads that are listed: those that are ``wanted``, or of these the ``limit`` that began last."""

    def __init__(self, wanted: Callable[[ThreadResult], bool], limit: int | None) -> None:
        self._wanted = wanted
        self._limit = math.inf if limit is None else limit
        self._kept: list[tuple[tuple[float, bool, str], int, ThreadRow]] = []
        """A heap: the first of them began first."""
        self.seen = 0
        """How many threads were looked at."""

    def __bool__(self) -> bool:
        return bool(self._kept)

    def take_in(self, rows: Iterable[ThreadRow]) -> None:
        """Takes rows, as :func:`organism.works.rows.rows_in` gives them, up to where no further one can be among those that are listed."""
        for row in rows:
            full = len(self._kept) >= self._limit
            if full and row.short is not None and row.began < self._kept[0][2].began:
                return
            self.seen += 1
            if self._wanted(row.result):
                (heapq.heappushpop if full else heapq.heappush)(self._kept, (row.place, self.seen, row))

    def rows(self) -> list[ThreadRow]:
        """Those that are listed, the oldest first."""
        return [row for _, _, row in sorted(self._kept, key=itemgetter(0))]


def _wanted(labels: Sequence[str], outcomes: Sequence[str]) -> Callable[[ThreadResult], bool]:
    """Whether a thread has all these labels, ``KEY`` or ``KEY=VALUE``, and one of these outcomes, where any is named. Raises
    ConfigurationError for a label without a key, and for an outcome that there is none of.
    """
    wrong = [
        f"--label {one_line(text)}: names no label: write KEY or KEY=VALUE"
        for text in labels
        if not text.partition("=")[0]
    ]
    for text in outcomes:
        if text not in _OUTCOMES:
            hint = suggestion(text, _OUTCOMES)
            wrong.append(f"--outcome {one_line(text)}: is not an outcome{hint}; there are: {', '.join(_OUTCOMES)}")
    if wrong:
        raise ConfigurationError(wrong)
    pairs = [text.partition("=") for text in labels]

    def wanted(result: ThreadResult) -> bool:
        has = all(key in result.labels and (not equals or result.labels[key] == value) for key, equals, value in pairs)
        return has and (not outcomes or result.outcome in outcomes)

    return wanted


def _texts(rows: Sequence[ThreadRow], journal: Journal, damage: Damage, *, json: bool, csv: bool) -> Iterator[str]:
    """The rows as they are printed."""
    if json:
        for row in rows:
            with damage:
                known = whole(journal, row)
                if known is not None:
                    yield jsons.dumps(known.as_json())
    elif csv:
        yield csv_line(COLUMNS)
        yield from (csv_line(flat(row).values()) for row in rows)
    elif rows:
        yield "\n".join(_table(rows))


def flat(row: ThreadRow) -> dict[str, Any]:
    """The columns of ``--csv``."""
    known = row.as_json()
    short = row.short
    beside = {
        **{f"{unit}_limit": row.limits.get(unit) for unit in UNITS},
        **known["usage"],
        "warnings": [f"{each.unit} {each.level}" for each in row.result.warnings]
        if short is None
        else [*short.warnings],
        "replies": len(row.result.replies) if short is None else short.replies,
        "sub_threads": _below(row.result) if short is None else short.sub_threads,
    }
    return {column: beside[column] if column in beside else known[column] for column in COLUMNS}


def _below(result: ThreadResult) -> int:
    """How many threads there were below it."""
    return sum(1 + _below(each) for each in result.threads)


def _table(rows: Sequence[ThreadRow]) -> list[str]:
    """With what only some threads have, where one of these has it: accounts, a conversation, a thread that it was forked from."""
    having = [column for column in _SOME if any(getattr(row, column) for row in rows)]
    lines = [(*_row(row), *(_cell(getattr(row, column)) for column in having)) for row in rows]
    return table([(*_HEAD, *(_SOME[column] for column in having)), *lines], right=(4, 5))


def _cell(value: str | tuple[str, ...] | None) -> str:
    return cell(" ".join(value) if isinstance(value, tuple) else value or "")


def _row(row: ThreadRow) -> tuple[str, ...]:
    result = row.result
    about = "~" if result.usage.estimated else ""
    return (
        cell(result.thread),
        outcome_text(result.outcome, result.unit),
        instant(row.began),
        result.handler or "-",
        f"{about}{result.usage.tokens:,}",
        cost_of(result.usage),
        cell(" ".join(f"{key}={value}" for key, value in result.labels.items())),
    )
