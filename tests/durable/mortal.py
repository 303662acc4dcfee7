"""Organisms that die in the middle of their record, and what another one makes of the journal they leave."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
from attrs import define, field

from organism import Organism, ThreadResult
from organism.journal import open_journal
from organism.kernel.fold import Fold
from organism.payloads import Vocabulary
from organism.record.facts import CallCompleted, CallHeld, Ended, Fact, ThreadOpened
from organism.testing import ScriptedModel
from organism.works.control.changes import written_down
from organism.works.control.orders import Order
from tests.durable.inline import Inline, InlineWorks
from tests.durable.told_rows import check_kept
from tests.hard.budget_world import Done, Task
from tests.hard.pump_world import Go, Odd, Said
from tests.hard.time_of_day import HOUR

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from organism.errors import JournalError
    from organism.pump.writer import Writer

WORDS = Vocabulary([Go, Said, Odd, Task, Done])


class Killed(BaseException):
    """The process ended here."""


class MortalWorks(InlineWorks):
    """The parts of such an organism."""

    mortal: Mortal

    async def _opened(self) -> Writer | None:
        writer = await super()._opened()
        assert writer is not None
        self.mortal.kept = writer.journal
        journal: Any = _Journal(self.mortal, writer.journal)
        writer.journal = journal
        return writer

    async def _offload(self, work: Callable[[], Any]) -> Any:
        if self.mortal.died.is_set():
            raise Killed
        return await super()._offload(work)

    def _hand_over(self, work: Callable[[], Any], done: Callable[[Any], None]) -> None:
        super()._hand_over(self._killed if self.mortal.died.is_set() else work, done)

    def _killed(self) -> None:
        raise Killed


class Mortal(Inline):
    """An organism whose process dies when its journal has taken ``cut`` facts; ``None``: it does not."""

    cut: int | None = None
    dies_at: Callable[[Fact], bool] | None = None
    """The first fact that is not written any more, by what it says."""
    written = 0
    kept: Any = None
    """The journal that it has opened."""
    refuses: Callable[[str, Fact], JournalError | None] | None = None
    """Why a fact of a root thread cannot be written."""
    breaks: Callable[[], object] | None = None
    """Called before each write; what it raises is what the disk says."""

    def _setup(self, *how: Any) -> None:
        super()._setup(*how)
        self.died = anyio.Event()

    _parts = MortalWorks

    def _assembled(self, *how: Any) -> MortalWorks:
        works = super()._assembled(*how)
        assert isinstance(works, MortalWorks)
        works.mortal = self
        return works

    async def cancel_left(self, thread: str) -> None:
        """Cancels a thread that an earlier process left, without taking it up."""
        await self._write_down(Order(do="cancel", thread=thread), thread)

    async def pause_left(self, thread: str) -> None:
        """Pauses one."""
        await self._write_down(Order(do="pause", thread=thread), thread)

    async def _write_down(self, order: Order, thread: str) -> None:
        assert self._works is not None
        assert self._works.durable is not None
        await written_down(self._works.durable, thread, thread, order)

    def bury(self) -> None:
        """Lets go of what the system lets go of when a process ends."""
        assert self._works is not None
        durable = self._works.durable
        assert durable is not None
        if self.kept is not None:
            self.kept.close()
        durable._journal = None
        durable._lock.release()


class _Journal:
    def __init__(self, organism: Mortal, inner: Any) -> None:
        self._organism = organism
        self._inner = inner

    def write(self, batch: Sequence[tuple[str, Fact]]) -> Mapping[str, JournalError]:
        organism = self._organism
        if organism.breaks is not None:
            organism.breaks()
        room = len(batch) if organism.cut is None else min(len(batch), organism.cut - organism.written)
        if organism.dies_at is not None:
            room = next((place for place, (_, fact) in enumerate(batch[:room]) if organism.dies_at(fact)), room)
        refused: dict[str, JournalError] = {}
        taken: list[tuple[str, Fact]] = []
        for root, fact in batch[:room]:
            error = organism.refuses(root, fact) if organism.refuses is not None and root not in refused else None
            if error is not None:
                refused[root] = error
            if root not in refused:
                taken.append((root, fact))
        refused |= self._inner.write(taken)
        organism.written += room
        if room < len(batch):
            organism.died.set()
            raise Killed
        return refused

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)


def behind(number: int, kind: type[Fact]) -> Callable[[Fact], bool]:
    """For ``dies_at``: whatever comes behind this many facts of a kind."""
    seen = 0

    def is_behind(fact: Fact) -> bool:
        nonlocal seen
        if seen >= number:
            return True
        seen += isinstance(fact, kind)
        return False

    return is_behind


def facts_of(path: Path) -> dict[str, list[Fact]]:
    """What a journal holds, by root thread."""
    kind = "jsonl" if path.is_dir() else "sqlite"
    journal = open_journal(f"{kind}:{path}", vocabulary=WORDS, readonly=True)
    try:
        return {chain.root: list(journal.read(chain.root)) for chain in journal.chains()}
    finally:
        journal.close()


def every(path: Path, kind: type[Fact]) -> list[Any]:
    """The facts of one kind in a journal."""
    return [fact for facts in facts_of(path).values() for fact in facts if isinstance(fact, kind)]


def check_whole(organism: Organism, path: Path) -> list[Fact]:
    """Every chain of the journal folds to its end, each thread ended once, nothing is held, and the sums agree; all its facts."""
    tokens = 0
    chains = facts_of(path)
    for root, facts in chains.items():
        folding = Fold(organism.settings)
        for fact in facts:
            folding.apply(fact)
        assert not folding.state.threads, root
        assert not folding.state.holds
        assert not any(folding.state.root.held)
        assert not folding.unsaid
        ends = [fact.thread for fact in facts if isinstance(fact, Ended)]
        assert len(ends) == len(set(ends))
        opened = [step.thread for fact in facts for step in fact.steps if isinstance(step, ThreadOpened)]
        assert sorted(opened) == sorted(ends)
        tokens += folding.state.root.used[0]
    check_kept(path.parent, organism.settings.journal)
    usage: Any = organism.usage()
    assert usage.tokens == tokens
    assert not organism.kernel.state.threads
    assert not organism.kernel.state.holds
    return [fact for facts in chains.values() for fact in facts]


@define
class Scene:
    """Some threads on an organism. ``document`` makes its keys around the model, ``sends`` are (id, to, payload, how)."""

    path: Path
    model: ScriptedModel
    document: Mapping[str, Any]
    sends: Sequence[tuple[str, str, Any, Mapping[str, Any]]]
    journal: str = "sqlite"
    results: dict[str, ThreadResult] = field(factory=dict)

    def organism(self, cut: int | None = None) -> Mortal:
        """One on this scene's journal."""
        # Here a process dies, and no power fails: what it has written is there, on the disk or not.
        organism = Mortal(name="test", journal=f"{self.journal}:{self.path}", durability="normal", **self.document)
        organism.cut = cut
        return organism

    async def play(self, cut: int | None = None) -> Mortal:
        """Sends everything, and waits until all of it has ended or the process has died."""
        return await self.live(self.organism(cut), self.send_all)

    async def resume(self, cut: int | None = None) -> Mortal:
        """Goes on in another process: what is unfinished, and what a client sends again since it never heard."""
        return await self.live(self.organism(cut), self.go_on)

    async def live(self, organism: Mortal, client: Callable[[Mortal], Awaitable[None]]) -> Mortal:
        """A process: it ends when its client is done, or when it dies."""
        try:
            async with organism, anyio.create_task_group() as group:
                group.start_soon(self._watch, organism, group.cancel_scope)
                await client(organism)
                group.cancel_scope.cancel()
        except BaseException as error:
            if not organism.died.is_set() or not _is_killed(error):
                raise
        if organism.died.is_set():
            organism.bury()
        return organism

    async def send_all(self, organism: Mortal) -> None:
        """Sends everything and waits for it."""
        async with anyio.create_task_group() as clients:
            for each in self.sends:
                clients.start_soon(self._send, organism, *each)

    async def send_at_the_edge(self, organism: Mortal) -> None:
        """Sends everything ten seconds before an hour is over, and waits for it."""
        await anyio.sleep(HOUR - organism._now() % HOUR - 10)
        await self.send_all(organism)

    async def go_on(self, organism: Mortal) -> None:
        """Takes up what is unfinished, and sends everything again."""
        await organism.resume()
        await self.send_all(organism)

    async def _watch(self, organism: Mortal, scope: anyio.CancelScope) -> None:
        await organism.died.wait()
        scope.cancel()

    async def _send(self, organism: Mortal, id_: str, to: str, payload: Any, how: Mapping[str, Any]) -> None:
        handle = await organism.send(to, payload, id=id_, **how)
        self.results[id_] = await handle.result()

    def calls(self) -> tuple[int, int]:
        """How many calls the journal holds, and of how many the answer."""
        kinds = Counter(type(fact) for facts in facts_of(self.path).values() for fact in facts)
        return kinds[CallHeld], kinds[CallCompleted]


def _is_killed(error: BaseException) -> bool:
    if isinstance(error, BaseExceptionGroup):
        return any(_is_killed(each) for each in error.exceptions)
    return isinstance(error, (Killed, anyio.get_cancelled_exc_class())) or type(error).__name__ == "NotRunningError"
