"""The session log: the lines of every root thread for people, beside any journal, as far as that is possible.

It is never in the way of the work: facts wait in a bounded buffer for a thread of their own, which alone touches the disk. What
does not fit in, or cannot be written, is dropped; the file says how much where it is missing, and the log says it once.
"""

from __future__ import annotations

import logging
import threading
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Final

from attrs import define, frozen

from organism.errors import JournalError
from organism.journal.chain import canonical
from organism.journal.codec import content, encode_lost
from organism.journal.lines import LineFiles
from organism.names import CONVERSATION, counted
from organism.record.facts import Ended

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from organism.journal.disk import Disk
    from organism.journal.secrets import Marked
    from organism.record.facts import Fact

_log: Final = logging.getLogger("organism.journal")

ROOM: Final = 50_000
"""Facts that may wait to be written."""
PAUSE: Final = 0.05
"""Seconds between two looks at what waits: what comes within is written together."""
PATIENCE: Final = 10.0
"""Seconds that closing waits for a disk that does not answer."""
BREATH: Final = 0.001
"""Seconds that the work has for itself after each batch."""
_BATCH: Final = 20
"""Facts that are written between two breaths; those of one thread in one go. They take about a millisecond."""
_MOST_LOSSES: Final = 10_000
"""Threads of which it is known what is missing in their files. Of older ones only the sum is kept."""

_MOST_ENDS: Final = 10_000
"""Conversations of which it is known where their files end: they last for ever. The files of older ones are read again."""


@define
class _Loss:
    """How many facts of a thread are missing, and when the last of them was."""

    count: int
    at: float


@frozen
class _Content:
    """What is written in one line. ``lost`` is how many facts it stands for that are missing; ``last``: its thread ended."""

    data: bytes
    at: float
    lost: int = 0
    last: bool = False


class SessionLog:
    """Writes facts to a folder of JSON lines, in a thread of its own, from :meth:`start` to :meth:`close`.

    ``room`` is how many facts may wait, ``patience`` how many seconds closing waits for the disk.
    """

    def __init__(
        self,
        folder: Path,
        *,
        room: int = ROOM,
        patience: float = PATIENCE,
        disk: Disk | None = None,
        marked: Marked | None = None,
    ) -> None:
        self._marked = marked
        self._journal = LineFiles(folder, durable=False, disk=disk)
        self._room = room
        self._patience = patience
        self._waiting: SimpleQueue[tuple[str, Fact | _Loss]] = SimpleQueue()
        self._overflow: dict[str, _Loss] = {}
        self._losses: dict[str, _Loss] = {}
        self._talks: dict[str, None] = {}
        """The conversations that were written last."""
        self._dropped = 0
        self._forgotten = 0
        self._warned = False
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._work, name="organism session log", daemon=True)

    def start(self) -> None:
        """Starts to write. Where no thread can be started, nothing is written, and the log says so."""
        try:
            self._thread.start()
        except RuntimeError as error:
            self._closing.set()
            _log.warning("session log %s is not written: %s", self._journal.folder, error)

    def record(self, root: str, fact: Fact) -> None:
        """Takes a fact; never waits, never raises. Call it from one thread only."""
        if self._closing.is_set():
            return
        if self._waiting.qsize() >= self._room:
            self._forgotten += _note(self._overflow, root, 1, fact.at)
            return
        if self._overflow:
            loss = self._overflow.pop(root, None)
            if loss is not None:
                self._waiting.put((root, loss))
        self._waiting.put((root, fact))

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
                "session log %s: the disk did not answer for %g s; not written: about %s",
                self._journal.folder, self._patience, counted(self._waiting.qsize() + self._dropped, "fact"),
            )  # fmt: skip
        elif self._dropped:
            _log.warning(
                "session log %s lacks %s; where is marked in its files, as far as those could be written",
                self._journal.folder, counted(self._dropped, "fact"),
            )  # fmt: skip

    # In its own thread

    def _work(self) -> None:
        try:
            while not self._closing.wait(PAUSE):
                self._drain()
            self._drain()
            # No more facts come: what the recording side has noted is no longer its own.
            if self._forgotten:
                self._miss(self._forgotten, self._full())
            for root, loss in self._overflow.items():
                self._write_chain(root, [self._content(root, loss)])
            for root in tuple(self._losses):
                self._write_chain(root, [])
            self._journal.close()
        except Exception:  # noqa: BLE001 - whatever it is, it is told, and must not end the process's work
            _log.exception("session log %s: nothing more is written to it; the work goes on", self._journal.folder)

    def _drain(self) -> None:
        while batch := self._next():
            chains: dict[str, list[_Content]] = {}
            for root, item in batch:
                chains.setdefault(root, []).append(self._content(root, item))
            for root, contents in chains.items():
                self._write_chain(root, contents)
            # Python runs one thread at a time: without a breath, the work would wait for this one to be done with all of it.
            self._closing.wait(BREATH)

    def _next(self) -> list[tuple[str, Fact | _Loss]]:
        batch: list[tuple[str, Fact | _Loss]] = []
        with suppress(Empty):
            while len(batch) < _BATCH:
                batch.append(self._waiting.get_nowait())
        return batch

    def _write_chain(self, root: str, contents: Sequence[_Content]) -> None:
        """Writes facts of one thread, behind a word about those that are missing before them."""
        before = self._losses.pop(root, None)
        some = [*([] if before is None else [_lost(root, before)]), *contents]
        try:
            self._journal.extend(root, [content.data for content in some])
        except JournalError as error:
            self._miss(sum(not content.lost for content in some), error)
            _note(self._losses, root, sum(content.lost or 1 for content in some), some[-1].at)
            return
        if any(content.last for content in some):
            self._journal.let_go(root)
        elif root.startswith(CONVERSATION):
            self._talks.pop(root, None)
            self._talks[root] = None
            if len(self._talks) > _MOST_ENDS:
                oldest = next(iter(self._talks))
                del self._talks[oldest]
                self._journal.let_go(oldest)

    def _content(self, root: str, item: Fact | _Loss) -> _Content:
        """What is written for a fact: where it cannot be, that it is missing."""
        if isinstance(item, _Loss):
            self._miss(item.count, self._full())
            return _lost(root, item)
        try:
            data = content(item, root, self._marked)
        except JournalError as error:
            self._miss(1, error)
            return _lost(root, _Loss(1, item.at))
        return _Content(data, item.at, last=isinstance(item, Ended) and item.thread == root)

    def _full(self) -> str:
        return f"more than {self._room} facts wait to be written"

    def _miss(self, count: int, reason: object) -> None:
        self._dropped += count
        if not self._warned:
            self._warned = True
            _log.warning(
                "session log %s: %s; what cannot be written is left out, and the work goes on",
                self._journal.folder, reason,
            )  # fmt: skip


def _lost(root: str, loss: _Loss) -> _Content:
    return _Content(canonical(encode_lost(root, loss.count, loss.at)), loss.at, lost=loss.count)


def _note(losses: dict[str, _Loss], root: str, count: int, at: float) -> int:
    """Adds to what is missing of a thread. Of very many threads the oldest one is forgotten; returns how many facts that were."""
    known = losses.get(root)
    if known is not None:
        known.count, known.at = known.count + count, at
        return 0
    forgotten = losses.pop(next(iter(losses))).count if len(losses) >= _MOST_LOSSES else 0
    losses[root] = _Loss(count, at)
    return forgotten
