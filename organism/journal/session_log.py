"""The session log: the lines of every root thread for people, beside any journal, as far as that is possible.

It is never in the way of the work: facts wait in a bounded buffer for a thread of their own, which alone touches the disk. What
does not fit in, or cannot be written, is dropped; the file says how much where it is missing, and the log says it once.
"""

from __future__ import annotations

import logging
import threading
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Final

from attrs import define

from organism.errors import JournalError
from organism.facts import Ended
from organism.journal.codec import encode, encode_lost
from organism.journal.lines import LinesJournal

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path
    from typing import Any

    from organism.facts import Fact
    from organism.journal.disk import Disk

_log: Final = logging.getLogger("organism.journal")

ROOM: Final = 50_000
"""Facts that may wait to be written."""
PAUSE: Final = 0.05
"""Seconds between two looks at what waits: what comes within is written together."""
PATIENCE: Final = 10.0
"""Seconds that closing waits for a disk that does not answer."""
_BATCH: Final = 2_000
"""Facts that are written before the next look; those of one thread in one go."""
_MOST_LOSSES: Final = 10_000
"""Threads of which is known what is missing in their files. Of older ones only the sum is kept."""


@define
class _Loss:
    """How many facts of a thread are missing, and when the last of them was."""

    count: int
    at: float


class SessionLog:
    """Writes facts to a folder of JSON lines, in a thread of its own, from :meth:`start` to :meth:`close`.

    ``room`` is how many facts may wait, ``patience`` how many seconds closing waits for the disk.
    """

    def __init__(self, folder: Path, *, room: int = ROOM, patience: float = PATIENCE, disk: Disk | None = None) -> None:
        self._journal = LinesJournal(folder, durable=False, disk=disk)
        self._room = room
        self._patience = patience
        self._waiting: SimpleQueue[tuple[str, Fact]] = SimpleQueue()
        self._overflow: dict[str, _Loss] = {}
        self._lock = threading.Lock()
        self._losses: dict[str, _Loss] = {}
        self._dropped = 0
        self._warned = False
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._work, name="organism session log", daemon=True)

    def start(self) -> None:
        """Starts to write."""
        self._thread.start()

    def record(self, root: str, fact: Fact) -> None:
        """Takes a fact; never waits, never raises."""
        if self._waiting.qsize() < self._room:
            self._waiting.put((root, fact))
            return
        with self._lock:
            _count(self._overflow, root, 1, fact.at)

    def close(self) -> None:
        """Writes what waits, and stops; blocks until then, or until its patience ends. Closing twice is once.

        Call it when no more facts come, and in a worker thread.
        """
        if self._closing.is_set():
            return
        self._closing.set()
        self._thread.join(self._patience)
        if self._thread.is_alive():
            _log.warning(
                "session log %s: the disk did not answer for %g s; about %d facts are not written",
                self._journal.folder, self._patience, self._waiting.qsize() + self._dropped,
            )  # fmt: skip
        elif self._dropped:
            _log.warning(
                "session log %s: %d facts are missing in it; its files say where, as far as they could be written",
                self._journal.folder, self._dropped,
            )  # fmt: skip

    # In its own thread

    def _work(self) -> None:
        while True:
            last = self._closing.wait(PAUSE)
            while batch := self._next():
                self._write(batch)
            self._take_overflow()
            if last:
                for root in tuple(self._losses):
                    self._write_chain(root, [])
                self._journal.close()
                return

    def _next(self) -> list[tuple[str, Fact]]:
        batch: list[tuple[str, Fact]] = []
        try:
            while len(batch) < _BATCH:
                batch.append(self._waiting.get_nowait())
        except Empty:
            pass
        return batch

    def _write(self, batch: Sequence[tuple[str, Fact]]) -> None:
        chains: dict[str, list[Fact]] = {}
        for root, fact in batch:
            chains.setdefault(root, []).append(fact)
        for root, some in chains.items():
            self._write_chain(root, some)

    def _write_chain(self, root: str, some: Sequence[Fact]) -> None:
        """Writes facts of one thread, behind a word about those that are missing before them."""
        contents: list[Mapping[str, Any]] = []
        for fact in some:
            try:
                contents.append(encode(fact, root))
            except JournalError as error:
                self._lose(root, 1, fact.at, error)
        loss = self._losses.get(root)
        if loss is not None:
            contents.insert(0, encode_lost(root, loss.count, loss.at))
        try:
            if contents:
                self._journal.extend(root, contents)
            self._losses.pop(root, None)
        except JournalError as error:
            written = len(contents) - (loss is not None)
            if written:
                self._lose(root, written, some[-1].at, error)
        if any(isinstance(fact, Ended) and fact.thread == root for fact in some):
            self._journal.let_go(root)

    def _take_overflow(self) -> None:
        with self._lock:
            over, self._overflow = self._overflow, {}
        for root, loss in over.items():
            self._lose(root, loss.count, loss.at, f"more than {self._room} facts wait to be written")

    def _lose(self, root: str, count: int, at: float, reason: object) -> None:
        self._dropped += count
        _count(self._losses, root, count, at)
        if not self._warned:
            self._warned = True
            _log.warning(
                "session log %s: %s; what cannot be written is left out, and the work goes on",
                self._journal.folder, reason,
            )  # fmt: skip


def _count(losses: dict[str, _Loss], root: str, count: int, at: float) -> None:
    known = losses.get(root)
    if known is not None:
        known.count, known.at = known.count + count, at
        return
    if len(losses) >= _MOST_LOSSES:
        losses.pop(next(iter(losses)))
    losses[root] = _Loss(count, at)
