"""One run: messages in, threads awaited, results said as they come, an exit code in the end."""

from __future__ import annotations

import json
import signal
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

import anyio
from attrs import frozen

from organism.cli.exit_codes import COMPLETED, DAMAGED, EXHAUSTED, FAILED, PAUSED, WRONG
from organism.cli.interrupts import end_now
from organism.cli.options import ANSWERED, RunOptions
from organism.cli.people import GONE, People, asked_now, waits
from organism.cli.report import partial_text, problem_line, reply_text, usage_table
from organism.cli.signals import exit_code
from organism.cli.starting import started
from organism.cli.text import one_line
from organism.durations import duration
from organism.errors import (
    BudgetExhaustedError,
    ConfigurationError,
    IdTakenError,
    JournalError,
    NotRunningError,
    OrganismError,
)
from organism.names import counted
from organism.pump import runtime
from organism.pump.handles import ThreadHandle
from organism.record.facts import Forked, Resumed
from organism.settings import NOTHING, StartMessage

if TYPE_CHECKING:
    from anyio.abc import TaskGroup

    from organism.cli.interrupts import Interrupts
    from organism.cli.streams import Display, Streams
    from organism.organism import Organism
    from organism.record.facts import Fact
    from organism.results import Question, ThreadResult

INTERVAL: Final = 0.125
"""Seconds between two drawings of what goes on."""
LAST: Final = 20.0
"""Seconds after the grace time within which handlers are cancelled, all is written, and the process ends."""


@frozen(kw_only=True)
class Job:
    """What a run is to do with ``file``: go on with what earlier runs left (``resume``), or with what ``fork`` makes alone, and send the
    messages, with labels and accounts of their threads. ``id`` is that of the thread that one message opens, or that is forked, where the user
    gave it: if it is there already, nothing is sent or forked.
    """

    file: Path
    options: RunOptions
    messages: tuple[StartMessage, ...] = ()
    labels: Mapping[str, str] = NOTHING
    accounts: Mapping[str, str] = NOTHING
    resume: bool = False
    fork: Callable[[], Awaitable[ThreadHandle]] | None = None
    id: str | None = None


async def conduct(organism: Organism, job: Job, streams: Streams, interrupts: Interrupts) -> int:
    """Starts the organism, sends, waits until every thread has ended or paused, closes it; returns the exit code.

    Results go to standard output as threads end. Raises what keeps the organism from starting, and what its pump crashed of.
    """
    run = _Run(organism, job, streams)
    try:
        async with started(organism, interrupts) as ended_by, anyio.create_task_group() as beside:
            if ended_by is not None:
                return exit_code(ended_by)
            beside.start_soon(run.stop_on_signal, interrupts)
            if job.options.timeout is not None:
                beside.start_soon(run.stop_after, job.options.timeout)
            if streams.display is not None:
                beside.start_soon(keep_drawing, streams.display)
            beside.start_soon(run.ask_people)
            await run.all_threads()
            beside.cancel_scope.cancel()
            streams.clear()
    except BaseException as error:
        streams.clear()
        if not _by_a_handler(error):
            run.say_what_is_left()
            raise
        # It goes no further: asyncio, which has ended its loop for it already, would do so once more before all is put away, and the
        # process would wait for threads for ever.
        interrupts.number = signal.SIGINT
    await run.say_what_ended_late()
    run.say_what_it_cost()
    run.say_what_is_left()
    code = run.exit_code() if interrupts.number is None else exit_code(interrupts.number)
    if organism.left_behind:
        end_now(code, streams)
    return code


def _by_a_handler(error: BaseException) -> bool:
    """Whether a handler has interrupted the run. On asyncio this task hears of it by being cancelled, as nobody else cancels it there."""
    cancelled = isinstance(error, anyio.get_cancelled_exc_class()) and runtime.cancellings()
    return bool(cancelled) or isinstance(error, KeyboardInterrupt)


async def keep_drawing(display: Display) -> None:
    """Draws what goes on, again and again."""
    while True:
        display.draw()
        await anyio.sleep(INTERVAL)


def interrupted(grace: float, *, lasts: bool) -> str:
    """What is said when a signal comes."""
    if grace:
        what = f"running work has {duration(grace)} to finish, and is then {'left in the journal' if lasts else 'cancelled'}"
    else:
        what = f"{'leaving' if lasts else 'cancelling'} running work"
    return f"interrupted: {what}; interrupt again to end at once"


class _Run:
    """The threads of a run, and what they came to."""

    def __init__(self, organism: Organism, job: Job, streams: Streams) -> None:
        self._organism = organism
        self._job = job
        self._options = job.options
        self._streams = streams
        self._lasts = organism.settings.journal != "memory:"
        """Whether what is not over stays in the journal, for another run to go on with."""
        self._live: dict[str, ThreadHandle] = {}
        self._known: set[str] = set()
        self._results: list[ThreadResult] = []
        self._resting: dict[str, ThreadResult] = {}
        """What threads came to when they last rested; whether they do so yet, their handles know."""
        self._codes: set[int] = set()
        self._cut_short = 0
        """Threads whose pump has crashed."""
        self._following: TaskGroup | None = None
        """The tasks that wait for threads."""
        self._moved = anyio.Event()
        """Set when a thread has ended, or has come to rest."""
        self._people = People(organism, streams, there=not job.options.json)
        self._asked: tuple[Question, ...] = ()
        """What people are yet to answer, in the end."""
        self._waiting = anyio.CancelScope()
        self._stopping: str | None = None
        """Why everything is cancelled, once it is."""

    async def all_threads(self) -> None:
        """Goes on with what earlier runs left, sends every message, and waits until every thread has ended or paused."""
        resting: list[ThreadResult] = []
        async with anyio.create_task_group() as following:
            self._following = following
            deaf = self._organism.subscribe(self._follow_others) if self._lasts else None
            with self._waiting:
                await self._take_up()
                await self._send()
                while not self._at_rest():
                    await self._moved.wait()
                    self._moved = anyio.Event()
            # As it is now: what rests may go on as soon as others run, where nobody answered it in time.
            self._asked = asked_now(self._organism)
            resting = [self._resting[id_] for id_, each in self._live.items() if each.paused and id_ in self._resting]
            if deaf is not None:
                deaf()
            following.cancel_scope.cancel()
        for result in resting:
            self._say(result, told_below=self._live[result.thread].waits_for_people and self._asks(result.thread))

    async def _take_up(self) -> None:
        left = len({*self._organism.unfinished} - {self._job.id})
        if self._job.fork is not None:
            await self._fork(self._job.fork)
            return
        if not self._job.resume:
            if left:
                self._say_left(left, " of earlier runs", "unfinished")
            return
        if not left and not self._job.messages:
            self._streams.note("nothing to resume: every thread in the journal has ended")
        for handle in await self._organism.resume(paused=True):
            self._follow(handle)
        if self._organism.unfinished:
            self._codes.add(DAMAGED)  # the log says which could not be taken up, and why

    async def _fork(self, fork: Callable[[], Awaitable[ThreadHandle]]) -> None:
        try:
            again = await self._is_there_already()
            handle = await fork()
        except (ConfigurationError, IdTakenError, JournalError) as error:
            self._streams.wrong(error)
            self._codes.add(DAMAGED if isinstance(error, JournalError) else WRONG)
            return
        if again:
            self._streams.note(f"forked before: thread {one_line(handle.id)} is this fork, and nothing was copied")
            self._follow(handle)
            return
        begun = (await handle.history())[0].fact
        assert isinstance(begun, Forked)  # noqa: S101 - it is what a fork begins with
        copied = counted(begun.entries, "entry")
        self._streams.note(f"forked: thread {one_line(handle.id)} continues after {copied} of {one_line(begun.origin)}")
        self._follow(handle)

    async def _send(self) -> None:
        messages = self._job.messages
        if not messages or self._stopping is not None:
            return

        def refused(number: int, error: OrganismError) -> None:
            self._not_sent(messages[number], error)

        if self._job.id is not None:
            await self._send_once(self._job.id, messages[0])
            return
        both = [(message.to, message.payload) for message in messages]
        try:
            handles = await self._organism.send_all(
                both, labels=self._job.labels, accounts=self._job.accounts, refused=refused
            )
        except OrganismError as error:
            self._not_sent(messages[0], error)
            return
        for handle in handles:
            self._follow(handle)

    async def _send_once(self, id_: str, message: StartMessage) -> None:
        """Sends the message under an id of the user's, or finds the thread that it has opened before."""
        try:
            again = await self._is_there_already()
            handle = await self._organism.send(
                message.to, message.payload, labels=self._job.labels, accounts=self._job.accounts, id=id_
            )
        except OrganismError as error:
            self._not_sent(message, error)
            return
        if again:
            self._streams.note(f"sent before: thread {one_line(id_)} is there, and nothing was sent")
        handle.resume()
        self._follow(handle)

    async def _is_there_already(self) -> bool:
        """Whether the thread of the user's id is in the journal; what it is, whoever asks for it again compares."""
        id_ = self._job.id
        return id_ is not None and (id_ in self._organism.unfinished or await self._organism.result_of(id_) is not None)

    def _not_sent(self, message: StartMessage, error: OrganismError) -> None:
        name = type(message.payload).__name__
        self._streams.note(f"error: {name} could not be sent to '{message.to}': {one_line(str(error))}")
        codes = {JournalError: DAMAGED, IdTakenError: WRONG, BudgetExhaustedError: EXHAUSTED}
        self._codes.add(next((code for kind, code in codes.items() if isinstance(error, kind)), FAILED))

    def _follow(self, handle: ThreadHandle) -> None:
        if handle.id in self._known or self._following is None:
            return
        self._known.add(handle.id)
        self._live[handle.id] = handle
        if self._stopping is not None:
            handle.cancel(self._stopping)
        self._following.start_soon(self._wait_for, handle)

    def _follow_others(self, fact: Fact | None = None) -> None:
        """What was taken up since another process asked for it is waited for as well."""
        if fact is not None and not isinstance(fact, Resumed):
            return
        for id_, thread in list(self._organism.kernel.state.threads.items()):
            handle = self._organism.thread_of(id_) if thread.owner is None else None
            if handle is not None:
                self._follow(handle)

    async def ask_people(self) -> None:
        """Asks whoever sits at the terminal what people are asked."""
        people = self._people
        if not people.there:
            return
        deaf = self._organism.subscribe(lambda _: people.changed())
        try:
            while True:
                changed = people.change
                question = people.next()
                if question is None:
                    await changed.wait()
                else:
                    await people.ask(question)
                    self._moved.set()
        finally:
            deaf()

    def _at_rest(self) -> bool:
        """Whether nothing goes on, and nobody is there to be asked."""
        self._follow_others()
        if self._people.next() is not None:
            return False
        return all((each.paused and id_ in self._resting) or each.waits_turn for id_, each in self._live.items())

    async def _wait_for(self, handle: ThreadHandle) -> None:
        try:
            while (result := await handle.result()).outcome == "paused":
                self._resting[handle.id] = result
                self._moved.set()
                await handle.goes_on()
        except NotRunningError:
            self._cut_short += 1  # the pump has crashed; closing the organism says of what
        except JournalError as error:
            self._streams.note(f"error: thread {handle.id} could not be written to the journal: {one_line(str(error))}")
            self._codes.add(DAMAGED)
        else:
            self._say(result)
        self._live.pop(handle.id, None)
        self._moved.set()

    async def stop_on_signal(self, interrupts: Interrupts) -> None:
        """Once a signal comes: lets what runs end in the grace time, and leaves the rest where the journal has it, else cancels it."""
        await interrupts.wait()
        self._people.note_aside(interrupted(self._options.grace, lasts=self._lasts))
        with suppress(NotRunningError):  # it crashed just now
            await self._organism.drain(self._options.grace)
        if self._lasts:
            self._waiting.cancel()
        else:
            self._stop("interrupted")

    async def stop_after(self, seconds: float) -> None:
        """Cancels everything after so many seconds."""
        await anyio.sleep(seconds)
        self._people.note_aside(f"timeout after {duration(seconds)}: cancelling what still runs")
        self._codes.add(FAILED)
        self._stop(f"the run's timeout of {duration(seconds)} was reached")

    def _stop(self, reason: str) -> None:
        self._stopping = reason
        for handle in tuple(self._live.values()):
            handle.cancel(reason)

    async def say_what_ended_late(self) -> None:
        """What ended while the organism was being closed for a signal: nobody waited any more, and the journal has it."""
        if self._lasts:
            for handle in [each for id_, each in self._live.items() if each.ended and id_ not in self._resting]:
                del self._live[handle.id]
                self._say(await handle.result())

    def say_what_it_cost(self) -> None:
        """The table of final usage, for people."""
        if self._results and not self._options.json and not self._options.quiet:
            self._streams.result(usage_table(self._results))

    def say_what_is_left(self) -> None:
        """What did not end, and how to go on with it."""
        left = len(self._live) + self._cut_short
        for question in self._asked:
            self._streams.note(waits(question))
        if self._asked:
            inbox, answer = self._typed("inbox"), self._typed("answer", *ANSWERED)
            how = f"'{inbox}' shows the questions, '{answer}' answers one"
            self._streams.note(how if self._lasts else GONE)
        if left and self._lasts:
            paused = all(result.outcome == "paused" for result in self._results[-left:]) and len(self._results) >= left
            # Before what each of them has asked is answered, to go on with them would change nothing.
            then = "once that is answered, " if paused and all(map(self._asks, self._live)) else ""
            self._say_left(left, "", "paused" if paused else "left in the journal", then)

    def _typed(self, command: str, *words: str) -> str:
        return self._options.typed(command, self._job.file, *words)

    def _asks(self, thread: str) -> bool:
        """Whether one of the questions that are told of is a thread's, or of one below it."""
        return any(f"{question.thread}.".startswith(f"{thread}.") for question in self._asked)

    def _say_left(self, count: int, whose: str, how: str, then: str = "") -> None:
        is_, them = ("is", "it") if count == 1 else ("are", "them")
        self._streams.note(
            f"{counted(count, 'thread')}{whose} {is_} {how}; {then}go on with {them}: {self._typed('resume')}"
        )

    def _say(self, result: ThreadResult, *, told_below: bool = False) -> None:
        """What a thread came to; what is wrong with it, unless that is told below with all that people are asked."""
        self._results.append(result)
        if result.outcome != "completed":
            self._codes.add({"exhausted": EXHAUSTED, "paused": PAUSED}.get(result.outcome, FAILED))
        if self._options.json:
            # Only ASCII: it is the same in every encoding, and holds nothing that a terminal acts on.
            self._streams.result(json.dumps(result.as_json()))
        else:
            self._say_to_people(result)
        problem = problem_line(result)
        if problem is not None and not told_below:
            self._streams.note(problem)

    def _say_to_people(self, result: ThreadResult) -> None:
        quiet, width = self._options.quiet, self._streams.width
        texts = [reply_text(result, width=width), "" if quiet else partial_text(result, width=width)]
        for text in filter(None, texts):
            self._streams.result(text if quiet else f"{text}\n")

    def exit_code(self) -> int:
        """The gravest of what happened."""
        return next((code for code in (DAMAGED, WRONG, FAILED, EXHAUSTED, PAUSED) if code in self._codes), COMPLETED)
