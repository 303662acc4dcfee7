"""The composition root: puts the rooms together, and is the only place that reads clock, environment and dice."""

from __future__ import annotations

import os
import random
import secrets
import time
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from functools import partial
from itertools import count
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar, overload

import anyio

from organism import config
from organism.agent import ready
from organism.errors import NotRunningError, OrganismError
from organism.kernel import Kernel
from organism.models.readiness import BackendChecks, made_ready
from organism.models.recordings.sellers import with_sellers
from organism.names import ORGANISM
from organism.payloads.expected import check_expect
from organism.pump import runtime
from organism.pump.clock import Clock
from organism.pump.inside import check_outside, variables_of
from organism.pump.live_handles import LiveHandles
from organism.works import dead, inbox
from organism.works.audience import Audience
from organism.works.bursar import BURSAR
from organism.works.counts import statistics_of, usage_of
from organism.works.ingress import checked_labels
from organism.works.learning import Learner, Learning
from organism.works.naming import Names, drawn
from organism.works.replays import replayed
from organism.works.starting import Starting
from organism.works.works import Works, not_running

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable, Mapping
    from contextvars import Context
    from decimal import Decimal
    from typing import Self, Unpack

    from typing_extensions import TypeForm

    from organism.config.keywords import Keywords
    from organism.journal import MemoryJournal
    from organism.models.routing.shared import SharedLimits
    from organism.pump.accounts import AccountHandle
    from organism.pump.bare import BareThread
    from organism.pump.handles import ConversationHandle, ThreadHandle
    from organism.pump.text_listeners import TextDelta
    from organism.record.calls import CallRow
    from organism.record.facts import Fact
    from organism.record.metering import Metered
    from organism.results import DeadMessage, Event, Question, Replayed, Statistics, ThreadResult
    from organism.settings import Settings
    from organism.usage import Usage
    from organism.works.ingress import Sending

P = TypeVar("P")


class Organism(Learner):
    """A set of handlers on one message pump. Use it as ``async with Organism.load("organism.yaml") as organism: ...``.

    Without a file: ``Organism(name="demo", handlers={"greeter": greet}, budget={"tokens": 5000}, models={...})``. The keywords are the keys
    of organism.yaml, and ``set={"budget.tokens": 500}`` overrides them. Relative paths start from ``folder``, by default the current one.
    ``seed`` makes thread ids and delays of retries the same in each run. Raises ConfigurationError with every mistake at once.
    """

    _parts: ClassVar = Works
    """What it is put together from while it runs."""

    def __init__(
        self,
        *,
        name: str = "organism",
        set: Mapping[str, Any] | None = None,  # noqa: A002 - the contract names it so
        folder: str | os.PathLike[str] | None = None,
        seed: int | None = None,
        **document: Unpack[Keywords],
    ) -> None:
        beside = None if folder is None else Path(folder)
        settings = config.build({"organism": name, **document}, set=set or {}, folder=beside, checks=_checks())
        self._setup(settings, seed)

    @classmethod
    def load(
        cls,
        path: str | os.PathLike[str] = "organism.yaml",
        *,
        set: Mapping[str, Any] | None = None,  # noqa: A002 - the contract names it so
        seed: int | None = None,
    ) -> Self:
        """Makes the organism that a file describes. ``ORGANISM_...`` variables of the environment override the file, and ``set`` overrides both."""
        return cls.of(config.load(Path(path), set=set or {}, environ=dict(os.environ), checks=_checks()), seed=seed)

    @classmethod
    def of(cls, settings: Settings, *, seed: int | None = None, limits: SharedLimits | None = None) -> Self:
        """Makes an organism from settings that are read and checked. All with the same ``limits`` keep rates and places of backends together."""
        organism = cls.__new__(cls)
        organism._setup(settings, seed, limits)  # noqa: SLF001 - its own
        return organism

    def _setup(self, settings: Settings, seed: int | None, limits: SharedLimits | None = None) -> None:
        self._limits = limits
        self._now: Callable[[], float] = time.time
        self.settings = settings = with_sellers(settings)
        self._random = random.Random(seed)  # noqa: S311 - spreads retries and names threads; no secret
        names = drawn(secrets.token_hex) if seed is None else (f"{self._random.getrandbits(64):016x}" for _ in count())
        self._names = Names(names.__next__, may_be_taken=seed is not None)
        self._audience = Audience(self._listen, clock=perf_counter)
        self._handlers = {name: ready(handler, settings.handlers) for name, handler in settings.everyone.items()}
        self._handlers[ORGANISM] = BURSAR
        self._handles = LiveHandles()
        self._works: Works | None = None
        self._starting = Starting()
        self._learning = Learning(settings.name)
        self.kernel = Kernel(settings)

    def __repr__(self) -> str:
        stands = "new" if self._works is None else "running" if self._works.running else "closed"
        return f"<{type(self).__name__} '{self.settings.name}', {stands}>"

    # Starting and closing

    async def start(self) -> None:
        """Starts the organism in the background of the running event loop. Any task may close it again; each organism starts once."""
        self._check_new("make a new one to start again")
        with self._starting:
            clock = Clock(
                runtime.elapsed(precise=perf_counter, steady=time.monotonic), wall=time.time, steady=time.monotonic
            )
            self._now = clock.now
            environ = dict(os.environ)
            await made_ready(self.settings.models, environ=environ, at=datetime.fromtimestamp(clock.now(), UTC))
            works = self._assembled(environ, variables_of(self), clock)
            await works.open()
            self._works = works
            self._listen()
            await works.run()

    def _assembled(self, environ: Mapping[str, str], variables: Context, clock: Clock) -> Works:
        return self._parts(
            self.settings, self.kernel, self._handlers, audience=self._audience, handles=self._handles, environ=environ,
            variables=variables, dice=self._random, clock=clock, names=self._names, learned=self._learning.begin(), limits=self._limits,
        )  # fmt: skip

    async def drain(self, grace: float) -> None:
        """Accepts no new messages, and waits up to ``grace`` seconds for running work to finish; :meth:`close` it afterwards.

        With a journal on a disk, only what running handlers wait for is still begun; with ``memory:``, threads run to their end.
        """
        check_outside(self, "drain")
        await self._running().drain(grace)

    async def close(self, *, grace: float = 0) -> None:
        """Accepts no new messages, gives running work ``grace`` seconds (see :meth:`drain`), cancels the rest, waits until its costs are
        settled, and stops. Closing again does nothing.

        With a journal on a disk, threads are left as they are, and :meth:`resume` of another organism continues them, now or in a later
        process. A handler that does not end although it was cancelled is left behind after 5 seconds, and logged.

        Raises the error with which the pump crashed, EscalatedError if a handler's failure stopped it, OrganismError in one of its own handlers.
        """
        check_outside(self, "close")
        await self._starting.over()
        if self._works is not None:
            self._works.pump.own_loop.check()
            try:
                if grace != 0 and self._works.running:
                    await self._works.drain(grace)
            finally:
                await self._works.close()

    @property
    def left_behind(self) -> tuple[str, ...]:
        """Names of the handlers that were cancelled and have not ended. Their tasks still run, and trio's event loop waits for them."""
        return () if self._works is None else self._works.left_behind

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    def _running(self) -> Works:
        if self._works is None or not self._works.running:
            raise not_running(self.settings)
        self._works.pump.own_loop.check()
        return self._works

    def _taking_in(self) -> Works:
        works = self._works or self._running()
        works.taking_in()
        return works

    def _check_new(self, way_out: str) -> None:
        if self._works is not None or self._starting.goes_on:
            raise NotRunningError(f"organism '{self.settings.name}' has started: {way_out}")

    # Work

    async def send(
        self,
        to: str,
        payload: Any,
        *,
        budget: Mapping[str, Any] | None = None,
        labels: Mapping[str, str] | None = None,
        conversation: str | None = None,
        accounts: Mapping[str, str] | None = None,
        id: str | None = None,  # noqa: A002 - the contract names it so
    ) -> ThreadHandle:
        """Sends a message from outside, in a new thread; waits while the organism's queue is full.

        - ``budget``: keys of ``budget:`` that override those of organism.yaml, as in ``{"tokens": 500}``.
        - ``conversation``: the conversation whose next turn this is; the turn begins when those before it have ended.
        - ``accounts``: the accounts that pay for it, name by kind (``{"tenant": "acme"}``). A conversation keeps those of its first turn.
        - ``id``: the thread's id. If it exists, here or in the journal, nothing is sent, and its handle is returned. So a send that was
          cancelled, whose message may have been accepted, can be repeated with the same id. Raises IdTakenError if that thread began with
          another message.

        Raises RoutingError, ConfigurationError, BudgetExhaustedError, QueueFullError; JournalError if the message could not be written down.
        """
        return await self._taking_in().ingress.send(
            to, payload, budget=budget, labels=labels, conversation=conversation, accounts=accounts, id=id
        )

    async def send_all(
        self,
        messages: Iterable[tuple[str, Any]],
        *,
        labels: Mapping[str, str] | None = None,
        accounts: Mapping[str, str] | None = None,
        refused: Callable[[int, OrganismError], object] | None = None,
    ) -> list[ThreadHandle]:
        """Sends several (handler, payload) from outside, each in a new thread; all are accepted before any is delivered. Returns the handles.

        ``refused`` is called with the number of each message that is not accepted, from 0, and its error. Without it the first such
        error is raised, and the messages before it are still delivered.
        """
        return await self._taking_in().ingress.send_all(
            messages, labels=checked_labels(labels), accounts=accounts, refused=refused
        )

    @property
    def unfinished(self) -> tuple[str, ...]:
        """What waits in the journal for :meth:`resume`, left by an earlier process or frozen since: ids of threads, and ``conversation:ID``."""
        return () if self._works is None or self._works.durable is None else self._works.durable.unfinished

    def inbox(self) -> tuple[Question, ...]:
        """The questions that people have not answered yet, the oldest first, in the threads that this process has."""
        self._running()
        return inbox.questions(self.kernel)

    async def answer(self, id: str, payload: Any = None, *, refuse: str | None = None) -> None:  # noqa: A002 - as in Question
        """Answers the question of this id for a person, or tells the asker by ``refuse`` why there is no answer.

        Returns once the answer is written down. Raises NoQuestionError if no such question waits (any more), UnexpectedReplyError
        if the payload is none of its ``answers`` (the question still waits), and HandlerFailedError if its thread has run out of messages.
        """
        await inbox.answer(self._running().pump, id, payload, refuse)

    async def dead(self) -> tuple[DeadMessage, ...]:
        """The messages that failed for good, oldest first, also those sent again: all in the journal, or with ``memory:`` the last 1,000."""
        return await dead.dead_messages(self.kernel, self._running().durable)

    async def retry(self, id: str) -> ThreadHandle:  # noqa: A002 - as in DeadMessage
        """Sends a dead letter again, in a thread of its own, and returns its handle; it is sent only once, however often this is called.

        Raises RoutingError if there is no dead letter of this id, or it cannot be sent any more, and as :meth:`send`.
        """
        works = self._running()
        return await dead.retried(self.kernel, works.durable, works.ingress, id)

    async def add_budget(
        self,
        thread: str | None = None,
        *,
        id: str,  # noqa: A002 - as in send
        account: str | None = None,
        **units: float | str | Decimal,
    ) -> bool:
        """Raises limits of a thread, conversation or ``account`` (``kind:name``, or ``ceiling``), and waits until that is written down. Under an
        ``id`` that did so before, also in an earlier process, it returns False. Raises IdTakenError for other amounts, and ConfigurationError.
        """
        return await self._taking_in().add_budget(thread, account, units, id)

    async def resume(self, *, paused: bool = False) -> list[ThreadHandle]:
        """Continues every unfinished thread of the journal, and returns their handles. Paused threads stay paused, unless ``paused`` is true;
        the command ``organism resume`` continues them too. A damaged thread is logged, and stays in ``unfinished``.
        """
        return await self._taking_in().ingress.resume(paused=paused)

    @overload
    async def ask(self, to: str, payload: Any, *, expect: None = None, **how: Unpack[Sending]) -> Any: ...
    @overload
    async def ask(self, to: str, payload: Any, *, expect: TypeForm[P], **how: Unpack[Sending]) -> P: ...

    async def ask(self, to: str, payload: Any, *, expect: TypeForm[P] | None = None, **how: Unpack[Sending]) -> Any:
        """Sends a message and returns the first reply; waits for people, too. ``how`` is as for :meth:`send`.

        Raises as :meth:`send`; HandlerFailedError, with the code of what went wrong, if the thread ended without a reply, or was paused;
        UnexpectedReplyError if the reply is not an ``expect``; and OrganismError in one of its own handlers: use ``ctx.ask`` there.
        An answer made on grace is a reply.
        """
        check_outside(self, "ask")
        check_expect(expect)
        return (await self._taking_in().ingress.ask(to, payload, **how)).reply_as(expect)

    @overload
    def run_sync(self, to: str, payload: Any, *, expect: None = None, **how: Unpack[Sending]) -> Any: ...
    @overload
    def run_sync(self, to: str, payload: Any, *, expect: TypeForm[P], **how: Unpack[Sending]) -> P: ...

    def run_sync(self, to: str, payload: Any, *, expect: TypeForm[P] | None = None, **how: Unpack[Sending]) -> Any:
        """For scripts: starts the organism, asks, and closes it. Raises as :meth:`ask`, with code ``paused`` instead of waiting for people,
        and OrganismError inside of an event loop, since it runs one of its own.
        """
        runtime.check_none_runs("run_sync", "use `async with organism: await organism.ask(...)` there")

        async def main() -> Any:
            check_expect(expect)
            async with self:
                return (await (await self.send(to, payload, **how)).result()).reply_as(expect)

        return anyio.run(main, backend=self.settings.runtime)

    @asynccontextmanager
    async def thread(
        self,
        *,
        budget: Mapping[str, Any] | None = None,
        labels: Mapping[str, str] | None = None,
        accounts: Mapping[str, str] | None = None,
    ) -> AsyncGenerator[BareThread]:
        """A thread without handlers, for model calls within a budget: ``async with organism.thread(budget=...) as t: await t.complete(...)``.

        If an exception leaves the block, the thread ends ``failed``. Cancelling the thread cancels its calls.
        """
        ingress = self._taking_in().ingress
        async with await ingress.bare(budget=budget, labels=checked_labels(labels), accounts=accounts) as opened:
            yield opened

    def thread_of(self, id_: str) -> ThreadHandle | None:
        """The handle of a thread that this process has and that has not ended, else ``None``."""
        thread, works = self.kernel.state.threads.get(id_), self._works
        return None if thread is None or works is None or not works.running else works.ingress.handle(thread)

    async def result_of(self, id_: str) -> ThreadResult | None:
        """How the thread of this id ended, in this process or an earlier one; ``None`` if it has not ended, or is not in the journal. With
        ``memory:``, only the handle of a thread has its result. Raises JournalError if the record cannot be read.
        """
        return await self._running().histories.result_of(id_)

    async def fork(
        self,
        thread: str,
        *,
        at: int | None = None,
        budget: Mapping[str, Any] | None = None,
        labels: Mapping[str, str] | None = None,
        id: str | None = None,  # noqa: A002 - as in send
    ) -> ThreadHandle:
        """Copies the first ``at`` entries of a thread in the journal (by default all but its end) into a new thread, and continues that.

        Model calls whose answers were copied are not paid for again. ``budget`` and ``labels`` override those of the thread, key by key.
        Forking again under an ``id`` forks nothing. Raises JournalError, and ConfigurationError if it cannot be forked at that entry.
        """
        return await self._taking_in().ingress.fork(thread, at=at, budget=budget, labels=checked_labels(labels), id_=id)

    def replay(self, thread: str) -> Replayed:
        """Runs the handlers of a thread in the journal again, as they are now, on the recorded answers. No model is called and nothing is
        written, but side effects outside of the organism happen again. It need not run, and another process may work on the journal.

        Raises ConfigurationError if there is no such thread, JournalError, and OrganismError inside of an event loop: call it in a worker
        thread there (``await anyio.to_thread.run_sync(organism.replay, thread)``).
        """
        return replayed(self.settings, thread)

    async def conversation_of(self, id_: str) -> ConversationHandle | None:
        """The handle of a conversation, to read and change its limits; ``None`` if it has not begun. Continues turns that were left unfinished."""
        return await self._running().ingress.conversation(id_)

    def account_of(self, name: str) -> AccountHandle:
        """The handle of an account (``tenant:acme``), or of the ``ceiling``, to read and raise its limits. Raises ConfigurationError."""
        return self._running().ingress.account(name)

    # Questions

    @overload
    def usage(self, by: None = None) -> Usage: ...
    @overload
    def usage(self, by: str) -> dict[str, Usage]: ...

    def usage(self, by: str | None = None) -> Usage | dict[str, Usage]:
        """What was spent, as far as the journal goes back; ``by`` handler, model, backend, account, tag, label or label:KEY. Raises ValueError."""
        return usage_of(self.kernel.state, by)

    def statistics(self) -> Statistics:
        """How many threads, messages, calls and tasks there are right now."""
        return statistics_of(self.kernel.state, None if self._works is None else self._works.pump)

    def subscribe(self, callback: Callable[[Fact], object]) -> Callable[[], None]:
        """Calls ``callback`` with every fact once it is durable, while all else waits; returns a function that ends this. Logs what it raises."""
        return self._audience.subscribe(callback)

    def overhear(self, callback: Callable[[TextDelta], object]) -> Callable[[], None]:
        """Calls ``callback`` with the text of agents' replies while models write it; returns a function that ends this. Pieces may be
        withdrawn later: only the reply counts. While anybody listens, agents ask their models for streams.
        """
        return self._audience.text_listeners.listen(callback)

    def meter(self, callback: Callable[[Metered], object]) -> Callable[[], None]:
        """Calls ``callback`` with what each attempt and each call cost, in a worker thread of its own; returns a function that ends this."""
        return self._audience.meter(callback)

    async def calls(self, thread: str) -> tuple[CallRow, ...]:
        """The finished model calls of a thread and of those below it, one row each, once they are durable."""
        return await self._running().histories.calls(thread)

    async def history(self, thread: str) -> tuple[Event, ...]:
        """What has happened in a thread and below it until now, also in an earlier process. Raises NotRunningError if nothing is recorded."""
        return await self._running().histories.history(thread)

    def events(self) -> AsyncIterator[Fact]:
        """Every fact from now on until the organism closes, once it is durable. Raises QueueFullError if its reader falls too far behind, and
        OrganismError in one of its own handlers, if it would have to wait.
        """
        return self._running().histories.all(partial(check_outside, self, "wait for events of"))

    def keep_history(self) -> MemoryJournal:
        """For ``journal: memory:``: keeps the facts of threads that run, from now on, and returns the journal that holds them."""
        return self._audience.keep_history()

    # The rooms' ports

    def _listen(self) -> None:
        self.kernel.book.listen(self._audience.listener)


def _checks() -> BackendChecks:
    return BackendChecks(dict(os.environ), datetime.now(UTC), late=True)
