"""What is kept of a study: a record of what its threads have in common, what the warm-up has learned, and a journal for each arm.

A thread that is run again goes into the arm's next journal (``plain.2.db``), so that it has the same id, and the same draws, as before.
While it is under way, each thread has a journal of its own; once it has ended, it is moved into that of its arm.
"""

from __future__ import annotations

import json
import os
import re
from contextlib import closing, contextmanager, suppress
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, cast

from attrs import frozen

from organism.errors import ConfigurationError, JournalError, JournalHeldError, reason_of
from organism.files import is_there
from organism.journal import Lock, MemoryJournal, OnlyBegunError, open_journal, socket_path
from organism.journal.disk import Disk
from organism.journal.lock import identity
from organism.lab.study import WARM_UP
from organism.names import is_of_limits
from organism.settings import SPENT_UNITS
from organism.usage import Tally

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator, Mapping

    from organism.journal import Journal
    from organism.lab.study import Cell, Study
    from organism.usage import Spending

_RECORD: Final = "study.json"
_LEARNED: Final = "learned.json"
_UNDER_WAY: Final = "under-way"
_NAME: Final = re.compile(r"(?P<home>[^.]+)\.(?P<attempt>[1-9][0-9]{0,8})\.(?P<thread>[^.]+)\.db", re.ASCII)
"""Of the journal of a thread that is under way; names have no dots."""
_FORMAT: Final = 1


def journal_of(study: Study, home: str, attempt: int = 1) -> Path:
    """The file of an arm's journal (or of the warm-up's), or of that with its threads that were run again for the so-manieth time."""
    return study.folder / (f"{home}.db" if attempt == 1 else f"{home}.{attempt}.db")


def url_of(path: Path) -> str:
    """What ``journal:`` says of a file."""
    return f"sqlite:{path.absolute()}"


def journals_of(study: Study, home: str) -> Iterator[tuple[int, Path]]:
    """The journals of an arm that are there, by the number of the attempt."""
    again = [path.name.split(".")[1] for path in study.folder.glob(f"{home}.*.db")]
    for attempt in [1, *sorted(int(each) for each in again if each.isdecimal())]:
        path = journal_of(study, home, attempt)
        if is_there(path):
            yield attempt, path


@frozen(kw_only=True)
class Place:
    """Where a thread is while it is under way (``path``), and where it belongs once it has ended: the journal of ``home``, or that with the
    threads that were run again for the so-manieth time.
    """

    folder: Path
    home: str
    attempt: int
    thread: str

    @classmethod
    def of(cls, study: Study, cell: Cell, attempt: int) -> Place:
        """The place of a cell's thread."""
        return cls(folder=study.folder, home=cell.home, attempt=attempt, thread=study.id_of(cell))

    @property
    def path(self) -> Path:
        """The file of its own journal."""
        return self.folder / _UNDER_WAY / f"{self.home}.{self.attempt}.{self.thread}.db"


def places(study: Study) -> list[Place]:
    """The threads that are under way, or were when a process ended, the first attempt first."""
    return [each for each in _every(study) if not _is_moved(study, each)]


def _every(study: Study) -> list[Place]:
    names = [path.name for path in (study.folder / _UNDER_WAY).glob("*.db")]
    every = [
        Place(folder=study.folder, home=match["home"], attempt=int(match["attempt"]), thread=match["thread"])
        for match in map(_NAME.fullmatch, names)
        if match
    ]
    return sorted(every, key=lambda each: (each.attempt, each.path))


def settle(study: Study, place: Place) -> bool:
    """Moves a thread that has ended into the journal where it belongs; whether it is there. It is not while it has not ended, nor where
    another process works on that journal: then a later run moves it. Raises JournalError.
    """
    if not _is_moved(study, place):
        with opened(place.path) as journal:
            chains = [each for each in journal.chains() if not is_of_limits(each.root)]
            if not chains or any(each.open for each in chains):
                return False
            documents = {each.root: list(journal.documents(each.root)) for each in chains}
        path = journal_of(study, place.home, place.attempt)
        lock = Lock(path, _who(study))
        try:
            lock.take()
        except JournalHeldError:
            return False
        try:
            with closing(open_journal(url_of(path), lock=lock)) as journal:
                # The thread that is looked for goes last: where it is, all is.
                for root in sorted(documents, key=lambda each: each == place.thread):
                    if journal.chain(root) is None:
                        journal.put(root, documents[root])
        finally:
            lock.release()
    # Killed before this, it is in both, and is found where it was moved to.
    beside = [place.path.with_name(place.path.name + end) for end in ("-wal", "-shm", ".lock")]
    for each in (*beside, socket_path(place.path), place.path):
        each.unlink(missing_ok=True)
    return True


def settle_all(study: Study) -> None:
    """Moves all threads that have ended, and that a killed process has left. Raises JournalError."""
    for place in _every(study):
        settle(study, place)


def _is_moved(study: Study, place: Place) -> bool:
    with opened(journal_of(study, place.home, place.attempt)) as journal:
        return journal.chain(place.thread) is not None


@contextmanager
def opened(path: Path) -> Generator[Journal]:
    """A journal, to be read; an empty one where there is none yet, or one that was only begun. Raises JournalError."""
    journal: Journal = MemoryJournal()
    if is_there(path):
        with suppress(OnlyBegunError):
            journal = open_journal(url_of(path), readonly=True)
    try:
        yield journal
    finally:
        journal.close()


@contextmanager
def unless_moved(place: Place) -> Generator[None]:
    """A block that reads the own journal of a thread. That it cannot be read does not matter where another process has moved it meanwhile."""
    try:
        yield
    except JournalError:
        if is_there(place.path):
            raise


@contextmanager
def owned(study: Study) -> Generator[None]:
    """While the block is open, no other process runs the study. Raises JournalHeldError where one does, and makes the folder."""
    lock = Lock(study.folder / _RECORD, _who(study))
    lock.take()
    try:
        yield
    finally:
        lock.release()


def _who(study: Study) -> dict[str, str]:
    who = identity(0, organism=study.name)
    del who["since"]  # nobody asked the clock
    return who


def check_same(study: Study) -> None:
    """Looks whether the threads that are there are of this very study.

    Arms, inputs (behind those that are there) and repeats may have come since. Raises ConfigurationError where anything else has changed.
    """
    _check_same(study, _read(study.folder / _RECORD), study.record())


def begin(study: Study) -> None:
    """Writes down what is studied. Raises as :func:`check_same`."""
    known = _read(study.folder / _RECORD)
    now = study.record()
    _check_same(study, known, now)
    if known is not None:
        kept = known["arms"]
        now = {**now, "arms": {**kept, **now["arms"]}, "inputs": max(now["inputs"], known["inputs"], key=len)}
    try:
        _write(study.folder / _RECORD, {"format": _FORMAT, **now})
    except OSError as error:
        raise ConfigurationError([f"{study.folder}: cannot be written: {reason_of(error)}"]) from None


def _check_same(study: Study, known: Mapping[str, Any] | None, now: Mapping[str, Any]) -> None:
    if known is None:
        return
    changed = [f"'{key}'" for key in ("study", "to", "seed", "warm_up") if known.get(key) != now[key]]
    if known.get("organism") != now["organism"]:
        changed.append(f"{study.organism} (or an ORGANISM_ variable)")
    for name, sets in now["arms"].items():
        if name in known["arms"] and known["arms"][name] != sets:
            changed.append(f"arm '{name}'")
    both = min(len(known["inputs"]), len(now["inputs"]))
    for number in range(both):
        if known["inputs"][number] != now["inputs"][number]:
            changed.append(f"input {number + 1}")
            break
    if changed:
        what = f"has threads of another study; since they ran, this changed: {', '.join(changed)}"
        raise ConfigurationError([f"{study.folder}: {what}. Change it back, or begin anew in another 'folder'"])


def learned(study: Study) -> list[dict[str, Any]]:
    """What the warm-up has learned so far."""
    known = _read(study.folder / _LEARNED)
    return [] if known is None else known["learned"]


def keep_learned(study: Study, found: list[dict[str, Any]]) -> None:
    """Writes down what the warm-up has learned."""
    _write(study.folder / _LEARNED, {"format": _FORMAT, "learned": found})


def spent_by_all(study: Study) -> dict[Path, dict[str, Decimal]]:
    """What all threads have spent until now, by journal. Raises JournalError."""
    homes = (WARM_UP, *(arm.name for arm in study.arms))
    paths = [*(path for home in homes for _, path in journals_of(study, home)), *(each.path for each in places(study))]
    return {path: spent(path) for path in paths}


def spent(path: Path) -> dict[str, Decimal]:
    """What all threads of a journal have spent, by the units of a ceiling; threads that were interrupted too."""
    tally = Tally()
    with opened(path) as journal:
        for row in spendings(journal):
            tally.add(row.amounts, row.details)
    usage = tally.usage()
    return {unit: Decimal(getattr(usage, unit)) for unit in SPENT_UNITS}


def spendings(journal: Journal) -> list[Spending]:
    """What was spent in a journal, less what its ledger tells of limits."""
    return [row for row in journal.spendings() if row.tells is None]


def _read(path: Path) -> dict[str, Any] | None:
    try:
        text = path.read_text("utf-8")
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise JournalError(f"{path} cannot be read: {error}") from None
    try:
        found: object = json.loads(text)
    except (ValueError, RecursionError):
        raise JournalError(f"{path} is damaged: it is no JSON") from None
    read = cast("dict[str, Any]", found) if isinstance(found, dict) else {}
    if read.get("format") != _FORMAT:
        raise JournalError(f"{path} is damaged, or was written by another version of organism")
    return read


def _write(path: Path, document: Mapping[str, Any]) -> None:
    """All of it or nothing, whenever the process is killed or the power fails."""
    beside = path.with_name(f"{path.name}.new")
    with beside.open("w", encoding="utf-8") as file:
        json.dump(document, file, indent=1)
        file.flush()
        os.fsync(file.fileno())
    beside.replace(path)
    Disk(durable=True).sync_folder(path.parent)
