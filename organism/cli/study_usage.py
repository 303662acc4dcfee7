"""What a study has spent, by arm, handler and model: for people, and for programs."""

from __future__ import annotations

import json as jsons
from typing import TYPE_CHECKING, Any, Final

from organism.cli.tables import SPENT, cell, csv_line, table
from organism.cli.usage import figures_of, gaps, row_of, tally_of
from organism.lab import usage
from organism.usage import Tally, Usage

if TYPE_CHECKING:
    from collections.abc import Iterator

    from organism.lab import Study

_KEYS: Final = ("arm", "handler", "model")
_MESSAGES: Final = "messages"


def spent_lines(study: Study, *, csv: bool, json: bool) -> Iterator[str]:
    """A row for each arm, handler and model; and for people a sum. Raises JournalError."""
    rows = usage(study)
    if csv:
        yield csv_line(("study", *_KEYS, *_figures(Usage())))
    for key, used in rows.items() if csv or json else ():
        if csv:
            yield csv_line((study.name, *(part or None for part in key), *_figures(used).values()))
        else:
            named = dict(zip(_KEYS, (part or None for part in key), strict=True))
            yield jsons.dumps({"study": study.name, **named, "usage": _figures(used)})
    if not (csv or json):
        yield from _table(rows)


def _table(rows: dict[tuple[str, str, str], Usage]) -> Iterator[str]:
    whole = Tally()
    for used in rows.values():
        whole.take_in(tally_of(used))
    every = {**rows, ("all", "", ""): whole.usage()}
    # Of messages nothing is said: they belong to no model.
    lines = [(*(cell(part or "-") for part in key), *row_of("", used)[1:-1]) for key, used in every.items()]
    yield from table([(*_KEYS, *SPENT[:-1]), *lines], right=range(3, 7))
    yield from gaps(whole.usage())


def _figures(used: Usage) -> dict[str, Any]:
    return {key: value for key, value in figures_of(used).items() if key != _MESSAGES}
