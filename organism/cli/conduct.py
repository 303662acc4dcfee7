"""One run: messages in, threads awaited, results said as they come, an exit code in the end."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

import anyio
from attrs import frozen

from organism.cli.interrupts import Interrupts, exit_code
from organism.cli.report import partial_text, problem_line, reply_text, usage_table
from organism.cli.text import one_line
from organism.errors import BudgetExhaustedError, NotRunningError, OrganismError
from organism.settings import StartMessage

if TYPE_CHECKING:
    from organism.cli.live import LiveBoard
    from organism.cli.streams import Streams
    from organism.organism import Organism
    from organism.pump.handles import ThreadHandle
    from organism.results import ThreadResult

COMPLETED: Final = 0
FAILED: Final = 1
EXHAUSTED: Final = 3
INTERVAL: Final = 0.125
"""Seconds between two drawings of what goes on."""


@frozen(kw_only=True)
class Orders:
    """What a run is to do: the messages, the labels of their threads, seconds after which all of it is cancelled."""

    messages: tuple[StartMessage, ...]
    labels: Mapping[str, str]
    timeout: float | None = None
    json: bool = False
    quiet: bool = False


async def conduct(organism: Organism, orders: Orders, streams: Streams, display: LiveBoard | None) -> int:
    """Starts the organism, sends, waits until every thread has ended, closes it; gives the exit code.

    Results go to standard output as threads end. Raises what keeps the organism from starting, and what its pump crashed of.
    """
    run = _Run(organism, orders, streams)
    with Interrupts((lambda: None) if display is None else display.close) as interrupts:
        async with organism, anyio.create_task_group() as beside:
            beside.start_soon(run.stop_on_signal, interrupts)
            if orders.timeout is not None:
                beside.start_soon(run.stop_after, orders.timeout)
            if display is not None:
                beside.start_soon(_keep_drawing, display)
            await run.all_threads()
            beside.cancel_scope.cancel()
            if display is not None:
                display.close()
        run.say_what_it_cost()
    if interrupts.number is not None:
        return exit_code(interrupts.number)
    return run.exit_code()


async def _keep_drawing(display: LiveBoard) -> None:
    while True:
        display.draw()
        await anyio.sleep(INTERVAL)


class _Run:
    """The threads of a run, and what they came to."""

    def __init__(self, organism: Organism, orders: Orders, streams: Streams) -> None:
        self._organism = organism
        self._orders = orders
        self._streams = streams
        self._live: dict[str, ThreadHandle] = {}
        self._results: list[ThreadResult] = []
        self._codes: set[int] = set()
        self._stopping: str | None = None
        """Why everything is cancelled, once it is."""

    async def all_threads(self) -> None:
        """Sends every message and waits for every thread."""
        async with anyio.create_task_group() as threads:
            for message in self._orders.messages:
                handle = await self._send(message) if self._stopping is None else None
                if handle is not None:
                    threads.start_soon(self._wait_for, handle)

    async def _send(self, message: StartMessage) -> ThreadHandle | None:
        try:
            handle = await self._organism.send(message.to, message.payload, labels=self._orders.labels)
        except OrganismError as error:
            name = type(message.payload).__name__
            self._streams.note(f"error: {name} could not be sent to '{message.to}': {one_line(str(error))}")
            self._codes.add(EXHAUSTED if isinstance(error, BudgetExhaustedError) else FAILED)
            return None
        self._live[handle.id] = handle
        if self._stopping is not None:
            handle.cancel(self._stopping)
        return handle

    async def _wait_for(self, handle: ThreadHandle) -> None:
        try:
            result = await handle.result()
        except NotRunningError:
            return  # the pump has crashed; closing the organism says of what
        self._say(result)

    async def stop_on_signal(self, interrupts: Interrupts) -> None:
        """Cancels everything once a signal comes."""
        await interrupts.wait()
        self._streams.note("interrupted: cancelling what runs; once more ends it at once")
        self._stop("interrupted")

    async def stop_after(self, seconds: float) -> None:
        """Cancels everything after so many seconds."""
        await anyio.sleep(seconds)
        self._streams.note(f"timeout: cancelling what runs after {seconds:g} s")
        self._codes.add(FAILED)
        self._stop(f"the run's timeout of {seconds:g} s is over")

    def _stop(self, reason: str) -> None:
        self._stopping = reason
        for handle in tuple(self._live.values()):
            handle.cancel(reason)

    def say_what_it_cost(self) -> None:
        """The table of final usage, for people."""
        if self._results and not self._orders.json and not self._orders.quiet:
            self._streams.result(usage_table(self._results))

    def _say(self, result: ThreadResult) -> None:
        self._live.pop(result.thread, None)
        self._results.append(result)
        if result.outcome != "completed":
            self._codes.add(EXHAUSTED if result.outcome == "exhausted" else FAILED)
        if self._orders.json:
            # Only ASCII: it is the same in every encoding, and holds nothing that a terminal acts on.
            self._streams.result(json.dumps(result.as_json()))
        else:
            self._say_to_people(result)
        problem = problem_line(result)
        if problem is not None:
            self._streams.note(problem)

    def _say_to_people(self, result: ThreadResult) -> None:
        quiet, width = self._orders.quiet, self._streams.width
        texts = [reply_text(result, width=width), "" if quiet else partial_text(result, width=width)]
        for text in filter(None, texts):
            self._streams.result(text if quiet else f"{text}\n")

    def exit_code(self) -> int:
        """The gravest of what happened."""
        return next((code for code in (FAILED, EXHAUSTED) if code in self._codes), COMPLETED)
