"""Running a study: the warm-up, and then all threads, each in an organism of its own that knows what the warm-up learned.

So no thread holds more or less than it would alone, whatever runs before or beside it, and whichever process it runs in. What they share is
what the provider would see the sum of: the places and rates of backends; and the ceiling of the study.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

import anyio
import anyio.to_thread
from attrs import define, evolve, field, frozen

from organism.errors import OrganismError
from organism.files import is_there
from organism.lab import folder
from organism.lab.ceiling import Ceiling
from organism.lab.cells import found, missing
from organism.lab.study import Cell, Study
from organism.models.routing.shared import SharedLimits
from organism.names import counted
from organism.organism import Organism
from organism.results import ThreadResult

if TYPE_CHECKING:
    from collections.abc import Sequence

    from organism.context.interface import Context
    from organism.hooks import CompletionEvent
    from organism.lab.cells import Found

Ended = Callable[[Cell, ThreadResult | None, str | None], object]
_IN_A_ROW: Final = 3
"""So many threads that come to nothing, one after the other, say that the next ones would not either."""


@frozen(kw_only=True)
class Ran:
    """What a run of a study did. ``ran`` threads came to a result; of the others ``missing`` says why, by cell. ``stopped`` says why the rest
    was not begun, if any was left.
    """

    ran: int
    missing: dict[Cell, str]
    stopped: str | None


async def run(study: Study, *, ended: Ended | None = None, grace: float = 0) -> Ran:
    """Runs what is left of a study: threads that have a result stay as they are, unfinished ones are continued, and missing ones begin anew.

    ``ended`` is called with each cell as soon as its thread has ended, those of the warm-up first, what that came to, and why it is missing,
    if it is. Cancelled, it begins nothing more, and what runs has ``grace`` seconds to finish; what does not is continued next time.

    Raises ConfigurationError where the folder has threads of another study, JournalHeldError while another process runs this one, and other
    JournalErrors of the folder; whatever else goes wrong with a thread makes that one missing.
    """
    with folder.owned(study):
        folder.begin(study)
        folder.settle_all(study)
        running = _Running(study, ended, grace, Ceiling(study, folder.spent_by_all(study)))
        stopped = await running.run(study.warm_ups, concurrency=1, at_most=1)
        if stopped is None:
            stopped = await running.run(study.cells, concurrency=study.concurrency, at_most=_IN_A_ROW)
        return Ran(ran=running.ran, missing=running.missing, stopped=stopped)


@define(eq=False)
class _Running:
    """A study under way."""

    study: Study
    ended: Ended | None
    grace: float
    ceiling: Ceiling
    ran: int = 0
    missing: dict[Cell, str] = field(factory=dict[Cell, str])
    limits: SharedLimits = field(factory=SharedLimits)
    learned: list[dict[str, Any]] = field(factory=list[dict[str, Any]])
    moving: anyio.Lock = field(factory=anyio.Lock)
    """Held by whoever moves a thread into the journal of its arm, which one does at a time."""

    async def run(self, cells: Sequence[Cell], *, concurrency: int, at_most: int) -> str | None:
        """The threads of these cells that have no result yet; why some were not begun, if so. ``at_most``: so many that come to nothing, one
        after the other, say that the next ones would not either.
        """
        there = found(self.study, cells)
        self.learned = folder.learned(self.study)
        line = _Line(self, at_most)
        problem: Exception | None = None
        async with anyio.create_task_group() as group:

            async def one(cell: Cell, place: folder.Place) -> None:
                nonlocal problem
                try:
                    line.came(cell, *await self._thread(cell, place))
                except Exception as error:  # noqa: BLE001 - raised below: what leaves the block would be a group
                    problem = problem or error
                    group.cancel_scope.cancel()

            for cell in cells:
                known = there.get(cell)
                if known is not None and known.missing is None:
                    continue
                place = _place_of(self.study, cell, known)
                if not await line.has_room(cell, place, concurrency):
                    break
                line.begin(cell)
                group.start_soon(one, cell, place)
        if problem is not None:
            raise problem
        return line.stopped

    async def _thread(self, cell: Cell, place: folder.Place) -> tuple[ThreadResult | None, str | None]:
        """What a cell's thread comes to, and why that is missing, if it is. Then it is where it belongs, and what it has cost is settled."""
        study, id_ = self.study, place.thread
        url = folder.url_of(place.path)
        organism = Organism.of(evolve(study.settings_of(cell), journal=url), limits=self.limits)
        organism.learn_from(folder.learned(study) if cell.warms_up else self.learned)

        def keep(_event: CompletionEvent, _ctx: Context) -> None:
            # Before the handler has the answer: once its thread has ended, all that it learned is kept, wherever the process is killed.
            folder.keep_learned(study, organism.learned())

        if cell.warms_up:
            organism.add_hook("after_model_call", keep)
        result, why = None, None
        try:
            await organism.start()
            try:
                payload = study.inputs[cell.input - 1]
                thread = await organism.send(study.to, payload, id=id_, labels=study.labels_of(cell))
                if thread.paused:  # when it was left
                    thread.resume()
                result = await thread.result()
                why = missing(result, await organism.calls(id_))
            finally:
                with anyio.CancelScope(shield=True):
                    await organism.close(grace=self.grace)
        except OrganismError as error:
            why = (
                str(error) if result is None else why
            )  # else the organism has ended with its thread, as `on_failure` may say
        async with self.moving:
            self.ceiling.settle(place.path, await anyio.to_thread.run_sync(self._settled, place))
        return result, why

    def _settled(self, place: folder.Place) -> dict[str, Any]:
        """What a thread has spent. It is moved into the journal of its arm, if it has ended."""
        spent = folder.spent(place.path)
        if is_there(place.path):
            folder.settle(self.study, place)
        return spent


def _place_of(study: Study, cell: Cell, known: Found | None) -> folder.Place:
    """Where the thread of a cell goes on, or begins anew where what is known of it has ended."""
    if known is None:
        return folder.Place.of(study, cell, 1)
    place = folder.Place.of(study, cell, known.attempt)
    goes_on = not known.ended and known.journal == place.path
    return place if goes_on else folder.Place.of(study, cell, known.attempt + 1)


@define(eq=False)
class _Line:
    """The threads of a run in the order in which they are begun, which is that in which those count that come to nothing."""

    running: _Running
    at_most: int
    stopped: str | None = None
    _begun: deque[Cell] = field(factory=deque["Cell"], init=False)
    """Those that were not counted yet."""
    _came: dict[Cell, str | None] = field(factory=dict["Cell", "str | None"], init=False)
    """Those of them that have ended, and why they are missing, if they are."""
    _moved: anyio.Event = field(factory=anyio.Event, init=False)
    """Set when another one has ended."""
    _in_a_row: int = field(default=0, init=False)

    async def has_room(self, cell: Cell, place: folder.Place, concurrency: int) -> bool:
        """Waits until a thread may be begun, and holds what it may cost; whether it may be. Where the ceiling does not bear it beside those that
        run, it may yet do so when they have ended: each costs less than is held for it.
        """
        while self.stopped is None:
            running = len(self._begun) - len(self._came)
            if running < concurrency:
                lacking = self.running.ceiling.hold(cell, place.path)
                if lacking is None:
                    return True
                if not running:
                    self.stopped = lacking
                    break
            await self._moved.wait()
            self._moved = anyio.Event()
        return False

    def begin(self, cell: Cell) -> None:
        """The thread of a cell is begun."""
        self._begun.append(cell)

    def came(self, cell: Cell, result: ThreadResult | None, why: str | None) -> None:
        """The thread of a cell came to this. It is told of at once, and counts once those before it did."""
        if self.running.ended is not None:
            self.running.ended(cell, result, why)
        self._came[cell] = why
        self._moved.set()
        while self._begun and self._begun[0] in self._came:
            first = self._begun.popleft()
            self._count(first, self._came.pop(first))

    def _count(self, cell: Cell, why: str | None) -> None:
        running = self.running
        if why is None:
            running.ran += not cell.warms_up
            self._in_a_row = 0
            return
        running.missing[cell] = why
        self._in_a_row += 1
        if self._in_a_row == self.at_most and self.stopped is None:
            self.stopped = (
                "the warm-up came to nothing"
                if cell.warms_up
                else f"{counted(self.at_most, 'thread')} in a row came to nothing"
            )
