"""What a run came to, for people: replies, what went wrong, and a table of what was spent. ``--json`` is for programs."""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from organism.cli.tables import SPENT, outcome_text, spent_cells, table
from organism.cli.text import cut, harmless, one_line, width_of, wrapped
from organism.payloads import encode_fields
from organism.settings import SPENT_UNITS
from organism.usage import Usage

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from organism.results import ThreadResult

Json: TypeAlias = "dict[str, Json] | list[Json] | str | float | bool | None"

SHOWN_THREADS: Final = 20
"""Sub-threads of one thread that get a row of the table each; the others share one."""

_HEAD: Final = ("thread", "outcome", *SPENT, "seconds")
ESTIMATE: Final = "~ is partly an estimate: a provider did not report its usage, or the process ended before it did"
UNPRICED: Final = "? leaves out calls whose price is unknown: give the backend a 'price'"
"""What is said below a table in which a figure is one, or leaves them out."""
_NOTES: Final = (
    (ESTIMATE, "~", _HEAD.index("tokens in")),
    (UNPRICED, "?", _HEAD.index("cost USD")),
)
_NAME: Final = 44


def reply_text(result: ThreadResult, *, width: int) -> str:
    """The replies of a thread in lines: who said it, the payload's name, its fields; empty without a reply."""
    replies: list[str] = []
    for sender, payload in result.replies:
        head = f"{sender}: {type(payload).__name__}"
        replies.append("\n".join([head, *field_lines(encode_fields(payload), 2, width)]))
    return "\n\n".join(replies)


def partial_text(result: ThreadResult, *, width: int) -> str:
    """The last text of a thread that was exhausted before it answered; empty where there is none."""
    if result.partial is None:
        return ""
    lines = [f"  {line}" for line in wrapped(harmless(result.partial), width - 2)]
    return "\n".join([f"{result.handler}, unfinished", *lines])


def problem_line(result: ThreadResult) -> str | None:
    """One line on how a thread ended that did not complete; ``None`` for one that did."""
    if result.outcome == "completed":
        return None
    why = f": {one_line(result.error)}" if result.error else ""
    if result.outcome == "exhausted":
        came = " answered with what it had" if result.replies else " ended without an answer"
        if why.startswith(": answered "):  # of a last answer on grace, the error says so itself
            came, why = "", why.removeprefix(":")
        return f"exhausted: {result.handler}{came}{why} [thread {result.thread}]"
    code = f" ({result.code})" if result.code and result.code != result.outcome else ""
    return f"{result.outcome}: {result.handler}{code}{why} [thread {result.thread}]"


def field_lines(fields: Mapping[str, Json], indent: int, width: int) -> Iterator[str]:
    """A line for each field, or several: its value stands behind its name where that fits, else below it."""
    for name, value in fields.items():
        head = f"{' ' * indent}{one_line(name)}:"
        block = list(_block(value, indent + 2, width))
        nested = bool(value) and isinstance(value, dict | list)
        behind = f"{head} {block[0].lstrip()}" if len(block) == 1 and not nested else ""
        if behind and width_of(behind) <= width:
            yield behind
        else:
            yield head
            yield from block


def _block(value: Json, indent: int, width: int) -> Iterator[str]:
    """The lines of a value, each ``indent`` columns from the left."""
    if isinstance(value, dict) and value:
        yield from field_lines(value, indent, width)
    elif isinstance(value, list) and value:
        for item in value:
            first, *rest = _block(item, indent + 2, width)
            yield f"{' ' * indent}- {first[indent + 2 :]}"
            yield from rest
    else:
        yield from (f"{' ' * indent}{line}".rstrip() for line in wrapped(harmless(_scalar(value)), width - indent))


def _scalar(value: Json) -> str:
    match value:
        case None:
            return "-"
        case bool():
            return "yes" if value else "no"
        case list() | dict():
            return "none"
        case _:
            return str(value)


# The table


def usage_table(results: Sequence[ThreadResult]) -> str:
    """What the threads spent, their sub-threads indented below them, and the sum where there are several.

    Figures of a thread hold those of its sub-threads. Where a figure is an estimate, its row says so with ``~``, and with ``?`` where it
    leaves out what has no known price.
    """
    rows = [_HEAD, *(row for result in results for row in _rows(result, 0))]
    if len(results) > 1:
        rows.append(_row(f"all {len(results)} threads", _tally(results), _sum(results)))
    notes = [note for note, sign, column in _NOTES if any(sign in row[column] for row in rows)]
    return "\n".join([*table(rows, right=range(2, len(_HEAD))), *notes])


def _rows(result: ThreadResult, depth: int) -> Iterator[tuple[str, ...]]:
    name = f"{'  ' * depth}{result.handler or 'thread'}"
    outcome = outcome_text(result.outcome, result.unit)
    yield _row(name if depth else f"{name} {result.thread}", outcome, result.usage)
    shown, others = result.threads[:SHOWN_THREADS], result.threads[SHOWN_THREADS:]
    for sub in shown:
        yield from _rows(sub, depth + 1)
    if others:
        yield _row(f"{'  ' * (depth + 1)}{len(others)} more", _tally(others), _sum(others))


def _tally(results: Sequence[ThreadResult]) -> str:
    counts = Counter(result.outcome for result in results)
    return (
        next(iter(counts)) if len(counts) == 1 else ", ".join(f"{count} {outcome}" for outcome, count in counts.items())
    )


def _sum(results: Sequence[ThreadResult]) -> Usage:
    spans: defaultdict[str, float] = defaultdict(float)
    for result in results:  # turns of a conversation run one after the other, all else side by side
        if result.conversation is not None:
            spans[result.conversation] += result.usage.seconds
    alone = [result.usage.seconds for result in results if result.conversation is None]
    added: dict[str, Any] = {name: sum(getattr(result.usage, name) for result in results) for name in SPENT_UNITS}
    estimated = any(result.usage.estimated for result in results)
    unpriced = any(result.usage.unpriced for result in results)
    return Usage(**added, seconds=max([*spans.values(), *alone]), estimated=estimated, unpriced=unpriced)


def _row(name: str, outcome: str, usage: Usage) -> tuple[str, ...]:
    return (cut(name, _NAME), outcome, *spent_cells(usage), f"{usage.seconds:.2f}")
