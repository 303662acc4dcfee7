"""Durable execution: the journal that a running organism owns, written behind it, and read to go on where a process left off."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from organism.errors import JournalError
from organism.facts import Ended
from organism.journal import Journal, Lock, open_journal, place_of
from organism.kernel import recovery
from organism.loader import payloads_beside
from organism.payloads import Vocabulary
from organism.pump.writer import Writer

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence

    from organism.frames import Thread
    from organism.journal import Chain
    from organism.kernel import Kernel
    from organism.settings import Settings


class Offload(Protocol):
    """Runs what waits for the disk, so that the event loop does not."""

    def __call__(self, work: Callable[[], Any], /) -> Awaitable[Any]:
        """Its result; raises what it raises."""
        ...


class Durable:
    """The journal on a disk of one running organism. ``now`` is the organism's clock, ``identity`` what other processes are told of
    it while it owns the journal.
    """

    def __init__(
        self,
        settings: Settings,
        kernel: Kernel,
        *,
        now: Callable[[], float],
        offload: Offload,
        identity: Mapping[str, str],
        classes: Iterable[type],
    ) -> None:
        place = place_of(settings.journal, folder=settings.folder)
        if place is None:
            raise JournalError(f"{settings.journal} does not outlive its process")
        self._settings = settings
        self._kernel = kernel
        self._now = now
        self._offload = offload
        self._lock = Lock(place, identity)
        self._vocabulary = Vocabulary(classes)
        self._journal: Journal | None = None
        self._writer: Writer | None = None
        self.unfinished: tuple[Chain, ...] = ()
        """The chains that an earlier process left open, and that were not taken up yet."""

    async def open(self, *, failed: Callable[[str, JournalError], None], moved: Callable[[], None]) -> Writer:
        """Takes the journal and begins with what was spent before. ``failed`` and ``moved`` are as for the Writer.

        Raises JournalHeldError where another process has it, and JournalError where it cannot be opened.
        """
        journal, spendings, unfinished = await self._offload(self._opened)
        self._journal = journal
        self.unfinished = tuple(unfinished)
        recovery.begin(self._kernel, spendings, self._now())
        self._writer = Writer(journal, self._offload, failed=failed, due=self._snapshot, moved=moved)
        self._kernel.book.listen(self._writer.record)
        return self._writer

    def _opened(self) -> tuple[Journal, Any, Sequence[Chain]]:
        settings = self._settings
        self._lock.take()
        try:
            journal = open_journal(
                settings.journal,
                folder=settings.folder,
                vocabulary=self._vocabulary,
                durable=settings.durability == "full",
            )
            return journal, journal.spendings(), journal.chains(open=True)
        except BaseException:
            self._lock.release()
            raise

    def _snapshot(self, root: str) -> None:
        thread = self._kernel.state.threads.get(root)
        if thread is not None and not thread.ended:
            self._kernel.snapshot(thread, self._now())

    @property
    def _owned(self) -> tuple[Journal, Writer]:
        if self._journal is None or self._writer is None:
            raise JournalError("the journal is not open")
        return self._journal, self._writer

    async def recover(self, root: str) -> Thread | None:
        """Takes up a chain that an earlier process left, or whose writing failed; ``None`` where nothing of it is unfinished.

        Raises JournalError where it is damaged; then it stays as it is.
        """
        journal, writer = self._owned
        await writer.flush()
        chain = next((each for each in self.unfinished if each.root == root), None)
        since = max((each.last for each in self.unfinished), default=self._now())
        record = await self._offload(lambda: tuple(journal.recall(root)))
        self.unfinished = tuple(each for each in self.unfinished if each is not chain)
        writer.thaw(root)
        return recovery.recover(self._kernel, record, self._now(), since=min(since, self._now()))

    async def end_of(self, thread: str) -> Ended | None:
        """The final record of a root thread that has ended, whichever process ran it; ``None`` where there is none."""
        journal, _ = self._owned

        def look() -> Ended | None:
            root = journal.root_of(thread)
            found = () if root is None else journal.recall(root)
            return next((fact for fact in found if isinstance(fact, Ended) and fact.thread == thread), None)

        found: Ended | None = await self._offload(look)
        return found

    def left(self, root: str) -> bool:
        """Whether an earlier process left this chain unfinished."""
        return any(each.root == root for each in self.unfinished)

    async def flush(self) -> None:
        """Writes what is recorded and not written yet."""
        await self._owned[1].flush()

    async def close(self) -> None:
        """Writes what is left, and gives the journal back. Closing twice is once."""
        if self._journal is None or self._writer is None:
            return
        journal, self._journal = self._journal, None
        await self._writer.flush()
        await self._offload(journal.close)
        self._lock.release()


def payload_classes(settings: Settings) -> Iterator[type]:
    """The payload classes that an organism's handlers take, send and keep, as far as they can be known; the first of a name."""
    found: dict[str, type] = {}
    for handler in settings.handlers.values():
        for cls in (*handler.accepts, *(handler.agent.replies if handler.agent else payloads_beside(handler.code))):
            found.setdefault(cls.__name__, cls)
    yield from found.values()


__all__ = ["Durable", "payload_classes"]
