"""``organism fork``: a thread's first entries copied into a new thread, which continues differently."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

from attrs import asdict
from cyclopts import Parameter

from organism.cli.arguments import DEFAULT_FILE, WHOLE, Debug, Given, Labels, pairs
from organism.cli.conduct import Fork
from organism.cli.journals import OfFile, check_there, opened
from organism.cli.reading import meant
from organism.cli.running import PLAIN, OfRun
from organism.organism import Organism

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from organism.settings import BudgetSettings

_BUDGET = "budget."


def fork(
    thread: Annotated[
        str,
        Parameter(name="THREAD", help="A thread's id or a unique prefix of it; not a turn of a conversation."),
    ],
    /,
    file: OfFile = DEFAULT_FILE,
    *,
    at: Annotated[
        int | None,
        WHOLE,
        Parameter(
            help="How many entries to copy, as 'log' numbers them; by default all but those that ended the thread."
        ),
    ] = None,
    label: Labels = (),
    options: OfRun = PLAIN,
    debug: Debug = False,
    streams: Given,
) -> int:
    """Copies the first entries of a thread into a new thread, and continues that to its end. Prints and exits as 'run' does.

    Calls whose answers were copied are not paid for again. --set changes what follows; keys of 'budget' change the fork's own
    limits. --label adds to its labels, or replaces one; by default they are those of the original thread.
    """
    options.check()
    labels = pairs("--label", label)
    check_there(file, options.named)
    settings = options.settings(file, streams)
    with opened(file, options.named) as found:
        origin = meant(found, thread).thread
    fork = Fork(thread=origin, at=at, budget=_said(settings.budget, options.pairs), labels=labels)
    return options.run(Organism.of(settings), options.orders(file, fork=fork), streams, debug=debug)


def _said(budget: BudgetSettings, sets: Iterable[str]) -> Mapping[str, Any]:
    """What the keys of ``budget`` come to that the command line names."""
    named = {key.removeprefix(_BUDGET).partition(".")[0] for key in sets if key.startswith(_BUDGET)}
    policy = asdict(budget)
    return {key: value for key, value in (policy.pop("limits") | policy).items() if key in named}
