"""What comes from outside: messages in new threads, and threads that an earlier process left."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final, cast

import anyio

from organism import config
from organism.errors import BudgetExhaustedError, JournalError, OrganismError, QueueFullError, RoutingError, pairs_of
from organism.names import CONVERSATION
from organism.payloads.frozendict import FrozenDict
from organism.pump.conversing import ConversationHandle
from organism.pump.handles import ThreadHandle
from organism.works.conversations import Conversations
from organism.works.naming import Naming
from organism.works.pruning import pruned

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from organism.journal.pruning import Mark, Pruned
    from organism.kernel.conversations import Beginning
    from organism.pump.pump import Pump
    from organism.pump.register import Register
    from organism.settings import BudgetSettings, Settings
    from organism.threads.frames import Thread
    from organism.works.durable import Durable
    from organism.works.naming import Names

_log: Final = logging.getLogger("organism.journal")
_NO_LABELS: Final[Mapping[str, str]] = FrozenDict()


class Ingress:
    """Takes messages in for a running organism. ``names`` are for threads, ``taking_in`` raises once nothing more is taken in.

    ``handles`` are those of the threads that live.
    """

    def __init__(
        self,
        settings: Settings,
        pump: Pump,
        durable: Durable | None,
        *,
        names: Names,
        taking_in: Callable[[], object],
        handles: Register,
    ) -> None:
        self._settings = settings
        self._pump = pump
        self._durable = durable
        self._names = Naming(names, durable)
        self._taking_in = taking_in
        self._looking, self._pruning = anyio.Lock(), anyio.Lock()
        self._coming: dict[str, anyio.Event] = {}
        """Ids under which something is sent that has not been taken in yet."""
        self.handles = handles
        self._conversations = Conversations(settings, pump.kernel, durable, self.take_up)

    async def send(
        self,
        to: str,
        payload: Any,
        *,
        budget: Mapping[str, Any] | None,
        labels: Mapping[str, str],
        conversation: str | None,
        accounts: Mapping[str, str] | None,
        id_: str | None,
    ) -> ThreadHandle:
        """See :meth:`organism.organism.Organism.send`."""
        settings = self.budget(budget)
        under = config.account_names(accounts, self._settings)
        if id_ is None:
            name = await self.name()
        else:
            name = checked_id(id_)
            self._names.given(name)
            await self._comes_alone(name)
        try:
            known = None if id_ is None else await self._known(name)
            if known is not None:
                return known
            turn_of = None
            if id_ is not None or conversation is not None or self._pump.waits.room.is_full:
                self._coming.setdefault(name, anyio.Event())  # or it could be given by hand meanwhile
                turn_of = await self._room(conversation, under if accounts else None)
                self._taking_in()  # meanwhile, too, or it may have been taken up, or a sub-thread have got that id
                live = self._live(id_)
                if live is not None:
                    return live
            thread, handle = self._accept(name, to, payload, settings, labels, turn_of, under)
        finally:
            if (coming := self._coming.pop(name, None)) is not None:
                coming.set()
            self._pump.carry_out()  # where it has not taken its room, whoever waits behind it does
        await self._pump.settled(thread)
        return handle

    async def _comes_alone(self, name: str) -> None:
        """Waits until nothing else is on its way in under this id: what that comes to is to be known before, also where it ends at once."""
        while (other := self._coming.get(name)) is not None:
            await other.wait()
        self._coming[name] = anyio.Event()

    async def _room(self, conversation: str | None, accounts: tuple[str, ...] | None) -> Beginning | None:
        """Waits for room in the queue, or raises QueueFullError; and for the conversation, whose turn the message is then."""
        room = self._pump.waits.room
        while True:
            if self._settings.on_full == "wait":
                await room.enter()
                self._taking_in()  # while it waited, the organism may have been closed
            elif room.is_full:
                raise QueueFullError(f"{self._settings.queue} messages wait already (`queue`), and `on_full` is refuse")
            if conversation is None:
                return None
            turn_of = await self._next_turn(conversation, accounts)
            if room.is_there:  # others may have come meanwhile
                return turn_of

    async def send_all(
        self,
        messages: Iterable[tuple[str, Any]],
        *,
        labels: Mapping[str, str],
        accounts: Mapping[str, str] | None,
        refused: Callable[[int, OrganismError], None] | None,
    ) -> list[ThreadHandle]:
        """Takes several messages in at once, each in a thread of its own: all of them, before any is delivered (R23)."""
        under = config.account_names(accounts, self._settings)
        opened: list[tuple[Thread, ThreadHandle]] = []
        pairs = pairs_of("send_all", messages)
        names = await self._free_names(len(pairs))
        try:
            for number, (name, (to, payload)) in enumerate(zip(names, pairs, strict=True)):
                try:
                    opened.append(self._accept(name, to, payload, self._settings.budget, labels, accounts=under))
                except OrganismError as error:
                    if refused is None:
                        raise
                    refused(number, error)
        finally:
            self._pump.carry_out()
        await self._pump.settled(*(thread for thread, _ in opened))
        return [handle for _, handle in opened]

    def _accept(
        self,
        name: str,
        to: str,
        payload: Any,
        budget: BudgetSettings,
        labels: Mapping[str, str],
        turn_of: Beginning | None = None,
        accounts: tuple[str, ...] = (),
    ) -> tuple[Thread, ThreadHandle]:
        pump = self._pump
        try:
            thread = pump.kernel.accept(
                name, to, payload, budget, labels, pump.look(), turn_of=turn_of, accounts=accounts
            )
        except BudgetExhaustedError as refused:
            following = None if turn_of is None else self._conversations.rotated(turn_of, refused)
            if following is None:
                raise
            thread = pump.kernel.accept(name, to, payload, budget, labels, pump.now(), turn_of=following)
        handle = self.handles[thread] = ThreadHandle(pump, thread)
        return thread, handle

    async def _next_turn(self, conversation: str, accounts: tuple[str, ...] | None) -> Beginning:
        """Whose turn a message is. ``accounts`` are those that were given with it; ``None``: it is under those that it began under.

        At its cap of messages a conversation goes on in a fresh one, once its turns have ended.
        """
        while True:
            turn_of = await self._conversations.next_turn(conversation, accounts)
            last = self._conversations.to_end_first(turn_of)
            if last is None:
                return turn_of
            await self.handle(last).over()

    async def conversation(self, id_: str) -> ConversationHandle | None:
        """See :meth:`organism.organism.Organism.conversation_of`."""
        found = await self._conversations.find(id_)
        return None if found is None else ConversationHandle(self._pump, found)

    async def prune(self, mark: Mark) -> Pruned:
        """Removes finished threads from the journal; raises JournalError, also where it ends with the process."""
        if self._durable is None:
            raise JournalError("memory: ends with the process, and keeps no finished threads")
        async with self._pruning:
            return await pruned(self._durable, self._conversations, mark)

    def budget(self, over: Mapping[str, Any] | None) -> BudgetSettings:
        """The budget of a thread, with what was given for it over what the file says."""
        if over is None:
            return self._settings.budget
        return config.budget_over(self._settings.budget, over, self._settings.handlers)

    def handle(self, thread: Thread) -> ThreadHandle:
        """The handle of a live thread."""
        handle = self.handles.get(thread)
        if handle is None:
            handle = self.handles[thread] = ThreadHandle(self._pump, thread)
        return handle

    async def _known(self, id_: str) -> ThreadHandle | None:
        """The thread that was sent under this id before: alive, left by an earlier process, or ended in the journal."""
        live = self._live(id_)
        if live is not None or self._durable is None:
            return live
        async with self._looking:
            if (live := self._live(id_)) is not None:
                return live
            chain = await self._durable.chain_of(id_) or id_
            if self._durable.left(chain):
                await self.take_up(chain)
                if (live := self._live(id_)) is not None:
                    return live
            record = await self._durable.end_of(id_)
        if record is not None and record.kind != "root":
            raise RoutingError(f"thread id {id_!r:.80} is that of a sub-thread that has run: choose another one")
        return None if record is None else ThreadHandle.of_record(self._pump, record)

    async def name(self) -> str:
        """A name for a thread, that none has or had: two threads under one would be read as one. Raises once nothing is taken in."""
        (name,) = await self._free_names(1)
        return name

    async def _free_names(self, count: int) -> list[str]:
        """So many of these, for whoever opens the threads at once."""
        while True:
            names = await self._names.next(count)
            self._taking_in()  # meanwhile, too
            if not any(name in self._coming or name in self._pump.kernel.state.threads for name in names):
                return names

    def _live(self, id_: str | None) -> ThreadHandle | None:
        """The live thread that was sent under this id; raises RoutingError where the id is that of a sub-thread."""
        found = None if id_ is None else self._pump.kernel.state.threads.get(id_)
        if found is None:
            return None
        if found.owner is not None:
            raise RoutingError(f"thread id {id_!r} is that of a sub-thread that runs: choose another one")
        return self.handles.get(found)

    async def resume(self) -> list[ThreadHandle]:
        """See :meth:`organism.organism.Organism.resume`."""
        taken: list[ThreadHandle] = []
        durable = self._durable
        for chain in () if durable is None else durable.unfinished:
            async with self._looking:
                if durable is not None:
                    await durable.read_ahead(chain)
                try:
                    taken += await self.take_up(chain)
                except JournalError as error:
                    _log.error("%s cannot be taken up: %s", chain, error)
        return taken

    async def take_up(self, chain: str) -> list[ThreadHandle]:
        """Goes on with what is unfinished of a chain. Raises JournalError where it is damaged."""
        threads = [] if self._durable is None else await self._durable.recover(chain)
        handles = [self.handle(thread) for thread in threads]
        paused = [thread for thread in threads if thread.paused_at is not None and not thread.waits_turn]
        for thread in paused:
            self._pump.pauses.pause(thread)
        self._pump.carry_out()
        if paused:
            await self._pump.settled(*paused)  # from then on their handles say so
        return handles


def checked_id(given: Any) -> str:
    """The id that a thread was given; raises TypeError or RoutingError for what is none."""
    if not isinstance(given, str):
        raise TypeError(f"id is a text, not {given!r}")
    if given.startswith(CONVERSATION):
        raise RoutingError(f"thread id {given!r:.80} begins as the chains of conversations do: choose another one")
    return given


def checked_labels(labels: Mapping[str, str] | None) -> Mapping[str, str]:
    """Labels as a mapping of their own, that may be shared; raises TypeError for what is no text."""
    if not labels:
        return _NO_LABELS
    if not isinstance(cast("object", labels), Mapping):
        raise TypeError(f"labels are texts by name, as in {{'arm': 'blind'}}, not {labels!r:.80}")
    given: Mapping[Any, Any] = labels
    for key, value in given.items():
        if not isinstance(key, str) or not isinstance(value, str):
            raise TypeError(f"labels are texts by name, not {key!r}: {value!r}")
    return FrozenDict(given)
