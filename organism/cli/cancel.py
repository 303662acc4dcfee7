"""``organism cancel``: a thread ends, with all below it."""

from __future__ import annotations

from organism.cli.arguments import DEFAULT_FILE, Debug, Given
from organism.cli.journals import OfFile, OfJournal, OfThread  # noqa: TC001 - cyclopts reads annotations
from organism.cli.orders import ordered


def cancel(
    thread: OfThread,
    /,
    *,
    file: OfFile = DEFAULT_FILE,
    journal: OfJournal = None,
    debug: Debug = False,  # noqa: ARG001 - main reads it
    streams: Given,
) -> int:
    """Cancels a thread with all below it: what is out settles, then it ends 'cancelled'.

    A process that works on the journal does it; where there is none, it is written into the journal.
    """
    return ordered("cancel", thread, file, journal, streams)
