"""``organism threads``: the root threads of a journal, one line each."""

from __future__ import annotations

import json as jsons
from typing import TYPE_CHECKING, Annotated, Any, Final

from attrs import fields
from cyclopts import Parameter

from organism.cli.arguments import Given  # noqa: TC001 - cyclopts reads annotations
from organism.cli.journals import HERE, Damage, InJournal
from organism.cli.reading import threads_of
from organism.cli.tables import csv_line, instant, money, table
from organism.cli.text import cut, one_line
from organism.errors import ConfigurationError
from organism.names import counted, suggestion
from organism.settings import UNITS
from organism.usage import Usage

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from organism.cli.reading import ThreadRow
    from organism.journal import Journal
    from organism.results import ThreadResult

_HEAD: Final = ("thread", "outcome", "began (UTC)", "handler", "tokens", "cost USD", "labels")
_SOME: Final = {"accounts": "accounts", "conversation": "conversation", "origin": "forked from"}
_WIDEST: Final = 60
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
            json_list=False,
            metavar="KEY[=VALUE]",
            help="Only threads with this label; if repeated, with all of these.",
        ),
    ] = (),
    outcome: Annotated[
        tuple[str, ...],
        Parameter(
            json_list=False,
            metavar="WORD",
            help=f"Only threads that are {', '.join(_OUTCOMES[:-1])} or {_OUTCOMES[-1]}; if repeated, any of these.",
        ),
    ] = (),
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
    wanted = _wanted(label, outcome)
    damage = Damage()
    with where.opened() as found:
        # A journal has them as they came to it: one that was imported began before others. A fork began when its origin did, and comes
        # behind that.
        every = sorted(
            _rows(found, damage, owned=where.is_owned),
            key=lambda row: (row.began, row.origin is not None, row.result.thread),
        )
    rows = [row for row in every if wanted(row.result)]
    for text in _texts(rows, json=json, csv=csv):
        streams.result(text)
    if not rows and not json and not csv:
        if every:
            streams.note(f"no thread matches; the journal holds {counted(len(every), 'thread')}")
        elif not damage:
            streams.note("the journal holds no threads")
    return damage.told(streams)


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


def _rows(journal: Journal, damage: Damage, *, owned: bool) -> Iterator[ThreadRow]:
    for chain in journal.chains():
        with damage:
            yield from threads_of(journal, chain, owned=owned)


def _texts(rows: Sequence[ThreadRow], *, json: bool, csv: bool) -> Iterator[str]:
    """The rows as they are printed."""
    if json:
        yield from (jsons.dumps(row.as_json()) for row in rows)
    elif csv:
        yield csv_line(COLUMNS)
        yield from (csv_line(flat(row).values()) for row in rows)
    elif rows:
        yield "\n".join(_table(rows))


def flat(row: ThreadRow) -> dict[str, Any]:
    """The columns of ``--csv``."""
    known = row.as_json()
    beside = {
        **{f"{unit}_limit": row.limits.get(unit) for unit in UNITS},
        **known["usage"],
        "warnings": [f"{each.unit} {each.level}" for each in row.result.warnings],
        "replies": len(row.result.replies),
        "sub_threads": _below(row.result),
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
    return cut(one_line(" ".join(value) if isinstance(value, tuple) else value or ""), _WIDEST)


def _row(row: ThreadRow) -> tuple[str, ...]:
    result = row.result
    about = "~" if result.usage.estimated else ""
    return (
        cut(one_line(result.thread), _WIDEST),
        f"{result.outcome} ({result.unit})" if result.unit else result.outcome,
        instant(row.began),
        result.handler or "-",
        f"{about}{result.usage.tokens:,}",
        money(result.usage.cost_usd),
        cut(one_line(" ".join(f"{key}={value}" for key, value in result.labels.items())), _WIDEST),
    )
