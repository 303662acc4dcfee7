"""The composition root: puts the rooms together, and is the only place that reads clock, environment and dice."""

from __future__ import annotations

import os
import random
import secrets
import time
from contextlib import asynccontextmanager
from contextvars import ContextVar, copy_context
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from time import perf_counter
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar, Final, TypeVar, overload

import anyio
from attrs import evolve

from organism import config
from organism.agent import ready
from organism.config.hooks import hook_problem
from organism.errors import ConfigurationError, NotRunningError, OrganismError, check_expect
from organism.hooks import POINTS
from organism.kernel import Kernel
from organism.kernel.sums import ALL
from organism.models.checks import BackendChecks
from organism.models.readiness import made_ready
from organism.models.sellers import with_sellers
from organism.names import ORGANISM
from organism.pump import runtime
from organism.pump.bare import BareThread, bare
from organism.pump.clock import Clock
from organism.pump.register import Register
from organism.results import Statistics
from organism.usage import sums_by
from organism.works import dead, inbox
from organism.works.audience import Audience
from organism.works.bursar import BURSAR
from organism.works.ingress import checked_labels
from organism.works.naming import Names
from organism.works.starting import Starting
from organism.works.works import Works

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable, Iterator, Mapping
    from contextvars import Context
    from types import TracebackType
    from typing import Self

    from organism.hooks import Hook, Point
    from organism.journal import MemoryJournal
    from organism.pump.conversing import ConversationHandle
    from organism.pump.ears import Spoken
    from organism.pump.handles import ThreadHandle
    from organism.record.calls import CallRow
    from organism.record.facts import Fact
    from organism.record.metering import Metered
    from organism.results import DeadMessage, Question
    from organism.settings import Settings
    from organism.usage import Usage

P = TypeVar("P")
_inside: Final[ContextVar[Organism | None]] = ContextVar("organism_inside", default=None)
"""The organism whose handler runs."""


class Organism:
    """A set of handlers on one pump. Use it as ``async with Organism.load("organism.yaml") as organism: ...``.

    Without a file: ``Organism(name="demo", handlers={"greeter": greet}, budget={"tokens": 5000}, models={...})``; the keywords are
    the keys of organism.yaml; ``set`` overrides them. Raises ConfigurationError with every mistake at once.
    """

    _parts: ClassVar = Works
    """What it is put together from while it runs."""

    def __init__(
        self,
        *,
        name: str = "organism",
        set: Mapping[str, Any] | None = None,  # noqa: A002 - the contract names it so
        folder: Path | None = None,
        seed: int | None = None,
        **document: Any,
    ) -> None:
        settings = config.build({"organism": name, **document}, set=set or {}, folder=folder, checks=_checks())
        self._setup(settings, seed)

    @classmethod
    def load(
        cls,
        path: str | os.PathLike[str] = "organism.yaml",
        *,
        set: Mapping[str, Any] | None = None,  # noqa: A002 - the contract names it so
        seed: int | None = None,
    ) -> Self:
        """The organism of a file. The environment's ``ORGANISM_...`` override what it says, and ``set`` overrides both."""
        return cls.of(config.load(Path(path), set=set or {}, environ=dict(os.environ), checks=_checks()), seed=seed)

    @classmethod
    def of(cls, settings: Settings, *, seed: int | None = None) -> Self:
        """The organism of settings that are ready."""
        organism = cls.__new__(cls)
        organism._setup(settings, seed)  # noqa: SLF001 - its own
        return organism

    def _setup(self, settings: Settings, seed: int | None) -> None:
        self._now: Callable[[], float] = time.time
        self.settings = settings = with_sellers(settings)
        self._random = random.Random(seed)  # noqa: S311 - spreads retries and names threads; no secret
        names = _names() if seed is None else (f"{self._random.getrandbits(64):016x}" for _ in count())
        self._names = Names(names.__next__, may_be_taken=seed is not None)
        self._audience = Audience(self._listen, clock=perf_counter)
        self._handlers = {name: ready(handler, settings.handlers) for name, handler in settings.everyone.items()}
        self._handlers[ORGANISM] = BURSAR
        self._handles = Register()
        self._works: Works | None = None
        self._starting = Starting()
        self.kernel = Kernel(settings)

    # Starting and closing

    async def start(self) -> None:
        """Starts the pump in the background of the running event loop. Any task may close it again."""
        if self._works is not None or self._starting.goes_on:
            raise NotRunningError(f"organism '{self.settings.name}' was started already; make a new one to start again")
        with self._starting:
            elapsed = runtime.elapsed(precise=perf_counter, steady=time.monotonic)
            clock = Clock(elapsed, wall=time.time, steady=time.monotonic)
            self._now = clock.now
            environ = dict(os.environ)
            await made_ready(self.settings.models, environ=environ, at=self._wall())
            variables = copy_context()
            variables.run(_inside.set, self)
            works = self._assembled(environ, variables, clock)
            await works.open()
            self._works = works
            self._listen()
            await works.run()

    def _assembled(self, environ: Mapping[str, str], variables: Context, clock: Clock) -> Works:
        return self._parts(
            self.settings, self.kernel, self._handlers, audience=self._audience, handles=self._handles, environ=environ,
            variables=variables, dice=self._random, clock=clock, names=self._names,
        )  # fmt: skip

    async def drain(self, grace: float) -> None:
        """Accepts no new messages, and waits up to ``grace`` seconds for what runs to finish; :meth:`close` it afterwards.

        With a journal on a disk only what running handlers wait for is still begun: the rest can be resumed later. With ``memory:``,
        where nothing could be, threads go on to their end.
        """
        await self._running().drain(grace)

    async def close(self, *, grace: float = 0) -> None:
        """Accepts no new messages, gives what runs ``grace`` seconds (see :meth:`drain`), cancels the rest, waits until its costs are
        settled, and stops. Closing again does nothing.

        With a journal on a disk, threads are left as they are: :meth:`resume` goes on with them, in this process or another.
        A handler that does not end though it was cancelled is left behind after 5 seconds, and logged.

        Raises the error with which the pump crashed, if it did; and OrganismError in a handler of its own, for which it would wait.
        """
        if _inside.get() is self:
            raise OrganismError(
                "a handler cannot close its own organism: closing waits for the handler; cancel threads, or close from outside"
            )
        await self._starting.over()
        if self._works is not None:
            self._works.pump.home.check()
            try:
                if grace > 0 and self._works.running:
                    await self._works.drain(grace)
            finally:
                await self._works.close()

    @property
    def left_behind(self) -> tuple[str, ...]:
        """The handlers that were cancelled and have not ended. Their tasks still run, and trio's event loop waits for them."""
        return () if self._works is None else self._works.left_behind

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    def _running(self) -> Works:
        if self._works is None or not self._works.running:
            raise NotRunningError(f"organism '{self.settings.name}' does not run; use it inside `async with`")
        self._works.pump.home.check()
        return self._works

    def _taking_in(self) -> Works:
        works = self._works
        if works is None:
            return self._running()
        works.taking_in()
        return works

    def add_hook(self, point: Point, hook: Hook) -> None:
        """Asks ``hook(event, ctx)`` at a point of all work, after those that were named before it (see :mod:`organism.hooks`).

        Raises NotRunningError once the organism has started: hooks do not change under running work. ConfigurationError for what
        is no point or no hook.
        """
        if self._works is not None or self._starting.goes_on:
            raise NotRunningError(f"organism '{self.settings.name}' has started: add hooks before that")
        problem = (
            hook_problem(hook) if point in POINTS else f"{point!r:.80} is no point; there are: {', '.join(POINTS)}"
        )
        if problem is not None:
            raise ConfigurationError([problem])
        hooks = {**self.settings.hooks, point: (*self.settings.hooks.get(point, ()), hook)}
        self.settings = evolve(self.settings, hooks=MappingProxyType(hooks))

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

        ``conversation`` names the conversation whose next turn it is: it begins when those before it have ended.
        ``budget`` overrides, key by key, what organism.yaml says of a thread's budget. ``accounts`` are those that pay for it, name by
        kind (``{"tenant": "acme"}``); a conversation stays under those of its first turn. ``id`` names the thread: where one of that name
        lives or stands in the journal, nothing is sent, and its handle is returned. Raises RoutingError, ConfigurationError,
        BudgetExhaustedError, QueueFullError, and JournalError where the message could not be written down.
        """
        return await self._taking_in().ingress.send(
            to,
            payload,
            budget=budget,
            labels=checked_labels(labels),
            conversation=conversation,
            accounts=accounts,
            id_=id,
        )

    async def send_all(
        self,
        messages: Iterable[tuple[str, Any]],
        *,
        labels: Mapping[str, str] | None = None,
        accounts: Mapping[str, str] | None = None,
        refused: Callable[[int, OrganismError], None] | None = None,
    ) -> list[ThreadHandle]:
        """Sends several (handler, payload) from outside, each in a new thread; all are taken in before any is delivered.

        ``refused`` is called with the number of each message that is not taken in, from 0, and its error; without it the first such
        error is raised, and the messages before it are delivered all the same.
        """
        return await self._taking_in().ingress.send_all(
            messages, labels=checked_labels(labels), accounts=accounts, refused=refused
        )

    @property
    def unfinished(self) -> tuple[str, ...]:
        """The threads in the journal that an earlier process left unfinished, and that were not taken up yet."""
        durable = None if self._works is None else self._works.durable
        return () if durable is None else durable.unfinished

    def inbox(self) -> tuple[Question, ...]:
        """What people are asked and have not answered yet, the oldest first: in the threads that live here."""
        self._running()
        return inbox.questions(self.kernel)

    async def answer(self, id: str, payload: Any = None, *, refuse: str | None = None) -> None:  # noqa: A002 - as in Question
        """Answers the question of this id for a person; ``refuse`` says instead why there is no answer, which the asker hears.

        Returns once it is written down. Raises NoQuestionError where the question does not wait (any more), UnexpectedReplyError
        where the payload is none of its ``answers`` (it waits on), and HandlerFailedError where its thread has run out of messages.
        """
        await inbox.answer(self._running().pump, id, payload, refuse)

    async def dead(self) -> tuple[DeadMessage, ...]:
        """The messages that failed for good, the oldest first: all that the journal has; without one on a disk the last of this
        process. Those that were sent again are among them.
        """
        return await dead.dead_messages(self.kernel, self._running().durable)

    async def retry(self, id: str) -> ThreadHandle:  # noqa: A002 - as in DeadMessage
        """Sends a dead letter again, in a thread of its own, and gives that; one that was sent again before is not sent twice.

        Raises RoutingError where there is none of this id, or it cannot be sent any more, and as :meth:`send`.
        """
        works = self._running()
        return await dead.retried(self.kernel, works.durable, works.ingress, id)

    async def resume(self) -> list[ThreadHandle]:
        """Goes on with every unfinished thread of the journal; one that was paused stays so. One that cannot be taken up, since
        it is damaged, is logged and stays among ``unfinished``.
        """
        return await self._taking_in().ingress.resume()

    @overload
    async def ask(self, to: str, payload: Any, *, expect: type[P], **how: Any) -> P: ...
    @overload
    async def ask(self, to: str, payload: Any, *, expect: None = None, **how: Any) -> Any: ...

    async def ask(self, to: str, payload: Any, *, expect: type[P] | None = None, **how: Any) -> Any:
        """Sends a message and waits for the reply, also for that of a person; ``how`` is as for :meth:`send`.

        Raises HandlerFailedError with the code of what went wrong where the thread ended without a reply, and
        UnexpectedReplyError where the reply is no ``expect``. An answer made on grace is an answer.
        """
        check_expect(expect)
        handle = await self.send(to, payload, **how)
        try:
            result = await handle.result()
            while handle.paused and handle.waits_for_people:
                await handle.goes_on()
                result = await handle.result()
        except BaseException:
            if not handle.ended and self._works is not None and self._works.running:
                handle.cancel("whoever asked waits no more")
            raise
        return result.reply_as(expect)

    def run_sync(self, to: str, payload: Any, *, expect: type | None = None, **how: Any) -> Any:
        """For scripts: starts the organism, asks, and closes it. Raises as :meth:`ask`; with code ``paused`` rather than wait for people."""

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
        """A thread without handlers: only the governed router. ``async with organism.thread(budget=...) as t: await t.complete(...)``.

        Where an exception leaves the block, the thread has failed with it. Cancelling the thread cancels its calls.
        """
        works = self._taking_in()
        settings = works.ingress.budget(budget)
        under = config.account_names(accounts, self.settings)
        labels_of = checked_labels(labels)
        id_ = await works.ingress.name()
        thread = self.kernel.open_bare(id_, settings, labels_of, works.pump.look(), accounts=under)
        async with bare(works.pump, thread, works.ingress.handle(thread)) as opened:
            yield opened

    def thread_of(self, id_: str) -> ThreadHandle | None:
        """The live thread of this id; never makes one."""
        thread = self.kernel.state.threads.get(id_)
        return None if thread is None else self._handles.get(thread)

    async def conversation_of(self, id_: str) -> ConversationHandle | None:
        """The conversation of this name, to see and change its limits; ``None`` where none has begun. Goes on with what is left of it."""
        return await self._running().ingress.conversation(id_)

    # Questions

    def usage(self, by: str | None = None) -> Usage | dict[str, Usage]:
        """All that was spent, as far as the journal goes back; ``by`` is ``handler``, ``model``, ``backend``, ``account``, ``tag``,
        ``label``, or ``label:KEY``. Raises ValueError for anything else.
        """
        state = self.kernel.state
        if by is None:
            return state.sums.tally(*ALL).usage()
        return sums_by(state.sums.totals, by)

    def statistics(self) -> Statistics:
        """How much of everything there is right now."""
        state, pump = self.kernel.state, None if self._works is None else self._works.pump
        return Statistics(
            threads=len(state.threads),
            queued=state.schedule.queued,
            running=state.schedule.running,
            held=len(state.holds),
            waiting_for_budget=len(state.line),
            timers=0 if pump is None else len(pump.timers),
            workers=0 if pump is None else len(pump.workers),
        )

    def subscribe(self, callback: Callable[[Fact], None]) -> Callable[[], None]:
        """Calls ``callback`` with every fact from now on, once it is durable; returns a function that ends that. A callback that raises
        is logged, and does no other harm; while a slow one runs, everything waits.
        """
        return self._audience.subscribe(callback)

    def overhear(self, callback: Callable[[Spoken], object]) -> Callable[[], None]:
        """Calls ``callback`` with the text of agents' replies while models write it; returns a function that ends that. Pieces may yet
        be withdrawn: what counts is the reply. While anybody listens, agents ask their models for streams.
        """
        return self._audience.ears.listen(callback)

    def meter(self, callback: Callable[[Metered], object]) -> Callable[[], None]:
        """Calls ``callback`` with what each attempt and each call did cost, in a thread of its own; returns a function that ends that."""
        return self._audience.meter(callback)

    async def calls(self, thread: str) -> tuple[CallRow, ...]:
        """The model calls of a thread and of those below it that are over, a row each, as far as they are durable."""
        return await self._running().histories.calls(thread)

    def events(self) -> AsyncIterator[Fact]:
        """Every fact until the organism closes, once it is durable. Raises QueueFullError where its reader falls too far behind."""
        return self._running().histories.all()

    def keep_history(self) -> MemoryJournal:
        """Keeps the facts of live threads from now on, and gives the journal that holds them."""
        return self._audience.keep_history()

    # The rooms' ports

    def _listen(self) -> None:
        self.kernel.book.listen(self._audience.listener)

    def _wall(self) -> datetime:
        return datetime.fromtimestamp(self._now(), UTC)


def _checks() -> BackendChecks:
    return BackendChecks(dict(os.environ), datetime.now(UTC), late=True)


def _names() -> Iterator[str]:
    """Names for threads, of 8 random bytes each. The system is asked for those of many at once: that takes longer than to make a name."""
    while True:
        drawn = secrets.token_hex(8 * 64)
        for start in range(0, len(drawn), 16):
            yield drawn[start : start + 16]
