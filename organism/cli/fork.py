"""``organism fork``: a thread's first entries in a thread of its own, which goes on another way."""

from __future__ import annotations

import secrets
from itertools import islice
from typing import TYPE_CHECKING, Annotated, Any

from attrs import evolve
from cyclopts import Parameter

from organism.cli.arguments import DEFAULT_FILE, WHOLE, Debug, Given, Labels, pairs
from organism.cli.journals import OfFile, check_there, opened
from organism.cli.reading import meant
from organism.cli.running import PLAIN, OfRun
from organism.cli.tables import counted
from organism.cli.text import one_line
from organism.errors import ConfigurationError
from organism.journal.codec import decode_entry
from organism.organism import Organism
from organism.payloads import Vocabulary
from organism.replay.forking import ForkError, fork_in
from organism.settings import BudgetSettings, laid_over
from organism.works.vocabulary import payload_classes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from organism.journal import Journal
    from organism.settings import Settings

_BUDGET = "budget."


def fork(
    thread: Annotated[
        str,
        Parameter(
            name="THREAD", help="A thread's id, or as much of its beginning as tells it; no turn of a conversation."
        ),
    ],
    /,
    file: OfFile = DEFAULT_FILE,
    *,
    at: Annotated[
        int | None,
        WHOLE,
        Parameter(help="How many entries are copied, as 'log' numbers them; all but the end without it."),
    ] = None,
    label: Labels = (),
    options: OfRun = PLAIN,
    debug: Debug = False,
    streams: Given,
) -> int:
    """Copies the first entries of a thread into a thread of its own, goes on with that to its end, and prints what 'run' prints.

    The copy gives the answers that it holds: they are not paid for again. --set changes what follows; keys of 'budget' change
    the fork's own limits. --label changes its labels, which are else those of the thread. Exits as 'run' does.
    """
    options.check()
    labels = pairs("--label", label)
    check_there(file, options.named)
    settings = options.settings(file, streams)
    new = secrets.token_hex(8)
    with opened(file, options.named, readonly=False) as found:
        root = _root(found, thread)
        _check_classes(found, root, at, settings)
        budget = _changed(settings.budget, options.pairs)
        try:
            count = fork_in(found, root, new, entries=at, budget=budget, labels=labels)
        except ForkError as error:
            raise ConfigurationError([f"{'fork' if at is None else f'--at {at}'}: {one_line(str(error))}"]) from error
    streams.note(f"forked: thread {new} goes on from {counted(count, 'entry')} of {one_line(root)}")
    return options.run(Organism.of(settings), options.orders(file, only=new), streams, debug=debug)


def _check_classes(found: Journal, root: str, at: int | None, settings: Settings) -> None:
    """Raises JournalError where the payload classes of the file cannot read what is copied: with those nothing could go on with it."""
    words = Vocabulary(payload_classes(settings))
    for entry in islice(found.documents(root), None if at is None else max(at, 0)):
        decode_entry(entry, words)


def _root(found: Journal, thread: str) -> str:
    those = meant(found, thread)
    if those.thread != those.chain.root:
        raise ConfigurationError(
            [
                f"thread '{one_line(those.thread)}' is a part of {one_line(those.chain.root)}: only threads of their own can be forked"
            ]
        )
    return those.thread


def _changed(budget: BudgetSettings, sets: Iterable[str]) -> Callable[[BudgetSettings], BudgetSettings]:
    """What lays the keys of ``budget`` that the command line names over a thread's limits."""
    keys = {key.removeprefix(_BUDGET).partition(".")[0] for key in sets if key.startswith(_BUDGET)}
    policy: dict[str, Any] = {key: getattr(budget, key) for key in keys if key != "limits" and hasattr(budget, key)}
    over = evolve(BudgetSettings(limits=budget.limits), **policy)
    return lambda base: laid_over(base, over, keys) if keys else base


__all__ = ["fork"]
