"""What is kept of a study: a record of what its threads have in common, what the warm-up has learned, and a journal for each arm.

A thread that is run again goes into the arm's next journal (``plain.2.db``), so that it has the same id, and the same draws, as before.
"""

from __future__ import annotations

import json
import os
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final, cast

from organism.errors import ConfigurationError, JournalError
from organism.journal import Lock, open_journal
from organism.journal.disk import Disk
from organism.journal.lock import identity
from organism.lab.study import UNITS
from organism.usage import Tally

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator, Mapping
    from pathlib import Path

    from organism.journal import Journal
    from organism.lab.study import Study

_RECORD: Final = "study.json"
_LEARNED: Final = "learned.json"
_FORMAT: Final = 1
_MOST: Final = 1000
"""Journals of an arm: nobody runs a thread as often."""


def journal_of(study: Study, home: str, attempt: int = 1) -> Path:
    """The file of an arm's journal (or of the warm-up's), or of that with its threads that were run again for the so-manieth time."""
    return study.folder / (f"{home}.db" if attempt == 1 else f"{home}.{attempt}.db")


def url_of(path: Path) -> str:
    """What ``journal:`` says of a file."""
    return f"sqlite:{path.absolute()}"


def journals_of(study: Study, home: str) -> Iterator[tuple[int, Path]]:
    """The journals of an arm that are there, by the number of the attempt."""
    for attempt in range(1, _MOST):
        path = journal_of(study, home, attempt)
        if not path.exists():
            return
        yield attempt, path


@contextmanager
def opened(path: Path) -> Generator[Journal]:
    """A journal, to be read. Raises JournalError."""
    journal = open_journal(url_of(path), readonly=True)
    try:
        yield journal
    finally:
        journal.close()


@contextmanager
def owned(study: Study) -> Generator[None]:
    """While the block is open, no other process runs the study. Raises JournalHeldError where one does, and makes the folder."""
    who = identity(0, organism=study.name)
    del who["since"]  # nobody asked the clock
    lock = Lock(study.folder / _RECORD, who)
    lock.take()
    try:
        yield
    finally:
        lock.release()


def begin(study: Study) -> None:
    """Writes down what is studied; or looks whether the threads that are there are of this very study.

    Arms, inputs (behind those that are there) and repeats may have come since. Raises ConfigurationError where anything else has changed.
    """
    known = _read(study.folder / _RECORD)
    now = study.record()
    if known is not None:
        _check_same(study, known, now)
        kept = known["arms"]
        now = {**now, "arms": {**kept, **now["arms"]}, "inputs": max(now["inputs"], known["inputs"], key=len)}
    try:
        _write(study.folder / _RECORD, {"format": _FORMAT, **now})
    except OSError as error:
        raise ConfigurationError([f"{study.folder}: cannot be written: {error.strerror or error}"]) from None


def _check_same(study: Study, known: Mapping[str, Any], now: Mapping[str, Any]) -> None:
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


def spent(path: Path) -> dict[str, Any]:
    """What all threads of a journal have spent, by the units of a ceiling; threads that were interrupted too."""
    tally = Tally()
    with opened(path) as journal:
        for row in journal.spendings():
            if row.tells is None:
                tally.add(row.amounts, row.details, estimated=row.estimated, unpriced=row.unpriced)
    usage = tally.usage()
    return {unit: getattr(usage, unit) for unit in UNITS}


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
