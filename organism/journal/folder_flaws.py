"""What in a folder of JSON lines is not as it was written: lines, and what the index says of them, which follows from these."""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrs import asdict

from organism.errors import JournalError
from organism.files import is_there
from organism.journal.folder_index import NAME, OVER, REMOVED
from organism.journal.folder_known import Known
from organism.journal.standing import opens_nothing
from organism.names import counted, told

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from organism.journal.folder_index import Index, Summary
    from organism.journal.lines import End, LineFiles
    from organism.record.facts import Fact


def flaws_of(
    files: LineFiles, index: Index, facts: Callable[[str], Iterable[tuple[Fact, End]]], looked_at: Callable[[], object]
) -> Iterator[tuple[str | None, str]]:
    """All that is not as it was written, with the root of its chain. The index is read first: what is written meanwhile is new in the
    files, and no more.
    """
    said: dict[str, list[Summary]] = {}
    for (kind, root), summary in index.read().items():
        if kind != REMOVED:
            said.setdefault(root, []).append(summary)
    lacking = set(said)
    for root in files.roots():
        looked_at()
        flaw = _flaw_of(root, facts(root), said.get(root, ()), f"{files.folder / NAME}: thread {told(root)}")
        if flaw is None or is_there(files.path(root)):  # else it was removed since they were listed
            lacking.discard(root)
            if flaw is not None:
                yield root, flaw
    still = {root for kind, root in index.read() if kind != REMOVED} if lacking else set[str]()
    for root in sorted(lacking & still):
        yield root, f"{files.path(root)}: is missing, and {NAME} has {counted(said[root][0].entries, 'entry')} of it"
    changed = index.flaw()
    if changed is not None:
        yield None, changed


def _flaw_of(root: str, facts: Iterable[tuple[Fact, End]], said: Sequence[Summary], place: str) -> str | None:
    """The first bad line of a chain, or else what the index says otherwise of it."""
    known = Known.new(root)
    flaw = _first_otherwise(known, said)
    try:
        for fact, end in facts:
            flaw = flaw or (opens_nothing(fact) if known.end.head.number == 0 else None)
            known.take_in(fact, end)
            flaw = flaw or _first_otherwise(known, said)
    except (JournalError, ValueError, OverflowError) as error:
        return str(error)
    there = known.end.head.number
    missing = [each.entries for each in said if each.entries > there]
    if missing:
        flaw = flaw or f"entries is {missing[0]}, and there are {there}"
    return f"{place}: {flaw}" if flaw else None


def _first_otherwise(known: Known, said: Sequence[Summary]) -> str | None:
    """The first figure that is another one in a summary of the chain up to here."""
    for summary in said:
        if summary.entries != known.end.head.number:
            continue
        if summary.kind == OVER and not known.standing.over:
            return f"is over with entry {summary.entries} here, but open by its entries"
        due = asdict(known.summary(summary.kind))
        for name, found in asdict(summary).items():
            if found != due[name] and not (found is None and name in {"ending", "terms"}):  # of an earlier version
                return f"{name} is {told(found, 200)}, and {told(due[name], 200)} by the entries (at entry {summary.entries})"
    return None
