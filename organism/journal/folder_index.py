"""What stands beside the files of a folder, so that opening it need not read those that are over: ``_index.jsonl``.

A line says how a chain stood when it was over or at its last snapshot; what is missing here is read from the chain's file. Only what
removed chains spent stands here alone, and is on the disk before their files go. No root thread has a file of this name.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

from attrs import asdict, frozen

from organism.errors import JournalError
from organism.journal.chain import canonical

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from organism.journal.disk import Disk

NAME: Final = "_index.jsonl"
OVER: Final = "over"
SNAPSHOT: Final = "snapshot"
REMOVED: Final = "removed"
_ENOUGH: Final = 1_000
"""Lines that are never too many."""


@frozen(kw_only=True)
class Summary:
    """How a chain stood: at its end (``over``, ``removed``), or right before its last snapshot.

    ``size`` are the bytes of its file up to there, ``hash`` is that of its last entry, ``spent`` what it spent until then,
    ``threads`` what was opened in it but the root thread.
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


class Index:
    """The index of a folder. Reading it never writes; raises JournalError with its line where it is damaged."""

    def __init__(self, folder: Path, disk: Disk) -> None:
        self._path = folder / NAME
        self._disk = disk
        self._size: int | None = None

    def read(self, *, but: str | None = None) -> dict[tuple[str, str], Summary]:
        """The last summary of each chain by (kind, root); those of removed chains under their number, since names come again.

        Those of the kind ``but`` are left out, and cost little.
        """
        found: dict[tuple[str, str], Summary] = {}
        for number, summary in self._lines(but):
            if summary.kind == REMOVED:
                found[REMOVED, f"{number}"] = summary
                found.pop((OVER, summary.root), None)
                found.pop((SNAPSHOT, summary.root), None)
            else:
                found[summary.kind, summary.root] = summary
        return found

    def add(self, summaries: Iterable[Summary]) -> None:
        """Writes summaries to its end; raises OSError."""
        self._extend([canonical(asdict(each)) for each in summaries])

    def shrink(self, chains: int) -> None:
        """Writes it anew where most of it is out of date, by how many chains there are; raises OSError."""
        if sum(1 for _ in self._raw()) <= _ENOUGH + 2 * chains:
            return
        found = self.read().values()
        new = self._path.with_suffix(".new")
        new.unlink(missing_ok=True)
        data = b"".join(canonical(asdict(each)) + b"\n" for each in found)
        self._disk.append(new, data, at=0)
        new.replace(self._path)
        self._size = len(data)

    def _extend(self, contents: Iterable[bytes]) -> None:
        if self._size is None:
            self._size = sum(len(raw) for raw in self._raw())
        data = b"".join(content + b"\n" for content in contents)
        self._disk.append(self._path, data, at=self._size)
        self._size += len(data)

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
            raise JournalError(f"{self._path} cannot be read: {error.strerror or error}") from error

    def _lines(self, but: str | None = None) -> Iterator[tuple[int, Summary]]:
        # Inside of a text, these quotes would not stand alone.
        passed = None if but is None else f'"kind":"{but}"'.encode()
        for number, raw in enumerate(self._raw(), 1):
            if passed is not None and passed in raw:
                continue
            try:
                read: dict[str, Any] = json.loads(raw)
                read["spent"] = tuple(tuple(row) for row in read["spent"])
                read["threads"] = tuple(read["threads"])
                yield number, Summary(**read)
            except (ValueError, TypeError, KeyError, RecursionError):
                raise JournalError(
                    f"{self._path}:{number}: was changed; take the file away and it is made anew, but for what removed chains spent"
                ) from None
