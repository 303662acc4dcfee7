"""``organism replay``: a thread's handlers run again on the recorded answers, and the first difference."""

from __future__ import annotations

from contextlib import redirect_stdout
from typing import TYPE_CHECKING

from organism.cli.arguments import DEFAULT_FILE, Debug, Given, Sets, pairs
from organism.cli.check import checked
from organism.cli.codes import FAILED
from organism.cli.journals import OfFile, OfJournal, OfThread, opened
from organism.cli.logs import logging_to
from organism.cli.reading import meant
from organism.cli.running import by_journal
from organism.cli.tables import counted
from organism.cli.text import harmless, one_line
from organism.organism import Organism

if TYPE_CHECKING:
    from organism.results import Difference, Replayed


def replay(
    thread: OfThread,
    /,
    file: OfFile = DEFAULT_FILE,
    *,
    set: Sets = (),  # noqa: A002 - the option's name
    journal: OfJournal = None,
    debug: Debug = False,
    streams: Given,
) -> int:
    """Runs the handlers of a thread again, as they are now, on the answers that the journal holds; writes nothing, calls no model.

    Prints the first difference in what a handler asks or answers, and exits with 1; exits with 0 if there is none. Side effects
    that handlers have outside of the organism happen again.
    """
    over = pairs("--set", set) | ({} if journal is None else {"journal": journal})
    organism = Organism.of(checked(file, over, streams, written=by_journal if journal else "--set {}".format))
    with opened(file, journal) as found:
        chain = meant(found, thread).chain
    with logging_to(streams, verbose=False, debug=debug), redirect_stdout(streams.err):
        result = organism.replay(chain.root)
    for handler, why in result.unsure:
        streams.note(f"note: a delivery to '{handler}' came out otherwise, and could not be compared: {one_line(why)}")
    compared = f"{counted(result.deliveries, 'delivery')} and {counted(result.calls, 'model call')} compared"
    if not result.differences:
        streams.result(f"the same: {compared}")
        return 0
    streams.result("\n".join(_told(result, compared)))
    return FAILED


def _told(result: Replayed, compared: str) -> list[str]:
    first: Difference = result.differences[0]
    where = f"entry {first.entry}, message {first.message} of thread {one_line(first.thread)}"
    return [
        f"different: {counted(len(result.differences), 'delivery')} of {compared}; the first:",
        f"'{first.handler}' ({where}): {first.what}",
        f"  recorded: {one_line(harmless(first.recorded))}",
        f"  now:      {one_line(harmless(first.now))}",
    ]
