"""``organism replay`` and ``organism fork``: a thread's handlers run again on the recorded answers, and the first difference; or a thread's first
entries copied into a new thread, which continues differently.
"""

from __future__ import annotations

from contextlib import redirect_stdout
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any, Final

from attrs import asdict
from cyclopts import Parameter

from organism.cli.arguments import DEFAULT_FILE, WHOLE, AsFile, Given, Labels, pairs
from organism.cli.conduct import Job
from organism.cli.exit_codes import FAILED
from organism.cli.journals import OfThread, Where
from organism.cli.log_lines import logging_to
from organism.cli.options import PLAIN, OfRun, OverWithJournal
from organism.cli.reading import meant
from organism.cli.run import Id, checked_thread_id
from organism.cli.running import run_of
from organism.cli.text import harmless, one_line
from organism.names import counted
from organism.organism import Organism

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from organism.results import Difference, Replayed
    from organism.settings import BudgetSettings

_NOTHING_OVER: Final = OverWithJournal()
_LIMITS: Final = frozenset({"budget", "conversation", "ceiling", "accounts"})


def replay(
    thread: OfThread,
    /,
    file: AsFile = DEFAULT_FILE,
    *,
    over: Annotated[OverWithJournal, Parameter(name="*")] = _NOTHING_OVER,
    streams: Given,
) -> int:
    """Runs the handlers of a thread again, as they are now, on the answers that the journal holds; writes nothing, calls no model.

    Prints the first difference in what a handler asks or answers, and exits with 1; exits with 0 if there is none. Side effects
    that handlers have outside of the organism happen again.

    Example: organism replay latest
    """
    organism = Organism.of(over.settings(file, streams))
    with Where(file=file, journal=over.journal).opened() as found:
        chain = meant(found, thread).told(streams).chain
    with logging_to(streams, verbose=False, debug=over.debug), redirect_stdout(streams.err):
        result = organism.replay(chain.root)
    if limits := [key for key in over.pairs if _is_of_limits(key)]:
        kept = f"note: a replay keeps the limits and warnings of the record, whatever {', '.join(map(one_line, limits))} says"
        streams.note(f"{kept}; 'organism fork' continues a copy of a thread with others")
    for handler, why in result.unsure:
        streams.note(f"note: a delivery to '{handler}' ended differently, and could not be compared: {one_line(why)}")
    compared = f"{counted(result.deliveries, 'delivery')} and {counted(result.calls, 'model call')} compared"
    if not result.differences:
        streams.result(f"the same: {compared}")
        return 0
    streams.result("\n".join(_told(result, compared)))
    return FAILED


def _is_of_limits(key: str) -> bool:
    """Whether a key of organism.yaml is of those that a replay has from the record."""
    top, *rest = key.split(".")
    return top in _LIMITS or (top == "handlers" and rest[1:2] == ["budget"])


def _told(result: Replayed, compared: str) -> list[str]:
    first: Difference = result.differences[0]
    where = f"entry {first.entry}, message {first.message} of thread {one_line(first.thread)}"
    return [
        f"different: {counted(len(result.differences), 'delivery')} of {compared}; the first:",
        f"'{first.handler}' ({where}): {first.what}",
        f"  recorded: {one_line(harmless(first.recorded))}",
        f"  now:      {one_line(harmless(first.now))}",
    ]


_BUDGET = "budget."


def fork(
    thread: Annotated[
        str,
        Parameter(
            name="THREAD", help="A thread's id or a unique prefix of it, or 'latest'; not a turn of a conversation."
        ),
    ],
    /,
    file: AsFile = DEFAULT_FILE,
    *,
    at: Annotated[
        int | None,
        WHOLE,
        Parameter(
            help="How many entries to copy, as 'log' numbers them; by default all but those that ended the thread."
        ),
    ] = None,
    label: Labels = (),
    id: Id = None,  # noqa: A002 - the option's name
    options: OfRun = PLAIN,
    streams: Given,
) -> int:
    """Copies the first entries of a thread into a new thread, and continues that to its end. Prints and exits as 'run' does.

    Calls whose answers were copied are not paid for again. --set changes what follows; keys of 'budget' change the fork's own
    limits. --label adds to its labels, or replaces one; by default they are those of the original thread.

    Example: organism fork latest --at 12 --set budget.tokens=50000
    """
    labels = pairs("--label", label)
    where = Where(file=file, journal=options.pairs.get("journal"))
    where.check_there()
    settings = options.checked(file, streams)
    with where.opened() as found:
        origin = meant(found, thread).told(streams, id_=id).thread
    checked_thread_id(id, settings)
    organism = Organism.of(settings)
    fork = partial(organism.fork, origin, at=at, budget=_said(settings.budget, options.pairs), labels=labels, id=id)
    return run_of(organism, Job(file=file, options=options, fork=fork, id=id), streams)


def _said(budget: BudgetSettings, sets: Iterable[str]) -> Mapping[str, Any]:
    """What the keys of ``budget`` come to that the command line names."""
    named = {key.removeprefix(_BUDGET).partition(".")[0] for key in sets if key.startswith(_BUDGET)}
    policy = asdict(budget)
    return {key: value for key, value in (policy.pop("limits") | policy).items() if key in named}
