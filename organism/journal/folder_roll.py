"""Which files of a folder hold chains that are over, so that opening it reads neither these nor what the index says of them: ``_over.cache``.

For each such file it has what the system said of it (size, times, number) when it was seen to end as the index says, and for some files together
what these chains spent. A file of which the system says something else by now is looked at as if it were not on the roll. All of it follows
from the index and the files: whoever removes the roll loses some seconds, and what is not whole in it, or is of another index, does not count.
"""

from __future__ import annotations

import hashlib
import json
import re
from contextlib import suppress
from io import FileIO
from struct import Struct
from typing import TYPE_CHECKING, Any, Final

from attrs import define, field, frozen

from organism.errors import JournalError, reason_of
from organism.journal.chain import canonical
from organism.journal.filenames import file_name
from organism.journal.folder_index import BACK, OVER, REMOVED, TAKEN_OUT, mark_of, summary_of
from organism.journal.standing import Ledger
from organism.names import told

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Collection, Iterable, Iterator
    from pathlib import Path
    from typing import BinaryIO

    from organism.journal.disk import Disk
    from organism.journal.folder_index import Summary

NAME: Final = "_over.cache"
_FORMAT: Final = 1
_TOGETHER: Final = 1_000
"""Files whose spendings stand in one sum: where one of them went, those of the others are added up anew."""
_WORTH: Final = 100
"""Files for which the roll is written: to look at fewer anew costs little."""
_AGE: Final = 60 * 10**9
"""Nanoseconds for which a file was left alone before it is put on the roll: times of files are coarse, and by then what was written is on the disk,
so that it holds no holes after a power cut.
"""
_SEEN: Final = Struct("<qqqQ")
"""Of a file: its size, when it was written, when anything of it was changed, and its number."""
_ROW: Final = Struct("<q16s")
"""Behind that: where its chain's line begins in the index, and the mark of the chain."""
_WIDTH: Final = _SEEN.size + _ROW.size
_STEP: Final = 1 << 20
_LINE: Final = re.compile(rb'"kind":"(\w+)","last":[^",]+,"root":("(?:[^"\\]|\\.)*"),"size":\d')
"""What a line of the index is of. Labels of threads, which stand before that, have texts alone."""
_SUM: Final = b',"sum":"'
_REMOVALS: Final = frozenset({REMOVED.encode(), BACK.encode()})


def seen(there: os.stat_result) -> bytes:
    """What the system says of a file."""
    return _SEEN.pack(there.st_size, there.st_mtime_ns, there.st_ctime_ns, there.st_ino & (1 << 64) - 1)


@frozen
class Extent:
    """How far the index was known when the roll was written: the ``size`` of it with the hash ``digest``; behind ``start`` stands what is on no roll."""

    start: int = 0
    size: int = 0
    digest: str = hashlib.sha256().hexdigest()


def _key(root: str) -> bytes:
    """The JSON of a root, as it stands in the index."""
    return canonical({"": root})[4:-1]


class Told:
    """The index as of one instant, as a whole or from where a roll leaves off. To be closed."""

    def __init__(self, path: Path, known: Extent = Extent()) -> None:
        self._file: BinaryIO | None = None
        self.places: dict[bytes, int] = {}
        """Where the last line of a chain that is over begins, by the JSON of its root."""
        self.removed: set[bytes] = set()
        """The roots of chains that were removed by one of these lines."""
        self.damaged = False
        """There is a line that nobody can read."""
        self.matches = True
        """It begins as it was when the roll was written."""
        digest = hashlib.sha256()
        try:
            self._file = path.open("rb")
            left = known.size
            while left > 0 and (raw := self._file.read(min(left, _STEP))):
                digest.update(raw)
                left -= len(raw)
        except FileNotFoundError:
            pass  # what is not in it is read from the chains
        except OSError as error:
            self.close()
            raise JournalError(f"{path} cannot be read: {reason_of(error)}") from error
        self.matches = digest.hexdigest() == known.digest
        start, told = (known.start, known.size) if self.matches else (0, 0)
        if not self.matches:
            digest = hashlib.sha256()
        self.size = self._take(start, told, digest.update)
        self.digest = digest.hexdigest()

    def _take(self, place: int, told: int, add: Callable[[bytes], object]) -> int:
        """Takes in the lines from a place on, and the bytes of those behind what was known; gives where they end."""
        if self._file is None:
            return 0
        self._file.seek(place)
        for raw in self._file:
            if not raw.endswith(b"\n"):
                break
            if place >= told:
                add(raw)
            found = _LINE.search(raw)
            if found is None:
                self.damaged = True
            elif found[1] == OVER.encode():
                self.places[found[2]] = place
            elif found[1] in _REMOVALS:
                self.places.pop(found[2], None)
                self.removed.add(found[2])
            place += len(raw)
        return max(place, told)

    def at(self, place: int, name: str) -> Summary | None:
        """What the line that begins there says of a chain that is over and has a file of this name, whether that is still there or not; ``None``
        where it says nothing of that.
        """
        if self._file is not None:
            with suppress(OSError, ValueError, TypeError, KeyError, RecursionError):
                self._file.seek(place)
                summary = summary_of(self._file.readline())
                if summary.kind == OVER and file_name(summary.root) == name:
                    return summary
        self.damaged = True
        return None

    def last_of(self, root: str) -> Summary | None:
        """What is said last of a chain that is over, where nothing is said behind that of its removal."""
        place = self.places.get(_key(root))
        return None if place is None else self.at(place, file_name(root))

    def close(self) -> None:
        """Lets go of the file."""
        if self._file is not None:
            self._file.close()


@define
class Block:
    """Some files and what the chains in them spent together; ``None``: to be added up anew."""

    names: list[str] = field(factory=list[str])
    spent: Ledger | None = field(factory=Ledger)


class Roll:
    """The roll of ``folder``, as far as it fits the ``index``; ``told`` is to be closed. Raises JournalError where that cannot be read."""

    def __init__(self, folder: Path, disk: Disk, index: Path) -> None:
        self._path = folder / NAME
        self._disk = disk
        self._rows: dict[str, bytes] = {}
        self._blocks: list[Block] = []
        self._young = Block()
        self._least: int | None = None
        """Where the first line begins that is of a file too young for the roll."""
        self._written = 0
        """Blocks that stand in the file."""
        self._end = 0
        self._changes = 0
        known = self._read()
        self.told = Told(index, known)
        if not self.told.matches:
            self._rows, self._blocks, self._written, self._end = {}, [], 0, 0

    @property
    def names(self) -> Collection[str]:
        """The files that are on it."""
        return self._rows.keys()

    def holds(self, name: str, there: os.stat_result) -> bool:
        """Whether this file is on the roll, and is what it was."""
        row = self._rows.get(name)
        return row is not None and row.startswith(seen(there))

    def place(self, name: str, root: str) -> int | None:
        """Where the line about a chain begins that is over, as far as anything tells of it."""
        key = _key(root)
        place = self.told.places.get(key)
        if place is None and key not in self.told.removed and (row := self._rows.get(name)) is not None:
            place = _ROW.unpack_from(row, _SEEN.size)[0]
        return place

    def keep(self, names: Collection[str]) -> None:
        """Strikes off what is not among these names."""
        if len(names) == len(self._rows):
            return
        for block in self._blocks:
            left = [name for name in block.names if name in names]
            if len(left) < len(block.names):
                self._changes += len(block.names) - len(left)
                block.names, block.spent = left, None
        self._rows = {name: row for name, row in self._rows.items() if name in names}
        self._blocks = [block for block in self._blocks if block.names]
        self._written = self._end = 0

    def add(self, name: str, there: os.stat_result, place: int, summary: Summary, now: int) -> None:
        """Puts a file on the roll that ends as the summary says, which begins at ``place`` in the index. ``now`` is no later than when ``there`` was
        looked at, in nanoseconds.
        """
        block = self._young
        if max(there.st_mtime_ns, there.st_ctime_ns) + _AGE <= now:
            if len(self._blocks) == self._written or len(self._blocks[-1].names) >= _TOGETHER:
                self._blocks.append(Block())
            block = self._blocks[-1]
            self._changes += 1
        else:
            self._least = place if self._least is None else min(self._least, place)
        self._rows[name] = seen(there) + _ROW.pack(place, mark_of(summary).encode())
        block.names.append(name)
        if block.spent is not None:
            block.spent.take_in(Ledger.from_json(summary.spent))

    def spent(self) -> Ledger | None:
        """What all of these chains spent; ``None`` where the index does not tell any more."""
        whole = Ledger()
        for block in (*self._blocks, self._young):
            if block.spent is None:
                block.spent = self._added_up(block.names)
                if block.spent is None:
                    return None
            whole.take_in(block.spent)
        return whole

    def _added_up(self, names: Iterable[str]) -> Ledger | None:
        added = Ledger()
        for name in names:
            summary = self._summary(name)
            if summary is None:
                return None
            added.take_in(Ledger.from_json(summary.spent))
        return added

    def _summary(self, name: str) -> Summary | None:
        return self.told.at(_ROW.unpack_from(self._rows[name], _SEEN.size)[0], name)

    def ending_with(self, marks: Iterable[str]) -> Iterator[Summary]:
        """The chains that have one of these marks."""
        wanted = {each.encode() for each in marks if not each.startswith(TAKEN_OUT)}
        for name, row in self._rows.items() if wanted else ():
            if _ROW.unpack_from(row, _SEEN.size)[1] in wanted:
                summary = self._summary(name)
                if summary is not None:
                    yield summary

    def flaw(self) -> str | None:
        """What on it is not as the index has it, with its place."""
        for block in self._blocks:
            there = block.spent and block.spent.as_json()
            due = self._added_up(block.names)
            if due is None or there != due.as_json():
                first = told(block.names[0])
                return (
                    f"{self._path}: the sum of what {first} and those behind it spent is not what the index says; remove this file, and it is"
                    " made anew"
                )
        return None

    def write(self) -> None:
        """Writes what is new, where there is enough of it; raises OSError."""
        if self._changes < _WORTH or self.told.damaged or self.spent() is None:
            return
        start = self.told.size if self._least is None else min(self._least, self.told.size)
        index = [start, self.told.size, self.told.digest]
        data = b"".join(self._bytes(block, index) for block in self._blocks[self._written :])
        if self._end:
            self._disk.append(self._path, data, at=self._end)
        else:
            self._disk.create(self._path, data)

    def _bytes(self, block: Block, index: list[Any]) -> bytes:
        names = "\n".join(block.names).encode()
        spent = [] if block.spent is None else block.spent.as_json()
        head = {"format": _FORMAT, "index": index, "names": len(names), "rows": len(block.names), "spent": spent}
        raw = canonical(head)[:-1]
        rest = names + b"".join(map(self._rows.__getitem__, block.names)) + b"\n"
        return b'%b%b%b"}\n%b' % (raw, _SUM, hashlib.sha256(raw + rest).hexdigest().encode(), rest)

    def _read(self) -> Extent:
        """Takes in the blocks, up to one that is not whole."""
        known = Extent()
        with suppress(OSError, ValueError, TypeError, KeyError, RecursionError), FileIO(self._path) as file:
            whole = file.readall()
            while self._end < len(whole):
                known = self._take_in(memoryview(whole), whole.index(b"\n", self._end) + 1)
        return known

    def _take_in(self, whole: memoryview, body: int) -> Extent:
        """Takes in the block whose names begin at ``body``. Raises ValueError, TypeError or KeyError for what is none."""
        raw, mark, digest = bytes(whole[self._end : body]).rpartition(_SUM)
        head: dict[str, Any] = json.loads(raw + b"}")
        count, rows = head["rows"], body + head["names"]
        end = rows + count * _WIDTH + 1
        rest = whole[body:end]
        made = hashlib.sha256(raw)
        made.update(rest)
        if not mark or digest != made.hexdigest().encode() + b'"}\n' or head["format"] != _FORMAT:
            raise ValueError("it is not whole")
        names = bytes(whole[body:rows]).decode().split("\n")
        if not self._rows.keys().isdisjoint(names):
            raise ValueError("a file is on it twice")
        known = Extent(*head["index"])
        block = Block(names, Ledger.from_json(head["spent"]))
        cut = (bytes(whole[rows + at : rows + at + _WIDTH]) for at in range(0, count * _WIDTH, _WIDTH))
        self._rows.update(zip(names, cut, strict=True))
        self._blocks.append(block)
        self._written, self._end = len(self._blocks), end
        return known
