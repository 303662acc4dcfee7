"""Handles of threads and conversations for the embedding program: to wait for an end, pause, cancel, and change limits."""

from __future__ import annotations

from decimal import Decimal
from functools import partial
from typing import TYPE_CHECKING, Any, Final, TypeVar

from attrs import evolve, fields

from organism.budget.caps import caps
from organism.budget.node import Node
from organism.budget.view import BudgetView, Gauge
from organism.config import budget as parse_budget
from organism.config import budget_over
from organism.errors import ConfigurationError, NotRunningError
from organism.kernel.times import running_time
from organism.names import told
from organism.pump.inside import check_waits_outside
from organism.pump.thread_end import ThreadEnd
from organism.results import result_of
from organism.settings import UNITS, BudgetSettings, Limits, Policy
from organism.threads.frames import Thread
from organism.threads.outcomes import Failure
from organism.usage import added, adds

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Mapping

    from organism.pump.accounts import AccountHandle
    from organism.pump.pump import Pump
    from organism.pump.waiting import Waiting
    from organism.record.calls import CallRow
    from organism.record.facts import Ended
    from organism.record.images import Ordered
    from organism.results import Event, ThreadResult
    from organism.threads.frames import Conversation, Frame

T = TypeVar("T")
_OF_CONVERSATIONS: Final = tuple(unit for unit in UNITS if unit != "depth")
"""Units of a conversation whose limits can be raised."""


class ThreadHandle:
    """A thread: waits for its end, reads its events, pauses, resumes or cancels it, and changes its limits."""

    __slots__ = ("__weakref__", "_known_end", "_pump", "_thread", "_waiting")

    def __init__(
        self, pump: Pump, thread: Thread, end: ThreadEnd | None = None, waiting: Waiting | None = None
    ) -> None:
        self._pump = pump
        self._thread = thread
        self._known_end = end
        self._waiting = waiting

    def __repr__(self) -> str:
        result = None if self._known_end is None else self._known_end.result
        return f"<ThreadHandle {self.id}{'' if result is None else f', {result.outcome}'}>"

    @property
    def _end(self) -> ThreadEnd:
        """Its end, made when it is first asked for."""
        if self._known_end is None:
            self._known_end = ThreadEnd(self._pump.event)
        return self._known_end

    @property
    def id(self) -> str:
        """The thread's id; opaque."""
        return self._thread.id

    @property
    def labels(self) -> Mapping[str, str]:
        """The thread's labels."""
        return self._thread.labels

    @property
    def ended(self) -> bool:
        """Whether the thread has ended, and its result is there."""
        return self._end.is_final

    def events(self, after: int = 0) -> AsyncIterator[Event]:
        """What happens in the thread and below it, from the event after number ``after`` up to its end, once it is durable:
        ``async for event in handle.events(): ...``, with ``event.seq`` and ``event.fact``.

        Raises NotRunningError if nothing is recorded, QueueFullError if its reader falls too far behind, and OrganismError in a handler of
        that organism that would have to wait: a handler may wait only for events of threads that it has spawned.
        """
        self._pump.own_loop.check()
        return self._pump.histories.of(self._thread, after=after, wait=partial(self._wait, "wait for events of"))

    async def history(self) -> tuple[Event, ...]:
        """What has happened in the thread and below it until now. Raises NotRunningError if nothing is recorded."""
        return await self._pump.histories.so_far(self._thread)

    async def calls(self) -> tuple[CallRow, ...]:
        """The finished model calls of the thread and of those below it, one row each. Raises NotRunningError if nothing is recorded."""
        return await self._pump.histories.calls(self.id)

    async def result(self) -> ThreadResult:
        """Waits for the thread to end, and returns how it ended; no outcome raises. The outcome is ``paused`` if the thread was paused and
        nothing of it runs any more, or if all that is left of it waits for people. Raises JournalError if its journal could not
        be written, NotRunningError if its organism was closed before it ended, and OrganismError in a handler of that organism, if it would
        have to wait: a handler may wait only for threads that it has spawned.
        """
        self._pump.own_loop.check()
        end = self._end
        if end.is_final and end.result is not None:
            await self._pump.heed()
            return end.result
        while True:
            come = end.come
            await (come.wait() if come.is_set() else self._wait("wait for a thread of", come.wait))
            if come is end.come and come.is_set():  # resumed before this task ran, it has another end to come
                break
        if end.error is not None:
            raise end.error
        if end.result is None:
            raise NotRunningError(f"thread {self.id} had not ended when its organism was closed")
        return end.result

    @property
    def paused(self) -> bool:
        """Whether nothing of it runs, since it was paused or waits for people: it has a result, which is not final."""
        return self._end.paused

    @property
    def waits_for_people(self) -> bool:
        """Whether all that is left of it waits for people."""
        return self._thread in self._pump.kernel.state.inbox.resting

    @property
    def waits_turn(self) -> bool:
        """Whether it has not begun, since an earlier turn of its conversation has not ended."""
        return self._thread.waits_turn

    async def goes_on(self) -> None:
        """After a result ``paused``: waits until the thread was resumed, or has ended."""
        self._pump.own_loop.check()
        while self._end.paused:
            await self._wait("wait for a thread of", self._end.gone_on.wait)

    async def _wait(self, verb: str, come: Callable[[], Awaitable[T]]) -> T:
        """Waits for something that comes of the thread. The handler that has spawned it gives its place back meanwhile; to others a handler's
        organism says that it may not ``verb`` it.
        """
        waiting = self._waiting
        if waiting is None:
            check_waits_outside(self._pump.variables, verb)
            return await come()
        calls, inbox = self._pump.kernel.calls, self._pump.kernel.state.inbox
        async with waiting:
            calls.await_result(waiting.message, self._thread, self._pump.scopes())
            inbox.stir(waiting.message.thread)
            self._pump.carry_out()
            try:
                return await come()
            finally:
                calls.await_no_more(waiting.message, self._thread, self._pump.scopes())
                inbox.stir(waiting.message.thread)
                self._pump.carry_out()

    def pause(self) -> None:
        """Pauses the thread and all below it: running handlers finish, nothing more is delivered, and its clock stops. Once nothing of it
        runs, its result is there with the outcome ``paused``; :meth:`resume` continues it.
        """
        if self._pump.own_loop.puts_off(self.pause):
            return
        self._check_whole("paused")
        conversation = self._thread.conversation
        if self._thread.waits_turn and conversation is not None:
            raise NotRunningError(
                f"thread {self.id} waits for its turn in conversation {told(conversation.id)}: pause the one whose turn it is, "
                f"{conversation.turns[0].id}, or cancel this one"
            )
        self._pump.pauses.pause(self._thread)

    def resume(self) -> None:
        """Continues a paused thread. A thread that waits for people continues with their answers instead."""
        if self._pump.own_loop.puts_off(self.resume):
            return
        self._check_whole("resumed")
        if self._thread.paused_at is None:
            return
        self._end.go_on()
        self._pump.pauses.resume(self._thread)

    def _check_whole(self, what: str) -> None:
        if self._thread.owner is not None:
            raise NotRunningError(f"thread {self.id} is a sub-thread: only a whole thread is {what}")

    def _check_lives(self) -> None:
        if self._thread.ended:
            raise NotRunningError(f"thread {self.id} has ended; its budget was released")

    def cancel(self, reason: str = "cancelled") -> None:
        """Cancels the thread and all below it: calls under way are settled, then it ends ``cancelled``."""
        if self._pump.own_loop.puts_off(partial(self.cancel, reason)):
            return
        self._pump.kernel.ends.stop(self._thread, Failure("cancelled", reason), self._pump.now())
        self._end.go_on()  # it has its end to come
        self._pump.carry_out()

    def add_budget(self, **units: float | str | Decimal) -> None:
        """Raises limits by these amounts: ``handle.add_budget(tokens=1000)``. A unit without a limit stays without.

        Raises ConfigurationError for an unknown unit or an amount that is not above 0, and NotRunningError if the thread has ended.
        """
        self._raise(units)

    def _raise(self, units: Mapping[str, Any], order: Ordered | None = None) -> None:
        if wrong := [unit for unit in units if unit not in UNITS]:
            raise ConfigurationError([f"{wrong[0]!r} is not a unit that can be raised; there are: {', '.join(UNITS)}"])
        self._set(raised(self._thread.budget, units), order)

    def set_budget(self, **keys: Any) -> None:
        """Sets keys of ``budget:``, as in ``handle.set_budget(tokens=5000)``; ``tokens=None`` is no limit. If a limit is below what is spent
        already, nothing more is granted. Raises as :meth:`add_budget`.
        """
        self._set(budget_over(self._thread.budget, keys, self._pump.handlers))

    def _set(self, budget: BudgetSettings, order: Ordered | None = None) -> None:
        if self._pump.own_loop.puts_off(partial(self._set, budget, order)):
            return
        self._check_lives()
        self._pump.kernel.calls.set_limits(self._thread, budget, self._pump.now(), order)
        if not self._thread.closing:
            self._pump.deadlines.watch(self._thread)
        self._pump.carry_out()


def give_more(
    handle: ThreadHandle | ConversationHandle | AccountHandle, units: Mapping[str, Any], order: Ordered | None
) -> None:
    """Raises limits as the handle's ``add_budget`` does, by this ``order`` where it has an id."""
    handle._raise(units, order)  # noqa: SLF001 # pyright: ignore[reportPrivateUsage] - users have no use for it


def end_of(handle: ThreadHandle) -> ThreadEnd:
    """The end that a handle waits for: the pump sets it."""
    return handle._end  # noqa: SLF001 # pyright: ignore[reportPrivateUsage] - users have no use for it


def handle_of_record(
    pump: Pump,
    record: Ended,
    *,
    owner: Frame | None = None,
    waiting: Waiting | None = None,
    cls: type[ThreadHandle] = ThreadHandle,
) -> ThreadHandle:
    """The handle of a thread that has ended, from its final record. ``owner`` is the frame that opened a sub-thread."""
    node = Node("thread", caps(Limits(), Policy(), keeps_back=False), Policy(), thread=record.thread)
    kind: Any = record.kind
    thread = Thread(record.thread, kind, record.handler, node, owner, record.labels, record.at, BudgetSettings())
    thread.ended_at = record.at
    end = ThreadEnd(pump.event)
    end.finish(result_of(record))
    return cls(pump, thread, end, waiting)


class ConversationHandle:
    """A conversation that has begun, whether a turn of it runs or not."""

    def __init__(self, pump: Pump, conversation: Conversation) -> None:
        self._pump = pump
        self._conversation = conversation

    @property
    def id(self) -> str:
        """The conversation's name, or that of the conversation that continues it (``on_cap: rotate``)."""
        return self._conversation.id

    @property
    def budget(self) -> BudgetView:
        """Its limits and what all its turns have used of them, live, as ``ctx.budget`` has them for a thread."""
        state, now = self._pump.kernel.state, self._pump.now
        conversation = state.conversations.get(self.id, self._conversation)

        def seconds() -> tuple[float, float | None, tuple[str, ...]]:
            running = sum(running_time(state, turn, now()) for turn in list(conversation.turns)[:1])
            return round(conversation.seconds + running, 3), conversation.node.caps.seconds, ()

        depth = Gauge("depth", lambda: (0, None, ()))
        return BudgetView(conversation.node, seconds=Gauge("seconds", seconds), depth=depth)

    def add_budget(self, **units: float | str | Decimal) -> None:
        """Raises limits by these amounts: ``add_budget(tokens=1000)``. A unit without a limit stays without. More ``seconds`` count
        from the next turn on. Raises ConfigurationError for an unknown unit or an amount that is not above 0, and NotRunningError if
        the conversation was idle for so long that it was unloaded, or was removed.
        """
        self._raise(units)

    def _raise(self, units: Mapping[str, Any], order: Ordered | None = None) -> None:
        if wrong := [unit for unit in units if unit not in _OF_CONVERSATIONS]:
            raise ConfigurationError(
                [
                    f"{wrong[0]!r} is not a unit of a conversation that can be raised; there are: {', '.join(_OF_CONVERSATIONS)}"
                ]
            )
        conversation = self._known()
        self._set(conversation, raised(conversation.budget, units), order)

    def set_budget(self, **keys: Any) -> None:
        """Sets keys of ``conversation:`` except ``on_cap``; ``tokens=None`` is no limit. If a limit is below what is spent already, nothing
        more is granted. Raises as :meth:`add_budget`.
        """
        if "depth" in keys:
            raise ConfigurationError(["budget.depth: depth is of one turn, and a conversation has none"])
        conversation = self._known()
        self._set(conversation, budget_over(conversation.budget, keys, self._pump.handlers))

    def _known(self) -> Conversation:
        # One that was idle for long was let go, and is another object once it is taken up again; or it was removed, and no chain is there.
        conversation = self._pump.kernel.state.conversations.get(self.id)
        if conversation is None:
            raise NotRunningError(
                f"conversation {told(self.id)} is not in memory any more, since nothing of it runs: get it anew with `organism.conversation_of`"
            )
        return conversation

    def _set(self, conversation: Conversation, budget: BudgetSettings, order: Ordered | None = None) -> None:
        if self._pump.own_loop.puts_off(partial(self._set, conversation, budget, order)):
            return
        self._pump.kernel.calls.set_conversation_limits(conversation, budget, self._pump.now(), order)
        self._pump.carry_out()


def raised(budget: BudgetSettings, units: Mapping[str, Any]) -> BudgetSettings:
    """A budget with its limits higher by these amounts; a unit without a limit stays without. Raises ConfigurationError."""
    for unit, amount in units.items():
        if amount is None or not adds(amount):
            problem = (
                f"add_budget: {unit}: {told(amount, 40)} must be above 0: it is added to the limit; set_budget sets one"
            )
            raise ConfigurationError([problem])
    more, now = parse_budget(units).limits, budget.limits
    higher: dict[str, Any] = {
        field.name: added(have, extra) if isinstance(have, Decimal) else have + extra
        for field in fields(Limits)
        if (extra := getattr(more, field.name)) is not None and (have := getattr(now, field.name)) is not None
    }
    return evolve(budget, limits=evolve(now, **higher))
