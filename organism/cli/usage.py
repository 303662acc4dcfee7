"""``organism usage``: what was spent, by whom or by what, also in threads that were removed."""

from __future__ import annotations

import json as jsons
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Final

from attrs import evolve
from cyclopts import Parameter

from organism.cli.arguments import DEFAULT_FILE, Debug, Given
from organism.cli.journals import OfFile, OfJournal, opened
from organism.cli.reading import threads_of
from organism.cli.report import money
from organism.cli.tables import table
from organism.cli.text import cut, one_line
from organism.errors import ConfigurationError
from organism.names import suggestion
from organism.usage import Tally

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from organism.journal import Journal
    from organism.usage import Spending, Usage

_HEAD: Final = ("calls", "tokens in", "out", "cost USD", "messages")
_WIDEST: Final = 60
_NONE: Final = "-"
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_LABEL: Final = "label:"
_WAYS: Final[Mapping[str, Callable[[Spending], str]]] = {
    "handler": lambda row: row.handler or _NONE,
    "model": lambda row: f"{row.model} ({row.backend})" if row.model else _NONE,
    "day": lambda row: f"{_EPOCH + timedelta(hours=row.hour):%Y-%m-%d}",
}


def usage(
    *,
    by: Annotated[
        str, Parameter(metavar="WHAT", help="thread, handler, model, day, or label:KEY; handler where nothing is said.")
    ] = "handler",
    json: Annotated[bool, Parameter(help="One JSON object a row, in a line; the sums have none.")] = False,
    file: OfFile = DEFAULT_FILE,
    journal: OfJournal = None,
    debug: Debug = False,  # noqa: ARG001 - main reads it
    streams: Given,
) -> int:
    """Says what was spent. Days are those of UTC; what threads spent that were removed still counts."""
    way = None if by == "thread" else _way(by)
    with opened(file, journal) as found:
        rows = _by_thread(found) if way is None else by_key(found.spendings(), way)
        whole = _sum(found.spendings())
    if json:
        for name, used in rows.items():
            streams.result(jsons.dumps({by: None if name == _NONE else name, "usage": _figures(used)}))
        return 0
    lines = [(by, *_HEAD), *(_row(name, used) for name, used in rows.items())]
    if way is None:
        lines += _beside(rows.values(), whole)
    streams.result("\n".join(table([*lines, _row("all", whole)], right=range(1, 6))))
    if whole.estimated:
        streams.result("~ holds an estimate: a provider did not say what it charged")
    return 0


def _way(by: str) -> Callable[[Spending], str]:
    if by in _WAYS:
        return _WAYS[by]
    if by.startswith(_LABEL) and by != _LABEL:
        key = by.removeprefix(_LABEL)
        return lambda row: row.labels.get(key, _NONE)
    if by == "account":
        raise ConfigurationError(["--by account: is not available yet: there are no accounts"])
    hint = suggestion(by, ["thread", *_WAYS, _LABEL])
    raise ConfigurationError(
        [f"--by {one_line(by)}: is not known{hint}; there are thread, {', '.join(_WAYS)}, label:KEY"]
    )


def by_key(spendings: Iterable[Spending], key: Callable[[Spending], str]) -> dict[str, Usage]:
    """The sums of what was spent, by what ``key`` says, in the order of the keys."""
    tallies: dict[str, Tally] = {}
    for row in spendings:
        tally = tallies.setdefault(key(row), Tally())
        tally.amounts = [have + more for have, more in zip(tally.amounts, row.amounts, strict=True)]
        tally.details = [have + more for have, more in zip(tally.details, row.details, strict=True)]
        tally.estimated |= row.estimated
    return {name: tallies[name].usage() for name in sorted(tallies)}


def _by_thread(journal: Journal) -> dict[str, Usage]:
    return {
        row.result.thread: row.result.usage
        for chain in journal.chains()
        for row in threads_of(journal, chain, owned=False)
    }


def _sum(spendings: Iterable[Spending]) -> Usage:
    return by_key(spendings, lambda _: "").get("", Tally().usage())


def _beside(those: Iterable[Usage], whole: Usage) -> list[tuple[str, ...]]:
    """A row for what was spent beside the threads that are listed: in those that were removed, or after their end."""
    rest = whole
    for used in those:
        rest = evolve(
            rest,
            input_tokens=rest.input_tokens - used.input_tokens,
            output_tokens=rest.output_tokens - used.output_tokens,
            cost_usd=rest.cost_usd - used.cost_usd,
            model_calls=rest.model_calls - used.model_calls,
            messages=rest.messages - used.messages,
        )
    left = (rest.input_tokens, rest.output_tokens, rest.cost_usd, rest.model_calls, rest.messages)
    return [_row("(removed, or after the end)", evolve(rest, estimated=False))] if any(left) else []


def _row(name: str, used: Usage) -> tuple[str, ...]:
    about = "~" if used.estimated else ""
    return (
        cut(one_line(name), _WIDEST),
        f"{used.model_calls:,}",
        f"{about}{used.input_tokens:,}",
        f"{about}{used.output_tokens:,}",
        money(used.cost_usd),
        f"{used.messages:,}",
    )


def _figures(used: Usage) -> dict[str, object]:
    """A sum as JSON; how long each thread took does not add up to anything."""
    return {key: value for key, value in used.as_json().items() if key != "seconds"}
