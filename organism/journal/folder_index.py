"""What stands beside the files of a folder, so that opening it need not read those that are over: ``_index.jsonl``.

A line says how a chain stood when it was over or at its last snapshot; what is missing here is read from the chain's file. Only what
removed chains spent stands here alone, and is on the disk before their files go. No root thread has a file of this name.

Each line ends with a sum over what is before it. One that was changed is passed over, and the owner writes it anew from the chain.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections import Counter
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

from attrs import asdict, evolve, frozen

from organism.errors import JournalError, reason_of
from organism.files import is_there
from organism.journal.chain import canonical
from organism.journal.standing import Ledger

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
    from pathlib import Path

    from organism.journal.disk import Disk

_log: Final = logging.getLogger("organism.journal")

NAME: Final = "_index.jsonl"
OVER: Final = "over"
SNAPSHOT: Final = "snapshot"
REMOVED: Final = "removed"
"""Of a chain that may have no file: what it spent stands here alone, then."""
TAKEN_OUT: Final = "-"
"""Before a mark: that chain is not among those any more that are told of together."""
_MARK_OF_CHAIN: Final = 16
"""Digits of a last hash by which a removed chain is known again."""
BACK: Final = "back"
"""The same, as an earlier version wrote it of a chain that came back."""
_ENOUGH: Final = 1_000
"""Lines that are never too many."""
_SUM: Final = 16
"""Digits of a line's sum."""
_MARK: Final = b',"sum":"'
_QUOTES: Final = 3
"""Bytes that stand around a name in a list."""
_STEP: Final = 1 << 20
"""Bytes that are looked at together."""
_LEAST: Final = 250
"""Bytes of a line in which nothing is listed."""
_ROW: Final = 100
"""Bytes of a sum of what was spent."""


@frozen(kw_only=True)
class Summary:
    """How a chain stood: at its end (``over``, ``removed``), or right before its last snapshot.

    ``size`` are the bytes of its file up to there, ``hash`` is that of its last entry, ``spent`` what it spent until then,
    ``threads`` what was opened in it but the root thread, ``ends`` the marks of where root threads of a removed one ended. Of several removed
    chains together, which have no ``hash``, ``threads`` are what :func:`marks_in` gives. ``ending`` is what the root thread came to, as
    :class:`organism.journal.endings.Ending` has it, and ``terms`` what was said of it by its last snapshot: ``None`` where an earlier version
    wrote the line, and of conversations.
    """

    kind: str
    root: str
    entries: int
    size: int
    hash: str | None
    began: float
    last: float
    spent: tuple[tuple[Any, ...], ...]
    threads: tuple[str, ...]
    ends: tuple[str, ...] = ()
    ending: list[Any] | None = None
    terms: str | None = None

    @property
    def weight(self) -> int:
        """About how many bytes its line takes."""
        return _LEAST + sum(len(thread) + _QUOTES for thread in self.threads) + _ROW * len(self.spent)


class Index:
    """The index of a folder. Reading it never writes; raises JournalError where it cannot be read. Damaged lines are passed over, and
    said once.
    """

    def __init__(self, folder: Path, disk: Disk) -> None:
        self._path = folder / NAME
        self._disk = disk
        self._size: int | None = None
        self._flawed: set[int] = set()
        """Numbers of the lines that were changed."""

    def is_there(self) -> bool:
        """Whether anything was ever written to it."""
        return is_there(self._path)

    def read(self, *, but: str | None = None, of: str | None = None) -> dict[tuple[str, str], Summary]:
        """The last summary of each chain by (kind, root); those of removed chains under their last hash, since names come again.

        Those of the kind ``but`` are left out, or all but those ``of`` one chain, and cost little.
        """
        found: dict[tuple[str, str], Summary] = {}
        for number, summary in self._lines(but, of):
            if summary.kind == REMOVED:
                found[REMOVED, summary.hash or f"{number}"] = summary  # it may come and go again, and has spent once
                found.pop((OVER, summary.root), None)
                found.pop((SNAPSHOT, summary.root), None)
            else:
                found[summary.kind, summary.root] = summary
        return found

    def flaw(self) -> str | None:
        """The first line that was changed, with its place."""
        for _ in self._lines():
            pass
        return (
            f"{self._path}:{min(self._flawed)}: was changed: its checksum does not match its content"
            if self._flawed
            else None
        )

    def add(self, summaries: Iterable[Summary]) -> None:
        """Writes summaries to its end; raises OSError."""
        data = b"".join(map(_line, summaries))
        there = self._path.stat().st_size if is_there(self._path) else 0
        if self._size is None or there < self._size:
            if self._size is not None:
                _log.warning(
                    "%s was removed or cut while it was open; what is missing is read from the threads", self._path
                )
            self._size = sum(len(raw) for raw in self._raw())
        self._disk.append(self._path, data, at=self._size)
        self._size += len(data)

    def mend(self, lacking: Collection[Summary]) -> None:
        """Leaves damaged lines out, and adds what was found in the chains instead; raises OSError."""
        if self._flawed:
            self._anew()
        if lacking:
            self.add(lacking)

    def shrink(self, chains: Callable[[], int], *, stands: Callable[[Summary], bool]) -> None:
        """Writes it anew where most of it is out of date, by how many chains there are; raises OSError.

        Of all removed chains one line stays, but for those whose file ``stands``.
        """
        lines = self._length()
        if lines <= _ENOUGH or lines <= _ENOUGH + 2 * chains():
            return
        self._anew(gone=lambda summary: summary.kind == REMOVED and not stands(summary))

    def _anew(self, *, gone: Callable[[Summary], bool] = lambda _: False) -> None:
        found: list[Summary] = []
        removed: list[Summary] = []
        for summary in self.read().values():
            (removed if gone(summary) else found).append(summary)
        if removed:
            found.insert(0, _together(removed))
        new = self._path.with_suffix(".new")
        new.unlink(missing_ok=True)
        data = b"".join(map(_line, found))
        self._disk.append(new, data, at=0)
        new.replace(self._path)
        self._size = len(data)
        self._flawed.clear()

    def _length(self) -> int:
        """How many lines it has."""
        with suppress(FileNotFoundError), self._path.open("rb") as file:
            return sum(raw.count(b"\n") for raw in iter(lambda: file.read(_STEP), b""))
        return 0

    def _raw(self) -> Iterator[bytes]:
        """Its lines, up to what a crash cut off."""
        try:
            with self._path.open("rb") as file:
                for raw in file:
                    if not raw.endswith(b"\n") or (b"\0" in raw and not file.peek(1)):
                        return
                    yield raw
        except FileNotFoundError:
            return
        except OSError as error:
            raise JournalError(f"{self._path} cannot be read: {reason_of(error)}") from error

    def _lines(self, but: str | None = None, of: str | None = None) -> Iterator[tuple[int, Summary]]:
        # Inside of a text, these quotes would not stand alone.
        passed = None if but is None else f'"kind":"{but}"'.encode()
        wanted = b"" if of is None else canonical({"root": of})[1:-1]
        for number, raw in enumerate(self._raw(), 1):
            if wanted not in raw or (passed is not None and passed in raw):
                continue
            try:
                yield number, summary_of(raw)
            except (ValueError, TypeError, KeyError, RecursionError):
                if number not in self._flawed:
                    self._flawed.add(number)
                    _log.warning(
                        "%s:%d: was changed; it is made anew from the chains, but for what a removed chain spent",
                        self._path,
                        number,
                    )


def mark(hash_: str | None) -> str:
    """By what the chain is known again whose last hash this is, or was."""
    return (hash_ or "")[:_MARK_OF_CHAIN]


def mark_of(chain: Summary) -> str:
    """By what a removed chain is known again."""
    return mark(chain.hash)


def marks_in(removed: Summary) -> tuple[str, ...]:
    """The marks of the chains that a line tells of, each as it was when its root threads had ended. One behind TAKEN_OUT takes one out of the others."""
    return removed.threads if removed.hash is None else tuple({mark_of(removed): None} | dict.fromkeys(removed.ends))


def _together(removed: Sequence[Summary]) -> Summary:
    """What these chains spent, as of one chain that has no file."""
    spent, marks = Ledger(), Counter[str]()
    for summary in removed:
        spent.take_in(Ledger.from_json(summary.spent))
        marks.update(marks_in(summary))
    known = tuple(
        sorted(each for each, often in marks.items() if often > marks[f"{TAKEN_OUT}{each}"] and each[0] != TAKEN_OUT)
    )
    return evolve(removed[-1], root="", hash=None, size=0, spent=spent.as_rows(), threads=known, ends=())


def _line(summary: Summary) -> bytes:
    body = canonical(asdict(summary))
    return b'%b,"sum":"%b"}\n' % (body[:-1], _sum(body))


def _sum(body: bytes) -> bytes:
    return hashlib.sha256(body).hexdigest()[:_SUM].encode()


def summary_of(raw: bytes) -> Summary:
    """The summary that a line holds; raises ValueError, TypeError, KeyError or RecursionError for one that was changed."""
    body, mark, end = raw.rpartition(_MARK)
    if mark and end != _sum(body + b"}") + b'"}\n':
        raise ValueError("its checksum does not match")
    # Without one, it is of an earlier version.
    read: dict[str, Any] = json.loads(body + b"}" if mark else raw)
    read["spent"] = tuple(tuple(row) for row in read["spent"])
    read["threads"], read["ends"] = tuple(read["threads"]), tuple(read.get("ends", ()))
    if read["kind"] == BACK:
        read["kind"] = REMOVED
    return Summary(**read)
