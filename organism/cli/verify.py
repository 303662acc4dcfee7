"""``organism verify``: whether a journal is as it was written."""

from __future__ import annotations

from organism.cli.arguments import DEFAULT_FILE, Debug, Given
from organism.cli.codes import DAMAGED
from organism.cli.journals import OfFile, OfJournal, opened
from organism.cli.tables import counted
from organism.cli.text import one_line


def verify(
    *,
    file: OfFile = DEFAULT_FILE,
    journal: OfJournal = None,
    debug: Debug = False,  # noqa: ARG001 - main reads it
    streams: Given,
) -> int:
    """Checks the entries of a journal and what it keeps beside them, and names the first flaw of each damaged thread.

    Exits with 0 if all is sound, else with 5. What removed threads spent cannot be checked: their entries are gone.
    """
    with opened(file, journal) as found:
        flaws = found.flaws()
        damaged = {root for root, _ in flaws if root is not None}
        sound = [chain.entries for chain in found.chains() if chain.root not in damaged]
    for root, problem in flaws:
        streams.result(one_line(problem) if root is None else f"thread {one_line(root)}: {one_line(problem)}")
    about = f"{counted(len(sound), 'thread')} with {counted(sum(sound), 'entry')}"
    if flaws:
        streams.result(f"{counted(len(damaged), 'thread') + ' ' if damaged else ''}damaged; sound: {about}")
        return DAMAGED
    streams.result(f"sound: {about}")
    return 0
