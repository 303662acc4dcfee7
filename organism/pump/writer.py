"""Writing facts to the journal in groups. Whatever leaves the organism waits here until its record is durable (R20)."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from operator import itemgetter
from typing import TYPE_CHECKING, Final, NoReturn, Protocol, TypeVar

import anyio
from attrs import frozen

from organism.errors import JournalError
from organism.record.facts import Ended

if TYPE_CHECKING:
    from organism.journal import Journal
    from organism.record.facts import Fact

T = TypeVar("T")
_log: Final = logging.getLogger("organism.journal")
_AT_ONCE: Final = 32
"""How many who waited for the disk go on in one turn of the event loop: that takes about as long as a time slice of the workers."""
_BATCH: Final = 2000
"""How many facts are written at once: with more, those who only need the first of them would wait too long."""
_CROWDED: Final = 5000
"""How many facts may wait to be written while messages are still delivered before their facts are durable."""
_FEWEST: Final = 256
"""How many entries a chain has after a snapshot, at least, before another one is taken."""
_GONE: Final = 1.0
"""Seconds within which a pump that is closed has cancelled what runs in it."""
_SHARE: Final = 2
"""Another snapshot is taken once the entries after the last one take this many times its bytes: so all snapshots together
take no more than the entries do, and taking a chain up reads a few times its state.
"""


@frozen
class _Written:
    failed: Mapping[str, JournalError]
    due: Sequence[str]
    """Root threads of which a snapshot is due."""


class HandOver(Protocol):
    """What carries out blocking work on the disk beside the event loop."""

    def __call__(self, work: Callable[[], _Written], done: Callable[[_Written | BaseException], None], /) -> None:
        """Begins; ``done`` is called on the event loop with what ``work`` gave or raised."""
        ...


_Leaving = tuple[int, str, Callable[[], None], Callable[[JournalError], None] | None]
"""(position, chain, go, fail): what is called once all facts up to a position are durable."""
_NONE: Final[Mapping[str, JournalError]] = {}


class _Waiters:
    """Some who wait for facts that are written together: all for the one event ``over``. ``frozen`` has the chains that could not be
    written by then, ``came`` is how many there are, and ``left`` how many of them have not gone on yet.
    """

    __slots__ = ("came", "frozen", "left", "over")

    def __init__(self) -> None:
        self.over = anyio.Event()
        self.frozen = _NONE
        self.came = self.left = 0

    async def wait(self) -> None:
        self.came += 1
        self.left += 1
        try:
            await self.over.wait()
        finally:
            self.left -= 1


class AtWork(Protocol):
    """The workers, who record facts, and have them written when none of them has more to do."""

    active: int
    """How many of them are active."""


class _Nobody:
    active = 0


def _outcome(roots: Collection[str], came: _Written | BaseException) -> _Written:
    """What came of a group. Where the journal raised, none of it counts as written; an exception that ends the process is raised."""
    if isinstance(came, Exception):
        return _Written(dict.fromkeys(roots, JournalError(f"{type(came).__name__}: {came}")), ())
    if isinstance(came, BaseException):
        raise came
    return came


async def _gone() -> NoReturn:
    """Waits a moment, then raises JournalError, for whoever waits for facts that will not be written any more."""
    await anyio.sleep(_GONE)  # whoever runs in the pump is cancelled meanwhile
    raise JournalError("the organism was closed before this was written to the journal")


def in_place(work: Callable[[], _Written], done: Callable[[_Written | BaseException], None]) -> None:
    """Carries work out at once, on the event loop: for callers that have nothing else to do meanwhile, or for which no time may pass."""
    try:
        came: _Written | BaseException = work()
    except BaseException as error:  # noqa: BLE001 - it is told to whoever asked for it
        came = error
    done(came)


class Writer:
    """The journal of a running organism. ``hand_over`` has what waits for the disk done beside the event loop. ``failed`` is told of a
    root thread that could not be written, once; nothing more of it is. ``due`` is told of one of which a snapshot is due, and
    ``moved`` when more is durable.
    """

    def __init__(
        self,
        journal: Journal,
        hand_over: HandOver,
        *,
        failed: Callable[[str, JournalError], None],
        due: Callable[[str], None],
        moved: Callable[[], None],
    ) -> None:
        self.journal = journal
        self.next = 1
        self.durable = 0
        self._hand_over = hand_over
        self._failed = failed
        self._due = due
        self._moved = moved
        self._waiting: list[tuple[str, Fact]] = []
        self._under_way = 0
        """The position up to which facts are durable once the group that is being written is."""
        self._for_this: list[_Waiters] = []
        """Those who wait for the group that is being written."""
        self._for_next: list[_Waiters] = []
        """Those who wait for the group behind that."""
        self._going_on: deque[_Waiters] = deque()
        """Those for whom all is written, and who go on: the first have been woken."""
        self._leaving: deque[_Leaving] = deque()
        self._frozen: dict[str, JournalError] = {}
        self.workers: AtWork = _Nobody()
        """As long as one of them is active, it will call :meth:`start_soon` or :meth:`see_to_it`, and nobody else need do so."""
        self._in_step = False
        """A coroutine takes a step, at whose end :meth:`take_step` looks what it has recorded."""
        self._wake = anyio.Event()
        self._woken = False
        self._busy = self._starting = False
        self._crash: BaseException | None = None
        """An exception that ends the process, raised in a callback that runs in no task."""
        self._told = self._runs = False
        """Whether that was raised; and whether :meth:`run` is there to raise it."""
        self._idle: list[anyio.Event] = []
        self._sealed = False
        self._said = ""

    @property
    def crowded(self) -> bool:
        """Whether so much waits to be written that no message may be delivered ahead of its own fact."""
        return self.next - self.durable > _CROWDED

    def record(self, root: str, fact: Fact) -> None:
        """Takes a fact. It is written, together with whatever else waits, when the disk is free."""
        if self._sealed:
            return
        self.next += 1
        self._waiting.append((root, fact))
        if not self._in_step:
            self.see_to_it()

    def take_step(self, step: Callable[[], T]) -> T:
        """Takes a step of a coroutine. One that records facts mostly waits for them before the step ends, and so has them written: to wake
        :meth:`run` for each would take a turn of the event loop that has nothing to do.
        """
        self._in_step = True
        try:
            return step()
        finally:
            self._in_step = False
            self.see_to_it()

    def see_to_it(self) -> None:
        """Has :meth:`run` start writing in its turn, if something waits that nobody else has written. Nothing is begun here: a disk that
        fails may wake whoever calls this on its way to wait for it, which event loops do not bear.
        """
        if self._waiting and not (self._busy or self.workers.active):
            self._rouse()

    def _rouse(self) -> None:
        if not self._woken:
            self._woken = True
            self._wake.set()

    def when_durable(
        self, root: str, go: Callable[[], None], fail: Callable[[JournalError], None] | None = None
    ) -> None:
        """Calls ``go`` once all that was recorded so far is durable, at once where it is; ``fail`` where the root thread's
        facts could not be written.
        """
        if self._sealed:
            return
        if root in self._frozen:
            if fail is not None:
                fail(self._frozen[root])
        elif self.durable >= self.next - 1:
            go()
        else:
            self._leaving.append((self.next - 1, root, go, fail))

    async def settled(self, *roots: str) -> None:
        """Waits until all that was recorded so far is durable. Raises JournalError where the facts of one of these root threads are not."""
        if self._sealed:
            await _gone()
        position = self.next - 1
        frozen: Mapping[str, JournalError] = self._frozen
        while self.durable < position:
            if self._crash is not None:
                await _gone()
            waiters = self._waiters_for(position)
            self.start_soon()
            await waiters.wait()
            frozen = waiters.frozen
        lost = next((frozen[root] for root in roots if root in frozen), None) if frozen else None
        if lost is not None:
            await anyio.lowlevel.checkpoint()  # whoever runs in such a thread is cancelled, and not told
            raise lost

    def _waiters_for(self, position: int) -> _Waiters:
        """Those whom whoever waits for a position joins: they wait for the group that is being written, or for the next."""
        waiting = self._for_this if position <= self._under_way else self._for_next
        if not waiting or waiting[-1].came >= _AT_ONCE:
            waiting.append(_Waiters())
        return waiting[-1]

    def _wake_some(self) -> None:
        """Wakes the next of those who go on: some at a time, so that I/O gets a turn in between."""
        while self._going_on and self._going_on[0].over.is_set():
            self._going_on.popleft()  # they have had their turn; whoever was closed meanwhile will have none
        if self._going_on:
            self._going_on[0].over.set()
            if self._waiting or len(self._going_on) > 1:
                self._rouse()

    def _wake_all(self) -> None:
        while self._going_on:
            self._going_on.popleft().over.set()

    async def run(self) -> None:
        """Starts writing whenever facts wait and no worker does so, until it is cancelled; a write that has begun is finished."""
        self._runs = True
        try:
            while True:
                await self._wake.wait()
                self._wake, self._woken = anyio.Event(), False
                self._raise_crash()
                self._wake_some()
                if not self._going_on:
                    self.start()
        finally:
            self._runs = False
            self._wake_all()

    def start(self) -> None:
        """Begins to write what waits, if the disk is free."""
        if self._starting:
            return
        self._starting = True
        try:
            while self._waiting and not self._busy:
                self._busy = True
                self._begin()
        finally:
            self._starting = False

    def start_soon(self) -> None:
        """Does so once nobody has more to record at the moment, or at once where as many wait as are written at once.

        Workers that are active go on one after the other, and so do those who waited for the last group. If the first of them began a group,
        its facts would be written and synced alone, and the disk's thread would want the interpreter that the others need. So the last of them
        begins it, or :meth:`run` where that one waits for something else.
        """
        if self._busy or not self._waiting:
            return
        if self._runs and len(self._waiting) < _BATCH:
            if self.workers.active:
                return
            if self._going_on and self._going_on[-1].left:
                self._rouse()
                return
        self.start()

    async def flush(self) -> None:
        """Writes all that waits. Raises what that crashed with, where :meth:`run` does not."""
        self.start()
        while self._busy:
            event = anyio.Event()
            self._idle.append(event)
            await event.wait()
        if not self._runs:
            self._raise_crash()

    def _raise_crash(self) -> None:
        """Raises what it crashed with, once: each time KeyboardInterrupt leaves a task, asyncio's loop stops, even in the middle of cleaning
        up.
        """
        if self._crash is not None and not self._told:
            self._told = True
            raise self._crash

    def _begin(self) -> None:
        batch, self._waiting = self._waiting[:_BATCH], self._waiting[_BATCH:]
        durable = self._under_way = self.durable + len(batch)
        self._for_this, self._for_next = self._for_next, []
        if self._frozen:
            batch = [(root, fact) for root, fact in batch if root not in self._frozen]
        roots = dict.fromkeys(map(itemgetter(0), batch))

        def work() -> _Written:
            failed: Mapping[str, JournalError] = self.journal.write(batch) if batch else {}
            over = {root for root, fact in batch if fact.__class__ is Ended and fact.thread == root}
            return _Written(
                failed, [root for root in roots if root not in over and root not in failed and self._is_due(root)]
            )

        self._hand_over(work, partial(self._ended, durable, roots))

    def _ended(self, durable: int, roots: Collection[str], came: _Written | BaseException) -> None:
        """A group was written, or failed. This runs in no task: what it raises is raised by :meth:`run`."""
        self._busy = False
        try:
            self._end_batch(durable, _outcome(roots, came))
            if self._idle:  # whoever flushes waits for all of it
                self.start()
            else:
                self.start_soon()
        except BaseException as error:  # noqa: BLE001 - see above
            self._crash = error
            self._wake.set()
            self._give_up()
        if not self._busy:
            idle, self._idle = self._idle, []
            for event in idle:
                event.set()

    def _give_up(self) -> None:
        """It has crashed: nothing more is written, since there might be a gap before it. Whoever waits for it is woken."""
        self.seal()
        self._waiting.clear()
        self._going_on.extend((*self._for_this, *self._for_next))
        self._wake_all()

    def _is_due(self, root: str) -> bool:
        entries, size, snapshot = self.journal.size_since_snapshot(root)
        return entries >= _FEWEST and size >= _SHARE * snapshot

    def _end_batch(self, durable: int, written: _Written) -> None:
        for root, error in written.failed.items():
            self._freeze(root, error)
        if not written.failed:
            self._said = ""
        self.durable = durable
        waiting, self._for_this = self._for_this, []
        if waiting:
            frozen = dict(self._frozen) if self._frozen else _NONE
            for waiters in waiting:
                waiters.frozen = frozen
            self._going_on.extend(waiting)
            self._wake_some()
            if not self._runs:
                self._wake_all()
        while self._leaving and self._leaving[0][0] <= durable:
            _, root, go, fail = self._leaving.popleft()
            if root not in self._frozen:
                go()
            elif fail is not None:
                fail(self._frozen[root])
        for root in written.due:
            self._due(root)
        self._moved()

    def _freeze(self, root: str, error: JournalError) -> None:
        """Freezes a chain that could not be written: nothing of it leaves any more, and nothing more of it is written."""
        if root not in self._frozen:
            self._frozen[root] = error
            # One ERROR line for all chains that fail for the same reason: a full disk fails every one.
            level = logging.DEBUG if str(error) == self._said else logging.ERROR
            self._said = str(error)
            _log.log(
                level,
                "thread %s is frozen: %s. What it did since its last entry is lost; resume it once the journal can be written",
                root, error,
            )  # fmt: skip
            self._failed(root, error)

    def seal(self) -> None:
        """The organism stops: no more facts are taken, and nothing more leaves. For whoever goes on with the journal it is as if the
        process had been killed now.
        """
        self._sealed = True

    @property
    def frozen(self) -> Collection[str]:
        """The root threads of which nothing is written any more."""
        return self._frozen.keys()

    def check(self, root: str) -> None:
        """Raises JournalError where the root thread could not be written."""
        if root in self._frozen:
            raise self._frozen[root]

    def is_frozen(self, root: str) -> bool:
        """Whether nothing of a root thread is written any more."""
        return root in self._frozen

    def thaw(self, root: str) -> None:
        """A frozen root thread was taken up again from its record."""
        self._frozen.pop(root, None)
