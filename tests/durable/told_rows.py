"""What a journal keeps beside its chains of the threads that ended, and what their entries fold to."""

from __future__ import annotations

from contextlib import closing, nullcontext
from operator import attrgetter
from typing import TYPE_CHECKING

from organism.cli.threads import flat
from organism.journal import open_journal
from organism.works.rows import rows_in, threads_of, whole

if TYPE_CHECKING:
    from pathlib import Path

    from organism.journal import Journal
    from organism.works.rows import ThreadRow


def listed(journal: Journal) -> list[ThreadRow]:
    """The root threads of a journal as a list shows them, the oldest first."""
    return sorted(rows_in(journal, nullcontext(), owned=False), key=attrgetter("place"))


def check_rows(journal: Journal) -> int:
    """All threads are listed as the fold of all entries has them; gives of how many no entries were read."""
    rows = listed(journal)
    folded = [row for chain in journal.chains() for row in threads_of(journal, chain, owned=False)]
    folded.sort(key=attrgetter("place"))
    assert [whole(journal, row) for row in rows] == folded
    assert list(map(flat, rows)) == list(map(flat, folded))
    return sum(row.short is not None for row in rows)


def check_kept(folder: Path, url: str) -> int:
    """The same of a journal on a disk, of which nothing else is other than it should be."""
    with closing(open_journal(url, folder=folder, readonly=True)) as journal:
        assert tuple(journal.flaws()) == ()
        return check_rows(journal)
