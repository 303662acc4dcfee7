"""Files of JSON lines: one append-only file a root thread, an entry a line, made for ``tail -f`` and ``jq``.

The newline is the commit mark: what stands behind the last one was never committed, and is cut off by the next append. A line
that holds anything but the canonical form of a sound entry is damage, and is reported with its place.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Mapping
from contextlib import suppress
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Final, cast

from attrs import field, frozen

from organism.errors import JournalError, reason_of
from organism.files import is_there
from organism.journal.chain import CHANGED, Head, head_of, is_sealed, misplaced, seal
from organism.journal.disk import Disk
from organism.journal.filenames import SUFFIX, file_name, is_file_name, root_of_name
from organism.journal.room import make_folder
from organism.names import counted

if TYPE_CHECKING:
    from collections.abc import Collection, Container, Iterable, Iterator
    from pathlib import Path
    from typing import BinaryIO, NoReturn

_log: Final = logging.getLogger("organism.journal")
_FILES: Final = 100
"""Files that are open at once."""
_STEP: Final = 4_096
"""Bytes from the end at which a line is looked for first."""


@frozen
class Line:
    """A sound line of a file: its number from 1, its entry, and the bytes up to its end."""

    number: int
    entry: Mapping[str, Any]
    end: int


@frozen
class End:
    """Where a chain goes on: its head, and how long its file is."""

    head: Head = field(factory=Head)
    size: int = 0


class LineFiles:
    """One file a root thread in ``folder``, which is made with the first append.

    ``durable``: an append is over when it would survive a power cut; else when it would survive the process. Append to a folder
    from one process only.
    """

    def __init__(self, folder: Path, *, durable: bool = True, disk: Disk | None = None) -> None:
        self.folder = folder
        self.disk = disk if disk is not None else Disk(durable=durable)
        self._ends: dict[str, End] = {}
        self._strays: dict[str, Path] = {}
        """Files that do not say any more whose they are, by the name that stands for them."""
        self._closed = False

    def path(self, root: str) -> Path:
        """The file of a root thread, whether it is there or not."""
        return self._strays.get(root) or self.folder / file_name(root)

    def extend(self, root: str, contents: Iterable[bytes]) -> None:
        """Writes what the codec made of several facts, each in its canonical form; all or nothing. Raises JournalError."""
        written = self.extend_all({root: contents})[root]
        if isinstance(written, JournalError):
            raise written

    def extend_all(
        self, chains: Mapping[str, Iterable[bytes]], *, whole: Collection[str] = ()
    ) -> dict[str, list[End] | JournalError]:
        """Writes to several chains, to each all or nothing; returns for each its end behind every fact, or why it could not be done.

        If the process is killed meanwhile, the first lines of what is written may stay behind, which is a shorter history. Of a new
        chain in ``whole``, nothing stays behind: its first lines alone would be another history.
        """
        if self._closed:
            return {root: JournalError(f"the journal in {self.folder} is closed") for root in chains}
        done: dict[str, list[End] | JournalError] = {}
        parts: dict[str, tuple[End, bytearray, list[End]]] = {}
        for root, contents in chains.items():
            try:
                parts[root] = self._sealed(root, contents)
            except JournalError as error:
                done[root] = error
        for root in [root for root, (end, *_) in parts.items() if root in whole and not end.size]:
            _, lines, ends = parts.pop(root)
            try:
                self.disk.create(self.path(root), lines)
            except OSError as error:
                done[root] = self._cannot(root, error)
            else:
                self._ends[root] = ends[-1]
                done[root] = ends
        waiting = list(parts.items())
        for start in range(0, len(waiting), _FILES):
            some = waiting[start : start + _FILES]
            todo = [(self.path(root), lines, end.size) for root, (end, lines, _) in some]
            for (root, (end, _, ends)), reason in zip(some, self.disk.append_all(todo), strict=True):
                if reason is None:
                    self._ends[root] = ends[-1] if ends else end
                    done[root] = ends
                else:
                    done[root] = self._cannot(root, reason)
        return done

    def _sealed(self, root: str, contents: Iterable[bytes]) -> tuple[End, bytearray, list[End]]:
        """Where the chain ends, the lines that are to be written there, and its end after each of them."""
        try:
            # Kept before anything is written: what an append leaves behind that fails is known by where it began.
            end = self._ends[root] = self._ends.get(root) or self._opened(root, self.path(root))
        except OSError as error:
            raise self._cannot(root, error) from error
        head, lines, ends = end.head, bytearray(), list[End]()
        for content in contents:
            line, head = seal(content, head)
            lines += line + b"\n"
            ends.append(End(head, end.size + len(lines)))
        return end, lines, ends

    def _cannot(self, root: str, error: OSError) -> JournalError:
        path = self.path(root)
        with suppress(OSError):
            if not is_there(path):
                self.let_go(root)
        return JournalError(f"{path} cannot be written: {reason_of(error)}")

    def end(self, root: str) -> End | None:
        """Where a chain goes on, as far as it was looked at or written to."""
        return self._ends.get(root)

    def goes_on(self, root: str, end: End) -> None:
        """Takes this for the end of a chain: whoever says so has checked it."""
        self._ends[root] = end

    def let_go(self, root: str) -> None:
        """Forgets where the chain of a thread ends, since it has; a later append looks again."""
        self._ends.pop(root, None)

    def _opened(self, root: str, path: Path) -> End:
        """The end of a chain that may be there already; all of it is checked."""
        make_folder(self.folder)
        end = End()
        if is_there(path):
            for line in self.lines(root):
                end = End(head_of(line.entry), line.end)
            self.say_torn(root, end.size)
        return end

    def say_torn(self, root: str, size: int) -> None:
        """Says what stands behind the last line of a file, which the next append cuts off."""
        path = self.path(root)
        torn = path.stat().st_size - size
        if torn:
            _log.warning("%s: what was never committed is cut off at its end: %s", path, counted(torn, "byte"))

    def lines(self, root: str, start: End | None = None) -> Iterator[Line]:
        """The lines of a root thread as they stand there, each checked; none of one that is not known.

        ``start`` is the end of those that are left out. What was not committed is passed over. Raises JournalError with the
        file and line of the first bad one.
        """
        path = self.path(root)
        # Behind what this journal has committed there may be the rest of an append that failed.
        known = self._ends.get(root)
        try:
            with path.open("rb") as file:
                yield from _checked(path, file, root, None if known is None else known.size, start or End())
        except FileNotFoundError:
            return
        except OSError as error:
            raise JournalError(f"{path} cannot be read: {reason_of(error)}") from error

    def near(self, root: str, number: int) -> End:
        """The end of a line that is among the first ``number``, and so near to the last of these that no more than about twice is read
        of what is behind them; that of no line where the file does not show one.

        What is before it is not read: whoever reads on from there checks what follows from it.
        """
        path, back = self.path(root), _STEP
        with suppress(OSError, JournalError), path.open("rb") as file:
            known = self._ends.get(root)
            size = file.seek(0, os.SEEK_END) if known is None else known.size
            while back < size:
                file.seek(size - back)
                file.readline()  # the rest of a line
                raw = file.readline()
                entry = _entry(raw, str(path)) if raw.endswith(b"\n") else {}
                found = entry.get("n")
                if type(found) is int and found <= number:
                    sound = entry.get("root") == root and is_sealed(raw[:-1], entry)
                    return End(head_of(entry), file.tell()) if sound else End()
                back *= 2
        return End()

    def roots(self) -> tuple[str, ...]:
        """The root threads that there are files of, in the order of their names."""
        found = (self.root_in(each.name) for each in sorted(self.found(), key=attrgetter("name")))
        return tuple(root for root in found if root is not None)

    def are_there(self) -> bool:
        """Whether there is any file that may be ours."""
        return any(True for _ in self.found())

    def found(self, known: Container[str] = ()) -> Iterator[os.DirEntry[str]]:
        """The files that may be ours, in no order; those of ``known`` names are. Raises JournalError."""
        try:
            with os.scandir(self.folder) as found:
                yield from (each for each in found if each.name in known or is_file_name(each.name))
        except FileNotFoundError:
            return
        except OSError as error:
            raise JournalError(f"{self.folder} cannot be read: {reason_of(error)}") from error

    def root_in(self, name: str) -> str | None:
        """The thread of a file; nothing for what is no file of ours. One with a long id stands in its lines, and where none says so
        the file goes by its own name, and is damaged.
        """
        try:
            root = root_of_name(name)
        except UnicodeDecodeError:
            return None
        if root is not None:
            return root if file_name(root) == name else None
        path = self.folder / name
        committed = False
        with suppress(OSError), path.open("rb") as file:
            for number, raw in enumerate(file, 1):
                committed = committed or raw.endswith(b"\n")
                with suppress(JournalError):
                    found = _entry(raw, f"{path}:{number}").get("root")
                    if isinstance(found, str) and file_name(found) == name:
                        return found
            if not committed:
                return None
        stray = name.removesuffix(SUFFIX)
        self._strays[stray] = path
        return stray

    def verify(self, root: str) -> str | None:
        """The first bad line of a root thread, as ``FILE:LINE: problem``; ``None`` where all are sound."""
        try:
            for _ in self.lines(root):
                pass
        except JournalError as error:
            return str(error)
        return None

    def close(self) -> None:
        """Nothing is open between two appends; nothing more is written."""
        self._closed = True
        self._ends.clear()


def _checked(path: Path, file: BinaryIO, root: str, size: int | None, start: End) -> Iterator[Line]:
    head, end = start.head, start.size
    file.seek(end)
    for number, raw in enumerate(file, head.number + 1):
        if not raw.endswith(b"\n") or (size is not None and end >= size) or _torn_page(raw, file):
            return
        entry = _entry(raw, f"{path}:{number}")
        problem = misplaced(entry, head, root) if is_sealed(raw[:-1], entry) else CHANGED
        if problem is not None:
            raise JournalError(f"{path}:{number}: {problem}")
        head, end = head_of(entry), end + len(raw)
        yield Line(number, entry, end)


def _torn_page(raw: bytes, file: BinaryIO) -> bool:
    """Whether it is the last line, and has a hole in it: a power cut left pages of it unwritten. JSON holds no zero byte."""
    return b"\0" in raw and not file.peek(1)  # type: ignore[attr-defined] # what Path.open gives is buffered


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a JSON number")


def _entry(raw: bytes, place: str) -> dict[str, Any]:
    try:
        entry = json.loads(raw.decode(), parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise JournalError(f"{place}: was changed: it is not JSON ({error})") from None
    if not isinstance(entry, dict):
        raise JournalError(f"{place}: was changed: it is not a JSON object")
    return cast("dict[str, Any]", entry)
