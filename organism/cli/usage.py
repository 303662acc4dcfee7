"""``organism usage``: what was spent, by whom or by what, also in threads that were removed; or the model calls of threads, a row each."""

from __future__ import annotations

import json as jsons
import math
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime, timedelta
from operator import attrgetter
from typing import TYPE_CHECKING, Annotated, Final, Literal

from cyclopts import Parameter

from organism.budget.claims import CALLS, MESSAGES, TOKENS
from organism.cli.account_limits import ALL, NO_LIMITS, limits_of, limits_table
from organism.cli.arguments import Given, moment
from organism.cli.journals import HERE, Damage, InJournal
from organism.cli.reading import meant
from organism.cli.report import ESTIMATE, UNPRICED
from organism.cli.tables import SPENT, cell, csv_line, money, spent_cells, table
from organism.cli.text import one_line
from organism.errors import ConfigurationError
from organism.journal.codec import decode_entry
from organism.journal.standing import Standing
from organism.names import counted, suggestion
from organism.record.calls import COLUMNS, call_rows
from organism.usage import Tally, Usage, pico
from organism.works.rows import rows_in

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    from organism.cli.account_limits import AccountLimits
    from organism.cli.reading import Meant
    from organism.cli.streams import Streams
    from organism.journal import Journal
    from organism.record.calls import CallRow
    from organism.usage import Spending

_NONE: Final = ""
"""What is counted under nothing: no name of anything, as `-` is one of a conversation or a label."""
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_LABEL: Final = "label:"
_OF_THREADS: Final = ("thread", "conversation")
"""What no sum is kept of, since there is no end to them: it is added up of the threads that are there."""
Form = Literal["table", "json", "csv"]
Way = Callable[["Spending"], Iterable[str]]
"""What a row of the ledger is counted under: nothing, one name, or several."""
_WAYS: Final[Mapping[str, Way]] = {
    "handler": lambda row: (row.handler,),
    "model": lambda row: (row.model,),
    "backend": lambda row: (row.backend,),
    "account": lambda row: row.accounts,
    "tag": lambda row: row.tags,
    "day": lambda row: (f"{_EPOCH + timedelta(hours=row.hour):%Y-%m-%d}",),
}


def usage(
    thread: Annotated[
        str | None,
        Parameter(
            name="THREAD",
            help="With --calls: only the calls of this thread and those below it, of a conversation, or of the 'latest'.",
        ),
    ] = None,
    /,
    *,
    by: Annotated[
        str | None,
        Parameter(
            metavar="WHAT",
            help="handler (the default), thread, conversation, model, backend, account, day, tag, or label:KEY.",
        ),
    ] = None,
    since: Annotated[
        str | None,
        Parameter(
            allow_leading_hyphen=True,
            metavar="DATE",
            help="Only what was spent since the hour of this time: 2026-11-01, with a time (UTC), or an age: 30d, 12h.",
        ),
    ] = None,
    calls: Annotated[
        bool, Parameter(help="A row for each model call instead: its cost, and what its handler had been told by then.")
    ] = False,
    json: Annotated[bool, Parameter(help="JSON lines: one object per row, none for the sum.")] = False,
    csv: Annotated[
        bool, Parameter(help="Comma-separated values, with a header line: one line per row, none for the sum.")
    ] = False,
    where: InJournal = HERE,
    streams: Given,
) -> int:
    """Shows what was spent, also by threads that were removed since. Days are in UTC.

    Example: organism usage --by model --since 30d
    """
    _check(thread, by, since, calls=calls, json=json, csv=csv)
    form: Form = "json" if json else "csv" if csv else "table"
    by = by or "handler"
    first = -math.inf if since is None else moment("--since", since, now=datetime.now(UTC)) // 3600
    if calls:
        with where.opened() as found:
            tell_calls(found, thread, form, streams)
        return 0
    way = None if by in _OF_THREADS else _way(by)
    with where.opened() as found:
        damage = Damage()
        threads = _by_thread(found, by, damage) if way is None else {}  # first: no thread may have spent more than all
        every = list(found.spendings())
        spent = [row for row in every if row.hour >= first]
        whole, rows = _sum(spent), threads if way is None else by_key(spent, way)
        limits = limits_of(where.file, every, streams) if by == "account" else ()
    if form == "table":
        _tell(rows, whole, by, streams, limits)
    else:
        _tell_programs(rows, by, form, streams, limits)
    return damage.told(streams)


def _tell_programs(
    rows: Mapping[str, Tally], by: str, form: Form, streams: Streams, limits: Sequence[AccountLimits]
) -> None:
    """One object or one line for each row; accounts that have spent nothing have one for their limits."""
    by_name = {each.account: each for each in limits if each.account is not None}
    if form == "csv":
        stands = NO_LIMITS.as_cells() if by == "account" else {}
        streams.result(csv_line((by, *figures_of(Usage()), *stands)))
    for name in dict.fromkeys((*rows, *by_name)):
        used, key = rows.get(name, Tally()), name or None
        if form == "json":
            beside = by_name[name].as_json() if name in by_name else {}
            streams.result(jsons.dumps({by: key, "usage": figures_of(used.usage()), **beside}))
        else:
            stands = by_name.get(name, NO_LIMITS).as_cells() if by == "account" else {}
            streams.result(csv_line((key, *figures_of(used.usage()).values(), *stands.values())))


def _tell(rows: Mapping[str, Tally], whole: Tally, by: str, streams: Streams, limits: Sequence[AccountLimits]) -> None:
    lines = [(cell(by), *SPENT), *(row_of(name, used.usage()) for name, used in rows.items())]
    if by in _OF_THREADS:
        lines += _beside(rows.values(), whole)
    streams.result("\n".join(table([*lines, row_of(ALL, whole.usage())], right=range(1, 6))))
    for note in _notes(rows.values(), whole, by):
        streams.result(note)
    if limits:
        streams.result("")
        streams.result("\n".join(limits_table(limits)))


def _check(thread: str | None, by: str | None, since: str | None, *, calls: bool, json: bool, csv: bool) -> None:
    if thread is not None and not calls:
        raise ConfigurationError(
            [f"organism usage {one_line(thread)}: THREAD needs --calls; for a sum of each thread use --by thread"]
        )
    if by is not None and calls:
        raise ConfigurationError(
            [f"organism usage --by {one_line(by)}: cannot go with --calls, which lists single calls"]
        )
    if since is not None and (calls or by in _OF_THREADS):
        beside = "--calls" if calls else f"--by {by}"
        raise ConfigurationError([f"organism usage --since {one_line(since)}: cannot go with {beside}"])
    if csv and json:
        raise ConfigurationError(["organism usage: --json and --csv cannot go together"])


def _way(by: str) -> Way:
    if by in _WAYS:
        return _WAYS[by]
    if by.startswith(_LABEL) and by != _LABEL:
        key = by.removeprefix(_LABEL)
        return lambda row: (row.labels.get(key, _NONE),)
    hint = "; name its key" if by == _LABEL else suggestion(by, [*_OF_THREADS, *_WAYS, _LABEL])
    raise ConfigurationError(
        [f"--by {one_line(by)}: is not known{hint}; there are: {', '.join((*_OF_THREADS, *_WAYS))}, label:KEY"]
    )


def by_key(spendings: Iterable[Spending], key: Way) -> dict[str, Tally]:
    """The sums of what was spent, by what ``key`` says, in the order of the names; what has several counts under each."""
    tallies: dict[str, Tally] = {}
    for row in spendings:
        if row.tells is not None:
            continue
        for name in tuple(key(row)) or (_NONE,):
            tally = tallies.setdefault(name, Tally())
            tally.add(row.amounts, row.details, estimated=row.estimated, unpriced=row.unpriced)
    return {name: tallies[name] for name in sorted(tallies)}


def _by_thread(journal: Journal, by: str, damage: Damage) -> dict[str, Tally]:
    """What each root thread spent, or each conversation in its turns; in the order in which they began."""
    tallies: dict[str, Tally] = {}
    rows = {row.result.thread: row for row in rows_in(journal, damage, owned=False)}
    for row in sorted(rows.values(), key=attrgetter("place")):
        name = row.result.thread if by == "thread" else row.conversation or _NONE
        with damage:
            own = tally_of(row.result.usage) if row.origin is None else _of_fork(journal, row.chain)
            tallies.setdefault(name, Tally()).take_in(own)
    return tallies


def _of_fork(journal: Journal, chain: str) -> Tally:
    """What a fork spent itself: in its own figures is what was copied too, which its origin spent."""
    standing = Standing(chain)
    for fact in map(decode_entry, journal.documents(chain)):
        standing.apply(fact)
    return _sum(standing.spent.rows())


def tally_of(used: Usage) -> Tally:
    """What was spent as a sum that more can be added to."""
    tally = Tally()
    amounts = (used.tokens, used.input_tokens, used.output_tokens, pico(used.cost_usd), used.model_calls, used.messages)
    tally.add(
        amounts,
        (used.cache_read_tokens, used.cache_write_tokens, used.reasoning_tokens),
        estimated=used.estimated,
        unpriced=bool(used.unpriced),
    )
    return tally


def _sum(spendings: Iterable[Spending]) -> Tally:
    return by_key(spendings, lambda _: ("",)).get("", Tally())


def _beside(those: Iterable[Tally], whole: Tally) -> list[tuple[str, ...]]:
    """A row for what was spent beside the threads that are listed: in those that were removed or are damaged, or after their end."""
    rest = Tally()
    rest.amounts = [
        have - sum(some) for have, *some in zip(whole.amounts, *(each.amounts for each in those), strict=True)
    ]
    return [row_of("(removed, damaged, or after the end)", rest.usage())] if any(rest.amounts) else []


def row_of(name: str, used: Usage) -> tuple[str, ...]:
    """A row of a table, with the columns of :data:`~organism.cli.tables.SPENT` behind the name."""
    return (cell(name or "-"), *spent_cells(used))


def _notes(rows: Collection[Tally], whole: Tally, by: str) -> Iterator[str]:
    if by in {"account", "tag"} and sum(tally.amounts[CALLS] + tally.amounts[MESSAGES] for tally in rows) > (
        whole.amounts[CALLS] + whole.amounts[MESSAGES]
    ):
        yield f"what has several {by}s counts under each of them, so the rows add up to more than 'all'"
    if by == "backend" and sum(any(tally.amounts[each] for each in (TOKENS, CALLS)) for tally in rows) > 1:
        yield "a call counts under the backend that was tried first, its tokens under the one that charged them"
    yield from gaps(whole.usage())


def gaps(used: Usage) -> Iterator[str]:
    """What a table says below a sum that is no exact one."""
    if used.estimated:
        yield ESTIMATE
    if used.unpriced:
        yield UNPRICED


def figures_of(used: Usage) -> dict[str, object]:
    """A sum as JSON; how long each thread took does not add up to anything."""
    return {key: value for key, value in used.as_json().items() if key != "seconds"}


_CALLS: Final = ("thread", "handler", "model", "outcome", "need", "tokens", "cost USD", "nearest limit", "was told")
_WIDE: Final = 20


def tell_calls(journal: Journal, thread: str | None, form: Form, streams: Streams) -> None:
    """Prints the calls of a thread with those below it, or of all. Raises ConfigurationError where that thread is not there."""
    found = None if thread is None else meant(journal, thread).told(streams)
    rows = _calls_of(journal, found)
    if form == "json":
        for row in rows:
            streams.result(jsons.dumps(row.as_json()))
    elif form == "csv":
        streams.result(csv_line(COLUMNS))
        for row in rows:
            streams.result(csv_line(row.as_json().values()))
    else:
        lines = [_call_line(row) for row in rows]
        streams.result("\n".join(table([_CALLS, *lines], right=(4, 5, 6))) if lines else "no model calls")


def _calls_of(journal: Journal, found: Meant | None) -> Iterator[CallRow]:
    """Chain by chain, the oldest first."""
    for chain in journal.chains() if found is None else (found.chain,):
        facts = ((each["n"], decode_entry(each)) for each in journal.documents(chain.root))
        for row in call_rows(facts):
            if found is None or found.thread in {chain.root, row.thread} or row.thread.startswith(f"{found.thread}."):
                yield row


def _call_line(row: CallRow) -> tuple[str, ...]:
    about = "~" if row.estimated else ""
    near = (
        "-"
        if row.nearest_unit is None
        else f"{row.nearest_remaining:,} of {row.nearest_limit:,} {row.nearest_unit} ({row.nearest_scope})"
    )
    told = "-" if row.told_level is None else f"{row.told_level}, {row.told_unit}, {_ago(row.told_calls_ago or 0)}"
    return (
        *(cell(name or "-", _WIDE) for name in (row.thread, row.handler, row.model)), row.outcome,
        "-" if row.need_tokens is None else f"{row.need_tokens:,}", f"{about}{row.tokens:,}",
        "?" if row.cost_usd is None else money(row.cost_usd), near, told,
    )  # fmt: skip


def _ago(calls: int) -> str:
    return f"{counted(calls, 'call')} ago" if calls else "before this call"
