"""The journal of JSON lines: a folder with one file a root thread, a fact a line, made for ``tail -f`` and ``jq``."""

from __future__ import annotations

import logging
from contextlib import closing, nullcontext
from typing import TYPE_CHECKING, Any, Final

from attrs import evolve

from organism.errors import JournalError, reason_of
from organism.files import is_there
from organism.journal.chain import canonical, checked, content_of
from organism.journal.codec import check_not_newer, decode, written_of
from organism.journal.folder_index import NAME, OVER, REMOVED, SNAPSHOT, Summary
from organism.journal.folder_known import Known
from organism.journal.folder_reader import LinesReader
from organism.journal.folder_roll import Told
from organism.journal.room import make_folder
from organism.journal.standing import begins_chain
from organism.names import CONVERSATION, told
from organism.record.facts import Forked, Snapshot

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from organism.journal.disk import Disk
    from organism.journal.lines import End
    from organism.journal.lock import Lock
    from organism.journal.secrets import Marked
    from organism.payloads import Vocabulary
    from organism.record.facts import Fact

_log: Final = logging.getLogger("organism.journal")
_DEARER: Final = 20
"""How many times as long it takes to read a byte of an entry as to look at one of the index."""
_IDLE: Final = 1_000
"""Conversations between two turns whose standing is kept; that of others is read again."""


class LinesJournal(LinesReader):
    """The journal in ``folder``, which is made with the first write.

    With a ``vocabulary``, what is read has its payloads as objects, without one as PlainPayload. ``durable``: what is written
    survives a power cut, else the end of the process. ``readonly``: nothing is made or written. Write to a folder from one
    process only: with a ``lock``, only while it holds. A chain that is damaged is nobody's but its own hindrance: it is listed as
    open, and what is sound of it counts. Raises JournalError.
    """

    def __init__(
        self,
        folder: Path,
        vocabulary: Vocabulary | None = None,
        *,
        durable: bool = True,
        readonly: bool = False,
        disk: Disk | None = None,
        lock: Lock | None = None,
        marked: Marked | None = None,
    ) -> None:
        super().__init__(folder, vocabulary, durable=durable, readonly=readonly, disk=disk, lock=lock)
        self._marked = marked

    def write(self, batch: Sequence[tuple[str, Fact]]) -> Mapping[str, JournalError]:
        """Writes facts to the ends of the files of their chains, to each all or nothing."""
        chains: dict[str, list[Fact]] = {}
        for root, fact in batch:
            chains.setdefault(root, []).append(fact)
        wrong = self._presence.refusal()
        if wrong is not None:
            return dict.fromkeys(chains, wrong)
        failed: dict[str, JournalError] = {}
        contents: dict[str, list[bytes]] = {}
        for root, facts in chains.items():
            try:
                made = [written_of(fact, root, self._marked) for fact in facts]
                written, facts[:] = [raw for raw, _ in made], [fact for _, fact in made]
                self._load(root)
                if not self._known[root].end.size:
                    late = next((count for count, fact in enumerate(facts) if begins_chain(fact)), len(facts))
                    del facts[:late], written[:late]
                if facts:
                    contents[root] = written
                else:
                    self._let_go(root)
            except JournalError as error:
                failed[root] = error
        summaries: list[Summary] = []
        copies = {root for root in contents if isinstance(chains[root][0], Forked)}
        for root, done in self._files.extend_all(contents, whole=copies).items():
            if isinstance(done, JournalError):
                failed[root] = (
                    done  # what is known of the chain holds: behind its end there is nothing that was committed
                )
            else:
                summaries += self._written(root, chains[root], done)
        self._note(summaries)
        return failed

    def _written(self, root: str, facts: Iterable[Fact], ends: Iterable[End]) -> Iterator[Summary]:
        """Takes in what was written to a chain; gives what the index is to say of it."""
        known = self._known[root]
        for fact, end in zip(facts, ends, strict=True):
            if isinstance(fact, Snapshot) and not known.standing.copies:  # else what follows would count as spent
                self._snapshots[root] = known.summary(SNAPSHOT)
                if known.is_due(SNAPSHOT):
                    yield known.told(self._snapshots[root])
            before = len(known.standing.threads)
            known.take_in(fact, end)
            if self._names is not None:
                self._names.update(map(hash, known.standing.opened(before)))
        if known.standing.over:
            if known.is_due(OVER):
                yield known.told(known.summary(OVER))
            if not root.startswith(CONVERSATION):
                self._snapshots.pop(root, None)
                self._let_go(root)
            elif len(self._known) > _IDLE:
                self._let_go(root)

    def _let_go(self, root: str) -> None:
        self._known.pop(root, None)
        self._files.let_go(root)

    def _note(self, summaries: Sequence[Summary]) -> None:
        """Writes to the index. What it lacks is read from the chains themselves, so it is in nobody's way."""
        if summaries:
            try:
                self._index.add(summaries)
            except (OSError, JournalError) as error:
                why = reason_of(error)
                _log.warning("%s: the index could not be written (%s); the chains are read instead", self.folder, why)

    def put(self, root: str, documents: Iterable[Mapping[str, Any]]) -> None:
        """Takes in a chain that another journal gave; raises JournalError, then nothing of it is there."""
        self._presence.check()
        entries = checked(root, documents)
        if self._first_line(root):
            raise JournalError(f"{self.path(root)}: thread {told(root)} is there already")
        facts = [decode(content_of(each)) for each in entries]
        self._known[root] = Known.new(root)
        written = [canonical(content_of(each)) for each in entries]
        done = self._files.extend_all({root: written}, whole={root})[root]
        if isinstance(done, JournalError):
            raise done
        self._note(list(self._written(root, facts, done)))
        self._let_go(root)

    def remove(self, *roots: str) -> None:
        """Removes chains that are over; what they spent stays in the index. What is said there of one whose file stays does not count."""
        self._presence.check()
        going = self._going(roots)
        path = self.folder / NAME
        try:
            self._gone.goes(going)
            for root, path in zip(roots, map(self.path, roots), strict=True):
                path.unlink()
                self._snapshots.pop(root, None)
                self._let_go(root)
        except OSError as error:
            raise JournalError(f"{path} cannot be removed: {reason_of(error)}") from error

    def _going(self, roots: Sequence[str]) -> list[Summary]:
        """How these chains stand that are to be removed, by the index where they are long: to read an entry takes many times as long as to pass
        over as much of the index.
        """
        for root in roots:
            if not self._first_line(root):
                raise JournalError(f"{self.folder}: thread {told(root)} is not there")
        index = self.folder / NAME
        by_index = is_there(index) and index.stat().st_size < _DEARER * sum(
            self.path(root).stat().st_size for root in roots
        )
        with closing(Told(index)) if by_index else nullcontext() as found:
            return [self._removable(root, None if found is None else found.last_of(root)) for root in roots]

    def _removable(self, root: str, over: Summary | None) -> Summary:
        if over is not None and root not in self._known and self._ends_so(over):
            try:
                for entry in self.documents(root, after=over.entries - 1):
                    check_not_newer(entry)
            except JournalError as error:
                raise JournalError(f"{self.path(root)}: {error}; nothing was removed") from None
            return evolve(over, kind=REMOVED, ending=None)
        known = self._known.get(root) or self._read(root)
        if not known.standing.over:
            raise JournalError(f"{self.path(root)}: is not finished; only a chain that is over can be removed")
        return known.summary(REMOVED)

    def close(self) -> None:
        """Nothing is open between two writes; nothing more is written, but how conversations stand."""
        if self._keeps:
            self._note([each.summary(OVER) for each in self._known.values() if each.is_untold])
        self._presence.closed = True
        self._known.clear()
        self._files.close()

    def _load(self, root: str) -> None:
        """Makes a chain known that may be there already; it is checked from its last snapshot on."""
        known = self._known.get(root)
        if known is not None and self._files.end(root) is not None:
            return
        try:
            make_folder(self.folder)
            self._presence.began()
            known = self._known[root] = known or self._read(root)
            if is_there(self.path(root)):
                self._files.say_torn(root, known.end.size)
            if known.standing.over:
                self._gone.goes_on(known.summary(OVER))
        except OSError as error:
            raise JournalError(f"{self.path(root)} cannot be written: {reason_of(error)}") from error
        self._files.goes_on(root, known.end)
