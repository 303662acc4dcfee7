"""Runs the handlers of a record again: the record is folded fact by fact, and each delivery is answered as it was then."""

from __future__ import annotations

from functools import partial
from threading import Event as ThreadEvent
from typing import TYPE_CHECKING, Any, Final, TypeVar

import anyio
import anyio.lowlevel
import trio.lowlevel

from organism.kernel import Kernel
from organism.kernel.asks import note_at_work
from organism.kernel.fold import Fold
from organism.kernel.pools import SCOPE as ACCOUNT_SCOPE
from organism.names import ORGANISM
from organism.pump import runtime
from organism.pump.delivery import TOO_LONG
from organism.pump.handles import ThreadHandle, end_of, handle_of_record
from organism.pump.hooking import Hooks
from organism.pump.outlet import Outlet
from organism.pump.own_loop import OwnLoop
from organism.pump.text_listeners import TextListeners
from organism.pump.thread_pool import ThreadPool
from organism.record import facts
from organism.replay.context import Recorded, RecordedAgent
from organism.replay.course import Course
from organism.replay.histories import Histories
from organism.replay.player import Odd, Player
from organism.replay.refusals import is_told_by, refusal_of
from organism.replay.script import END, REFUSED
from organism.replay.verdict import judge, stuck
from organism.results import result_of
from organism.threads.frames import Ask

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence

    from anyio.abc import TaskGroup

    from organism.record.facts import Fact
    from organism.replay.script import Part, Which
    from organism.settings import HandlerSettings, Settings
    from organism.threads.frames import Message

T = TypeVar("T")
OTHERS: Final = "the organism's own limits count other threads too, of which its record does not tell"
PARTED: Final = (
    "a limit refused what one task of it asked while another ended it, and the record does not say which came first"
)
TURNS: Final = 50
"""How often others are let run, on a loop that does not say when all of them wait."""


SLOWEST: Final = 30.0
"""Seconds that a plain function may compute in its thread; then the record goes on without it."""
STEP: Final = 0.001
"""Seconds between two looks at whether it still does."""


class Stage:
    """A run of the deliveries ``only`` of a record. To their contexts it is the pump.

    ``early``: a handler goes on at once when it is answered; else when the record next tells of it. Figures that a
    handler read in between may have been those of either. ``patience``: seconds that one is waited for that does not come on.
    ``courses``: which tasks of a handler go on first where several may; without one, the first of them.
    """

    def __init__(
        self,
        settings: Settings,
        handlers: Mapping[str, HandlerSettings],
        record: Sequence[Fact],
        parts: Mapping[Which, Part],
        *,
        only: Collection[Which],
        early: bool,
        patience: float,
        courses: Mapping[Which, Course] | None = None,
    ) -> None:
        self.settings = settings
        self.handlers = handlers
        named = settings.hooks
        self.hooks = Hooks(named, held=_happened, mark=lambda _: None) if any(named.values()) else None
        self.kernel = Kernel(settings, lambda _root, _fact: None)
        self.text_listeners = TextListeners(Outlet())
        self.own_loop: OwnLoop
        self.thread_pool = ThreadPool(settings.max_handlers)
        self._thread_moved = ThreadEvent()
        self.place = -1
        self.courses = {which: Course() for which in only} | dict(courses or {})
        self.at = record[0].at if record else 0.0
        self.began = self.at
        self.played: dict[Which, Player] = {}
        self.odd: dict[Which, Odd] = {}
        self._record = record
        self._only = only
        self._early = early
        self._patience = patience
        self._fold = Fold(settings, self.kernel.state)
        self._due: dict[int, tuple[Part, str]] = {
            place: (part, key) for part in parts.values() for place, key in part.marks
        }
        self._ready = [part for part in parts.values() if part.ran and part.which in only and part.posted is not None]
        self._running: dict[Which, Player] = {}
        self._cut: dict[Which, frozenset[str]] = {}
        """What those that are run again had asked before, and did not wait for any more."""
        self._handles: dict[str, ThreadHandle] = {}
        self._ends: dict[str, facts.Ended] = {}
        self._forks = [
            (place, fact.entries, fact.thread, fact.origin)
            for place, fact in enumerate(record)
            if isinstance(fact, facts.Forked)
        ]
        self._restarts = {place + entries for place, entries, _, _ in self._forks}
        self._group: TaskGroup | None = None
        self.event, self.heed = runtime.event, runtime.heed()
        self.histories = Histories(self)
        self._next_one: runtime.Event | None = None
        """Set when the next fact has been gone through, where somebody waits for that."""

    # For contexts

    stopped = False
    """It runs as long as its contexts do."""

    def now(self) -> float:
        """The instant in the record."""
        return self.at

    def name_of(self, thread: str, part: Part) -> str:
        """What a thread was called when a delivery ran: before a fork it was its origin. Of forks of forks, the record tells of the latest
        first, and all of them have its name.
        """
        called = thread
        for place, entries, name, origin in self._forks:
            copied = part.end is not None and part.end <= place + entries
            if copied and (thread == name or thread.startswith(f"{name}.")):
                called = origin + thread[len(name) :]
        return called

    def handle_of(self, id_: str) -> ThreadHandle | None:
        """The handle of a thread that was spawned; ``None``: it has ended, and the record is about to say how."""
        found = self._handles.get(id_)
        if found is None:
            world: Any = self
            live, end = self.kernel.state.threads.get(id_), self._ends.get(id_)
            if live is not None:
                found = Handle(world, live)
            elif end is not None:
                found = handle_of_record(world, end, cls=Handle)
            else:  # a process may have died between the two
                return None
            self._handles[id_] = found
        return found

    def passed(self) -> Sequence[Fact]:
        """The facts that have been gone through."""
        return self._record[: self.place + 1]

    async def next_one(self) -> None:
        """Waits until another one has."""
        if self._next_one is None:
            self._next_one = self.event()
        await self._next_one.wait()

    # The run

    async def run(self) -> None:
        """Goes through the whole record. What deliveries did otherwise is in ``odd`` then."""
        self.own_loop = OwnLoop(self.settings.name, self.kernel.book)
        async with anyio.create_task_group() as group:
            self._group = group
            for place, fact in enumerate(self._record):
                if isinstance(fact, facts.Resumed) and fact.crashed:
                    await self._break_off()  # before the time passes in which no process was there
                await self._come_to(fact.at)
                if place in self._due:
                    await self._arrive(place, fact, *self._due[place])
                self._fold.apply(fact)
                self.place = place
                if self._next_one is not None:
                    self._next_one.set()
                    self._next_one = None
                if not self._goes_on(fact):
                    await self._after(fact)
            for player in self._running.values():
                self._leave(player)
            group.cancel_scope.cancel()

    def _goes_on(self, fact: Fact) -> bool:
        """Whether the next fact belongs to this one: nothing ran between a refusal and the end of the messages that it brought about."""
        following = self._record[self.place + 1 : self.place + 2]
        return isinstance(fact, facts.CallRefused) and bool(following) and isinstance(following[0], facts.Exhausted)

    async def _come_to(self, at: float) -> None:
        """Lets time pass up to an instant, for those that sleep."""
        if at > self.at:
            self.at = at
            if trio.lowlevel.in_trio_run():
                clock: Any = trio.lowlevel.current_clock()
                ahead = at - self.began - clock.current_time()
                if hasattr(clock, "jump") and ahead > 0:
                    clock.jump(ahead)
        if self._running:
            await self._settle()

    async def _settle(self) -> None:
        """Lets everything run that can; functions in threads too, as long as somebody may wait for a command."""
        await self._give_turns()
        waited = 0.0
        while self.thread_pool.awaited and waited < SLOWEST:
            # Really waits: to a virtual clock, a loop that waits for a thread would be one that is done.
            self._thread_moved.wait(STEP)
            waited += STEP
            await self._give_turns()

    async def _give_turns(self) -> None:
        if trio.lowlevel.in_trio_run():
            await anyio.wait_all_tasks_blocked()
            return
        for _ in range(TURNS):
            await anyio.lowlevel.checkpoint()

    async def _arrive(self, place: int, fact: Fact, part: Part, key: str) -> None:
        """Waits until a delivery has come to what the record tells of it next."""
        if part.which not in self._only or not part.ran:
            return
        player = self._running.get(part.which) or self._start(part)
        if player is None:
            return
        if key == END:
            await self._end(player, fact)
            return
        await self._wait(player, key)
        if key == REFUSED:
            self._refuse(player, fact, place)

    async def _wait(self, player: Player, key: str) -> None:
        while not player.is_at(key):
            await self._settle()
            if not player.is_at(key) and not player.hand() and not await player.moved(self._patience):
                for other in self._running.values():
                    other.disturbed = other.disturbed or other is not player
                return

    def _start(self, part: Part) -> Player | None:
        message = self._message(part)
        if message is None or self._group is None:
            return None
        player = Player(
            part,
            message,
            again=part.which in self.played,
            cut=self._cut.get(part.which, frozenset()),
            course=self.courses.get(part.which),
        )
        self._running[part.which] = self.played[part.which] = player
        handler = self.handlers[message.to]
        player.context = (Recorded if handler.agent is None else RecordedAgent)(self, player)
        code = handler.code if self.hooks is None else partial(self.hooks.handle, handler)
        self._group.start_soon(player.run, code, self.settings.thread_queue)
        return player

    def _message(self, part: Part) -> Message | None:
        index = self.kernel.state.index
        return None if index is None else index.messages.get(part.ref)

    def _refuse(self, player: Player, fact: Fact, place: int) -> None:
        """Answers the question that a limit refused, which the record does not name."""
        if not isinstance(fact, facts.CallRefused):
            return
        asking = player.refuse(lambda each: (each.prompt is None) == (fact.alias is None))
        if asking is not None:
            found = None if asking.refused is None else asking.refused()
            error = found if is_told_by(fact, found) else refusal_of(player.message, fact)
            if fact.scope in {ORGANISM, ACCOUNT_SCOPE}:
                player.unsure = OTHERS
            asking.key, asking.asked = REFUSED, place  # the next refusal is another's
            asking.look = lambda: (error,) if self.place >= place else None
        elif player.ended_by_one:
            player.unsure = player.unsure or PARTED

    async def _after(self, fact: Fact) -> None:
        """What a fact brings about: answers, new deliveries, and the end of those that were cancelled."""
        if isinstance(fact, facts.Ended):
            self._ends[fact.thread] = fact
            if fact.thread in self._handles:
                end_of(self._handles[fact.thread]).finish(result_of(fact))
        if self.place in self._restarts or (isinstance(fact, facts.Resumed) and fact.crashed):
            await self._restart()
        for player in list(self._running.values()):
            if player.message.dropped or player.message.thread.stopping is not None:
                player.stop()
            elif player.message.asks:
                # Who waits for whom is asked where a question closes a circle.
                note_at_work(self.kernel.state, player.message)
            for asking in player.unknown:
                asking.look()  # what may be asked is decided now, whenever its handler goes on
        if self._early:
            self._start_ready()
            while [player for player in self._running.values() if player.hand()]:
                await self._settle()

    def _start_ready(self) -> None:
        for part in list(self._ready):
            before = part.before
            free = before is None or before.end is None or before.end <= self.place
            come = part.posted is not None and part.posted <= self.place and part.due <= self.at
            if come and free and not self._waits_its_turn(part):
                self._ready.remove(part)
                if part.which not in self.played:
                    self._start(part)

    def _waits_its_turn(self, part: Part) -> bool:
        """Whether it begins a later turn of a conversation: that knows what the turns before it have said."""
        message = self._message(part)
        return message is not None and message.thread.waits_turn

    async def _break_off(self) -> None:
        """Their process ends: whatever is under way stops."""
        for player in self._running.values():
            player.stop()
        await self._settle()

    async def _restart(self) -> None:
        """What was under way, or was over and not yet written down, is run again from its beginning."""
        await self._break_off()
        again = list(self._running.values())
        self._running.clear()
        for player in again:
            self._cut[player.part.which] = _cut_off(player.message)
            if self._early:
                self._start(player.part)

    # What came of it

    async def _end(self, player: Player, fact: Fact) -> None:
        if isinstance(fact, facts.Dropped) or _ran_too_long(fact):
            player.stop()
        await self._wait(player, END)
        del self._running[player.part.which]
        if not player.over:
            player.odd = player.odd or stuck(player)
            player.stop()
            await self._settle()
        if isinstance(fact, (facts.Failed, facts.Retried)) and fact.failure.scope == ORGANISM:
            player.unsure = OTHERS
        if (
            isinstance(fact, (facts.Answered, facts.Failed, facts.Retried))
            and not _ran_too_long(fact)
            and player.odd is None
        ):
            player.odd = judge(player, fact, self.kernel.state)
        self._note(player)

    def _leave(self, player: Player) -> None:
        """The record ends while a delivery is under way: it may not have asked otherwise until then."""
        left = [each for key, each in player.part.questions.items() if key not in player.asked]
        if player.odd is None and player.unknown and left:
            player.odd = stuck(player)
        self._note(player)
        player.stop()

    def _note(self, player: Player) -> None:
        if player.odd is not None:
            self.odd[player.part.which] = player.odd


async def _happened(ctx: Any, reason: str) -> bool:
    """A hook held up a delivery then, and it went on."""
    del ctx, reason
    return False


class Handle(ThreadHandle):
    """The handle of a spawned thread. What is done to it was done then."""

    def cancel(self, reason: str = "cancelled") -> None:
        """It was cancelled then, as the record tells."""

    def _set(self, budget: Any, order: Any = None) -> None:
        """Its limits were set then, unless it had ended."""
        del budget, order
        self._check_lives()

    async def _wait(self, verb: str, come: Callable[[], Awaitable[T]]) -> T:
        """It may be waited for: it was spawned here. Nothing minds how long."""
        del verb
        return await come()


def _cut_off(message: Message) -> frozenset[str]:
    """The keys of the asks that ended without an answer."""
    known = (message.known or {}).items()
    return frozenset(key for key, ask in known if isinstance(ask, Ask) and ask.done and ask.answer is None)


def _ran_too_long(fact: Fact) -> bool:
    return (
        isinstance(fact, (facts.Failed, facts.Retried))
        and fact.failure.code == "timeout"
        and TOO_LONG in fact.failure.text
    )
