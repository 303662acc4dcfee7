"""What a study has spent, by arm, handler and model, as its journals tell."""

from __future__ import annotations

from typing import TYPE_CHECKING

from organism.lab.folder import journal_of, journals_of, opened, places, spendings, unless_moved
from organism.lab.study import WARM_UP
from organism.usage import Tally

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from organism.lab.folder import Place
    from organism.lab.study import Study
    from organism.usage import Spending, Usage


def usage(study: Study) -> dict[tuple[str, str, str], Usage]:
    """What the model calls of all its threads have cost until now, by (arm, handler, model alias), in the order of the arms; last the
    warm-up. Of threads that are missing or under way too, and of each attempt. Messages belong to no model, and are not in it.

    Raises JournalError where a journal is damaged.
    """
    homes = (*(arm.name for arm in study.arms), WARM_UP)
    sums: dict[tuple[str, str, str], Tally] = {}
    for home, row in _all(study, homes):
        if row.model:
            tally = sums.setdefault((home, row.handler, row.model), Tally())
            tally.add(row.amounts, row.details, estimated=row.estimated, unpriced=row.unpriced)
    place = {home: number for number, home in enumerate(homes)}
    return {key: sums[key].usage() for key in sorted(sums, key=lambda key: (place[key[0]], key))}


def _all(study: Study, homes: Iterable[str]) -> Iterator[tuple[str, Spending]]:
    """What was spent in each home; each thread once, also while another process moves it from its own journal to that of its arm."""
    under_way: dict[Place, list[Spending]] = {}
    for place in places(study):
        with unless_moved(place), opened(place.path) as journal:
            under_way[place] = spendings(journal)
    for home in homes:
        for _, path in journals_of(study, home):
            with opened(path) as journal:
                for place in [each for each in under_way if journal_of(study, each.home, each.attempt) == path]:
                    if journal.chain(place.thread) is not None:
                        del under_way[place]
                yield from ((home, row) for row in spendings(journal))
    known = set(homes)
    yield from ((place.home, row) for place, rows in under_way.items() if place.home in known for row in rows)
