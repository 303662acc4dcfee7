"""``organism threads``: the root threads of a journal, one line each."""

from __future__ import annotations

import json as jsons
from typing import TYPE_CHECKING, Annotated, Final

from cyclopts import Parameter

from organism.cli.arguments import DEFAULT_FILE, Debug, Given
from organism.cli.journals import OfFile, OfJournal, is_owned, opened
from organism.cli.reading import threads_of
from organism.cli.report import money
from organism.cli.tables import instant, table
from organism.cli.text import cut, one_line
from organism.cli.verify import DAMAGED
from organism.errors import JournalError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from organism.cli.reading import ThreadRow
    from organism.journal import Journal

_HEAD: Final = ("thread", "outcome", "began (UTC)", "handler", "tokens", "cost USD", "labels")
_WIDEST: Final = 60


def threads(
    *,
    file: OfFile = DEFAULT_FILE,
    journal: OfJournal = None,
    json: Annotated[bool, Parameter(help="One JSON object a thread, in a line, as 'run --json' prints.")] = False,
    debug: Debug = False,  # noqa: ARG001 - main reads it
    streams: Given,
) -> int:
    """Lists the root threads of a journal, the oldest first.

    One that has not ended is 'running' while a process works on the journal, else 'unfinished'; or 'paused'. Exits with 5 where
    one is damaged, and lists the others.
    """
    with opened(file, journal) as found:
        owned = is_owned(file, journal)
        damaged: list[str] = []
        # A journal has them as they came to it: a fork, or one that was imported, began before others.
        rows = sorted(_rows(found, damaged, owned=owned), key=lambda row: (row.began, row.result.thread))
        if json:
            for row in rows:
                streams.result(jsons.dumps(row.as_json()))
        elif every := [_row(row) for row in rows]:
            streams.result("\n".join(table([_HEAD, *every], right=(4, 5))))
        elif not damaged:
            streams.note("the journal holds no threads yet")
    for problem in damaged:
        streams.note(f"error: {one_line(problem)}")
    return DAMAGED if damaged else 0


def _rows(journal: Journal, damaged: list[str], *, owned: bool) -> Iterator[ThreadRow]:
    """The root threads; what is wrong with the chains that cannot be read is added to ``damaged``."""
    for chain in journal.chains():
        try:
            yield from threads_of(journal, chain, owned=owned)
        except JournalError as error:
            damaged.append(str(error))


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
