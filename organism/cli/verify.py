"""``organism verify``: whether every entry of a journal is as it was written."""

from __future__ import annotations

from typing import Final

from organism.cli.arguments import DEFAULT_FILE, Debug, Given
from organism.cli.journals import OfFile, OfJournal, opened
from organism.cli.tables import counted
from organism.cli.text import one_line

DAMAGED: Final = 5


def verify(
    *,
    file: OfFile = DEFAULT_FILE,
    journal: OfJournal = None,
    debug: Debug = False,  # noqa: ARG001 - main reads it
    streams: Given,
) -> int:
    """Checks the chains of a journal, and names the first bad entry of each that is damaged.

    Exits with 0 where all are sound, else with 5. That entries are missing at the end of a chain cannot be found.
    """
    sound = entries = damaged = 0
    with opened(file, journal) as found:
        for chain in found.chains():
            problem = found.verify(chain.root)
            if problem is None:
                sound, entries = sound + 1, entries + chain.entries
            else:
                damaged += 1
                streams.result(f"thread {one_line(chain.root)}: {one_line(problem)}")
    about = f"{counted(sound, 'thread')} with {counted(entries, 'entry')}"
    if damaged:
        streams.result(f"{counted(damaged, 'thread')} damaged; sound: {about}")
        return DAMAGED
    streams.result(f"sound: {about}")
    return 0
