"""``organism pause``: a thread stands still until it is resumed."""

from __future__ import annotations

from organism.cli.arguments import DEFAULT_FILE, Debug, Given
from organism.cli.journals import OfFile, OfJournal, OfThread  # noqa: TC001 - cyclopts reads annotations
from organism.cli.orders import ordered


def pause(
    thread: OfThread,
    /,
    *,
    file: OfFile = DEFAULT_FILE,
    journal: OfJournal = None,
    debug: Debug = False,  # noqa: ARG001 - main reads it
    streams: Given,
) -> int:
    """Pauses a thread with all below it: what runs finishes, nothing more is delivered, and its time stands still.

    A process that works on the journal does it; where there is none, it is written into the journal, and holds until the thread is resumed.
    """
    return ordered("pause", thread, file, journal, streams)
