"""``organism study``: the same inputs in several arms of settings, what came of them, and how arms differ."""

from __future__ import annotations

import json as jsons
import os
import signal
from contextlib import redirect_stdout
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import anyio
from cyclopts import Group, Parameter

from organism.cli.arguments import Debug, Given  # noqa: TC001 - cyclopts reads annotations
from organism.cli.conduct import LAST, interrupted
from organism.cli.exit_codes import COMPLETED, FAILED
from organism.cli.interrupts import Interrupts
from organism.cli.log_lines import logging_to
from organism.cli.options import GRACE, OF_GRACE, check_grace
from organism.cli.signals import exit_code
from organism.cli.starting import unless_interrupted
from organism.cli.study_tables import figures, plan
from organism.cli.study_usage import spent_lines
from organism.cli.tables import csv_line, money, outcome_text
from organism.cli.text import one_line
from organism.cli.threads import COLUMNS, flat
from organism.errors import ConfigurationError
from organism.lab import check_same, found, load, run
from organism.models.readiness import BackendChecks
from organism.names import counted
from organism.record.calls import COLUMNS as OF_CALLS

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from organism.cli.streams import Streams
    from organism.lab import Cell, Found, Ran, Study
    from organism.results import ThreadResult

_HEAD: Final = ("study", "arm", "input", "repeat", "attempt", "missing", "set")
_WARNED_AT: Final = "warned_at"
DEFAULT: Final = Path("study.yaml")
OfStudy = Annotated[
    Path,
    Parameter(
        name="--file",
        metavar="FILE",
        group=Group.create_default_arguments(),
        help="The study's file; study.yaml by default.",
    ),
]


def study(
    file: OfStudy = DEFAULT,
    *,
    dry_run: Annotated[bool, Parameter(help="Say what would be run and what it may cost, and run nothing.")] = False,
    report: Annotated[bool, Parameter(help="Run nothing: only what there is already.")] = False,
    csv: Annotated[bool, Parameter(help="Comma-separated values, with a header line: a line for each thread.")] = False,
    json: Annotated[bool, Parameter(help="JSON lines: an object for each thread.")] = False,
    calls: Annotated[bool, Parameter(help="With --csv or --json: a row for each model call instead.")] = False,
    usage: Annotated[
        bool, Parameter(help="What was spent instead, by arm, handler and model; the warm-up and missing threads too.")
    ] = False,
    quiet: Annotated[bool, Parameter(help="Print only the results.")] = False,
    grace: Annotated[float, OF_GRACE] = GRACE,
    debug: Debug = False,
    streams: Given,
) -> int:
    """Runs each input in each arm of a study, and shows what came of it: sums by arm with intervals, and differences between arms.

    What has a result already is not run again, and what was interrupted is continued: so run it again after Ctrl-C, a crash, or an outage.
    Exits with 0 if all threads have a result, and with 1 if some are missing.

    Example: organism study study.yaml --dry-run
    """
    _check(dry_run=dry_run, report=report, csv=csv, json=json, calls=calls, usage=usage)
    check_grace(grace)
    with redirect_stdout(streams.err):  # what the user's modules print while they are imported
        read = load(file, environ=dict(os.environ), checks=BackendChecks(dict(os.environ), datetime.now(UTC)))
    try:
        check_same(read)
    except ConfigurationError as error:
        if not report:
            raise
        streams.note(f"note: {one_line(str(error))}")
    there = found(read)
    if dry_run:
        streams.result("\n".join(plan(read, there)))
        return COMPLETED
    ran: Ran | None = None
    if not report:
        with logging_to(streams, verbose=False, debug=debug), redirect_stdout(streams.err):
            came = _run(read, there, streams, quiet=quiet, grace=grace)
        if isinstance(came, int):
            return came
        ran = came
        there = found(read)
    results = [there[cell] for cell in _in_order(read) if cell in there]
    if usage:
        streams.result("\n".join(spent_lines(read, csv=csv, json=json)))
    elif csv or json:
        for line in _lines(read, results, calls=calls, csv=csv):
            streams.result(line)
    else:
        streams.result("\n".join(figures(read, results)))
    return _told(read, results, ran, streams)


def _check(*, dry_run: bool, report: bool, csv: bool, json: bool, calls: bool, usage: bool) -> None:
    wrong: list[str] = []
    if csv and json:
        wrong.append("organism study: --json and --csv cannot go together")
    if dry_run and report:
        wrong.append("organism study: --dry-run and --report cannot go together")
    if usage and (calls or dry_run):
        other = "--calls" if calls else "--dry-run"
        wrong.append(f"organism study: --usage and {other} cannot go together")
    if calls and not (csv or json):
        wrong.append("organism study --calls: needs --csv or --json")
    if wrong:
        raise ConfigurationError(wrong)


def _run(study: Study, there: Mapping[Cell, Found], streams: Streams, *, quiet: bool, grace: float) -> Ran | int:
    """Runs what is left of it, a line on standard error for each thread; the exit code where a signal ended that."""
    if not quiet:
        notes = dict.fromkeys(note for arm in study.arms for note in arm.settings.notes)
        for line in (*plan(study, there), *(f"note: {note}" for note in notes)):
            streams.note(line)
    left = len(study.cells) - sum(each.missing is None for each in there.values())
    number = 0

    def ended(cell: Cell, result: ThreadResult | None, missing: str | None) -> None:
        nonlocal number
        number += not cell.warms_up
        which = f"{cell.home}: input {cell.input}" + ("" if cell.warms_up else f", repeat {cell.repeat}")
        if missing is not None:
            streams.note(one_line(f"missing: {which}: {missing}"))
        elif not quiet:
            done = "" if cell.warms_up else f"{number} of {left}: "
            streams.note(f"{done}{which}: {_said(result)}")

    async def main() -> Ran | None:
        return await unless_interrupted(
            lambda: run(study, ended=ended, grace=grace),
            interrupts,
            came=lambda: streams.note(interrupted(grace, lasts=True)),
        )

    with Interrupts(streams.clear, at_most=grace + LAST) as interrupts:
        ran = anyio.run(main, backend=study.arms[0].settings.runtime)
    if ran is None:
        streams.note("the study is not over: run it again, and it goes on from here")
        return exit_code(interrupts.number or signal.SIGINT)
    return ran


def _said(result: ThreadResult | None) -> str:
    assert result is not None  # noqa: S101 - what is not missing has one
    spent = f"{counted(result.usage.model_calls, 'call')}, {counted(result.usage.tokens, 'token')}"
    return f"{outcome_text(result.outcome, result.unit)}, {spent}, {money(result.usage.cost_usd)} USD"


def _in_order(study: Study) -> list[Cell]:
    """Its cells by arm, input and repeat, as a table has them."""
    place = {arm.name: number for number, arm in enumerate(study.arms)}
    return sorted(study.cells, key=lambda cell: (place[cell.arm], cell.input, cell.repeat))


def _lines(study: Study, results: Sequence[Found], *, calls: bool, csv: bool) -> Iterator[str]:
    """A row for each thread, or for each call: what the study knows of it, and then what ``threads`` and ``usage --calls`` have."""
    if csv:
        yield csv_line((*_HEAD, *(OF_CALLS if calls else (*COLUMNS, _WARNED_AT))))
    for each in results:
        cell = each.cell
        values = (study.name, cell.arm, cell.input, cell.repeat, each.attempt, each.missing, study.arm(cell.arm).sets)
        head: dict[str, Any] = dict(zip(_HEAD, values, strict=True))
        of_thread = [] if calls else [_cells(each) if csv else each.row.as_json()]
        rows = [row.as_json() for row in each.calls] if calls else of_thread
        for row in rows:
            yield csv_line((*head.values(), *row.values())) if csv else jsons.dumps({**head, **row})


def _cells(each: Found) -> dict[str, Any]:
    """What ``threads --csv`` says of a thread, and how much was used of its unit when each warning was raised."""
    return {**flat(each.row), _WARNED_AT: [warned["used"] for warned in each.row.as_json()["warnings"]]}


def _told(study: Study, results: Sequence[Found], ran: Ran | None, streams: Streams) -> int:
    """Says what is missing; returns the exit code."""
    lacking = len(study.cells) - sum(each.missing is None for each in results)
    if ran is not None and ran.stopped is not None:
        streams.note(f"stopped: {one_line(ran.stopped)}")
    for each in results:
        if each.result.outcome == "paused":
            streams.note(
                f"{one_line(each.result.thread)} waits: see 'organism inbox --journal sqlite:{one_line(str(each.journal))}'"
            )
    if lacking:
        verb = "is" if lacking == 1 else "are"
        streams.note(
            f"{counted(lacking, 'thread')} of {len(study.cells)} {verb} missing; 'organism study' runs what is left"
        )
    return FAILED if lacking else COMPLETED
