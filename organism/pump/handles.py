"""What the embedding program holds of a thread: to wait for its end, to cancel it, to give it more."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Any

from attrs import evolve, fields

from organism.budget.caps import caps
from organism.budget.node import Node
from organism.config import budget as parse_budget
from organism.config import budget_over
from organism.errors import ConfigurationError, NotRunningError, OrganismError
from organism.results import result_of
from organism.settings import UNITS, BudgetSettings, Limits, Policy
from organism.threads.frames import Thread
from organism.threads.outcomes import Failure
from organism.usage import added, adds

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping

    from organism.pump.meanwhile import Waiting
    from organism.pump.pump import Pump
    from organism.pump.runtime import Event as Signal
    from organism.record.calls import CallRow
    from organism.record.facts import Ended
    from organism.results import Event, ThreadResult


class _End:
    """The end of a thread: its result once it has come, or why there is none. A thread that is paused has a result for now.

    ``event`` makes what is waited for.
    """

    __slots__ = ("_come", "_event", "_gone_on", "done", "error", "last_words", "paused", "result")

    def __init__(self, event: Callable[[], Signal]) -> None:
        self._event = event
        self._come: Signal | None = None
        self._gone_on: Signal | None = None
        self.result: ThreadResult | None = None
        self.error: OrganismError | None = None
        self.paused = False
        self.done = False
        """It has come, or never will."""
        self.last_words: Callable[[], None] | None = None

    @property
    def come(self) -> Signal:
        """The end has come, or what is its result for now. Made for the first who asks: thousands of threads may stand in line."""
        if self._come is None:
            self._come = self._event()
            if self.done:
                self._come.set()
        return self._come

    @property
    def gone_on(self) -> Signal:
        """What came was not the end, or the end has come after it."""
        if self._gone_on is None:
            self._gone_on = self._event()
            if self.done:
                self._gone_on.set()
        return self._gone_on

    def resumed(self) -> None:
        """What came was not the end."""
        if self.paused:
            self.paused, self.result, self._come = False, None, None
            self.gone_on.set()
            self._gone_on = None

    def over(self) -> None:
        """It has come, or never will. Most threads end before anybody waits for them: no event is made for those."""
        self.done = True
        if self._come is not None:
            self._come.set()
        if self._gone_on is not None:
            self._gone_on.set()
        if self.last_words is not None:
            self.last_words()


class ThreadHandle:
    """A thread that was opened. ``id`` is opaque; ``labels`` are what it was given."""

    __slots__ = ("__weakref__", "_known_end", "_pump", "_thread", "_waiting")

    def __init__(self, pump: Pump, thread: Thread, end: _End | None = None, waiting: Waiting | None = None) -> None:
        self._pump = pump
        self._thread = thread
        self._known_end = end
        self._waiting = waiting

    def __repr__(self) -> str:
        result = None if self._known_end is None else self._known_end.result
        return f"<ThreadHandle {self.id}{'' if result is None else f', {result.outcome}'}>"

    @property
    def _end(self) -> _End:
        """Made when it is first asked for."""
        if self._known_end is None:
            self._known_end = _End(self._pump.event)
        return self._known_end

    @classmethod
    def of_record(cls, pump: Pump, record: Ended) -> ThreadHandle:
        """The handle of a thread that has ended, by what the journal says of it."""
        node = Node("thread", caps(Limits(), Policy(), keeps_back=False), Policy(), thread=record.thread)
        kind: Any = record.kind
        thread = Thread(record.thread, kind, record.handler, node, None, record.labels, record.at, BudgetSettings())
        thread.ended_at = record.at
        handle = cls(pump, thread)
        handle.end(result_of(record))
        return handle

    @property
    def id(self) -> str:
        """The thread's id."""
        return self._thread.id

    @property
    def labels(self) -> Mapping[str, str]:
        """The thread's labels."""
        return self._thread.labels

    @property
    def ended(self) -> bool:
        """Whether its result is there, and final."""
        return self._end.result is not None and not self._end.paused

    def events(self, after: int = 0) -> AsyncIterator[Event]:
        """What happens in the thread and below it, behind event number ``after`` and up to its end, once it is durable:
        ``async for event in handle.events(): ...``, with ``event.seq`` and ``event.fact``.

        Raises NotRunningError where nothing is recorded, QueueFullError where its reader falls too far behind.
        """
        self._pump.home.check()
        return self._pump.histories.of(self._thread, after=after)

    async def history(self) -> tuple[Event, ...]:
        """What has happened in the thread and below it until now. Raises NotRunningError where nothing is recorded."""
        return await self._pump.histories.so_far(self._thread)

    async def calls(self) -> tuple[CallRow, ...]:
        """The model calls of the thread and of those below it that are over, a row each. Raises NotRunningError where nothing is kept."""
        return await self._pump.histories.calls(self.id)

    async def result(self) -> ThreadResult:
        """Waits for the thread to end; how it ended is a value, whatever the outcome. One that is paused and has nothing left to
        run is ``paused``, and so is one of which all that is left waits for people. Raises JournalError where it was frozen since its journal could not be written.
        """
        self._pump.home.check()
        end = self._end
        if end.result is not None and not end.paused:
            await self._pump.heed()
            return end.result
        come = None
        while come is not end.come:  # resumed before this task ran, it has another end to come
            come = end.come
            if self._waiting is None:
                await come.wait()
            else:
                await self._wait_within(self._waiting)
        if end.error is not None:
            raise end.error
        if end.result is None:
            raise NotRunningError(f"thread {self.id} had not ended when its organism was closed")
        return end.result

    @property
    def paused(self) -> bool:
        """Whether it was paused or waits for people, and nothing of it runs: its result is there, and not final."""
        return self._end.paused

    @property
    def waits_for_people(self) -> bool:
        """Whether all that is left of it waits for people."""
        return self._thread in self._pump.kernel.state.inbox.resting

    @property
    def waits_turn(self) -> bool:
        """Whether it stands still since an earlier turn of its conversation has not ended."""
        return self._thread.waits_turn

    async def goes_on(self) -> None:
        """After a result that was ``paused``: waits until the thread was let go on, or ended."""
        self._pump.home.check()
        while self._end.paused:
            await self._end.gone_on.wait()

    async def over(self) -> None:
        """Waits until the thread has ended, or never will."""
        self._pump.home.check()
        while not self.ended and self._end.error is None:
            if self._end.come.is_set() and not self._end.paused:
                return  # its organism was closed
            await (self._end.gone_on if self._end.paused else self._end.come).wait()

    async def _wait_within(self, waiting: Waiting) -> None:
        calls = self._pump.kernel.calls
        async with waiting:
            calls.await_result(waiting.message, self._thread, self._pump.scopes())
            self._pump.kernel.state.inbox.stir(self._thread)
            self._pump.carry_out()
            try:
                await self._end.come.wait()
            finally:
                calls.await_no_more(waiting.message, self._thread, self._pump.scopes())
                self._pump.carry_out()

    def pause(self) -> None:
        """Pauses the thread with all below it: what runs finishes, nothing more is delivered, and its time stands still. A thread
        that has nothing left to run gives its result, ``paused``, and may go on later.
        """
        self._pump.home.check()
        self._check_whole("paused")
        conversation = self._thread.conversation
        if self._thread.waits_turn and conversation is not None:
            raise NotRunningError(
                f"thread {self.id} waits for its turn in conversation {conversation.id!r:.80}: pause the one whose turn it is, "
                f"{conversation.turns[0].id}, or cancel this one"
            )
        self._pump.pauses.pause(self._thread)

    def resume(self) -> None:
        """Lets a paused thread go on. One that waits for people goes on by their answers."""
        self._pump.home.check()
        self._check_whole("resumed")
        if self._thread.paused_at is None:
            return
        self._end.resumed()
        self._pump.pauses.resume(self._thread)

    def _check_whole(self, what: str) -> None:
        if self._thread.owner is not None:
            raise NotRunningError(f"thread {self.id} is a sub-thread: only a whole thread is {what}")

    def held_by(self, waiting: Waiting) -> ThreadHandle:
        """The same, for a handler: while it waits for the result it keeps no place, and its timeout stands still."""
        return ThreadHandle(self._pump, self._thread, self._end, waiting)

    def cancel(self, reason: str = "cancelled") -> None:
        """Cancels the thread with all below it; what is out settles, then it ends ``cancelled``."""
        self._pump.home.check()
        self._pump.kernel.ends.stop(self._thread, Failure("cancelled", reason), self._pump.now())
        self._pump.carry_out()

    def add_budget(self, **units: float | str | Decimal) -> None:
        """Raises limits by these amounts: ``handle.add_budget(tokens=1000)``. A unit without a limit stays without."""
        if wrong := [unit for unit in units if unit not in UNITS]:
            raise ConfigurationError([f"{wrong[0]!r} is no unit that can be raised; there is {', '.join(UNITS)}"])
        self._set(raised(self._thread.budget, units))

    def set_budget(self, **keys: Any) -> None:
        """Sets what is named, as in ``budget:``; ``tokens=None`` is no limit. Lowered below what is spent, nothing more is
        granted.
        """
        self._set(budget_over(self._thread.budget, keys, self._pump.handlers))

    def _set(self, budget: BudgetSettings) -> None:
        self._pump.home.check()
        if self._thread.ended:
            raise NotRunningError(f"thread {self.id} has ended; its budget was released")
        self._pump.kernel.calls.set_limits(self._thread, budget, self._pump.now())
        if not self._thread.closing:
            self._pump.deadlines.watch(self._thread)
        self._pump.carry_out()

    def end(self, result: ThreadResult | None) -> None:
        """Sets the result, for the organism; ``None`` when it was closed before."""
        end = self._end
        end.paused, end.result = False, result
        end.over()

    def rest(self, record: Ended) -> None:
        """Sets what the thread has come to while it is paused, for the organism."""
        if self._end.result is None:
            self._end.paused, self._end.result = (
                True,
                evolve(result_of(record), outcome="paused", unit=None, scope=None, account=None),
            )
            self._end.come.set()

    def go_on(self) -> None:
        """What the thread had come to was not its end, for the organism: it goes on."""
        self._end.resumed()

    def fail(self, error: OrganismError) -> None:
        """There will be no result, for the organism; not even one for now, which whoever waits for it to go on would wait with."""
        self._end.error, self._end.paused, self._end.result = error, False, None
        self._end.over()

    def when_over(self, last_words: Callable[[], None]) -> None:
        """Calls this once the thread has ended, or never will, for the organism."""
        self._end.last_words = last_words


def raised(budget: BudgetSettings, units: Mapping[str, Any]) -> BudgetSettings:
    """A budget with its limits higher by these amounts; a unit without a limit stays without. Raises ConfigurationError."""
    for unit, amount in units.items():
        if amount is None or not adds(amount):
            problem = (
                f"add_budget: {unit}: {amount!r:.40} must be above 0: it comes on top of the limit; set_budget sets one"
            )
            raise ConfigurationError([problem])
    more, now = parse_budget(units).limits, budget.limits
    higher: dict[str, Any] = {
        field.name: added(have, extra) if isinstance(have, Decimal) else have + extra
        for field in fields(Limits)
        if (extra := getattr(more, field.name)) is not None and (have := getattr(now, field.name)) is not None
    }
    return evolve(budget, limits=evolve(now, **higher))
