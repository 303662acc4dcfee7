"""What comes from outside: messages in new threads, and threads that an earlier process left."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, Final, TypedDict, cast
from weakref import WeakKeyDictionary

import anyio

from organism import config
from organism.errors import (
    BudgetExhaustedError,
    ConfigurationError,
    IdTakenError,
    JournalError,
    OrganismError,
    QueueFullError,
    RoutingError,
    check_text,
    pairs_of,
    texts_of,
)
from organism.kernel.outcome import final_of
from organism.names import CONVERSATION, counted, is_of_limits, told
from organism.payloads.frozendict import FrozenDict
from organism.pump.accounts import AccountHandle, checked_account
from organism.pump.bare import bare
from organism.pump.handles import ConversationHandle, ThreadHandle, end_of, handle_of_record
from organism.works.arrivals import Arrivals
from organism.works.conversations import Conversations
from organism.works.naming import Naming
from organism.works.pruning import pruned
from organism.works.repeats import Sent, check_same
from organism.works.replays import not_lasting

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from contextlib import AbstractAsyncContextManager
    from typing import Unpack

    from organism.journal.pruning import Mark, Pruned
    from organism.kernel.conversations import Beginning
    from organism.pump.bare import BareThread
    from organism.pump.live_handles import LiveHandles
    from organism.pump.pump import Pump
    from organism.results import ThreadResult
    from organism.settings import BudgetSettings, Settings
    from organism.threads.frames import Thread
    from organism.works.arrivals import Arrival
    from organism.works.durable import Durable
    from organism.works.naming import Names

_log: Final = logging.getLogger("organism.journal")
_NO_LABELS: Final[Mapping[str, str]] = FrozenDict()


class Sending(TypedDict, total=False):
    """How a message is sent: see :meth:`organism.organism.Organism.send`."""

    budget: Mapping[str, Any] | None
    labels: Mapping[str, str] | None
    conversation: str | None
    accounts: Mapping[str, str] | None
    id: str | None


_KEYWORDS: Final = Sending.__optional_keys__


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
        handles: LiveHandles,
    ) -> None:
        self._settings = settings
        self._pump = pump
        self._durable = durable
        self._names = Naming(names, durable, self._is_taken)
        self._taking_in = taking_in
        self._looking, self._pruning = anyio.Lock(), anyio.Lock()
        self._sent: WeakKeyDictionary[ThreadHandle, Sent] = WeakKeyDictionary()
        """What was sent under an id that was given, while its thread lives."""
        self._arrivals = Arrivals(pump.variables)
        self.handles = handles
        self._conversations = Conversations(settings, pump.kernel, durable, self.take_up)

    async def send(self, to: str, payload: Any, **how: Unpack[Sending]) -> ThreadHandle:
        """See :meth:`organism.organism.Organism.send`."""
        handle = await self._take_in(to, payload, **how)
        if self._durable is not None:
            live = self._pump.kernel.state.threads.get(handle.id)
            await self._pump.settled(*(() if live is None else (live,)))
        return handle

    async def ask(self, to: str, payload: Any, **how: Unpack[Sending]) -> ThreadResult:
        """What a thread comes to that is sent for it, also where it waits for people. Whoever stops waiting cancels it, from when it is
        taken in: that its message is durable is known by its end.
        """
        if not how.keys() <= _KEYWORDS:
            wrong = ", ".join(sorted(how.keys() - _KEYWORDS))
            raise TypeError(
                f"ask() takes no keyword {wrong}; there are: {', '.join(sorted({'expect', *_KEYWORDS}))}; "
                "for a time limit, put the call into `anyio.fail_after(seconds)`"
            )
        handle = await self._take_in(to, payload, **how)
        try:
            result = await handle.result()
            while handle.paused and handle.waits_for_people:
                await handle.goes_on()
                result = await handle.result()
        except BaseException:
            if not handle.ended and not self._pump.stopped:
                handle.cancel("whoever asked no longer waits for an answer")
            raise
        return result

    async def _take_in(
        self,
        to: str,
        payload: Any,
        *,
        budget: Mapping[str, Any] | None = None,
        labels: Mapping[str, str] | None = None,
        conversation: str | None = None,
        accounts: Mapping[str, str] | None = None,
        id: str | None = None,  # noqa: A002 - as in Organism.send
    ) -> ThreadHandle:
        """Accepts a message; what that changes may not be durable yet."""
        settings, given, id_ = self.budget(budget), checked_labels(labels), id
        under = config.account_names(accounts, self._settings)
        if conversation is not None:
            check_text("conversation", conversation)
        sent = None if id_ is None else Sent(to=to, payload=payload, accounts=under, conversation=conversation)
        name = (self._names.at_once() if id_ is None else None) or await self._named(id_)
        try:
            there = None if sent is None else await self._known(name, sent)
            turn_of = None
            if there is None and (sent or conversation is not None or self._pump.wakeups.admission.is_full):
                coming = self._arrivals.begin(name)  # or it could be given by hand meanwhile
                turn_of = await self._room(coming, conversation, under if accounts else None)
                self._taking_in()  # meanwhile, too, or it may have been taken up, or a sub-thread have got that id
                there = self._live(id_)
            if there is not None and sent is not None:
                await self._check_same(there, sent)
                return there
            thread, handle = self._accept(name, to, payload, settings, given, turn_of, under)
            if sent is not None:
                self._sent[handle] = sent.taken_in(thread)
            return handle
        finally:
            self._arrivals.end(name)
            self._pump.carry_out()  # where it has not taken its room, whoever waits behind it does

    async def _check_same(self, known: ThreadHandle, again: Sent) -> None:
        """Raises IdTakenError where this thread began with something else than is sent under its id again."""
        first = self._sent.get(known)
        if first is None and self._durable is not None:
            first = await self._durable.opening_of(known.id)
        if first is not None:
            check_same(known.id, first, again)

    async def _named(self, id_: str | None) -> str:
        """The id of what is on its way in: the one that was given, or a name. Waits until nothing else is on its way in under that id."""
        if id_ is None:
            return await self.name()
        name = checked_id(id_)
        self._names.given(name)
        await self._arrivals.alone(name)
        return name

    async def fork(
        self,
        thread: str,
        *,
        at: int | None,
        budget: Mapping[str, Any] | None,
        labels: Mapping[str, str],
        id_: str | None,
    ) -> ThreadHandle:
        """See :meth:`organism.organism.Organism.fork`."""
        check_text("thread", thread)
        if self._durable is None:
            raise ConfigurationError([not_lasting("fork", self._settings.journal)])
        if at is not None and (not isinstance(cast("object", at), int) or isinstance(at, bool)):
            raise TypeError(f"at is the number of entries that are copied, not {told(at)}")
        over: Mapping[str, Any] = {} if budget is None else budget
        handlers = self._settings.handlers
        name = await self._named(id_)
        try:
            if id_ is not None and self._live(id_) is None:
                await self._ended(id_)
            self._taking_in()  # meanwhile, too
            self._arrivals.begin(name)
            # Of one that is there, it says whether it is this one, before anything of that goes on.
            await self._durable.fork(
                thread,
                name,
                entries=at,
                budget=lambda limits: config.budget_over(limits, over, handlers),
                labels=labels,
            )
            handle = await self._known(name)  # it has ended already where all that was left of it had been cancelled
        finally:
            self._arrivals.end(name)
        assert handle is not None  # noqa: S101 - it was written down
        handle.resume()  # a fork is written down paused, and still is where its process ended before this
        return handle

    async def _room(
        self, coming: Arrival, conversation: str | None, accounts: tuple[str, ...] | None
    ) -> Beginning | None:
        """Waits for room in the queue, or raises QueueFullError; and for the conversation, whose turn the message is then. Raises OrganismError
        in a handler that would have to wait.
        """
        admission = self._pump.wakeups.admission
        while True:
            if self._settings.on_full == "wait":
                if admission.is_full:
                    self._arrivals.wait(coming, "wait for room in")
                await admission.enter()
                self._taking_in()  # while it waited, the organism may have been closed
            elif admission.is_full:
                raise QueueFullError(
                    f"{counted(self._settings.queue, 'message')} waiting already ('queue'), and 'on_full' is 'refuse'"
                )
            if conversation is None:
                return None
            turn_of = await self._next_turn(coming, conversation, accounts)
            if admission.has_room:  # others may have come meanwhile
                return turn_of

    async def send_all(
        self,
        messages: Iterable[tuple[str, Any]],
        *,
        labels: Mapping[str, str],
        accounts: Mapping[str, str] | None,
        refused: Callable[[int, OrganismError], object] | None,
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
        return thread, self.handle(thread)

    async def _next_turn(self, coming: Arrival, conversation: str, accounts: tuple[str, ...] | None) -> Beginning:
        """Whose turn a message is. ``accounts`` are those that were given with it; ``None``: it is under those that it began under.

        At its cap of messages a conversation goes on in a fresh one, once its turns have ended.
        """
        while True:
            turn_of = await self._conversations.next_turn(conversation, accounts)
            last = self._conversations.to_end_first(turn_of)
            if last is None:
                return turn_of
            self._arrivals.wait(coming, "wait for a turn in")
            await end_of(self.handle(last)).over()

    async def bare(
        self, *, budget: Mapping[str, Any] | None, labels: Mapping[str, str], accounts: Mapping[str, str] | None
    ) -> AbstractAsyncContextManager[BareThread]:
        """See :meth:`organism.organism.Organism.thread`."""
        pump, limits = self._pump, self.budget(budget)
        under = config.account_names(accounts, self._settings)
        thread = pump.kernel.open_bare(await self.name(), limits, labels, pump.look(), accounts=under)
        return bare(pump, thread, self.handle(thread))

    async def conversation(self, id_: str) -> ConversationHandle | None:
        """See :meth:`organism.organism.Organism.conversation_of`."""
        found = await self._conversations.find(id_)
        return None if found is None else ConversationHandle(self._pump, found)

    def account(self, name: str) -> AccountHandle:
        """See :meth:`organism.organism.Organism.account_of`."""
        return AccountHandle(self._pump, checked_account(name, self._settings))

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
        """The handle of a live thread, or of one that a subscriber cancelled when it heard that it was opened."""
        handle = self.handles.get(thread)
        if handle is None and thread.ended:
            return handle_of_record(self._pump, final_of(thread), owner=thread.owner)
        if handle is None:
            handle = self.handles[thread] = ThreadHandle(self._pump, thread)
            if thread.paused_at is not None and thread.owner is None and not thread.waits_turn:
                self._pump.pauses.pause(thread)  # what it has come to was told to nobody
        return handle

    async def _known(self, id_: str, again: Sent | None = None) -> ThreadHandle | None:
        """The thread that was sent under this id before: alive, left by an earlier process, or ended in the journal. What an earlier process
        left goes on; where something else than began it is sent ``again``, that raises IdTakenError, and it stays as it is.
        """
        live = self._live(id_)
        if live is not None or self._durable is None:
            return live
        async with self._looking:
            if (live := self._live(id_)) is not None:
                return live
            chain = await self._durable.chain_of(id_) or id_
            if self._durable.left(chain):
                first = None if again is None else await self._durable.opening_of(id_)
                if first is not None and again is not None:
                    check_same(id_, first, again)
                await self.take_up(chain)
                if (live := self._live(id_)) is not None:
                    return live
            return await self._ended(id_)

    async def _ended(self, id_: str) -> ThreadHandle | None:
        """The thread of this id that has ended in the journal; raises IdTakenError where it was a sub-thread."""
        record = None if self._durable is None else await self._durable.end_of(id_)
        if record is not None and record.kind != "root":
            raise IdTakenError(id_, "was used by a sub-thread: choose another one")
        return None if record is None else handle_of_record(self._pump, record)

    async def name(self) -> str:
        """A name for a thread, that none has or had: two threads under one would be read as one. Raises once nothing is taken in."""
        (name,) = await self._free_names(1)
        return name

    async def _free_names(self, count: int) -> list[str]:
        """So many of these, for whoever opens the threads at once."""
        names = await self._names.next(count)
        self._taking_in()  # meanwhile, too
        return names

    def _is_taken(self, name: str) -> bool:
        return name in self._pump.kernel.state.threads or name in self._arrivals

    def _live(self, id_: str | None) -> ThreadHandle | None:
        """The live thread that was sent under this id; raises IdTakenError where the id is that of a sub-thread."""
        found = None if id_ is None else self._pump.kernel.state.threads.get(id_)
        if found is None:
            return None
        if found.owner is not None:
            raise IdTakenError(found.id, "is used by a sub-thread: choose another one")
        return self.handles.get(found)

    async def resume(self, *, paused: bool) -> list[ThreadHandle]:
        """See :meth:`organism.organism.Organism.resume`."""
        taken: list[ThreadHandle] = []
        durable = self._durable
        if durable is not None:
            durable.catch_up()
            for chain in durable.unfinished:
                async with self._looking:
                    await durable.read_ahead(chain)
                    try:
                        taken += await self.take_up(chain)
                    except JournalError as error:
                        _log.error("%s cannot be taken up: %s", chain, error)
        if not paused:
            return taken
        roots = self._pump.kernel.state.roots
        stopped = [self.handle(each) for each in roots if each.paused_at is not None and not each.waits_turn]
        for handle in stopped:
            handle.resume()
        return list(dict.fromkeys([*taken, *stopped]))

    async def take_up(self, chain: str) -> list[ThreadHandle]:
        """Goes on with what is unfinished of a chain. Raises JournalError where it is damaged."""
        threads = [] if self._durable is None else await self._durable.recover(chain)
        handles = [self.handle(thread) for thread in threads]
        paused = [thread for thread in threads if thread.paused_at is not None and not thread.waits_turn]
        self._pump.carry_out()
        if paused:
            await self._pump.settled(*paused)  # from then on their handles say so
        return handles


def checked_id(given: Any) -> str:
    """The id that a thread was given; raises TypeError or RoutingError for what is none."""
    check_text("id", given)
    id_: str = given
    if id_.startswith(CONVERSATION) or is_of_limits(id_):
        raise RoutingError(
            f"thread id {told(id_)} begins as the chains of conversations and accounts do: choose another one"
        )
    return id_


def checked_labels(labels: Mapping[str, str] | None) -> Mapping[str, str]:
    """Labels as a mapping of their own, that may be shared; raises TypeError for what is no text."""
    if not labels:
        return _NO_LABELS
    return FrozenDict(texts_of("labels", labels, are="texts by name", such_as={"arm": "blind"}))
